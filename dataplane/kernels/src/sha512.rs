//! SHA-512's compression function over lanes: eight packets in the words of one register, or four.
//!
//! Enters: chaining states, one 64-octet row per lane, and for every lane where its next block stands. Leaves: the states
//! after a number of blocks. FIPS 180-4 §6.4; SHA-384 differs in its initial state only (§6.5). A round costs seventeen
//! instructions whatever the width, so eight lanes cost what one does.

use core::arch::x86_64::*;

use crate::hmac::{Heads, Kernel, Outer, State};

/// Octets of a block.
pub(crate) const BLOCK_LEN: usize = 128;

/// FIPS 180-4 §5.3.5.
pub(crate) const SHA512_INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// FIPS 180-4 §5.3.4.
pub(crate) const SHA384_INITIAL: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];

/// FIPS 180-4 §4.2.3.
static K_ROWS: [[u64; 16]; 5] = [
    [
        0x428a_2f98_d728_ae22,
        0x7137_4491_23ef_65cd,
        0xb5c0_fbcf_ec4d_3b2f,
        0xe9b5_dba5_8189_dbbc,
        0x3956_c25b_f348_b538,
        0x59f1_11f1_b605_d019,
        0x923f_82a4_af19_4f9b,
        0xab1c_5ed5_da6d_8118,
        0xd807_aa98_a303_0242,
        0x1283_5b01_4570_6fbe,
        0x2431_85be_4ee4_b28c,
        0x550c_7dc3_d5ff_b4e2,
        0x72be_5d74_f27b_896f,
        0x80de_b1fe_3b16_96b1,
        0x9bdc_06a7_25c7_1235,
        0xc19b_f174_cf69_2694,
    ],
    [
        0xe49b_69c1_9ef1_4ad2,
        0xefbe_4786_384f_25e3,
        0x0fc1_9dc6_8b8c_d5b5,
        0x240c_a1cc_77ac_9c65,
        0x2de9_2c6f_592b_0275,
        0x4a74_84aa_6ea6_e483,
        0x5cb0_a9dc_bd41_fbd4,
        0x76f9_88da_8311_53b5,
        0x983e_5152_ee66_dfab,
        0xa831_c66d_2db4_3210,
        0xb003_27c8_98fb_213f,
        0xbf59_7fc7_beef_0ee4,
        0xc6e0_0bf3_3da8_8fc2,
        0xd5a7_9147_930a_a725,
        0x06ca_6351_e003_826f,
        0x1429_2967_0a0e_6e70,
    ],
    [
        0x27b7_0a85_46d2_2ffc,
        0x2e1b_2138_5c26_c926,
        0x4d2c_6dfc_5ac4_2aed,
        0x5338_0d13_9d95_b3df,
        0x650a_7354_8baf_63de,
        0x766a_0abb_3c77_b2a8,
        0x81c2_c92e_47ed_aee6,
        0x9272_2c85_1482_353b,
        0xa2bf_e8a1_4cf1_0364,
        0xa81a_664b_bc42_3001,
        0xc24b_8b70_d0f8_9791,
        0xc76c_51a3_0654_be30,
        0xd192_e819_d6ef_5218,
        0xd699_0624_5565_a910,
        0xf40e_3585_5771_202a,
        0x106a_a070_32bb_d1b8,
    ],
    [
        0x19a4_c116_b8d2_d0c8,
        0x1e37_6c08_5141_ab53,
        0x2748_774c_df8e_eb99,
        0x34b0_bcb5_e19b_48a8,
        0x391c_0cb3_c5c9_5a63,
        0x4ed8_aa4a_e341_8acb,
        0x5b9c_ca4f_7763_e373,
        0x682e_6ff3_d6b2_b8a3,
        0x748f_82ee_5def_b2fc,
        0x78a5_636f_4317_2f60,
        0x84c8_7814_a1f0_ab72,
        0x8cc7_0208_1a64_39ec,
        0x90be_fffa_2363_1e28,
        0xa450_6ceb_de82_bde9,
        0xbef9_a3f7_b2c6_7915,
        0xc671_78f2_e372_532b,
    ],
    [
        0xca27_3ece_ea26_619c,
        0xd186_b8c7_21c0_c207,
        0xeada_7dd6_cde0_eb1e,
        0xf57d_4f7f_ee6e_d178,
        0x06f0_67aa_7217_6fba,
        0x0a63_7dc5_a2c8_98a6,
        0x113f_9804_bef9_0dae,
        0x1b71_0b35_131c_471b,
        0x28db_77f5_2304_7d84,
        0x32ca_ab7b_40c7_2493,
        0x3c9e_be0a_15c9_bebc,
        0x431d_67c4_9c10_0d4c,
        0x4cc5_d4be_cb3e_42b6,
        0x597f_299c_fc65_7e2a,
        0x5fcb_6fab_3ad6_faec,
        0x6c44_198c_4a47_5817,
    ],
];

