//! The packet path of one worker: frames in, frames, punts and events out. The order of the stages stands here
//! (drawn in `docs/packet.md`).
//!
//! A [`Path`] belongs to one worker thread and is never shared. After [`Path::new`] it allocates nothing, takes no
//! lock and makes no system call; what it gives away leaves through [`Sink`].
//!
//! Long because what a path takes and gives, and the order of its stages, are one contract: who makes one reads all of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_dpdk::prefetch;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::{Encapsulation, IpPrefix, Ipv4Prefix, Ipv6Prefix, slot_of_spi};
use causeway_shared::wire::{AckStatus, Datagram, TracedPacket};

pub use causeway_shared::config::{Interface6, PortRole};

pub use crate::counters::Counters;
pub use crate::sa::{PoolMap, Tables, WorkerSa};
pub use crate::sink::{Full, Handoff, Ingress, Outer, Punt, SaDirection, SaStatistics, Sink};
pub use crate::watch::{Watcher, Watchers};

use crate::buffer::{Allocator, Buffer};
use crate::crypto::Line;
use crate::neighbour::{Due, Neighbours};
use crate::probe::{NoProbe, Probe};
use crate::sa::SaTable;
use crate::stages::{
    self, Clear, Clear6, EspIn, EspOut, Facts, Facts6, Fragmented, Frame, FromPeer, InSa, InSa6, Leaving,
    Leaving6, Out, Queue, Refused, Refused6, State, ToClient, ToClient6,
};
use crate::watch::{Spy, Tracer};

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

/// What the path must know of a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Our address on it.
    pub address: Ipv4Addr,
    /// Its subnet's prefix length.
    pub prefix_len: u8,
    /// Our IPv6 address and its link's prefix length; `None` where the port speaks IPv4 only.
    pub address6: Option<Interface6>,
    /// Largest IP packet, octets; at least 1280 with an IPv6 address (RFC 8200 §5).
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

/// A static IPv6 route.
#[derive(Clone, Copy, Debug)]
pub struct RouteConfig6 {
    /// Destination.
    pub destination: Ipv6Prefix,
    /// Next hop, on a port's link.
    pub via: Ipv6Addr,
}

