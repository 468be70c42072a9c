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

/// Four packets whose texts are done and whose ICVs are not: these are made beside the cipher of the next four, or in
/// [`finish`]. A chain of products and reductions alone would leave the processor idle.
pub(super) struct Pending {
    /// Blocks of GHASH by position.
    hashed: [__m512i; MAX_CHAINS],
    /// Key stream of the ICVs.
    stream: __m512i,
    /// H, octets reversed, if the keys came raw.
    hash_key: __m512i,
    /// The key's table if it was expanded.
    powers: *const Block,
    /// Where the ICVs stand.
    icvs: [*mut u8; LANES],
}

impl Pending {
    /// Nothing yet.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new() -> Pending {
        Pending {
            hashed: [zero(); MAX_CHAINS],
            stream: zero(),
            hash_key: zero(),
            powers: core::ptr::null(),
            icvs: [core::ptr::null_mut(); LANES],
        }
    }
}

/// Encrypts or decrypts four packets of at most `ROWS` × 64 octets of text, each under its own raw key, and leaves their
/// hash `pending`. If four are pending already (`BEFORE`), which were given to this function too, it writes their ICVs, or
/// compares them and answers with a bit for every packet whose ICV is right. A packet may stand in several lanes.
///
/// # Safety
/// Every packet must be borrowed mutably by the caller until its ICV is done, and hold at most `ROWS` × 64 octets of text.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt<const ROUNDS: usize, const OPEN: bool, const ROWS: usize, const BEFORE: bool>(
    four: &Four,
    keys: [&GcmKey; LANES],
    pending: &mut Pending,
) -> u8 {
    let rounds = round_keys::<ROUNDS>(load_keys(keys));
    // SAFETY: the caller's promise.
    unsafe { four_of::<ROUNDS, OPEN, ROWS, false, BEFORE>(four, rounds, core::ptr::null(), pending) }
}

/// The same under one expanded key, with what this function left pending.
///
/// # Safety
/// As for [`crypt`]; `lane` must be below 4; the quad must stay as it is until the ICVs are done.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn crypt_shared<
    const ROUNDS: usize,
    const OPEN: bool,
    const ROWS: usize,
    const BEFORE: bool,
>(
    four: &Four,
    quad: &Quad,
    lane: usize,
    pending: &mut Pending,
) -> u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let rounds = quad.rounds_of::<ROUNDS>(lane);
        four_of::<ROUNDS, OPEN, ROWS, true, BEFORE>(four, rounds, quad.powers_of(lane), pending)
    }
}

/// Writes or compares the ICVs that are pending.
///
/// # Safety
/// They must have been left by [`crypt_shared`] if `EXPANDED`, else by [`crypt`], with the same constants.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn finish<const OPEN: bool, const ROWS: usize, const EXPANDED: bool>(
    pending: &Pending,
) -> u8 {
    let mut hash = Hash::new::<EXPANDED>(pending);
    let mut pair = 0;
    while pair < ROWS * 2 + 1 {
        // SAFETY: the caller's promise.
        unsafe { hash.add::<ROWS, EXPANDED>(pending, pair) };
        pair += 1;
    }
    // SAFETY: as above.
    unsafe { hash.end::<OPEN, EXPANDED>(pending) }
}

/// GHASH of what is pending, two blocks of each packet at a time.
struct Hash {
    /// Expanded keys: one sum, reduced at the end.
    sum: Sum,
    /// Raw keys: the hash so far, H and its square.
    hash: __m512i,
    h1: __m512i,
    h2: __m512i,
}

impl Hash {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn new<const EXPANDED: bool>(pending: &Pending) -> Hash {
        let mut new = Hash { sum: Sum::zero(), hash: zero(), h1: zero(), h2: zero() };
        if !EXPANDED {
            new.h1 = hash_key(pending.hash_key);
            new.h2 = multiply(new.h1, new.h1);
        }
        new
    }

    /// Takes the blocks 2 × `pair` and the next.
    ///
    /// # Safety
    /// If `EXPANDED`, the pending powers must be a key's table; `pair` is at most 2 × `ROWS`.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn add<const ROWS: usize, const EXPANDED: bool>(&mut self, pending: &Pending, pair: usize) {
        let blocks = [pending.hashed[pair * 2], pending.hashed[pair * 2 + 1]];
        if EXPANDED {
            let exponent = ROWS * 4 + 2 - pair * 2;
            // SAFETY: the caller's promise; at most the tenth power is asked for.
            let powers = unsafe { [power(pending.powers, exponent), power(pending.powers, exponent - 1)] };
            self.sum.add_pair(blocks, powers);
            self.sum.pin();
        } else {
            let mut sum = Sum::of(_mm512_xor_si512(blocks[0], self.hash), self.h2);
            sum.add(blocks[1], self.h1);
            let mut hash = [sum.reduce()];
            pin(&mut hash);
            self.hash = hash[0];
        }
    }

    /// Writes or compares the ICVs.
    ///
    /// # Safety
    /// The places of the ICVs must be borrowed by the caller.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn end<const OPEN: bool, const EXPANDED: bool>(self, pending: &Pending) -> u8 {
        let hash = if EXPANDED { self.sum.reduce() } else { self.hash };
        let icvs = _mm512_xor_si512(reverse(hash), pending.stream);
        // SAFETY: the caller's promise.
        unsafe { if OPEN { compare(pending.icvs, icvs) } else { write(pending.icvs, icvs) } }
    }
}

/// # Safety
/// As for [`crypt`]; `powers` is the table of the key's powers if it is `EXPANDED`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
unsafe fn four_of<
    const ROUNDS: usize,
    const OPEN: bool,
    const ROWS: usize,
    const EXPANDED: bool,
    const BEFORE: bool,
>(
    four: &Four,
    rounds: [__m512i; MAX_ROUND_KEYS],
    powers: *const Block,
    pending: &mut Pending,
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
    let mut before = Hash::new::<EXPANDED>(pending);
    macro_rules! round {
        ($round:literal) => {
            if $round < ROUNDS {
                let mut chain = 0;
                while chain < chains {
                    state[chain] = _mm512_aesenc_epi128(state[chain], rounds[$round]);
                    chain += 1;
                }
                pin(&mut state);
                // Every second round takes two blocks of those before.
                if BEFORE && $round % 2 == 1 && $round / 2 < ROWS * 2 + 1 {
                    // SAFETY: the caller's promise.
                    unsafe { before.add::<ROWS, EXPANDED>(pending, $round / 2) };
                }
            }
        };
    }
    for_each_round!(round);
    // SAFETY: as above.
    let right = if BEFORE { unsafe { before.end::<OPEN, EXPANDED>(pending) } } else { 0 };
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
    *pending = Pending {
        hashed,
        stream: state[blocks],
        hash_key: if EXPANDED { zero() } else { reverse(state[blocks + 1]) },
        powers,
        icvs: [
            texts[0].wrapping_add(text_lens[0]),
            texts[1].wrapping_add(text_lens[1]),
            texts[2].wrapping_add(text_lens[2]),
            texts[3].wrapping_add(text_lens[3]),
        ],
    };
    right
}

/// A power of H in every lane.
///
/// # Safety
/// `powers` must be a key's table, and the exponent be 1 to 17.
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
