//! `causeway-perf pktgen`: generator, data plane and sink in one thread over memory, where cycles are read without any device's.
//!
//! Enters: what traffic, how many SAs. Leaves: a table, JSON lines, a plot. Making frames and freeing them is not in the figures;
//! everything that a worker does between a received burst and its transmit call is.

mod check;
mod drive;
pub mod memory;
mod nowhere;
mod output;
mod plot;
mod record;
mod rig;
mod search;
mod source;
mod stamp;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::Duration;

use causeway_dataplane::crypto::{Engine, start_device};
use causeway_dataplane::dpdk_buffer::data_room;
use causeway_dataplane::probe::{Groups, NoProbe, Probe, Stages};
use causeway_dpdk::{BURST, Eal, Mbuf, Mempool, tsc_hz};
use causeway_kernels::clock::core_per_tsc;
use causeway_shared::counters::Drop as Reason;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Failure;
use crate::cell::{Size, Suite};
use crate::hugepages::Hugepages;
use crate::machine::{self, Machine};
use crate::programs::{self, RuntimeDirectory};
use crate::traffic;
use crate::world::{self, Family, MAX_SAS, World};
pub use nowhere::Nowhere;
pub use output::write_json;
use output::{Percentiles, Run, Stage};
use record::{Line, Windows};
use rig::Rig;
use source::{CHUNK, Order, Plan, Source, Ways};

/// Buffers of the pool: more than any burst and queue holds.
const BUFFERS: u32 = 8192;
/// Memory for the pool and the EAL, MiB.
const MEMORY_MIB: u64 = 64;
/// The same for a generator with ports, whose rings hold more.
const DRIVEN_MEMORY_MIB: u64 = 128;
/// Keys that a crypto device has room for: of a hundred SAs or so; those beyond stay in software.
const CRYPTO_KEYS: u32 = 1024;
/// Memory for a crypto device's keys and operations, MiB.
const CRYPTO_MIB: u64 = 32;
/// Hugepages for the segment of the most SAs, MiB: the daemon's is in hugepages where there are enough.
const SEGMENT_MIB: u64 = 64;
/// Part of each chunk that warms caches up before the clock runs: making the chunk has gone over them.
const WARM_UP: usize = CHUNK / 4;
/// Rate at which a device under test is driven if none is given, Mpps.
const DRIVEN_MPPS: f64 = 0.1;
/// The part of the windows that nothing disturbed, even on a busy machine.
const QUIET: f64 = 0.1;

/// Generator and sink in the same thread as the data plane, over memory: cycles per packet without any device.
///
/// IPv4 in IPv4 unless `--inner` and `--outer` say otherwise.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Algorithms, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "aes-256-gcm")]
    suites: Vec<Suite>,
    /// Clear frame sizes, separated by commas: 42 (IPv6: 62) to 1420 or imix.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    sizes: Vec<Size>,
    /// Numbers of SAs, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    sas: Vec<u32>,
    /// Packets of a receive burst, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "32")]
    bursts: Vec<usize>,
    /// Directions, separated by commas.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "out,in")]
    directions: Vec<Ways>,
    /// The order in which clients are visited.
    #[arg(long, value_enum, default_value = "random")]
    order: Order,
    /// ESP in UDP (RFC 3948).
    #[arg(long)]
    natt: bool,
    /// Family inside of the tunnel: 4 or 6.
    #[arg(long, default_value_t = Family::V4)]
    inner: Family,
    /// Family outside of it: 4 or 6.
    #[arg(long, default_value_t = Family::V4)]
    outer: Family,
    /// Replay window, packets; 0 for none.
    #[arg(long, default_value_t = 64)]
    replay_window: u32,
    /// Part of inbound frames that come twice, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    replays: f64,
    /// Part of inbound frames that come out of order, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Packets per second for latency, millions; by default eight tenths of what the path carries.
    #[arg(long, value_name = "MPPS")]
    rate: Option<f64>,
    /// Search the highest rate with no loss (NDR) and with at most 0.5 % of it (PDR), as in RFC 2544.
    #[arg(long)]
    search: bool,
    /// Measured packets of each run.
    #[arg(long, default_value_t = 131_072)]
    packets: u64,
    /// Every stage alone, though the daemon calls some of them straight one from the other.
    #[arg(long)]
    split: bool,
    /// Drive a device under test through this DPDK port instead (a vdev with its arguments, or a PCI address). Given twice,
    /// frames leave by the first and come back by the second.
    #[arg(long = "port", value_name = "DEVICE")]
    ports: Vec<String>,
    /// With --port: the Ethernet address of the device under test's receiving port.
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:01:00")]
    to: String,
    /// Take ordinary pages and leave the machine's hugepages as they are.
    #[arg(long)]
    no_huge: bool,
    /// Leave out latency and memory.
    #[arg(long)]
    cost_only: bool,
    /// ESP by this crypto device (a vdev such as crypto_aesni_mb0, or a PCI address) where it has the suite, waiting for the device
    /// after each burst.
    #[arg(long, value_name = "DEVICE", conflicts_with = "ports")]
    crypto_device: Option<String>,
    /// The core; the last one by default.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the runs as JSON, one object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw cycles per packet and latency.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Runs every combination.
