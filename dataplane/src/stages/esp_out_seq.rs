//! Gives each packet its sequence number (RFC 4303 §3.3.3), 64 bits wide, from blocks that were reserved in the segment, and
//! the ESP header, padding and trailer around it (RFC 4303 §2).
//!
//! Enters: [`InSa`] to a client, small enough. Leaves: [`EspOut`] from SPI to the room for its ICV, to `esp_out_seal`.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;

use super::{EspOut, InSa, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::ESP_HEADER_LEN;
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::Outbound;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, place, facts, .. } = packet;
    let inner = Inner { len: facts.len, tos: facts.tos, next_header: ipv4::PROTOCOL_IPV4 };
    number(buffer, place, inner, state, out)
}

/// What ESP says of the inner packet, and what the outer header takes from it.
pub(super) struct Inner {
    pub len: u16,
    pub tos: u8,
    pub next_header: u8,
}

/// Gives an inner packet of either family its sequence number and its frame.
#[inline(always)]
pub(super) fn number<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    mut buffer: A::Buffer,
    place: u32,
    inner: Inner,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let sa = state.tables.sas.outbound_mut(place).ok_or(Drop::NoSession)?;
    // Again, because an earlier packet of this burst may have been the last.
    if sa.is_over() {
        return Err(state.refused(place, SaDirection::Outbound, Drop::SaExpired, out.sink));
    }
    let slot = sa.inbound_spi() & state.config.sa_capacity.wrapping_sub(1);
    let Ok(sequence) = sa.next_sequence(|end| out.sink.reserve_sequence(slot, end)) else {
        state.end_sa(place, out.sink);
        return Err(state.refused(place, SaDirection::Outbound, Drop::SequenceExhausted, out.sink));
    };
    if frame(&mut buffer, sa, sequence, &inner).is_none() {
        return Err(state.refused(place, SaDirection::Outbound, Drop::NoBuffer, out.sink));
    }
    let packet = EspOut { buffer, place, sequence, tos: inner.tos, inner_len: inner.len };
    let waits = out.esp_out_seal(packet, state);
    waits.map_err(|reason| state.refused(place, SaDirection::Outbound, reason, out.sink))
}

/// Makes room at both ends and writes everything that is not the engine's: SPI, sequence number, padding, trailer.
#[inline(always)]
fn frame<B: Buffer>(buffer: &mut B, sa: &Outbound, sequence: u64, inner: &Inner) -> Option<()> {
    let inner_len = usize::from(inner.len);
    let header_len = ESP_HEADER_LEN + sa.iv_len();
    let packet = buffer.grow(header_len, sa.trailer_len(inner_len))?;
    *packet.first_chunk_mut()? = sa.esp_header(sequence);
    sa.write_trailer(packet.get_mut(header_len + inner_len..)?, inner_len, inner.next_header)
}
