//! `docs/rfc7296.tsv` has a row for every sentence of RFC 7296 that says MUST: the code that obeys it and the test that shows it,
//! or the reason why not; `docs/extensions.tsv` has the same for the extensions. Here it is checked that no sentence is missing, and
//! that code and tests are there; and `docs/compliance.md` is made of them (`CAUSEWAY_WRITE=1 cargo test -p causeway-controlplane --test rfc7296`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Sentences with MUST or MUST NOT in each section of the RFC; a colon, a semicolon and the end of a list's item end one.
const RFC_7296: &[(&str, u32)] = &[
    ("1", 1),
    ("1.2", 5),
    ("1.3", 3),
    ("1.3.1", 2),
    ("1.3.2", 1),
    ("1.3.3", 1),
    ("1.4", 4),
    ("1.4.1", 6),
    ("1.5", 1),
    ("1.6", 1),
    ("1.7", 7),
    ("2", 2),
    ("2.1", 7),
    ("2.2", 2),
    ("2.3", 9),
    ("2.4", 8),
    ("2.5", 11),
    ("2.6", 4),
    ("2.6.1", 1),
    ("2.7", 5),
    ("2.8", 4),
    ("2.8.1", 1),
    ("2.8.2", 1),
    ("2.9", 1),
    ("2.9.2", 2),
    ("2.10", 1),
    ("2.11", 2),
    ("2.12", 1),
    ("2.13", 4),
    ("2.14", 1),
    ("2.15", 2),
    ("2.16", 8),
    ("2.17", 2),
    ("2.18", 3),
    ("2.19", 6),
    ("2.20", 1),
    ("2.21.2", 3),
    ("2.21.3", 1),
    ("2.21.4", 5),
    ("2.22", 2),
    ("2.23", 10),
    ("2.23.1", 2),
    ("2.24", 1),
    ("2.25", 1),
    ("3.1", 13),
    ("3.2", 7),
    ("3.3", 7),
    ("3.3.1", 5),
    ("3.3.2", 2),
    ("3.3.3", 1),
    ("3.3.4", 5),
    ("3.3.5", 5),
    ("3.3.6", 8),
    ("3.4", 4),
    ("3.5", 6),
    ("3.6", 3),
    ("3.8", 2),
    ("3.9", 2),
    ("3.10", 3),
    ("3.10.1", 4),
    ("3.11", 3),
    ("3.12", 3),
    ("3.13", 1),
    ("3.13.1", 4),
    ("3.14", 6),
    ("3.15", 2),
    ("3.15.1", 8),
    ("3.16", 4),
    ("4", 10),
    ("5", 3),
];

/// The same of the extensions, by RFC and section.
const EXTENSIONS: &[(&str, u32)] = &[
    ("4555 3.2", 1),
    ("4555 3.3", 1),
    ("4555 3.6", 1),
    ("4555 3.7", 3),
    ("4555 3.8", 2),
    ("4555 3.9", 3),
    ("4555 4.2.1", 1),
    ("4555 4.2.5", 2),
    ("5685 3", 7),
    ("5685 4", 1),
    ("5685 5", 2),
    ("5685 6", 6),
    ("5685 8", 2),
    ("5685 9.1", 2),
    ("5685 9.2", 5),
    ("5685 9.3", 2),
    ("5685 11", 1),
    ("5685 12", 1),
    ("5723 4.1", 3),
    ("5723 4.2", 2),
    ("5723 4.3.1", 2),
    ("5723 4.3.2", 2),
    ("5723 4.3.3", 4),
    ("5723 5", 3),
    ("5723 6.1", 6),
    ("5723 6.2", 4),
    ("5723 7", 1),
    ("5723 9.1", 2),
    ("5723 9.4", 1),
    ("5723 9.7", 1),
    ("5723 9.9", 1),
    ("5723 9.10", 1),
    ("5998 3", 5),
    ("5998 4", 1),
    ("5998 6.1", 1),
    ("5998 6.2", 1),
    ("6023 3", 6),
    ("6023 4", 3),
    ("7383 2.3", 3),
    ("7383 2.4", 1),
    ("7383 2.5", 7),
    ("7383 2.5.2", 5),
    ("7383 2.5.3", 1),
    ("7383 2.6", 5),
    ("7383 2.6.1", 3),
    ("7383 3", 1),
    ("8784 3", 9),
    ("8784 5.2.3", 1),
    ("8784 6", 1),
    ("9242 3.1", 1),
    ("9242 3.2", 5),
    ("9242 3.3.2", 3),
    ("9242 4", 1),
    ("9242 5", 1),
];

