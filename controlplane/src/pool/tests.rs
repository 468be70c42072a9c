//! Who gets which address, and that nobody gets another's.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn pool(name: &str, range: &str) -> config::Pool {
    config::Pool {
        name: name.into(),
        range: Some(range.parse().unwrap()),
        range6: None,
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
        got.push(grant.address.unwrap().octets()[3]);
    }
    assert_eq!(got, [2, 3, 4, 5, 6]);
    assert_eq!(pools.usage(), [PoolUsage { name: "10.0.0.0/29".into(), capacity: 5, leased: 5 }]);
    for never in [0, 1, 7] {
        let address = Ipv4Addr::new(10, 0, 0, never);
        assert_eq!(pools.owner(address.into()), None);
    }
}

#[test]
fn every_address_of_a_pool_comes_with_the_pool_s_name_servers_and_routes() {
    for range in ["10.0.0.0/24", "10.0.1.0/30", "10.0.2.0/31", "10.0.3.7/32"] {
        let dns = vec![Ipv4Addr::new(9, 9, 9, 9).into()];
        let subnets = vec!["10.8.0.0/16".parse().unwrap()];
        let config = config::Pool { dns: dns.clone(), subnets, ..pool("whole", range) };
        let mut pools = AddressPools::new(&[config], &[]).unwrap();
        let capacity = pools.usage()[0].capacity as u64;
        for n in 0..capacity {
            let grant = pools.lease(n, &n.to_string(), None).unwrap();
            assert_eq!((grant.dns, grant.subnets.len()), (dns.clone(), 1), "{range}: {:?}", grant.address);
        }
        assert!(pools.lease(capacity, "late", None).is_err(), "{range}");
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
        let mut lease =
            |n| pools.lease(n, &n.to_string(), at(4)).map(|grant| grant.address.unwrap().octets()[3]);
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
        let pools: Vec<_> = ranges.iter().enumerate().map(|(n, range)| pool(&n.to_string(), range)).collect();
        assert_eq!(AddressPools::new(&pools, &[Ipv4Addr::new(10, 0, 0, 1)]).err(), Some(error));
    }
}

#[test]
fn a_user_comes_back_to_the_last_address_unless_it_is_taken() {
    let mut pools = pools(&["10.0.0.0/28"]);
    let first = pools.lease(1, "ann", None).unwrap().address.unwrap();
    assert!(pools.release(1));
    assert_ne!(pools.lease(2, "bob", None).unwrap().address.unwrap(), first);
    assert_eq!(pools.lease(3, "ann", None).unwrap().address.unwrap(), first);
    let second_device = pools.lease(4, "ann", None).unwrap().address.unwrap();
    assert_ne!(second_device, first);
    assert_eq!(pools.owner(first.into()), Some(3));
}

#[test]
fn a_wish_is_granted_only_inside_a_pool_and_when_free() {
    let mut pools = pools(&["10.0.0.0/28"]);
    let wish = Ipv4Addr::new(10, 0, 0, 9);
    assert_eq!(pools.lease(1, "ann", Some(wish)).unwrap().address.unwrap(), wish);
    assert_ne!(pools.lease(2, "bob", Some(wish)).unwrap().address.unwrap(), wish);
    for foreign in [Ipv4Addr::new(10, 0, 1, 9), Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 0, 0, 1)] {
        let session = 10 + u64::from(u32::from(foreign));
        let got = pools.lease(session, "eve", Some(foreign)).unwrap().address.unwrap();
        assert_ne!(got, foreign);
    }
}

