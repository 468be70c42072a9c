//! Path validation against trusted authorities (RFC 5280, through rustls-webpki), and the proof types that only it makes.
//!
//! Enters: CERT payloads, an identity, an AUTH payload, the wall clock. Leaves: [`VerifiedCertificate`], then
//! [`ProvenIdentity`]. A trusted authority's own validity period is not looked at: removing it from the file ends it.
//! With a [`StatusSource`], every certificate of the path is looked up once all else is good.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};

use super::leaf::{Leaf, ca_hash, may_certify};
use super::revocation::{Revocation, RevocationPolicy, StatusSource};
use super::{AuthenticationError, CertError, CredentialError, PublicKey, SignatureError};
use crate::ident::Identity;
use crate::wire::{Auth, CA_HASH_LEN, Cert, CertEncoding, CertReq};

/// Most certificates accepted from a peer.
pub const MAX_CHAIN: usize = 8;

pub(super) static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
const IPSEC_IKE: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 17]);
const IKE_INTERMEDIATE: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 8, 2, 2]);
const ANY: KeyPurposeId<'static> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0x00]);

/// The side whose certificate is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertUse {
    /// A remote user's.
    Client,
    /// A gateway's.
    Server,
}

/// Trusted authorities.
pub struct TrustStore {
    anchors: Vec<TrustAnchor<'static>>,
    hashes: Vec<[u8; CA_HASH_LEN]>,
    /// The anchors' certificates, in their order.
    certificates: Vec<CertificateDer<'static>>,
    revocation: Option<Revocation>,
}

/// An end-entity certificate with a valid path to a trusted authority. Made by [`TrustStore::verify`] only.
pub struct VerifiedCertificate(Leaf);

/// An identity that a verified certificate names and whose private key signed the AUTH payload. Made by
/// [`TrustStore::authenticate`] only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenIdentity {
    identity: Identity,
    subject: Identity,
    key: &'static str,
}

impl ProvenIdentity {
    /// The identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The certificate's subject, a DN.
    pub fn subject(&self) -> &Identity {
        &self.subject
    }

    /// The kind of the certificate's key: `rsa`, `ecdsa` or `ed25519`.
    pub fn key(&self) -> &'static str {
        self.key
    }
}

impl TrustStore {
    /// Reads authorities from PEM.
    ///
    /// # Errors
    /// [`CredentialError::NoAuthority`] when there is none or one cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<TrustStore, CredentialError> {
        let bad = CredentialError::NoAuthority;
        let certificates =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| bad.clone())?;
        if certificates.is_empty() {
            return Err(bad);
        }
        let (anchors, hashes) = (Vec::new(), Vec::new());
        let mut store = TrustStore { anchors, hashes, certificates: Vec::new(), revocation: None };
        for certificate in &certificates {
            let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| bad.clone())?;
            store.anchors.push(anchor.to_owned());
            store.hashes.push(ca_hash(certificate).map_err(|_| bad.clone())?);
        }
        store.certificates = certificates;
        Ok(store)
    }

    /// Looks up every certificate of a path from now on.
    pub fn with_revocation(self, policy: RevocationPolicy, source: Arc<dyn StatusSource>) -> TrustStore {
        TrustStore { revocation: Some(Revocation { policy, source }), ..self }
    }

    /// Whether verifying may wait for others.
    pub fn may_wait(&self) -> bool {
        self.revocation.is_some()
    }

    /// The authorities' subjects: DER of the names inside of the SEQUENCE.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.subject.as_ref())
    }

    /// The CERTREQ payload that asks for certificates under these authorities.
    pub fn cert_req(&self) -> CertReq {
        CertReq::x509(&self.hashes)
    }

    /// Verifies the first X.509 certificate of a peer, the others being its intermediates.
    ///
    /// # Errors
    /// [`CertError`] says what is wrong.
    pub fn verify(
        &self,
        certs: &[Cert],
        cert_use: CertUse,
        now_unix_secs: u64,
    ) -> Result<VerifiedCertificate, CertError> {
        let chain: Vec<CertificateDer<'_>> = certs
            .iter()
            .filter(|cert| cert.encoding == CertEncoding::X509Signature)
            .map(|cert| CertificateDer::from(cert.data.as_slice()))
            .collect();
        if chain.len() > MAX_CHAIN {
            return Err(CertError::TooManyCertificates);
        }
        let (first, intermediates) = chain.split_first().ok_or(CertError::NoCertificate)?;
        let leaf = Leaf::parse(first)?;
        let end_entity = EndEntityCert::try_from(first).map_err(cert_error)?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_unix_secs));
        let path = end_entity
            .verify_for_usage(SIGNATURES, &self.anchors, intermediates, now, IkeUsage(cert_use), None, None)
            .map_err(cert_error)?;
        if !leaf.may_sign {
            return Err(CertError::WrongUsage);
        }
        let between: Vec<_> = path.intermediate_certificates().map(|cert| cert.der()).collect();
        for intermediate in &between {
            if !may_certify(intermediate)? {
                return Err(CertError::NotAnAuthority);
            }
        }
        if let Some(revocation) = &self.revocation {
            let anchor = path.anchor();
            let same = |one: &TrustAnchor<'_>| {
                one.subject == anchor.subject && one.subject_public_key_info == anchor.subject_public_key_info
            };
            let place = self.anchors.iter().position(same).ok_or(CertError::UnknownIssuer)?;
            let top = self.certificates.get(place).ok_or(CertError::UnknownIssuer)?;
            let path: Vec<&[u8]> = std::iter::once(first.as_ref())
                .chain(between.iter().map(AsRef::as_ref))
                .chain(std::iter::once(top.as_ref()))
                .collect();
            let ocsp = certs.iter().filter(|cert| cert.encoding == CertEncoding::OcspContent);
            let stapled: Vec<&[u8]> = ocsp.map(|cert| cert.data.as_slice()).take(MAX_CHAIN).collect();
            revocation.judge(&path, &stapled, now_unix_secs)?;
        }
        Ok(VerifiedCertificate(leaf))
    }

    /// Verifies certificate, identity and signature together.
    ///
    /// # Errors
    /// [`AuthenticationError`] says which of the three is wrong.
    pub fn authenticate(
        &self,
        certs: &[Cert],
        cert_use: CertUse,
        identity: &Identity,
        auth: &Auth,
        signed_octets: &[u8],
        now_unix_secs: u64,
    ) -> Result<ProvenIdentity, AuthenticationError> {
        let certificate = self.verify(certs, cert_use, now_unix_secs)?;
        if !certificate.names(identity) {
            return Err(AuthenticationError::IdentityMismatch);
        }
        certificate.verify_auth(auth, signed_octets)?;
        let key = certificate.0.key.kind.name();
        Ok(ProvenIdentity { identity: identity.clone(), subject: Identity::Dn(certificate.0.subject), key })
    }
}

