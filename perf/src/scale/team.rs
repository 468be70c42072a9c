//! Workers of one gateway in this process, each on a thread and a core of its own, with the daemon's hand-off rings between them and
//! no device: paths, rings and segment as in the daemon, frames made before and swallowed after the clock.
//!
//! Enters: which clients' packets each worker receives. Leaves: what each turn cost and what it sent, and where one asks for it the
//! frames themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use causeway_dataplane::dpdk_buffer::PoolAllocator;
use causeway_dataplane::fair_rings::{FairRings, NextSender};
use causeway_dataplane::handoff::HANDOFF_SLOTS;
use causeway_dataplane::path::{Now, Operation, Path, PathConfig, PortId, owner_of_spi};
use causeway_dataplane::sink::{Full, Handoff, Punt, SaStatistics, Sink};
use causeway_dpdk::{BURST, Eal, Mbuf, Mempool, tsc};
use causeway_shared::counters::Drop as Reason;
use causeway_shared::net::{ethernet, ipv4, udp};
use causeway_shared::wire::Event;
use causeway_shm::{DataSide, SegmentConfig, StatsTable, monotonic_ns};

use crate::cell::{Direction, Size};
use crate::world::{self, World};
use crate::{Failure, install, traffic};

const NS_PER_MS: u64 = 1_000_000;
/// Where a clear frame's number is: at the front of the UDP payload.
const NUMBER_AT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
/// Where the inner packet's number is.
pub const INNER_NUMBER_AT: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;
/// The smallest clear frame with a number.
pub const SMALLEST: usize = NUMBER_AT + size_of::<u64>();
/// Above the bits of a number: the worker that received the packet.
pub const RECEIVER_SHIFT: u32 = 48;
/// Turns between two looks at the clock.
const TURNS: u64 = 64;

/// One worker.
pub struct Member {
    index: u16,
    path: Path<PoolAllocator>,
    outlets: Outlets,
    pool: Mempool,
    now: Now,
    next: NextSender,
    handed: Vec<Handoff<Mbuf>>,
    burst: Vec<Mbuf>,
    frames: Arc<[Vec<u8>]>,
    number: u64,
    random: u64,
    /// Hand-offs refused until now.
    refused: u64,
}

struct Outlets {
    index: u16,
    rings: Arc<[FairRings<Handoff<Mbuf>>]>,
    sent: Vec<Mbuf>,
    stats: StatsTable,
    now_ns: u64,
}

/// All workers of a gateway.
pub struct Team {
    /// The workers.
    pub members: Vec<Member>,
    _side: causeway_shm::DataSegment,
}

/// What a worker did in a phase.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// TSC cycles of turns that nothing interrupted and in which no hand-off was refused.
    pub cycles: u64,
    /// Packets sealed in those turns.
    pub sealed: u64,
    /// Packets received, in all turns, and those of them for the client asked for.
    pub received: u64,
    /// As above.
    pub received_for_watched: u64,
    /// Packets sealed in all turns, and those of them that belong to the client asked for.
    pub all_sealed: u64,
    /// As above.
    pub of_watched: u64,
    /// Turns left out of the costs: interrupted, or with a hand-off refused because the other worker was off its core.
    pub left_out: u64,
    /// Frames, if they were to be kept.
    pub kept: Vec<Vec<u8>>,
}

/// What a worker does in a phase.
pub struct Orders<'a> {
    /// The client of the `n`th packet, from a random number.
    pub pick: &'a (dyn Fn(u64) -> u32 + Sync),
    /// When it is over.
    pub length: Duration,
    /// A turn longer than this, in TSC cycles, was interrupted.
    pub longest: u64,
    /// Whose packets are counted apart.
    pub watched: u32,
    /// At most so many frames are kept.
    pub keep: usize,
    /// Everyone begins when this is set.
    pub go: &'a AtomicBool,
}

