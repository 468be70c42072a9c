//! The two clocks of a measurement: the time-stamp counter, and how many core cycles go by in one tick of it.
//!
//! Enters: nothing. Leaves: ticks, and a ratio measured with a chain of dependent additions, one core cycle each. The
//! counter runs at a fixed rate; a core may run faster or slower, and only its own cycles say what code costs.

use core::arch::asm;
use core::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};

/// Additions of one window: some 20 µs, far below a scheduler's slice.
const ADDITIONS: u64 = 65_536;
/// Additions in one turn of the loop.
const TURN: u64 = 64;
/// Windows of one measurement; the fastest counts, because nothing makes an addition faster than one cycle.
const WINDOWS: usize = 300;

/// The time-stamp counter, in its own ticks. Does not wait for what stands before it.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { _rdtsc() }
}

/// The time-stamp counter once everything before it is done, and before anything behind it begins.
#[inline]
pub fn tsc_ordered() -> u64 {
    let mut core = 0;
    // SAFETY: every processor this is built for has both.
    unsafe {
        let ticks = __rdtscp(&raw mut core);
        _mm_lfence();
        ticks
    }
}

/// Core cycles per tick of the counter, at this moment, on this core.
pub fn core_per_tsc() -> f64 {
    let fastest = (0..WINDOWS).map(|_| additions()).min().unwrap_or(ADDITIONS).max(1);
    ADDITIONS as f64 / fastest as f64
}

/// Ticks that [`ADDITIONS`] dependent additions take. Of two registers: an immediate may be folded by the renamer.
fn additions() -> u64 {
    let start = tsc_ordered();
    // SAFETY: touches its own registers only.
    unsafe {
        asm!(
            "2:",
            ".rept 64",
            "add {sum}, {one}",
            ".endr",
            "sub {turns}, 1",
            "jnz 2b",
            sum = inout(reg) 0_u64 => _,
            one = in(reg) 1_u64,
            turns = inout(reg) ADDITIONS / TURN => _,
            options(nomem, nostack),
        );
    }
    tsc_ordered() - start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_advances_and_the_ratio_is_one_of_a_real_machine() {
        let before = tsc_ordered();
        let ratio = core_per_tsc();
        assert!(tsc_ordered() > before);
        assert!((0.2..5.0).contains(&ratio), "{ratio} core cycles per tick");
    }
}
