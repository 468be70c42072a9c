//! Ethernet II frames: 14 octets of header, no FCS.

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Octets of the header.
pub const HEADER_LEN: usize = 14;
/// Ethernet type of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// Ethernet type of IPv6 (RFC 2464 §3).
pub const TYPE_IPV6: u16 = 0x86dd;
/// Ethernet type of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// The broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// An Ethernet header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Destination.
    pub destination: Mac,
    /// Source.
    pub source: Mac,
    /// Ethernet type.
    pub ether_type: u16,
}

impl Header {
    /// Reads the header at the front of a frame; `None` if it is shorter.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Header> {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *frame.first_chunk()?;
        Some(Header {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            ether_type: u16::from_be_bytes([t0, t1]),
        })
    }

    /// The header's octets.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [d0, d1, d2, d3, d4, d5] = self.destination;
        let [s0, s1, s2, s3, s4, s5] = self.source;
        let [t0, t1] = self.ether_type.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }
}

/// Whether an address is a group address (multicast or broadcast).
#[inline]
pub fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(frame in prop::collection::vec(any::<u8>(), 0..40)) {
            match Header::parse(&frame) {
                None => prop_assert!(frame.len() < HEADER_LEN),
                Some(header) => prop_assert_eq!(&header.to_bytes()[..], &frame[..HEADER_LEN]),
            }
        }
    }
}
