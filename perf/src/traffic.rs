//! Frames of a measurement: clear UDP packets between the host inside and the clients, and the same sealed by the clients.
//!
//! Enters: a [`World`], a size, a direction. Leaves: Ethernet frames. `Size` is always the clear frame's, so an ESP frame is
//! longer by the tunnel's overhead.

use std::net::IpAddr;

use causeway_shared::net::{ethernet, ipv4, ipv6, udp};

use crate::cell::{Cell, Direction, Size};
use crate::oracle::Refused;
use crate::world::{self, Family, World};

/// Frames of a capture that repeats: a multiple of every size pattern, and small enough for the second-level cache.
pub const CAPTURE_FRAMES: usize = 132;
/// UDP source ports: more than one, so that no device hashes everything alike.
const FLOWS: u16 = 16;
const FIRST_FLOW_PORT: u16 = 1024;
const CLIENT_PORT: u16 = 9;
const TTL: u8 = 64;

/// The frames that a port repeats for ever: of `sas` clients by turns, with ascending sequence numbers where they are sealed.
///
/// # Errors
/// When the sealing library refuses.
pub fn capture(cell: Cell, sas: u32, destination_mac: ethernet::Mac) -> Result<Vec<Vec<u8>>, Refused> {
    let world = World::plain(cell.suite, sas);
    // Enough that every client is among them.
    let frames = CAPTURE_FRAMES * (sas as usize).div_ceil(CAPTURE_FRAMES);
    (0..frames)
        .map(|index| {
            let n = index as u32 % sas.max(1);
            let inner = inner(&world, cell.direction, n, index, cell.size);
            Ok(match cell.direction {
                Direction::Out => frame(destination_mac, &inner),
                Direction::In => {
                    let sealed = world.sa_from_client(n).seal(index as u32 + 1, &inner)?;
                    frame(destination_mac, &outer(&world, n, &sealed))
                }
            })
        })
        .collect()
}

/// Packet number `index` between the host and client `n`.
pub fn inner(world: &World, direction: Direction, n: u32, index: usize, size: Size) -> Vec<u8> {
    let length = size.of(index) - ethernet::HEADER_LEN;
    let flow = FIRST_FLOW_PORT + (index % usize::from(FLOWS)) as u16;
    let (host, client) = ((world.host(), flow), (world.client_inner(n), CLIENT_PORT));
    let (source, destination) = match direction {
        Direction::Out => (host, client),
        Direction::In => (client, host),
    };
    let payload = length - header_len(world.inner) - udp::HEADER_LEN;
    udp_packet(source, destination, &vec![0xa5; payload])
}

/// What client `n` puts around its ESP.
pub fn outer(world: &World, n: u32, esp: &[u8]) -> Vec<u8> {
    let (source, destination) = (world.client_outer(n), world.gateway());
    if world.natt {
        udp_packet((source, world::CLIENT_NATT_PORT), (destination, world::NATT_PORT), esp)
    } else {
        ip_packet(source, destination, ipv4::PROTOCOL_ESP, esp)
    }
}

/// A frame from the neighbour.
pub fn frame(destination: ethernet::Mac, packet: &[u8]) -> Vec<u8> {
    let ether_type = if packet.first().is_some_and(|first| first >> 4 == 6) {
        ethernet::TYPE_IPV6
    } else {
        ethernet::TYPE_IPV4
    };
    let header = ethernet::Header { destination, source: world::NEIGHBOUR_MAC, ether_type };
    [&header.to_bytes()[..], packet].concat()
}

/// Octets of an IP header.
pub fn header_len(family: Family) -> usize {
    match family {
        Family::V4 => ipv4::HEADER_LEN,
        Family::V6 => ipv6::HEADER_LEN,
    }
}

/// The smallest clear frame, octets.
pub fn smallest(family: Family) -> usize {
    ethernet::HEADER_LEN + header_len(family) + udp::HEADER_LEN
}

/// What an IP packet of either family carries.
pub struct Carried<'a> {
    /// Who sends it.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: u8,
    /// Behind its header.
    pub payload: &'a [u8],
}

