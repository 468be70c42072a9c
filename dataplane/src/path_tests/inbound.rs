//! From a client to the LAN, to us and to another client.

use std::net::Ipv4Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp, ipv4};
use causeway_shared::sa::{Encapsulation, EspSuite, SaLimits, SaPair};
use causeway_shared::wire::{AckStatus, Event};

use super::world::*;
use crate::path::*;

const SUITE: EspSuite = EspSuite::Aes128Gcm16;

#[test]
fn every_suite_with_and_without_esn_and_udp() {
    for suite in EspSuite::ALL {
        for esn in [false, true] {
            for encapsulation in [Encapsulation::Esp, UDP] {
                let mut world = World::with_clients(suite, esn, encapsulation);
                let peer = to_us(suite, esn, SPI_A);
                for (sequence, len) in (1..).zip([0, 1, 2, 3, 13, 14, 15, 16, 500, 1300]) {
                    let inner = echo(CLIENT_A, HOST, len);
                    world.receive(OUTSIDE, &[esp_frame(&peer.seal(sequence, &inner, 4), encapsulation)]);
                    assert_eq!(
                        world.sent(INSIDE),
                        forwarded(&inner),
                        "{suite} {esn} {encapsulation:?} {len}"
                    );
                }
                assert_eq!((world.flow(Flow::EspInPackets), world.drops()), (10, vec![]));
                assert_eq!(world.record.events, [Event::FirstInbound { inbound_spi: SPI_A }]);
                let (slot, statistics) = *world.record.statistics.last().unwrap();
                assert_eq!((slot, statistics.in_packets), (SPI_A & 1023, 10));
                assert_eq!(statistics.highest_inbound_sequence, 10);
            }
        }
    }
}

#[test]
fn a_damaged_packet_is_refused_wherever_the_damage_is() {
    for suite in EspSuite::ALL {
        let mut world = World::with_clients(suite, true, Encapsulation::Esp);
        let good = to_us(suite, true, SPI_A).seal(9, &echo(CLIENT_A, HOST, 20), 4);
        let mut refused = 0;
        for at in 4..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            world.receive(OUTSIDE, &[esp_frame(&bad, Encapsulation::Esp)]);
            refused += 1;
        }
        assert_eq!(world.drops(), [(Drop::BadIcv, refused)], "{suite}");
        assert_eq!((world.record.events.len(), world.record.tx.len()), (0, 0));
        // None of them moved the window.
        world.receive(OUTSIDE, &[esp_frame(&good, Encapsulation::Esp)]);
        assert_eq!(world.record.tx.len(), 1);
    }
}

#[test]
fn esn_goes_on_across_two_to_the_32() {
    let wrap = 1u64 << 32;
    let mut world = World::new();
    world.install(SaPair { highest_inbound_sequence: wrap - 3, ..pair(SUITE, true, UDP) });
    let peer = to_us(SUITE, true, SPI_A);
    let send = |world: &mut World, sequence| {
        let inner = echo(CLIENT_A, HOST, 1);
        world.receive(OUTSIDE, &[esp_frame(&peer.seal(sequence, &inner, 4), UDP)]);
        std::mem::take(&mut world.record.tx).len() == 1
    };
    for (name, sequence, expected) in [
        ("below", wrap - 2, true),
        ("ahead of the wrap", wrap + 1, true),
        ("late, below the wrap", wrap - 1, true),
        ("late, at the wrap", wrap, true),
        ("replay from below", wrap - 2, false),
        ("replay from above", wrap + 1, false),
        ("restarted without the upper half", 5, false),
        ("next", wrap + 2, true),
    ] {
        assert_eq!(send(&mut world, sequence), expected, "{name}");
    }
    // The last-but-one was taken for 2^32 + 5, and its ICV disagreed.
    assert_eq!(world.drops(), [(Drop::Replay, 2), (Drop::BadIcv, 1)]);
}

#[test]
fn twins_in_one_burst_come_out_once() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let packet = esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &echo(CLIENT_A, HOST, 8), 4), UDP);
    world.receive(OUTSIDE, &[packet.clone(), packet.clone(), packet]);
    assert_eq!((world.record.tx.len(), world.drops()), (1, vec![(Drop::Replay, 2)]));
}