/// Everything a path is made from. The same on every worker but for `worker`.
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// Ports; a [`PortId`] is an index into this.
    pub ports: Vec<PortConfig>,
    /// Static routes; connected ones follow from the ports.
    pub routes: Vec<RouteConfig>,
    /// The same of IPv6.
    pub routes6: Vec<RouteConfig6>,
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
    /// The crypto engine is broken on this machine or build.
    #[error(transparent)]
    Crypto(#[from] crate::crypto::SelfTestError),
    /// Too many routes.
    #[error("{0} routes, connected ones included, are more than 256")]
    Routes(usize),
    /// A port's prefix or MTU.
    #[error("port {0}: prefix length must be 1 to 32 (IPv6: 1 to 128) and MTU 576 (IPv6: 1280) to 9216")]
    Port(u16),
    /// A route leads nowhere.
    #[error("route to {destination} via {via}: the next hop is in no port's subnet")]
    Route {
        /// Destination.
        destination: IpPrefix,
        /// Next hop.
        via: IpAddr,
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
    /// To every worker: as `SetOutbound`, for all addresses of a client's IPv6 prefix (/128: one address).
    SetOutbound6 {
        /// Client's inner prefix.
        inner: Ipv6Prefix,
        /// The SA.
        inbound_spi: Option<u32>,
    },
    /// To the SA's owner: the peer's outer address changed, perhaps to the other family.
    MovePeer {
        /// The SA.
        inbound_spi: u32,
        /// Our outer address towards it, of the same family.
        local_outer: IpAddr,
        /// New outer address.
        peer_outer: IpAddr,
        /// New encapsulation.
        encapsulation: Encapsulation,
    },
    /// To every worker: a pool. `PoolMap::new(prefix)` is made by the manager, one per worker.
    AddPool(Box<PoolMap>),
    /// To every worker: a prefix whose addresses belong to clients.
    AddPool6(Ipv6Prefix),
    /// To every worker: watches packets. The watch has come with its memory.
    Watch(Box<Watcher>),
    /// To every worker: ends a watch, or all of them with `wire::ALL_WATCHES`.
    Unwatch {
        /// Its number.
        id: u32,
    },
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
    /// A watch that was replaced, or one too many.
    Watcher(Box<Watcher>),
    /// Watches that have ended.
    Watchers(Watchers),
}

/// The worker that owns the SA with this inbound SPI.
pub fn owner_of_spi(inbound_spi: u32, sa_capacity: u32, workers: u16) -> u16 {
    (slot_of_spi(inbound_spi, sa_capacity) % u32::from(workers.max(1))) as u16
}

/// Declares the stages in their order: the queues in front of them, the pass over them, how packets get there, and their
/// names.
///
/// - `gather`: packets wait in front of the stage until the whole burst is there, because what the stage needs of memory was
///   asked for on the way, or because the stage is not on the common way.
/// - `follow`: the stage is called straight from the one before it. Only stages further down may follow.
/// - `burst`: packets wait, and the stage works on all of them at once.
macro_rules! stages {
    ($($kind:ident $stage:ident($item:ident) $doc:literal;)+) => {
        /// Every stage in the order of a pass: its name and what it does.
        pub const STAGES: &[(&str, &str)] = &[$((stringify!($stage), $doc),)+];

        /// Places of the stages in [`STAGES`].
        #[allow(non_camel_case_types)]
        enum Place {
            $($stage,)+
        }

        /// What waits in front of each stage.
        pub(crate) struct Queues<B> {
            /// A bit for each stage in front of which something waits.
            ready: u32,
            $($stage: Queue<$item<B>>,)+
        }

        const _: () = assert!(STAGES.len() <= u32::BITS as usize);

        impl<B> Queues<B> {
            fn new() -> Queues<B> {
                Queues { ready: 0, $($stage: Queue::new(),)+ }
            }

            fn clear(&mut self) -> usize {
                self.ready = 0;
                let mut lost = 0;
                $(lost += self.$stage.clear();)+
                lost
            }
        }

        impl<B: Buffer, S: Sink<B>, P: Probe> Out<'_, B, S, P> {
            $(
                #[doc = concat!("To `", stringify!($stage), "`: ", $doc, ".")]
                #[inline(always)]
                pub(crate) fn $stage<A: Allocator<Buffer = B>>(
                    &mut self,
                    packet: $item<B>,
                    state: &mut State<A>,
                ) -> Result<(), Drop> {
                    enter!($kind $stage self packet state)
                }
            )+
        }

        /// One pass: every stage once, over all that waits for it.
        fn pass<A: Allocator, S: Sink<A::Buffer>, P: Probe>(state: &mut State<A>, out: &mut Out<'_, A::Buffer, S, P>) {
            $(
                if out.queues.ready & (1 << Place::$stage as u32) != 0 {
                    out.queues.ready &= !(1 << Place::$stage as u32);
                    let began = out.probe.now();
                    if let Some(mut packets) = out.queues.$stage.take() {
                        let count = packets.len();
                        work!($kind $stage packets state out);
                        out.queues.$stage.restore(packets);
                        out.probe.stage(Place::$stage as usize, count, began);
                        out.probe.counted(Place::$stage as usize, &state.counters);
                    }
                }
            )+
        }
    };
}

/// How a packet gets to a stage.
macro_rules! enter {
    (follow $stage:ident $out:ident $packet:ident $state:ident) => {
        if P::SPLIT { enter!(gather $stage $out $packet $state) } else { stages::$stage::one($packet, $state, $out) }
    };
    ($kind:ident $stage:ident $out:ident $packet:ident $state:ident) => {{
        let _ = $state;
        $out.queues.ready |= 1 << Place::$stage as u32;
        $out.queues.$stage.push($packet)
    }};
}

