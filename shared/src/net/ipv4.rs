//! IPv4 headers (RFC 791): a checked view, a builder for headers without options, and the edits a router makes.

use std::net::Ipv4Addr;

use super::checksum;

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of IPv4 in IPv4, ESP's next header in tunnel mode.
pub const PROTOCOL_IPV4: u8 = 4;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Protocol number of IPv6 in IPv4.
pub const PROTOCOL_IPV6: u8 = 41;
/// Protocol number of ESP.
pub const PROTOCOL_ESP: u8 = 50;
/// Protocol number of SCTP.
pub const PROTOCOL_SCTP: u8 = 132;
/// Protocol number of "no next header", ESP's dummy packets (RFC 4303 §2.6).
pub const PROTOCOL_NONE: u8 = 59;

const FLAG_DF: u16 = 0x4000;
const FLAG_MF: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Why octets are not an IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ipv4Error {
    /// Fewer octets than the header or the total length say.
    #[error("packet is shorter than its IPv4 header says")]
    Truncated,
    /// The version is not 4.
    #[error("version is not 4")]
    Version,
    /// Header length below 20 octets, or total length below the header length.
    #[error("impossible header or total length")]
    Length,
    /// The header checksum is wrong.
    #[error("header checksum is wrong")]
    Checksum,
}

/// A checked IPv4 packet: version, lengths and header checksum are right, and `payload` is what the header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    fixed: &'a [u8; HEADER_LEN],
    header_len: usize,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks the packet at the front of `octets`; octets behind its total length are left out.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline(always)]
    pub fn parse(octets: &'a [u8]) -> Result<Packet<'a>, Ipv4Error> {
        Packet::parse_common(octets).map_or_else(|| Packet::parse_any(octets), Ok)
    }

    /// A right packet without options, which nearly all are.
    #[inline(always)]
    fn parse_common(octets: &'a [u8]) -> Option<Packet<'a>> {
        let (fixed, rest) = octets.split_first_chunk::<HEADER_LEN>()?;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let payload = rest.get(..total_len.checked_sub(HEADER_LEN)?)?;
        let common = fixed[0] == 0x45 && checksum::header_is_right(fixed);
        common.then_some(Packet { fixed, header_len: HEADER_LEN, payload })
    }

    #[cold]
    fn parse_any(octets: &'a [u8]) -> Result<Packet<'a>, Ipv4Error> {
        let packet = Packet::parse_quoted(octets)?;
        if packet.total_len() != packet.header_len + packet.payload.len() {
            return Err(Ipv4Error::Truncated);
        }
        Ok(packet)
    }

    /// As [`Packet::parse`], but the payload may be cut short, as in an ICMP error's quotation.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline(always)]
    pub fn parse_quoted(octets: &'a [u8]) -> Result<Packet<'a>, Ipv4Error> {
        let fixed = octets.first_chunk::<HEADER_LEN>().ok_or(Ipv4Error::Truncated)?;
        if fixed[0] >> 4 != 4 {
            return Err(Ipv4Error::Version);
        }
        let header_len = usize::from(fixed[0] & 0xf) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_len < HEADER_LEN || total_len < header_len {
            return Err(Ipv4Error::Length);
        }
        let (header, rest) = octets.split_at_checked(header_len).ok_or(Ipv4Error::Truncated)?;
        let right = match header_len {
            HEADER_LEN => checksum::header_is_right(fixed),
            _ => checksum::of(header) == 0,
        };
        if !right {
            return Err(Ipv4Error::Checksum);
        }
        let payload = rest.get(..total_len - header_len).unwrap_or(rest);
        Ok(Packet { fixed, header_len, payload })
    }

    /// Octets of the header with its options.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Octets of the packet, as the header says.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(u16::from_be_bytes([self.fixed[2], self.fixed[3]]))
    }

    /// DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.fixed[1]
    }

    /// Identification.
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// Whether it must not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & FLAG_DF != 0
    }

    /// Whether more fragments follow.
    pub fn more_fragments(&self) -> bool {
        self.flags_and_offset() & FLAG_MF != 0
    }

    /// Fragment offset in octets.
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.flags_and_offset() & OFFSET_MASK) * 8
    }

    /// Whether it is a fragment of a larger packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (FLAG_MF | OFFSET_MASK) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    /// Protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.address(3)
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.address(4)
    }

    /// The address in a word of the header, read as one word.
    #[inline(always)]
    fn address(&self, word: usize) -> Ipv4Addr {
        let (words, _) = self.fixed.as_chunks();
        Ipv4Addr::from_bits(words.get(word).map_or(0, |word| u32::from_be_bytes(*word)))
    }

    /// The octets behind the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    #[inline]
    fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }
}

/// A header without options, to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// DSCP and ECN.
    pub tos: u8,
    /// Octets of the whole packet.
    pub total_len: u16,
    /// Identification.
    pub identification: u16,
    /// Whether it must not be fragmented.
    pub dont_fragment: bool,
    /// Whether more fragments follow.
    pub more_fragments: bool,
    /// Fragment offset in octets, a multiple of 8 below 65536.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
}

