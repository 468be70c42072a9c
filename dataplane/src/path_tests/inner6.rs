//! IPv6 inside: from a client, to a client, from client to client, to us; and what is refused, and whom that is told.

use std::net::Ipv6Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp6, ipv4, ipv6};
use causeway_shared::sa::{Encapsulation, EspSuite};

use super::world::*;
use super::world6::*;
use crate::path::*;

const SUITE: EspSuite = EspSuite::Aes256Gcm16;

/// What a client's error says: type, code, and the size that fits.
fn error_of(packet: &[u8], from: Ipv6Addr, to: Ipv6Addr) -> [u8; 4] {
    let read = ipv6::Packet::parse(packet).unwrap();
    assert_eq!((read.source(), read.destination(), read.protocol()), (from, to, 58));
    assert_eq!(icmp6::checksum(from, to, &[read.upper_layer()]), 0);
    assert!(read.total_len() <= 1280);
    let [kind, code, _, _, _, _, m0, m1, ..] = *read.upper_layer() else { panic!("short") };
    [kind, code, m0, m1]
}

#[test]
fn every_suite_carries_both_families_both_ways() {
    for suite in EspSuite::ALL {
        for encapsulation in [Encapsulation::Esp, UDP] {
            let mut world = World::dual_stack(suite, encapsulation);
            let mut sequence = 0;
            for len in [0, 1, 13, 14, 15, 500, 1300] {
                for (out, back, next_header) in [
                    (echo(CLIENT_A, HOST, len), echo(HOST, CLIENT_A, len), 4),
                    (echo6(CLIENT_A6, HOST6, len), echo6(HOST6, CLIENT_A6, len), 41),
                ] {
                    sequence += 1;
                    let sealed = to_us(suite, false, SPI_A).seal(sequence, &out, next_header);
                    world.receive(OUTSIDE, &[esp_frame(&sealed, encapsulation)]);
                    let (sent, answer) = (world.sent(INSIDE), |packet: &[u8]| match next_header {
                        4 => (forwarded(packet), frame(INSIDE, &back)),
                        _ => (forwarded6(packet), frame6(INSIDE, &back)),
                    });
                    assert_eq!(sent, answer(&out).0, "{suite} {encapsulation:?} {len}");
                    world.receive(INSIDE, &[answer(&out).1]);
                    let opened = from_us(suite, false).open(sequence, &world.sent_esp()).unwrap();
                    let (payload, trailer) = opened.split_at(back.len());
                    assert_eq!((payload, trailer.last()), (&answer(&back).0[..], Some(&next_header)));
                }
            }
            assert_eq!(world.drops(), []);
            assert_eq!((world.flow(Flow::EspInPackets), world.flow(Flow::EspOutPackets)), (14, 14));
        }
    }
}

#[test]
fn padding_for_confidentiality_is_cut_off_and_congestion_marks_go_in() {
    let mut world = World::dual_stack(SUITE, Encapsulation::Esp);
    let inner = ip6_with(CLIENT_A6, HOST6, 17, &[7; 24], |header| header.traffic_class = 2);
    let padded = [&inner[..], &[0; 50]].concat();
    let sealed = to_us(SUITE, false, SPI_A).seal(1, &padded, 41);
    let outer = ip_with(PEER, GATEWAY, ipv4::PROTOCOL_ESP, &sealed, |header| header.tos = 3);
    world.receive(OUTSIDE, &[frame(OUTSIDE, &outer)]);
    let sent = world.sent(INSIDE);
    let mut expected = forwarded6(&inner);
    ipv6::set_traffic_class(&mut expected, 3);
    assert_eq!(sent, expected);
    let inner = ip6_with(HOST6, CLIENT_A6, 17, &[7; 24], |header| header.traffic_class = 0xb9);
    world.receive(INSIDE, &[frame6(INSIDE, &inner)]);
    assert_eq!(ipv4::Packet::parse(&world.sent(OUTSIDE)).unwrap().tos(), 0xb9);
}

