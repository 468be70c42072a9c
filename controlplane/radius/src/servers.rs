//! Which of several servers is asked: the first that is alive, in the configured order.
//!
//! Enters: answers and silences with their moments. Leaves: the order in which a question goes round. A server that has not
//! answered a question through all its tries, and nothing else since that question began, is dead for
//! [`Servers::new`]'s `dead`, and asked last. An answer makes it alive at once.

use std::time::Duration;

/// Most servers of one kind.
pub const MAX_SERVERS: usize = 8;

/// The health of every server.
#[derive(Debug)]
pub struct Servers {
    health: Vec<Health>,
    dead: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    dead_until: Option<Duration>,
    last_answer: Option<Duration>,
}

impl Servers {
    /// `count` servers that are all alive; one that falls silent is dead for `dead`.
    pub fn new(count: usize, dead: Duration) -> Servers {
        Servers { health: vec![Health::default(); count], dead }
    }

    /// The order in which a question that begins now goes round: those alive, then the dead, longest dead first.
    pub fn round(&self, now: Duration) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.health.len()).collect();
        let dead = |server: &usize| self.health.get(*server).and_then(|health| health.dead_until);
        order.sort_by_key(|server| dead(server).filter(|until| *until > now));
        order
    }

    /// Whether it is taken for dead.
    pub fn is_dead(&self, server: usize, now: Duration) -> bool {
        let until = self.health.get(server).and_then(|health| health.dead_until);
        until.is_some_and(|until| until > now)
    }

    /// A believed answer came. Returns whether the server was dead until now.
    pub fn answered(&mut self, server: usize, now: Duration) -> bool {
        let Some(health) = self.health.get_mut(server) else { return false };
        health.last_answer = Some(now);
        health.dead_until.take().is_some()
    }

    /// A question that was first put to it at `since` had all its tries without an answer. Returns whether the server is
    /// dead because of that and was not before.
    pub fn silent(&mut self, server: usize, since: Duration, now: Duration) -> bool {
        let dead = self.dead;
        let Some(health) = self.health.get_mut(server) else { return false };
        // One lost question, or one that the server takes long for, kills no server that answers others.
        if health.last_answer.is_some_and(|at| at >= since) {
            return false;
        }
        let was_dead = health.dead_until.is_some_and(|until| until > now);
        health.dead_until = Some(now.saturating_add(dead));
        !was_dead
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.health.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.health.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_dead_come_last_until_they_answer_or_their_time_is_over() {
        let mut servers = Servers::new(3, at(60));
        assert_eq!(servers.round(at(0)), [0, 1, 2]);
        assert!(servers.silent(0, at(0), at(5)));
        assert!(!servers.silent(0, at(1), at(6)), "known already");
        assert_eq!(servers.round(at(6)), [1, 2, 0]);
        assert!(servers.silent(1, at(6), at(10)));
        assert_eq!(servers.round(at(10)), [2, 0, 1]);
        assert_eq!(servers.round(at(66)), [0, 2, 1], "the first one's time is over");
        assert!(servers.answered(1, at(67)) && !servers.answered(2, at(67)));
        assert_eq!(servers.round(at(67)), [0, 1, 2]);
    }

    #[test]
    fn one_silence_among_answers_kills_nobody() {
        let mut servers = Servers::new(1, at(60));
        servers.answered(0, at(3));
        assert!(!servers.silent(0, at(2), at(9)), "it answered another question meanwhile");
        assert!(servers.silent(0, at(4), at(10)));
        assert!(servers.is_dead(0, at(69)) && !servers.is_dead(0, at(70)));
    }
}
