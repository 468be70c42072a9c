//! Packets that a crypto device opens and seals: given to it in place of the engine's burst, taken back when it is done.
//!
//! Enters: what waits for `esp_in_open` and `esp_out_seal`, where the SA's key is in the device. Leaves: the same, later, to
//! `esp_in_accept` and `encap`, in the order in which it came. A packet that finds the device full is done in software at once
//! and waits in line, so that none of its SA overtakes another; one that finds the line full is dropped and counted.
//! When the device has failed all is done in software, behind what is left in line.

use causeway_dpdk::{CryptoWork, Mbuf};
use causeway_shared::counters::{Drop, Flow};

use super::{Burst, EspIn, EspOut, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::{
    DeviceKey, Engine, EspEngine, InboundKey, Kind, Line, OpenJob, OutboundKey, SealJob, Waiting, shorten,
};
use crate::path::{SaDirection, Sink, Tables};
use crate::probe::Probe;

/// Packets taken back in one turn, so that they fit the queues behind.
const COLLECT: usize = 128;

/// A packet in front of the engine, in one of the directions.
pub(crate) trait Crossing<A: Allocator>: Sized {
    /// Which way it goes.
    const DIRECTION: SaDirection;
    /// The software's key.
    type Key;

    /// Where its SA lies in the table.
    fn place(&self) -> u32;

    /// Its SA's key and inbound SPI.
    fn sa(tables: &Tables, place: u32) -> Option<(&Self::Key, u32)>;

    /// The device's part of a key.
    fn device(key: &Self::Key) -> Option<&DeviceKey>;

    /// Its buffer, and what stays here while that is away.
    fn split(self) -> (A::Buffer, Kind);

    /// Both again; `None` for what is of the other direction.
    fn joined(buffer: A::Buffer, kind: Kind) -> Option<Self>;

    /// What the device is to do; `None` where it cannot.
    fn prepare(device: &DeviceKey, packet: &mut Mbuf, sequence: u64) -> Option<CryptoWork>;

    /// The same by the software; whether it is done.
    fn in_software(engine: &mut Engine, key: &Self::Key, packet: &mut [u8], sequence: u64) -> bool;
}

impl<A: Allocator> Crossing<A> for EspIn<A::Buffer> {
    const DIRECTION: SaDirection = SaDirection::Inbound;
    type Key = InboundKey;

    fn place(&self) -> u32 {
        self.place
    }

    fn sa(tables: &Tables, place: u32) -> Option<(&InboundKey, u32)> {
        let sa = tables.sas.inbound(place)?;
        Some((sa.key()?, sa.spi()))
    }

    fn device(key: &InboundKey) -> Option<&DeviceKey> {
        key.device()
    }

    fn split(self) -> (A::Buffer, Kind) {
        let EspIn { buffer, outer, place, sequence } = self;
        (buffer, Kind::In(EspIn { buffer: (), outer, place, sequence }))
    }

    fn joined(buffer: A::Buffer, kind: Kind) -> Option<Self> {
        let Kind::In(EspIn { outer, place, sequence, .. }) = kind else { return None };
        Some(EspIn { buffer, outer, place, sequence })
    }

    fn prepare(device: &DeviceKey, packet: &mut Mbuf, sequence: u64) -> Option<CryptoWork> {
        device.prepare_open(packet, sequence)
    }

    fn in_software(engine: &mut Engine, key: &InboundKey, packet: &mut [u8], sequence: u64) -> bool {
        let mut jobs = [OpenJob { key, packet, sequence, opened: false }];
        engine.open_burst(&mut jobs);
        let [OpenJob { opened, .. }] = jobs;
        opened
    }
}

impl<A: Allocator> Crossing<A> for EspOut<A::Buffer> {
    const DIRECTION: SaDirection = SaDirection::Outbound;
    type Key = OutboundKey;

    fn place(&self) -> u32 {
        self.place
    }

    fn sa(tables: &Tables, place: u32) -> Option<(&OutboundKey, u32)> {
        let sa = tables.sas.outbound(place)?;
        Some((sa.key()?, sa.inbound_spi()))
    }

    fn device(key: &OutboundKey) -> Option<&DeviceKey> {
        key.device()
    }

    fn split(self) -> (A::Buffer, Kind) {
        let EspOut { buffer, place, sequence, tos, inner_len } = self;
        (buffer, Kind::Out(EspOut { buffer: (), place, sequence, tos, inner_len }))
    }

    fn joined(buffer: A::Buffer, kind: Kind) -> Option<Self> {
        let Kind::Out(EspOut { place, sequence, tos, inner_len, .. }) = kind else { return None };
        Some(EspOut { buffer, place, sequence, tos, inner_len })
    }

    fn prepare(device: &DeviceKey, packet: &mut Mbuf, sequence: u64) -> Option<CryptoWork> {
        device.prepare_seal(packet, sequence)
    }

    fn in_software(engine: &mut Engine, key: &OutboundKey, packet: &mut [u8], sequence: u64) -> bool {
        let mut jobs = [SealJob { key, packet, sequence, sealed: false }];
        engine.seal_burst(&mut jobs);
        let [SealJob { sealed, .. }] = jobs;
        sealed
    }
}

/// Takes out of `items` what goes to the device.
#[inline(never)]
pub(crate) fn send<A: Allocator, S: Sink<A::Buffer>, P: Probe, W: Crossing<A>>(
    items: &mut Burst<W>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    let Some(mut line) = state.line.take_if(|line| !line.is_over()) else { return };
    let all: Burst<_> = items.drain(..).collect();
    for packet in all {
        let place = packet.place();
        match send_one(packet, &mut line, state) {
            // There is room: it stood here before.
            Ok(Some(for_software)) => drop(items.try_push(for_software)),
            Ok(None) => {}
            Err(reason) => {
                let reason = state.refused(place, W::DIRECTION, reason, out.sink);
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

/// Gives a packet to the device; itself, where its SA is not for it.
fn send_one<A: Allocator, W: Crossing<A>>(
    packet: W,
    line: &mut Line,
    state: &mut State<A>,
) -> Result<Option<W>, Drop> {
    let State { tables, counters, engine, .. } = state;
    let Some((key, inbound_spi)) = W::sa(tables, packet.place()) else { return Ok(Some(packet)) };
    let Some(device) = W::device(key) else { return Ok(Some(packet)) };
    let (buffer, kind) = packet.split();
    let sequence = match &kind {
        Kind::In(EspIn { sequence, .. }) | Kind::Out(EspOut { sequence, .. }) => *sequence,
        Kind::Test(_) => 0,
    };
    let mut mbuf = match buffer.into_mbuf() {
        Ok(mbuf) => mbuf,
        Err(buffer) => return Ok(W::joined(buffer, kind)),
    };
    let mut tag = Waiting { packet: kind, inbound_spi, lengthened: device.lengthens() };
    if line.device_has_room()
        && let Some(work) = W::prepare(device, &mut mbuf, sequence)
    {
        counters.flow(Flow::CryptoDevicePackets, 1);
        let submitted = line.queue().submit(device.session(), mbuf, &work, tag);
        return submitted.map(|()| None).map_err(|_| Drop::CryptoLineFull);
    }
    let done = W::in_software(engine, key, &mut mbuf, sequence);
    counters.flow(Flow::CryptoDeviceFull, 1);
    tag.lengthened = false;
    line.queue().wait(mbuf, tag, done).map(|()| None).map_err(|_| Drop::CryptoLineFull)
}

fn lengthen_undone(mut packet: Mbuf, lengthened: bool) -> Option<Mbuf> {
    (!lengthened || shorten(&mut packet).is_some()).then_some(packet)
}

fn seal_undone<A: Allocator>(mut packet: Mbuf, place: u32, state: &State<A>) -> Option<Mbuf> {
    // Another SA in its place is told by the SPI afterwards.
    let key = state.tables.sas.outbound(place).and_then(|sa| sa.key());
    key.and_then(|key| key.device())?.finish_seal(&mut packet)?;
    Some(packet)
}

fn accept<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspIn<()>,
    opened: Option<Mbuf>,
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
    let packet = EspIn { buffer, outer, place, sequence };
    if !state.watches.is_empty() {
        let State { watches, tables, counters, now, .. } = state;
        watches.opened(std::slice::from_ref(&packet), 1, tables, *now, out.sink, counters);
    }
    out.esp_in_accept(packet, state)
}

fn encap<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspOut<()>,
    sealed: Option<Mbuf>,
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
    let packet = EspOut { buffer, place, sequence, tos, inner_len };
    if !state.watches.is_empty() {
        let State { watches, tables, counters, .. } = state;
        watches.sealed(std::slice::from_ref(&packet), 1, tables, out.sink, counters);
    }
    out.encap(packet, state)
}
