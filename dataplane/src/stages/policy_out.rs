//! From a packet for a client to the SA it leaves by (RFC 4301 §5.1): the pool's array names the SA, its selectors decide.
//!
//! Enters: [`ToClient`], from the LAN, from another client, or made here. Leaves: [`InSa`] to `pmtu`, or the
//! packet to the worker that owns the SA.

use causeway_shared::counters::{Drop, Flow as FlowCounter};
use causeway_shared::net::ipv4;

use super::{Clear, InSa, Out, State, ToClient};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Handoff, SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::{Flow, OutboundRoute};

/// Towards this stage, for a packet of which only the destination is known.
pub(crate) fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { buffer, ingress, facts } = packet;
    let OutboundRoute::Client(inbound_spi) = state.tables.outbound.lookup(facts.destination) else {
        return Err(Drop::NoSession);
    };
    state.tables.sas.expect_outbound(inbound_spi);
    out.policy_out(ToClient { buffer, ingress, facts, inbound_spi }, state)
}

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: ToClient<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let ToClient { buffer, ingress, facts, inbound_spi } = packet;
    let (owner, place) = state.tables.sas.locate(inbound_spi);
    if owner != state.config.worker {
        out.sink.handoff(owner, Handoff::EspOut { buffer, ingress }).map_err(|_| Drop::HandoffFull)?;
        state.counters.flow(FlowCounter::HandedOff, 1);
        return Ok(());
    }
    let sa = state.tables.sas.outbound(place).filter(|sa| sa.inbound_spi() == inbound_spi);
    let sa = sa.ok_or(Drop::NoSession)?;
    if sa.is_over() {
        return Err(state.refused(place, SaDirection::Outbound, Drop::SaExpired, out.sink));
    }
    let packet = InSa { buffer, place, ingress, facts };
    if !sa.takes(facts.source, facts.destination) {
        return by_full_list(packet, state, out);
    }
    out.pmtu(packet, state)
}

/// A packet that is not of the selectors' common case.
#[cold]
fn by_full_list<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let place = packet.place;
    let selected = ipv4::Packet::parse(packet.buffer.data())
        .is_ok_and(|inner| state.tables.sas.selectors_take_outbound(place, &Flow::of(&inner)));
    if !selected {
        return Err(state.refused(place, SaDirection::Outbound, Drop::SelectorMismatch, out.sink));
    }
    out.pmtu(packet, state)
}
