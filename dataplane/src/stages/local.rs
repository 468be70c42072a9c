//! Packets to our own addresses: ICMP echo is answered (RFC 1122 §3.2.2.6), nothing else listens.
//!
//! Enters: [`Clear`] to us. Leaves: the reply in the same buffer, to `route` on the side it came from, or to `policy_out`
//! if it came through a tunnel.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{checksum, icmp, ipv4};

use super::{Clear, Facts, Leaving, Out, State, policy_out};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

/// TTL of what we send.
pub(super) const LOCAL_TTL: u8 = 64;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { mut buffer, ingress, facts } = packet;
    let header_len = check(buffer.data())?;
    turn_round(buffer.data_mut(), header_len);
    let pushed = match ingress {
        Ingress::Port(port) => {
            let role = state.port(port).ok_or(Drop::NotForUs)?.role;
            let destination = facts.source;
            out.route(Leaving { buffer, role, ingress: Ingress::Local, destination }, state)
        }
        Ingress::Tunnel(_) => {
            let facts =
                Facts { source: facts.destination, destination: facts.source, ttl: LOCAL_TTL, ..facts };
            policy_out::send(Clear { buffer, ingress: Ingress::Local, facts }, state, out)
        }
        Ingress::Local => Err(Drop::NotForUs),
    };
    if pushed.is_ok() {
        state.counters.flow(Flow::IcmpEchoReplies, 1);
    }
    pushed
}

/// The header's length, if the packet is an echo request.
fn check(octets: &[u8]) -> Result<usize, Drop> {
    let packet = ipv4::Packet::parse(octets).map_err(|_| Drop::BadIpv4Header)?;
    if packet.is_fragment() {
        return Err(Drop::Ipv4Fragment);
    }
    if packet.protocol() != ipv4::PROTOCOL_ICMP {
        return Err(Drop::NotForUs);
    }
    let message = icmp::Message::parse(packet.payload()).ok_or(Drop::BadIcmp)?;
    if (message.kind, message.code) != (icmp::ECHO_REQUEST, 0) {
        return Err(Drop::NotForUs);
    }
    Ok(packet.header_len())
}

fn turn_round(octets: &mut [u8], header_len: usize) {
    let Some((header, message)) = octets.split_at_mut_checked(header_len) else { return };
    icmp::make_echo_reply(message);
    if let Some(fixed) = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
        [fixed[12], fixed[13], fixed[14], fixed[15]] = [d0, d1, d2, d3];
        [fixed[16], fixed[17], fixed[18], fixed[19]] = [s0, s1, s2, s3];
        fixed[8] = LOCAL_TTL;
        [fixed[10], fixed[11]] = [0, 0];
    }
    let sum = checksum::of(header).to_be_bytes();
    if let Some(place) = header.get_mut(10..12) {
        place.copy_from_slice(&sum);
    }
}
