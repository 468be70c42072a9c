//! The counter blocks of CTR (NIST SP 800-38D §6.5) as a table: one XOR instead of an addition in the other byte order.

use super::batch::HEAD_LEN;

/// Octets of the longest text: the table ends there.
pub const MAX_TEXT_LEN: usize = 10_224;
/// Rows of 64 octets in the longest packet without its ICV.
const ROWS: usize = (HEAD_LEN + MAX_TEXT_LEN) / 64;

/// Row `r` holds the counters of the packet's blocks 4r … 4r + 3, to be XORed into a nonce. Block 0 is the header's
/// place, whose counter, 1, is the one that GCM encrypts for the ICV.
#[repr(C, align(64))]
pub(super) struct Counters([u64; 8]);

pub(super) static COUNTERS: [Counters; ROWS] = counters();

const fn counters() -> [Counters; ROWS] {
    let mut rows = [const { Counters([0; 8]) }; ROWS];
    let mut block = 0;
    while block < ROWS * 4 {
        rows[block / 4].0[block % 4 * 2 + 1] = (((block + 1) as u32).swap_bytes() as u64) << 32;
        block += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_blocks() {
        assert_eq!(COUNTERS[0].0[1].to_le_bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(COUNTERS[64].0[5].to_le_bytes(), [0, 0, 0, 0, 0, 0, 1, 3]);
        assert_eq!(COUNTERS[ROWS - 1].0[7].to_le_bytes(), [0, 0, 0, 0, 0, 0, 2, 0x80]);
    }
}
