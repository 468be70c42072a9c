//! The Authentication payload (RFC 7296 §3.8).

use super::codec::Reader;
use super::{AuthMethod, WireError};

/// An AUTH payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    /// How it was made.
    pub method: AuthMethod,
    /// MAC or signature; for method 14 with its AlgorithmIdentifier in front (RFC 7427 §3).
    pub data: Vec<u8>,
}

impl Auth {
    pub(super) fn parse(body: &[u8]) -> Result<Auth, WireError> {
        let mut reader = Reader::new(body, "AUTH payload");
        let method = AuthMethod::from_number(reader.u8()?);
        reader.array::<3>()?;
        Ok(Auth { method, data: reader.rest().to_vec() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.method.number());
        out.extend_from_slice(&[0; 3]);
        out.extend_from_slice(&self.data);
    }
}
