//! Against guessing: names and source addresses whose logins fail too often are refused unseen for a while.
//!
//! Enters: what a login claims to be and where it comes from, how it ended, the time. Leaves: whether it is refused. A name is
//! whatever was claimed: whether there is such a user makes no difference, so locks tell nobody who exists. Names are kept as
//! keyed hashes, so they cost the same whatever their length.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use causeway_shared::config;

use crate::reconnect::attempts::{Attempts, Bounds};

/// The failures of logins.
pub struct Lockout {
    users: Option<Attempts<u64>>,
    sources: Option<Attempts<IpAddr>>,
    hasher: RandomState,
}

/// What is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locked {
    /// The user's name.
    User,
    /// The address that the login comes from.
    Source,
}

/// Who tries to log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// The name that it claims; `None` before it has.
    pub user: Option<String>,
    /// Where it comes from.
    pub source: Option<IpAddr>,
}

impl Lockout {
    /// No failures yet.
    pub fn new(policy: &config::Lockout) -> Lockout {
        let bounds = |limit: u32| Bounds {
            limit,
            window: Duration::from_secs(policy.window_secs),
            freeze: Duration::from_secs(policy.lock_secs),
        };
        Lockout {
            users: (policy.user_failures > 0).then(|| Attempts::new(bounds(policy.user_failures))),
            sources: (policy.source_failures > 0).then(|| Attempts::new(bounds(policy.source_failures))),
            hasher: RandomState::new(),
        }
    }

    /// Whether this login is refused unseen.
    pub fn locked(&self, claimant: &Claimant, now: Duration) -> Option<Locked> {
        let user = claimant.user.as_ref().map(|user| self.hasher.hash_one(user));
        let frozen = |users: &Attempts<u64>| user.is_some_and(|user| users.is_frozen(&user, now));
        if self.users.as_ref().is_some_and(frozen) {
            return Some(Locked::User);
        }
        let frozen = |sources: &Attempts<IpAddr>| {
            claimant.source.is_some_and(|source| sources.is_frozen(&source, now))
        };
        self.sources.as_ref().is_some_and(frozen).then_some(Locked::Source)
    }

    /// The login failed for what the client said. Returns what that has locked.
    pub fn failed(&mut self, claimant: &Claimant, now: Duration) -> Option<Locked> {
        let user = claimant.user.as_ref().map(|user| self.hasher.hash_one(user));
        let user_locked = match (&mut self.users, user) {
            (Some(users), Some(user)) => users.failed(user, now),
            _ => false,
        };
        let source_locked = match (&mut self.sources, claimant.source) {
            (Some(sources), Some(source)) => sources.failed(source, now),
            _ => false,
        };
        match (user_locked, source_locked) {
            (true, _) => Some(Locked::User),
            (false, true) => Some(Locked::Source),
            (false, false) => None,
        }
    }

    /// The user has proved itself: its failures do not count any more. Those of its address do, since others share it.
    pub fn succeeded(&mut self, user: &str) {
        let user = self.hasher.hash_one(user);
        if let Some(users) = &mut self.users {
            users.succeeded(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockout(user_failures: u32, source_failures: u32) -> Lockout {
        Lockout::new(&config::Lockout { user_failures, source_failures, window_secs: 60, lock_secs: 30 })
    }

    fn claim(user: &str, source: u8) -> Claimant {
        Claimant { user: Some(user.into()), source: Some([192, 0, 2, source].into()) }
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_name_is_locked_wherever_it_comes_from_and_thaws() {
        let mut lockout = lockout(3, 100);
        assert_eq!(lockout.failed(&claim("ann", 1), at(0)), None);
        assert_eq!(lockout.failed(&claim("ann", 2), at(1)), None);
        assert_eq!(lockout.failed(&claim("ann", 3), at(2)), Some(Locked::User));
        assert_eq!(lockout.locked(&claim("ann", 9), at(31)), Some(Locked::User));
        assert_eq!(lockout.locked(&claim("bob", 1), at(31)), None);
        assert_eq!(lockout.locked(&claim("ann", 9), at(32)), None);
    }

    #[test]
    fn an_address_is_locked_whatever_name_it_tries() {
        let mut lockout = lockout(100, 3);
        for user in ["a", "b", "c"] {
            lockout.failed(&claim(user, 1), at(0));
        }
        assert_eq!(lockout.locked(&claim("d", 1), at(1)), Some(Locked::Source));
        assert_eq!(lockout.locked(&claim("a", 2), at(1)), None);
        let nameless = Claimant { user: None, source: Some([192, 0, 2, 1].into()) };
        assert_eq!(lockout.locked(&nameless, at(1)), Some(Locked::Source));
    }

    #[test]
    fn success_clears_the_name_and_zero_is_no_lock() {
        let mut lockout_of_two = lockout(2, 0);
        lockout_of_two.failed(&claim("ann", 1), at(0));
        lockout_of_two.succeeded("ann");
        assert_eq!(lockout_of_two.failed(&claim("ann", 1), at(1)), None);
        let mut none = lockout(0, 0);
        for _ in 0..1000 {
            assert_eq!(none.failed(&claim("ann", 1), at(0)), None);
        }
        assert_eq!(none.locked(&claim("ann", 1), at(0)), None);
    }
}
