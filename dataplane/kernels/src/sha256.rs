//! SHA-256's compression function: sixteen packets in the words of one register, or two on the SHA instructions.
//!
//! Enters: chaining states, one row per lane (32 octets of it used), and for every lane where its next block stands.
//! Leaves: the states after a number of blocks. FIPS 180-4 §6.2. The SHA instructions are bound by their latency, so two
//! packets side by side cost hardly more than one; sixteen lanes win once most of them are alive.

use core::arch::x86_64::*;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::Wide;
use crate::clock::tsc_ordered;
use crate::hmac::{Heads, Kernel, Outer, State};

/// Octets of a block.
pub(crate) const BLOCK_LEN: usize = 64;

/// FIPS 180-4 §5.3.3.
pub(crate) const SHA256_INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// FIPS 180-4 §4.2.2.
static K_ROWS: [[u32; 16]; 4] = [
    [
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
        0x72be_5d74,
        0x80de_b1fe,
        0x9bdc_06a7,
        0xc19b_f174,
    ],
    [
        0xe49b_69c1,
        0xefbe_4786,
        0x0fc1_9dc6,
        0x240c_a1cc,
        0x2de9_2c6f,
        0x4a74_84aa,
        0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152,
        0xa831_c66d,
        0xb003_27c8,
        0xbf59_7fc7,
        0xc6e0_0bf3,
        0xd5a7_9147,
        0x06ca_6351,
        0x1429_2967,
    ],
    [
        0x27b7_0a85,
        0x2e1b_2138,
        0x4d2c_6dfc,
        0x5338_0d13,
        0x650a_7354,
        0x766a_0abb,
        0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1,
        0xa81a_664b,
        0xc24b_8b70,
        0xc76c_51a3,
        0xd192_e819,
        0xd699_0624,
        0xf40e_3585,
        0x106a_a070,
    ],
    [
        0x19a4_c116,
        0x1e37_6c08,
        0x2748_774c,
        0x34b0_bcb5,
        0x391c_0cb3,
        0x4ed8_aa4a,
        0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee,
        0x78a5_636f,
        0x84c8_7814,
        0x8cc7_0208,
        0x90be_fffa,
        0xa450_6ceb,
        0xbef9_a3f7,
        0xc671_78f2,
    ],
];

/// The length that ends the outer hash's block (RFC 2104 §2): key pad and digest, in bits.
const OUTER_BITS: i32 = 8 * (BLOCK_LEN + 32) as i32;

/// SHA-256 as the lanes' kernel.
pub(crate) struct Sha256;

impl Kernel for Sha256 {
    const LANES: usize = 16;
    const BLOCK_LEN: usize = BLOCK_LEN;

