//! A client that has its keys and sends what it likes, in any order, before and after it has logged in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| causeway_ike::testing::fuzzed::session(octets));