impl Team {
    /// A gateway of `workers` with all clients of `world`.
    ///
    /// # Errors
    /// What the data plane refuses.
    pub fn new(world: &World, size: Size, workers: u16, pool: Mempool) -> Result<Team, Failure> {
        let config = PathConfig { workers, ..world.path_config(Direction::Out, world::MACS) };
        let side = DataSide::create(&SegmentConfig {
            workers: u32::from(workers),
            sa_capacity: config.sa_capacity,
            epoch: monotonic_ns(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })?;
        let ring = || FairRings::new(usize::from(workers), HANDOFF_SLOTS);
        let rings: Arc<[_]> = std::iter::repeat_with(ring).take(usize::from(workers)).collect();
        let frame =
            |n| traffic::frame(world::MACS[0], &traffic::inner(world, Direction::Out, n, n as usize, size));
        let frames: Arc<[Vec<u8>]> = (0..world.sas).map(frame).collect();
        let mut members = Vec::new();
        for (index, side) in (0..workers).zip(side.workers) {
            let path = Path::new(PathConfig { worker: index, ..config.clone() }, PoolAllocator::new(pool))?;
            let outlets = Outlets {
                index,
                rings: rings.clone(),
                sent: Vec::with_capacity(4 * BURST),
                stats: side.stats,
                now_ns: 0,
            };
            let mut member = Member {
                index,
                path,
                outlets,
                pool,
                now: Now::default(),
                next: NextSender::default(),
                handed: Vec::with_capacity(BURST),
                burst: Vec::with_capacity(BURST),
                frames: frames.clone(),
                number: 0,
                refused: 0,
                random: 0x9e37_79b9_7f4a_7c15 + u64::from(index),
            };
            member.look_at_the_clock();
            member.install(world, config.sa_capacity, workers)?;
            members.push(member);
        }
        Ok(Team { members, _side: side.segment })
    }

    /// Packets dropped for any reason but a full hand-off ring, and those.
    pub fn drops(&self) -> (u64, u64) {
        let of = |reason: Reason| -> u64 {
            self.members.iter().map(|member| member.path.counters().of_drop(reason)).sum()
        };
        let others = Reason::ALL.iter().filter(|reason| **reason != Reason::HandoffFull);
        (others.map(|reason| of(*reason)).sum(), of(Reason::HandoffFull))
    }
}

impl Member {
    /// Works on this thread, which has been pinned.
    ///
    /// # Errors
    /// An empty pool, and DPDK's.
    pub fn work(&mut self, eal: Eal, orders: &Orders<'_>) -> Result<Done, Failure> {
        let _registered = eal.register_thread()?;
        let mut done = Done::default();
        self.introduce_neighbours();
        while !orders.go.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let began = Instant::now();
        let mut turn = 0;
        while turn % TURNS != 0 || began.elapsed() < orders.length {
            if turn % TURNS == 0 {
                self.look_at_the_clock();
            }
            turn += 1;
            self.fill(orders, &mut done)?;
            let began = tsc();
            self.path.receive(self.now, PortId(0), &mut self.burst, &mut self.outlets);
            self.take_handoffs();
            let cycles = tsc().wrapping_sub(began);
            self.settle(cycles, orders, &mut done);
        }
        Ok(done)
    }

    /// What others still have for this worker, when all have stopped.
    pub fn finish(&mut self, orders: &Orders<'_>, done: &mut Done) {
        let mut before = u64::MAX;
        while done.all_sealed != before {
            before = done.all_sealed;
            self.take_handoffs();
            // Not on the clock.
            self.settle(u64::MAX, orders, done);
        }
    }

    fn take_handoffs(&mut self) {
        let Some(rings) = self.outlets.rings.get(usize::from(self.index)) else { return };
        rings.take(&mut self.next, BURST, &mut self.handed);
        if !self.handed.is_empty() {
            self.path.resume(self.now, &mut self.handed, &mut self.outlets);
        }
    }

