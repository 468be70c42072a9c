//! ICMPv6 (RFC 4443): echo, and the errors a router sends. Neighbour discovery is in `ndp.rs`.

use std::net::Ipv6Addr;

use super::checksum::Sum;
use super::ipv6::PROTOCOL_ICMPV6;

/// Octets of the header of errors and echoes.
pub const HEADER_LEN: usize = 8;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;

/// Type of the word that a packet was too big.
pub const PACKET_TOO_BIG: u8 = 2;

/// An error a router sends about a packet it could not forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Type 1 code 0.
    NoRoute,
    /// Type 1 code 1.
    Prohibited,
    /// Type 1 code 3.
    AddressUnreachable,
    /// Type 2: the packet is larger than this many octets.
    PacketTooBig {
        /// Largest packet that would pass.
        mtu: u16,
    },
    /// Type 3 code 0.
    HopLimitExceeded,
}

impl Error {
    /// The ICMPv6 header in front of `quotation`, with its checksum.
    pub fn header(self, source: Ipv6Addr, destination: Ipv6Addr, quotation: &[u8]) -> [u8; HEADER_LEN] {
        let (kind, code, mtu) = match self {
            Error::NoRoute => (1, 0, 0),
            Error::Prohibited => (1, 1, 0),
            Error::AddressUnreachable => (1, 3, 0),
            Error::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu),
            Error::HopLimitExceeded => (3, 0, 0),
        };
        let [m0, m1] = mtu.to_be_bytes();
        let header = [kind, code, 0, 0, 0, 0, m0, m1];
        let sum = checksum(source, destination, &[&header, quotation]);
        let [c0, c1] = sum.to_be_bytes();
        [kind, code, c0, c1, 0, 0, m0, m1]
    }
}

/// What a router says of a packet of ours that it could not pass on: the size that fits, and the beginning of the packet
/// (RFC 4443 §3.2). `None` for any other message; the checksum is the caller's.
pub fn packet_too_big(message: &[u8]) -> Option<(u32, &[u8])> {
    let ([kind, code, _, _, m0, m1, m2, m3], quoted) = message.split_first_chunk::<HEADER_LEN>()?;
    ([*kind, *code] == [PACKET_TOO_BIG, 0]).then(|| (u32::from_be_bytes([*m0, *m1, *m2, *m3]), quoted))
}

/// Whether no error may be sent about a message of this type (RFC 4443 §2.4 e): it is one, or a redirect.
pub fn is_error_or_redirect(kind: u8) -> bool {
    kind < 128 || kind == 137
}

/// The checksum of a message whose octets lie in `parts`, of which only the last may be odd (RFC 4443 §2.3, RFC 8200 §8.1). Over a
/// message with its right checksum it is 0.
pub fn checksum(source: Ipv6Addr, destination: Ipv6Addr, parts: &[&[u8]]) -> u16 {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // A message lies in an IPv6 packet, whose length has 16 bits.
    let pseudo = Sum::default().pseudo_header6(source, destination, PROTOCOL_ICMPV6, len as u16);
    parts.iter().fold(pseudo, |sum, part| sum.octets(part)).finish()
}

/// Turns a checked echo request into its reply, in place. The checksum needs no addresses: they only change places.
pub fn make_echo_reply(message: &mut [u8]) {
    let Some(header) = message.first_chunk_mut::<HEADER_LEN>() else { return };
    let old = u16::from_be_bytes([header[0], header[1]]);
    let new = u16::from_be_bytes([ECHO_REPLY, header[1]]);
    let sum = super::checksum::update(u16::from_be_bytes([header[2], header[3]]), old, new);
    header[0] = ECHO_REPLY;
    [header[2], header[3]] = sum.to_be_bytes();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    /// An echo request of a Linux kernel, from ::1 to ::1.
    #[test]
    fn a_known_checksum() {
        let local = Ipv6Addr::LOCALHOST;
        let request = [128, 0, 0, 0, 0, 1, 0, 1];
        let sum = checksum(local, local, &[&request]);
        // 2 (addresses) + 8 (length) + 58 + 0x8000 + 1 + 1, complemented.
        assert_eq!(sum, !(0x8000 + 2 + 8 + 58 + 2));
    }

    #[test]
    fn errors_carry_type_code_and_mtu() {
        for (error, expected) in [
            (Error::NoRoute, [1, 0, 0, 0]),
            (Error::Prohibited, [1, 1, 0, 0]),
            (Error::AddressUnreachable, [1, 3, 0, 0]),
            (Error::PacketTooBig { mtu: 1422 }, [2, 0, 5, 142]),
            (Error::HopLimitExceeded, [3, 0, 0, 0]),
        ] {
            let header = error.header(A, B, b"quoted!");
            assert_eq!([header[0], header[1], header[6], header[7]], expected);
            assert_eq!(checksum(A, B, &[&header, b"quoted!"]), 0);
            assert!(is_error_or_redirect(header[0]));
        }
        let told = [&Error::PacketTooBig { mtu: 1422 }.header(A, B, b"quoted!")[..], b"quoted!"].concat();
        assert_eq!(packet_too_big(&told), Some((1422, &b"quoted!"[..])));
        assert_eq!(packet_too_big(&Error::NoRoute.header(A, B, b"")), None);
        assert!(!is_error_or_redirect(ECHO_REQUEST) && is_error_or_redirect(137));
    }

    proptest! {
        #[test]
        fn an_echo_reply_is_right_for_the_addresses_turned_round(body in prop::collection::vec(any::<u8>(), 4..60)) {
            let mut message = [&[ECHO_REQUEST, 0, 0, 0][..], &body].concat();
            let sum = checksum(A, B, &[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            make_echo_reply(&mut message);
            prop_assert_eq!(message[0], ECHO_REPLY);
            prop_assert_eq!(checksum(B, A, &[&message]), 0);
        }
    }
}
