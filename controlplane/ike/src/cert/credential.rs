//! Our own certificate chain and private key, and the AUTH payloads they sign (RFC 7296 §2.15, RFC 4754, RFC 7427).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::algorithm::{Hash, RsaHash, Scheme};
use super::leaf::{Leaf, ca_hash};
use super::public_key::KeyKind;
use super::{CredentialError, SignError};
use crate::crypto::{CryptoError, RsaSha1Signer};
use crate::ident::Identity;
use crate::wire::{Auth, AuthMethod, CA_HASH_LEN, Cert, SignatureHash};

/// The hashes that we announce in SIGNATURE_HASH_ALGORITHMS: those that [`super::TrustStore`] verifies.
pub const SIGNATURE_HASHES: [SignatureHash; 4] =
    [SignatureHash::Sha2_256, SignatureHash::Sha2_384, SignatureHash::Sha2_512, SignatureHash::Identity];

/// The padding of RSA signatures in method 14; the peer cannot say which it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RsaPadding {
    /// PKCS#1 v1.5, which every peer verifies.
    #[default]
    Pkcs1,
    /// PSS.
    Pss,
}

/// A certificate chain with the first one's private key.
pub struct Credential {
    chain: Vec<CertificateDer<'static>>,
    leaf: Leaf,
    key: SigningKey,
    rsa_padding: RsaPadding,
}

enum SigningKey {
    Rsa { pair: Box<rsa::KeyPair>, sha1: RsaSha1Signer },
    Ecdsa { asn1: EcdsaKeyPair, fixed: EcdsaKeyPair },
    Ed25519(Ed25519KeyPair),
}

impl Credential {
    /// Reads the chain (our certificate first) and its key from PEM.
    ///
    /// # Errors
    /// [`CredentialError`] says which file is wrong and how.
    pub fn from_pem(chain_pem: &[u8], key_pem: &[u8]) -> Result<Credential, CredentialError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CredentialError::BadCertificateFile)?;
        let first = chain.first().ok_or(CredentialError::BadCertificateFile)?;
        let leaf = Leaf::parse(first).map_err(|error| match error {
            super::CertError::UnsupportedKey => CredentialError::UnsupportedKey,
            _ => CredentialError::BadCertificateFile,
        })?;
        let der = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| CredentialError::BadKeyFile)?;
        let key = SigningKey::from_der(&der, leaf.key.kind)?;
        if key.public() != leaf.key.octets {
            return Err(CredentialError::KeyMismatch);
        }
        Ok(Credential { chain, leaf, key, rsa_padding: RsaPadding::default() })
    }

    /// Chooses the padding of RSA signatures in method 14.
    pub fn with_rsa_padding(self, rsa_padding: RsaPadding) -> Credential {
        Credential { rsa_padding, ..self }
    }

    /// The CERT payloads to send, our own certificate first.
    pub fn cert_payloads(&self) -> impl Iterator<Item = Cert> {
        self.chain.iter().map(|der| Cert::x509(der))
    }

    /// SHA-1 of our SubjectPublicKeyInfo.
    pub fn public_key_sha1(&self) -> Option<[u8; CA_HASH_LEN]> {
        self.chain.first().and_then(|der| ca_hash(der).ok())
    }

    /// Whether our certificate names this identity; peers refuse us under another.
    pub fn names(&self, identity: &Identity) -> bool {
        self.leaf.names(identity)
    }

    /// Signs an AUTH payload. `peer_hashes` is what the peer's SIGNATURE_HASH_ALGORITHMS lists, `None` without one.
    ///
    /// Method 14 is used with a peer that knows it and lists a hash our key can sign with. Otherwise the older methods:
    /// 1 over SHA-1 for RSA, 9 to 11 for ECDSA.
    ///
    /// # Errors
    /// [`SignError::NoCommonAlgorithm`] for Ed25519 with a peer that does not know it.
    pub fn sign(
        &self,
        signed_octets: &[u8],
        peer_hashes: Option<&[SignatureHash]>,
    ) -> Result<Auth, SignError> {
        self.sign_with(signed_octets, peer_hashes, RsaHash::Sha1)
    }

    /// As [`Credential::sign`], with another hash for RSA signatures of method 1.
    ///
    /// # Errors
    /// As [`Credential::sign`].
    pub fn sign_with(
        &self,
        signed_octets: &[u8],
        peer_hashes: Option<&[SignatureHash]>,
        rsa_hash: RsaHash,
    ) -> Result<Auth, SignError> {
        self.sign_as(signed_octets, peer_hashes, rsa_hash, None)
    }

    /// As [`Credential::sign_with`], with another padding for RSA signatures of method 14 than this credential's.
    ///
    /// # Errors
    /// As [`Credential::sign`].
    pub fn sign_as(
        &self,
        signed_octets: &[u8],
        peer_hashes: Option<&[SignatureHash]>,
        rsa_hash: RsaHash,
        rsa_padding: Option<RsaPadding>,
    ) -> Result<Auth, SignError> {
        let hashes = peer_hashes.unwrap_or_default();
        if let Some(scheme) = self.scheme(hashes, rsa_padding.unwrap_or(self.rsa_padding)) {
            let identifier = scheme.identifier();
            let signature = self.key.sign(scheme, signed_octets)?;
            // The longest identifier, of PSS, has 67 octets.
            let mut data = vec![identifier.len() as u8];
            data.extend_from_slice(&identifier);
            data.extend_from_slice(&signature);
            return Ok(Auth { method: AuthMethod::DigitalSignature, data });
        }
        let (method, data) = match (&self.key, self.leaf.key.kind) {
            (SigningKey::Rsa { sha1, .. }, _) => {
                let signature = match rsa_hash {
                    RsaHash::Sha1 => sha1.sign(signed_octets)?,
                    _ => self.key.sign(rsa_hash.scheme(), signed_octets)?,
                };
                (AuthMethod::RsaSignature, signature)
            }
            (SigningKey::Ecdsa { fixed, .. }, kind) => {
                let method = match kind {
                    KeyKind::P256 => AuthMethod::EcdsaSha256P256,
                    KeyKind::P384 => AuthMethod::EcdsaSha384P384,
                    _ => AuthMethod::EcdsaSha512P521,
                };
                (method, ecdsa(fixed, signed_octets)?)
            }
            (SigningKey::Ed25519(_), _) => return Err(SignError::NoCommonAlgorithm),
        };
        Ok(Auth { method, data })
    }

    /// The scheme for method 14: the hash that fits our key's strength, else another that the peer lists.
    fn scheme(&self, peer_hashes: &[SignatureHash], rsa_padding: RsaPadding) -> Option<Scheme> {
        let lists = |hash: &Hash| peer_hashes.contains(&hash.registered());
        match &self.key {
            SigningKey::Rsa { pair, .. } => {
                let fitting = match pair.public_modulus_len() {
                    ..=384 => Hash::Sha256,
                    385..=960 => Hash::Sha384,
                    _ => Hash::Sha512,
                };
                let hash = [fitting].into_iter().chain(Hash::ALL).find(lists)?;
                Some(match rsa_padding {
                    RsaPadding::Pkcs1 => Scheme::RsaPkcs1(hash),
                    RsaPadding::Pss => Scheme::RsaPss(hash),
                })
            }
            SigningKey::Ecdsa { .. } => {
                let own = match self.leaf.key.kind {
                    KeyKind::P256 => Hash::Sha256,
                    KeyKind::P384 => Hash::Sha384,
                    _ => Hash::Sha512,
                };
                Some(own).filter(lists).map(Scheme::Ecdsa)
            }
            SigningKey::Ed25519(_) => {
                peer_hashes.contains(&SignatureHash::Identity).then_some(Scheme::Ed25519)
            }
        }
    }
}

