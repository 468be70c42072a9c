//! Inner addresses for clients: pools and their leases.
//!
//! Enters: the `[[pool]]` sections, requests in the name of a session and a user, ends of sessions. Leaves: an address that
//! nobody else holds, with what the client is told beside it (RFC 7296 §3.15). A user gets the address of the last time
//! while nobody else has taken it. Every lease has one owner, and only the owner can end it.

mod bitmap;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use causeway_shared::config::{self, TrafficSelectors};
use causeway_shared::sa::Ipv4Prefix;

use bitmap::Bitmap;

/// Addresses of the largest pool (a /8). Memory is two bits an address at most.
pub const MAX_POOL_ADDRESSES: usize = 1 << 24;
/// Users whose last address is remembered; the longest unseen is forgotten first.
pub const MAX_REMEMBERED_USERS: usize = 65_536;

/// What a session got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The client's address.
    pub address: Ipv4Addr,
    /// One address wide: a client must not think that its pool is a link on which it can ask for neighbours.
    pub netmask: Ipv4Addr,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// What the client reaches through the tunnel; empty: everything.
    pub subnets: Vec<Ipv4Prefix>,
    /// Whether its traffic selectors may be wider than these networks.
    pub any_selectors: bool,
    /// Name of the pool.
    pub pool: String,
}

/// What somebody would like to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The client's own wish.
    pub requested: Option<Ipv4Addr>,
    /// This address or none: the user's own.
    pub fixed: Option<Ipv4Addr>,
    /// From this pool only.
    pub pool: Option<&'a str>,
}

/// Why a request was not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseError {
    /// Every address of every pool is taken.
    #[error("no pool has a free address")]
    Exhausted,
    /// The user's own address is another session's, or in no pool.
    #[error("the user's address is not free")]
    FixedTaken,
}

/// Why a lease was not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Nobody holds this address.
    #[error("{0} is not leased")]
    NotLeased(Ipv4Addr),
    /// Somebody else holds it.
    #[error("{0} belongs to another session")]
    NotOwner(Ipv4Addr),
}

/// Why pools cannot be made of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    /// More than [`MAX_POOL_ADDRESSES`].
    #[error("pool `{0}` is larger than a /8")]
    TooLarge(String),
    /// An address would have two owners.
    #[error("pools `{0}` and `{1}` overlap")]
    Overlap(String, String),
    /// Nothing to give out.
    #[error("pool `{0}` has no address left to give out")]
    Empty(String),
}

/// How full a pool is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolUsage {
    /// Name.
    pub name: String,
    /// Addresses that can be leased at once.
    pub capacity: usize,
    /// Addresses leased.
    pub leased: usize,
}

/// All pools and all leases.
pub struct AddressPools {
    pools: Vec<Pool>,
    leases: HashMap<Ipv4Addr, Owner>,
    by_session: HashMap<u64, Ipv4Addr>,
    remembered: Remembered,
}

struct Owner {
    session: u64,
    pool: usize,
}

struct Pool {
    config: config::Pool,
    /// Of the whole range; excluded addresses are taken for good.
    taken: Bitmap,
    excluded: usize,
}

impl AddressPools {
    /// Makes pools of the configuration. `gateway_addresses` are never given out.
    pub fn new(pools: &[config::Pool], gateway_addresses: &[Ipv4Addr]) -> Result<AddressPools, PoolError> {
        for (index, pool) in pools.iter().enumerate() {
            let overlapping = pools.iter().skip(index + 1).find(|other| {
                pool.range.contains(other.range.address) || other.range.contains(pool.range.address)
            });
            if let Some(other) = overlapping {
                return Err(PoolError::Overlap(pool.name.clone(), other.name.clone()));
            }
        }
        let pools = pools.iter().map(|pool| Pool::new(pool, gateway_addresses)).collect::<Result<_, _>>()?;
        let (leases, by_session) = (HashMap::new(), HashMap::new());
        Ok(AddressPools { pools, leases, by_session, remembered: Remembered::default() })
    }

    /// Leases an address to a session: the one it holds already, else the user's last, else the one asked for, else the
    /// next free one of the first pool that has any.
    pub fn lease(
        &mut self,
        session: u64,
        user: &str,
        requested: Option<Ipv4Addr>,
    ) -> Result<Grant, LeaseError> {
        self.lease_for(session, user, Wish { requested, ..Wish::default() })
    }

