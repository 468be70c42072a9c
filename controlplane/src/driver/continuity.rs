//! Saving sessions so that they go on when this process is killed (docs/store.md).
//!
//! Enters: what the endpoint has worked on. Leaves: the store's copy of it, and datagrams once that copy is on the disk. A
//! session is saved again only when its [`Mark`] changes, once in a block of sequence numbers, and after a failure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use causeway_ike::Mark;
use causeway_ike::api::{Datagram, SessionId};

use super::core::Core;
use super::later::{Save, Saved};
use crate::clock;
use crate::continuity::{Floor, Gate, Kept, KeptSa, SWEEP, Ticket};
use crate::link::ledger::SequenceState;
use crate::link::{EarlierTraffic, Link};
use crate::store::{Changed, SessionRecord};
use zeroize::Zeroizing;

/// Sessions saved in one go by [`Core::sweep`]; the rest follows in the next.
const MAX_SWEPT: usize = 1024;
/// The generation of a session that nobody can claim.
const PLAIN_GENERATION: u64 = 1;

/// What is kept of sessions, and what waits for it.
#[derive(Default)]
pub(super) struct Continuity {
    /// Names the run of the machine; `None`: nothing is kept.
    boot_id: Option<String>,
    gate: Gate<Datagram>,
    /// What the input at work sends, and the last write that it depends on.
    batch: Vec<Datagram>,
    needs: Ticket,
    /// Records of logins that cannot be resumed, until they are up.
    plain_logins: HashMap<u64, SessionRecord>,
    sessions: BTreeMap<u64, Keeping>,
    /// What is to be saved with the input at work.
    saves: Vec<Save>,
    next_sweep: Duration,
    /// Whether sessions of an earlier run are being taken up.
    restoring: bool,
}

/// A session that is up.
#[derive(Default)]
struct Keeping {
    /// Its own record, if it is not the session databases'.
    plain: Option<Box<SessionRecord>>,
    /// Whether that record is stored, as far as is known, and by which write.
    has_record: bool,
    record_ticket: Ticket,
    record_due: bool,
    /// What was saved last.
    mark: Option<Mark>,
    /// The last write.
    ticket: Ticket,
    floors: HashMap<u32, Floor>,
    failed: bool,
}

impl<L: Link> Core<L> {
    /// Keeps sessions from now on, for this run of the machine.
    pub(super) fn keep_sessions(&mut self, boot_id: Option<String>) {
        self.continuity.boot_id = boot_id;
        self.continuity.restoring = true;
    }

    /// Every session of earlier runs is taken up.
    pub(super) fn all_taken_up(&mut self) {
        self.continuity.restoring = false;
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.continuity.restoring
    }

    pub(super) fn boot_id(&self) -> Option<&str> {
        self.continuity.boot_id.as_deref()
    }

    /// A user has logged in whose session cannot be resumed: this is its record once it is up.
    pub(super) fn note_plain_login(&mut self, session: u64, record: SessionRecord) {
        if self.continuity.boot_id.is_some() {
            self.continuity.plain_logins.insert(session, record);
        }
    }

    /// The number for a write that the batch at work depends on.
    pub(super) fn needed_write(&mut self) -> Ticket {
        let ticket = self.continuity.gate.ticket();
        self.continuity.needs = ticket;
        ticket
    }

    /// The number for a write that nothing waits for.
    pub(super) fn free_write(&mut self) -> Ticket {
        self.continuity.gate.ticket()
    }

    pub(super) fn write_ended(&mut self, ticket: Ticket, good: bool) {
        for datagram in self.continuity.gate.ended(ticket, good) {
            self.link.transmit(datagram);
        }
    }

    /// Sends a datagram with the others of the input at work.
    pub(super) fn send_with_batch(&mut self, datagram: Datagram) {
        self.continuity.batch.push(datagram);
    }

    pub(super) fn begin_keeping(&mut self, session: u64) {
        let Continuity { boot_id, plain_logins, sessions, .. } = &mut self.continuity;
        let mut plain = plain_logins.remove(&session);
        let resumable = self.table.of_session(session).is_some();
        if boot_id.is_none() || sessions.contains_key(&session) || (plain.is_none() && !resumable) {
            return;
        }
        if let Some(record) = &mut plain {
            record.serial = self.sessions.serial(session).unwrap_or_default();
        }
        let plain = plain.filter(|_| !resumable).map(Box::new);
        sessions.insert(session, Keeping { plain, ..Keeping::default() });
    }

