//! Where a clear packet goes: to us, to a client, or to the LAN. RFC 1812 §5.3.1 (TTL).
//!
//! Enters: [`Clear`], from a client's tunnel or from the LAN. Leaves: to `local`, to `policy_out`, or to `route` on the
//! Inside; with its TTL reduced, or as [`Refused`] to `icmp_error`.

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp, ipv4};

use super::{Clear, Leaving, Out, Refused, State, ToClient};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;
use crate::sa::OutboundRoute;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { mut buffer, ingress, facts } = packet;
    let destination = facts.destination;
    if state.is_ours(destination) {
        return out.local(Clear { buffer, ingress, facts }, state);
    }
    // Multicast, broadcast, loopback: nothing of that is forwarded.
    if !ipv4::may_be_source(destination) {
        return Err(Drop::NotForUs);
    }
    let from_client = matches!(ingress, Ingress::Tunnel(_));
    let client = match state.tables.outbound.lookup(destination) {
        OutboundRoute::Client(inbound_spi) => Some(inbound_spi),
        OutboundRoute::Vacant => {
            let error = icmp::Error::HostUnreachable;
            let _ = out.icmp_error(Refused { buffer, ingress, error }, state);
            return Err(Drop::NoSession);
        }
        OutboundRoute::Elsewhere if from_client => None,
        // We route between clients and the LAN, not from the LAN to anywhere.
        OutboundRoute::Elsewhere => return Err(Drop::PolicyDenied),
    };
    if let Some(inbound_spi) = client {
        state.tables.sas.expect_outbound(inbound_spi);
    }
    if facts.ttl <= 1 || !ipv4::decrement_ttl(buffer.data_mut()) {
        let _ = out.icmp_error(Refused { buffer, ingress, error: icmp::Error::TimeExceeded }, state);
        return Err(Drop::TtlExceeded);
    }
    let Some(inbound_spi) = client else {
        return out.route(Leaving { buffer, role: PortRole::Inside, ingress, destination }, state);
    };
    if from_client {
        state.counters.flow(Flow::Hairpinned, 1);
    }
    out.policy_out(ToClient { buffer, ingress, facts, inbound_spi }, state)
}
