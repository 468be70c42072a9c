//! IPv6 prefixes as attributes hold them (RFC 3162 §2.3, RFC 4818 §3, RFC 6911 §3.3).
//!
//! Enters: a value, or a prefix. Leaves: the prefix, host bits cut off, or the value. On the wire: a reserved octet, the length in
//! bits, and as many octets of the address as the sender likes, the rest being zeros.

use std::net::Ipv6Addr;

/// Bits of an address.
pub const MAX_PREFIX_LENGTH: u8 = 128;

/// Reads a prefix. `None`: its length is impossible, or there are fewer octets than it has.
pub fn read(value: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let [_reserved, length, octets @ ..] = value else { return None };
    let fits = *length <= MAX_PREFIX_LENGTH
        && octets.len() <= 16
        && octets.len().saturating_mul(8) >= usize::from(*length);
    let mut address = [0; 16];
    address.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
    fits.then(|| (network(address.into(), *length), *length))
}

/// The value of a prefix, no longer than it needs to be; its host bits must be zero.
pub fn write((address, length): (Ipv6Addr, u8)) -> Vec<u8> {
    let octets = usize::from(length.min(MAX_PREFIX_LENGTH)).div_ceil(8);
    let mut value = vec![0, length];
    value.extend(network(address, length).octets().into_iter().take(octets));
    value
}

/// The first address of the prefix that an address is in.
pub fn network(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    let host_bits = u32::from(MAX_PREFIX_LENGTH.saturating_sub(length));
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_has_its_length_and_no_more() {
        let at = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let wide = [[0, 64].to_vec(), at("2001:db8:1:2::").octets().to_vec()].concat();
        for (value, expected) in [
            (&b"\0\x40\x20\x01\x0d\xb8\0\x01\0\x02"[..], Some((at("2001:db8:1:2::"), 64))),
            (&wide, Some((at("2001:db8:1:2::"), 64))),
            (b"\0\x14\x20\x01\xff", Some((at("2001:f000::"), 20))),
            (b"\0\0", Some((at("::"), 0))),
            (b"\0\x40\x20\x01", None),
            (b"\0\x81\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"\0", None),
            (b"", None),
        ] {
            assert_eq!(read(value), expected, "{value:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bits in any::<u128>(), length in 0u8..=128) {
            let prefix = (network(Ipv6Addr::from_bits(bits), length), length);
            let value = write(prefix);
            prop_assert!(value.len() <= 18);
            prop_assert_eq!(read(&value), Some(prefix));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..24)) {
            let _ = read(&value);
        }
    }
}
