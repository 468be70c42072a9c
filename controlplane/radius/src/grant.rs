//! What an Access-Accept allows a user.
//!
//! Enters: the attributes of a verified answer. Leaves: a [`Grant`] of typed values. What a value cannot mean is left out and
//! named in [`Grant::unused`], since an accepted user is not refused for an attribute meant for another device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attribute::{
    ACCT_INTERIM_INTERVAL, CISCO, CISCO_AVPAIR, CLASS, DELEGATED_IPV6_PREFIX, DNS_SERVER_IPV6_ADDRESS,
    FILTER_ID, FRAMED_IP_ADDRESS, FRAMED_IPV6_ADDRESS, FRAMED_IPV6_POOL, FRAMED_IPV6_PREFIX,
    FRAMED_IPV6_ROUTE, FRAMED_POOL, FRAMED_ROUTE, IDLE_TIMEOUT, MICROSOFT, MS_PRIMARY_DNS_SERVER,
    MS_SECONDARY_DNS_SERVER, REPLY_MESSAGE, ROUTE_IPV6_INFORMATION, SESSION_TIMEOUT,
    STATEFUL_IPV6_ADDRESS_POOL, USER_NAME,
};
use crate::avpair::{self, AvPair, Unused, prefix};
use crate::ipv6;
use crate::packet::Attributes;

/// Most Class attributes that are kept; RFC 2865 §5.25 sets no bound.
pub const MAX_CLASSES: usize = 8;
/// Most networks and domains that are kept.
pub const MAX_LIST: usize = 32;
/// Most attributes named in [`Grant::unused`].
pub const MAX_UNUSED: usize = 16;

/// What a user may have. Empty and `None`: the server said nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// User-Name: who it is for accounting (RFC 2865 §5.1).
    pub user: Option<String>,
    /// Framed-IP-Address that is an address.
    pub address: Option<Ipv4Addr>,
    /// Framed-IPv6-Address; else the first address of Framed-IPv6-Prefix or Delegated-IPv6-Prefix. How much around it is the
    /// client's is the pool's to say.
    pub address6: Option<Ipv6Addr>,
    /// Framed-Pool or `ipsec:addr-pool`; else Framed-IPv6-Pool or Stateful-IPv6-Address-Pool.
    pub pool: Option<String>,
    /// `ipsec:dns-servers`, or Microsoft's DNS servers and DNS-Server-IPv6-Address.
    pub dns: Vec<IpAddr>,
    /// `ipsec:default-domain`.
    pub domain: Option<String>,
    /// `ipsec:split-dns`.
    pub split_dns: Vec<String>,
    /// `ipsec:banner`, else the Reply-Messages.
    pub banner: Option<String>,
    /// `ipsec:route-set`, Framed-Route, Framed-IPv6-Route and Route-IPv6-Information: address and prefix length.
    pub routes: Vec<(IpAddr, u8)>,
    /// `ipsec:group`.
    pub group: Option<String>,
    /// Session-Timeout or `ipsec:session-lifetime`, whichever is less; seconds.
    pub session_timeout_secs: Option<u32>,
    /// Idle-Timeout or `ipsec:idle-time`; seconds.
    pub idle_timeout_secs: Option<u32>,
    /// Acct-Interim-Interval; seconds.
    pub interim_secs: Option<u32>,
    /// Class, each to be sent back as it is with accounting.
    pub class: Vec<Vec<u8>>,
    /// Filter-Id.
    pub filter_ids: Vec<String>,
    /// What nothing followed from, for the log.
    pub unused: Vec<String>,
}

