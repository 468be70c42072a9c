//! The segment's rings: the link of the appliance.
//!
//! Enters: IKE datagrams to send and SAs to hold. Leaves: punted datagrams and events of a data plane, which may die and
//! come back: the [`Ledger`] then tells the new one everything again, with sequence numbers above all that the dead one
//! can have used, read from its segment, which stays mapped (architecture §5).

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_ike::api::{ChildCommand, DataPlaneEvent, Datagram, EspPath};
use causeway_shared::api::{Port, Traffic};
use causeway_shared::sa::{Encapsulation, SaPair};
use causeway_shared::wire::{self, Event};
use causeway_shm::{
    AttachError, ControlSide, CounterTable, Doorbell, PeerLink, PopError, PushError, SaStats, StatsReader,
    monotonic_ns,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ledger::{Ledger, Outcome, PoolRange, Pushed, Refused, SequenceState, Ticket};
use super::{EarlierTraffic, Link, LinkCounts, LinkInput, LinkStatus};
use crate::sessions::SaTraffic;
use crate::watch::WatchDesk;

/// Datagrams that wait for the ring to drain, or for a data plane; above it they are counted and dropped, as a network
/// would.
pub const MAX_UNSENT: usize = 2048;
/// Between two tries to attach.
pub const ATTACH_RETRY: Duration = Duration::from_millis(200);
/// Between two tries to push into a ring that was full: the data plane does not ring when it drains one.
pub const DRAIN_RETRY: Duration = Duration::from_millis(1);
/// A data plane whose threads have not beaten for so long is reported as stuck.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(3);

/// Messages of a dead data plane that are still taken.
const MAX_LEFT_OVER: usize = 65_536;
/// Messages taken in one go that turn out to be nothing for the driver.
const MAX_WITHOUT_INPUT: usize = 256;

const GONE: &str = "The data plane is gone; look at its log. It gets every SA again when it is back.";
const CORRUPTED: &str =
    "The data plane corrupts the rings; compare the versions of both daemons and restart it.";

/// What the link needs to know.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// The data plane's socket.
    pub socket: PathBuf,
    /// Our version, for the message about a mismatch.
    pub version: String,
    /// Pools to declare.
    pub pools: Vec<PoolRange>,
    /// Slots of the SA table that SPIs are made for.
    pub sa_capacity: u32,
}

/// The link.
pub struct RingLink {
    options: RingOptions,
    state: State,
    ledger: Ledger,
    inbox: VecDeque<LinkInput>,
    unsent: VecDeque<Datagram>,
    /// Figures of SAs from data planes that are gone.
    carried: HashMap<u32, SaTraffic>,
    /// What SAs of an earlier run had carried when they were stored last, until it is known whether their data plane is
    /// still there.
    stored: HashMap<u32, SaTraffic>,
    /// Why there is no data plane, as last reported.
    trouble: Option<String>,
    epoch: u64,
    counts: LinkCounts,
    /// What of its packets is watched.
    watches: Arc<WatchDesk>,
}

enum State {
    /// Until it is time to try again.
    Detached(Instant),
    /// The handover blocks, so it runs on another thread.
    Attaching(JoinHandle<Result<ControlSide, AttachError>>),
    Attached(Box<Attachment>),
}

/// What was in the rings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    Something,
    /// A ring is of no use any more; a new attachment starts with fresh ends.
    Corrupt,
}

struct Attachment {
    side: ControlSide,
    stats: StatsReader,
    bell: AsyncFd<Doorbell>,
    peer: AsyncFd<PeerLink>,
    /// Refusals of the rings that are in the counts already.
    refusals_counted: u64,
}

impl RingLink {
    /// A link that looks for a data plane as soon as [`Link::ready`] is awaited.
    pub fn new(options: RingOptions) -> RingLink {
        RingLink {
            ledger: Ledger::new(options.pools.clone()),
            options,
            state: State::Detached(Instant::now()),
            inbox: VecDeque::new(),
            unsent: VecDeque::new(),
            carried: HashMap::new(),
            stored: HashMap::new(),
            trouble: None,
            epoch: 0,
            counts: LinkCounts::default(),
            watches: Arc::default(),
        }
    }

