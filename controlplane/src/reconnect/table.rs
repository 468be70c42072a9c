//! The session databases: which session stands where, and what every event does to it.
//!
//! Enters: logins, IKE SAs that come up and go down, the passing of time, operators' orders, the store's content at start.
//! Leaves: [`Effect`]s. Resuming is in `resume.rs`.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;

use causeway_ike::api::PolicyEnd;

use super::attempts::{Attempts, Bounds, FAILURES_PER_ID, FAILURES_PER_SOURCE};
use super::inactive::{Inactive, InactivePlace};
use super::resume::Attempt;
use super::ticket::TicketStand;
use super::{Counts, Effect, Ending, Event, Phase, Settings, Write, fresh_token};
use crate::counters::bump;
use crate::store::{
    DurableId, Presented, PreviousToken, SessionRecord, StoreError, StoredState, Token, Tokens, Totals,
    WallSecs,
};
use crate::tickets::is_of_ticket;

/// Owners of leases that were taken over from an earlier run begin here; IKE sessions have lower numbers.
const RESTORED_OWNERS: u64 = 1 << 63;

/// Both session databases.
pub struct Table {
    pub(super) settings: Settings,
    pub(super) entries: HashMap<DurableId, Entry>,
    /// By the IKE session that holds or negotiates it.
    pub(super) by_session: HashMap<u64, DurableId>,
    /// IKE sessions whose leases are this table's to end.
    pub(super) leases: HashSet<u64>,
    /// Inactive sessions, longest inactive first.
    inactive: BTreeSet<(WallSecs, DurableId)>,
    /// The same by user.
    inactive_of: HashMap<String, BTreeSet<(WallSecs, DurableId)>>,
    /// When something ends: the wait of an inactive session, or the lifetime of one that is not.
    pub(super) deadlines: BTreeSet<(WallSecs, DurableId)>,
    pub(super) attempts: HashMap<u64, Attempt>,
    pub(super) by_id: Attempts<DurableId>,
    pub(super) by_source: Attempts<IpAddr>,
    pub(super) counts: Counts,
    pub(super) effects: VecDeque<Effect>,
    restored: u64,
    last_serial: u64,
}

/// A session.
pub(super) struct Entry {
    /// Without its attributes and client facts, which only the store keeps.
    pub(super) record: SessionRecord,
    pub(super) phase: Phase,
    /// The IKE session that holds it.
    pub(super) holder: Option<u64>,
    /// Who holds its lease; `None` if its address is in no pool.
    pub(super) owner: Option<u64>,
    pub(super) token_generation: u64,
    /// The IKE session of the newest attempt that proved a token, or of the login.
    pub(super) newest_attempt: u64,
    /// Whether the client has shown that it has the last token.
    pub(super) confirmed: bool,
    /// Its ticket, if it is resumed by tickets (RFC 5723); `None` for one that is resumed by a token, or waits since before the
    /// last restart.
    pub(super) ticket: Option<TicketStand>,
    /// Where its client was last.
    pub(super) last_peer: Option<(IpAddr, u16)>,
    pub(super) method: String,
}

/// What a new session is made of.
pub struct Login {
    /// The IKE session, which holds the lease too.
    pub session: u64,
    /// The record; id, generation, serial and state are set here.
    pub record: SessionRecord,
    /// How the user proved itself.
    pub method: String,
    /// Whether it is to be resumed by tickets, which are made later ([`Table::ticket_made`]).
    pub by_ticket: bool,
}

impl Table {
    /// Without any session.
    pub fn new(settings: Settings) -> Table {
        Table {
            settings,
            entries: HashMap::new(),
            by_session: HashMap::new(),
            leases: HashSet::new(),
            inactive: BTreeSet::new(),
            inactive_of: HashMap::new(),
            deadlines: BTreeSet::new(),
            attempts: HashMap::new(),
            by_id: Attempts::new(Bounds::of_reconnect(FAILURES_PER_ID)),
            by_source: Attempts::new(Bounds::of_reconnect(FAILURES_PER_SOURCE)),
            counts: Counts::default(),
            effects: VecDeque::new(),
            restored: 0,
            last_serial: 0,
        }
    }

