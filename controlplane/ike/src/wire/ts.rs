//! The Traffic Selector payloads TSi and TSr (RFC 7296 §3.13).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::WireError;
use super::codec::{Reader, count_u8, patch_length};

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

/// One traffic selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrafficSelector {
    /// An IPv4 or IPv6 range.
    Range(TsRange),
    /// A type that this implementation does not know; it never matches.
    Unknown {
        /// TS type.
        ts_type: u8,
        /// Second octet: the IP protocol in the known types.
        protocol: u8,
        /// What follows the length.
        data: Vec<u8>,
    },
}

/// Addresses, ports and protocol of a selector; all ranges are inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TsRange {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First port. 0 with `last_port` 65535 is ANY; 65535 with `last_port` 0 is OPAQUE.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
    /// Addresses.
    pub addresses: AddressRange,
}

/// First and last address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressRange {
    /// TS_IPV4_ADDR_RANGE.
    Ipv4(Ipv4Addr, Ipv4Addr),
    /// TS_IPV6_ADDR_RANGE.
    Ipv6(Ipv6Addr, Ipv6Addr),
}

impl TsRange {
    /// Any protocol and port between two IPv4 addresses.
    pub fn ipv4(first: Ipv4Addr, last: Ipv4Addr) -> TsRange {
        TsRange::of(AddressRange::Ipv4(first, last))
    }

    /// Any protocol and port between two IPv6 addresses.
    pub fn ipv6(first: Ipv6Addr, last: Ipv6Addr) -> TsRange {
        TsRange::of(AddressRange::Ipv6(first, last))
    }

    /// Any protocol and port of these addresses.
    pub fn of(addresses: AddressRange) -> TsRange {
        TsRange { protocol: 0, first_port: 0, last_port: u16::MAX, addresses }
    }