/// The length that ends the outer hash's block (RFC 2104 §2): key pad and digest, in bits.
const OUTER_BITS_384: i64 = 8 * (BLOCK_LEN + 48) as i64;
const OUTER_BITS_512: i64 = 8 * (BLOCK_LEN + 64) as i64;

/// SHA-384 and SHA-512 as the lanes' kernel.
pub(crate) struct Sha512;

impl Kernel for Sha512 {
    const LANES: usize = 8;
    const BLOCK_LEN: usize = BLOCK_LEN;

    fn turns(live: usize) -> bool {
        live > 1
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn compress(
        states: &mut [State; 16],
        heads: &mut Heads,
        live: usize,
        blocks: usize,
        outer: Option<&Outer>,
    ) {
        // SAFETY: the caller's promise: every lane's blocks are readable; the features are this function's own.
        unsafe {
            match live {
                0 | 1 => serial(states, heads, blocks),
                2..=4 => compress4(states, heads, blocks, outer),
                _ => compress8(states, heads, blocks, outer),
            }
        }
    }
}

/// One lane: the rounds in general registers, the message schedule beside them two words at a time.
///
/// # Safety
/// Lane 0's next `blocks` blocks are readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn serial(states: &mut [State; 16], heads: &mut Heads, blocks: usize) {
    let state = &mut states[0].0;
    let swap = swap_words();
    for _ in 0..blocks {
        let mut w = [_mm_setzero_si128(); 8];
        let mut wk = [0_u64; 16];
        for (pair, w) in w.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let words = unsafe { _mm_loadu_si128(heads.at[0].cast::<__m128i>().add(pair)) };
            *w = _mm_shuffle_epi8(words, swap);
            put(&mut wk, pair, *w, &K_ROWS[0]);
        }
        heads.advance::<1>(BLOCK_LEN);
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        macro_rules! round {
            ($wk:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $g:ident, $h:ident) => {
                let sum1 = $e.rotate_right(14) ^ $e.rotate_right(18) ^ $e.rotate_right(41);
                let choice = ($e & $f) ^ (!$e & $g);
                let t1 = $h.wrapping_add($wk).wrapping_add(choice).wrapping_add(sum1);
                let sum0 = $a.rotate_right(28) ^ $a.rotate_right(34) ^ $a.rotate_right(39);
                let majority = (($a ^ $b) & ($b ^ $c)) ^ $b;
                $d = $d.wrapping_add(t1);
                $h = t1.wrapping_add(sum0).wrapping_add(majority);
            };
        }
        macro_rules! words {
            ($row:ident, $j:literal, $j1:literal, $j4:literal, $j5:literal, $j7:literal) => {
                let low = _mm_alignr_epi8::<8>(w[$j1], w[$j]);
                let low = _mm_ternarylogic_epi64::<0x96>(
                    _mm_ror_epi64::<1>(low),
                    _mm_ror_epi64::<8>(low),
                    _mm_srli_epi64::<7>(low),
                );
                let high = w[$j7];
                let high = _mm_ternarylogic_epi64::<0x96>(
                    _mm_ror_epi64::<19>(high),
                    _mm_ror_epi64::<61>(high),
                    _mm_srli_epi64::<6>(high),
                );
                let nine = _mm_alignr_epi8::<8>(w[$j5], w[$j4]);
                w[$j] = _mm_add_epi64(_mm_add_epi64(w[$j], nine), _mm_add_epi64(low, high));
                put(&mut wk, $j, w[$j], &K_ROWS[$row + 1]);
            };
        }
        for row in 0..5 {
            round!(wk[0], a, b, c, d, e, f, g, h);
            round!(wk[1], h, a, b, c, d, e, f, g);
            if row < 4 {
                words!(row, 0, 1, 4, 5, 7);
            }
            round!(wk[2], g, h, a, b, c, d, e, f);
            round!(wk[3], f, g, h, a, b, c, d, e);
            if row < 4 {
                words!(row, 1, 2, 5, 6, 0);
            }
            round!(wk[4], e, f, g, h, a, b, c, d);
            round!(wk[5], d, e, f, g, h, a, b, c);
            if row < 4 {
                words!(row, 2, 3, 6, 7, 1);
            }
            round!(wk[6], c, d, e, f, g, h, a, b);
            round!(wk[7], b, c, d, e, f, g, h, a);
            if row < 4 {
                words!(row, 3, 4, 7, 0, 2);
            }
            round!(wk[8], a, b, c, d, e, f, g, h);
            round!(wk[9], h, a, b, c, d, e, f, g);
            if row < 4 {
                words!(row, 4, 5, 0, 1, 3);
            }
            round!(wk[10], g, h, a, b, c, d, e, f);
            round!(wk[11], f, g, h, a, b, c, d, e);
            if row < 4 {
                words!(row, 5, 6, 1, 2, 4);
            }
            round!(wk[12], e, f, g, h, a, b, c, d);
            round!(wk[13], d, e, f, g, h, a, b, c);
            if row < 4 {
                words!(row, 6, 7, 2, 3, 5);
            }
            round!(wk[14], c, d, e, f, g, h, a, b);
            round!(wk[15], b, c, d, e, f, g, h, a);
            if row < 4 {
                words!(row, 7, 0, 3, 4, 6);
            }
        }
        for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *word = word.wrapping_add(add);
        }
    }
}