    /// As [`AddressPools::lease`], within what the user's policy allows.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn lease_for(&mut self, session: u64, user: &str, wish: Wish<'_>) -> Result<Grant, LeaseError> {
        if let Some(grant) = self.grant_of(session) {
            return Ok(grant);
        }
        let taken = match wish.fixed {
            Some(address) => self.take(address, None).ok_or(LeaseError::FixedTaken),
            None => [self.remembered.address_of(user), wish.requested]
                .into_iter()
                .flatten()
                .find_map(|address| self.take(address, wish.pool))
                .or_else(|| self.take_next(wish.pool))
                .ok_or(LeaseError::Exhausted),
        };
        let (pool, address) = taken?;
        self.hold(session, pool, address);
        self.remembered.remember(user, address);
        self.grant(address).ok_or(LeaseError::Exhausted)
    }

    /// Takes an address that was leased in an earlier run. Returns whether it is there and free.
    pub fn reserve(&mut self, session: u64, address: Ipv4Addr) -> bool {
        if self.by_session.contains_key(&session) {
            return false;
        }
        self.take(address, None).map(|(pool, address)| self.hold(session, pool, address)).is_some()
    }

    /// What a session was granted.
    pub fn grant_of(&self, session: u64) -> Option<Grant> {
        self.by_session.get(&session).and_then(|address| self.grant(*address))
    }

    /// Ends a lease. Only its owner can.
    pub fn release(&mut self, session: u64, address: Ipv4Addr) -> Result<(), ReleaseError> {
        let owner = self.leases.get(&address).ok_or(ReleaseError::NotLeased(address))?;
        if owner.session != session {
            return Err(ReleaseError::NotOwner(address));
        }
        let pool = owner.pool;
        self.leases.remove(&address);
        self.by_session.remove(&session);
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.free(address);
        }
        Ok(())
    }

    /// Who holds an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<u64> {
        self.leases.get(&address).map(|owner| owner.session)
    }

    /// What a session holds.
    pub fn address_of(&self, session: u64) -> Option<Ipv4Addr> {
        self.by_session.get(&session).copied()
    }

    /// Leases there are.
    pub fn leased(&self) -> usize {
        self.leases.len()
    }

    /// How full each pool is, in the configuration's order.
    pub fn usage(&self) -> Vec<PoolUsage> {
        self.pools.iter().map(Pool::usage).collect()
    }

    fn hold(&mut self, session: u64, pool: usize, address: Ipv4Addr) {
        self.leases.insert(address, Owner { session, pool });
        self.by_session.insert(session, address);
    }

    fn take(&mut self, address: Ipv4Addr, only: Option<&str>) -> Option<(usize, Ipv4Addr)> {
        let taken = |(index, pool): (usize, &mut Pool)| pool.take(address).then_some((index, address));
        self.allowed(only).find_map(taken)
    }

    fn take_next(&mut self, only: Option<&str>) -> Option<(usize, Ipv4Addr)> {
        self.allowed(only).find_map(|(index, pool)| Some((index, pool.take_next()?)))
    }

    fn allowed<'a>(&'a mut self, only: Option<&'a str>) -> impl Iterator<Item = (usize, &'a mut Pool)> {
        let pools = self.pools.iter_mut().enumerate();
        pools.filter(move |(_, pool)| only.is_none_or(|name| name == pool.config.name))
    }

    fn grant(&self, address: Ipv4Addr) -> Option<Grant> {
        let pool = &self.pools.get(self.leases.get(&address)?.pool)?.config;
        Some(Grant {
            address,
            netmask: Ipv4Addr::BROADCAST,
            dns: pool.dns.clone(),
            subnets: pool.subnets.clone(),
            any_selectors: pool.traffic_selectors == TrafficSelectors::Any,
            pool: pool.name.clone(),
        })
    }
}

impl Pool {
    fn new(config: &config::Pool, gateway_addresses: &[Ipv4Addr]) -> Result<Pool, PoolError> {
        let range = config.range;
        let addresses = u64::from(u32::from(range.last()) - u32::from(range.address)) + 1;
        let addresses = usize::try_from(addresses).ok().filter(|&count| count <= MAX_POOL_ADDRESSES);
        let addresses = addresses.ok_or_else(|| PoolError::TooLarge(config.name.clone()))?;
        let mut pool = Pool { config: config.clone(), taken: Bitmap::new(addresses), excluded: 0 };
        // A /31 or /32 has neither network nor broadcast address (RFC 3021), and bounds that are told are meant.
        let inset = u32::from(range.length <= 30);
        let bound = |bound: Option<Ipv4Addr>, otherwise: u32| bound.map_or(otherwise, u32::from);
        let first = bound(config.first, u32::from(range.address).saturating_add(inset));
        let last = bound(config.last, u32::from(range.last()).saturating_sub(inset));
        let below = u32::from(range.address)..first;
        let above = (last..u32::from(range.last())).map(|address| address.saturating_add(1));
        for address in below.chain(above).map(Ipv4Addr::from).chain(gateway_addresses.iter().copied()) {
            pool.excluded += usize::from(pool.take(address));
        }
        match pool.usage().capacity {
            0 => Err(PoolError::Empty(config.name.clone())),
            _ => Ok(pool),
        }
    }