#[test]
fn a_burst_of_two_clients_and_every_length_keeps_its_order() {
    let mut world = World::with_clients(EspSuite::Aes256CbcSha384, false, Encapsulation::Esp);
    let (a, b) =
        (to_us(EspSuite::Aes256CbcSha384, false, SPI_A), to_us(EspSuite::Aes256CbcSha384, false, SPI_B));
    let inner: Vec<_> =
        (0..100).map(|n| echo(if n % 2 == 0 { CLIENT_A } else { CLIENT_B }, HOST, n * 7 % 300)).collect();
    let frames: Vec<_> = (1..)
        .zip(&inner)
        .map(|(n, packet)| {
            let peer = if n % 2 == 1 { &a } else { &b };
            esp_frame(&peer.seal(n, packet, 4), Encapsulation::Esp)
        })
        .collect();
    world.receive(OUTSIDE, &frames);
    let sent: Vec<_> = world.record.tx.iter().map(|(port, frame)| strip(*port, frame)).collect();
    assert_eq!(sent, inner.iter().map(|packet| forwarded(packet)).collect::<Vec<_>>());
}

#[test]
fn dummy_packets_vanish_and_tfc_padding_is_cut_off() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let peer = to_us(SUITE, false, SPI_A);
    let inner = echo(CLIENT_A, HOST, 9);
    world.receive(OUTSIDE, &[esp_frame(&peer.seal(1, b"anything", 59), UDP)]);
    assert_eq!((world.record.tx.len(), world.flow(Flow::EspDummies), world.drops()), (0, 1, vec![]));
    let padded = [&inner[..], &[0xee; 100]].concat();
    world.receive(OUTSIDE, &[esp_frame(&peer.seal(2, &padded, 4), UDP)]);
    assert_eq!(world.sent(INSIDE), forwarded(&inner));
}

#[test]
fn a_peer_behind_a_nat_that_moves_is_followed_only_by_new_authentic_packets_over_udp() {
    let (peer, new, port) = (to_us(SUITE, false, SPI_A), Ipv4Addr::new(192, 0, 2, 51), 4711);
    let from_new = |sequence| {
        let esp = peer.seal(sequence, &echo(CLIENT_A, HOST, 1), 4);
        frame(OUTSIDE, &esp_packet(&esp, UDP, new, port))
    };
    let moved_to = |world: &mut World| {
        world.introduce(OUTSIDE, new);
        world.record = Record::default();
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
        let packet = world.sent(OUTSIDE);
        ipv4::Packet::parse(&packet).unwrap().destination() == new
    };

    let mut world = World::with_clients(SUITE, false, UDP);
    world.receive(OUTSIDE, &[esp_frame(&peer.seal(10, &echo(CLIENT_A, HOST, 1), 4), UDP)]);
    world.record.events.clear();
    world.receive(OUTSIDE, &[from_new(9)]);
    let mut forged = from_new(11);
    *forged.last_mut().unwrap() ^= 1;
    world.receive(OUTSIDE, &[forged]);
    assert_eq!((world.record.events.len(), moved_to(&mut world)), (0, false), "late or forged");
    world.receive(OUTSIDE, &[from_new(11)]);
    let encapsulation = Encapsulation::Udp { local_port: 4500, peer_port: port };
    let event = Event::PeerMoved { inbound_spi: SPI_A, peer_outer: new.into(), encapsulation };
    assert_eq!(world.record.events, [event]);
    assert!(moved_to(&mut world));

    let mut world = World::with_clients(SUITE, false, Encapsulation::Esp);
    world.receive(OUTSIDE, &[from_new(1)]);
    assert_eq!(world.record.events, [Event::FirstInbound { inbound_spi: SPI_A }], "taken, not followed");
    assert!(!moved_to(&mut world));
}

#[test]
fn a_table_of_inner_packets_that_may_not_pass() {
    let other_net = Ipv4Addr::new(172, 16, 0, 1);
    let mut bad_checksum = echo(CLIENT_A, HOST, 8);
    bad_checksum[8] ^= 1;
    let mut cut = echo(CLIENT_A, HOST, 8);
    cut.truncate(30);
    for (name, inner, next_header, reason) in [
        ("another client's source", echo(CLIENT_B, HOST, 8), 4, Drop::SelectorMismatch),
        ("the gateway's source", echo(INSIDE_GATEWAY, HOST, 8), 4, Drop::SelectorMismatch),
        ("a network out of reach", echo(CLIENT_A, other_net, 8), 4, Drop::SelectorMismatch),
        ("no IPv6 inside", vec![0x60; 40], 41, Drop::BadIpv6Header),
        ("transport mode", vec![8; 40], 6, Drop::BadEspFormat),
        ("inner checksum", bad_checksum, 4, Drop::BadIpv4Header),
        ("inner packet cut", cut, 4, Drop::BadIpv4Header),
        ("directed broadcast", echo(CLIENT_A, [10, 0, 0, 255].into(), 8), 4, Drop::PolicyDenied),
        ("a vacant pool address", echo(CLIENT_A, [10, 9, 0, 77].into(), 8), 4, Drop::NoSession),
        ("not echo, to us", ip(CLIENT_A, INSIDE_GATEWAY, 17, &[0; 20]), 4, Drop::NotForUs),
    ] {
        let mut world = World::with_clients(SUITE, false, UDP);
        world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &inner, next_header), UDP)]);
        assert_eq!(world.drops(), [(reason, 1)], "{name}");
        assert!(world.record.tx.iter().all(|(port, _)| *port == OUTSIDE), "{name}");
    }
}

