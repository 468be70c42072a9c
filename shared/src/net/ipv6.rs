//! IPv6 packets (RFC 8200): the fixed header, a bounded walk over extension headers, and what a router changes on the way.
//!
//! Enters: octets of which nothing is believed. Leaves: a checked view, or why there is none. A chain of more than [`MAX_EXTENSIONS`]
//! extension headers, or one that does not lie in the packet, is refused: nobody sends that in earnest (RFC 8504 §5.3).

use std::net::Ipv6Addr;

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Octets of a fragment header (RFC 8200 §4.5).
pub const FRAGMENT_LEN: usize = 8;
/// What every link must carry (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;
/// Most extension headers in front of the upper layer.
pub const MAX_EXTENSIONS: usize = 8;
/// ICMPv6 (RFC 4443 §1).
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Nothing follows (RFC 8200 §4.7).
pub const PROTOCOL_NONE: u8 = 59;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Why octets are no IPv6 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ipv6Error {
    /// Fewer octets than the header says.
    #[error("the packet is cut")]
    Truncated,
    /// Another version, or a jumbogram.
    #[error("the fixed header is wrong")]
    Header,
    /// Extension headers that are too many, out of place or not in the packet.
    #[error("the extension headers are wrong")]
    Extensions,
}

/// A checked packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
    upper: Upper,
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Upper {
    protocol: u8,
    /// Its place behind the fixed header.
    offset: usize,
    is_fragment: bool,
    /// A fragment that does not begin with the upper layer's header.
    is_later_fragment: bool,
}

impl<'a> Packet<'a> {
    /// Checks octets that begin with an IPv6 packet; what lies behind it is padding and not looked at.
    ///
    /// # Errors
    /// See [`Ipv6Error`].
    pub fn parse(octets: &'a [u8]) -> Result<Packet<'a>, Ipv6Error> {
        let (header, rest) = octets.split_first_chunk::<HEADER_LEN>().ok_or(Ipv6Error::Truncated)?;
        let [first, _, _, _, l0, l1, next, ..] = *header;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if first >> 4 != 6 || (len == 0 && next != PROTOCOL_NONE) {
            return Err(Ipv6Error::Header);
        }
        let payload = rest.get(..len).ok_or(Ipv6Error::Truncated)?;
        Ok(Packet { header, payload, upper: walk(next, payload)? })
    }

    /// Who sends it.
    pub fn source(&self) -> Ipv6Addr {
        address(self.header, 8)
    }

    /// Where it goes.
    pub fn destination(&self) -> Ipv6Addr {
        address(self.header, 24)
    }

    /// Octets of the whole packet.
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// DSCP and ECN (RFC 8200 §7).
    pub fn traffic_class(&self) -> u8 {
        let [first, second, ..] = *self.header;
        first << 4 | second >> 4
    }

    /// Routers that it may still pass.
    pub fn hop_limit(&self) -> u8 {
        let [_, _, _, _, _, _, _, hop_limit, ..] = *self.header;
        hop_limit
    }

    /// The upper layer's protocol, behind every extension header.
    pub fn protocol(&self) -> u8 {
        self.upper.protocol
    }

    /// What the upper layer's protocol is the protocol of; of a later fragment not its beginning.
    pub fn upper_layer(&self) -> &'a [u8] {
        self.payload.get(self.upper.offset..).unwrap_or_default()
    }

    /// Whether it is a part of a packet.
    pub fn is_fragment(&self) -> bool {
        self.upper.is_fragment
    }

    /// Whether the upper layer's header is in an earlier part.
    pub fn is_later_fragment(&self) -> bool {
        self.upper.is_later_fragment
    }

    /// Whether extension headers are in front of the upper layer.
    pub fn has_extensions(&self) -> bool {
        self.upper.offset > 0
    }
}

