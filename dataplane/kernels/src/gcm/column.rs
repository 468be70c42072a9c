//! Four short packets at a time, one in each lane, each with its own key.
//!
//! Enters: [`Four`] packets, and their raw keys or one expanded key that all share. Leaves: their texts encrypted or
//! decrypted in place; ICVs written, or compared. Keys are expanded in the same registers that encrypt, so that a key
//! used once costs no memory; GHASH needs no sum across lanes and one chain of reductions serves four packets.
//!
//! Texts are aligned at their last block: a shorter one begins with blocks that are zero, which GHASH does not notice,
//! and its AAD comes so much later.

use core::arch::x86_64::*;

use super::GcmKey;
use super::batch::Four;
use super::expand::{Block, LANES, MAX_ROUND_KEYS, POWERS, Quad, load_keys, round_keys};
use super::ghash::{Sum, hash_key, multiply, reverse};
use super::lanes::{for_each_round, pin, transpose};

/// Octets of a row.
const ROW: usize = 64;
/// Most rows of 64 octets that this kernel takes.
pub(super) const MAX_ROWS: usize = 2;
/// Most columns: of text, one for the ICV, one for H.
const MAX_CHAINS: usize = MAX_ROWS * 4 + 2;

/// Encrypts four packets of at most `ROWS` × 64 octets of text, each under its own raw key, and writes their ICVs; or
/// decrypts them and answers with a bit for every packet whose ICV is right. A packet may stand in several lanes.
///
/// # Safety
/// Every packet must be borrowed mutably by the caller and hold at most `ROWS` × 64 octets of text.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt<const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(
    four: &Four,
    keys: [&GcmKey; LANES],
) -> u8 {
    // SAFETY: the caller's promise.
    unsafe {
        four_of::<ROUNDS, OPEN, ROWS, false>(four, round_keys::<ROUNDS>(load_keys(keys)), core::ptr::null())
    }
}

/// The same under one expanded key.
///
/// # Safety
/// As for [`crypt`]; `lane` must be below 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt_shared<const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(
    four: &Four,
    quad: &Quad,
    lane: usize,
) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { four_of::<ROUNDS, OPEN, ROWS, true>(four, quad.rounds_of::<ROUNDS>(lane), quad.powers_of(lane)) }
}

