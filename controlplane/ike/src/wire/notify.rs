//! The Notify payload (RFC 7296 §3.10).

use super::codec::{Reader, count_u8};
use super::{NotifyType, ProtocolId, SignatureHash, WireError};

/// An N payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    /// The protocol of `spi`; `None` without SPI.
    pub protocol: ProtocolId,
    /// The SPI it is about: empty, or 4 octets (ESP, AH).
    pub spi: Vec<u8>,
    /// What it says.
    pub kind: NotifyType,
    /// Its data.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notify about the IKE SA, without data.
    pub fn new(kind: NotifyType) -> Notify {
        Notify::with_data(kind, Vec::new())
    }

    /// A notify about the IKE SA.
    pub fn with_data(kind: NotifyType, data: Vec<u8>) -> Notify {
        Notify { protocol: ProtocolId::None, spi: Vec::new(), kind, data }
    }

    /// A notify about an ESP SA, e.g. REKEY_SA or CHILD_SA_NOT_FOUND.
    pub fn esp(kind: NotifyType, spi: u32) -> Notify {
        Notify { protocol: ProtocolId::Esp, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// INVALID_KE_PAYLOAD with the group that is wanted (RFC 7296 §1.3).
    pub fn invalid_ke(wanted_group: u16) -> Notify {
        Notify::with_data(NotifyType::InvalidKePayload, wanted_group.to_be_bytes().to_vec())
    }

    /// SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4).
    pub fn signature_hashes(hashes: &[SignatureHash]) -> Notify {
        let data = hashes.iter().flat_map(|hash| hash.number().to_be_bytes()).collect();
        Notify::with_data(NotifyType::SignatureHashAlgorithms, data)
    }

    /// The ESP SPI it is about.
    pub fn esp_spi(&self) -> Option<u32> {
        let spi = self.spi.as_slice().try_into().ok().map(u32::from_be_bytes);
        spi.filter(|_| self.protocol == ProtocolId::Esp)
    }

    /// The data as one 16-bit number, e.g. the group of INVALID_KE_PAYLOAD.
    pub fn data_u16(&self) -> Option<u16> {
        self.data.as_slice().try_into().ok().map(u16::from_be_bytes)
    }

    /// The data as a list of hash algorithms (RFC 7427 §4); an odd last octet is ignored.
    pub fn hash_list(&self) -> impl Iterator<Item = SignatureHash> {
        let (pairs, _) = self.data.as_chunks::<2>();
        pairs.iter().map(|pair| SignatureHash::from_number(u16::from_be_bytes(*pair)))
    }

    pub(super) fn parse(body: &[u8]) -> Result<Notify, WireError> {
        let mut reader = Reader::new(body, "Notify payload");
        let protocol = ProtocolId::from_number(reader.u8()?);
        let spi_size = reader.u8()?;
        let kind = NotifyType::from_number(reader.u16()?);
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        Ok(Notify { protocol, spi, kind, data: reader.rest().to_vec() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(self.protocol.number());
        out.push(count_u8(self.spi.len(), "SPI of a notify")?);
        out.extend_from_slice(&self.kind.number().to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
        Ok(())
    }
}
