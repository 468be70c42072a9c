//! Datagrams in slots: addresses (a family and its octets, twice), ports (2 + 2), payload length (4), payload.
//!
//! [`DatagramRef`] is the same message without an allocation, for the workers.

use std::net::IpAddr;

use super::bytes::{Reader, Writer};
use super::check_family;
use crate::wire::{DATAGRAM_SLOT_BYTES, Datagram, MAX_DATAGRAM, SlotError, SlotMessage};

/// A [`Datagram`] whose payload lies elsewhere: in a packet buffer, or in a ring's private copy of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatagramRef<'a> {
    /// Our address.
    pub local: IpAddr,
    /// Our port: 500 or 4500.
    pub local_port: u16,
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// The IKE message. At most [`MAX_DATAGRAM`] octets.
    pub payload: &'a [u8],
}

impl<'a> DatagramRef<'a> {
    /// Writes the datagram into a slot and returns the octets used.
    ///
    /// # Errors
    /// When the payload is too long, or a port is not one that IKE uses.
    pub fn encode(&self, slot: &mut [u8]) -> Result<usize, SlotError> {
        self.check()?;
        let length = u32::try_from(self.payload.len()).map_err(|_| SlotError::Invalid("payload"))?;
        let mut out = Writer::new(slot);
        out.ip(self.local)?;
        out.ip(self.peer)?;
        out.u16(self.local_port)?;
        out.u16(self.peer_port)?;
        out.u32(length)?;
        out.octets(self.payload)?;
        Ok(out.used())
    }

    /// Reads a datagram in place.
    ///
    /// # Errors
    /// When the lengths disagree, or a port is not one that IKE uses.
    pub fn decode(slot: &'a [u8]) -> Result<Self, SlotError> {
        let mut input = Reader::new(slot);
        let local = input.ip("local")?;
        let peer = input.ip("peer")?;
        let local_port = input.u16("local_port")?;
        let peer_port = input.u16("peer_port")?;
        let length = usize::try_from(input.u32("payload_length")?)
            .map_err(|_| SlotError::Invalid("payload_length"))?;
        let payload = input.octets(length, "payload")?;
        input.finish()?;
        let datagram = DatagramRef { local, local_port, peer, peer_port, payload };
        datagram.check()?;
        Ok(datagram)
    }

    /// The same datagram with its own payload.
    pub fn to_owned(&self) -> Datagram {
        let DatagramRef { local, local_port, peer, peer_port, payload } = *self;
        Datagram { local, local_port, peer, peer_port, payload: payload.to_vec() }
    }

    fn check(&self) -> Result<(), SlotError> {
        if self.payload.len() > MAX_DATAGRAM {
            return Err(SlotError::TooLong { needed: self.payload.len(), available: MAX_DATAGRAM });
        }
        check_family(self.local, self.peer)?;
        // RFC 7296 §2: we speak from port 500 or 4500 only, whatever the other process asks for.
        if !matches!(self.local_port, 500 | 4500) {
            return Err(SlotError::Invalid("local_port"));
        }
        if self.peer_port == 0 { Err(SlotError::Invalid("peer_port")) } else { Ok(()) }
    }
}

impl Datagram {
    /// A view of this datagram.
    pub fn as_ref(&self) -> DatagramRef<'_> {
        let Datagram { local, local_port, peer, peer_port, payload } = self;
        DatagramRef {
            local: *local,
            local_port: *local_port,
            peer: *peer,
            peer_port: *peer_port,
            payload: payload.as_slice(),
        }
    }
}

impl SlotMessage for Datagram {
    const SLOT_BYTES: usize = DATAGRAM_SLOT_BYTES;
    const LAYOUT: &'static str = "datagram-2";

    fn encode(&self, slot: &mut [u8]) -> Result<usize, SlotError> {
        self.as_ref().encode(slot)
    }

    fn decode(slot: &[u8]) -> Result<Self, SlotError> {
        DatagramRef::decode(slot).map(|datagram| datagram.to_owned())
    }
}
