//! The common case of an SA's selectors in twelve octets: one inner address on the peer's side, one range on ours, any
//! protocol and port. A packet that it does not take may still be taken by the SA's full list.

use std::net::{IpAddr, Ipv4Addr};

use causeway_shared::sa::Selector;

/// Takes packets between `peer` and `first..=last`.
#[derive(Clone, Copy)]
pub(super) struct FastSelector {
    peer: u32,
    first: u32,
    last: u32,
}

impl FastSelector {
    /// What of these lists has the common form: a peer of one address, and the first such range on our side.
    pub fn new(peer: &[Selector], local: &[Selector]) -> FastSelector {
        let open = |selector: &Selector| match (selector.first, selector.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let any =
                    selector.protocol == 0 && selector.first_port == 0 && selector.last_port == u16::MAX;
                any.then(|| (first.to_bits(), last.to_bits()))
            }
            _ => None,
        };
        let address = peer.iter().filter_map(open).find(|(first, last)| first == last);
        // The widest, because most packets will be for it.
        let ranges = local.iter().filter_map(open).filter(|(first, last)| first <= last);
        match (address, ranges.max_by_key(|(first, last)| last - first)) {
            (Some((peer, _)), Some((first, last))) => FastSelector { peer, first, last },
            _ => FastSelector::none(),
        }
    }

    /// Takes nothing.
    pub fn none() -> FastSelector {
        FastSelector { peer: 0, first: 1, last: 0 }
    }

    #[inline(always)]
    pub fn takes(&self, peer: Ipv4Addr, local: Ipv4Addr) -> bool {
        u32::from(peer) == self.peer && (self.first..=self.last).contains(&u32::from(local))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flow, Selectors};
    use super::*;
    use proptest::prelude::*;

    fn a_selector() -> impl Strategy<Value = Selector> {
        (
            prop_oneof![3 => Just(0u8), 1 => Just(6u8)],
            0u32..6,
            0u32..6,
            prop_oneof![3 => Just(0u16), 1 => Just(80u16)],
        )
            .prop_map(|(protocol, first, last, first_port)| Selector {
                protocol,
                first: Ipv4Addr::from(first).into(),
                last: Ipv4Addr::from(last).into(),
                first_port,
                last_port: u16::MAX,
            })
    }

    proptest! {
        #[test]
        fn takes_only_what_the_full_list_takes(
            peer in prop::collection::vec(a_selector(), 1..4), local in prop::collection::vec(a_selector(), 1..4),
        ) {
            let (fast, full) = (FastSelector::new(&peer, &local), Selectors::new(&local, &peer));
            for (a, b) in (0..6).flat_map(|a| (0..6).map(move |b| (Ipv4Addr::from(a), Ipv4Addr::from(b)))) {
                let flow = Flow { source: a.into(), destination: b.into(), protocol: 47, ports: None };
                prop_assert!(!fast.takes(a, b) || full.allow_inbound(&flow), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_common_case_is_taken() {
        let open = |first: [u8; 4], last: [u8; 4]| Selector {
            protocol: 0,
            first: first.into(),
            last: last.into(),
            first_port: 0,
            last_port: u16::MAX,
        };
        let client = [open([10, 9, 0, 5], [10, 9, 0, 5])];
        let fast = FastSelector::new(&client, &[open([10, 0, 0, 0], [10, 0, 0, 9]), open([0; 4], [255; 4])]);
        assert!(fast.takes([10, 9, 0, 5].into(), [8, 8, 8, 8].into()));
        assert!(!fast.takes([10, 9, 0, 6].into(), [8, 8, 8, 8].into()));
    }
}