    /// A session of an earlier run goes on; it is saved already, unless it has sent something since.
    pub(super) fn go_on_keeping(&mut self, session: u64, plain: Option<SessionRecord>, sas: &[KeptSa]) {
        let floor = |sa: &KeptSa| Floor {
            outbound: sa.pair.first_outbound_sequence,
            inbound: sa.pair.highest_inbound_sequence,
        };
        let keeping = Keeping {
            plain: plain.map(Box::new),
            has_record: true,
            mark: self.endpoint.mark(SessionId(session)),
            floors: sas.iter().map(|sa| (sa.pair.inbound_spi, floor(sa))).collect(),
            ..Keeping::default()
        };
        self.continuity.sessions.insert(session, keeping);
    }

    /// A session is over, or never came up. The session databases see to what they have of it.
    pub(super) fn end_keeping(&mut self, session: u64) {
        self.continuity.plain_logins.remove(&session);
        let ended = self.continuity.sessions.remove(&session);
        if let Some(record) = ended.filter(|keeping| keeping.has_record).and_then(|keeping| keeping.plain) {
            self.continuity.saves.push(Save::Remove { id: record.id, generation: PLAIN_GENERATION });
        }
    }

    /// The input at work is done: what has changed is saved, and what it sends leaves as soon as that is on the disk.
    pub(super) fn close_batch(&mut self) {
        let mut saved = Vec::new();
        for session in self.endpoint.take_changed() {
            let Some(keeping) = self.continuity.sessions.get(&session.0) else { continue };
            // Repeated octets wait for the write that they were first sent with.
            self.continuity.needs = self.continuity.needs.max(keeping.ticket);
            let mark = self.endpoint.mark(session);
            if keeping.mark != mark {
                self.save(session, mark);
                saved.push(session.0);
            }
        }
        if !self.continuity.saves.is_empty() {
            let ticket = self.needed_write();
            self.write_saves(ticket, saved);
        }
        if self.continuity.batch.is_empty() {
            // What an order has written counts for the message that follows from it.
            return;
        }
        let needs = std::mem::take(&mut self.continuity.needs);
        let batch = std::mem::take(&mut self.continuity.batch);
        for datagram in self.continuity.gate.pass(needs, batch) {
            self.link.transmit(datagram);
        }
    }

    /// Nothing more follows from what was done.
    pub(super) fn end_batches(&mut self) {
        self.continuity.needs = 0;
    }

    fn write_saves(&mut self, ticket: Ticket, sessions: Vec<u64>) {
        for session in &sessions {
            if let Some(keeping) = self.continuity.sessions.get_mut(session) {
                keeping.ticket = ticket;
                if std::mem::take(&mut keeping.record_due) {
                    keeping.record_ticket = ticket;
                }
            }
        }
        let saves = std::mem::take(&mut self.continuity.saves);
        self.counts.states_saved = self.counts.states_saved.saturating_add(saves.len() as u64);
        self.desk.save(ticket, saves, sessions);
    }

    /// Prepares the save of a session as it is now.
    fn save(&mut self, session: SessionId, mark: Option<Mark>) {
        let durable = self.table.of_session(session.0).map(|(record, _)| (record.id, record.generation));
        let Some(keeping) = self.continuity.sessions.get(&session.0) else { return };
        let plain = keeping.plain.as_ref().map(|record| (record.id, PLAIN_GENERATION));
        // A claim has taken it away, or it was never stored.
        let Some((id, generation)) = durable.or(plain) else { return };
        let state = mark.as_ref().and_then(|_| self.kept(session)).map(|kept| kept.encode());
        let Some(keeping) = self.continuity.sessions.get_mut(&session.0) else { return };
        keeping.mark = mark;
        keeping.failed = false;
        let save = match (state, &keeping.plain) {
            (Some(Ok(state)), Some(record)) if !keeping.has_record => {
                let record = record.clone();
                keeping.has_record = true;
                keeping.record_due = true;
                Save::New { record, state }
            }
            (Some(Ok(state)), _) => Save::State { id, generation, state },
            // None that could be followed: an older one must not be used, either.
            (Some(Err(_)) | None, _) => Save::Forget { id, generation },
        };
        self.continuity.saves.push(save);
    }

