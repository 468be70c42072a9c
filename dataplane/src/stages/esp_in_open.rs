//! Verifies and decrypts a burst, across SAs (RFC 4303 §3.4.4).
//!
//! Enters: [`EspIn`] at the ESP header. Leaves: the same, decrypted in place between IV and ICV, to `esp_in_accept`.

use arrayvec::ArrayVec;
use causeway_shared::counters::Drop;

use super::{EspIn, Out, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{EspEngine, InboundKey, OpenJob};
use crate::path::{BURST, Sink};
use crate::probe::Probe;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<EspIn<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    while !items.is_empty() {
        let mut burst: ArrayVec<EspIn<A::Buffer>, BURST> = items.drain_some(BURST).collect();
        let opened = open(&mut burst, state, out.probe);
        for (place, packet) in burst.into_iter().enumerate() {
            let result = if opened.get(place).is_some_and(|opened| *opened) {
                out.queues.esp_in_accept.push(packet)
            } else {
                Err(Drop::BadIcv)
            };
            if let Err(reason) = result {
                state.counters.drop(reason);
            }
        }
    }
}

fn open<A: Allocator>(
    burst: &mut [EspIn<A::Buffer>],
    state: &mut State<A>,
    probe: &mut impl Probe,
) -> [bool; BURST] {
    let mut opened = [false; BURST];
    let mut places: ArrayVec<usize, BURST> = ArrayVec::new();
    let mut jobs: ArrayVec<OpenJob<'_, InboundKey>, BURST> = ArrayVec::new();
    for (place, packet) in burst.iter_mut().enumerate().take(BURST) {
        if let Some(sa) = state.tables.sas.get(packet.slot) {
            let (key, sequence) = (&sa.inbound_key, packet.sequence);
            jobs.push(OpenJob { key, packet: packet.buffer.data_mut(), sequence, opened: false });
            places.push(place);
        }
    }
    let began = probe.now();
    state.engine.open_burst(&mut jobs);
    probe.engine(jobs.len(), began);
    for (job, place) in jobs.iter().zip(places) {
        if let Some(opened) = opened.get_mut(place) {
            *opened = job.opened;
        }
    }
    opened
}
