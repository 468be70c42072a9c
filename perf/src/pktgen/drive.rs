//! `causeway-perf pktgen --port`: the generator as a program of its own, before and behind a device under test.
//!
//! Enters: one port, whose device brings frames back to it, or two, where they leave by the first and come back by the second.
//! Leaves: loss, duplicates, reordering and latency at a rate, and RFC 2544's search. ESP that comes back is opened with the
//! world's keys by an independent library; every packet carries a stamp under its encryption.

use std::thread;
use std::time::{Duration, Instant};

use causeway_dataplane::dpdk_buffer::data_room;
use causeway_dpdk::{
    BURST, Eal, Mbuf, Mempool, PortHandle, ProbedPort, QueueConfig, RxQueue, TxQueue, tsc, tsc_hz,
};
use causeway_shared::net::ethernet::Mac;
use causeway_shared::net::{ethernet, ipv4, udp};
use serde::Serialize;

use super::output::Percentiles;
use super::search;
use super::source::{Plan, Ways};
use super::stamp::{STAMP_LEN, Stamp, Tally};
use crate::Failure;
use crate::cell::{Direction, Size, Suite};
use crate::traffic;
use crate::world::{self, Family, World};

/// Buffers: full rings of both ports and what is under way.
const BUFFERS: u32 = 16_384;
const DESCRIPTORS: u16 = 1024;
/// How long both ends may take to find each other.
const LINK: Duration = Duration::from_secs(20);
/// A trial is over when nothing came back for so long.
const SILENCE: Duration = Duration::from_millis(300);
/// A trial that sent slower than this part of what was asked was held up by the generator.
const ON_TIME: f64 = 0.98;
/// Where a stamp is in a clear packet.
fn stamp_at(family: Family) -> usize {
    traffic::header_len(family) + udp::HEADER_LEN
}

/// The smallest clear frame with a stamp.
pub fn smallest(family: Family) -> usize {
    ethernet::HEADER_LEN + stamp_at(family) + STAMP_LEN
}

/// Ports of the generator.
pub struct Generator {
    pool: Mempool,
    transmit: TxQueue,
    receive: RxQueue,
    /// The other queues: a port ends with its last handle.
    _idle: (Vec<TxQueue>, Vec<RxQueue>),
    destination: Mac,
    trials: u16,
    /// Last ESP sequence number of each client. They go on from trial to trial.
    sequences: Vec<u32>,
}

/// What a run was.
#[derive(Clone, Debug, Serialize)]
pub struct Driven {
    suite: Suite,
    size: Size,
    direction: Ways,
    sas: u32,
    asked_mpps: f64,
    /// What really left.
    sent_mpps: f64,
    sent: u64,
    received: u64,
    lost: u64,
    duplicates: u64,
    reordered: u64,
    foreign: u64,
    latency_ns: Percentiles,
    ndr_mpps: Option<f64>,
    pdr_mpps: Option<f64>,
}

struct Trial {
    tally: Tally,
    mpps: f64,
}

impl Generator {
    /// Opens the ports and waits until both ends are up.
    ///
    /// # Errors
    /// DPDK's, and no link in time.
    pub fn open(eal: Eal, devices: &[String], destination: Mac) -> Result<Generator, Failure> {
        let pool = Mempool::create(eal, "packets", BUFFERS, data_room(world::MTU))?;
        let (mut transmit, mut receive, mut handles) = (Vec::new(), Vec::new(), Vec::new());
        for device in devices {
            let queues = QueueConfig {
                rx_queues: 1,
                tx_queues: 1,
                rx_descriptors: DESCRIPTORS,
                tx_descriptors: DESCRIPTORS,
                mtu: world::MTU,
            };
            let started = ProbedPort::open(eal, device)?.start(queues, pool)?;
            transmit.extend(started.tx);
            receive.extend(started.rx);
            handles.push(started.handle);
        }
        wait_for_links(&handles)?;
        let last = receive.pop().ok_or(Failure::NoPort)?;
        let first = if transmit.is_empty() { return Err(Failure::NoPort) } else { transmit.remove(0) };
        Ok(Generator {
            pool,
            transmit: first,
            receive: last,
            _idle: (transmit, receive),
            destination,
            trials: 0,
            sequences: Vec::new(),
        })
    }

    /// One run: a trial at `mpps`, and a search below it if asked for.
    ///
    /// # Errors
    /// What kept it from sending, and nothing coming back.
    pub fn run(&mut self, plan: Plan, mpps: f64, packets: u64, search: bool) -> Result<Driven, Failure> {
        let direction = match plan.ways {
            Ways::Out => Direction::Out,
            Ways::In => Direction::In,
            Ways::Both => {
                return Err(Failure::Usage("--port takes one direction at a time: out, in".to_owned()));
            }
        };
        self.sequences.resize(plan.world.sas as usize, 0);
        let trial = self.trial(&plan, direction, mpps, packets)?;
        if trial.tally.received == 0 {
            return Err(Failure::NothingCameBack { foreign: trial.tally.foreign });
        }
        let found = if search {
            Some(search::rates(mpps, |rate| {
                let trial = self.trial(&plan, direction, rate, packets)?;
                let on_time = trial.mpps >= rate * ON_TIME;
                let lost = packets - trial.tally.received;
                // A rate that the generator cannot send is no rate that the device carried.
                Ok(if on_time { lost as f64 / packets.max(1) as f64 } else { 1.0 })
            })?)
        } else {
            None
        };
        let Trial { tally, mpps: sent_mpps } = trial;
        Ok(Driven {
            suite: plan.world.suite,
            size: plan.size,
            direction: plan.ways,
            sas: plan.world.sas,
            asked_mpps: mpps,
            sent_mpps,
            sent: packets,
            received: tally.received,
            lost: packets - tally.received,
            duplicates: tally.duplicates,
            reordered: tally.reordered,
            foreign: tally.foreign,
            latency_ns: Percentiles::of(&tally.latency),
            ndr_mpps: found.map(|found| found.ndr),
            pdr_mpps: found.map(|found| found.pdr),
        })
    }

