//! The packet: header and attributes (RFC 2865 §3, §5).
//!
//! Enters: a datagram, or attributes to send. Leaves: a [`Packet`] whose attributes all lie inside it, or octets. Nothing here
//! says who made a packet; see `reply.rs` and `dynamic.rs`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::attribute::{Attribute, VENDOR_SPECIFIC};

/// Code, identifier, length, authenticator.
pub const HEADER_OCTETS: usize = 20;
/// Longest packet (RFC 2865 §3).
pub const MAX_PACKET_OCTETS: usize = 4096;
/// Longest value of one attribute.
pub const MAX_VALUE_OCTETS: usize = 253;
/// Longest value of one attribute inside a Vendor-Specific: vendor id, type and length take six octets.
pub const MAX_VENDOR_VALUE_OCTETS: usize = MAX_VALUE_OCTETS - 6;

/// What a packet is (RFC 2865 §4, 2866 §4, 5176 §2, 5997).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// May this user in?
    AccessRequest,
    /// Yes.
    AccessAccept,
    /// No.
    AccessReject,
    /// Accounting.
    AccountingRequest,
    /// Noted.
    AccountingResponse,
    /// Go on with the conversation.
    AccessChallenge,
    /// Are you there?
    StatusServer,
    /// End a session.
    DisconnectRequest,
    /// Done.
    DisconnectAck,
    /// Not done.
    DisconnectNak,
    /// Change a session.
    CoaRequest,
    /// Done.
    CoaAck,
    /// Not done.
    CoaNak,
}

const CODES: [(u8, Code); 13] = [
    (1, Code::AccessRequest),
    (2, Code::AccessAccept),
    (3, Code::AccessReject),
    (4, Code::AccountingRequest),
    (5, Code::AccountingResponse),
    (11, Code::AccessChallenge),
    (12, Code::StatusServer),
    (40, Code::DisconnectRequest),
    (41, Code::DisconnectAck),
    (42, Code::DisconnectNak),
    (43, Code::CoaRequest),
    (44, Code::CoaAck),
    (45, Code::CoaNak),
];

impl Code {
    /// The octet on the wire.
    pub fn number(self) -> u8 {
        CODES.iter().find(|(_, code)| *code == self).map_or(0, |(number, _)| *number)
    }

    fn of(number: u8) -> Option<Code> {
        CODES.iter().find(|(known, _)| *known == number).map(|(_, code)| *code)
    }
}

/// Why a datagram is no packet. It is the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Not even a header, or less than the header says.
    #[error("the packet is cut short")]
    Short,
    /// More than [`MAX_PACKET_OCTETS`].
    #[error("the packet is longer than {MAX_PACKET_OCTETS} octets")]
    Long,
    /// Nothing that a gateway receives.
    #[error("packet code {0} is not known")]
    Code(u8),
    /// An attribute's length leads out of the packet or into itself.
    #[error("attribute {0} has an impossible length")]
    Attribute(u8),
}

/// A packet that is well-formed; nobody has vouched for it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    code: Code,
    identifier: u8,
    authenticator: [u8; 16],
    octets: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Octets behind the length that the header names are padding (RFC 2865 §3).
    ///
    /// # Errors
    /// When it is no packet.
    pub fn parse(datagram: &'a [u8]) -> Result<Packet<'a>, ParseError> {
        let [code, identifier, high, low, rest @ ..] = datagram else { return Err(ParseError::Short) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > MAX_PACKET_OCTETS {
            return Err(ParseError::Long);
        }
        let octets = datagram.get(..length).filter(|octets| octets.len() >= HEADER_OCTETS);
        let octets = octets.ok_or(ParseError::Short)?;
        let authenticator = *rest.first_chunk::<16>().ok_or(ParseError::Short)?;
        let code = Code::of(*code).ok_or(ParseError::Code(*code))?;
        let packet = Packet { code, identifier: *identifier, authenticator, octets };
        let mut attributes = packet.attributes();
        attributes.by_ref().for_each(drop);
        match attributes.rest {
            [] => Ok(packet),
            [kind, ..] => Err(ParseError::Attribute(*kind)),
        }
    }

    /// What it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Matches an answer with its request.
    pub fn identifier(&self) -> u8 {
        self.identifier
    }

    /// Request or Response Authenticator.
    pub fn authenticator(&self) -> &[u8; 16] {
        &self.authenticator
    }

    /// The whole packet without padding.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Its attributes in their order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.octets.get(HEADER_OCTETS..).unwrap_or(&[]))
    }
}

