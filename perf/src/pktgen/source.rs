//! Traffic of an in-process run: which client each packet belongs to, and its frame.
//!
//! Frames are made in chunks, off the clock: inbound ones are sealed with fresh sequence numbers by an independent library, so
//! the replay check is on as in earnest. Replays are copies of frames a little earlier; reordering swaps near neighbours.
//! At first every client is visited once in each direction, whatever the order: an SA's first packet touches memory for the
//! first time, and what that costs is no packet's usual cost.

use std::net::IpAddr;

use causeway_dataplane::path::PortId;
use causeway_dpdk::{Mbuf, Mempool};
use causeway_shared::net::{checksum, ethernet, ipv4};

use crate::cell::{Direction, Size};
use crate::oracle::{EspSa, Refused};
use crate::traffic;
use crate::world::World;

/// Frames of a chunk.
pub const CHUNK: usize = 16_384;
/// Frames back that a replay may come from, and distance of a swap: within the smallest usual window.
const NEAR: u64 = 16;
/// The port that clear frames come in on, and the one for ESP.
pub const CLEAR_PORT: PortId = PortId(0);
pub const ESP_PORT: PortId = PortId(1);

/// In which order clients are visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// One after the other.
    Sequence,
    /// Each packet another, all alike.
    Random,
    /// Few often, many seldom: the n-th most frequent 1/n as often as the first.
    Zipf,
}

/// Which directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ways {
    /// Clear in, ESP out.
    Out,
    /// ESP in, clear out.
    In,
    /// Bursts of both by turns.
    Both,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The gateway.
    pub world: World,
    /// Frame sizes.
    pub size: Size,
    /// Directions.
    pub ways: Ways,
    /// Order of clients.
    pub order: Order,
    /// Part of inbound frames that are sent twice.
    pub replays: f64,
    /// Part of inbound frames that change places.
    pub reorder: f64,
}

/// Makes frames for ever.
pub struct Source {
    plan: Plan,
    macs: [ethernet::Mac; 2],
    random: Random,
    /// Cumulated frequencies for [`Order::Zipf`].
    zipf: Vec<f64>,
    next_client: u32,
    /// First visits made, and how many there are to make.
    first_visits: std::ops::Range<u32>,
    /// Last sequence number of each client.
    sequences: Vec<u32>,
    templates: Vec<Vec<u8>>,
    chunk: Vec<Frame>,
    octets: Vec<u8>,
    at: usize,
    /// Replays made so far.
    pub injected: u64,
}

#[derive(Clone, Copy)]
struct Frame {
    port: PortId,
    start: usize,
    end: usize,
}

impl Source {
    /// A source with nothing made yet.
    pub fn new(plan: Plan, macs: [ethernet::Mac; 2]) -> Source {
        let clients = plan.world.sas;
        let mut sum = 0.0;
        let weigh = |rank: u32| {
            sum += 1.0 / f64::from(rank + 1);
            sum
        };
        let zipf = if plan.order == Order::Zipf { (0..clients).map(weigh).collect() } else { Vec::new() };
        let template = |index| {
            traffic::frame(macs[0], &traffic::inner(&plan.world, Direction::Out, 0, index, plan.size))
        };
        let directions = if plan.ways == Ways::Both { 2 } else { 1 };
        Source {
            macs,
            first_visits: 0..clients * directions,
            random: Random(0x853c_49e6_748f_ea9b),
            zipf,
            next_client: 0,
            sequences: vec![0; clients as usize],
            templates: (0..48).map(template).collect(),
            chunk: Vec::with_capacity(CHUNK * 2),
            octets: Vec::new(),
            at: 0,
            injected: 0,
            plan,
        }
    }

    /// Makes the next chunk. What was left of the last one is gone.
    ///
    /// # Errors
    /// When the sealing library refuses.
    pub fn refill(&mut self) -> Result<(), Refused> {
        self.chunk.clear();
        self.octets.clear();
        self.at = 0;
        let frames = if self.has_strangers() { self.first_visits.len().min(CHUNK) } else { CHUNK };
        for index in 0..frames {
            let (client, inbound) = self.first_visit().unwrap_or_else(|| {
                let inbound = match self.plan.ways {
                    Ways::Out => false,
                    Ways::In => true,
                    Ways::Both => index / 32 % 2 == 1,
                };
                (self.pick(), inbound)
            });
            if inbound {
                self.sealed(client, index)?;
            } else {
                self.clear(client, index);
            }
        }
        if self.plan.reorder > 0.0 {
            for index in 0..self.chunk.len() {
                let other = index + 1 + self.random.below(NEAR) as usize;
                let alike = |a: usize, b: usize| {
                    self.chunk.get(a).zip(self.chunk.get(b)).is_some_and(|(a, b)| a.port == b.port)
                };
                if alike(index, other) && self.random.part() < self.plan.reorder {
                    self.chunk.swap(index, other);
                }
            }
        }
        Ok(())
    }

    /// Puts up to `count` frames of one port into `burst`; answers the port, or nothing at the end of the chunk.
    pub fn fill(&mut self, pool: Mempool, burst: &mut Vec<Mbuf>, count: usize) -> Option<PortId> {
        let port = self.chunk.get(self.at)?.port;
        while burst.len() < count
            && let Some(frame) = self.chunk.get(self.at)
            && frame.port == port
        {
            let octets = &self.octets[frame.start..frame.end];
            let mut buffer = pool.allocate()?;
            buffer.append(octets.len())?.copy_from_slice(octets);
            burst.push(buffer);
            self.at += 1;
        }
        Some(port)
    }