impl SigningKey {
    fn from_der(der: &PrivateKeyDer<'_>, kind: KeyKind) -> Result<SigningKey, CredentialError> {
        let octets = der.secret_der();
        let pair = match kind {
            KeyKind::Rsa => {
                let pair = match der {
                    PrivateKeyDer::Pkcs1(_) => rsa::KeyPair::from_der(octets),
                    _ => rsa::KeyPair::from_pkcs8(octets),
                };
                let sha1 = RsaSha1Signer::from_der(octets);
                pair.ok().zip(sha1.ok()).map(|(pair, sha1)| SigningKey::Rsa { pair: Box::new(pair), sha1 })
            }
            KeyKind::P256 => ecdsa_pairs(
                octets,
                &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ),
            KeyKind::P384 => ecdsa_pairs(
                octets,
                &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            ),
            KeyKind::P521 => ecdsa_pairs(
                octets,
                &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
                &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            ),
            KeyKind::Ed25519 => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets).ok().map(SigningKey::Ed25519)
            }
        };
        // A key of another kind than the certificate's, too, ends here.
        pair.ok_or(CredentialError::UnsupportedKey)
    }

    fn public(&self) -> &[u8] {
        match self {
            SigningKey::Rsa { pair, .. } => pair.public_key().as_ref(),
            SigningKey::Ecdsa { asn1, .. } => asn1.public_key().as_ref(),
            SigningKey::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    fn sign(&self, scheme: Scheme, octets: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match (self, scheme) {
            (SigningKey::Rsa { pair, .. }, Scheme::RsaPkcs1(_) | Scheme::RsaPss(_)) => {
                let padding: &'static dyn signature::RsaEncoding = match scheme {
                    Scheme::RsaPkcs1(Hash::Sha256) => &signature::RSA_PKCS1_SHA256,
                    Scheme::RsaPkcs1(Hash::Sha384) => &signature::RSA_PKCS1_SHA384,
                    Scheme::RsaPkcs1(_) => &signature::RSA_PKCS1_SHA512,
                    Scheme::RsaPss(Hash::Sha256) => &signature::RSA_PSS_SHA256,
                    Scheme::RsaPss(Hash::Sha384) => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), octets, &mut out)?;
                Ok(out)
            }
            (SigningKey::Ecdsa { asn1, .. }, Scheme::Ecdsa(_)) => ecdsa(asn1, octets),
            (SigningKey::Ed25519(pair), Scheme::Ed25519) => Ok(pair.try_sign(octets)?.as_ref().to_vec()),
            _ => Err(CryptoError::Library),
        }
    }
}

fn ecdsa(pair: &EcdsaKeyPair, octets: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Ok(pair.sign(&SystemRandom::new(), octets)?.as_ref().to_vec())
}

fn ecdsa_pairs(
    der: &[u8],
    asn1: &'static EcdsaSigningAlgorithm,
    fixed: &'static EcdsaSigningAlgorithm,
) -> Option<SigningKey> {
    let asn1 = EcdsaKeyPair::from_private_key_der(asn1, der).ok()?;
    let fixed = EcdsaKeyPair::from_private_key_der(fixed, der).ok()?;
    Some(SigningKey::Ecdsa { asn1, fixed })
}
