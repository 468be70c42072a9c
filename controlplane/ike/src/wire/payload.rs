//! The payload chain (RFC 7296 §3.2): octets in, typed payloads out, and back.
//!
//! The Encrypted payloads (SK, SKF) end a chain and are not payloads here; `message.rs` opens them.

use super::codec::{Reader, patch_length};
use super::{
    Auth, Cert, CertReq, Configuration, Delete, Identification, Ke, Nonce, Notify, PayloadType, Sa,
    TrafficSelector, WireError, ts,
};

/// Most payloads accepted in one message.
pub const MAX_PAYLOADS: usize = 128;
/// Octets of the generic payload header.
pub const PAYLOAD_HEADER_LEN: usize = 4;

const CRITICAL: u8 = 0x80;

/// A payload, parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Security Association.
    Sa(Sa),
    /// Key Exchange.
    Ke(Ke),
    /// Identification of the initiator.
    IdI(Identification),
    /// Identification of the responder.
    IdR(Identification),
    /// Certificate.
    Cert(Cert),
    /// Certificate Request.
    CertReq(CertReq),
    /// Authentication.
    Auth(Auth),
    /// Nonce.
    Nonce(Nonce),
    /// Notify.
    Notify(Notify),
    /// Delete.
    Delete(Delete),
    /// Vendor ID.
    Vendor(Vec<u8>),
    /// Traffic Selectors of the initiator, at least one.
    TsI(Vec<TrafficSelector>),
    /// Traffic Selectors of the responder, at least one.
    TsR(Vec<TrafficSelector>),
    /// Configuration.
    Cp(Configuration),
    /// An EAP message, as RFC 3748 has it.
    Eap(Vec<u8>),
    /// An unknown payload without the critical bit; to be ignored (RFC 7296 §2.5).
    Unknown {
        /// Its type.
        number: u8,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Payload {
    /// Its type.
    pub fn payload_type(&self) -> PayloadType {
        match self {
            Payload::Sa(_) => PayloadType::Sa,
            Payload::Ke(_) => PayloadType::Ke,
            Payload::IdI(_) => PayloadType::IdI,
            Payload::IdR(_) => PayloadType::IdR,
            Payload::Cert(_) => PayloadType::Cert,
            Payload::CertReq(_) => PayloadType::CertReq,
            Payload::Auth(_) => PayloadType::Auth,
            Payload::Nonce(_) => PayloadType::Nonce,
            Payload::Notify(_) => PayloadType::Notify,
            Payload::Delete(_) => PayloadType::Delete,
            Payload::Vendor(_) => PayloadType::Vendor,
            Payload::TsI(_) => PayloadType::TsI,
            Payload::TsR(_) => PayloadType::TsR,
            Payload::Cp(_) => PayloadType::Cp,
            Payload::Eap(_) => PayloadType::Eap,
            Payload::Unknown { number, .. } => PayloadType::Unknown(*number),
        }
    }

    fn parse(kind: PayloadType, critical: bool, body: &[u8]) -> Result<Payload, WireError> {
        Ok(match kind {
            PayloadType::Sa => Payload::Sa(Sa::parse(body)?),
            PayloadType::Ke => Payload::Ke(Ke::parse(body)?),
            PayloadType::IdI => Payload::IdI(Identification::parse(body)?),
            PayloadType::IdR => Payload::IdR(Identification::parse(body)?),
            PayloadType::Cert => Payload::Cert(Cert::parse(body)?),
            PayloadType::CertReq => Payload::CertReq(CertReq::parse(body)?),
            PayloadType::Auth => Payload::Auth(Auth::parse(body)?),
            PayloadType::Nonce => Payload::Nonce(Nonce::new(body.to_vec())?),
            PayloadType::Notify => Payload::Notify(Notify::parse(body)?),
            PayloadType::Delete => Payload::Delete(Delete::parse(body)?),
            PayloadType::Vendor => Payload::Vendor(body.to_vec()),
            PayloadType::TsI => Payload::TsI(ts::parse(body)?),
            PayloadType::TsR => Payload::TsR(ts::parse(body)?),
            PayloadType::Cp => Payload::Cp(Configuration::parse(body)?),
            PayloadType::Eap => Payload::Eap(body.to_vec()),
            PayloadType::Unknown(number) if critical => return Err(WireError::UnsupportedCritical(number)),
            PayloadType::Unknown(number) => Payload::Unknown { number, body: body.to_vec() },
            PayloadType::None | PayloadType::Sk | PayloadType::Skf => {
                return Err(WireError::Unexpected(kind));
            }
        })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        match self {
            Payload::Sa(sa) => sa.emit(out)?,
            Payload::Ke(ke) => ke.emit(out),
            Payload::IdI(id) | Payload::IdR(id) => id.emit(out),
            Payload::Cert(cert) => cert.emit(out),
            Payload::CertReq(request) => request.emit(out),
            Payload::Auth(auth) => auth.emit(out),
            Payload::Nonce(nonce) => out.extend_from_slice(nonce.as_bytes()),
            Payload::Notify(notify) => notify.emit(out)?,
            Payload::Delete(delete) => delete.emit(out)?,
            Payload::TsI(selectors) | Payload::TsR(selectors) => ts::emit(selectors, out)?,
            Payload::Cp(configuration) => configuration.emit(out)?,
            Payload::Vendor(body) | Payload::Eap(body) | Payload::Unknown { body, .. } => {
                out.extend_from_slice(body);
            }
        }
        Ok(())
    }
}

/// A chain, split where an Encrypted payload ends it.
pub(super) struct Chain<'a> {
    /// The payloads before it.
    pub(super) payloads: Vec<Payload>,
    /// The Encrypted payload, if the chain ends with one.
    pub(super) encrypted: Option<EncryptedBody<'a>>,
}

