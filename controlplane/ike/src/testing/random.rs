//! Randomness from a seed (splitmix64), so that a test's world can be had again. Never for keys of anybody.

use crate::crypto::{CryptoError, Random};

/// The stream of this seed.
#[derive(Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        for chunk in out.chunks_mut(8) {
            chunk.iter_mut().zip(self.next().to_be_bytes()).for_each(|(place, octet)| *place = octet);
        }
        Ok(())
    }
}
