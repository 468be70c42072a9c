//! OCSP (RFC 6960): the question about one certificate, and answers to it, fetched or stapled (RFC 4806).
//!
//! Enters: a certificate with its issuer, the responder's octets, the wall clock. Leaves: the request, [`Answer`]. An answer counts
//! if the issuer signed it, or a responder whom the issuer has certified for it (§4.2.2.2). No nonce is sent: answers of large
//! authorities are made beforehand, so age is bounded by their times instead.

use std::time::Duration;

use aws_lc_rs::digest;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extensions;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, TbsRequest,
};

use super::revocation::Issued;
use super::signed::{Signed, public_key};
use super::trust::SIGNATURES;

/// How far the responder's clock may be ahead of ours, in seconds.
const CLOCK_SKEW_SECS: u64 = 300;
/// How long an answer without next update counts, in seconds.
const NO_NEXT_UPDATE_SECS: u64 = 3600;
/// Most certificates of an answer that are tried as its signer.
const MAX_SIGNERS: usize = 4;
/// id-sha1, which every responder knows; nothing depends on its strength (RFC 6960 §4.3, RFC 5019 §2.1.1).
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
/// id-pkix-ocsp-basic.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// id-kp-OCSPSigning.
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

/// What a responder says of a certificate, verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Whether it is revoked.
    pub revoked: bool,
    /// Until when it counts; Unix time, in seconds.
    pub until: u64,
}

/// Why an answer does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OcspError {
    /// Not an answer.
    #[error("the OCSP answer is malformed")]
    Malformed,
    /// tryLater, unauthorized and the like.
    #[error("the OCSP responder does not answer for this certificate")]
    Refused,
    /// Neither the issuer nor whom it has certified for this.
    #[error("the OCSP answer is not signed by the issuer or its responder")]
    BadSignature,
    /// It speaks of other certificates.
    #[error("the OCSP answer is about another certificate")]
    AnotherCertificate,
    /// Not yet, or no longer.
    #[error("the OCSP answer is not of now")]
    NotOfNow,
    /// The responder knows nothing of it.
    #[error("the OCSP responder does not know the certificate")]
    Unknown,
}

/// DER of the request about `issued`; `None` if its serial number has more octets than RFC 5280 §4.1.2.2 allows.
pub fn request(issued: &Issued) -> Option<Vec<u8>> {
    let one = Request { req_cert: cert_id(issued)?, single_request_extensions: None };
    let tbs_request = TbsRequest { request_list: vec![one], ..TbsRequest::default() };
    OcspRequest { tbs_request, optional_signature: None }.to_der().ok()
}

/// Reads and verifies an answer.
///
/// # Errors
/// [`OcspError`] says why it does not count.
pub fn answer(der: &[u8], issued: &Issued, now_unix_secs: u64) -> Result<Answer, OcspError> {
    let response = OcspResponse::from_der(der).map_err(|_| OcspError::Malformed)?;
    if response.response_status != OcspResponseStatus::Successful {
        return Err(OcspError::Refused);
    }
    let bytes = response.response_bytes.ok_or(OcspError::Malformed)?;
    if bytes.response_type != BASIC {
        return Err(OcspError::Malformed);
    }
    let octets = bytes.response.as_bytes();
    let basic = BasicOcspResponse::from_der(octets).map_err(|_| OcspError::Malformed)?;
    let signed = Signed::parse(octets).ok_or(OcspError::Malformed)?;
    if !signed.is_by(&issued.issuer_spki) && !is_delegated(&signed, &basic, issued, now_unix_secs) {
        return Err(OcspError::BadSignature);
    }
    let wanted = cert_id(issued).ok_or(OcspError::AnotherCertificate)?;
    let ours = |id: &CertId| {
        id.hash_algorithm.oid == SHA1
            && id.issuer_name_hash == wanted.issuer_name_hash
            && id.issuer_key_hash == wanted.issuer_key_hash
            && id.serial_number == wanted.serial_number
    };
    let mut single = basic.tbs_response_data.responses.iter().filter(|single| ours(&single.cert_id));
    let single = single.next().ok_or(OcspError::AnotherCertificate)?;
    let critical = |extensions: &Extensions| extensions.iter().any(|one| one.critical);
    if single.single_extensions.as_ref().is_some_and(critical) {
        return Err(OcspError::Malformed);
    }
    let this_update = single.this_update.0.to_unix_duration().as_secs();
    let until = match &single.next_update {
        Some(next) => next.0.to_unix_duration().as_secs(),
        None => this_update.saturating_add(NO_NEXT_UPDATE_SECS),
    };
    if this_update > now_unix_secs.saturating_add(CLOCK_SKEW_SECS) || until < now_unix_secs {
        return Err(OcspError::NotOfNow);
    }
    match single.cert_status {
        CertStatus::Good(_) => Ok(Answer { revoked: false, until }),
        CertStatus::Revoked(_) => Ok(Answer { revoked: true, until }),
        CertStatus::Unknown(_) => Err(OcspError::Unknown),
    }
}

/// Whether a responder signed it that the issuer itself has certified for OCSP (RFC 6960 §4.2.2.2).
fn is_delegated(signed: &Signed<'_>, basic: &BasicOcspResponse, issued: &Issued, now_unix_secs: u64) -> bool {
    let issuer = CertificateDer::from(issued.issuer_der.as_slice());
    let Ok(anchor) = webpki::anchor_from_trusted_cert(&issuer) else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_unix_secs));
    let is_responder = |der: &[u8]| {
        let der = CertificateDer::from(der);
        let Ok(certificate) = EndEntityCert::try_from(&der) else { return false };
        let usage = KeyUsage::required(OCSP_SIGNING);
        let anchors = std::slice::from_ref(&anchor);
        let issued = certificate.verify_for_usage(SIGNATURES, anchors, &[], now, usage, None, None).is_ok();
        issued && signed.is_by(certificate.subject_public_key_info().as_ref())
    };
    let certificates = basic.certs.iter().flatten().take(MAX_SIGNERS);
    certificates.filter_map(|certificate| certificate.to_der().ok()).any(|der| is_responder(&der))
}

fn cert_id(issued: &Issued) -> Option<CertId> {
    let sha1 = |octets: &[u8]| {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets);
        OctetString::new(hash.as_ref()).ok()
    };
    let (_, key) = public_key(&issued.issuer_spki)?;
    Some(CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(AnyRef::NULL.into()) },
        issuer_name_hash: sha1(&issued.issuer_name)?,
        issuer_key_hash: sha1(key)?,
        serial_number: SerialNumber::new(issued.serial.strip_prefix(&[0]).unwrap_or(&issued.serial)).ok()?,
    })
}