/// What a stage does with the packets that waited.
macro_rules! work {
    (burst $stage:ident $packets:ident $state:ident $out:ident) => {
        stages::$stage::run(&mut $packets, $state, $out)
    };
    ($kind:ident $stage:ident $packets:ident $state:ident $out:ident) => {
        for packet in $packets.drain(..) {
            if let Err(reason) = stages::$stage::one(packet, $state, $out) {
                $state.counters.drop(reason);
            }
        }
    };
}

stages! {
    follow classify(Frame) "frames told apart: ARP, IKE, ESP, ICMP to us, clear";
    gather neighbour(Frame) "ARP answered and learnt from";
    gather reassemble(Fragmented) "fragments of IKE and ESP to us put together";
    gather classify6(Frame) "IPv6 frames told apart: neighbour discovery, IKE, ESP, ICMPv6 to us, clear";
    gather neighbour6(Frame) "neighbour discovery answered and learnt from";
    follow natt(FromPeer) "UDP 4500: keepalive, IKE behind the marker, ESP";
    gather punt(FromPeer) "IKE to the control plane";
    gather esp_in_lookup(FromPeer) "SPI to SA, or to the worker that owns it";
    follow esp_in_replay(EspIn) "sequence number inferred, old packets refused";
    burst esp_in_open(EspIn) "ICV verified, decrypted, the whole burst at once";
    follow esp_in_accept(EspIn) "window, limits, peer moved, padding, inner header";
    follow policy_in(InSa) "inner addresses against the SA's selectors";
    follow forward(Clear) "to us, to a client, or to the LAN; TTL";
    gather local(Clear) "ICMP echo to us answered";
    gather icmp_error(Refused) "the sender told why its packet was dropped";
    follow policy_in6(InSa6) "IPv6: inner addresses against the SA's selectors";
    follow forward6(Clear6) "IPv6: to us, to a client, or to the LAN; hop limit";
    gather local6(Clear6) "ICMPv6 echo to us answered";
    gather icmp_error6(Refused6) "the IPv6 sender told why its packet was dropped";
    gather policy_out(ToClient) "the SA's selectors, or the owner worker";
    follow pmtu(InSa) "too big: fragmented, or ICMP";
    gather policy_out6(ToClient6) "IPv6: the SA's selectors, or the owner worker";
    follow pmtu6(InSa6) "IPv6: too big: ICMPv6";
    follow esp_out_seq6(InSa6) "IPv6: sequence number given, padded";
    follow esp_out_seq(InSa) "sequence number given, padded";
    burst esp_out_seal(EspOut) "encrypted, ICV, the whole burst at once";
    follow encap(EspOut) "counted; outer IPv4 and UDP header";
    follow encap6(EspOut) "counted; outer IPv6 and UDP header";
    follow route(Leaving) "next hop, port MTU, Ethernet header, tx";
    follow route6(Leaving6) "IPv6: next hop, port MTU, Ethernet header, tx";
}

/// What every link of IPv6 must carry, octets (RFC 8200 §5).
const MIN_MTU6: u16 = 1280;
/// Frames fetched ahead of the one that is looked at.
const AHEAD: usize = 8;
/// SAs whose figures are published after each burst. Each costs up to three lines of memory that no cache holds; with 100,000
/// SAs at full load the figures are then a tenth of a second old.
const PUBLISH_EACH: usize = 4;
/// SAs whose figures are published at each turn without packets, and at each tick.
const PUBLISH_IDLE: usize = 64;
/// Passes after which nothing may be left: an error about a packet goes round once, and no error follows an error.
const MAX_PASSES: usize = 4;

/// One worker's packet path.
pub struct Path<A: Allocator, P: Probe = NoProbe> {
    state: State<A>,
    queues: Queues<A::Buffer>,
    probe: P,
}

impl<A: Allocator> Path<A> {
    /// Makes a path and all the memory it will use.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or the crypto engine fails its self-test.
    pub fn new(config: PathConfig, allocator: A) -> Result<Path<A>, PathError> {
        Path::with_probe(config, allocator, NoProbe)
    }
}

