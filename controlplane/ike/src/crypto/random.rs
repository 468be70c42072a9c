//! Randomness as an argument: the daemon passes the system's, a simulation a seeded one.

use super::CryptoError;

/// A source of octets that nobody can predict (or, in a simulation, repeat at will).
pub trait Random {
    /// Fills `out`.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`] when the source fails.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError>;
}

/// The library's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        aws_lc_rs::rand::fill(out).map_err(|_| CryptoError::NoRandomness)
    }
}
