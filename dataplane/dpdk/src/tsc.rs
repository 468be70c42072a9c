//! The processor's time stamp counter, and hints to its caches. Neither needs the EAL.
//!
//! The counter ticks at a constant rate, which is not the core's clock: figures in "core cycles" are made from it by a
//! factor that the measuring program finds out.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the counter is watched to find its rate.
const RATE_WINDOW: Duration = Duration::from_millis(20);
/// Octets of a cache line.
pub const CACHE_LINE: usize = 64;

/// The time stamp counter. Not ordered against other instructions: two readings around short work may lie a few cycles off.
#[inline(always)]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and the kernel leaves it to user programs.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Ticks of [`tsc`] in a second, measured once per process against the monotonic clock.
pub fn tsc_hz() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (began, first) = (Instant::now(), tsc());
        while began.elapsed() < RATE_WINDOW {
            std::hint::spin_loop();
        }
        let (ticks, nanoseconds) = (tsc().wrapping_sub(first), began.elapsed().as_nanos());
        u64::try_from(u128::from(ticks) * 1_000_000_000 / nanoseconds.max(1)).unwrap_or(u64::MAX)
    })
}

/// Asks for the cache line in which `value` begins.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    // SAFETY: a prefetch reads nothing and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(value).cast(),
        )
    };
}

/// Asks for cache lines `FROM` to `TO` of `value`, the latter not included.
#[inline(always)]
pub fn prefetch_lines<const FROM: usize, const TO: usize, T>(value: &T) {
    const { assert!(TO <= size_of::<T>().div_ceil(CACHE_LINE)) };
    let first = std::ptr::from_ref(value).cast::<i8>();
    for line in FROM..TO {
        // SAFETY: as above; the address is inside the value or in its last line.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                first.wrapping_add(line * CACHE_LINE),
            );
        }
    }
}

/// Asks for the cache line at `address` in order to write it: what another core holds of it is given up at once, where reading
/// first and writing later would ask that core twice. Any address will do.
#[inline(always)]
pub fn prefetch_to_write(address: *const u8) {
    // SAFETY: PREFETCHW faults on no address and changes no value, and where a processor has none it does nothing. Written
    // out because the compiler makes a reading hint of it for processors of the oldest kind, which is what we build for.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_runs_at_its_rate() {
        let (began, first) = (Instant::now(), tsc());
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let seconds = began.elapsed().as_secs_f64();
        let measured = (tsc() - first) as f64 / seconds;
        let ratio = measured / tsc_hz() as f64;
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }

    #[test]
    fn hints_change_nothing() {
        let value = [7u8; 300];
        prefetch(&value[..]);
        prefetch_lines::<1, 5, _>(&value);
        prefetch_to_write(value.as_ptr());
        prefetch_to_write(std::ptr::null());
        assert_eq!(value, [7; 300]);
    }
}