/// Two words of the schedule with their constants added.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
#[inline]
fn put(wk: &mut [u64; 16], pair: usize, words: __m128i, k: &[u64; 16]) {
    // SAFETY: pairs 0 to 7 of sixteen words.
    unsafe {
        let k = _mm_loadu_si128(k.as_ptr().cast::<__m128i>().add(pair));
        _mm_storeu_si128(wk.as_mut_ptr().cast::<__m128i>().add(pair), _mm_add_epi64(words, k));
    }
}

/// The 80 rounds over vectors of `u64` lanes, as one macro because the two widths differ in names only.
macro_rules! rounds {
    ($s:ident, $w:ident, $add:ident, $ror:ident, $shr:ident, $ternary:ident, $set1:ident) => {{
        let before = $s;
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $s;
        macro_rules! round {
            ($t:literal, $k:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $g:ident, $h:ident) => {
                // T1 of FIPS 180-4 §6.4.2; 0x96 is exclusive or, 0xCA is Ch, 0xE8 is Maj.
                let sum1 = $ternary::<0x96>($ror::<14>($e), $ror::<18>($e), $ror::<41>($e));
                let choice = $ternary::<0xCA>($e, $f, $g);
                let t1 = $add($add($add($h, $add($w[$t], $set1($k as i64))), choice), sum1);
                let sum0 = $ternary::<0x96>($ror::<28>($a), $ror::<34>($a), $ror::<39>($a));
                let majority = $ternary::<0xE8>($a, $b, $c);
                $d = $add($d, t1);
                $h = $add($add(sum0, majority), t1);
            };
        }
        macro_rules! schedule {
            ($t:literal, $t1:literal, $t9:literal, $t14:literal) => {
                let low = $w[$t1];
                let low = $ternary::<0x96>($ror::<1>(low), $ror::<8>(low), $shr::<7>(low));
                let high = $w[$t14];
                let high = $ternary::<0x96>($ror::<19>(high), $ror::<61>(high), $shr::<6>(high));
                $w[$t] = $add($add($w[$t], $w[$t9]), $add(low, high));
            };
        }
        let mut sixteen = 0;
        loop {
            let k: &[u64; 16] = &K_ROWS[sixteen];
            round!(0, k[0], a, b, c, d, e, f, g, h);
            round!(1, k[1], h, a, b, c, d, e, f, g);
            round!(2, k[2], g, h, a, b, c, d, e, f);
            round!(3, k[3], f, g, h, a, b, c, d, e);
            round!(4, k[4], e, f, g, h, a, b, c, d);
            round!(5, k[5], d, e, f, g, h, a, b, c);
            round!(6, k[6], c, d, e, f, g, h, a, b);
            round!(7, k[7], b, c, d, e, f, g, h, a);
            round!(8, k[8], a, b, c, d, e, f, g, h);
            round!(9, k[9], h, a, b, c, d, e, f, g);
            round!(10, k[10], g, h, a, b, c, d, e, f);
            round!(11, k[11], f, g, h, a, b, c, d, e);
            round!(12, k[12], e, f, g, h, a, b, c, d);
            round!(13, k[13], d, e, f, g, h, a, b, c);
            round!(14, k[14], c, d, e, f, g, h, a, b);
            round!(15, k[15], b, c, d, e, f, g, h, a);
            sixteen += 1;
            if sixteen == 5 {
                break;
            }
            schedule!(0, 1, 9, 14);
            schedule!(1, 2, 10, 15);
            schedule!(2, 3, 11, 0);
            schedule!(3, 4, 12, 1);
            schedule!(4, 5, 13, 2);
            schedule!(5, 6, 14, 3);
            schedule!(6, 7, 15, 4);
            schedule!(7, 8, 0, 5);
            schedule!(8, 9, 1, 6);
            schedule!(9, 10, 2, 7);
            schedule!(10, 11, 3, 8);
            schedule!(11, 12, 4, 9);
            schedule!(12, 13, 5, 10);
            schedule!(13, 14, 6, 11);
            schedule!(14, 15, 7, 12);
            schedule!(15, 0, 8, 13);
        }
        let [a0, b0, c0, d0, e0, f0, g0, h0] = before;
        $s = [
            $add(a, a0),
            $add(b, b0),
            $add(c, c0),
            $add(d, d0),
            $add(e, e0),
            $add(f, f0),
            $add(g, g0),
            $add(h, h0),
        ];
    }};
}

