//! The control plane's end: attaches to a data plane's segment and holds all of its control ends in one place.
//!
//! Enters: the handover socket's path. Leaves: commands and datagrams to the data plane; events, punted datagrams and
//! figures from it. Everything the data plane says is checked before it is used.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use causeway_shared::api::Port;
use causeway_shared::counters::COUNTERS;
use causeway_shared::wire::{Command, Datagram, Event, Observation, SlotMessage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, connect, recvmsg};

use crate::doorbell::{Bell, Doorbell};
use crate::error::{AttachError, PopError};
use crate::handover::{OFFERED_FDS, has_ended, seqpacket};
use crate::hello::{Answer, HELLO_BYTES, Identity, decode};
use crate::layout::{
    COMMAND_RING, CONTROL_ARMED, EVENT_RING, Layout, MANAGER_ARMED, NEXT_COMMAND_ID, OBSERVATION_RING, PORTS,
    PUNT_RING, SEND_RING, Span, layout_hash,
};
use crate::mapping::{self, Words};
use crate::ports::PortReader;
use crate::pulse::{CounterTable, HeartbeatReading, read_counters};
use crate::queue::{Consumer, Producer, Refusals};
use crate::ring::Geometry;
use crate::stats::{SaStats, StatsReader};

/// How long [`ControlSide::attach`] waits for the data plane's hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);

/// The control plane's view of one data plane.
///
/// After the data plane has died it stays readable: statistics and counters show the last state.
pub struct ControlSide {
    /// Commands; each push wakes the manager thread if it sleeps.
    pub commands: Producer<Command>,
    /// IKE datagrams to send.
    pub to_send: Producer<Datagram>,
    events: Vec<Consumer<Event>>,
    punts: Vec<Consumer<Datagram>>,
    observations: Vec<Consumer<Observation>>,
    event_turn: usize,
    punt_turn: usize,
    observation_turn: usize,
    next_command_id: u64,
    ports: PortReader,
    words: Words,
    layout: Layout,
    identity: Identity,
    bell: Bell,
    link: PeerLink,
}

/// The open handover connection: readable means that the data plane is gone. Cheap to clone, fit for an event loop.
#[derive(Clone, Debug)]
pub struct PeerLink {
    fd: Arc<OwnedFd>,
}

impl PeerLink {
    /// Whether the data plane has died or closed the connection. Does not block.
    pub fn is_gone(&self) -> bool {
        has_ended(self.fd.as_fd())
    }
}

impl AsFd for PeerLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PeerLink {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl ControlSide {
    /// Attaches to the data plane that listens on `path`. What a predecessor left unread in the event and punt rings comes
    /// first ([`ControlSide::discard_waiting`] passes it over); commands that it sent are still executed and acknowledged,
    /// with ids below ours.
    ///
    /// Blocks for up to two seconds when the data plane accepts but does not answer: call it beside an event loop, not in it.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(path: &Path, version: &str) -> Result<ControlSide, AttachError> {
        let link = connect_to(path)?;
        let (hello, fds) = receive_hello(&link)?;
        let (answer, identity) = decode(&hello).ok_or(AttachError::BadHello("it is no hello"))?;
        if identity.layout_hash != layout_hash() {
            return Err(AttachError::LayoutMismatch {
                ours: version.to_owned(),
                our_hash: layout_hash(),
                theirs: identity.version_text(),
                their_hash: identity.layout_hash,
            });
        }
        match answer {
            Answer::Offer => {}
            Answer::Busy { pid } => return Err(AttachError::Busy { pid }),
            Answer::Forbidden { uid } => return Err(AttachError::Forbidden { uid }),
        }
        let fds: [OwnedFd; OFFERED_FDS] =
            fds.try_into().map_err(|_| AttachError::BadHello("descriptors are missing"))?;
        Self::adopt(identity, fds, link)
    }

    fn adopt(
        identity: Identity,
        [memfd, control_bell, manager_bell]: [OwnedFd; OFFERED_FDS],
        link: OwnedFd,
    ) -> Result<ControlSide, AttachError> {
        let layout = Layout::new(identity.workers, identity.sa_capacity)
            .map_err(|_| AttachError::BadHello("its sizes are out of range"))?;
        if identity.bytes != layout.bytes() as u64 {
            return Err(AttachError::BadHello("its size does not follow from its layout"));
        }
        let words = mapping::open(&memfd, layout.bytes())
            .map_err(|source| AttachError::System { doing: "map the segment", source })?;
        if !identity.matches_header(&words) {
            return Err(AttachError::BadHello("the segment's header says otherwise"));
        }
        let ports = words
            .part(PORTS.start, PORTS.len)
            .and_then(PortReader::read)
            .ok_or(AttachError::BadHello("its ports are not described as they should be"))?;
        let parts = Parts { layout, words, identity, ports };
        let bells = (Doorbell::from_fd(control_bell), Doorbell::from_fd(manager_bell));
        parts
            .join(bells, PeerLink { fd: Arc::new(link) })
            .ok_or(AttachError::BadHello("it cannot be divided"))
    }

