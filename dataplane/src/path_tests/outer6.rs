//! IPv6 outside: ESP with and without UDP, IKE both ways, peers that move, paths that are narrower than our port.

use std::net::{IpAddr, Ipv6Addr};

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp6, ipv6, ndp, udp};
use causeway_shared::sa::{Encapsulation, EspSuite, SaPair};
use causeway_shared::wire::{AckStatus, Datagram, Event};

use super::world::*;
use super::world6::*;
use crate::path::*;

const SUITE: EspSuite = EspSuite::Aes256Gcm16;
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbeef, 0, 0, 0, 0, 7);

/// `dual`, with the peer over IPv6.
pub(super) fn over6(spi: u32, suite: EspSuite, encapsulation: Encapsulation) -> SaPair {
    let mut pair = dual(spi, suite, encapsulation);
    (pair.local_outer, pair.peer_outer) = (GATEWAY6.into(), PEER6.into());
    pair
}

fn world(suite: EspSuite, encapsulation: Encapsulation) -> World {
    let mut world = World::six(config6());
    world.connect6(over6(SPI_A, suite, encapsulation));
    world
}

fn udp6(source: (Ipv6Addr, u16), destination: (Ipv6Addr, u16), payload: &[u8], summed: bool) -> Vec<u8> {
    let length = (udp::HEADER_LEN + payload.len()) as u16;
    let unsummed = udp::header(source.1, destination.1, length, 0);
    let sum = udp::checksum6(source.0, destination.0, &unsummed, &[payload]);
    let header = udp::header(source.1, destination.1, length, if summed { sum } else { 0 });
    ip6(source.0, destination.0, 17, &[&header[..], payload].concat())
}

/// ESP from a peer over IPv6 to us.
pub(super) fn esp6(esp: &[u8], encapsulation: Encapsulation, peer: Ipv6Addr, peer_port: u16) -> Vec<u8> {
    let packet = match encapsulation {
        Encapsulation::Esp => ip6(peer, GATEWAY6, 50, esp),
        Encapsulation::Udp { .. } => udp6((peer, peer_port), (GATEWAY6, 4500), esp, true),
    };
    frame6(OUTSIDE, &packet)
}

/// Checks the outer headers of a packet to `peer` and strips them.
fn esp_of6(packet: &[u8], peer: (Ipv6Addr, u16)) -> Vec<u8> {
    let outer = ipv6::Packet::parse(packet).unwrap();
    assert_eq!((outer.source(), outer.destination(), outer.hop_limit()), (GATEWAY6, peer.0, 64));
    assert_eq!((outer.total_len(), outer.has_extensions()), (packet.len(), false));
    if outer.protocol() == 50 {
        return outer.upper_layer().to_vec();
    }
    let datagram = udp::Datagram::parse(outer.upper_layer()).unwrap();
    assert_eq!((datagram.source_port(), datagram.destination_port()), (4500, peer.1));
    assert!(datagram.checksum_is_right6(GATEWAY6, peer.0));
    datagram.payload().to_vec()
}

#[test]
fn every_suite_both_ways_with_either_family_inside() {
    for suite in EspSuite::ALL {
        for encapsulation in [Encapsulation::Esp, UDP] {
            let mut world = world(suite, encapsulation);
            let mut sequence = 0;
            for len in [0, 1, 13, 14, 15, 500, 1300] {
                sequence += 1;
                let out = echo6(CLIENT_A6, HOST6, len);
                let sealed = to_us(suite, false, SPI_A).seal(sequence, &out, 41);
                world.receive(OUTSIDE, &[esp6(&sealed, encapsulation, PEER6, PEER_PORT)]);
                assert_eq!(world.sent(INSIDE), forwarded6(&out), "{suite} {encapsulation:?} {len}");
                let back = echo6(HOST6, CLIENT_A6, len);
                world.receive(INSIDE, &[frame6(INSIDE, &back)]);
                let opened =
                    from_us(suite, false).open(sequence, &esp_of6(&world.sent(OUTSIDE), (PEER6, PEER_PORT)));
                assert_eq!(opened.unwrap()[..back.len()], forwarded6(&back));
            }
            let out = echo(CLIENT_A, HOST, 9);
            let sealed = to_us(suite, false, SPI_A).seal(sequence + 1, &out, 4);
            world.receive(OUTSIDE, &[esp6(&sealed, encapsulation, PEER6, PEER_PORT)]);
            assert_eq!(world.sent(INSIDE), forwarded(&out));
            let back = ip_with(HOST, CLIENT_A, 17, &[7; 30], |header| header.tos = 0xb9);
            world.receive(INSIDE, &[frame(INSIDE, &back)]);
            let sent = world.sent(OUTSIDE);
            assert_eq!(ipv6::Packet::parse(&sent).unwrap().traffic_class(), 0xb9);
            assert!(from_us(suite, false).open(sequence + 1, &esp_of6(&sent, (PEER6, PEER_PORT))).is_some());
            assert_eq!((world.flow(Flow::EspOutPackets), world.drops()), (8, vec![]));
        }
    }
}