#[test]
fn wrong_padding_is_refused_after_the_icv() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let inner = echo(CLIENT_A, HOST, 8);
    let plaintext = [&inner[..], &[9, 9, 2, 4]].concat();
    world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal_plaintext(1, &plaintext), UDP)]);
    assert_eq!(world.drops(), [(Drop::BadEspFormat, 1)]);
}

#[test]
fn ttl_runs_out_and_the_client_hears_of_it() {
    let mut world = World::with_clients(SUITE, false, UDP);
    for ttl in [0, 1] {
        let inner = ip_with(CLIENT_A, HOST, 17, &[7; 40], |header| header.ttl = ttl);
        let sealed = to_us(SUITE, false, SPI_A).seal(u64::from(ttl) + 1, &inner, 4);
        world.receive(OUTSIDE, &[esp_frame(&sealed, UDP)]);
        let esp = world.sent_esp();
        let opened = from_us(SUITE, false).open(u64::from(ttl) + 1, &esp).unwrap();
        let error = ipv4::Packet::parse(&opened).unwrap();
        assert_eq!((error.source(), error.destination()), (INSIDE_GATEWAY, CLIENT_A));
        assert_eq!(icmp::Message::parse(error.payload()), Some(icmp::Message { kind: 11, code: 0 }));
        assert_eq!(error.payload()[8..], inner);
    }
    assert_eq!((world.drops(), world.flow(Flow::IcmpErrors)), (vec![(Drop::TtlExceeded, 2)], 2));
}

#[test]
fn our_inside_address_answers_echo_through_the_tunnel() {
    let mut world = World::with_clients(SUITE, true, UDP);
    let inner = echo(CLIENT_A, INSIDE_GATEWAY, 33);
    world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, true, SPI_A).seal(1, &inner, 4), UDP)]);
    let opened = from_us(SUITE, true).open(1, &world.sent_esp()).unwrap();
    let reply = ipv4::Packet::parse(&opened).unwrap();
    assert_eq!((reply.source(), reply.destination()), (INSIDE_GATEWAY, CLIENT_A));
    assert_eq!(icmp::Message::parse(reply.payload()), Some(icmp::Message { kind: 0, code: 0 }));
    assert_eq!(world.flow(Flow::IcmpEchoReplies), 1);
}

#[test]
fn one_client_reaches_another() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let inner = echo(CLIENT_A, CLIENT_B, 33);
    world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &inner, 4), UDP)]);
    let opened = from_us(SUITE, false).open(1, &world.sent_esp()).unwrap();
    assert_eq!(opened[..inner.len()], forwarded(&inner));
    assert_eq!((world.flow(Flow::Hairpinned), world.drops()), (1, vec![]));
}

#[test]
fn congestion_marks_come_through() {
    for (outer, inner_tos, expected) in
        [(3, 1, 3), (3, 2, 3), (3, 0, 0), (0, 2, 2), (0xb8 | 3, 0x28 | 2, 0x28 | 3)]
    {
        let mut world = World::with_clients(SUITE, false, Encapsulation::Esp);
        let inner = ip_with(CLIENT_A, HOST, 17, &[7; 40], |header| header.tos = inner_tos);
        let esp = to_us(SUITE, false, SPI_A).seal(1, &inner, 4);
        let packet = ip_with(PEER, GATEWAY, ipv4::PROTOCOL_ESP, &esp, |header| header.tos = outer);
        world.receive(OUTSIDE, &[frame(OUTSIDE, &packet)]);
        let sent = world.sent(INSIDE);
        assert_eq!(ipv4::Packet::parse(&sent).unwrap().tos(), expected, "{outer} {inner_tos}");
    }
}

#[test]
fn limits_are_announced_once_and_then_enforced() {
    let mut world = World::new();
    let limits = SaLimits { soft_packets: 2, hard_packets: 4, ..SaLimits::default() };
    world.install(SaPair { limits, ..pair(SUITE, false, UDP) });
    for sequence in 1..=6 {
        let inner = echo(CLIENT_A, HOST, 1);
        world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(sequence, &inner, 4), UDP)]);
    }
    let inbound_spi = SPI_A;
    assert_eq!(
        world.record.events,
        [
            Event::FirstInbound { inbound_spi },
            Event::SoftExpired { inbound_spi },
            Event::HardExpired { inbound_spi }
        ]
    );
    assert_eq!((world.record.tx.len(), world.drops()), (4, vec![(Drop::SaExpired, 2)]));
    world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
    assert_eq!(world.dropped(Drop::SaExpired), 3);
}

