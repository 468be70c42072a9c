//! The comparison: for each suite, size and direction, our worker and DPDK's `ipsec-secgw` on the same capture, the same core,
//! in the same seconds. Leaves: a table for people, rows for programs.
//!
//! The programs of a cell take turns of some hundredths of a second, round after round. In each round the cost of source and
//! sink, measured by each side's own forwarding loop without a look at the packets, is subtracted from that side's cost. The
//! ratio of a round is the peer's net cost in its better mode over ours; the table shows the median of the rounds and how far
//! they lie apart.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Failure;
use crate::cell::{Cell, Direction, Size, Suite};
use crate::hugepages::Hugepages;
use crate::machine::{self, Machine};
use crate::programs::{MOST_MEMORY_MIB, Program, SOURCE_MAC, Setting};
use crate::stat::{median, range};
use crate::subject::Subject;
use crate::{pcap, report, targets, traffic};

/// Rounds of a whole run and of a quick one.
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 4;
/// Time a program runs before it is measured in its turn: caches are cold after the others' turns.
const WARM_UP: Duration = Duration::from_millis(8);
/// Time on the core that is measured in a turn.
const WINDOW: Duration = Duration::from_millis(48);
const QUICK_WINDOW: Duration = Duration::from_millis(24);
/// `ipsec-secgw` has been seen to run with so many.
const MOST_SAS: i64 = 128;
/// The least a net cost can be, nanoseconds a packet, so that noise cannot make it nothing.
const LEAST_NS: f64 = 0.1;

/// Ours and DPDK's ipsec-secgw on the same traffic, the same core, in turns: one table.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// About a minute: few and short rounds.
    #[arg(long)]
    quick: bool,
    /// Also write the rows as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Suites, separated by commas; all by default.
    #[arg(long, value_delimiter = ',')]
    suites: Vec<Suite>,
    /// Clear frame sizes, separated by commas: 42 to 1420 or imix.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Directions, separated by commas: out, in.
    #[arg(long, value_delimiter = ',')]
    directions: Vec<Direction>,
    /// Clients that take turns, each with one SA pair: as many as ipsec-secgw is known to take.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_SAS))]
    sas: u32,
    /// Rounds of turns in each cell.
    #[arg(long)]
    rounds: Option<usize>,
    /// The core that is measured; the last one by default.
    #[arg(long)]
    core: Option<usize>,
    /// ipsec-secgw, as perf/peers/build-secgw leaves it.
    #[arg(long, value_name = "PROGRAM")]
    secgw: PathBuf,
}

/// One line of the table. Costs are core cycles of a packet without source and sink.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Algorithms.
    pub suite: Suite,
    /// Clear frame size.
    pub size: Size,
    /// Direction.
    pub direction: Direction,
    /// SAs in use.
    pub sas: u32,
    /// Our cost.
    pub ours_net_cycles: f64,
    /// The peer's cost in its better mode.
    pub peer_net_cycles: f64,
    /// Peer over ours: the median of the rounds.
    pub ratio: f64,
    /// Largest less smallest ratio of a round.
    pub spread: f64,
    /// What the processor's instructions alone would cost, over our cost; none where the floor is not known.
    pub floor_share: Option<f64>,
}

/// A row with what only the table shows.
#[derive(Clone, Debug)]
pub struct Measured {
    /// For programs.
    pub row: Row,
    /// Smallest and largest ratio.
    pub ratios: (f64, f64),
    /// The peer's better mode.
    pub mode: &'static str,
    /// Cost of source and sink, ours and the peer's.
    pub source_cycles: (f64, f64),
}

