//! Retransmission of the one request that has no answer yet (RFC 7296 §2.1, §2.4).
//!
//! Enters: the request's datagrams, the time. Leaves: when to send them again, and when to give up.

use causeway_ike::time::Instant;

use super::Outgoing;

/// Wait before each retransmission and before giving up, in milliseconds: 24 seconds in all.
pub const WAITS_MILLIS: [u64; 6] = [1000, 1500, 2500, 4000, 6000, 9000];

/// A request on its way.
pub(super) struct Retry {
    sent: Vec<Outgoing>,
    waited: usize,
    due: Instant,
}

/// What a timer means.
pub(super) enum Turn {
    NotYet,
    Again(Vec<Outgoing>),
    GiveUp,
}

impl Retry {
    pub(super) fn new(sent: Vec<Outgoing>, now: Instant) -> Retry {
        Retry { sent, waited: 0, due: now.plus_millis(WAITS_MILLIS[0]) }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if now < self.due {
            return Turn::NotYet;
        }
        self.waited += 1;
        match WAITS_MILLIS.get(self.waited) {
            Some(wait) => {
                self.due = now.plus_millis(*wait);
                Turn::Again(self.sent.clone())
            }
            None => Turn::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_after_the_last_wait() {
        let mut now = Instant::from_millis(0);
        let mut retry = Retry::new(vec![], now);
        let mut again = 0;
        loop {
            assert!(matches!(retry.turn(now), Turn::NotYet));
            now = retry.due();
            match retry.turn(now) {
                Turn::Again(_) => again += 1,
                Turn::GiveUp => break,
                Turn::NotYet => panic!("due, but not yet"),
            }
        }
        assert_eq!(again, WAITS_MILLIS.len() - 1);
        assert_eq!(now.as_millis(), WAITS_MILLIS.iter().sum::<u64>());
    }
}
