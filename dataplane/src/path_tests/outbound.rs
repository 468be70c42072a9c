//! From the LAN to a client.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp, ipv4};
use causeway_shared::sa::{Encapsulation, EspSuite, SaPair};
use causeway_shared::wire::Event;

use super::world::*;
use crate::path::*;
use crate::sa::{SEQUENCE_BLOCK, max_inner_len};

const SUITE: EspSuite = EspSuite::Aes256Gcm16;

#[test]
fn every_suite_with_and_without_esn_and_udp() {
    for suite in EspSuite::ALL {
        for esn in [false, true] {
            for encapsulation in [Encapsulation::Esp, UDP] {
                let mut world = World::with_clients(suite, esn, encapsulation);
                let mut ivs = HashSet::new();
                for (sequence, len) in (1..).zip([0, 1, 2, 3, 13, 14, 15, 16, 500, 1300]) {
                    let inner = echo(HOST, CLIENT_A, len);
                    world.receive(INSIDE, &[frame(INSIDE, &inner)]);
                    let esp = world.sent_esp();
                    let opened = from_us(suite, esn).open(sequence, &esp).unwrap();
                    let (payload, trailer) = opened.split_at(inner.len());
                    assert_eq!(payload, forwarded(&inner), "{suite} {esn} {encapsulation:?} {len}");
                    let pad = trailer.len() - 2;
                    let expected: Vec<u8> = (1..=pad as u8).chain([pad as u8, 4]).collect();
                    assert_eq!((trailer, opened.len() % suite.pad_align()), (&expected[..], 0));
                    assert!(pad < suite.pad_align());
                    assert!(ivs.insert(esp[8..8 + suite.iv_len()].to_vec()), "an IV twice");
                }
                assert_eq!((world.flow(Flow::EspOutPackets), world.drops()), (10, vec![]));
            }
        }
    }
}

#[test]
fn tos_is_copied_and_identifications_differ() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let mut seen = HashSet::new();
    for tos in [0, 3, 0xb8] {
        let inner = ip_with(HOST, CLIENT_A, 17, &[7; 40], |header| header.tos = tos);
        world.receive(INSIDE, &[frame(INSIDE, &inner)]);
        let packet = world.sent(OUTSIDE);
        let outer = ipv4::Packet::parse(&packet).unwrap();
        assert_eq!(outer.tos(), tos);
        assert!(seen.insert(outer.identification()));
    }
}

#[test]
fn cbc_ivs_of_two_installations_of_one_sa_differ() {
    let first_iv = || {
        let mut world = World::with_clients(EspSuite::Aes128CbcSha256, false, UDP);
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
        world.sent_esp()[8..24].to_vec()
    };
    assert_ne!(first_iv(), first_iv());
}

#[test]
fn numbers_are_reserved_before_they_are_used() {
    let mut world = World::new();
    world.install(SaPair { first_outbound_sequence: 100, ..pair(SUITE, true, UDP) });
    assert_eq!(world.record.reserved, []);
    let slot = SPI_A & 1023;
    for sequence in 100..=100 + SEQUENCE_BLOCK {
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
        let end = world.record.reserved.last().unwrap().1;
        assert!(sequence <= end, "{sequence} was used, {end} was reserved");
        let esp = world.sent_esp();
        assert_eq!(esp[4..8], (sequence as u32).to_be_bytes());
    }
    let block = |n| (slot, 99 + n * SEQUENCE_BLOCK);
    assert_eq!(world.record.reserved, [block(1), block(2)]);
}

#[test]
fn sequence_numbers_end_without_esn_and_go_on_with_it() {
    let last = u64::from(u32::MAX);
    for (esn, sent, events, drops) in [
        (
            false,
            2,
            vec![Event::SoftExpired { inbound_spi: SPI_A }, Event::HardExpired { inbound_spi: SPI_A }],
            vec![(Drop::SaExpired, 1), (Drop::SequenceExhausted, 1)],
        ),
        (true, 4, vec![], vec![]),
    ] {
        let mut world = World::new();
        world.install(SaPair { first_outbound_sequence: last - 1, ..pair(SUITE, esn, UDP) });
        for _ in 0..4 {
            world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
        }
        assert_eq!((world.record.tx.len(), &world.record.events, world.drops()), (sent, &events, drops));
        for ((_, frame), sequence) in world.record.tx.iter().zip(last - 1..) {
            let esp = esp_of(&strip(OUTSIDE, frame));
            assert!(from_us(SUITE, esn).open(sequence, &esp).is_some(), "{sequence}");
        }
    }
}

