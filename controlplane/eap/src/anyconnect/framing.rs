//! The EAP packet of AnyConnect-EAP: expanded type 254/9/0x44425250 (RFC 3748 §5.7), then TLVs back to back.
//!
//! Enters: the body of one IKEv2 EAP payload. Leaves: the documents, signatures and chains in it, or the reason it is not
//! one; and the reverse. A TLV is Type(2) Length(2, of the value) Value, unpadded; octets that form none are an error.

use crate::packet::EapType;

/// Octets of the longest packet: what EAP's Length can say. Chains and forms need far more than other methods' packets.
pub const MAX_PACKET_OCTETS: usize = 65_535;
/// TLVs in one packet; three types are known, and each may come once.
pub const MAX_TLVS: usize = 16;
/// Expanded Type (RFC 3748 §5.7).
pub const TYPE_EXPANDED: EapType = EapType(254);
/// SMI number of Cisco, the method's Vendor-Id.
pub const VENDOR_CISCO: u32 = 9;
/// Vendor-Type of the method.
pub const VENDOR_TYPE_ANYCONNECT: u32 = 0x4442_5250;

const TLV_DOCUMENT: u16 = 0;
const TLV_SIGNATURE: u16 = 1;
const TLV_CHAIN: u16 = 3;

const CODE_REQUEST: u8 = 1;
const CODE_RESPONSE: u8 = 2;
const CODE_SUCCESS: u8 = 3;
const CODE_FAILURE: u8 = 4;
const HEADER_OCTETS: usize = 4;
const TLV_HEADER_OCTETS: usize = 4;
const TYPE_OCTETS: usize = 8;
/// Vendor-Id 0 (IETF) and Vendor-Type 3 after type 254 are the Expanded Nak (RFC 3748 §5.3.2).
const VENDOR_IETF: u32 = 0;
const VENDOR_TYPE_NAK: u32 = 3;

/// One EAP packet as this method sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// From the server.
    Request {
        /// Ties the response to it.
        identifier: u8,
        /// What it carries.
        content: Content<'a>,
    },
    /// From the peer.
    Response {
        /// That of the request.
        identifier: u8,
        /// What it carries.
        content: Content<'a>,
    },
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// This method.
    AnyConnect(Tlvs<'a>),
    /// Legacy or Expanded Nak.
    Nak,
    /// Another type.
    Other(EapType),
}

/// The TLVs of one packet.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Tlvs<'a> {
    /// Type 0: an XML document.
    pub document: Option<&'a [u8]>,
    /// Type 1: a signature, without authentication method.
    pub signature: Option<&'a [u8]>,
    /// Type 3: a degenerate PKCS#7.
    pub chain: Option<&'a [u8]>,
    /// Every other one, in order.
    pub unknown: Vec<UnknownTlv<'a>>,
}

/// A TLV of another type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownTlv<'a> {
    /// Its type.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// Why octets are not a packet of this method.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FramingError {
    /// Shorter than the headers it must have.
    #[error("too short")]
    TooShort,
    /// Longer than [`MAX_PACKET_OCTETS`], or a TLV that its Length cannot describe.
    #[error("too long")]
    TooLong,
    /// EAP's Length differs from the octets at hand (RFC 7296 §3.16 demands equality).
    #[error("length field does not match")]
    LengthMismatch,
    /// Success or Failure with data.
    #[error("success or failure with data")]
    TrailingData,
    /// Not one of EAP's four codes.
    #[error("unknown code {0}")]
    UnknownCode(u8),
    /// A TLV reaches past the end, or octets are left that form none.
    #[error("octets that form no TLV")]
    TruncatedTlv,
    /// A known TLV twice.
    #[error("TLV type {0} twice")]
    DuplicateTlv(u16),
    /// More than [`MAX_TLVS`].
    #[error("too many TLVs")]
    TooManyTlvs,
}