/// Measures every cell and prints the table.
///
/// # Errors
/// The first program that cannot be measured.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::NotRoot);
    }
    if !arguments.secgw.is_file() {
        return Err(Failure::Missing(format!("there is no {}", arguments.secgw.display())));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let machine = Machine::probe();
    let folder = make_folder()?;
    let hugepages = Hugepages::reserve(MOST_MEMORY_MIB * Program::ALL.len() as u64);
    let core = arguments.core.unwrap_or_else(|| machine.measured_core());
    let other_core = machine.cores.iter().copied().find(|other| *other != core).unwrap_or(core);
    // Not on the measured core ourselves, if there is another.
    core_affinity::set_for_current(core_affinity::CoreId { id: other_core });
    let setting = Setting {
        secgw: arguments.secgw.clone(),
        ours: std::env::current_exe()?,
        folder: folder.clone(),
        hugepages: hugepages.are_enough(),
        core,
        other_core,
        sas: arguments.sas,
    };
    let cells = cells(arguments);
    let bar = progress(cells.len());
    let started = Instant::now();
    let mut measured = Vec::new();
    for cell in cells {
        bar.set_message(cell.to_string());
        measured.push(measure(cell, &setting, arguments, &stop)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    // What is left of it is in the way of nobody.
    let _ = fs::remove_dir_all(&folder);
    if let Some(path) = &arguments.json {
        let rows: Vec<&Row> = measured.iter().map(|cell| &cell.row).collect();
        let text = serde_json::to_string_pretty(&rows).map_err(std::io::Error::from)?;
        fs::write(path, text + "\n").map_err(|source| Failure::File { path: path.clone(), source })?;
    }
    report::print(&measured, &machine, setting.hugepages, started.elapsed());
    Ok(())
}

/// Writes a cell's frames.
///
/// # Errors
/// When they cannot be sealed or written.
pub fn write_capture(path: &Path, cell: Cell, sas: u32) -> Result<(), Failure> {
    let frames = traffic::capture(cell, sas, SOURCE_MAC)?;
    pcap::write(path, frames.iter().map(Vec::as_slice))
        .map_err(|source| Failure::File { path: path.to_owned(), source })
}

fn cells(arguments: &Arguments) -> Vec<Cell> {
    let sizes = if arguments.sizes.is_empty() { &Size::TABLE[..] } else { &arguments.sizes };
    let suites = if arguments.suites.is_empty() { &Suite::ALL[..] } else { &arguments.suites };
    let directions =
        if arguments.directions.is_empty() { &Direction::ALL[..] } else { &arguments.directions };
    let mut cells = Vec::new();
    for &suite in suites {
        for &size in sizes {
            cells.extend(directions.iter().map(|&direction| Cell { suite, size, direction }));
        }
    }
    cells
}

/// Nanoseconds of a packet, one value per round.
#[derive(Default)]
struct Turns {
    ours: Vec<f64>,
    ours_io: Vec<f64>,
    cpu: Vec<f64>,
    lookaside: Vec<f64>,
    peer_io: Vec<f64>,
}

fn measure(
    cell: Cell,
    setting: &Setting,
    arguments: &Arguments,
    stop: &AtomicBool,
) -> Result<Measured, Failure> {
    let (rounds, window) = if arguments.quick { (QUICK_ROUNDS, QUICK_WINDOW) } else { (ROUNDS, WINDOW) };
    let capture = setting.folder.join("capture.pcap");
    write_capture(&capture, cell, setting.sas)?;
    let mut subjects = Vec::new();
    for program in Program::ALL {
        setting
            .write_configuration(program, cell)
            .map_err(|source| Failure::File { path: setting.folder.clone(), source })?;
        check(stop)?;
        subjects.push((program, Subject::start(setting.plan(program, cell, &capture))?));
    }
    let mut turns = Turns::default();
    for _ in 0..arguments.rounds.unwrap_or(rounds).max(1) {
        for (program, subject) in &mut subjects {
            check(stop)?;
            let ns = subject.turn(WARM_UP, window)?;
            match program {
                Program::Ours => turns.ours.push(ns),
                Program::OursIo => turns.ours_io.push(ns),
                Program::PeerCpu => turns.cpu.push(ns),
                Program::PeerLookaside => turns.lookaside.push(ns),
                Program::PeerIo => turns.peer_io.push(ns),
            }
        }
    }
    drop(subjects);
    Ok(evaluate(cell, setting.sas, &turns, machine::core_ghz()))
}

fn evaluate(cell: Cell, sas: u32, turns: &Turns, core_ghz: f64) -> Measured {
    let (peer, mode) = if median(&turns.cpu) <= median(&turns.lookaside) {
        (&turns.cpu, "cpu")
    } else {
        (&turns.lookaside, "lookaside")
    };
    let net = |all: &[f64], io: &[f64]| -> Vec<f64> {
        all.iter().zip(io).map(|(all, io)| (all - io).max(LEAST_NS)).collect()
    };
    let (ours, peer) = (net(&turns.ours, &turns.ours_io), net(peer, &turns.peer_io));
    let ratios: Vec<f64> = peer.iter().zip(&ours).map(|(peer, ours)| peer / ours).collect();
    let (low, high) = range(&ratios);
    let ours_net_cycles = median(&ours) * core_ghz;
    let row = Row {
        suite: cell.suite,
        size: cell.size,
        direction: cell.direction,
        sas,
        ours_net_cycles: rounded(ours_net_cycles, 1),
        peer_net_cycles: rounded(median(&peer) * core_ghz, 1),
        ratio: rounded(median(&ratios), 3),
        spread: rounded(high - low, 3),
        floor_share: targets::floor_cycles(cell).map(|floor| rounded(floor / ours_net_cycles, 3)),
    };
    let source = |io: &[f64]| median(io) * core_ghz;
    Measured {
        row,
        ratios: (low, high),
        mode,
        source_cycles: (source(&turns.ours_io), source(&turns.peer_io)),
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn check(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
}

fn progress(cells: usize) -> ProgressBar {
    let target =
        if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(cells as u64), target);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed} gone, {eta} to go")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Makes a folder for captures, configurations and logs. It stays when something fails, for a look at the logs.
fn make_folder() -> Result<PathBuf, Failure> {
    let path = std::env::temp_dir().join(format!("causeway-perf-{}", std::process::id()));
    let huge = path.join("hugepages");
    fs::create_dir_all(&huge).map_err(|source| Failure::File { path: huge, source })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell = Cell { suite: Suite::Aes256Gcm, size: Size::Fixed(64), direction: Direction::Out };

    #[test]
    fn source_is_subtracted_on_each_side_and_the_better_mode_counts() {
        let turns = Turns {
            ours: vec![60.0, 50.0, 70.0],
            ours_io: vec![10.0; 3],
            cpu: vec![140.0, 110.0, 150.0],
            lookaside: vec![120.0, 121.0, 119.0],
            peer_io: vec![20.0; 3],
        };
        let measured = evaluate(CELL, 1, &turns, 2.0);
        assert_eq!(measured.mode, "lookaside");
        assert_eq!(measured.row.ours_net_cycles, 100.0);
        assert_eq!(measured.row.peer_net_cycles, 200.0);
        assert_eq!(measured.row.ratio, 2.0);
        assert_eq!(measured.row.spread, rounded(101.0 / 40.0 - 99.0 / 60.0, 3));
        assert_eq!(measured.source_cycles, (20.0, 40.0));
    }

    #[test]
    fn rows_have_the_promised_names() {
        let turns = Turns {
            ours: vec![2.0],
            ours_io: vec![1.0],
            cpu: vec![4.0],
            lookaside: vec![5.0],
            peer_io: vec![1.0],
        };
        let value = serde_json::to_value(evaluate(CELL, 1, &turns, 1.0).row).unwrap();
        let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "direction",
                "floor_share",
                "ours_net_cycles",
                "peer_net_cycles",
                "ratio",
                "sas",
                "size",
                "spread",
                "suite"
            ]
        );
        assert_eq!((value["size"].as_str(), value["suite"].as_str()), (Some("64"), Some("aes-256-gcm")));
    }
}
