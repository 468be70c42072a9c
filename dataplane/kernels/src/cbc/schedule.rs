//! AES key schedules of sixteen keys at once, four in the 128-bit cells of each register.
//!
//! Enters: sixteen raw keys of one length. Leaves: their round keys, for encryption or for decryption. FIPS 197 §5.2, §5.3.5.
//! The last round's instruction does SubWord: four equal columns stay where ShiftRows puts them.

use core::arch::x86_64::*;

/// Keys in a schedule.
pub(crate) const LANES: usize = 16;
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
        Schedule {
            rounds: [[[0; 16]; LANES]; ROUND_KEYS],
        }
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

    /// Expands `keys`, each 32 octets of which the first 16, 24 or 32 count, for `ROUNDS` of 10, 12 or 14.
    ///
    /// # Safety
    /// The processor has what [`crate::Wide`] proves.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
    pub(crate) unsafe fn expand<const ROUNDS: usize, const DECRYPT: bool>(
        &mut self,
        keys: &[&[u8; 32]; LANES],
    ) {
        for quad in 0..LANES / 4 {
            let low: [__m512i; 2] = core::array::from_fn(|half| {
                // SAFETY: 32 octets each.
                let row = |lane: usize| unsafe {
                    _mm_loadu_si128(keys[4 * quad + lane].as_ptr().cast::<__m128i>().add(half))
                };
                let cells = _mm512_castsi128_si512(row(0));
                let cells = _mm512_inserti32x4::<1>(cells, row(1));
                let cells = _mm512_inserti32x4::<2>(cells, row(2));
                _mm512_inserti32x4::<3>(cells, row(3))
            });
            let mut out = [_mm512_setzero_si512(); ROUND_KEYS];
            match ROUNDS {
                10 => expand128(low, &mut out),
                12 => expand192(low, &mut out),
                _ => expand256(low, &mut out),
            }
            for round in 0..=ROUNDS {
                let key = match DECRYPT {
                    false => out[round],
                    true if round == 0 || round == ROUNDS => out[ROUNDS - round],
                    true => inverse_mix_columns(out[ROUNDS - round]),
                };
                // SAFETY: a round's row is 4 × 64 octets.
                unsafe {
                    _mm512_store_si512(self.rounds[round].as_mut_ptr().add(4 * quad).cast(), key)
                };
            }
        }
    }

    /// Forgets the keys.
    #[target_feature(enable = "avx512f")]
    pub(crate) fn wipe(&mut self) {
        let rows = self.rounds.as_mut_ptr().cast::<__m512i>();
        for row in 0..ROUND_KEYS * LANES / 4 {
            // SAFETY: within the array; volatile, so that it is not left out because nobody reads it.
            unsafe { rows.add(row).write_volatile(_mm512_setzero_si512()) };
        }
    }
}

const RCON: [i32; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn expand128([key, _]: [__m512i; 2], out: &mut [__m512i; ROUND_KEYS]) {
    out[0] = key;
    for round in 0..10 {
        let word = rotated_word(out[round], 3);
        out[round + 1] = _mm512_xor_si512(running_xor(out[round]), sub_word(word, RCON[round]));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn expand192([mut a, mut b]: [__m512i; 2], out: &mut [__m512i; ROUND_KEYS]) {
    // Six words a step: four in `a`, two in the low half of `b`.
    out[0] = a;
    let mut next = 1;
    for (step, &rcon) in RCON.iter().enumerate().take(8) {
        let before = b;
        a = _mm512_xor_si512(running_xor(a), sub_word(rotated_word(b, 1), rcon));
        let last = _mm512_shuffle_epi32::<0xFF>(a);
        b = _mm512_ternarylogic_epi32::<0x96>(b, _mm512_bslli_epi128::<4>(b), last);
        if step % 2 == 0 {
            out[next] = _mm512_unpacklo_epi64(before, a);
            out[next + 1] = _mm512_alignr_epi8::<8>(_mm512_unpacklo_epi64(b, b), a);
            next += 2;
        } else {
            out[next] = a;
            next += 1;
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn expand256([low, high]: [__m512i; 2], out: &mut [__m512i; ROUND_KEYS]) {
    (out[0], out[1]) = (low, high);
    for pair in 0..7 {
        let word = rotated_word(out[2 * pair + 1], 3);
        let even = _mm512_xor_si512(running_xor(out[2 * pair]), sub_word(word, RCON[pair]));
        out[2 * pair + 2] = even;
        if pair < 6 {
            let word = sub_word(_mm512_shuffle_epi32::<0xFF>(even), 0);
            out[2 * pair + 3] = _mm512_xor_si512(running_xor(out[2 * pair + 1]), word);
        }
    }
}

/// Each word exclusive-ored with all before it in its cell.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,bmi2")]
#[inline]
fn running_xor(words: __m512i) -> __m512i {
    let words = _mm512_xor_si512(words, _mm512_bslli_epi128::<4>(words));
    _mm512_xor_si512(words, _mm512_bslli_epi128::<8>(words))
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
