//! What an SA costs in memory: resident octets of a fresh process before and after many are installed.
//!
//! A process of its own, because memory that earlier runs gave back would be used again unseen.

use std::process::Command;

use causeway_dataplane::buffer::HeapAllocator;
use causeway_dataplane::path::{Now, Path};

use super::Nowhere;
use crate::cell::{Direction, Suite};
use crate::world::{MACS, World};
use crate::{Failure, install};

/// Fewer SAs than this say nothing: pages are 4 KiB.
const FEWEST: u32 = 1000;

/// Octets of memory that an SA takes.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Algorithms.
    suite: Suite,
    /// How many.
    sas: u32,
    /// Replay window, packets.
    replay_window: u32,
}

/// Asks a fresh process; none for few SAs.
///
/// # Errors
/// When the process does not run.
pub fn per_sa(world: &World) -> Result<Option<f64>, Failure> {
    if world.sas < FEWEST {
        return Ok(None);
    }
    let arguments = [world.suite.to_string(), world.sas.to_string(), world.replay_window.to_string()];
    let output = Command::new(std::env::current_exe()?).arg("memory").args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}

/// Installs them and prints the octets that each took.
///
/// # Errors
/// What the data plane refuses.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { suite, sas, replay_window } = *arguments;
    let world = World { replay_window, ..World::plain(suite, sas) };
    let mut path = Path::new(world.path_config(Direction::Out, MACS), HeapAllocator)?;
    install::apply(&mut path, Now::default(), install::pool(world.inner)?, &mut Nowhere)?;
    let before = resident_octets();
    install::clients(&world, &mut path, Now::default(), &mut Nowhere)?;
    println!("{:.1}", (resident_octets() - before) / f64::from(sas.max(1)));
    Ok(())
}

fn resident_octets() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0.0);
    pages * rustix::param::page_size() as f64
}