fn walk(next: u8, payload: &[u8]) -> Result<Upper, Ipv6Error> {
    let mut upper = Upper { protocol: next, offset: 0, is_fragment: false, is_later_fragment: false };
    for count in 0..=MAX_EXTENSIONS {
        let rest = payload.get(upper.offset..).ok_or(Ipv6Error::Extensions)?;
        let len = match upper.protocol {
            HOP_BY_HOP if count > 0 => return Err(Ipv6Error::Extensions),
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let [_, units, ..] = *rest else { return Err(Ipv6Error::Extensions) };
                8 * (usize::from(units) + 1)
            }
            FRAGMENT => {
                let [_, _, o0, o1, ..] = *rest else { return Err(Ipv6Error::Extensions) };
                upper.is_fragment = true;
                upper.is_later_fragment = u16::from_be_bytes([o0, o1]) >> 3 != 0;
                8
            }
            _ => return Ok(upper),
        };
        let (extension, _) = rest.split_at_checked(len).ok_or(Ipv6Error::Extensions)?;
        upper.protocol = extension.first().copied().ok_or(Ipv6Error::Extensions)?;
        upper.offset += len;
        if upper.is_later_fragment {
            return Ok(upper);
        }
    }
    Err(Ipv6Error::Extensions)
}

fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv6Addr {
    header
        .get(at..)
        .and_then(|rest| rest.first_chunk::<16>())
        .map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets))
}

/// A fixed header to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits (RFC 6437).
    pub flow_label: u32,
    /// Octets behind the header.
    pub payload_len: u16,
    /// What follows.
    pub next_header: u8,
    /// Routers that it may pass.
    pub hop_limit: u8,
    /// Who sends it.
    pub source: Ipv6Addr,
    /// Where it goes.
    pub destination: Ipv6Addr,
}

impl Header {
    /// As it is sent.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut octets = [0; HEADER_LEN];
        let fields = first.to_be_bytes().into_iter().chain(self.payload_len.to_be_bytes());
        let fields = fields.chain([self.next_header, self.hop_limit]);
        let fields = fields.chain(self.source.octets()).chain(self.destination.octets());
        octets.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        octets
    }
}

/// The headers of a fragment of a packet that has the fixed header `whole` and no extension headers: `len` octets of its payload, from
/// `start` on (RFC 8200 §4.5). `None` when it would be too long.
pub fn fragment_headers(
    whole: &[u8; HEADER_LEN],
    len: usize,
    start: usize,
    more: bool,
    identification: u32,
) -> Option<[u8; HEADER_LEN + FRAGMENT_LEN]> {
    let [l0, l1] = u16::try_from(len + FRAGMENT_LEN).ok()?.to_be_bytes();
    let [o0, o1] = (u16::try_from(start).ok()? & !7 | u16::from(more)).to_be_bytes();
    let [i0, i1, i2, i3] = identification.to_be_bytes();
    let mut header = *whole;
    let next = std::mem::replace(&mut header[6], FRAGMENT);
    [header[4], header[5]] = [l0, l1];
    let fragment = [next, 0, o0, o1, i0, i1, i2, i3];
    let mut both = [0; HEADER_LEN + FRAGMENT_LEN];
    both.iter_mut().zip(header.into_iter().chain(fragment)).for_each(|(to, from)| *to = from);
    Some(both)
}

/// Source, destination and next header of a fixed header that an error quotes; `None` if it is none of IPv6.
pub fn quoted(header: &[u8; HEADER_LEN]) -> Option<(Ipv6Addr, Ipv6Addr, u8)> {
    let [first, _, _, _, _, _, next, ..] = *header;
    (first >> 4 == 6).then(|| (address(header, 8), address(header, 24), next))
}

/// Whether a packet that crosses a router may come from this address, or go to it: unicast of more than one link (RFC 4291 §2.5).
pub fn may_be_forwarded(address: Ipv6Addr) -> bool {
    let refused = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some();
    !refused
}

/// One router fewer; `false` if it may pass no more. The header has no checksum.
pub fn decrement_hop_limit(octets: &mut [u8]) -> bool {
    match octets.get_mut(7) {
        Some(hop_limit) if *hop_limit > 1 => {
            *hop_limit -= 1;
            true
        }
        _ => false,
    }
}

