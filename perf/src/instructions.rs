//! Instructions per packet, counted by Valgrind: the same on every machine and every run, where cycles are not.
//!
//! Valgrind knows no AVX-512, so the processor that the data plane sees there has AES-NI and AVX2 at best and the crypto engine is
//! the library's. The count is good for everything around the crypto, and for telling whether a change made it longer.
//!
//! Only what happens inside [`through_the_path`] is counted: neither start and self-test nor the making of packets.

use std::path::PathBuf;
use std::process::Command;

use causeway_dataplane::buffer::{HeapAllocator, HeapBuffer};
use causeway_dataplane::path::{Now, Path, PortId};

use crate::cell::{Cell, Direction, Size, Suite};
use crate::pktgen::Nowhere;
use crate::world::{MACS, World};
use crate::{Failure, install, traffic};

const BURST: usize = 32;

/// Instructions per packet, counted by Valgrind: the same in every run.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Algorithms.
    #[arg(long, default_value = "aes-256-gcm")]
    suite: Suite,
    /// Clear frame size.
    #[arg(long, default_value = "64")]
    size: Size,
    /// Bursts of 32 packets that are counted.
    #[arg(long, default_value_t = 40)]
    bursts: usize,
    /// Only do the work that Valgrind counts, of this direction.
    #[arg(long, hide = true)]
    direction: Option<Direction>,
}

/// Counts both directions and prints them.
///
/// # Errors
/// When Valgrind is missing or the path drops.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(direction) = arguments.direction {
        return work(arguments, direction);
    }
    println!(
        "instructions of a packet around and in the library's engine (AVX2), {} {}",
        arguments.suite, arguments.size
    );
    for direction in Direction::ALL {
        let packets = (arguments.bursts * BURST) as f64;
        println!("{direction:<4} {:.1}", count(arguments, direction)? as f64 / packets);
    }
    Ok(())
}

fn count(arguments: &Arguments, direction: Direction) -> Result<u64, Failure> {
    let program: PathBuf = std::env::current_exe()?;
    let mut command = Command::new("valgrind");
    command.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=*through_the_path*",
    ]);
    command.arg(program);
    command.args(["instructions", "--suite", arguments.suite.name(), "--size", &arguments.size.to_string()]);
    command.args(["--bursts", &arguments.bursts.to_string(), "--direction", direction.name()]);
    let missing =
        |source| Failure::Usage(format!("valgrind: {source}; install it with: apt-get install -y valgrind"));
    let output = command.output().map_err(missing)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match collected {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(Failure::Usage(format!("valgrind counted nothing:\n{}", said.trim()))),
    }
}

/// What is counted.
fn work(arguments: &Arguments, direction: Direction) -> Result<(), Failure> {
    let world = World::plain(arguments.suite, 1);
    let mut path = Path::new(world.path_config(direction, MACS), HeapAllocator)?;
    install::everyone(&world, &mut path, Now::default(), &mut Nowhere)?;
    path.resume(Now::default(), &mut install::neighbours(direction).collect(), &mut Nowhere);
    let frames =
        traffic::capture(Cell { suite: arguments.suite, size: arguments.size, direction }, 1, MACS[0])?;
    let mut next = frames.iter().cycle();
    for _ in 0..arguments.bursts {
        let mut burst: Vec<HeapBuffer> =
            next.by_ref().take(BURST).map(|frame| HeapBuffer::from_slice(frame)).collect();
        through_the_path(&mut path, &mut burst);
    }
    Ok(())
}

/// Valgrind knows it by its name.
#[inline(never)]
fn through_the_path(path: &mut Path<HeapAllocator>, burst: &mut Vec<HeapBuffer>) {
    path.receive(Now::default(), PortId(0), burst, &mut Nowhere);
}
