//! Verification of AUTH signatures: methods 1, 9, 10, 11 and 14 (RFC 7296 §2.15, RFC 4754, RFC 7427, RFC 8420).

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::SignatureError;
use super::algorithm::{Hash, Scheme};
use crate::wire::{Auth, AuthMethod};

/// Lengths of RSA moduli: 2048 to 8192 bits.
const RSA_MODULUS_OCTETS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The kind of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyKind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl KeyKind {
    /// For operators: `rsa`, `ecdsa` or `ed25519`.
    pub(super) fn name(self) -> &'static str {
        match self {
            KeyKind::Rsa => "rsa",
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => "ecdsa",
            KeyKind::Ed25519 => "ed25519",
        }
    }
}

/// A public key of a kind that this implementation has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PublicKey {
    pub(super) kind: KeyKind,
    /// What SubjectPublicKeyInfo holds: RSAPublicKey, an EC point, or an Ed25519 key.
    pub(super) octets: Vec<u8>,
}

impl PublicKey {
    pub(super) fn from_spki(spki: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
        let algorithm = &spki.algorithm;
        let kind = if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
            let x509_parser::public_key::PublicKey::RSA(key) = spki.parsed().ok()? else { return None };
            let modulus = key.modulus.iter().skip_while(|octet| **octet == 0).count();
            RSA_MODULUS_OCTETS.contains(&modulus).then_some(KeyKind::Rsa)?
        } else if algorithm.algorithm == OID_SIG_ED25519 {
            KeyKind::Ed25519
        } else if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
            [
                (OID_EC_P256, KeyKind::P256),
                (OID_NIST_EC_P384, KeyKind::P384),
                (OID_NIST_EC_P521, KeyKind::P521),
            ]
            .into_iter()
            .find_map(|(oid, kind)| (oid == curve).then_some(kind))?
        } else {
            return None;
        };
        Some(PublicKey { kind, octets: spki.subject_public_key.data.to_vec() })
    }

    /// Verifies an AUTH payload over the signed octets of RFC 7296 §2.15.
    ///
    /// Method 1 is taken over SHA-1, as RFC 7296 has it, and over SHA-2, which some peers make of it.
    pub(super) fn verify(&self, auth: &Auth, signed_octets: &[u8]) -> Result<(), SignatureError> {
        use signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
            RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
            RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        };
        let (algorithms, signature): (&[&'static dyn VerificationAlgorithm], &[u8]) =
            match (auth.method, self.kind) {
                (AuthMethod::RsaSignature, KeyKind::Rsa) => (
                    &[
                        &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                        &RSA_PKCS1_2048_8192_SHA256,
                        &RSA_PKCS1_2048_8192_SHA384,
                        &RSA_PKCS1_2048_8192_SHA512,
                    ],
                    &auth.data,
                ),
                (AuthMethod::EcdsaSha256P256, KeyKind::P256) => (&[&ECDSA_P256_SHA256_FIXED], &auth.data),
                (AuthMethod::EcdsaSha384P384, KeyKind::P384) => (&[&ECDSA_P384_SHA384_FIXED], &auth.data),
                (AuthMethod::EcdsaSha512P521, KeyKind::P521) => (&[&ECDSA_P521_SHA512_FIXED], &auth.data),
                (AuthMethod::DigitalSignature, kind) => {
                    let (identifier, signature) = split_digital_signature(&auth.data)?;
                    let scheme =
                        Scheme::from_identifier(identifier).ok_or(SignatureError::UnsupportedAlgorithm)?;
                    let algorithm = verification(scheme, kind).ok_or(SignatureError::UnsupportedAlgorithm)?;
                    return self.check(algorithm, signed_octets, signature);
                }
                _ => return Err(SignatureError::UnsupportedAlgorithm),
            };
        let valid = algorithms.iter().any(|a| self.check(*a, signed_octets, signature).is_ok());
        if valid { Ok(()) } else { Err(SignatureError::Wrong) }
    }

    pub(super) fn check(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        signed_octets: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        UnparsedPublicKey::new(algorithm, &self.octets)
            .verify(signed_octets, signature)
            .map_err(|_| SignatureError::Wrong)
    }
}