    /// Tells the data plane what `desk` wants watched, and `desk` what was seen.
    #[must_use]
    pub fn watched_by(self, desk: Arc<WatchDesk>) -> RingLink {
        RingLink { watches: desk, ..self }
    }

    fn begin_attaching(&mut self) {
        let (socket, version) = (self.options.socket.clone(), self.options.version.clone());
        let handover = tokio::task::spawn_blocking(move || ControlSide::attach(&socket, &version));
        self.state = State::Attaching(handover);
    }

    fn attach(&mut self, mut side: ControlSide) -> Result<(), String> {
        if side.sa_capacity() != self.options.sa_capacity {
            let (theirs, ours) = (side.sa_capacity(), self.options.sa_capacity);
            return Err(format!(
                "the data plane has {theirs} SA slots, the configuration says {ours}: restart the data plane"
            ));
        }
        let stats = side.stats_reader().ok_or("the segment has no statistics")?;
        let bell = watch(side.doorbell())?;
        let peer = watch(side.link())?;
        self.epoch = side.epoch();
        self.trouble = None;
        let first_id = side.next_command_id();
        if self.counts.attached == 0 {
            self.ledger.adopt(first_id, stats.spis());
        } else {
            side.discard_waiting();
            self.ledger.attach(first_id);
        }
        self.watches.attached().into_iter().for_each(|action| self.ledger.order(action));
        self.counts.attached = self.counts.attached.saturating_add(1);
        tracing::info!(epoch = self.epoch, workers = side.workers(), "data plane attached");
        let attachment = Attachment { side, stats, bell, peer, refusals_counted: 0 };
        self.state = State::Attached(Box::new(attachment));
        Ok(())
    }

    /// Notes why there is no data plane, once per reason, and tries again later.
    fn not_attached(&mut self, reason: String) {
        if self.trouble.as_ref() != Some(&reason) {
            tracing::warn!(%reason, "no data plane");
            self.trouble = Some(reason);
        }
        self.state = State::Detached(Instant::now() + ATTACH_RETRY);
    }

    /// The data plane is gone, or of no use: takes what it still left, and keeps how far each SA had come.
    fn detach(&mut self, trouble: &str) {
        for _ in 0..MAX_LEFT_OVER {
            if self.take_from_rings() != Taken::Something {
                break;
            }
        }
        let State::Attached(attachment) = &self.state else { return };
        let stats = attachment.stats.clone();
        self.counts.lost = self.counts.lost.saturating_add(1);
        for spi in self.ledger.spis() {
            if let Some(last) = stats.read(spi) {
                let sum = self.carried.entry(spi).or_default();
                *sum = sum_of(*sum, &last);
            }
        }
        let outcomes = self.ledger.detach(|spi| stats.read(spi).map(|stats| sequence_of(&stats)));
        self.deliver(outcomes);
        self.watches.detached();
        tracing::warn!(epoch = self.epoch, sas = self.ledger.wanted(), "{trouble}");
        self.trouble = Some(trouble.to_owned());
        self.state = State::Detached(Instant::now() + ATTACH_RETRY);
    }

    /// Moves at most one message of each kind from the rings to the inbox.
    fn take_from_rings(&mut self) -> Taken {
        let State::Attached(attachment) = &mut self.state else { return Taken::Nothing };
        let event = attachment.side.next_event();
        let punt = attachment.side.next_punt();
        let observation = attachment.side.next_observation();
        let corrupt = Some(&PopError::Corrupt);
        let taken = match (&event, &punt, &observation) {
            (Ok(None), Ok(None), Ok(None)) => Taken::Nothing,
            _ if [event.as_ref().err(), punt.as_ref().err(), observation.as_ref().err()]
                .contains(&corrupt) =>
            {
                Taken::Corrupt
            }
            _ => Taken::Something,
        };
        if event.is_err() || punt.is_err() || observation.is_err() {
            let refusals = attachment.side.refusals();
            let total = refusals.garbage.saturating_add(refusals.corrupt);
            let new = total.saturating_sub(attachment.refusals_counted);
            attachment.refusals_counted = total;
            self.counts.refused_slots = self.counts.refused_slots.saturating_add(new);
        }
        if let Ok(Some((_, event))) = event {
            self.event(event);
        }
        if let Ok(Some((_, datagram))) = punt {
            self.inbox.push_back(LinkInput::Datagram(from_wire(datagram)));
        }
        if let Ok(Some((worker, observation))) = observation {
            self.watches.observe(worker, observation);
        }
        taken
    }

