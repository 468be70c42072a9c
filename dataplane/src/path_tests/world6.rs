//! The gateway of `world.rs` with IPv6 on both sides: outside 2001:db8::1/64 (router ::fe, the clients' NAT-less ::50), inside fd00::1/64
//! (host ::9, router ::fe for fd07::/16), clients' prefixes of 2001:db8:99::/48: client A has ::5 and B ::6 of it.

use std::net::Ipv6Addr;

use causeway_shared::net::{ethernet, icmp6, ipv6, ndp};
use causeway_shared::sa::{Encapsulation, EspSuite, InnerAddresses, Ipv6Prefix, SaPair, Selector};
use causeway_shared::wire::AckStatus;

use super::world::*;
use crate::path::*;

pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);
pub const INSIDE_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
pub const FAR6: Ipv6Addr = Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 7);
pub const CLIENT_A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 5);
pub const CLIENT_B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 6);

pub fn config6() -> PathConfig {
    let mut config = config();
    let addresses = [GATEWAY6, INSIDE_GATEWAY6];
    for (port, address) in config.ports.iter_mut().zip(addresses) {
        port.address6 = Some(Interface6 { address, prefix_len: 64 });
    }
    let route = |destination: &str, via: &str| RouteConfig6 {
        destination: destination.parse().unwrap(),
        via: via.parse().unwrap(),
    };
    config.routes6 = vec![route("::/0", "2001:db8::fe"), route("fd07::/16", "fd00::fe")];
    config
}

/// `pair` with both families inside, for client A or B.
pub fn dual(spi: u32, suite: EspSuite, encapsulation: Encapsulation) -> SaPair {
    let (inner, inner6) = if spi == SPI_A { (CLIENT_A, CLIENT_A6) } else { (CLIENT_B, CLIENT_B6) };
    let mut pair = pair(suite, false, encapsulation);
    pair.inbound_spi = spi;
    pair.peer_inner = InnerAddresses { v4: Some(inner), v6: Some(Ipv6Prefix::host(inner6)) };
    pair.peer_selectors = vec![selector(inner, inner), selector6(inner6, inner6)];
    for range in ["fd00::/64", "fd07::/16", "2001:db8:99::/48"] {
        let range: Ipv6Prefix = range.parse().unwrap();
        pair.local_selectors.push(selector6(range.address, range.last()));
    }
    pair
}

impl World {
    /// The gateway with its pools, no clients, and every neighbour of both families known.
    pub fn six(config: PathConfig) -> World {
        let mut world = World::silent(config);
        assert_eq!(world.apply(Operation::AddPool6("2001:db8:99::/48".parse().unwrap())), AckStatus::Done);
        for (port, address) in [(OUTSIDE, PEER), (INSIDE, HOST)] {
            world.introduce(port, address);
        }
        let router = |link: Ipv6Addr| Ipv6Addr::from_bits(link.to_bits() >> 64 << 64 | 0xfe);
        for (port, address, ours) in [
            (OUTSIDE, PEER6, GATEWAY6),
            (OUTSIDE, router(GATEWAY6), GATEWAY6),
            (INSIDE, HOST6, INSIDE_GATEWAY6),
            (INSIDE, router(INSIDE_GATEWAY6), INSIDE_GATEWAY6),
        ] {
            world.receive(port, &[ndp_frame(port, &ndp::solicitation(address, NEIGHBOUR_MAC, ours, false))]);
        }
        assert_eq!(world.drops(), []);
        world.record = Record::default();
        world
    }

    /// As `six`, with clients A and B connected by this suite, both families inside.
    pub fn dual_stack(suite: EspSuite, encapsulation: Encapsulation) -> World {
        let mut world = World::six(config6());
        world.connect6(dual(SPI_A, suite, encapsulation));
        world.connect6(dual(SPI_B, suite, encapsulation));
        world
    }

    /// Installs an SA and points whatever it has inside at it.
    pub fn connect6(&mut self, pair: SaPair) {
        let inbound_spi = Some(pair.inbound_spi);
        let install = Operation::Install(WorkerSa::new(&pair).unwrap());
        assert_eq!(self.apply(install), AckStatus::Done);
        if let Some(inner) = pair.peer_inner.v4 {
            assert_eq!(self.apply(Operation::SetOutbound { inner, inbound_spi }), AckStatus::Done);
        }
        if let Some(inner) = pair.peer_inner.v6 {
            assert_eq!(self.apply(Operation::SetOutbound6 { inner, inbound_spi }), AckStatus::Done);
        }
    }
}

pub fn selector6(first: Ipv6Addr, last: Ipv6Addr) -> Selector {
    Selector { protocol: 0, first: first.into(), last: last.into(), first_port: 0, last_port: u16::MAX }
}

pub fn ip6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    ip6_with(source, destination, next_header, payload, |_| ())
}

pub fn ip6_with(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    payload: &[u8],
    change: impl FnOnce(&mut ipv6::Header),
) -> Vec<u8> {
    let mut header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0x12345,
        payload_len: payload.len() as u16,
        next_header,
        hop_limit: 64,
        source,
        destination,
    };
    change(&mut header);
    [&header.to_bytes()[..], payload].concat()
}

/// An ICMPv6 message with its checksum.
pub fn icmp6_packet(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = icmp6::checksum(source, destination, &[&message]).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ip6(source, destination, ipv6::PROTOCOL_ICMPV6, &message)
}

/// An echo request with `len` octets of data.
pub fn echo6(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Vec<u8> {
    let mut message = vec![icmp6::ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 7];
    message.resize(icmp6::HEADER_LEN + len, 0xa5);
    icmp6_packet(source, destination, &message)
}

pub fn frame6(port: PortId, packet: &[u8]) -> Vec<u8> {
    let header = ethernet::Header {
        destination: OUR_MAC[usize::from(port.0)],
        source: NEIGHBOUR_MAC,
        ether_type: ethernet::TYPE_IPV6,
    };
    [&header.to_bytes()[..], packet].concat()
}

/// A packet of neighbour discovery in a frame to the host or group that it is for.
pub fn ndp_frame(port: PortId, packet: &[u8]) -> Vec<u8> {
    let destination = ipv6::Packet::parse(packet).unwrap().destination();
    let mut frame = frame6(port, packet);
    if destination.is_multicast() {
        frame[..6].copy_from_slice(&ndp::group_mac(destination));
    }
    frame
}

/// The packet as a router that forwards it leaves it.
pub fn forwarded6(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    assert!(ipv6::decrement_hop_limit(&mut packet));
    packet
}
