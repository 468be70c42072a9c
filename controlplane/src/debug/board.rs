//! The conditions and topics that are set: written by the API's thread, read by the driver's.
//!
//! Enters: new conditions, resets. Leaves: what is set now, without what has expired.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_shared::api::{
    Condition, DEFAULT_CONDITION_SECS, DebugMatch, DebugState, DebugTopic, MAX_CONDITION_SECS,
    MAX_CONDITION_TEXT, MIN_CONDITION_SECS, NewCondition,
};

/// Most conditions at once.
pub const MAX_CONDITIONS: usize = 32;

/// What is set. One board for the whole control plane.
#[derive(Default)]
pub struct Board {
    /// Whether there is a condition and a topic; lets the driver pass by without the lock.
    armed: AtomicBool,
    /// Grows with every change.
    version: AtomicU64,
    pub(super) lines: AtomicU64,
    pub(super) suppressed: AtomicU64,
    set: Mutex<Set>,
}

#[derive(Default)]
struct Set {
    conditions: Vec<Held>,
    topics: Vec<DebugTopic>,
    next_id: u64,
}

struct Held {
    id: u64,
    whose: DebugMatch,
    /// CLOCK_MONOTONIC; `None` until a reset.
    until: Option<Duration>,
}

/// Why a condition is not set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BoardError {
    /// The table is full.
    #[error(
        "There are {MAX_CONDITIONS} conditions already; remove one with `DELETE /v1/debug/conditions/{{id}}`."
    )]
    Full,
    /// The request contradicts itself or is out of range.
    #[error("{0}")]
    Bad(String),
}

/// What the driver acts on.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    pub whose: Vec<DebugMatch>,
    pub topics: Vec<DebugTopic>,
    /// When the next condition expires.
    pub until: Option<Duration>,
}

impl Board {
    /// Sets a condition. All topics are switched on if none is, so that a condition alone already shows something.
    ///
    /// # Errors
    /// When there are too many, or its time or text is out of range.
    pub fn add(&self, now: Duration, new: NewCondition) -> Result<Condition, BoardError> {
        let secs = match (new.secs, new.until_reset) {
            (Some(_), true) => {
                return Err(BoardError::Bad("`secs` and `until_reset` exclude each other.".into()));
            }
            (None, true) => None,
            (secs, false) => Some(secs.unwrap_or(DEFAULT_CONDITION_SECS)),
        };
        if secs.is_some_and(|secs| !(MIN_CONDITION_SECS..=MAX_CONDITION_SECS).contains(&secs)) {
            return Err(BoardError::Bad(format!(
                "`secs` must be from {MIN_CONDITION_SECS} to {MAX_CONDITION_SECS}."
            )));
        }
        if let DebugMatch::Username(text) | DebugMatch::Session(text) = &new.whose
            && !(1..=MAX_CONDITION_TEXT).contains(&text.len())
        {
            return Err(BoardError::Bad(format!("The name must have 1 to {MAX_CONDITION_TEXT} octets.")));
        }
        let until = secs.map(|secs| now.saturating_add(Duration::from_secs(secs)));
        let mut set = self.lock();
        set.forget_expired(now);
        set.conditions.retain(|held| held.whose != new.whose);
        if set.conditions.len() >= MAX_CONDITIONS {
            return Err(BoardError::Full);
        }
        set.next_id = set.next_id.saturating_add(1);
        let id = set.next_id;
        set.conditions.push(Held { id, whose: new.whose.clone(), until });
        if set.topics.is_empty() {
            set.topics = DebugTopic::ALL.to_vec();
        }
        self.changed(&set);
        Ok(Condition { id, whose: new.whose, expires_in_secs: secs })
    }

    /// Forgets a condition. Returns whether there was one.
    pub fn remove(&self, id: u64) -> bool {
        let mut set = self.lock();
        let before = set.conditions.len();
        set.conditions.retain(|held| held.id != id);
        self.changed(&set);
        set.conditions.len() < before
    }

    /// Forgets every condition.
    pub fn reset(&self) {
        let mut set = self.lock();
        set.conditions.clear();
        self.changed(&set);
    }

    /// Says what is logged from now on.
    pub fn set_topics(&self, topics: &[DebugTopic]) {
        let mut set = self.lock();
        set.topics = DebugTopic::ALL.into_iter().filter(|topic| topics.contains(topic)).collect();
        self.changed(&set);
    }

    /// What is set.
    pub fn state(&self, now: Duration) -> DebugState {
        let mut set = self.lock();
        set.forget_expired(now);
        self.changed(&set);
        let left = |until: Duration| until.saturating_sub(now).as_secs().max(1);
        let condition = |held: &Held| Condition {
            id: held.id,
            whose: held.whose.clone(),
            expires_in_secs: held.until.map(left),
        };
        DebugState {
            conditions: set.conditions.iter().map(condition).collect(),
            topics: set.topics.clone(),
            lines: self.lines.load(Ordering::Relaxed),
            suppressed: self.suppressed.load(Ordering::Relaxed),
        }
    }

