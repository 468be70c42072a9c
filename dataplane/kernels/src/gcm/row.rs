//! One packet at a time, its consecutive blocks in the lanes: for packets longer than a few blocks.
//!
//! Enters: a [`Frame`] and an expanded key. Leaves: the text encrypted or decrypted in place, and the ICV that belongs
//! to it. Groups of 256 octets: the group is one sum of sixteen products with one reduction. The packet's first block,
//! ESP header and IV, takes part as the AAD in GHASH and as the counter block of the ICV in CTR.

use core::arch::x86_64::*;

use super::expand::{Block, MAX_ROUND_KEYS, POWERS, Quad};
use super::frame::{COUNTERS, Frame, HEAD_LEN};
use super::ghash::{Sum, reverse, reverse_one, sum_lanes};

/// Rows of a group.
const GROUP: usize = 4;
/// Octets of a row.
const ROW: usize = 64;
/// The octets of the first row that are text.
const FIRST: u64 = !0 << HEAD_LEN;

/// Encrypts or decrypts in place, and answers with the right ICV.
///
/// # Safety
/// The frame's packet must be borrowed mutably by the caller; `lane` must be below 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt<const ROUNDS: usize, const OPEN: bool>(
    quad: &Quad,
    lane: usize,
    frame: &Frame,
    lengths: [u64; 2],
) -> __m128i {
    let mut keys = [_mm512_setzero_si512(); MAX_ROUND_KEYS];
    for (key, lanes) in keys.iter_mut().zip(&quad.rounds).take(ROUNDS + 1) {
        // SAFETY: the caller promises `lane < 4`; a row of the quad has four blocks.
        *key = _mm512_broadcast_i32x4(unsafe { _mm_load_si128(lanes.as_ptr().add(lane).cast()) });
    }
    let nonce = _mm_set_epi64x(frame.nonce[1] as i64, frame.nonce[0] as i64);
    let nonce = _mm512_xor_si512(_mm512_broadcast_i32x4(nonce), keys[0]);
    let mut packet = Packet {
        keys: &keys,
        // SAFETY: as above: four tables.
        powers: unsafe { quad.powers.as_ptr().add(lane).cast() },
        nonce,
        at: frame.packet,
        row: 0,
        hash: _mm_set_epi64x(frame.aad[1] as i64, frame.aad[0] as i64),
        first: _mm_setzero_si128(),
    };
    let lengths = _mm_set_epi64x(lengths[1] as i64, lengths[0] as i64);
    let mut left = HEAD_LEN + frame.text_len;
    // SAFETY: `left` octets of the packet lie at `packet.at` and behind; every call moves both by what it took. The
    // caller has them borrowed.
    unsafe {
        while left > GROUP * ROW {
            packet.group::<ROUNDS, OPEN, GROUP, false>(u64::MAX, GROUP * 4, lengths);
            left -= GROUP * ROW;
        }
        let last = (left - 1) % ROW + 1;
        let mask = _bzhi_u64(u64::MAX, last as u32);
        let blocks = left.div_ceil(16);
        match left.div_ceil(ROW) {
            1 => packet.group::<ROUNDS, OPEN, 1, true>(mask, blocks, lengths),
            2 => packet.group::<ROUNDS, OPEN, 2, true>(mask, blocks, lengths),
            3 => packet.group::<ROUNDS, OPEN, 3, true>(mask, blocks, lengths),
            _ => packet.group::<ROUNDS, OPEN, 4, true>(mask, blocks, lengths),
        }
    }
    _mm_xor_si128(reverse_one(packet.hash), packet.first)
}

/// A packet under way.
struct Packet<'a> {
    keys: &'a [__m512i; MAX_ROUND_KEYS],
    powers: *const Block,
    /// Nonce and first round key.
    nonce: __m512i,
    at: *mut u8,
    row: usize,
    /// Before the first group: the AAD, which stands in the place of the first block.
    hash: __m128i,
    /// Key stream of the first block, which the ICV is XORed with.
    first: __m128i,
}

