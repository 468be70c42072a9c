//! IPv6 packets to our own addresses: ICMPv6 echo is answered (RFC 4443 §4.2), "packet too big" goes to `path_mtu6`, nothing else
//! listens.
//!
//! Enters: [`Clear6`] to us. Leaves: the reply in the same buffer, to `route6` on the side it came from, or to `policy_out6` if it came
//! through a tunnel.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp6, ipv6};

use super::local::LOCAL_TTL;
use super::{Clear, Clear6, Facts6, Leaving6, Out, State, path_mtu6, policy_out6};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { mut buffer, ingress, facts } = packet;
    let message_start = check(buffer.data())?;
    let message = buffer.data().get(message_start..).unwrap_or_default();
    if message.first() != Some(&icmp6::ECHO_REQUEST) {
        return path_mtu6::take(message, facts.destination, state, out.sink);
    }
    turn_round(buffer.data_mut(), message_start);
    let (source, destination) = (facts.destination, facts.source);
    let pushed = match ingress {
        Ingress::Port(port) => {
            let role = state.port(port).ok_or(Drop::NotForUs)?.role;
            // A host of the link alone is reached on its link alone.
            let on_link = destination.is_unicast_link_local().then_some(port);
            out.route6(
                Leaving6 { buffer, role, port: on_link, ingress: Ingress::Local, destination, mtu: u16::MAX },
                state,
            )
        }
        Ingress::Tunnel(_) => {
            let facts = Facts6 { source, destination, hop_limit: LOCAL_TTL, ..facts };
            policy_out6::send(Clear { buffer, ingress: Ingress::Local, facts }, state, out)
        }
        Ingress::Local => Err(Drop::NotForUs),
    };
    if pushed.is_ok() {
        state.counters.flow(Flow::IcmpEchoReplies, 1);
    }
    pushed
}

/// Where the message begins, if the packet is an echo request or says that one of ours was too big.
fn check(octets: &[u8]) -> Result<usize, Drop> {
    let packet = ipv6::Packet::parse(octets).map_err(|_| Drop::BadIpv6Header)?;
    if packet.is_fragment() {
        return Err(Drop::Ipv6Fragment);
    }
    if packet.protocol() != ipv6::PROTOCOL_ICMPV6 {
        return Err(Drop::NotForUs);
    }
    let message = packet.upper_layer();
    if message.len() < icmp6::HEADER_LEN
        || icmp6::checksum(packet.source(), packet.destination(), &[message]) != 0
    {
        return Err(Drop::BadIcmp);
    }
    match message {
        [icmp6::ECHO_REQUEST, 0, ..] | [icmp6::PACKET_TOO_BIG, 0, ..] => {
            Ok(packet.total_len() - message.len())
        }
        _ => Err(Drop::NotForUs),
    }
}

fn turn_round(octets: &mut [u8], message_start: usize) {
    let Some((headers, message)) = octets.split_at_mut_checked(message_start) else { return };
    icmp6::make_echo_reply(message);
    if let Some([_, _, _, _, _, _, _, hop_limit, addresses @ ..]) =
        headers.first_chunk_mut::<{ ipv6::HEADER_LEN }>()
    {
        *hop_limit = LOCAL_TTL;
        let (source, destination) = addresses.split_at_mut(16);
        source.swap_with_slice(destination);
    }
}
