//! Attempts to resume: from the IDi that names a session id to the claim that one attempt wins.
//!
//! Enters: what the peer calls itself, what the store has of it, which token the peer proved to hold. Leaves: a
//! [`Resumption`], or a [`Refusal`] that the peer cannot tell from any other: ids that exist and ids that do not are
//! looked up alike, and a key is made up where there is none.

use std::net::{IpAddr, Ipv6Addr};

use causeway_ike::api::PolicyEnd;
use causeway_shared::config::{OnTokenReplay, TokenPolicy};

use super::attributes::{self, Attribute};
use super::table::{Table, without_blobs};
use super::ticket::TicketStand;
use super::{Effect, Event, Incoming, Now, Offer, Phase, Proof, Refusal, Resumption, Write, fresh_token};
use crate::counters::bump;
use crate::store::{
    Claim, Claimed, DurableId, Presented, Rotation, SessionRecord, StoreError, StoredState, Token, Tokens,
    WallSecs,
};
use crate::tickets::is_of_ticket;

/// Claims of one attempt: each is lost to an older attempt of the same client, and those are few.
pub const MAX_CLAIMS: u32 = 8;

/// An attempt under way, by its IKE session.
pub(super) struct Attempt {
    id: DurableId,
    source: IpAddr,
    /// What the store said of it when its token was looked at.
    generation: Option<u64>,
    was_active: bool,
    /// By a ticket (RFC 5723), whose token only its tokens are.
    by_ticket: bool,
    /// The tokens of that moment.
    offered: Option<Tokens>,
    /// Whether its client has shown that it has the current one.
    confirmed: bool,
    /// Which was proven, and it.
    presented: Presented,
    held: Option<Token>,
    claims: u32,
    refusal: Option<Refusal>,
    won: bool,
}

/// A claim that did not bring the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotWon {
    /// An older attempt of the same client was faster: ask the store again, then [`Table::fetched_again`].
    Again(DurableId),
    /// The attempt has failed.
    Refused(Refusal),
}

impl Table {
    /// An IKE_AUTH request with a shared-key AUTH came: is its IDi a session id?
    pub fn incoming(&mut self, session: u64, source: IpAddr, id: &[u8], now: Now) -> Incoming {
        let Some(id) = DurableId::parse(id).filter(|_| self.settings.enabled) else {
            return Incoming::NotAnId;
        };
        self.begin_attempt(session, source, id, false, now);
        Incoming::Fetch(id)
    }

    /// A ticket of this session came. Ask the store about it, then [`Table::fetched`].
    pub fn incoming_ticket(&mut self, session: u64, source: IpAddr, id: DurableId, now: Now) {
        self.begin_attempt(session, source, id, true, now);
    }

    fn begin_attempt(&mut self, session: u64, source: IpAddr, id: DurableId, by_ticket: bool, now: Now) {
        bump(&mut self.counts.incoming);
        let at = now.monotonic;
        let frozen = self.by_id.is_frozen(&id, at) || self.by_source.is_frozen(&link_of(source), at);
        let refusal = frozen.then_some(Refusal::Frozen);
        let attempt = Attempt {
            id,
            source,
            generation: None,
            was_active: false,
            by_ticket,
            offered: None,
            confirmed: false,
            presented: Presented::Current,
            held: None,
            claims: 0,
            refusal,
            won: false,
        };
        self.attempts.insert(session, attempt);
    }

