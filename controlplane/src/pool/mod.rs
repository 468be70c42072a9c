//! Inner addresses for clients: pools and their leases.
//!
//! Enters: the `[[pool]]` sections, requests in the name of a session and a user, ends of sessions. Leaves: addresses of one family or
//! both that nobody else holds, with what the client is told beside them (RFC 7296 §3.15). A user gets the addresses of the last time
//! while nobody else has taken them; an address that the configuration gives to a user is kept for that user. Every lease has one
//! owner, is of one pool, and ends as a whole.

mod bitmap;
mod range4;
mod range6;
mod remembered;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_ike::api::Inner6;
use causeway_shared::config::{self, TrafficSelectors};
use causeway_shared::sa::IpPrefix;

pub use range4::MAX_POOL_ADDRESSES;
pub use range6::MAX_POOL_PREFIXES;
pub use remembered::MAX_REMEMBERED_USERS;

use range4::Range4;
use range6::Range6;
use remembered::Remembered;

/// What a session got. There is one address at least.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The client's IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// One address wide: a client must not think that its pool is a link on which it can ask for neighbours.
    pub netmask: Ipv4Addr,
    /// The client's IPv6 address, and how much around it is the client's.
    pub address6: Option<Inner6>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// What the client reaches through the tunnel; empty: everything.
    pub subnets: Vec<IpPrefix>,
    /// Whether its traffic selectors may be wider than these networks.
    pub any_selectors: bool,
    /// Name of the pool.
    pub pool: String,
}

/// What somebody would like to have of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FamilyWish<A> {
    /// Whether an address of this family is wanted at all.
    pub wanted: bool,
    /// The client's own wish.
    pub requested: Option<A>,
    /// This address or none: the user's own.
    pub fixed: Option<A>,
}

/// What somebody would like to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// Of IPv4.
    pub v4: FamilyWish<Ipv4Addr>,
    /// Of IPv6.
    pub v6: FamilyWish<Ipv6Addr>,
    /// From this pool only.
    pub pool: Option<&'a str>,
}

impl<A> FamilyWish<A> {
    /// Any address, this one if possible.
    pub fn any(requested: Option<A>) -> FamilyWish<A> {
        FamilyWish { wanted: true, requested, fixed: None }
    }
}

impl<A> Default for FamilyWish<A> {
    /// None.
    fn default() -> FamilyWish<A> {
        FamilyWish { wanted: false, requested: None, fixed: None }
    }
}

/// Why a request was not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseError {
    /// Every address of every pool is taken.
    #[error("no pool has a free address")]
    Exhausted,
    /// The user's own address is another session's or another user's, or in no pool.
    #[error("the user's address is not free")]
    FixedTaken,
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
    /// Leases that can be there at once: of the family that runs out first.
    pub capacity: usize,
    /// Leases of that family.
    pub leased: usize,
}

/// Addresses as they are held: of IPv6 the first of the client's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

/// All pools and all leases.
pub struct AddressPools {
    pools: Vec<Pool>,
    /// By session: the place of the pool, and what is held of it.
    leases: HashMap<u64, (usize, Held)>,
    owners: HashMap<IpAddr, u64>,
    /// Whose own an address is; of IPv6 the first of the prefix.
    own: HashMap<IpAddr, String>,
    remembered: Remembered,
}

struct Pool {
    config: config::Pool,
    v4: Option<Range4>,
    v6: Option<Range6>,
}

impl AddressPools {
    /// Makes pools of the configuration. `gateway_addresses` are never given out.
    pub fn new(pools: &[config::Pool], gateway_addresses: &[Ipv4Addr]) -> Result<AddressPools, PoolError> {
        for (index, pool) in pools.iter().enumerate() {
            if let Some(other) = pools.iter().skip(index + 1).find(|other| overlap(pool, other)) {
                return Err(PoolError::Overlap(pool.name.clone(), other.name.clone()));
            }
        }
        let pools = pools.iter().map(|pool| Pool::new(pool, gateway_addresses)).collect::<Result<_, _>>()?;
        let (leases, owners, own) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(AddressPools { pools, leases, owners, own, remembered: Remembered::default() })
    }

    /// Keeps the addresses that these users have of their own: nobody else is given them.
    #[must_use]
    pub fn kept_for(mut self, users: &[config::User]) -> AddressPools {
        for user in users {
            for pool in &mut self.pools {
                if let (Some(address), Some(range)) = (user.address, &mut pool.v4) {
                    range.set_aside(address);
                }
                if let (Some(address), Some(range)) = (user.address6, &mut pool.v6) {
                    range.set_aside(address);
                    let first = range.first_of(address);
                    self.own.extend(first.map(|first| (first.into(), user.name.clone())));
                }
            }
            self.own.extend(user.address.map(|address| (address.into(), user.name.clone())));
        }
        self
    }

    /// Leases an IPv4 address to a session: the one it holds already, else the user's last, else the one asked for, else the
    /// next free one of the first pool that has any.
    ///
    /// # Errors
    /// When there is no such address.
    pub fn lease(
        &mut self,
        session: u64,
        user: &str,
        requested: Option<Ipv4Addr>,
    ) -> Result<Grant, LeaseError> {
        self.lease_for(session, user, Wish { v4: FamilyWish::any(requested), ..Wish::default() })
    }

