//! `causeway-perf churn`: SAs installed and removed through the control plane's ring and the daemon's manager while a worker
//! forwards, with a histogram of how long the worker stayed away from its queues.
//!
//! Enters: how many SAs per minute, how much traffic. Leaves: for windows with and without commands, by turns in one run, the pauses
//! of the worker, what was lost and where, and the rates that were really reached.

mod pauses;
mod rekeys;
mod stream;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use causeway_dataplane::dpdk_buffer::data_room;
use causeway_dpdk::{BURST, Eal, Mbuf, Mempool};
use causeway_shared::counters::{COUNTERS, Drop as Reason};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use crate::cell::{Direction, Size, Suite};
use crate::hugepages::Hugepages;
use crate::machine::{self, Machine};
use crate::pktgen::write_json;
use crate::plane::{Design, Plane};
use crate::programs::RuntimeDirectory;
use crate::world::{self, World};
use crate::{Failure, pktgen};
use pauses::{PHASES, Pauses, Phase, PhaseNow};
use rekeys::{Rekeys, SPARE_SLOTS};
use stream::Stream;

/// Buffers: full rings of both ports and what is under way.
const BUFFERS: u32 = 8192;
/// Memory for the pool and the EAL, MiB.
const MEMORY_MIB: u64 = 64;
/// Hugepages for the segment, MiB.
const SEGMENT_MIB: u64 = 64;
/// The longest pause that the target allows, nanoseconds.
const TARGET_NS: u64 = 50_000;
/// The generator's rest between two looks: shorter than its share of the receive ring lasts.
const REST: Duration = Duration::from_micros(50);
/// Time between two introductions of the neighbours, who age.
const INTRODUCE: Duration = Duration::from_secs(1);
/// Traffic before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long the last packets may take to come back.
const DRAIN: Duration = Duration::from_secs(2);
const SECONDS_PER_MINUTE: f64 = 60.0;

/// SAs installed and removed while a worker forwards. Every client is rekeyed by turns: a new SA comes, the old one goes, and
/// packets to all clients go on; windows with and without that take turns.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Algorithms of every SA.
    #[arg(long, default_value = "aes-256-gcm")]
    suite: Suite,
    /// Clients, all with traffic.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sas: u32,
    /// SAs installed, and as many removed, per minute.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=60_000_000))]
    per_minute: u64,
    /// Packets per second, millions.
    #[arg(long, value_name = "MPPS", default_value_t = 0.2)]
    rate: f64,
    /// Clear frame size.
    #[arg(long, default_value = "64")]
    size: Size,
    /// Length of a window, milliseconds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    window: u64,
    /// Windows of each kind.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Take ordinary pages and leave the machine's hugepages as they are.
    #[arg(long)]
    no_huge: bool,
    /// The worker's core; the last one by default.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the result as JSON, one object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a run found.
#[derive(Debug, Serialize)]
struct Found {
    suite: Suite,
    size: Size,
    sas: u32,
    asked_per_minute: u64,
    installed_per_minute: f64,
    removed_per_minute: f64,
    installed: u64,
    removed: u64,
    mpps: f64,
    /// Packets that the worker's receive ring took, those of them that came back, and those that were opened and compared.
    sent: u64,
    received: u64,
    opened: u64,
    lost: u64,
    /// Packets that the receive ring refused because it was full, without and with commands.
    ring_full: [u64; PHASES],
    drops: Vec<(String, u64)>,
    quiet: Pause,
    churn: Pause,
    target_ns: u64,
}

/// A phase's turns, nanoseconds.
#[derive(Debug, Serialize)]
struct Pause {
    turns: u64,
    /// Turns in which the scheduler gave the core to another program for a while.
    interrupted: u64,
    /// Among the others, those above the target.
    above_target: u64,
    all: Distribution,
    undisturbed: Distribution,
    /// The part of undisturbed turns that instructions took, where there were any.
    instructions: Distribution,
    /// How many of those were above the target by themselves,
    instructions_above_target: u64,
    /// and how many would be if what makes turns without commands long (the hypervisor, interrupts) fell on them too, by their
    /// share of the time.
    instructions_above_by_chance: f64,
    instructions_followed: u64,
}