///
/// # Errors
/// What kept it from measuring: DPDK, an SA refused, a packet that came out wrong.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_arguments(arguments)?;
    if !arguments.ports.is_empty() {
        return drive(arguments);
    }
    machine::weigh_more();
    let machine = Machine::probe();
    let core = arguments.core.unwrap_or_else(|| machine.measured_core());
    let memory_mib = MEMORY_MIB + if arguments.crypto_device.is_some() { CRYPTO_MIB } else { 0 };
    let hugepages = Hugepages::reserve_unless(arguments.no_huge, memory_mib + SEGMENT_MIB);
    let file_prefix = format!("causeway-perf-{}", std::process::id());
    let _directory = RuntimeDirectory::of(&file_prefix);
    let devices: Vec<String> = arguments.crypto_device.iter().cloned().collect();
    let eal = start_eal(&machine, hugepages.are_enough(), &file_prefix, memory_mib, &devices)?;
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Err(Failure::Core(core));
    }
    let _registered = eal.register_thread()?;
    let pool = Mempool::create(eal, "packets", BUFFERS, data_room(world::MTU))?;
    if let Some(device) = &arguments.crypto_device {
        let lines = start_device(eal, device, 1, CRYPTO_KEYS, pool)?;
        lines.into_iter().take(1).for_each(rig::use_device);
        println!("ESP: {}", Engine::description().1);
    }
    let plans = plans(arguments);
    let bar = progress(plans.len());
    let mut runs = Vec::new();
    for (plan, burst) in plans {
        bar.set_message(format!(
            "{} {} {:?}, {} SAs",
            plan.world.suite, plan.size, plan.ways, plan.world.sas
        ));
        runs.push(measure(plan, burst, arguments, pool)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    output::print(&runs, &machine, hugepages.are_enough());
    if let Some(path) = &arguments.json {
        output::write_json(path, &runs)?;
    }
    if let Some(path) = &arguments.plot {
        plot::draw(path, &runs).map_err(Failure::Usage)?;
    }
    Ok(())
}

/// As a program of its own, with a device under test between its ports.
fn drive(arguments: &Arguments) -> Result<(), Failure> {
    let destination = mac(&arguments.to)
        .ok_or_else(|| Failure::Usage(format!("--to {}: it is written 02:00:00:00:01:00", arguments.to)))?;
    let machine = Machine::probe();
    // The last core is the device's.
    let core = arguments.core.or(machine.cores.first().copied()).unwrap_or_default();
    let hugepages = Hugepages::reserve_unless(arguments.no_huge, DRIVEN_MEMORY_MIB);
    let file_prefix = format!("causeway-perf-{}", std::process::id());
    let _directory = RuntimeDirectory::of(&file_prefix);
    let eal = start_eal(&machine, hugepages.are_enough(), &file_prefix, DRIVEN_MEMORY_MIB, &arguments.ports)?;
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Err(Failure::Core(core));
    }
    let _registered = eal.register_thread()?;
    let mut generator = drive::Generator::open(eal, &arguments.ports, destination)?;
    let mut runs = Vec::new();
    for (plan, _) in plans(arguments) {
        let rate = arguments.rate.unwrap_or(DRIVEN_MPPS);
        runs.push(generator.run(plan, rate, arguments.packets, arguments.search)?);
    }
    drive::print(&runs);
    if let Some(path) = &arguments.json {
        output::write_json(path, &runs)?;
    }
    Ok(())
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets?.try_into().ok()
}

