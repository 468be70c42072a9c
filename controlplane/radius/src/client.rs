//! Questions to servers: identifiers, retransmission, fail-over (RFC 2865 §2.5, RFC 5080 §2.2.1).
//!
//! Enters: questions, datagrams from servers, the time, randomness. Leaves: [`Output`]s in order. A question goes to one server
//! after the other as [`Servers`] orders them; to each with the same octets until its tries are used up, waiting twice as long
//! each time, a tenth more or less. Dead servers are asked whether they are back (RFC 5997). Whatever is not believed changes
//! nothing. A datagram's way is a server and a lane: a source port of its own, so that 256 identifiers are no bound.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::SharedSecret;
use crate::packet::{HEADER_OCTETS, TooLong};
use crate::reply::{Disbelief, Reply, verify};
use crate::request::{Question, Sent};
use crate::servers::Servers;

/// Source ports per server.
pub const MAX_LANES: u16 = 16;
/// Questions under way, whatever their server; each server has an identifier for all of them.
pub const MAX_PENDING: usize = 256 * MAX_LANES as usize;
/// Longest wait before a datagram is sent again (RFC 5080 §2.2.1: MRT).
pub const MAX_INTERVAL: Duration = Duration::from_secs(16);
/// Time between two probes of a dead server.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(6);

/// How servers are asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers' secrets, in order of preference.
    pub secrets: Vec<SharedSecret>,
    /// Wait for the first answer.
    pub timeout: Duration,
    /// Datagrams to one server, the first included.
    pub tries: u32,
    /// How long a server that fell silent is asked last.
    pub dead: Duration,
    /// How long a question may take in all; afterwards no further server is asked.
    pub patience: Duration,
}

/// Names a question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// What must be done, or has happened.
#[derive(Debug)]
pub enum Output {
    /// Send this to a server from the source port of this lane.
    Send {
        /// Its place in [`Settings::secrets`].
        server: usize,
        /// Below [`MAX_LANES`].
        lane: u16,
        /// The datagram.
        octets: Vec<u8>,
    },
    /// A question has its answer.
    Answered {
        /// Which.
        ticket: Ticket,
        /// By whom.
        server: usize,
        /// The answer.
        reply: Reply,
    },
    /// Nobody answered.
    Unanswered {
        /// Which.
        ticket: Ticket,
    },
    /// A datagram was not believed.
    Disbelieved {
        /// From whom it seems to be.
        server: usize,
        /// Why.
        why: Disbelief,
    },
    /// A server is taken for dead from now on.
    Dead {
        /// Which.
        server: usize,
    },
    /// A server is back.
    Alive {
        /// Which.
        server: usize,
    },
}

/// Why a question is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// [`MAX_PENDING`] are under way.
    #[error("too many RADIUS requests at once")]
    TooMany,
    /// There is no server.
    #[error("no RADIUS server is configured")]
    NoServer,
    /// It cannot be said in one packet.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Datagrams sent, repetitions included.
    pub sent: u64,
    /// Of those: repetitions.
    pub retransmitted: u64,
    /// Questions put to another server because one was silent.
    pub failovers: u64,
    /// Questions that nobody answered.
    pub unanswered: u64,
    /// Answers believed.
    pub answered: u64,
    /// Datagrams that answer nothing that is asked: late, or not ours.
    pub unmatched: u64,
    /// Answers without Message-Authenticator.
    pub unsigned: u64,
    /// Answers with a wrong hash.
    pub forged: u64,
    /// Datagrams that are no packets.
    pub malformed: u64,
}

/// All questions under way.
pub struct Client {
    settings: Settings,
    servers: Servers,
    pending: HashMap<Ticket, Pending>,
    /// By server and slot: lane and identifier in one number.
    slots: HashMap<(usize, u16), Ticket>,
    next_slot: u16,
    timers: BTreeSet<(Duration, Ticket)>,
    probes: BTreeSet<(Duration, usize)>,
    tickets: u64,
    counts: Counts,
    outputs: VecDeque<Output>,
}

struct Pending {
    question: Question,
    is_probe: bool,
    /// Servers still to be asked.
    round: VecDeque<usize>,
    server: usize,
    slot: u16,
    sent: Sent,
    /// When it was first put to this server.
    since: Duration,
    tries_left: u32,
    interval: Duration,
    wake_at: Duration,
    give_up_at: Duration,
}