#[derive(Debug, Serialize)]
struct Distribution {
    count: u64,
    p50: u64,
    p99: u64,
    p99_9: u64,
    p99_99: u64,
    p99_999: u64,
    max: u64,
}

/// Runs it.
///
/// # Errors
/// What kept it from measuring, a refused command, a packet that came out wrong.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.rate.is_nan() || arguments.rate <= 0.0 {
        return Err(Failure::Usage("--rate must be above 0".to_owned()));
    }
    machine::weigh_more();
    let machine = Machine::probe();
    let core = arguments.core.unwrap_or_else(|| machine.measured_core());
    let other_core = machine.cores.iter().copied().find(|other| *other != core).unwrap_or(core);
    let hugepages = Hugepages::reserve_unless(arguments.no_huge, MEMORY_MIB + SEGMENT_MIB);
    let file_prefix = format!("causeway-perf-{}", std::process::id());
    let _directory = RuntimeDirectory::of(&file_prefix);
    let eal = pktgen::start_eal(&machine, hugepages.are_enough(), &file_prefix, MEMORY_MIB, &[])?;
    let _registered = eal.register_thread()?;
    let found = measure(arguments, eal, core, other_core)?;
    print(&found, &machine, hugepages.are_enough());
    match &arguments.json {
        Some(path) => write_json(path, &[found]),
        None => Ok(()),
    }
}

fn measure(arguments: &Arguments, eal: Eal, core: usize, other_core: usize) -> Result<Found, Failure> {
    let pool = Mempool::create(eal, "packets", BUFFERS, data_room(world::MTU))?;
    let world = World { replay_window: 64, ..World::plain(arguments.suite, arguments.sas) };
    let mut path = world.path_config(Direction::Out, world::MACS);
    path.sa_capacity = (2 * arguments.sas + SPARE_SLOTS).next_power_of_two();
    let phase = PhaseNow::new(PHASES.into());
    let pauses = Pauses::new(phase.clone())?;
    let mut pauses = Some(pauses);
    let design = Design { path, cores: vec![core], other_core };
    let plane = Plane::start(eal, pool, &design, || pauses.take())?;
    let mut run = Run {
        rekeys: Rekeys::new(world),
        stream: Stream::new(world, arguments.size, pool),
        plane,
        packets_per_second: arguments.rate * 1e6,
        installs_per_second: arguments.per_minute as f64 / SECONDS_PER_MINUTE,
        arrived: Vec::with_capacity(BURST),
        introduced: Instant::now(),
    };
    run.rekeys.install_everyone(&mut run.plane)?;
    run.window(WARM_UP, false)?;
    let before = run.plane.control.counter_totals();
    let (sent, received) = (run.stream.sent, run.stream.received);
    let bar = progress(arguments.rounds);
    let mut ring_full = [0; PHASES];
    let (mut seconds, mut churn_seconds) = (0.0, 0.0);
    for round in 0..arguments.rounds {
        for (index, churn) in [(0, false), (1, true)] {
            let refused = run.stream.refused;
            phase.store(index, Ordering::Relaxed);
            let lasted = run.window(Duration::from_millis(arguments.window), churn)?;
            phase.store(PHASES, Ordering::Relaxed);
            seconds += lasted;
            if churn {
                churn_seconds += lasted;
            }
            if let Some(full) = ring_full.get_mut(index) {
                *full += run.stream.refused - refused;
            }
        }
        let per_minute = run.rekeys.installed as f64 / churn_seconds * SECONDS_PER_MINUTE;
        bar.set_message(format!(
            "{per_minute:.0} SAs a minute, {} packets, {} lost",
            run.stream.received,
            run.stream.refused + run.lost()
        ));
        bar.set_position(u64::from(round) + 1);
    }
    bar.finish_and_clear();
    run.drain()?;
    let drops = drops(&before, &run.plane.control.counter_totals());
    let lost = run.lost();
    let Run { plane, rekeys, stream, .. } = run;
    let watches = plane.stop()?;
    let pauses = watches.into_iter().flatten().next().ok_or(Failure::WorkerEnded)?;
    let [quiet, churn] = pauses.phases();
    Ok(Found {
        suite: arguments.suite,
        size: arguments.size,
        sas: arguments.sas,
        asked_per_minute: arguments.per_minute,
        installed_per_minute: rekeys.installed as f64 / churn_seconds * SECONDS_PER_MINUTE,
        removed_per_minute: rekeys.removed as f64 / churn_seconds * SECONDS_PER_MINUTE,
        installed: rekeys.installed,
        removed: rekeys.removed,
        mpps: (stream.sent - sent) as f64 / seconds / 1e6,
        sent: stream.sent - sent,
        received: stream.received - received,
        opened: stream.opened,
        lost,
        ring_full,
        drops,
        quiet: Pause::of(quiet, 0.0),
        churn: Pause::of(churn, above_target(&quiet.undisturbed) as f64 / total_ns(&quiet.turns)),
        target_ns: TARGET_NS,
    })
}

