//! The store in memory: for tests, and for gateways whose sessions need not outlive them (`store.backend = "memory"`).
//! Same contract as the one on disk, down to what a rollback undoes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::record::check_attributes;
use super::{
    Changed, Claim, Claimed, Counts, Cursor, DurableId, IkeState, Page, ParkedAll, Rotation, SessionRecord,
    SessionStore, StoreError, StoredState, Tokens, Totals, WallSecs,
};

/// Sessions in memory.
#[derive(Default)]
pub struct MemoryStore {
    entries: BTreeMap<i64, Entry>,
    places: HashMap<DurableId, i64>,
    addresses: HashMap<IpAddr, i64>,
    /// Inactive sessions by the end of their time.
    expiries: BTreeSet<(WallSecs, i64)>,
    /// Inactive sessions by how long they are.
    silences: BTreeSet<(WallSecs, i64)>,
    /// The same, user by user.
    silences_of: HashMap<String, BTreeSet<(WallSecs, i64)>>,
    counts: Counts,
    mark: WallSecs,
    /// What entries were before the transaction changed them, latest change last.
    undo: Vec<(i64, Option<Entry>)>,
}

#[derive(Clone)]
struct Entry {
    record: SessionRecord,
    tokens: Option<Tokens>,
    ike_state: Option<IkeState>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn entry(&self, id: &DurableId) -> Option<(i64, &Entry)> {
        let place = *self.places.get(id)?;
        Some((place, self.entries.get(&place)?))
    }

    /// Every change goes through here: `entry` takes the place of what was there, in the table and in every index.
    fn set(&mut self, place: i64, entry: Option<Entry>) {
        let before = self.replace(place, entry);
        self.undo.push((place, before));
    }

    fn replace(&mut self, place: i64, entry: Option<Entry>) -> Option<Entry> {
        let before = self.entries.remove(&place);
        if let Some(before) = &before {
            self.unindex(place, &before.record);
        }
        if let Some(entry) = entry {
            self.index(place, &entry.record);
            self.entries.insert(place, entry);
        }
        before
    }

    fn index(&mut self, place: i64, record: &SessionRecord) {
        self.places.insert(record.id, place);
        self.addresses.extend(record.inner_addresses().map(|address| (address, place)));
        let count = self.counts.of(record.state);
        *count = count.saturating_add(1);
        if let StoredState::Inactive { since, expires_at } = record.state {
            self.expiries.insert((expires_at, place));
            self.silences.insert((since, place));
            self.silences_of.entry(record.user.clone()).or_default().insert((since, place));
        }
    }

    fn unindex(&mut self, place: i64, record: &SessionRecord) {
        self.places.remove(&record.id);
        for address in record.inner_addresses() {
            self.addresses.remove(&address);
        }
        let count = self.counts.of(record.state);
        *count = count.saturating_sub(1);
        if let StoredState::Inactive { since, expires_at } = record.state {
            self.expiries.remove(&(expires_at, place));
            self.silences.remove(&(since, place));
            if let Some(own) = self.silences_of.get_mut(&record.user) {
                own.remove(&(since, place));
                if own.is_empty() {
                    self.silences_of.remove(&record.user);
                }
            }
        }
    }

    /// Changes a session, if it has this generation.
    fn change(&mut self, id: &DurableId, generation: u64, how: impl FnOnce(&mut Entry)) -> Changed {
        let Some((place, entry)) = self.entry(id) else { return Changed::Unknown };
        if entry.record.generation != generation {
            return Changed::Lost;
        }
        let mut entry = entry.clone();
        how(&mut entry);
        self.set(place, Some(entry));
        Changed::Done
    }

    fn records(&self, places: impl Iterator<Item = i64>) -> Vec<SessionRecord> {
        places.filter_map(|place| self.entries.get(&place)).map(|entry| entry.record.clone()).collect()
    }
}

