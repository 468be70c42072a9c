//! `causeway-perf scale`: what a second worker adds, with half of all packets handed over, and what a busy SA does to the other
//! worker's packets.
//!
//! Enters: suite, size, clients. Leaves: cycles of a packet with one worker and with two on two cores, by turns in one run; that no
//! SA's packets changed their order; and, with one SA that gets more than its owner can take, what became of everyone else's.

mod team;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use causeway_dataplane::dpdk_buffer::data_room;
use causeway_dpdk::{BURST, Eal, Mempool, tsc_hz};
use causeway_kernels::clock::core_per_tsc;
use causeway_shared::net::{ethernet, ipv4};
use serde::Serialize;

use crate::cell::{Size, Suite};
use crate::hugepages::Hugepages;
use crate::machine::{self, Machine};
use crate::pktgen::write_json;
use crate::programs::RuntimeDirectory;
use crate::stat::{median, range};
use crate::world::{self, World};
use crate::{Failure, pktgen};
use team::{Done, INNER_NUMBER_AT, Orders, RECEIVER_SHIFT, SMALLEST, Team};

/// Buffers: full hand-off rings and bursts of both workers.
const BUFFERS: u32 = 16_384;
const MEMORY_MIB: u64 = 96;
const SEGMENT_MIB: u64 = 64;
const WORKERS: u16 = 2;
/// Packets of each worker whose order is looked at.
const ORDER: usize = 20_000;
/// How long they may take to come together.
const ORDER_TIME: Duration = Duration::from_millis(100);
/// A turn longer than this was interrupted, per second of the TSC: 50 µs.
const INTERRUPTED: u64 = 20_000;

/// One worker and two, on the same packets, by turns: cycles per packet, order within an SA, and a busy SA beside the others.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Algorithms.
    #[arg(long, default_value = "aes-256-gcm")]
    suite: Suite,
    /// Clear frame size.
    #[arg(long, default_value = "64")]
    size: Size,
    /// Clients, half of whom each worker owns.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    sas: u32,
    /// Rounds; of each kind of turn one.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of a turn, milliseconds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    turn: u64,
    /// Take ordinary pages and leave the machine's hugepages as they are.
    #[arg(long)]
    no_huge: bool,
    /// Also write the result as JSON, one object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was found. Cycles are the core's.
#[derive(Debug, Serialize)]
struct Found {
    suite: Suite,
    size: Size,
    sas: u32,
    /// Of a packet with one worker, and with two, both workers' cycles over both workers' packets; medians of the rounds.
    one_cycles: f64,
    /// Each worker gets its own SAs' packets only: what the machine makes of two cores.
    apart_cycles: f64,
    two_cycles: f64,
    /// Packets per second of two workers over those of one, had each a core to itself; without and with hand-off.
    speed_up_apart: f64,
    speed_up: f64,
    speed_up_range: (f64, f64),
    one_mpps: f64,
    apart_mpps: f64,
    two_mpps: f64,
    handoff_refused: u64,
    /// Part of the turns that are not in the costs: interrupted, or with a hand-off refused.
    left_out: f64,
    /// Packets whose order was looked at, those of them that were handed over, and those out of order.
    order_checked: usize,
    order_handed: usize,
    out_of_order: usize,
    hot: Hot,
}

/// One SA of worker 1 gets half of what worker 0 receives, as fast as that can.
#[derive(Debug, Serialize)]
struct Hot {
    /// Packets for the busy SA, and those of them that left.
    hot_received: u64,
    hot_sent: u64,
    /// Packets for all other SAs, and those of them that left.
    others_received: u64,
    others_sent: u64,
    /// Packets of other SAs per second of each worker's own time, millions.
    others_mpps: Vec<f64>,
}

