//! The octets of a snapshot: numbers in network order, strings and lists behind their length, enums by number.
//!
//! Enters: values. Leaves: octets, and back. Whatever is out of place, too long or left over is an error; nothing is
//! guessed, and a version has exactly one layout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::RestoreError;
use crate::crypto::Secret;

/// Most entries of any list.
const MAX_ENTRIES: usize = 1024;
/// Octets reserved at once, so that growing leaves no copies of keys behind in freed memory.
const USUAL_OCTETS: usize = 64 * 1024;

/// Writes.
pub(crate) struct Writer(Vec<u8>);

/// Reads.
pub(crate) struct Reader<'a>(&'a [u8]);

/// What a read gives.
pub(crate) type Read<T> = Result<T, RestoreError>;

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer(Vec::with_capacity(USUAL_OCTETS))
    }

    /// For values of at most so many octets.
    pub(crate) fn with_room(octets: usize) -> Writer {
        Writer(Vec::with_capacity(octets))
    }

    pub(crate) fn finish(self) -> crate::api::Secret {
        crate::api::Secret::new(self.0)
    }

    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn ipv4(&mut self, value: Ipv4Addr) {
        self.raw(&value.octets());
    }

    pub(crate) fn ipv6(&mut self, value: Ipv6Addr) {
        self.raw(&value.octets());
    }

    /// The family, 4 or 6, then the address.
    pub(crate) fn ip(&mut self, value: IpAddr) {
        match value {
            IpAddr::V4(address) => {
                self.u8(4);
                self.ipv4(address);
            }
            IpAddr::V6(address) => {
                self.u8(6);
                self.ipv6(address);
            }
        }
    }

    pub(crate) fn bytes(&mut self, octets: &[u8]) {
        // Nothing that an IKE SA holds comes near this bound.
        self.u32(u32::try_from(octets.len()).unwrap_or(u32::MAX));
        self.raw(octets);
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Writer, &T)) {
        self.u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
        values.iter().for_each(|value| write(self, value));
    }

    /// Where a value stands in the list of all of its kind.
    pub(crate) fn index<T: PartialEq>(&mut self, all: &[T], value: &T) {
        let at = all.iter().position(|other| other == value);
        self.u8(at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX));
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader(octets)
    }

    pub(crate) fn finish(self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(RestoreError::Malformed("octets are left over")) }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RestoreError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(crate) fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RestoreError::Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn ipv4(&mut self) -> Read<Ipv4Addr> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    pub(crate) fn ipv6(&mut self) -> Read<Ipv6Addr> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    pub(crate) fn ip(&mut self) -> Read<IpAddr> {
        match self.u8()? {
            4 => Ok(self.ipv4()?.into()),
            6 => Ok(self.ipv6()?.into()),
            _ => Err(RestoreError::Malformed("an address family")),
        }
    }

    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let octets = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let split = self.0.split_at_checked(octets).ok_or(RestoreError::Malformed("it ends too early"))?;
        self.0 = split.1;
        Ok(split.0)
    }

    pub(crate) fn secret(&mut self) -> Read<Secret> {
        Ok(Secret::new(self.bytes()?.to_vec()))
    }

    pub(crate) fn text(&mut self) -> Read<String> {
        let bad = RestoreError::Malformed("a text is not UTF-8");
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| bad)
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Reader<'a>) -> Read<T>) -> Read<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn list<T>(&mut self, read: impl Fn(&mut Reader<'a>) -> Read<T>) -> Read<Vec<T>> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count > MAX_ENTRIES {
            return Err(RestoreError::Malformed("a list is too long"));
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub(crate) fn index<T: Copy>(&mut self, all: &[T]) -> Read<T> {
        let at = usize::from(self.u8()?);
        all.get(at).copied().ok_or(RestoreError::Malformed("an algorithm has no such number"))
    }
}
