//! From SPI to SA (RFC 4303 §3.4.2): the SPI's low bits are the slot, and the whole SPI must match.
//!
//! Enters: [`FromPeer`] at the ESP header. Leaves: [`EspIn`] to `esp_in_replay`, or the packet to the worker that owns
//! the SA.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::MIN_SPI;
use causeway_shared::wire::Event;

use super::{EspIn, FromPeer, Out, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Handoff, Sink, owner_of_spi};
use crate::probe::Probe;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<FromPeer<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = lookup(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn lookup<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let FromPeer { buffer, outer } = packet;
    let spi = u32::from_be_bytes(*buffer.data().first_chunk().ok_or(Drop::BadEspFormat)?);
    if spi < MIN_SPI {
        return Err(Drop::UnknownSpi);
    }
    let owner = owner_of_spi(spi, state.config.sa_capacity, state.config.workers);
    if owner != state.config.worker {
        out.sink.handoff(owner, Handoff::EspIn { buffer, outer }).map_err(|_| Drop::HandoffFull)?;
        state.counters.flow(Flow::HandedOff, 1);
        return Ok(());
    }
    let Some(slot) = state.tables.sas.lookup(spi) else {
        if state.invalid_spi_events.permits(state.now) {
            // Lost if even the backlog is full: the next such packet tells it again.
            let _ = state.events.send(Event::InvalidSpi { spi, source: outer.source }, out.sink);
        }
        return Err(Drop::UnknownSpi);
    };
    if state.tables.sas.get(slot).is_some_and(|sa| sa.lifetime.is_over()) {
        return Err(Drop::SaExpired);
    }
    // The sequence number is read by the next stage, which knows the window.
    out.queues.esp_in_replay.push(EspIn { buffer, outer, slot, sequence: 0 })
}