#[test]
fn a_second_pool_serves_when_the_first_is_full_and_the_grant_is_that_pools() {
    let mut second = pool("second", "10.2.0.0/30");
    second.dns = vec![Ipv4Addr::new(9, 9, 9, 9).into()];
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
    let mut pools = AddressPools::new(&[pool("a", "10.1.0.0/30"), pool("b", "10.2.0.0/30")], &[]).unwrap();
    let at = |net: u8, last: u8| Ipv4Addr::new(10, net, 0, last);
    let any = Wish { v4: FamilyWish::any(None), ..Wish::default() };
    let only = |pool| Wish { pool: Some(pool), ..any };
    let fixed = |address| Wish { v4: FamilyWish { fixed: Some(address), ..any.v4 }, ..any };
    assert_eq!(pools.lease_for(1, "ann", only("b")).unwrap().address.unwrap(), at(2, 1));
    assert_eq!(pools.lease_for(2, "bob", fixed(at(2, 2))).unwrap().address.unwrap(), at(2, 2));
    assert_eq!(pools.lease_for(3, "cid", fixed(at(2, 2))), Err(LeaseError::FixedTaken));
    assert_eq!(pools.lease_for(3, "cid", fixed(at(3, 1))), Err(LeaseError::FixedTaken));
    assert_eq!(pools.lease_for(3, "cid", only("b")), Err(LeaseError::Exhausted));
    let elsewhere = Wish { v4: FamilyWish::any(Some(at(1, 2))), ..only("b") };
    assert_eq!(pools.lease_for(3, "cid", elsewhere), Err(LeaseError::Exhausted));
    assert_eq!(pools.lease_for(3, "cid", only("c")), Err(LeaseError::Exhausted));
    assert_eq!(pools.lease(3, "cid", None).unwrap().pool, "a");
}

#[test]
fn addresses_of_an_earlier_run_are_kept() {
    let mut pools = pools(&["10.0.0.0/29"]);
    let kept = Ipv4Addr::new(10, 0, 0, 2);
    assert!(pools.reserve(900, Some(kept), None) && !pools.reserve(901, Some(kept), None));
    assert!(!pools.reserve(901, Some(Ipv4Addr::new(10, 9, 0, 2)), None), "its pool is gone");
    assert_eq!(pools.grant_of(900).and_then(|grant| grant.address), Some(kept));
    assert_ne!(pools.lease(1, "ann", Some(kept)).unwrap().address.unwrap(), kept);
    assert!(pools.release(900) && pools.owner(kept.into()).is_none());
}

#[test]
fn a_lease_ends_once_and_whole() {
    let mut pools = dual(&[("10.0.0.0/28", "fd00:9::/64", 128)]);
    let grant = pools.lease_for(1, "ann", BOTH).unwrap();
    assert!(pools.release(1) && !pools.release(1) && !pools.release(2));
    assert_eq!((pools.leased(), pools.grant_of(1)), (0, None));
    for address in [grant.address.unwrap().into(), grant.address6.unwrap().address.into()] {
        assert_eq!(pools.owner(address), None);
    }
}

const BOTH: Wish<'_> = Wish {
    v4: FamilyWish { wanted: true, requested: None, fixed: None },
    v6: FamilyWish { wanted: true, requested: None, fixed: None },
    pool: None,
};

fn dual(ranges: &[(&str, &str, u8)]) -> AddressPools {
    let made = |(v4, v6, client_length): &(&str, &str, u8)| config::Pool {
        range: v4.parse().ok(),
        range6: v6.parse().ok().map(|prefix| config::Range6 { prefix, client_length: *client_length }),
        ..pool(&format!("{v4} {v6}"), "10.0.0.0/24")
    };
    AddressPools::new(&ranges.iter().map(made).collect::<Vec<_>>(), &[]).unwrap()
}

#[test]
fn who_wants_both_families_gets_what_there_is_of_one_pool() {
    let mut pools =
        dual(&[("10.1.0.0/30", "", 0), ("10.2.0.0/32", "fd00:2::/64", 128), ("", "fd00:3::/48", 64)]);
    let six = Wish { v4: FamilyWish::default(), ..BOTH };
    let four = Wish { v6: FamilyWish::default(), ..BOTH };
    let mut lease = |session: u64, wish| {
        let grant = pools.lease_for(session, &session.to_string(), wish).unwrap();
        let v6 = grant.address6.map(|inner| format!("{}/{}", inner.address, inner.prefix_len));
        (grant.address.map(|v4| v4.to_string()).unwrap_or_default(), v6.unwrap_or_default())
    };
    let got = |v4: &str, v6: &str| (v4.to_owned(), v6.to_owned());
    assert_eq!(lease(1, BOTH), got("10.2.0.0", "fd00:2::1/128"), "the pool that has both");
    assert_eq!(lease(2, four), got("10.1.0.1", ""));
    assert_eq!(lease(3, six), got("", "fd00:2::2/128"));
    assert_eq!(lease(4, BOTH), got("10.1.0.2", ""), "one family is better than none");
    assert_eq!(lease(5, BOTH), got("", "fd00:2::3/128"));
    assert_eq!(lease(5, four), got("", "fd00:2::3/128"), "a repeated request gives what is held");
    let elsewhere = Wish { pool: Some(" fd00:3::/48"), ..BOTH };
    assert_eq!(lease(6, elsewhere), got("", "fd00:3:0:1::1/64"));
    assert_eq!(pools.lease_for(7, "7", four), Err(LeaseError::Exhausted));
}

