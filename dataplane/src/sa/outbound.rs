//! From a client's inner address to its SA: an offset into the pool's array, and a bounded hash for odd addresses.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use causeway_shared::sa::Ipv4Prefix;
use causeway_shared::wire::AckStatus;

/// Most pools.
pub const MAX_POOLS: usize = 64;
/// Most clients whose address lies in no pool.
pub const MAX_ODD_ADDRESSES: usize = 4096;
/// Shortest pool prefix: four million addresses, 16 MiB.
pub const MIN_POOL_PREFIX_LEN: u8 = 10;

/// No SA has this inbound SPI (RFC 4303 §2.1).
const NO_SPI: u32 = 0;

/// One pool: an array from address offset to the inbound SPI of the SA that packets leave by.
pub struct PoolMap {
    range: Ipv4Prefix,
    spis: Box<[u32]>,
}

impl PoolMap {
    /// An empty pool; runs on the manager's thread.
    ///
    /// # Errors
    /// `OutOfRange` when the range is larger than a /10.
    pub fn new(range: Ipv4Prefix) -> Result<Box<PoolMap>, AckStatus> {
        if !(MIN_POOL_PREFIX_LEN..=32).contains(&range.length) {
            return Err(AckStatus::OutOfRange);
        }
        let spis = vec![NO_SPI; 1 << (32 - range.length)].into_boxed_slice();
        Ok(Box::new(PoolMap { range, spis }))
    }

    /// Its range.
    pub fn range(&self) -> Ipv4Prefix {
        self.range
    }

    fn offset(&self, address: Ipv4Addr) -> usize {
        u32::from(address).wrapping_sub(u32::from(self.range.address)) as usize
    }
}

/// Where packets to an address go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutboundRoute {
    /// To a client, by the SA with this inbound SPI.
    Client(u32),
    /// Nowhere: the address belongs to a pool, but no client has it.
    Vacant,
    /// Not to a client.
    Elsewhere,
}

/// All pools and odd addresses.
pub struct OutboundMap {
    #[expect(
        clippy::vec_box,
        reason = "boxes come from the manager and go back to it; the worker frees nothing"
    )]
    pools: Vec<Box<PoolMap>>,
    /// First address and netmask of each pool, side by side.
    ranges: Vec<(u32, u32)>,
    odd: HashMap<Ipv4Addr, u32>,
}

impl OutboundMap {
    /// An empty map with all the memory it will use.
    pub fn new() -> OutboundMap {
        OutboundMap {
            pools: Vec::with_capacity(MAX_POOLS),
            ranges: Vec::with_capacity(MAX_POOLS),
            odd: HashMap::with_capacity(MAX_ODD_ADDRESSES),
        }
    }

    /// Where packets to `address` go.
    #[inline(always)]
    pub fn lookup(&self, address: Ipv4Addr) -> OutboundRoute {
        let number = u32::from(address);
        let pool = self.ranges.iter().position(|(first, mask)| number & mask == *first);
        if let Some(pool) = pool.and_then(|pool| self.pools.get(pool)) {
            return match pool.spis.get(pool.offset(address)) {
                Some(&spi) if spi != NO_SPI => OutboundRoute::Client(spi),
                _ => OutboundRoute::Vacant,
            };
        }
        if self.odd.is_empty() { OutboundRoute::Elsewhere } else { self.lookup_odd(address) }
    }

    #[cold]
    fn lookup_odd(&self, address: Ipv4Addr) -> OutboundRoute {
        self.odd.get(&address).map_or(OutboundRoute::Elsewhere, |spi| OutboundRoute::Client(*spi))
    }

