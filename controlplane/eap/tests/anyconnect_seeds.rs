//! The seeds of the fuzz target `anyconnect`: each is understood, so that fuzzing begins behind the first checks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fuzzed;

use std::path::Path;

#[test]
fn seeds_are_understood_and_what_was_once_found_is_not_found_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz-anyconnect");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let understood = fuzzed::anyconnect(&std::fs::read(&path).unwrap());
        // A file that fuzzing has found is named `found-…`; whether it is understood does not matter.
        assert!(understood || name.starts_with("found-"), "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen} seeds");
}