    /// What the store has of the id; an error is for it to say. Returns the tokens that may be proven; `None` for a session
    /// that cannot be resumed, whatever is proven.
    pub fn fetched(
        &mut self,
        session: u64,
        found: Result<Option<(SessionRecord, Option<Tokens>)>, StoreError>,
        now: WallSecs,
    ) -> Option<Offer> {
        let allow_takeover = self.settings.allow_active_takeover;
        let attempt = self.attempts.get_mut(&session)?;
        let judged = match found {
            Err(_) => Err(Refusal::Store),
            Ok(Some((_, Some(tokens)))) if is_of_ticket(&tokens.current) != attempt.by_ticket => {
                Err(Refusal::UnknownId)
            }
            Ok(Some((record, Some(tokens)))) => match record.state {
                StoredState::Inactive { expires_at, .. } if expires_at <= now => Err(Refusal::Expired),
                StoredState::Active | StoredState::Resuming if !allow_takeover => Err(Refusal::StillActive),
                _ => Ok((record, tokens)),
            },
            Ok(_) => Err(Refusal::UnknownId),
        };
        match judged {
            Ok((record, tokens)) => {
                attempt.generation = Some(record.generation);
                attempt.was_active = !matches!(record.state, StoredState::Inactive { .. });
                if attempt.refusal.is_some() {
                    return None;
                }
                // The confirmation may still be on its way to the store.
                let entry = self.entries.get(&record.id);
                let confirmed =
                    entry.is_some_and(|entry| entry.confirmed && entry.token_generation == tokens.generation);
                attempt.offered = Some(tokens.clone());
                let previous = tokens.previous.map(|previous| {
                    let usable = previous.is_usable(now) && !confirmed;
                    attempt.confirmed = confirmed || previous.is_burnt();
                    (previous.token, usable)
                });
                Some(Offer { current: tokens.current, previous })
            }
            Err(refusal) => {
                attempt.refusal.get_or_insert(refusal);
                None
            }
        }
    }

