//! Many worlds, each from its seed. A failure prints the seed, what was broken, and the end of the story;
//! `cargo run -p causeway-sim -- --seed N` prints the whole.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::atomic::{AtomicU64, Ordering};

use causeway_sim::faults::Fault;
use causeway_sim::{Report, run};

/// Worlds in one run of the tests: half a minute of two cores. `cargo run -p causeway-sim -- --from N --count M` plays others.
const SEEDS: u64 = 1_000;
/// Lines of a story that are printed on failure.
const LAST_LINES: usize = 60;

#[test]
fn both_sides_agree_and_nothing_is_left_in_every_world() {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut total = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return total;
            }
            total = total.plus(play(seed));
        }
    };
    let total = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Report::default(), Report::plus)
    });
    println!("{SEEDS} worlds: {total}");
    for fault in Fault::ALL {
        // An install that comes too late needs a full ring and a session that ends meanwhile.
        let at_least = if fault == Fault::InstalledTooLate { 1 } else { SEEDS / 50 };
        assert!(total.faults.of(fault) >= at_least, "{fault:?} is not tried: {}", total.faults);
    }
    // Worlds in which nothing happens would agree too.
    assert!(total.sessions_up > SEEDS && total.agreed > SEEDS / 2, "{total:?}");
    assert!(total.installs > 4 * SEEDS && total.attacks > 2 * SEEDS, "{total:?}");
}

fn play(seed: u64) -> Report {
    match run(seed, false) {
        Ok(report) => report,
        Err(violation) => {
            let from = violation.story.len().saturating_sub(LAST_LINES);
            panic!(
                "seed {seed}: {}\n(cargo run -p causeway-sim -- --seed {seed})\n{}",
                violation.what,
                violation.story[from..].join("\n")
            );
        }
    }
}

#[test]
fn a_seed_is_one_story() {
    for seed in [3, 4, 5] {
        let tell = |_| match causeway_sim::world::tell(seed) {
            Ok((_, story)) => story,
            Err(violation) => panic!("seed {seed}: {}", violation.what),
        };
        let [first, second] = [0, 1].map(tell);
        assert!(first.len() > 20);
        // Signatures are random and some are an octet shorter, so sizes may differ; what happens and when may not.
        let without_sizes = |story: Vec<String>| -> Vec<String> {
            story.iter().map(|line| line.split(" (").next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(without_sizes(first), without_sizes(second), "seed {seed}");
    }
}