/// The Encrypted payload of a chain.
pub(super) struct EncryptedBody<'a> {
    /// [`PayloadType::Sk`] or [`PayloadType::Skf`].
    pub(super) kind: PayloadType,
    /// Type of the first payload inside.
    pub(super) first_inner: u8,
    /// What follows its generic header.
    pub(super) body: &'a [u8],
}

/// Reads a chain whose first payload has type `first`; it must fill `bytes` exactly.
pub(super) fn parse_chain(first: u8, bytes: &[u8]) -> Result<Chain<'_>, WireError> {
    let mut reader = Reader::new(bytes, "payload chain");
    let mut payloads = Vec::new();
    let mut next = first;
    while next != PayloadType::None.number() {
        if payloads.len() == MAX_PAYLOADS {
            return Err(WireError::TooMany { what: "payloads", max: MAX_PAYLOADS });
        }
        let kind = PayloadType::from_number(next);
        next = reader.u8()?;
        let critical = reader.u8()? & CRITICAL != 0;
        let length = reader.u16()?;
        let body = reader.body(length, PAYLOAD_HEADER_LEN)?;
        if matches!(kind, PayloadType::Sk | PayloadType::Skf) {
            reader.finish()?;
            let encrypted = Some(EncryptedBody { kind, first_inner: next, body });
            return Ok(Chain { payloads, encrypted });
        }
        payloads.push(Payload::parse(kind, critical, body)?);
    }
    reader.finish()?;
    Ok(Chain { payloads, encrypted: None })
}

/// Reads a decrypted chain, which may not hold an Encrypted payload again.
///
/// # Errors
/// When the chain is malformed, does not fill `bytes`, or nests an Encrypted payload.
pub fn parse_payloads(first: u8, bytes: &[u8]) -> Result<Vec<Payload>, WireError> {
    let chain = parse_chain(first, bytes)?;
    match chain.encrypted {
        None => Ok(chain.payloads),
        Some(encrypted) => Err(WireError::Unexpected(encrypted.kind)),
    }
}

/// Writes a chain; returns the first payload's type with it.
///
/// # Errors
/// [`WireError::TooLong`] when something does not fit its length field.
pub fn emit_payloads(payloads: &[Payload]) -> Result<(u8, Vec<u8>), WireError> {
    let mut out = Vec::with_capacity(512);
    let kinds = payloads.iter().map(|payload| payload.payload_type().number());
    let nexts = kinds.clone().skip(1).chain([PayloadType::None.number()]);
    for (payload, next) in payloads.iter().zip(nexts) {
        let start = out.len();
        out.extend_from_slice(&[next, 0, 0, 0]);
        payload.emit(&mut out)?;
        patch_length(&mut out, start, "payload")?;
    }
    Ok((kinds.clone().next().unwrap_or_default(), out))
}