#[test]
fn a_user_comes_back_to_both_addresses_and_a_wish_counts_where_it_is_free() {
    let mut pools = dual(&[("10.1.0.0/24", "fd00:1::/48", 64)]);
    let first = pools.lease_for(1, "ann", BOTH).unwrap();
    assert!(pools.release(1));
    assert_ne!(pools.lease_for(2, "bob", BOTH).unwrap().address6, first.address6);
    let again = pools.lease_for(3, "ann", BOTH).unwrap();
    assert_eq!((again.address, again.address6), (first.address, first.address6));
    let wish = "fd00:1:0:77::5".parse().unwrap();
    let wishing = Wish { v6: FamilyWish::any(Some(wish)), ..BOTH };
    let told = pools.lease_for(4, "cid", wishing).unwrap().address6.unwrap();
    assert_eq!((told.address, told.prefix_len), ("fd00:1:0:77::1".parse().unwrap(), 64));
    let other = pools.lease_for(5, "dan", wishing).unwrap().address6.unwrap();
    assert_ne!(other.address, told.address);
}

#[test]
fn an_address_of_the_users_own_is_had_or_nothing_is() {
    let mut pools = dual(&[("10.1.0.0/24", "fd00:1::/64", 128), ("10.2.0.0/24", "fd00:2::/64", 128)]);
    let (own4, own6): (Ipv4Addr, Ipv6Addr) = ("10.2.0.9".parse().unwrap(), "fd00:2::9".parse().unwrap());
    let own = Wish {
        v4: FamilyWish { fixed: Some(own4), ..BOTH.v4 },
        v6: FamilyWish { fixed: Some(own6), ..BOTH.v6 },
        pool: None,
    };
    let grant = pools.lease_for(1, "ann", own).unwrap();
    assert_eq!((grant.address, grant.address6.map(|inner| inner.address)), (Some(own4), Some(own6)));
    assert_eq!(pools.lease_for(2, "ann", own), Err(LeaseError::FixedTaken));
    let of_two_pools = Wish { v4: FamilyWish { fixed: Some([10, 1, 0, 9].into()), ..BOTH.v4 }, ..own };
    assert_eq!(pools.lease_for(3, "ann", of_two_pools), Err(LeaseError::FixedTaken));
}

fn owner(name: &str, v4: &str, v6: &str) -> config::User {
    config::User {
        name: name.into(),
        address: v4.parse().ok(),
        address6: v6.parse().ok(),
        ..config::User::default()
    }
}

#[test]
fn an_address_of_one_user_is_nobody_elses_even_while_it_is_free() {
    let ann = owner("ann", "10.1.0.2", "fd00:1:0:1::1");
    for asked in [None, Some(())] {
        let mut pools = dual(&[("10.1.0.0/29", "fd00:1::/62", 64)]).kept_for(std::slice::from_ref(&ann));
        let own = (ann.address, ann.address6);
        let wish = Wish {
            v4: FamilyWish::any(asked.and(ann.address)),
            v6: FamilyWish::any(asked.and(ann.address6)),
            pool: None,
        };
        let others: Vec<_> =
            (0..9).map_while(|n| pools.lease_for(n, &format!("user{n}"), wish).ok()).collect();
        assert_eq!(others.iter().filter(|grant| grant.address.is_some()).count(), 5);
        assert_eq!(others.iter().filter(|grant| grant.address6.is_some()).count(), 2);
        let given = |grant: &Grant| (grant.address, grant.address6.map(|inner| inner.address));
        for grant in others.iter().map(given) {
            assert!(grant.0 != own.0 && grant.1 != own.1, "{grant:?}");
        }
        let fixed = Wish {
            v4: FamilyWish { fixed: own.0, ..wish.v4 },
            v6: FamilyWish { fixed: own.1, ..wish.v6 },
            pool: None,
        };
        assert_eq!(pools.lease_for(99, "bob", fixed), Err(LeaseError::FixedTaken), "a server may say so");
        let before = pools.usage()[0].leased;
        assert_eq!(pools.lease_for(100, "ann", fixed).as_ref().map(given), Ok(own));
        assert_eq!(pools.lease_for(101, "ann", fixed), Err(LeaseError::FixedTaken));
        assert_eq!(pools.usage()[0].leased, before + 1);
        assert!(pools.release(100) && pools.usage()[0].leased == before);
        assert_eq!(pools.lease_for(102, "eve", wish), Err(LeaseError::Exhausted), "it is kept again");
        assert!(pools.reserve(103, own.0, own.1) && !pools.reserve(104, own.0, own.1), "after a restart");
    }
}

