//! IOS's ways to write networks. Enters: address with wildcard or netmask, and ranges. Leaves: prefixes.

use std::net::Ipv4Addr;

use causeway_shared::sa::Ipv4Prefix;

/// A prefix from an address and a netmask; `None` if the mask has holes.
pub(super) fn with_netmask(address: Ipv4Addr, mask: Ipv4Addr) -> Option<Ipv4Prefix> {
    let mask = u32::from(mask);
    let length = mask.leading_ones();
    if mask.checked_shl(length).unwrap_or(0) != 0 {
        return None;
    }
    Ipv4Prefix::new(address, u8::try_from(length).ok()?)
}

/// A prefix from an address and a wildcard, which is an inverted netmask.
pub(super) fn with_wildcard(address: Ipv4Addr, wildcard: Ipv4Addr) -> Option<Ipv4Prefix> {
    with_netmask(address, Ipv4Addr::from(!u32::from(wildcard)))
}

/// The longest prefix, but not longer than `longest`, that holds both addresses.
pub(super) fn covering(first: Ipv4Addr, last: Ipv4Addr, longest: u8) -> Option<Ipv4Prefix> {
    let common = (u32::from(first) ^ u32::from(last)).leading_zeros();
    Ipv4Prefix::new(first, u8::try_from(common).ok()?.min(longest))
}

/// The source of a standard access list's entry: `any`, `host A`, `A`, `A WILDCARD`, with `log` behind it or not.
pub(super) fn standard_source(words: &[String]) -> Option<Ipv4Prefix> {
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "log").collect();
    match words.as_slice() {
        ["any"] => Ipv4Prefix::new(Ipv4Addr::UNSPECIFIED, 0),
        ["host", address] | [address] => Ipv4Prefix::new(address.parse().ok()?, 32),
        [address, wildcard] => with_wildcard(address.parse().ok()?, wildcard.parse().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_become_prefixes() {
        for (words, expected) in [
            ("192.168.10.0 0.0.0.255", Some("192.168.10.0/24")),
            ("192.168.10.7 0.0.0.255 log", Some("192.168.10.0/24")),
            ("10.0.0.0 0.255.0.255", None),
            ("any", Some("0.0.0.0/0")),
            ("host 10.1.1.1", Some("10.1.1.1/32")),
            ("10.1.1.1", Some("10.1.1.1/32")),
            ("10.1.1.1 255.255.255.255", Some("0.0.0.0/0")),
            ("10.1.1", None),
            ("", None),
        ] {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            assert_eq!(standard_source(&words).map(|p| p.to_string()).as_deref(), expected, "{words:?}");
        }
    }

    #[test]
    fn ranges_are_covered() {
        for (first, last, expected) in [
            ("192.168.20.5", "192.168.20.10", "192.168.20.0/28"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.0/30"),
            ("10.0.0.250", "10.0.1.5", "10.0.0.0/23"),
            ("10.127.255.255", "10.128.0.0", "10.0.0.0/8"),
        ] {
            let covered = covering(first.parse().unwrap(), last.parse().unwrap(), 30).unwrap();
            assert_eq!(covered.to_string(), expected);
        }
    }
}
