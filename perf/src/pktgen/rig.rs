//! The path under measurement in this process: with clients installed and neighbours known, over buffers of a DPDK pool, with
//! the segment's statistics behind it as in the daemon. Frames that it sends are swallowed.

use std::sync::{Mutex, PoisonError};

use causeway_dataplane::crypto::Line;
use causeway_dataplane::dpdk_buffer::PoolAllocator;
use causeway_dataplane::path::{Now, Path, PortId};
use causeway_dataplane::probe::Probe;
use causeway_dataplane::sink::{Full, Handoff, Punt, SaStatistics, Sink};
use causeway_dpdk::{Mbuf, Mempool, prefetch, tsc};
use causeway_shared::wire::Event;
use causeway_shm::{DataSide, StatsTable, monotonic_ns};

use crate::cell::Direction;
use crate::world::{MACS, World};
use crate::{Failure, install};

const NS_PER_MS: u64 = 1_000_000;

/// The way through the crypto device, if one is measured: the rig that is there has it.
static LINE: Mutex<Option<Box<Line>>> = Mutex::new(None);

/// Lets rigs made from now on, one at a time, do ESP by a crypto device.
pub fn use_device(line: Line) {
    give_back(Box::new(line));
}

fn give_back(line: Box<Line>) {
    *LINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
}

/// A path and what is around it.
pub struct Rig<P: Probe> {
    /// The path.
    pub path: Path<PoolAllocator, P>,
    sink: Swallow,
    _side: DataSide,
    now: Now,
    /// Cycles of reading the counter twice.
    reading: u64,
    has_ipv6: bool,
}

struct Swallow {
    frames: Vec<Mbuf>,
    stats: StatsTable,
    now_ns: u64,
}

impl<P: Probe> Rig<P> {
    /// Makes a path, installs every client of `world`, and introduces the neighbours.
    ///
    /// # Errors
    /// What the data plane refuses.
    pub fn new(world: &World, pool: Mempool, probe: P) -> Result<Rig<P>, Failure> {
        let config = world.path_config(Direction::Out, MACS);
        let (side, worker) = install::segment(config.sa_capacity)?;
        let mut path = Path::with_probe(config, PoolAllocator::new(pool), probe)?;
        if let Some(line) = LINE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            path.use_device(*line);
        }
        let reading = (0..1000).map(|_| tsc().wrapping_sub(tsc()).wrapping_neg()).min().unwrap_or(0);
        let sink = Swallow { frames: Vec::with_capacity(1024), stats: worker.stats, now_ns: 0 };
        let mut rig =
            Rig { path, sink, _side: side, now: Now::default(), reading, has_ipv6: world.has_ipv6() };
        rig.look_at_the_clock();
        install::everyone(world, &mut rig.path, rig.now, &mut rig.sink)?;
        rig.introduce_neighbours();
        Ok(rig)
    }

    /// Takes a burst through the path; answers TSC cycles. What was sent is swallowed off the clock.
    #[inline]
    pub fn work(&mut self, port: PortId, burst: &mut Vec<Mbuf>) -> u64 {
        let began = tsc();
        self.path.receive(self.now, port, burst, &mut self.sink);
        // Without a device this is one comparison, as in the worker's turn; with one, its answer is waited for.
        while self.path.collect(self.now, &mut self.sink) {}
        let cycles = tsc().wrapping_sub(began).saturating_sub(self.reading);
        self.sink.frames.clear();
        cycles
    }

    /// Takes a burst through the path; answers the frames it sent.
    pub fn pass(&mut self, port: PortId, burst: &mut Vec<Mbuf>) -> Vec<Vec<u8>> {
        self.path.receive(self.now, port, burst, &mut self.sink);
        while self.path.collect(self.now, &mut self.sink) {}
        self.sink.frames.drain(..).map(|frame| frame.to_vec()).collect()
    }

    /// Once in a while, as the worker does it each turn: time, timers, neighbours.
    pub fn look_at_the_clock(&mut self) {
        self.sink.now_ns = monotonic_ns();
        self.now = Now { monotonic_ms: self.sink.now_ns / NS_PER_MS };
    }

    /// Says what ARP would, again and again, since neighbours age.
    pub fn introduce_neighbours(&mut self) {
        self.path.resume(self.now, &mut install::neighbours(Direction::Out).collect(), &mut self.sink);
        if self.has_ipv6 {
            self.path.resume(self.now, &mut install::neighbours6(Direction::Out).collect(), &mut self.sink);
        }
        self.sink.frames.clear();
    }
}

impl<P: Probe> Drop for Rig<P> {
    fn drop(&mut self) {
        if let Some(line) = self.path.give_up_device() {
            give_back(line);
        }
    }
}

impl Sink<Mbuf> for Swallow {
    #[inline]
    fn tx(&mut self, _port: PortId, frame: Mbuf) {
        self.frames.push(frame);
    }

    fn handoff(&mut self, _worker: u16, item: Handoff<Mbuf>) -> Result<(), Handoff<Mbuf>> {
        Err(item)
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

    #[inline]
    fn expect_sa_statistics(&self, slot: u32) {
        prefetch(self.stats.slot(slot).line());
    }
}
