//! Tells an IPv6 sender why its packet was dropped (RFC 4443 §2.4, §3).
//!
//! Enters: [`Refused6`], already counted as dropped. Leaves: an ICMPv6 error in the same buffer, to `route6` on the side the packet came
//! from, or to `policy_out6` if it came through a tunnel. Rate-limited together with IPv4's, and never about an error, a redirect, a
//! packet to a group, or a packet of our own.

use std::net::Ipv6Addr;

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp6, ipv6};

use super::local::LOCAL_TTL;
use super::{Clear, Facts6, Leaving6, Out, Refused6, State, policy_out6};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

/// DSCP CS6 (RFC 2474 §4.2.2.2: internetwork control).
const ERROR_TRAFFIC_CLASS: u8 = 0xc0;
const HEADERS_LEN: usize = ipv6::HEADER_LEN + icmp6::HEADER_LEN;
/// Octets of the packet that are quoted (RFC 4443 §2.4 c): as many as the smallest MTU has room for.
const MAX_QUOTED: usize = ipv6::MIN_MTU as usize - HEADERS_LEN;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    refused: Refused6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    // What is not told is not counted again: the packet itself was.
    let Some((buffer, role, facts)) = error_about(refused, state) else { return Ok(()) };
    state.counters.flow(Flow::IcmpErrors, 1);
    let (ingress, destination) = (Ingress::Local, facts.destination);
    match role {
        Some(role) => {
            out.route6(Leaving6 { buffer, role, port: None, ingress, destination, mtu: u16::MAX }, state)
        }
        None => policy_out6::send(Clear { buffer, ingress, facts }, state, out),
    }
}

/// The error, and the side it leaves by if not through a tunnel; `None` when nothing is to be said.
fn error_about<A: Allocator>(
    refused: Refused6<A::Buffer>,
    state: &mut State<A>,
) -> Option<(A::Buffer, Option<PortRole>, Facts6)> {
    let Refused6 { mut buffer, ingress, error } = refused;
    let to = sender_to_tell(buffer.data())?;
    let (from, role) = match ingress {
        Ingress::Port(port) => state.port(port).map(|port| (port.address6, Some(port.role)))?,
        Ingress::Tunnel(_) => {
            let inside = state.config.ports.iter().filter(|port| port.role == PortRole::Inside);
            (inside.filter_map(|port| port.address6).next(), None)
        }
        Ingress::Local => return None,
    };
    let from = from?.address;
    if !state.icmp_errors.permits(state.now) {
        return None;
    }
    let quoted = buffer.len().min(MAX_QUOTED);
    let _ = buffer.truncate(quoted);
    let message = error.header(from, to, buffer.data());
    let header = ipv6::Header {
        traffic_class: ERROR_TRAFFIC_CLASS,
        flow_label: 0,
        payload_len: u16::try_from(icmp6::HEADER_LEN + quoted).ok()?,
        next_header: ipv6::PROTOCOL_ICMPV6,
        hop_limit: LOCAL_TTL,
        source: from,
        destination: to,
    };
    let place = buffer.prepend(HEADERS_LEN)?;
    place.iter_mut().zip(header.to_bytes().into_iter().chain(message)).for_each(|(to, from)| *to = from);
    let facts = Facts6 {
        source: from,
        destination: to,
        len: u16::try_from(HEADERS_LEN + quoted).ok()?,
        traffic_class: ERROR_TRAFFIC_CLASS,
        hop_limit: LOCAL_TTL,
    };
    Some((buffer, role, facts))
}

/// Whom to tell; `None` for packets about which RFC 4443 §2.4 e forbids an error. What lies behind a later fragment's header is no
/// header: about such a packet nothing is said, either.
fn sender_to_tell(octets: &[u8]) -> Option<Ipv6Addr> {
    let packet = ipv6::Packet::parse(octets).ok()?;
    let about_error = packet.protocol() == ipv6::PROTOCOL_ICMPV6
        && packet.upper_layer().first().is_none_or(|kind| icmp6::is_error_or_redirect(*kind));
    let forbidden = about_error
        || packet.is_later_fragment()
        || packet.destination().is_multicast()
        || !ipv6::may_be_forwarded(packet.source());
    (!forbidden).then(|| packet.source())
}