#[test]
fn addresses_of_both_families_are_reserved_together() {
    let mut pools = dual(&[("10.1.0.0/24", "fd00:1::/48", 64), ("10.2.0.0/24", "", 0)]);
    let (v4, v6) = (Some([10, 1, 0, 5].into()), "fd00:1:0:7::1".parse().ok());
    assert!(!pools.reserve(1, Some([10, 2, 0, 5].into()), v6), "of two pools");
    assert!(!pools.reserve(1, None, None));
    assert!(pools.reserve(1, v4, v6) && !pools.reserve(1, v4, v6) && !pools.reserve(2, None, v6));
    assert!(
        !pools.reserve(2, Some([10, 1, 0, 6].into()), v6)
            && pools.reserve(2, Some([10, 1, 0, 6].into()), None)
    );
    let grant = pools.grant_of(1).unwrap();
    assert_eq!((grant.address, grant.address6.map(|inner| inner.address)), (v4, v6));
}

#[test]
fn ipv6_pools_that_overlap_are_refused() {
    let made = |name: &str, range6: &str| config::Pool {
        range: None,
        range6: Some(config::Range6 { prefix: range6.parse().unwrap(), client_length: 128 }),
        ..pool(name, "10.0.0.0/24")
    };
    let pools = [made("a", "fd00:1::/48"), made("b", "fd00:1:0:5::/64")];
    assert_eq!(AddressPools::new(&pools, &[]).err(), Some(PoolError::Overlap("a".into(), "b".into())));
}

proptest! {
    /// Against a map of address to owner: never two owners, never an address outside, never a false "exhausted".
    #[test]
    fn behaves_like_a_map_of_owners(
        steps in proptest::collection::vec((any::<bool>(), 0u64..24, 0u8..6, proptest::option::of(0u8..40)), 0..300),
    ) {
        let mut pools = pools(&["10.0.0.0/28", "10.0.0.32/30"]).kept_for(&[owner("nobody here", "10.0.0.9", "")]);
        let allowed: Vec<Ipv4Addr> =
            (2..9).chain(10..15).chain(33..35).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        let mut model: BTreeMap<Ipv4Addr, u64> = BTreeMap::new();
        for (lease, session, user, wish) in steps {
            let held = model.iter().find(|(_, owner)| **owner == session).map(|(address, _)| *address);
            let wish = wish.map(|last| Ipv4Addr::new(10, 0, 0, last));
            if lease {
                match pools.lease(session, &format!("user{user}"), wish) {
                    Ok(grant) => {
                        let got = grant.address.unwrap();
                        prop_assert!(allowed.contains(&got));
                        prop_assert!(held.is_none_or(|held| held == got));
                        let owner = *model.entry(got).or_insert(session);
                        prop_assert_eq!(owner, session);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, LeaseError::Exhausted);
                        prop_assert_eq!(model.len(), allowed.len());
                    }
                }
            } else {
                let released = pools.release(session);
                prop_assert_eq!(released, held.is_some());
                if released {
                    model.retain(|_, owner| *owner != session);
                }
            }
            prop_assert_eq!(pools.leased(), model.len());
            prop_assert_eq!(pools.usage().iter().map(|usage| usage.leased).sum::<usize>(), model.len());
            for (address, owner) in &model {
                prop_assert_eq!(pools.owner((*address).into()), Some(*owner));
                prop_assert_eq!(pools.address_of(*owner), Some(*address));
            }
        }
    }
}
