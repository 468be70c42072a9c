//! Frames from a port, told apart: ARP, IKE, ESP, ICMP to us, clear packets to forward. RFC 894, RFC 1812 §5.2.2.
//!
//! Enters: [`Frame`]. Leaves: frames to `neighbour`; checked IPv4 packets, without Ethernet header and padding, to the
//! rest. What a port may bring depends on its side: clients only speak IKE, ESP and ICMP to us.

use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;
use causeway_shared::net::{ethernet, ipv4, udp};

use super::{Clear, Facts, Frame, FromPeer, Out, State, esp_in_lookup};
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
    let Frame { port, mut buffer } = frame;
    let ours = state.port(port).ok_or(Drop::PolicyDenied)?;
    let header = ethernet::Header::parse(buffer.data()).ok_or(Drop::Truncated)?;
    let group = ethernet::is_group(header.destination);
    if header.destination != ours.mac && !group {
        return Err(Drop::NotOurMac);
    }
    match header.ether_type {
        ethernet::TYPE_ARP => return out.neighbour(Frame { port, buffer }, state),
        ethernet::TYPE_IPV4 if group => return Err(Drop::NotForUs),
        ethernet::TYPE_IPV4 => {}
        _ => return Err(Drop::UnknownEtherType),
    }

    let octets = buffer.data().get(ethernet::HEADER_LEN..).ok_or(Drop::Truncated)?;
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
    let (facts, total_len, header_len) = (Facts::of(&packet), packet.total_len(), packet.header_len());
    let place = match ours.role {
        PortRole::Outside => from_outside(&packet, ours.address)?,
        PortRole::Inside => from_inside(&packet, state)?,
    };
    // The IPv4 header stays on a packet that is forwarded.
    let skipped = if place.is_clear() { 0 } else { header_len };
    if !buffer.narrow(ethernet::HEADER_LEN + skipped, total_len - skipped) {
        return Err(Drop::Truncated);
    }
    match place {
        Place::Local => out.local(Clear { buffer, ingress: Ingress::Port(port), facts }, state),
        Place::Forward => out.forward(Clear { buffer, ingress: Ingress::Port(port), facts }, state),
        Place::Ike(outer) => out.punt(FromPeer { buffer, outer }, state),
        Place::Natt(outer) => out.natt(FromPeer { buffer, outer }, state),
        Place::Esp(outer) => esp_in_lookup::send(FromPeer { buffer, outer }, state, out),
    }
}

enum Place {
    Local,
    Forward,
    Ike(Outer),
    Natt(Outer),
    Esp(Outer),
}

impl Place {
    /// Whether the IPv4 header stays on the packet.
    fn is_clear(&self) -> bool {
        matches!(self, Place::Local | Place::Forward)
    }
}

#[inline(always)]
fn from_outside(packet: &ipv4::Packet<'_>, our_address: std::net::Ipv4Addr) -> Result<Place, Drop> {
    if packet.destination() != our_address {
        return Err(Drop::PolicyDenied);
    }
    if packet.is_fragment() {
        return Err(Drop::Ipv4Fragment);
    }
    let (source, destination, tos) = (packet.source(), packet.destination(), packet.tos());
    match packet.protocol() {
        ipv4::PROTOCOL_ESP => Ok(Place::Esp(Outer { source, destination, udp: None, tos })),
        ipv4::PROTOCOL_ICMP => Ok(Place::Local),
        ipv4::PROTOCOL_UDP => {
            let datagram = udp::Datagram::parse(packet.payload()).ok_or(Drop::BadUdp)?;
            let ports = (datagram.source_port(), datagram.destination_port());
            let outer = Outer { source, destination, udp: Some(ports), tos };
            match ports.1 {
                PORT_IKE => Ok(Place::Ike(outer)),
                PORT_NATT => Ok(Place::Natt(outer)),
                _ => Err(Drop::NotForUs),
            }
        }
        _ => Err(Drop::NotForUs),
    }
}

#[inline(always)]
fn from_inside<A: Allocator>(packet: &ipv4::Packet<'_>, state: &State<A>) -> Result<Place, Drop> {
    if !state.is_ours(packet.destination()) {
        return Ok(Place::Forward);
    }
    match packet.protocol() {
        ipv4::PROTOCOL_ICMP if packet.is_fragment() => Err(Drop::Ipv4Fragment),
        ipv4::PROTOCOL_ICMP => Ok(Place::Local),
        _ => Err(Drop::NotForUs),
    }
}