    /// A session in its stored form; sequence numbers are raised where they are used up.
    fn kept(&mut self, session: SessionId) -> Option<Kept> {
        let boot_id = self.continuity.boot_id.clone()?;
        let now = clock::now();
        let snapshot = self.endpoint.snapshot(clock::instant(now), session)?;
        let method = self.sessions.method(session.0).unwrap_or_default().to_owned();
        let last_peer = self.sessions.peer(session.0);
        let mut floors = HashMap::new();
        let mut sas = Vec::new();
        for spi in self.endpoint.installed(session) {
            // One that was lost meanwhile.
            let Some(pair) = self.link.pair(spi) else { continue };
            let mut pair = pair.clone();
            let known = self.continuity.sessions.get(&session.0).and_then(|keeping| keeping.floors.get(&spi));
            let used = self.used(spi).unwrap_or(SequenceState {
                outbound_reserved_end: pair.first_outbound_sequence,
                highest_inbound: pair.highest_inbound_sequence,
            });
            let floor = known.copied().filter(|floor| !floor.is_near(used));
            let floor = floor.unwrap_or_else(|| Floor::above(used));
            floor.apply(&mut pair);
            floors.insert(spi, floor);
            let before = self.link.earlier_traffic(spi);
            let total = self.link.traffic(spi).unwrap_or(before);
            sas.push(KeptSa { pair, traffic: EarlierTraffic { before, total } });
        }
        if let Some(keeping) = self.continuity.sessions.get_mut(&session.0) {
            keeping.floors = floors;
        }
        Some(Kept {
            boot_id,
            saved_ms: clock::millis(now),
            session: session.0,
            tunnel_id: self.sessions.tunnel_id(session.0).unwrap_or_default(),
            method,
            last_peer,
            past: self.sessions.past(session.0),
            sas,
            snapshot: Zeroizing::new(snapshot.expose().to_vec()),
        })
    }

    fn used(&self, spi: u32) -> Option<SequenceState> {
        self.link.sequence(spi)
    }

    /// Saves have ended; what failed is tried again.
    pub(super) fn saved(&mut self, saved: Saved) {
        let Saved { ticket, sessions, outcome } = saved;
        match &outcome {
            Ok(Changed::Done) => {}
            Ok(Changed::Lost | Changed::Unknown) => tracing::debug!("a session ended before it was saved"),
            Err(error) => {
                self.counts.states_unsaved =
                    self.counts.states_unsaved.saturating_add(sessions.len().max(1) as u64);
                tracing::warn!(%error, "the store did not take the state of a session: a restart may end it");
                for session in sessions {
                    let Some(keeping) = self.continuity.sessions.get_mut(&session) else { continue };
                    keeping.failed = true;
                    keeping.has_record &= keeping.record_ticket != ticket;
                }
            }
        }
        self.write_ended(ticket, outcome.is_ok());
    }

    /// Saves sessions whose sequence numbers come near what is stored, and those whose last save failed.
    pub(super) fn sweep(&mut self) {
        let now = clock::now();
        if self.continuity.next_sweep > now {
            return;
        }
        self.continuity.next_sweep = now.saturating_add(SWEEP);
        let near = |(spi, floor): (&u32, &Floor)| self.used(*spi).is_some_and(|used| floor.is_near(used));
        let due = |(_, keeping): &(&u64, &Keeping)| keeping.failed || keeping.floors.iter().any(near);
        let due: Vec<u64> = self
            .continuity
            .sessions
            .iter()
            .filter(due)
            .map(|(session, _)| *session)
            .take(MAX_SWEPT)
            .collect();
        for session in &due {
            let mark = self.endpoint.mark(SessionId(*session));
            self.save(SessionId(*session), mark);
        }
        if !self.continuity.saves.is_empty() {
            let ticket = self.free_write();
            self.write_saves(ticket, due);
        }
    }

    /// When [`Core::sweep`] has something to do.
    pub(super) fn time_until_sweep(&self) -> Option<Duration> {
        let any = !self.continuity.sessions.is_empty();
        any.then(|| self.continuity.next_sweep.saturating_sub(clock::now()))
    }
}
