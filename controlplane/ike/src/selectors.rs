//! Narrowing of traffic selectors to what a remote-access client may have (RFC 7296 §2.9), IPv4 only.
//!
//! Enters: the client's TSi and TSr, its inner address, the subnets it may reach. Leaves: the selectors of the Child SA,
//! at most [`MAX_SELECTORS`] a side, or nothing where TS_UNACCEPTABLE is due. IPv6 and unknown selectors never match, so
//! they fall out; what is left of the client's offer is what it gets.

use std::net::Ipv4Addr;

use crate::api::Selector;
use crate::policy::Subnet;
use crate::wire::{AddressRange, Notify, NotifyType, Payload, TrafficSelector, TsRange};

/// Most selectors of one side of a Child SA.
pub(crate) const MAX_SELECTORS: usize = 16;

/// Both sides of a Child SA. Neither is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SelectorPair {
    pub(crate) local: Vec<Selector>,
    pub(crate) peer: Vec<Selector>,
}

/// The part of `offered` that lies in `allowed`; `None` when nothing does.
pub(crate) fn narrow(offered: &[TrafficSelector], allowed: &[TsRange]) -> Option<Vec<Selector>> {
    let mut narrowed: Vec<Selector> = Vec::new();
    for policy in allowed {
        for selector in offered {
            let TrafficSelector::Range(range) = selector else { continue };
            let Some(common) = range.intersection(policy).and_then(from_range) else { continue };
            if narrowed.len() < MAX_SELECTORS && !narrowed.iter().any(|have| covers(have, &common)) {
                narrowed.retain(|have| !covers(&common, have));
                narrowed.push(common);
            }
        }
    }
    (!narrowed.is_empty()).then_some(narrowed)
}

/// ADDITIONAL_TS_POSSIBLE where [`narrow`] leaves out, for lack of room, what another Child SA could have (RFC 7296 §2.9).
pub(crate) fn more_possible(offered: &[TrafficSelector], allowed: &[TsRange]) -> Option<Payload> {
    let notify = Payload::Notify(Notify::new(NotifyType::AdditionalTsPossible));
    leaves_some_out(offered, allowed).then_some(notify)
}

fn leaves_some_out(offered: &[TrafficSelector], allowed: &[TsRange]) -> bool {
    let narrowed = narrow(offered, allowed).unwrap_or_default();
    narrowed.len() >= MAX_SELECTORS
        && allowed.iter().any(|policy| {
            let ranges = offered.iter().filter_map(|selector| match selector {
                TrafficSelector::Range(range) => range.intersection(policy).and_then(from_range),
                _ => None,
            });
            ranges.into_iter().any(|common| !narrowed.iter().any(|have| covers(have, &common)))
        })
}

/// One address.
pub(crate) fn host(address: Ipv4Addr) -> Vec<TsRange> {
    vec![TsRange::ipv4(address, address)]
}

/// The subnets; everything when there are none.
pub(crate) fn reachable(subnets: &[Subnet]) -> Vec<TsRange> {
    if subnets.is_empty() {
        return vec![TsRange::any_ipv4()];
    }
    subnets.iter().map(|subnet| TsRange::ipv4(subnet.first(), subnet.last())).collect()
}

/// For a TS payload.
pub(crate) fn to_wire(selectors: &[Selector]) -> Vec<TrafficSelector> {
    selectors.iter().map(|selector| TrafficSelector::Range(to_range(selector))).collect()
}

/// As the codec has it.
pub(crate) fn to_range(selector: &Selector) -> TsRange {
    TsRange {
        protocol: selector.protocol,
        first_port: selector.first_port,
        last_port: selector.last_port,
        addresses: AddressRange::Ipv4(selector.first, selector.last),
    }
}

fn from_range(range: TsRange) -> Option<Selector> {
    let AddressRange::Ipv4(first, last) = range.addresses else { return None };
    if range.is_opaque() {
        return None;
    }
    Some(Selector {
        protocol: range.protocol,
        first,
        last,
        first_port: range.first_port,
        last_port: range.last_port,
    })
}

fn covers(outer: &Selector, inner: &Selector) -> bool {
    (outer.protocol == 0 || outer.protocol == inner.protocol)
        && outer.first <= inner.first
        && inner.last <= outer.last
        && outer.first_port <= inner.first_port
        && inner.last_port <= outer.last_port
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn range(first: [u8; 4], last: [u8; 4]) -> TrafficSelector {
        TrafficSelector::Range(TsRange::ipv4(first.into(), last.into()))
    }

    fn any6() -> TrafficSelector {
        TrafficSelector::Range(TsRange {
            protocol: 0,
            first_port: 0,
            last_port: u16::MAX,
            addresses: AddressRange::Ipv6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from(u128::MAX)),
        })
    }

    fn text(selectors: Option<Vec<Selector>>) -> Vec<String> {
        selectors.into_iter().flatten().map(|s| format!("{}-{}/{}", s.first, s.last, s.protocol)).collect()
    }

    #[test]
    fn offers_are_narrowed_to_policy() {
        let any = || range([0; 4], [255; 4]);
        let lan = [Subnet { address: Ipv4Addr::new(10, 1, 0, 0), prefix_len: 16 }];
        let two = [lan[0], Subnet { address: Ipv4Addr::new(192, 168, 9, 0), prefix_len: 24 }];
        let me = host(Ipv4Addr::new(10, 9, 0, 7));
        type Case = (&'static str, Vec<TrafficSelector>, Vec<TsRange>, Vec<&'static str>);
        let cases: Vec<Case> = vec![
            ("whole world to one host", vec![any()], me.clone(), vec!["10.9.0.7-10.9.0.7/0"]),
            ("IPv6 falls out", vec![any6(), any()], me.clone(), vec!["10.9.0.7-10.9.0.7/0"]),
            ("IPv6 alone is unacceptable", vec![any6()], me.clone(), vec![]),
            ("no common address", vec![range([10, 8, 0, 0], [10, 8, 0, 9])], me, vec![]),
            ("no subnets: everything", vec![any()], reachable(&[]), vec!["0.0.0.0-255.255.255.255/0"]),
            (
                "two subnets",
                vec![any()],
                reachable(&two),
                vec!["10.1.0.0-10.1.255.255/0", "192.168.9.0-192.168.9.255/0"],
            ),
            (
                "first selector of the packet and the wide one (RFC 7296 §2.9) merge",
                vec![range([10, 1, 2, 3], [10, 1, 2, 3]), any()],
                reachable(&lan),
                vec!["10.1.0.0-10.1.255.255/0"],
            ),
        ];
        for (name, offered, allowed, expected) in cases {
            assert_eq!(text(narrow(&offered, &allowed)), expected, "{name}");
        }
    }

    #[test]
    fn the_number_of_selectors_is_bounded() {
        let offered: Vec<_> = (0..=255).map(|i| range([10, 0, i, 0], [10, 0, i, 0])).collect();
        assert_eq!(narrow(&offered, &reachable(&[])).map(|s| s.len()), Some(MAX_SELECTORS));
    }
}
