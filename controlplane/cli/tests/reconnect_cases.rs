//! `docs/reconnect-cases.md` names tests: every one exists, every case has one, and its level is that of its tests.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const CASES: std::ops::RangeInclusive<u32> = 1..=23;
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
    let names = document().lines().flat_map(named).collect::<Vec<_>>();
    assert!(names.len() > 60, "only {} tests were found in the document", names.len());
    for (file, test) in names {
        let Ok(text) = fs::read_to_string(root().join(&file)) else {
            wrong.push(format!("{file} is not there"));
            continue;
        };
        if !holds(&file, &text, &test) {
            wrong.push(format!("{file} has no test `{test}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_has_tests_at_the_levels_it_claims() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for line in document().lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(number) = cells.get(1).and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        assert!(seen.insert(number), "case {number} stands twice");
        let claimed: BTreeSet<&str> = cells[3].split(", ").collect();
        let shown: BTreeSet<&str> = named(line).iter().map(|(file, _)| level(file)).collect();
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
    before.contains(&"#[test]")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/reconnect-cases.md")).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
