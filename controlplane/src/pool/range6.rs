//! The IPv6 side of a pool: prefixes of one length, one for each client, taken in turn.
//!
//! Enters: the range and the clients' length, prefixes of one user each. Leaves: prefixes that nobody else holds and that are nobody
//! else's, named by their first address. The range may
//! be too large for a bit each, so the taken ones are in a set; the first prefix is nobody's, because its first address is that of
//! every router (RFC 4291 §2.6.1).

use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;

use causeway_ike::api::Inner6;
use causeway_shared::config;
use causeway_shared::sa::Ipv6Prefix;

/// Most prefixes of one range that are leased at once.
pub const MAX_POOL_PREFIXES: usize = 1 << 24;

/// Which of a range's prefixes are taken.
pub(super) struct Range6 {
    range: config::Range6,
    /// Prefixes of one user each are taken for good.
    taken: HashSet<Ipv6Addr>,
    /// The prefixes of one user each, and whether they are leased.
    own: HashMap<Ipv6Addr, bool>,
    /// The number of the prefix that was taken last in turn: the one longest free comes late.
    cursor: u128,
}

impl Range6 {
    pub(super) fn new(range: config::Range6) -> Range6 {
        Range6 { range, taken: HashSet::new(), own: HashMap::new(), cursor: 0 }
    }

    /// Prefixes that can be leased at once.
    pub(super) fn capacity(&self) -> usize {
        usize::try_from(self.last_number()).unwrap_or(usize::MAX).min(MAX_POOL_PREFIXES)
    }

    pub(super) fn leased(&self) -> usize {
        self.taken.len() - self.own.values().filter(|leased| !**leased).count()
    }

    /// Whether there is a prefix for anybody.
    pub(super) fn has_room(&self) -> bool {
        self.taken.len() < self.capacity()
    }

    /// Keeps the prefix that holds this address for one user.
    pub(super) fn set_aside(&mut self, address: Ipv6Addr) {
        if let Some(first) = self.take(address) {
            self.own.insert(first, false);
        }
    }

    /// The prefix that holds this address, a user's own or any other, if it is free for who may have it.
    pub(super) fn has_own(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let first = self.first_of(address)?;
        match self.own.get(&first) {
            Some(leased) => (!leased).then_some(first),
            None => self.has(address),
        }
    }

    /// Takes what [`Range6::has_own`] has.
    pub(super) fn take_own(&mut self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let first = self.has_own(address)?;
        match self.own.get_mut(&first) {
            Some(leased) => *leased = true,
            None => return self.take(address),
        }
        Some(first)
    }

    /// The prefix that holds this address, by its first address, if it is free.
    pub(super) fn has(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let first = self.first_of(address)?;
        let free = first != self.range.prefix.address && !self.taken.contains(&first) && self.has_room();
        free.then_some(first)
    }

    /// Takes the prefix that holds this address.
    pub(super) fn take(&mut self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let first = self.has(address)?;
        self.taken.insert(first);
        Some(first)
    }

    /// Takes the next one in turn.
    pub(super) fn take_next(&mut self) -> Option<Ipv6Addr> {
        if !self.has_room() {
            return None;
        }
        // One of the next so many is free: no more than that are taken.
        for _ in 0..=self.taken.len() {
            self.cursor = if self.cursor >= self.last_number() { 1 } else { self.cursor + 1 };
            let first = self.range.prefix.address.to_bits() | self.cursor.checked_shl(self.host_bits())?;
            if let Some(first) = self.take(Ipv6Addr::from_bits(first)) {
                return Some(first);
            }
        }
        None
    }

    pub(super) fn free(&mut self, first: Ipv6Addr) {
        match self.own.get_mut(&first) {
            Some(leased) => *leased = false,
            None => {
                self.taken.remove(&first);
            }
        }
    }

    /// What the client is told of a prefix: the address itself, or of a longer one the first that a host may have.
    pub(super) fn told(&self, first: Ipv6Addr) -> Inner6 {
        let host = u128::from(self.range.client_length < 128);
        Inner6 { address: Ipv6Addr::from_bits(first.to_bits() | host), prefix_len: self.range.client_length }
    }

