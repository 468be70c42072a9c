//! Store time: seconds that never go back and never jump while the daemon runs, whatever happens to the wall clock.
//!
//! Enters: the wall clock once, at start, and the latest time the store has committed. Leaves: [`WallSecs`]. While
//! running, time follows the machine's uptime including sleep, so an NTP step moves no expiry. At start it is the wall
//! clock or, if that stands behind, the latest committed time: a clock that was set back cannot give inactive sessions a
//! longer life than they had left. A clock set forward while the daemon was down looks like a long outage; sessions whose
//! time is over by it are gone, and their clients log in anew.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::WallSecs;

/// A clock of store time.
#[derive(Clone, Copy, Debug)]
pub struct StoreClock {
    /// Store time when the uptime was `started`.
    base: WallSecs,
    started: Duration,
}

impl StoreClock {
    /// The clock of a store whose latest committed time is `mark`.
    pub fn start(mark: WallSecs) -> StoreClock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        StoreClock::at(mark, WallSecs(wall.as_secs()), uptime())
    }

    fn at(mark: WallSecs, wall: WallSecs, started: Duration) -> StoreClock {
        StoreClock { base: mark.max(wall), started }
    }

    /// Now.
    pub fn now(&self) -> WallSecs {
        self.reading(uptime())
    }

    fn reading(&self, uptime: Duration) -> WallSecs {
        self.base.after(uptime.saturating_sub(self.started).as_secs())
    }
}

/// Since the machine started, sleep included.
fn uptime() -> Duration {
    let read = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(read.tv_sec).unwrap_or(0), u32::try_from(read.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 86_400;

    #[test]
    fn time_does_not_go_back_behind_what_was_committed() {
        let up = Duration::from_secs(50);
        let set_back = StoreClock::at(WallSecs(10 * YEAR), WallSecs(9 * YEAR), up);
        assert_eq!(set_back.reading(up), WallSecs(10 * YEAR));
        assert_eq!(set_back.reading(up + Duration::from_secs(7)), WallSecs(10 * YEAR + 7));
        let usual = StoreClock::at(WallSecs(100), WallSecs(160), up);
        assert_eq!(usual.reading(up + Duration::from_millis(1999)), WallSecs(161));
        assert_eq!(usual.reading(Duration::ZERO), WallSecs(160));
    }

    #[test]
    fn the_machines_clock_is_read() {
        let clock = StoreClock::start(WallSecs(0));
        assert!(clock.now() > WallSecs(50 * YEAR), "the machine's date is before 2020");
        assert!(StoreClock::start(WallSecs(1000 * YEAR)).now() >= WallSecs(1000 * YEAR));
    }
}
