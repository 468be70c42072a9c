//! A table of frames that go nowhere, each with its reason.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;
use causeway_shared::sa::{Encapsulation, EspSuite};

use super::world::*;
use crate::path::PortId;

const SUITE: EspSuite = EspSuite::Aes256CbcSha256;

fn edit(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

#[test]
fn a_table_of_frames_and_the_reason_each_is_dropped_for() {
    let esp = to_us(SUITE, false, SPI_A).seal(1, &echo(CLIENT_A, HOST, 8), 4);
    let udp = |payload: &[u8], port| frame(OUTSIDE, &udp_packet((PEER, 500), (GATEWAY, port), payload, true));
    let fragment = |protocol, payload: &[u8], offset| {
        let packet = ip_with(PEER, GATEWAY, protocol, payload, |header| {
            header.more_fragments = true;
            header.fragment_offset = offset;
        });
        frame(OUTSIDE, &packet)
    };
    let spi = |spi: u32| [&spi.to_be_bytes()[..], &esp[4..]].concat();
    let table: Vec<(&str, PortId, Vec<u8>, Drop)> = vec![
        ("nothing", OUTSIDE, vec![], Drop::Truncated),
        ("13 octets", OUTSIDE, vec![2; 13], Drop::Truncated),
        ("another's MAC", OUTSIDE, edit(udp(b"x", 500), 5, 9), Drop::NotOurMac),
        ("IPv6", OUTSIDE, edit(edit(udp(b"x", 500), 12, 0x86), 13, 0xdd), Drop::UnknownEtherType),
        (
            "IPv4 to the broadcast MAC",
            OUTSIDE,
            {
                let mut frame = udp(b"x", 500);
                frame[..6].fill(0xff);
                frame
            },
            Drop::NotForUs,
        ),
        (
            "short ARP",
            INSIDE,
            {
                let mut frame =
                    arp_frame(INSIDE, causeway_shared::net::arp::Operation::Request, HOST, INSIDE_GATEWAY);
                frame.truncate(40);
                frame
            },
            Drop::BadArp,
        ),
        ("IP version", OUTSIDE, edit(udp(b"x", 500), 14, 0x65), Drop::BadIpv4Header),
        ("IP checksum", OUTSIDE, edit(udp(b"x", 500), 22, 7), Drop::BadIpv4Header),
        ("cut", OUTSIDE, udp(b"12345", 500)[..40].to_vec(), Drop::Truncated),
        (
            "loopback source",
            OUTSIDE,
            frame(OUTSIDE, &echo([127, 0, 0, 1].into(), GATEWAY, 1)),
            Drop::BadIpv4Header,
        ),
        ("our own source", OUTSIDE, frame(OUTSIDE, &echo(GATEWAY, GATEWAY, 1)), Drop::PolicyDenied),
        ("outside to LAN in clear", OUTSIDE, frame(OUTSIDE, &echo(PEER, HOST, 1)), Drop::PolicyDenied),
        ("outside to client in clear", OUTSIDE, frame(OUTSIDE, &echo(PEER, CLIENT_A, 1)), Drop::PolicyDenied),
        (
            "outside to our inside address",
            OUTSIDE,
            frame(OUTSIDE, &echo(PEER, INSIDE_GATEWAY, 1)),
            Drop::PolicyDenied,
        ),
        ("fragment of ICMP to us", OUTSIDE, fragment(1, &[0; 64], 0), Drop::Ipv4Fragment),
        ("fragment of DNS to us", OUTSIDE, fragment(17, &[0, 53, 0, 53, 0, 0, 0, 0], 0), Drop::NotForUs),
        ("fragment of TCP to us", OUTSIDE, fragment(6, &[0; 64], 64), Drop::NotForUs),
        ("fragment of nine octets", OUTSIDE, fragment(50, &[0; 9], 0), Drop::BadFragment),
        ("fragment without ports", OUTSIDE, fragment(17, &[1, 244, 1], 0), Drop::BadFragment),
        ("fragment far out", OUTSIDE, fragment(50, &[0; 64], 65_528), Drop::BadFragment),
        ("TCP to us", OUTSIDE, frame(OUTSIDE, &ip(PEER, GATEWAY, 6, &[0; 20])), Drop::NotForUs),
        ("DNS to us", OUTSIDE, udp(b"x", 53), Drop::NotForUs),
        (
            "IKE from inside",
            INSIDE,
            frame(INSIDE, &udp_packet((HOST, 500), (INSIDE_GATEWAY, 500), b"x", true)),
            Drop::NotForUs,
        ),
        ("ESP from inside", INSIDE, frame(INSIDE, &ip(HOST, INSIDE_GATEWAY, 50, &esp)), Drop::NotForUs),
        (
            "UDP length",
            OUTSIDE,
            frame(OUTSIDE, &ip(PEER, GATEWAY, 17, &[1, 244, 1, 244, 0, 99, 0, 0])),
            Drop::BadUdp,
        ),
        (
            "UDP of 7 octets",
            OUTSIDE,
            frame(OUTSIDE, &ip(PEER, GATEWAY, 17, &[1, 244, 1, 244, 0, 7, 0])),
            Drop::BadUdp,
        ),
        ("IKE with a wrong checksum", OUTSIDE, edit(udp(b"hello", 500), 44, 9), Drop::BadUdp),
        ("empty IKE", OUTSIDE, udp(b"", 500), Drop::BadUdp),
        ("marker and nothing", OUTSIDE, udp(&[0; 4], 4500), Drop::BadUdp),
        ("three octets on 4500", OUTSIDE, udp(&[1; 3], 4500), Drop::BadUdp),
        ("two keepalive octets", OUTSIDE, udp(&[0xff; 2], 4500), Drop::BadUdp),
        (
            "echo reply to us",
            OUTSIDE,
            frame(OUTSIDE, &ip(PEER, GATEWAY, 1, &[0, 0, 0xff, 0xff, 0, 0, 0, 0])),
            Drop::NotForUs,
        ),
        (
            "ICMP checksum",
            OUTSIDE,
            frame(OUTSIDE, &ip(PEER, GATEWAY, 1, &[8, 0, 1, 1, 0, 0, 0, 0])),
            Drop::BadIcmp,
        ),
        ("short ICMP", OUTSIDE, frame(OUTSIDE, &ip(PEER, GATEWAY, 1, &[8, 0, 1])), Drop::BadIcmp),
        ("ESP of 3 octets", OUTSIDE, frame(OUTSIDE, &ip(PEER, GATEWAY, 50, &[1; 3])), Drop::BadEspFormat),
        ("ESP of 8 octets", OUTSIDE, esp_frame(&esp[..8], Encapsulation::Esp), Drop::BadEspFormat),
        (
            "ESP one octet short",
            OUTSIDE,
            esp_frame(&esp[..esp.len() - 1], Encapsulation::Esp),
            Drop::BadEspFormat,
        ),
        ("ESP without a block", OUTSIDE, esp_frame(&esp[..40], Encapsulation::Esp), Drop::BadEspFormat),
        ("ESP one block short", OUTSIDE, esp_frame(&esp[..esp.len() - 16], Encapsulation::Esp), Drop::BadIcv),
        ("reserved SPI", OUTSIDE, esp_frame(&spi(255), Encapsulation::Esp), Drop::UnknownSpi),
        (
            "right slot, wrong generation",
            OUTSIDE,
            esp_frame(&spi(SPI_A ^ 0x10_0000), Encapsulation::Esp),
            Drop::UnknownSpi,
        ),
        ("empty slot", OUTSIDE, esp_frame(&spi(SPI_A + 9), Encapsulation::Esp), Drop::UnknownSpi),
        (
            "sequence number 0",
            OUTSIDE,
            esp_frame(&to_us(SUITE, false, SPI_A).seal(0, &echo(CLIENT_A, HOST, 8), 4), UDP),
            Drop::Replay,
        ),
        ("client without a route", INSIDE, frame(INSIDE, &echo(HOST, CLIENT_B, 1)), Drop::NoSession),
    ];
    for (name, port, frame, reason) in table {
        let mut world = World::with_clients(SUITE, false, Encapsulation::Esp);
        world.apply(crate::path::Operation::SetOutbound { inner: CLIENT_B, inbound_spi: None });
        world.receive(port, &[frame]);
        assert_eq!(world.drops(), [(reason, 1)], "{name}");
        assert_eq!(world.record.punts, [], "{name}");
        let told = world.record.tx.len();
        assert_eq!(told, usize::from(reason == Drop::NoSession), "{name}: only that sender hears of it");
    }
}

#[test]
fn a_full_ring_is_a_reason() {
    let mut world = World::new();
    world.record.full = true;
    world.receive(OUTSIDE, &[frame(OUTSIDE, &udp_packet((PEER, 500), (GATEWAY, 500), b"x", true))]);
    assert_eq!(world.drops(), [(Drop::PuntFull, 1)]);
}

#[test]
fn errors_are_limited_and_never_about_errors() {
    let mut world = World::new();
    let vacant = std::net::Ipv4Addr::new(10, 9, 0, 9);
    world.receive(INSIDE, &vec![frame(INSIDE, &echo(HOST, vacant, 1)); 300]);
    assert_eq!((world.record.tx.len(), world.dropped(Drop::NoSession)), (100, 300));
    world.now.monotonic_ms += 10_000;
    world.record.tx.clear();
    let unreachable = ip(HOST, vacant, ipv4::PROTOCOL_ICMP, &[3, 1, 0xfc, 0xfe, 0, 0, 0, 0]);
    let later = ip_with(HOST, vacant, 17, &[0; 16], |header| header.fragment_offset = 80);
    world.receive(INSIDE, &[frame(INSIDE, &unreachable), frame(INSIDE, &later)]);
    assert_eq!((world.record.tx.len(), world.dropped(Drop::NoSession)), (0, 302));
}
