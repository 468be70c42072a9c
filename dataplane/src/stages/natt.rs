//! UDP port 4500 (RFC 3948): keepalives, IKE behind the non-ESP marker, ESP.
//!
//! Enters: [`FromPeer`] at the UDP header. Leaves: IKE to `punt` (as it came, its checksum is looked at there); ESP to
//! `esp_in_lookup`, at the ESP header. The UDP checksum of ESP is not looked at: the ICV covers what matters.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::udp;

use super::{FromPeer, Out, State, esp_in_lookup};
use crate::buffer::{Allocator, Buffer};
use crate::path::Sink;
use crate::probe::Probe;

/// Four zero octets where ESP has its SPI (RFC 3948 §2.2).
pub(super) const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// A datagram with more than a marker or an SPI in it.
const SHORTEST_ESP: usize = udp::HEADER_LEN + NON_ESP_MARKER.len() + 1;
/// The one octet of a keepalive (RFC 3948 §2.3).
const KEEPALIVE: u8 = 0xff;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let mut packet = packet;
    match content(packet.buffer.data())? {
        Content::Keepalive => {
            state.counters.flow(Flow::NatKeepalives, 1);
            Ok(())
        }
        Content::Ike => out.punt(packet, state),
        Content::Esp { end } => {
            if packet.buffer.narrow(udp::HEADER_LEN, end - udp::HEADER_LEN) {
                esp_in_lookup::send(packet, state, out)
            } else {
                Err(Drop::BadUdp)
            }
        }
    }
}

enum Content {
    Keepalive,
    Ike,
    Esp { end: usize },
}

#[inline(always)]
fn content(octets: &[u8]) -> Result<Content, Drop> {
    // What nearly all are: ESP, of which more than its SPI is there.
    if let Some([_, _, _, _, l0, l1, _, _, marker @ .., _]) = octets.first_chunk::<SHORTEST_ESP>() {
        let end = usize::from(u16::from_be_bytes([*l0, *l1]));
        if *marker != NON_ESP_MARKER && (SHORTEST_ESP..=octets.len()).contains(&end) {
            return Ok(Content::Esp { end });
        }
    }
    any_content(octets)
}

#[cold]
fn any_content(octets: &[u8]) -> Result<Content, Drop> {
    let datagram = udp::Datagram::parse(octets).ok_or(Drop::BadUdp)?;
    match datagram.payload() {
        [KEEPALIVE] => Ok(Content::Keepalive),
        payload if payload.starts_with(&NON_ESP_MARKER) => Ok(Content::Ike),
        payload if payload.len() > NON_ESP_MARKER.len() => Ok(Content::Esp { end: datagram.total_len() }),
        _ => Err(Drop::BadUdp),
    }
}