/// A run under way.
struct Run {
    plane: Plane<Option<Pauses>>,
    rekeys: Rekeys,
    stream: Stream,
    packets_per_second: f64,
    installs_per_second: f64,
    arrived: Vec<Mbuf>,
    introduced: Instant,
}

impl Run {
    /// Traffic for so long, with or without commands; how long it lasted, seconds. At its end nothing is under way.
    fn window(&mut self, length: Duration, churn: bool) -> Result<f64, Failure> {
        let began = Instant::now();
        let (mut packets, mut installs) = (0, 0);
        loop {
            let elapsed = began.elapsed();
            let over = elapsed >= length;
            if over && self.rekeys.is_idle() {
                return Ok(elapsed.as_secs_f64());
            }
            if self.plane.is_broken() {
                return Err(Failure::WorkerEnded);
            }
            let due = |per_second: f64| (per_second * elapsed.as_secs_f64()) as u64;
            if let Some(to) = self.plane.to_workers.first_mut() {
                let late = due(self.packets_per_second).saturating_sub(packets);
                self.stream.send(to, late)?;
                // What is too late to be sent at once is not sent at all: the rate says so.
                packets += late;
            }
            self.collect()?;
            let late =
                if churn && !over { due(self.installs_per_second).saturating_sub(installs) } else { 0 };
            installs += u64::from(self.rekeys.go_on(&mut self.plane, late as u32)?);
            self.introduce();
            std::thread::sleep(REST);
        }
    }

    fn collect(&mut self) -> Result<(), Failure> {
        if let Some(from) = self.plane.from_workers.first_mut() {
            while self.stream.collect(from, &mut self.arrived)? > 0 {}
        }
        Ok(())
    }

    fn introduce(&mut self) {
        if self.introduced.elapsed() >= INTRODUCE {
            self.introduced = Instant::now();
            self.plane.introduce_neighbours(Direction::Out);
        }
    }

    /// Until everything has come back that will.
    fn drain(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + DRAIN;
        while self.lost() > 0 && Instant::now() < deadline {
            self.collect()?;
            std::thread::sleep(REST);
        }
        Ok(())
    }

    /// Packets that a worker was given and that have not come back.
    fn lost(&self) -> u64 {
        self.stream.sent.saturating_sub(self.stream.received)
    }
}

