//! A bounded writer and a bounded reader over a slot's octets. Neither can panic; the reader names the field it misses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::SlotError;

/// Appends fields to a slot.
pub(super) struct Writer<'a> {
    slot: &'a mut [u8],
    used: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(slot: &'a mut [u8]) -> Self {
        Writer { slot, used: 0 }
    }

    /// Octets written.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn octets(&mut self, octets: &[u8]) -> Result<(), SlotError> {
        let needed = self.used.saturating_add(octets.len());
        let available = self.slot.len();
        self.slot
            .get_mut(self.used..needed)
            .ok_or(SlotError::TooLong { needed, available })?
            .copy_from_slice(octets);
        self.used = needed;
        Ok(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Result<(), SlotError> {
        self.octets(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Result<(), SlotError> {
        self.octets(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Result<(), SlotError> {
        self.octets(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> Result<(), SlotError> {
        self.octets(&value.to_le_bytes())
    }

    pub(super) fn address(&mut self, value: Ipv4Addr) -> Result<(), SlotError> {
        self.octets(&value.octets())
    }

    /// The family, 4 or 6, and the octets that it has.
    pub(super) fn ip(&mut self, value: IpAddr) -> Result<(), SlotError> {
        match value {
            IpAddr::V4(address) => self.u8(4).and_then(|()| self.octets(&address.octets())),
            IpAddr::V6(address) => self.u8(6).and_then(|()| self.octets(&address.octets())),
        }
    }

    pub(super) fn address6(&mut self, value: Ipv6Addr) -> Result<(), SlotError> {
        self.octets(&value.octets())
    }

    pub(super) fn zeros(&mut self, count: usize) -> Result<(), SlotError> {
        (0..count).try_for_each(|_| self.u8(0))
    }
}

/// Takes fields from a slot's octets.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(slot: &'a [u8]) -> Self {
        Reader { rest: slot }
    }

    pub(super) fn octets(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], SlotError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SlotError::Truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], SlotError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SlotError::Truncated(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Fills `into`, so that key octets are copied once and to their final place.
    pub(super) fn copy_to(&mut self, into: &mut [u8], field: &'static str) -> Result<(), SlotError> {
        into.copy_from_slice(self.octets(into.len(), field)?);
        Ok(())
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, SlotError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, SlotError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, SlotError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, SlotError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(super) fn address(&mut self, field: &'static str) -> Result<Ipv4Addr, SlotError> {
        Ok(Ipv4Addr::from(self.array::<4>(field)?))
    }

    pub(super) fn address6(&mut self, field: &'static str) -> Result<Ipv6Addr, SlotError> {
        Ok(Ipv6Addr::from(self.array::<16>(field)?))
    }

    pub(super) fn ip(&mut self, field: &'static str) -> Result<IpAddr, SlotError> {
        match self.u8(field)? {
            4 => Ok(IpAddr::from(self.array::<4>(field)?)),
            6 => Ok(IpAddr::from(self.array::<16>(field)?)),
            _ => Err(SlotError::Invalid(field)),
        }
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, SlotError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SlotError::Invalid(field)),
        }
    }

    pub(super) fn zeros(&mut self, count: usize, field: &'static str) -> Result<(), SlotError> {
        match self.octets(count, field)?.iter().all(|octet| *octet == 0) {
            true => Ok(()),
            false => Err(SlotError::Invalid(field)),
        }
    }

    /// Refuses octets after the message.
    pub(super) fn finish(self) -> Result<(), SlotError> {
        if self.rest.is_empty() { Ok(()) } else { Err(SlotError::Invalid("length")) }
    }
}