#[test]
fn the_largest_inner_packet_fills_the_mtu_and_one_more_octet_is_told_back() {
    for suite in EspSuite::ALL {
        for encapsulation in [Encapsulation::Esp, UDP] {
            let mut world = World::with_clients(suite, false, encapsulation);
            let room = max_inner_len(suite, encapsulation != Encapsulation::Esp, 1500);
            let inner = |len: usize| {
                ip_with(HOST, CLIENT_A, 17, &vec![7; len - 20], |header| header.dont_fragment = true)
            };
            world.receive(INSIDE, &[frame(INSIDE, &inner(room))]);
            let outer_len = world.sent(OUTSIDE).len();
            assert!(outer_len <= 1500 && outer_len + suite.pad_align() > 1500, "{suite} {outer_len}");
            world.receive(INSIDE, &[frame(INSIDE, &inner(room + 1))]);
            let told = world.sent(INSIDE);
            let error = ipv4::Packet::parse(&told).unwrap();
            assert_eq!((error.source(), error.destination(), told.len()), (INSIDE_GATEWAY, HOST, 576));
            assert_eq!(icmp::Message::parse(error.payload()), Some(icmp::Message { kind: 3, code: 4 }));
            assert_eq!(error.payload()[6..8], (room as u16).to_be_bytes());
            assert_eq!(world.drops(), [(Drop::TooBig, 1)]);
        }
    }
}

#[test]
fn a_client_hears_the_size_that_fits_another_client() {
    let mut world = World::with_clients(SUITE, false, UDP);
    world.path.state.outside_mtu = 1000;
    let inner = ip_with(CLIENT_A, CLIENT_B, 17, &[7; 1200], |header| header.dont_fragment = true);
    world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &inner, 4), UDP)]);
    let opened = from_us(SUITE, false).open(1, &world.sent_esp()).unwrap();
    let error = ipv4::Packet::parse(&opened).unwrap();
    assert_eq!((error.source(), error.destination()), (INSIDE_GATEWAY, CLIENT_A));
    assert_eq!(error.payload()[6..8], (max_inner_len(SUITE, true, 1000) as u16).to_be_bytes());
}

#[test]
fn without_df_the_inner_packet_is_fragmented_before_it_is_sealed() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let inner = echo(HOST, CLIENT_A, 1472);
    world.receive(INSIDE, &[frame(INSIDE, &inner)]);
    let mut together = Vec::new();
    let sent = std::mem::take(&mut world.record.tx);
    assert_eq!(sent.len(), 2);
    for (sequence, (port, frame)) in (1..).zip(&sent) {
        let packet = strip(*port, frame);
        assert!(packet.len() <= 1500);
        let opened = from_us(SUITE, false).open(sequence, &esp_of(&packet)).unwrap();
        let piece = ipv4::Packet::parse(&opened).unwrap();
        assert_eq!((piece.fragment_offset(), piece.more_fragments()), (together.len(), sequence == 1));
        together.extend_from_slice(piece.payload());
    }
    assert_eq!((together, world.flow(Flow::FragmentsMade)), (inner[20..].to_vec(), 1));
}

#[test]
fn a_table_of_packets_that_may_not_go_in() {
    let stranger = Ipv4Addr::new(10, 0, 0, 77);
    let elsewhere = Ipv4Addr::new(172, 16, 0, 1);
    for (name, packet, reason) in [
        ("source out of the client's reach", echo(elsewhere, CLIENT_A, 1), Drop::SelectorMismatch),
        ("vacant address", echo(stranger, Ipv4Addr::new(10, 9, 0, 99), 1), Drop::NoSession),
        ("not a client", echo(HOST, elsewhere, 1), Drop::PolicyDenied),
        ("multicast", echo(HOST, Ipv4Addr::new(224, 0, 0, 251), 1), Drop::NotForUs),
        ("our own source", echo(INSIDE_GATEWAY, CLIENT_A, 1), Drop::PolicyDenied),
    ] {
        let mut world = World::with_clients(SUITE, false, UDP);
        world.receive(INSIDE, &[frame(INSIDE, &packet)]);
        assert_eq!(world.drops(), [(reason, 1)], "{name}");
        assert!(world.record.tx.iter().all(|(port, _)| *port == INSIDE), "{name}");
    }
}

#[test]
fn rekeying_moves_traffic_when_it_is_told_to() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let new_spi = SPI_A + 2 + 0x0100_0000;
    let new = SaPair { inbound_spi: new_spi, outbound_spi: PEER_SPI + 1, ..pair(SUITE, false, UDP) };
    assert_eq!(
        world.apply(Operation::Install(WorkerSa::new(&new).unwrap())),
        causeway_shared::wire::AckStatus::Done
    );
    let leaves_by = |world: &mut World| {
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
        u32::from_be_bytes(world.sent_esp()[..4].try_into().unwrap())
    };
    assert_eq!(leaves_by(&mut world), PEER_SPI);
    // Meanwhile both open.
    for spi in [SPI_A, new_spi] {
        world.receive(
            OUTSIDE,
            &[esp_frame(&to_us(SUITE, false, spi).seal(1, &echo(CLIENT_A, HOST, 1), 4), UDP)],
        );
        world.sent(INSIDE);
    }
    world.apply(Operation::SetOutbound { inner: CLIENT_A, inbound_spi: Some(new_spi) });
    assert_eq!(leaves_by(&mut world), PEER_SPI + 1);
    world.apply(Operation::Remove { inbound_spi: SPI_A });
    assert_eq!(leaves_by(&mut world), PEER_SPI + 1);
}