    /// Whether a client has not been visited yet.
    pub fn has_strangers(&self) -> bool {
        !self.first_visits.is_empty()
    }

    /// A client that has not been visited yet, and whether its visit is inbound.
    fn first_visit(&mut self) -> Option<(u32, bool)> {
        let visit = self.first_visits.next()?;
        let clients = self.plan.world.sas;
        Some((visit % clients, self.plan.ways == Ways::In || visit >= clients))
    }

    fn pick(&mut self) -> u32 {
        let clients = self.plan.world.sas;
        match self.plan.order {
            Order::Sequence => {
                let client = self.next_client;
                self.next_client = (client + 1) % clients;
                client
            }
            Order::Random => self.random.below(u64::from(clients)) as u32,
            Order::Zipf => {
                let point = self.random.part() * self.zipf.last().copied().unwrap_or(0.0);
                let rank = self.zipf.partition_point(|sum| *sum < point) as u32;
                // The frequent ones are not neighbours in memory.
                (u64::from(rank.min(clients - 1)) * 2_654_435_761 % u64::from(clients)) as u32
            }
        }
    }

    fn clear(&mut self, client: u32, index: usize) {
        let Some(template) = self.templates.get(index % self.templates.len()) else { return };
        let start = self.octets.len();
        self.octets.extend(template);
        let packet = &mut self.octets[start + ethernet::HEADER_LEN..];
        match self.plan.world.client_inner(client) {
            IpAddr::V4(address) => {
                let header = &mut packet[..ipv4::HEADER_LEN];
                header[16..20].copy_from_slice(&address.octets());
                header[10..12].fill(0);
                let sum = checksum::of(header).to_be_bytes();
                header[10..12].copy_from_slice(&sum);
            }
            // The UDP checksum stays that of the first client: nobody on the way looks at it.
            IpAddr::V6(address) => packet[24..40].copy_from_slice(&address.octets()),
        }
        self.chunk.push(Frame { port: CLEAR_PORT, start, end: self.octets.len() });
    }

    fn sealed(&mut self, client: u32, index: usize) -> Result<(), Refused> {
        let sa: EspSa = self.plan.world.sa_from_client(client);
        let sequence = &mut self.sequences[client as usize];
        *sequence += 1;
        let inner = traffic::inner(&self.plan.world, Direction::In, client, index, self.plan.size);
        let sealed = sa.seal(*sequence, &inner)?;
        let frame = traffic::frame(self.macs[1], &traffic::outer(&self.plan.world, client, &sealed));
        let start = self.octets.len();
        self.octets.extend(frame);
        self.chunk.push(Frame { port: ESP_PORT, start, end: self.octets.len() });
        if self.random.part() < self.plan.replays {
            let back = self.random.below(NEAR) as usize;
            let earlier = self.chunk.len().saturating_sub(1 + back);
            if let Some(frame) = self.chunk.get(earlier).copied().filter(|frame| frame.port == ESP_PORT) {
                self.chunk.push(frame);
                self.injected += 1;
            }
        }
        Ok(())
    }
}

/// xorshift64*: the same traffic in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 to below 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Suite;

    fn source(order: Order, sas: u32) -> Source {
        let world = World { replay_window: 64, ..World::plain(Suite::Aes128Gcm, sas) };
        let size = Size::Fixed(64);
        Source::new(Plan { world, size, ways: Ways::In, order, replays: 0.01, reorder: 0.0 }, [[2; 6]; 2])
    }

    #[test]
    fn orders_visit_clients_as_they_promise() {
        let visits = |order| {
            let mut source = source(order, 1000);
            let mut visits = vec![0u32; 1000];
            for _ in 0..100_000 {
                visits[source.pick() as usize] += 1;
            }
            visits.sort_unstable();
            visits
        };
        assert_eq!(visits(Order::Sequence), vec![100; 1000]);
        let random = visits(Order::Random);
        assert!(random[0] > 50 && random[999] < 160, "{} {}", random[0], random[999]);
        let zipf = visits(Order::Zipf);
        // The harmonic number of 1000 is 7.485.
        assert!((12_000..15_000).contains(&zipf[999]) && zipf[0] < 50, "{} {}", zipf[0], zipf[999]);
    }

    #[test]
    fn every_client_is_visited_in_each_direction_before_the_order_begins() {
        for (ways, directions) in [(Ways::Out, 1), (Ways::In, 1), (Ways::Both, 2)] {
            let mut source = source(Order::Zipf, 5000);
            source.plan.ways = ways;
            source.first_visits = 0..5000 * directions;
            let mut seen = std::collections::HashSet::new();
            while let Some(visit) = source.first_visit() {
                assert!(seen.insert(visit), "{visit:?} twice");
            }
            assert_eq!(seen.len(), 5000 * directions as usize, "{ways:?}");
            assert!(!source.has_strangers());
        }
    }

    #[test]
    fn replays_are_counted_as_they_are_made() {
        let mut source = source(Order::Random, 10);
        source.refill().unwrap();
        assert_eq!(source.chunk.len() as u64, 10 + source.injected);
        source.injected = 0;
        source.refill().unwrap();
        assert_eq!(source.chunk.len() as u64, CHUNK as u64 + source.injected);
        assert!((80..300).contains(&source.injected), "{}", source.injected);
    }
}
