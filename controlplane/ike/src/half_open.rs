//! How many handshakes are under way, in total and by source, and what a new one meets (RFC 7296 §2.6).
//!
//! Enters: the source of a first request. Leaves: accept, ask for a cookie, or drop.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::policy::Limits;

/// What a new handshake meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Begin at once.
    Accept,
    /// Only with a good cookie.
    CookieNeeded,
    /// The total is reached.
    TotalReached,
    /// This source has enough of them.
    SourceReached,
}

/// The count of half-open IKE SAs. At most [`Limits::half_open`] sources are held.
#[derive(Default)]
pub(crate) struct HalfOpen {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// Who counts as one: an IPv4 address, or an IPv6 /64, because a host has every address of its link's prefix to choose from
/// (RFC 7421 §3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Address(u32),
    Link(u64),
}

impl Source {
    fn of(address: IpAddr) -> Source {
        match address {
            IpAddr::V4(address) => Source::Address(address.to_bits()),
            IpAddr::V6(address) => {
                let [high @ .., _, _, _, _, _, _, _, _] = address.octets();
                Source::Link(u64::from_be_bytes(high))
            }
        }
    }
}

impl HalfOpen {
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn admission(&self, source: IpAddr, limits: &Limits) -> Admission {
        if self.total >= limits.half_open {
            Admission::TotalReached
        } else if self.by_source.get(&Source::of(source)).copied().unwrap_or(0) >= limits.half_open_per_source
        {
            Admission::SourceReached
        } else if self.total >= limits.cookie_threshold {
            Admission::CookieNeeded
        } else {
            Admission::Accept
        }
    }

    pub(crate) fn begun(&mut self, source: IpAddr) {
        self.total = self.total.saturating_add(1);
        let count = self.by_source.entry(Source::of(source)).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn ended(&mut self, source: IpAddr) {
        self.total = self.total.saturating_sub(1);
        let source = Source::of(source);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_apply_in_order_and_ends_give_room() {
        let limits =
            Limits { half_open: 4, half_open_per_source: 3, cookie_threshold: 2, ..Limits::default() };
        let (a, b): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut table = HalfOpen::default();
        let mut seen = vec![];
        for source in [a, a, a] {
            seen.push(table.admission(source, &limits));
            table.begun(source);
        }
        assert_eq!(seen, [Admission::Accept, Admission::Accept, Admission::CookieNeeded]);
        assert_eq!(table.admission(a, &limits), Admission::SourceReached);
        assert_eq!(table.admission(b, &limits), Admission::CookieNeeded);
        table.begun(b);
        assert_eq!(table.admission(b, &limits), Admission::TotalReached);
        for source in [a, a, a, b] {
            table.ended(source);
        }
        assert_eq!((table.total(), table.by_source.len()), (0, 0));
        assert_eq!(table.admission(a, &limits), Admission::Accept);
    }

    #[test]
    fn all_addresses_of_an_ipv6_link_are_one_source() {
        let limits = Limits { half_open_per_source: 2, ..Limits::default() };
        let mut table = HalfOpen::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        for source in ["2001:db8:1:2::1", "2001:db8:1:2:ffff::"] {
            table.begun(at(source));
        }
        assert_eq!(table.admission(at("2001:db8:1:2:3::9"), &limits), Admission::SourceReached);
        assert_eq!(table.admission(at("2001:db8:1:3::1"), &limits), Admission::Accept);
        table.ended(at("2001:db8:1:2::1"));
        assert_eq!(table.admission(at("2001:db8:1:2::1"), &limits), Admission::Accept);
    }
}
