//! ICMP (RFC 792): echo, and the errors a router sends (RFC 1812 §4.3, RFC 1191 for "fragmentation needed").

use super::checksum;

/// Octets of the header.
pub const HEADER_LEN: usize = 8;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 8;

/// An error a router sends about a packet it could not forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Type 11 code 0.
    TimeExceeded,
    /// Type 3 code 4: the packet has DF and is larger than this many octets.
    FragmentationNeeded {
        /// Largest packet that would pass.
        mtu: u16,
    },
    /// Type 3 code 1.
    HostUnreachable,
    /// Type 3 code 0.
    NetworkUnreachable,
}

impl Error {
    /// The ICMP header in front of `quotation`, with its checksum.
    pub fn header(self, quotation: &[u8]) -> [u8; HEADER_LEN] {
        let (kind, code, mtu) = match self {
            Error::TimeExceeded => (11, 0, 0),
            Error::FragmentationNeeded { mtu } => (3, 4, mtu),
            Error::HostUnreachable => (3, 1, 0),
            Error::NetworkUnreachable => (3, 0, 0),
        };
        let [m0, m1] = mtu.to_be_bytes();
        let mut header = [kind, code, 0, 0, 0, 0, m0, m1];
        let [c0, c1] = checksum::Sum::default().octets(&header).octets(quotation).finish().to_be_bytes();
        header[2] = c0;
        header[3] = c1;
        header
    }
}

/// A received ICMP message with a right checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

impl Message {
    /// Reads an IPv4 packet's payload; `None` if it is short or its checksum is wrong.
    pub fn parse(octets: &[u8]) -> Option<Message> {
        let [kind, code, ..] = *octets.first_chunk::<HEADER_LEN>()?;
        (checksum::of(octets) == 0).then_some(Message { kind, code })
    }

    /// Whether it is an error: no error may be sent about one.
    pub fn is_error(self) -> bool {
        kind_is_error(self.kind)
    }
}

/// Whether an ICMP type is an error (RFC 792, RFC 1812 §4.3.2.7): no error may be sent about one.
pub fn kind_is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Turns a checked echo request into its reply, in place.
pub fn make_echo_reply(message: &mut [u8]) {
    let Some(header) = message.first_chunk_mut::<HEADER_LEN>() else { return };
    let old = u16::from_be_bytes([header[0], header[1]]);
    let new = u16::from_be_bytes([ECHO_REPLY, header[1]]);
    let [c0, c1] = checksum::update(u16::from_be_bytes([header[2], header[3]]), old, new).to_be_bytes();
    header[0] = ECHO_REPLY;
    header[2] = c0;
    header[3] = c1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_carry_type_code_and_mtu() {
        for (error, expected) in [
            (Error::TimeExceeded, [11, 0, 0, 0]),
            (Error::FragmentationNeeded { mtu: 1422 }, [3, 4, 5, 142]),
            (Error::HostUnreachable, [3, 1, 0, 0]),
            (Error::NetworkUnreachable, [3, 0, 0, 0]),
        ] {
            let message = [&error.header(b"quoted!")[..], b"quoted!"].concat();
            assert_eq!([message[0], message[1], message[6], message[7]], expected);
            assert!(Message::parse(&message).unwrap().is_error());
        }
    }

    proptest! {
        #[test]
        fn an_echo_reply_carries_the_request_with_a_right_checksum(body in prop::collection::vec(any::<u8>(), 4..60)) {
            let mut request = vec![ECHO_REQUEST, 0, 0, 0];
            request.extend(&body);
            let sum = checksum::of(&request);
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            prop_assert_eq!(Message::parse(&request), Some(Message { kind: ECHO_REQUEST, code: 0 }));
            let mut reply = request.clone();
            make_echo_reply(&mut reply);
            prop_assert_eq!(Message::parse(&reply), Some(Message { kind: ECHO_REPLY, code: 0 }));
            prop_assert_eq!(&reply[4..], &request[4..]);
        }

        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Message::parse(&octets);
            make_echo_reply(&mut octets);
        }
    }
}
