//! IKE datagrams from the control plane on their way out (RFC 7296 §2, RFC 3948 §2.2).
//!
//! Enters: a [`Datagram`]. Leaves: one IPv4 packet, or fragments if it is larger than the MTU, to `route`. A stage only
//! by name: it is the entry of what the worker brings, not of what ports bring.

use std::net::{IpAddr, Ipv4Addr};

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ipv4, udp};
use causeway_shared::wire::{Datagram, MAX_DATAGRAM};

use super::classify::{PORT_IKE, PORT_NATT};
use super::local::LOCAL_TTL;
use super::natt::NON_ESP_MARKER;
use super::{Leaving, Out, State, ike_out6};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

pub(crate) fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    datagram: &Datagram,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let (local, peer) = match (datagram.local, datagram.peer) {
        (IpAddr::V4(local), IpAddr::V4(peer)) => (local, peer),
        (IpAddr::V6(local), IpAddr::V6(peer)) => return ike_out6::send(datagram, (local, peer), state, out),
        _ => return Err(Drop::PolicyDenied),
    };
    let port = state.config.ports.iter().find(|port| port.address == local);
    let port = port.ok_or(Drop::PolicyDenied)?;
    let (role, mtu) = (port.role, usize::from(port.mtu));
    let Content { unsummed, length, parts } = content(datagram)?;
    let sum = udp::checksum(local, peer, &unsummed, &parts);
    let header = udp::header(datagram.local_port, datagram.peer_port, length, sum);

    let identification = state.next_identification();
    let mut start = 0;
    while start < usize::from(length) {
        let buffer = state.allocator.allocate().ok_or(Drop::NoBuffer)?;
        let most = mtu.min(buffer.tailroom()).saturating_sub(ipv4::HEADER_LEN) / 8 * 8;
        let end = usize::from(length).min(start + most.max(8));
        let octets = header.iter().chain(parts.iter().copied().flatten()).skip(start).take(end - start);
        let piece = Piece { start, len: end - start, more: end < usize::from(length), identification };
        let buffer = piece.build(buffer, local, peer, octets).ok_or(Drop::NoBuffer)?;
        out.route(Leaving { buffer, role, ingress: Ingress::Local, destination: peer }, state)?;
        if start > 0 {
            state.counters.flow(Flow::FragmentsMade, 1);
        }
        start = end;
    }
    state.counters.flow(Flow::SentIke, 1);
    Ok(())
}

/// What the UDP datagram is made of: its header without a checksum, its length, the marker if there is one and the message.
pub(super) struct Content<'a> {
    pub unsummed: [u8; udp::HEADER_LEN],
    pub length: u16,
    pub parts: [&'a [u8]; 2],
}

/// Puts the marker in front where it belongs.
pub(super) fn content(datagram: &Datagram) -> Result<Content<'_>, Drop> {
    let marker: &[u8] = match datagram.local_port {
        PORT_IKE => &[],
        PORT_NATT => &NON_ESP_MARKER,
        _ => return Err(Drop::PolicyDenied),
    };
    if datagram.payload.is_empty() || datagram.payload.len() > MAX_DATAGRAM {
        return Err(Drop::TooBig);
    }
    let length = udp::HEADER_LEN + marker.len() + datagram.payload.len();
    let length = u16::try_from(length).map_err(|_| Drop::TooBig)?;
    let unsummed = udp::header(datagram.local_port, datagram.peer_port, length, 0);
    Ok(Content { unsummed, length, parts: [marker, &datagram.payload] })
}

/// One IPv4 packet of the datagram.
struct Piece {
    start: usize,
    len: usize,
    more: bool,
    identification: u16,
}

impl Piece {
    fn build<'a, B: Buffer>(
        &self,
        mut buffer: B,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        octets: impl Iterator<Item = &'a u8>,
    ) -> Option<B> {
        let header = ipv4::Header {
            tos: 0,
            total_len: u16::try_from(ipv4::HEADER_LEN + self.len).ok()?,
            identification: self.identification,
            dont_fragment: false,
            more_fragments: self.more,
            fragment_offset: u16::try_from(self.start).ok()?,
            ttl: LOCAL_TTL,
            protocol: ipv4::PROTOCOL_UDP,
            source,
            destination,
        };
        let place = buffer.append(ipv4::HEADER_LEN + self.len)?;
        let (to_header, to_part) = place.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
        *to_header = header.to_bytes();
        to_part.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        Some(buffer)
    }
}
