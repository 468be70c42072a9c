//! AES key schedules of sixteen keys at once, four in the 128-bit cells of each register.
//!
//! Enters: sixteen raw keys of one length. Leaves: their round keys, for encryption or for decryption. FIPS 197 §5.2, §5.3.5.
//! The last round's instruction does SubWord: four equal columns stay where ShiftRows puts them.

use core::arch::x86_64::*;

/// Keys in a schedule.
pub(crate) const LANES: usize = 16;
/// Registers of four keys.
const QUADS: usize = LANES / 4;
/// Round keys of AES-256.
const ROUND_KEYS: usize = 15;

/// Round keys of sixteen AES keys: `rounds[r]` holds round key `r` of lanes 0 to 15.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Schedule {
    rounds: [[[u8; 16]; LANES]; ROUND_KEYS],
}

impl Schedule {
    pub(crate) const fn new() -> Schedule {
        Schedule { rounds: [[[0; 16]; LANES]; ROUND_KEYS] }
    }

    /// The round keys, each as sixteen rows of 16 octets.
    pub(crate) fn as_ptr(&self) -> *const __m128i {
        self.rounds.as_ptr().cast()
    }

    /// Puts lane `from` of `other` into lane `to`.
    pub(crate) fn take_lane(&mut self, to: usize, other: &Schedule, from: usize) {
        for (mine, theirs) in self.rounds.iter_mut().zip(&other.rounds) {
            mine[to] = theirs[from];
        }
    }

    /// Puts lane `from` into lane `to` as well.
    pub(crate) fn copy_lane(&mut self, to: usize, from: usize) {
        for round in &mut self.rounds {
            round[to] = round[from];
        }
    }

    /// Expands `keys`, each 32 octets of which the first 16, 24 or 32 count, for `ROUNDS` of 10, 12 or 14. At least the first
    /// `lanes` are expanded; the others may stay as they were.
    ///
    /// # Safety
    /// The processor has what [`crate::Wide`] proves.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    pub(crate) unsafe fn expand<const ROUNDS: usize, const DECRYPT: bool>(
        &mut self,
        keys: &[&[u8; 32]; LANES],
        lanes: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match expanded_quads(lanes) {
                1 => self.expand_quads::<ROUNDS, DECRYPT, 1>(keys),
                2 => self.expand_quads::<ROUNDS, DECRYPT, 2>(keys),
                _ => self.expand_quads::<ROUNDS, DECRYPT, QUADS>(keys),
            }
        }
    }

    /// Expands the keys of the first `4 * Q` lanes.
    ///
    /// # Safety
    /// As [`Schedule::expand`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    unsafe fn expand_quads<const ROUNDS: usize, const DECRYPT: bool, const Q: usize>(
        &mut self,
        keys: &[&[u8; 32]; LANES],
    ) {
        let mut key = [[_mm512_setzero_si512(); Q]; 2];
        for (half, key) in key.iter_mut().enumerate() {
            for (key, keys) in key.iter_mut().zip(keys.chunks_exact(4)) {
                let row = |lane: usize| {
                    let from = keys[lane].as_ptr().cast::<__m128i>();
                    // SAFETY: a key's row is two times 16 octets.
                    unsafe { _mm_loadu_si128(from.add(half)) }
                };
                let cells = _mm512_castsi128_si512(row(0));
                let cells = _mm512_inserti32x4::<1>(cells, row(1));
                let cells = _mm512_inserti32x4::<2>(cells, row(2));
                *key = _mm512_inserti32x4::<3>(cells, row(3));
            }
        }
        let rounds = &mut self.rounds;
        let put = |round: usize, keys: [__m512i; Q]| {
            let to = if DECRYPT { ROUNDS - round } else { round };
            for (quad, mut key) in keys.into_iter().enumerate() {
                if DECRYPT && round != 0 && round != ROUNDS {
                    key = inverse_mix_columns(key);
                }
                // SAFETY: a round's row is 4 × 64 octets.
                unsafe { _mm512_store_si512(rounds[to].as_mut_ptr().add(4 * quad).cast(), key) };
            }
        };
        match ROUNDS {
            10 => expand128(key, put),
            12 => expand192(key, put),
            _ => expand256(key, put),
        }
    }

    /// Forgets what was expanded for so many lanes or fewer.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(&mut self, lanes: usize) {
        let quads = expanded_quads(lanes);
        let rows = self.rounds.as_mut_ptr().cast::<__m512i>();
        for round in 0..ROUND_KEYS {
            for quad in 0..quads {
                // SAFETY: within the array; volatile, so that it is not left out because nobody reads it.
                unsafe { rows.add(QUADS * round + quad).write_volatile(_mm512_setzero_si512()) };
            }
        }
    }
}