    fn settle(&mut self, cycles: u64, orders: &Orders<'_>, done: &mut Done) {
        let sent = self.outlets.sent.len() as u64;
        let refused = self.path.counters().of_drop(Reason::HandoffFull);
        let kept_all = refused == std::mem::replace(&mut self.refused, refused);
        if cycles <= orders.longest && kept_all {
            done.cycles += cycles;
            done.sealed += sent;
        } else {
            done.left_out += 1;
        }
        done.all_sealed += sent;
        for frame in self.outlets.sent.drain(..) {
            let esp = frame.get(ethernet::HEADER_LEN + ipv4::HEADER_LEN..).unwrap_or_default();
            done.of_watched += u64::from(world::sa_number(esp) == Some(orders.watched));
            if done.kept.len() < orders.keep {
                done.kept.push(frame.to_vec());
            }
        }
    }

    fn fill(&mut self, orders: &Orders<'_>, done: &mut Done) -> Result<(), Failure> {
        while self.burst.len() < BURST {
            // xorshift64*.
            self.random ^= self.random >> 12;
            self.random ^= self.random << 25;
            self.random ^= self.random >> 27;
            let client = (orders.pick)(self.random.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let frame = self.frames.get(client as usize).ok_or(Failure::NoBuffer)?;
            let mut buffer = self.pool.allocate().ok_or(Failure::NoBuffer)?;
            let octets = buffer.append(frame.len()).ok_or(Failure::NoBuffer)?;
            octets.copy_from_slice(frame);
            let number = u64::from(self.index) << RECEIVER_SHIFT | self.number;
            if let Some(place) = octets.get_mut(NUMBER_AT..SMALLEST) {
                place.copy_from_slice(&number.to_be_bytes());
            }
            self.number += 1;
            done.received += 1;
            done.received_for_watched += u64::from(client == orders.watched);
            self.burst.push(buffer);
        }
        Ok(())
    }

    fn install(&mut self, world: &World, sa_capacity: u32, workers: u16) -> Result<(), Failure> {
        install::apply(&mut self.path, self.now, install::pool(world::Family::V4)?, &mut self.outlets)?;
        for n in 0..world.sas {
            let owner = owner_of_spi(world.pair(n).inbound_spi, sa_capacity, workers);
            for operation in install::client(world, n)? {
                // Its owner has the SA; everyone knows the way.
                if owner == self.index || !matches!(operation, Operation::Install(_)) {
                    install::apply(&mut self.path, self.now, operation, &mut self.outlets)?;
                }
            }
        }
        Ok(())
    }

    fn introduce_neighbours(&mut self) {
        self.path.resume(self.now, &mut install::neighbours(Direction::Out).collect(), &mut self.outlets);
        self.outlets.sent.clear();
    }

    fn look_at_the_clock(&mut self) {
        self.outlets.now_ns = monotonic_ns();
        self.now = Now { monotonic_ms: self.outlets.now_ns / NS_PER_MS };
    }
}

impl Sink<Mbuf> for Outlets {
    #[inline]
    fn tx(&mut self, _port: PortId, frame: Mbuf) {
        self.sent.push(frame);
    }

    #[inline]
    fn handoff(&mut self, worker: u16, item: Handoff<Mbuf>) -> Result<(), Handoff<Mbuf>> {
        match self.rings.get(usize::from(worker)) {
            Some(rings) => rings.push(self.index, item),
            None => Err(item),
        }
    }

    fn punt(&mut self, _datagram: Punt<'_>) -> Result<(), Full> {
        Ok(())
    }

    fn event(&mut self, _event: Event) -> Result<(), Full> {
        Ok(())
    }

    fn reserve_sequence(&mut self, slot: u32, block_end: u64) {
        self.stats.slot(slot).reserve_outbound(block_end.saturating_add(1));
    }

    #[inline]
    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics) {
        self.stats.slot(slot).publish(&statistics.into(), self.now_ns);
    }
}
