//! Cisco's fragments from anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| causeway_ike::testing::fuzzed::pieces(octets));
