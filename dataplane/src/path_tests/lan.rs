//! ARP, ICMP to us, IKE both ways.

use std::net::Ipv4Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{arp, ethernet, icmp, ipv4, udp};
use causeway_shared::sa::EspSuite;
use causeway_shared::wire::Datagram;

use super::world::*;

const SUITE: EspSuite = EspSuite::Aes128Gcm16;

fn arp_of(frame: &[u8]) -> (ethernet::Header, arp::Message) {
    (ethernet::Header::parse(frame).unwrap(), arp::Message::parse(&frame[ethernet::HEADER_LEN..]).unwrap())
}

#[test]
fn arp_for_us_and_for_clients_in_our_subnet_is_answered() {
    let mut config = config();
    // The LAN holds the pool.
    config.ports[1].address = Ipv4Addr::new(10, 9, 0, 1);
    config.ports[1].prefix_len = 16;
    config.routes.truncate(1);
    let host = Ipv4Addr::new(10, 9, 1, 9);
    for (name, port, sender, target, answered) in [
        ("our address", INSIDE, host, Ipv4Addr::new(10, 9, 0, 1), true),
        ("our other port's address", INSIDE, host, GATEWAY, false),
        ("a client", INSIDE, host, CLIENT_A, true),
        ("a vacant pool address", INSIDE, host, Ipv4Addr::new(10, 9, 0, 77), false),
        ("somebody else", INSIDE, host, Ipv4Addr::new(10, 9, 1, 10), false),
        ("a client, asked from outside", OUTSIDE, PEER, CLIENT_A, false),
        ("a probe for our address", INSIDE, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 9, 0, 1), true),
        ("a client announcing itself", INSIDE, CLIENT_A, CLIENT_A, false),
    ] {
        let mut world = World::silent(config.clone());
        world.install(pair(SUITE, false, UDP));
        world.receive(port, &[arp_frame(port, arp::Operation::Request, sender, target)]);
        let sent = std::mem::take(&mut world.record.tx);
        assert_eq!(!sent.is_empty(), answered, "{name}");
        for (to, frame) in sent {
            let (header, message) = arp_of(&frame);
            assert_eq!((to, header.destination), (port, NEIGHBOUR_MAC));
            assert_eq!(message.operation, arp::Operation::Reply);
            assert_eq!((message.sender_mac, message.sender), (OUR_MAC[usize::from(port.0)], target));
            assert_eq!((message.target_mac, message.target), (NEIGHBOUR_MAC, sender));
        }
    }
}

#[test]
fn nobody_takes_our_address_or_speaks_for_another_subnet() {
    let mut world = World::new();
    for sender in [INSIDE_GATEWAY, GATEWAY, Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(224, 0, 0, 1)] {
        world.receive(INSIDE, &[arp_frame(INSIDE, arp::Operation::Reply, sender, INSIDE_GATEWAY)]);
    }
    assert_eq!(world.drops(), [(Drop::BadArp, 4)]);
}

#[test]
fn packets_wait_for_arp_and_leave_in_order() {
    let mut world = World::silent(config());
    world.install(pair(SUITE, false, UDP));
    let inner: Vec<_> = (0..3).map(|n| echo(CLIENT_A, HOST, n)).collect();
    let frames: Vec<_> =
        (1..).zip(&inner).map(|(n, p)| esp_frame(&to_us(SUITE, false, SPI_A).seal(n, p, 4), UDP)).collect();
    world.receive(OUTSIDE, &frames);
    let sent = std::mem::take(&mut world.record.tx);
    assert_eq!(sent.len(), 1);
    let (header, message) = arp_of(&sent[0].1);
    assert_eq!((header.destination, message.operation), (ethernet::BROADCAST, arp::Operation::Request));
    assert_eq!((message.sender, message.target), (INSIDE_GATEWAY, HOST));
    assert_eq!(world.path.waiting(), 3);
    world.receive(INSIDE, &[arp_frame(INSIDE, arp::Operation::Reply, HOST, INSIDE_GATEWAY)]);
    let sent: Vec<_> = world.record.tx.iter().map(|(port, frame)| strip(*port, frame)).collect();
    assert_eq!(sent, inner.iter().map(|packet| forwarded(packet)).collect::<Vec<_>>());
    assert_eq!((world.path.waiting(), world.drops()), (0, vec![]));
}

