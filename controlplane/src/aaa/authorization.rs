//! What a user may have: the policies of user, group and pool, merged.
//!
//! Enters: the directory, the user, the group chosen at login. Leaves: an [`Authorization`], which is stored with the
//! session and applied again when it is resumed, so that resuming asks nobody. Rule: user over group over pool, unless
//! `aaa.group_overrides` turns the first two around; a user's own attributes count only with
//! `aaa.user_attributes_cached`. What a RADIUS server grants is the user's own, before what the directory has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_shared::config::{Aaa, Group, Policy, TrafficSelectors, User};
use causeway_shared::sa::IpPrefix;
use serde::{Deserialize, Serialize};

use super::Directory;
use super::radius::RemotePolicy;

/// What a session may have. `None` leaves it to the pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// The group whose policy is in it.
    pub group: Option<String>,
    /// Pool to take an address from; any without.
    pub pool: Option<String>,
    /// Fixed inner address.
    pub address: Option<Ipv4Addr>,
    /// Fixed inner IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// DNS servers.
    pub dns: Option<Vec<IpAddr>>,
    /// Default domain.
    pub domain: Option<String>,
    /// What is reached through the tunnel, as address and prefix length; empty: everything.
    pub subnets: Option<Vec<(IpAddr, u8)>>,
    /// Whether its traffic selectors may be wider than these networks.
    pub any_selectors: Option<bool>,
    /// Text for the connected client.
    pub banner: Option<String>,
    /// Seconds after which the session ends for good; 0 for none.
    pub session_lifetime_secs: u64,
    /// Seconds without traffic after which the session ends; 0 for none.
    pub idle_secs: u64,
    /// Domains that are looked up through the tunnel, beside the default one.
    pub split_dns: Vec<String>,
    /// Seconds between interim records; `None`: as configured.
    pub interim_secs: Option<u64>,
    /// Class attributes of the RADIUS server, sent back with accounting.
    pub class: Vec<Vec<u8>>,
    /// Filter-Ids of the RADIUS server.
    pub filter_ids: Vec<String>,
    /// Whether it was a RADIUS server that let the user in.
    pub by_radius: bool,
}

/// Merges what applies to `name`, who chose the group `chosen` at login (if there was a choice), and of whom a RADIUS server
/// said `remote`.
pub fn authorize(
    directory: &Directory,
    aaa: &Aaa,
    name: &str,
    chosen: Option<&str>,
    remote: Option<&RemotePolicy>,
) -> Authorization {
    let user = directory.user(name);
    let counts = aaa.user_attributes_cached;
    // The user's own group is not for the user to choose.
    let named = remote.filter(|_| counts).map_or(&[][..], |remote| &remote.groups);
    let named = named.iter().map(String::as_str).find(|group| directory.group(group).is_some());
    let own = user.and_then(|user| user.group.as_deref()).or(named);
    let group = own.or(chosen).or(aaa.authorize_group.as_deref());
    let group = group.and_then(|group| directory.group(group));
    let mut merged = merge(user.filter(|_| counts), group, remote.filter(|_| counts), aaa.group_overrides);
    if let Some(remote) = remote {
        // These are between server and accounting, whatever counts as the user's.
        merged.class.clone_from(&remote.class);
        merged.filter_ids.clone_from(&remote.filter_ids);
        merged.interim_secs = remote.interim_secs;
        merged.by_radius = true;
    }
    merged
}

fn merge(
    user: Option<&User>,
    group: Option<&Group>,
    remote: Option<&RemotePolicy>,
    group_overrides: bool,
) -> Authorization {
    let (users, groups) = (user.map(|user| &user.policy), group.map(|group| &group.policy));
    let remotes = remote.map(|remote| &remote.policy);
    let order = if group_overrides { [groups, remotes, users] } else { [remotes, users, groups] };
    // A group's 0 is no limit, as its absence is.
    let limit = |of_remote: Option<u64>, of_group: Option<u64>| {
        let of_group = of_group.filter(|secs| *secs > 0);
        let secs = if group_overrides { of_group.or(of_remote) } else { of_remote.or(of_group) };
        secs.unwrap_or(0)
    };
    Authorization {
        group: group.map(|group| group.name.clone()),
        pool: first(order, |policy| policy.pool.clone()),
        address: remote.and_then(|remote| remote.address).or(user.and_then(|user| user.address)),
        address6: remote.and_then(|remote| remote.address6).or(user.and_then(|user| user.address6)),
        dns: first(order, |policy| policy.dns.clone()),
        domain: first(order, |policy| policy.domain.clone()),
        split_dns: first(order, |policy| policy.split_dns.clone()).unwrap_or_default(),
        subnets: first(order, |policy| policy.subnets.clone())
            .map(|subnets| subnets.into_iter().map(|prefix| (prefix.address(), prefix.length())).collect()),
        any_selectors: first(order, |policy| policy.traffic_selectors)
            .map(|selectors| selectors == TrafficSelectors::Any),
        banner: first(order, |policy| policy.banner.clone()),
        session_lifetime_secs: limit(
            remote.and_then(|remote| remote.session_lifetime_secs),
            group.map(|group| group.session_lifetime_secs),
        ),
        idle_secs: limit(remote.and_then(|remote| remote.idle_secs), group.map(|group| group.idle_secs)),
        ..Authorization::default()
    }
}

