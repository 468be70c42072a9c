//! EAP packets, fragments of TLS-based methods, and what stands inside of TTLS and PEAP. The first octet chooses.
#![no_main]

use causeway_eap::Packet;
use causeway_eap::tls::fragments::{Arrival, Fragments, MAX_FLIGHT_OCTETS, TlsPacket};
use causeway_eap::tunnel::avp;
use causeway_eap::tunnel::tlv::Extensions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((choice, octets)) = octets.split_first() else { return };
    match choice % 4 {
        0 => {
            if let Ok(packet) = Packet::decode(octets) {
                assert_eq!(packet.encode().as_deref(), Ok(octets));
            }
        }
        1 => fragments(octets),
        2 => drop(avp::decode(octets)),
        _ => drop(Extensions::decode(octets)),
    }
});

/// Packets, each behind an octet that says how long it is.
fn fragments(mut octets: &[u8]) {
    let mut fragments = Fragments::default();
    while let Some((length, rest)) = octets.split_first() {
        let (packet, after) = rest.split_at(rest.len().min(usize::from(*length)));
        octets = after;
        let Some(packet) = TlsPacket::decode(packet) else { continue };
        if let Arrival::Flight(flight) = fragments.take(&packet) {
            assert!(flight.len() <= MAX_FLIGHT_OCTETS);
        }
    }
}