impl Pause {
    /// `long_per_ns`: how often something else makes an undisturbed turn long.
    fn of(phase: &Phase, long_per_ns: f64) -> Pause {
        Pause {
            turns: phase.turns.len(),
            interrupted: phase.interrupted(),
            above_target: above_target(&phase.undisturbed),
            all: Distribution::of(&phase.turns),
            undisturbed: Distribution::of(&phase.undisturbed),
            instructions: Distribution::of(&phase.instructions),
            instructions_above_target: above_target(&phase.instructions),
            instructions_above_by_chance: long_per_ns * total_ns(&phase.instructions),
            instructions_followed: phase.followed,
        }
    }
}

impl Distribution {
    fn of(histogram: &Histogram<u64>) -> Distribution {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Distribution {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            p99_999: at(0.99999),
            max: histogram.max(),
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let figures = [self.count, self.p50, self.p99, self.p99_9, self.p99_99, self.p99_999, self.max];
        std::iter::once(name.to_owned()).chain(figures.iter().map(u64::to_string)).collect()
    }
}

fn above_target(histogram: &Histogram<u64>) -> u64 {
    let above = histogram.iter_recorded().filter(|value| value.value_iterated_to() > TARGET_NS);
    above.map(|value| value.count_at_value()).sum()
}

fn total_ns(histogram: &Histogram<u64>) -> f64 {
    histogram.mean() * histogram.len() as f64
}

fn drops(before: &[u64; COUNTERS], after: &[u64; COUNTERS]) -> Vec<(String, u64)> {
    let count = |reason: &Reason| {
        let at = reason.index();
        after.get(at).zip(before.get(at)).map_or(0, |(after, before)| after.wrapping_sub(*before))
    };
    let drops = Reason::ALL.iter().map(|reason| (reason.name().to_owned(), count(reason)));
    drops.filter(|(_, count)| *count > 0).collect()
}

fn progress(rounds: u32) -> ProgressBar {
    let target =
        if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(u64::from(rounds)), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed} gone") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn print(found: &Found, machine: &Machine, hugepages: bool) {
    println!("{}, {:.2} GHz core clock, Linux {}", machine.processor, machine.core_ghz, machine.kernel);
    println!(
        "{} {}, {} clients, one worker, {}",
        found.suite,
        found.size,
        found.sas,
        if hugepages { "2 MiB hugepages" } else { "no hugepages" }
    );
    println!(
        "per minute: {:.0} SAs installed and {:.0} removed ({} and {}; asked: {} of each)",
        found.installed_per_minute,
        found.removed_per_minute,
        found.installed,
        found.removed,
        found.asked_per_minute
    );
    println!(
        "{} packets at {:.3} Mpps: {} lost, {} opened and compared; receive ring full: {} without, {} with commands{}",
        found.sent,
        found.mpps,
        found.lost,
        found.opened,
        found.ring_full[0],
        found.ring_full[1],
        found.drops.iter().map(|(reason, count)| format!("; {reason} {count}")).collect::<String>()
    );
    let mut table = Builder::default();
    table.push_record(["turns, ns", "count", "p50", "p99", "p99.9", "p99.99", "p99.999", "longest"]);
    for (name, pause) in [("without commands", &found.quiet), ("with commands", &found.churn)] {
        table.push_record(pause.all.row(name));
        table.push_record(pause.undisturbed.row("  not interrupted"));
    }
    table.push_record(found.churn.instructions.row("  of these in instructions"));
    println!("{}", table.build().with(Style::sharp()).modify(Columns::new(1..), Alignment::right()));
    println!(
        "interrupted by the scheduler: {} turns without, {} with commands; not interrupted and above {} ns: {} and {}",
        found.quiet.interrupted,
        found.churn.interrupted,
        found.target_ns,
        found.quiet.above_target,
        found.churn.above_target
    );
    println!(
        "above it by instructions alone: {}; by their share of the time {:.1} would be, whatever they did",
        found.churn.instructions_above_target, found.churn.instructions_above_by_chance
    );
}