#[test]
fn a_whole_prefix_is_its_clients() {
    let mut world = World::six(config6());
    let mut pair = dual(SPI_A, SUITE, UDP);
    let prefix: causeway_shared::sa::Ipv6Prefix = "2001:db8:99:7::/64".parse().unwrap();
    pair.peer_inner.v6 = Some(prefix);
    pair.peer_selectors[1] = selector6(prefix.address, prefix.last());
    world.connect6(pair);
    let host: Ipv6Addr = "2001:db8:99:7::abcd".parse().unwrap();
    world.receive(INSIDE, &[frame6(INSIDE, &echo6(HOST6, host, 4))]);
    assert!(from_us(SUITE, false).open(1, &world.sent_esp()).is_some());
    let sealed = to_us(SUITE, false, SPI_A).seal(1, &echo6(host, HOST6, 4), 41);
    world.receive(OUTSIDE, &[esp_frame(&sealed, UDP)]);
    assert_eq!(world.sent(INSIDE), forwarded6(&echo6(host, HOST6, 4)));
    let beside: Ipv6Addr = "2001:db8:99:8::1".parse().unwrap();
    world.receive(INSIDE, &[frame6(INSIDE, &echo6(HOST6, beside, 4))]);
    assert_eq!(world.drops(), [(Drop::NoSession, 1)]);
}

#[test]
fn one_client_reaches_another_and_the_gateway_answers_inside_the_tunnel() {
    let mut world = World::dual_stack(SUITE, UDP);
    let inner = echo6(CLIENT_A6, CLIENT_B6, 8);
    world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &inner, 41), UDP)]);
    let opened = from_us(SUITE, false).open(1, &world.sent_esp()).unwrap();
    assert_eq!((&opened[..inner.len()], world.flow(Flow::Hairpinned)), (&forwarded6(&inner)[..], 1));

    let inner = echo6(CLIENT_A6, INSIDE_GATEWAY6, 8);
    world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(2, &inner, 41), UDP)]);
    let opened = from_us(SUITE, false).open(1, &world.sent_esp()).unwrap();
    let reply = ipv6::Packet::parse(&opened).unwrap();
    assert_eq!((reply.source(), reply.destination(), reply.hop_limit()), (INSIDE_GATEWAY6, CLIENT_A6, 64));
    assert_eq!((reply.upper_layer()[0], &reply.upper_layer()[4..]), (129, &inner[44..]));
    assert_eq!(icmp6::checksum(INSIDE_GATEWAY6, CLIENT_A6, &[reply.upper_layer()]), 0);
    assert_eq!((world.flow(Flow::IcmpEchoReplies), world.drops()), (1, vec![]));
}

#[test]
fn a_table_of_inner_packets_that_may_not_pass() {
    let unreachable: Ipv6Addr = "2001:db8:5::1".parse().unwrap();
    let local: Ipv6Addr = "fe80::5".parse().unwrap();
    let cut = echo6(CLIENT_A6, HOST6, 8)[..50].to_vec();
    let ten = [[60, 0, 1, 4, 0, 0, 0, 0]; 10].concat();
    for (name, inner, reason) in [
        ("another client's source", echo6(CLIENT_B6, HOST6, 8), Drop::SelectorMismatch),
        ("the gateway's source", echo6(INSIDE_GATEWAY6, HOST6, 8), Drop::SelectorMismatch),
        ("of one link", echo6(local, HOST6, 8), Drop::SelectorMismatch),
        ("a network out of reach", echo6(CLIENT_A6, unreachable, 8), Drop::SelectorMismatch),
        ("to a group", echo6(CLIENT_A6, "ff02::1".parse().unwrap(), 8), Drop::SelectorMismatch),
        ("IPv4 that says that it is IPv6", echo(CLIENT_A, HOST, 40), Drop::BadIpv6Header),
        ("cut", cut, Drop::BadIpv6Header),
        ("too many extension headers", ip6(CLIENT_A6, HOST6, 60, &ten), Drop::BadIpv6Header),
        ("a vacant address", echo6(CLIENT_A6, "2001:db8:99::77".parse().unwrap(), 8), Drop::NoSession),
        ("not echo, to us", ip6(CLIENT_A6, INSIDE_GATEWAY6, 17, &[0; 20]), Drop::NotForUs),
    ] {
        let mut world = World::dual_stack(SUITE, UDP);
        world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &inner, 41), UDP)]);
        assert_eq!(world.drops(), [(reason, 1)], "{name}");
        assert!(world.record.tx.iter().all(|(port, _)| *port == OUTSIDE), "{name}");
    }
}

