//! The Identification payloads IDi and IDr (RFC 7296 §3.5).

use super::WireError;
use super::codec::Reader;
use crate::ident::Identity;

/// An ID payload. Its body enters the AUTH computation octet by octet, so the reserved octets are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identification {
    /// Reserved octets as received; zero in what we send.
    pub reserved: [u8; 3],
    /// Who.
    pub identity: Identity,
}

impl Identification {
    /// An ID payload to send.
    pub fn new(identity: Identity) -> Identification {
        Identification { reserved: [0; 3], identity }
    }

    /// The payload without its generic header: `IDType | RESERVED | data`, the IDx' of RFC 7296 §2.15.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.emit(&mut out);
        out
    }

    pub(super) fn parse(body: &[u8]) -> Result<Identification, WireError> {
        let mut reader = Reader::new(body, "ID payload");
        let id_type = reader.u8()?;
        let reserved = reader.array()?;
        Ok(Identification { reserved, identity: Identity::parse(id_type, reader.rest())? })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.identity.id_type());
        out.extend_from_slice(&self.reserved);
        self.identity.emit(out);
    }
}