impl VerifiedCertificate {
    pub(super) fn key(&self) -> &PublicKey {
        &self.0.key
    }

    /// DER of its subject.
    pub(super) fn subject(&self) -> &[u8] {
        &self.0.subject
    }

    /// Whether the certificate names this identity.
    pub fn names(&self, identity: &Identity) -> bool {
        self.0.names(identity)
    }

    /// Its subject alternative names.
    pub fn alternative_names(&self) -> &[Identity] {
        &self.0.names
    }

    /// Verifies an AUTH payload made with the certificate's key.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_auth(&self, auth: &Auth, signed_octets: &[u8]) -> Result<(), SignatureError> {
        self.0.key.verify(auth, signed_octets)
    }
}

/// The extended key usages with which a certificate may be used for IKE (RFC 4945 §5.1.3.12, and what clients have).
struct IkeUsage(CertUse);

impl ExtendedKeyUsageValidator for IkeUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let own = match self.0 {
            CertUse::Client => CLIENT_AUTH,
            CertUse::Server => SERVER_AUTH,
        };
        let mut restricted = false;
        for purpose in purposes {
            let purpose = purpose?;
            if [own, IPSEC_IKE, IKE_INTERMEDIATE, ANY].contains(&purpose) {
                return Ok(());
            }
            restricted = true;
        }
        // No error of webpki names several usages; `cert_error` makes WrongUsage of this one.
        if restricted { Err(webpki::Error::EmptyEkuExtension) } else { Ok(()) }
    }
}

fn cert_error(error: webpki::Error) -> CertError {
    use webpki::Error;
    match error {
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) | Error::MalformedExtensions => {
            CertError::Malformed
        }
        Error::CertExpired { .. } => CertError::Expired,
        Error::CertNotValidYet { .. } => CertError::NotYetValid,
        Error::UnknownIssuer => CertError::UnknownIssuer,
        Error::EndEntityUsedAsCa => CertError::NotAnAuthority,
        Error::PathLenConstraintViolated => CertError::PathTooLong,
        Error::NameConstraintViolation => CertError::NameConstraint,
        Error::InvalidSignatureForPublicKey => CertError::BadSignature,
        Error::EmptyEkuExtension | Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity => {
            CertError::WrongUsage
        }
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => CertError::UnsupportedKey,
        other => CertError::Invalid(other),
    }
}