/// The tables and what they must cover.
const TABLES: [(&str, &[(&str, u32)]); 2] = [("rfc7296.tsv", RFC_7296), ("extensions.tsv", EXTENSIONS)];

/// What stands before the colon of a place, and where that is.
const PLACES: [(&str, &str); 7] = [
    ("ike", "controlplane/ike/src"),
    ("eap", "controlplane/eap/src"),
    ("cp", "controlplane"),
    ("client", "controlplane/client/src"),
    ("sh", "shared/src"),
    ("dp", "dataplane/src"),
    ("e2e", "ci/lib/scenarios"),
];

struct Row {
    section: String,
    sentences: String,
    requirement: String,
    code: Vec<String>,
    tests: Vec<String>,
    why: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rows(table: &str) -> Vec<Row> {
    let table = std::fs::read_to_string(root().join("docs").join(table)).unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let [section, sentences, requirement, code, proof] = line.split('\t').collect::<Vec<_>>()[..]
            else {
                panic!("not five columns: {line}")
            };
            let (tests, why) = proof.split_once("why: ").unwrap_or((proof, ""));
            let list = |text: &str| {
                let items = text.split("; ").map(|item| item.trim_end_matches(';').trim().to_owned());
                items.filter(|item| !item.is_empty() && item != "-").collect::<Vec<String>>()
            };
            let why = (!why.is_empty()).then(|| why.to_owned());
            Row {
                section: section.to_owned(),
                sentences: sentences.to_owned(),
                requirement: requirement.to_owned(),
                code: list(code),
                tests: list(tests),
                why,
            }
        })
        .collect()
}

/// `1,3-5` as numbers.
fn numbers(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<u32>().unwrap()..=last.parse::<u32>().unwrap()
    };
    text.split(',').flat_map(range).collect()
}

#[test]
fn every_sentence_has_one_row() {
    for (table, sentences) in TABLES {
        let mut covered: HashMap<String, Vec<u32>> = HashMap::new();
        for row in rows(table) {
            covered.entry(row.section).or_default().extend(numbers(&row.sentences));
        }
        for (section, count) in sentences {
            let mut found = covered.remove(*section).unwrap_or_default();
            found.sort_unstable();
            assert_eq!(found, (1..=*count).collect::<Vec<_>>(), "section {section}");
        }
        assert!(covered.is_empty(), "no such section: {:?}", covered.keys());
    }
}