    fn event(&mut self, event: Event) {
        let report = match event {
            Event::Ack { command_id, status } => {
                if !self.ledger.is_outstanding(command_id) {
                    self.counts.stray_acks = self.counts.stray_acks.saturating_add(1);
                }
                let outcome = self.ledger.acknowledged(command_id, status);
                self.deliver(outcome);
                return;
            }
            Event::InvalidSpi { .. } => {
                self.counts.invalid_spis = self.counts.invalid_spis.saturating_add(1);
                return;
            }
            Event::SoftExpired { inbound_spi } => DataPlaneEvent::SoftExpired { inbound_spi },
            Event::HardExpired { inbound_spi } => DataPlaneEvent::HardExpired { inbound_spi },
            Event::FirstInbound { inbound_spi } => DataPlaneEvent::FirstInbound { inbound_spi },
            Event::PeerMoved { inbound_spi, peer_outer, encapsulation } => {
                self.ledger.peer_has_moved(inbound_spi, peer_outer, encapsulation);
                let peer_port = match encapsulation {
                    Encapsulation::Esp => None,
                    Encapsulation::Udp { peer_port, .. } => Some(peer_port),
                };
                DataPlaneEvent::PeerMoved { inbound_spi, peer: peer_outer, peer_port }
            }
        };
        self.inbox.push_back(LinkInput::DataPlane(report));
    }

    fn deliver(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Gone { inbound_spi } => {
                    self.carried.remove(&inbound_spi);
                    self.stored.remove(&inbound_spi);
                }
                Outcome::Renewed { inbound_spi } => {
                    if let Some(total) = self.stored.remove(&inbound_spi) {
                        self.carried.insert(inbound_spi, total);
                    }
                }
                _ => {}
            }
            self.inbox.push_back(LinkInput::Outcome(outcome));
        }
    }

    /// Sends waiting datagrams until the ring is full.
    fn send_unsent(&mut self) {
        let State::Attached(attachment) = &mut self.state else { return };
        while let Some(datagram) = self.unsent.pop_front() {
            let datagram = to_wire(datagram);
            match attachment.side.to_send.push(&datagram) {
                Ok(()) => {}
                Err(PushError::Full) => {
                    self.unsent.push_front(from_wire(datagram));
                    return;
                }
                Err(PushError::Corrupt | PushError::Message(_)) => {
                    self.counts.unsent = self.counts.unsent.saturating_add(1);
                }
            }
        }
    }

    fn tell(&mut self) {
        let State::Attached(attachment) = &mut self.state else {
            let outcomes = self.ledger.tell(|_| Pushed::Full);
            return self.deliver(outcomes);
        };
        let side = &mut attachment.side;
        let mut refused = None;
        let outcomes = self.ledger.tell(|command| match side.commands.push(command) {
            Ok(()) => {
                // Keeps the segment's own record of ids at the next one.
                side.next_command_id();
                Pushed::Yes
            }
            Err(error) => {
                refused = Some(error).filter(|error| *error != PushError::Full);
                Pushed::Full
            }
        });
        self.deliver(outcomes);
        if let Some(error) = refused {
            tracing::error!(%error, "a command cannot be told");
            self.detach(CORRUPTED);
        }
    }

    /// What to wait for, by state. Nothing is lost when it is dropped at an await.
    async fn step(&mut self) {
        let draining = !self.unsent.is_empty() || self.ledger.has_backlog();
        let attached = match &mut self.state {
            State::Detached(until) => {
                tokio::time::sleep_until(*until).await;
                return self.begin_attaching();
            }
            State::Attaching(handover) => match handover.await {
                Ok(Ok(side)) => self.attach(side),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panicked) => Err(panicked.to_string()),
            },
            State::Attached(attachment) => {
                if !attachment.side.arm() {
                    return;
                }
                tokio::select! {
                    rung = attachment.bell.readable() => {
                        if let Ok(mut guard) = rung {
                            guard.get_inner().clear();
                            guard.clear_ready();
                        }
                    }
                    _ = attachment.peer.readable() => self.detach(GONE),
                    () = self.watches.has_orders() => {}
                    () = tokio::time::sleep(DRAIN_RETRY), if draining => {}
                }
                Ok(())
            }
        };
        if let Err(reason) = attached {
            self.not_attached(reason);
        }
    }
}