    fn turns(live: usize) -> bool {
        live >= WIDE_FROM.load(Ordering::Relaxed)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn compress(
        states: &mut [State; 16],
        heads: &mut Heads,
        live: usize,
        blocks: usize,
        outer: Option<&Outer>,
    ) {
        // SAFETY: the caller's promise: every lane's blocks are readable; the features are this function's own, and the
        // SHA instructions were asked for before `WIDE_FROM` was raised.
        unsafe {
            if outer.is_some() || Self::turns(live) {
                compress16(states, heads, blocks, outer);
            } else {
                compress_pairs(states, heads, live, blocks);
            }
        }
    }
}

/// Living lanes from which sixteen lanes are cheaper than pairs on the SHA instructions. Zero until [`choose`] has measured
/// it, and where the processor has no SHA instructions. Relaxed: any value gives the same hash.
static WIDE_FROM: AtomicUsize = AtomicUsize::new(0);

/// Blocks of one measurement, and how many there are: together some tens of microseconds.
const MEASURED_BLOCKS: usize = 4;
const MEASUREMENTS: usize = 32;

/// Measures this processor's two ways, because processors differ in which one wins: the SHA instructions' unit is twice as
/// wide in some.
pub(crate) fn choose(_: Wide) {
    if !std::arch::is_x86_feature_detected!("sha") {
        return;
    }
    let (mut wide, mut pair) = (u64::MAX, u64::MAX);
    let mut states = [State([0; 8]); 16];
    for _ in 0..MEASUREMENTS {
        // SAFETY: idle heads are readable for ever; `Wide` proves the features, `sha` was asked for.
        unsafe {
            let start = tsc_ordered();
            compress16(&mut states, &mut Heads::idle(BLOCK_LEN), MEASURED_BLOCKS, None);
            let between = tsc_ordered();
            compress_streams::<2>(&mut states, &mut Heads::idle(BLOCK_LEN), 0, MEASURED_BLOCKS);
            pair = pair.min(tsc_ordered().saturating_sub(between));
            wide = wide.min(between.saturating_sub(start));
        }
    }
    let lanes = (2 * wide).div_ceil(pair.max(1)).clamp(2, Sha256::LANES as u64);
    WIDE_FROM.store(lanes as usize, Ordering::Relaxed);
}

macro_rules! round {
    ($w:expr, $k:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $g:ident, $h:ident) => {
        // T1 of FIPS 180-4 §6.2.2; 0x96 is exclusive or, 0xCA is Ch, 0xE8 is Maj.
        let sum1 = _mm512_ternarylogic_epi32::<0x96>(
            _mm512_ror_epi32::<6>($e),
            _mm512_ror_epi32::<11>($e),
            _mm512_ror_epi32::<25>($e),
        );
        let choice = _mm512_ternarylogic_epi32::<0xCA>($e, $f, $g);
        let input = _mm512_add_epi32($h, _mm512_add_epi32($w, _mm512_set1_epi32($k as i32)));
        let t1 = _mm512_add_epi32(_mm512_add_epi32(input, choice), sum1);
        let sum0 = _mm512_ternarylogic_epi32::<0x96>(
            _mm512_ror_epi32::<2>($a),
            _mm512_ror_epi32::<13>($a),
            _mm512_ror_epi32::<22>($a),
        );
        let majority = _mm512_ternarylogic_epi32::<0xE8>($a, $b, $c);
        $d = _mm512_add_epi32($d, t1);
        $h = _mm512_add_epi32(_mm512_add_epi32(sum0, majority), t1);
    };
}

macro_rules! schedule {
    ($w:ident, $t:literal, $t1:literal, $t9:literal, $t14:literal) => {
        let low = $w[$t1];
        let low = _mm512_ternarylogic_epi32::<0x96>(
            _mm512_ror_epi32::<7>(low),
            _mm512_ror_epi32::<18>(low),
            _mm512_srli_epi32::<3>(low),
        );
        let high = $w[$t14];
        let high = _mm512_ternarylogic_epi32::<0x96>(
            _mm512_ror_epi32::<17>(high),
            _mm512_ror_epi32::<19>(high),
            _mm512_srli_epi32::<10>(high),
        );
        $w[$t] = _mm512_add_epi32(_mm512_add_epi32($w[$t], $w[$t9]), _mm512_add_epi32(low, high));
    };
}

/// Sixteen lanes.
///
/// # Safety
/// Every lane's next `blocks` blocks are readable, and the states of `outer`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn compress16(states: &mut [State; 16], heads: &mut Heads, blocks: usize, outer: Option<&Outer>) {
    let mut rows = [core::ptr::null(); 16];
    for (row, state) in rows.iter_mut().zip(&*states) {
        *row = &raw const state.0;
    }
    // SAFETY: those are the states.
    let mut s = unsafe { load_states(&rows) };
    let swap = _mm512_broadcast_i32x4(swap_words());
    for step in 0..blocks + usize::from(outer.is_some()) {
        // Loops instead of `map` and `from_fn`: those know nothing of these instructions and would not be inlined.
        let mut w = [_mm512_setzero_si512(); 16];
        if let (true, Some(outer)) = (step == blocks, outer) {
            // The digests are words already: the outer hash's block is made of them where they are.
            w[..8].copy_from_slice(&s);
            w[8] = _mm512_set1_epi32(i32::MIN);
            w[15] = _mm512_set1_epi32(OUTER_BITS);
            // SAFETY: the caller's promise.
            s = unsafe { load_states(&outer.states) };
        } else {
            for (row, at) in w.iter_mut().zip(&heads.at) {
                // SAFETY: the caller's promise.
                *row = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(at.cast()) }, swap);
            }
            heads.advance::<16>(BLOCK_LEN);
            w = transpose16(w);
        }
        let before = s;
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = s;
        let mut sixteen = 0;
        loop {
            let k: &[u32; 16] = &K_ROWS[sixteen];
            round!(w[0], k[0], a, b, c, d, e, f, g, h);
            round!(w[1], k[1], h, a, b, c, d, e, f, g);
            round!(w[2], k[2], g, h, a, b, c, d, e, f);
            round!(w[3], k[3], f, g, h, a, b, c, d, e);
            round!(w[4], k[4], e, f, g, h, a, b, c, d);
            round!(w[5], k[5], d, e, f, g, h, a, b, c);
            round!(w[6], k[6], c, d, e, f, g, h, a, b);
            round!(w[7], k[7], b, c, d, e, f, g, h, a);
            round!(w[8], k[8], a, b, c, d, e, f, g, h);
            round!(w[9], k[9], h, a, b, c, d, e, f, g);
            round!(w[10], k[10], g, h, a, b, c, d, e, f);
            round!(w[11], k[11], f, g, h, a, b, c, d, e);
            round!(w[12], k[12], e, f, g, h, a, b, c, d);
            round!(w[13], k[13], d, e, f, g, h, a, b, c);
            round!(w[14], k[14], c, d, e, f, g, h, a, b);
            round!(w[15], k[15], b, c, d, e, f, g, h, a);
            sixteen += 1;
            if sixteen == 4 {
                break;
            }
            schedule!(w, 0, 1, 9, 14);
            schedule!(w, 1, 2, 10, 15);
            schedule!(w, 2, 3, 11, 0);
            schedule!(w, 3, 4, 12, 1);
            schedule!(w, 4, 5, 13, 2);
            schedule!(w, 5, 6, 14, 3);
            schedule!(w, 6, 7, 15, 4);
            schedule!(w, 7, 8, 0, 5);
            schedule!(w, 8, 9, 1, 6);
            schedule!(w, 9, 10, 2, 7);
            schedule!(w, 10, 11, 3, 8);
            schedule!(w, 11, 12, 4, 9);
            schedule!(w, 12, 13, 5, 10);
            schedule!(w, 13, 14, 6, 11);
            schedule!(w, 14, 15, 7, 12);
            schedule!(w, 15, 0, 8, 13);
        }
        s = [a, b, c, d, e, f, g, h];
        for (word, before) in s.iter_mut().zip(before) {
            *word = _mm512_add_epi32(*word, before);
        }
    }
    store_states(states, s);
}