/// Whether an AUTH payload is a signature of method 14 by RSA-PSS (RFC 7427, RFC 8017).
pub(crate) fn is_rsa_pss(auth: &Auth) -> bool {
    let identifier = (auth.method == AuthMethod::DigitalSignature)
        .then(|| split_digital_signature(&auth.data).ok())
        .flatten()
        .map(|(identifier, _)| identifier);
    matches!(identifier.and_then(Scheme::from_identifier), Some(Scheme::RsaPss(_)))
}

/// The kind of key that made an AUTH payload, as operators call it.
pub(crate) fn key_name(auth: &Auth) -> &'static str {
    let kind = |scheme| match scheme {
        Scheme::RsaPkcs1(_) | Scheme::RsaPkcs1Sha1 | Scheme::RsaPss(_) => "rsa",
        Scheme::Ecdsa(_) => "ecdsa",
        Scheme::Ed25519 => "ed25519",
    };
    match auth.method {
        AuthMethod::RsaSignature => "rsa",
        AuthMethod::EcdsaSha256P256 | AuthMethod::EcdsaSha384P384 | AuthMethod::EcdsaSha512P521 => "ecdsa",
        AuthMethod::SharedKey => "psk",
        AuthMethod::DigitalSignature => split_digital_signature(&auth.data)
            .ok()
            .and_then(|(identifier, _)| Scheme::from_identifier(identifier))
            .map_or("unknown", kind),
        _ => "unknown",
    }
}

/// Cuts `length | AlgorithmIdentifier | signature` (RFC 7427 §3).
fn split_digital_signature(data: &[u8]) -> Result<(&[u8], &[u8]), SignatureError> {
    let (length, rest) = data.split_first().ok_or(SignatureError::Wrong)?;
    rest.split_at_checked(usize::from(*length)).ok_or(SignatureError::Wrong)
}

/// RFC 7427 forbids SHA-1 nowhere, but nobody who speaks it needs it; it is refused.
fn verification(scheme: Scheme, kind: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (scheme, kind) {
        (Scheme::RsaPkcs1(Hash::Sha256), KeyKind::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Scheme::RsaPkcs1(Hash::Sha384), KeyKind::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Scheme::RsaPkcs1(Hash::Sha512), KeyKind::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (Scheme::RsaPss(Hash::Sha256), KeyKind::Rsa) => &signature::RSA_PSS_2048_8192_SHA256,
        (Scheme::RsaPss(Hash::Sha384), KeyKind::Rsa) => &signature::RSA_PSS_2048_8192_SHA384,
        (Scheme::RsaPss(Hash::Sha512), KeyKind::Rsa) => &signature::RSA_PSS_2048_8192_SHA512,
        (Scheme::Ecdsa(Hash::Sha256), KeyKind::P256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Scheme::Ecdsa(Hash::Sha384), KeyKind::P256) => &signature::ECDSA_P256_SHA384_ASN1,
        (Scheme::Ecdsa(Hash::Sha512), KeyKind::P256) => &signature::ECDSA_P256_SHA512_ASN1,
        (Scheme::Ecdsa(Hash::Sha256), KeyKind::P384) => &signature::ECDSA_P384_SHA256_ASN1,
        (Scheme::Ecdsa(Hash::Sha384), KeyKind::P384) => &signature::ECDSA_P384_SHA384_ASN1,
        (Scheme::Ecdsa(Hash::Sha512), KeyKind::P384) => &signature::ECDSA_P384_SHA512_ASN1,
        (Scheme::Ecdsa(Hash::Sha256), KeyKind::P521) => &signature::ECDSA_P521_SHA256_ASN1,
        (Scheme::Ecdsa(Hash::Sha384), KeyKind::P521) => &signature::ECDSA_P521_SHA384_ASN1,
        (Scheme::Ecdsa(Hash::Sha512), KeyKind::P521) => &signature::ECDSA_P521_SHA512_ASN1,
        (Scheme::Ed25519, KeyKind::Ed25519) => &signature::ED25519,
        _ => return None,
    })
}
