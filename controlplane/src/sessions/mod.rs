//! The sessions as the operator sees them.
//!
//! Enters: the endpoint's events (session and Child SAs up, rekeyed, moved, down) and the figures of the data plane.
//! Leaves: published snapshots that the API pages, filters and renders without touching the driver's state again.

pub mod limits;
mod record;

pub use record::{Numbers, Record, SaTraffic, SessionPolicy};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use causeway_ike::api::{ChildFacts, Event, SessionFacts};
use causeway_shared::api::Traffic;

use limits::Carried;
use record::Child;

use crate::store::Totals;

use crate::debug::Party;

/// Every session that is up.
#[derive(Default)]
pub struct Registry {
    records: BTreeMap<u64, Arc<Record>>,
    by_spi: HashMap<u32, u64>,
    /// In the order of their coming up.
    by_user: HashMap<String, BTreeSet<(u64, u64)>>,
    /// Tunnel ids in use.
    tunnel_ids: BTreeSet<u32>,
    last_serial: u64,
    /// The last snapshot, while nothing has changed.
    snapshot: Option<Arc<Snapshot>>,
}

/// The sessions at one moment, in order of their id.
#[derive(Default)]
pub struct Snapshot {
    records: Vec<Arc<Record>>,
}

impl Snapshot {
    /// All of them.
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Those after this id; all without one.
    pub fn after(&self, id: Option<u64>) -> &[Arc<Record>] {
        let start = id.map_or(0, |id| self.records.partition_point(|record| record.id() <= id));
        self.records.get(start..).unwrap_or(&[])
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<Arc<Record>> {
        let place = self.records.binary_search_by_key(&id, |record| record.id()).ok()?;
        self.records.get(place).cloned()
    }
}

impl Registry {
    /// Takes note of an event. `traffic` gives the last figures of a Child SA that ends, for the session's sum.
    pub fn note(&mut self, event: &Event, traffic: impl Fn(u32) -> Option<SaTraffic>) {
        match event {
            Event::SessionUp(facts) => self.up(facts),
            Event::SessionDown { session, .. } => self.down(session.0),
            Event::IkeRekeyed { session, spis, suite, .. } => {
                self.change(session.0, |record| record.ike_rekeyed(*spis, suite));
            }
            Event::PeerMoved { session, peer, peer_port } => {
                self.change(session.0, |record| record.moved(*peer, *peer_port));
            }
            Event::ChildUp(facts) => self.child_up(facts),
            Event::ChildDown { session, inbound_spi, .. } => {
                let last = traffic(*inbound_spi);
                self.by_spi.remove(inbound_spi);
                self.change(session.0, |record| record.child_down(*inbound_spi, last));
            }
            Event::ChildRefused { .. }
            | Event::PeerConfirmed { .. }
            | Event::TokenReplayed { .. }
            | Event::HandshakeFailed { .. }
            | Event::ShutdownComplete { .. } => {}
        }
    }

    /// Says that the session's deletion has begun. Returns whether there is such a session.
    pub fn closing(&mut self, session: u64) -> bool {
        self.change(session, Record::closing)
    }

    /// What a session's Child SAs carried that are gone: all of it once the session is down.
    pub fn totals(&self, session: u64) -> Totals {
        self.records.get(&session).map(|record| record.totals()).unwrap_or_default()
    }

    /// What a session has carried in both directions. `traffic` gives the figures of a Child SA that is there.
    pub fn carried(&self, session: u64, traffic: impl Fn(u32) -> Option<SaTraffic>) -> Carried {
        let Some(record) = self.records.get(&session) else { return Carried::default() };
        record.carried(record.inbound_spis().filter_map(traffic))
    }

    /// What a session has carried in both directions, octets too. `traffic` gives the figures of a Child SA that is there.
    pub fn traffic(&self, session: u64, traffic: impl Fn(u32) -> Option<SaTraffic>) -> Totals {
        let Some(record) = self.records.get(&session) else { return Totals::default() };
        record.inbound_spis().filter_map(traffic).fold(record.totals(), |sum, one| Totals {
            in_packets: sum.in_packets.saturating_add(one.traffic.in_packets),
            in_bytes: sum.in_bytes.saturating_add(one.traffic.in_bytes),
            out_packets: sum.out_packets.saturating_add(one.traffic.out_packets),
            out_bytes: sum.out_bytes.saturating_add(one.traffic.out_bytes),
        })
    }

    /// Gives a session the number that the store has for it; sessions that come up later get higher ones.
    pub fn set_serial(&mut self, session: u64, serial: u64) {
        self.last_serial = self.last_serial.max(serial);
        self.change(session, |record| record.set_serial(serial));
    }

    /// The number of a session.
    pub fn serial(&self, session: u64) -> Option<u64> {
        self.records.get(&session).map(|record| record.numbers().serial)
    }

