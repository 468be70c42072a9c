//! `docs/reconnect-cases.md` and `docs/complaints.md` name tests: every one exists, every case has one at the level that it
//! claims, and every complaint has an answer that fits its state.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const CASES: std::ops::RangeInclusive<u32> = 1..=23;
const COMPLAINTS: std::ops::RangeInclusive<u32> = 1..=25;
/// Where tests of a level stand; the first prefix that fits counts.
const LEVELS: &[(&str, &str)] = &[
    ("controlplane/ike/src/tests/", "endpoint"),
    ("controlplane/client/tests/protocol/", "endpoint"),
    ("controlplane/client/tests/daemon/", "client"),
    ("controlplane/tests/daemon", "daemon"),
    ("controlplane/sim/", "simulation"),
    ("ci/lib/scenarios/", "e2e"),
    ("controlplane/", "part"),
];

#[test]
fn every_test_that_the_document_names_exists() {
    let mut wrong = Vec::new();
    for (document, at_least) in [("reconnect-cases.md", 60), ("complaints.md", 50)] {
        let names = text_of(document).lines().flat_map(named).collect::<Vec<_>>();
        assert!(names.len() >= at_least, "only {} tests were found in {document}", names.len());
        wrong.extend(names.into_iter().filter_map(missing));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a named test.
fn missing((file, test): (String, String)) -> Option<String> {
    let Ok(text) = fs::read_to_string(root().join(&file)) else {
        return Some(format!("{file} is not there"));
    };
    (!holds(&file, &text, &test)).then(|| format!("{file} has no test `{test}`"))
}
#[test]
fn every_complaint_has_an_answer_that_fits_its_state() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (number, line) in rows("complaints.md") {
        assert!(seen.insert(number), "complaint {number} stands twice");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (state, answer, tests) = (cells[4], cells[5], named(&line).len());
        let fits = match state {
            "shown" | "part" => tests > 0,
            "open" | "no part" => tests == 0,
            _ => false,
        };
        if !fits || answer.is_empty() {
            wrong.push(format!("complaint {number}: {state:?} with {tests} tests"));
        }
    }
    assert_eq!(seen, COMPLAINTS.collect(), "complaints");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_has_tests_at_the_levels_it_claims() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (number, line) in rows("reconnect-cases.md") {
        assert!(seen.insert(number), "case {number} stands twice");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let claimed: BTreeSet<&str> = cells[3].split(", ").collect();
        let shown: BTreeSet<&str> = named(&line).iter().map(|(file, _)| level(file)).collect();
        if shown.is_empty() || shown != claimed {
            wrong.push(format!("case {number}: claims {claimed:?}, its tests are of {shown:?}"));
        }
    }
    assert_eq!(seen, CASES.collect(), "cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn level(file: &str) -> &'static str {
    LEVELS.iter().find(|(prefix, _)| file.starts_with(prefix)).unwrap().1
}

/// `file::test` in backticks.
fn named(line: &str) -> Vec<(String, String)> {
    let spans = line.split('`').skip(1).step_by(2);
    let pair = |span: &str| span.split_once("::").map(|(file, test)| (file.to_owned(), test.to_owned()));
    spans.filter_map(pair).collect()
}

/// Whether the file has this as a test, not only as a word.
fn holds(file: &str, text: &str, test: &str) -> bool {
    if file.ends_with(".py") {
        return text.contains(&format!("@scenario(\"{test}\","));
    }
    let head = format!("fn {test}(");
    let Some(at) = text.find(&head) else { return false };
    let before: Vec<&str> = text[..at].lines().rev().take(4).map(str::trim).collect();
    before.iter().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
}

/// The rows of a document's table that begin with a number.
fn rows(document: &str) -> Vec<(u32, String)> {
    let number = |line: &str| line.split('|').nth(1)?.trim().parse::<u32>().ok();
    text_of(document).lines().filter_map(|line| Some((number(line)?, line.to_owned()))).collect()
}

fn text_of(document: &str) -> String {
    fs::read_to_string(root().join("docs").join(document)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