#[test]
fn code_and_tests_are_where_the_table_says() {
    let mut files: HashMap<PathBuf, String> = HashMap::new();
    let mut text_of = |place: &str| -> (String, Option<String>) {
        let (prefix, rest) = place.split_once(':').unwrap_or_else(|| panic!("`{place}` has no place"));
        let folder =
            PLACES.iter().find(|(short, _)| *short == prefix).unwrap_or_else(|| panic!("`{place}`")).1;
        let (file, name) = rest.split_once("::").map_or((rest, None), |(file, name)| (file, Some(name)));
        let path = root().join(folder).join(file);
        let read = || std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{place}`: {error}"));
        let text = files.entry(path.clone()).or_insert_with(read).clone();
        (text, name.map(str::to_owned))
    };
    for row in TABLES.iter().flat_map(|(table, _)| rows(table)) {
        let at = format!("{} ({})", row.section, row.sentences);
        assert!(!row.code.is_empty() || row.why.is_some(), "{at}: neither code nor a reason");
        assert!(!row.tests.is_empty() || row.why.is_some(), "{at}: neither a test nor a reason");
        for place in &row.code {
            let (text, name) = text_of(place);
            let Some(name) = name else { continue };
            let declared = ["fn ", "const ", "struct ", "enum ", ""].iter().any(|kind| {
                let there = [format!("{kind}{name}("), format!("{kind}{name}:"), format!("{kind}{name}<")];
                there.iter().any(|spelling| text.contains(spelling))
                    || (!kind.is_empty() || name.starts_with("Raw"))
                        && text.contains(&format!("{kind}{name} "))
            });
            assert!(declared, "{at}: `{place}` is not there");
        }
        for place in &row.tests {
            let (text, name) = text_of(place);
            let name = name.unwrap_or_else(|| panic!("{at}: `{place}` names no test"));
            let attribute = text.find(&format!("fn {name}(")).map(|found| {
                let before = &text[..found];
                before.trim_end().ends_with("#[test]")
                    || before.lines().rev().take(3).any(|line| line.contains("#[test]"))
            });
            let scenario = text.contains(&format!("@scenario(\"{name}\""));
            assert!(attribute == Some(true) || scenario, "{at}: there is no test `{place}`");
        }
    }
}

#[test]
fn the_page_is_made_of_the_table() {
    let page = page();
    let path = root().join("docs/compliance.md");
    if std::env::var_os("CAUSEWAY_WRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(old == page, "docs/compliance.md is old; see the head of this file for how to write it");
}

fn page() -> String {
    let mut page = "# RFC 7296 and its extensions, requirement by requirement\n\n\
         Made of [rfc7296.tsv](rfc7296.tsv) and [extensions.tsv](extensions.tsv) by `CAUSEWAY_WRITE=1 cargo test -p causeway-controlplane \
         --test rfc7296`; the same test checks that code and tests are there.\n\"(initiator)\" marks what only a client must do: there \
         the code is `causeway client`'s or the test initiator's.\n\n| short | folder |\n|---|---|\n"
        .to_owned();
    for (short, folder) in PLACES {
        let _ = writeln!(page, "| {short} | `{folder}` |");
    }
    let titles = [
        "RFC 7296",
        "MOBIKE (4555), REDIRECT (5685), session resumption (5723), EAP alone (5998), \
         childless (6023), fragmentation (7383), PPK (8784), IKE_INTERMEDIATE (9242)",
    ];
    for ((table, of), title) in TABLES.into_iter().zip(titles) {
        part(&mut page, title, &rows(table), of);
    }
    page
}

fn part(page: &mut String, title: &str, rows: &[Row], of: &[(&str, u32)]) {
    let all: u32 = of.iter().map(|(_, count)| count).sum();
    let sentences = |of: &dyn Fn(&Row) -> bool| -> usize {
        rows.iter().filter(|row| of(row)).map(|row| numbers(&row.sentences).len()).sum()
    };
    let tested = sentences(&|row| !row.tests.is_empty());
    let named: BTreeSet<&String> = rows.iter().flat_map(|row| &row.tests).collect();
    let _ = write!(
        page,
        "\n## {title}\n\nOf {all} sentences that say MUST or MUST NOT, {tested} are shown by {} tests; of the other {} the last \
         column says why.\n\n| § | sentences | requirement | code | tests, or why not |\n|---|---|---|---|---|\n",
        named.len(),
        all as usize - tested,
    );
    for row in rows {
        let quoted =
            |list: &[String]| list.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
        let proof = [quoted(&row.tests), row.why.clone().unwrap_or_default()];
        let proof = proof.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("; ");
        let code = if row.code.is_empty() { "–".to_owned() } else { quoted(&row.code) };
        let Row { section, sentences, requirement, .. } = row;
        let _ = writeln!(page, "| {section} | {sentences} | {requirement} | {code} | {proof} |");
    }
}
