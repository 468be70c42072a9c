//! AnyConnect-EAP: packets, XML documents, what they say, and PKCS #7 chains. The first octet chooses.
#![no_main]

#[path = "../../../controlplane/eap/tests/fuzzed/mod.rs"]
mod fuzzed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    fuzzed::anyconnect(octets);
});
