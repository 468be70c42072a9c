//! `causeway-sim --seed N` prints the story of one seed; `causeway-sim --from N --count M` runs many and prints the failures;
//! `causeway-sim --storm CLIENTS --seed N` lets so many clients come back to a gateway that has restarted.

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
    /// So many clients come back at once after the gateway has restarted.
    #[arg(long, value_name = "CLIENTS", value_parser = clap::value_parser!(u32).range(1..=MAX_STORM), conflicts_with_all = ["from", "count"])]
    storm: Option<u32>,
}

/// Most clients of a storm: as many as its SA table has room for.
const MAX_STORM: i64 = 500_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(clients) = arguments.storm {
        return storm(clients, arguments.seed.unwrap_or(0));
    }
    if let Some(seed) = arguments.seed {
        return match causeway_sim::run(seed, true) {
            Ok(report) => {
                println!("seed {seed}: {report}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                eprintln!("seed {seed}: {}", violation.what);
                ExitCode::FAILURE
            }
        };
    }
    let (mut failures, mut total) = (0u64, causeway_sim::Report::default());
    for seed in arguments.from..arguments.from.saturating_add(arguments.count) {
        match causeway_sim::run(seed, false) {
            Ok(report) => total = total.plus(report),
            Err(violation) => {
                failures += 1;
                println!("seed {seed}: {}", violation.what);
            }
        }
    }
    println!("{total}");
    println!("{} seeds, {failures} failures", arguments.count);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn storm(clients: u32, seed: u64) -> ExitCode {
    match causeway_sim::storm::run(clients, seed, &mut |line| println!("{line}")) {
        Ok(report) => {
            println!("\nnothing is left over\n\n{report}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("seed {seed}: {what}");
            ExitCode::FAILURE
        }
    }
}
