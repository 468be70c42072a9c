//! Verifies and decrypts a burst, across SAs (RFC 4303 §3.4.4).
//!
//! Where a crypto device has the SA's key the packet goes there (`lookaside`) and comes back later.
//!
//! Enters: [`EspIn`] at the ESP header. Leaves: the same, decrypted in place between IV and ICV, to `esp_in_accept`.

use arrayvec::ArrayVec;
use causeway_shared::counters::Drop;

use super::{Burst, EspIn, Out, State, lookaside};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{EspEngine, InboundKey, OpenJob};
use crate::path::{BURST, SaDirection, Sink};
use crate::probe::Probe;

/// A bit for each packet of a burst.
type Places = u32;
const _: () = assert!(BURST <= Places::BITS as usize);

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Burst<EspIn<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    if state.line.is_some() {
        lookaside::open(items, state, out);
    }
    while !items.is_empty() {
        let mut opened = open(items, state, out.probe);
        for packet in items.drain(..items.len().min(BURST)) {
            let result = match opened & 1 {
                0 => Err(state.refused(packet.place, SaDirection::Inbound, Drop::BadIcv, out.sink)),
                _ => out.esp_in_accept(packet, state),
            };
            opened >>= 1;
            if let Err(reason) = result {
                state.counters.drop(reason);
            }
        }
    }
}

/// Opens at most [`BURST`] packets; a bit for each that was authentic.
fn open<A: Allocator>(
    burst: &mut [EspIn<A::Buffer>],
    state: &mut State<A>,
    probe: &mut impl Probe,
) -> Places {
    // Packets whose SA is gone: there should be none.
    let mut gone: Places = 0;
    let mut jobs: ArrayVec<OpenJob<'_, InboundKey>, BURST> = ArrayVec::new();
    for (place, packet) in (0..).zip(burst.iter_mut().take(BURST)) {
        let Some(key) = state.tables.sas.inbound(packet.place).and_then(|sa| sa.key()) else {
            gone |= 1 << place;
            continue;
        };
        jobs.push(OpenJob {
            key,
            packet: packet.buffer.data_mut(),
            sequence: packet.sequence,
            opened: false,
        });
    }
    let began = probe.engine_now();
    state.engine.open_burst(&mut jobs);
    probe.engine(jobs.len(), began);
    let mut results = jobs.iter().map(|job| job.opened);
    if gone == 0 {
        return results.rev().fold(0, |all, opened| all << 1 | Places::from(opened));
    }
    let places = (0..BURST).filter(|place| gone >> place & 1 == 0);
    places.fold(0, |all, place| all | Places::from(results.next().unwrap_or(false)) << place)
}
