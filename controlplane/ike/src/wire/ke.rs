//! The Key Exchange payload (RFC 7296 §3.4).

use super::WireError;
use super::codec::Reader;

/// Longest public value accepted, octets (MODP-8192 has 1024, ML-KEM-1024 1568).
pub const MAX_KE_DATA: usize = 2048;

/// A KE payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ke {
    /// Number of the group the value belongs to.
    pub group: u16,
    /// The public value.
    pub data: Vec<u8>,
}

impl Ke {
    pub(super) fn parse(body: &[u8]) -> Result<Ke, WireError> {
        let mut reader = Reader::new(body, "KE payload");
        let group = reader.u16()?;
        reader.u16()?;
        let data = reader.rest();
        if data.is_empty() || data.len() > MAX_KE_DATA {
            return Err(WireError::BadLength { what: "KE payload" });
        }
        Ok(Ke { group, data: data.to_vec() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.data);
    }
}