    fn trial(
        &mut self,
        plan: &Plan,
        direction: Direction,
        mpps: f64,
        packets: u64,
    ) -> Result<Trial, Failure> {
        self.trials = self.trials.wrapping_add(1);
        let mut tally = Tally::new(self.trials, packets, tsc_hz() as f64)?;
        let mut burst: Vec<Mbuf> = Vec::with_capacity(BURST);
        let mut arrived: Vec<Mbuf> = Vec::with_capacity(BURST);
        let gap = tsc_hz() as f64 / (mpps * 1e6);
        let began = tsc();
        let mut sent = 0;
        while sent < packets {
            let due = ((tsc().wrapping_sub(began) as f64 / gap) as u64 + 1).min(packets);
            while sent < due && burst.len() < BURST {
                burst.push(self.frame(plan, direction, sent)?);
                sent += 1;
            }
            self.transmit.burst(&mut burst);
            // A port that takes nothing now loses it: the rate does not wait.
            burst.clear();
            self.collect(&mut arrived, &plan.world, &mut tally);
        }
        let seconds = tsc().wrapping_sub(began) as f64 / tsc_hz() as f64;
        let mut heard = Instant::now();
        while !tally.is_complete() && heard.elapsed() < SILENCE {
            if self.collect(&mut arrived, &plan.world, &mut tally) > 0 {
                heard = Instant::now();
            }
        }
        Ok(Trial { tally, mpps: packets as f64 / seconds / 1e6 })
    }

    fn frame(&mut self, plan: &Plan, direction: Direction, number: u64) -> Result<Mbuf, Failure> {
        let client = (number % u64::from(plan.world.sas)) as u32;
        let mut inner = traffic::inner(&plan.world, direction, client, number as usize, plan.size);
        let stamp = Stamp { trial: self.trials, number, tsc: tsc() }.to_bytes();
        let at = stamp_at(plan.world.inner);
        if let Some(place) = inner.get_mut(at..at + STAMP_LEN) {
            place.copy_from_slice(&stamp);
        }
        let packet = match direction {
            Direction::Out => inner,
            Direction::In => {
                let sequence = self.sequences.get_mut(client as usize).ok_or(Failure::NoPort)?;
                *sequence += 1;
                let sealed = plan.world.sa_from_client(client).seal(*sequence, &inner)?;
                traffic::outer(&plan.world, client, &sealed)
            }
        };
        let frame = traffic::frame(self.destination, &packet);
        let mut buffer = self.pool.allocate().ok_or(Failure::NoBuffer)?;
        buffer.append(frame.len()).ok_or(Failure::NoBuffer)?.copy_from_slice(&frame);
        Ok(buffer)
    }

    /// Counts what has arrived; answers how many frames.
    fn collect(&mut self, arrived: &mut Vec<Mbuf>, world: &World, tally: &mut Tally) -> usize {
        let count = self.receive.burst(arrived);
        let now = tsc();
        for frame in arrived.drain(..) {
            tally.add(stamp_of(&frame, world), now);
        }
        count
    }
}

/// The stamp of a frame, clear or in ESP.
fn stamp_of(frame: &[u8], world: &World) -> Option<Stamp> {
    let packet = traffic::Carried::parse(frame.get(ethernet::HEADER_LEN..)?)?;
    match packet.protocol {
        ipv4::PROTOCOL_ESP => stamp_in_esp(packet.payload, world),
        ipv4::PROTOCOL_UDP => {
            let datagram = udp::Datagram::parse(packet.payload)?;
            if datagram.source_port() == world::NATT_PORT {
                stamp_in_esp(datagram.payload(), world)
            } else {
                Stamp::parse(datagram.payload())
            }
        }
        _ => None,
    }
}

fn stamp_in_esp(esp: &[u8], world: &World) -> Option<Stamp> {
    let client = world::sa_number(esp).filter(|client| *client < world.sas)?;
    let inner = world.sa_to_client(client).open(esp)?;
    Stamp::parse(inner.get(stamp_at(world.inner)..)?)
}

fn wait_for_links(handles: &[PortHandle]) -> Result<(), Failure> {
    let deadline = Instant::now() + LINK;
    while Instant::now() < deadline {
        if handles.iter().all(|handle| handle.link().is_ok_and(|link| link.up)) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::NoLink)
}

/// Says what was found.
pub fn print(runs: &[Driven]) {
    for run in runs {
        let Percentiles { p50, p90, p99, p99_9, p99_99, max } = &run.latency_ns;
        println!(
            "{} {} {:?}, {} SAs: {} packets at {:.3} Mpps (asked: {:.3})",
            run.suite, run.size, run.direction, run.sas, run.sent, run.sent_mpps, run.asked_mpps
        );
        println!(
            "  lost {}, duplicates {}, reordered {}, foreign {}",
            run.lost, run.duplicates, run.reordered, run.foreign
        );
        println!("  latency ns: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, p99.99 {p99_99}, max {max}");
        if let (Some(ndr), Some(pdr)) = (run.ndr_mpps, run.pdr_mpps) {
            println!("  NDR {ndr:.3} Mpps, PDR {pdr:.3} Mpps");
        }
    }
}
