//! AES-CBC decryption of one packet, up to 32 blocks at a time.
//!
//! Enters: a packet's ciphertext behind its IV, and its round keys. Leaves: the plaintext in place. NIST SP 800-38A §6.2:
//! the blocks of one packet do not hang on each other.

use core::arch::x86_64::*;

use super::schedule::LANES;

/// Registers of four blocks that are in flight together.
const WIDEST: usize = 8;

/// Decrypts `blocks` blocks at `text`, before which the IV stands.
///
/// # Safety
/// The processor has what [`crate::Wide`] proves; the blocks and the 16 octets before them are readable, the blocks
/// writable, `keys` is a lane of a decryption schedule for `ROUNDS`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
pub(crate) unsafe fn decrypt<const ROUNDS: usize>(keys: *const __m128i, text: *mut u8, blocks: usize) {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let mut at = text;
        let mut left = blocks;
        let mut last = _mm512_broadcast_i32x4(_mm_loadu_si128(text.sub(16).cast()));
        while left >= 4 * WIDEST {
            last = group::<ROUNDS, WIDEST>(keys, at, u8::MAX, last);
            at = at.add(64 * WIDEST);
            left -= 4 * WIDEST;
        }
        if left == 0 {
            return;
        }
        // The last register's mask, in half blocks.
        let mask = u8::MAX >> (2 * (left.wrapping_neg() % 4));
        match left.div_ceil(4) {
            1 => group::<ROUNDS, 1>(keys, at, mask, last),
            2 => group::<ROUNDS, 2>(keys, at, mask, last),
            3 => group::<ROUNDS, 3>(keys, at, mask, last),
            4 => group::<ROUNDS, 4>(keys, at, mask, last),
            5 => group::<ROUNDS, 5>(keys, at, mask, last),
            6 => group::<ROUNDS, 6>(keys, at, mask, last),
            7 => group::<ROUNDS, 7>(keys, at, mask, last),
            _ => group::<ROUNDS, 8>(keys, at, mask, last),
        };
    }
}

/// `N` registers, of which the last is under `mask`; `before` has the preceding block of ciphertext in its last cell.
///
/// # Safety
/// As [`decrypt`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
unsafe fn group<const ROUNDS: usize, const N: usize>(
    keys: *const __m128i,
    at: *mut u8,
    mask: u8,
    before: __m512i,
) -> __m512i {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let key = |round: usize| _mm512_broadcast_i32x4(_mm_load_si128(keys.add(LANES * round)));
        // Loops instead of `map` and `from_fn`: those know nothing of these instructions and would not be inlined.
        let mut text = [_mm512_setzero_si512(); N];
        for (i, text) in text.iter_mut().enumerate() {
            let from = at.wrapping_add(64 * i).cast_const().cast();
            *text = if i == N - 1 { _mm512_maskz_loadu_epi64(mask, from) } else { _mm512_loadu_epi64(from) };
        }
        let mut state = text;
        let first = key(0);
        for state in &mut state {
            *state = _mm512_xor_si512(*state, first);
        }
        for round in 1..ROUNDS {
            let key = key(round);
            for state in &mut state {
                *state = _mm512_aesdec_epi128(*state, key);
            }
        }
        let key = key(ROUNDS);
        let mut before = before;
        for i in 0..N {
            // The last round's key and the block before are both exclusive-ored: once, outside the chain.
            let chained = _mm512_xor_si512(key, _mm512_alignr_epi64::<6>(text[i], before));
            let plain = _mm512_aesdeclast_epi128(state[i], chained);
            before = text[i];
            let to = at.wrapping_add(64 * i).cast();
            if i == N - 1 {
                _mm512_mask_storeu_epi64(to, mask, plain);
            } else {
                _mm512_storeu_epi64(to, plain);
            }
        }
        before
    }
}
