//! IPv6 frames from a port, told apart as `classify` does for IPv4: neighbour discovery, IKE, ESP, ICMPv6 to us, clear
//! packets to forward. RFC 2464 (Ethernet), RFC 4291 §2.8 (what a router takes), RFC 8200.
//!
//! Enters: [`Frame`] of Ethernet type IPv6, to us or to a group. Leaves: messages of neighbour discovery to `neighbour6`; checked packets,
//! without Ethernet header and padding, to the rest. Of packets to groups only neighbour discovery is taken.

use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;
use causeway_shared::net::{ethernet, ipv4, ipv6, ndp, udp};

use super::classify::{PORT_IKE, PORT_NATT, narrowed};
use super::{Clear, Facts6, Frame, FromPeer, Out, State, esp_in_lookup};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Outer, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    frame: Frame<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Frame { port, buffer } = frame;
    let ours = state.port(port).ok_or(Drop::PolicyDenied)?;
    if ours.address6.is_none() {
        return Err(Drop::UnknownEtherType);
    }
    let octets = buffer.data().get(ethernet::HEADER_LEN..).ok_or(Drop::Truncated)?;
    let packet = ipv6::Packet::parse(octets).map_err(reason_of)?;
    let facts = Facts6::of(&packet)?;
    if is_neighbour_discovery(&packet) {
        return out.neighbour6(Frame { port, buffer }, state);
    }
    if facts.destination.is_multicast() {
        return Err(Drop::NotForUs);
    }
    if !ipv6::may_be_forwarded(facts.source) && !facts.source.is_unicast_link_local() {
        return Err(Drop::BadIpv6Header);
    }
    if state.v6.is_ours(facts.source, port) {
        return Err(Drop::PolicyDenied);
    }
    let to_us = match ours.role {
        PortRole::Outside if !state.v6.of_port(port).any(|ours| ours == facts.destination) => {
            return Err(Drop::PolicyDenied);
        }
        PortRole::Outside => true,
        PortRole::Inside => state.v6.is_ours(facts.destination, port),
    };
    if to_us {
        if packet.is_fragment() {
            return Err(Drop::Ipv6Fragment);
        }
        let is_esp = matches!(packet.protocol(), ipv4::PROTOCOL_UDP | ipv4::PROTOCOL_ESP);
        if ours.role == PortRole::Outside && is_esp {
            let parts = Tunnelled::of(&packet, &facts)?;
            return parts.send(buffer, state, out);
        }
        if packet.protocol() != ipv6::PROTOCOL_ICMPV6 {
            return Err(Drop::NotForUs);
        }
    }
    let buffer = narrowed(buffer, ethernet::HEADER_LEN, usize::from(facts.len))?;
    let clear = Clear { buffer, ingress: Ingress::Port(port), facts };
    if to_us { out.local6(clear, state) } else { out.forward6(clear, state) }
}

/// IKE or ESP from outside: where it lies in the frame, and how it came.
struct Tunnelled {
    start: usize,
    len: usize,
    outer: Outer,
}

impl Tunnelled {
    fn of(packet: &ipv6::Packet<'_>, facts: &Facts6) -> Result<Tunnelled, Drop> {
        let upper = packet.upper_layer();
        let ports = if packet.protocol() == ipv4::PROTOCOL_UDP {
            let datagram = udp::Datagram::parse(upper).ok_or(Drop::BadUdp)?;
            Some((datagram.source_port(), datagram.destination_port()))
        } else {
            None
        };
        let distance = facts.len.checked_sub(upper.len() as u16).ok_or(Drop::BadIpv6Header)?;
        let outer = Outer::v6(facts.source, distance, ports, facts.traffic_class);
        Ok(Tunnelled { start: ethernet::HEADER_LEN + usize::from(distance), len: upper.len(), outer })
    }

    fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
        self,
        buffer: A::Buffer,
        state: &mut State<A>,
        out: &mut Out<'_, A::Buffer, S, P>,
    ) -> Result<(), Drop> {
        let Tunnelled { start, len, outer } = self;
        let packet = FromPeer { buffer: narrowed(buffer, start, len)?, outer };
        match outer.udp {
            None => esp_in_lookup::send(packet, state, out),
            Some((_, PORT_NATT)) => out.natt(packet, state),
            Some((_, PORT_IKE)) => out.punt(packet, state),
            Some(_) => Err(Drop::NotForUs),
        }
    }
}

/// Solicitations and advertisements, of which every one is looked at, whomever it is for.
fn is_neighbour_discovery(packet: &ipv6::Packet<'_>) -> bool {
    packet.protocol() == ipv6::PROTOCOL_ICMPV6
        && matches!(packet.upper_layer().first(), Some(&(ndp::SOLICITATION | ndp::ADVERTISEMENT)))
}

/// Why octets are no IPv6 packet.
pub(super) fn reason_of(error: ipv6::Ipv6Error) -> Drop {
    match error {
        ipv6::Ipv6Error::Truncated => Drop::Truncated,
        ipv6::Ipv6Error::Header | ipv6::Ipv6Error::Extensions => Drop::BadIpv6Header,
    }
}
