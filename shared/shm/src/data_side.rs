//! The data plane's end: makes the segment and splits it into handles, one per thread.
//!
//! Enters: sizes. Leaves: a [`ManagerSide`] for the thread that executes commands, a [`WorkerSide`] for each worker, and
//! the [`DataSegment`] that a [`crate::Handover`] gives away. Each handle is `Send` and owns its ends of the rings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use causeway_shared::counters::Flow;
use causeway_shared::wire::{Command, Datagram, Event, Observation, SlotMessage, peek_command_id};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::doorbell::{Bell, Doorbell};
use crate::error::{CreateError, PopError};
use crate::handover::Handover;
use crate::hello::{Identity, version_field};
use crate::layout::{
    COMMAND_RING, CONTROL_ARMED, EVENT_RING, Layout, MANAGER_ARMED, OBSERVATION_RING, PORTS, PUNT_RING,
    SEND_RING, Span, layout_hash,
};
use crate::mapping::{self, Words};
use crate::ports::PortBoard;
use crate::pulse::{CounterBlock, Heartbeat};
use crate::queue::{Consumer, Producer};
use crate::ring::Geometry;
use crate::stats::StatsTable;

/// What a segment is made for.
#[derive(Clone, Debug)]
pub struct SegmentConfig {
    /// Worker threads, 1 to [`crate::MAX_WORKERS`].
    pub workers: u32,
    /// Slots of the SA table, a power of two up to [`crate::MAX_SA_CAPACITY`].
    pub sa_capacity: u32,
    /// Differs from every earlier start of the data plane: a control plane that sees a new one installs its SAs again.
    pub epoch: u64,
    /// The data plane's version, shown to a control plane that does not match.
    pub version: String,
}

/// A new segment, split.
pub struct DataSide {
    /// For [`Handover::bind`].
    pub segment: DataSegment,
    /// For the thread that executes commands.
    pub manager: ManagerSide,
    /// For the workers, in order of their index.
    pub workers: Vec<WorkerSide>,
}

/// What one worker thread owns of the segment.
pub struct WorkerSide {
    /// The worker's index.
    pub index: usize,
    /// Expiries, moves and the like. A full ring refuses: keep the event and try again at the next turn.
    pub events: Producer<Event>,
    /// IKE datagrams for the control plane.
    pub punts: Producer<Datagram>,
    /// What watches ask for. A full ring loses it.
    pub observations: Producer<Observation>,
    /// IKE datagrams to send: worker 0 sends them all, the others have `None`. Poll it, no doorbell tells.
    pub to_send: Option<Consumer<Datagram>>,
    /// This worker's counters.
    pub counters: CounterBlock,
    /// This worker's sign of life.
    pub heartbeat: Heartbeat,
    /// Statistics of all SAs; a worker writes those of its own.
    pub stats: StatsTable,
}

/// What the manager thread owns of the segment.
pub struct ManagerSide {
    /// Acknowledgements and what else the manager has to say.
    pub events: Producer<Event>,
    /// The manager's counters.
    pub counters: CounterBlock,
    /// The manager's sign of life.
    pub heartbeat: Heartbeat,
    /// Statistics of all SAs.
    pub stats: StatsTable,
    /// Descriptions of the ports; write them before the segment is offered.
    pub ports: PortBoard,
    commands: Consumer<Command>,
    bell: Bell,
}

/// The segment as a whole: its memory, its doorbells, its identity. Cheap to clone.
#[derive(Clone)]
pub struct DataSegment {
    identity: Arc<Identity>,
    memfd: Arc<OwnedFd>,
    control_bell: Doorbell,
    manager_bell: Doorbell,
}

/// A command that did not decode. The ring has gone on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandRefused {
    /// The id that the slot claims, for an acknowledgement `Malformed`; `None` when not even that is there.
    pub command_id: Option<u64>,
    /// What is wrong with it.
    pub reason: PopError,
}

/// Why [`ManagerSide::wait`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wake {
    /// Commands wait.
    pub commands: bool,
    /// [`Handover::serve`] has something to do.
    pub link: bool,
}

impl DataSide {
    /// Makes a zeroed, sealed segment, in huge pages where there are enough of them.
    ///
    /// # Errors
    /// Sizes outside their bounds, or the kernel's refusal.
    pub fn create(config: &SegmentConfig) -> Result<DataSide, CreateError> {
        let failed = |doing| move |source: io::Error| CreateError::System { doing, source };
        let layout = Layout::new(config.workers, config.sa_capacity)?;
        let (memfd, words) = mapping::create(layout.bytes()).map_err(failed("create the segment"))?;
        let identity = Identity {
            layout_hash: layout_hash(),
            version: version_field(&config.version),
            epoch: config.epoch,
            bytes: layout.bytes() as u64,
            workers: config.workers,
            sa_capacity: config.sa_capacity,
        };
        identity.write_header(&words);
        let segment = DataSegment {
            identity: Arc::new(identity),
            memfd: Arc::new(memfd),
            control_bell: Doorbell::create().map_err(failed("create a doorbell"))?,
            manager_bell: Doorbell::create().map_err(failed("create a doorbell"))?,
        };
        let parts = Parts { layout, words, segment: &segment };
        let (manager, workers) = parts.split().ok_or(CreateError::System {
            doing: "divide the segment",
            source: io::ErrorKind::InvalidData.into(),
        })?;
        Ok(DataSide { manager, workers, segment })
    }
}

