//! From an IPv6 packet for a client to the SA it leaves by, as `policy_out` does for IPv4 (RFC 4301 §5.1).
//!
//! Enters: [`ToClient6`], from the LAN, from another client, or made here. Leaves: [`InSa6`] to `pmtu6`, or the packet to the worker that owns
//! the SA.

use causeway_shared::counters::{Drop, Flow as FlowCounter};
use causeway_shared::net::ipv6;

use super::{Clear, Clear6, InSa, Out, State, ToClient, ToClient6};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Handoff, SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::{Flow, OutboundRoute};

/// Towards this stage, for a packet of which only the destination is known.
pub(crate) fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { buffer, ingress, facts } = packet;
    let OutboundRoute::Client(inbound_spi) = state.tables.outbound6.lookup(facts.destination) else {
        return Err(Drop::NoSession);
    };
    state.tables.sas.expect_outbound(inbound_spi);
    out.policy_out6(ToClient { buffer, ingress, facts, inbound_spi }, state)
}

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: ToClient6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let ToClient { buffer, ingress, facts, inbound_spi } = packet;
    let sas = &state.tables.sas;
    let (owner, place) = sas.locate(inbound_spi);
    if owner != state.config.worker {
        out.sink.handoff(owner, Handoff::EspOut6 { buffer, ingress }).map_err(|_| Drop::HandoffFull)?;
        state.counters.flow(FlowCounter::HandedOff, 1);
        return Ok(());
    }
    let sa = sas.outbound(place).filter(|sa| sa.inbound_spi() == inbound_spi).ok_or(Drop::NoSession)?;
    if sa.is_over() {
        return Err(state.refused(place, SaDirection::Outbound, Drop::SaExpired, out.sink));
    }
    let takes = sas.takes6(place, facts.destination, facts.source)
        || ipv6::Packet::parse(buffer.data())
            .is_ok_and(|inner| sas.selectors_take_outbound(place, &Flow::of6(&inner)));
    if !takes {
        return Err(state.refused(place, SaDirection::Outbound, Drop::SelectorMismatch, out.sink));
    }
    out.pmtu6(InSa { buffer, place, ingress, facts }, state)
}
