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
    let InSa { buffer, place, ingress, facts } = packet;
    let sa = state.tables.sas.inbound(place).ok_or(Drop::UnknownSpi)?;
    let selected = sa.takes(facts.source, facts.destination) || in_full_list(buffer.data(), place, state);
    if selected && ipv4::may_be_source(facts.source) && !state.is_ours(facts.source) {
        out.forward(Clear { buffer, ingress, facts }, state)
    } else {
        Err(state.refused(place, SaDirection::Inbound, Drop::SelectorMismatch, out.sink))
    }
}

#[cold]
fn in_full_list<A: Allocator>(octets: &[u8], place: u32, state: &State<A>) -> bool {
    ipv4::Packet::parse(octets)
        .is_ok_and(|packet| state.tables.sas.selectors_take_inbound(place, &Flow::of(&packet)))
}
