//! Whether the SA may carry the IPv6 packet that came out of it (RFC 4301 §5.2 step 4), as `policy_in` does for IPv4.
//!
//! Enters: [`InSa6`] with a checked inner packet. Leaves: [`Clear6`] to `forward6`.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv6;

use super::{Clear, InSa, InSa6, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::Flow;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, place, ingress, facts } = packet;
    let sas = &state.tables.sas;
    let takes = sas.takes6(place, facts.source, facts.destination)
        || ipv6::Packet::parse(buffer.data())
            .is_ok_and(|inner| sas.selectors_take_inbound(place, &Flow::of6(&inner)));
    // Whatever the selectors say, nobody speaks in our name or in that of no host.
    if !takes || !ipv6::may_be_forwarded(facts.source) || state.v6.is_ours_anywhere(facts.source) {
        return Err(state.refused(place, SaDirection::Inbound, Drop::SelectorMismatch, out.sink));
    }
    out.forward6(Clear { buffer, ingress, facts }, state)
}
