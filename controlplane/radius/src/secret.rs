//! The secret that gateway and server share (RFC 2865 §3).
//!
//! Enters: octets of the configuration. Leaves: nothing but to this crate's hashes.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A shared secret. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret(Vec<u8>);

impl SharedSecret {
    /// Takes the octets over. An empty secret protects nothing (RFC 2865 §3), so there is none.
    pub fn new(octets: Vec<u8>) -> Option<SharedSecret> {
        (!octets.is_empty()).then_some(SharedSecret(octets))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}