    fn take(&mut self, address: Ipv4Addr) -> bool {
        self.index(address).is_some_and(|index| self.taken.take(index))
    }

    fn take_next(&mut self) -> Option<Ipv4Addr> {
        let index = u32::try_from(self.taken.take_next()?).ok()?;
        u32::from(self.config.range.address).checked_add(index).map(Ipv4Addr::from)
    }

    fn free(&mut self, address: Ipv4Addr) {
        if let Some(index) = self.index(address) {
            self.taken.free(index);
        }
    }

    fn index(&self, address: Ipv4Addr) -> Option<usize> {
        let range = self.config.range;
        let offset = u32::from(address).wrapping_sub(u32::from(range.address));
        range.contains(address).then(|| usize::try_from(offset).ok()).flatten()
    }

    fn usage(&self) -> PoolUsage {
        let range = self.config.range;
        let addresses = (u32::from(range.last()) - u32::from(range.address)) as usize + 1;
        PoolUsage {
            name: self.config.name.clone(),
            capacity: addresses - self.excluded,
            leased: self.taken.taken() - self.excluded,
        }
    }
}

/// The last address of each user, the longest unseen forgotten first.
#[derive(Default)]
struct Remembered {
    addresses: HashMap<String, (Ipv4Addr, u64)>,
    /// Users by the time they were seen; entries older than the map's are stale.
    order: VecDeque<(String, u64)>,
    clock: u64,
}

impl Remembered {
    fn address_of(&self, user: &str) -> Option<Ipv4Addr> {
        self.addresses.get(user).map(|&(address, _)| address)
    }