#[test]
fn esp_in_udp_without_a_checksum_is_taken_and_ike_without_one_is_not() {
    let mut world = world(SUITE, UDP);
    let sealed = to_us(SUITE, false, SPI_A).seal(1, &echo6(CLIENT_A6, HOST6, 1), 41);
    let unsummed = udp6((PEER6, PEER_PORT), (GATEWAY6, 4500), &sealed, false);
    world.receive(OUTSIDE, &[frame6(OUTSIDE, &unsummed)]);
    assert_eq!(world.sent(INSIDE), forwarded6(&echo6(CLIENT_A6, HOST6, 1)));
    let marked = [&[0; 4][..], b"ike message"].concat();
    let (natt, plain) = ((PEER6, PEER_PORT), (PEER6, 500));
    for packet in [
        udp6(plain, (GATEWAY6, 500), b"ike message", true),
        udp6(natt, (GATEWAY6, 4500), &marked, true),
        udp6(natt, (GATEWAY6, 4500), &[0xff], false),
        udp6(natt, (GATEWAY6, 4500), &marked, false),
        udp6(plain, (GATEWAY6, 500), b"ike message", false),
    ] {
        world.receive(OUTSIDE, &[frame6(OUTSIDE, &packet)]);
    }
    let (ours, theirs) = (IpAddr::from(GATEWAY6), IpAddr::from(PEER6));
    let message = b"ike message".to_vec();
    assert_eq!(
        world.record.punts,
        [(ours, 500, theirs, 500, message.clone()), (ours, 4500, theirs, PEER_PORT, message)]
    );
    assert_eq!((world.flow(Flow::NatKeepalives), world.drops()), (1, vec![(Drop::BadUdp, 2)]));
}

#[test]
fn extension_headers_are_walked_and_what_is_nothing_of_ours_is_refused() {
    let sealed = to_us(SUITE, false, SPI_A).seal(1, &echo6(CLIENT_A6, HOST6, 1), 41);
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let mut good = world(SUITE, Encapsulation::Esp);
    let long = [&options(60)[..], &options(50), &sealed].concat();
    good.receive(OUTSIDE, &[frame6(OUTSIDE, &ip6(PEER6, GATEWAY6, 0, &long))]);
    assert_eq!(good.sent(INSIDE), forwarded6(&echo6(CLIENT_A6, HOST6, 1)));
    let unknown = [&(SPI_A + 9).to_be_bytes()[..], &sealed[4..]].concat();
    let first = [&[50, 0, 0, 1, 0, 0, 0, 1][..], &sealed].concat();
    for (name, packet, reason) in [
        ("unknown SPI", ip6(PEER6, GATEWAY6, 50, &unknown), Drop::UnknownSpi),
        ("forged", ip6(PEER6, GATEWAY6, 50, &[&sealed[..20], &[9; 60]].concat()), Drop::BadIcv),
        ("another port", udp6((PEER6, 53), (GATEWAY6, 53), b"x", true), Drop::NotForUs),
        ("UDP length", ip6(PEER6, GATEWAY6, 17, &[1, 244, 1, 244, 0, 99, 0, 0]), Drop::BadUdp),
        ("TCP", ip6(PEER6, GATEWAY6, 6, &[0; 20]), Drop::NotForUs),
        ("a piece", ip6(PEER6, GATEWAY6, 44, &first), Drop::Ipv6Fragment),
        ("not ours", ip6(PEER6, OTHER6, 50, &sealed), Drop::PolicyDenied),
        ("too many headers", ip6(PEER6, GATEWAY6, 60, &options(60).repeat(12)), Drop::BadIpv6Header),
    ] {
        let mut world = world(SUITE, Encapsulation::Esp);
        world.receive(OUTSIDE, &[frame6(OUTSIDE, &packet)]);
        assert_eq!((world.record.tx.len(), world.drops()), (0, vec![(reason, 1)]), "{name}");
        let told = Event::InvalidSpi { spi: SPI_A + 9, source: PEER6.into() };
        assert_eq!(world.record.events.contains(&told), reason == Drop::UnknownSpi, "{name}");
    }
}

