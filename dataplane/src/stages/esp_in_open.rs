//! Verifies and decrypts a burst, across SAs (RFC 4303 §3.4.4).
//!
//! Where a crypto device has the SA's key the packet goes there (`lookaside`) and comes back later.
//!
//! Enters: [`EspIn`] at the ESP header. Leaves: the same, decrypted in place between IV and ICV, to `esp_in_accept`.

use causeway_shared::counters::Drop;

use super::{Burst, EspIn, Out, State, lookaside};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{InboundKey, MAX_ITEMS, View};
use crate::path::{BURST, SaDirection, Sink};
use crate::probe::Probe;
use crate::sa::SaTable;

const _: () = assert!(BURST <= MAX_ITEMS);

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Burst<EspIn<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    if !state.watches.is_empty() {
        let State { watches, tables, counters, .. } = state;
        watches.before_open(items, tables, out.sink, counters);
    }
    if state.line.is_some() {
        lookaside::send(items, state, out);
    }
    while !items.is_empty() {
        let mut opened = open(items, state, out.probe);
        if !state.watches.is_empty() {
            let State { watches, tables, counters, now, .. } = state;
            watches.opened(items, opened, tables, *now, out.sink, counters);
        }
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

/// Opens at most [`BURST`] packets where they wait; a bit for each that was authentic.
fn open<A: Allocator>(burst: &mut [EspIn<A::Buffer>], state: &mut State<A>, probe: &mut impl Probe) -> u32 {
    let count = burst.len().min(BURST);
    let Some(burst) = burst.get_mut(..count) else { return 0 };
    let began = probe.engine_now();
    let opened = state.engine.open_items(burst, &Opening(&state.tables.sas));
    probe.engine(count, began);
    opened
}

/// What the engine must know of a packet, with the SAs.
struct Opening<'a>(&'a SaTable);

impl<B: Buffer> View<EspIn<B>> for Opening<'_> {
    type Key = InboundKey;

    #[inline(always)]
    fn key<'v>(&'v self, packet: &EspIn<B>) -> Option<&'v InboundKey> {
        self.0.inbound(packet.place).and_then(|sa| sa.key())
    }

    #[inline(always)]
    fn packet<'p>(&self, packet: &'p mut EspIn<B>) -> &'p mut [u8] {
        packet.buffer.data_mut()
    }

    #[inline(always)]
    fn sequence(&self, packet: &EspIn<B>) -> u64 {
        packet.sequence
    }
}
