//! A datagram from anybody: parsed, checked, and, if understood, written and understood again.
#![no_main]

use causeway_ike::wire::{HEADER_LEN, Incoming, rules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut datagram = octets.to_vec();
    // The length is put right, so that the fuzzer need not find it.
    if datagram.len() >= HEADER_LEN {
        datagram[24..28].copy_from_slice(&(octets.len() as u32).to_be_bytes());
    }
    if let Ok(Incoming::Clear(message)) = Incoming::parse(&datagram) {
        let _ = rules::check(&message, false);
        let again = message.emit_clear().expect("what was parsed can be written");
        let Ok(Incoming::Clear(parsed)) = Incoming::parse(&again) else { panic!("not understood again") };
        assert_eq!(parsed, message);
    }
});
