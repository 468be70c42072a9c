//! The seeds of the fuzz target `eap`: each is what its name says, so that fuzzing begins behind the first checks.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use causeway_eap::tls::fragments::{Arrival, Fragments, TlsPacket};
use causeway_eap::tunnel::avp::{self, AvpCode};
use causeway_eap::tunnel::tlv::Extensions;
use causeway_eap::{EapType, Packet};

/// A seed without the octet that chooses the parser.
fn seed(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz").join(name);
    std::fs::read(path).unwrap().split_off(1)
}

#[test]
fn seeds_reach_what_they_are_for() {
    for (name, kind) in [("identity", EapType::IDENTITY), ("nak", EapType::NAK)] {
        let octets = seed(name);
        let Ok(Packet::Response(response)) = Packet::decode(&octets) else { panic!("{name}") };
        assert_eq!(response.kind, kind);
    }
    let octets = seed("fragments");
    let (mut fragments, mut rest, mut last) = (Fragments::default(), &octets[..], Arrival::Broken);
    while let [length, after @ ..] = rest {
        let (packet, after) = after.split_at(usize::from(*length));
        last = fragments.take(&TlsPacket::decode(packet).unwrap());
        rest = after;
    }
    assert_eq!(last, Arrival::Flight(vec![1, 2, 3, 4]));
    let octets = seed("avps");
    let codes: Vec<AvpCode> = avp::decode(&octets).unwrap().iter().map(|avp| avp.code).collect();
    assert_eq!(codes, [AvpCode::USER_NAME, AvpCode::MS_CHAP2_SUCCESS]);
    assert!(Extensions::decode(&seed("result")).unwrap().success);
}
