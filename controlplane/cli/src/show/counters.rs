//! `causeway show counters`: three tables; drops say what to do about them.

use std::io::Write;

use causeway_shared::api::{Counter, Counters};

use super::table;
use super::units::{grouped, printable};
use crate::exit::{Exit, Failure};

pub(super) fn print(counters: &Counters, all: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let groups = [("Flow", &counters.flow), ("Drops", &counters.drops), ("IKE", &counters.ike)];
    let mut first = true;
    for (title, group) in groups {
        let shown: Vec<&Counter> = group.iter().filter(|c| all || c.value > 0).collect();
        if !first {
            writeln!(out)?;
        }
        first = false;
        if shown.is_empty() {
            writeln!(out, "{title}: nothing counted")?;
            continue;
        }
        let rows =
            shown.iter().map(|c| vec![printable(&c.name), grouped(c.value), printable(&c.meaning)]).collect();
        writeln!(out, "{}", table(&[title, "COUNT", "MEANING"], rows, &[1]))?;
        for counter in shown.iter().filter(|c| c.value > 0 && !c.remedy.is_empty()) {
            writeln!(out, "  -> {}: {}", printable(&counter.name), printable(&counter.remedy))?;
        }
    }
    if !all {
        writeln!(out, "\nOnly counters above zero; --all shows every one.")?;
    }
    Ok(Exit::Ok)
}
