//! Many worlds, each from its seed. A failure prints the seed, what was broken, and the end of the story;
//! `cargo run -p causeway-sim -- --seed N` prints the whole.

use causeway_sim::{Report, run};

/// Worlds in one run of the tests: some seconds.
const SEEDS: u64 = 200;
/// Lines of a story that are printed on failure.
const LAST_LINES: usize = 60;

#[test]
fn both_sides_agree_and_nothing_is_left_in_every_world() {
    let mut total = Report::default();
    for seed in 0..SEEDS {
        match run(seed, false) {
            Ok(report) => total = sum(total, report),
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
    println!("{SEEDS} worlds: {total:?}");
    // Worlds in which nothing happens would agree too.
    assert!(total.sessions_up > SEEDS && total.agreed > SEEDS / 2, "{total:?}");
    assert!(total.installs > 4 * SEEDS && total.attacks > 2 * SEEDS, "{total:?}");
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

fn sum(a: Report, b: Report) -> Report {
    Report {
        clients: a.clients + b.clients,
        sessions_up: a.sessions_up + b.sessions_up,
        agreed: a.agreed + b.agreed,
        installs: a.installs + b.installs,
        attacks: a.attacks + b.attacks,
        esp_accepted: a.esp_accepted + b.esp_accepted,
        events: a.events + b.events,
    }
}