#[test]
fn events_that_find_the_ring_full_come_later_in_order() {
    let mut world = World::with_clients(SUITE, false, UDP);
    world.record.full = true;
    for spi in [SPI_B, SPI_A] {
        let source = if spi == SPI_A { CLIENT_A } else { CLIENT_B };
        let inner = echo(source, HOST, 1);
        world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, spi).seal(1, &inner, 4), UDP)]);
    }
    world.tick(100);
    assert_eq!(world.record.events, []);
    world.record.full = false;
    world.tick(100);
    let first = |inbound_spi| Event::FirstInbound { inbound_spi };
    assert_eq!(world.record.events, [first(SPI_B), first(SPI_A)]);
}

#[test]
fn an_unknown_spi_is_reported_at_a_limited_rate() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let spi = SPI_A ^ 0x8000_0000;
    let frames: Vec<_> =
        (1..=100).map(|n| esp_frame(&to_us(SUITE, false, spi).seal(n, &[0; 20], 4), UDP)).collect();
    world.receive(OUTSIDE, &frames);
    assert_eq!(world.drops(), [(Drop::UnknownSpi, 100)]);
    assert_eq!(world.record.events, vec![Event::InvalidSpi { spi, source: PEER.into() }; 10]);
}

#[test]
fn a_removed_sa_is_gone_and_its_slot_free() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let again = pair(SUITE, false, UDP);
    assert_eq!(world.apply(Operation::Install(WorkerSa::new(&again).unwrap())), AckStatus::SlotInUse);
    assert_eq!(world.apply(Operation::Remove { inbound_spi: SPI_A ^ 0x4000_0000 }), AckStatus::NoSuchSa);
    assert_eq!(world.apply(Operation::Remove { inbound_spi: SPI_A }), AckStatus::Done);
    world.receive(
        OUTSIDE,
        &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &echo(CLIENT_A, HOST, 1), 4), UDP)],
    );
    world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
    assert_eq!(world.drops(), [(Drop::UnknownSpi, 1), (Drop::NoSession, 1)]);
    assert_eq!(world.apply(Operation::Install(WorkerSa::new(&again).unwrap())), AckStatus::Done);
    assert_eq!(world.apply(Operation::RemoveAll(Tables::new(1024, 1))), AckStatus::Done);
    assert_eq!(world.apply(Operation::Remove { inbound_spi: SPI_B }), AckStatus::NoSuchSa);
}

#[test]
fn a_description_out_of_range_is_refused() {
    type Edit = fn(&mut SaPair);
    let edits: [(&str, Edit); 7] = [
        ("reserved SPI", |p| p.inbound_spi = 255),
        ("reserved outbound SPI", |p| p.outbound_spi = 0),
        ("window", |p| p.replay_window = 4097),
        ("first sequence 0", |p| p.first_outbound_sequence = 0),
        ("sequence beyond 32 bits", |p| p.first_outbound_sequence = 1 << 32),
        ("no selectors", |p| p.peer_selectors.clear()),
        ("too many selectors", |p| p.local_selectors = vec![selector(CLIENT_A, CLIENT_A); 17]),
    ];
    for (name, edit) in edits {
        let mut pair = pair(SUITE, false, UDP);
        edit(&mut pair);
        assert_eq!(WorkerSa::new(&pair).err(), Some(AckStatus::OutOfRange), "{name}");
    }
}

#[test]
fn wide_selectors_still_do_not_lend_the_gateways_or_an_impossible_source() {
    let everything = selector(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    for source in [INSIDE_GATEWAY, GATEWAY, Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 1)] {
        let mut world = World::new();
        world.install(SaPair { peer_selectors: vec![everything], ..pair(SUITE, false, UDP) });
        let inner = echo(source, HOST, 1);
        world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &inner, 4), UDP)]);
        assert_eq!(world.drops(), [(Drop::SelectorMismatch, 1)], "{source}");
    }
}

#[test]
fn a_packet_to_another_port_of_ours_moves_nobody() {
    let mut world = World::new();
    let encapsulation = Encapsulation::Udp { local_port: 4501, peer_port: PEER_PORT };
    world.install(SaPair { encapsulation, ..pair(SUITE, false, UDP) });
    let esp = to_us(SUITE, false, SPI_A).seal(1, &echo(CLIENT_A, HOST, 1), 4);
    world.receive(OUTSIDE, &[frame(OUTSIDE, &esp_packet(&esp, UDP, PEER, PEER_PORT + 1))]);
    assert_eq!((world.record.events.len(), world.record.tx.len()), (1, 1), "taken, not followed");
}