/// # Safety
/// As for [`crypt`]; `powers` is the table of the key's powers if it is `EXPANDED`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
unsafe fn four_of<const ROUNDS: usize, const OPEN: bool, const ROWS: usize, const EXPANDED: bool>(
    four: &Four,
    rounds: [__m512i; MAX_ROUND_KEYS],
    powers: *const Block,
) -> u8 {
    let blocks = ROWS * 4;
    let Four { nonces, lengths, aads, text_lens, texts } = *four;
    // The number of blocks of each text, in both halves of its lane.
    let bits = _mm512_shuffle_epi32::<0x44>(lengths);
    let counts = _mm512_srli_epi64::<7>(_mm512_add_epi64(bits, _mm512_set1_epi64(127)));
    let mut places = [[core::ptr::null_mut::<u8>(); ROWS]; LANES];
    let mut masks = [[0; ROWS]; LANES];
    let mut data = [[zero(); ROWS]; LANES];
    // Every load comes before any store: lanes may hold the same packet.
    let mut lane = 0;
    while lane < LANES {
        let in_blocks = text_lens[lane].next_multiple_of(16);
        let end = texts[lane].wrapping_add(in_blocks);
        let start = ROWS * ROW - in_blocks;
        let mut row = 0;
        while row < ROWS {
            let (before, until) = (start, start + text_lens[lane]);
            let before = _bzhi_u64(u64::MAX, before.saturating_sub(row * ROW) as u32);
            let until = _bzhi_u64(u64::MAX, until.saturating_sub(row * ROW) as u32);
            places[lane][row] = end.wrapping_sub((ROWS - row) * ROW);
            masks[lane][row] = until & !before;
            // SAFETY: the mask has exactly the octets of the row that are text, which the caller has borrowed.
            data[lane][row] = unsafe { _mm512_maskz_loadu_epi8(masks[lane][row], places[lane][row].cast()) };
            row += 1;
        }
        lane += 1;
    }
    let counters = _mm512_or_si512(nonces, _mm512_maskz_slli_epi64::<56>(0xAA, counts));

    // Column states: the text's blocks, then the ICV's, then H.
    let mut state = [zero(); MAX_CHAINS];
    let mut index = 0;
    while index < blocks {
        let add = (index as u8).wrapping_add(2).wrapping_sub(blocks as u8);
        state[index] = _mm512_add_epi32(counters, counter(add));
        index += 1;
    }
    state[blocks] = _mm512_or_si512(nonces, counter(1));
    let chains = if EXPANDED { blocks + 1 } else { blocks + 2 };
    let mut chain = 0;
    while chain < chains {
        state[chain] = _mm512_xor_si512(state[chain], rounds[0]);
        chain += 1;
    }
    macro_rules! round {
        ($round:literal) => {
            if $round < ROUNDS {
                let mut chain = 0;
                while chain < chains {
                    state[chain] = _mm512_aesenc_epi128(state[chain], rounds[$round]);
                    chain += 1;
                }
                pin(&mut state);
            }
        };
    }
    for_each_round!(round);
    let mut chain = 0;
    while chain < chains {
        state[chain] = _mm512_aesenclast_epi128(state[chain], rounds[ROUNDS]);
        chain += 1;
    }

    // Blocks of GHASH by position: a place for the AAD of the longest, the text, the lengths.
    let mut hashed = [zero(); MAX_CHAINS];
    let mut row = 0;
    while row < ROWS {
        let columns = [state[row * 4], state[row * 4 + 1], state[row * 4 + 2], state[row * 4 + 3]];
        let stream = transpose(columns);
        let mut sealed = [zero(); LANES];
        let mut lane = 0;
        while lane < LANES {
            let out = _mm512_xor_si512(stream[lane], data[lane][row]);
            // SAFETY: as for the load.
            unsafe { _mm512_mask_storeu_epi8(places[lane][row].cast(), masks[lane][row], out) };
            sealed[lane] = if OPEN { data[lane][row] } else { _mm512_maskz_mov_epi8(masks[lane][row], out) };
            lane += 1;
        }
        let columns = transpose(sealed);
        let mut index = 0;
        while index < LANES {
            hashed[1 + row * 4 + index] = reverse(columns[index]);
            index += 1;
        }
        row += 1;
    }
    let mut position = 0;
    while position <= blocks {
        let here = _mm512_cmpeq_epi64_mask(counts, _mm512_set1_epi64((blocks - position) as i64));
        hashed[position] = _mm512_mask_xor_epi64(hashed[position], here, hashed[position], aads);
        position += 1;
    }
    hashed[blocks + 1] = lengths;
    let mut hash = zero();
    if EXPANDED {
        // SAFETY: expanded keys come with their powers, and at most ten are asked for.
        let mut sum = Sum::of(hashed[0], unsafe { power(powers, blocks + 2) });
        let mut position = 1;
        while position < blocks + 2 {
            // SAFETY: as above.
            sum.add(hashed[position], unsafe { power(powers, blocks + 2 - position) });
            position += 1;
        }
        hash = sum.reduce();
    } else {
        let h1 = hash_key(reverse(state[blocks + 1]));
        let h2 = multiply(h1, h1);
        let mut pair = 0;
        while pair < ROWS * 2 + 1 {
            let mut sum = Sum::of(_mm512_xor_si512(hashed[pair * 2], hash), h2);
            sum.add(hashed[pair * 2 + 1], h1);
            hash = sum.reduce();
            pair += 1;
        }
    }
    let icvs = _mm512_xor_si512(reverse(hash), state[blocks]);
    let places = [
        texts[0].wrapping_add(text_lens[0]),
        texts[1].wrapping_add(text_lens[1]),
        texts[2].wrapping_add(text_lens[2]),
        texts[3].wrapping_add(text_lens[3]),
    ];
    // SAFETY: the ICV's octets follow the text in the packet, which the caller has borrowed.
    unsafe { if OPEN { compare(places, icvs) } else { write(places, icvs) } }
}

/// A power of H in every lane.
///
/// # Safety
/// `powers` must be a key's table, and the exponent be 1 to 16.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn power(powers: *const Block, exponent: usize) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_broadcast_i32x4(unsafe { _mm_load_si128(powers.add(POWERS - exponent).cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn zero() -> __m512i {
    _mm512_setzero_si512()
}

#[inline]
#[target_feature(enable = "avx512f")]
fn join([a, b, c, d]: [__m128i; LANES]) -> __m512i {
    let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
    let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// A counter block's last octet in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn counter(value: u8) -> __m512i {
    _mm512_maskz_set1_epi32(0x8888, i32::from_le_bytes([0, 0, 0, value]))
}

/// # Safety
/// The ICV's place must be borrowed by the caller.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn write(places: [*mut u8; LANES], icvs: __m512i) -> u8 {
    let icvs = [
        _mm512_castsi512_si128(icvs),
        _mm512_extracti32x4_epi32::<1>(icvs),
        _mm512_extracti32x4_epi32::<2>(icvs),
        _mm512_extracti32x4_epi32::<3>(icvs),
    ];
    let mut lane = 0;
    while lane < LANES {
        // SAFETY: the caller's promise.
        unsafe { _mm_storeu_si128(places[lane].cast(), icvs[lane]) };
        lane += 1;
    }
    0
}

/// # Safety
/// The ICV's place must be borrowed by the caller.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn compare(places: [*mut u8; LANES], icvs: __m512i) -> u8 {
    let [a, b, c, d] = places;
    // SAFETY: the caller's promise.
    let came = unsafe {
        [
            _mm_loadu_si128(a.cast()),
            _mm_loadu_si128(b.cast()),
            _mm_loadu_si128(c.cast()),
            _mm_loadu_si128(d.cast()),
        ]
    };
    let halves = _mm512_cmpeq_epi64_mask(join(came), icvs);
    // A bit per half: both must be set.
    let both = halves & (halves >> 1);
    (both & 1) | (both >> 1 & 2) | (both >> 2 & 4) | (both >> 3 & 8)
}