    /// Whether anything is to be logged at all.
    pub(super) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is set, with the version it belongs to.
    pub(super) fn orders(&self, now: Duration) -> (u64, Orders) {
        let mut set = self.lock();
        set.forget_expired(now);
        if set.conditions.is_empty() {
            self.armed.store(false, Ordering::Relaxed);
        }
        let orders = Orders {
            whose: set.conditions.iter().map(|held| held.whose.clone()).collect(),
            topics: set.topics.clone(),
            until: set.conditions.iter().filter_map(|held| held.until).min(),
        };
        (self.version(), orders)
    }

    fn changed(&self, set: &Set) {
        self.armed.store(!set.conditions.is_empty() && !set.topics.is_empty(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        // A panic elsewhere cannot have left half a change: each is one assignment.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    /// Whether this address is watched.
    pub fn address(&self, peer: IpAddr) -> bool {
        matches!(peer, IpAddr::V4(peer) if self.whose.contains(&DebugMatch::PeerIpv4(peer)))
    }

    /// Whether this session or its user is watched.
    pub fn name(&self, session: u64, user: Option<&str>) -> bool {
        self.whose.iter().any(|whose| match whose {
            DebugMatch::Username(name) => user == Some(name.as_str()),
            DebugMatch::Session(id) => id.parse() == Ok(session),
            DebugMatch::PeerIpv4(_) => false,
        })
    }
}

impl Set {
    fn forget_expired(&mut self, now: Duration) {
        self.conditions.retain(|held| held.until.is_none_or(|until| now < until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn new(user: &str, secs: Option<u64>) -> NewCondition {
        NewCondition { whose: DebugMatch::Username(user.into()), secs, until_reset: false }
    }

    #[test]
    fn conditions_end_by_time_by_name_and_by_reset() {
        let board = Board::default();
        assert!(!board.is_armed());
        let first = board.add(SECOND, new("a", Some(10))).unwrap();
        let kept = NewCondition { until_reset: true, ..new("b", None) };
        let second = board.add(SECOND, kept).unwrap();
        assert!(board.is_armed());
        let state = board.state(SECOND * 10);
        assert_eq!(state.conditions, [Condition { expires_in_secs: Some(1), ..first }, second.clone()]);
        assert_eq!(state.topics, DebugTopic::ALL);
        assert_eq!(board.state(SECOND * 11).conditions, std::slice::from_ref(&second), "the first is over");
        assert!(board.remove(second.id));
        assert!(!board.remove(second.id));
        assert!(!board.is_armed());
        board.add(SECOND, new("c", None)).unwrap();
        board.reset();
        assert!(board.state(SECOND).conditions.is_empty() && !board.is_armed());
    }

    #[test]
    fn an_expired_condition_disarms_even_if_nobody_asks() {
        let board = Board::default();
        board.add(SECOND, new("a", Some(10))).unwrap();
        assert_eq!(board.orders(SECOND).1.until, Some(SECOND * 11));
        assert!(board.orders(SECOND * 11).1.whose.is_empty());
        assert!(!board.is_armed());
    }

    #[test]
    fn the_same_condition_again_is_prolonged_and_the_table_is_bounded() {
        let board = Board::default();
        board.add(SECOND, new("a", Some(10))).unwrap();
        board.add(SECOND, new("a", Some(20))).unwrap();
        let state = board.state(SECOND);
        assert_eq!((state.conditions.len(), state.conditions[0].expires_in_secs), (1, Some(20)));
        for number in 1..MAX_CONDITIONS {
            board.add(SECOND, new(&number.to_string(), None)).unwrap();
        }
        assert_eq!(board.add(SECOND, new("more", None)), Err(BoardError::Full));
        board.add(SECOND * 60, new("more", None)).unwrap();
    }

    #[test]
    fn contradictions_are_refused() {
        let board = Board::default();
        for bad in [
            new("", None),
            new(&"x".repeat(MAX_CONDITION_TEXT + 1), None),
            new("a", Some(0)),
            new("a", Some(MAX_CONDITION_SECS + 1)),
            NewCondition { until_reset: true, ..new("a", Some(5)) },
        ] {
            assert!(matches!(board.add(SECOND, bad), Err(BoardError::Bad(_))));
        }
    }

    #[test]
    fn without_a_topic_nothing_is_logged() {
        let board = Board::default();
        board.add(SECOND, new("a", None)).unwrap();
        board.set_topics(&[]);
        assert!(!board.is_armed());
        board.set_topics(&[DebugTopic::Error, DebugTopic::Packet, DebugTopic::Packet]);
        assert_eq!(board.state(SECOND).topics, [DebugTopic::Packet, DebugTopic::Error]);
        assert!(board.is_armed());
    }
}
