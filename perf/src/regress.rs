//! Old against new: two builds of this program run `pktgen` by turns, and a stage that became dearer fails.
//!
//! Noise makes rounds dear, it makes none cheap: a stage's cost is its cheapest round. It became dearer when that rose by more
//! than [`LIMIT`] and by more than [`LEAST_CYCLES`], and above the median of the old side's rounds: where memory decides, the rounds of
//! one build lie a tenth apart, by where its pages happen to be. What looks dearer is measured again, up to [`CONFIRMATIONS`] times.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::Failure;
use crate::stat::{median, range};

/// How much dearer a stage may become.
const LIMIT: f64 = 1.10;
/// Below this difference a tenth of a small number is noise, core cycles.
const LEAST_CYCLES: f64 = 2.0;
/// How often all rounds are done again when a stage looks dearer.
const CONFIRMATIONS: usize = 2;
/// What both run.
const TRAFFIC: [&[&str]; 2] = [
    &["--suites", "aes-256-gcm", "--sizes", "64,1420", "--sas", "1,10000"],
    &["--suites", "aes-256-cbc-sha384", "--sizes", "64", "--sas", "1"],
];
const COMMON: [&str; 4] = ["pktgen", "--cost-only", "--packets", "36864"];

/// Two builds by turns: fails when a stage became more than a tenth dearer.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// causeway-perf of the old commit.
    #[arg(long)]
    old: PathBuf,
    /// causeway-perf of the new commit.
    #[arg(long)]
    new: PathBuf,
    /// Rounds of both.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Leave the new build's runs here: a baseline.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Written into each line of the record.
    #[arg(long, default_value = "unknown")]
    commit: String,
}

/// What is read of a run.
#[derive(Deserialize, Debug)]
struct Run {
    suite: String,
    size: String,
    direction: String,
    sas: u32,
    burst: usize,
    core_cycles: f64,
    stages: Vec<Stage>,
}

#[derive(Deserialize, Debug)]
struct Stage {
    name: String,
    core_cycles: f64,
}

/// Core cycles of each round, by run and stage.
type Costs = BTreeMap<String, Vec<f64>>;

/// Runs both and compares.
///
/// # Errors
/// When a build does not run, or a stage became dearer.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("causeway-regress-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|source| Failure::File { path: folder.clone(), source })?;
    let (mut old, mut new) = (Costs::new(), Costs::new());
    let mut last = String::new();
    for attempt in 0..=CONFIRMATIONS {
        for round in 0..arguments.rounds.max(1) {
            eprintln!("round {} of {}", round + 1, arguments.rounds.max(1));
            collect(&arguments.old, &folder, &mut old)?;
            last = collect(&arguments.new, &folder, &mut new)?;
        }
        let suspects = dearer(&old, &new).len();
        if suspects == 0 {
            break;
        }
        if attempt < CONFIRMATIONS {
            eprintln!("{suspects} looked dearer: as many rounds again, to tell noise from cost");
        }
    }
    // Nothing in it is needed any more.
    let _ = std::fs::remove_dir_all(&folder);
    if let Some(path) = &arguments.record {
        record(path, &last, &arguments.commit)?;
    }
    let dearer = dearer(&old, &new);
    print(&old, &new, &dearer);
    if dearer.is_empty() {
        Ok(())
    } else {
        Err(Failure::Dearer(dearer.into_values().collect::<Vec<_>>().join("\n")))
    }
}

fn collect(program: &Path, folder: &Path, costs: &mut Costs) -> Result<String, Failure> {
    let file = folder.join("runs.jsonl");
    let failed = |source| Failure::File { path: program.to_owned(), source };
    let mut text = String::new();
    for traffic in TRAFFIC {
        let mut command = Command::new(program);
        let output = command.args(COMMON).args(traffic).arg("--json").arg(&file).output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::Usage(format!("{} does not run: {said}", program.display())));
        }
        text += &std::fs::read_to_string(&file).map_err(failed)?;
    }
    for line in text.lines() {
        let run: Run = serde_json::from_str(line).map_err(std::io::Error::from)?;
        let name =
            format!("{} {} {} {} SAs, {} a burst", run.suite, run.size, run.direction, run.sas, run.burst);
        costs.entry(format!("{name}: all")).or_default().push(run.core_cycles);
        for stage in run.stages {
            costs.entry(format!("{name}: {}", stage.name)).or_default().push(stage.core_cycles);
        }
    }
    Ok(text)
}