#[test]
fn a_silent_neighbour_is_asked_three_times_and_its_packets_are_dropped() {
    let mut world = World::silent(config());
    world.install(pair(SUITE, false, UDP));
    let frames: Vec<_> = (1..=9)
        .map(|n| esp_frame(&to_us(SUITE, false, SPI_A).seal(n, &echo(CLIENT_A, HOST, 1), 4), UDP))
        .collect();
    world.receive(OUTSIDE, &frames);
    assert_eq!(world.drops(), [(Drop::NoNeighbour, 1)], "the ninth does not fit");
    for _ in 0..40 {
        world.tick(100);
    }
    assert_eq!((world.flow(Flow::ArpRequests), world.record.tx.len()), (3, 3));
    assert_eq!((world.path.waiting(), world.drops()), (0, vec![(Drop::NoNeighbour, 9)]));
}

#[test]
fn our_addresses_are_announced() {
    let mut world = World::silent(config());
    world.path.announce(world.now, &mut world.record);
    let said: Vec<_> = world.record.tx.iter().map(|(_, frame)| arp_of(frame).1).collect();
    assert!(said.iter().all(|message| message.sender == message.target));
    assert_eq!(said.iter().map(|m| m.sender).collect::<Vec<_>>(), [GATEWAY, INSIDE_GATEWAY]);
}

#[test]
fn echo_to_our_addresses_is_answered_on_the_side_it_came_from() {
    let mut world = World::new();
    for (port, from, to) in
        [(INSIDE, HOST, INSIDE_GATEWAY), (OUTSIDE, PEER, GATEWAY), (INSIDE, HOST, GATEWAY)]
    {
        let request = echo(from, to, 56);
        world.receive(port, &[frame(port, &request)]);
        let sent = world.sent(port);
        let reply = ipv4::Packet::parse(&sent).unwrap();
        assert_eq!((reply.source(), reply.destination(), reply.ttl()), (to, from, 64));
        assert_eq!(icmp::Message::parse(reply.payload()), Some(icmp::Message { kind: 0, code: 0 }));
        assert_eq!(reply.payload()[4..], request[24..]);
    }
    assert_eq!(world.flow(Flow::IcmpEchoReplies), 3);
}

#[test]
fn ike_goes_up_with_and_without_marker() {
    let mut world = World::new();
    let marked = [&[0; 4][..], b"ike message"].concat();
    world.receive(
        OUTSIDE,
        &[
            frame(OUTSIDE, &udp_packet((PEER, 500), (GATEWAY, 500), b"ike message", true)),
            frame(OUTSIDE, &udp_packet((PEER, PEER_PORT), (GATEWAY, 4500), &marked, true)),
            frame(OUTSIDE, &udp_packet((PEER, PEER_PORT), (GATEWAY, 4500), &marked, false)),
            frame(OUTSIDE, &udp_packet((PEER, PEER_PORT), (GATEWAY, 4500), &[0xff], false)),
        ],
    );
    let message = b"ike message".to_vec();
    assert_eq!(
        world.record.punts,
        [
            (GATEWAY.into(), 500, PEER.into(), 500, message.clone()),
            (GATEWAY.into(), 4500, PEER.into(), PEER_PORT, message.clone()),
            (GATEWAY.into(), 4500, PEER.into(), PEER_PORT, message),
        ]
    );
    assert_eq!((world.flow(Flow::PuntedIke), world.flow(Flow::NatKeepalives)), (3, 1));
    assert_eq!(world.drops(), []);
}

