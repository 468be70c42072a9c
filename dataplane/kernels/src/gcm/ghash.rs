//! GHASH (NIST SP 800-38D §6.4) in the lanes of a vector: products, sums of products, and their reduction.
//!
//! Enters: byte-reversed blocks and powers of H in the form of [`hash_key`]. Leaves: byte-reversed field elements.
//! A block's coefficient of x^i stands at bit 127 − i after the reversal. Powers of H are kept times x⁻¹, so that the
//! 255-bit product needs no shift; a product of two such powers is again one.

use core::arch::x86_64::*;

use super::lanes::pin;

/// x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1 without its ends, reversed: what one 64-bit half is folded with.
const POLY: i64 = 0xC200_0000_0000_0000_u64 as i64;

/// A sum of unreduced products in every lane.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

/// Reverses the octets of every block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn reverse(blocks: __m512i) -> __m512i {
    _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(reversal()))
}

/// Reverses the octets of one block.
#[inline]
#[target_feature(enable = "ssse3")]
pub(super) fn reverse_one(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, reversal())
}

#[inline]
#[target_feature(enable = "sse2")]
fn reversal() -> __m128i {
    _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f)
}

/// H times x⁻¹ in every lane, from reversed H.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hash_key(h: __m512i) -> __m512i {
    let carries = _mm512_srli_epi64::<63>(h);
    let doubled = _mm512_or_si512(_mm512_slli_epi64::<1>(h), _mm512_bslli_epi128::<8>(carries));
    // The bit that left at the top comes back as x⁻¹ = x¹²⁷ + x⁶ + x + 1, without a branch.
    let top = _mm512_srai_epi32::<31>(_mm512_shuffle_epi32::<0xFF>(h));
    let constant = _mm512_broadcast_i32x4(_mm_set_epi64x(POLY, 1));
    _mm512_ternarylogic_epi64::<0x78>(doubled, top, constant)
}

impl Sum {
    /// The product of every lane.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub fn of(blocks: __m512i, powers: __m512i) -> Sum {
        let ab = _mm512_clmulepi64_epi128::<0x01>(blocks, powers);
        let ba = _mm512_clmulepi64_epi128::<0x10>(blocks, powers);
        Sum {
            low: _mm512_clmulepi64_epi128::<0x00>(blocks, powers),
            middle: _mm512_xor_si512(ab, ba),
            high: _mm512_clmulepi64_epi128::<0x11>(blocks, powers),
        }
    }

    /// Of nothing.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn zero() -> Sum {
        let zero = _mm512_setzero_si512();
        Sum { low: zero, middle: zero, high: zero }
    }

    /// Adds the product of every lane.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub fn add(&mut self, blocks: __m512i, powers: __m512i) {
        let ab = _mm512_clmulepi64_epi128::<0x01>(blocks, powers);
        let ba = _mm512_clmulepi64_epi128::<0x10>(blocks, powers);
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(blocks, powers));
        self.middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, ab, ba);
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(blocks, powers));
    }

    /// Adds two products of every lane: a third fewer additions than one by one.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub fn add_pair(&mut self, [a, b]: [__m512i; 2], [x, y]: [__m512i; 2]) {
        let low = [_mm512_clmulepi64_epi128::<0x00>(a, x), _mm512_clmulepi64_epi128::<0x00>(b, y)];
        let first = [_mm512_clmulepi64_epi128::<0x01>(a, x), _mm512_clmulepi64_epi128::<0x10>(a, x)];
        let second = [_mm512_clmulepi64_epi128::<0x01>(b, y), _mm512_clmulepi64_epi128::<0x10>(b, y)];
        let high = [_mm512_clmulepi64_epi128::<0x11>(a, x), _mm512_clmulepi64_epi128::<0x11>(b, y)];
        self.low = _mm512_ternarylogic_epi64::<0x96>(self.low, low[0], low[1]);
        self.middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, first[0], first[1]);
        self.middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, second[0], second[1]);
        self.high = _mm512_ternarylogic_epi64::<0x96>(self.high, high[0], high[1]);
    }

    /// See [`pin`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn pin(&mut self) {
        let mut parts = [self.low, self.middle, self.high];
        pin(&mut parts);
        [self.low, self.middle, self.high] = parts;
    }

    /// Reduces every lane: two folds of 64 bits.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub fn reduce(self) -> __m512i {
        let poly = _mm512_set1_epi64(POLY);
        let fold = _mm512_clmulepi64_epi128::<0x00>(self.low, poly);
        let swapped = _mm512_shuffle_epi32::<0x4E>(self.low);
        let middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, swapped, fold);
        let fold = _mm512_clmulepi64_epi128::<0x00>(middle, poly);
        let swapped = _mm512_shuffle_epi32::<0x4E>(middle);
        _mm512_ternarylogic_epi64::<0x96>(self.high, swapped, fold)
    }
}

/// The reduced product of every lane.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
pub(super) fn multiply(a: __m512i, b: __m512i) -> __m512i {
    Sum::of(a, b).reduce()
}

/// The sum of the four lanes, in the lowest.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn sum_lanes(lanes: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}
