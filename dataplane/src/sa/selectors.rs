//! Traffic selectors (RFC 4301 §4.4.1.1): which inner packets an SA may carry.
//!
//! Enters: a checked inner packet. Leaves: its [`Flow`], and whether one of an SA's selectors takes it.

use std::net::IpAddr;

use causeway_shared::net::ipv4::{PROTOCOL_ICMP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, Packet};
use causeway_shared::net::ipv6::{self, PROTOCOL_ICMPV6};
use causeway_shared::sa::Selector;

/// What selectors look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source and destination port; for ICMP twice type and code (RFC 7296 §3.13.1). `None` for protocols without
    /// ports and for fragments that do not show them (OPAQUE): these match only selectors of every port.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// The flow of an inner packet.
    pub fn of(packet: &Packet<'_>) -> Flow {
        Flow {
            source: packet.source().into(),
            destination: packet.destination().into(),
            protocol: packet.protocol(),
            ports: ports(packet.fragment_offset() == 0, packet.protocol(), packet.payload()),
        }
    }

    /// The flow of an inner IPv6 packet; its protocol is that behind the extension headers (RFC 4301 §4.4.1.1).
    pub fn of6(packet: &ipv6::Packet<'_>) -> Flow {
        Flow {
            source: packet.source().into(),
            destination: packet.destination().into(),
            protocol: packet.protocol(),
            ports: ports(!packet.is_later_fragment(), packet.protocol(), packet.upper_layer()),
        }
    }
}

fn ports(begins: bool, protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    match (begins, protocol, payload) {
        (true, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP, [s0, s1, d0, d1, ..]) => {
            Some((u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])))
        }
        (true, PROTOCOL_ICMP | PROTOCOL_ICMPV6, [kind, code, ..]) => {
            let both = u16::from_be_bytes([*kind, *code]);
            Some((both, both))
        }
        _ => None,
    }
}

/// The selectors of one Child SA.
pub struct Selectors {
    local: Box<[Selector]>,
    peer: Box<[Selector]>,
}

impl Selectors {
    /// Copies an SA's selectors.
    pub fn new(local: &[Selector], peer: &[Selector]) -> Selectors {
        Selectors { local: local.into(), peer: peer.into() }
    }

    /// Whether a packet from the peer may come out: its source is the peer's, its destination on our side.
    pub fn allow_inbound(&self, flow: &Flow) -> bool {
        self.allow(
            flow.protocol,
            (flow.source, flow.ports.map(|p| p.0)),
            (flow.destination, flow.ports.map(|p| p.1)),
        )
    }

    /// Whether a packet to the peer may go in: its destination is the peer's, its source on our side.
    pub fn allow_outbound(&self, flow: &Flow) -> bool {
        self.allow(
            flow.protocol,
            (flow.destination, flow.ports.map(|p| p.1)),
            (flow.source, flow.ports.map(|p| p.0)),
        )
    }

    fn allow(&self, protocol: u8, peer: (IpAddr, Option<u16>), local: (IpAddr, Option<u16>)) -> bool {
        self.peer.iter().any(|s| matches(s, protocol, peer))
            && self.local.iter().any(|s| matches(s, protocol, local))
    }
}

fn matches(selector: &Selector, protocol: u8, (address, port): (IpAddr, Option<u16>)) -> bool {
    let every_port = selector.first_port == 0 && selector.last_port == u16::MAX;
    (selector.first..=selector.last).contains(&address)
        && (selector.protocol == 0 || selector.protocol == protocol)
        && (every_port || port.is_some_and(|port| (selector.first_port..=selector.last_port).contains(&port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(protocol: u8, first: [u8; 4], last: [u8; 4], ports: (u16, u16)) -> Selector {
        Selector { protocol, first: first.into(), last: last.into(), first_port: ports.0, last_port: ports.1 }
    }

    #[test]
    fn a_table_of_flows() {
        const ANY: (u16, u16) = (0, 65535);
        let client = [selector(0, [10, 77, 0, 5], [10, 77, 0, 5], ANY)];
        let lan = [
            selector(6, [10, 1, 0, 0], [10, 1, 0, 255], (80, 443)),
            selector(0, [10, 2, 0, 7], [10, 2, 0, 9], ANY),
        ];
        let selectors = Selectors::new(&lan, &client);
        let flow = |source: [u8; 4], destination: [u8; 4], protocol, ports| Flow {
            source: source.into(),
            destination: destination.into(),
            protocol,
            ports,
        };
        let (me, other) = ([10, 77, 0, 5], [10, 77, 0, 6]);
        for (name, flow, expected) in [
            ("tcp to an allowed port", flow(me, [10, 1, 0, 1], 6, Some((999, 80))), true),
            ("port beyond", flow(me, [10, 1, 0, 1], 6, Some((999, 444))), false),
            ("another protocol", flow(me, [10, 1, 0, 1], 17, Some((999, 80))), false),
            ("fragment hides its ports", flow(me, [10, 1, 0, 1], 6, None), false),
            ("range, any protocol", flow(me, [10, 2, 0, 8], 47, None), true),
            ("range, beyond its end", flow(me, [10, 2, 0, 10], 47, None), false),
            ("another client's source", flow(other, [10, 2, 0, 8], 17, Some((1, 1))), false),
        ] {
            assert_eq!(selectors.allow_inbound(&flow), expected, "{name}");
            let back = Flow {
                source: flow.destination,
                destination: flow.source,
                ports: flow.ports.map(|(source, destination)| (destination, source)),
                ..flow
            };
            assert_eq!(selectors.allow_outbound(&back), expected, "{name}, the way back");
        }
    }
}