impl Header {
    /// The header's octets with their checksum.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [l0, l1] = self.total_len.to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let flags =
            if self.dont_fragment { FLAG_DF } else { 0 } | if self.more_fragments { FLAG_MF } else { 0 };
        let [f0, f1] = (flags | (self.fragment_offset / 8)).to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        let mut octets = [
            0x45,
            self.tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            self.ttl,
            self.protocol,
            0,
            0,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ];
        let [c0, c1] = checksum::of(&octets).to_be_bytes();
        octets[10] = c0;
        octets[11] = c1;
        octets
    }
}

/// Takes one from the TTL of a checked packet and corrects the checksum. `false`, and no change, when the packet has
/// no TTL left to travel on (RFC 1812 §5.3.1: 1 or 0).
#[inline(always)]
#[must_use]
pub fn decrement_ttl(packet: &mut [u8]) -> bool {
    let Some(fixed) = packet.first_chunk_mut::<HEADER_LEN>() else { return false };
    if fixed[8] <= 1 {
        return false;
    }
    fixed[8] -= 1;
    // RFC 1624, equation 3, in the order that makes the TTL the word's low octet: the word became one smaller, so the
    // checksum becomes one larger, with the carry back at the low end, and never all ones.
    let checksum = u16::from_le_bytes([fixed[10], fixed[11]]);
    [fixed[10], fixed[11]] = checksum.wrapping_add(1 + u16::from(checksum >= 0xfffe)).to_le_bytes();
    true
}

/// Sets the TOS octet of a checked packet and corrects the checksum.
pub fn set_tos(packet: &mut [u8], tos: u8) {
    let Some(fixed) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let old = u16::from_be_bytes([fixed[0], fixed[1]]);
    fixed[1] = tos;
    let new = u16::from_be_bytes([fixed[0], tos]);
    correct(fixed, old, new);
}

fn correct(fixed: &mut [u8; HEADER_LEN], old: u16, new: u16) {
    let [c0, c1] = checksum::update(u16::from_be_bytes([fixed[10], fixed[11]]), old, new).to_be_bytes();
    fixed[10] = c0;
    fixed[11] = c1;
}

/// Whether an address can be a packet's source: not multicast, not 0/8, 127/8 or 240/4 (RFC 1812 §5.3.7).
#[inline]
pub fn may_be_source(address: Ipv4Addr) -> bool {
    let first = address.to_bits() >> 24;
    (first.wrapping_sub(1) < 223) & (first != 127)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            tos: 0x28,
            total_len: 24,
            identification: 7,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: PROTOCOL_UDP,
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
        }
    }

    fn packet() -> Vec<u8> {
        [&header().to_bytes()[..], &[1, 2, 3, 4]].concat()
    }

    #[test]
    fn a_table_of_broken_packets() {
        let good = packet();
        let edit = |at: usize, value: u8| {
            let mut octets = good.clone();
            octets[at] = value;
            octets
        };
        for (name, octets, expected) in [
            ("empty", vec![], Ipv4Error::Truncated),
            ("19 octets", good[..19].to_vec(), Ipv4Error::Truncated),
            ("payload cut", good[..23].to_vec(), Ipv4Error::Truncated),
            ("version 6", edit(0, 0x65), Ipv4Error::Version),
            ("header of 16", edit(0, 0x44), Ipv4Error::Length),
            ("total below header", edit(3, 19), Ipv4Error::Length),
            ("options beyond the end", edit(0, 0x4f), Ipv4Error::Length),
            ("ttl changed", edit(8, 63), Ipv4Error::Checksum),
        ] {
            assert_eq!(Packet::parse(&octets), Err(expected), "{name}");
        }
    }

    #[test]
    fn a_header_is_read_as_written() {
        let octets = [&packet()[..], &[0xee; 6]].concat();
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        assert_eq!((packet.tos(), packet.identification(), packet.ttl()), (0x28, 7, 64));
        assert!(packet.dont_fragment() && !packet.is_fragment());
        let fragment = Header { more_fragments: true, fragment_offset: 1480, ..header() }.to_bytes();
        let octets = [&fragment[..], &[0; 4]].concat();
        let packet = Packet::parse(&octets).unwrap();
        assert!(packet.is_fragment() && packet.more_fragments());
        assert_eq!(packet.fragment_offset(), 1480);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::parse(&octets) {
                prop_assert_eq!(packet.payload().len() + packet.header_len(), packet.total_len());
            }
            let mut edited = octets;
            let _ = decrement_ttl(&mut edited);
            set_tos(&mut edited, 3);
        }

        #[test]
        fn edits_keep_the_checksum_right(ttl: u8, tos: u8, id: u16, source: u32, destination: u32) {
            let header = Header {
                ttl,
                identification: id,
                source: source.into(),
                destination: destination.into(),
                ..header()
            };
            let mut octets = [&header.to_bytes()[..], &[0; 4]].concat();
            prop_assert_eq!(decrement_ttl(&mut octets), ttl > 1);
            set_tos(&mut octets, tos);
            let packet = Packet::parse(&octets).unwrap();
            prop_assert_eq!(packet.ttl(), if ttl > 1 { ttl - 1 } else { ttl });
            prop_assert_eq!(packet.tos(), tos);
            prop_assert_eq!(packet.source(), Ipv4Addr::from(source));
        }
    }
}
