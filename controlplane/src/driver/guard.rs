//! Who may not log in although it could: names and addresses that fail too often, users with as many sessions as they may have.
//!
//! Enters: what logins claim and how they end. Leaves: refusals. A locked login looks to its client like a wrong password.

use std::net::IpAddr;

use causeway_eap::packet as eap;
use causeway_ike::api::{EapOutcome, Input, Operator, SessionId};
use causeway_ike::counters::IkeCounter;
use causeway_radius::attribute::TerminateCause;
use causeway_shared::config::OnSessionLimit;

use super::core::Core;
use crate::aaa::{Claimant, ConversationFailure, Locked};
use crate::clock;
use crate::counters::bump;
use crate::link::Link;

/// Code, identifier, length, type of an EAP-Response/Identity (RFC 3748 §5.1).
const RESPONSE: u8 = 2;
const IDENTITY: u8 = 1;

/// A login under way that has named its user.
pub(super) struct Login {
    claimant: Claimant,
    /// Whether its failure was counted, or is none to count.
    counted: bool,
}

impl<L: Link> Core<L> {
    /// What locks a standard EAP conversation, now that it says this. Only the identity is looked at: it is what methods ask the
    /// user for, or an alias that the server sees through.
    pub(super) fn lock_of(&mut self, session: SessionId, packet: &[u8]) -> Option<Locked> {
        let [RESPONSE, _, _, _, IDENTITY, name @ ..] = packet else { return None };
        let user = String::from_utf8_lossy(name).into_owned();
        self.lock_of_user(session, &user)
    }

    /// Whether logins of this user, from where this session comes from, are refused; for who comes back without one.
    pub(super) fn is_locked(&mut self, session: SessionId, user: &str) -> bool {
        let source = self.endpoint.peer_end(session).map(|(address, _)| address);
        let locked = self.lockout.locked(&Claimant { user: Some(user.to_owned()), source }, clock::now());
        if locked.is_some() {
            bump(&mut self.counts.logins_locked);
        }
        locked.is_some()
    }

    /// What locks the login of this user.
    pub(super) fn lock_of_user(&mut self, session: SessionId, user: &str) -> Option<Locked> {
        let source = self.endpoint.peer_end(session).map(|(address, _)| address);
        let claimant = Claimant { user: Some(user.to_owned()), source };
        let locked = self.lockout.locked(&claimant, clock::now());
        self.claimants.insert(session.0, Login { claimant, counted: locked.is_some() });
        if let Some(by) = locked {
            bump(&mut self.counts.logins_locked);
            tracing::info!(session = session.0, ?by, "a login is refused unseen: too many have failed");
        }
        locked
    }

    pub(super) fn refuse_locked(&mut self, packet: &[u8]) -> EapOutcome {
        let packet = eap::failure(packet.get(1).copied().unwrap_or(0));
        EapOutcome::Failure { packet, reason: ConversationFailure::Locked.to_string() }
    }

    /// The user did not prove itself.
    pub(super) fn login_failed(&mut self, session: SessionId) {
        let Some(login) = self.claimants.get_mut(&session.0) else { return };
        login.counted = true;
        let claimant = login.claimant.clone();
        self.count_failure(&claimant);
    }

    /// The login failed for what the user has no part in.
    pub(super) fn login_unjudged(&mut self, session: SessionId) {
        if let Some(login) = self.claimants.get_mut(&session.0) {
            login.counted = true;
        }
    }

    fn count_failure(&mut self, claimant: &Claimant) {
        if let Some(locked) = self.lockout.failed(claimant, clock::now()) {
            bump(&mut self.counts.locks);
            tracing::warn!(?locked, "logins are refused for a while: too many have failed");
            tracing::debug!(?claimant, "who is locked");
        }
    }

    /// The user proved itself.
    pub(super) fn login_succeeded(&mut self, session: SessionId, user: &str) {
        if let Some(login) = self.claimants.remove(&session.0)
            && let Some(claimed) = login.claimant.user
        {
            self.lockout.succeeded(&claimed);
        }
        self.lockout.succeeded(user);
    }

    /// A handshake came to nothing. A client that gave up when it saw that its password is wrong has failed as well; failures
    /// without a name count for the source address.
    pub(super) fn handshake_failed(&mut self, session: u64, peer: IpAddr, counter: IkeCounter) {
        let claimant = match self.claimants.remove(&session) {
            Some(login) if login.counted => return,
            Some(login) => login.claimant,
            None => Claimant { user: None, source: Some(peer) },
        };
        if counter == IkeCounter::AuthFailed {
            self.count_failure(&claimant);
        }
    }

    /// Whether the address that the datagram at work comes from is locked.
    pub(super) fn source_is_locked(&mut self) -> bool {
        let nameless = Claimant { user: None, source: self.current_peer };
        let locked = self.lockout.locked(&nameless, clock::now()).is_some();
        if locked {
            bump(&mut self.counts.logins_locked);
        }
        locked
    }

    /// Whether the user may have one more session; the oldest makes room for it, if the policy says so.
    pub(super) fn has_room_for_one_more(&mut self, user: &str) -> bool {
        let most = self.services.aaa.max_sessions_per_user;
        let sessions: Vec<u64> = if most == 0 { Vec::new() } else { self.sessions.of_user(user).collect() };
        if most == 0 || sessions.len() < most {
            return true;
        }
        if self.services.aaa.on_session_limit == OnSessionLimit::Refuse {
            bump(&mut self.counts.session_limit_refusals);
            tracing::info!(
                sessions = sessions.len(),
                "a login is refused: its user has as many sessions as it may have"
            );
            return false;
        }
        let surplus = sessions.len().saturating_add(1).saturating_sub(most);
        for session in sessions.into_iter().take(surplus) {
            bump(&mut self.counts.session_limit_replacements);
            self.blame(session, TerminateCause::PortPreempted);
            self.replaced(session);
        }
        true
    }

    /// Another session of the same user takes its place: it ends for good.
    fn replaced(&mut self, session: u64) {
        self.sessions.closing(session);
        match self.table.of_session(session).map(|(record, _)| record.id) {
            Some(id) => drop(self.table.clear(&id)),
            None => self.inputs.push_back(Input::Operator(Operator::Delete(SessionId(session)))),
        }
    }
}