    /// The policy.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The next thing to do.
    pub fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Takes over an inactive session of an earlier run. Returns who holds its lease from now on.
    pub fn restore(&mut self, record: SessionRecord) -> Option<u64> {
        let StoredState::Inactive { since, expires_at } = record.state else { return None };
        self.last_serial = self.last_serial.max(record.serial);
        let owner = RESTORED_OWNERS.saturating_add(self.restored);
        self.restored = self.restored.saturating_add(1);
        let id = record.id;
        let entry = Entry {
            record: without_blobs(record),
            phase: Phase::Negotiating,
            holder: None,
            owner: Some(owner),
            token_generation: 0,
            newest_attempt: 0,
            confirmed: false,
            ticket: None,
            last_peer: None,
            method: String::new(),
        };
        self.entries.insert(id, entry);
        self.enter_inactive(id, since, expires_at);
        Some(owner)
    }

    /// Takes over an active session of an earlier run, which goes on in this IKE session. Its lease is held by that one.
    pub fn goes_on(&mut self, session: u64, record: SessionRecord, tokens: &Tokens, method: String) {
        self.last_serial = self.last_serial.max(record.serial);
        let (id, generation) = (record.id, record.generation);
        if record.state == StoredState::Resuming {
            self.effects.push_back(Effect::Write(Write::Activate { id, generation }));
        }
        let entry = Entry {
            record: SessionRecord { state: StoredState::Active, ..without_blobs(record) },
            phase: Phase::Active,
            holder: Some(session),
            owner: Some(session),
            newest_attempt: session,
            token_generation: tokens.generation,
            confirmed: tokens.previous.as_ref().is_none_or(PreviousToken::is_burnt),
            ticket: is_of_ticket(&tokens.current).then(|| TicketStand {
                valid: !tokens.current.as_bytes().is_empty(),
                presented: Presented::Current,
            }),
            last_peer: None,
            method,
        };
        self.entries.insert(id, entry);
        self.by_session.insert(session, id);
        self.leases.insert(session);
        self.set_deadline(id);
    }