impl SessionStore for MemoryStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.undo.clear();
        Ok(())
    }

    fn commit(&mut self, now: WallSecs) -> Result<(), StoreError> {
        self.undo.clear();
        self.mark = self.mark.max(now);
        Ok(())
    }

    fn rollback(&mut self) {
        while let Some((place, before)) = self.undo.pop() {
            self.replace(place, before);
        }
    }

    fn mark(&self) -> WallSecs {
        self.mark
    }

    fn put_new(&mut self, record: &SessionRecord, tokens: Option<&Tokens>) -> Result<(), StoreError> {
        record.check()?;
        if self.places.contains_key(&record.id) {
            return Err(StoreError::IdTaken);
        }
        if let Some(taken) = record.inner_addresses().find(|address| self.addresses.contains_key(address)) {
            return Err(StoreError::AddressTaken(taken));
        }
        let place = self.entries.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
        let entry = Entry { record: record.clone(), tokens: tokens.cloned(), ike_state: None };
        self.set(place, Some(entry));
        Ok(())
    }

    fn get(&self, id: &DurableId) -> Result<Option<(SessionRecord, Option<Tokens>)>, StoreError> {
        Ok(self.entry(id).map(|(_, entry)| (entry.record.clone(), entry.tokens.clone())))
    }

    fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        let Some((place, entry)) = self.entry(&claim.id) else { return Ok(Claimed::Unknown) };
        if entry.record.generation != claim.generation {
            return Ok(Claimed::Lost);
        }
        if entry.record.is_expired(claim.now) {
            return Ok(Claimed::Expired);
        }
        let from = entry.record.state;
        let mut entry = entry.clone();
        entry.record.claimed(claim);
        entry.ike_state = None;
        if let Some(rotation) = &claim.rotation {
            entry.tokens = entry.tokens.map(|tokens| tokens.rotated(rotation));
        }
        let (record, tokens) = (Box::new(entry.record.clone()), entry.tokens.clone());
        self.set(place, Some(entry));
        Ok(Claimed::Won { record, tokens, from })
    }

    fn activate(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError> {
        Ok(self.change(id, generation, |entry| entry.record.state = StoredState::Active))
    }

    fn park(
        &mut self,
        id: &DurableId,
        generation: u64,
        since: WallSecs,
        expires_at: WallSecs,
        totals: Totals,
    ) -> Result<Changed, StoreError> {
        Ok(self.change(id, generation, |entry| {
            entry.record.state = StoredState::Inactive { since, expires_at };
            entry.record.totals = totals;
            entry.ike_state = None;
        }))
    }

    fn park_others(
        &mut self,
        now: WallSecs,
        timeout_secs: u64,
        except: &HashSet<DurableId>,
    ) -> Result<ParkedAll, StoreError> {
        let ends = |record: &SessionRecord| !record.state.is_inactive() && !except.contains(&record.id);
        let live = self.entries.iter().filter(|(_, entry)| ends(&entry.record));
        let live: Vec<(i64, Entry)> = live.map(|(place, entry)| (*place, entry.clone())).collect();
        let mut done = ParkedAll::default();
        for (place, mut entry) in live {
            if entry.tokens.is_none() {
                self.set(place, None);
                done.removed += 1;
                continue;
            }
            let end = now.after(timeout_secs);
            let expires_at = entry.record.ends_at.map_or(end, |ends_at| end.min(ends_at));
            entry.record.state = StoredState::Inactive { since: now, expires_at };
            entry.ike_state = None;
            self.set(place, Some(entry));
            done.parked += 1;
        }
        Ok(done)
    }

    fn rotate(
        &mut self,
        id: &DurableId,
        generation: u64,
        rotation: &Rotation,
    ) -> Result<Changed, StoreError> {
        Ok(self.change(id, generation, |entry| {
            entry.tokens = entry.tokens.take().map(|tokens| tokens.rotated(rotation));
        }))
    }

    fn confirm_token(
        &mut self,
        id: &DurableId,
        generation: u64,
        token_generation: u64,
    ) -> Result<Changed, StoreError> {
        Ok(self.change(id, generation, |entry| {
            entry.tokens = entry.tokens.take().map(|tokens| tokens.confirmed(token_generation));
        }))
    }

    fn set_totals(&mut self, id: &DurableId, generation: u64, totals: Totals) -> Result<Changed, StoreError> {
        Ok(self.change(id, generation, |entry| entry.record.totals = totals))
    }

    fn set_attributes(
        &mut self,
        id: &DurableId,
        generation: u64,
        attributes: &[u8],
    ) -> Result<Changed, StoreError> {
        check_attributes(attributes)?;
        Ok(self.change(id, generation, |entry| entry.record.attributes = attributes.to_vec()))
    }

    fn remove(&mut self, id: &DurableId, generation: Option<u64>) -> Result<Changed, StoreError> {
        let Some((place, entry)) = self.entry(id) else { return Ok(Changed::Unknown) };
        if generation.is_some_and(|generation| generation != entry.record.generation) {
            return Ok(Changed::Lost);
        }
        self.set(place, None);
        Ok(Changed::Done)
    }

    fn purge_expired(&mut self, now: WallSecs, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        let expired = self.expiries.iter().take_while(|(expires_at, _)| *expires_at <= now);
        let places: Vec<i64> = expired.map(|(_, place)| *place).take(limit).collect();
        let gone = self.records(places.iter().copied());
        for place in places {
            self.set(place, None);
        }
        Ok(gone)
    }

    fn oldest_inactive(&self, user: Option<&str>, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        let silences = match user {
            None => Some(&self.silences),
            Some(user) => self.silences_of.get(user),
        };
        let oldest = silences.into_iter().flatten().map(|(_, place)| *place).take(limit);
        Ok(self.records(oldest))
    }

    fn inactive_of(&self, user: &str) -> Result<u64, StoreError> {
        Ok(self.silences_of.get(user).map_or(0, |own| own.len() as u64))
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn page(&self, after: Cursor, limit: usize) -> Result<Page, StoreError> {
        let later = self.entries.range(after.0.saturating_add(1)..).take(limit);
        let (places, records): (Vec<i64>, Vec<SessionRecord>) =
            later.map(|(place, entry)| (*place, entry.record.clone())).unzip();
        let next = if records.len() < limit { None } else { places.last().copied().map(Cursor) };
        Ok(Page { records, next })
    }

    fn put_ike_state(
        &mut self,
        id: &DurableId,
        generation: u64,
        state: &IkeState,
    ) -> Result<Changed, StoreError> {
        if self.entry(id).is_some_and(|(_, entry)| entry.record.state.is_inactive()) {
            return Ok(Changed::Lost);
        }
        Ok(self.change(id, generation, |entry| entry.ike_state = Some(state.clone())))
    }

    fn ike_state(&self, id: &DurableId) -> Result<Option<IkeState>, StoreError> {
        Ok(self.entry(id).and_then(|(_, entry)| entry.ike_state.clone()))
    }

    fn delete_ike_state(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError> {
        Ok(self.change(id, generation, |entry| entry.ike_state = None))
    }
}
