//! One packet at a time, its consecutive blocks in the lanes: for packets longer than a few blocks.
//!
//! Enters: a [`Packet`] and an expanded key. Leaves: the text encrypted or decrypted in place, and its hash [`Pending`]:
//! a group of 256 octets is hashed beside the cipher of the next, and the last one beside the first of the next packet.
//! Alone the end of a hash, a chain of products, would leave the processor idle. The packet's first block, ESP header and
//! IV, takes part as the AAD in GHASH and as the counter block of the ICV in CTR.

use core::arch::x86_64::*;

use super::batch::{HEAD_LEN, Packet};
use super::counters::{COUNTERS, Counters};
use super::expand::{Block, LANES, POWERS, Quad};
use super::ghash::{Sum, reverse, reverse_one, sum_lanes};
use super::lanes::{for_each_round, hide, pin};

/// Rows of a group.
pub(super) const GROUP: usize = 4;
/// Octets of a row.
pub(super) const ROW: usize = 64;
/// The octets of the first row that are text.
const FIRST_ROW: u64 = !0 << HEAD_LEN;

/// A packet whose text is done and whose ICV is not.
pub(super) struct Pending {
    /// The last group's ciphertext; rows that it does not have are zero.
    rows: [__m512i; GROUP],
    /// The hash of what came before, in the first block's lane.
    hash: __m512i,
    /// Lengths of text and AAD, octets reversed.
    lengths: __m128i,
    /// Key stream of the ICV.
    stream: __m128i,
    /// The power of H for the first block of `rows`, with the lower ones behind it.
    powers: *const Block,
    /// H¹.
    h1: *const Block,
    /// Where the ICV stands.
    icv: *mut u8,
}

impl Pending {
    /// A packet that stands for none: its key is that of `lane`, and its ICV is looked for at `icv`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn none(quad: &Quad, lane: usize, icv: &mut [u8; 16]) -> Pending {
        let powers = quad.powers_of(lane);
        Pending {
            rows: [_mm512_setzero_si512(); GROUP],
            hash: _mm512_setzero_si512(),
            lengths: _mm_setzero_si128(),
            stream: _mm_setzero_si128(),
            powers,
            h1: powers.wrapping_add(POWERS - 1),
            icv: icv.as_mut_ptr(),
        }
    }

    /// The first two rows, behind the hash of what came before.
    ///
    /// # Safety
    /// The key must still be there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn add_first(&self, sum: &mut Sum) {
        // SAFETY: the caller's promise.
        let powers = unsafe { two_rows(self.powers) };
        sum.add_pair([_mm512_xor_si512(reverse(self.rows[0]), self.hash), reverse(self.rows[1])], powers);
    }

    /// The next two rows.
    ///
    /// # Safety
    /// The key must still be there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn add_second(&self, sum: &mut Sum) {
        // SAFETY: the caller's promise.
        let powers = unsafe { two_rows(self.powers.add(2 * LANES)) };
        sum.add_pair([reverse(self.rows[2]), reverse(self.rows[3])], powers);
    }

    /// The lengths, which every hash ends with.
    ///
    /// # Safety
    /// The key must still be there.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn add_lengths(&self, sum: &mut Sum) {
        // SAFETY: the caller's promise.
        let h1 = unsafe { _mm_load_si128(self.h1.cast()) };
        sum.add(_mm512_zextsi128_si512(self.lengths), _mm512_zextsi128_si512(h1));
    }

    /// Writes the ICV, or compares it.
    ///
    /// # Safety
    /// Its place must be borrowed by the caller.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,vpclmulqdq")]
    unsafe fn end<const OPEN: bool>(&self, sum: Sum) -> bool {
        let icv = _mm_xor_si128(reverse_one(sum_lanes(sum.reduce())), self.stream);
        // SAFETY: the caller's promise.
        unsafe {
            if OPEN {
                return _mm_cmpneq_epi64_mask(icv, _mm_loadu_si128(self.icv.cast())) == 0;
            }
            _mm_storeu_si128(self.icv.cast(), icv);
        }
        true
    }

    /// The ICV that has no next packet beside whose cipher it could be made.
    ///
    /// # Safety
    /// The packet must be borrowed mutably by the caller, and its key must still be there.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq")]
    pub unsafe fn finish<const OPEN: bool>(&self) -> bool {
        let mut sum = Sum::zero();
        // SAFETY: the caller's promise.
        unsafe {
            self.add_second(&mut sum);
            self.add_first(&mut sum);
            self.add_lengths(&mut sum);
            self.end::<OPEN>(sum)
        }
    }
}

