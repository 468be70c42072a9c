//! Neighbour discovery and ICMPv6 to us.

use std::net::Ipv6Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ethernet, icmp6, ipv6, ndp};
use causeway_shared::sa::EspSuite;

use super::world::*;
use super::world6::*;
use crate::path::*;
use crate::sink::Handoff;

const SUITE: EspSuite = EspSuite::Aes128Gcm16;

fn message_of(frame: &[u8]) -> (ethernet::Header, Ipv6Addr, Ipv6Addr, ndp::Message) {
    let packet = ipv6::Packet::parse(&frame[ethernet::HEADER_LEN..]).unwrap();
    let message = ndp::Message::parse(&packet).unwrap();
    (ethernet::Header::parse(frame).unwrap(), packet.source(), packet.destination(), message)
}

#[test]
fn solicitations_for_our_addresses_are_answered_and_no_others() {
    let link_local = ndp::link_local(OUR_MAC[1]);
    let neighbour: Ipv6Addr = "fe80::9".parse().unwrap();
    for (name, port, from, target, answered) in [
        ("our address", INSIDE, HOST6, INSIDE_GATEWAY6, true),
        ("our link-local address", INSIDE, neighbour, link_local, true),
        ("our other port's address", INSIDE, HOST6, GATEWAY6, false),
        ("our other port's link-local address", OUTSIDE, neighbour, link_local, false),
        ("a client", INSIDE, HOST6, CLIENT_A6, false),
        ("another host", INSIDE, HOST6, "fd00::10".parse().unwrap(), false),
    ] {
        let mut world = World::silent(config6());
        world.connect6(dual(SPI_A, SUITE, UDP));
        world.receive(port, &[ndp_frame(port, &ndp::solicitation(from, NEIGHBOUR_MAC, target, false))]);
        let sent = std::mem::take(&mut world.record.tx);
        assert_eq!((sent.len(), world.drops()), (usize::from(answered), vec![]), "{name}");
        for (to, frame) in sent {
            let (header, source, destination, message) = message_of(&frame);
            let mac = OUR_MAC[usize::from(port.0)];
            assert_eq!(
                (to, header.destination, source, destination),
                (port, NEIGHBOUR_MAC, target, from),
                "{name}"
            );
            assert_eq!(
                message,
                ndp::Message::Advertisement { target, mac, solicited: true, overrides: true }
            );
        }
    }
}

#[test]
fn who_wants_an_address_of_ours_hears_that_it_is_taken() {
    let mut world = World::six(config6());
    world.receive(INSIDE, &[ndp_frame(INSIDE, &ndp::probe(INSIDE_GATEWAY6))]);
    let [(_, frame)] = &world.record.tx[..] else { panic!("one answer") };
    let (header, _, destination, message) = message_of(frame);
    assert_eq!((header.destination, destination), ([0x33, 0x33, 0, 0, 0, 1], ndp::ALL_NODES));
    assert!(matches!(message, ndp::Message::Advertisement { target: INSIDE_GATEWAY6, solicited: false, .. }));
    // Who has one already, or speaks for another link, is counted.
    for packet in [
        ndp::advertisement(INSIDE_GATEWAY6, NEIGHBOUR_MAC, ndp::ALL_NODES),
        ndp::solicitation(INSIDE_GATEWAY6, NEIGHBOUR_MAC, HOST6, false),
        ndp::solicitation(PEER6, NEIGHBOUR_MAC, INSIDE_GATEWAY6, false),
        ndp::solicitation(HOST6, [0xff; 6], INSIDE_GATEWAY6, false),
    ] {
        world.receive(INSIDE, &[ndp_frame(INSIDE, &packet)]);
    }
    assert_eq!(world.drops(), [(Drop::BadNeighbourDiscovery, 4)]);
}

#[test]
fn what_a_router_passed_on_is_not_believed() {
    let mut world = World::six(config6());
    let mut packet = ndp::solicitation(HOST6, NEIGHBOUR_MAC, INSIDE_GATEWAY6, false).to_vec();
    packet[7] = 254;
    world.receive(INSIDE, &[ndp_frame(INSIDE, &packet)]);
    assert_eq!((world.record.tx.len(), world.drops()), (0, vec![(Drop::BadNeighbourDiscovery, 1)]));
}

