//! `causeway show health`: what is well and what is not.

use std::io::Write;

use causeway_shared::api::{Health, PoolUse};

use super::units::{grouped, printable};
use crate::exit::{Exit, Failure};

/// Width of the names on the left.
const NAME_WIDTH: usize = 16;

pub(super) fn print(health: &Health, out: &mut dyn Write) -> Result<Exit, Failure> {
    let dataplane = match health.dataplane_attached {
        true => {
            let plural = if health.workers == 1 { "" } else { "s" };
            format!("attached, epoch {}, {} worker{plural}", health.dataplane_epoch, health.workers)
        }
        false => "not attached".to_owned(),
    };
    let lines = [
        ("status", printable(&health.status)),
        ("version", printable(&health.version)),
        ("data plane", dataplane),
        ("sessions", grouped(health.sessions)),
        ("half-open", grouped(health.half_open)),
    ];
    for (name, value) in lines {
        writeln!(out, "{name:NAME_WIDTH$}{value}")?;
    }
    for (name, PoolUse { used, size }) in &health.pools {
        let percent = used.saturating_mul(100).checked_div(*size).unwrap_or(0);
        let pool = format!("pool {}", printable(name));
        writeln!(out, "{pool:NAME_WIDTH$}{} of {} addresses, {percent} %", grouped(*used), grouped(*size))?;
    }
    for problem in &health.problems {
        writeln!(out, "problem: {}", printable(problem))?;
    }
    Ok(Exit::Ok)
}
