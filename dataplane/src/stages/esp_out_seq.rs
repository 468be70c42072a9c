//! Gives each packet its sequence number (RFC 4303 §3.3.3), 64 bits wide, from blocks that were reserved in the segment.
//!
//! Enters: [`InSa`] to a client, small enough. Leaves: [`EspOut`] to `esp_out_seal`, still the bare inner packet.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;

use super::{EspOut, InSa, Out, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::Sink;
use crate::probe::Probe;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<InSa<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = number(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn number<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, slot, .. } = packet;
    let State { tables, events, .. } = state;
    let sa = tables.sas.get_mut(slot).ok_or(Drop::NoSession)?;
    // Again, because an earlier packet of this burst may have been the last.
    if sa.lifetime.is_over() {
        return Err(Drop::SaExpired);
    }
    let tos = ipv4::Packet::parse(buffer.data()).map_err(|_| Drop::BadIpv4Header)?.tos();
    let Ok(sequence) = sa.outbound.next_sequence(|end| out.sink.reserve_sequence(slot, end)) else {
        sa.lifetime.end();
        let notice = sa.lifetime.after(sa.outbound.packets, sa.outbound.bytes, true);
        events.notify(sa, notice, out.sink);
        return Err(Drop::SequenceExhausted);
    };
    let inner_len = buffer.len();
    out.queues.esp_out_seal.push(EspOut { buffer, slot, sequence, tos, inner_len })
}