    /// The first address of the prefix that holds this one.
    pub(super) fn first_of(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        let prefix = Ipv6Prefix::new(address, self.range.client_length)?;
        self.range.prefix.contains(address).then_some(prefix.address)
    }

    fn host_bits(&self) -> u32 {
        128u32.saturating_sub(u32::from(self.range.client_length))
    }

    /// Prefixes are numbered from 0, which is nobody's.
    fn last_number(&self) -> u128 {
        let bits = u32::from(self.range.client_length).saturating_sub(u32::from(self.range.prefix.length));
        1u128.checked_shl(bits).map_or(u128::MAX, |count| count - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(prefix: &str, client_length: u8) -> Range6 {
        Range6::new(config::Range6 { prefix: prefix.parse().unwrap(), client_length })
    }

    fn at(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_in_turn_and_a_freed_one_comes_back_last() {
        let mut range = range("fd00:9::/126", 128);
        assert_eq!(range.capacity(), 3);
        let first = range.take_next().unwrap();
        assert_eq!((first, range.told(first)), (at("fd00:9::1"), Inner6 { address: first, prefix_len: 128 }));
        range.free(first);
        let rest: Vec<_> = std::iter::from_fn(|| range.take_next()).collect();
        assert_eq!(rest, [at("fd00:9::2"), at("fd00:9::3"), at("fd00:9::1")]);
        assert_eq!(range.leased(), 3);
    }

    #[test]
    fn a_client_has_all_of_its_prefix() {
        let mut range = range("fd00:9::/48", 64);
        let first = range.take(at("fd00:9:0:5:1:2:3:4")).unwrap();
        assert_eq!(range.told(first), Inner6 { address: at("fd00:9:0:5::1"), prefix_len: 64 });
        assert_eq!(range.take(at("fd00:9:0:5::9")), None, "another address of the same prefix");
        assert_eq!(range.take(at("fd00:9::1")), None, "the first prefix is nobody's");
        assert_eq!(range.take(at("fd00:a::1")), None, "not of the range");
        assert_eq!(range.take_next(), Some(at("fd00:9:0:1::")));
    }

    #[test]
    fn a_range_that_is_too_large_to_count_is_bounded() {
        let range = range("fd00::/16", 128);
        assert_eq!(range.capacity(), MAX_POOL_PREFIXES);
        assert_eq!(range.last_number(), (1 << 112) - 1);
    }

    proptest! {
        /// Against a set: never one twice, never one outside, never a false "none left".
        #[test]
        fn behaves_like_a_set(
            bits in 2u8..5,
            host_bits in 0u8..3,
            steps in proptest::collection::vec((0u8..3, 0u128..200), 0..300),
        ) {
            let client_length = 128 - host_bits;
            let prefix = Ipv6Prefix::new(at("fd00:9::"), client_length - bits).unwrap();
            let mut range = Range6::new(config::Range6 { prefix, client_length });
            let mut model = HashSet::new();
            for (what, host) in steps {
                let address = Ipv6Addr::from_bits(prefix.address.to_bits() + host);
                let first = Ipv6Prefix::new(address, client_length).unwrap().address;
                let good = prefix.contains(address) && first != prefix.address;
                match what {
                    0 => prop_assert_eq!(range.take(address).is_some(), good && model.insert(first)),
                    1 => {
                        range.free(first);
                        model.remove(&first);
                    }
                    _ => match range.take_next() {
                        Some(first) => {
                            prop_assert!(prefix.contains(first) && first != prefix.address);
                            prop_assert_eq!(Ipv6Prefix::new(first, client_length).unwrap().address, first);
                            prop_assert!(model.insert(first));
                        }
                        None => prop_assert_eq!(model.len(), (1 << bits) - 1),
                    },
                }
                prop_assert_eq!(range.leased(), model.len());
            }
        }
    }
}
