//! Attempts to resume: from the IDi that names a session id to the claim that one attempt wins.
//!
//! Enters: what the peer calls itself, what the store has of it, which token the peer proved to hold. Leaves: a
//! [`Resumption`], or a [`Refusal`] that the peer cannot tell from any other: ids that exist and ids that do not are
//! looked up alike, and a key is made up where there is none.

use std::net::Ipv4Addr;

use causeway_ike::api::PolicyEnd;
use causeway_shared::config::{OnTokenReplay, TokenPolicy};

use super::attributes::{self, Attribute};
use super::table::{Table, without_blobs};
use super::{Effect, Event, Incoming, Now, Offer, Phase, Proof, Refusal, Resumption, Write, fresh_token};
use crate::counters::bump;
use crate::store::{
    Claim, Claimed, DurableId, Presented, Rotation, SessionRecord, StoreError, StoredState, Tokens, WallSecs,
};

/// An attempt under way, by its IKE session.
pub(super) struct Attempt {
    id: DurableId,
    source: Ipv4Addr,
    /// What the store said of it when its token was looked at.
    generation: Option<u64>,
    was_active: bool,
    refusal: Option<Refusal>,
    won: bool,
}

impl Table {
    /// An IKE_AUTH request with a shared-key AUTH came: is its IDi a session id?
    pub fn incoming(&mut self, session: u64, source: Ipv4Addr, id: &[u8], now: Now) -> Incoming {
        let Some(id) = DurableId::parse(id).filter(|_| self.settings.enabled) else {
            return Incoming::NotAnId;
        };
        bump(&mut self.counts.incoming);
        let at = now.monotonic;
        let frozen = self.by_id.is_frozen(&id, at) || self.by_source.is_frozen(&source, at);
        let refusal = frozen.then_some(Refusal::Frozen);
        let attempt = Attempt { id, source, generation: None, was_active: false, refusal, won: false };
        self.attempts.insert(session, attempt);
        Incoming::Fetch(id)
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
                let previous = tokens.previous.map(|previous| {
                    let usable = previous.is_usable(now) && !confirmed;
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
            Proof::Burnt => {
                self.burnt(session);
                return Err(Refusal::Replay);
            }
        };
        let generation = attempt.generation.ok_or(Refusal::Handshake)?;
        let id = attempt.id;
        let asks = attributes::is_requested(requested, self.settings.attributes.token);
        let rotates = asks && self.settings.token_policy == TokenPolicy::Rotate;
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

    /// The peer's AUTH was made with a token that counts no longer.
    pub fn burnt(&mut self, session: u64) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        attempt.refusal = Some(Refusal::Replay);
        let (id, source) = (attempt.id, attempt.source);
        self.replayed(id, source);
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
    ) -> Result<Resumption, Refusal> {
        let won = match outcome {
            Err(_) => Err(Refusal::Store),
            Ok(Claimed::Lost) => Err(Refusal::Raced),
            Ok(Claimed::Expired) => Err(Refusal::Expired),
            Ok(Claimed::Unknown) => Err(Refusal::UnknownId),
            Ok(Claimed::Won { record, tokens, .. }) => Ok((*record, tokens)),
        };
        let attempt = self.attempts.get_mut(&session);
        match won {
            Err(refusal) => {
                if let Some(attempt) = attempt {
                    attempt.refusal = Some(refusal);
                }
                Err(refusal)
            }
            Ok((record, tokens)) => {
                if let Some(attempt) = attempt {
                    attempt.won = true;
                }
                self.take_over(session, record, tokens)
            }
        }
    }

    fn take_over(
        &mut self,
        session: u64,
        record: SessionRecord,
        tokens: Option<Tokens>,
    ) -> Result<Resumption, Refusal> {
        let id = record.id;
        self.leave_inactive(&id);
        let Some(entry) = self.entries.get_mut(&id) else {
            // It ended between the claim and its answer: the store must not keep what nobody here knows.
            let generation = Some(record.generation);
            self.effects.push_back(Effect::Write(Write::Remove { id, generation }));
            return Err(Refusal::UnknownId);
        };
        let predecessor = entry.holder.replace(session);
        entry.phase = Phase::Resuming;
        entry.token_generation = tokens.as_ref().map_or(0, |tokens| tokens.generation);
        entry.confirmed = tokens.as_ref().is_none_or(|tokens| tokens.previous.is_none());
        entry.record = without_blobs(record.clone());
        let owner = entry.owner;
        if let Some(predecessor) = predecessor {
            self.by_session.remove(&predecessor);
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
            let guessed = matches!(reason, Refusal::WrongToken | Refusal::UnknownId | Refusal::Replay);
            if guessed {
                self.by_id.failed(id, now.monotonic);
                self.by_source.failed(source, now.monotonic);
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

    fn replayed(&mut self, id: DurableId, source: Ipv4Addr) {
        bump(&mut self.counts.replays);
        let user = self.entries.get(&id).map(|entry| entry.record.user.clone()).unwrap_or_default();
        let killed = self.settings.on_token_replay == OnTokenReplay::Kill;
        self.effects.push_back(Effect::Event(Event::Replay { id, user, source, killed }));
        if killed {
            self.remove(&id, Some(PolicyEnd::TokenReplay));
        }
    }
}
