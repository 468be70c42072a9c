//! What can go wrong in cryptography.

/// Why a computation gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// An ICV, MAC or signature is wrong, or there is no room for one.
    #[error("integrity check failed")]
    BadIntegrity,
    /// Padding of an authenticated payload is longer than the payload: the peer's fault.
    #[error("padding is longer than the payload")]
    BadPadding,
    /// A public value is no member of its group (RFC 6989): the peer's fault.
    #[error("public value is not a member of its group")]
    BadPublicValue,
    /// A key, or a demand for keying material, has an impossible length: our fault.
    #[error("impossible length of a key")]
    BadKeyLength,
    /// The source of randomness failed.
    #[error("no randomness")]
    NoRandomness,
    /// The library failed.
    #[error("cryptographic library failed")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for CryptoError {
    fn from(_: aws_lc_rs::error::Unspecified) -> CryptoError {
        CryptoError::Library
    }
}
