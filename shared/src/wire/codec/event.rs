//! Events in slots: kind (2), ack status (2), SPI (4), then the fields of the kind.

use super::bytes::{Reader, Writer};
use super::{check_spi, read_peer_location, write_peer_location};
use crate::wire::{AckStatus, EVENT_SLOT_BYTES, Event, SlotError, SlotMessage};

const ACK: u16 = 1;
const SOFT_EXPIRED: u16 = 2;
const HARD_EXPIRED: u16 = 3;
const PEER_MOVED: u16 = 4;
const INVALID_SPI: u16 = 5;
const FIRST_INBOUND: u16 = 6;

impl SlotMessage for Event {
    const SLOT_BYTES: usize = EVENT_SLOT_BYTES;
    const LAYOUT: &'static str = "event-3";

    fn encode(&self, slot: &mut [u8]) -> Result<usize, SlotError> {
        let (kind, status, spi) = match *self {
            Event::Ack { status, .. } => (ACK, status as u16, 0),
            Event::SoftExpired { inbound_spi } => (SOFT_EXPIRED, 0, ours(inbound_spi)?),
            Event::HardExpired { inbound_spi } => (HARD_EXPIRED, 0, ours(inbound_spi)?),
            Event::PeerMoved { inbound_spi, .. } => (PEER_MOVED, 0, ours(inbound_spi)?),
            Event::InvalidSpi { spi, .. } => (INVALID_SPI, 0, spi),
            Event::FirstInbound { inbound_spi } => (FIRST_INBOUND, 0, ours(inbound_spi)?),
        };
        let mut out = Writer::new(slot);
        out.u16(kind)?;
        out.u16(status)?;
        out.u32(spi)?;
        match *self {
            Event::Ack { command_id, .. } => out.u64(command_id)?,
            Event::PeerMoved { peer_outer, encapsulation, .. } => {
                write_peer_location(&mut out, peer_outer, encapsulation)?;
            }
            Event::InvalidSpi { source, .. } => out.ip(source)?,
            Event::SoftExpired { .. } | Event::HardExpired { .. } | Event::FirstInbound { .. } => {}
        }
        Ok(out.used())
    }

    fn decode(slot: &[u8]) -> Result<Self, SlotError> {
        let mut input = Reader::new(slot);
        let kind = input.u16("kind")?;
        let status = input.u16("status")?;
        let spi = input.u32("inbound_spi")?;
        if kind != ACK && status != 0 {
            return Err(SlotError::Invalid("status"));
        }
        let event = match kind {
            ACK => {
                if spi != 0 {
                    return Err(SlotError::Invalid("inbound_spi"));
                }
                Event::Ack { status: ack_status(status)?, command_id: input.u64("command_id")? }
            }
            SOFT_EXPIRED => Event::SoftExpired { inbound_spi: ours(spi)? },
            HARD_EXPIRED => Event::HardExpired { inbound_spi: ours(spi)? },
            PEER_MOVED => {
                let (peer_outer, encapsulation) = read_peer_location(&mut input)?;
                Event::PeerMoved { inbound_spi: ours(spi)?, peer_outer, encapsulation }
            }
            INVALID_SPI => Event::InvalidSpi { spi, source: input.ip("source")? },
            FIRST_INBOUND => Event::FirstInbound { inbound_spi: ours(spi)? },
            other => return Err(SlotError::UnknownKind(u32::from(other))),
        };
        input.finish()?;
        Ok(event)
    }
}

fn ours(inbound_spi: u32) -> Result<u32, SlotError> {
    check_spi("inbound_spi", inbound_spi)
}

fn ack_status(number: u16) -> Result<AckStatus, SlotError> {
    [
        AckStatus::Done,
        AckStatus::SlotInUse,
        AckStatus::NoSuchSa,
        AckStatus::OutOfRange,
        AckStatus::TableFull,
        AckStatus::NoSuchPool,
        AckStatus::Malformed,
        AckStatus::AlreadyInstalled,
    ]
    .into_iter()
    .find(|status| *status as u16 == number)
    .ok_or(SlotError::Invalid("status"))
}