/// Eight lanes.
///
/// # Safety
/// Every lane's next `blocks` blocks are readable, and the states of `outer`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn compress8(states: &mut [State; 16], heads: &mut Heads, blocks: usize, outer: Option<&Outer>) {
    // Loops instead of `map` and `from_fn`: those know nothing of these instructions and would not be inlined.
    let mut s = [_mm512_setzero_si512(); 8];
    for (row, state) in s.iter_mut().zip(&*states) {
        // SAFETY: a `State` is 64 octets.
        *row = unsafe { _mm512_load_si512(state.0.as_ptr().cast()) };
    }
    s = transpose8(s);
    let swap = _mm512_broadcast_i32x4(swap_words());
    for step in 0..blocks + usize::from(outer.is_some()) {
        let mut w = [_mm512_setzero_si512(); 16];
        if let (true, Some(outer)) = (step == blocks, outer) {
            // The digests are words already: the outer hash's block is made of them where they are.
            let (one, whole) = (_mm512_set1_epi64(i64::MIN), outer.whole as u8);
            w[..6].copy_from_slice(&s[..6]);
            w[6] = _mm512_mask_mov_epi64(one, whole, s[6]);
            w[7] = _mm512_maskz_mov_epi64(whole, s[7]);
            w[8] = _mm512_maskz_mov_epi64(whole, one);
            w[15] = _mm512_mask_mov_epi64(
                _mm512_set1_epi64(OUTER_BITS_384),
                whole,
                _mm512_set1_epi64(OUTER_BITS_512),
            );
            for (row, state) in s.iter_mut().zip(&outer.states) {
                // SAFETY: the caller's promise.
                *row = unsafe { _mm512_loadu_si512(state.cast()) };
            }
            s = transpose8(s);
        } else {
            let (mut low, mut high) = ([_mm512_setzero_si512(); 8], [_mm512_setzero_si512(); 8]);
            for ((low, high), at) in low.iter_mut().zip(&mut high).zip(&heads.at) {
                // SAFETY: the caller's promise.
                unsafe {
                    *low = _mm512_shuffle_epi8(_mm512_loadu_si512(at.cast()), swap);
                    *high = _mm512_shuffle_epi8(_mm512_loadu_si512(at.add(64).cast()), swap);
                }
            }
            heads.advance::<8>(BLOCK_LEN);
            w[..8].copy_from_slice(&transpose8(low));
            w[8..].copy_from_slice(&transpose8(high));
        }
        rounds!(
            s,
            w,
            _mm512_add_epi64,
            _mm512_ror_epi64,
            _mm512_srli_epi64,
            _mm512_ternarylogic_epi64,
            _mm512_set1_epi64
        );
    }
    for (row, state) in transpose8(s).into_iter().zip(states.iter_mut()) {
        // SAFETY: a `State` is 64 octets.
        unsafe { _mm512_store_si512(state.0.as_mut_ptr().cast(), row) };
    }
}

