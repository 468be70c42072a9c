//! Where a clear IPv6 packet goes, as `forward` says for IPv4: to us, to a client, or to the LAN. RFC 8200 §3 (hop limit), RFC 4443 §3.1
//! (codes).
//!
//! Enters: [`Clear6`], from a client's tunnel or from the LAN. Leaves: to `local6`, to `policy_out6`, or to `route6` on the Inside; with its
//! hop limit reduced, or as [`Refused6`] to `icmp_error6`.

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp6, ipv6};

use super::{Clear, Clear6, Leaving6, Out, Refused6, State, ToClient};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;
use crate::sa::OutboundRoute;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { mut buffer, ingress, facts } = packet;
    let destination = facts.destination;
    if state.v6.is_ours_anywhere(destination) {
        return out.local6(Clear { buffer, ingress, facts }, state);
    }
    // Neither multicast nor what is of one link (RFC 4291 §2.5.6: a router must not forward it).
    if !ipv6::may_be_forwarded(destination) || !ipv6::may_be_forwarded(facts.source) {
        return Err(Drop::NotForUs);
    }
    let from_client = matches!(ingress, Ingress::Tunnel(_));
    let client = match state.tables.outbound6.lookup(destination) {
        OutboundRoute::Client(inbound_spi) => Some(inbound_spi),
        OutboundRoute::Vacant => {
            let error = icmp6::Error::AddressUnreachable;
            let _ = out.icmp_error6(Refused6 { buffer, ingress, error }, state);
            return Err(Drop::NoSession);
        }
        OutboundRoute::Elsewhere if from_client => None,
        // We route between clients and the LAN, not from the LAN to anywhere.
        OutboundRoute::Elsewhere => return Err(Drop::PolicyDenied),
    };
    if let Some(inbound_spi) = client {
        state.tables.sas.expect_outbound(inbound_spi);
    }
    if facts.hop_limit <= 1 || !ipv6::decrement_hop_limit(buffer.data_mut()) {
        let error = icmp6::Error::HopLimitExceeded;
        let _ = out.icmp_error6(Refused6 { buffer, ingress, error }, state);
        return Err(Drop::TtlExceeded);
    }
    let Some(inbound_spi) = client else {
        let leaving =
            Leaving6 { buffer, role: PortRole::Inside, port: None, ingress, destination, mtu: u16::MAX };
        return out.route6(leaving, state);
    };
    if from_client {
        state.counters.flow(Flow::Hairpinned, 1);
    }
    out.policy_out6(ToClient { buffer, ingress, facts, inbound_spi }, state)
}
