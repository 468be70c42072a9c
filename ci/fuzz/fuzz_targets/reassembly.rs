//! Fragments of a few packets, their places, lengths and octets all from the input: what becomes whole was said octet by octet, never
//! two ways, and every fragment is accounted for.
#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use causeway_shared::net::reassembly::{Fragment, Key, MAX_PAYLOAD, Outcome, Reassembly, TIMEOUT_MS};
use libfuzzer_sys::fuzz_target;

/// Packets that the fragments are of.
const PACKETS: u8 = 5;

// Four octets of input for a fragment: packet, more and time; place, twice; length. Its octets are one of two patterns.
fuzz_target!(|input: &[u8]| {
    let mut table = Reassembly::default();
    let mut said: BTreeMap<(u32, usize), Vec<u8>> = BTreeMap::new();
    let (mut now_ms, mut taken, mut gone) = (0, 0_u64, 0_u64);
    for pick in input.chunks_exact(4) {
        let identification = u32::from(pick[0] % PACKETS);
        now_ms += if pick[0] & 0x40 != 0 { TIMEOUT_MS / 8 } else { 1 };
        let offset = usize::from(u16::from_be_bytes([pick[1] & 0x1f, pick[2]])) * 8;
        let len = usize::from(pick[3]) * if pick[1] & 0x40 != 0 { 64 } else { 1 };
        let pattern = if pick[1] & 0x80 != 0 { 0x55 } else { 0xaa };
        let payload: Vec<u8> = (offset..offset + len).map(|at| at as u8 ^ pattern).collect();
        let key = Key {
            source: Ipv4Addr::LOCALHOST.into(),
            destination: Ipv4Addr::LOCALHOST.into(),
            protocol: 17,
            identification,
        };
        let more = pick[0] & 0x80 != 0;
        let fragment = Fragment { key, offset, more, tos: pick[3] & 3, payload: &payload };
        for (at, octet) in (offset..).zip(&payload).filter(|(at, _)| *at < MAX_PAYLOAD) {
            let all = said.entry((identification, at)).or_default();
            if !all.contains(octet) {
                all.push(*octet);
            }
        }
        match table.take(&fragment, now_ms) {
            Outcome::Held => taken += 1,
            Outcome::Whole { payload, .. } => {
                assert!(!payload.is_empty() && payload.len() <= MAX_PAYLOAD);
                for (at, octet) in payload.iter().enumerate() {
                    assert!(said[&(identification, at)].contains(octet), "octet {at} was never said");
                }
                let patterns = payload.iter().enumerate().map(|(at, octet)| at as u8 ^ octet);
                assert!(patterns.clone().all(|pattern| pattern == 0x55 || pattern == 0xaa));
            }
            Outcome::Refused { lost, .. } => gone += u64::from(lost),
        }
        let lost = table.take_lost();
        gone += u64::from(lost.late) + u64::from(lost.displaced);
        assert!(gone <= taken);
        assert!(table.waiting() <= usize::from(PACKETS));
        if pick[0] & 0x20 != 0 {
            table.expire(now_ms);
        }
    }
    table.expire(now_ms + TIMEOUT_MS);
    assert_eq!(table.waiting(), 0);
});