/// Another traffic class.
pub fn set_traffic_class(octets: &mut [u8], traffic_class: u8) {
    if let [first, second, ..] = octets {
        *first = *first & 0xf0 | traffic_class >> 4;
        *second = *second & 0x0f | traffic_class << 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            traffic_class: 0xb9,
            flow_label: 0xabcde,
            payload_len: payload.len() as u16,
            next_header,
            hop_limit: 64,
            source: "2001:db8::1".parse().unwrap(),
            destination: "fd00::2".parse().unwrap(),
        };
        [&header.to_bytes()[..], payload].concat()
    }

    #[test]
    fn fields_are_where_the_rfc_has_them() {
        let octets = packet(17, &[1, 2, 3, 4]);
        assert_eq!(octets[..8], [0x6b, 0x9a, 0xbc, 0xde, 0, 4, 17, 64]);
        let mut longer = octets.clone();
        longer.extend([0xee; 9]);
        let read = Packet::parse(&longer).unwrap();
        assert_eq!(
            (read.source(), read.destination()),
            ("2001:db8::1".parse().unwrap(), "fd00::2".parse().unwrap())
        );
        assert_eq!((read.total_len(), read.traffic_class(), read.hop_limit()), (44, 0xb9, 64));
        assert_eq!(
            (read.protocol(), read.upper_layer(), read.has_extensions()),
            (17, &[1, 2, 3, 4][..], false)
        );
    }

    #[test]
    fn a_table_of_extension_headers() {
        let none = [59, 0, 0, 0, 0, 0, 0, 0];
        let to_udp = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let later = [17, 0, 0, 8, 0, 0, 0, 1];
        let first = [17, 0, 0, 1, 0, 0, 0, 1];
        type Row = (&'static str, u8, Vec<u8>, Result<(u8, usize, bool, bool), Ipv6Error>);
        let table: [Row; 9] = [
            ("none", 17, vec![9; 8], Ok((17, 0, false, false))),
            ("hop by hop", 0, [to_udp(17), [9; 8]].concat(), Ok((17, 8, false, false))),
            ("three", 0, [to_udp(43), to_udp(60), to_udp(17), [9; 8]].concat(), Ok((17, 24, false, false))),
            ("hop by hop comes first only", 60, [to_udp(0), to_udp(17)].concat(), Err(Ipv6Error::Extensions)),
            ("first fragment", 44, [first, [9; 8]].concat(), Ok((17, 8, true, false))),
            ("later fragment", 44, [later, [9; 8]].concat(), Ok((17, 8, true, true))),
            ("not in the packet", 60, vec![17, 1, 0, 0, 0, 0, 0, 0], Err(Ipv6Error::Extensions)),
            ("no next header", 60, none.to_vec(), Ok((59, 8, false, false))),
            ("too many", 60, to_udp(60).repeat(MAX_EXTENSIONS + 1), Err(Ipv6Error::Extensions)),
        ];
        for (name, next, payload, expected) in table {
            let octets = packet(next, &payload);
            let got = Packet::parse(&octets).map(|read| {
                let offset = read.total_len() - HEADER_LEN - read.upper_layer().len();
                (read.protocol(), offset, read.is_fragment(), read.is_later_fragment())
            });
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_packet() {
        let good = packet(17, &[0; 8]);
        assert_eq!(Packet::parse(&good[..47]).err(), Some(Ipv6Error::Truncated));
        assert_eq!(Packet::parse(&good[..39]).err(), Some(Ipv6Error::Truncated));
        let mut other = good.clone();
        other[0] = 0x45;
        assert_eq!(Packet::parse(&other).err(), Some(Ipv6Error::Header));
        assert_eq!(Packet::parse(&packet(17, &[])).err(), Some(Ipv6Error::Header), "a jumbogram");
    }

    #[test]
    fn a_router_changes_hop_limit_and_traffic_class_alone() {
        let before = packet(17, &[5; 8]);
        let mut octets = before.clone();
        assert!(decrement_hop_limit(&mut octets));
        set_traffic_class(&mut octets, 0x03);
        let read = Packet::parse(&octets).unwrap();
        assert_eq!((read.hop_limit(), read.traffic_class()), (63, 3));
        assert_eq!(
            (octets[1] & 0x0f, &octets[2..7], &octets[8..]),
            (before[1] & 0x0f, &before[2..7], &before[8..])
        );
        octets[7] = 1;
        assert!(!decrement_hop_limit(&mut octets));
        for (address, expected) in [
            ("fd00::1", true),
            ("fe80::1", false),
            ("::1", false),
            ("::", false),
            ("ff02::1", false),
            ("::ffff:1.2.3.4", false),
        ] {
            assert_eq!(may_be_forwarded(address.parse().unwrap()), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(0u8), Just(44), Just(60)], 0..120), six: bool) {
            if six && let Some(first) = octets.first_mut() {
                *first = 0x60;
            }
            if let Ok(packet) = Packet::parse(&octets) {
                prop_assert!(packet.total_len() <= octets.len());
                prop_assert!(packet.upper_layer().len() <= octets.len());
            }
            decrement_hop_limit(&mut octets);
            set_traffic_class(&mut octets, 7);
        }
    }
}
