//! The EAP packet: Code, Identifier, Length, Type, Type-Data (RFC 3748 §4).
//!
//! Enters: the body of one IKEv2 EAP payload. Leaves: a typed view of it, or the reason it is not one; and the reverse.

/// Octets of the longest packet that is read or written. The methods here need less than 400.
pub const MAX_PACKET_OCTETS: usize = 4096;
/// Octets of the longest user name or identity (RFC 7542 §2.3).
pub const MAX_NAME_OCTETS: usize = 253;

const HEADER_OCTETS: usize = 4;
const CODE_REQUEST: u8 = 1;
const CODE_RESPONSE: u8 = 2;
const CODE_SUCCESS: u8 = 3;
const CODE_FAILURE: u8 = 4;

/// One EAP packet; Request and Response always carry a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// From the server.
    Request(Message<'a>),
    /// From the peer.
    Response(Message<'a>),
    /// The server ends the conversation well.
    Success {
        /// That of the last response.
        identifier: u8,
    },
    /// The server ends the conversation badly.
    Failure {
        /// That of the last response.
        identifier: u8,
    },
}

/// What Request and Response carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Ties a response to its request.
    pub identifier: u8,
    /// Type.
    pub kind: EapType,
    /// Type-Data.
    pub data: &'a [u8],
}

/// An EAP type number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EapType(pub u8);

impl EapType {
    /// Identity (RFC 3748 §5.1).
    pub const IDENTITY: EapType = EapType(1);
    /// Notification (RFC 3748 §5.2).
    pub const NOTIFICATION: EapType = EapType(2);
    /// Legacy Nak, only in responses (RFC 3748 §5.3.1).
    pub const NAK: EapType = EapType(3);
    /// MD5-Challenge (RFC 3748 §5.4).
    pub const MD5: EapType = EapType(4);
    /// Generic Token Card (RFC 3748 §5.6).
    pub const GTC: EapType = EapType(6);
    /// EAP-TLS (RFC 5216, RFC 9190).
    pub const TLS: EapType = EapType(13);
    /// EAP-TTLS (RFC 5281).
    pub const TTLS: EapType = EapType(21);
    /// PEAP ([MS-PEAP]).
    pub const PEAP: EapType = EapType(25);
    /// EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2).
    pub const MSCHAPV2: EapType = EapType(26);

    /// Extensions, which end a PEAP conversation ([MS-PEAP] 2.2.8.1).
    pub const EXTENSIONS: EapType = EapType(33);

    /// Name as operators see it; `eap` for a type without one.
    pub fn name(self) -> &'static str {
        match self {
            EapType::MD5 => "eap-md5",
            EapType::GTC => "eap-gtc",
            EapType::TLS => "eap-tls",
            EapType::TTLS => "eap-ttls",
            EapType::PEAP => "eap-peap",
            EapType::MSCHAPV2 => "eap-mschapv2",
            _ => "eap",
        }
    }

    /// Whether this is an authentication method and not part of EAP itself.
    pub fn is_method(self) -> bool {
        self.0 > EapType::NAK.0
    }
}

/// Why octets are not an EAP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// Shorter than its header, or a Request or Response without a type.
    #[error("too short")]
    TooShort,
    /// Longer than [`MAX_PACKET_OCTETS`].
    #[error("too long")]
    TooLong,
    /// Length differs from the octets at hand (RFC 7296 §3.16 demands equality).
    #[error("length field does not match")]
    LengthMismatch,
    /// Success or Failure with data.
    #[error("success or failure with data")]
    TrailingData,
    /// Not one of the four codes.
    #[error("unknown code {0}")]
    UnknownCode(u8),
}

impl<'a> Packet<'a> {
    /// Reads one packet that fills `octets` exactly.
    pub fn decode(octets: &'a [u8]) -> Result<Packet<'a>, PacketError> {
        if octets.len() > MAX_PACKET_OCTETS {
            return Err(PacketError::TooLong);
        }
        let (&[code, identifier, high, low], body) =
            octets.split_first_chunk::<HEADER_OCTETS>().ok_or(PacketError::TooShort)?;
        if usize::from(u16::from_be_bytes([high, low])) != octets.len() {
            return Err(PacketError::LengthMismatch);
        }
        match code {
            CODE_REQUEST => Ok(Packet::Request(Message::decode(identifier, body)?)),
            CODE_RESPONSE => Ok(Packet::Response(Message::decode(identifier, body)?)),
            CODE_SUCCESS | CODE_FAILURE if !body.is_empty() => Err(PacketError::TrailingData),
            CODE_SUCCESS => Ok(Packet::Success { identifier }),
            CODE_FAILURE => Ok(Packet::Failure { identifier }),
            unknown => Err(PacketError::UnknownCode(unknown)),
        }
    }

    /// Writes the packet. Type-Data past [`MAX_PACKET_OCTETS`] is [`PacketError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, PacketError> {
        match self {
            Packet::Request(message) => message.encode(CODE_REQUEST),
            Packet::Response(message) => message.encode(CODE_RESPONSE),
            Packet::Success { identifier } => Ok(bare(CODE_SUCCESS, *identifier)),
            Packet::Failure { identifier } => Ok(bare(CODE_FAILURE, *identifier)),
        }
    }
}

