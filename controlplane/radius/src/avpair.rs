//! Cisco's attribute-value pairs (`cisco-avpair`), as far as FlexVPN understands them for a remote user.
//!
//! Enters: the text of a pair, `protocol:attribute=value`; `*` in place of `=` says that it may be ignored. Leaves: a
//! typed [`AvPair`], or why it is none.

use std::net::{IpAddr, Ipv4Addr};

use crate::ipv6::{MAX_PREFIX_LENGTH, network};

/// A pair that changes what a session may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AvPair {
    /// `ipsec:addr-pool`: pool, by name.
    Pool(String),
    /// `ipsec:dns-servers`.
    Dns(Vec<IpAddr>),
    /// `ipsec:default-domain`.
    Domain(String),
    /// `ipsec:split-dns`: domains that are looked up through the tunnel.
    SplitDns(Vec<String>),
    /// `ipsec:banner`.
    Banner(String),
    /// `ipsec:route-set=prefix A/L` or `prefix A MASK`: a network behind the tunnel.
    Route(IpAddr, u8),
    /// `ipsec:session-lifetime`, seconds.
    SessionLifetime(u32),
    /// `ipsec:idle-time`, seconds.
    IdleTime(u32),
    /// `ipsec:group` and `ipsec:user-vpn-group`: the group whose policy applies.
    Group(String),
}

/// Why a pair changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unused {
    /// It is no pair.
    #[error("it is not `protocol:attribute=value`")]
    Malformed,
    /// The attribute is known and the value is not what it should be.
    #[error("its value is not understood")]
    Value,
    /// Another device knows what to do with it.
    #[error("it means nothing here")]
    Unknown,
}

/// Reads a pair.
///
/// # Errors
/// When nothing follows from it.
pub fn parse(pair: &str) -> Result<AvPair, Unused> {
    let (name, value) = pair.split_once(['=', '*']).ok_or(Unused::Malformed)?;
    let (protocol, attribute) = name.split_once(':').ok_or(Unused::Malformed)?;
    if !protocol.trim().eq_ignore_ascii_case("ipsec") {
        return Err(Unused::Unknown);
    }
    let value = value.trim().trim_matches('"');
    let words = || value.split([' ', ',']).filter(|word| !word.is_empty());
    let text = || (!value.is_empty()).then(|| value.to_owned());
    let number = || value.parse().ok();
    let pair = match attribute.trim() {
        "addr-pool" => text().map(AvPair::Pool),
        "dns-servers" => {
            let servers: Result<Vec<_>, _> = words().map(str::parse).collect();
            servers.ok().filter(|servers| !servers.is_empty()).map(AvPair::Dns)
        }
        "default-domain" => text().map(AvPair::Domain),
        "split-dns" => {
            let domains: Vec<_> = words().map(str::to_owned).collect();
            (!domains.is_empty()).then_some(AvPair::SplitDns(domains))
        }
        "banner" => text().map(AvPair::Banner),
        "route-set" => value
            .strip_prefix("prefix")
            .and_then(prefix)
            .map(|(address, length)| AvPair::Route(address, length)),
        "session-lifetime" => number().map(AvPair::SessionLifetime),
        "idle-time" => number().map(AvPair::IdleTime),
        "group" | "user-vpn-group" => text().map(AvPair::Group),
        _ => return Err(Unused::Unknown),
    };
    pair.ok_or(Unused::Value)
}

/// `A/L`, `A MASK`, or `A` alone for one host; of IPv6 `A/L` or `A`. Host bits are cut off.
pub(crate) fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let text = text.trim();
    if text.contains(':') {
        let (address, length) = text.split_once('/').unwrap_or((text, "128"));
        let length = length.trim().parse().ok().filter(|length| *length <= MAX_PREFIX_LENGTH)?;
        return Some((network(address.trim().parse().ok()?, length).into(), length));
    }
    let (address, length) = match text.split_once(['/', ' ']) {
        None => (text, 32),
        Some((address, length)) => match length.trim() {
            mask if mask.contains('.') => {
                let mask = u32::from(mask.parse::<Ipv4Addr>().ok()?);
                (
                    address,
                    u8::try_from(mask.leading_ones())
                        .ok()
                        .filter(|ones| mask.count_ones() == u32::from(*ones))?,
                )
            }
            length => (address, length.parse().ok().filter(|length| *length <= 32)?),
        },
    };
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(length))).unwrap_or(0);
    Some((Ipv4Addr::from(address & mask).into(), length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flexvpns_pairs_are_understood() {
        let ten = IpAddr::from([10, 1, 0, 0]);
        for (pair, expected) in [
            ("ipsec:addr-pool=staff", Ok(AvPair::Pool("staff".into()))),
            ("ipsec:addr-pool*staff", Ok(AvPair::Pool("staff".into()))),
            (
                "ipsec:dns-servers=10.0.0.1 10.0.0.2",
                Ok(AvPair::Dns(vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])])),
            ),
            ("ipsec:dns-servers=2001:db8::53", Ok(AvPair::Dns(vec!["2001:db8::53".parse().unwrap()]))),
            ("ipsec:default-domain=example.com", Ok(AvPair::Domain("example.com".into()))),
            ("ipsec:split-dns=a.test,b.test", Ok(AvPair::SplitDns(vec!["a.test".into(), "b.test".into()]))),
            ("ipsec:banner=Hello = you", Ok(AvPair::Banner("Hello = you".into()))),
            ("ipsec:route-set=prefix 10.1.0.0/16", Ok(AvPair::Route(ten, 16))),
            ("ipsec:route-set=prefix 10.1.2.3 255.255.0.0", Ok(AvPair::Route(ten, 16))),
            (
                "ipsec:route-set=prefix 2001:db8:1:2::9/48",
                Ok(AvPair::Route("2001:db8:1::".parse().unwrap(), 48)),
            ),
            ("ipsec:route-set=prefix 2001:db8::/129", Err(Unused::Value)),
            ("ipsec:session-lifetime=3600", Ok(AvPair::SessionLifetime(3600))),
            ("IPSEC:group=staff", Ok(AvPair::Group("staff".into()))),
            ("ipsec:route-set=interface", Err(Unused::Value)),
            ("ipsec:route-set=prefix 10.1.0.0 255.0.255.0", Err(Unused::Value)),
            ("ipsec:route-set=prefix 10.1.0.0/33", Err(Unused::Value)),
            ("ipsec:dns-servers=", Err(Unused::Value)),
            ("ipsec:session-lifetime=long", Err(Unused::Value)),
            ("ipsec:route-accept=any", Err(Unused::Unknown)),
            ("ip:interface-config=mtu 1400", Err(Unused::Unknown)),
            ("shell", Err(Unused::Malformed)),
            ("priv-lvl=15", Err(Unused::Malformed)),
        ] {
            assert_eq!(parse(pair), expected, "{pair}");
        }
        assert_eq!(prefix("0.0.0.0/0"), Some((IpAddr::from([0; 4]), 0)));
        assert_eq!(prefix("10.1.2.3"), Some((IpAddr::from([10, 1, 2, 3]), 32)));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(pair in "\\PC{0,60}") {
            let _ = parse(&pair);
        }
    }
}