    /// As [`AddressPools::lease`], of the families that are wanted and within what the user's policy allows. A pool that has both
    /// families goes before one that has one; who wants both and finds one is content with it.
    ///
    /// # Errors
    /// When there is no such address of any family, or an address of the user's own is not free.
    pub fn lease_for(&mut self, session: u64, user: &str, wish: Wish<'_>) -> Result<Grant, LeaseError> {
        if let Some(grant) = self.grant_of(session) {
            return Ok(grant);
        }
        let last = self.remembered.of(user);
        let fixed = wish.v4.wanted && wish.v4.fixed.is_some() || wish.v6.wanted && wish.v6.fixed.is_some();
        let refusal = if fixed { LeaseError::FixedTaken } else { LeaseError::Exhausted };
        if self.is_anothers(user, &wish) {
            return Err(LeaseError::FixedTaken);
        }
        let offers = self.pools.iter().enumerate().filter_map(|(place, pool)| {
            let allowed = wish.pool.is_none_or(|name| name == pool.config.name);
            let offer = allowed.then(|| pool.offer(&wish, last))?;
            (offer.families > 0).then_some((Reverse((offer.families, offer.preferred)), place))
        });
        let (_, place) = offers.min().ok_or(refusal)?;
        let pool = self.pools.get_mut(place).ok_or(refusal)?;
        let held = pool.take(&wish, last).ok_or(refusal)?;
        self.hold(session, place, held);
        self.remembered.remember(user, held);
        self.grant_of(session).ok_or(LeaseError::Exhausted)
    }

    /// Takes addresses that were leased in an earlier run, all of them or none. Returns whether they are there, of one pool and free.
    pub fn reserve(&mut self, session: u64, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> bool {
        if self.leases.contains_key(&session) {
            return false;
        }
        let reserved = self
            .pools
            .iter_mut()
            .enumerate()
            .find_map(|(place, pool)| pool.reserve(v4, v6).map(|held| (place, held)));
        reserved.map(|(place, held)| self.hold(session, place, held)).is_some()
    }

    /// What a session was granted.
    pub fn grant_of(&self, session: u64) -> Option<Grant> {
        let (place, held) = self.leases.get(&session)?;
        self.pools.get(*place).map(|pool| pool.grant(*held))
    }

    /// Ends a session's lease. Returns whether there was one.
    pub fn release(&mut self, session: u64) -> bool {
        let Some((place, held)) = self.leases.remove(&session) else { return false };
        let pool = self.pools.get_mut(place);
        for address in held.addresses() {
            self.owners.remove(&address);
        }
        pool.map(|pool| pool.free(held)).is_some()
    }

    /// Who holds an address; of IPv6 any of a client's prefix.
    pub fn owner(&self, address: IpAddr) -> Option<u64> {
        self.owners.get(&self.first_of(address)).copied()
    }

    /// The IPv4 address that a session holds.
    pub fn address_of(&self, session: u64) -> Option<Ipv4Addr> {
        self.leases.get(&session).and_then(|(_, held)| held.v4)
    }

    /// Leases there are.
    pub fn leased(&self) -> usize {
        self.leases.len()
    }

    /// How full each pool is, in the configuration's order.
    pub fn usage(&self) -> Vec<PoolUsage> {
        self.pools.iter().map(Pool::usage).collect()
    }

    /// Whether an address that somebody is to have without choice is another user's own.
    fn is_anothers(&self, user: &str, wish: &Wish<'_>) -> bool {
        let v4 = wish.v4.fixed.filter(|_| wish.v4.wanted).map(IpAddr::V4);
        let v6 = wish.v6.fixed.filter(|_| wish.v6.wanted).map(IpAddr::V6);
        let mut owners =
            [v4, v6].into_iter().flatten().filter_map(|address| self.own.get(&self.first_of(address)));
        owners.any(|owner| owner != user)
    }

    /// The first address of the IPv6 prefix of a pool that this one is in; others stay what they are.
    fn first_of(&self, address: IpAddr) -> IpAddr {
        let IpAddr::V6(six) = address else { return address };
        let first = self.pools.iter().find_map(|pool| pool.v6.as_ref()?.first_of(six));
        first.map_or(address, IpAddr::V6)
    }

    fn hold(&mut self, session: u64, pool: usize, held: Held) {
        self.leases.insert(session, (pool, held));
        self.owners.extend(held.addresses().map(|address| (address, session)));
    }
}

impl Held {
    fn addresses(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    fn is_empty(self) -> bool {
        self == Held::default()
    }
}

/// What a pool could give to somebody, the better the greater.
struct Offer {
    families: usize,
    /// Addresses that the user had, or that the client asks for.
    preferred: usize,
}

impl Pool {
    fn new(config: &config::Pool, gateway_addresses: &[Ipv4Addr]) -> Result<Pool, PoolError> {
        let bounds = (config.first, config.last);
        let v4 = config.range.map(|range| Range4::new(range, bounds, gateway_addresses));
        let v4 = v4.map(|v4| v4.ok_or_else(|| PoolError::TooLarge(config.name.clone()))).transpose()?;
        let pool = Pool { config: config.clone(), v4, v6: config.range6.map(Range6::new) };
        match pool.usage().capacity {
            0 => Err(PoolError::Empty(config.name.clone())),
            _ => Ok(pool),
        }
    }