impl Link for RingLink {
    async fn ready(&mut self) {
        while self.inbox.is_empty() {
            let was_attached = matches!(self.state, State::Attached(_));
            self.step().await;
            if was_attached || matches!(self.state, State::Attached(_)) {
                return;
            }
        }
    }

    fn take(&mut self) -> Option<LinkInput> {
        // What is refused or answered here gives no input; the driver comes again when more is there.
        for _ in 0..MAX_WITHOUT_INPUT {
            if !self.inbox.is_empty() {
                break;
            }
            match self.take_from_rings() {
                Taken::Something => {}
                Taken::Nothing => break,
                Taken::Corrupt => self.detach(CORRUPTED),
            }
        }
        self.inbox.pop_front()
    }

    fn transmit(&mut self, datagram: Datagram) {
        if self.unsent.len() >= MAX_UNSENT {
            self.counts.unsent = self.counts.unsent.saturating_add(1);
            return;
        }
        self.unsent.push_back(datagram);
        self.send_unsent();
    }

    fn install(&mut self, now: Duration, pair: SaPair, ticket: Ticket) -> Result<(), Refused> {
        self.ledger.install(now, pair, ticket)
    }

    fn restore(&mut self, pair: SaPair, traffic: EarlierTraffic) {
        self.carried.insert(pair.inbound_spi, traffic.before);
        self.stored.insert(pair.inbound_spi, traffic.total);
        self.ledger.restore(pair);
    }

    fn earlier_traffic(&self, inbound_spi: u32) -> SaTraffic {
        self.carried.get(&inbound_spi).copied().unwrap_or_default()
    }

    fn sequence(&self, inbound_spi: u32) -> Option<SequenceState> {
        let State::Attached(attachment) = &self.state else { return None };
        attachment.stats.read(inbound_spi).map(|stats| sequence_of(&stats))
    }

    fn change(&mut self, command: ChildCommand) {
        match command {
            ChildCommand::SelectOutbound { inbound_spi } => self.ledger.select_outbound(inbound_spi),
            ChildCommand::Remove { inbound_spi } => self.ledger.remove(inbound_spi),
            ChildCommand::MovePeer { inbound_spi, path } => {
                self.ledger.move_peer(inbound_spi, (path.local, path.peer), encapsulation(path));
            }
        }
    }

    fn flush(&mut self, now: Duration) {
        let late = self.ledger.expire(now);
        self.deliver(late);
        self.watches.orders().into_iter().for_each(|action| self.ledger.order(action));
        self.tell();
        self.send_unsent();
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.ledger.next_deadline()
    }

    fn is_settled(&self) -> bool {
        self.unsent.is_empty() && !self.ledger.has_backlog() && self.ledger.outstanding() == 0
    }

    fn traffic(&self, inbound_spi: u32) -> Option<SaTraffic> {
        let carried = self.carried.get(&inbound_spi).copied();
        let current = match &self.state {
            State::Attached(attachment) => attachment.stats.read(inbound_spi),
            _ => None,
        };
        match current {
            Some(current) => Some(sum_of(carried.unwrap_or_default(), &current)),
            None => carried,
        }
    }

