//! Whether the SA may carry what came out of it (RFC 4301 §5.2 step 4): the inner source must be the client's, the inner
//! destination one the client may reach. Without this one client could speak in another's name.
//!
//! Enters: [`InSa`] with a checked inner packet. Leaves: [`Clear`] to `forward`.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;

use super::{Clear, InSa, Out, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::Sink;
use crate::probe::Probe;
use crate::sa::Flow;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<InSa<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        let InSa { buffer, slot, ingress } = packet;
        let result = may_enter(buffer.data(), slot, state)
            .and_then(|()| out.queues.forward.push(Clear { buffer, ingress }));
        if let Err(reason) = result {
            state.counters.drop(reason);
        }
    }
}

fn may_enter<A: Allocator>(octets: &[u8], slot: u32, state: &State<A>) -> Result<(), Drop> {
    let packet = ipv4::Packet::parse(octets).map_err(|_| Drop::BadIpv4Header)?;
    let sa = state.tables.sas.get(slot).ok_or(Drop::UnknownSpi)?;
    let allowed = ipv4::may_be_source(packet.source()) && !state.is_ours(packet.source());
    if allowed && sa.selectors.allow_inbound(&Flow::of(&packet)) {
        Ok(())
    } else {
        Err(Drop::SelectorMismatch)
    }
}
