//! The seeds of the fuzz target `ipv6`: each is read as the fuzzer reads it, and so are its beginnings and what a few changed octets make
//! of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use causeway_shared::net::{ipv6, ndp};
use proptest::prelude::*;

#[path = "fuzzed/ipv6.rs"]
mod fuzzed;

#[test]
fn seeds_of_ipv6_hold_what_the_fuzzer_asks() {
    let (mut read, mut messages) = (0, 0);
    for octets in seeds() {
        let packet = ipv6::Packet::parse(&octets).unwrap();
        messages += usize::from(ndp::Message::parse(&packet).is_some());
        for end in 0..=octets.len() {
            fuzzed::packet(&octets[..end]);
        }
        read += 1;
    }
    assert_eq!(
        (read, messages),
        (11, 4),
        "packets, and messages of neighbour discovery with right checksums"
    );
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz/ipv6");
    fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn so_do_seeds_with_a_few_other_octets(pick: prop::sample::Index, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let seeds = seeds();
        let mut octets = pick.get(&seeds).clone();
        for (at, octet) in changes {
            *at.get_mut(&mut octets) = octet;
        }
        fuzzed::packet(&octets);
    }
}
