//! Four short packets at a time, one in each lane, each with its own key.
//!
//! Enters: four [`Frame`]s, and their raw keys or one expanded key that all share. Leaves: their texts encrypted or
//! decrypted in place; ICVs written, or compared. Keys are expanded in the same registers that encrypt, so that a key
//! used once costs no memory; GHASH needs no sum across lanes and one chain of reductions serves four packets.
//!
//! Texts are aligned at their last block: a shorter one begins with blocks that are zero, which GHASH does not notice,
//! and its AAD comes so much later.

use core::arch::x86_64::*;

use super::GcmKey;
use super::burst::Item;
use super::expand::{LANES, MAX_ROUND_KEYS, POWERS, Quad, load_keys, round_keys};
use super::frame::{Frame, HEAD_LEN};
use super::ghash::{Sum, hash_key, multiply, reverse};
use super::lanes::transpose;

/// Octets of a row.
const ROW: usize = 64;
/// Most rows of 64 octets that this kernel takes.
pub(super) const MAX_ROWS: usize = 2;
/// Most blocks of text.
const MAX_BLOCKS: usize = MAX_ROWS * 4;

/// Where the keys come from.
pub(super) enum Keys<'a> {
    /// Every packet's own raw key.
    Raw([&'a GcmKey; LANES]),
    /// One expanded key for all: its place.
    Shared(&'a Quad, usize),
}

/// Encrypts four packets of at most `ROWS` × 64 octets of text and writes their ICVs, or decrypts them. Answers, when
/// opening, with a bit for every packet whose ICV is right. The same packet may stand in several lanes.
///
/// # Safety
/// Every frame's packet must be borrowed mutably by the caller and hold at most `ROWS` × 64 octets of text; a shared
/// key's lane must be below 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt<const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(
    items: [&Item<'_>; LANES],
    keys: &Keys<'_>,
) -> u8 {
    let blocks = ROWS * 4;
    let frames = items.map(|item| &item.frame);
    let places: [[*mut u8; ROWS]; LANES] = frames.map(|frame| {
        let end = frame.packet.wrapping_add(HEAD_LEN + frame.text_len.next_multiple_of(16));
        core::array::from_fn(|row| end.wrapping_sub((ROWS - row) * ROW))
    });
    let masks: [[u64; ROWS]; LANES] = frames.map(|frame| {
        let start = ROWS * ROW - frame.text_len.next_multiple_of(16);
        core::array::from_fn(|row| {
            let below = |end: usize| _bzhi_u64(u64::MAX, end.saturating_sub(row * ROW) as u32);
            below(start + frame.text_len) & !below(start)
        })
    });
    // Every load comes before any store: lanes may hold the same packet.
    let data: [[__m512i; ROWS]; LANES] = core::array::from_fn(|lane| {
        core::array::from_fn(|row| {
            // SAFETY: the mask has exactly the octets of the row that are text, which the caller has borrowed.
            unsafe { _mm512_maskz_loadu_epi8(masks[lane][row], places[lane][row].cast()) }
        })
    });

    let nonces = gather(frames.map(|frame| &frame.nonce));
    let lengths = gather(items.map(|item| &item.lengths));
    // The number of blocks of each text, in both halves of its lane.
    let bits = _mm512_shuffle_epi32::<0x44>(lengths);
    let counts = _mm512_srli_epi64::<7>(_mm512_add_epi64(bits, _mm512_set1_epi64(127)));
    let counters = _mm512_or_si512(nonces, _mm512_maskz_slli_epi64::<56>(0xAA, counts));

    // Column states: the text's blocks, then the ICV's, then H.
    let mut state = [_mm512_setzero_si512(); MAX_BLOCKS + 2];
    for (index, state) in state.iter_mut().take(blocks).enumerate() {
        let add = (index as u8).wrapping_add(2).wrapping_sub(blocks as u8);
        *state = _mm512_add_epi32(counters, counter(add));
    }
    state[blocks] = _mm512_or_si512(nonces, counter(1));
    let chains = match keys {
        Keys::Raw(_) => blocks + 2,
        Keys::Shared(..) => blocks + 1,
    };
    let rounds = match keys {
        Keys::Raw(raw) => round_keys::<ROUNDS>(load_keys(*raw)),
        Keys::Shared(quad, lane) => {
            let mut rounds = [_mm512_setzero_si512(); MAX_ROUND_KEYS];
            for (round, lanes) in rounds.iter_mut().zip(&quad.rounds).take(ROUNDS + 1) {
                // SAFETY: the caller promises `lane < 4`.
                let key = unsafe { _mm_load_si128(lanes.as_ptr().add(*lane).cast()) };
                *round = _mm512_broadcast_i32x4(key);
            }
            rounds
        }
    };
    for state in &mut state[..chains] {
        *state = _mm512_xor_si512(*state, rounds[0]);
    }
    for round in &rounds[1..ROUNDS] {
        for state in &mut state[..chains] {
            *state = _mm512_aesenc_epi128(*state, *round);
        }
    }
    for state in &mut state[..chains] {
        *state = _mm512_aesenclast_epi128(*state, rounds[ROUNDS]);
    }

    // Blocks of GHASH by position: a place for the AAD of the longest, the text, the lengths.
    let mut hashed = [_mm512_setzero_si512(); MAX_BLOCKS + 2];
    for row in 0..ROWS {
        let columns = [state[row * 4], state[row * 4 + 1], state[row * 4 + 2], state[row * 4 + 3]];
        let stream = transpose(columns);
        let mut sealed = [_mm512_setzero_si512(); LANES];
        for lane in 0..LANES {
            let out = _mm512_xor_si512(stream[lane], data[lane][row]);
            // SAFETY: as for the load.
            unsafe { _mm512_mask_storeu_epi8(places[lane][row].cast(), masks[lane][row], out) };
            sealed[lane] = if OPEN { data[lane][row] } else { _mm512_maskz_mov_epi8(masks[lane][row], out) };
        }
        for (index, column) in transpose(sealed).into_iter().enumerate() {
            hashed[1 + row * 4 + index] = reverse(column);
        }
    }
    let aad = gather(frames.map(|frame| &frame.aad));
    for (position, hashed) in hashed.iter_mut().take(blocks + 1).enumerate() {
        let here = _mm512_cmpeq_epi64_mask(counts, _mm512_set1_epi64((blocks - position) as i64));
        *hashed = _mm512_mask_xor_epi64(*hashed, here, *hashed, aad);
    }
    hashed[blocks + 1] = lengths;
    let hash = match keys {
        Keys::Raw(_) => {
            let h1 = hash_key(reverse(state[blocks + 1]));
            let h2 = multiply(h1, h1);
            let mut hash = _mm512_setzero_si512();
            for pair in 0..ROWS * 2 + 1 {
                let mut sum = Sum::of(_mm512_xor_si512(hashed[pair * 2], hash), h2);
                sum.add(hashed[pair * 2 + 1], h1);
                hash = sum.reduce();
            }
            hash
        }
        Keys::Shared(quad, lane) => {
            let power = |position: usize| {
                // SAFETY: the caller promises `lane < 4`; `POWERS - (blocks + 2) + position < POWERS`.
                let block = unsafe {
                    let table = quad.powers.as_ptr().add(*lane).cast::<__m128i>();
                    _mm_load_si128(table.add(POWERS - blocks - 2 + position))
                };
                _mm512_broadcast_i32x4(block)
            };
            let mut sum = Sum::of(hashed[0], power(0));
            for (position, hashed) in hashed.iter().enumerate().take(blocks + 2).skip(1) {
                sum.add(*hashed, power(position));
            }
            sum.reduce()
        }
    };
    let icvs = _mm512_xor_si512(reverse(hash), state[blocks]);
    // SAFETY: the ICV's octets follow the text in the packet, which the caller has borrowed.
    unsafe { if OPEN { compare(frames, icvs) } else { write(frames, icvs) } }
}

/// Four blocks, one in each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn gather(blocks: [&[u64; 2]; LANES]) -> __m512i {
    // SAFETY: a block has 16 octets.
    let [a, b, c, d] = blocks.map(|block| unsafe { _mm_loadu_si128(block.as_ptr().cast()) });
    join([a, b, c, d])
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
unsafe fn write(frames: [&Frame; LANES], icvs: __m512i) -> u8 {
    let lanes = [
        _mm512_castsi512_si128(icvs),
        _mm512_extracti32x4_epi32::<1>(icvs),
        _mm512_extracti32x4_epi32::<2>(icvs),
        _mm512_extracti32x4_epi32::<3>(icvs),
    ];
    for (frame, icv) in frames.into_iter().zip(lanes) {
        // SAFETY: the caller's promise.
        unsafe { _mm_storeu_si128(frame.icv().cast(), icv) };
    }
    0
}

/// # Safety
/// The ICV's place must be borrowed by the caller.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn compare(frames: [&Frame; LANES], icvs: __m512i) -> u8 {
    // SAFETY: the caller's promise.
    let came = frames.map(|frame| unsafe { _mm_loadu_si128(frame.icv().cast()) });
    let halves = _mm512_cmpeq_epi64_mask(join(came), icvs);
    // A bit per half: both must be set.
    let both = halves & (halves >> 1);
    (both & 1) | (both >> 1 & 2) | (both >> 2 & 4) | (both >> 3 & 8)
}
