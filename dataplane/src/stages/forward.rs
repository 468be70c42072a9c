//! Where a clear packet goes: to us, to a client, or to the LAN. RFC 1812 §5.3.1 (TTL).
//!
//! Enters: [`Clear`], from a client's tunnel or from the LAN. Leaves: to `local`, to `policy_out`, or to `route` on the
//! Inside; with its TTL reduced, or as [`Refused`] to `icmp_error`.

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp, ipv4};

use super::{Clear, Leaving, Out, Queue, Refused, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;
use crate::sa::OutboundRoute;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<Clear<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = forward(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn forward<A: Allocator, S, P>(
    packet: Clear<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { mut buffer, ingress } = packet;
    let header = ipv4::Packet::parse(buffer.data()).map_err(|_| Drop::BadIpv4Header)?;
    let (destination, ttl) = (header.destination(), header.ttl());
    if state.is_ours(destination) {
        return out.queues.local.push(Clear { buffer, ingress });
    }
    // Multicast, broadcast, loopback: nothing of that is forwarded.
    if !ipv4::may_be_source(destination) {
        return Err(Drop::NotForUs);
    }
    let from_client = matches!(ingress, Ingress::Tunnel(_));
    let to_client = match state.tables.outbound.lookup(destination) {
        OutboundRoute::Client(_) => true,
        OutboundRoute::Vacant => {
            let _ =
                out.queues.icmp_error.push(Refused { buffer, ingress, error: icmp::Error::HostUnreachable });
            return Err(Drop::NoSession);
        }
        OutboundRoute::Elsewhere if from_client => false,
        // We route between clients and the LAN, not from the LAN to anywhere.
        OutboundRoute::Elsewhere => return Err(Drop::PolicyDenied),
    };
    if ttl <= 1 || !ipv4::decrement_ttl(buffer.data_mut()) {
        let _ = out.queues.icmp_error.push(Refused { buffer, ingress, error: icmp::Error::TimeExceeded });
        return Err(Drop::TtlExceeded);
    }
    if !to_client {
        return out.queues.route.push(Leaving { buffer, role: PortRole::Inside, ingress });
    }
    if from_client {
        state.counters.flow(Flow::Hairpinned, 1);
    }
    out.queues.policy_out.push(Clear { buffer, ingress })
}