impl<'a> Message<'a> {
    fn decode(identifier: u8, body: &'a [u8]) -> Result<Message<'a>, PacketError> {
        let (&kind, data) = body.split_first().ok_or(PacketError::TooShort)?;
        Ok(Message { identifier, kind: EapType(kind), data })
    }

    fn encode(&self, code: u8) -> Result<Vec<u8>, PacketError> {
        let octets = HEADER_OCTETS + 1 + self.data.len();
        let length = u16::try_from(octets).ok().filter(|_| octets <= MAX_PACKET_OCTETS);
        let [high, low] = length.ok_or(PacketError::TooLong)?.to_be_bytes();
        let mut out = Vec::with_capacity(octets);
        out.extend_from_slice(&[code, self.identifier, high, low, self.kind.0]);
        out.extend_from_slice(self.data);
        Ok(out)
    }
}

/// EAP-Success for the response with this identifier.
pub(crate) fn success(identifier: u8) -> Vec<u8> {
    bare(CODE_SUCCESS, identifier)
}

/// EAP-Failure for the response with this identifier.
pub fn failure(identifier: u8) -> Vec<u8> {
    bare(CODE_FAILURE, identifier)
}

fn bare(code: u8, identifier: u8) -> Vec<u8> {
    vec![code, identifier, 0, HEADER_OCTETS as u8]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_rfc_3748_draws() {
        let table: &[(&[u8], Result<Packet, PacketError>)] = &[
            (
                &[1, 7, 0, 5, 1],
                Ok(Packet::Request(Message { identifier: 7, kind: EapType::IDENTITY, data: &[] })),
            ),
            (
                &[2, 7, 0, 9, 1, b'u', b's', b'e', b'r'],
                Ok(Packet::Response(Message { identifier: 7, kind: EapType::IDENTITY, data: b"user" })),
            ),
            (
                &[2, 1, 0, 6, 3, 26],
                Ok(Packet::Response(Message { identifier: 1, kind: EapType::NAK, data: &[26] })),
            ),
            (&[3, 9, 0, 4], Ok(Packet::Success { identifier: 9 })),
            (&[4, 9, 0, 4], Ok(Packet::Failure { identifier: 9 })),
            (&[], Err(PacketError::TooShort)),
            (&[1, 7, 0], Err(PacketError::TooShort)),
            (&[1, 7, 0, 4], Err(PacketError::TooShort)),
            (&[1, 7, 0, 6, 1], Err(PacketError::LengthMismatch)),
            (&[1, 7, 0, 4, 1], Err(PacketError::LengthMismatch)),
            (&[3, 7, 0, 5, 1], Err(PacketError::TrailingData)),
            (&[5, 7, 0, 5, 1], Err(PacketError::UnknownCode(5))),
            (&[0, 7, 0, 4], Err(PacketError::UnknownCode(0))),
            (&[0; MAX_PACKET_OCTETS + 1], Err(PacketError::TooLong)),
        ];
        for (octets, expected) in table {
            assert_eq!(Packet::decode(octets), *expected, "{octets:02x?}");
        }
    }

    #[test]
    fn refuses_to_write_what_it_would_not_read() {
        let data = [0u8; MAX_PACKET_OCTETS];
        let longest = MAX_PACKET_OCTETS - HEADER_OCTETS - 1;
        let message = |data| Packet::Request(Message { identifier: 0, kind: EapType::MSCHAPV2, data });
        assert!(message(&data[..longest]).encode().is_ok());
        assert_eq!(message(&data[..longest + 1]).encode(), Err(PacketError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back_the_same(octets in proptest::collection::vec(any::<u8>(), 0..64), fix in any::<bool>()) {
            let mut octets = octets;
            if fix && octets.len() >= HEADER_OCTETS {
                octets[0] = octets[0] % 4 + 1;
                octets[2] = 0;
                octets[3] = octets.len() as u8;
            }
            if let Ok(packet) = Packet::decode(&octets) {
                prop_assert_eq!(packet.encode().unwrap(), octets);
            }
        }

        #[test]
        fn what_is_written_is_read_back(identifier: u8, kind: u8, request: bool, data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = Message { identifier, kind: EapType(kind), data: &data };
            let packet = if request { Packet::Request(message) } else { Packet::Response(message) };
            let octets = packet.encode().unwrap();
            prop_assert_eq!(Packet::decode(&octets), Ok(packet));
        }
    }
}
