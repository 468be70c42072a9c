//! A RADIUS server's grant in the words of our own policies.
//!
//! Enters: a [`Grant`]. Leaves: a [`RemotePolicy`], to be merged with those of user and group.

use std::net::{Ipv4Addr, Ipv6Addr};

use causeway_radius::grant::Grant;
use causeway_shared::config::{GroupAttribute, Policy};
use causeway_shared::sa::IpPrefix;

/// What a RADIUS server allows a user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RemotePolicy {
    /// What a user's own keys would say.
    pub policy: Policy,
    /// Names that may be groups; the first one that is a group counts.
    pub groups: Vec<String>,
    /// The inner address.
    pub address: Option<Ipv4Addr>,
    /// The inner IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// Seconds after which the session ends for good.
    pub session_lifetime_secs: Option<u64>,
    /// Seconds without traffic after which it ends.
    pub idle_secs: Option<u64>,
    /// Seconds between interim records.
    pub interim_secs: Option<u64>,
    /// To be sent back with accounting.
    pub class: Vec<Vec<u8>>,
    /// Filter-Id, for who filters.
    pub filter_ids: Vec<String>,
}

impl RemotePolicy {
    /// Translates a grant; `attribute` may name the group, too.
    pub fn of(grant: Grant, attribute: GroupAttribute) -> RemotePolicy {
        let mut groups: Vec<_> = grant.group.into_iter().collect();
        match attribute {
            GroupAttribute::None => {}
            GroupAttribute::FilterId => groups.extend(grant.filter_ids.iter().cloned()),
            GroupAttribute::Class => groups.extend(grant.class.iter().filter_map(|class| group_of(class))),
        }
        let routes = grant.routes.into_iter().filter_map(|(address, length)| IpPrefix::new(address, length));
        let routes: Vec<_> = routes.collect();
        // 0 asks for no limit of its own.
        let secs = |secs: Option<u32>| secs.filter(|secs| *secs > 0).map(u64::from);
        RemotePolicy {
            policy: Policy {
                pool: grant.pool,
                dns: (!grant.dns.is_empty()).then_some(grant.dns),
                domain: grant.domain,
                split_dns: (!grant.split_dns.is_empty()).then_some(grant.split_dns),
                subnets: (!routes.is_empty()).then_some(routes),
                traffic_selectors: None,
                banner: grant.banner,
            },
            groups,
            address: grant.address,
            address6: grant.address6,
            session_lifetime_secs: secs(grant.session_timeout_secs),
            idle_secs: secs(grant.idle_timeout_secs),
            interim_secs: secs(grant.interim_secs),
            class: grant.class,
            filter_ids: grant.filter_ids,
        }
    }
}

/// `NAME`, or `OU=NAME;` as Cisco's gateways read it.
fn group_of(class: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(class).ok()?.trim();
    let (key, name) = text.split_once('=').unwrap_or(("ou", text));
    let name = name.strip_suffix(';').unwrap_or(name);
    (key.eq_ignore_ascii_case("ou") && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_may_name_a_group() {
        for (class, group) in [
            (&b"staff"[..], Some("staff")),
            (b"OU=staff;", Some("staff")),
            (b"ou=staff", Some("staff")),
            (b"CN=staff;", None),
            (b"OU=;", None),
            (b"", None),
            (b"\xFF", None),
        ] {
            assert_eq!(group_of(class).as_deref(), group);
        }
    }

    #[test]
    fn what_the_server_does_not_say_is_left_to_others() {
        let nothing = RemotePolicy::of(Grant::default(), GroupAttribute::Class);
        assert_eq!(nothing, RemotePolicy::default());
        let grant = Grant {
            group: Some("first".into()),
            class: vec![b"second".to_vec()],
            filter_ids: vec!["third".into()],
            session_timeout_secs: Some(0),
            idle_timeout_secs: Some(60),
            routes: vec![(Ipv4Addr::new(10, 0, 0, 0).into(), 8)],
            ..Grant::default()
        };
        for (attribute, groups) in [
            (GroupAttribute::None, &["first"][..]),
            (GroupAttribute::Class, &["first", "second"]),
            (GroupAttribute::FilterId, &["first", "third"]),
        ] {
            let policy = RemotePolicy::of(grant.clone(), attribute);
            assert_eq!(policy.groups, groups);
            assert_eq!((policy.session_lifetime_secs, policy.idle_secs), (None, Some(60)));
            assert_eq!(policy.policy.subnets.as_ref().map(Vec::len), Some(1));
        }
    }
}