/// Registers that hold the keys of the first `lanes`: as many as are expanded together.
fn expanded_quads(lanes: usize) -> usize {
    match lanes {
        0 => 0,
        1..=4 => 1,
        5..=8 => 2,
        _ => QUADS,
    }
}

const RCON: [i32; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn expand128<const Q: usize>([mut key, _]: [[__m512i; Q]; 2], mut put: impl FnMut(usize, [__m512i; Q])) {
    put(0, key);
    for (round, &rcon) in RCON.iter().enumerate() {
        for key in &mut key {
            *key = next_four(*key, sub_word(rotated_word(*key, 3), rcon));
        }
        put(round + 1, key);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn expand192<const Q: usize>([mut a, mut b]: [[__m512i; Q]; 2], mut put: impl FnMut(usize, [__m512i; Q])) {
    // Six words a step, four in `a` and two in the low half of `b`: two steps are three round keys.
    put(0, a);
    for pair in 0..4 {
        let (mut first, mut second) = (a, a);
        for quad in 0..Q {
            let (before, rcon) = (b[quad], RCON[2 * pair]);
            a[quad] = next_four(a[quad], sub_word(rotated_word(b[quad], 1), rcon));
            b[quad] = next_two(b[quad], a[quad]);
            first[quad] = _mm512_unpacklo_epi64(before, a[quad]);
            second[quad] = _mm512_alignr_epi8::<8>(_mm512_unpacklo_epi64(b[quad], b[quad]), a[quad]);
            let rcon = RCON[2 * pair + 1];
            a[quad] = next_four(a[quad], sub_word(rotated_word(b[quad], 1), rcon));
            b[quad] = next_two(b[quad], a[quad]);
        }
        put(3 * pair + 1, first);
        put(3 * pair + 2, second);
        put(3 * pair + 3, a);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn expand256<const Q: usize>(
    [mut even, mut odd]: [[__m512i; Q]; 2],
    mut put: impl FnMut(usize, [__m512i; Q]),
) {
    put(0, even);
    put(1, odd);
    for (pair, &rcon) in RCON.iter().enumerate().take(7) {
        for (even, odd) in even.iter_mut().zip(&odd) {
            *even = next_four(*even, sub_word(rotated_word(*odd, 3), rcon));
        }
        put(2 * pair + 2, even);
        if pair == 6 {
            break;
        }
        for (even, odd) in even.iter().zip(&mut odd) {
            *odd = next_four(*odd, sub_word(_mm512_shuffle_epi32::<0xFF>(*even), 0));
        }
        put(2 * pair + 3, odd);
    }
}

/// The next four words: each word exclusive-ored with all before it in its cell, and with `word`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn next_four(words: __m512i, word: __m512i) -> __m512i {
    // A shift and one shuffle: two shuffles would all go to the same port.
    let pairs = _mm512_xor_si512(words, _mm512_slli_epi64::<32>(words));
    let second = _mm512_set4_epi32(0x0706_0504, 0x0706_0504, -1, -1);
    _mm512_ternarylogic_epi32::<0x96>(pairs, _mm512_shuffle_epi8(pairs, second), word)
}

/// The two words that follow `b`'s low two, `a` being the four before them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn next_two(b: __m512i, a: __m512i) -> __m512i {
    let last = _mm512_shuffle_epi32::<0xFF>(a);
    _mm512_ternarylogic_epi32::<0x96>(b, _mm512_bslli_epi128::<4>(b), last)
}

/// RotWord of a cell's word `index`, in all four of the cell's words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn rotated_word(words: __m512i, index: i32) -> __m512i {
    let rotate = 0x0003_0201 + 4 * index * 0x0101_0101;
    _mm512_shuffle_epi8(words, _mm512_set1_epi32(rotate))
}

/// SubWord of cells of four equal words, exclusive-ored with `rcon`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn sub_word(words: __m512i, rcon: i32) -> __m512i {
    _mm512_aesenclast_epi128(words, _mm512_set1_epi32(rcon))
}

/// FIPS 197 §5.3.5: the middle round keys of the equivalent inverse cipher.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn inverse_mix_columns(key: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    _mm512_aesdec_epi128(_mm512_aesenclast_epi128(key, zero), zero)
}
