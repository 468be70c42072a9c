//! From a client's inner IPv6 address to its SA: one table of prefixes, and the prefixes that belong to clients.
//!
//! Enters: prefixes, of a pool's common length or any other, each with an SA. Leaves: the SA of the longest one that holds an address.
//! A range may have more prefixes than memory has octets and they are given out in turn, so there is no array as IPv4 has: the table
//! is hashed by length and first address, is at most half full, and a look-up asks it once for each length in use, nearly always one.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;
use causeway_shared::sa::Ipv6Prefix;
use causeway_shared::wire::AckStatus;

use super::outbound::{MAX_POOLS, OutboundRoute};

/// Most different lengths of clients' prefixes.
pub const MAX_PREFIX_LENGTHS: usize = 16;

/// No SA has this inbound SPI (RFC 4303 §2.1): the place is empty.
const NO_SPI: u32 = 0;

/// A place of the table: first address, length, inbound SPI. Of integers only, so that an empty table is memory that the kernel gives
/// when it is first touched.
type Place = (u128, u32, u32);

/// All clients' prefixes.
pub struct OutboundMap6 {
    places: Vec<Place>,
    used: usize,
    /// Lengths in use, longest first, with how many prefixes have each.
    lengths: ArrayVec<(u8, usize), MAX_PREFIX_LENGTHS>,
    ranges: ArrayVec<Ipv6Prefix, MAX_POOLS>,
}

impl OutboundMap6 {
    /// An empty map for so many SAs, with all the memory it will use.
    pub fn new(sa_capacity: u32) -> OutboundMap6 {
        let places = (sa_capacity as usize).next_power_of_two() * 2;
        OutboundMap6 {
            places: vec![(0, 0, NO_SPI); places],
            used: 0,
            lengths: ArrayVec::new(),
            ranges: ArrayVec::new(),
        }
    }

    /// Where packets to `address` go.
    #[inline]
    pub fn lookup(&self, address: Ipv6Addr) -> OutboundRoute {
        for (length, _) in &self.lengths {
            if let Some(prefix) = Ipv6Prefix::new(address, *length)
                && let Ok(place) = self.find(prefix)
                && let Some((_, _, spi)) = self.places.get(place)
            {
                return OutboundRoute::Client(*spi);
            }
        }
        let vacant = self.ranges.iter().any(|range| range.contains(address));
        if vacant { OutboundRoute::Vacant } else { OutboundRoute::Elsewhere }
    }

    /// Makes packets into `prefix` leave by an SA, or by none.
    ///
    /// # Errors
    /// `TableFull` when there are more prefixes than SAs, or too many lengths.
    pub fn set(&mut self, prefix: Ipv6Prefix, inbound_spi: Option<u32>) -> Result<(), AckStatus> {
        match (self.find(prefix), inbound_spi) {
            (Ok(place), Some(spi)) => {
                if let Some((_, _, there)) = self.places.get_mut(place) {
                    *there = spi;
                }
            }
            (Ok(place), None) => {
                self.take_out(place);
                self.uncount(prefix.length);
            }
            (Err(_), None) => {}
            (Err(place), Some(spi)) => {
                if self.used >= self.places.len() / 2 {
                    return Err(AckStatus::TableFull);
                }
                self.count(prefix.length)?;
                self.used += 1;
                if let Some(empty) = self.places.get_mut(place) {
                    *empty = (prefix.address.to_bits(), u32::from(prefix.length), spi);
                }
            }
        }
        Ok(())
    }

    /// Says that the addresses of `range` belong to clients; one that is there already changes nothing.
    ///
    /// # Errors
    /// `TableFull`, or `OutOfRange` when it overlaps another.
    pub fn add_pool(&mut self, range: Ipv6Prefix) -> Result<(), AckStatus> {
        if self.ranges.contains(&range) {
            return Ok(());
        }
        let overlaps = |there: &Ipv6Prefix| there.contains(range.address) || range.contains(there.address);
        if self.ranges.iter().any(overlaps) {
            return Err(AckStatus::OutOfRange);
        }
        self.ranges.try_push(range).map_err(|_| AckStatus::TableFull)
    }

    /// The place where a prefix is, or the empty one where it would be.
    #[inline]
    fn find(&self, prefix: Ipv6Prefix) -> Result<usize, usize> {
        let (address, length) = (prefix.address.to_bits(), u32::from(prefix.length));
        let mut place = self.home(address, length);
        loop {
            match self.places.get(place) {
                Some((there, its_length, spi)) if *spi != NO_SPI => {
                    if *there == address && *its_length == length {
                        return Ok(place);
                    }
                }
                // Half of the places are empty, so that this ends.
                _ => return Err(place),
            }
            place = self.after(place);
        }
    }

