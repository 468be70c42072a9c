//! What can be wrong with certificates and signatures, by whose fault it is.

use crate::crypto::CryptoError;

/// Why a peer's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// No X.509 certificate was sent.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// More certificates than [`super::MAX_CHAIN`].
    #[error("the peer sent more than {} certificates", super::MAX_CHAIN)]
    TooManyCertificates,
    /// Not a certificate.
    #[error("the certificate is malformed")]
    Malformed,
    /// Past its notAfter.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// Before its notBefore.
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid,
    /// Its authority has revoked it, or an intermediate's has (RFC 5280 §6.3).
    #[error("a certificate of the chain is revoked")]
    Revoked,
    /// The operator wants to know whether it is revoked, and nobody says.
    #[error("whether a certificate of the chain is revoked cannot be learnt: {0}")]
    StatusUnknown(super::UnknownStatus),
    /// No path to a trusted authority.
    #[error("no trusted authority issued the certificate")]
    UnknownIssuer,
    /// Who issued it is no authority, or none that may issue (RFC 5280 §6.1.4 k, n).
    #[error("the certificate was issued with one that may not issue")]
    NotAnAuthority,
    /// More intermediates than an authority's pathLenConstraint allows (RFC 5280 §6.1.4 l).
    #[error("the chain is longer than an authority of it allows")]
    PathTooLong,
    /// A name that an authority may not certify (RFC 5280 §4.2.1.10).
    #[error("the certificate holds a name that an authority of its chain may not certify")]
    NameConstraint,
    /// A signature in the path is wrong.
    #[error("a signature in the certificate chain is wrong")]
    BadSignature,
    /// Its key usage or extended key usage excludes IKE, or it is an authority's own.
    #[error("the certificate is not for this use")]
    WrongUsage,
    /// Its key is of a kind or size that this implementation refuses.
    #[error("the certificate's key is of a kind or size that is not accepted")]
    UnsupportedKey,
    /// Another rule of RFC 5280.
    #[error("the certificate chain is not valid: {0}")]
    Invalid(webpki::Error),
}

/// Why a peer that showed a certificate is not who it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The certificate is for somebody else.
    #[error("the certificate does not name the peer's identity")]
    IdentityMismatch,
    /// The AUTH payload.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// Why an AUTH payload was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// An authentication method or signature algorithm that is not supported, or not with this kind of key.
    #[error("the signature algorithm is not supported with this key")]
    UnsupportedAlgorithm,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Wrong,
}

/// Why our own certificate and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The certificate file.
    #[error("the certificate file is not PEM with certificates, our own first")]
    BadCertificateFile,
    /// The private key file.
    #[error("the private key file is not PEM with one PKCS#8, SEC1 or PKCS#1 key")]
    BadKeyFile,
    /// The key is of a kind or size that is not supported.
    #[error("the private key must be RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519")]
    UnsupportedKey,
    /// The key is another's.
    #[error("the private key does not belong to the first certificate")]
    KeyMismatch,
    /// No authority.
    #[error("the file of authorities holds no usable certificate")]
    NoAuthority,
}

/// Why we cannot sign an AUTH payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The peer accepts no signature that our key can make.
    #[error("the peer accepts no signature algorithm that our key can make")]
    NoCommonAlgorithm,
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}