impl Packet<'_> {
    /// Takes `N` rows of which the last has the octets of `mask`. The `LAST` group ends with the length block.
    ///
    /// # Safety
    /// The rows must lie in the packet; `blocks`, at most 16, is how many there are in them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    unsafe fn group<const ROUNDS: usize, const OPEN: bool, const N: usize, const LAST: bool>(
        &mut self,
        mask: u64,
        blocks: usize,
        lengths: __m128i,
    ) {
        let is_first = self.row == 0;
        let mut state = [_mm512_setzero_si512(); N];
        for (index, state) in state.iter_mut().enumerate() {
            // SAFETY: `text_len` is bounded so that the table has a row for every row of the packet.
            let counters = unsafe { _mm512_load_si512(COUNTERS.row(self.row + index).cast()) };
            *state = _mm512_xor_si512(self.nonce, counters);
        }
        for key in &self.keys[1..ROUNDS] {
            for state in &mut state {
                *state = _mm512_aesenc_epi128(*state, *key);
            }
        }
        let mut hashed = [_mm512_setzero_si512(); N];
        for index in 0..N {
            let mut mask = if LAST && index == N - 1 { mask } else { u64::MAX };
            if index == 0 && is_first {
                mask &= FIRST;
            }
            // SAFETY: the caller promises that the row's octets, as far as the mask says, lie in the packet.
            let place = unsafe { self.at.add(index * ROW) };
            let whole = !(LAST && index == N - 1) && index != 0;
            // SAFETY: as above.
            let data = unsafe {
                if whole {
                    _mm512_loadu_si512(place.cast())
                } else {
                    _mm512_maskz_loadu_epi8(mask, place.cast())
                }
            };
            let out = _mm512_aesenclast_epi128(state[index], _mm512_xor_si512(self.keys[ROUNDS], data));
            // SAFETY: as above.
            unsafe {
                if whole {
                    _mm512_storeu_si512(place.cast(), out);
                } else {
                    _mm512_mask_storeu_epi8(place.cast(), mask, out);
                }
            }
            if index == 0 && is_first {
                self.first = _mm512_castsi512_si128(out);
            }
            hashed[index] = if OPEN {
                data
            } else if whole {
                out
            } else {
                _mm512_maskz_mov_epi8(mask, out)
            };
        }
        // SAFETY: `blocks` and the promise above.
        unsafe { self.hash::<N, LAST>(hashed, blocks, lengths) };
        self.at = self.at.wrapping_add(N * ROW);
        self.row += N;
    }

    /// Multiplies the group's blocks by their powers of H, adds what came before, reduces once.
    ///
    /// # Safety
    /// `blocks` is how many there are in `rows`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vpclmulqdq")]
    unsafe fn hash<const N: usize, const LAST: bool>(
        &mut self,
        rows: [__m512i; N],
        blocks: usize,
        lengths: __m128i,
    ) {
        let mut rows = rows.map(|row| reverse(row));
        rows[0] = _mm512_xor_si512(rows[0], _mm512_zextsi128_si512(self.hash));
        // With the length block the last group may have seventeen blocks; then that one is multiplied in a step of its own.
        let alone = LAST && blocks == POWERS;
        let mut count = blocks;
        if LAST && !alone {
            count += 1;
            if !blocks.is_multiple_of(4) {
                let place = [0, 0x0C, 0x30, 0xC0][blocks % 4];
                let lengths = _mm512_maskz_broadcast_i64x2(place, lengths);
                rows[N - 1] = _mm512_xor_si512(rows[N - 1], lengths);
            }
        }
        let table = self.powers.wrapping_add(POWERS - count);
        // SAFETY: `count <= 16`; a row begins at a power of at least H¹, and the table has four blocks more than powers.
        let powers = |row: usize| unsafe { _mm512_loadu_si512(table.add(row * 4).cast()) };
        let mut sum = Sum::of(rows[0], powers(0));
        for (index, row) in rows.iter().enumerate().skip(1) {
            sum.add(*row, powers(index));
        }
        if LAST && blocks.is_multiple_of(4) && !alone {
            sum.add(_mm512_zextsi128_si512(lengths), powers(N));
        }
        self.hash = sum_lanes(sum.reduce());
        if alone {
            let block = _mm512_zextsi128_si512(_mm_xor_si128(self.hash, lengths));
            // SAFETY: H¹ is the last of the powers, with more blocks behind it.
            let h1 = unsafe { _mm512_loadu_si512(self.powers.add(POWERS - 1).cast()) };
            self.hash = _mm512_castsi512_si128(Sum::of(block, h1).reduce());
        }
    }
}