    /// Empties a place; those behind it that could not be where they wanted to move up, so that no gap hides one.
    fn take_out(&mut self, place: usize) {
        self.used = self.used.saturating_sub(1);
        let (mut gap, mut next) = (place, self.after(place));
        while let Some(&entry) = self.places.get(next)
            && entry.2 != NO_SPI
        {
            let (from_home, from_gap) =
                (self.distance(self.home(entry.0, entry.1), next), self.distance(gap, next));
            if from_home >= from_gap {
                if let Some(to) = self.places.get_mut(gap) {
                    *to = entry;
                }
                gap = next;
            }
            next = self.after(next);
        }
        if let Some(to) = self.places.get_mut(gap) {
            *to = (0, 0, NO_SPI);
        }
    }

    /// Where a prefix wants to be.
    #[inline]
    fn home(&self, address: u128, length: u32) -> usize {
        // Both halves and the length, spread over all bits (2^64 divided by the golden ratio, twice).
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let (high, low) = ((address >> 64) as u64, address as u64);
        let mixed = (high.wrapping_mul(GOLDEN) ^ low ^ u64::from(length)).wrapping_mul(GOLDEN);
        (mixed ^ mixed >> 29) as usize & (self.places.len() - 1)
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.places.len() - 1)
    }

    fn count(&mut self, length: u8) -> Result<(), AckStatus> {
        if let Some((_, count)) = self.lengths.iter_mut().find(|(there, _)| *there == length) {
            *count += 1;
            return Ok(());
        }
        self.lengths.try_push((length, 1)).map_err(|_| AckStatus::TableFull)?;
        self.lengths.sort_unstable_by_key(|(length, _)| std::cmp::Reverse(*length));
        Ok(())
    }

    fn uncount(&mut self, length: u8) {
        if let Some((_, count)) = self.lengths.iter_mut().find(|(there, _)| *there == length) {
            *count = count.saturating_sub(1);
        }
        self.lengths.retain(|(_, count)| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn prefix(text: &str) -> Ipv6Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_answers_and_pools_say_what_is_vacant() {
        let mut map = OutboundMap6::new(256);
        map.add_pool(prefix("2001:db8::/48")).unwrap();
        map.add_pool(prefix("2001:db8::/48")).unwrap();
        assert_eq!(map.add_pool(prefix("2001:db8::/56")), Err(AckStatus::OutOfRange));
        map.set(prefix("2001:db8:0:1::/64"), Some(900)).unwrap();
        map.set(prefix("2001:db8:0:1::7/128"), Some(901)).unwrap();
        map.set(prefix("fd00::5/128"), Some(902)).unwrap();
        for (address, expected) in [
            ("2001:db8:0:1::1", OutboundRoute::Client(900)),
            ("2001:db8:0:1::7", OutboundRoute::Client(901)),
            ("2001:db8:0:2::1", OutboundRoute::Vacant),
            ("fd00::5", OutboundRoute::Client(902)),
            ("fd00::6", OutboundRoute::Elsewhere),
        ] {
            assert_eq!(map.lookup(address.parse().unwrap()), expected, "{address}");
        }
        map.set(prefix("2001:db8:0:1::7/128"), None).unwrap();
        assert_eq!(map.lookup("2001:db8:0:1::7".parse().unwrap()), OutboundRoute::Client(900));
    }

    #[test]
    fn it_is_bounded() {
        let mut map = OutboundMap6::new(256);
        for number in 0..256u128 {
            map.set(Ipv6Prefix::host(Ipv6Addr::from_bits(number)), Some(300)).unwrap();
        }
        let more = Ipv6Prefix::host(Ipv6Addr::from_bits(256));
        assert_eq!(map.set(more, Some(300)), Err(AckStatus::TableFull));
        map.set(Ipv6Prefix::host(Ipv6Addr::from_bits(7)), None).unwrap();
        map.set(more, Some(300)).unwrap();
        let mut map = OutboundMap6::new(256);
        for length in 0..MAX_PREFIX_LENGTHS as u8 {
            map.set(Ipv6Prefix::new(Ipv6Addr::UNSPECIFIED, length).unwrap(), Some(300)).unwrap();
        }
        assert_eq!(map.set(more, Some(300)), Err(AckStatus::TableFull));
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u128..90, prop_oneof![Just(128u8), Just(125)], prop::option::of(256u32..)), 0..300)) {
            let mut map = OutboundMap6::new(64);
            let mut naive = BTreeMap::new();
            for (number, length, spi) in steps {
                let prefix = Ipv6Prefix::new(Ipv6Addr::from_bits(number), length).unwrap();
                match spi {
                    None => {
                        map.set(prefix, None).unwrap();
                        naive.remove(&prefix);
                    }
                    Some(spi) => {
                        let full = naive.len() >= 64 && !naive.contains_key(&prefix);
                        prop_assert_eq!(map.set(prefix, Some(spi)), if full { Err(AckStatus::TableFull) } else { Ok(()) });
                        if !full {
                            naive.insert(prefix, spi);
                        }
                    }
                }
            }
            for address in (0..100).map(Ipv6Addr::from_bits) {
                let of = |length| naive.get(&Ipv6Prefix::new(address, length).unwrap());
                let expected = of(128).or(of(125)).map_or(OutboundRoute::Elsewhere, |spi| OutboundRoute::Client(*spi));
                prop_assert_eq!(map.lookup(address), expected);
            }
        }
    }
}