    /// A command id that no command to this data plane has had, from this control plane or its predecessors.
    pub fn next_command_id(&mut self) -> u64 {
        let id = self.next_command_id;
        self.next_command_id = id.wrapping_add(1);
        if let Some(word) = self.words.get(NEXT_COMMAND_ID.start) {
            // Relaxed: read only by our successor, after our death.
            word.store(self.next_command_id, Relaxed);
        }
        id
    }

    /// Passes over everything that waits in the rings from the workers.
    pub fn discard_waiting(&mut self) {
        self.events.iter_mut().for_each(Consumer::discard);
        self.punts.iter_mut().for_each(Consumer::discard);
        self.observations.iter_mut().for_each(Consumer::discard);
    }

    /// Takes the next event, from each source in turn: the workers, and the manager as the last. `None` when none waits.
    ///
    /// # Errors
    /// A slot or ring that was refused; it is counted and the next call goes on.
    pub fn next_event(&mut self) -> Result<Option<(usize, Event)>, PopError> {
        next_of(&mut self.events, &mut self.event_turn, Consumer::pop)
    }

    /// Takes the next punted datagram and the worker that it came from, from each in turn.
    ///
    /// # Errors
    /// As [`Self::next_event`].
    pub fn next_punt(&mut self) -> Result<Option<(usize, Datagram)>, PopError> {
        next_of(&mut self.punts, &mut self.punt_turn, Consumer::pop)
    }

    /// Takes the next observation and the worker that made it, from each in turn.
    ///
    /// # Errors
    /// As [`Self::next_event`].
    pub fn next_observation(&mut self) -> Result<Option<(usize, Observation)>, PopError> {
        next_of(&mut self.observations, &mut self.observation_turn, Consumer::pop)
    }

    /// Asks to be rung: `true` when nothing waits, so that the caller may sleep on [`Self::doorbell`]; `false` when
    /// there is something to take first.
    pub fn arm(&mut self) -> bool {
        self.bell.arm();
        let idle = self.events.iter().all(Consumer::is_empty)
            && self.punts.iter().all(Consumer::is_empty)
            && self.observations.iter().all(Consumer::is_empty);
        if !idle {
            self.bell.disarm();
        }
        idle
    }

    /// Readable when events or datagrams wait. [`Doorbell::clear`] it first, then take everything, then [`Self::arm`].
    pub fn doorbell(&self) -> Doorbell {
        self.bell.doorbell.clone()
    }

    /// Readable when the data plane is gone.
    pub fn link(&self) -> PeerLink {
        self.link.clone()
    }

    /// The data plane's epoch: another one means that it has no SA of ours.
    pub fn epoch(&self) -> u64 {
        self.identity.epoch
    }

    /// The data plane's version.
    pub fn data_plane_version(&self) -> String {
        self.identity.version_text()
    }

    /// Worker threads of the data plane.
    pub fn workers(&self) -> usize {
        self.layout.workers as usize
    }

    /// Slots of the data plane's SA table, a power of two.
    pub fn sa_capacity(&self) -> u32 {
        self.layout.sa_capacity
    }

    /// The counters of each worker, and the manager's as the last.
    pub fn counters(&self) -> Vec<CounterTable> {
        self.sources(|layout, source| layout.counters(source)).map(|words| read_counters(&words)).collect()
    }

    /// The counters' sums over all workers and the manager.
    pub fn counter_totals(&self) -> CounterTable {
        self.counters().iter().fold([0; COUNTERS], |mut sums, table| {
            sums.iter_mut().zip(table).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
            sums
        })
    }

    /// The heartbeat of each worker, and the manager's as the last.
    pub fn heartbeats(&self) -> Vec<HeartbeatReading> {
        self.sources(|layout, source| layout.heartbeat(source))
            .map(|words| HeartbeatReading::read(&words))
            .collect()
    }

    /// The ports as they were described at the start, with their links as they are now.
    pub fn ports(&self) -> Vec<Port> {
        self.ports.now()
    }

    /// What is known of an SA; `None` when the data plane does not have it.
    pub fn stats(&self, inbound_spi: u32) -> Option<SaStats> {
        self.stats_reader()?.read(inbound_spi)
    }

    /// A reader of statistics that outlives this attachment and the data plane.
    pub fn stats_reader(&self) -> Option<StatsReader> {
        let part = |span: Span| self.words.part(span.start, span.len);
        let (words, drops) = (part(self.layout.stats())?, part(self.layout.sa_drops())?);
        Some(StatsReader::new(words, drops, self.layout.sa_capacity))
    }

