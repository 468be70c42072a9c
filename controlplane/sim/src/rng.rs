//! All chance in a simulated world, from one seed (xoshiro256**, seeded by SplitMix64; both by Blackman and Vigna, public
//! domain).
//!
//! Enters: the seed. Leaves: numbers. Each part of the world draws from its own stream, so that one more lost packet does
//! not change what an unrelated client does next. Nothing here is fit for keys outside a simulation.

use causeway_ike::crypto::{CryptoError, Random};

/// A stream of numbers.
#[derive(Clone)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Rng {
        let mut state = seed;
        Rng(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    /// A stream of its own for one part of the world, the same for the same seed and name.
    pub fn stream(seed: u64, name: &str) -> Rng {
        let hash = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        Rng::new(seed ^ name.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// An index below `len`, which must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        (self.bits() % len as u64) as usize
    }

    /// Whether an event of this probability, in thousandths, happens.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.bits() % 1000 < permille
    }

    /// Fills `buffer`.
    pub fn draw(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let octets = self.bits().to_le_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
    }

    /// A fixed number of octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.draw(&mut octets);
        octets
    }
}

impl Random for Rng {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.draw(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_world_and_a_name_is_a_stream() {
        let draw = |mut rng: Rng| [rng.bits(), rng.bits(), rng.bits()];
        assert_eq!(draw(Rng::new(1)), draw(Rng::new(1)));
        assert_ne!(draw(Rng::new(1)), draw(Rng::new(2)));
        assert_ne!(draw(Rng::stream(1, "net")), draw(Rng::stream(1, "jobs")));
        // First output of the published generator for the SplitMix64 state of seed 0.
        assert_eq!(Rng::new(0).bits(), 0x99ec_5f36_cb75_f2b4);
    }

    #[test]
    fn bounds_hold_and_both_ends_are_reached() {
        let mut rng = Rng::new(3);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(5, 8)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&5), Some(&8)));
        assert_eq!((0..1000).filter(|_| rng.chance(0)).count(), 0);
        assert_eq!((0..1000).filter(|_| rng.chance(1000)).count(), 1000);
        let some = (0..10_000).filter(|_| rng.chance(100)).count();
        assert!((800..1200).contains(&some), "{some}");
    }
}
