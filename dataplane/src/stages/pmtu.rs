//! Whether the sealed packet will fit the outer path (RFC 4301 §8): if not, the inner packet is fragmented before it is
//! encrypted, or its sender is told the size that fits (RFC 1191).
//!
//! Enters: [`InSa`] to a client. Leaves: the same, small enough, to `esp_out_seq`; or [`Refused`] to `icmp_error`.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::icmp;

use super::fragment::fragment;
use super::{InSa, Out, Queue, Refused, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::Sink;
use crate::probe::Probe;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<InSa<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = fit(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn fit<A: Allocator, S, P>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, slot, ingress } = packet;
    let sa = state.tables.sas.get(slot).ok_or(Drop::NoSession)?;
    let room = sa.outbound.max_inner_len(state.outside_mtu);
    if buffer.len() <= room {
        return out.queues.esp_out_seq.push(InSa { buffer, slot, ingress });
    }
    let State { allocator, counters, .. } = state;
    let queue = &mut out.queues.esp_out_seq;
    let refused = fragment(buffer, room, allocator, |piece, first| {
        if !first {
            counters.flow(Flow::FragmentsMade, 1);
        }
        if let Err(reason) = queue.push(InSa { buffer: piece, slot, ingress }) {
            counters.drop(reason);
        }
    });
    let Err((reason, buffer)) = refused else { return Ok(()) };
    if reason == Drop::TooBig {
        let mtu = u16::try_from(room).unwrap_or(u16::MAX);
        let error = icmp::Error::FragmentationNeeded { mtu };
        let _ = out.queues.icmp_error.push(Refused { buffer, ingress, error });
    }
    Err(reason)
}