impl Client {
    /// Nothing asked yet.
    pub fn new(settings: Settings) -> Client {
        let servers = Servers::new(settings.secrets.len(), settings.dead);
        Client {
            settings,
            servers,
            pending: HashMap::new(),
            slots: HashMap::new(),
            next_slot: 0,
            timers: BTreeSet::new(),
            probes: BTreeSet::new(),
            tickets: 0,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Asks. `pinned`: the one server that may be asked, since it has begun this conversation (its State means nothing to
    /// the others).
    ///
    /// # Errors
    /// When nobody can be asked.
    pub fn ask(
        &mut self,
        now: Duration,
        question: Question,
        pinned: Option<usize>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Ticket, Refusal> {
        if self.pending.len() >= MAX_PENDING {
            return Err(Refusal::TooMany);
        }
        let round = pinned.map_or_else(|| self.servers.round(now), |server| vec![server]);
        self.begin(now, question, round.into(), false, fill)
    }

    /// Forgets a question whose answer nobody waits for any more.
    pub fn forget(&mut self, ticket: Ticket) {
        self.remove(ticket);
    }

    /// Takes a datagram that came from a server to a lane's source port.
    pub fn received(&mut self, now: Duration, server: usize, lane: u16, datagram: &[u8]) {
        let slot = datagram.get(1).map(|identifier| slot(lane, *identifier));
        let ticket = slot.and_then(|slot| self.slots.get(&(server, slot)).copied());
        let pending = ticket.and_then(|ticket| Some((ticket, self.pending.get(&ticket)?)));
        let (Some((ticket, pending)), Some(secret)) = (pending, self.settings.secrets.get(server)) else {
            let counter = if datagram.len() < HEADER_OCTETS {
                &mut self.counts.malformed
            } else {
                &mut self.counts.unmatched
            };
            *counter = counter.saturating_add(1);
            return;
        };
        match verify(datagram, &pending.sent, secret) {
            Ok(reply) => {
                let is_probe = pending.is_probe;
                self.remove(ticket);
                self.count(|counts| &mut counts.answered);
                if self.servers.answered(server, now) {
                    self.outputs.push_back(Output::Alive { server });
                }
                if !is_probe {
                    self.outputs.push_back(Output::Answered { ticket, server, reply });
                }
            }
            Err(why) => {
                self.count(|counts| match why {
                    Disbelief::Malformed(_) => &mut counts.malformed,
                    Disbelief::Mismatch => &mut counts.unmatched,
                    Disbelief::Unsigned => &mut counts.unsigned,
                    Disbelief::Authenticator | Disbelief::Signature => &mut counts.forged,
                });
                self.outputs.push_back(Output::Disbelieved { server, why });
            }
        }
    }

    /// Lets time pass.
    pub fn timer(&mut self, now: Duration, fill: &mut dyn FnMut(&mut [u8])) {
        while let Some((at, ticket)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, ticket));
            self.due(now, ticket, fill);
        }
        while let Some((at, server)) = self.probes.first().copied() {
            if at > now {
                break;
            }
            self.probes.remove(&(at, server));
            if self.servers.is_dead(server, now) {
                self.probes.insert((now.saturating_add(PROBE_INTERVAL), server));
                // Without room for it the next one asks.
                let _ = self.begin(now, Question::Status, VecDeque::from([server]), true, fill);
            }
        }
    }

    /// When [`Client::timer`] has something to do.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let (timer, probe) = (self.timers.first().map(|(at, _)| *at), self.probes.first().map(|(at, _)| *at));
        [timer, probe].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Questions under way.
    pub fn under_way(&self) -> usize {
        self.pending.len()
    }

    /// Whether a server is taken for dead.
    pub fn is_dead(&self, server: usize, now: Duration) -> bool {
        self.servers.is_dead(server, now)
    }

    /// The secret of a server.
    pub fn secret(&self, server: usize) -> Option<&SharedSecret> {
        self.settings.secrets.get(server)
    }

    fn begin(
        &mut self,
        now: Duration,
        question: Question,
        mut round: VecDeque<usize>,
        is_probe: bool,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Ticket, Refusal> {
        let server = round.pop_front().ok_or(Refusal::NoServer)?;
        let (slot, sent) = self.request(&question, server, fill)?;
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        let pending = Pending {
            question,
            is_probe,
            round,
            server,
            slot,
            sent,
            since: now,
            tries_left: if is_probe { 1 } else { self.settings.tries.max(1) },
            interval: self.settings.timeout,
            wake_at: now,
            give_up_at: now.saturating_add(self.settings.patience),
        };
        self.slots.insert((server, slot), ticket);
        self.pending.insert(ticket, pending);
        self.send(now, ticket, fill);
        Ok(ticket)
    }

    /// The request for a server, under an identifier that is free there.
    fn request(
        &mut self,
        question: &Question,
        server: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(u16, Sent), Refusal> {
        let secret = self.settings.secrets.get(server).ok_or(Refusal::NoServer)?;
        let slots = 256 * MAX_LANES;
        // The one that was used longest ago first, so that a server does not take it for a repetition.
        let start = self.next_slot;
        let free = (0..slots).map(|step| (start.wrapping_add(step)) % slots);
        let slot = free.into_iter().find(|slot| !self.slots.contains_key(&(server, *slot)));
        let slot = slot.ok_or(Refusal::TooMany)?;
        self.next_slot = slot.wrapping_add(1) % slots;
        let mut authenticator = [0; 16];
        fill(&mut authenticator);
        let [_, identifier] = slot.to_be_bytes();
        Ok((slot, question.request(identifier, authenticator, secret)?))
    }

    /// Sends a question to its server, and sets its timer.
    fn send(&mut self, now: Duration, ticket: Ticket, fill: &mut dyn FnMut(&mut [u8])) {
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        let mut random = [0];
        fill(&mut random);
        // 0.9 to 1.1 of the interval.
        let jittered = pending.interval.mul_f64(0.9 + f64::from(random[0]) / 255.0 / 5.0);
        pending.tries_left = pending.tries_left.saturating_sub(1);
        pending.interval = pending.interval.saturating_mul(2).min(MAX_INTERVAL);
        pending.wake_at = now.saturating_add(jittered);
        self.timers.insert((pending.wake_at, ticket));
        let [lane, _] = pending.slot.to_be_bytes();
        let octets = pending.sent.octets().to_vec();
        self.outputs.push_back(Output::Send { server: pending.server, lane: u16::from(lane), octets });
        self.count(|counts| &mut counts.sent);
    }

    /// A question has waited long enough.
    fn due(&mut self, now: Duration, ticket: Ticket, fill: &mut dyn FnMut(&mut [u8])) {
        let Some(pending) = self.pending.get(&ticket) else { return };
        if pending.tries_left > 0 && now < pending.give_up_at {
            self.count(|counts| &mut counts.retransmitted);
            return self.send(now, ticket, fill);
        }
        let (server, since, is_probe) = (pending.server, pending.since, pending.is_probe);
        if !is_probe && self.servers.silent(server, since, now) {
            self.outputs.push_back(Output::Dead { server });
            self.probes.insert((now.saturating_add(PROBE_INTERVAL), server));
        }
        let Some(mut pending) = self.remove(ticket) else { return };
        while let Some(next) = pending.round.pop_front().filter(|_| now < pending.give_up_at) {
            let Ok((slot, sent)) = self.request(&pending.question, next, fill) else { continue };
            (pending.server, pending.slot, pending.sent, pending.since) = (next, slot, sent, now);
            (pending.tries_left, pending.interval) = (self.settings.tries.max(1), self.settings.timeout);
            self.slots.insert((next, slot), ticket);
            self.pending.insert(ticket, pending);
            self.count(|counts| &mut counts.failovers);
            return self.send(now, ticket, fill);
        }
        if !is_probe {
            self.count(|counts| &mut counts.unanswered);
            self.outputs.push_back(Output::Unanswered { ticket });
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(&ticket)?;
        self.slots.remove(&(pending.server, pending.slot));
        self.timers.remove(&(pending.wake_at, ticket));
        Some(pending)
    }

    fn count(&mut self, counter: impl FnOnce(&mut Counts) -> &mut u64) {
        let counter = counter(&mut self.counts);
        *counter = counter.saturating_add(1);
    }
}

/// Lane and identifier in one number.
fn slot(lane: u16, identifier: u8) -> u16 {
    (lane % MAX_LANES) << 8 | u16::from(identifier)
}

#[cfg(test)]
mod tests;