fn check_arguments(arguments: &Arguments) -> Result<(), Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    if let Some(sas) = arguments.sas.iter().find(|sas| !(1..=MAX_SAS).contains(*sas)) {
        return usage(format!("--sas {sas}: 1 to {MAX_SAS} are possible"));
    }
    if let Some(burst) = arguments.bursts.iter().find(|burst| !(1..=BURST).contains(*burst)) {
        return usage(format!("--bursts {burst}: 1 to {BURST} are possible"));
    }
    for (name, part) in [("replays", arguments.replays), ("reorder", arguments.reorder)] {
        if !(0.0..=1.0).contains(&part) {
            return usage(format!("--{name} {part}: a part is from 0 to 1"));
        }
    }
    if arguments.ports.len() > 2 {
        return usage("--port: one or two are possible".to_owned());
    }
    let driven = !arguments.ports.is_empty();
    let least = if driven { drive::smallest(arguments.inner) } else { traffic::smallest(arguments.inner) };
    let is_small = |size: &&Size| (0..size.period()).any(|index| size.of(index) < least);
    if let Some(size) = arguments.sizes.iter().find(is_small) {
        let with = if driven { " with --port" } else { "" };
        let family = arguments.inner;
        return usage(format!("--sizes {size}: a frame of IPv{family}{with} has at least {least} octets"));
    }
    if arguments.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
        return usage("--rate must be above 0".to_owned());
    }
    Ok(())
}

/// An EAL over `machine`'s cores, with no telemetry.
///
/// # Errors
/// DPDK's.
pub fn start_eal(
    machine: &Machine,
    hugepages: bool,
    file_prefix: &str,
    memory_mib: u64,
    devices: &[String],
) -> Result<Eal, Failure> {
    let cores = machine.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut arguments = vec![
        format!("--lcores=0@({cores})"),
        format!("--file-prefix={file_prefix}"),
        "--no-telemetry".to_owned(),
        "-m".to_owned(),
        memory_mib.to_string(),
    ];
    arguments.extend(programs::device_arguments(devices));
    let memory: &[&str] = if hugepages { &["--in-memory"] } else { &["--no-huge", "--no-shconf"] };
    arguments.extend(memory.iter().map(|text| (*text).to_owned()));
    Ok(Eal::init(&arguments)?)
}

fn plans(arguments: &Arguments) -> Vec<(Plan, usize)> {
    let mut plans = Vec::new();
    for &suite in &arguments.suites {
        for &size in &arguments.sizes {
            for &sas in &arguments.sas {
                for &ways in &arguments.directions {
                    let Arguments { natt, inner, outer, replay_window, order, replays, reorder, .. } =
                        *arguments;
                    let world = World { suite, sas, natt, inner, outer, replay_window };
                    let plan = Plan { world, size, ways, order, replays, reorder };
                    plans.extend(arguments.bursts.iter().map(|burst| (plan, *burst)));
                }
            }
        }
    }
    plans
}