    /// A pool that has not what is the user's own has nothing for it.
    fn offer(&self, wish: &Wish<'_>, last: Held) -> Offer {
        let none = Offer { families: 0, preferred: 0 };
        let (mut families, mut preferred) = (0, 0);
        if wish.v4.wanted {
            let has = |address| self.v4.as_ref().is_some_and(|range| range.has(address));
            let free = match wish.v4.fixed {
                Some(own) if !self.v4.as_ref().is_some_and(|range| range.has_own(own)) => return none,
                Some(_) => true,
                None => self.v4.as_ref().is_some_and(Range4::has_room),
            };
            families += usize::from(free);
            preferred += rank(last.v4.is_some_and(has), wish.v4.requested.is_some_and(has));
        }
        if wish.v6.wanted {
            let has = |address| self.v6.as_ref().is_some_and(|range| range.has(address).is_some());
            let free = match wish.v6.fixed {
                Some(own) if self.v6.as_ref().and_then(|range| range.has_own(own)).is_none() => return none,
                Some(_) => true,
                None => self.v6.as_ref().is_some_and(Range6::has_room),
            };
            families += usize::from(free);
            preferred += rank(last.v6.is_some_and(has), wish.v6.requested.is_some_and(has));
        }
        Offer { families, preferred }
    }

    /// What was offered.
    fn take(&mut self, wish: &Wish<'_>, last: Held) -> Option<Held> {
        let v4 = self.v4.as_mut().filter(|_| wish.v4.wanted).and_then(|range| match wish.v4.fixed {
            Some(own) => range.take_own(own).then_some(own),
            None => [last.v4, wish.v4.requested]
                .into_iter()
                .flatten()
                .find(|address| range.take(*address))
                .or_else(|| range.take_next()),
        });
        let v6 = self.v6.as_mut().filter(|_| wish.v6.wanted).and_then(|range| match wish.v6.fixed {
            Some(own) => range.take_own(own),
            None => [last.v6, wish.v6.requested]
                .into_iter()
                .flatten()
                .find_map(|address| range.take(address))
                .or_else(|| range.take_next()),
        });
        let held = Held { v4, v6 };
        (!held.is_empty()).then_some(held)
    }

    fn reserve(&mut self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Option<Held> {
        let (range4, range6) = (self.v4.as_ref(), self.v6.as_ref());
        let free4 = v4.is_none_or(|address| range4.is_some_and(|range| range.has_own(address)));
        let free6 = v6.is_none_or(|address| range6.is_some_and(|range| range.has_own(address).is_some()));
        if !free4 || !free6 || v4.is_none() && v6.is_none() {
            return None;
        }
        let v4 = v4.filter(|address| self.v4.as_mut().is_some_and(|range| range.take_own(*address)));
        let v6 = v6.and_then(|address| self.v6.as_mut()?.take_own(address));
        Some(Held { v4, v6 })
    }

    fn free(&mut self, held: Held) {
        if let (Some(range), Some(address)) = (&mut self.v4, held.v4) {
            range.free(address);
        }
        if let (Some(range), Some(first)) = (&mut self.v6, held.v6) {
            range.free(first);
        }
    }

    fn grant(&self, held: Held) -> Grant {
        let pool = &self.config;
        Grant {
            address: held.v4,
            netmask: Ipv4Addr::BROADCAST,
            address6: self.v6.as_ref().zip(held.v6).map(|(range, first)| range.told(first)),
            dns: pool.dns.clone(),
            subnets: pool.subnets.clone(),
            any_selectors: pool.traffic_selectors == TrafficSelectors::Any,
            pool: pool.name.clone(),
        }
    }

    fn usage(&self) -> PoolUsage {
        let v4 = self.v4.as_ref().map(|range| (range.capacity(), range.leased()));
        let v6 = self.v6.as_ref().map(|range| (range.capacity(), range.leased()));
        let fullest =
            v4.into_iter().chain(v6).min_by_key(|(capacity, leased)| capacity.saturating_sub(*leased));
        let (capacity, leased) = fullest.unwrap_or_default();
        PoolUsage { name: self.config.name.clone(), capacity, leased }
    }
}

/// What the user had counts more than what the client asks for.
fn rank(had: bool, asked: bool) -> usize {
    if had { 2 } else { usize::from(asked) }
}

fn overlap(one: &config::Pool, other: &config::Pool) -> bool {
    let v4 = one.range.zip(other.range).is_some_and(|(a, b)| IpPrefix::from(a).overlaps(b.into()));
    let v6 = one.range6.zip(other.range6);
    v4 || v6.is_some_and(|(a, b)| IpPrefix::from(a.prefix).overlaps(b.prefix.into()))
}