#[test]
fn packets_wait_for_an_advertisement_and_leave_in_order() {
    let mut world = World::silent(config6());
    world.connect6(dual(SPI_A, SUITE, UDP));
    let inner: Vec<_> = (0..3).map(|n| echo6(CLIENT_A6, HOST6, n)).collect();
    let sealed = (1..).zip(&inner).map(|(n, packet)| to_us(SUITE, false, SPI_A).seal(n, packet, 41));
    let frames: Vec<_> = sealed.map(|packet| esp_frame(&packet, UDP)).collect();
    world.receive(OUTSIDE, &frames);
    let [(port, asked)] = &std::mem::take(&mut world.record.tx)[..] else { panic!("one question") };
    let (header, source, destination, message) = message_of(asked);
    assert_eq!((*port, header.destination), (INSIDE, [0x33, 0x33, 0xff, 0, 0, 9]));
    assert_eq!((source, destination), (INSIDE_GATEWAY6, "ff02::1:ff00:9".parse().unwrap()));
    assert_eq!(message, ndp::Message::Solicitation { target: HOST6, from: Some(OUR_MAC[1]) });
    assert_eq!(world.path.waiting(), 3);
    world.receive(INSIDE, &[ndp_frame(INSIDE, &ndp::advertisement(HOST6, NEIGHBOUR_MAC, INSIDE_GATEWAY6))]);
    let sent: Vec<_> = world.record.tx.iter().map(|(port, frame)| strip(*port, frame)).collect();
    assert_eq!(sent, inner.iter().map(|packet| forwarded6(packet)).collect::<Vec<_>>());
    assert_eq!((world.path.waiting(), world.drops()), (0, vec![]));
}

#[test]
fn a_silent_neighbour_is_asked_three_times_and_one_in_use_is_asked_again() {
    let mut world = World::silent(config6());
    world.connect6(dual(SPI_A, SUITE, UDP));
    let sealed = |n| esp_frame(&to_us(SUITE, false, SPI_A).seal(n, &echo6(CLIENT_A6, HOST6, 1), 41), UDP);
    world.receive(OUTSIDE, &(1..=9).map(sealed).collect::<Vec<_>>());
    assert_eq!(world.drops(), [(Drop::NoNeighbour, 1)], "the ninth does not fit");
    for _ in 0..40 {
        world.tick(100);
    }
    assert_eq!((world.flow(Flow::NeighbourSolicitations), world.path.waiting()), (3, 0));
    assert_eq!(world.drops(), [(Drop::NoNeighbour, 9)]);

    let mut world = World::dual_stack(SUITE, UDP);
    world.receive(OUTSIDE, &[sealed(1)]);
    world.record.tx.clear();
    world.tick(30_000);
    let asked: Vec<_> = world.record.tx.iter().filter(|(_, frame)| frame[12..14] == [0x86, 0xdd]).collect();
    let [(_, asked)] = &asked[..] else { panic!("one question") };
    let (header, _, destination, _) = message_of(asked);
    assert_eq!((header.destination, destination), (NEIGHBOUR_MAC, HOST6), "it is asked itself");
}

#[test]
fn workers_tell_each_other_and_our_addresses_are_announced() {
    let mut world = World::silent(PathConfig { workers: 2, ..config6() });
    world.receive(
        INSIDE,
        &[ndp_frame(INSIDE, &ndp::solicitation(HOST6, NEIGHBOUR_MAC, INSIDE_GATEWAY6, false))],
    );
    let (to, item) = world.record.handoffs.pop().unwrap();
    assert!(matches!(item, Handoff::Neighbour6 { port: INSIDE, address: HOST6, mac: NEIGHBOUR_MAC }));
    assert_eq!(to, 1);

    let mut world = World::silent(config6());
    world.path.announce(world.now, &mut world.record);
    let said: Vec<_> = world
        .record
        .tx
        .iter()
        .filter(|(_, frame)| frame[12..14] == [0x86, 0xdd])
        .map(|(_, f)| message_of(f).3)
        .collect();
    for address in [GATEWAY6, ndp::link_local(OUR_MAC[0]), INSIDE_GATEWAY6, ndp::link_local(OUR_MAC[1])] {
        assert!(said.contains(&ndp::Message::Solicitation { target: address, from: None }), "{address}");
        let told = |message: &ndp::Message| matches!(message, ndp::Message::Advertisement { target, .. } if *target == address);
        assert!(said.iter().any(told), "{address}");
    }
}

#[test]
fn echo_to_our_addresses_is_answered_on_the_side_it_came_from() {
    let mut world = World::six(config6());
    let neighbour: Ipv6Addr = "fe80::77".parse().unwrap();
    let ours = ndp::link_local(OUR_MAC[1]);
    world.receive(INSIDE, &[ndp_frame(INSIDE, &ndp::solicitation(neighbour, NEIGHBOUR_MAC, ours, false))]);
    world.record = Record::default();
    for (port, from, to) in [
        (INSIDE, HOST6, INSIDE_GATEWAY6),
        (OUTSIDE, PEER6, GATEWAY6),
        (INSIDE, HOST6, GATEWAY6),
        (INSIDE, neighbour, ours),
    ] {
        let request = echo6(from, to, 56);
        world.receive(port, &[frame6(port, &request)]);
        let sent = world.sent(port);
        let reply = ipv6::Packet::parse(&sent).unwrap();
        assert_eq!((reply.source(), reply.destination(), reply.hop_limit()), (to, from, 64));
        assert_eq!(icmp6::checksum(to, from, &[reply.upper_layer()]), 0);
        assert_eq!((reply.upper_layer()[0], &reply.upper_layer()[4..]), (129, &request[44..]));
    }
    assert_eq!((world.flow(Flow::IcmpEchoReplies), world.drops()), (4, vec![]));
}
