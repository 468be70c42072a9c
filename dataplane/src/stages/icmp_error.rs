//! Tells a sender why its packet was dropped (RFC 792, RFC 1812 §4.3.2, RFC 1191).
//!
//! Enters: [`Refused`], already counted as dropped. Leaves: an ICMP error in the same buffer, to `route` on the side the
//! packet came from, or to `policy_out` if it came through a tunnel. Rate-limited, and never about an ICMP error, a later
//! fragment, or a packet of our own.

use std::net::Ipv4Addr;

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp, ipv4};

use super::local::LOCAL_TTL;
use super::{Clear, Facts, Leaving, Out, Refused, State, policy_out};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

/// Octets of the whole error packet (RFC 1812 §4.3.2.3).
const MAX_ERROR_LEN: usize = 576;
/// DSCP CS6 (RFC 1812 §4.3.2.5: internetwork control).
const ERROR_TOS: u8 = 0xc0;
const HEADERS_LEN: usize = ipv4::HEADER_LEN + icmp::HEADER_LEN;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    refused: Refused<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    // What is not told is not counted again: the packet itself was.
    let Some((buffer, role, facts)) = error_about(refused, state) else { return Ok(()) };
    state.counters.flow(Flow::IcmpErrors, 1);
    let (ingress, destination) = (Ingress::Local, facts.destination);
    match role {
        Some(role) => out.route(Leaving { buffer, role, ingress, destination }, state),
        None => policy_out::send(Clear { buffer, ingress, facts }, state, out),
    }
}

/// The error, and the side it leaves by if not through a tunnel; `None` when nothing is to be said.
fn error_about<A: Allocator>(
    refused: Refused<A::Buffer>,
    state: &mut State<A>,
) -> Option<(A::Buffer, Option<PortRole>, Facts)> {
    let Refused { mut buffer, ingress, error } = refused;
    let to = sender_to_tell(buffer.data())?;
    let (from, role) = match ingress {
        Ingress::Port(port) => state.port(port).map(|port| (port.address, Some(port.role)))?,
        Ingress::Tunnel(_) => (state.inside_address()?, None),
        Ingress::Local => return None,
    };
    if !state.icmp_errors.permits(state.now) {
        return None;
    }
    let quoted = buffer.len().min(MAX_ERROR_LEN - HEADERS_LEN);
    let _ = buffer.truncate(quoted);
    let message = error.header(buffer.data());
    let total_len = u16::try_from(quoted + HEADERS_LEN).ok()?;
    let header = ipv4::Header {
        tos: ERROR_TOS,
        total_len,
        identification: state.next_identification(),
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: LOCAL_TTL,
        protocol: ipv4::PROTOCOL_ICMP,
        source: from,
        destination: to,
    };
    let place = buffer.prepend(HEADERS_LEN)?;
    place.iter_mut().zip(header.to_bytes().into_iter().chain(message)).for_each(|(to, from)| *to = from);
    let facts = Facts { source: from, destination: to, len: total_len, tos: ERROR_TOS, ttl: LOCAL_TTL };
    Some((buffer, role, facts))
}

/// Whom to tell; `None` for packets about which RFC 1812 §4.3.2.7 forbids an error.
fn sender_to_tell(octets: &[u8]) -> Option<Ipv4Addr> {
    let packet = ipv4::Packet::parse_quoted(octets).ok()?;
    let about_error = packet.protocol() == ipv4::PROTOCOL_ICMP
        && packet.payload().first().is_none_or(|kind| icmp::kind_is_error(*kind));
    let forbidden = about_error || packet.fragment_offset() != 0 || !ipv4::may_be_source(packet.source());
    (!forbidden).then(|| packet.source())
}
