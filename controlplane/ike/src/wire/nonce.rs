//! The Nonce payload (RFC 7296 §3.9).

use super::WireError;

/// Fewest octets of a nonce.
pub const MIN_NONCE: usize = 16;
/// Most octets of a nonce.
pub const MAX_NONCE: usize = 256;

/// A nonce of 16 to 256 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Nonce(Vec<u8>);

impl Nonce {
    /// Takes a nonce of legal length.
    ///
    /// # Errors
    /// [`WireError::BadLength`] outside 16 to 256 octets.
    pub fn new(octets: Vec<u8>) -> Result<Nonce, WireError> {
        if (MIN_NONCE..=MAX_NONCE).contains(&octets.len()) {
            Ok(Nonce(octets))
        } else {
            Err(WireError::BadLength { what: "Nonce payload" })
        }
    }

    /// The octets. `Ord` on nonces is the octet-wise order of RFC 7296 §2.8.1.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