fn first<T>(order: [Option<&Policy>; 3], pick: impl Fn(&Policy) -> Option<T>) -> Option<T> {
    order.into_iter().flatten().find_map(pick)
}

impl Authorization {
    /// As the store keeps it.
    pub fn to_stored(&self) -> Vec<u8> {
        // It has no map with keys that are no texts, the one thing that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As the store has it. What another version wrote is read as far as it goes.
    pub fn from_stored(octets: &[u8]) -> Authorization {
        serde_json::from_slice(octets).unwrap_or_default()
    }

    /// [`Authorization::subnets`] as prefixes.
    pub fn prefixes(&self) -> Option<Vec<IpPrefix>> {
        let prefix = |(address, length): &(IpAddr, u8)| IpPrefix::new(*address, *length);
        self.subnets.as_ref().map(|subnets| subnets.iter().filter_map(prefix).collect())
    }
}

#[cfg(test)]
mod tests {
    use causeway_shared::config::{Auth, OnSessionLimit};

    use super::*;

    fn policy(domain: Option<&str>, banner: Option<&str>) -> Policy {
        Policy { domain: domain.map(Into::into), banner: banner.map(Into::into), ..Policy::default() }
    }

    fn directory() -> Directory {
        let user = |name: &str, group: Option<&str>, policy| User {
            name: name.into(),
            group: group.map(Into::into),
            policy,
            address: Some(Ipv4Addr::new(10, 0, 0, 9)),
            ..User::default()
        };
        let group =
            |name: &str, policy| Group { name: name.into(), policy, session_lifetime_secs: 60, idle_secs: 5 };
        let auth = Auth {
            certificate_file: None,
            private_key_file: None,
            methods: vec![],
            client_ca_file: None,
            psks: vec![],
            eap_only: false,
            ppk_required: false,
            revocation: Default::default(),
            ppks: vec![],
        };
        let users = [
            user("ann", Some("staff"), policy(Some("ann.test"), None)),
            user("bob", None, policy(None, Some("hi bob"))),
        ];
        let groups = [
            group("staff", policy(Some("staff.test"), Some("hi staff"))),
            group("guests", policy(None, Some("hi guest"))),
        ];
        Directory::new(&auth, &users, &groups).unwrap()
    }

    #[test]
    fn user_over_group_over_pool() {
        let directory = directory();
        let aaa = |default: Option<&str>, cached, overrides| Aaa {
            authorize_group: default.map(Into::into),
            user_attributes_cached: cached,
            group_overrides: overrides,
            max_sessions_per_user: 0,
            on_session_limit: OnSessionLimit::Refuse,
        };
        for (user, chosen, aaa, [group, domain, banner], fixed) in [
            ("ann", None, aaa(None, true, false), ["staff", "ann.test", "hi staff"], true),
            ("ann", None, aaa(None, true, true), ["staff", "staff.test", "hi staff"], true),
            ("ann", None, aaa(None, false, false), ["staff", "staff.test", "hi staff"], false),
            ("ann", Some("guests"), aaa(None, true, false), ["staff", "ann.test", "hi staff"], true),
            ("bob", Some("guests"), aaa(Some("staff"), true, false), ["guests", "", "hi bob"], true),
            ("bob", None, aaa(Some("staff"), true, false), ["staff", "staff.test", "hi bob"], true),
            ("bob", None, aaa(None, true, false), ["", "", "hi bob"], true),
            ("eve", None, aaa(Some("guests"), true, false), ["guests", "", "hi guest"], false),
            ("eve", None, aaa(None, true, false), ["", "", ""], false),
        ] {
            let merged = authorize(&directory, &aaa, user, chosen, None);
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let got = [text(&merged.group), text(&merged.domain), text(&merged.banner)];
            assert_eq!(got, [group, domain, banner], "{user} {chosen:?} {aaa:?}");
            assert_eq!(merged.address.is_some(), fixed);
            assert_eq!(merged.session_lifetime_secs, if group.is_empty() { 0 } else { 60 });
        }
    }