    fn status(&self, _now: Duration) -> LinkStatus {
        let State::Attached(attachment) = &self.state else {
            let trouble = self.trouble.clone();
            let problems = vec![trouble.unwrap_or_else(|| "The data plane is not attached yet.".to_owned())];
            return LinkStatus { attached: false, epoch: self.epoch, workers: 0, problems };
        };
        let (side, now_ns) = (&attachment.side, monotonic_ns());
        let stuck = side.heartbeats().iter().filter(|beat| beat.is_stale(now_ns, HEARTBEAT_LIMIT)).count();
        let problems = (stuck > 0).then(|| {
            let limit = HEARTBEAT_LIMIT.as_secs();
            format!(
                "{stuck} data-plane threads have not beaten for {limit} s: look at its log, then restart it."
            )
        });
        LinkStatus {
            attached: stuck == 0,
            epoch: self.epoch,
            workers: u32::try_from(side.workers()).unwrap_or(u32::MAX),
            problems: problems.into_iter().collect(),
        }
    }

    fn pair(&self, inbound_spi: u32) -> Option<&SaPair> {
        self.ledger.pair(inbound_spi)
    }

    fn is_carrying(&self) -> bool {
        matches!(self.state, State::Attached(_))
    }

    fn ports(&self) -> Option<Vec<Port>> {
        match &self.state {
            State::Attached(attachment) => Some(attachment.side.ports()),
            _ => None,
        }
    }

    fn data_plane_counters(&self) -> Option<CounterTable> {
        match &self.state {
            State::Attached(attachment) => Some(attachment.side.counter_totals()),
            _ => None,
        }
    }

    fn counts(&self) -> LinkCounts {
        self.counts
    }
}

fn watch<T: AsFd + AsRawFd + 'static>(descriptor: T) -> Result<AsyncFd<T>, String> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change under it; both of ours own theirs for life"
    )]
    let watched = AsyncFd::with_interest(descriptor, Interest::READABLE);
    watched.map_err(|error| format!("cannot watch the data plane: {error}"))
}

/// How ESP travels on this path.
pub fn encapsulation(path: EspPath) -> Encapsulation {
    path.udp.map_or(Encapsulation::Esp, |ports| Encapsulation::Udp {
        local_port: ports.local,
        peer_port: ports.peer,
    })
}

fn to_wire(datagram: Datagram) -> wire::Datagram {
    let Datagram { local, local_port, peer, peer_port, bytes } = datagram;
    wire::Datagram { local, local_port, peer, peer_port, payload: bytes }
}

fn from_wire(datagram: wire::Datagram) -> Datagram {
    let wire::Datagram { local, local_port, peer, peer_port, payload } = datagram;
    Datagram { local, local_port, peer, peer_port, bytes: payload }
}

fn sequence_of(stats: &SaStats) -> SequenceState {
    SequenceState {
        outbound_reserved_end: stats.outbound_reserved_end,
        highest_inbound: stats.highest_inbound_sequence,
    }
}

fn sum_of(carried: SaTraffic, stats: &SaStats) -> SaTraffic {
    let last = (stats.last_inbound_ns > 0).then_some(stats.last_inbound_ns / 1_000_000);
    SaTraffic {
        traffic: Traffic {
            in_packets: carried.traffic.in_packets.saturating_add(stats.in_packets),
            in_bytes: carried.traffic.in_bytes.saturating_add(stats.in_bytes),
            out_packets: carried.traffic.out_packets.saturating_add(stats.out_packets),
            out_bytes: carried.traffic.out_bytes.saturating_add(stats.out_bytes),
        },
        in_drops: carried.in_drops.saturating_add(stats.in_drops),
        out_drops: carried.out_drops.saturating_add(stats.out_drops),
        last_inbound_ms: last.max(carried.last_inbound_ms),
    }
}