#[test]
fn a_peer_behind_a_nat_is_followed_when_it_moves_and_not_without_udp() {
    let mut world = world(SUITE, UDP);
    let seal = |n| to_us(SUITE, false, SPI_A).seal(n, &echo6(CLIENT_A6, HOST6, 1), 41);
    let router: Ipv6Addr = "2001:db8::fe".parse().unwrap();
    world.receive(OUTSIDE, &[esp6(&seal(1), UDP, PEER6, PEER_PORT)]);
    world.record = Record::default();
    world.receive(OUTSIDE, &[esp6(&seal(3), UDP, OTHER6, 7)]);
    let encapsulation = Encapsulation::Udp { local_port: 4500, peer_port: 7 };
    let event = Event::PeerMoved { inbound_spi: SPI_A, peer_outer: OTHER6.into(), encapsulation };
    assert_eq!(world.record.events, [event]);
    // A late packet from the old place leads nobody back.
    world.receive(OUTSIDE, &[esp6(&seal(2), UDP, PEER6, PEER_PORT)]);
    world.record = Record::default();
    world.receive(INSIDE, &[frame6(INSIDE, &echo6(HOST6, CLIENT_A6, 1))]);
    assert!(
        from_us(SUITE, false).open(1, &esp_of6(&world.sent(OUTSIDE), (OTHER6, 7))).is_some(),
        "by {router}"
    );

    let mut world = self::world(SUITE, Encapsulation::Esp);
    world.receive(OUTSIDE, &[esp6(&seal(1), Encapsulation::Esp, OTHER6, 0)]);
    assert!(!world.record.events.iter().any(|event| matches!(event, Event::PeerMoved { .. })));
}

#[test]
fn a_peer_moves_between_the_families() {
    let mut world = World::dual_stack(SUITE, UDP);
    let inner = echo6(HOST6, CLIENT_A6, 1);
    let mut sequence = 0;
    for (local, peer, encapsulation) in [
        (IpAddr::from(GATEWAY6), IpAddr::from(PEER6), Encapsulation::Esp),
        (GATEWAY6.into(), OTHER6.into(), UDP),
        (GATEWAY.into(), PEER.into(), UDP),
    ] {
        let (local_outer, peer_outer) = (local, peer);
        let operation = Operation::MovePeer { inbound_spi: SPI_A, local_outer, peer_outer, encapsulation };
        assert_eq!(world.apply(operation), AckStatus::Done);
        sequence += 1;
        world.receive(INSIDE, &[frame6(INSIDE, &inner)]);
        let sent = world.sent(OUTSIDE);
        let esp = match peer {
            IpAddr::V4(_) => esp_of(&sent),
            IpAddr::V6(peer) => esp_of6(&sent, (peer, PEER_PORT)),
        };
        assert!(from_us(SUITE, false).open(sequence, &esp).is_some(), "{peer}");
        let sealed = to_us(SUITE, false, SPI_A).seal(sequence, &echo6(CLIENT_A6, HOST6, 1), 41);
        let frame = match peer {
            IpAddr::V4(_) => esp_frame(&sealed, encapsulation),
            IpAddr::V6(peer) => esp6(&sealed, encapsulation, peer, PEER_PORT),
        };
        world.receive(OUTSIDE, &[frame]);
        assert_eq!(world.sent(INSIDE), forwarded6(&echo6(CLIENT_A6, HOST6, 1)));
    }
    assert!(!world.record.events.iter().any(|event| matches!(event, Event::PeerMoved { .. })));
    let (local_outer, peer_outer) = (GATEWAY.into(), PEER6.into());
    let mixed = Operation::MovePeer { inbound_spi: SPI_A, local_outer, peer_outer, encapsulation: UDP };
    assert_eq!((world.apply(mixed), world.drops()), (AckStatus::OutOfRange, vec![]));
}

