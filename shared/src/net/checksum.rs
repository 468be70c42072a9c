//! The Internet checksum (RFC 1071), its pseudo-header forms (RFC 768, RFC 8200 §8.1) and its incremental update (RFC 1624).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A running ones'-complement sum of 16-bit words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets; an odd last octet counts as the high half of a word, so only the last piece may be odd.
    #[must_use]
    #[inline]
    pub fn octets(mut self, octets: &[u8]) -> Sum {
        let (words, rest) = octets.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        // A 32-bit word is 2^16 * high + low, and 2^16 is 1 in this arithmetic: halves fold into one sum.
        self.0 += u64::from(u32::from_be_bytes(last));
        Sum((self.0 >> 32) + (self.0 & 0xffff_ffff))
    }

    /// Adds a 16-bit word.
    #[must_use]
    #[inline]
    pub fn word(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// Adds the pseudo-header of RFC 768.
    #[must_use]
    #[inline]
    pub fn pseudo_header(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
        self.octets(&source.octets()).octets(&destination.octets()).word(u16::from(protocol)).word(length)
    }

    /// Adds the pseudo-header of RFC 8200 §8.1.
    #[must_use]
    #[inline]
    pub fn pseudo_header6(self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u16) -> Sum {
        self.octets(&source.octets()).octets(&destination.octets()).word(u16::from(protocol)).word(length)
    }

    /// The checksum: the complement of the folded sum. Over data that holds its own right checksum it is 0.
    #[inline]
    pub fn finish(self) -> u16 {
        // From 64 bits to 33, to 18, to 17, to 16: a fold for each, and no loop that depends on the data.
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        !((sum >> 16) + (sum & 0xffff)) as u16
    }
}

/// Checksum of some octets.
#[inline]
pub fn of(octets: &[u8]) -> u16 {
    Sum::default().octets(octets).finish()
}

/// Whether an IPv4 header without options, the common length, holds its right checksum.
///
/// A ones'-complement sum is the sum modulo 65535, in either byte order; a header is never all zeros.
#[inline]
pub fn header_is_right(octets: &[u8; 20]) -> bool {
    let ([first, second], rest) = octets.as_chunks::<8>() else { return false };
    let (sum, carry) = u64::from_ne_bytes(*first).overflowing_add(u64::from_ne_bytes(*second));
    let rest = rest.first_chunk().map_or(0, |rest| u32::from_ne_bytes(*rest));
    let (sum, again) = sum.overflowing_add(u64::from(rest) + u64::from(carry));
    // 2^64 is 1 modulo 65535, so a carry comes back at the lower end. After it the sum is far from overflowing again.
    sum.wrapping_add(u64::from(again)).is_multiple_of(0xffff)
}

/// The checksum after one 16-bit word of the covered data changed (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::default().word(!checksum).word(!old).word(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 as its text says it, one word at a time.
    fn naive(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn known_sums() {
        // RFC 1071 §3 example: the sum is ddf2.
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(of(&[]), 0xffff);
        // RFC 1624 §4 example.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn a_header_is_right_when_its_sum_says_so(mut header: [u8; 20], high: bool, right: bool) {
            header[0] = 0x45;
            if high {
                header[1..].fill(0xff);
            }
            if right {
                [header[10], header[11]] = [0, 0];
                [header[10], header[11]] = of(&header).to_be_bytes();
            }
            prop_assert_eq!(header_is_right(&header), of(&header) == 0);
        }

        #[test]
        fn agrees_with_the_definition(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&octets), naive(&octets));
        }

        #[test]
        fn update_agrees_with_summing_again(mut octets in prop::collection::vec(any::<u8>(), 4..40), new: u16) {
            let old = u16::from_be_bytes([octets[2], octets[3]]);
            let before = of(&octets);
            octets[2..4].copy_from_slice(&new.to_be_bytes());
            // 0 and ffff are the same number in this arithmetic.
            prop_assert_eq!(update(before, old, new) % 0xffff, of(&octets) % 0xffff);
        }

        #[test]
        fn data_with_its_checksum_sums_to_zero(mut octets in prop::collection::vec(any::<u8>(), 2..64)) {
            octets[0] = 0;
            octets[1] = 0;
            let checksum = of(&octets);
            octets[0..2].copy_from_slice(&checksum.to_be_bytes());
            prop_assert_eq!(of(&octets), 0);
        }
    }
}