/// Attributes in their order, as type and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Of these octets; it ends early where they are malformed.
    pub fn of(octets: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: octets }
    }

    /// The values of one type.
    pub fn each(self, attribute: Attribute) -> impl Iterator<Item = &'a [u8]> {
        self.filter(move |(kind, _)| *kind == attribute.0).map(|(_, value)| value)
    }

    /// The first value of one type.
    pub fn first(self, attribute: Attribute) -> Option<&'a [u8]> {
        self.each(attribute).next()
    }

    /// The first value of one type as a number.
    pub fn number(self, attribute: Attribute) -> Option<u32> {
        Some(u32::from_be_bytes(self.first(attribute)?.try_into().ok()?))
    }

    /// The first value of one type as an address.
    pub fn address(self, attribute: Attribute) -> Option<Ipv4Addr> {
        self.number(attribute).map(Ipv4Addr::from)
    }

    /// The first value of one type as an IPv6 address.
    pub fn address6(self, attribute: Attribute) -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(self.first(attribute)?).ok()?))
    }

    /// The first value of one type as text.
    pub fn text(self, attribute: Attribute) -> Option<&'a str> {
        std::str::from_utf8(self.first(attribute)?).ok()
    }

    /// The values of one vendor's type (RFC 2865 §5.26), from every Vendor-Specific attribute.
    pub fn vendor(self, vendor: u32, kind: u8) -> impl Iterator<Item = &'a [u8]> {
        let of_vendor = move |value: &'a [u8]| {
            let (id, rest) = value.split_first_chunk::<4>()?;
            (u32::from_be_bytes(*id) == vendor).then(|| Attributes::of(rest))
        };
        let inner = self.each(VENDOR_SPECIFIC).filter_map(of_vendor).flatten();
        inner.filter(move |(inner, _)| *inner == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (kind, length) = (*self.rest.first()?, usize::from(*self.rest.get(1)?));
        let value = self.rest.get(2..length)?;
        self.rest = self.rest.get(length..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// An attribute does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("attribute {attribute} does not fit into a RADIUS packet")]
pub struct TooLong {
    /// Which.
    pub attribute: u8,
}

/// Attributes to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttributeList {
    octets: Vec<u8>,
}

impl AttributeList {
    /// None yet.
    pub fn new() -> AttributeList {
        AttributeList::default()
    }

    /// Adds an attribute. An empty value is left out: RFC 2865 §5 has none.
    ///
    /// # Errors
    /// When value or packet becomes too long. What fits is sent all the same; the caller decides.
    pub fn push(&mut self, attribute: Attribute, value: &[u8]) -> Result<(), TooLong> {
        if value.is_empty() {
            return Ok(());
        }
        // The Message-Authenticator still has to fit.
        let room = MAX_PACKET_OCTETS - HEADER_OCTETS - 18;
        let length = value.len().saturating_add(2);
        match u8::try_from(length) {
            Ok(octet) if self.octets.len().saturating_add(length) <= room => {
                self.octets.extend([attribute.0, octet]);
                self.octets.extend_from_slice(value);
                Ok(())
            }
            _ => Err(TooLong { attribute: attribute.0 }),
        }
    }

    /// Adds a number.
    ///
    /// # Errors
    /// When the packet becomes too long.
    pub fn push_number(&mut self, attribute: Attribute, value: u32) -> Result<(), TooLong> {
        self.push(attribute, &value.to_be_bytes())
    }

    /// Adds an address.
    ///
    /// # Errors
    /// When the packet becomes too long.
    pub fn push_address(&mut self, attribute: Attribute, value: Ipv4Addr) -> Result<(), TooLong> {
        self.push(attribute, &value.octets())
    }

    /// Adds text, cut at [`MAX_VALUE_OCTETS`].
    ///
    /// # Errors
    /// When the packet becomes too long.
    pub fn push_text(&mut self, attribute: Attribute, value: &str) -> Result<(), TooLong> {
        let mut end = value.len().min(MAX_VALUE_OCTETS);
        while !value.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.push(attribute, value.get(..end).unwrap_or_default().as_bytes())
    }

    /// Adds a vendor's attribute (RFC 2865 §5.26).
    ///
    /// # Errors
    /// When value or packet becomes too long.
    pub fn push_vendor(&mut self, vendor: u32, kind: u8, value: &[u8]) -> Result<(), TooLong> {
        let length = u8::try_from(value.len().saturating_add(2));
        let length = length.map_err(|_| TooLong { attribute: VENDOR_SPECIFIC.0 })?;
        let mut whole = vendor.to_be_bytes().to_vec();
        whole.extend([kind, length]);
        whole.extend_from_slice(value);
        self.push(VENDOR_SPECIFIC, &whole)
    }

    /// As on the wire.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Attributes that came from [`AttributeList::octets`]; `None` if these are none.
    pub fn from_octets(octets: Vec<u8>) -> Option<AttributeList> {
        let mut attributes = Attributes::of(&octets);
        attributes.by_ref().for_each(drop);
        (attributes.rest.is_empty() && octets.len() <= MAX_PACKET_OCTETS - HEADER_OCTETS - 18)
            .then_some(AttributeList { octets })
    }

    /// To be read.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::of(&self.octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribute::{CALLING_STATION_ID, REPLY_MESSAGE, USER_NAME};

    fn packet(attributes: &[u8]) -> Vec<u8> {
        let mut octets = vec![1, 7, 0, 0];
        octets.extend([9; 16]);
        octets.extend(attributes);
        let length = u16::try_from(octets.len()).unwrap();
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason() {
        let good = packet(&[1, 3, b'a']);
        assert!(Packet::parse(&good).is_ok());
        for end in 0..good.len() {
            assert_eq!(Packet::parse(&good[..end]).err(), Some(ParseError::Short), "{end}");
        }
        for (attributes, wrong) in [(&[1u8][..], 1), (&[1, 0], 1), (&[4, 1], 4), (&[1, 2, 18, 9, 0], 18)] {
            assert_eq!(Packet::parse(&packet(attributes)).err(), Some(ParseError::Attribute(wrong)));
        }
        let mut unknown = good.clone();
        unknown[0] = 6;
        assert_eq!(Packet::parse(&unknown).err(), Some(ParseError::Code(6)));
        let mut long = good.clone();
        long[2..4].copy_from_slice(&4097u16.to_be_bytes());
        long.resize(4097, 0);
        assert_eq!(Packet::parse(&long).err(), Some(ParseError::Long));
        let mut padded = good;
        padded.extend([1, 2, 3]);
        assert_eq!(Packet::parse(&padded).unwrap().attributes().text(USER_NAME), Some("a"));
    }

    #[test]
    fn a_vendors_attributes_are_found_in_every_place() {
        let mut list = AttributeList::new();
        list.push_vendor(9, 1, b"one").unwrap();
        list.push_vendor(311, 1, b"other vendor").unwrap();
        list.push_vendor(9, 2, b"other type").unwrap();
        let mut two = 9u32.to_be_bytes().to_vec();
        two.extend([1, 5, b't', b'w', b'o', 1, 7, b't', b'h', b'r', b'e', b'e']);
        list.push(VENDOR_SPECIFIC, &two).unwrap();
        let found: Vec<_> = list.attributes().vendor(9, 1).collect();
        assert_eq!(found, [&b"one"[..], b"two", b"three"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_text_is_cut_between_characters() {
        let mut list = AttributeList::new();
        assert!(list.push(USER_NAME, &[0; MAX_VALUE_OCTETS + 1]).is_err());
        assert!(list.push_vendor(9, 1, &[0; MAX_VENDOR_VALUE_OCTETS]).is_ok());
        assert!(list.push_vendor(9, 1, &[0; MAX_VENDOR_VALUE_OCTETS + 1]).is_err());
        list.push_text(REPLY_MESSAGE, &"ä".repeat(200)).unwrap();
        assert_eq!(list.attributes().text(REPLY_MESSAGE).map(str::len), Some(252));
        while list.push(CALLING_STATION_ID, &[0; 253]).is_ok() {}
        assert!(list.octets().len() + HEADER_OCTETS + 18 <= MAX_PACKET_OCTETS);
        assert!(AttributeList::from_octets(vec![1, 9, 0]).is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(packet) = Packet::parse(&octets) {
                let total: usize = packet.attributes().map(|(_, value)| value.len() + 2).sum();
                prop_assert_eq!(total + HEADER_OCTETS, packet.octets().len());
            }
        }

        #[test]
        fn what_is_written_is_read(items in proptest::collection::vec((1u8..=255, proptest::collection::vec(any::<u8>(), 1..=253)), 0..20)) {
            let mut list = AttributeList::new();
            let mut fitted = Vec::new();
            for (kind, value) in items {
                if list.push(Attribute(kind), &value).is_ok() {
                    fitted.push((kind, value));
                }
            }
            let octets = packet(list.octets());
            let read: Vec<_> = Packet::parse(&octets).unwrap().attributes().map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, fitted);
        }
    }
}