impl<A: Allocator, P: Probe> Path<A, P> {
    /// As [`Path::new`], for a path that reports to `probe`.
    ///
    /// # Errors
    /// As [`Path::new`].
    pub fn with_probe(config: PathConfig, allocator: A, probe: P) -> Result<Path<A, P>, PathError> {
        if !config.sa_capacity.is_power_of_two() || !(256..=1 << 20).contains(&config.sa_capacity) {
            return Err(PathError::Capacity(config.sa_capacity));
        }
        if config.worker >= config.workers {
            return Err(PathError::Worker { worker: config.worker, workers: config.workers });
        }
        for (index, port) in config.ports.iter().enumerate() {
            let v4 = (1..=32).contains(&port.prefix_len) && (576..=9216).contains(&port.mtu);
            let v6 =
                port.address6.is_none_or(|v6| (1..=128).contains(&v6.prefix_len) && port.mtu >= MIN_MTU6);
            if !v4 || !v6 {
                return Err(PathError::Port(index as u16));
            }
        }
        let mut state = State::new(config, allocator)?;
        crate::crypto::self_test(&mut state.engine)?;
        Ok(Path { state, queues: Queues::new(), probe })
    }

    /// Takes every frame of `burst` (any number; worked on [`BURST`] at a time) that came in on `port`.
    pub fn receive(
        &mut self,
        now: Now,
        port: PortId,
        burst: &mut Vec<A::Buffer>,
        sink: &mut impl Sink<A::Buffer>,
    ) {
        self.state.now = now;
        if self.state.watches.has_traces() {
            return self.receive_traced(port, burst, sink);
        }
        self.receive_burst(port, burst, sink);
    }

    #[inline(always)]
    fn receive_burst(&mut self, port: PortId, burst: &mut Vec<A::Buffer>, sink: &mut impl Sink<A::Buffer>) {
        let mut octets = 0;
        self.state.counters.flow(Flow::RxPackets, burst.len() as u64);
        burst.iter().take(AHEAD).for_each(|buffer| prefetch(buffer.data()));
        let mut frames = burst.drain(..);
        while frames.len() > 0 {
            let began = self.probe.now();
            let mut count = 0;
            let mut out = Out { queues: &mut self.queues, sink: &mut *sink, probe: &mut self.probe };
            while count < BURST
                && let Some(buffer) = frames.next()
            {
                if let Some(later) = frames.as_slice().get(AHEAD - 1) {
                    prefetch(later.data());
                }
                octets += buffer.len() as u64;
                if let Err(reason) = out.classify(Frame { port, buffer }, &mut self.state) {
                    self.state.counters.drop(reason);
                }
                count += 1;
            }
            if !P::SPLIT {
                self.probe.stage(Place::classify as usize, count, began);
            }
            run(&mut self.state, &mut self.queues, &mut self.probe, sink);
        }
        drop(frames);
        self.state.counters.flow(Flow::RxBytes, octets);
    }

    /// Frames that a trace wants go alone.
    #[cold]
    #[inline(never)]
    fn receive_traced(&mut self, port: PortId, burst: &mut Vec<A::Buffer>, sink: &mut impl Sink<A::Buffer>) {
        let mut others = Vec::with_capacity(burst.len());
        for buffer in burst.drain(..) {
            let State { watches, tables, .. } = &mut self.state;
            let Some(story) =
                watches.traces().find_map(|trace| trace.take_frame(buffer.data(), port, tables))
            else {
                others.push(buffer);
                continue;
            };
            self.receive_burst(port, &mut others, sink);
            self.state.counters.flow(Flow::RxPackets, 1);
            self.state.counters.flow(Flow::RxBytes, buffer.len() as u64);
            self.trace(story, sink, |out, state| out.classify(Frame { port, buffer }, state));
        }
        self.receive_burst(port, &mut others, sink);
    }