    /// Makes packets to `address` leave by an SA, or by none.
    ///
    /// # Errors
    /// `NoSuchPool` when the address lies in no pool and the hash is full.
    pub fn set(&mut self, address: Ipv4Addr, inbound_spi: Option<u32>) -> Result<(), AckStatus> {
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.range.contains(address)) {
            let offset = pool.offset(address);
            let place = pool.spis.get_mut(offset).ok_or(AckStatus::OutOfRange)?;
            *place = inbound_spi.unwrap_or(NO_SPI);
            return Ok(());
        }
        match inbound_spi {
            None => {
                self.odd.remove(&address);
            }
            Some(_) if self.odd.len() >= MAX_ODD_ADDRESSES && !self.odd.contains_key(&address) => {
                return Err(AckStatus::NoSuchPool);
            }
            Some(spi) => {
                self.odd.insert(address, spi);
            }
        }
        Ok(())
    }

    /// Adds a pool; one that is there already is given back and left as it was.
    ///
    /// # Errors
    /// Gives it back with `TableFull`, or with `OutOfRange` when it overlaps another.
    pub fn add_pool(
        &mut self,
        mut pool: Box<PoolMap>,
    ) -> Result<Option<Box<PoolMap>>, (AckStatus, Box<PoolMap>)> {
        if self.pools.iter().any(|there| there.range == pool.range) {
            return Ok(Some(pool));
        }
        let overlaps = |a: Ipv4Prefix, b: Ipv4Prefix| a.contains(b.address) || b.contains(a.address);
        if self.pools.iter().any(|there| overlaps(there.range, pool.range)) {
            return Err((AckStatus::OutOfRange, pool));
        }
        if self.pools.len() >= MAX_POOLS {
            return Err((AckStatus::TableFull, pool));
        }
        // Clients that came before their pool move into its array.
        for (address, spi) in &self.odd {
            if pool.range.contains(*address) {
                let offset = pool.offset(*address);
                if let Some(place) = pool.spis.get_mut(offset) {
                    *place = *spi;
                }
            }
        }
        self.odd.retain(|address, _| !pool.range.contains(*address));
        let mask = u32::from(pool.range.netmask());
        self.ranges.push((u32::from(pool.range.address) & mask, mask));
        self.pools.push(pool);
        Ok(None)
    }
}

impl Default for OutboundMap {
    fn default() -> OutboundMap {
        OutboundMap::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn pool(text: &str) -> Box<PoolMap> {
        PoolMap::new(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn pools_answer_for_their_range_and_odd_addresses_follow() {
        let mut map = OutboundMap::new();
        let (in_pool, odd) = (Ipv4Addr::new(10, 9, 0, 255), Ipv4Addr::new(192, 0, 2, 7));
        map.set(in_pool, Some(900)).unwrap();
        map.set(odd, Some(901)).unwrap();
        assert!(map.add_pool(pool("10.9.0.0/24")).is_ok_and(|given_back| given_back.is_none()));
        assert_eq!(map.lookup(in_pool), OutboundRoute::Client(900));
        assert_eq!(map.lookup(odd), OutboundRoute::Client(901));
        assert_eq!(map.lookup(Ipv4Addr::new(10, 9, 0, 1)), OutboundRoute::Vacant);
        assert_eq!(map.lookup(Ipv4Addr::new(10, 9, 1, 0)), OutboundRoute::Elsewhere);
        map.set(in_pool, None).unwrap();
        assert_eq!(map.lookup(in_pool), OutboundRoute::Vacant);
        assert!(map.add_pool(pool("10.9.0.0/24")).is_ok_and(|given_back| given_back.is_some()));
        assert!(map.add_pool(pool("10.9.0.0/16")).is_err_and(|(status, _)| status == AckStatus::OutOfRange));
        assert_eq!(PoolMap::new("10.0.0.0/9".parse().unwrap()).err(), Some(AckStatus::OutOfRange));
    }

    #[test]
    fn both_tables_are_bounded() {
        let mut map = OutboundMap::new();
        for index in 0..MAX_ODD_ADDRESSES as u32 {
            map.set(Ipv4Addr::from(index), Some(256)).unwrap();
        }
        assert_eq!(map.set(Ipv4Addr::BROADCAST, Some(256)), Err(AckStatus::NoSuchPool));
        assert_eq!(map.set(Ipv4Addr::from(0), Some(257)), Ok(()));
        for index in 0..MAX_POOLS as u8 {
            assert!(map.add_pool(pool(&format!("10.0.{index}.0/24"))).is_ok());
        }
        assert!(map.add_pool(pool("10.1.0.0/24")).is_err_and(|(status, _)| status == AckStatus::TableFull));
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u32..600, prop::option::of(256u32..)), 0..200)) {
            let mut map = OutboundMap::new();
            assert!(map.add_pool(pool("0.0.1.0/24")).is_ok());
            let mut naive = BTreeMap::new();
            for (address, spi) in steps {
                let address = Ipv4Addr::from(address);
                map.set(address, spi).unwrap();
                match spi {
                    Some(spi) => naive.insert(address, spi),
                    None => naive.remove(&address),
                };
            }
            for address in (0..600).map(Ipv4Addr::from) {
                let expected = naive.get(&address).map(|spi| OutboundRoute::Client(*spi));
                let vacant = if address.octets()[2] == 1 { OutboundRoute::Vacant } else { OutboundRoute::Elsewhere };
                prop_assert_eq!(map.lookup(address), expected.unwrap_or(vacant));
            }
        }
    }
}
