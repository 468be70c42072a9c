//! The first look at the sequence number (RFC 4303 §3.4.3): what is surely old costs no cryptography.
//!
//! Enters: [`EspIn`] at the ESP header. Leaves: the same with its inferred 64-bit number and a length that the suite
//! allows, to `esp_in_open`. The window is not changed: the packet proves nothing yet.

use causeway_dpdk::prefetch;
use causeway_shared::counters::Drop;

use super::{EspIn, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::ESP_HEADER_LEN;
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::Inbound;

/// Octets of pad length and next header.
const TRAILER_LEN: usize = 2;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspIn<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let place = packet.place;
    let sa = state.tables.sas.inbound(place).ok_or(Drop::UnknownSpi)?;
    let sequence = match sequence_of(packet.buffer.data(), sa) {
        Ok(sequence) => sequence,
        Err(reason) => return Err(state.refused(place, SaDirection::Inbound, reason, out.sink)),
    };
    prefetch(sa.ring.expected(sequence));
    let waits = out.esp_in_open(EspIn { sequence, ..packet }, state);
    waits.map_err(|reason| state.refused(place, SaDirection::Inbound, reason, out.sink))
}

#[inline(always)]
fn sequence_of(octets: &[u8], sa: &Inbound) -> Result<u64, Drop> {
    let header = octets.first_chunk::<ESP_HEADER_LEN>().ok_or(Drop::BadEspFormat)?;
    let fixed = ESP_HEADER_LEN + usize::from(sa.iv_len) + usize::from(sa.icv_len);
    let ciphertext = octets.len().checked_sub(fixed).ok_or(Drop::BadEspFormat)?;
    if ciphertext < TRAILER_LEN || ciphertext & (usize::from(sa.align) - 1) != 0 {
        return Err(Drop::BadEspFormat);
    }
    let [_, _, _, _, s0, s1, s2, s3] = *header;
    let sequence = sa.window.infer(u32::from_be_bytes([s0, s1, s2, s3])).ok_or(Drop::Replay)?;
    if sa.window.is_new(sequence, &sa.ring) { Ok(sequence) } else { Err(Drop::Replay) }
}
