//! Narrowing of traffic selectors to what a remote-access client may have (RFC 7296 §2.9).
//!
//! Enters: the client's TSi and TSr, its inner addresses, the subnets it may reach. Leaves: the selectors of the Child SA,
//! at most [`MAX_SELECTORS`] a side, or nothing where TS_UNACCEPTABLE is due. One Child SA carries both families of a client that
//! has both; a family of which one side has nothing falls out of the other side too, as unknown selectors do.

use std::net::{IpAddr, Ipv6Addr};

use crate::api::{Inner, Selector};
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
pub(crate) fn more_possible(ts_r: &[TrafficSelector], subnets: &[Subnet]) -> Option<Payload> {
    let notify = Payload::Notify(Notify::new(NotifyType::AdditionalTsPossible));
    leaves_some_out(ts_r, &reachable(subnets)).then_some(notify)
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

/// What a client gets that has these inner addresses and may reach these subnets (all, when there are none).
pub(crate) fn pair(
    ts_i: &[TrafficSelector],
    ts_r: &[TrafficSelector],
    inner: Inner,
    subnets: &[Subnet],
) -> Option<SelectorPair> {
    let mut peer = narrow(ts_i, &addresses_of(inner))?;
    let mut local = narrow(ts_r, &reachable(subnets))?;
    let has = |side: &[Selector], v4: bool| side.iter().any(|selector| selector.first.is_ipv4() == v4);
    let [both4, both6] = [true, false].map(|v4| has(&peer, v4) && has(&local, v4));
    for side in [&mut peer, &mut local] {
        side.retain(|selector| if selector.first.is_ipv4() { both4 } else { both6 });
    }
    (both4 || both6).then_some(SelectorPair { local, peer })
}

/// The addresses of which a Child SA with these selectors carries packets: a client may have a Child SA for each family.
pub(crate) fn carried(inner: Inner, selectors: &SelectorPair) -> Inner {
    let has = |v4: bool| selectors.peer.iter().any(|selector| selector.first.is_ipv4() == v4);
    Inner { v4: inner.v4.filter(|_| has(true)), v6: inner.v6.filter(|_| has(false)) }
}

/// A client's own addresses.
fn addresses_of(inner: Inner) -> Vec<TsRange> {
    let v4 = inner.v4.map(|address| TsRange::ipv4(address, address));
    let v6 = inner.v6.map(|inner| Subnet { address: inner.address.into(), prefix_len: inner.prefix_len });
    v4.into_iter().chain(v6.map(|prefix| TsRange::of(prefix.range()))).collect()
}

/// The subnets; everything when there are none.
fn reachable(subnets: &[Subnet]) -> Vec<TsRange> {
    let subnets = if subnets.is_empty() { &[Subnet::ANY, Subnet::ANY6] } else { subnets };
    subnets.iter().map(|subnet| TsRange::of(subnet.range())).collect()
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
        addresses: match (selector.first, selector.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => AddressRange::Ipv4(first, last),
            (first, last) => AddressRange::Ipv6(as_ipv6(first), as_ipv6(last)),
        },
    }
}

fn from_range(range: TsRange) -> Option<Selector> {
    if range.is_opaque() {
        return None;
    }
    let (first, last) = match range.addresses {
        AddressRange::Ipv4(first, last) => (first.into(), last.into()),
        AddressRange::Ipv6(first, last) => (first.into(), last.into()),
    };
    Some(Selector {
        protocol: range.protocol,
        first,
        last,
        first_port: range.first_port,
        last_port: range.last_port,
    })
}

