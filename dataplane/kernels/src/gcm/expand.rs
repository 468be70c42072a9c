//! Four AES keys expanded at a time, one in each 128-bit lane (FIPS 197 §5.2), and the powers of their hash keys.
//!
//! Enters: raw keys. Leaves: round keys in lanes, and for long packets a [`Quad`]: round keys and H¹…H¹⁶ in memory.
//! SubWord is AESENCLAST on a word that stands in all four columns: ShiftRows then changes nothing.

use core::arch::x86_64::*;

use zeroize::Zeroize;

use super::GcmKey;
use super::ghash;
use super::lanes::transpose;

/// Keys in the lanes of one vector.
pub(super) const LANES: usize = 4;
/// Round keys of AES-256, the most.
pub(super) const MAX_ROUND_KEYS: usize = 15;
/// Powers of H in a table: what a group of 256 octets and the lengths behind it need.
pub(super) const POWERS: usize = 17;

/// One block in memory.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Block(pub [u64; 2]);

/// Expanded keys of four SAs. Round key `r` of lane `l` is `rounds[r][l]`; H^k of lane `l` is `powers[l][17 − k]`.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Quad {
    pub powers: [[Block; POWERS]; LANES],
    pub rounds: [[Block; LANES]; MAX_ROUND_KEYS],
}

// Behind H¹ of the last lane, too, sixteen blocks may be read, whatever they are.
const _: () = assert!(core::mem::offset_of!(Quad, powers) == 0 && MAX_ROUND_KEYS * LANES >= 16);

const ZERO: Block = Block([0; 2]);

impl Quad {
    pub const EMPTY: Quad = Quad { powers: [[ZERO; POWERS]; LANES], rounds: [[ZERO; LANES]; MAX_ROUND_KEYS] };

    /// The round keys of one lane, each in all lanes of a vector.
    ///
    /// # Safety
    /// `lane` must be below 4.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn rounds_of<const ROUNDS: usize>(&self, lane: usize) -> [__m512i; MAX_ROUND_KEYS] {
        let mut rounds = [_mm512_setzero_si512(); MAX_ROUND_KEYS];
        let mut round = 0;
        while round <= ROUNDS {
            // SAFETY: the caller's promise.
            let key = unsafe { _mm_load_si128(self.rounds[round].as_ptr().add(lane).cast()) };
            rounds[round] = _mm512_broadcast_i32x4(key);
            round += 1;
        }
        rounds
    }

    /// Where the first round key of one lane lies; the others follow at every fourth block.
    ///
    /// # Safety
    /// `lane` must be below 4.
    #[inline]
    pub unsafe fn rounds_from(&self, lane: usize) -> *const Block {
        debug_assert!(lane < LANES);
        let quad: *const Quad = self;
        // SAFETY: the caller's promise.
        unsafe { (&raw const (*quad).rounds).cast::<Block>().add(lane) }
    }

    /// The powers of one lane's H: H¹⁷ … H¹, then at least sixteen blocks that may be read, whatever they are.
    #[inline]
    pub fn powers_of(&self, lane: usize) -> *const Block {
        let quad: *const Quad = self;
        quad.cast::<Block>().wrapping_add(lane % LANES * POWERS)
    }

    /// Zeroes one lane for good.
    pub fn wipe_lane(&mut self, lane: usize) {
        let rounds = self.rounds.iter_mut().filter_map(|lanes| lanes.get_mut(lane));
        let powers = self.powers.get_mut(lane).into_iter().flatten();
        rounds.chain(powers).for_each(|block| block.0.zeroize());
    }

    /// Zeroes it for good.
    pub fn wipe(&mut self) {
        (0..LANES).for_each(|lane| self.wipe_lane(lane));
    }
}

/// Loads four raw keys into lanes: their first and their second 16 octets.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_keys(keys: [&GcmKey; LANES]) -> [__m512i; 2] {
    // SAFETY: `raw` has 32 octets.
    unsafe { [half(keys, 0), half(keys, 16)] }
}

