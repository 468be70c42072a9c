//! From SPI to SA (RFC 4303 §3.4.2): the SPI's low bits are the slot, and the whole SPI must match.
//!
//! Enters: [`FromPeer`] at the ESP header. Leaves: [`EspIn`] to `esp_in_replay`, or the packet to the worker that owns
//! the SA.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::MIN_SPI;
use causeway_shared::wire::Event;

use super::{EspIn, FromPeer, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Handoff, SaDirection, Sink};
use crate::probe::Probe;

/// Towards this stage: what the packet will meet is fetched while the others of its burst are still on their way.
#[inline(always)]
pub(crate) fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    if let Some(spi) = spi_of(packet.buffer.data()) {
        state.tables.sas.expect_inbound(spi);
    }
    out.esp_in_lookup(packet, state)
}

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let FromPeer { buffer, outer } = packet;
    let spi = spi_of(buffer.data()).ok_or(Drop::BadEspFormat)?;
    if spi < MIN_SPI {
        return Err(Drop::UnknownSpi);
    }
    let (owner, place) = state.tables.sas.locate(spi);
    if owner != state.config.worker {
        out.sink.handoff(owner, Handoff::EspIn { buffer, outer }).map_err(|_| Drop::HandoffFull)?;
        state.counters.flow(Flow::HandedOff, 1);
        return Ok(());
    }
    let Some(sa) = state.tables.sas.inbound(place).filter(|sa| sa.spi() == spi) else {
        if state.invalid_spi_events.permits(state.now)
            && let Some((source, _)) = outer.addresses(&buffer)
        {
            // Lost if even the backlog is full: the next such packet tells it again.
            let _ = state.events.send(Event::InvalidSpi { spi, source }, out.sink);
        }
        return Err(Drop::UnknownSpi);
    };
    if sa.is_over() {
        return Err(state.refused(place, SaDirection::Inbound, Drop::SaExpired, out.sink));
    }
    // The sequence number is read by the next stage, which knows the window.
    out.esp_in_replay(EspIn { buffer, outer, place, sequence: 0 }, state)
}

#[inline(always)]
fn spi_of(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().map(|spi| u32::from_be_bytes(*spi))
}
