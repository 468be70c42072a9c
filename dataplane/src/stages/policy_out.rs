//! From a packet for a client to the SA it leaves by (RFC 4301 §5.1): the pool's array names the SA, its selectors decide.
//!
//! Enters: [`Clear`] to a client, from the LAN, from another client, or made here. Leaves: [`InSa`] to `pmtu`, or the
//! packet to the worker that owns the SA.

use causeway_shared::counters::{Drop, Flow as FlowCounter};
use causeway_shared::net::ipv4;

use super::{Clear, InSa, Out, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Handoff, Sink, owner_of_spi};
use crate::probe::Probe;
use crate::sa::{Flow, OutboundRoute};

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<Clear<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = choose(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn choose<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Clear<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Clear { buffer, ingress } = packet;
    let header = ipv4::Packet::parse(buffer.data()).map_err(|_| Drop::BadIpv4Header)?;
    let OutboundRoute::Client(spi) = state.tables.outbound.lookup(header.destination()) else {
        return Err(Drop::NoSession);
    };
    let owner = owner_of_spi(spi, state.config.sa_capacity, state.config.workers);
    if owner != state.config.worker {
        out.sink.handoff(owner, Handoff::EspOut { buffer, ingress }).map_err(|_| Drop::HandoffFull)?;
        state.counters.flow(FlowCounter::HandedOff, 1);
        return Ok(());
    }
    let slot = state.tables.sas.lookup(spi).ok_or(Drop::NoSession)?;
    let sa = state.tables.sas.get(slot).ok_or(Drop::NoSession)?;
    if sa.lifetime.is_over() {
        return Err(Drop::SaExpired);
    }
    if !sa.selectors.allow_outbound(&Flow::of(&header)) {
        return Err(Drop::SelectorMismatch);
    }
    out.queues.pmtu.push(InSa { buffer, slot, ingress })
}