    /// How often the data plane misbehaved on any ring.
    pub fn refusals(&self) -> Refusals {
        let consumers =
            self.events.iter().map(Consumer::refusals).chain(self.punts.iter().map(Consumer::refusals));
        let consumers = consumers.chain(self.observations.iter().map(Consumer::refusals));
        consumers.chain([self.commands.refusals(), self.to_send.refusals()]).fold(
            Refusals::default(),
            |sum, ring| Refusals {
                garbage: sum.garbage.saturating_add(ring.garbage),
                corrupt: sum.corrupt.saturating_add(ring.corrupt),
            },
        )
    }

    fn sources(&self, span: impl Fn(&Layout, usize) -> Span) -> impl Iterator<Item = Words> {
        (0..self.layout.sources()).filter_map(move |source| {
            let span = span(&self.layout, source);
            self.words.part(span.start, span.len)
        })
    }
}

/// What the control side is put together from.
struct Parts {
    layout: Layout,
    words: Words,
    identity: Identity,
    ports: PortReader,
}

impl Parts {
    /// `None` never happens for a layout that passed its checks.
    fn join(self, (control, manager): (Doorbell, Doorbell), link: PeerLink) -> Option<ControlSide> {
        let manager_bell = Bell { armed: self.part(MANAGER_ARMED)?, doorbell: manager };
        let layout = self.layout;
        let events = (0..layout.sources()).map(|source| self.consumer(layout.events(source), EVENT_RING));
        let punts = (0..layout.workers as usize).map(|worker| self.consumer(layout.punts(worker), PUNT_RING));
        let observations = (0..layout.workers as usize)
            .map(|worker| self.consumer(layout.observations(worker), OBSERVATION_RING));
        Some(ControlSide {
            commands: Producer::new(self.part(layout.commands())?, COMMAND_RING, Some(manager_bell)).ok()?,
            to_send: Producer::new(self.part(layout.send_queue())?, SEND_RING, None).ok()?,
            events: events.collect::<Option<_>>()?,
            punts: punts.collect::<Option<_>>()?,
            observations: observations.collect::<Option<_>>()?,
            event_turn: 0,
            punt_turn: 0,
            observation_turn: 0,
            // Ids start at 1; whatever the word says, a wrong one can only confuse whoever wrote it.
            next_command_id: self.words.get(NEXT_COMMAND_ID.start)?.load(Relaxed).max(1),
            bell: Bell { armed: self.part(CONTROL_ARMED)?, doorbell: control },
            layout,
            ports: self.ports,
            words: self.words,
            identity: self.identity,
            link,
        })
    }

    fn part(&self, span: Span) -> Option<Words> {
        self.words.part(span.start, span.len)
    }

    fn consumer<M: SlotMessage>(&self, span: Span, geometry: Geometry) -> Option<Consumer<M>> {
        Consumer::new(self.part(span)?, geometry).ok()
    }
}

/// Asks each consumer once, starting behind the one that answered last.
fn next_of<M>(
    consumers: &mut [Consumer<M>],
    turn: &mut usize,
    pop: impl Fn(&mut Consumer<M>) -> Result<Option<M>, PopError>,
) -> Result<Option<(usize, M)>, PopError> {
    let count = consumers.len();
    for step in 0..count {
        let source = turn.wrapping_add(step) % count;
        let Some(consumer) = consumers.get_mut(source) else { continue };
        match pop(consumer) {
            Ok(None) => {}
            Ok(Some(message)) => {
                *turn = source + 1;
                return Ok(Some((source, message)));
            }
            Err(error) => {
                *turn = source + 1;
                return Err(error);
            }
        }
    }
    Ok(None)
}

fn connect_to(path: &Path) -> Result<OwnedFd, AttachError> {
    let no_data_plane =
        |errno: Errno| AttachError::NoDataPlane { path: path.display().to_string(), source: errno.into() };
    let address = SocketAddrUnix::new(path).map_err(no_data_plane)?;
    let link = seqpacket().map_err(|source| AttachError::System { doing: "create a socket", source })?;
    connect(&link, &address).map_err(no_data_plane)?;
    Ok(link)
}

fn receive_hello(link: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), AttachError> {
    let failed =
        |errno: Errno| AttachError::System { doing: "receive the hello", source: io::Error::from(errno) };
    wait_readable(link, Instant::now() + HELLO_DEADLINE).map_err(failed)?;
    let mut hello = vec![0; HELLO_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OFFERED_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        link,
        &mut [IoSliceMut::new(&mut hello)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    );
    let received = match received {
        Err(Errno::AGAIN) => return Err(AttachError::BadHello("none came in time")),
        other => other.map_err(failed)?,
    };
    hello.truncate(received.bytes);
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok((hello, fds.flatten().collect()))
}

/// Returns when the socket is readable or the deadline has passed: the read that follows tells which.
fn wait_readable(link: &OwnedFd, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(link, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            other => return other.map(|_| ()),
        }
    }
}