impl<'a> Carried<'a> {
    /// `None`: it is no packet.
    pub fn parse(packet: &'a [u8]) -> Option<Carried<'a>> {
        if packet.first()? >> 4 == 6 {
            let packet = ipv6::Packet::parse(packet).ok()?;
            let (source, destination) = (packet.source().into(), packet.destination().into());
            let (protocol, payload) = (packet.protocol(), packet.upper_layer());
            return Some(Carried { source, destination, protocol, payload });
        }
        let packet = ipv4::Packet::parse(packet).ok()?;
        let (source, destination) = (packet.source().into(), packet.destination().into());
        Some(Carried { source, destination, protocol: packet.protocol(), payload: packet.payload() })
    }
}

fn udp_packet(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (udp::HEADER_LEN + payload.len()) as u16;
    // RFC 768: a checksum of 0 says that there is none. Over IPv6 there is one (RFC 8200 §8.1).
    let checksum = match (source.0, destination.0) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            udp::checksum6(from, to, &udp::header(source.1, destination.1, length, 0), &[payload])
        }
        _ => 0,
    };
    let header = udp::header(source.1, destination.1, length, checksum);
    ip_packet(source.0, destination.0, ipv4::PROTOCOL_UDP, &[&header[..], payload].concat())
}

fn ip_packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4::Header {
            tos: 0,
            total_len: (ipv4::HEADER_LEN + payload.len()) as u16,
            identification: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: TTL,
            protocol,
            source,
            destination,
        }
        .to_bytes()
        .to_vec(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6::Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: payload.len() as u16,
            next_header: protocol,
            hop_limit: TTL,
            source,
            destination,
        }
        .to_bytes()
        .to_vec(),
        _ => unreachable!("both ends of a packet are of one family"),
    };
    [&header, payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Suite;

    #[test]
    fn every_client_is_in_a_capture() {
        for sas in [1, 16, 128] {
            let cell = Cell { suite: Suite::Aes128Gcm, size: Size::Fixed(64), direction: Direction::Out };
            let frames = capture(cell, sas, [2; 6]).unwrap();
            let clients: std::collections::HashSet<_> = frames
                .iter()
                .map(|frame| ipv4::Packet::parse(&frame[ethernet::HEADER_LEN..]).unwrap().destination())
                .collect();
            assert_eq!(clients, (0..sas).map(world::client_inner).collect());
        }
    }

    #[test]
    fn frames_have_the_sizes_they_are_named_after_in_every_family() {
        let families = [Family::V4, Family::V6].into_iter();
        for (inner_family, outer_family) in
            families.clone().flat_map(|inner| families.clone().map(move |outer| (inner, outer)))
        {
            let world = World {
                natt: outer_family == Family::V4,
                inner: inner_family,
                outer: outer_family,
                ..World::plain(Suite::Aes256CbcSha384, 1)
            };
            for (size, direction) in
                Size::TABLE.into_iter().flat_map(|size| Direction::ALL.map(|way| (size, way)))
            {
                for index in 0..size.period() {
                    let clear = inner(&world, direction, 0, index, size);
                    assert_eq!(clear.len() + ethernet::HEADER_LEN, size.of(index), "{size} {index}");
                    let carried = Carried::parse(&clear).unwrap();
                    let ends = match direction {
                        Direction::Out => (world.host(), world.client_inner(0)),
                        Direction::In => (world.client_inner(0), world.host()),
                    };
                    assert_eq!((carried.source, carried.destination), ends);
                    let sealed = world.sa_from_client(0).seal(1, &clear).unwrap();
                    let frame = frame([2; 6], &outer(&world, 0, &sealed));
                    assert!(frame.len() <= usize::from(world::MTU) + ethernet::HEADER_LEN);
                    let packet = Carried::parse(&frame[ethernet::HEADER_LEN..]).unwrap();
                    assert_eq!((packet.source, packet.destination), (world.client_outer(0), world.gateway()));
                    let esp = match (packet.protocol, packet.destination) {
                        (ipv4::PROTOCOL_ESP, _) => packet.payload,
                        (ipv4::PROTOCOL_UDP, _) => udp::Datagram::parse(packet.payload).unwrap().payload(),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(world.sa_from_client(0).open(esp), Some(clear));
                }
            }
        }
    }
}
