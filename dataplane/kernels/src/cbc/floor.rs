//! What this processor's instructions allow at best for AES-CBC with HMAC-SHA2.
//!
//! Enters: cipher key length, hash and length of the ciphertext. Leaves: core cycles. Counted: VAESENC at its measured
//! throughput, and the vector instructions of the hash in full lanes at two a cycle, which is what processors with 512-bit
//! vectors do so far; nothing for loads, stores, key schedules and what a burst's lanes wait for each other.

use super::{BLOCK_LEN, Hash};
use crate::ESP_HEADER_LEN;
use crate::floor::throughput;

/// 512-bit instructions of the hashes' kinds that a cycle takes.
const VECTOR_PER_CYCLE: f64 = 2.0;
/// Instructions of a round (FIPS 180-4 §6.2.2, §6.4.2), and of a word of the message schedule.
const ROUND: f64 = 17.0;
const WORD: f64 = 11.0;

/// Core cycles per packet at best, the outer hash and the IV's block included; 0 where the kernels do not run.
pub fn floor_cycles(cipher_key_len: usize, hash: Hash, text_len: usize) -> f64 {
    let Some(throughput) = throughput() else { return 0.0 };
    let aes_rounds = (cipher_key_len / 4 + 6) as f64;
    let aes = aes_rounds * (text_len / BLOCK_LEN + 1) as f64 / 4.0 * throughput.aes;
    // Rounds, lanes, octets of a block; shuffles per step that turn packets into words.
    let (rounds, lanes, block_len, shuffles) = match hash {
        Hash::Sha256 => (64.0, 16.0, 64, 80.0),
        Hash::Sha384 | Hash::Sha512 => (80.0, 8.0, 128, 64.0),
    };
    let step = (ROUND * rounds + WORD * (rounds - 16.0) + shuffles) / VECTOR_PER_CYCLE;
    // The padding is one octet and the length, 8 or 16 octets; the outer hash is one block.
    let inner = (ESP_HEADER_LEN + BLOCK_LEN + text_len + 1 + block_len / 8).div_ceil(block_len);
    aes + step / lanes * (inner + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_grows_with_the_packet_the_key_and_the_hash() {
        if crate::Wide::detect().is_none() {
            assert_eq!(floor_cycles(32, Hash::Sha384, 64), 0.0);
            return;
        }
        assert!(floor_cycles(32, Hash::Sha384, 64) < floor_cycles(32, Hash::Sha384, 1424));
        assert!(floor_cycles(16, Hash::Sha256, 1424) < floor_cycles(32, Hash::Sha256, 1424));
        assert!(floor_cycles(32, Hash::Sha256, 1424) < floor_cycles(32, Hash::Sha384, 1424));
        // Two steps of 1,064 cycles over eight lanes, and five blocks of AES.
        let aes = throughput().map_or(0.0, |throughput| 14.0 * 5.0 / 4.0 * throughput.aes);
        assert!((floor_cycles(32, Hash::Sha384, 64) - 266.0 - aes).abs() < 0.5);
    }
}