/// Eight powers of H, from the place of the first.
///
/// # Safety
/// They must lie in a key's table, or behind it: see `Quad::powers_of`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn two_rows(powers: *const Block) -> [__m512i; 2] {
    // SAFETY: the caller's promise.
    unsafe { [_mm512_loadu_si512(powers.cast()), _mm512_loadu_si512(powers.add(LANES).cast())] }
}

/// The octets of the last row of so many.
#[inline]
#[target_feature(enable = "bmi2")]
pub(super) fn mask_of_last(left: usize) -> u64 {
    _bzhi_u64(u64::MAX, ((left - 1) % ROW + 1) as u32)
}

/// A packet under way.
pub(super) struct Run {
    /// The first round key; the others follow at every fourth block.
    keys: *const Block,
    powers: *const Block,
    /// Nonce and first round key.
    nonce: __m512i,
    at: *mut u8,
    counters: *const Counters,
    /// Ciphertext that GHASH has yet to take: that of the group before. Rows that it does not have are zero.
    rows: [__m512i; GROUP],
    /// The power of H for the first block of `rows`, with the lower ones behind it.
    row_powers: *const Block,
    /// The hash of what came before: lane `l` has the sum that belongs to the first row's block `l`. Before the first
    /// group: the AAD, which stands in the place of the first block.
    hash: __m512i,
    /// Key stream of the first block, which the ICV is XORed with.
    stream: __m128i,
}