#[test]
fn ike_goes_out_whole_or_in_fragments() {
    for (local_port, peer_port, len) in
        [(500, 500, 100), (4500, PEER_PORT, 1228), (4500, PEER_PORT, 1229), (500, 1, 16_000)]
    {
        let mut world = world(SUITE, UDP);
        let payload: Vec<u8> = (0..len).map(|n: usize| (n * 7) as u8).collect();
        let (local, peer) = (GATEWAY6.into(), PEER6.into());
        let datagram = Datagram { local, local_port, peer, peer_port, payload: payload.clone() };
        assert_eq!(world.path.send_datagram(world.now, &datagram, &mut world.record), Ok(()));
        let sent = std::mem::take(&mut world.record.tx);
        assert_eq!(sent.len() > 1, len > 1228);
        let mut together = Vec::new();
        for (port, frame) in &sent {
            let octets = strip(*port, frame);
            let piece = ipv6::Packet::parse(&octets).unwrap();
            assert_eq!((piece.source(), piece.destination(), piece.protocol()), (GATEWAY6, PEER6, 17));
            assert!(octets.len() <= 1280 && piece.is_fragment() == (sent.len() > 1));
            together.extend_from_slice(piece.upper_layer());
        }
        let received = udp::Datagram::parse(&together).unwrap();
        assert_eq!((received.source_port(), received.destination_port()), (local_port, peer_port));
        assert!(received.checksum_is_right6(GATEWAY6, PEER6));
        let marker: &[u8] = if local_port == 4500 { &[0; 4] } else { &[] };
        assert_eq!(received.payload(), [marker, &payload].concat());
        assert_eq!((world.flow(Flow::SentIke), world.drops()), (1, vec![]));
    }
    let mut world = world(SUITE, UDP);
    let (local, peer) = (HOST6.into(), PEER6.into());
    let datagram = Datagram { local, local_port: 500, peer, peer_port: 500, payload: vec![1] };
    assert_eq!(world.path.send_datagram(world.now, &datagram, &mut world.record), Err(Drop::PolicyDenied));
}

/// A router's word that a packet which begins with `quoted` was too big.
fn too_big(router: Ipv6Addr, mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let [m0, m1] = mtu.to_be_bytes();
    let message =
        [&[icmp6::PACKET_TOO_BIG, 0, 0, 0, 0, 0, m0, m1], &quoted[..quoted.len().min(1000)]].concat();
    frame6(OUTSIDE, &icmp6_packet(router, GATEWAY6, &message))
}