#[test]
fn selectors_of_ports_look_behind_extension_headers() {
    let mut world = World::six(config6());
    let mut pair = dual(SPI_A, SUITE, UDP);
    pair.local_selectors = vec![selector6(HOST6, HOST6)];
    (pair.local_selectors[0].protocol, pair.local_selectors[0].first_port) = (17, 53);
    pair.local_selectors[0].last_port = 53;
    world.connect6(pair);
    let options = [17, 0, 1, 4, 0, 0, 0, 0];
    let later = [17, 0, 0, 8, 0, 0, 0, 1];
    let udp = |port: u8| [0x80, 0, 0, port, 0, 8, 0, 0];
    for (number, next_header, payload, passes) in [
        (1, 17, udp(53).to_vec(), true),
        (2, 17, udp(54).to_vec(), false),
        (3, 60, [options, udp(53)].concat(), true),
        (4, 44, [later, udp(53)].concat(), false),
    ] {
        let inner = ip6(CLIENT_A6, HOST6, next_header, &payload);
        world.receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(number, &inner, 41), UDP)]);
        let sent = std::mem::take(&mut world.record.tx).len();
        assert_eq!(
            (sent, world.dropped(Drop::SelectorMismatch)),
            if passes { (1, 0) } else { (0, 1) },
            "{number}"
        );
        world = if passes { world } else { return_to(world) };
    }
}

/// The same gateway without its counts.
fn return_to(old: World) -> World {
    drop(old);
    let mut world = World::six(config6());
    let mut pair = dual(SPI_A, SUITE, UDP);
    pair.local_selectors = vec![selector6(HOST6, HOST6)];
    (pair.local_selectors[0].protocol, pair.local_selectors[0].first_port) = (17, 53);
    pair.local_selectors[0].last_port = 53;
    world.connect6(pair);
    world
}

#[test]
fn what_is_too_big_is_told_and_never_cut() {
    for (encapsulation, room) in [(Encapsulation::Esp, 1446), (UDP, 1438)] {
        let mut world = World::dual_stack(SUITE, encapsulation);
        let packet = |len: usize| ip6(HOST6, CLIENT_A6, 17, &vec![9; len - 40]);
        world.receive(INSIDE, &[frame6(INSIDE, &packet(room))]);
        let sent = world.sent(OUTSIDE);
        assert!(sent.len() <= 1500 && sent.len() > 1490, "{}", sent.len());
        world.receive(INSIDE, &[frame6(INSIDE, &packet(room + 1))]);
        let told = world.sent(INSIDE);
        let [m0, m1] = (room as u16).to_be_bytes();
        assert_eq!(error_of(&told, INSIDE_GATEWAY6, HOST6), [2, 0, m0, m1]);
        assert_eq!(
            told[48..],
            packet(room + 1)[..1280 - 48]
                .iter()
                .copied()
                .enumerate()
                .map(|(at, octet)| {
                    // It had passed us when it proved too big.
                    if at == 7 { octet - 1 } else { octet }
                })
                .collect::<Vec<_>>()
        );
        assert_eq!(world.drops(), [(Drop::TooBig, 1)]);
    }
    // Where the tunnel has less room than every IPv6 link must have, the outer packet is cut.
    let mut config = config6();
    config.ports[0].mtu = 1280;
    let mut world = World::six(config);
    world.connect6(dual(SPI_A, SUITE, UDP));
    world.receive(INSIDE, &[frame6(INSIDE, &ip6(HOST6, CLIENT_A6, 17, &[9; 1240]))]);
    assert_eq!((world.record.tx.len(), world.flow(Flow::FragmentsMade), world.drops()), (2, 1, vec![]));
}

