//! The packet path of one worker: frames in, frames, punts and events out. The order of the stages stands here
//! (drawn in `docs/packet.md`).
//!
//! A [`Path`] belongs to one worker thread and is never shared. After [`Path::new`] it allocates nothing, takes no
//! lock and makes no system call; what it gives away leaves through [`Sink`].

use std::net::Ipv4Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::{Encapsulation, Ipv4Prefix, slot_of_spi};
use causeway_shared::wire::{AckStatus, Datagram};

pub use crate::counters::Counters;
pub use crate::sa::{PoolMap, Tables, WorkerSa};
pub use crate::sink::{Full, Handoff, Ingress, Outer, Punt, SaStatistics, Sink};

use crate::buffer::Allocator;

/// Packets a stage handles at once.
pub const BURST: usize = 32;

/// A port's number: its place in [`PathConfig::ports`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// The monotonic time of a burst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    /// Milliseconds since any fixed moment.
    pub monotonic_ms: u64,
}

/// Which side a port faces.
pub use causeway_shared::config::PortRole;

/// What the path must know of a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Our address on it.
    pub address: Ipv4Addr,
    /// Its subnet's prefix length.
    pub prefix_len: u8,
    /// Largest IPv4 packet, octets.
    pub mtu: u16,
    /// Which side it faces.
    pub role: PortRole,
}

/// A static route.
#[derive(Clone, Copy, Debug)]
pub struct RouteConfig {
    /// Destination.
    pub destination: Ipv4Prefix,
    /// Next hop, in a port's subnet.
    pub via: Ipv4Addr,
}

/// Everything a path is made from. The same on every worker but for `worker`.
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// Ports; a [`PortId`] is an index into this.
    pub ports: Vec<PortConfig>,
    /// Static routes; connected ones follow from the ports.
    pub routes: Vec<RouteConfig>,
    /// Slots of the SA table, a power of two.
    pub sa_capacity: u32,
    /// This worker, from 0.
    pub worker: u16,
    /// All workers.
    pub workers: u16,
}

/// Why a path cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The SA table's size.
    #[error("SA capacity {0} is not a power of two from 256 to 1048576")]
    Capacity(u32),
    /// The worker's number.
    #[error("worker {worker} of {workers} does not exist")]
    Worker {
        /// This worker.
        worker: u16,
        /// All workers.
        workers: u16,
    },
    /// A port's prefix or MTU.
    #[error("port {0}: prefix length must be 1 to 32 and MTU 576 to 9216")]
    Port(u16),
    /// A route leads nowhere.
    #[error("route to {destination} via {via}: the next hop is in no port's subnet")]
    Route {
        /// Destination.
        destination: Ipv4Prefix,
        /// Next hop.
        via: Ipv4Addr,
    },
}

/// A change to a worker's tables, prepared by the manager so that the worker allocates and frees nothing.
pub enum Operation {
    /// To the SA's owner: puts a new SA into the slot its inbound SPI names.
    Install(Box<WorkerSa>),
    /// To the SA's owner: takes an SA out; outbound entries that name it must be cleared with `SetOutbound`.
    Remove {
        /// The SA.
        inbound_spi: u32,
    },
    /// To every worker: packets to `inner` leave by this SA (which may belong to another worker), or by none.
    SetOutbound {
        /// Client's inner address.
        inner: Ipv4Addr,
        /// The SA.
        inbound_spi: Option<u32>,
    },
    /// To the SA's owner: the peer's outer address changed.
    MovePeer {
        /// The SA.
        inbound_spi: u32,
        /// New outer address.
        peer_outer: Ipv4Addr,
        /// New encapsulation.
        encapsulation: Encapsulation,
    },
    /// To every worker: a pool. `PoolMap::new(prefix)` is made by the manager, one per worker.
    AddPool(Box<PoolMap>),
    /// To every worker: forgets every SA and pool by exchanging the tables for empty ones (`Tables::new`).
    RemoveAll(Box<Tables>),
}

