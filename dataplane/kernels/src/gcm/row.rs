//! One packet at a time, its consecutive blocks in the lanes: for packets longer than a few blocks.
//!
//! Enters: a [`Packet`] and an expanded key. Leaves: the text encrypted or decrypted in place, and the ICV that belongs
//! to it. Groups of 256 octets: the group is one sum of sixteen products with one reduction. The packet's first block,
//! ESP header and IV, takes part as the AAD in GHASH and as the counter block of the ICV in CTR.

use core::arch::x86_64::*;

use super::batch::{HEAD_LEN, Packet};
use super::counters::{COUNTERS, Counters};
use super::expand::{Block, MAX_ROUND_KEYS, POWERS, Quad};
use super::ghash::{Sum, reverse, reverse_one, sum_lanes};
use super::lanes::{for_each_round, pin};

/// Rows of a group.
const GROUP: usize = 4;
/// Octets of a row.
const ROW: usize = 64;
/// The octets of the first row that are text.
const FIRST: u64 = !0 << HEAD_LEN;

/// Encrypts or decrypts in place, and answers with the right ICV.
///
/// # Safety
/// The packet must be borrowed mutably by the caller; `lane` must be below 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt<const ROUNDS: usize, const OPEN: bool>(
    quad: &Quad,
    lane: usize,
    packet: &Packet,
) -> __m128i {
    // SAFETY: the caller's promise.
    let (keys, powers) = unsafe { (quad.rounds_of::<ROUNDS>(lane), quad.powers_of(lane)) };
    let mut run = Run {
        nonce: _mm512_xor_si512(_mm512_broadcast_i32x4(packet.nonce), keys[0]),
        keys: &keys,
        powers,
        at: packet.text.wrapping_sub(HEAD_LEN),
        counters: COUNTERS.as_ptr(),
        text: FIRST,
        hash: packet.aad,
        pending: [_mm512_setzero_si512(); GROUP],
        first: _mm_setzero_si128(),
    };
    let lengths = packet.lengths;
    let mut left = HEAD_LEN + packet.text_len;
    // SAFETY: `left` octets of the packet lie at `run.at` and behind, and the table of counters goes as far as the longest
    // packet; every call moves both by what it took. The caller has the packet borrowed.
    unsafe {
        if left > GROUP * ROW {
            run.group::<ROUNDS, OPEN, GROUP, false, false>(0);
            left -= GROUP * ROW;
            while left > GROUP * ROW {
                run.group::<ROUNDS, OPEN, GROUP, true, false>(0);
                left -= GROUP * ROW;
            }
            match left.div_ceil(ROW) {
                1 => run.last::<ROUNDS, OPEN, 1, true>(left, lengths),
                2 => run.last::<ROUNDS, OPEN, 2, true>(left, lengths),
                3 => run.last::<ROUNDS, OPEN, 3, true>(left, lengths),
                _ => run.last::<ROUNDS, OPEN, 4, true>(left, lengths),
            }
        } else {
            match left.div_ceil(ROW) {
                1 => run.last::<ROUNDS, OPEN, 1, false>(left, lengths),
                2 => run.last::<ROUNDS, OPEN, 2, false>(left, lengths),
                3 => run.last::<ROUNDS, OPEN, 3, false>(left, lengths),
                _ => run.last::<ROUNDS, OPEN, 4, false>(left, lengths),
            }
        }
    }
    _mm_xor_si128(reverse_one(run.hash), run.first)
}

/// A packet under way.
struct Run<'a> {
    keys: &'a [__m512i; MAX_ROUND_KEYS],
    powers: *const Block,
    /// Nonce and first round key.
    nonce: __m512i,
    at: *mut u8,
    counters: *const Counters,
    /// The octets of the next row that are text: in the first row all but the header's.
    text: u64,
    /// Before the first group: the AAD, which stands in the place of the first block.
    hash: __m128i,
    /// Ciphertext that GHASH has yet to take: that of the group before.
    pending: [__m512i; GROUP],
    /// Key stream of the first block, which the ICV is XORed with.
    first: __m128i,
}

