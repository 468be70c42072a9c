//! Frames of a measurement: clear UDP packets between the host inside and the clients, and the same sealed by the clients.
//!
//! Enters: a [`World`], a size, a direction. Leaves: Ethernet frames. `Size` is always the clear frame's, so an ESP frame is
//! longer by the tunnel's overhead.

use std::net::Ipv4Addr;

use causeway_shared::net::{ethernet, ipv4, udp};

use crate::cell::{Cell, Direction, Size};
use crate::oracle::Refused;
use crate::world::{self, World};

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
    let world = World { suite: cell.suite, sas, natt: false, replay_window: 0 };
    // Enough that every client is among them.
    let frames = CAPTURE_FRAMES * (sas as usize).div_ceil(CAPTURE_FRAMES);
    (0..frames)
        .map(|index| {
            let n = index as u32 % sas.max(1);
            let inner = inner(cell.direction, n, index, cell.size);
            Ok(match cell.direction {
                Direction::Out => frame(destination_mac, &inner),
                Direction::In => {
                    let sealed = world.sa_from_client(n).seal(index as u32 + 1, &inner)?;
                    frame(destination_mac, &outer(n, false, &sealed))
                }
            })
        })
        .collect()
}

/// Packet number `index` between the host and client `n`.
pub fn inner(direction: Direction, n: u32, index: usize, size: Size) -> Vec<u8> {
    let length = size.of(index) - ethernet::HEADER_LEN;
    let flow = FIRST_FLOW_PORT + (index % usize::from(FLOWS)) as u16;
    let (host, client) = ((world::HOST, flow), (world::client_inner(n), CLIENT_PORT));
    let (source, destination) = match direction {
        Direction::Out => (host, client),
        Direction::In => (client, host),
    };
    let payload = length - ipv4::HEADER_LEN - udp::HEADER_LEN;
    udp_packet(source, destination, &vec![0xa5; payload])
}

/// What client `n` puts around its ESP.
pub fn outer(n: u32, natt: bool, esp: &[u8]) -> Vec<u8> {
    let (source, destination) = (world::client_outer(n), world::GATEWAY);
    if natt {
        udp_packet((source, world::CLIENT_NATT_PORT), (destination, world::NATT_PORT), esp)
    } else {
        ip_packet(source, destination, ipv4::PROTOCOL_ESP, esp)
    }
}

/// A frame from the neighbour.
pub fn frame(destination: ethernet::Mac, packet: &[u8]) -> Vec<u8> {
    let header =
        ethernet::Header { destination, source: world::NEIGHBOUR_MAC, ether_type: ethernet::TYPE_IPV4 };
    [&header.to_bytes()[..], packet].concat()
}

fn udp_packet(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    // RFC 768: a checksum of 0 says that there is none.
    let header = udp::header(source.1, destination.1, (udp::HEADER_LEN + payload.len()) as u16, 0);
    ip_packet(source.0, destination.0, ipv4::PROTOCOL_UDP, &[&header[..], payload].concat())
}

fn ip_packet(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = ipv4::Header {
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
    };
    [&header.to_bytes()[..], payload].concat()
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
    fn frames_have_the_sizes_they_are_named_after() {
        for direction in Direction::ALL {
            for size in Size::TABLE {
                let cell = Cell { suite: Suite::Aes256CbcSha384, size, direction };
                let frames = capture(cell, 1, [2; 6]).unwrap();
                for (index, frame) in frames.iter().enumerate() {
                    let packet = ipv4::Packet::parse(&frame[ethernet::HEADER_LEN..]).unwrap();
                    assert_eq!(packet.total_len() + ethernet::HEADER_LEN, frame.len());
                    let clear = match direction {
                        Direction::Out => frame.len(),
                        Direction::In => {
                            let world = World { suite: cell.suite, sas: 1, natt: false, replay_window: 0 };
                            let inner = world.sa_from_client(0).open(packet.payload()).unwrap();
                            inner.len() + ethernet::HEADER_LEN
                        }
                    };
                    assert_eq!(clear, size.of(index), "{cell} {index}");
                    assert!(frame.len() <= usize::from(world::MTU) + ethernet::HEADER_LEN);
                }
            }
        }
    }
}