/// Eight registers, each a word of all sixteen states.
///
/// # Safety
/// The states are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
#[inline]
unsafe fn load_states(states: &[*const [u64; 8]; 16]) -> [__m512i; 8] {
    let mut rows = [_mm512_setzero_si512(); 8];
    for (lane, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a state is at least 32 octets.
        let (low, high) =
            unsafe { (_mm256_loadu_si256(states[lane].cast()), _mm256_loadu_si256(states[lane + 8].cast())) };
        *row = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
    }
    transpose8_halves(rows)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
fn store_states(states: &mut [State; 16], words: [__m512i; 8]) {
    for (lane, row) in transpose8_halves(words).into_iter().enumerate() {
        // SAFETY: a `State` is at least 32 octets.
        unsafe {
            _mm256_store_si256(states[lane].0.as_mut_ptr().cast(), _mm512_castsi512_si256(row));
            let high = _mm512_extracti64x4_epi64::<1>(row);
            _mm256_store_si256(states[lane + 8].0.as_mut_ptr().cast(), high);
        }
    }
}

/// Lanes `0..live`, two at a time, the odd one alone.
///
/// # Safety
/// The next `blocks` blocks of the living lanes are readable; the processor has the SHA instructions.
#[target_feature(enable = "sha,avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn compress_pairs(states: &mut [State; 16], heads: &mut Heads, live: usize, blocks: usize) {
    let mut lane = 0;
    while lane < live {
        // SAFETY: the caller's promise.
        unsafe {
            if lane + 1 < live {
                compress_streams::<2>(states, heads, lane, blocks);
                lane += 2;
            } else {
                compress_streams::<1>(states, heads, lane, blocks);
                lane += 1;
            }
        }
    }
}