/// Runs it.
///
/// # Errors
/// What kept it from measuring, a packet dropped for anything but a full ring, an order that changed.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if (0..arguments.size.period()).any(|index| arguments.size.of(index) < SMALLEST) {
        return Err(Failure::Usage(format!("--size: a frame has at least {SMALLEST} octets here")));
    }
    machine::weigh_more();
    let machine = Machine::probe();
    let [.., first, second] = machine.cores[..] else {
        return Err(Failure::Usage("two workers need two cores".to_owned()));
    };
    let cores = [second, first];
    let hugepages = Hugepages::reserve_unless(arguments.no_huge, MEMORY_MIB + 2 * SEGMENT_MIB);
    let file_prefix = format!("causeway-perf-{}", std::process::id());
    let _directory = RuntimeDirectory::of(&file_prefix);
    let eal = pktgen::start_eal(&machine, hugepages.are_enough(), &file_prefix, MEMORY_MIB, &[])?;
    let _registered = eal.register_thread()?;
    let found = measure(arguments, eal, &cores)?;
    print(&found, &machine, hugepages.are_enough());
    if let Some(path) = &arguments.json {
        write_json(path, std::slice::from_ref(&found))?;
    }
    if found.out_of_order > 0 {
        return Err(Failure::Lost { reason: "a changed order".to_owned(), count: found.out_of_order as u64 });
    }
    Ok(())
}

fn measure(arguments: &Arguments, eal: Eal, cores: &[usize]) -> Result<Found, Failure> {
    let Arguments { suite, size, sas, .. } = *arguments;
    let world = World { replay_window: 64, ..World::plain(suite, sas) };
    let pool = Mempool::create(eal, "packets", BUFFERS, data_room(world::MTU))?;
    let mut alone = Team::new(&world, size, 1, pool)?;
    let mut both = Team::new(&world, size, WORKERS, pool)?;
    let length = Duration::from_millis(arguments.turn);
    let anyone = |random: u64| below(random, sas);
    let phase = Phase { eal, cores, length, watched: u32::MAX, keep: 0 };
    // Every SA has its first packet here, and what no cache holds yet is fetched.
    phase.run(&mut alone, &[&anyone])?;
    phase.run(&mut both, &[&anyone, &anyone])?;
    let own = |worker: u32| move |random: u64| below(random, sas / 2) * u32::from(WORKERS) + worker;
    let (own_first, own_second) = (own(0), own(1));
    let (mut ones, mut aparts, mut twos) = (Vec::new(), Vec::new(), Vec::new());
    let (mut speed_ups_apart, mut speed_ups) = (Vec::new(), Vec::new());
    let (mut left_out, mut turns) = (0, 0);
    for _ in 0..arguments.rounds {
        let one = cost(&phase.run(&mut alone, &[&anyone])?);
        let apart = cost(&phase.run(&mut both, &[&own_first, &own_second])?);
        let done = phase.run(&mut both, &[&anyone, &anyone])?;
        let two = cost(&done);
        ones.push(one);
        aparts.push(apart);
        twos.push(two);
        speed_ups_apart.push(f64::from(WORKERS) * one / apart);
        speed_ups.push(f64::from(WORKERS) * one / two);
        left_out += done.iter().map(|done| done.left_out).sum::<u64>();
        turns += done.iter().map(|done| done.received / BURST as u64).sum::<u64>();
    }
    let handoff_refused = both.drops().1;
    let ordered = Phase { length: ORDER_TIME, keep: ORDER, ..phase };
    let order = check_order(&world, ordered.run(&mut both, &[&anyone, &anyone])?);
    let hot = hot(&phase, &mut both, sas)?;
    let (wrong, _) = both.drops();
    let (wrong_alone, refused_alone) = alone.drops();
    if wrong + wrong_alone + refused_alone > 0 {
        return Err(Failure::Lost {
            reason: "no reason that there is here".to_owned(),
            count: wrong + wrong_alone,
        });
    }
    let mpps = |cycles: f64, workers: u16| f64::from(workers) * tsc_hz() as f64 / cycles / 1e6;
    let (one, apart, two) = (median(&ones), median(&aparts), median(&twos));
    let core_per_tsc = core_per_tsc();
    Ok(Found {
        suite,
        size,
        sas,
        one_cycles: one * core_per_tsc,
        apart_cycles: apart * core_per_tsc,
        two_cycles: two * core_per_tsc,
        speed_up_apart: median(&speed_ups_apart),
        speed_up: median(&speed_ups),
        speed_up_range: range(&speed_ups),
        one_mpps: mpps(one, 1),
        apart_mpps: mpps(apart, WORKERS),
        two_mpps: mpps(two, WORKERS),
        handoff_refused,
        left_out: left_out as f64 / turns.max(1) as f64,
        order_checked: order.0,
        order_handed: order.1,
        out_of_order: order.2,
        hot,
    })
}

