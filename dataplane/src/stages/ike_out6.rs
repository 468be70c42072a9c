//! IKE datagrams from the control plane on their way out over IPv6, as `ike_out` sends them over IPv4.
//!
//! Enters: a [`Datagram`] from one of our IPv6 addresses. Leaves: one packet, or fragments if it is larger than 1280 octets, which every
//! path lets through (RFC 8200 §5), to `route6`.

use std::net::Ipv6Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ipv4, ipv6, udp};
use causeway_shared::wire::Datagram;

use super::ike_out::{self, Content};
use super::local::LOCAL_TTL;
use super::{Leaving6, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

pub(super) fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    datagram: &Datagram,
    (local, peer): (Ipv6Addr, Ipv6Addr),
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let id = state.v6.port_of(local).ok_or(Drop::PolicyDenied)?;
    let role = state.port(id).ok_or(Drop::PolicyDenied)?.role;
    let Content { unsummed, length, parts } = ike_out::content(datagram)?;
    let sum = udp::checksum6(local, peer, &unsummed, &parts);
    let udp_header = udp::header(datagram.local_port, datagram.peer_port, length, sum);
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: length,
        next_header: ipv4::PROTOCOL_UDP,
        hop_limit: LOCAL_TTL,
        source: local,
        destination: peer,
    };
    let header = header.to_bytes();
    let port = peer.is_unicast_link_local().then_some(id);
    let length = usize::from(length);
    let whole = ipv6::HEADER_LEN + length <= usize::from(ipv6::MIN_MTU);
    let most = usize::from(ipv6::MIN_MTU) - ipv6::HEADER_LEN - ipv6::FRAGMENT_LEN;
    let step = if whole { length } else { most / 8 * 8 };
    let identification = state.v6.next_identification();
    for start in (0..length).step_by(step) {
        let len = step.min(length - start);
        let more = start + len < length;
        let fragment =
            ipv6::fragment_headers(&header, len, start, more, identification).ok_or(Drop::TooBig)?;
        let front: &[u8] = if whole { &header } else { &fragment };
        let octets = udp_header.iter().chain(parts.iter().copied().flatten()).skip(start).take(len);
        let mut buffer = state.allocator.allocate().ok_or(Drop::NoBuffer)?;
        let place = buffer.append(front.len() + len).ok_or(Drop::NoBuffer)?;
        place.iter_mut().zip(front.iter().chain(octets)).for_each(|(to, from)| *to = *from);
        let (ingress, destination) = (Ingress::Local, peer);
        out.route6(Leaving6 { buffer, role, port, ingress, destination, mtu: u16::MAX }, state)?;
        if start > 0 {
            state.counters.flow(Flow::FragmentsMade, 1);
        }
    }
    state.counters.flow(Flow::SentIke, 1);
    Ok(())
}