/// Reads what the server allows.
pub fn grant(attributes: Attributes<'_>) -> Grant {
    let texts = |attribute| attributes.clone().each(attribute).filter_map(text);
    let number = |attribute| attributes.clone().number(attribute);
    let dns = [MS_PRIMARY_DNS_SERVER, MS_SECONDARY_DNS_SERVER].map(|kind| {
        let value = attributes.clone().vendor(MICROSOFT, kind).next()?;
        Some(IpAddr::from(*value.first_chunk::<4>()?))
    });
    let prefix6 = |attribute| attributes.clone().each(attribute).find_map(ipv6::read).map(|(first, _)| first);
    let address6 = attributes.clone().address6(FRAMED_IPV6_ADDRESS);
    let address6 =
        address6.or_else(|| prefix6(FRAMED_IPV6_PREFIX)).or_else(|| prefix6(DELEGATED_IPV6_PREFIX));
    let dns6 = attributes.clone().each(DNS_SERVER_IPV6_ADDRESS).filter_map(|value| value.try_into().ok());
    let dns6 = dns6.map(|octets: [u8; 16]| IpAddr::from(octets));
    let pools6 = || texts(FRAMED_IPV6_POOL).chain(texts(STATEFUL_IPV6_ADDRESS_POOL));
    let mut grant = Grant {
        user: texts(USER_NAME).next(),
        address: attributes.clone().address(FRAMED_IP_ADDRESS).filter(is_usable),
        address6: address6.filter(is_usable6),
        pool: texts(FRAMED_POOL).chain(pools6()).next(),
        dns: dns
            .into_iter()
            .flatten()
            .chain(dns6)
            .filter(|server| !server.is_unspecified())
            .take(MAX_LIST)
            .collect(),
        session_timeout_secs: number(SESSION_TIMEOUT),
        idle_timeout_secs: number(IDLE_TIMEOUT),
        interim_secs: number(ACCT_INTERIM_INTERVAL),
        class: attributes.clone().each(CLASS).take(MAX_CLASSES).map(<[u8]>::to_vec).collect(),
        filter_ids: texts(FILTER_ID).take(MAX_LIST).collect(),
        ..Grant::default()
    };
    for route in texts(FRAMED_ROUTE).chain(texts(FRAMED_IPV6_ROUTE)) {
        // RFC 2865 §5.22, 3162 §2.5: destination, gateway, metrics; only the destination matters to a tunnel.
        match route.split_whitespace().next().and_then(prefix) {
            Some(route) => grant.route(route),
            None => grant.leave_out(format!("Framed-Route `{route}`: it begins with no prefix")),
        }
    }
    for (address, length) in attributes.clone().each(ROUTE_IPV6_INFORMATION).filter_map(ipv6::read) {
        grant.route((address.into(), length));
    }
    for value in attributes.clone().vendor(CISCO, CISCO_AVPAIR) {
        let Some(pair) = text(value) else { continue };
        match avpair::parse(&pair) {
            Ok(pair) => grant.pair(pair),
            // An optional pair (`*`) for somebody else is nothing to talk about.
            Err(Unused::Unknown) if !pair.contains('=') => {}
            Err(why) => grant.leave_out(format!("cisco-avpair `{pair}`: {why}")),
        }
    }
    for pool in pools6() {
        // An address of each family is of one lease, and a lease is of one pool.
        if grant.pool.as_ref() != Some(&pool) {
            grant.leave_out(format!("IPv6 pool `{pool}`: the pool named for IPv4 gives both addresses"));
        }
    }
    if grant.banner.is_none() {
        let message: Vec<_> = texts(REPLY_MESSAGE).collect();
        grant.banner = (!message.is_empty()).then(|| message.concat());
    }
    grant
}

/// What a server tells the user with any answer.
pub fn reply_message(attributes: Attributes<'_>) -> Option<String> {
    let message: String = attributes.each(REPLY_MESSAGE).filter_map(text).collect();
    (!message.is_empty()).then_some(message)
}

impl Grant {
    fn pair(&mut self, pair: AvPair) {
        match pair {
            AvPair::Pool(pool) => self.pool = Some(pool),
            AvPair::Dns(servers) => {
                // Servers of the other family stay.
                self.dns.retain(|one| servers.iter().all(|other| other.is_ipv4() != one.is_ipv4()));
                let room = MAX_LIST.saturating_sub(self.dns.len());
                self.dns.extend(servers.into_iter().take(room));
            }
            AvPair::Domain(domain) => self.domain = Some(domain),
            AvPair::SplitDns(domains) => {
                let room = MAX_LIST.saturating_sub(self.split_dns.len());
                self.split_dns.extend(domains.into_iter().take(room));
            }
            AvPair::Banner(banner) => self.banner = Some(banner),
            AvPair::Route(address, length) => self.route((address, length)),
            AvPair::SessionLifetime(secs) => {
                let least = self.session_timeout_secs.filter(|least| *least > 0);
                self.session_timeout_secs = Some(least.map_or(secs, |least| least.min(secs)));
            }
            AvPair::IdleTime(secs) => self.idle_timeout_secs = Some(secs),
            AvPair::Group(group) => self.group = Some(group),
        }
    }

