//! AES-CBC encryption of sixteen packets side by side.
//!
//! Enters: packets with a schedule lane each, the longest first. Leaves: their ciphertext in place. NIST SP 800-38A §6.2. A
//! packet's blocks hang on each other, so the width comes from other packets; a lane whose packet ends takes the next one.

use core::arch::x86_64::*;

use super::schedule::{LANES, Schedule};

/// Blocks that lanes without a packet may go through before their pointer must be set back.
const IDLE_BLOCKS: usize = 64;

/// One chain to encrypt: its first block is not exclusive-ored with anything.
#[derive(Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) first: *mut u8,
    pub(crate) blocks: usize,
}

/// Scratch of the sixteen lanes.
#[repr(C, align(64))]
pub(crate) struct Encrypt {
    /// Each lane's last block of ciphertext.
    chain: [[u8; 16]; LANES],
    /// What lanes without a packet chew on.
    idle: [[u8; 16]; IDLE_BLOCKS],
}

impl Encrypt {
    pub(crate) const fn new() -> Encrypt {
        Encrypt { chain: [[0; 16]; LANES], idle: [[0; 16]; IDLE_BLOCKS] }
    }

    /// Encrypts `chains`; chain `i`'s round keys are lane `i % 16` of `schedules[i / 16]`. Lanes of the first schedule are
    /// overwritten.
    ///
    /// # Safety
    /// The processor has what [`crate::Wide`] proves; every chain's blocks are readable, writable, of no one else, and at
    /// least one; the schedules were expanded for `ROUNDS`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    pub(crate) unsafe fn run<const ROUNDS: usize>(&mut self, chains: &[Chain], schedules: &mut [Schedule]) {
        let Some((active, spare)) = schedules.split_first_mut() else {
            return;
        };
        let idle = self.idle.as_mut_ptr().cast::<u8>();
        let mut at = [idle; LANES];
        let mut left = [usize::MAX; LANES];
        let mut live = chains.len().min(LANES);
        let mut next = live;
        for (lane, chain) in chains.iter().enumerate().take(LANES) {
            (at[lane], left[lane]) = (chain.first, chain.blocks);
        }
        self.chain = [[0; 16]; LANES];
        let quads = live.div_ceil(4);
        while live > 0 {
            let mut blocks = left.iter().copied().min().unwrap_or(0);
            if live < 4 * quads {
                blocks = blocks.min(IDLE_BLOCKS);
            }
            // SAFETY: every lane has that many blocks, or is idle.
            unsafe {
                let keys = active.as_ptr();
                let chain = self.chain.as_mut_ptr().cast();
                match quads {
                    1 => steps::<ROUNDS, 1>(keys, &at, chain, blocks),
                    2 => steps::<ROUNDS, 2>(keys, &at, chain, blocks),
                    _ => steps::<ROUNDS, 4>(keys, &at, chain, blocks),
                }
            }
            for lane in 0..LANES {
                if left[lane] == usize::MAX {
                    continue;
                }
                left[lane] -= blocks;
                at[lane] = at[lane].wrapping_add(16 * blocks);
                if left[lane] > 0 {
                    continue;
                }
                if let Some(chain) = chains.get(next) {
                    (at[lane], left[lane]) = (chain.first, chain.blocks);
                    self.chain[lane] = [0; 16];
                    if let Some(schedule) = spare.get(next / LANES - 1) {
                        active.take_lane(lane, schedule, next % LANES);
                    }
                    next += 1;
                } else {
                    (at[lane], left[lane]) = (idle, usize::MAX);
                    live -= 1;
                }
            }
        }
    }
}

/// `blocks` blocks of `4 * QUADS` lanes.
///
/// # Safety
/// The processor has what [`crate::Wide`] proves; so many lanes have so many blocks at `at`; `keys` is a schedule for
/// `ROUNDS`; `chain` has sixteen cells of 16 octets.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
unsafe fn steps<const ROUNDS: usize, const QUADS: usize>(
    keys: *const __m128i,
    at: &[*mut u8; LANES],
    chain: *mut __m512i,
    blocks: usize,
) {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let key = |round: usize, quad: usize| _mm512_load_si512(keys.add(LANES * round + 4 * quad).cast());
        let mut state = [_mm512_setzero_si512(); QUADS];
        for (quad, state) in state.iter_mut().enumerate() {
            *state = _mm512_load_si512(chain.add(quad));
        }
        for block in 0..blocks {
            for (quad, state) in state.iter_mut().enumerate() {
                let row = |lane: usize| _mm_loadu_si128(at[4 * quad + lane].add(16 * block).cast());
                let text = _mm512_castsi128_si512(row(0));
                let text = _mm512_inserti32x4::<1>(text, row(1));
                let text = _mm512_inserti32x4::<2>(text, row(2));
                let text = _mm512_inserti32x4::<3>(text, row(3));
                *state = _mm512_ternarylogic_epi32::<0x96>(*state, text, key(0, quad));
            }
            for round in 1..ROUNDS {
                for (quad, state) in state.iter_mut().enumerate() {
                    *state = _mm512_aesenc_epi128(*state, key(round, quad));
                }
            }
            for (quad, state) in state.iter_mut().enumerate() {
                *state = _mm512_aesenclast_epi128(*state, key(ROUNDS, quad));
                let to = |lane: usize| at[4 * quad + lane].add(16 * block).cast();
                _mm_storeu_si128(to(0), _mm512_castsi512_si128(*state));
                _mm_storeu_si128(to(1), _mm512_extracti32x4_epi32::<1>(*state));
                _mm_storeu_si128(to(2), _mm512_extracti32x4_epi32::<2>(*state));
                _mm_storeu_si128(to(3), _mm512_extracti32x4_epi32::<3>(*state));
            }
        }
        for (quad, state) in state.into_iter().enumerate() {
            _mm512_store_si512(chain.add(quad), state);
        }
    }
}
