//! `causeway-sim --seed N` prints the story of one seed; `causeway-sim --from N --count M` runs many and prints the failures.

use std::process::ExitCode;

use clap::Parser;

/// Replays simulated worlds of clients, network and gateway.
#[derive(Parser)]
struct Arguments {
    /// Prints the story of this seed.
    #[arg(long, conflicts_with_all = ["from", "count"])]
    seed: Option<u64>,
    /// First seed to run.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds to run.
    #[arg(long, default_value_t = 100)]
    count: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return match causeway_sim::run(seed, true) {
            Ok(report) => {
                println!("seed {seed}: {report:?}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                eprintln!("seed {seed}: {}", violation.what);
                ExitCode::FAILURE
            }
        };
    }
    let mut failures = 0u64;
    for seed in arguments.from..arguments.from.saturating_add(arguments.count) {
        if let Err(violation) = causeway_sim::run(seed, false) {
            failures += 1;
            println!("seed {seed}: {}", violation.what);
        }
    }
    println!("{} seeds, {failures} failures", arguments.count);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
