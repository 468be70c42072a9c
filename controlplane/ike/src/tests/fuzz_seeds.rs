//! The seeds of the fuzz targets `session` and `pieces`, and what they once found: each is played as the target plays it.

use std::path::Path;

use crate::testing::fuzzed::{pieces, session};

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            println!("{}", path.display());
            std::fs::read(path).unwrap()
        })
        .collect()
}

#[test]
fn clients_that_say_what_they_like_break_no_promise() {
    let files = files("session");
    assert!(files.len() >= 10);
    for octets in files {
        for first in [0, 1] {
            session(&[&[first], &octets[1..]].concat());
        }
    }
}

#[test]
fn pieces_of_anybody_stay_within_their_bounds() {
    let files = files("pieces");
    assert!(files.len() >= 2);
    files.iter().for_each(|octets| pieces(octets));
}