    /// The address of a restored session is in no pool any more.
    pub fn address_is_gone(&mut self, owner: u64, id: &DurableId) {
        if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.owner == Some(owner)) {
            entry.owner = None;
        }
    }

    /// The number of the next session.
    pub fn next_serial(&mut self) -> u64 {
        self.last_serial = self.last_serial.saturating_add(1);
        self.last_serial
    }

    /// Somebody else has this number.
    pub fn serial_is_taken(&mut self, serial: u64) {
        self.last_serial = self.last_serial.max(serial);
    }

    /// A user has logged in whose client can come back: gives the session its id and token. It must be stored before the
    /// client is told; if that fails, [`Table::not_stored`].
    ///
    /// # Errors
    /// When there is no token.
    pub fn login(
        &mut self,
        login: Login,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(SessionRecord, Tokens), StoreError> {
        let Login { session, mut record, method, by_ticket } = login;
        let tokens = Tokens::new(if by_ticket { Token::none() } else { fresh_token(fill)? });
        record.id = loop {
            let id = DurableId::random(&mut *fill);
            if !self.entries.contains_key(&id) {
                break id;
            }
        };
        (record.generation, record.serial, record.state) = (1, self.next_serial(), StoredState::Active);
        let id = record.id;
        self.entries.insert(
            id,
            Entry {
                record: without_blobs(record.clone()),
                phase: Phase::Negotiating,
                holder: Some(session),
                owner: Some(session),
                token_generation: tokens.generation,
                newest_attempt: session,
                confirmed: false,
                ticket: by_ticket.then_some(TicketStand { valid: false, presented: Presented::Current }),
                last_peer: None,
                method,
            },
        );
        self.by_session.insert(session, id);
        self.leases.insert(session);
        self.set_deadline(id);
        Ok((record, tokens))
    }

    /// The store did not take a login: the session goes on, but cannot be resumed. Its lease is the caller's again.
    pub fn not_stored(&mut self, session: u64) {
        bump(&mut self.counts.unstored);
        self.leases.remove(&session);
        if let Some(id) = self.by_session.remove(&session) {
            self.forget(&id);
        }
    }

    /// An IKE session came up, at `peer`.
    pub fn up(&mut self, session: u64, peer: (IpAddr, u16)) {
        let id = self.by_session.get(&session).copied();
        self.attempt_ended(session, id.is_some());
        let Some(id) = id else {
            // Another claim won meanwhile: whoever lost must not go on with the same address.
            if self.leases.contains(&session) {
                self.effects.push_back(Effect::Drop(session));
            }
            return;
        };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.last_peer = Some(peer);
        if entry.phase == Phase::Resuming {
            let generation = entry.record.generation;
            self.effects.push_back(Effect::Write(Write::Activate { id, generation }));
            if entry.ticket.is_some_and(|ticket| !ticket.valid) {
                // Its client has not asked for another one, and the one that it came with is used.
                self.effects.push_back(Effect::Write(Write::Revoke { id, generation }));
            }
        }
        entry.phase = Phase::Active;
    }

    /// The client of an IKE session is somewhere else now.
    pub fn moved(&mut self, session: u64, peer: (IpAddr, u16)) {
        if let Some(entry) = self.by_session.get(&session).and_then(|id| self.entries.get_mut(id)) {
            entry.last_peer = Some(peer);
        }
    }

    /// The client used the keys of its new IKE SA: it has the token that came with them.
    pub fn first_message(&mut self, session: u64) {
        let Some(id) = self.by_session.get(&session).copied() else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.phase == Phase::Active && !entry.confirmed {
            entry.confirmed = true;
            let (generation, token_generation) = (entry.record.generation, entry.token_generation);
            let confirm = Write::Confirm { id, generation, token_generation };
            self.effects.push_back(Effect::Write(confirm));
        }
    }

    /// Whether [`Table::first_message`] of this session is waited for.
    pub fn awaits_first_message(&self, session: u64) -> bool {
        let entry = self.by_session.get(&session).and_then(|id| self.entries.get(id));
        entry.is_some_and(|entry| entry.phase == Phase::Active && !entry.confirmed)
    }

    /// IKE has no use for the address of this session any more. Returns whether the lease is this table's, so that the
    /// caller must leave it alone.
    pub fn lease_returned(&mut self, session: u64, now: WallSecs) -> bool {
        if !self.leases.contains(&session) {
            return false;
        }
        let id = self.by_session.get(&session).copied();
        let phase = id.as_ref().and_then(|id| self.entries.get(id)).map(|entry| entry.phase);
        match (id, phase) {
            // Its handshake failed before the client knew of it.
            (Some(id), Some(Phase::Negotiating)) => {
                self.leases.remove(&session);
                self.unbind(session);
                self.remove(&id, None);
            }
            // It came up without Child SA, or not at all.
            (Some(id), Some(Phase::Resuming)) => {
                self.leases.remove(&session);
                self.unbind(session);
                self.park(&id, now, Totals::default());
            }
            // How it ended decides, and is told next.
            _ => {}
        }
        true
    }

    /// An IKE session went down; `totals` is what it carried.
    pub fn down(&mut self, session: u64, ending: Ending, now: WallSecs, totals: Totals) {
        self.leases.remove(&session);
        let Some(id) = self.by_session.get(&session).copied() else { return };
        self.unbind(session);
        let ticket = self.entries.get(&id).and_then(|entry| entry.ticket);
        let keeps = match ending {
            // Nobody comes back without a ticket.
            Ending::Silent => ticket.is_none_or(|ticket| ticket.valid),
            // Its ticket goes with the IKE SA (RFC 5723 §6.2).
            Ending::ClientDeleted if ticket.is_some() => false,
            Ending::ClientDeleted => {
                self.settings.on_client_delete == causeway_shared::config::OnClientDelete::Keep
            }
            Ending::Final => false,
        };
        if keeps { self.park(&id, now, totals) } else { self.remove(&id, None) }
    }

    /// Lets time pass: what is over ends.
    pub fn timer(&mut self, now: WallSecs) {
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > now {
                return;
            }
            bump(&mut self.counts.expired);
            let entry = self.entries.get(&id);
            let user = entry.map(|entry| entry.record.user.clone()).unwrap_or_default();
            self.effects.push_back(Effect::Event(Event::Expired { id, user }));
            self.remove(&id, Some(PolicyEnd::Lifetime));
            self.deadlines.remove(&(at, id));
        }
    }

    /// When [`Table::timer`] has something to do.
    pub fn next_deadline(&self) -> Option<WallSecs> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The operator ends a session for good, active or not. Returns whether there is one.
    pub fn clear(&mut self, id: &DurableId) -> bool {
        let known = self.entries.contains_key(id);
        self.remove(id, None);
        known
    }

    /// Policy ends the session of an IKE session for good. Returns whether there is one.
    pub fn end(&mut self, session: u64, why: PolicyEnd) -> bool {
        let id = self.by_session.get(&session).copied();
        id.inspect(|id| self.remove(id, Some(why))).is_some()
    }

    /// The operator ends every inactive session. Returns how many there were.
    pub fn clear_inactive(&mut self) -> usize {
        let ids: Vec<_> = self.inactive.iter().map(|(_, id)| *id).collect();
        for id in &ids {
            self.remove(id, None);
        }
        ids.len()
    }

    /// A pool is full: the session that waits longest for its client gives its address up, if the policy says so.
    pub fn reclaim(&mut self, pool: Option<&str>) -> bool {
        let suits = |id: &DurableId| {
            self.entries.get(id).is_some_and(|entry| {
                entry.owner.is_some() && pool.is_none_or(|pool| pool == entry.record.pool)
            })
        };
        let oldest = self.inactive.iter().map(|(_, id)| *id).find(suits);
        let oldest = oldest.filter(|_| self.settings.reclaim);
        oldest.inspect(|id| self.evict(id)).is_some()
    }

    /// A user is here again whose own address a waiting session of the same user holds: that session ends. Returns whether
    /// there was one.
    pub fn supersede(&mut self, user: &str, address: IpAddr) -> bool {
        let holds = |id: &DurableId| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| {
                entry.record.user == user && entry.record.inner_addresses().any(|own| own == address)
            })
        };
        let held = self.inactive.iter().map(|(_, id)| *id).find(holds);
        held.inspect(|id| self.evict(id)).is_some()
    }

    /// The gateway stops: the IKE sessions whose clients can come back. They are dropped without a word, since a client
    /// that was told goodbye would not come back.
    pub fn holders(&self) -> Vec<u64> {
        let up = |entry: &&Entry| entry.phase == Phase::Active;
        self.entries.values().filter(up).filter_map(|entry| entry.holder).collect()
    }

    /// At most `limit` inactive sessions, longest inactive first, after this place, and whether there are more. Costs what
    /// it gives, however many there are; with a user, a look at each of the others.
    pub fn inactive_page(
        &self,
        after: Option<InactivePlace>,
        user: Option<&str>,
        limit: usize,
    ) -> (Vec<Inactive>, bool) {
        let start = after.map_or(Bound::Unbounded, |place| Bound::Excluded((place.since, place.id)));
        let places = self.inactive.range((start, Bound::Unbounded));
        let mut entries = places
            .filter_map(|(_, id)| self.entries.get(id))
            .filter(|entry| user.is_none_or(|user| user == entry.record.user));
        let page = entries.by_ref().take(limit).filter_map(|entry| {
            let Phase::Inactive { since, expires_at } = entry.phase else { return None };
            Some(Inactive {
                record: entry.record.clone(),
                last_peer: entry.last_peer,
                method: entry.method.clone(),
                since,
                expires_at,
            })
        });
        let page: Vec<_> = page.collect();
        let more = entries.next().is_some();
        (page, more)
    }

    /// How many sessions of a user are inactive.
    pub fn inactive_count_of(&self, user: &str) -> usize {
        self.inactive_of.get(user).map_or(0, BTreeSet::len)
    }

    /// How many sessions are inactive.
    pub fn inactive_count(&self) -> usize {
        self.inactive.len()
    }

    /// How many sessions are active and can be resumed.
    pub fn active_count(&self) -> usize {
        // Who is active is held by an IKE session, and those are far fewer than the sessions that wait.
        let held = self.by_session.values().filter_map(|id| self.entries.get(id));
        held.filter(|entry| entry.phase == Phase::Active).count()
    }

    /// The durable session of an IKE session: record (without attributes) and phase.
    pub fn of_session(&self, session: u64) -> Option<(&SessionRecord, Phase)> {
        let entry = self.entries.get(self.by_session.get(&session)?)?;
        Some((&entry.record, entry.phase))
    }

    /// Where a session stands.
    pub fn phase(&self, id: &DurableId) -> Option<Phase> {
        self.entries.get(id).map(|entry| entry.phase)
    }

    /// The session waits for its client from now on; if there are too many that wait, another one ends.
    pub(super) fn park(&mut self, id: &DurableId, now: WallSecs, totals: Totals) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let ends_at = entry.record.ends_at;
        let expires_at = now.after(self.settings.timeout_secs);
        let expires_at = ends_at.map_or(expires_at, |ends_at| ends_at.min(expires_at));
        add(&mut entry.record.totals, totals);
        let (generation, totals) = (entry.record.generation, entry.record.totals);
        let user = entry.record.user.clone();
        self.make_room(&user);
        bump(&mut self.counts.parked);
        let id = *id;
        self.enter_inactive(id, now, expires_at);
        let waits_secs = expires_at.0.saturating_sub(now.0);
        self.effects.extend([
            Effect::Write(Write::Park { id, generation, since: now, expires_at, totals }),
            Effect::Event(Event::Inactive { id, user, waits_secs }),
        ]);
    }

    /// The session is over: its IKE session, if it has one, its record and its lease. `why`: what of the policy; the
    /// operator's order without.
    pub(super) fn remove(&mut self, id: &DurableId, why: Option<PolicyEnd>) {
        let Some(entry) = self.forget(id) else { return };
        if let Some(session) = entry.holder {
            self.by_session.remove(&session);
            self.effects.push_back(match why {
                None => Effect::Delete(session),
                Some(why) => Effect::End(session, why),
            });
        }
        self.effects.push_back(Effect::Write(Write::Remove { id: *id, generation: None }));
        if let Some(owner) = entry.owner {
            self.effects.push_back(Effect::ReleaseLease { owner });
        }
    }

    /// Takes the session out of the inactive ones.
    pub(super) fn leave_inactive(&mut self, id: &DurableId) {
        let Some(entry) = self.entries.get(id) else { return };
        if let Phase::Inactive { since, expires_at } = entry.phase {
            self.inactive.remove(&(since, *id));
            self.deadlines.remove(&(expires_at, *id));
            if let Some(places) = self.inactive_of.get_mut(&entry.record.user) {
                places.remove(&(since, *id));
                if places.is_empty() {
                    self.inactive_of.remove(&entry.record.user);
                }
            }
        }
    }

    /// The end of a session that is not inactive.
    pub(super) fn set_deadline(&mut self, id: DurableId) {
        if let Some(ends_at) = self.entries.get(&id).and_then(|entry| entry.record.ends_at) {
            self.deadlines.insert((ends_at, id));
        }
    }

    /// The IKE session holds nothing any more.
    pub(super) fn unbind(&mut self, session: u64) {
        if let Some(entry) = self.by_session.remove(&session).and_then(|id| self.entries.get_mut(&id)) {
            entry.holder = None;
        }
    }

    fn enter_inactive(&mut self, id: DurableId, since: WallSecs, expires_at: WallSecs) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(ends_at) = entry.record.ends_at {
            self.deadlines.remove(&(ends_at, id));
        }
        entry.phase = Phase::Inactive { since, expires_at };
        entry.record.state = StoredState::Inactive { since, expires_at };
        self.inactive.insert((since, id));
        self.deadlines.insert((expires_at, id));
        self.inactive_of.entry(entry.record.user.clone()).or_default().insert((since, id));
    }

    /// Ends the longest inactive session of the user, or of all, while there are too many.
    fn make_room(&mut self, user: &str) {
        if self.inactive_count_of(user) >= self.settings.per_user_max {
            let oldest = self.inactive_of.get(user).and_then(|places| Some(places.first()?.1));
            oldest.inspect(|id| self.evict(id));
        }
        if self.inactive.len() >= self.settings.max_inactive {
            let oldest = self.inactive.first().map(|(_, id)| *id);
            oldest.inspect(|id| self.evict(id));
        }
    }

    fn evict(&mut self, id: &DurableId) {
        let Some(user) = self.entries.get(id).map(|entry| entry.record.user.clone()) else { return };
        bump(&mut self.counts.evicted);
        self.effects.push_back(Effect::Event(Event::Evicted { id: *id, user }));
        self.remove(id, None);
    }

    fn forget(&mut self, id: &DurableId) -> Option<Entry> {
        self.leave_inactive(id);
        let entry = self.entries.remove(id)?;
        if let Some(ends_at) = entry.record.ends_at {
            self.deadlines.remove(&(ends_at, *id));
        }
        Some(entry)
    }
}

/// The store keeps these; with a million sessions, memory does not.
pub(super) fn without_blobs(mut record: SessionRecord) -> SessionRecord {
    record.attributes = Vec::new();
    record.client = Vec::new();
    record
}

fn add(sum: &mut Totals, more: Totals) {
    sum.in_packets = sum.in_packets.saturating_add(more.in_packets);
    sum.in_bytes = sum.in_bytes.saturating_add(more.in_bytes);
    sum.out_packets = sum.out_packets.saturating_add(more.out_packets);
    sum.out_bytes = sum.out_bytes.saturating_add(more.out_bytes);
}