/// # Safety
/// `at` must be 0 or 16.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn half([a, b, c, d]: [&GcmKey; LANES], at: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b] =
            [_mm_loadu_si128(a.raw.as_ptr().add(at).cast()), _mm_loadu_si128(b.raw.as_ptr().add(at).cast())];
        let [c, d] =
            [_mm_loadu_si128(c.raw.as_ptr().add(at).cast()), _mm_loadu_si128(d.raw.as_ptr().add(at).cast())];
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// All round keys of four keys of `ROUNDS` rounds (10 or 14); the rest zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
pub(super) fn round_keys<const ROUNDS: usize>(raw: [__m512i; 2]) -> [__m512i; MAX_ROUND_KEYS] {
    let mut keys = [_mm512_setzero_si512(); MAX_ROUND_KEYS];
    let rotate = _mm512_set1_epi32(0x0c0f_0e0d);
    keys[0] = raw[0];
    if ROUNDS == 10 {
        const RCON: [i32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36];
        for round in 0..10 {
            let last = keys[round];
            let word =
                _mm512_aesenclast_epi128(_mm512_shuffle_epi8(last, rotate), _mm512_set1_epi32(RCON[round]));
            keys[round + 1] = next(last, word);
        }
    } else {
        const RCON: [i32; 7] = [1, 2, 4, 8, 16, 32, 64];
        keys[1] = raw[1];
        for round in 2..MAX_ROUND_KEYS {
            let last = keys[round - 1];
            let word = if round % 2 == 0 {
                let rcon = _mm512_set1_epi32(RCON[round / 2 - 1]);
                _mm512_aesenclast_epi128(_mm512_shuffle_epi8(last, rotate), rcon)
            } else {
                _mm512_aesenclast_epi128(_mm512_shuffle_epi32::<0xFF>(last), _mm512_setzero_si512())
            };
            keys[round] = next(keys[round - 2], word);
        }
    }
    keys
}

/// The running XOR of the four words, and the new word in each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn next(words: __m512i, word: __m512i) -> __m512i {
    let pairs = _mm512_xor_si512(words, _mm512_bslli_epi128::<4>(words));
    _mm512_ternarylogic_epi64::<0x96>(pairs, _mm512_bslli_epi128::<8>(pairs), word)
}

/// Encrypts one block in each lane under that lane's key.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(super) fn encrypt<const ROUNDS: usize>(keys: &[__m512i; MAX_ROUND_KEYS], blocks: __m512i) -> __m512i {
    let mut state = _mm512_xor_si512(blocks, keys[0]);
    for key in &keys[1..ROUNDS] {
        state = _mm512_aesenc_epi128(state, *key);
    }
    _mm512_aesenclast_epi128(state, keys[ROUNDS])
}

/// Expands four keys, with all powers of their hash keys.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn fill<const ROUNDS: usize>(quad: &mut Quad, keys: [&GcmKey; LANES]) {
    let rounds = round_keys::<ROUNDS>(load_keys(keys));
    let mut round = 0;
    while round <= ROUNDS {
        // SAFETY: a row of 64 octets, aligned to 64 because `Quad` is and every row before it has 64.
        unsafe { _mm512_store_si512(quad.rounds[round].as_mut_ptr().cast(), rounds[round]) };
        round += 1;
    }
    let h1 = ghash::hash_key(ghash::reverse(encrypt::<ROUNDS>(&rounds, _mm512_setzero_si512())));
    // Doubling: every step multiplies all powers so far by the highest one.
    let mut powers = [h1; POWERS];
    powers[1] = ghash::multiply(h1, h1);
    let mut known = 2;
    while known < POWERS - 1 {
        let mut index = 0;
        while index < known {
            powers[known + index] = ghash::multiply(powers[index], powers[known - 1]);
            index += 1;
        }
        known *= 2;
    }
    powers[POWERS - 1] = ghash::multiply(powers[POWERS - 2], h1);
    let lanes = [
        _mm512_castsi512_si128(powers[POWERS - 1]),
        _mm512_extracti32x4_epi32::<1>(powers[POWERS - 1]),
        _mm512_extracti32x4_epi32::<2>(powers[POWERS - 1]),
        _mm512_extracti32x4_epi32::<3>(powers[POWERS - 1]),
    ];
    for (table, highest) in quad.powers.iter_mut().zip(lanes) {
        // SAFETY: a block has 16 octets.
        unsafe { _mm_store_si128(table.as_mut_ptr().cast(), highest) };
    }
    let mut group = 0;
    while group < POWERS / LANES {
        let top = POWERS - 2 - group * LANES;
        let lanes = transpose([powers[top], powers[top - 1], powers[top - 2], powers[top - 3]]);
        let mut lane = 0;
        while lane < LANES {
            // SAFETY: `1 + group * 4 + 4 <= 17` blocks lie in the table.
            unsafe {
                let table = quad.powers[lane].as_mut_ptr();
                _mm512_storeu_si512(table.add(1 + group * LANES).cast(), lanes[lane]);
            }
            lane += 1;
        }
        group += 1;
    }
}