/// Four lanes, in half the width but on more of the processor's ports.
///
/// # Safety
/// The next `blocks` blocks of lanes 0 to 3 are readable, and the states of `outer`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn compress4(states: &mut [State; 16], heads: &mut Heads, blocks: usize, outer: Option<&Outer>) {
    let (mut low, mut high) = ([_mm256_setzero_si256(); 4], [_mm256_setzero_si256(); 4]);
    for ((low, high), state) in low.iter_mut().zip(&mut high).zip(&*states) {
        let from = state.0.as_ptr().cast::<__m256i>();
        // SAFETY: a `State` is two rows of 32 octets.
        (*low, *high) = unsafe { (_mm256_load_si256(from), _mm256_load_si256(from.add(1))) };
    }
    let ([s0, s1, s2, s3], [s4, s5, s6, s7]) = (transpose4(low), transpose4(high));
    let mut s = [s0, s1, s2, s3, s4, s5, s6, s7];
    let swap = _mm256_broadcastsi128_si256(swap_words());
    for step in 0..blocks + usize::from(outer.is_some()) {
        let mut w = [_mm256_setzero_si256(); 16];
        if let (true, Some(outer)) = (step == blocks, outer) {
            let (one, whole) = (_mm256_set1_epi64x(i64::MIN), outer.whole as u8);
            w[..6].copy_from_slice(&s[..6]);
            w[6] = _mm256_mask_mov_epi64(one, whole, s[6]);
            w[7] = _mm256_maskz_mov_epi64(whole, s[7]);
            w[8] = _mm256_maskz_mov_epi64(whole, one);
            w[15] = _mm256_mask_mov_epi64(
                _mm256_set1_epi64x(OUTER_BITS_384),
                whole,
                _mm256_set1_epi64x(OUTER_BITS_512),
            );
            for ((low, high), state) in low.iter_mut().zip(&mut high).zip(&outer.states) {
                let from = state.cast::<__m256i>();
                // SAFETY: the caller's promise; a state is two rows of 32 octets.
                (*low, *high) = unsafe { (_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))) };
            }
            s[..4].copy_from_slice(&transpose4(low));
            s[4..].copy_from_slice(&transpose4(high));
        } else {
            for (quarter, w) in w.chunks_exact_mut(4).enumerate() {
                let mut rows = [_mm256_setzero_si256(); 4];
                for (row, at) in rows.iter_mut().zip(&heads.at) {
                    // SAFETY: the caller's promise.
                    let words = unsafe { _mm256_loadu_si256(at.cast::<__m256i>().add(quarter)) };
                    *row = _mm256_shuffle_epi8(words, swap);
                }
                w.copy_from_slice(&transpose4(rows));
            }
            heads.advance::<4>(BLOCK_LEN);
        }
        rounds!(
            s,
            w,
            _mm256_add_epi64,
            _mm256_ror_epi64,
            _mm256_srli_epi64,
            _mm256_ternarylogic_epi64,
            _mm256_set1_epi64x
        );
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = s;
    let (low, high) = (transpose4([s0, s1, s2, s3]), transpose4([s4, s5, s6, s7]));
    for ((low, high), state) in low.into_iter().zip(high).zip(states.iter_mut()) {
        let to = state.0.as_mut_ptr().cast::<__m256i>();
        // SAFETY: a `State` is two rows of 32 octets.
        unsafe {
            _mm256_store_si256(to, low);
            _mm256_store_si256(to.add(1), high);
        }
    }
}

