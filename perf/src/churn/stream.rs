//! Traffic of a churn: clear packets to every client by turns at a fixed rate, ESP back, counted.
//!
//! Enters: time. Leaves: frames in a worker's receive ring; counts of what was sent, refused by a full ring, and came back; and
//! every [`SAMPLE`]th packet is opened with its SA's keys by RustCrypto and must be one to its client.

use causeway_dpdk::{BURST, Mbuf, Mempool, RxQueue, TxQueue};
use causeway_shared::net::{ethernet, ipv4};

use crate::Failure;
use crate::cell::{Direction, Size};
use crate::traffic;
use crate::world::{self, World};

/// One packet in so many is opened.
pub const SAMPLE: u64 = 64;
/// Packets sent at once at most: what was late is sent late, but a generator that slept does not flood the ring.
const MOST_AT_ONCE: u64 = 256;

/// Makes and counts packets.
pub struct Stream {
    world: World,
    pool: Mempool,
    frames: Vec<Vec<u8>>,
    burst: Vec<Mbuf>,
    next: usize,
    /// The receive ring took them.
    pub sent: u64,
    /// The receive ring was full: what a network card would have dropped.
    pub refused: u64,
    /// Came back.
    pub received: u64,
    /// Came back and were opened.
    pub opened: u64,
}

impl Stream {
    /// Packets of `size` to all clients of `world`.
    pub fn new(world: World, size: Size, pool: Mempool) -> Stream {
        let frame =
            |n| traffic::frame(world::MACS[0], &traffic::inner(&world, Direction::Out, n, n as usize, size));
        Stream {
            frames: (0..world.sas).map(frame).collect(),
            burst: Vec::with_capacity(BURST),
            world,
            pool,
            next: 0,
            sent: 0,
            refused: 0,
            received: 0,
            opened: 0,
        }
    }

    /// Sends `due` packets, or as many as is good at once; how many.
    ///
    /// # Errors
    /// An empty pool.
    pub fn send(&mut self, to: &mut TxQueue, due: u64) -> Result<u64, Failure> {
        let now = due.min(MOST_AT_ONCE);
        let mut left = now;
        while left > 0 {
            let count = left.min(BURST as u64);
            for _ in 0..count {
                let frame = self.frames.get(self.next).ok_or(Failure::NoBuffer)?;
                let mut buffer = self.pool.allocate().ok_or(Failure::NoBuffer)?;
                buffer.append(frame.len()).ok_or(Failure::NoBuffer)?.copy_from_slice(frame);
                self.burst.push(buffer);
                self.next = (self.next + 1) % self.frames.len();
            }
            let taken = to.burst(&mut self.burst) as u64;
            self.burst.clear();
            self.sent += taken;
            self.refused += count - taken;
            left -= count;
        }
        Ok(now)
    }

    /// Takes what has come back; how many.
    ///
    /// # Errors
    /// A packet that its client could not open.
    pub fn collect(&mut self, from: &mut RxQueue, arrived: &mut Vec<Mbuf>) -> Result<usize, Failure> {
        let count = from.burst(arrived);
        for frame in arrived.drain(..) {
            self.received += 1;
            if self.received.is_multiple_of(SAMPLE) {
                self.open(&frame)?;
            }
        }
        Ok(count)
    }

    fn open(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let wrong = |what| Failure::Wrong { suite: self.world.suite, what, index: self.received as usize };
        let packet = frame.get(ethernet::HEADER_LEN..).and_then(|octets| ipv4::Packet::parse(octets).ok());
        let packet = packet.ok_or(wrong("what came back is no IPv4 packet"))?;
        let first = world::sa_number(packet.payload()).ok_or(wrong("it has no SPI of ours"))?;
        let inner = self.world.sa_to_client(first).open(packet.payload());
        let inner = inner.ok_or(wrong("its client cannot open it"))?;
        let to = ipv4::Packet::parse(&inner).map(|packet| packet.destination());
        if to != Ok(world::client_inner(first % self.world.sas)) {
            return Err(wrong("it went to another client"));
        }
        self.opened += 1;
        Ok(())
    }
}
