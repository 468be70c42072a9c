//! Frames from a port, told apart: IPv6, ARP, IKE, ESP, ICMP to us, clear packets to forward. RFC 894, RFC 1812 §5.2.2.
//!
//! Enters: [`Frame`]. Leaves: frames to `neighbour` and `classify6`; checked IPv4 packets, without Ethernet header and padding, to the
//! rest. What a port may bring depends on its side: clients only speak IKE, ESP and ICMP to us.

use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;
use causeway_shared::net::{ethernet, ipv4, udp};

use super::{Clear, Facts, Fragmented, Frame, FromPeer, Out, State, esp_in_lookup};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Outer, Sink};
use crate::probe::Probe;

/// IKE (RFC 7296 §2).
pub(super) const PORT_IKE: u16 = 500;
/// IKE and UDP-encapsulated ESP behind NATs (RFC 3948).
pub(super) const PORT_NATT: u16 = 4500;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    frame: Frame<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Frame { port, buffer } = frame;
    let ours = state.port(port).ok_or(Drop::PolicyDenied)?;
    let (header, octets) =
        buffer.data().split_first_chunk::<{ ethernet::HEADER_LEN }>().ok_or(Drop::Truncated)?;
    let [to @ .., _, _, _, _, _, _, t0, t1] = header;
    if *to != ours.mac || u16::from_be_bytes([*t0, *t1]) != ethernet::TYPE_IPV4 {
        return no_ipv4(Frame { port, buffer }, state, out);
    }
    let packet = ipv4::Packet::parse(octets).map_err(|error| match error {
        ipv4::Ipv4Error::Truncated => Drop::Truncated,
        _ => Drop::BadIpv4Header,
    })?;
    if !ipv4::may_be_source(packet.source()) {
        return Err(Drop::BadIpv4Header);
    }
    if state.is_ours(packet.source()) {
        return Err(Drop::PolicyDenied);
    }
    let facts = Facts::of(&packet);
    match ours.role {
        PortRole::Outside => {
            if facts.destination != ours.address {
                return Err(Drop::PolicyDenied);
            }
            if packet.is_fragment() {
                let buffer = narrowed(buffer, ethernet::HEADER_LEN, usize::from(facts.len))?;
                return out.reassemble(Fragmented { buffer }, state);
            }
            let Facts { source, destination, tos, .. } = facts;
            let (start, len) = (ethernet::HEADER_LEN + packet.header_len(), packet.payload().len());
            match packet.protocol() {
                ipv4::PROTOCOL_UDP => {
                    let datagram = udp::Datagram::parse(packet.payload()).ok_or(Drop::BadUdp)?;
                    let ports = (datagram.source_port(), datagram.destination_port());
                    let outer = Outer::v4(source, destination, Some(ports), tos);
                    let packet = FromPeer { buffer: narrowed(buffer, start, len)?, outer };
                    match ports.1 {
                        PORT_NATT => out.natt(packet, state),
                        PORT_IKE => out.punt(packet, state),
                        _ => Err(Drop::NotForUs),
                    }
                }
                ipv4::PROTOCOL_ESP => {
                    let outer = Outer::v4(source, destination, None, tos);
                    esp_in_lookup::send(FromPeer { buffer: narrowed(buffer, start, len)?, outer }, state, out)
                }
                ipv4::PROTOCOL_ICMP => {
                    let buffer = narrowed(buffer, ethernet::HEADER_LEN, usize::from(facts.len))?;
                    out.local(Clear { buffer, ingress: Ingress::Port(port), facts }, state)
                }
                _ => Err(Drop::NotForUs),
            }
        }
        PortRole::Inside => {
            let to_us = state.is_ours(facts.destination);
            if to_us {
                match packet.protocol() {
                    ipv4::PROTOCOL_ICMP if packet.is_fragment() => return Err(Drop::Ipv4Fragment),
                    ipv4::PROTOCOL_ICMP => {}
                    _ => return Err(Drop::NotForUs),
                }
            }
            let buffer = narrowed(buffer, ethernet::HEADER_LEN, usize::from(facts.len))?;
            let clear = Clear { buffer, ingress: Ingress::Port(port), facts };
            if to_us { out.local(clear, state) } else { out.forward(clear, state) }
        }
    }
}

/// Frames that are not IPv4 to this port.
#[cold]
fn no_ipv4<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    frame: Frame<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let header = ethernet::Header::parse(frame.buffer.data()).ok_or(Drop::Truncated)?;
    let ours = state.port(frame.port).ok_or(Drop::PolicyDenied)?;
    let group = ethernet::is_group(header.destination);
    if header.destination != ours.mac && !group {
        return Err(Drop::NotOurMac);
    }
    match header.ether_type {
        ethernet::TYPE_ARP => out.neighbour(frame, state),
        // It is not to us alone, or it would not be here.
        ethernet::TYPE_IPV4 => Err(Drop::NotForUs),
        ethernet::TYPE_IPV6 => out.classify6(frame, state),
        _ => Err(Drop::UnknownEtherType),
    }
}

/// Without the headers in front of `start`, and what lies behind `len` octets.
#[inline(always)]
pub(super) fn narrowed<B: Buffer>(mut buffer: B, start: usize, len: usize) -> Result<B, Drop> {
    if buffer.narrow(start, len) { Ok(buffer) } else { Err(Drop::Truncated) }
}
