//! The Certificate and Certificate Request payloads (RFC 7296 §3.6, §3.7).

use super::codec::Reader;
use super::{CertEncoding, WireError};

/// Octets of one authority in a certificate request: SHA-1 of its SubjectPublicKeyInfo.
pub const CA_HASH_LEN: usize = 20;

/// A CERT payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cert {
    /// How `data` is to be read.
    pub encoding: CertEncoding,
    /// For `X509Signature`, one DER certificate.
    pub data: Vec<u8>,
}

/// A CERTREQ payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertReq {
    /// The encoding asked for.
    pub encoding: CertEncoding,
    /// For `X509Signature`, hashes of authorities; may be empty.
    pub data: Vec<u8>,
}

impl Cert {
    /// A DER certificate.
    pub fn x509(der: &[u8]) -> Cert {
        Cert { encoding: CertEncoding::X509Signature, data: der.to_vec() }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Cert, WireError> {
        let mut reader = Reader::new(body, "CERT payload");
        let encoding = CertEncoding::from_number(reader.u8()?);
        Ok(Cert { encoding, data: reader.rest().to_vec() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.number());
        out.extend_from_slice(&self.data);
    }
}

impl CertReq {
    /// A request for certificates under any of these authorities.
    pub fn x509(ca_hashes: &[[u8; CA_HASH_LEN]]) -> CertReq {
        CertReq { encoding: CertEncoding::X509Signature, data: ca_hashes.concat() }
    }

    /// The authorities, if the request names whole hashes.
    pub fn ca_hashes(&self) -> impl Iterator<Item = &[u8; CA_HASH_LEN]> {
        let (hashes, rest) = self.data.as_chunks::<CA_HASH_LEN>();
        let usable = self.encoding == CertEncoding::X509Signature && rest.is_empty();
        hashes.iter().filter(move |_| usable)
    }

    pub(super) fn parse(body: &[u8]) -> Result<CertReq, WireError> {
        let mut reader = Reader::new(body, "CERTREQ payload");
        let encoding = CertEncoding::from_number(reader.u8()?);
        Ok(CertReq { encoding, data: reader.rest().to_vec() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.number());
        out.extend_from_slice(&self.data);
    }
}
