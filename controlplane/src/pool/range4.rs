//! The IPv4 side of a pool: a bit for each address of its range.
//!
//! Enters: the range, its bounds, our own addresses. Leaves: addresses that are free; network, broadcast and our own never are.

use std::net::Ipv4Addr;

use causeway_shared::sa::Ipv4Prefix;

use super::bitmap::Bitmap;

/// Addresses of the largest range (a /8). Memory is two bits an address at most.
pub const MAX_POOL_ADDRESSES: usize = 1 << 24;

/// Which of a range's addresses are free.
pub(super) struct Range4 {
    range: Ipv4Prefix,
    /// Of the whole range; excluded addresses are taken for good.
    taken: Bitmap,
    excluded: usize,
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
        let mut pool = Range4 { range, taken: Bitmap::new(addresses), excluded: 0 };
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
        self.taken.taken() - self.excluded
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
        if let Some(index) = self.index(address) {
            self.taken.free(index);
        }
    }

    fn index(&self, address: Ipv4Addr) -> Option<usize> {
        let offset = u32::from(address).wrapping_sub(u32::from(self.range.address));
        self.range.contains(address).then(|| usize::try_from(offset).ok()).flatten()
    }
}
