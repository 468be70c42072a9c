//! `docs/reconnect-compliance.md` names a test for every requirement: each of them must be there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::HashMap;
use std::path::Path;

#[test]
fn every_test_that_the_compliance_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let page = read("docs/reconnect-compliance.md");
    let files: HashMap<&str, String> =
        page.lines().filter_map(file).map(|(short, path)| (short, read(path))).collect();
    let mut named = 0;
    // What stands between backticks is every other piece.
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((short, test)) = quoted.split_once(": ") else { continue };
        let text = files.get(short).unwrap_or_else(|| panic!("`{quoted}`: no file is called {short}"));
        let there = text.contains(&format!("fn {test}(")) || text.contains(&format!("@scenario(\"{test}\""));
        assert!(there, "there is no test `{quoted}`");
        named += 1;
    }
    assert!(named >= 80, "only {named} tests were found on the page");
}

/// `| short | `file` |`
fn file(line: &str) -> Option<(&str, &str)> {
    let (short, path) = line.strip_prefix("| ")?.strip_suffix("` |")?.split_once(" | `")?;
    (!short.contains(' ') && !path.contains('`')).then_some((short, path))
}