    /// One packet through the path, followed.
    #[cold]
    fn trace<'s, S: Sink<A::Buffer>>(
        &mut self,
        story: TracedPacket,
        sink: &'s mut S,
        enter: impl FnOnce(&mut Out<'_, A::Buffer, Spy<'s, S>, Tracer>, &mut State<A>) -> Result<(), Drop>,
    ) {
        let mut tracer = Tracer::new(&self.state.counters);
        let mut spy = Spy { sink, left: Vec::new() };
        let mut out = Out { queues: &mut self.queues, sink: &mut spy, probe: &mut tracer };
        if let Err(reason) = enter(&mut out, &mut self.state) {
            self.state.counters.drop(reason);
        }
        run(&mut self.state, &mut self.queues, &mut tracer, &mut spy);
        let Spy { sink, left } = spy;
        tracer.finish(story, left, sink, &mut self.state.counters);
    }

    /// Takes what other workers handed over.
    pub fn resume(&mut self, now: Now, items: &mut Vec<Handoff<A::Buffer>>, sink: &mut impl Sink<A::Buffer>) {
        self.state.now = now;
        // Another core has just written these buffers. Asked for all at once, their lines come beside each other.
        items.iter().filter_map(Handoff::buffer).for_each(Buffer::expect);
        items.iter().filter_map(Handoff::buffer).for_each(Buffer::expect_ends);
        for (index, item) in items.drain(..).enumerate() {
            if self.state.watches.has_traces() {
                let State { watches, tables, .. } = &mut self.state;
                let story = watches.traces().find_map(|trace| trace.take_handoff(&item, tables));
                if let Some(story) = story {
                    run(&mut self.state, &mut self.queues, &mut self.probe, sink);
                    self.trace(story, sink, |out, state| take_over(item, state, out));
                    continue;
                }
            }
            let mut out = Out { queues: &mut self.queues, sink: &mut *sink, probe: &mut self.probe };
            let pushed = take_over(item, &mut self.state, &mut out);
            if let Err(reason) = pushed {
                self.state.counters.drop(reason);
            }
            if index % BURST == BURST - 1 {
                run(&mut self.state, &mut self.queues, &mut self.probe, sink);
            }
        }
        run(&mut self.state, &mut self.queues, &mut self.probe, sink);
    }

    /// Sends an IKE datagram: marker on port 4500, UDP and IPv4 headers, IP fragments above the MTU, route, ARP.
    ///
    /// # Errors
    /// The reason it was dropped for, already counted.
    pub fn send_datagram(
        &mut self,
        now: Now,
        datagram: &Datagram,
        sink: &mut impl Sink<A::Buffer>,
    ) -> Result<(), Drop> {
        self.state.now = now;
        let mut out = Out { queues: &mut self.queues, sink: &mut *sink, probe: &mut self.probe };
        let sent = stages::ike_out::send(datagram, &mut self.state, &mut out);
        if let Err(reason) = sent {
            self.state.counters.drop(reason);
        }
        run(&mut self.state, &mut self.queues, &mut self.probe, sink);
        sent
    }

    /// Timers: ARP retries and ageing, fragments that came alone, a crypto device that does not answer, refused events. Call about every 100 ms.
    pub fn tick(&mut self, now: Now, sink: &mut impl Sink<A::Buffer>) {
        self.state.now = now;
        self.state.events.retry(sink);
        self.state.publish(PUBLISH_IDLE, sink);
        self.state.forget_late_fragments();
        self.state.watch_device();
        let State { watches, counters, .. } = &mut self.state;
        watches.tick(now, sink, counters);
        // Taken out for the walk, so that what is due can use the rest of the state.
        let mut neighbours = std::mem::replace(&mut self.state.neighbours, Neighbours::placeholder());
        let mut given_up = 0;
        neighbours.tick(now, |due| match due {
            Due::Ask(port, address, mac) => self.state.send_arp_request(port, address, mac, sink),
            Due::GivenUp(..) => given_up += 1,
        });
        if given_up > 0 {
            for _ in 0..neighbours.drop_orphans() {
                self.state.counters.drop(Drop::NoNeighbour);
            }
        }
        self.state.neighbours = neighbours;
        self.tick6(now, sink);
    }

    fn tick6(&mut self, now: Now, sink: &mut impl Sink<A::Buffer>) {
        let mut neighbours = std::mem::replace(&mut self.state.v6.neighbours, Neighbours::placeholder());
        let mut given_up = 0;
        neighbours.tick(now, |due| match due {
            Due::Ask(port, address, mac) => self.state.send_solicitation(port, address, mac, sink),
            Due::GivenUp(..) => given_up += 1,
        });
        if given_up > 0 {
            for _ in 0..neighbours.drop_orphans() {
                self.state.counters.drop(Drop::NoNeighbour);
            }
        }
        self.state.v6.neighbours = neighbours;
    }

    /// Gives this path its way through a crypto device, for the SAs whose keys are there.
    pub fn use_device(&mut self, line: Line) {
        self.state.line = Some(Box::new(line));
    }

    /// Takes the way through the crypto device away again, with what is under way on it.
    pub fn give_up_device(&mut self) -> Option<Box<Line>> {
        self.state.line.take()
    }

    /// Takes back what the crypto device has done since; answers whether it has more. Call once a turn, whether packets came
    /// or not.
    #[inline]
    pub fn collect(&mut self, now: Now, sink: &mut impl Sink<A::Buffer>) -> bool {
        if self.state.line.is_none() {
            return false;
        }
        self.state.now = now;
        let mut out = Out { queues: &mut self.queues, sink: &mut *sink, probe: &mut self.probe };
        stages::lookaside::collect(&mut self.state, &mut out);
        // A packet from one client to another goes in again.
        run(&mut self.state, &mut self.queues, &mut self.probe, sink);
        self.state.line.as_ref().is_some_and(|line| line.in_flight() > 0)
    }

    /// Uses a turn without packets: publishes figures that wait.
    pub fn idle(&mut self, sink: &mut impl Sink<A::Buffer>) {
        self.state.publish(PUBLISH_IDLE, sink);
    }

    /// Announces our addresses (RFC 5227 §2.3); call once when the ports are up.
    pub fn announce(&mut self, now: Now, sink: &mut impl Sink<A::Buffer>) {
        self.state.now = now;
        for port in (0..self.state.config.ports.len()).map(|index| PortId(index as u16)) {
            if let Some(address) = self.state.port(port).map(|ours| ours.address) {
                self.state.send_arp_request(port, address, None, sink);
            }
            self.state.announce6(port, sink);
        }
    }

    /// Changes the tables.
    pub fn apply(&mut self, now: Now, operation: Operation, sink: &mut impl Sink<A::Buffer>) -> Applied {
        self.state.now = now;
        let done = |retired| Applied { status: AckStatus::Done, retired };
        let refused = |status| Applied { status, retired: Retired::Nothing };
        let State { tables, watches, counters, engine, .. } = &mut self.state;
        let Tables { sas, outbound, outbound6, .. } = &mut **tables;
        let mut publish = |place: u32, sas: &SaTable| {
            if let Some((slot, statistics)) = sas.statistics(place) {
                sink.sa_statistics(slot, statistics);
            }
        };
        match operation {
            Operation::Install(sa) => match sas.insert(sa) {
                Ok(place) => {
                    publish(place, sas);
                    done(Retired::Nothing)
                }
                Err(sa) => Applied { status: AckStatus::SlotInUse, retired: Retired::Sa(sa) },
            },
            Operation::Remove { inbound_spi } => {
                if let Some(place) = sas.lookup(inbound_spi) {
                    publish(place, sas);
                    if let Some(session_id) = sas.session_id(place) {
                        watches.session_ends(session_id, sink, counters);
                    }
                    let (inbound, outbound) = (sas.inbound(place), sas.outbound(place));
                    engine.forget(inbound.and_then(|sa| sa.key()), outbound.and_then(|sa| sa.key()));
                }
                match sas.remove(inbound_spi) {
                    Some(sa) => done(Retired::Sa(sa)),
                    None => refused(AckStatus::NoSuchSa),
                }
            }
            Operation::SetOutbound { inner, inbound_spi } => match outbound.set(inner, inbound_spi) {
                Ok(()) => done(Retired::Nothing),
                Err(status) => refused(status),
            },
            Operation::SetOutbound6 { inner, inbound_spi } => match outbound6.set(inner, inbound_spi) {
                Ok(()) => done(Retired::Nothing),
                Err(status) => refused(status),
            },
            Operation::AddPool6(range) => match outbound6.add_pool(range) {
                Ok(()) => done(Retired::Nothing),
                Err(status) => refused(status),
            },
            Operation::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation } => {
                match sas.lookup(inbound_spi) {
                    _ if local_outer.is_ipv4() != peer_outer.is_ipv4() => refused(AckStatus::OutOfRange),
                    Some(place) => {
                        sas.move_peer(place, local_outer, peer_outer, encapsulation);
                        done(Retired::Nothing)
                    }
                    None => refused(AckStatus::NoSuchSa),
                }
            }
            Operation::AddPool(pool) => match outbound.add_pool(pool) {
                Ok(None) => done(Retired::Nothing),
                Ok(Some(pool)) => done(Retired::Pool(pool)),
                Err((status, pool)) => Applied { status, retired: Retired::Pool(pool) },
            },
            Operation::Watch(watcher) => match watches.begin(watcher, now) {
                Ok(None) => done(Retired::Nothing),
                Ok(Some(replaced)) => done(Retired::Watcher(replaced)),
                Err(watcher) => Applied { status: AckStatus::TableFull, retired: Retired::Watcher(watcher) },
            },
            Operation::Unwatch { id } => done(Retired::Watchers(watches.end(id, sink, counters))),
            Operation::RemoveAll(tables) => {
                engine.forget_all();
                done(Retired::Tables(std::mem::replace(&mut self.state.tables, tables)))
            }
        }
    }

    /// The counters since start, in the order of `causeway_shared::counters`; the worker copies them to the segment.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// For what the worker itself counts: transmission, malformed slots.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.state.counters
    }

    /// What measures it.
    pub fn probe(&self) -> &P {
        &self.probe
    }

    /// What measures it, to begin again.
    pub fn probe_mut(&mut self) -> &mut P {
        &mut self.probe
    }

    /// Packets that wait for a neighbour's Ethernet address.
    pub fn waiting(&self) -> usize {
        self.state.neighbours.waiting() + self.state.v6.neighbours.waiting()
    }
}

