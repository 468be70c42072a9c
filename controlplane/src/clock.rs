//! The control plane's one clock: CLOCK_MONOTONIC, which the data plane's time stamps are of, too.
//!
//! Leaves: the time for slots and links (since boot), the endpoint's milliseconds, and the wall clock, which only
//! certificates look at (architecture §9 rule 6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_ike::time::Instant;

/// Now.
pub fn now() -> Duration {
    Duration::from_nanos(causeway_shm::monotonic_ns())
}

/// The same moment as the endpoint has it.
pub fn instant(now: Duration) -> Instant {
    Instant::from_millis(millis(now))
}

/// Milliseconds of a moment.
pub fn millis(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970, for the validity of certificates.
pub fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