    /// The peer's AUTH was made with this token. Returns the claim to make.
    ///
    /// # Errors
    /// When the token counts no longer, or the attempt is none.
    pub fn proven(
        &mut self,
        session: u64,
        proof: Proof,
        requested: &[Attribute],
        now: WallSecs,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Claim, Refusal> {
        let serial = self.next_serial();
        let attempt = self.attempts.get_mut(&session).ok_or(Refusal::Handshake)?;
        let presented = match proof {
            Proof::Current => Presented::Current,
            Proof::Previous => Presented::Previous,
            Proof::Burnt => return Err(self.judge_burnt(session)),
        };
        let (Some(generation), Some(offered)) = (attempt.generation, &attempt.offered) else {
            return Err(Refusal::Handshake);
        };
        attempt.presented = presented;
        attempt.held = match presented {
            Presented::Current => Some(offered.current.clone()),
            Presented::Previous => offered.previous.as_ref().map(|previous| previous.token.clone()),
        };
        attempt.claims = attempt.claims.saturating_add(1);
        let (id, by_ticket) = (attempt.id, attempt.by_ticket);
        // A client begins an attempt when it has given up the one before: what is still on its way from that one must not
        // take the session away from the client. IKE sessions are numbered as their first messages came.
        if let Some(entry) = self.entries.get_mut(&id) {
            if session < entry.newest_attempt {
                attempt.refusal = Some(Refusal::Overtaken);
                return Err(Refusal::Overtaken);
            }
            entry.newest_attempt = session;
        }
        let asks = attributes::is_requested(requested, self.settings.attributes.token);
        // A ticket is replaced when the next one is made.
        let rotates = asks && !by_ticket && self.settings.token_policy == TokenPolicy::Rotate;
        let rotation = match rotates.then(|| fresh_token(fill)) {
            Some(Ok(token)) => {
                let previous_usable_until = now.after(self.settings.rotate_grace_secs);
                Some(Rotation { token, presented, previous_usable_until })
            }
            Some(Err(_)) => return Err(Refusal::Store),
            None => None,
        };
        Ok(Claim { id, generation, now, serial, rotation })
    }

    /// What the store has of the id after a claim was lost ([`NotWon::Again`]). Returns the next claim: the token was proven
    /// already.
    ///
    /// # Errors
    /// When the session cannot be resumed any more, or the token counts no longer.
    pub fn fetched_again(
        &mut self,
        session: u64,
        found: Result<Option<(SessionRecord, Option<Tokens>)>, StoreError>,
        requested: &[Attribute],
        now: WallSecs,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Claim, Refusal> {
        let offer = self.fetched(session, found, now);
        let attempt = self.attempts.get_mut(&session).ok_or(Refusal::Handshake)?;
        let (Some(offer), Some(held)) = (offer, &attempt.held) else {
            return Err(*attempt.refusal.get_or_insert(Refusal::Raced));
        };
        let proof = match &offer.previous {
            _ if offer.current.matches(held) => Proof::Current,
            Some((previous, true)) if previous.matches(held) => Proof::Previous,
            Some((previous, false)) if previous.matches(held) => Proof::Burnt,
            _ => return Err(*attempt.refusal.get_or_insert(Refusal::Raced)),
        };
        self.proven(session, proof, requested, now, fill)
    }

    /// The peer presented a ticket that counts no longer. That is no proof of anything: tickets can be seen on their way.
    pub fn ticket_refused(&mut self, session: u64) {
        if let Some(attempt) = self.attempts.get_mut(&session) {
            attempt.refusal.get_or_insert(Refusal::Replay);
        }
    }

    /// The peer's AUTH was made with a token that counts no longer.
    pub fn burnt(&mut self, session: u64) {
        self.judge_burnt(session);
    }

    fn judge_burnt(&mut self, session: u64) -> Refusal {
        let Some(attempt) = self.attempts.get_mut(&session) else { return Refusal::Handshake };
        let (id, source, confirmed) = (attempt.id, attempt.source, attempt.confirmed);
        // The token counted when this handshake began: an attempt that its client has given up, and no theft.
        let overtaken = self.entries.get(&id).is_some_and(|entry| session < entry.newest_attempt);
        let refusal = if overtaken { Refusal::Overtaken } else { Refusal::Replay };
        attempt.refusal = Some(refusal);
        if !overtaken {
            self.replayed(id, source, confirmed);
        }
        refusal
    }

    /// Whose session an attempt names, so far unproven.
    pub fn attempted(&self, session: u64) -> Option<DurableId> {
        self.attempts.get(&session).map(|attempt| attempt.id)
    }

    /// What became of the claim. A session that was active until now has lost its IKE session ([`Effect::Drop`]).
    ///
    /// # Errors
    /// When another attempt won, or there is nothing left to win.
    pub fn claimed(
        &mut self,
        session: u64,
        outcome: Result<Claimed, StoreError>,
    ) -> Result<Resumption, NotWon> {
        let attempt = self.attempts.get(&session);
        let newest =
            attempt.and_then(|attempt| self.entries.get(&attempt.id)).map(|entry| entry.newest_attempt);
        let overtaken = newest.is_some_and(|newest| session < newest);
        if matches!(outcome, Ok(Claimed::Lost))
            && !overtaken
            && let Some(attempt) = attempt.filter(|attempt| attempt.claims < MAX_CLAIMS)
        {
            return Err(NotWon::Again(attempt.id));
        }
        let won = match outcome {
            Err(_) => Err(Refusal::Store),
            Ok(Claimed::Lost) if overtaken => Err(Refusal::Overtaken),
            Ok(Claimed::Lost) => Err(Refusal::Raced),
            Ok(Claimed::Expired) => Err(Refusal::Expired),
            Ok(Claimed::Unknown) => Err(Refusal::UnknownId),
            Ok(Claimed::Won { record, tokens, .. }) => Ok((*record, tokens)),
        };
        let taken = won.and_then(|(record, tokens)| self.take_over(session, record, tokens));
        if let Some(attempt) = self.attempts.get_mut(&session) {
            attempt.won = taken.is_ok();
            attempt.refusal = taken.as_ref().err().copied().or(attempt.refusal);
        }
        taken.map_err(NotWon::Refused)
    }

    fn take_over(
        &mut self,
        session: u64,
        record: SessionRecord,
        tokens: Option<Tokens>,
    ) -> Result<Resumption, Refusal> {
        let id = record.id;
        self.leave_inactive(&id);
        let attempt = self.attempts.get(&session);
        let by_ticket = attempt.is_some_and(|attempt| attempt.by_ticket);
        let presented = attempt.map_or(Presented::Current, |attempt| attempt.presented);
        let Some(entry) = self.entries.get_mut(&id) else {
            // It ended between the claim and its answer: the store must not keep what nobody here knows.
            let generation = Some(record.generation);
            self.effects.push_back(Effect::Write(Write::Remove { id, generation }));
            return Err(Refusal::UnknownId);
        };
        if entry.record.generation > record.generation {
            // A later claim was heard of sooner.
            return Err(Refusal::Overtaken);
        }
        let predecessor = entry.holder.replace(session);
        entry.phase = Phase::Resuming;
        entry.token_generation = tokens.as_ref().map_or(0, |tokens| tokens.generation);
        entry.confirmed = tokens.as_ref().is_none_or(|tokens| tokens.previous.is_none());
        entry.ticket = by_ticket.then_some(TicketStand { valid: false, presented });
        // Its end may have been changed since it was stored.
        let ends_at = entry.record.ends_at;
        entry.record = SessionRecord { ends_at, ..without_blobs(record.clone()) };
        let owner = entry.owner;
        if let Some(predecessor) = predecessor {
            self.by_session.remove(&predecessor);
            self.overtaken(predecessor);
            self.effects.push_back(Effect::Drop(predecessor));
        }
        self.by_session.insert(session, id);
        self.leases.insert(session);
        self.set_deadline(id);
        Ok(Resumption { record, tokens, owner })
    }

    /// The address of the resumed session is in no pool any more: it ends.
    pub fn address_gone(&mut self, session: u64) {
        if let Some(attempt) = self.attempts.get_mut(&session) {
            attempt.refusal = Some(Refusal::AddressGone);
        }
        if let Some(id) = self.by_session.get(&session).copied() {
            self.leases.remove(&session);
            self.unbind(session);
            self.remove(&id, None);
        }
    }

    /// The handshake of an IKE session failed; `authentication`: because of its AUTH.
    pub fn handshake_failed(&mut self, session: u64, authentication: bool, now: Now) {
        if let Some(attempt) = self.attempts.get_mut(&session) {
            let proven_wrong = if authentication { Refusal::WrongToken } else { Refusal::Handshake };
            let reason = *attempt.refusal.get_or_insert(proven_wrong);
            let (id, source) = (attempt.id, attempt.source);
            let by_ticket = attempt.by_ticket;
            let guessed = matches!(reason, Refusal::WrongToken | Refusal::UnknownId | Refusal::Replay);
            if guessed {
                // A ticket says nothing about its session, so nobody guesses at one.
                if !by_ticket {
                    self.by_id.failed(id, now.monotonic);
                }
                self.by_source.failed(link_of(source), now.monotonic);
            }
        }
        self.attempt_ended(session, false);
        // A claim that came to nothing: the client may try again.
        let held = self.by_session.get(&session).copied();
        match held.as_ref().and_then(|id| self.phase(id)) {
            Some(Phase::Resuming) => {
                self.lease_returned(session, now.wall);
            }
            Some(Phase::Negotiating) => {
                self.lease_returned(session, now.wall);
            }
            _ => {}
        }
        self.leases.remove(&session);
    }

    /// An attempt is over: its IKE session is up, or never will be.
    pub(super) fn attempt_ended(&mut self, session: u64, up: bool) {
        let Some(attempt) = self.attempts.remove(&session) else { return };
        let Attempt { id, source, was_active: taken_over, refusal, won, .. } = attempt;
        match refusal {
            None if up && won => {
                bump(&mut self.counts.success);
                self.by_id.succeeded(&id);
                let user = self.entries.get(&id).map(|entry| entry.record.user.clone());
                let user = user.unwrap_or_default();
                self.effects.push_back(Effect::Event(Event::Resumed { id, user, session, taken_over }));
            }
            _ => {
                let reason = refusal.unwrap_or(Refusal::Handshake);
                self.counts.refuse(reason);
                self.effects.push_back(Effect::Event(Event::Failed { id, source, reason }));
            }
        }
    }

    /// The attempt, if this IKE session is one that is not up yet, has lost the session that it had won.
    fn overtaken(&mut self, session: u64) {
        if let Some(attempt) = self.attempts.get_mut(&session) {
            attempt.refusal = Some(Refusal::Overtaken);
            self.attempt_ended(session, false);
        }
    }

    /// `confirmed`: whether the client has shown that it has the token that came after. If it has not, it may be the client
    /// itself, which never got the answer.
    fn replayed(&mut self, id: DurableId, source: IpAddr, confirmed: bool) {
        bump(&mut self.counts.replays);
        let user = self.entries.get(&id).map(|entry| entry.record.user.clone()).unwrap_or_default();
        let killed = confirmed && self.settings.on_token_replay == OnTokenReplay::Kill;
        self.effects.push_back(Effect::Event(Event::Replay { id, user, source, killed }));
        if killed {
            self.remove(&id, Some(PolicyEnd::TokenReplay));
        }
    }
}

/// Who counts as one source: of IPv6 the /64, because a host has every address of its link's prefix to choose from (RFC 7421 §3).
fn link_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
