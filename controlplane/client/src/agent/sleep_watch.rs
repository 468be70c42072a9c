//! Whether the machine has slept: one of the kernel's clocks goes on meanwhile, the other stands still.
//!
//! Enters: both clocks. Leaves: yes, once per sleep. Shorter sleeps are left to liveness.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Sleeps shorter than this are not noticed: the gateway has not missed us yet.
const SHORTEST: Duration = Duration::from_secs(10);
/// How often the clocks should be looked at.
pub(super) const EVERY: Duration = Duration::from_secs(5);

pub(super) struct SleepWatch {
    /// Time spent asleep since the machine started, when last looked at.
    asleep: Duration,
}

impl SleepWatch {
    pub(super) fn new() -> SleepWatch {
        SleepWatch { asleep: asleep() }
    }

    /// Whether the machine has slept since the last look.
    pub(super) fn has_slept(&mut self) -> bool {
        self.look(asleep())
    }

    fn look(&mut self, asleep: Duration) -> bool {
        let slept = asleep.saturating_sub(self.asleep) >= SHORTEST;
        self.asleep = asleep;
        slept
    }
}

fn asleep() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_noticed_once() {
        let mut watch = SleepWatch { asleep: Duration::from_secs(100) };
        for (asleep_secs, wanted) in [(100, false), (105, false), (600, true), (600, false), (610, true)] {
            assert_eq!(watch.look(Duration::from_secs(asleep_secs)), wanted, "{asleep_secs}");
        }
    }

    #[test]
    fn a_machine_that_is_awake_does_not_sleep() {
        assert!(!SleepWatch::new().has_slept());
    }
}
