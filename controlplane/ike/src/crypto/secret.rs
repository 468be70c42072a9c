//! Octets that are wiped when dropped, compared in constant time and never printed.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key or another secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes octets; the caller must not have left copies.
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `octets` are the same, in time that depends on the lengths only.
    pub fn matches(&self, octets: &[u8]) -> bool {
        same(&self.0, octets)
    }
}

/// Compares in time that depends on the lengths only.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_sees_every_octet_and_the_length() {
        let secret = Secret::new(vec![1, 2, 3]);
        assert!(secret.matches(&[1, 2, 3]));
        for other in [&[0, 2, 3][..], &[1, 2, 0], &[1, 2], &[1, 2, 3, 0], &[]] {
            assert!(!secret.matches(other));
        }
    }
}