#[test]
fn ike_goes_out_whole_or_in_fragments() {
    for (local_port, peer_port, len) in
        [(500, 500, 100), (4500, PEER_PORT, 100), (4500, PEER_PORT, 4001), (500, 1, 16_000)]
    {
        let mut world = World::new();
        let payload: Vec<u8> = (0..len).map(|n: usize| (n * 7) as u8).collect();
        let datagram = Datagram {
            local: GATEWAY.into(),
            local_port,
            peer: PEER.into(),
            peer_port,
            payload: payload.clone(),
        };
        assert_eq!(world.path.send_datagram(world.now, &datagram, &mut world.record), Ok(()));
        let mut together = Vec::new();
        let sent = std::mem::take(&mut world.record.tx);
        for (index, (port, frame)) in sent.iter().enumerate() {
            let packet = strip(*port, frame);
            let piece = ipv4::Packet::parse(&packet).unwrap();
            assert!(packet.len() <= 1500 && piece.fragment_offset() == together.len());
            assert_eq!(piece.more_fragments(), index + 1 < sent.len());
            assert_eq!((piece.source(), piece.destination()), (GATEWAY, PEER));
            together.extend_from_slice(piece.payload());
        }
        let received = udp::Datagram::parse(&together).unwrap();
        assert_eq!((received.source_port(), received.destination_port()), (local_port, peer_port));
        assert!(together[6..8] != [0, 0] && received.checksum_is_right(GATEWAY, PEER));
        let marker: &[u8] = if local_port == 4500 { &[0; 4] } else { &[] };
        assert_eq!(received.payload(), [marker, &payload].concat());
        assert_eq!((world.flow(Flow::SentIke), world.drops()), (1, vec![]));
    }
}

#[test]
fn ike_from_an_address_that_is_not_ours_does_not_leave() {
    let mut world = World::new();
    let datagram =
        Datagram { local: HOST.into(), local_port: 500, peer: PEER.into(), peer_port: 500, payload: vec![1] };
    assert_eq!(world.path.send_datagram(world.now, &datagram, &mut world.record), Err(Drop::PolicyDenied));
    let datagram = Datagram { local: GATEWAY.into(), local_port: 53, ..datagram };
    assert_eq!(world.path.send_datagram(world.now, &datagram, &mut world.record), Err(Drop::PolicyDenied));
    assert_eq!((world.record.tx.len(), world.dropped(Drop::PolicyDenied)), (0, 2));
}

#[test]
fn each_host_gets_its_own_packets_and_after_a_change_of_its_ethernet_address_too() {
    let [other, beyond] = [Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 77, 0, 9)];
    let mut world = World::silent(config());
    world.install(pair(SUITE, false, UDP));
    let mut number = 0;
    // What a host says of itself, and where packets to these go then.
    for (speaker, last_octet, destinations) in [
        (HOST, 1, vec![(HOST, Some(1)), (HOST, Some(1))]),
        (other, 2, vec![(HOST, Some(1)), (other, Some(2)), (other, Some(2)), (HOST, Some(1))]),
        (Ipv4Addr::new(10, 0, 0, 254), 3, vec![(beyond, Some(3)), (HOST, Some(1)), (beyond, Some(3))]),
        (
            HOST,
            4,
            vec![(HOST, Some(4)), (other, Some(2)), (Ipv4Addr::new(10, 0, 0, 255), None), (HOST, Some(4))],
        ),
    ] {
        let mac = [2, 0, 0, 0, 9, last_octet];
        let mut said = arp_frame(INSIDE, arp::Operation::Reply, speaker, INSIDE_GATEWAY);
        said[6..12].copy_from_slice(&mac);
        said[22..28].copy_from_slice(&mac);
        world.receive(INSIDE, &[said]);
        world.record.tx.clear();
        let mut frames = Vec::new();
        for (destination, _) in &destinations {
            number += 1;
            let sealed = to_us(SUITE, false, SPI_A).seal(number, &echo(CLIENT_A, *destination, 8), 4);
            frames.push(esp_frame(&sealed, UDP));
        }
        world.receive(OUTSIDE, &frames);
        let sent = std::mem::take(&mut world.record.tx);
        let went: Vec<_> = sent.iter().map(|(_, frame)| frame[5]).collect();
        let wanted = destinations.iter().filter_map(|(_, octet)| *octet);
        assert_eq!(went, wanted.collect::<Vec<_>>(), "after {speaker}");
    }
    assert_eq!(world.drops(), [(Drop::PolicyDenied, 1)]);
}
