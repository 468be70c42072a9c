//! The Security Association payload: proposals, transforms, attributes (RFC 7296 §3.3).

use super::codec::{Reader, count_u8, patch_length};
use super::{IkeSpi, ProtocolId, TransformType, WireError};

/// Most proposals accepted in one SA payload.
pub const MAX_PROPOSALS: usize = 64;
/// Most attributes accepted in one transform.
pub const MAX_ATTRIBUTES: usize = 8;

const ATTRIBUTE_KEY_LENGTH: u16 = 14;
const ATTRIBUTE_FORMAT_TV: u16 = 0x8000;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;

/// An SA payload: proposals in the sender's order of preference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sa {
    /// The proposals, at least one.
    pub proposals: Vec<Proposal>,
}

/// One proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Its number; an answer echoes it.
    pub number: u8,
    /// The protocol.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty (first IKE SA), 8 octets (IKE rekey) or 4 (ESP, AH).
    pub spi: Vec<u8>,
    /// Its transforms.
    pub transforms: Vec<Transform>,
}

/// One transform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform {
    /// Its type.
    pub kind: TransformType,
    /// Its number in the registry of that type.
    pub id: u16,
    /// The Key Length attribute, bits.
    pub key_length_bits: Option<u16>,
    /// Other attributes; a transform that has any is not acceptable (RFC 7296 §3.3.6).
    pub other_attributes: Vec<Attribute>,
}

/// An attribute that this implementation does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// Its type, 15 bits.
    pub kind: u16,
    /// Its value.
    pub value: AttributeValue,
}

/// The two formats of an attribute (RFC 7296 §3.3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttributeValue {
    /// Type and value.
    Short(u16),
    /// Type, length and value.
    Long(Vec<u8>),
}

impl Transform {
    /// A transform without attributes.
    pub fn new(kind: TransformType, id: u16) -> Transform {
        Transform { kind, id, key_length_bits: None, other_attributes: Vec::new() }
    }

    /// An encryption transform with a key length.
    pub fn encr(id: u16, key_length_bits: u16) -> Transform {
        Transform { key_length_bits: Some(key_length_bits), ..Transform::new(TransformType::Encr, id) }
    }
}

impl Proposal {
    /// The SPI of an ESP or AH proposal.
    pub fn esp_spi(&self) -> Option<u32> {
        self.spi.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// The SPI of a proposal that rekeys an IKE SA.
    pub fn ike_spi(&self) -> Option<IkeSpi> {
        self.spi.as_slice().try_into().ok().map(|octets| IkeSpi(u64::from_be_bytes(octets)))
    }
}

impl Sa {
    pub(super) fn parse(body: &[u8]) -> Result<Sa, WireError> {
        let mut reader = Reader::new(body, "SA payload");
        let mut proposals = Vec::new();
        loop {
            if proposals.len() == MAX_PROPOSALS {
                return Err(WireError::TooMany { what: "proposals", max: MAX_PROPOSALS });
            }
            let more = reader.u8()?;
            reader.u8()?;
            let length = reader.u16()?;
            proposals.push(Proposal::parse(reader.body(length, 4)?)?);
            match more {
                0 => break,
                MORE_PROPOSALS => {}
                _ => return Err(WireError::BadValue { what: "proposal" }),
            }
        }
        reader.finish()?;
        Ok(Sa { proposals })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let last = self.proposals.len().saturating_sub(1);
        for (index, proposal) in self.proposals.iter().enumerate() {
            let start = out.len();
            out.extend_from_slice(&[if index == last { 0 } else { MORE_PROPOSALS }, 0, 0, 0]);
            proposal.emit(out)?;
            patch_length(out, start, "proposal")?;
        }
        Ok(())
    }
}

impl Proposal {
    fn parse(body: &[u8]) -> Result<Proposal, WireError> {
        let mut reader = Reader::new(body, "proposal");
        let number = reader.u8()?;
        let protocol = ProtocolId::from_number(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u8()?;
        let spi_size_fits = match protocol {
            ProtocolId::Ike => matches!(spi_size, 0 | 8),
            ProtocolId::Ah | ProtocolId::Esp => spi_size == 4,
            ProtocolId::None | ProtocolId::Unknown(_) => true,
        };
        if !spi_size_fits {
            return Err(WireError::BadLength { what: "SPI of a proposal" });
        }
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        let mut transforms = Vec::with_capacity(usize::from(count));
        for index in 1..=count {
            let more = reader.u8()?;
            reader.u8()?;
            let length = reader.u16()?;
            transforms.push(Transform::parse(reader.body(length, 4)?)?);
            if more != (if index == count { 0 } else { MORE_TRANSFORMS }) {
                return Err(WireError::BadValue { what: "transform" });
            }
        }
        reader.finish()?;
        Ok(Proposal { number, protocol, spi, transforms })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(self.number);
        out.push(self.protocol.number());
        out.push(count_u8(self.spi.len(), "SPI of a proposal")?);
        out.push(count_u8(self.transforms.len(), "transforms")?);
        out.extend_from_slice(&self.spi);
        let last = self.transforms.len().saturating_sub(1);
        for (index, transform) in self.transforms.iter().enumerate() {
            let start = out.len();
            out.extend_from_slice(&[if index == last { 0 } else { MORE_TRANSFORMS }, 0, 0, 0]);
            transform.emit(out)?;
            patch_length(out, start, "transform")?;
        }
        Ok(())
    }
}

impl Transform {
    fn parse(body: &[u8]) -> Result<Transform, WireError> {
        let mut reader = Reader::new(body, "transform");
        let kind = TransformType::from_number(reader.u8()?);
        reader.u8()?;
        let id = reader.u16()?;
        let mut transform = Transform::new(kind, id);
        for _ in 0..MAX_ATTRIBUTES {
            if reader.is_empty() {
                return Ok(transform);
            }
            let first = reader.u16()?;
            let kind = first & !ATTRIBUTE_FORMAT_TV;
            let second = reader.u16()?;
            let value = if first & ATTRIBUTE_FORMAT_TV != 0 {
                AttributeValue::Short(second)
            } else {
                AttributeValue::Long(reader.take(usize::from(second))?.to_vec())
            };
            match value {
                AttributeValue::Short(bits)
                    if kind == ATTRIBUTE_KEY_LENGTH && transform.key_length_bits.is_none() =>
                {
                    transform.key_length_bits = Some(bits);
                }
                value => transform.other_attributes.push(Attribute { kind, value }),
            }
        }
        if reader.is_empty() {
            Ok(transform)
        } else {
            Err(WireError::TooMany { what: "attributes of a transform", max: MAX_ATTRIBUTES })
        }
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(self.kind.number());
        out.push(0);
        out.extend_from_slice(&self.id.to_be_bytes());
        if let Some(bits) = self.key_length_bits {
            out.extend_from_slice(&(ATTRIBUTE_FORMAT_TV | ATTRIBUTE_KEY_LENGTH).to_be_bytes());
            out.extend_from_slice(&bits.to_be_bytes());
        }
        for attribute in &self.other_attributes {
            match &attribute.value {
                AttributeValue::Short(value) => {
                    out.extend_from_slice(&(ATTRIBUTE_FORMAT_TV | attribute.kind).to_be_bytes());
                    out.extend_from_slice(&value.to_be_bytes());
                }
                AttributeValue::Long(value) => {
                    let length =
                        u16::try_from(value.len()).map_err(|_| WireError::TooLong { what: "attribute" })?;
                    out.extend_from_slice(&(attribute.kind & !ATTRIBUTE_FORMAT_TV).to_be_bytes());
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(value);
                }
            }
        }
        Ok(())
    }
}
