//! What an Access-Accept allows a user.
//!
//! Enters: the attributes of a verified answer. Leaves: a [`Grant`] of typed values. What a value cannot mean is left out and
//! named in [`Grant::unused`], since an accepted user is not refused for an attribute meant for another device.

use std::net::Ipv4Addr;

use crate::attribute::{
    ACCT_INTERIM_INTERVAL, CISCO, CISCO_AVPAIR, CLASS, FILTER_ID, FRAMED_IP_ADDRESS, FRAMED_POOL,
    FRAMED_ROUTE, IDLE_TIMEOUT, MICROSOFT, MS_PRIMARY_DNS_SERVER, MS_SECONDARY_DNS_SERVER, REPLY_MESSAGE,
    SESSION_TIMEOUT, USER_NAME,
};
use crate::avpair::{self, AvPair, Unused, prefix};
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
    /// Framed-Pool or `ipsec:addr-pool`.
    pub pool: Option<String>,
    /// `ipsec:dns-servers`, or Microsoft's DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// `ipsec:default-domain`.
    pub domain: Option<String>,
    /// `ipsec:split-dns`.
    pub split_dns: Vec<String>,
    /// `ipsec:banner`, else the Reply-Messages.
    pub banner: Option<String>,
    /// `ipsec:route-set` and Framed-Route: address and prefix length.
    pub routes: Vec<(Ipv4Addr, u8)>,
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
        Some(Ipv4Addr::from(*value.first_chunk::<4>()?))
    });
    let mut grant = Grant {
        user: texts(USER_NAME).next(),
        address: attributes.clone().address(FRAMED_IP_ADDRESS).filter(is_usable),
        pool: texts(FRAMED_POOL).next(),
        dns: dns.into_iter().flatten().filter(|server| !server.is_unspecified()).collect(),
        session_timeout_secs: number(SESSION_TIMEOUT),
        idle_timeout_secs: number(IDLE_TIMEOUT),
        interim_secs: number(ACCT_INTERIM_INTERVAL),
        class: attributes.clone().each(CLASS).take(MAX_CLASSES).map(<[u8]>::to_vec).collect(),
        filter_ids: texts(FILTER_ID).take(MAX_LIST).collect(),
        ..Grant::default()
    };
    for route in texts(FRAMED_ROUTE) {
        // RFC 2865 §5.22: destination, gateway, metrics; only the destination matters to a tunnel.
        match route.split_whitespace().next().and_then(prefix) {
            Some(route) => grant.route(route),
            None => grant.leave_out(format!("Framed-Route `{route}`: it begins with no IPv4 prefix")),
        }
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
            AvPair::Dns(servers) => self.dns = servers,
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

    fn route(&mut self, route: (Ipv4Addr, u8)) {
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
            pool: Some("two".into()),
            dns: vec![[10, 0, 0, 1].into()],
            domain: Some("ann.test".into()),
            split_dns: vec!["a.test".into(), "b.test".into()],
            banner: Some("Hello ann".into()),
            routes: vec![([10, 1, 0, 0].into(), 16), ([10, 2, 0, 0].into(), 16)],
            group: Some("staff".into()),
            session_timeout_secs: Some(1800),
            idle_timeout_secs: Some(600),
            interim_secs: Some(60),
            class: vec![b"\xFFopaque".to_vec(), b"second".to_vec()],
            filter_ids: vec!["staff-acl".into()],
            unused: vec![
                "Framed-Route `elsewhere`: it begins with no IPv4 prefix".into(),
                "cisco-avpair `shell:priv-lvl=15`: it means nothing here".into(),
            ],
        };
        assert_eq!(grant, expected);
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
