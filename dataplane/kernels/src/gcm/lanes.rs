//! Vectors of four blocks: between rows (one packet's consecutive blocks) and columns (one block of each of four
//! packets), and the order of instructions.

use core::arch::asm;
use core::arch::x86_64::*;

/// Transposes four vectors of four blocks.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(rows: [__m512i; 4]) -> [__m512i; 4] {
    let [a, b, c, d] = rows;
    let ab_low = _mm512_shuffle_i32x4::<0x44>(a, b);
    let ab_high = _mm512_shuffle_i32x4::<0xEE>(a, b);
    let cd_low = _mm512_shuffle_i32x4::<0x44>(c, d);
    let cd_high = _mm512_shuffle_i32x4::<0xEE>(c, d);
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xDD>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xDD>(ab_high, cd_high),
    ]
}

/// Keeps the compiler from moving the work on these vectors across this line. It would put one chain of AES rounds behind
/// the other, and all of GHASH behind all of AES; the processor has room for only some of that in flight.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn pin<const N: usize>(vectors: &mut [__m512i; N]) {
    let mut index = 0;
    while index < N {
        // SAFETY: no instruction at all.
        unsafe { asm!("/* {0} */", inout(zmm_reg) vectors[index], options(nomem, nostack, preserves_flags)) };
        index += 1;
    }
}

/// Keeps the compiler from knowing what lies there: what was read there once is then not kept in a register.
#[inline]
pub(super) fn hide<T>(place: *const T) -> *const T {
    let mut hidden = place;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) hidden, options(pure, readonly, nostack, preserves_flags)) };
    hidden
}

/// Does something with every number from 1 to 13, written out: the compiler leaves a loop around [`pin`] a loop, and keys
/// that are picked in one have to lie in memory.
macro_rules! for_each_round {
    ($do:ident) => {
        $do!(1);
        $do!(2);
        $do!(3);
        $do!(4);
        $do!(5);
        $do!(6);
        $do!(7);
        $do!(8);
        $do!(9);
        $do!(10);
        $do!(11);
        $do!(12);
        $do!(13);
    };
}
pub(super) use for_each_round;
