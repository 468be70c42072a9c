//! A decrypted payload chain, its first payload's type in front: what an authenticated peer can send.
#![no_main]

use causeway_ike::wire::{Payload, emit_payloads, parse_payloads};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((first, chain)) = octets.split_first() else { return };
    let Ok(payloads) = parse_payloads(*first, chain) else { return };
    for payload in &payloads {
        if let Payload::IdI(id) | Payload::IdR(id) = payload {
            assert!(!id.identity.to_string().chars().any(char::is_control));
        }
    }
    let (first, again) = emit_payloads(&payloads).expect("what was parsed can be written");
    assert_eq!(parse_payloads(first, &again), Ok(payloads));
});
