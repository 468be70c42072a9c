//! The shape that certificates, revocation lists and OCSP answers share: octets, an algorithm, a signature over the octets
//! (RFC 5280 §4.1.1, §5.1.1, RFC 6960 §4.2.1).
//!
//! Enters: DER, the issuer's SubjectPublicKeyInfo. Leaves: whether the signature is the issuer's, by the algorithms that sign
//! certificates.

use x509_parser::asn1_rs::{Any, FromDer as _, Tag};

use super::trust::SIGNATURES;

/// `SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING, … }`, taken apart.
pub(super) struct Signed<'a> {
    /// What is signed, its header included.
    pub(super) tbs: &'a [u8],
    /// The AlgorithmIdentifier inside of its SEQUENCE.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes it apart; `None` if it is of another shape.
    pub(super) fn parse(der: &'a [u8]) -> Option<Signed<'a>> {
        let (_, outer, rest) = element(der, Tag::Sequence)?;
        if !rest.is_empty() {
            return None;
        }
        let (tbs, _, rest) = element(outer, Tag::Sequence)?;
        let (_, algorithm, rest) = element(rest, Tag::Sequence)?;
        let (_, signature, _) = element(rest, Tag::BitString)?;
        Some(Signed { tbs, algorithm, signature: signature.strip_prefix(&[0])? })
    }

    /// Whether the key of this SubjectPublicKeyInfo made the signature.
    pub(super) fn is_by(&self, spki: &[u8]) -> bool {
        let Some((kind, key)) = public_key(spki) else { return false };
        let fits = |a: &&&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
            a.signature_alg_id().as_ref() == self.algorithm && a.public_key_alg_id().as_ref() == kind
        };
        SIGNATURES.iter().filter(fits).any(|a| a.verify_signature(key, self.tbs, self.signature).is_ok())
    }
}

/// AlgorithmIdentifier inside of its SEQUENCE and key of a SubjectPublicKeyInfo.
pub(super) fn public_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, content, _) = element(spki, Tag::Sequence)?;
    let (_, kind, rest) = element(content, Tag::Sequence)?;
    let (_, key, _) = element(rest, Tag::BitString)?;
    Some((kind, key.strip_prefix(&[0])?))
}

/// The first element, the same without its header, and what follows it.
fn element(der: &[u8], tag: Tag) -> Option<(&[u8], &[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok().filter(|(_, any)| any.tag() == tag)?;
    let whole = der.get(..der.len().checked_sub(rest.len())?)?;
    // The content is the end of the whole; taking it from there keeps its lifetime.
    let content = whole.get(whole.len().checked_sub(any.data.len())?..)?;
    Some((whole, content, rest))
}
