//! What a run leaves: a line and a table of stages for people, an object per line for programs.

use std::fs;
use std::path::Path;

use causeway_dataplane::probe::Figures;
use hdrhistogram::Histogram;
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::source::{Order, Ways};
use crate::Failure;
use crate::cell::{Size, Suite};
use crate::machine::Machine;
use crate::world::Family;

/// The crypto engine's line among the stages; its cycles are part of those of the stage that called it.
pub const ENGINE: &str = "(engine)";

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub suite: Suite,
    pub size: Size,
    pub direction: Ways,
    pub sas: u32,
    pub order: Order,
    pub natt: bool,
    pub inner_family: Family,
    pub outer_family: Family,
    pub replay_window: u32,
    pub burst: usize,
    /// Core cycles of a packet that the cheapest tenth, half, and nine tenths of the windows do not exceed.
    pub core_cycles: f64,
    pub core_cycles_median: f64,
    pub core_cycles_p90: f64,
    /// The cheapest tenth in cycles of the TSC; rates follow from it.
    pub tsc_cycles: f64,
    pub mpps: f64,
    pub gbit_per_s_inner: f64,
    pub latency_rate_mpps: f64,
    pub latency_ns: Option<Percentiles>,
    pub lost_at_rate: Option<u64>,
    pub ndr_mpps: Option<f64>,
    pub pdr_mpps: Option<f64>,
    pub drops: Vec<(String, u64)>,
    /// Octets of resident memory, both directions; none where there are too few SAs to tell.
    pub memory_per_sa: Option<f64>,
    pub stages: Vec<Stage>,
}

/// Latency, nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub p99_99: u64,
    pub max: u64,
}

impl Percentiles {
    pub fn of(latency: &Histogram<u64>) -> Percentiles {
        let at = |quantile| latency.value_at_quantile(quantile);
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: latency.max(),
        }
    }
}

/// What a stage did in the quiet windows.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub name: &'static str,
    pub packets: u64,
    pub calls: u64,
    /// Packets per call.
    pub vector: f64,
    /// Core cycles of a packet that went through the stage.
    pub core_cycles: f64,
}

impl Stage {
    pub fn new(name: &'static str, figures: Figures, core_per_tsc: f64) -> Stage {
        Stage {
            name,
            packets: figures.packets,
            calls: figures.calls,
            vector: figures.vector(),
            core_cycles: figures.cycles_per_packet() * core_per_tsc,
        }
    }
}

/// Adds the figures of two windows, stage by stage.
pub fn add_stages(mut one: Vec<Stage>, other: Vec<Stage>) -> Vec<Stage> {
    for (one, other) in one.iter_mut().zip(other) {
        let packets = one.packets + other.packets;
        let cycles = one.core_cycles * one.packets as f64 + other.core_cycles * other.packets as f64;
        one.packets = packets;
        one.calls += other.calls;
        one.core_cycles = cycles / packets.max(1) as f64;
        one.vector = packets as f64 / one.calls.max(1) as f64;
    }
    one
}

/// Prints the runs and, for the last one, its stages and latency.
pub fn print(runs: &[Run], machine: &Machine, hugepages: bool) {
    println!("{}, {:.2} GHz core clock, Linux {}", machine.processor, machine.core_ghz, machine.kernel);
    println!(
        "one thread over memory, {}; cycles of a packet from receive burst to transmit burst: p10 of windows (p50, p90)",
        if hugepages { "2 MiB hugepages" } else { "no hugepages" }
    );
    let mut table = Builder::default();
    table.push_record([
        "suite",
        "size",
        "way",
        "SAs",
        "burst",
        "core cycles",
        "p50, p90",
        "TSC",
        "Mpps",
        "Gbit/s",
        "B/SA",
        "drops",
    ]);
    for run in runs {
        let drops: Vec<String> =
            run.drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        table.push_record([
            run.suite.to_string(),
            run.size.to_string(),
            format!("{:?}", run.direction).to_lowercase(),
            run.sas.to_string(),
            run.burst.to_string(),
            format!("{:.0}", run.core_cycles),
            format!("{:.0}, {:.0}", run.core_cycles_median, run.core_cycles_p90),
            format!("{:.0}", run.tsc_cycles),
            format!("{:.2}", run.mpps),
            format!("{:.1}", run.gbit_per_s_inner),
            run.memory_per_sa.map_or("–".into(), |octets| format!("{octets:.0}")),
            drops.join(", "),
        ]);
    }
    println!("{}", table.build().with(Style::sharp()).modify(Columns::new(3..11), Alignment::right()));
    for run in runs {
        print_details(run);
    }
}

fn print_details(run: &Run) {
    println!("{} {} {:?}, {} SAs, bursts of {}:", run.suite, run.size, run.direction, run.sas, run.burst);
    let mut table = Builder::default();
    table.push_record(["stage", "packets", "per call", "core cycles"]);
    for stage in &run.stages {
        table.push_record([
            stage.name.to_owned(),
            stage.packets.to_string(),
            format!("{:.1}", stage.vector),
            format!("{:.1}", stage.core_cycles),
        ]);
    }
    println!("{}", table.build().with(Style::sharp()).modify(Columns::new(1..), Alignment::right()));
    if let (Some(latency), Some(lost)) = (run.latency_ns, run.lost_at_rate) {
        let Percentiles { p50, p90, p99, p99_9, p99_99, max } = latency;
        println!(
            "latency at {:.2} Mpps, ns: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, p99.99 {p99_99}, max {max}; {lost} lost",
            run.latency_rate_mpps
        );
    }
    if let (Some(ndr), Some(pdr)) = (run.ndr_mpps, run.pdr_mpps) {
        println!("throughput (RFC 2544), Mpps: NDR {ndr:.2}, PDR {pdr:.2}");
    }
}

/// Writes one object a line.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json<R: Serialize>(path: &Path, runs: &[R]) -> Result<(), Failure> {
    let mut text = String::new();
    for run in runs {
        text += &serde_json::to_string(run).map_err(std::io::Error::from)?;
        text.push('\n');
    }
    fs::write(path, text).map_err(|source| Failure::File { path: path.to_owned(), source })
}