/// `N` lanes from `first` on, interleaved.
///
/// # Safety
/// The lanes' next `blocks` blocks are readable; the processor has the SHA instructions.
#[target_feature(enable = "sha,avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn compress_streams<const N: usize>(
    states: &mut [State; 16],
    heads: &mut Heads,
    first: usize,
    blocks: usize,
) {
    let swap = swap_words();
    let mut abef = [_mm_setzero_si128(); N];
    let mut cdgh = abef;
    for i in 0..N {
        let from = states[first + i].0.as_ptr().cast::<__m128i>();
        // SAFETY: a `State` is at least 32 octets.
        let (dcba, hgfe) = unsafe { (_mm_load_si128(from), _mm_load_si128(from.add(1))) };
        let (cdab, efgh) = (_mm_shuffle_epi32::<0xB1>(dcba), _mm_shuffle_epi32::<0x1B>(hgfe));
        abef[i] = _mm_alignr_epi8::<8>(cdab, efgh);
        cdgh[i] = _mm_blend_epi16::<0xF0>(efgh, cdab);
    }
    for _ in 0..blocks {
        let before = (abef, cdgh);
        let mut w = [[_mm_setzero_si128(); 4]; N];
        for i in 0..N {
            for (quarter, w) in w[i].iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let words = unsafe { _mm_loadu_si128(heads.at[first + i].cast::<__m128i>().add(quarter)) };
                *w = _mm_shuffle_epi8(words, swap);
            }
            heads.advance_lane(first + i, BLOCK_LEN);
        }
        macro_rules! four_rounds {
            ($k:expr, $q:literal) => {
                for i in 0..N {
                    // SAFETY: four words of a row of sixteen.
                    let k = unsafe { _mm_loadu_si128($k.as_ptr().cast::<__m128i>().add($q)) };
                    let input = _mm_add_epi32(w[i][$q], k);
                    cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], input);
                    abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32::<0x0E>(input));
                }
            };
        }
        macro_rules! four_words {
            ($q:literal, $q1:literal, $q2:literal, $q3:literal) => {
                for i in 0..N {
                    let nine = _mm_alignr_epi8::<4>(w[i][$q3], w[i][$q2]);
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[i][$q], w[i][$q1]), nine);
                    w[i][$q] = _mm_sha256msg2_epu32(sum, w[i][$q3]);
                }
            };
        }
        for k in &K_ROWS[..3] {
            four_rounds!(k, 0);
            four_words!(0, 1, 2, 3);
            four_rounds!(k, 1);
            four_words!(1, 2, 3, 0);
            four_rounds!(k, 2);
            four_words!(2, 3, 0, 1);
            four_rounds!(k, 3);
            four_words!(3, 0, 1, 2);
        }
        let k = &K_ROWS[3];
        four_rounds!(k, 0);
        four_rounds!(k, 1);
        four_rounds!(k, 2);
        four_rounds!(k, 3);
        for i in 0..N {
            abef[i] = _mm_add_epi32(abef[i], before.0[i]);
            cdgh[i] = _mm_add_epi32(cdgh[i], before.1[i]);
        }
    }
    for i in 0..N {
        let (feba, dchg) = (_mm_shuffle_epi32::<0x1B>(abef[i]), _mm_shuffle_epi32::<0xB1>(cdgh[i]));
        let to = states[first + i].0.as_mut_ptr().cast::<__m128i>();
        // SAFETY: a `State` is at least 32 octets.
        unsafe {
            _mm_store_si128(to, _mm_blend_epi16::<0xF0>(feba, dchg));
            _mm_store_si128(to.add(1), _mm_alignr_epi8::<8>(dchg, feba));
        }
    }
}

/// The shuffle that turns each big-endian word into a native one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
pub(crate) fn swap_words() -> __m128i {
    _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203)
}

/// Rows to columns of sixteen words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
fn transpose16(r: [__m512i; 16]) -> [__m512i; 16] {
    // Four rows to four columns inside every 128-bit cell.
    let quad = |i: usize| {
        let (r0, r1, r2, r3) = (r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
        let (a, b) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpacklo_epi32(r2, r3));
        let (c, d) = (_mm512_unpackhi_epi32(r0, r1), _mm512_unpackhi_epi32(r2, r3));
        [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpackhi_epi64(c, d),
        ]
    };
    let (p, q, s, t) = (quad(0), quad(1), quad(2), quad(3));
    // Then four rows of cells to four columns of cells.
    let cells = |i: usize| {
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(p[i], q[i]), _mm512_shuffle_i32x4::<0x44>(s[i], t[i]));
        let (ef, gh) = (_mm512_shuffle_i32x4::<0xEE>(p[i], q[i]), _mm512_shuffle_i32x4::<0xEE>(s[i], t[i]));
        [
            _mm512_shuffle_i32x4::<0x88>(ab, cd),
            _mm512_shuffle_i32x4::<0xDD>(ab, cd),
            _mm512_shuffle_i32x4::<0x88>(ef, gh),
            _mm512_shuffle_i32x4::<0xDD>(ef, gh),
        ]
    };
    let [w0, w4, w8, wc] = cells(0);
    let [w1, w5, w9, wd] = cells(1);
    let [w2, w6, wa, we] = cells(2);
    let [w3, w7, wb, wf] = cells(3);
    [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, wa, wb, wc, wd, we, wf]
}

/// Rows to columns of eight words, in each half of the registers by itself.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
fn transpose8_halves(r: [__m512i; 8]) -> [__m512i; 8] {
    let quad = |i: usize| {
        let (r0, r1, r2, r3) = (r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
        let (a, b) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpacklo_epi32(r2, r3));
        let (c, d) = (_mm512_unpackhi_epi32(r0, r1), _mm512_unpackhi_epi32(r2, r3));
        [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpackhi_epi64(c, d),
        ]
    };
    let (p, q) = (quad(0), quad(1));
    // Cells 0 and 2 of both, then cells 1 and 3, keeping the halves apart.
    let even = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    let odd = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    let low = |i: usize| _mm512_permutex2var_epi64(p[i], even, q[i]);
    let high = |i: usize| _mm512_permutex2var_epi64(p[i], odd, q[i]);
    [low(0), low(1), low(2), low(3), high(0), high(1), high(2), high(3)]
}