/// One SA that gets more than its owner can take.
fn hot(phase: &Phase<'_>, both: &mut Team, sas: u32) -> Result<Hot, Failure> {
    // Worker 1's; worker 0 never has a packet for another SA of worker 1, nor the other way round.
    const BUSY: u32 = 1;
    let own = |random: u64, worker: u32| below(random >> 1, sas / 2) * u32::from(WORKERS) + worker;
    let first = |random: u64| if random & 1 == 0 { BUSY } else { own(random, 0) };
    let second = |random: u64| match own(random, 1) {
        BUSY => BUSY + u32::from(WORKERS),
        other => other,
    };
    let watching = Phase { watched: BUSY, ..*phase };
    let done = watching.run(both, &[&first, &second])?;
    let sum = |of: fn(&Done) -> u64| done.iter().map(of).sum::<u64>();
    let per_second = |done: &Done| {
        let others = (done.all_sealed - done.of_watched) as f64 / done.all_sealed.max(1) as f64;
        others * done.sealed as f64 * tsc_hz() as f64 / done.cycles.max(1) as f64 / 1e6
    };
    Ok(Hot {
        hot_received: sum(|done| done.received_for_watched),
        hot_sent: sum(|done| done.of_watched),
        others_received: sum(|done| done.received - done.received_for_watched),
        others_sent: sum(|done| done.all_sealed - done.of_watched),
        others_mpps: done.iter().map(per_second).collect(),
    })
}

/// How a phase is run.
#[derive(Clone, Copy)]
struct Phase<'a> {
    eal: Eal,
    cores: &'a [usize],
    length: Duration,
    watched: u32,
    keep: usize,
}

type Pick<'a> = &'a (dyn Fn(u64) -> u32 + Sync);

impl Phase<'_> {
    /// Lets each worker of `team` receive what its `pick` says, on a core of its own.
    fn run(&self, team: &mut Team, picks: &[Pick<'_>]) -> Result<Vec<Done>, Failure> {
        let go = AtomicBool::new(false);
        let orders = |pick| Orders {
            pick,
            length: self.length,
            longest: tsc_hz() / INTERRUPTED,
            watched: self.watched,
            keep: self.keep,
            go: &go,
        };
        let eal = self.eal;
        let mut done = thread::scope(|scope| {
            let mut threads = Vec::new();
            for ((member, pick), core) in team.members.iter_mut().zip(picks).zip(self.cores) {
                let (orders, core) = (orders(*pick), *core);
                threads.push(scope.spawn(move || {
                    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
                        return Err(Failure::Core(core));
                    }
                    member.work(eal, &orders)
                }));
            }
            go.store(true, Ordering::Release);
            let ended = threads.into_iter().map(|thread| thread.join().map_err(|_| Failure::WorkerEnded)?);
            ended.collect::<Result<Vec<Done>, Failure>>()
        })?;
        for ((member, pick), done) in team.members.iter_mut().zip(picks).zip(&mut done) {
            member.finish(&orders(*pick), done);
        }
        Ok(done)
    }
}

