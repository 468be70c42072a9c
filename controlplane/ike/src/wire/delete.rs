//! The Delete payload (RFC 7296 §3.11).

use super::codec::Reader;
use super::{ProtocolId, WireError};

/// Most SPIs accepted in one payload.
pub const MAX_DELETE_SPIS: usize = 256;

/// A D payload. SPIs are those of the sender's inbound SAs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delete {
    /// This IKE SA with all its Child SAs.
    Ike,
    /// ESP SAs.
    Esp(Vec<u32>),
    /// AH SAs, which we never have.
    Ah(Vec<u32>),
}

impl Delete {
    pub(super) fn parse(body: &[u8]) -> Result<Delete, WireError> {
        let mut reader = Reader::new(body, "Delete payload");
        let protocol = ProtocolId::from_number(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = usize::from(reader.u16()?);
        if count > MAX_DELETE_SPIS {
            return Err(WireError::TooMany { what: "SPIs to delete", max: MAX_DELETE_SPIS });
        }
        let delete = match (protocol, spi_size, count) {
            (ProtocolId::Ike, 0, 0) => Delete::Ike,
            (ProtocolId::Esp, 4, _) => Delete::Esp(spis(&mut reader, count)?),
            (ProtocolId::Ah, 4, _) => Delete::Ah(spis(&mut reader, count)?),
            _ => return Err(WireError::BadValue { what: "Delete payload" }),
        };
        reader.finish()?;
        Ok(delete)
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let (protocol, spi_size, spis) = match self {
            Delete::Ike => (ProtocolId::Ike, 0, [].as_slice()),
            Delete::Esp(spis) => (ProtocolId::Esp, 4, spis.as_slice()),
            Delete::Ah(spis) => (ProtocolId::Ah, 4, spis.as_slice()),
        };
        let count = u16::try_from(spis.len()).map_err(|_| WireError::TooLong { what: "Delete payload" })?;
        out.push(protocol.number());
        out.push(spi_size);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend(spis.iter().flat_map(|spi| spi.to_be_bytes()));
        Ok(())
    }
}

fn spis(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, WireError> {
    (0..count).map(|_| reader.u32()).collect()
}