impl Run<'_> {
    /// The last group of `N` rows and `left` octets; if a whole one came `BEFORE`, that is still to be hashed.
    ///
    /// # Safety
    /// `left` octets must lie at the place reached, in `N` rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    unsafe fn last<const ROUNDS: usize, const OPEN: bool, const N: usize, const BEFORE: bool>(
        &mut self,
        left: usize,
        lengths: __m128i,
    ) {
        let mask = _bzhi_u64(u64::MAX, (left - (N - 1) * ROW) as u32);
        let blocks = left.div_ceil(16);
        // SAFETY: the caller's promise.
        unsafe {
            if BEFORE {
                self.group::<ROUNDS, OPEN, N, true, true>(mask);
            } else {
                self.group::<ROUNDS, OPEN, N, false, true>(mask);
            }
            self.end::<N>(blocks, lengths);
        }
    }

    /// Takes `N` rows, of which the `LAST` group's last has the octets of `mask`, and meanwhile, if told to `HASH`, hashes
    /// the group before, which was a whole one.
    ///
    /// # Safety
    /// The rows must lie in the packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    unsafe fn group<
        const ROUNDS: usize,
        const OPEN: bool,
        const N: usize,
        const HASH: bool,
        const LAST: bool,
    >(
        &mut self,
        mask: u64,
    ) {
        let mut state = [_mm512_setzero_si512(); N];
        let mut row = 0;
        while row < N {
            // SAFETY: the caller's promise: the table goes as far as the packet.
            let counters = unsafe { _mm512_load_si512(self.counters.add(row).cast()) };
            state[row] = _mm512_xor_si512(self.nonce, counters);
            row += 1;
        }
        let hashed = self.pending;
        let mut sum = Sum::zero();
        macro_rules! round {
            ($round:literal) => {
                if $round < ROUNDS {
                    let mut row = 0;
                    while row < N {
                        state[row] = _mm512_aesenc_epi128(state[row], self.keys[$round]);
                        row += 1;
                    }
                    pin(&mut state);
                    // Two rows of GHASH at a time; the first row last, because it waits for the group before.
                    const PAIR: usize = if $round < 5 { 2 } else { 0 };
                    if HASH && ($round == 2 || $round == 6) {
                        // SAFETY: sixteen powers are four rows.
                        let powers = unsafe {
                            let powers = self.powers.add(PAIR * 4);
                            [_mm512_loadu_si512(powers.cast()), _mm512_loadu_si512(powers.add(4).cast())]
                        };
                        let mut rows = [reverse(hashed[PAIR]), reverse(hashed[PAIR + 1])];
                        if PAIR == 0 {
                            rows[0] = _mm512_xor_si512(rows[0], _mm512_zextsi128_si512(self.hash));
                        }
                        sum.add_pair(rows, powers);
                        sum.pin();
                    }
                }
            };
        }
        for_each_round!(round);
        let mut row = 0;
        while row < N {
            let mut mask = if LAST && row == N - 1 { mask } else { u64::MAX };
            let partial = (LAST && row == N - 1) || row == 0;
            if row == 0 {
                mask &= self.text;
            }
            let place = self.at.wrapping_add(row * ROW);
            // SAFETY: the caller promises that the row's octets, as far as the mask says, lie in the packet.
            let data = unsafe {
                if partial {
                    _mm512_maskz_loadu_epi8(mask, place.cast())
                } else {
                    _mm512_loadu_si512(place.cast())
                }
            };
            let out = _mm512_aesenclast_epi128(state[row], _mm512_xor_si512(self.keys[ROUNDS], data));
            // SAFETY: as above.
            unsafe {
                if partial {
                    _mm512_mask_storeu_epi8(place.cast(), mask, out);
                } else {
                    _mm512_storeu_si512(place.cast(), out);
                }
            }
            if row == 0 {
                // In the first row the header's place holds the key stream alone, because no data was loaded there.
                let is_first = (self.text & 1) as i64 - 1;
                let block = _mm_and_si128(_mm512_castsi512_si128(out), _mm_set1_epi64x(is_first));
                self.first = _mm_or_si128(self.first, block);
            }
            self.pending[row] = match (OPEN, partial) {
                (true, _) => data,
                (false, true) => _mm512_maskz_mov_epi8(mask, out),
                (false, false) => out,
            };
            row += 1;
        }
        if HASH {
            self.hash = sum_lanes(sum.reduce());
        }
        self.at = self.at.wrapping_add(N * ROW);
        self.counters = self.counters.wrapping_add(N);
        self.text = u64::MAX;
    }

    /// Hashes the last rows, which have `blocks` blocks, and the lengths behind them.
    ///
    /// # Safety
    /// `blocks` is how many there are in the `N` pending rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vpclmulqdq")]
    unsafe fn end<const N: usize>(&mut self, blocks: usize, lengths: __m128i) {
        // With the lengths there may be seventeen blocks; then they are multiplied in a step of their own.
        let alone = N == GROUP && blocks == POWERS;
        let count = if alone { blocks } else { blocks + 1 };
        let table = self.powers.wrapping_add(POWERS - count);
        // The lengths stand behind the last block: in its row, or alone in the next.
        let place = 3_u8 << (blocks % 4 * 2);
        let lengths_row = _mm512_maskz_broadcast_i64x2(place, lengths);
        let in_row = !blocks.is_multiple_of(4);
        let mut sum = Sum::zero();
        let mut row = 0;
        while row < N {
            let mut hashed = reverse(self.pending[row]);
            if row == 0 {
                hashed = _mm512_xor_si512(hashed, _mm512_zextsi128_si512(self.hash));
            }
            if row == N - 1 {
                let lengths = _mm512_maskz_mov_epi64((in_row as u8).wrapping_neg(), lengths_row);
                hashed = _mm512_xor_si512(hashed, lengths);
            }
            // SAFETY: `count <= 16`, and the table has four blocks more than powers.
            sum.add(hashed, unsafe { _mm512_loadu_si512(table.add(row * 4).cast()) });
            row += 1;
        }
        if !in_row && !alone {
            // SAFETY: as above: `count` is 4N + 1, so this is H¹.
            sum.add(lengths_row, unsafe { _mm512_loadu_si512(table.add(N * 4).cast()) });
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
