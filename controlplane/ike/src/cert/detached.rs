//! Signatures that are no AUTH payload but are made like one: what AnyConnect-EAP proves a client certificate with.
//!
//! Enters: a chain in DER, a bare signature over the octets that the client's AUTH would sign, the negotiated PRF.
//! Leaves: [`ProvenHolder`], which nothing else makes. RSA is PKCS#1 v1.5 with the PRF's hash, ECDSA as in RFC 4754 or DER.

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::public_key::KeyKind;
use super::trust::{CertUse, TrustStore};
use super::{AuthenticationError, SignatureError};
use crate::ident::Identity;
use crate::suite::Prf;
use crate::wire::Cert;

/// Who holds a verified client certificate whose key made the signature. Made by [`TrustStore::authenticate_holder`] only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenHolder {
    names: Vec<Identity>,
    subject: Identity,
    common_name: Option<String>,
}

impl ProvenHolder {
    /// Its subject alternative names.
    pub fn alternative_names(&self) -> &[Identity] {
        &self.names
    }

    /// Its subject, a DN.
    pub fn subject(&self) -> &Identity {
        &self.subject
    }

    /// The last common name of its subject, if that is text without control characters.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }
}

impl TrustStore {
    /// Verifies a client's chain (its own certificate first) and its signature.
    ///
    /// # Errors
    /// [`AuthenticationError`] says which of the two is wrong.
    pub fn authenticate_holder(
        &self,
        chain: &[Vec<u8>],
        signature: &[u8],
        signed_octets: &[u8],
        prf: Prf,
        now_unix_secs: u64,
    ) -> Result<ProvenHolder, AuthenticationError> {
        let certs: Vec<Cert> = chain.iter().map(|der| Cert::x509(der)).collect();
        let certificate = self.verify(&certs, CertUse::Client, now_unix_secs)?;
        let key = certificate.key();
        let good = algorithms(key.kind, prf)
            .iter()
            .any(|algorithm| key.check(*algorithm, signed_octets, signature).is_ok());
        if !good {
            return Err(SignatureError::Wrong.into());
        }
        let subject = certificate.subject().to_vec();
        let names = certificate.alternative_names().to_vec();
        Ok(ProvenHolder { names, common_name: common_name(&subject), subject: Identity::Dn(subject) })
    }
}

fn algorithms(kind: KeyKind, prf: Prf) -> &'static [&'static dyn VerificationAlgorithm] {
    match (kind, prf) {
        (KeyKind::Rsa, Prf::HmacSha2_256) => &[&signature::RSA_PKCS1_2048_8192_SHA256],
        (KeyKind::Rsa, Prf::HmacSha2_384) => &[&signature::RSA_PKCS1_2048_8192_SHA384],
        (KeyKind::Rsa, Prf::HmacSha2_512) => &[&signature::RSA_PKCS1_2048_8192_SHA512],
        (KeyKind::P256, _) => &[&signature::ECDSA_P256_SHA256_FIXED, &signature::ECDSA_P256_SHA256_ASN1],
        (KeyKind::P384, _) => &[&signature::ECDSA_P384_SHA384_FIXED, &signature::ECDSA_P384_SHA384_ASN1],
        (KeyKind::P521, _) => &[&signature::ECDSA_P521_SHA512_FIXED, &signature::ECDSA_P521_SHA512_ASN1],
        (KeyKind::Ed25519, _) => &[&signature::ED25519],
    }
}

fn common_name(subject: &[u8]) -> Option<String> {
    let (_, name) = X509Name::from_der(subject).ok()?;
    let text = name.iter_common_name().last()?.as_str().ok()?;
    let fine = !text.is_empty() && !text.chars().any(char::is_control);
    fine.then(|| text.to_owned())
}
