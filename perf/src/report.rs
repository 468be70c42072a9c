//! The comparison's table for people: green where the promise is kept, red where it is not.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use crate::cell::Cell;
use crate::compare::Measured;
use crate::machine::Machine;
use crate::targets;

const HEADER: &str = "suite               size dir   causeway  ipsec-secgw  ratio  lowest–highest  target   floor  source ours/peer";

/// Prints it.
pub fn print(measured: &[Measured], machine: &Machine, hugepages: bool, took: Duration) {
    let coloured = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    println!("{}, {:.2} GHz core clock, Linux {}", machine.processor, machine.core_ghz, machine.kernel);
    println!(
        "core {} alone, {}, {}, no replay check on either side; core cycles of a packet, source and sink subtracted",
        machine.measured_core(),
        if hugepages { "2 MiB hugepages" } else { "NO hugepages (both sides pay for it)" },
        match measured.first().map_or(1, |cell| cell.row.sas) {
            1 => "one SA".to_owned(),
            sas => format!("{sas} SAs by turns"),
        },
    );
    println!("{HEADER}");
    let mut kept = 0;
    let mut promised = 0;
    for cell in measured {
        let verdict = verdict(cell);
        promised += usize::from(verdict.is_some());
        kept += usize::from(verdict == Some(true));
        let line = line(cell);
        match (coloured, verdict) {
            (true, Some(true)) => println!("\x1b[32m{line}\x1b[0m"),
            (true, Some(false)) => println!("\x1b[31m{line}\x1b[0m"),
            _ => println!("{line}{}", if verdict == Some(false) { "  below target" } else { "" }),
        }
    }
    println!("{kept} of {promised} targets kept; {:.0} s", took.as_secs_f64());
}

/// Whether the promise of a cell is kept; none if there is no promise, as there is none for many SAs.
fn verdict(measured: &Measured) -> Option<bool> {
    let row = &measured.row;
    let cell = Cell { suite: row.suite, size: row.size, direction: row.direction };
    let ratio = row.ratio >= promised(row.sas, cell)?;
    let floor = match (targets::floor_share(cell), row.floor_share) {
        (Some(least), Some(share)) => share >= least,
        _ => true,
    };
    Some(ratio && floor)
}

fn promised(sas: u32, cell: Cell) -> Option<f64> {
    targets::ratio(cell).filter(|_| sas == 1)
}

fn line(measured: &Measured) -> String {
    let row = &measured.row;
    let cell = Cell { suite: row.suite, size: row.size, direction: row.direction };
    let percent = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.0} %", share * 100.0));
    let target = promised(row.sas, cell).map_or("–".into(), |ratio| format!("{ratio:.2}"));
    let (low, high) = measured.ratios;
    let (ours, peer) = measured.source_cycles;
    let spread = format!("{low:.2}–{high:.2}");
    format!(
        "{:<19} {:>4} {:<3} {:>10.0} {:>12.0} {:>6.2}  {spread:>14}  {target:>6}  {:>6}  {ours:.0}/{peer:.0} ({})",
        row.suite,
        row.size,
        row.direction,
        row.ours_net_cycles,
        row.peer_net_cycles,
        row.ratio,
        percent(row.floor_share),
        measured.mode,
    )
}
