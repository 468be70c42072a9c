//! Failed attempts, to resume or to log in, counted by what they name and by where they come from, so that
//! tokens and passwords cannot be guessed.
//!
//! Enters: failures with their moment. Leaves: whether a name is frozen. Too many failures within a
//! window freeze a name for a while ([`Bounds`]); whoever is frozen is refused exactly as somebody with a wrong token.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// Failures of one session id that freeze it.
pub const FAILURES_PER_ID: u32 = 5;
/// Failures of one source address that freeze it: higher, because many users share an address behind a NAT.
pub const FAILURES_PER_SOURCE: u32 = 50;
/// Failures this far apart do not add up.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How long a name stays frozen.
pub const FREEZE: Duration = Duration::from_secs(60);
/// Names that are kept count of; the oldest makes room.
pub const MAX_TRACKED: usize = 65_536;

/// When names freeze.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Failures that freeze a name.
    pub limit: u32,
    /// Failures this far apart do not add up.
    pub window: Duration,
    /// How long a name stays frozen.
    pub freeze: Duration,
}

impl Bounds {
    /// For attempts to resume.
    pub const fn of_reconnect(limit: u32) -> Bounds {
        Bounds { limit, window: WINDOW, freeze: FREEZE }
    }
}

/// The failures of all names of one kind.
pub struct Attempts<K> {
    bounds: Bounds,
    names: HashMap<K, Failures>,
    /// Names in the order in which they failed first, each with the number of its entry; entries older than the map's
    /// are stale.
    order: VecDeque<(K, u64)>,
    counter: u64,
}

struct Failures {
    number: u64,
    since: Duration,
    count: u32,
    frozen_until: Option<Duration>,
}

impl<K: Copy + Eq + Hash> Attempts<K> {
    /// None yet.
    pub fn new(bounds: Bounds) -> Attempts<K> {
        Attempts { bounds, names: HashMap::new(), order: VecDeque::new(), counter: 0 }
    }

    /// Whether attempts of this name are refused unseen.
    pub fn is_frozen(&self, name: &K, now: Duration) -> bool {
        self.names.get(name).and_then(|failures| failures.frozen_until).is_some_and(|until| now < until)
    }

    /// Takes note of a failure. Returns whether it froze the name.
    pub fn failed(&mut self, name: K, now: Duration) -> bool {
        self.forget_old(now);
        if !self.names.contains_key(&name) {
            self.counter = self.counter.wrapping_add(1);
            self.order.push_back((name, self.counter));
        }
        let number = self.counter;
        let fresh = Failures { number, since: now, count: 0, frozen_until: None };
        let failures = self.names.entry(name).or_insert(fresh);
        let thawed = failures.frozen_until.is_some_and(|until| until <= now);
        if thawed || now.saturating_sub(failures.since) > self.bounds.window {
            (failures.since, failures.count, failures.frozen_until) = (now, 0, None);
        }
        failures.count = failures.count.saturating_add(1);
        let freezes = failures.count >= self.bounds.limit && failures.frozen_until.is_none();
        if freezes {
            failures.frozen_until = Some(now.saturating_add(self.bounds.freeze));
        }
        freezes
    }

    /// A success ends the count.
    pub fn succeeded(&mut self, name: &K) {
        self.names.remove(name);
    }

    /// Names that are kept count of.
    pub fn tracked(&self) -> usize {
        self.names.len()
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((name, number)) = self.order.front().copied() {
            let full = self.names.len() >= MAX_TRACKED || self.order.len() >= MAX_TRACKED.saturating_mul(2);
            // Entries without name are those of names that succeeded since.
            if let Some(failures) = self.names.get(&name).filter(|failures| failures.number == number) {
                let window_ends = failures.since.saturating_add(self.bounds.window);
                if !full && now <= window_ends.max(failures.frozen_until.unwrap_or_default()) {
                    return;
                }
                self.names.remove(&name);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn five_failures_within_a_minute_freeze_for_a_minute() {
        for (moments, frozen_at, thawed_at) in [
            (&[0, 1, 2, 3, 4][..], Some(5), 64),
            (&[0, 10, 20, 30, 60], Some(119), 120),
            (&[0, 1, 2, 3], None, 5),
            // The first is out of the window when the fifth comes.
            (&[0, 20, 40, 60, 61], None, 62),
        ] {
            let mut attempts = Attempts::new(Bounds::of_reconnect(FAILURES_PER_ID));
            for moment in moments {
                attempts.failed(7u8, at(*moment));
            }
            if let Some(frozen_at) = frozen_at {
                assert!(attempts.is_frozen(&7, at(frozen_at)), "{moments:?}");
            }
            assert!(!attempts.is_frozen(&7, at(thawed_at)), "{moments:?}");
            assert!(!attempts.is_frozen(&8, at(5)), "another name is not concerned");
        }
    }

    #[test]
    fn a_frozen_name_is_not_frozen_for_longer_by_being_tried() {
        let mut attempts = Attempts::new(Bounds::of_reconnect(2));
        assert!(!attempts.failed(1u8, at(0)));
        assert!(attempts.failed(1, at(1)));
        assert!(!attempts.failed(1, at(50)), "it is frozen already");
        assert!(attempts.is_frozen(&1, at(60)) && !attempts.is_frozen(&1, at(61)));
        assert!(!attempts.failed(1, at(62)), "the count begins again");
        assert!(attempts.failed(1, at(63)));
    }

    #[test]
    fn a_success_ends_the_count() {
        let mut attempts = Attempts::new(Bounds::of_reconnect(2));
        attempts.failed(1u8, at(0));
        attempts.succeeded(&1);
        assert!(!attempts.failed(1, at(1)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut attempts = Attempts::new(Bounds::of_reconnect(2));
        for name in 0..MAX_TRACKED + 10 {
            attempts.failed(name, at(1));
        }
        assert!(attempts.tracked() <= MAX_TRACKED);
        for round in 0..3 * MAX_TRACKED {
            attempts.succeeded(&0);
            attempts.failed(0, at(1 + round as u64 / MAX_TRACKED as u64));
        }
        assert!(attempts.order.len() <= 2 * MAX_TRACKED);
        attempts.failed(1, at(1000));
        assert_eq!(attempts.tracked(), 1, "what is over is forgotten");
    }
}