    #[test]
    fn domains_of_split_dns_are_those_of_the_first_who_names_any() {
        let says = |name: &str| Policy { split_dns: Some(vec![name.into()]), ..Policy::default() };
        let ann = User { name: "ann".into(), policy: says("user.test"), ..User::default() };
        let staff = Group {
            name: "staff".into(),
            policy: says("group.test"),
            session_lifetime_secs: 0,
            idle_secs: 0,
        };
        let remote = RemotePolicy { policy: says("radius.test"), ..RemotePolicy::default() };
        for (user, group, remote, overrides, expected) in [
            (None, None, None, false, &[][..]),
            (None, Some(&staff), None, false, &["group.test"]),
            (Some(&ann), Some(&staff), None, false, &["user.test"]),
            (Some(&ann), Some(&staff), Some(&remote), false, &["radius.test"]),
            (Some(&ann), Some(&staff), Some(&remote), true, &["group.test"]),
        ] {
            assert_eq!(merge(user, group, remote, overrides).split_dns, expected);
        }
    }

    #[test]
    fn what_a_radius_server_grants_is_the_users_own() {
        let directory = directory();
        let aaa = |cached, overrides| Aaa {
            authorize_group: Some("guests".into()),
            user_attributes_cached: cached,
            group_overrides: overrides,
            max_sessions_per_user: 0,
            on_session_limit: OnSessionLimit::Refuse,
        };
        let remote = RemotePolicy {
            policy: policy(Some("radius.test"), None),
            groups: vec!["nobody".into(), "staff".into()],
            address: Some(Ipv4Addr::new(10, 0, 0, 77)),
            session_lifetime_secs: Some(3600),
            class: vec![b"c".to_vec()],
            ..RemotePolicy::default()
        };
        for (user, aaa, [group, domain, banner], address, lifetime) in [
            ("eve", aaa(true, false), ["staff", "radius.test", "hi staff"], 77, 3600),
            ("eve", aaa(true, true), ["staff", "staff.test", "hi staff"], 77, 60),
            ("eve", aaa(false, false), ["guests", "", "hi guest"], 0, 60),
            ("bob", aaa(true, false), ["staff", "radius.test", "hi bob"], 77, 3600),
            ("bob", aaa(false, false), ["guests", "", "hi guest"], 0, 60),
        ] {
            let merged = authorize(&directory, &aaa, user, None, Some(&remote));
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let got = [text(&merged.group), text(&merged.domain), text(&merged.banner)];
            assert_eq!(got, [group, domain, banner], "{user} {aaa:?}");
            assert_eq!(merged.address.map_or(0, |address| address.octets()[3]), address);
            assert_eq!(merged.session_lifetime_secs, lifetime);
            assert!(merged.by_radius && merged.class == [b"c"], "the server's in every case");
        }
    }

    #[test]
    fn selectors_are_the_users_over_the_groups_over_the_pools() {
        use TrafficSelectors::{Any, Subnets};
        let policy = |selectors| Policy { traffic_selectors: selectors, ..Policy::default() };
        for (user, group, overrides, merged) in [
            (None, None, false, None),
            (None, Some(Any), false, Some(true)),
            (Some(Subnets), Some(Any), false, Some(false)),
            (Some(Subnets), Some(Any), true, Some(true)),
            (Some(Any), None, true, Some(true)),
        ] {
            let user = User { policy: policy(user), ..User::default() };
            let group = Group { policy: policy(group), ..Group::default() };
            assert_eq!(merge(Some(&user), Some(&group), None, overrides).any_selectors, merged);
        }
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let merged = Authorization {
            group: Some("staff".into()),
            subnets: Some(vec![([10, 0, 0, 0].into(), 8), ("fd00:1::".parse().unwrap(), 64)]),
            idle_secs: 7,
            ..Authorization::default()
        };
        assert_eq!(Authorization::from_stored(&merged.to_stored()), merged);
        assert_eq!(merged.prefixes().unwrap()[0].length(), 8);
        assert_eq!(Authorization::from_stored(b"not JSON"), Authorization::default());
        assert_eq!(Authorization::from_stored(br#"{"idle_secs":7,"of_tomorrow":1}"#).idle_secs, 7);
    }
}
