//! AES-CBC encryption of sixteen packets side by side.
//!
//! Enters: packets with a schedule lane each, the longest first. Leaves: their ciphertext in place. NIST SP 800-38A §6.2. A
//! packet's blocks hang on each other, so the width comes from other packets; a lane whose packet ends takes the next one.

use core::arch::asm;
use core::arch::x86_64::*;

use super::schedule::{LANES, Schedule};

/// Blocks that lanes without a packet may go through before their pointer must be set back.
const IDLE_BLOCKS: u64 = 64;

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
    idle: [[u8; 16]; IDLE_BLOCKS as usize],
}

impl Encrypt {
    pub(crate) const fn new() -> Encrypt {
        Encrypt { chain: [[0; 16]; LANES], idle: [[0; 16]; IDLE_BLOCKS as usize] }
    }

    /// Encrypts `chains`; chain `i`'s round keys are lane `i % 16` of `schedules[i / 16]`. Lanes of the schedules are
    /// overwritten.
    ///
    /// # Safety
    /// The processor has what [`crate::Wide`] proves; every chain's blocks are readable, writable, of no one else, and at
    /// least one; the schedules were expanded for `ROUNDS`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    pub(crate) unsafe fn run<const ROUNDS: usize>(&mut self, chains: &[Chain], schedules: &mut [Schedule]) {
        let idle = self.idle.as_mut_ptr().cast::<u8>();
        let mut at = [idle; LANES];
        let mut left = [u64::MAX; LANES];
        let (mut live, mut next, mut group) = (0, 0, 0);
        let mut quads = 0;
        let width = width(chains);
        loop {
            if live == 0 {
                // Sixteen at a time, with the schedule that was expanded for them, where lanes end together.
                let Some(sixteen) = chains.get(next..).filter(|rest| !rest.is_empty()) else { return };
                group = next / LANES;
                live = sixteen.len().min(width);
                for (lane, chain) in sixteen.iter().enumerate().take(width) {
                    (at[lane], left[lane]) = (chain.first, chain.blocks as u64);
                }
                next += live;
                quads = live.div_ceil(4);
                self.chain = [[0; 16]; LANES];
            }
            let mut blocks = left.iter().copied().min().unwrap_or(0);
            if live < LANES {
                blocks = blocks.min(IDLE_BLOCKS);
            }
            let Some(active) = schedules.get(group) else { return };
            // SAFETY: every lane has that many blocks, or is idle.
            unsafe {
                let keys = active.as_ptr();
                let chain = self.chain.as_mut_ptr().cast();
                match quads {
                    1 => steps::<ROUNDS, 1>(keys, &at, chain, blocks as usize),
                    2 => steps::<ROUNDS, 2>(keys, &at, chain, blocks as usize),
                    3 => steps::<ROUNDS, 3>(keys, &at, chain, blocks as usize),
                    _ => steps::<ROUNDS, 4>(keys, &at, chain, blocks as usize),
                }
            }
            let mut ended = 0_u32;
            for (lane, (left, at)) in left.iter_mut().zip(&mut at).enumerate() {
                let alive = *left != u64::MAX;
                *left = if alive { *left - blocks } else { u64::MAX };
                *at = if alive { at.wrapping_add(16 * blocks as usize) } else { idle };
                ended |= u32::from(*left == 0) << lane;
            }
            if ended.count_ones() as usize == live && next % LANES == 0 {
                (at, left, live) = ([idle; LANES], [u64::MAX; LANES], 0);
                continue;
            }
            while ended != 0 {
                let lane = ended.trailing_zeros() as usize;
                ended &= ended - 1;
                (at[lane], left[lane]) = (idle, u64::MAX);
                let Some(chain) = chains.get(next) else {
                    live -= 1;
                    continue;
                };
                (at[lane], left[lane]) = (chain.first, chain.blocks as u64);
                self.chain[lane] = [0; 16];
                if let Some((active, spare)) = schedules.get_mut(group..).and_then(<[_]>::split_first_mut) {
                    match (next / LANES).checked_sub(group + 1) {
                        // Its own lane of the schedule lies beyond the width.
                        None => active.copy_lane(lane, next % LANES),
                        Some(spare_group) => {
                            if let Some(spare) = spare.get(spare_group) {
                                active.take_lane(lane, spare, next % LANES);
                            }
                        }
                    }
                }
                next += 1;
            }
            // Fewer registers in step are faster, so the last packets move together.
            let needed = live.div_ceil(4);
            if next == chains.len() && (1..quads).contains(&needed) {
                for from in 4 * needed..4 * quads {
                    let free = left.iter().position(|left| *left == u64::MAX);
                    let (Some(to), Some(active)) = (free, schedules.get_mut(group)) else { continue };
                    if left[from] != u64::MAX && to < from {
                        (at[to], left[to], self.chain[to]) = (at[from], left[from], self.chain[from]);
                        (at[from], left[from]) = (idle, u64::MAX);
                        active.copy_lane(to, from);
                    }
                }
                quads = needed;
            }
        }
    }
}

/// Lanes that are worth filling. No width ends before the longest chain
/// does, and steps of fewer lanes are faster: so only as many chains go beside it as end with it, and the others follow.
fn width(chains: &[Chain]) -> usize {
    let longest = chains.iter().map(|chain| chain.blocks).max().unwrap_or(0);
    let all: usize = chains.iter().map(|chain| chain.blocks).sum();
    let quads = (all + 2 * longest).checked_div(4 * longest).unwrap_or(0);
    (4 * quads).clamp(LANES / 2, LANES)
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
                *state = _mm512_xor_si512(*state, text);
            }
            forward::<ROUNDS, QUADS>(keys, &mut state);
            for (quad, state) in state.iter().enumerate() {
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

/// AES's forward cipher of one block in each cell.
///
/// # Safety
/// The processor has what [`crate::Wide`] proves; `keys` is a schedule for `ROUNDS`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
unsafe fn forward<const ROUNDS: usize, const QUADS: usize>(
    keys: *const __m128i,
    state: &mut [__m512i; QUADS],
) {
    // SAFETY: the caller's promise: a round's row is 4 × 64 octets.
    let key =
        |round: usize, quad: usize| unsafe { _mm512_load_si512(keys.add(LANES * round + 4 * quad).cast()) };
    for (quad, state) in state.iter_mut().enumerate() {
        *state = _mm512_xor_si512(*state, key(0, quad));
    }
    for round in 1..ROUNDS {
        for (quad, state) in state.iter_mut().enumerate() {
            *state = _mm512_aesenc_epi128(*state, key(round, quad));
        }
        pin(state);
    }
    for (quad, state) in state.iter_mut().enumerate() {
        *state = _mm512_aesenclast_epi128(*state, key(ROUNDS, quad));
    }
}

/// Keeps the compiler from working on one register's rounds after the other's: the processor would wait for each.
#[target_feature(enable = "avx512f")]
#[inline]
fn pin<const N: usize>(state: &mut [__m512i; N]) {
    for state in state {
        // SAFETY: no instruction at all.
        unsafe { asm!("/* {0} */", inout(zmm_reg) * state, options(nomem, nostack, preserves_flags)) };
    }
}
