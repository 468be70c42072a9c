//! Time as the protocol sees it: milliseconds of a monotonic clock that the driver owns.
//!
//! Enters: the driver's reading of its clock. Leaves: deadlines. No wall clock exists in this crate except the
//! seconds that [`crate::job::PublicKeyJob::run`] takes for certificates.

use std::time::Duration;

/// A point on the driver's monotonic clock, in milliseconds since an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The point `millis` milliseconds after the clock's start.
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(millis)
    }

    /// Milliseconds since the clock's start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This point plus `millis` milliseconds, saturating.
    pub const fn plus_millis(self, millis: u64) -> Instant {
        Instant(self.0.saturating_add(millis))
    }

    /// This point plus `secs` seconds, saturating.
    pub const fn plus_secs(self, secs: u64) -> Instant {
        Instant(self.0.saturating_add(secs.saturating_mul(1000)))
    }

    /// Milliseconds from `earlier` to here; 0 when `earlier` lies later.
    pub const fn millis_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `earlier` to here; zero when `earlier` lies later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.millis_since(earlier))
    }
}