fn progress(runs: usize) -> ProgressBar {
    let target =
        if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(runs as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed} gone") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// One combination: checked, then measured without a probe, then with one for the stages, then at a rate for the latency.
fn measure(plan: Plan, burst: usize, arguments: &Arguments, pool: Mempool) -> Result<Run, Failure> {
    check::packets_are_right(plan, pool)?;
    let mut rig = Rig::new(&plan.world, pool, NoProbe)?;
    let mut source = Source::new(plan, world::MACS);
    let core_per_tsc = core_per_tsc();
    let tsc_hz = tsc_hz() as f64;
    let mut windows = Windows::default();
    measure_cost(&mut rig, &mut source, pool, burst, arguments.packets, |packets, cycles, _| {
        windows.add(packets, cycles);
    })?;
    let tsc_cycles = windows.quantile(QUIET);
    let mpps = tsc_hz / tsc_cycles / 1e6;
    let rate = arguments.rate.unwrap_or(mpps * 0.8);
    let line = if arguments.cost_only {
        None
    } else {
        Some(at_rate(&mut rig, &mut source, pool, burst, rate, arguments.packets)?)
    };
    let memory_per_sa = if arguments.cost_only { None } else { memory::per_sa(&plan.world)? };
    let found = if arguments.search {
        Some(search::rates(mpps, |rate| {
            let line = at_rate(&mut rig, &mut source, pool, burst, rate, arguments.packets)?;
            Ok(line.lost as f64 / line.offered.max(1) as f64)
        })?)
    } else {
        None
    };
    let drops = drops(&rig, source.injected, plan.world.replay_window)?;
    drop(rig);
    let stages = if arguments.split {
        measure_stages(plan, burst, arguments.packets, pool, Stages::new(), core_per_tsc)?
    } else {
        measure_stages(plan, burst, arguments.packets, pool, Groups::new(), core_per_tsc)?
    };
    let inner_bits = (plan.size.mean() - 14.0) * 8.0;
    Ok(Run {
        suite: plan.world.suite,
        size: plan.size,
        direction: plan.ways,
        sas: plan.world.sas,
        order: plan.order,
        natt: plan.world.natt,
        inner_family: plan.world.inner,
        outer_family: plan.world.outer,
        replay_window: plan.world.replay_window,
        burst,
        core_cycles: tsc_cycles * core_per_tsc,
        core_cycles_median: windows.quantile(0.5) * core_per_tsc,
        core_cycles_p90: windows.quantile(0.9) * core_per_tsc,
        tsc_cycles,
        mpps,
        gbit_per_s_inner: mpps * inner_bits / 1e3,
        latency_rate_mpps: rate,
        latency_ns: line.as_ref().map(|line| Percentiles::of(&line.latency)),
        lost_at_rate: line.map(|line| line.lost),
        ndr_mpps: found.map(|found| found.ndr),
        pdr_mpps: found.map(|found| found.pdr),
        drops,
        memory_per_sa,
        stages,
    })
}

/// Takes chunk after chunk through the path until `packets` were measured; `each` gets the packets and cycles of every burst
/// that is not for warming up.
fn measure_cost<P: Probe>(
    rig: &mut Rig<P>,
    source: &mut Source,
    pool: Mempool,
    burst: usize,
    packets: u64,
    mut each: impl FnMut(u64, u64, &mut Rig<P>),
) -> Result<(), Failure> {
    let mut buffers: Vec<Mbuf> = Vec::with_capacity(BURST);
    visit_everyone(rig, source, pool, burst)?;
    let mut measured = 0;
    while measured < packets {
        refill(rig, source)?;
        let mut seen = 0;
        while let Some(port) = source.fill(pool, &mut buffers, burst) {
            let count = buffers.len();
            let cycles = rig.work(port, &mut buffers);
            seen += count;
            if seen > WARM_UP {
                each(count as u64, cycles, rig);
                measured += count as u64;
            }
        }
    }
    Ok(())
}

/// Every SA's first packet, off the clock: it writes to memory that nobody has touched (statistics in the segment, replay window,
/// expanded keys), which costs page faults of the kernel's and no later packet anything.
fn visit_everyone<P: Probe>(
    rig: &mut Rig<P>,
    source: &mut Source,
    pool: Mempool,
    burst: usize,
) -> Result<(), Failure> {
    let mut buffers: Vec<Mbuf> = Vec::with_capacity(BURST);
    while source.has_strangers() {
        refill(rig, source)?;
        while let Some(port) = source.fill(pool, &mut buffers, burst) {
            rig.work(port, &mut buffers);
        }
    }
    Ok(())
}

fn refill<P: Probe>(rig: &mut Rig<P>, source: &mut Source) -> Result<(), Failure> {
    source.refill()?;
    rig.look_at_the_clock();
    rig.introduce_neighbours();
    Ok(())
}

/// Offers packets at a rate; bursts are as long as the queue is, up to `burst`.
fn at_rate(
    rig: &mut Rig<NoProbe>,
    source: &mut Source,
    pool: Mempool,
    burst: usize,
    mpps: f64,
    packets: u64,
) -> Result<Line, Failure> {
    let mut line = Line::new(mpps, tsc_hz() as f64)
        .ok_or_else(|| Failure::Usage(format!("a rate of {mpps} Mpps cannot be offered")))?;
    let mut buffers: Vec<Mbuf> = Vec::with_capacity(BURST);
    // What a scheduler's interruption adds to a burst is the machine's, not the path's.
    let longest = (tsc_hz() / 20_000).max(1);
    refill(rig, source)?;
    let mut warm = 0;
    while warm < WARM_UP
        && let Some(port) = source.fill(pool, &mut buffers, burst)
    {
        warm += buffers.len();
        rig.work(port, &mut buffers);
    }
    while line.offered < packets {
        let count = line.take(burst);
        let Some(port) = source.fill(pool, &mut buffers, count) else {
            refill(rig, source)?;
            continue;
        };
        let count = buffers.len();
        let cycles = rig.work(port, &mut buffers);
        line.done(count, cycles.min(longest));
    }
    Ok(line)
}

/// Drops by reason. Only replays that were sent on purpose may be among them.
fn drops(rig: &Rig<NoProbe>, injected: u64, window: u32) -> Result<Vec<(String, u64)>, Failure> {
    let counters = rig.path.counters();
    let drops: Vec<(Reason, u64)> = Reason::ALL
        .iter()
        .map(|reason| (*reason, counters.of_drop(*reason)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let harmless =
        |(reason, count): &(Reason, u64)| *reason == Reason::Replay && window > 0 && *count <= injected;
    match drops.iter().find(|drop| !harmless(drop)) {
        Some((reason, count)) => Err(Failure::Lost { reason: reason.name().to_owned(), count: *count }),
        None => Ok(drops.into_iter().map(|(reason, count)| (reason.name().to_owned(), count)).collect()),
    }
}

/// The probe's figures of the quiet windows, core cycles.
fn measure_stages<const SPLIT: bool>(
    plan: Plan,
    burst: usize,
    packets: u64,
    pool: Mempool,
    probe: causeway_dataplane::probe::StageProbe<SPLIT>,
    core_per_tsc: f64,
) -> Result<Vec<Stage>, Failure> {
    let mut rig = Rig::new(&plan.world, pool, probe)?;
    let mut source = Source::new(plan, world::MACS);
    let mut windows = Windows::default();
    let mut seen: Vec<(f64, Vec<Stage>)> = Vec::new();
    let mut begun = false;
    measure_cost(&mut rig, &mut source, pool, burst, packets, |packets, cycles, rig| {
        // The bursts that warmed up are in the probe's figures until the first window begins.
        if !begun {
            rig.path.probe_mut().reset();
            begun = true;
            return;
        }
        if let Some(cost) = windows.add(packets, cycles) {
            let probe = rig.path.probe();
            let mut stages: Vec<Stage> =
                probe.stages().map(|(name, figures)| Stage::new(name, figures, core_per_tsc)).collect();
            stages.push(Stage::new(output::ENGINE, probe.engine(), core_per_tsc));
            seen.push((cost, stages));
            rig.path.probe_mut().reset();
        }
    })?;
    let limit = windows.quantile(QUIET);
    let quiet = seen.into_iter().filter(|(cost, _)| *cost <= limit).map(|(_, stages)| stages);
    Ok(quiet
        .reduce(output::add_stages)
        .unwrap_or_default()
        .into_iter()
        .filter(|stage| stage.packets > 0)
        .collect())
}