    /// Everything of IPv6.
    pub fn any_ipv6() -> TsRange {
        TsRange::ipv6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX))
    }

    /// Everything of IPv4.
    pub fn any_ipv4() -> TsRange {
        TsRange::ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
    }

    /// Whether the ports are OPAQUE (RFC 7296 §3.13.1).
    pub fn is_opaque(&self) -> bool {
        (self.first_port, self.last_port) == (u16::MAX, 0)
    }

    /// The packets that both selectors cover, if any: the narrowing of RFC 7296 §2.9.
    pub fn intersection(&self, other: &TsRange) -> Option<TsRange> {
        let addresses = match (self.addresses, other.addresses) {
            (AddressRange::Ipv4(a, b), AddressRange::Ipv4(c, d)) if a.max(c) <= b.min(d) => {
                AddressRange::Ipv4(a.max(c), b.min(d))
            }
            (AddressRange::Ipv6(a, b), AddressRange::Ipv6(c, d)) if a.max(c) <= b.min(d) => {
                AddressRange::Ipv6(a.max(c), b.min(d))
            }
            _ => return None,
        };
        let protocol = match (self.protocol, other.protocol) {
            (0, one) | (one, 0) => one,
            (one, two) if one == two => one,
            _ => return None,
        };
        let (first_port, last_port) = self.common_ports(other)?;
        Some(TsRange { protocol, first_port, last_port, addresses })
    }

    fn common_ports(&self, other: &TsRange) -> Option<(u16, u16)> {
        let any = |ts: &TsRange| (ts.first_port, ts.last_port) == (0, u16::MAX);
        match (self.is_opaque(), other.is_opaque()) {
            (true, true) => Some((u16::MAX, 0)),
            (true, false) => any(other).then_some((u16::MAX, 0)),
            (false, true) => any(self).then_some((u16::MAX, 0)),
            (false, false) => {
                let ports = (self.first_port.max(other.first_port), self.last_port.min(other.last_port));
                (ports.0 <= ports.1).then_some(ports)
            }
        }
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Vec<TrafficSelector>, WireError> {
    let mut reader = Reader::new(body, "TS payload");
    let count = usize::from(reader.u8()?);
    reader.array::<3>()?;
    if count == 0 {
        return Err(WireError::BadValue { what: "TS payload" });
    }
    let selectors = (0..count).map(|_| selector(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    reader.finish()?;
    Ok(selectors)
}

fn selector(reader: &mut Reader<'_>) -> Result<TrafficSelector, WireError> {
    let ts_type = reader.u8()?;
    let protocol = reader.u8()?;
    let length = reader.u16()?;
    let data = reader.body(length, 4)?;
    let mut body = Reader::new(data, "traffic selector");
    if !matches!(ts_type, TS_IPV4_ADDR_RANGE | TS_IPV6_ADDR_RANGE) {
        return Ok(TrafficSelector::Unknown { ts_type, protocol, data: data.to_vec() });
    }
    let (first_port, last_port) = (body.u16()?, body.u16()?);
    let addresses = if ts_type == TS_IPV4_ADDR_RANGE {
        AddressRange::Ipv4(body.array::<4>()?.into(), body.array::<4>()?.into())
    } else {
        AddressRange::Ipv6(body.array::<16>()?.into(), body.array::<16>()?.into())
    };
    body.finish()?;
    let range = TsRange { protocol, first_port, last_port, addresses };
    let ordered = match addresses {
        AddressRange::Ipv4(first, last) => first <= last,
        AddressRange::Ipv6(first, last) => first <= last,
    };
    if !ordered || (first_port > last_port && !range.is_opaque()) {
        return Err(WireError::BadValue { what: "traffic selector" });
    }
    Ok(TrafficSelector::Range(range))
}

pub(super) fn emit(selectors: &[TrafficSelector], out: &mut Vec<u8>) -> Result<(), WireError> {
    out.push(count_u8(selectors.len(), "traffic selectors")?);
    out.extend_from_slice(&[0; 3]);
    for selector in selectors {
        let start = out.len();
        match selector {
            TrafficSelector::Range(range) => {
                let ts_type = match range.addresses {
                    AddressRange::Ipv4(..) => TS_IPV4_ADDR_RANGE,
                    AddressRange::Ipv6(..) => TS_IPV6_ADDR_RANGE,
                };
                out.extend_from_slice(&[ts_type, range.protocol, 0, 0]);
                out.extend_from_slice(&range.first_port.to_be_bytes());
                out.extend_from_slice(&range.last_port.to_be_bytes());
                match range.addresses {
                    AddressRange::Ipv4(first, last) => {
                        out.extend_from_slice(&first.octets());
                        out.extend_from_slice(&last.octets());
                    }
                    AddressRange::Ipv6(first, last) => {
                        out.extend_from_slice(&first.octets());
                        out.extend_from_slice(&last.octets());
                    }
                }
            }
            TrafficSelector::Unknown { ts_type, protocol, data } => {
                out.extend_from_slice(&[*ts_type, *protocol, 0, 0]);
                out.extend_from_slice(data);
            }
        }
        patch_length(out, start, "traffic selector")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(protocol: u8, ports: (u16, u16), first: [u8; 4], last: [u8; 4]) -> TsRange {
        let addresses = AddressRange::Ipv4(first.into(), last.into());
        TsRange { protocol, first_port: ports.0, last_port: ports.1, addresses }
    }

    const ANY: (u16, u16) = (0, u16::MAX);
    const OPAQUE: (u16, u16) = (u16::MAX, 0);

    #[test]
    fn intersections() {
        let net = |protocol, ports| range(protocol, ports, [10, 0, 0, 0], [10, 0, 0, 255]);
        let host = range(0, ANY, [10, 0, 0, 7], [10, 0, 0, 7]);
        assert_eq!(TsRange::any_ipv4().intersection(&host), Some(host));
        assert_eq!(net(0, ANY).intersection(&host), Some(host));
        assert_eq!(host.intersection(&range(0, ANY, [10, 0, 0, 8], [10, 0, 0, 9])), None);
        let table = [
            (net(6, ANY), net(0, ANY), Some(net(6, ANY))),
            (net(6, ANY), net(17, ANY), None),
            (net(17, (0, 100)), net(17, (50, 200)), Some(net(17, (50, 100)))),
            (net(17, (0, 100)), net(17, (101, 200)), None),
            (net(17, OPAQUE), net(17, ANY), Some(net(17, OPAQUE))),
            (net(17, OPAQUE), net(17, OPAQUE), Some(net(17, OPAQUE))),
            (net(17, OPAQUE), net(17, (0, 100)), None),
        ];
        for (a, b, expected) in table {
            assert_eq!(a.intersection(&b), expected);
            assert_eq!(b.intersection(&a), expected);
        }
        let v6 = TsRange {
            addresses: AddressRange::Ipv6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from([0xff; 16])),
            ..TsRange::any_ipv4()
        };
        assert_eq!(v6.intersection(&TsRange::any_ipv4()), None);
        assert_eq!(v6.intersection(&v6), Some(v6));
    }

    proptest! {
        /// An address and port are in the intersection exactly if they are in both.
        #[test]
        fn an_intersection_covers_what_both_cover(
            a: ((u8, u8), (u16, u16)), b: ((u8, u8), (u16, u16)), address: u8, port: u16,
        ) {
            let make = |((x, y), (p, q)): ((u8, u8), (u16, u16))| {
                range(17, (p.min(q), p.max(q)), [10, 0, 0, x.min(y)], [10, 0, 0, x.max(y)])
            };
            let covers = |ts: &TsRange| {
                let AddressRange::Ipv4(first, last) = ts.addresses else { return false };
                (first..=last).contains(&Ipv4Addr::new(10, 0, 0, address))
                    && (ts.first_port..=ts.last_port).contains(&port)
            };
            let (a, b) = (make(a), make(b));
            let both = covers(&a) && covers(&b);
            prop_assert_eq!(a.intersection(&b).is_some_and(|ts| covers(&ts)), both);
        }
    }
}
