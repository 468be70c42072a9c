//! Seals a burst, across SAs (RFC 4303 §3.3.2).
//!
//! Where a crypto device has the SA's key the packet goes there (`lookaside`) and comes back later.
//!
//! Enters: [`EspOut`] from SPI to the room for its ICV, padded. Leaves: the same sealed, to `encap`.

use arrayvec::ArrayVec;
use causeway_shared::counters::Drop;

use super::{Burst, EspOut, Out, State, lookaside};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{EspEngine, OutboundKey, SealJob};
use crate::path::{BURST, SaDirection, Sink};
use crate::probe::Probe;

/// A bit for each packet of a burst.
type Places = u32;
const _: () = assert!(BURST <= Places::BITS as usize);

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Burst<EspOut<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    if state.line.is_some() {
        lookaside::seal(items, state, out);
    }
    while !items.is_empty() {
        let mut sealed = seal(items, state, out.probe);
        for packet in items.drain(..items.len().min(BURST)) {
            let result = match sealed & 1 {
                0 => Err(state.refused(packet.place, SaDirection::Outbound, Drop::SealFailed, out.sink)),
                _ => out.encap(packet, state),
            };
            sealed >>= 1;
            if let Err(reason) = result {
                state.counters.drop(reason);
            }
        }
    }
}

/// Seals at most [`BURST`] packets; a bit for each that may leave.
fn seal<A: Allocator>(
    burst: &mut [EspOut<A::Buffer>],
    state: &mut State<A>,
    probe: &mut impl Probe,
) -> Places {
    // Packets whose SA is gone: there should be none.
    let mut gone: Places = 0;
    let mut jobs: ArrayVec<SealJob<'_, OutboundKey>, BURST> = ArrayVec::new();
    for (place, packet) in (0..).zip(burst.iter_mut().take(BURST)) {
        let Some(key) = state.tables.sas.outbound(packet.place).and_then(|sa| sa.key()) else {
            gone |= 1 << place;
            continue;
        };
        jobs.push(SealJob {
            key,
            packet: packet.buffer.data_mut(),
            sequence: packet.sequence,
            sealed: false,
        });
    }
    let began = probe.engine_now();
    state.engine.seal_burst(&mut jobs);
    probe.engine(jobs.len(), began);
    let mut results = jobs.iter().map(|job| job.sealed);
    if gone == 0 {
        return results.rev().fold(0, |all, sealed| all << 1 | Places::from(sealed));
    }
    let places = (0..BURST).filter(|place| gone >> place & 1 == 0);
    places.fold(0, |all, place| all | Places::from(results.next().unwrap_or(false)) << place)
}
