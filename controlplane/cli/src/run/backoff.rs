//! How long to wait before a daemon is started again. Enters: how long the last one ran. Leaves: the wait.

use std::time::Duration;

/// Wait after the first crash.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A daemon that ran this long had no trouble at its start; its crash counts as the first one.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Crashes in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Backoff {
    crashes: u32,
}

impl Backoff {
    /// The wait after a daemon ended that had run for `ran`: doubled with each crash in a row.
    pub fn wait_after(&mut self, ran: Duration) -> Duration {
        if ran >= STABLE_AFTER {
            self.crashes = 0;
        }
        let wait = FIRST_WAIT.saturating_mul(2u32.saturating_pow(self.crashes)).min(LONGEST_WAIT);
        self.crashes = self.crashes.saturating_add(1);
        wait
    }

    /// Crashes in a row so far.
    pub fn crashes(self) -> u32 {
        self.crashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_a_stable_time() {
        let mut backoff = Backoff::default();
        let brief = Duration::from_secs(1);
        let waits: Vec<u128> = (0..8).map(|_| backoff.wait_after(brief).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.crashes(), 8);
        assert_eq!(backoff.wait_after(STABLE_AFTER), FIRST_WAIT);
        assert_eq!(backoff.wait_after(brief), FIRST_WAIT * 2);
        for _ in 0..100 {
            assert_eq!(backoff.wait_after(brief).max(LONGEST_WAIT), LONGEST_WAIT);
        }
    }
}
