//! The IPv4 side of a pool: a bit for each address of its range.
//!
//! Enters: the range, its bounds, our own addresses, those of one user each. Leaves: addresses that are free; network, broadcast and our
//! own never are, a user's own is for nobody else.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use causeway_shared::sa::Ipv4Prefix;

use super::bitmap::Bitmap;

/// Addresses of the largest range (a /8). Memory is two bits an address at most.
pub const MAX_POOL_ADDRESSES: usize = 1 << 24;

/// Which of a range's addresses are free.
pub(super) struct Range4 {
    range: Ipv4Prefix,
    /// Of the whole range; excluded addresses and those of one user are taken for good.
    taken: Bitmap,
    excluded: usize,
    /// The addresses of one user each, and whether they are leased.
    own: HashMap<Ipv4Addr, bool>,
}

impl Range4 {
    /// `None` if the range has more than [`MAX_POOL_ADDRESSES`].
    pub(super) fn new(
        range: Ipv4Prefix,
        (first, last): (Option<Ipv4Addr>, Option<Ipv4Addr>),
        gateway_addresses: &[Ipv4Addr],
    ) -> Option<Range4> {
        let addresses = u64::from(u32::from(range.last()) - u32::from(range.address)) + 1;
        let addresses = usize::try_from(addresses).ok().filter(|&count| count <= MAX_POOL_ADDRESSES)?;
        let mut pool = Range4 { range, taken: Bitmap::new(addresses), excluded: 0, own: HashMap::new() };
        // A /31 or /32 has neither network nor broadcast address (RFC 3021), and bounds that are told are meant.
        let inset = u32::from(range.length <= 30);
        let bound = |bound: Option<Ipv4Addr>, otherwise: u32| bound.map_or(otherwise, u32::from);
        let first = bound(first, u32::from(range.address).saturating_add(inset));
        let last = bound(last, u32::from(range.last()).saturating_sub(inset));
        let below = u32::from(range.address)..first;
        let above = (last..u32::from(range.last())).map(|address| address.saturating_add(1));
        for address in below.chain(above).map(Ipv4Addr::from).chain(gateway_addresses.iter().copied()) {
            pool.excluded += usize::from(pool.take(address));
        }
        Some(pool)
    }

    pub(super) fn capacity(&self) -> usize {
        self.taken.len() - self.excluded
    }

    pub(super) fn leased(&self) -> usize {
        let idle = self.own.values().filter(|leased| !**leased).count();
        self.taken.taken() - self.excluded - idle
    }

    /// Whether there is an address for anybody.
    pub(super) fn has_room(&self) -> bool {
        self.taken.taken() < self.taken.len()
    }

    /// Keeps an address for one user.
    pub(super) fn set_aside(&mut self, address: Ipv4Addr) {
        if self.take(address) {
            self.own.insert(address, false);
        }
    }

    /// Whether a user's own address, or any other, is free for who may have it.
    pub(super) fn has_own(&self, address: Ipv4Addr) -> bool {
        self.own.get(&address).map_or_else(|| self.has(address), |leased| !leased)
    }

    /// Takes what [`Range4::has_own`] has.
    pub(super) fn take_own(&mut self, address: Ipv4Addr) -> bool {
        match self.own.get_mut(&address) {
            Some(leased) => !std::mem::replace(leased, true),
            None => self.take(address),
        }
    }

    pub(super) fn has(&self, address: Ipv4Addr) -> bool {
        self.index(address).is_some_and(|index| !self.taken.is_taken(index))
    }

    pub(super) fn take(&mut self, address: Ipv4Addr) -> bool {
        self.index(address).is_some_and(|index| self.taken.take(index))
    }

    pub(super) fn take_next(&mut self) -> Option<Ipv4Addr> {
        let index = u32::try_from(self.taken.take_next()?).ok()?;
        u32::from(self.range.address).checked_add(index).map(Ipv4Addr::from)
    }

    pub(super) fn free(&mut self, address: Ipv4Addr) {
        if let Some(leased) = self.own.get_mut(&address) {
            *leased = false;
        } else if let Some(index) = self.index(address) {
            self.taken.free(index);
        }
    }

    fn index(&self, address: Ipv4Addr) -> Option<usize> {
        let offset = u32::from(address).wrapping_sub(u32::from(self.range.address));
        self.range.contains(address).then(|| usize::try_from(offset).ok()).flatten()
    }
}
