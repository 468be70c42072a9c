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

/// The frames that a port repeats for ever: of one client, with ascending sequence numbers where they are sealed.
///
/// # Errors
/// When the sealing library refuses.
pub fn capture(cell: Cell, destination_mac: ethernet::Mac) -> Result<Vec<Vec<u8>>, Refused> {
    let world = World { suite: cell.suite, sas: 1, natt: false, replay_window: 0 };
    let client = world.sa_from_client(0);
    (0..CAPTURE_FRAMES)
        .map(|index| {
            let inner = inner(cell.direction, 0, index, cell.size);
            Ok(match cell.direction {
                Direction::Out => frame(destination_mac, &inner),
                Direction::In => {
                    let sealed = client.seal(index as u32 + 1, &inner)?;
                    frame(destination_mac, &outer(0, false, &sealed))
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
    fn frames_have_the_sizes_they_are_named_after() {
        for direction in Direction::ALL {
            for size in Size::TABLE {
                let cell = Cell { suite: Suite::Aes256CbcSha384, size, direction };
                let frames = capture(cell, [2; 6]).unwrap();
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