/// The shuffle that turns each big-endian word into a native one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
pub(crate) fn swap_words() -> __m128i {
    _mm_set_epi64x(0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607)
}

/// Rows to columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
fn transpose8(r: [__m512i; 8]) -> [__m512i; 8] {
    let pair = |i: usize| {
        (_mm512_unpacklo_epi64(r[2 * i], r[2 * i + 1]), _mm512_unpackhi_epi64(r[2 * i], r[2 * i + 1]))
    };
    let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (pair(0), pair(1), pair(2), pair(3));
    // Of four registers of 128-bit cells, the four registers that hold one column of cells each.
    let cells = |a, b, c, d| {
        let (ab, cd) = (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0x44>(c, d));
        let (ef, gh) = (_mm512_shuffle_i64x2::<0xEE>(a, b), _mm512_shuffle_i64x2::<0xEE>(c, d));
        [
            _mm512_shuffle_i64x2::<0x88>(ab, cd),
            _mm512_shuffle_i64x2::<0xDD>(ab, cd),
            _mm512_shuffle_i64x2::<0x88>(ef, gh),
            _mm512_shuffle_i64x2::<0xDD>(ef, gh),
        ]
    };
    let [e0, e2, e4, e6] = cells(a0, b0, c0, d0);
    let [e1, e3, e5, e7] = cells(a1, b1, c1, d1);
    [e0, e1, e2, e3, e4, e5, e6, e7]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
fn transpose4([r0, r1, r2, r3]: [__m256i; 4]) -> [__m256i; 4] {
    let (a0, a1) = (_mm256_unpacklo_epi64(r0, r1), _mm256_unpackhi_epi64(r0, r1));
    let (b0, b1) = (_mm256_unpacklo_epi64(r2, r3), _mm256_unpackhi_epi64(r2, r3));
    [
        _mm256_permute2x128_si256::<0x20>(a0, b0),
        _mm256_permute2x128_si256::<0x20>(a1, b1),
        _mm256_permute2x128_si256::<0x31>(a0, b0),
        _mm256_permute2x128_si256::<0x31>(a1, b1),
    ]
}
