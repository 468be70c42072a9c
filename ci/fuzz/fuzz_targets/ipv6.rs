//! An IPv6 packet from anybody: extension headers, neighbour discovery, ICMPv6, UDP; and what is built of it again.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../shared/tests/fuzzed/ipv6.rs"]
mod fuzzed;

fuzz_target!(|octets: &[u8]| fuzzed::packet(octets));
