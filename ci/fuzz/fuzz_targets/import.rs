//! IOS configurations and client profiles that an operator was sent: read and explained, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    causeway_cli::reads_foreign_text(octets);
});
