//! Whether the SA may carry what came out of it (RFC 4301 §5.2 step 4): the inner source must be the client's, the inner
//! destination one the client may reach. Without this one client could speak in another's name.
//!
//! Enters: [`InSa`] with a checked inner packet. Leaves: [`Clear`] to `forward`.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;

use super::{Clear, InSa, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::Flow;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let sa = state.tables.sas.inbound(packet.place).ok_or(Drop::UnknownSpi)?;
    if !sa.takes(packet.facts.source, packet.facts.destination) {
        return by_full_list(packet, state, out);
    }
    selected(packet, state, out)
}

/// A packet that is not of the selectors' common case.
#[cold]
fn by_full_list<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let takes = ipv4::Packet::parse(packet.buffer.data())
        .is_ok_and(|inner| state.tables.sas.selectors_take_inbound(packet.place, &Flow::of(&inner)));
    if !takes {
        return Err(state.refused(packet.place, SaDirection::Inbound, Drop::SelectorMismatch, out.sink));
    }
    selected(packet, state, out)
}

/// Whatever the selectors say, nobody speaks in our name or in that of no host.
#[inline(always)]
fn selected<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, place, ingress, facts } = packet;
    if !ipv4::may_be_source(facts.source) || state.is_ours(facts.source) {
        return Err(state.refused(place, SaDirection::Inbound, Drop::SelectorMismatch, out.sink));
    }
    out.forward(Clear { buffer, ingress, facts }, state)
}
