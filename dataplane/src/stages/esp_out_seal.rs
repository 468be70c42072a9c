//! Adds the ESP header, padding and trailer, and seals a burst, across SAs (RFC 4303 §3.3.2).
//!
//! Enters: [`EspOut`], the bare inner packet. Leaves: the same from SPI to ICV, to `encap`.

use arrayvec::ArrayVec;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::ipv4;

use super::{EspOut, Out, QUEUE, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{ESP_HEADER_LEN, EspEngine, OutboundKey, SealJob};
use crate::path::{BURST, Sink};
use crate::probe::Probe;
use crate::sa::Outbound;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<EspOut<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    let mut touched: ArrayVec<u32, QUEUE> = ArrayVec::new();
    while !items.is_empty() {
        let mut burst: ArrayVec<EspOut<A::Buffer>, BURST> = ArrayVec::new();
        for mut packet in items.drain_some(BURST) {
            let sa = state.tables.sas.get(packet.slot);
            match sa.and_then(|sa| frame(&mut packet, &sa.outbound)) {
                Some(()) => burst.push(packet),
                None => state.counters.drop(Drop::NoBuffer),
            }
        }
        let sealed = seal(&mut burst, state, out.probe);
        for (place, packet) in burst.into_iter().enumerate() {
            if touched.last() != Some(&packet.slot) {
                let _ = touched.try_push(packet.slot);
            }
            let result = if sealed.get(place).is_some_and(|sealed| *sealed) {
                count(&packet, state, out.sink);
                out.queues.encap.push(packet)
            } else {
                Err(Drop::SealFailed)
            };
            if let Err(reason) = result {
                state.counters.drop(reason);
            }
        }
    }
    for slot in touched {
        if let Some(sa) = state.tables.sas.get(slot) {
            out.sink.sa_statistics(slot, sa.statistics());
        }
    }
}

/// Makes room at both ends and writes everything that is not the engine's: SPI, sequence number, padding, trailer.
fn frame<B: Buffer>(packet: &mut EspOut<B>, sa: &Outbound) -> Option<()> {
    let trailer = packet.buffer.append(sa.trailer_len(packet.inner_len))?;
    let padding_end = trailer.len().checked_sub(usize::from(sa.icv_len) + 2)?;
    let pad_len = u8::try_from(padding_end).ok()?;
    let fill = (1..=pad_len).chain([pad_len, ipv4::PROTOCOL_IPV4]);
    trailer.iter_mut().zip(fill).for_each(|(to, from)| *to = from);
    let header = packet.buffer.prepend(ESP_HEADER_LEN + usize::from(sa.iv_len))?;
    let fixed = sa.spi.to_be_bytes().into_iter().chain((packet.sequence as u32).to_be_bytes());
    header.iter_mut().zip(fixed).for_each(|(to, from)| *to = from);
    Some(())
}

fn seal<A: Allocator>(
    burst: &mut [EspOut<A::Buffer>],
    state: &mut State<A>,
    probe: &mut impl Probe,
) -> [bool; BURST] {
    let mut sealed = [false; BURST];
    let mut places: ArrayVec<usize, BURST> = ArrayVec::new();
    let mut jobs: ArrayVec<SealJob<'_, OutboundKey>, BURST> = ArrayVec::new();
    for (place, packet) in burst.iter_mut().enumerate().take(BURST) {
        if let Some(sa) = state.tables.sas.get(packet.slot) {
            let (key, sequence) = (&sa.outbound_key, packet.sequence);
            jobs.push(SealJob { key, packet: packet.buffer.data_mut(), sequence, sealed: false });
            places.push(place);
        }
    }
    let began = probe.now();
    state.engine.seal_burst(&mut jobs);
    probe.engine(jobs.len(), began);
    for (job, place) in jobs.iter().zip(places) {
        if let Some(sealed) = sealed.get_mut(place) {
            *sealed = job.sealed;
        }
    }
    sealed
}

fn count<A: Allocator>(packet: &EspOut<A::Buffer>, state: &mut State<A>, sink: &mut impl Sink<A::Buffer>) {
    let State { tables, counters, events, .. } = state;
    let Some(sa) = tables.sas.get_mut(packet.slot) else { return };
    let bytes = packet.inner_len as u64;
    sa.outbound.packets += 1;
    sa.outbound.bytes += bytes;
    counters.flow(Flow::EspOutPackets, 1);
    counters.flow(Flow::EspOutBytes, bytes);
    let scarce = sa.outbound.sequence_is_scarce();
    let notice = sa.lifetime.after(sa.outbound.packets, sa.outbound.bytes, scarce);
    events.notify(sa, notice, sink);
}