impl DataSegment {
    /// The epoch given to [`DataSide::create`].
    pub fn epoch(&self) -> u64 {
        self.identity.epoch
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// In the order that the control side expects.
    pub(crate) fn offered_fds(&self) -> [BorrowedFd<'_>; crate::handover::OFFERED_FDS] {
        [self.memfd.as_fd(), self.control_bell.as_fd(), self.manager_bell.as_fd()]
    }
}

impl ManagerSide {
    /// Takes the next command; `None` when there is none. What does not decode is counted (`malformed_slots`).
    ///
    /// # Errors
    /// A slot that holds no command: acknowledge it as `Malformed` if it has an id, and call again.
    pub fn next_command(&mut self) -> Result<Option<Command>, CommandRefused> {
        let mut command_id = None;
        let popped = self.commands.pop_with(|octets| {
            command_id = peek_command_id(octets);
            Command::decode(octets)
        });
        popped.map_err(|reason| {
            self.counters.add_flow(Flow::MalformedSlots, 1);
            CommandRefused { command_id, reason }
        })
    }

    /// Sleeps until commands arrive, the handover has something to do, or `timeout` passes.
    ///
    /// # Errors
    /// The kernel's refusal to poll; an interruption by a signal is no error.
    pub fn wait(&mut self, handover: &Handover, timeout: Duration) -> io::Result<Wake> {
        self.bell.doorbell.clear();
        self.bell.arm();
        if !self.commands.is_empty() {
            self.bell.disarm();
            return Ok(Wake { commands: true, link: false });
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let listener = handover.listener();
        let peer = handover.peer();
        let mut fds =
            vec![PollFd::new(&self.bell.doorbell, PollFlags::IN), PollFd::new(&listener, PollFlags::IN)];
        fds.extend(peer.as_ref().map(|peer| PollFd::new(peer, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let link = fds.iter().skip(1).any(|fd| !fd.revents().is_empty());
        self.bell.disarm();
        Ok(Wake { commands: !self.commands.is_empty(), link })
    }

    /// Slots of the command ring that were refused.
    pub fn refusals(&self) -> crate::Refusals {
        self.commands.refusals()
    }
}

/// What the handles are cut from.
struct Parts<'a> {
    layout: Layout,
    words: Words,
    segment: &'a DataSegment,
}

impl Parts<'_> {
    /// `None` never happens for a layout that passed its checks.
    fn split(&self) -> Option<(ManagerSide, Vec<WorkerSide>)> {
        let manager_source = self.layout.workers as usize;
        let manager = ManagerSide {
            events: self.events(manager_source)?,
            counters: self.counters(manager_source)?,
            heartbeat: self.heartbeat(manager_source)?,
            stats: self.stats()?,
            ports: PortBoard::new(self.part(PORTS)?),
            commands: self.consumer(self.layout.commands(), COMMAND_RING)?,
            bell: self.bell(MANAGER_ARMED, &self.segment.manager_bell)?,
        };
        let workers = (0..manager_source).map(|index| self.worker(index)).collect::<Option<_>>()?;
        Some((manager, workers))
    }

    fn worker(&self, index: usize) -> Option<WorkerSide> {
        let to_send = match index {
            0 => Some(self.consumer(self.layout.send_queue(), SEND_RING)?),
            _ => None,
        };
        Some(WorkerSide {
            index,
            events: self.events(index)?,
            punts: self.producer(self.layout.punts(index), PUNT_RING)?,
            observations: self.producer(self.layout.observations(index), OBSERVATION_RING)?,
            to_send,
            counters: self.counters(index)?,
            heartbeat: self.heartbeat(index)?,
            stats: self.stats()?,
        })
    }

    fn part(&self, span: Span) -> Option<Words> {
        self.words.part(span.start, span.len)
    }

    fn events(&self, source: usize) -> Option<Producer<Event>> {
        self.producer(self.layout.events(source), EVENT_RING)
    }

    fn counters(&self, source: usize) -> Option<CounterBlock> {
        self.part(self.layout.counters(source)).map(CounterBlock::new)
    }

    fn heartbeat(&self, source: usize) -> Option<Heartbeat> {
        self.part(self.layout.heartbeat(source)).map(Heartbeat::new)
    }

    fn stats(&self) -> Option<StatsTable> {
        let (words, drops) = (self.part(self.layout.stats())?, self.part(self.layout.sa_drops())?);
        Some(StatsTable::new(words, drops, self.layout.sa_capacity))
    }

    fn bell(&self, armed: Span, doorbell: &Doorbell) -> Option<Bell> {
        Some(Bell { armed: self.part(armed)?, doorbell: doorbell.clone() })
    }

    /// Everything that the data plane produces rings the control plane.
    fn producer<M: SlotMessage>(&self, span: Span, geometry: Geometry) -> Option<Producer<M>> {
        let bell = self.bell(CONTROL_ARMED, &self.segment.control_bell)?;
        Producer::new(self.part(span)?, geometry, Some(bell)).ok()
    }

    fn consumer<M: SlotMessage>(&self, span: Span, geometry: Geometry) -> Option<Consumer<M>> {
        Consumer::new(self.part(span)?, geometry).ok()
    }
}