    fn route(&mut self, route: (IpAddr, u8)) {
        if self.routes.len() < MAX_LIST && !self.routes.contains(&route) {
            self.routes.push(route);
        }
    }

    fn leave_out(&mut self, what: String) {
        if self.unused.len() < MAX_UNUSED {
            self.unused.push(what);
        }
    }
}

/// RFC 2865 §5.8: two values leave the choice to the user or to the gateway.
fn is_usable(address: &Ipv4Addr) -> bool {
    !matches!(address.octets(), [255, 255, 255, 254 | 255] | [0, 0, 0, 0])
}

/// An address that a host may have (RFC 4291 §2.4).
fn is_usable6(address: &Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::AttributeList;

    fn cisco(list: &mut AttributeList, pair: &str) {
        list.push_vendor(CISCO, CISCO_AVPAIR, pair.as_bytes()).unwrap();
    }

    #[test]
    fn everything_that_a_server_allows() {
        let mut list = AttributeList::new();
        list.push_text(USER_NAME, "ann").unwrap();
        list.push_address(FRAMED_IP_ADDRESS, [10, 9, 8, 7].into()).unwrap();
        list.push_text(FRAMED_POOL, "one").unwrap();
        list.push_number(SESSION_TIMEOUT, 3600).unwrap();
        list.push_number(IDLE_TIMEOUT, 600).unwrap();
        list.push_number(ACCT_INTERIM_INTERVAL, 60).unwrap();
        list.push(CLASS, b"\xFFopaque").unwrap();
        list.push(CLASS, b"second").unwrap();
        list.push_text(FILTER_ID, "staff-acl").unwrap();
        list.push_text(FRAMED_ROUTE, "10.1.0.0/16 0.0.0.0 1").unwrap();
        list.push_text(FRAMED_ROUTE, "elsewhere").unwrap();
        list.push_text(REPLY_MESSAGE, "Hello ").unwrap();
        list.push_text(REPLY_MESSAGE, "ann").unwrap();
        list.push_vendor(MICROSOFT, MS_PRIMARY_DNS_SERVER, &[10, 0, 0, 1]).unwrap();
        for pair in [
            "ipsec:addr-pool=two",
            "ipsec:default-domain=ann.test",
            "ipsec:split-dns=a.test b.test",
            "ipsec:route-set=prefix 10.2.0.0/16",
            "ipsec:session-lifetime=1800",
            "ipsec:group=staff",
            "shell:priv-lvl=15",
            "shell:roles*admin",
        ] {
            cisco(&mut list, pair);
        }
        let grant = grant(list.attributes());
        let expected = Grant {
            user: Some("ann".into()),
            address: Some([10, 9, 8, 7].into()),
            address6: None,
            pool: Some("two".into()),
            dns: vec![IpAddr::from([10, 0, 0, 1])],
            domain: Some("ann.test".into()),
            split_dns: vec!["a.test".into(), "b.test".into()],
            banner: Some("Hello ann".into()),
            routes: vec![(IpAddr::from([10, 1, 0, 0]), 16), (IpAddr::from([10, 2, 0, 0]), 16)],
            group: Some("staff".into()),
            session_timeout_secs: Some(1800),
            idle_timeout_secs: Some(600),
            interim_secs: Some(60),
            class: vec![b"\xFFopaque".to_vec(), b"second".to_vec()],
            filter_ids: vec!["staff-acl".into()],
            unused: vec![
                "Framed-Route `elsewhere`: it begins with no prefix".into(),
                "cisco-avpair `shell:priv-lvl=15`: it means nothing here".into(),
            ],
        };
        assert_eq!(grant, expected);
    }

    /// A Framed-IPv6-Prefix of 64 bits as RFC 3162 §2.3 has it, and one with all of its 16 octets.
    #[test]
    fn what_a_server_says_of_ipv6() {
        let at = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let octets = |text: &str| at(text).octets().to_vec();
        let prefix = |length: u8, text: &str| [vec![0, length], octets(text)].concat();
        let short = b"\0\x40\x20\x01\x0d\xb8\0\x09\0\x05".to_vec();
        let said = |pairs: &[(crate::attribute::Attribute, Vec<u8>)]| {
            let mut list = AttributeList::new();
            pairs.iter().for_each(|(attribute, value)| list.push(*attribute, value).unwrap());
            grant(list.attributes())
        };
        let own = |text: &str| Grant { address6: Some(at(text)), ..Grant::default() };
        let route =
            |text: &str, length| Grant { routes: vec![(at(text).into(), length)], ..Grant::default() };
        let pool = |name: &str| Grant { pool: Some(name.into()), ..Grant::default() };
        let (whole, address) = (prefix(64, "2001:db8:9:5::"), octets("2001:db8:9:5::7"));
        let other = Grant {
            unused: vec!["IPv6 pool `six`: the pool named for IPv4 gives both addresses".into()],
            ..pool("four")
        };
        for (pairs, expected) in [
            (&[(FRAMED_IPV6_ADDRESS, address.clone())][..], own("2001:db8:9:5::7")),
            (&[(FRAMED_IPV6_PREFIX, short)], own("2001:db8:9:5::")),
            (&[(FRAMED_IPV6_PREFIX, whole.clone())], own("2001:db8:9:5::")),
            (&[(DELEGATED_IPV6_PREFIX, whole.clone())], own("2001:db8:9:5::")),
            (&[(FRAMED_IPV6_PREFIX, whole), (FRAMED_IPV6_ADDRESS, address)], own("2001:db8:9:5::7")),
            (&[(FRAMED_IPV6_PREFIX, prefix(129, "2001:db8::"))], Grant::default()),
            (&[(FRAMED_IPV6_ADDRESS, vec![0x20, 1])], Grant::default()),
            (&[(FRAMED_IPV6_ADDRESS, octets("ff02::1"))], Grant::default()),
            (&[(FRAMED_IPV6_ADDRESS, octets("::"))], Grant::default()),
            (
                &[
                    (DNS_SERVER_IPV6_ADDRESS, octets("2001:db8::53")),
                    (DNS_SERVER_IPV6_ADDRESS, octets("2001:db8::54")),
                    (DNS_SERVER_IPV6_ADDRESS, octets("::")),
                    (DNS_SERVER_IPV6_ADDRESS, vec![1]),
                ],
                Grant { dns: vec![at("2001:db8::53").into(), at("2001:db8::54").into()], ..Grant::default() },
            ),
            (&[(FRAMED_IPV6_ROUTE, b"2001:db8:5::9/48 2001:db8::1 1".to_vec())], route("2001:db8:5::", 48)),
            (&[(ROUTE_IPV6_INFORMATION, prefix(40, "2001:db8:600::"))], route("2001:db8:600::", 40)),
            (&[(FRAMED_IPV6_POOL, b"six".to_vec())], pool("six")),
            (&[(STATEFUL_IPV6_ADDRESS_POOL, b"six".to_vec())], pool("six")),
            (&[(FRAMED_IPV6_POOL, b"four".to_vec()), (FRAMED_POOL, b"four".to_vec())], pool("four")),
            (&[(FRAMED_IPV6_POOL, b"six".to_vec()), (FRAMED_POOL, b"four".to_vec())], other),
        ] {
            assert_eq!(said(pairs), expected, "{pairs:02x?}");
        }
    }

    #[test]
    fn a_pair_replaces_the_servers_of_its_own_family() {
        let six = "2001:db8::53".parse::<Ipv6Addr>().unwrap();
        let mut list = AttributeList::new();
        list.push_vendor(MICROSOFT, MS_PRIMARY_DNS_SERVER, &[10, 0, 0, 1]).unwrap();
        list.push(DNS_SERVER_IPV6_ADDRESS, &six.octets()).unwrap();
        cisco(&mut list, "ipsec:dns-servers=10.0.0.2");
        assert_eq!(grant(list.attributes()).dns, [IpAddr::from(six), IpAddr::from([10, 0, 0, 2])]);
    }

    #[test]
    fn an_address_that_is_the_gateways_choice_is_none() {
        for (address, usable) in
            [([255, 255, 255, 254], false), ([255; 4], false), ([0; 4], false), ([10, 0, 0, 1], true)]
        {
            let mut list = AttributeList::new();
            list.push_address(FRAMED_IP_ADDRESS, address.into()).unwrap();
            assert_eq!(grant(list.attributes()).address.is_some(), usable);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_allowed_is_bounded(octets in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let grant = grant(Attributes::of(&octets));
            prop_assert!(grant.class.len() <= MAX_CLASSES && grant.routes.len() <= MAX_LIST);
            prop_assert!(grant.split_dns.len() <= MAX_LIST && grant.unused.len() <= MAX_UNUSED);
        }
    }
}