impl<'a> Frame<'a> {
    /// Reads one packet that fills `octets` exactly.
    pub fn decode(octets: &'a [u8]) -> Result<Frame<'a>, FramingError> {
        if octets.len() > MAX_PACKET_OCTETS {
            return Err(FramingError::TooLong);
        }
        let (&[code, identifier, high, low], body) =
            octets.split_first_chunk::<HEADER_OCTETS>().ok_or(FramingError::TooShort)?;
        if usize::from(u16::from_be_bytes([high, low])) != octets.len() {
            return Err(FramingError::LengthMismatch);
        }
        match code {
            CODE_REQUEST => Ok(Frame::Request { identifier, content: Content::decode(body)? }),
            CODE_RESPONSE => Ok(Frame::Response { identifier, content: Content::decode(body)? }),
            CODE_SUCCESS | CODE_FAILURE if !body.is_empty() => Err(FramingError::TrailingData),
            CODE_SUCCESS => Ok(Frame::Success { identifier }),
            CODE_FAILURE => Ok(Frame::Failure { identifier }),
            unknown => Err(FramingError::UnknownCode(unknown)),
        }
    }
}

impl<'a> Content<'a> {
    fn decode(body: &'a [u8]) -> Result<Content<'a>, FramingError> {
        let &kind = body.first().ok_or(FramingError::TooShort)?;
        if EapType(kind) == EapType::NAK {
            return Ok(Content::Nak);
        }
        if EapType(kind) != TYPE_EXPANDED {
            return Ok(Content::Other(EapType(kind)));
        }
        let (&[_, v1, v2, v3, t1, t2, t3, t4], tlvs) =
            body.split_first_chunk::<TYPE_OCTETS>().ok_or(FramingError::TooShort)?;
        match (u32::from_be_bytes([0, v1, v2, v3]), u32::from_be_bytes([t1, t2, t3, t4])) {
            (VENDOR_CISCO, VENDOR_TYPE_ANYCONNECT) => Ok(Content::AnyConnect(Tlvs::decode(tlvs)?)),
            (VENDOR_IETF, VENDOR_TYPE_NAK) => Ok(Content::Nak),
            _ => Ok(Content::Other(TYPE_EXPANDED)),
        }
    }
}

impl<'a> Tlvs<'a> {
    /// Only a document.
    pub fn of_document(document: &'a [u8]) -> Tlvs<'a> {
        Tlvs { document: Some(document), ..Tlvs::default() }
    }

    fn decode(mut rest: &'a [u8]) -> Result<Tlvs<'a>, FramingError> {
        let mut tlvs = Tlvs::default();
        for _ in 0..MAX_TLVS {
            if rest.is_empty() {
                return Ok(tlvs);
            }
            let (&[k1, k2, l1, l2], after) =
                rest.split_first_chunk::<TLV_HEADER_OCTETS>().ok_or(FramingError::TruncatedTlv)?;
            let length = usize::from(u16::from_be_bytes([l1, l2]));
            let (value, after) = after.split_at_checked(length).ok_or(FramingError::TruncatedTlv)?;
            tlvs.take(u16::from_be_bytes([k1, k2]), value)?;
            rest = after;
        }
        if rest.is_empty() { Ok(tlvs) } else { Err(FramingError::TooManyTlvs) }
    }

    fn take(&mut self, kind: u16, value: &'a [u8]) -> Result<(), FramingError> {
        let place = match kind {
            TLV_DOCUMENT => &mut self.document,
            TLV_SIGNATURE => &mut self.signature,
            TLV_CHAIN => &mut self.chain,
            _ => {
                self.unknown.push(UnknownTlv { kind, value });
                return Ok(());
            }
        };
        match place.replace(value) {
            Some(_) => Err(FramingError::DuplicateTlv(kind)),
            None => Ok(()),
        }
    }

    /// The request that carries these, in the order seen on the wire: chain, signature, document.
    pub fn encode_request(&self, identifier: u8) -> Result<Vec<u8>, FramingError> {
        self.encode(CODE_REQUEST, identifier)
    }

    /// The response that carries these, in the order seen on the wire: chain, signature, document.
    pub fn encode_response(&self, identifier: u8) -> Result<Vec<u8>, FramingError> {
        self.encode(CODE_RESPONSE, identifier)
    }

    fn encode(&self, code: u8, identifier: u8) -> Result<Vec<u8>, FramingError> {
        let mut out = vec![code, identifier, 0, 0, TYPE_EXPANDED.0];
        out.extend_from_slice(VENDOR_CISCO.to_be_bytes().get(1..).unwrap_or_default());
        out.extend_from_slice(&VENDOR_TYPE_ANYCONNECT.to_be_bytes());
        let known = [(TLV_CHAIN, self.chain), (TLV_SIGNATURE, self.signature), (TLV_DOCUMENT, self.document)];
        let known = known.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
        for (kind, value) in known.chain(self.unknown.iter().map(|tlv| (tlv.kind, tlv.value))) {
            let length = u16::try_from(value.len()).map_err(|_| FramingError::TooLong)?;
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
        let length = u16::try_from(out.len()).map_err(|_| FramingError::TooLong)?;
        if let Some(place) = out.get_mut(2..HEADER_OCTETS) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: &str = concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "<config-auth client=\"vpn\" type=\"hello\" aggregate-auth-version=\"2\"></config-auth>"
    );

    fn octets(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = parts.concat();
        let length = (out.len() as u16).to_be_bytes();
        out[2..4].copy_from_slice(&length);
        out
    }

    #[test]
    fn a_hello_has_these_octets() {
        let expected = [
            &[0x01, 0x01, 0x00, 0x87, 0xfe, 0x00, 0x00, 0x09, 0x44, 0x42, 0x52, 0x50, 0, 0, 0, 0x77],
            HELLO.as_bytes(),
        ]
        .concat();
        assert_eq!(HELLO.len(), 119);
        assert_eq!(Tlvs::of_document(HELLO.as_bytes()).encode_request(1).unwrap(), expected);
        let content = Content::AnyConnect(Tlvs::of_document(HELLO.as_bytes()));
        assert_eq!(Frame::decode(&expected), Ok(Frame::Request { identifier: 1, content }));
    }

    #[test]
    fn reads_what_belongs_and_names_what_does_not() {
        let head: &[u8] = &[2, 9, 0, 0, 254, 0, 0, 9, 0x44, 0x42, 0x52, 0x50];
        let response = |content| Ok(Frame::Response { identifier: 9, content });
        let table: &[(Vec<u8>, Result<Frame, FramingError>)] = &[
            (octets(&[head]), response(Content::AnyConnect(Tlvs::default()))),
            (
                octets(&[head, &[0, 3, 0, 1, 7, 0, 1, 0, 2, 8, 9, 0, 0, 0, 0]]),
                response(Content::AnyConnect(Tlvs {
                    document: Some(&[]),
                    signature: Some(&[8, 9]),
                    chain: Some(&[7]),
                    unknown: vec![],
                })),
            ),
            (
                octets(&[head, &[0, 2, 0, 1, 5, 0, 2, 0, 0]]),
                response(Content::AnyConnect(Tlvs {
                    unknown: vec![UnknownTlv { kind: 2, value: &[5] }, UnknownTlv { kind: 2, value: &[] }],
                    ..Tlvs::default()
                })),
            ),
            (octets(&[&[2, 9, 0, 0, 3, 26]]), response(Content::Nak)),
            (octets(&[&[2, 9, 0, 0, 254, 0, 0, 0, 0, 0, 0, 3]]), response(Content::Nak)),
            (octets(&[&[2, 9, 0, 0, 1, b'x']]), response(Content::Other(EapType::IDENTITY))),
            (
                octets(&[&[2, 9, 0, 0, 254, 0, 0, 8, 0x44, 0x42, 0x52, 0x50]]),
                response(Content::Other(TYPE_EXPANDED)),
            ),
            (octets(&[&[3, 9, 0, 0]]), Ok(Frame::Success { identifier: 9 })),
            (octets(&[&[4, 9, 0, 0]]), Ok(Frame::Failure { identifier: 9 })),
            (vec![], Err(FramingError::TooShort)),
            (octets(&[&[2, 9, 0, 0]]), Err(FramingError::TooShort)),
            (octets(&[&[2, 9, 0, 0, 254, 0, 0, 9, 0x44]]), Err(FramingError::TooShort)),
            (octets(&[&[3, 9, 0, 0, 0]]), Err(FramingError::TrailingData)),
            (octets(&[&[5, 9, 0, 0, 0]]), Err(FramingError::UnknownCode(5))),
            (vec![2, 9, 0, 6, 1], Err(FramingError::LengthMismatch)),
            (octets(&[head, &[0]]), Err(FramingError::TruncatedTlv)),
            (octets(&[head, &[0, 0, 0]]), Err(FramingError::TruncatedTlv)),
            (octets(&[head, &[0, 0, 0, 2, 1]]), Err(FramingError::TruncatedTlv)),
            (octets(&[head, &[0, 0, 0, 1, 1, 0]]), Err(FramingError::TruncatedTlv)),
            (octets(&[head, &[0, 1, 0, 0, 0, 1, 0, 0]]), Err(FramingError::DuplicateTlv(1))),
            (octets(&[head, &[0, 9, 0, 0].repeat(MAX_TLVS + 1)]), Err(FramingError::TooManyTlvs)),
            (vec![0; MAX_PACKET_OCTETS + 1], Err(FramingError::TooLong)),
        ];
        for (octets, expected) in table {
            assert_eq!(Frame::decode(octets), *expected, "{octets:02x?}");
        }
        let most = octets(&[head, &[0, 9, 0, 0].repeat(MAX_TLVS)]);
        assert!(Frame::decode(&most).is_ok());
    }

    #[test]
    fn refuses_to_write_what_it_would_not_read() {
        let longest = vec![0; MAX_PACKET_OCTETS - 16];
        let packet = Tlvs::of_document(&longest).encode_response(1).unwrap();
        assert!(Frame::decode(&packet).is_ok());
        let longer = vec![0; MAX_PACKET_OCTETS - 15];
        assert_eq!(Tlvs::of_document(&longer).encode_response(1), Err(FramingError::TooLong));
        assert_eq!(Tlvs::of_document(&[0; 65_536]).encode_response(1), Err(FramingError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            identifier: u8,
            document in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
            signature in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
            chain in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
            unknown in proptest::collection::vec((4u16.., proptest::collection::vec(any::<u8>(), 0..9)), 0..5),
        ) {
            let unknown = unknown.iter().map(|(kind, value)| UnknownTlv { kind: *kind, value }).collect();
            let tlvs = Tlvs { document: document.as_deref(), signature: signature.as_deref(), chain: chain.as_deref(), unknown };
            let packet = tlvs.encode_response(identifier).unwrap();
            let content = Content::AnyConnect(tlvs);
            prop_assert_eq!(Frame::decode(&packet), Ok(Frame::Response { identifier, content }));
        }

        #[test]
        fn any_octets_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..80), anyconnect: bool) {
            let head: &[u8] = &[2, 9, 0, 0, 254, 0, 0, 9, 0x44, 0x42, 0x52, 0x50];
            let packet = if anyconnect { octets(&[head, &tail]) } else { tail };
            let _ = Frame::decode(&packet);
        }
    }
}