#[test]
fn a_router_says_what_it_cannot_forward_and_not_too_often() {
    let mut world = World::dual_stack(SUITE, UDP);
    let vacant: Ipv6Addr = "2001:db8:99::77".parse().unwrap();
    let last =
        |source, destination| ip6_with(source, destination, 17, &[7; 8], |header| header.hop_limit = 1);
    world.receive(INSIDE, &[frame6(INSIDE, &last(HOST6, CLIENT_A6))]);
    assert_eq!(error_of(&world.sent(INSIDE), INSIDE_GATEWAY6, HOST6), [3, 0, 0, 0]);
    world.receive(INSIDE, &[frame6(INSIDE, &echo6(HOST6, vacant, 8))]);
    assert_eq!(error_of(&world.sent(INSIDE), INSIDE_GATEWAY6, HOST6), [1, 3, 0, 0]);
    // A client hears of it through its tunnel.
    world.receive(
        OUTSIDE,
        &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &last(CLIENT_A6, HOST6), 41), UDP)],
    );
    let opened = from_us(SUITE, false).open(1, &world.sent_esp()).unwrap();
    let len = 40 + usize::from(u16::from_be_bytes([opened[4], opened[5]]));
    assert_eq!(error_of(&opened[..len], INSIDE_GATEWAY6, CLIENT_A6), [3, 0, 0, 0]);
    // Never about an error, a group, or a later fragment.
    let error = icmp6_packet(HOST6, vacant, &[1, 0, 0, 0, 0, 0, 0, 0]);
    let later = ip6(HOST6, vacant, 44, &[17, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    world.receive(INSIDE, &[frame6(INSIDE, &error), frame6(INSIDE, &later)]);
    assert_eq!(world.record.tx.len(), 0);
    world.now.monotonic_ms += 10_000;
    world.receive(INSIDE, &vec![frame6(INSIDE, &echo6(HOST6, vacant, 1)); 300]);
    assert_eq!(world.record.tx.len(), 100);
}

#[test]
fn nothing_is_routed_between_lan_hosts_or_out_in_clear() {
    let mut world = World::dual_stack(SUITE, UDP);
    for (port, packet, reason) in [
        (INSIDE, echo6(HOST6, FAR6, 1), Drop::PolicyDenied),
        (INSIDE, echo6(HOST6, "2001:db8:5::1".parse().unwrap(), 1), Drop::PolicyDenied),
        (OUTSIDE, echo6(PEER6, HOST6, 1), Drop::PolicyDenied),
        (OUTSIDE, echo6(PEER6, CLIENT_A6, 1), Drop::PolicyDenied),
        (OUTSIDE, echo6(PEER6, INSIDE_GATEWAY6, 1), Drop::PolicyDenied),
        (OUTSIDE, echo6(GATEWAY6, GATEWAY6, 1), Drop::PolicyDenied),
        (INSIDE, echo6(Ipv6Addr::LOCALHOST, CLIENT_A6, 1), Drop::BadIpv6Header),
        (INSIDE, echo6("ff02::9".parse().unwrap(), CLIENT_A6, 1), Drop::BadIpv6Header),
        (INSIDE, echo6("fe80::9".parse().unwrap(), CLIENT_A6, 1), Drop::NotForUs),
        (INSIDE, echo6(HOST6, "ff02::1".parse().unwrap(), 1), Drop::NotForUs),
        (INSIDE, ip6(HOST6, INSIDE_GATEWAY6, 6, &[0; 20]), Drop::NotForUs),
        (OUTSIDE, ip6(PEER6, GATEWAY6, 44, &[58, 0, 0, 1, 0, 0, 0, 1, 128, 0, 0, 0]), Drop::Ipv6Fragment),
        (INSIDE, ip6(HOST6, INSIDE_GATEWAY6, 58, &[128, 0, 1, 1, 0, 0, 0, 0]), Drop::BadIcmp),
        (INSIDE, echo6(HOST6, CLIENT_A6, 1)[..40].to_vec(), Drop::Truncated),
    ] {
        let before = world.dropped(reason);
        world.receive(port, &[frame6(port, &packet)]);
        assert_eq!((world.record.tx.len(), world.dropped(reason)), (0, before + 1), "{packet:?}");
    }
    let mut world = World::new();
    world.receive(INSIDE, &[frame6(INSIDE, &echo6(HOST6, CLIENT_A6, 1))]);
    assert_eq!(world.drops(), [(Drop::UnknownEtherType, 1)], "a port without an IPv6 address");
}

#[test]
fn another_workers_client_is_handed_over() {
    let mut worlds = [0, 1].map(|worker| {
        let mut world = World::six(PathConfig { worker, workers: 2, ..config6() });
        let inner = causeway_shared::sa::Ipv6Prefix::host(CLIENT_A6);
        world.apply(Operation::SetOutbound6 { inner, inbound_spi: Some(SPI_A) });
        world.record = Record::default();
        world
    });
    let install = Operation::Install(WorkerSa::new(&dual(SPI_A, SUITE, UDP)).unwrap());
    worlds[1].apply(install);
    worlds[0].receive(INSIDE, &[frame6(INSIDE, &echo6(HOST6, CLIENT_A6, 9))]);
    let (to, item) = worlds[0].record.handoffs.pop().unwrap();
    assert_eq!((to, worlds[0].record.tx.len()), (1, 0));
    let now = worlds[1].now;
    let world = &mut worlds[1];
    world.path.resume(now, &mut vec![item], &mut world.record);
    world.collect();
    let opened = from_us(SUITE, false).open(1, &world.sent_esp()).unwrap();
    assert_eq!(opened[..57], forwarded6(&echo6(HOST6, CLIENT_A6, 9)));
}
