//! The TLS of EAP methods: our certificate, and client certificates checked as those of IKE are (RFC 5216 §5.3).
//!
//! Enters: our certificate and key in PEM, the authorities, TLS versions. Leaves: configurations of rustls. Whether a client's
//! certificate is good [`TrustStore::verify`] says, here as in IKE; rustls checks the handshake's signature with its key.

use std::fmt;
use std::sync::Arc;

use causeway_eap::TlsSettings;
use causeway_ike::cert::{CertError, CertUse, TrustStore};
use causeway_ike::job::Keyring;
use causeway_ike::wire::Cert;
use causeway_shared::config::TlsVersion;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

/// Why there is no TLS.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// One of the two files.
    #[error("auth.certificate_file, auth.private_key_file: {0}")]
    Pem(String),
    /// What rustls says.
    #[error("TLS does not take the certificate or its key: {0}")]
    Refused(#[from] Error),
}

/// A configuration that asks for no certificate, and one that does if there are authorities.
pub struct TlsConfigs {
    /// For TTLS and PEAP.
    pub without_certificate: Arc<ServerConfig>,
    /// For EAP-TLS.
    pub with_certificate: Option<Arc<ServerConfig>>,
}

/// Makes both.
///
/// # Errors
/// When certificate and key do not fit, or are of a kind that TLS does not know.
pub fn tls_configs(
    certificate_pem: &[u8],
    key_pem: &[u8],
    versions: &[TlsVersion],
    keyring: &Arc<Keyring>,
) -> Result<TlsConfigs, TlsSetupError> {
    let pem = |error: rustls::pki_types::pem::Error| TlsSetupError::Pem(error.to_string());
    let chain =
        CertificateDer::pem_slice_iter(certificate_pem).collect::<Result<Vec<_>, _>>().map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(pem)?;
    let versions: Vec<&'static SupportedProtocolVersion> = versions.iter().map(|one| version(*one)).collect();
    let config = |verifier: Option<Arc<dyn ClientCertVerifier>>| {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&versions)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain.clone(), key.clone_key())?;
        TlsSettings::harden(&mut config);
        Ok::<_, TlsSetupError>(Arc::new(config))
    };
    let verifier = keyring.client_authorities.as_ref().map(|authorities| {
        let subjects = authorities.subjects().map(DistinguishedName::in_sequence).collect();
        let provider = Arc::new(aws_lc_rs::default_provider());
        Arc::new(Clients { keyring: Arc::clone(keyring), subjects, provider }) as Arc<dyn ClientCertVerifier>
    });
    Ok(TlsConfigs {
        without_certificate: config(None)?,
        with_certificate: verifier.map(|verifier| config(Some(verifier))).transpose()?,
    })
}

fn version(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V12 => &rustls::version::TLS12,
        TlsVersion::V13 => &rustls::version::TLS13,
    }
}

/// Checks client certificates against the authorities of IKE.
struct Clients {
    keyring: Arc<Keyring>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("subjects", &self.subjects).finish_non_exhaustive()
    }
}

impl Clients {
    fn authorities(&self) -> Result<&TrustStore, Error> {
        self.keyring.client_authorities.as_ref().ok_or(CertificateError::UnknownIssuer.into())
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain: Vec<Cert> = chain.map(|der| Cert::x509(der)).collect();
        let verified = self.authorities()?.verify(&chain, CertUse::Client, now.as_secs());
        verified.map(|_| ClientCertVerified::assertion()).map_err(|error| {
            tracing::info!("the certificate of an EAP client is refused: {error}");
            certificate_error(&error).into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What the client is told by the alert.
fn certificate_error(error: &CertError) -> CertificateError {
    match error {
        CertError::Malformed => CertificateError::BadEncoding,
        CertError::Expired => CertificateError::Expired,
        CertError::NotYetValid => CertificateError::NotValidYet,
        CertError::UnknownIssuer => CertificateError::UnknownIssuer,
        CertError::Revoked => CertificateError::Revoked,
        CertError::StatusUnknown(_) => CertificateError::UnknownRevocationStatus,
        CertError::BadSignature => CertificateError::BadSignature,
        CertError::WrongUsage => CertificateError::InvalidPurpose,
        _ => CertificateError::ApplicationVerificationFailure,
    }
}