#[test]
fn a_narrow_path_is_learnt_from_who_saw_our_packet_and_forgotten_in_time() {
    let router: Ipv6Addr = "2001:db8:77::1".parse().unwrap();
    for (encapsulation, room, narrow) in [(Encapsulation::Esp, 1426, 1326), (UDP, 1418, 1318)] {
        let mut world = world(SUITE, encapsulation);
        let packet = |len: usize| frame6(INSIDE, &ip6(HOST6, CLIENT_A6, 17, &vec![9; len - 40]));
        world.receive(INSIDE, &[packet(room)]);
        let sent = world.sent(OUTSIDE);
        assert!(sent.len() <= 1500);
        // Who has not seen it is not believed: another SPI, another peer.
        let mut other_spi = sent.clone();
        let at = if encapsulation == Encapsulation::Esp { 40 } else { 48 };
        other_spi[at] ^= 1;
        let mut other_peer = sent.clone();
        other_peer[39] ^= 1;
        for quoted in [&other_spi, &other_peer] {
            world.receive(OUTSIDE, &[too_big(router, 1400, quoted)]);
        }
        world.receive(INSIDE, &[packet(room)]);
        assert!(world.sent(OUTSIDE).len() > 1480 && world.flow(Flow::PathMtusLearnt) == 0);

        world.receive(OUTSIDE, &[too_big(router, 1400, &sent)]);
        assert_eq!(world.flow(Flow::PathMtusLearnt), 1);
        world.receive(INSIDE, &[packet(narrow + 1)]);
        let told = world.sent(INSIDE);
        assert_eq!(told[46..48], (narrow as u16).to_be_bytes(), "the sender hears of it");
        world.receive(INSIDE, &[packet(narrow)]);
        assert!(world.sent(OUTSIDE).len() <= 1400);
        // Of what every link must carry nothing is kept back: the outer packet is cut.
        world.receive(OUTSIDE, &[too_big(router, 1280, &sent)]);
        world.receive(INSIDE, &[packet(1280)]);
        let pieces = std::mem::take(&mut world.record.tx);
        assert_eq!((pieces.len(), world.flow(Flow::FragmentsMade)), (2, 1));
        assert!(pieces.iter().all(|(_, piece)| piece.len() <= 1280 + 14));
        world.now.monotonic_ms += 600_001;
        for (address, ours, port) in [(PEER6, GATEWAY6, OUTSIDE), (HOST6, INSIDE_GATEWAY6, INSIDE)] {
            world.receive(port, &[ndp_frame(port, &ndp::solicitation(address, NEIGHBOUR_MAC, ours, false))]);
        }
        world.record = Record::default();
        world.receive(INSIDE, &[packet(room)]);
        assert!(world.sent(OUTSIDE).len() > 1480);
    }
}

#[test]
fn ipv4_inside_is_cut_before_it_is_sealed() {
    let mut world = world(SUITE, Encapsulation::Esp);
    let inner = ip(HOST, CLIENT_A, 17, &[5; 1480]);
    world.receive(INSIDE, &[frame(INSIDE, &inner)]);
    assert_eq!((world.record.tx.len(), world.flow(Flow::FragmentsMade)), (2, 1));
    assert!(world.record.tx.iter().all(|(_, frame)| frame.len() <= 1514));
    assert_eq!(world.drops(), []);
}

#[test]
fn another_workers_packet_is_handed_over_and_a_word_on_its_path_too() {
    let mut worlds = [0, 1].map(|worker| World::six(PathConfig { worker, workers: 2, ..config6() }));
    worlds[1].connect6(over6(SPI_A, SUITE, UDP));
    worlds[1].record = Record::default();
    let sealed = to_us(SUITE, false, SPI_A).seal(1, &echo6(CLIENT_A6, HOST6, 3), 41);
    worlds[0].record = Record::default();
    worlds[0].receive(OUTSIDE, &[esp6(&sealed, UDP, OTHER6, 9)]);
    let (to, item) = worlds[0].record.handoffs.pop().unwrap();
    assert_eq!(to, 1);
    let now = worlds[1].now;
    let world = &mut worlds[1];
    world.path.resume(now, &mut vec![item], &mut world.record);
    world.collect();
    let moved = |event: &Event| matches!(event, Event::PeerMoved { peer_outer: IpAddr::V6(OTHER6), .. });
    assert!(world.record.events.iter().any(moved), "its addresses went with it");
    assert_eq!(world.sent(INSIDE), forwarded6(&echo6(CLIENT_A6, HOST6, 3)));

    let outer = udp6((GATEWAY6, 4500), (OTHER6, 9), &[&PEER_SPI.to_be_bytes()[..], &[0; 40]].concat(), true);
    worlds[0].receive(OUTSIDE, &[too_big(PEER6, 1400, &outer)]);
    let (to, item) = worlds[0].record.handoffs.pop().unwrap();
    assert_eq!((to, worlds[0].flow(Flow::PathMtusLearnt)), (1, 0));
    let world = &mut worlds[1];
    world.path.resume(now, &mut vec![item], &mut world.record);
    assert_eq!(world.flow(Flow::PathMtusLearnt), 1);
}