/// How an [`Operation`] ended, and what the manager must free.
pub struct Applied {
    /// For the acknowledgement.
    pub status: AckStatus,
    /// What is no longer used.
    pub retired: Retired,
}

/// Memory that a worker gives back to the manager.
pub enum Retired {
    /// None.
    Nothing,
    /// A removed SA, or one that could not be installed.
    Sa(Box<WorkerSa>),
    /// A pool that could not be added.
    Pool(Box<PoolMap>),
    /// The tables before `RemoveAll`.
    Tables(Box<Tables>),
}

/// The worker that owns the SA with this inbound SPI.
pub fn owner_of_spi(inbound_spi: u32, sa_capacity: u32, workers: u16) -> u16 {
    (slot_of_spi(inbound_spi, sa_capacity) % u32::from(workers.max(1))) as u16
}

/// One worker's packet path.
pub struct Path<A: Allocator> {
    config: PathConfig,
    allocator: A,
    counters: Counters,
}

impl<A: Allocator> Path<A> {
    /// Makes a path and all the memory it will use.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn new(config: PathConfig, allocator: A) -> Result<Path<A>, PathError> {
        if !config.sa_capacity.is_power_of_two() || !(256..=1 << 20).contains(&config.sa_capacity) {
            return Err(PathError::Capacity(config.sa_capacity));
        }
        Ok(Path { config, allocator, counters: Counters::default() })
    }

    /// Takes every frame of `burst` (any number; worked on [`BURST`] at a time) that came in on `port`.
    pub fn receive(
        &mut self,
        _now: Now,
        port: PortId,
        burst: &mut Vec<A::Buffer>,
        _sink: &mut impl Sink<A::Buffer>,
    ) {
        let _ = (self.config.ports.get(usize::from(port.0)), self.allocator.allocate());
        for _frame in burst.drain(..) {
            self.counters.flow(Flow::RxPackets, 1);
            self.counters.drop(Drop::NotForUs);
        }
    }

    /// Takes what other workers handed over.
    pub fn resume(
        &mut self,
        _now: Now,
        items: &mut Vec<Handoff<A::Buffer>>,
        _sink: &mut impl Sink<A::Buffer>,
    ) {
        for item in items.drain(..) {
            if !matches!(item, Handoff::Neighbour { .. }) {
                self.counters.drop(Drop::NotForUs);
            }
        }
    }

    /// Sends an IKE datagram: marker on port 4500, UDP and IPv4 headers, IP fragments above the MTU, route, ARP.
    ///
    /// # Errors
    /// The reason it was dropped for, already counted.
    pub fn send_datagram(
        &mut self,
        _now: Now,
        _datagram: &Datagram,
        _sink: &mut impl Sink<A::Buffer>,
    ) -> Result<(), Drop> {
        self.counters.drop(Drop::NoRoute);
        Err(Drop::NoRoute)
    }

    /// Timers: ARP retries and ageing, refused events. Call about every 100 ms.
    pub fn tick(&mut self, _now: Now, _sink: &mut impl Sink<A::Buffer>) {}

    /// Announces our addresses (gratuitous ARP); call once when the ports are up.
    pub fn announce(&mut self, _now: Now, _sink: &mut impl Sink<A::Buffer>) {}

    /// Changes the tables.
    pub fn apply(&mut self, _now: Now, operation: Operation, _sink: &mut impl Sink<A::Buffer>) -> Applied {
        let retired = match operation {
            Operation::Install(sa) => Retired::Sa(sa),
            Operation::AddPool(pool) => Retired::Pool(pool),
            Operation::RemoveAll(tables) => Retired::Tables(tables),
            _ => Retired::Nothing,
        };
        Applied { status: AckStatus::OutOfRange, retired }
    }

    /// The counters since start, in the order of `causeway_shared::counters`; the worker copies them to the segment.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For what the worker itself counts: transmission, malformed slots.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}
