//! The common case of an SA's IPv6 selectors: one range on the peer's side, its prefix, and one on ours, any protocol and port. A packet
//! that it does not take may still be taken by the SA's full list.
//!
//! It has no room in the SA's cache lines and lies in a table of its own beside them (`table.rs`), of integers only: memory of SAs
//! without IPv6 is never touched.

use std::net::{IpAddr, Ipv6Addr};

use causeway_shared::sa::Selector;

/// First and last address of the peer's range, and of ours.
pub(super) type FastSelector6 = [u128; 4];

/// Takes nothing that may be forwarded.
pub(super) const NONE: FastSelector6 = [0; 4];

/// The widest open range of each side.
pub(super) fn of(peer: &[Selector], local: &[Selector]) -> FastSelector6 {
    match (widest(peer), widest(local)) {
        (Some([first, last]), Some([ours, our_last])) => [first, last, ours, our_last],
        _ => NONE,
    }
}

/// Whether it takes a packet between these two.
#[inline(always)]
pub(super) fn takes(selector: &FastSelector6, peer: Ipv6Addr, local: Ipv6Addr) -> bool {
    let [first, last, ours, our_last] = *selector;
    (first..=last).contains(&peer.to_bits()) && (ours..=our_last).contains(&local.to_bits())
}

fn widest(selectors: &[Selector]) -> Option<[u128; 2]> {
    let open = |selector: &Selector| match (selector.first, selector.last) {
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let any = selector.protocol == 0 && selector.first_port == 0 && selector.last_port == u16::MAX;
            (any && first <= last).then(|| [first.to_bits(), last.to_bits()])
        }
        _ => None,
    };
    selectors.iter().filter_map(open).max_by_key(|[first, last]| last - first)
}

#[cfg(test)]
mod tests {
    use super::super::{Flow, Selectors};
    use super::*;
    use proptest::prelude::*;

    fn a_selector() -> impl Strategy<Value = Selector> {
        let protocol = prop_oneof![3 => Just(0u8), 1 => Just(6u8)];
        let port = prop_oneof![3 => Just(0u16), 1 => Just(80u16)];
        (protocol, 0u128..6, 0u128..6, port).prop_map(|(protocol, first, last, first_port)| Selector {
            protocol,
            first: Ipv6Addr::from_bits(first).into(),
            last: Ipv6Addr::from_bits(last).into(),
            first_port,
            last_port: u16::MAX,
        })
    }

    proptest! {
        #[test]
        fn takes_only_what_the_full_list_takes(
            peer in prop::collection::vec(a_selector(), 1..4), local in prop::collection::vec(a_selector(), 1..4),
        ) {
            let (fast, full) = (of(&peer, &local), Selectors::new(&local, &peer));
            let all = || (0..6).map(Ipv6Addr::from_bits);
            for (a, b) in all().flat_map(|a| all().map(move |b| (a, b))) {
                let flow = Flow { source: a.into(), destination: b.into(), protocol: 47, ports: None };
                let taken = fast != NONE && takes(&fast, a, b);
                prop_assert!(!taken || full.allow_inbound(&flow), "{a} {b}");
            }
        }
    }
}