    /// What operators call a session's place among those that are up.
    pub fn tunnel_id(&self, session: u64) -> Option<u32> {
        self.records.get(&session).map(|record| record.numbers().tunnel_id)
    }

    /// How a session's user proved itself.
    pub fn method(&self, session: u64) -> Option<&str> {
        self.records.get(&session).map(|record| record.facts().auth_method.as_str())
    }

    /// Where a session's client is.
    pub fn peer(&self, session: u64) -> Option<(IpAddr, u16)> {
        self.records.get(&session).map(|record| (record.peer(), record.peer_port()))
    }

    /// What a session's Child SAs carried that are gone.
    pub fn past(&self, session: u64) -> Traffic {
        self.records.get(&session).map(|record| record.past()).unwrap_or_default()
    }

    /// A session that came up just now has gone on since an earlier run, under these numbers and with this behind it.
    pub fn goes_on(&mut self, session: u64, numbers: Numbers, past: Traffic) {
        let Some(given) = self.tunnel_id(session) else { return };
        self.last_serial = self.last_serial.max(numbers.serial);
        self.tunnel_ids.remove(&given);
        let free = numbers.tunnel_id > 0 && self.tunnel_ids.insert(numbers.tunnel_id);
        let tunnel_id = if free { numbers.tunnel_id } else { self.take_tunnel_id() };
        self.change(session, |record| record.goes_on(Numbers { tunnel_id, ..numbers }, past));
    }

    /// Takes note of what a session may have, and whether it can come back.
    pub fn describe(&mut self, session: u64, policy: SessionPolicy) {
        self.change(session, |record| record.describe(policy));
    }

    /// The session that a Child SA belongs to.
    pub fn session_of(&self, inbound_spi: u32) -> Option<u64> {
        self.by_spi.get(&inbound_spi).copied()
    }

    /// Whether the session is up.
    pub fn contains(&self, session: u64) -> bool {
        self.records.contains_key(&session)
    }

    /// A user's sessions that are up and not ending, the oldest first.
    pub fn of_user(&self, user: &str) -> impl Iterator<Item = u64> {
        let sessions = self.by_user.get(user).into_iter().flatten().map(|(_, session)| *session);
        sessions.filter(|session| self.records.get(session).is_some_and(|record| !record.is_closing()))
    }

    /// Sessions that are up.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is up.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The sessions that are up, as conditions of debugging see them.
    pub fn parties(&self) -> impl Iterator<Item = Party<'_>> {
        self.records.values().map(|record| Party {
            session: record.id(),
            user: record.user(),
            peer: record.peer(),
            peer_port: record.peer_port(),
        })
    }

    /// The sessions now. Costs a copy of the list (not of the sessions) after a change, nothing otherwise.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        let records = &self.records;
        let make = || Arc::new(Snapshot { records: records.values().cloned().collect() });
        Arc::clone(self.snapshot.get_or_insert_with(make))
    }

    fn up(&mut self, facts: &SessionFacts) {
        self.snapshot = None;
        self.last_serial = self.last_serial.saturating_add(1);
        let numbers = Numbers { serial: self.last_serial, tunnel_id: self.take_tunnel_id() };
        self.records.insert(facts.session.0, Arc::new(Record::new(facts, numbers)));
        let place = (facts.established_at.as_millis(), facts.session.0);
        self.by_user.entry(facts.user.clone()).or_default().insert(place);
    }

    fn down(&mut self, session: u64) {
        self.snapshot = None;
        if let Some(record) = self.records.remove(&session) {
            self.tunnel_ids.remove(&record.numbers().tunnel_id);
            let place = (record.facts().established_at.as_millis(), session);
            if let Some(places) = self.by_user.get_mut(record.user()) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_user.remove(record.user());
                }
            }
            for spi in record.inbound_spis() {
                self.by_spi.remove(&spi);
            }
        }
    }

    /// The lowest that is free, from 1.
    fn take_tunnel_id(&mut self) -> u32 {
        let taken = (1u32..).zip(&self.tunnel_ids).take_while(|(id, taken)| id == *taken).count();
        let id = u32::try_from(taken).unwrap_or(u32::MAX).saturating_add(1);
        self.tunnel_ids.insert(id);
        id
    }

    fn child_up(&mut self, facts: &ChildFacts) {
        let session = facts.session.0;
        if self.change(session, |record| record.child_up(Child::new(facts))) {
            self.by_spi.insert(facts.inbound_spi, session);
        }
    }

    fn change(&mut self, session: u64, change: impl FnOnce(&mut Record)) -> bool {
        let Some(record) = self.records.get_mut(&session) else { return false };
        self.snapshot = None;
        // Copies the record only while a snapshot still holds it.
        change(Arc::make_mut(record));
        true
    }
}

#[cfg(test)]
mod tests;