/// TSC cycles of a packet, all workers together.
fn cost(done: &[Done]) -> f64 {
    let sum = |of: fn(&Done) -> u64| done.iter().map(of).sum::<u64>() as f64;
    sum(|done| done.cycles) / sum(|done| done.sealed).max(1.0)
}

/// Opens what each worker sent: packets looked at, handed over, and out of order. An SA's packets from one receiver must come with
/// ascending numbers, and all of an SA's with ascending ESP sequence numbers.
fn check_order(world: &World, done: Vec<Done>) -> (usize, usize, usize) {
    let (mut checked, mut handed, mut wrong) = (0, 0, 0);
    for (sender, done) in (0u64..).zip(done) {
        let mut last: HashMap<(u32, u64), u64> = HashMap::new();
        let mut last_sequence: HashMap<u32, u32> = HashMap::new();
        for frame in done.kept {
            checked += 1;
            match look(world, &frame) {
                Some((client, sequence, number)) => {
                    let receiver = number >> RECEIVER_SHIFT;
                    handed += usize::from(receiver != sender);
                    let before = last.insert((client, receiver), number);
                    let sequence_before = last_sequence.insert(client, sequence);
                    let ascends = before.is_none_or(|before| before < number)
                        && sequence_before.is_none_or(|before| before < sequence);
                    wrong += usize::from(!ascends);
                }
                None => wrong += 1,
            }
        }
    }
    (checked, handed, wrong)
}

/// Client, ESP sequence number and number of a sealed frame.
fn look(world: &World, frame: &[u8]) -> Option<(u32, u32, u64)> {
    let packet = ipv4::Packet::parse(frame.get(ethernet::HEADER_LEN..)?).ok()?;
    let client = world::sa_number(packet.payload()).filter(|client| *client < world.sas)?;
    let sequence = u32::from_be_bytes(*packet.payload().get(4..)?.first_chunk()?);
    let inner = world.sa_to_client(client).open(packet.payload())?;
    Some((client, sequence, u64::from_be_bytes(*inner.get(INNER_NUMBER_AT..)?.first_chunk()?)))
}

fn below(random: u64, bound: u32) -> u32 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u32
}

fn print(found: &Found, machine: &Machine, hugepages: bool) {
    println!("{}, {:.2} GHz core clock, Linux {}", machine.processor, machine.core_ghz, machine.kernel);
    println!(
        "{} {} out, {} SAs, over memory, {}",
        found.suite,
        found.size,
        found.sas,
        if hugepages { "2 MiB hugepages" } else { "no hugepages" }
    );
    for (what, cycles, mpps, speed_up) in [
        ("one worker", found.one_cycles, found.one_mpps, 1.0),
        ("two, each with its own SAs' packets", found.apart_cycles, found.apart_mpps, found.speed_up_apart),
        ("two, half of the packets handed over", found.two_cycles, found.two_mpps, found.speed_up),
    ] {
        println!("{what}: {cycles:.0} core cycles a packet, {mpps:.2} Mpps, {speed_up:.2} times one");
    }
    let (low, high) = found.speed_up_range;
    println!(
        "the last from {low:.2} to {high:.2}; hand-offs refused: {}; turns left out of the costs: {:.1} %",
        found.handoff_refused,
        found.left_out * 100.0
    );
    println!(
        "order within an SA: {} packets opened, {} of them handed over, {} out of order",
        found.order_checked, found.order_handed, found.out_of_order
    );
    let hot = &found.hot;
    let mpps: Vec<String> = hot.others_mpps.iter().map(|mpps| format!("{mpps:.2}")).collect();
    println!(
        "one busy SA of worker 1, received by worker 0: {} of its {} packets left; of all other SAs' {} of {}, {} Mpps by worker",
        hot.hot_sent,
        hot.hot_received,
        hot.others_sent,
        hot.others_received,
        mpps.join(" and ")
    );
}
