//! Whether the sealed packet will fit the outer path (RFC 4301 §8): if not, the inner packet is fragmented before it is
//! encrypted, or its sender is told the size that fits (RFC 1191).
//!
//! Enters: [`InSa`] to a client. Leaves: the same, small enough, to `esp_out_seq`; or [`Refused`] to `icmp_error`.

use arrayvec::ArrayVec;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::icmp;

use super::fragment::{MAX_FRAGMENTS, fragment};
use super::{Facts, InSa, Out, Refused, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let sa = state.tables.sas.outbound(packet.place).ok_or(Drop::NoSession)?;
    if sa.surely_fits(packet.facts.len, state.outside_mtu) {
        return out.esp_out_seq(packet, state);
    }
    nearly(packet, state, out)
}

/// A packet about as long as the outer MTU allows, or longer.
#[inline(never)]
fn nearly<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let sa = state.tables.sas.outbound(packet.place).ok_or(Drop::NoSession)?;
    let mtu = state.tables.sas.path_mtu(packet.place, state.outside_mtu, state.now.monotonic_ms);
    let room = sa.max_inner_len(mtu);
    if usize::from(packet.facts.len) <= room {
        return out.esp_out_seq(packet, state);
    }
    cut(packet, room, state, out)
}

#[cold]
fn cut<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    room: usize,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, place, ingress, facts } = packet;
    let mut pieces: ArrayVec<A::Buffer, MAX_FRAGMENTS> = ArrayVec::new();
    let refused = fragment(buffer, room, &mut state.allocator, |piece, _| {
        // Cannot fail: `fragment` makes no more than that many.
        let _ = pieces.try_push(piece);
    });
    if let Err((reason, buffer)) = refused {
        if reason == Drop::TooBig {
            let mtu = u16::try_from(room).unwrap_or(u16::MAX);
            let error = icmp::Error::FragmentationNeeded { mtu };
            let _ = out.icmp_error(Refused { buffer, ingress, error }, state);
        }
        return Err(state.refused(place, SaDirection::Outbound, reason, out.sink));
    }
    state.counters.flow(Flow::FragmentsMade, pieces.len().saturating_sub(1) as u64);
    for buffer in pieces {
        // A piece is no longer than the packet was.
        let facts = Facts { len: buffer.len() as u16, ..facts };
        if let Err(reason) = out.esp_out_seq(InSa { buffer, place, ingress, facts }, state) {
            state.counters.drop(reason);
        }
    }
    Ok(())
}