impl Run {
    /// A packet of which nothing is done.
    ///
    /// # Safety
    /// `lane` must be below 4.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn new(quad: &Quad, lane: usize, packet: &Packet) -> Run {
        // SAFETY: the caller's promise.
        let keys = unsafe { quad.rounds_from(lane) };
        // SAFETY: as above.
        let nonce = _mm_xor_si128(packet.nonce, unsafe { _mm_load_si128(keys.cast()) });
        Run {
            keys,
            powers: quad.powers_of(lane),
            nonce: _mm512_broadcast_i32x4(nonce),
            at: packet.text.wrapping_sub(HEAD_LEN),
            counters: COUNTERS.as_ptr(),
            rows: [_mm512_setzero_si512(); GROUP],
            row_powers: quad.powers_of(lane),
            hash: _mm512_zextsi128_si512(packet.aad),
            stream: _mm_setzero_si128(),
        }
    }

    /// Leaves the ICV of the packet pending, of which the [last](Self::last) group had so many octets.
    #[inline]
    pub fn end(&self, last: usize, packet: &Packet, pending: &mut Pending) {
        // The lengths are one block more.
        pending.powers = self.powers.wrapping_add(POWERS - 1 - last.div_ceil(16));
        pending.lengths = packet.lengths;
        pending.stream = self.stream;
        pending.h1 = self.powers.wrapping_add(POWERS - 1);
        pending.icv = packet.icv();
    }

    /// The last group: see [`Self::group`]. Leaves its hash pending.
    ///
    /// # Safety
    /// As for [`Self::group`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    pub unsafe fn last<const ROUNDS: usize, const OPEN: bool, const N: usize, const FIRST: bool>(
        &mut self,
        mask: u64,
        pending: &mut Pending,
    ) -> bool {
        // SAFETY: the caller's promise.
        let right = unsafe { self.group::<ROUNDS, OPEN, N, FIRST, true>(mask, pending) };
        (pending.rows, pending.hash) = (self.rows, self.hash);
        right
    }

    /// Takes `N` rows, of which the `LAST` group's last has the octets of `mask`. Meanwhile hashes the group before, or in the `FIRST` group the end of the packet that is pending: answers with whether its ICV was
    /// right.
    ///
    /// # Safety
    /// The rows must lie in the packet, which the caller has borrowed mutably; for the `FIRST` as for [`Pending::finish`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    pub unsafe fn group<
        const ROUNDS: usize,
        const OPEN: bool,
        const N: usize,
        const FIRST: bool,
        const LAST: bool,
    >(
        &mut self,
        mask: u64,
        pending: &Pending,
    ) -> bool {
        // Read anew in every group: all of them in registers leave too few for the rest.
        let keys = hide(self.keys);
        let mut state = [_mm512_setzero_si512(); N];
        let mut row = 0;
        while row < N {
            // SAFETY: the caller's promise: the table goes as far as the packet.
            let counters = unsafe { _mm512_load_si512(self.counters.add(row).cast()) };
            state[row] = _mm512_xor_si512(self.nonce, counters);
            row += 1;
        }
        let mut sum = Sum::zero();
        macro_rules! round {
            ($round:literal) => {
                if $round < ROUNDS {
                    // SAFETY: the caller's promise: a quad has a row of four blocks for every round.
                    let key = unsafe { _mm_load_si128(keys.add($round * LANES).cast()) };
                    let key = _mm512_broadcast_i32x4(key);
                    let mut row = 0;
                    while row < N {
                        state[row] = _mm512_aesenc_epi128(state[row], key);
                        row += 1;
                    }
                    pin(&mut state);
                    // SAFETY: the caller's promise.
                    unsafe {
                        // The first row last, because it waits for the group before.
                        match ($round, FIRST) {
                            (2, true) => pending.add_second(&mut sum),
                            (4, true) => pending.add_first(&mut sum),
                            (6, true) => pending.add_lengths(&mut sum),
                            (2, false) if N < GROUP => self.add_third::<LAST>(&mut sum),
                            (2, false) => self.add_pair::<LAST>(&mut sum, 2),
                            (6, false) => self.add_pair::<LAST>(&mut sum, 0),
                            _ => {}
                        }
                    }
                    if $round == 2 || $round == 4 || $round == 6 {
                        sum.pin();
                    }
                }
            };
        }
        for_each_round!(round);
        // SAFETY: as for the others.
        let last_key = _mm512_broadcast_i32x4(unsafe { _mm_load_si128(keys.add(ROUNDS * LANES).cast()) });
        let mut rows = [_mm512_setzero_si512(); GROUP];
        let mut row = 0;
        while row < N {
            let mut mask = if LAST && row == N - 1 { mask } else { u64::MAX };
            let partial = (LAST && row == N - 1) || (FIRST && row == 0);
            if FIRST && row == 0 {
                mask &= FIRST_ROW;
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
            let out = _mm512_aesenclast_epi128(state[row], _mm512_xor_si512(last_key, data));
            // SAFETY: as above.
            unsafe {
                if partial {
                    _mm512_mask_storeu_epi8(place.cast(), mask, out);
                } else {
                    _mm512_storeu_si512(place.cast(), out);
                }
            }
            if FIRST && row == 0 {
                // No data was loaded in the header's place: there the key stream stands alone.
                self.stream = _mm512_castsi512_si128(out);
            }
            rows[row] = match (OPEN, partial) {
                (true, _) => data,
                (false, true) => _mm512_maskz_mov_epi8(mask, out),
                (false, false) => out,
            };
            row += 1;
        }
        self.rows = rows;
        self.row_powers = self.powers.wrapping_add(POWERS - N * LANES);
        self.at = self.at.wrapping_add(N * ROW);
        self.counters = self.counters.wrapping_add(N);
        if FIRST {
            // SAFETY: the caller's promise.
            return unsafe { pending.end::<OPEN>(sum) };
        }
        self.hash = sum.reduce();
        if LAST {
            self.hash = _mm512_zextsi128_si512(sum_lanes(self.hash));
        }
        true
    }

    /// The third row of the hash of the group before, which has no fourth: groups of fewer than four come before all of four.
    ///
    /// # Safety
    /// The rows must be those of a group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn add_third<const LAST: bool>(&self, sum: &mut Sum) {
        // SAFETY: as for `add_pair`.
        let powers = unsafe { self.powers_of::<LAST>(2) };
        sum.add(reverse(self.rows[2]), powers);
    }

    /// The powers of a row of the group before: for the last, every lane's own; otherwise the same in all.
    ///
    /// # Safety
    /// `row` is at most 3.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn powers_of<const LAST: bool>(&self, row: usize) -> __m512i {
        // SAFETY: these are powers of the table, or lie behind it: see `Quad::powers_of`.
        unsafe {
            let powers = self.row_powers.add(row * LANES);
            if LAST {
                _mm512_loadu_si512(powers.cast())
            } else {
                _mm512_broadcast_i32x4(_mm_load_si128(powers.cast()))
            }
        }
    }

    /// Two rows of the hash of the group before, from `row` on. Every lane is a sum of its own, with the same powers in
    /// all, as long as whole groups follow.
    ///
    /// # Safety
    /// `row` is at most 2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn add_pair<const LAST: bool>(&self, sum: &mut Sum, row: usize) {
        // SAFETY: the caller's promise.
        let powers = unsafe { [self.powers_of::<LAST>(row), self.powers_of::<LAST>(row + 1)] };
        let mut rows = [reverse(self.rows[row]), reverse(self.rows[row + 1])];
        if row == 0 {
            rows[0] = _mm512_xor_si512(rows[0], self.hash);
        }
        sum.add_pair(rows, powers);
    }
}