/// The two addresses of a selector are of one family ([`from_range`]), so this changes none.
fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn covers(outer: &Selector, inner: &Selector) -> bool {
    (outer.protocol == 0 || outer.protocol == inner.protocol)
        && outer.first.is_ipv4() == inner.first.is_ipv4()
        && outer.first <= inner.first
        && inner.last <= outer.last
        && outer.first_port <= inner.first_port
        && inner.last_port <= outer.last_port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Inner6;

    fn range(text: &str) -> TrafficSelector {
        let (first, last) = text.split_once('-').unwrap();
        let range = match (first.parse().unwrap(), last.parse().unwrap()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => TsRange::ipv4(first, last),
            (first, last) => TsRange::ipv6(as_ipv6(first), as_ipv6(last)),
        };
        TrafficSelector::Range(range)
    }

    fn any4() -> TrafficSelector {
        TrafficSelector::Range(TsRange::any_ipv4())
    }

    fn any6() -> TrafficSelector {
        TrafficSelector::Range(TsRange::any_ipv6())
    }

    fn text(selectors: &[Selector]) -> String {
        let one = |s: &Selector| format!("{}-{}/{}", s.first, s.last, s.protocol);
        selectors.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn subnet(address: &str, prefix_len: u8) -> Subnet {
        Subnet { address: address.parse().unwrap(), prefix_len }
    }

    const ME4: &str = "10.9.0.7-10.9.0.7/0";
    const ME6: &str = "fd00:9::7-fd00:9::7/0";
    const ALL4: &str = "0.0.0.0-255.255.255.255/0";
    const ALL6: &str = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0";

    #[test]
    fn offers_are_narrowed_to_policy() {
        let (both, four) = (vec![any6(), any4()], vec![any4()]);
        let lan = [subnet("10.1.0.0", 16)];
        let lans = [lan[0], subnet("192.168.9.0", 24), subnet("fd00:1::", 64)];
        let v4 = Some("10.9.0.7".parse().unwrap());
        let v6 = Some(Inner6 { address: "fd00:9::7".parse().unwrap(), prefix_len: 128 });
        let (dual, only4, only6) = (Inner { v4, v6 }, Inner { v4, v6: None }, Inner { v4: None, v6 });
        let wide = Inner6 { address: "fd00:9:0:5::1".parse().unwrap(), prefix_len: 64 };
        let prefix = Inner { v4: None, v6: Some(wide) };
        let dual_lans =
            "10.1.0.0-10.1.255.255/0 192.168.9.0-192.168.9.255/0 fd00:1::-fd00:1::ffff:ffff:ffff:ffff/0";
        // TSi, TSr, the client's addresses and networks; what each side gets.
        type Offer = (Vec<TrafficSelector>, Vec<TrafficSelector>);
        type Case<'a> = (&'a str, Offer, Inner, &'a [Subnet], Option<(String, String)>);
        let gets = |peer: &str, local: &str| Some((peer.to_owned(), local.to_owned()));
        let cases: Vec<Case<'_>> = vec![
            ("one family", (four.clone(), four.clone()), only4, &[], gets(ME4, ALL4)),
            (
                "IPv6 of a client without it falls out",
                (both.clone(), both.clone()),
                only4,
                &[],
                gets(ME4, ALL4),
            ),
            ("IPv6 alone", (both.clone(), both.clone()), only6, &[], gets(ME6, ALL6)),
            (
                "one Child SA for both",
                (both.clone(), both.clone()),
                dual,
                &[],
                gets(&format!("{ME4} {ME6}"), &format!("{ALL4} {ALL6}")),
            ),
            (
                "both families of networks",
                (both.clone(), both.clone()),
                dual,
                &lans,
                gets(&format!("{ME4} {ME6}"), dual_lans),
            ),
            (
                "networks of one family leave one",
                (both.clone(), both.clone()),
                dual,
                &lan,
                gets(ME4, "10.1.0.0-10.1.255.255/0"),
            ),
            ("a client offers one side of IPv6", (both.clone(), four.clone()), dual, &[], gets(ME4, ALL4)),
            ("the two sides have no family in common", (vec![any6()], four.clone()), dual, &[], None),
            ("IPv6 offered to who has none", (vec![any6()], vec![any6()]), only4, &[], None),
            ("no common address", (vec![range("10.8.0.0-10.8.0.9")], four.clone()), only4, &[], None),
            (
                "a prefix is a client's own",
                (both.clone(), both.clone()),
                prefix,
                &[],
                gets("fd00:9:0:5::-fd00:9:0:5:ffff:ffff:ffff:ffff/0", ALL6),
            ),
            (
                "first selector of the packet and the wide one (RFC 7296 §2.9) merge",
                (four.clone(), vec![range("10.1.2.3-10.1.2.3"), any4()]),
                only4,
                &lan,
                gets(ME4, "10.1.0.0-10.1.255.255/0"),
            ),
        ];
        for (name, (ts_i, ts_r), inner, subnets, expected) in cases {
            let got = pair(&ts_i, &ts_r, inner, subnets);
            let got = got.map(|pair| (text(&pair.peer), text(&pair.local)));
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn addresses_without_selectors_are_not_carried() {
        let v4 = Some("10.9.0.7".parse().unwrap());
        let inner = Inner { v4, v6: Some(Inner6 { address: "fd00:9::7".parse().unwrap(), prefix_len: 128 }) };
        let of = |ts: Vec<TrafficSelector>| carried(inner, &pair(&ts, &ts, inner, &[]).unwrap());
        assert_eq!(of(vec![any4(), any6()]), inner);
        assert_eq!(of(vec![any4()]), Inner { v6: None, ..inner });
        assert_eq!(of(vec![any6()]), Inner { v4: None, ..inner });
    }

    #[test]
    fn the_number_of_selectors_is_bounded() {
        let offered: Vec<_> = (0..=255).map(|i| range(&format!("10.0.{i}.0-10.0.{i}.0"))).collect();
        assert_eq!(narrow(&offered, &reachable(&[])).map(|s| s.len()), Some(MAX_SELECTORS));
    }
}
