//! Packets that a crypto device opens and seals: given to it in place of the engine's burst, taken back when it is done.
//!
//! Enters: what waits for `esp_in_open` and `esp_out_seal`, where the SA's key is in the device. Leaves: the same, later, to
//! `esp_in_accept` and `encap`, in the order in which it came. A packet that finds the device full is done in software at once
//! and waits in line, so that none of its SA overtakes another; one that finds the line full is dropped and counted.

use causeway_shared::counters::{Drop, Flow};

use super::{Burst, EspIn, EspOut, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{EspEngine, Kind, Line, OpenJob, SealJob, Waiting, shorten};
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;

/// Packets taken back in one turn, so that they fit the queues behind.
const COLLECT: usize = 128;

/// Takes out of `items` what goes to the device.
#[inline(never)]
pub(crate) fn open<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Burst<EspIn<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    let Some(mut line) = state.line.take() else { return };
    let all: Burst<_> = items.drain(..).collect();
    for packet in all {
        let place = packet.place;
        match open_one(packet, &mut line, state) {
            // There is room: it stood here before.
            Ok(Some(for_software)) => drop(items.try_push(for_software)),
            Ok(None) => {}
            Err(reason) => {
                let reason = state.refused(place, SaDirection::Inbound, reason, out.sink);
                state.counters.drop(reason);
            }
        }
    }
    state.line = Some(line);
}

/// As [`open`], to be sealed.
#[inline(never)]
pub(crate) fn seal<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Burst<EspOut<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    let Some(mut line) = state.line.take() else { return };
    let all: Burst<_> = items.drain(..).collect();
    for packet in all {
        let place = packet.place;
        match seal_one(packet, &mut line, state) {
            Ok(Some(for_software)) => drop(items.try_push(for_software)),
            Ok(None) => {}
            Err(reason) => {
                let reason = state.refused(place, SaDirection::Outbound, reason, out.sink);
                state.counters.drop(reason);
            }
        }
    }
    state.line = Some(line);
}

/// Takes back what the device has done.
#[inline(never)]
pub(crate) fn collect<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    let Some(mut line) = state.line.take() else { return };
    line.queue().flush();
    line.queue().poll();
    for _ in 0..COLLECT {
        let Some(finished) = line.queue().take() else { break };
        let Waiting { packet, inbound_spi, lengthened } = finished.tag;
        let result = match packet {
            Kind::In(packet) => {
                let buffer = lengthen_undone(finished.packet, lengthened);
                accept(packet, buffer.filter(|_| finished.done), inbound_spi, state, out)
            }
            Kind::Out(packet) => {
                let buffer = if lengthened {
                    seal_undone(finished.packet, packet.place, state)
                } else {
                    Some(finished.packet)
                };
                encap(packet, buffer.filter(|_| finished.done), inbound_spi, state, out)
            }
            Kind::Test(_) => Ok(()),
        };
        if let Err(reason) = result {
            state.counters.drop(reason);
        }
    }
    state.line = Some(line);
}

fn open_one<A: Allocator>(
    packet: EspIn<A::Buffer>,
    line: &mut Line,
    state: &mut State<A>,
) -> Result<Option<EspIn<A::Buffer>>, Drop> {
    let State { tables, counters, engine, .. } = state;
    let Some(sa) = tables.sas.inbound(packet.place) else { return Ok(Some(packet)) };
    let Some(key) = sa.key() else { return Ok(Some(packet)) };
    let Some(device) = key.device() else { return Ok(Some(packet)) };
    let EspIn { buffer, outer, place, sequence } = packet;
    let mut mbuf = match buffer.into_mbuf() {
        Ok(mbuf) => mbuf,
        Err(buffer) => return Ok(Some(EspIn { buffer, outer, place, sequence })),
    };
    let queue = line.queue();
    let mut tag = Waiting {
        packet: Kind::In(EspIn { buffer: (), outer, place, sequence }),
        inbound_spi: sa.spi(),
        lengthened: device.lengthens(),
    };
    if queue.device_has_room()
        && let Some(work) = device.prepare_open(&mut mbuf, sequence)
    {
        counters.flow(Flow::CryptoDevicePackets, 1);
        return queue
            .submit(device.session(), mbuf, &work, tag)
            .map(|()| None)
            .map_err(|_| Drop::CryptoLineFull);
    }
    let mut jobs = [OpenJob { key, packet: &mut mbuf, sequence, opened: false }];
    engine.open_burst(&mut jobs);
    let [OpenJob { opened, .. }] = jobs;
    counters.flow(Flow::CryptoDeviceFull, 1);
    tag.lengthened = false;
    queue.wait(mbuf, tag, opened).map(|()| None).map_err(|_| Drop::CryptoLineFull)
}