/// The stages that became dearer, with their lines of the table. A stage that one side does not have is not compared.
fn dearer<'a>(old: &'a Costs, new: &Costs) -> BTreeMap<&'a str, String> {
    let worse = |before: &[f64], after: &[f64]| {
        let (was, is) = (range(before).0, range(after).0);
        is > was * LIMIT && is - was > LEAST_CYCLES && is > median(before)
    };
    let both = old.iter().filter_map(|(name, before)| Some((name, before, new.get(name)?)));
    let dearer = both.filter(|(_, before, after)| worse(before, after));
    dearer.map(|(name, before, after)| (name.as_str(), line(name, before, after))).collect()
}

fn print(old: &Costs, new: &Costs, dearer: &BTreeMap<&str, String>) {
    println!("{:<64} {:>8} {:>8}  change", "core cycles of a packet, cheapest round", "old", "new");
    for (name, before) in old {
        if let Some(after) = new.get(name) {
            let mark = if dearer.contains_key(name.as_str()) { "  DEARER" } else { "" };
            println!("{}{mark}", line(name, before, after));
        }
    }
}

fn line(name: &str, before: &[f64], after: &[f64]) -> String {
    let (was, is) = (range(before).0, range(after).0);
    let change = (is / was.max(f64::MIN_POSITIVE) - 1.0) * 100.0;
    format!("{name:<64} {was:>8.1} {is:>8.1}  {change:>+5.1} %")
}

fn record(path: &Path, runs: &str, commit: &str) -> Result<(), Failure> {
    let machine = crate::machine::Machine::probe();
    let mut text = String::new();
    for line in runs.lines() {
        let mut run: serde_json::Value = serde_json::from_str(line).map_err(std::io::Error::from)?;
        run["commit"] = commit.into();
        run["processor"] = machine.processor.clone().into();
        text += &format!("{run}\n");
    }
    std::fs::write(path, text).map_err(|source| Failure::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(rounds: &[f64]) -> Costs {
        Costs::from([("stage".to_owned(), rounds.to_vec())])
    }

    #[test]
    fn a_tenth_is_allowed_more_is_not_and_noise_is_told_from_cost() {
        for (old, new, worse) in [
            (&[100.0, 101.0, 99.0][..], &[109.0, 108.0, 110.0][..], false),
            (&[100.0, 101.0, 99.0], &[112.0, 111.0, 113.0], true),
            // A single quiet round as cheap as before: the others were disturbed.
            (&[100.0, 101.0, 99.0], &[150.0, 99.5, 160.0], false),
            // The old side was disturbed, too.
            (&[140.0, 99.0, 100.0], &[120.0, 121.0, 119.0], true),
            // One lucky round of the old side proves nothing.
            (&[140.0, 99.0, 141.0], &[120.0, 121.0, 119.0], false),
            (&[5.0, 5.0, 5.0], &[6.5, 6.5, 6.5], false),
            // Memory: the old side's other rounds are no cheaper than the new one's best.
            (&[69.1, 80.0, 79.0, 81.0], &[78.5, 82.0, 79.5, 83.0], false),
            (&[100.0], &[50.0], false),
        ] {
            assert_eq!(!dearer(&costs(old), &costs(new)).is_empty(), worse, "{old:?} {new:?}");
        }
        let other = Costs::from([("new stage".to_owned(), vec![9.0])]);
        assert!(dearer(&costs(&[1.0]), &other).is_empty());
    }
}