    fn remember(&mut self, user: &str, address: Ipv4Addr) {
        self.clock += 1;
        self.addresses.insert(user.to_owned(), (address, self.clock));
        self.order.push_back((user.to_owned(), self.clock));
        // Twice the bound leaves room for stale entries; each push drops at most what was pushed before it.
        while self.addresses.len() > MAX_REMEMBERED_USERS || self.order.len() > 2 * MAX_REMEMBERED_USERS {
            let Some((user, seen)) = self.order.pop_front() else { return };
            match self.addresses.get(&user) {
                Some(&(_, last)) if last != seen => {}
                Some(_) => {
                    self.addresses.remove(&user);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pool(name: &str, range: &str) -> config::Pool {
        config::Pool {
            name: name.into(),
            range: range.parse().unwrap(),
            first: None,
            last: None,
            dns: vec![],
            subnets: vec![],
            traffic_selectors: TrafficSelectors::Subnets,
        }
    }

    fn pools(ranges: &[&str]) -> AddressPools {
        let pools: Vec<_> = ranges.iter().map(|range| pool(range, range)).collect();
        AddressPools::new(&pools, &[Ipv4Addr::new(10, 0, 0, 1)]).unwrap()
    }

    #[test]
    fn network_broadcast_and_gateway_are_not_given_out() {
        let mut pools = pools(&["10.0.0.0/29"]);
        let mut got = vec![];
        while let Ok(grant) = pools.lease(got.len() as u64, "ann", None) {
            got.push(grant.address.octets()[3]);
        }
        assert_eq!(got, [2, 3, 4, 5, 6]);
        assert_eq!(pools.usage(), [PoolUsage { name: "10.0.0.0/29".into(), capacity: 5, leased: 5 }]);
        for never in [0, 1, 7] {
            let address = Ipv4Addr::new(10, 0, 0, never);
            assert_eq!(pools.release(0, address), Err(ReleaseError::NotLeased(address)));
        }
    }

    #[test]
    fn small_ranges_are_used_whole() {
        for (range, capacity) in [("10.9.0.0/31", 2), ("10.9.0.0/32", 1), ("10.9.0.0/30", 2)] {
            assert_eq!(pools(&[range]).usage()[0].capacity, capacity, "{range}");
        }
    }

    #[test]
    fn only_addresses_between_the_bounds_are_given_out() {
        let at = |last: u8| Some(Ipv4Addr::new(10, 0, 0, last));
        for (first, last, expected) in [
            (at(5), at(10), &[5, 6, 7, 8, 9, 10][..]),
            (at(12), None, &[12, 13, 14]),
            (None, at(3), &[2, 3]),
            (at(0), at(2), &[0, 2]),
            (at(14), at(15), &[14, 15]),
            (at(7), at(7), &[7]),
        ] {
            let config = config::Pool { first, last, ..pool("bounded", "10.0.0.0/28") };
            let mut pools = AddressPools::new(&[config], &[Ipv4Addr::new(10, 0, 0, 1)]).unwrap();
            let mut lease = |n| pools.lease(n, &n.to_string(), at(4)).map(|grant| grant.address.octets()[3]);
            let got: Vec<u8> = (0..16).map_while(|n| lease(n).ok()).collect();
            let mut sorted = got.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, expected, "{first:?} to {last:?}");
            assert_eq!(pools.usage()[0].capacity, expected.len());
        }
    }

    #[test]
    fn bad_pools_are_refused() {
        for (ranges, error) in [
            (&["10.0.0.0/24", "10.0.0.128/25"][..], PoolError::Overlap("0".into(), "1".into())),
            (&["10.0.0.128/25", "10.0.0.0/24"], PoolError::Overlap("0".into(), "1".into())),
            (&["0.0.0.0/7"], PoolError::TooLarge("0".into())),
            (&["10.0.0.1/32"], PoolError::Empty("0".into())),
        ] {
            let pools: Vec<_> =
                ranges.iter().enumerate().map(|(n, range)| pool(&n.to_string(), range)).collect();
            assert_eq!(AddressPools::new(&pools, &[Ipv4Addr::new(10, 0, 0, 1)]).err(), Some(error));
        }
    }

    #[test]
    fn a_user_comes_back_to_the_last_address_unless_it_is_taken() {
        let mut pools = pools(&["10.0.0.0/28"]);
        let first = pools.lease(1, "ann", None).unwrap().address;
        pools.release(1, first).unwrap();
        assert_ne!(pools.lease(2, "bob", None).unwrap().address, first);
        assert_eq!(pools.lease(3, "ann", None).unwrap().address, first);
        let second_device = pools.lease(4, "ann", None).unwrap().address;
        assert_ne!(second_device, first);
        assert_eq!(pools.owner(first), Some(3));
    }

    #[test]
    fn a_wish_is_granted_only_inside_a_pool_and_when_free() {
        let mut pools = pools(&["10.0.0.0/28"]);
        let wish = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!(pools.lease(1, "ann", Some(wish)).unwrap().address, wish);
        assert_ne!(pools.lease(2, "bob", Some(wish)).unwrap().address, wish);
        for foreign in [Ipv4Addr::new(10, 0, 1, 9), Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 0, 0, 1)] {
            let session = 10 + u64::from(u32::from(foreign));
            let got = pools.lease(session, "eve", Some(foreign)).unwrap().address;
            assert_ne!(got, foreign);
        }
    }

    #[test]
    fn a_second_pool_serves_when_the_first_is_full_and_the_grant_is_that_pools() {
        let mut second = pool("second", "10.2.0.0/30");
        second.dns = vec![Ipv4Addr::new(9, 9, 9, 9)];
        second.subnets = vec!["192.168.0.0/16".parse().unwrap()];
        let mut pools = AddressPools::new(&[pool("first", "10.1.0.0/32"), second], &[]).unwrap();
        assert_eq!(pools.lease(1, "a", None).unwrap().pool, "first");
        let grant = pools.lease(2, "b", None).unwrap();
        assert_eq!((grant.pool.as_str(), grant.dns.len(), grant.subnets.len()), ("second", 1, 1));
        assert_eq!(grant.netmask, Ipv4Addr::BROADCAST);
        pools.lease(3, "c", None).unwrap();
        assert_eq!(pools.lease(4, "d", None), Err(LeaseError::Exhausted));
        assert_eq!(pools.lease(2, "b", None).unwrap(), grant, "a repeated request gives what is held");
    }

    #[test]
    fn a_policy_names_address_or_pool() {
        let mut pools =
            AddressPools::new(&[pool("a", "10.1.0.0/30"), pool("b", "10.2.0.0/30")], &[]).unwrap();
        let at = |net: u8, last: u8| Ipv4Addr::new(10, net, 0, last);
        let only = |pool| Wish { pool: Some(pool), ..Wish::default() };
        let fixed = |address| Wish { fixed: Some(address), ..Wish::default() };
        assert_eq!(pools.lease_for(1, "ann", only("b")).unwrap().address, at(2, 1));
        assert_eq!(pools.lease_for(2, "bob", fixed(at(2, 2))).unwrap().address, at(2, 2));
        assert_eq!(pools.lease_for(3, "cid", fixed(at(2, 2))), Err(LeaseError::FixedTaken));
        assert_eq!(pools.lease_for(3, "cid", fixed(at(3, 1))), Err(LeaseError::FixedTaken));
        assert_eq!(pools.lease_for(3, "cid", only("b")), Err(LeaseError::Exhausted));
        let elsewhere = Wish { requested: Some(at(1, 2)), ..only("b") };
        assert_eq!(pools.lease_for(3, "cid", elsewhere), Err(LeaseError::Exhausted));
        assert_eq!(pools.lease_for(3, "cid", only("c")), Err(LeaseError::Exhausted));
        assert_eq!(pools.lease(3, "cid", None).unwrap().pool, "a");
    }

    #[test]
    fn addresses_of_an_earlier_run_are_kept() {
        let mut pools = pools(&["10.0.0.0/29"]);
        let kept = Ipv4Addr::new(10, 0, 0, 2);
        assert!(pools.reserve(900, kept) && !pools.reserve(901, kept));
        assert!(!pools.reserve(901, Ipv4Addr::new(10, 9, 0, 2)), "its pool is gone");
        assert_eq!(pools.grant_of(900).map(|grant| grant.address), Some(kept));
        assert_ne!(pools.lease(1, "ann", Some(kept)).unwrap().address, kept);
        assert_eq!(pools.release(900, kept), Ok(()));
    }

    #[test]
    fn only_the_owner_ends_a_lease() {
        let mut pools = pools(&["10.0.0.0/28"]);
        let address = pools.lease(1, "ann", None).unwrap().address;
        assert_eq!(pools.release(2, address), Err(ReleaseError::NotOwner(address)));
        assert_eq!(pools.release(1, address), Ok(()));
        assert_eq!(pools.release(1, address), Err(ReleaseError::NotLeased(address)));
    }

    #[test]
    fn remembering_users_is_bounded() {
        let mut remembered = Remembered::default();
        for n in 0..MAX_REMEMBERED_USERS + 10 {
            remembered.remember(&format!("user{n}"), Ipv4Addr::LOCALHOST);
        }
        assert_eq!(remembered.addresses.len(), MAX_REMEMBERED_USERS);
        assert_eq!(remembered.address_of("user0"), None);
        for _ in 0..3 * MAX_REMEMBERED_USERS {
            remembered.remember("often", Ipv4Addr::LOCALHOST);
        }
        assert!(remembered.order.len() <= 2 * MAX_REMEMBERED_USERS);
        assert!(remembered.address_of("often").is_some());
    }

    proptest! {
        /// Against a map of address to owner: never two owners, never an address outside, never a false "exhausted".
        #[test]
        fn behaves_like_a_map_of_owners(
            steps in proptest::collection::vec((any::<bool>(), 0u64..24, 0u8..6, proptest::option::of(0u8..40)), 0..300),
        ) {
            let mut pools = pools(&["10.0.0.0/28", "10.0.0.32/30"]);
            let allowed: Vec<Ipv4Addr> =
                (2..15).chain(33..35).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
            let mut model: BTreeMap<Ipv4Addr, u64> = BTreeMap::new();
            for (lease, session, user, wish) in steps {
                let held = model.iter().find(|(_, owner)| **owner == session).map(|(address, _)| *address);
                let wish = wish.map(|last| Ipv4Addr::new(10, 0, 0, last));
                if lease {
                    match pools.lease(session, &format!("user{user}"), wish) {
                        Ok(grant) => {
                            prop_assert!(allowed.contains(&grant.address));
                            prop_assert!(held.is_none_or(|held| held == grant.address));
                            let owner = *model.entry(grant.address).or_insert(session);
                            prop_assert_eq!(owner, session);
                        }
                        Err(error) => {
                            prop_assert_eq!(error, LeaseError::Exhausted);
                            prop_assert_eq!(model.len(), allowed.len());
                        }
                    }
                } else {
                    let address = wish.or(held).unwrap_or(Ipv4Addr::UNSPECIFIED);
                    let released = pools.release(session, address).is_ok();
                    prop_assert_eq!(released, model.get(&address) == Some(&session));
                    if released {
                        model.remove(&address);
                    }
                }
                prop_assert_eq!(pools.leased(), model.len());
                prop_assert_eq!(pools.usage().iter().map(|usage| usage.leased).sum::<usize>(), model.len());
                for (address, owner) in &model {
                    prop_assert_eq!(pools.owner(*address), Some(*owner));
                    prop_assert_eq!(pools.address_of(*owner), Some(*address));
                }
            }
        }
    }
}