fn seal_one<A: Allocator>(
    packet: EspOut<A::Buffer>,
    line: &mut Line,
    state: &mut State<A>,
) -> Result<Option<EspOut<A::Buffer>>, Drop> {
    let State { tables, counters, engine, .. } = state;
    let Some(sa) = tables.sas.outbound(packet.place) else { return Ok(Some(packet)) };
    let Some(key) = sa.key() else { return Ok(Some(packet)) };
    let Some(device) = key.device() else { return Ok(Some(packet)) };
    let EspOut { buffer, place, sequence, tos, inner_len } = packet;
    let mut mbuf = match buffer.into_mbuf() {
        Ok(mbuf) => mbuf,
        Err(buffer) => return Ok(Some(EspOut { buffer, place, sequence, tos, inner_len })),
    };
    let queue = line.queue();
    let mut tag = Waiting {
        packet: Kind::Out(EspOut { buffer: (), place, sequence, tos, inner_len }),
        inbound_spi: sa.inbound_spi(),
        lengthened: device.lengthens(),
    };
    if queue.device_has_room()
        && let Some(work) = device.prepare_seal(&mut mbuf, sequence)
    {
        counters.flow(Flow::CryptoDevicePackets, 1);
        return queue
            .submit(device.session(), mbuf, &work, tag)
            .map(|()| None)
            .map_err(|_| Drop::CryptoLineFull);
    }
    let mut jobs = [SealJob { key, packet: &mut mbuf, sequence, sealed: false }];
    engine.seal_burst(&mut jobs);
    let [SealJob { sealed, .. }] = jobs;
    counters.flow(Flow::CryptoDeviceFull, 1);
    tag.lengthened = false;
    queue.wait(mbuf, tag, sealed).map(|()| None).map_err(|_| Drop::CryptoLineFull)
}

fn lengthen_undone(mut packet: causeway_dpdk::Mbuf, lengthened: bool) -> Option<causeway_dpdk::Mbuf> {
    (!lengthened || shorten(&mut packet).is_some()).then_some(packet)
}

fn seal_undone<A: Allocator>(
    mut packet: causeway_dpdk::Mbuf,
    place: u32,
    state: &State<A>,
) -> Option<causeway_dpdk::Mbuf> {
    // Another SA in its place is told by the SPI afterwards.
    let key = state.tables.sas.outbound(place).and_then(|sa| sa.key());
    key.and_then(|key| key.device())?.finish_seal(&mut packet)?;
    Some(packet)
}

fn accept<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspIn<()>,
    opened: Option<causeway_dpdk::Mbuf>,
    inbound_spi: u32,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspIn { outer, place, sequence, .. } = packet;
    if state.tables.sas.inbound(place).is_none_or(|sa| sa.spi() != inbound_spi) {
        return Err(Drop::UnknownSpi);
    }
    let Some(opened) = opened else {
        return Err(state.refused(place, SaDirection::Inbound, Drop::BadIcv, out.sink));
    };
    let buffer = A::Buffer::from_mbuf(opened).ok_or(Drop::NoBuffer)?;
    out.esp_in_accept(EspIn { buffer, outer, place, sequence }, state)
}

fn encap<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspOut<()>,
    sealed: Option<causeway_dpdk::Mbuf>,
    inbound_spi: u32,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspOut { place, sequence, tos, inner_len, .. } = packet;
    if state.tables.sas.outbound(place).is_none_or(|sa| sa.inbound_spi() != inbound_spi) {
        return Err(Drop::NoSession);
    }
    let Some(sealed) = sealed else {
        return Err(state.refused(place, SaDirection::Outbound, Drop::SealFailed, out.sink));
    };
    let buffer = A::Buffer::from_mbuf(sealed).ok_or(Drop::NoBuffer)?;
    out.encap(EspOut { buffer, place, sequence, tos, inner_len }, state)
}
