//! UDP headers (RFC 768), over IPv6 with RFC 8200 §8.1.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::ipv4::PROTOCOL_UDP;

/// Octets of the header.
pub const HEADER_LEN: usize = 8;

/// A UDP datagram whose length field fits the octets around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    octets: &'a [u8],
    source_port: u16,
    destination_port: u16,
    checksum: u16,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the datagram at the front of `octets`, an IP packet's payload. `None` if the length field is below 8 or
    /// beyond the end.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Option<Datagram<'a>> {
        let [s0, s1, d0, d1, l0, l1, c0, c1] = *octets.first_chunk::<HEADER_LEN>()?;
        let octets = octets.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
        Some(Datagram {
            octets,
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            checksum: u16::from_be_bytes([c0, c1]),
            payload: octets.get(HEADER_LEN..)?,
        })
    }

    /// Source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        self.source_port
    }

    /// Destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        self.destination_port
    }

    /// What it carries.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Octets of header and payload.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.octets.len()
    }

    /// Whether the checksum is right, or zero (the sender made none).
    pub fn checksum_is_right(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let length = self.octets.len() as u16;
        self.checksum == 0
            || Sum::default()
                .pseudo_header(source, destination, PROTOCOL_UDP, length)
                .octets(self.octets)
                .finish()
                == 0
    }

    /// Whether the checksum is right; over IPv6 there must be one.
    pub fn checksum_is_right6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        let length = self.octets.len() as u16;
        let sum = Sum::default().pseudo_header6(source, destination, PROTOCOL_UDP, length);
        self.checksum != 0 && sum.octets(self.octets).finish() == 0
    }
}

/// As [`checksum`], over IPv6.
pub fn checksum6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    header: &[u8; HEADER_LEN],
    payload: &[&[u8]],
) -> u16 {
    let length = u16::from_be_bytes([header[4], header[5]]);
    let sum = Sum::default().pseudo_header6(source, destination, PROTOCOL_UDP, length).octets(header);
    match payload.iter().fold(sum, |sum, piece| sum.octets(piece)).finish() {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// A header's octets; `checksum` 0 means none.
#[inline]
pub fn header(source_port: u16, destination_port: u16, length: u16, checksum: u16) -> [u8; HEADER_LEN] {
    let ([s0, s1], [d0, d1]) = (source_port.to_be_bytes(), destination_port.to_be_bytes());
    let ([l0, l1], [c0, c1]) = (length.to_be_bytes(), checksum.to_be_bytes());
    [s0, s1, d0, d1, l0, l1, c0, c1]
}

/// The checksum of a datagram whose payload is the pieces in `payload`, of which only the last may be odd. Never 0.
pub fn checksum(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    header: &[u8; HEADER_LEN],
    payload: &[&[u8]],
) -> u16 {
    let length = u16::from_be_bytes([header[4], header[5]]);
    let mut sum = Sum::default().pseudo_header(source, destination, PROTOCOL_UDP, length).octets(header);
    for piece in payload {
        sum = sum.octets(piece);
    }
    match sum.finish() {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_is_read_and_its_checksum_is_right(
            source: u32, destination: u32, ports: (u16, u16),
            payload in prop::collection::vec(any::<u8>(), 0..60), flip in 0usize..60,
        ) {
            let (source, destination): (Ipv4Addr, Ipv4Addr) = (source.into(), destination.into());
            let length = (HEADER_LEN + payload.len()) as u16;
            let head = header(ports.0, ports.1, length, 0);
            let sum = checksum(source, destination, &head, &[&payload]);
            let mut octets = header(ports.0, ports.1, length, sum).to_vec();
            octets.extend(&payload);
            octets.extend([9; 3]);
            let datagram = Datagram::parse(&octets).unwrap();
            prop_assert_eq!((datagram.source_port(), datagram.destination_port()), ports);
            prop_assert_eq!(datagram.payload(), &payload[..]);
            prop_assert!(datagram.checksum_is_right(source, destination));
            let (source6, destination6) = (source.to_ipv6_mapped(), destination.to_ipv6_mapped());
            let sum = checksum6(source6, destination6, &head, &[&payload]);
            let six = [&header(ports.0, ports.1, length, sum)[..], &payload].concat();
            prop_assert!(Datagram::parse(&six).unwrap().checksum_is_right6(source6, destination6));
            prop_assert!(!Datagram::parse(&[&head, &payload[..]].concat()).unwrap().checksum_is_right6(source6, destination6));
            if flip < payload.len() {
                octets[HEADER_LEN + flip] ^= 1;
                prop_assert!(!Datagram::parse(&octets).unwrap().checksum_is_right(source, destination));
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(datagram) = Datagram::parse(&octets) {
                prop_assert_eq!(datagram.payload().len() + HEADER_LEN, datagram.total_len());
                let _ = datagram.checksum_is_right(Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
            }
        }
    }
}
