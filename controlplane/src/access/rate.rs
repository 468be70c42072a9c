//! How often callers may ask, and how often they may be wrong.
//!
//! Enters: who asks, or from where, and when. Leaves: yes, or the time to wait. Both tables are bounded; when one is full,
//! whoever has been quiet longest is forgotten.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Requests a second that one source or token may send for long.
pub const RATE_PER_SEC: u32 = 50;
/// Requests that it may send at once after a rest.
pub const BURST: u32 = 200;
/// Sources and tokens that are told apart.
pub const MAX_TRACKED: usize = 4096;
/// Wrong tokens of one source within [`WRONG_WINDOW`] that lock it.
pub const WRONG_TOKENS: u32 = 10;
/// How long a wrong token counts.
pub const WRONG_WINDOW: Duration = Duration::from_secs(60);
/// How long a source stays locked.
pub const LOCK: Duration = Duration::from_secs(60);

/// Whose requests are counted together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Caller {
    /// An address, or the /64 that one network has.
    Source(IpAddr),
    /// A token, from wherever it is used.
    Token(String),
}

impl Caller {
    /// The source that an address belongs to.
    pub fn at(address: IpAddr) -> Caller {
        Caller::Source(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        })
    }
}

/// Token buckets.
#[derive(Default)]
pub struct Rates(HashMap<Caller, Bucket>);

struct Bucket {
    /// Requests left, in 1/1000.
    left: u64,
    at: Duration,
}

impl Rates {
    /// Counts a request. `Err` says how long to wait.
    ///
    /// # Errors
    /// When the caller has used up its rate.
    pub fn take(&mut self, caller: Caller, now: Duration) -> Result<(), Duration> {
        make_room(&mut self.0, &caller, |bucket| bucket.at);
        let full = u64::from(BURST) * 1000;
        let bucket = self.0.entry(caller).or_insert(Bucket { left: full, at: now });
        let since = u64::try_from(now.saturating_sub(bucket.at).as_millis()).unwrap_or(u64::MAX);
        // A millisecond gives RATE_PER_SEC thousandths of a request.
        bucket.left = bucket.left.saturating_add(since.saturating_mul(u64::from(RATE_PER_SEC))).min(full);
        bucket.at = now;
        match bucket.left.checked_sub(1000) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err(Duration::from_secs(1)),
        }
    }
}

/// Sources that presented wrong tokens.
#[derive(Default)]
pub struct Lockout(HashMap<Caller, Wrong>);

struct Wrong {
    count: u32,
    since: Duration,
    locked_until: Option<Duration>,
}

impl Lockout {
    /// How long this source is still locked.
    pub fn remaining(&self, source: &Caller, now: Duration) -> Option<Duration> {
        let until = self.0.get(source)?.locked_until?;
        until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// A wrong token came from there. Says whether that locked the source.
    pub fn wrong(&mut self, source: Caller, now: Duration) -> bool {
        make_room(&mut self.0, &source, |wrong| wrong.locked_until.unwrap_or(wrong.since));
        let wrong = self.0.entry(source).or_insert(Wrong { count: 0, since: now, locked_until: None });
        let is_over = wrong.locked_until.is_some_and(|until| until <= now);
        if is_over || now.saturating_sub(wrong.since) >= WRONG_WINDOW {
            *wrong = Wrong { count: 0, since: now, locked_until: None };
        }
        wrong.count = wrong.count.saturating_add(1);
        let locks = wrong.count >= WRONG_TOKENS && wrong.locked_until.is_none();
        if locks {
            wrong.locked_until = Some(now.saturating_add(LOCK));
        }
        locks
    }
}

fn make_room<T>(table: &mut HashMap<Caller, T>, for_whom: &Caller, at: impl Fn(&T) -> Duration) {
    if table.len() >= MAX_TRACKED && !table.contains_key(for_whom) {
        let quietest = table.iter().min_by_key(|(_, one)| at(one)).map(|(caller, _)| caller.clone());
        quietest.and_then(|caller| table.remove(&caller));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn source(last: u8) -> Caller {
        Caller::at(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_burst_is_let_through_then_the_rate() {
        let mut rates = Rates::default();
        let taken = (0..BURST * 2).take_while(|_| rates.take(source(1), MS(0)).is_ok()).count();
        assert_eq!(taken, BURST as usize);
        assert!(rates.take(source(2), MS(0)).is_ok(), "others are not held up");
        let later = (0..BURST).take_while(|_| rates.take(source(1), MS(1000)).is_ok()).count();
        assert_eq!(later, RATE_PER_SEC as usize);
    }

    #[test]
    fn wrong_tokens_lock_their_source_for_a_while() {
        let mut lockout = Lockout::default();
        let locked: Vec<bool> = (0..WRONG_TOKENS).map(|_| lockout.wrong(source(1), MS(0))).collect();
        assert_eq!(locked.iter().filter(|locked| **locked).count(), 1);
        assert_eq!(lockout.remaining(&source(1), MS(0)), Some(LOCK));
        assert_eq!(lockout.remaining(&source(2), MS(0)), None);
        assert_eq!(lockout.remaining(&source(1), LOCK), None);
        assert!(!lockout.wrong(source(1), LOCK), "it begins anew");
    }

    #[test]
    fn slow_mistakes_lock_nobody() {
        let mut lockout = Lockout::default();
        for turn in 0..u64::from(WRONG_TOKENS) * 3 {
            assert!(!lockout.wrong(source(1), MS(turn * 10_000)));
        }
    }

    #[test]
    fn one_network_is_one_source_and_the_table_is_bounded() {
        let at = |text: &str| Caller::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), source(1));
        let mut rates = Rates::default();
        for number in 0..2 * MAX_TRACKED as u64 {
            let _ = rates.take(Caller::Token(number.to_string()), MS(number));
        }
        assert_eq!(rates.0.len(), MAX_TRACKED);
    }
}
