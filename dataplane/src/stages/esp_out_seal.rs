//! Seals a burst, across SAs (RFC 4303 §3.3.2).
//!
//! Where a crypto device has the SA's key the packet goes there (`lookaside`) and comes back later.
//!
//! Enters: [`EspOut`] from SPI to the room for its ICV, padded. Leaves: the same sealed, to `encap`.

use causeway_shared::counters::Drop;

use super::{Burst, EspOut, Out, State, lookaside};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{MAX_ITEMS, OutboundKey, View};
use crate::path::{BURST, SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::SaTable;

const _: () = assert!(BURST <= MAX_ITEMS);

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Burst<EspOut<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    if !state.watches.is_empty() {
        let State { watches, tables, counters, now, .. } = state;
        watches.before_seal(items, tables, *now, out.sink, counters);
    }
    if state.line.is_some() {
        lookaside::send(items, state, out);
    }
    while !items.is_empty() {
        let mut sealed = seal(items, state, out.probe);
        if !state.watches.is_empty() {
            let State { watches, tables, counters, .. } = state;
            watches.sealed(items, sealed, tables, out.sink, counters);
        }
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

/// Seals at most [`BURST`] packets where they wait; a bit for each that may leave.
fn seal<A: Allocator>(burst: &mut [EspOut<A::Buffer>], state: &mut State<A>, probe: &mut impl Probe) -> u32 {
    let count = burst.len().min(BURST);
    let Some(burst) = burst.get_mut(..count) else { return 0 };
    let began = probe.engine_now();
    let sealed = state.engine.seal_items(burst, &Sealing(&state.tables.sas));
    probe.engine(count, began);
    sealed
}

/// What the engine must know of a packet, with the SAs.
struct Sealing<'a>(&'a SaTable);

impl<B: Buffer> View<EspOut<B>> for Sealing<'_> {
    type Key = OutboundKey;

    #[inline(always)]
    fn key<'v>(&'v self, packet: &EspOut<B>) -> Option<&'v OutboundKey> {
        self.0.outbound(packet.place).and_then(|sa| sa.key())
    }

    #[inline(always)]
    fn packet<'p>(&self, packet: &'p mut EspOut<B>) -> &'p mut [u8] {
        packet.buffer.data_mut()
    }

    #[inline(always)]
    fn sequence(&self, packet: &EspOut<B>) -> u64 {
        packet.sequence
    }
}