/// Where something that another worker handed over goes on.
#[inline(always)]
fn take_over<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    item: Handoff<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    match item {
        Handoff::EspIn { buffer, outer } => {
            stages::esp_in_lookup::send(FromPeer { buffer, outer }, state, out)
        }
        Handoff::EspOut { buffer, ingress } => Facts::read(buffer.data())
            .and_then(|facts| stages::policy_out::send(Clear { buffer, ingress, facts }, state, out)),
        Handoff::Fragment { buffer } => out.reassemble(Fragmented { buffer }, state),
        Handoff::EspOut6 { buffer, ingress } => Facts6::read(buffer.data())
            .and_then(|facts| stages::policy_out6::send(Clear { buffer, ingress, facts }, state, out)),
        Handoff::PathMtu6 { peer, spi, mtu } => {
            stages::path_mtu6::told(peer, spi, mtu, state);
            Ok(())
        }
        Handoff::Neighbour6 { port, address, mac } => {
            stages::neighbour6::told(port, address, mac, state, out.sink);
            Ok(())
        }
        Handoff::Neighbour { port, address, mac } => {
            stages::neighbour::told(port, address, mac, state, out.sink);
            Ok(())
        }
    }
}

/// Passes until nothing waits, then publishes figures in step with the packets.
fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    state: &mut State<A>,
    queues: &mut Queues<A::Buffer>,
    probe: &mut P,
    sink: &mut S,
) {
    state.expect_publish(PUBLISH_EACH, sink);
    for _ in 0..MAX_PASSES {
        if queues.ready == 0 {
            break;
        }
        pass(state, &mut Out { queues: &mut *queues, sink: &mut *sink, probe: &mut *probe });
    }
    if queues.ready != 0 {
        for _ in 0..queues.clear() {
            state.counters.drop(Drop::NoBuffer);
        }
    }
    if let Some(line) = &mut state.line {
        line.queue().flush();
    }
    state.publish(PUBLISH_EACH, sink);
}

#[cfg(test)]
#[path = "path_tests/mod.rs"]
pub(crate) mod tests;
