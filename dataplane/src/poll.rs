//! What a worker does between two looks at its queues, as `dataplane.poll` says.
//!
//! Enters: after every turn, whether it found anything. Leaves: a [`Rest`]. This is a state machine without a clock: the
//! loop takes the rest, and tests need no thread.
//!
//! `full` never rests. `adaptive` rests longer the longer nothing comes: a few turns not at all, since between two bursts of a
//! busy port there are empty turns; then pause instructions, doubling, which give the core's other hyperthread the pipeline and
//! cost no system call; then sleeps, doubling, up to the configured longest. The first packet ends all that: the turn that
//! found it is followed by full poll again.

use std::time::Duration;

use causeway_shared::config::Poll;

/// Empty turns before an adaptive worker rests at all.
pub const SPIN_TURNS: u32 = 64;
/// Turns, after those, that rest by pause instructions: the number of instructions doubles every [`TURNS_PER_PAUSE`].
pub const PAUSE_TURNS: u32 = PAUSE_GRADES * TURNS_PER_PAUSE;
/// Turns with the same number of pause instructions.
const TURNS_PER_PAUSE: u32 = 16;
/// Doublings: 2 to 128 instructions, of 40 to 140 cycles each.
const PAUSE_GRADES: u32 = 7;
/// The first sleep. It doubles with every further empty turn.
pub const SHORTEST_SLEEP: Duration = Duration::from_micros(1);

/// What to do before the next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing: look again at once.
    None,
    /// This many pause instructions.
    Pause(u32),
    /// Sleep; the only system call of an idle worker.
    Sleep(Duration),
}

/// A worker's state between turns.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    poll: Poll,
    /// Empty turns since the last one that found something; stops counting at [`SPIN_TURNS`] + [`PAUSE_TURNS`].
    empty_turns: u32,
    next_sleep: Duration,
}

impl Idle {
    /// At the start, as after a packet.
    pub fn new(poll: Poll) -> Idle {
        Idle { poll, empty_turns: 0, next_sleep: SHORTEST_SLEEP }
    }

    /// After a turn that found something (`busy`) or nothing.
    #[inline]
    pub fn after_turn(&mut self, busy: bool) -> Rest {
        let Poll::Adaptive { longest_sleep_usecs } = self.poll else { return Rest::None };
        if busy {
            self.empty_turns = 0;
            return Rest::None;
        }
        self.grade(Duration::from_micros(u64::from(longest_sleep_usecs)))
    }

    #[cold]
    fn grade(&mut self, longest_sleep: Duration) -> Rest {
        if self.empty_turns < SPIN_TURNS {
            self.empty_turns += 1;
            return Rest::None;
        }
        let paused = self.empty_turns - SPIN_TURNS;
        if paused < PAUSE_TURNS {
            self.empty_turns += 1;
            self.next_sleep = SHORTEST_SLEEP;
            return Rest::Pause(2 << (paused / TURNS_PER_PAUSE));
        }
        if longest_sleep.is_zero() {
            return Rest::Pause(1 << PAUSE_GRADES);
        }
        let sleep = self.next_sleep.min(longest_sleep);
        self.next_sleep = (sleep * 2).min(longest_sleep);
        Rest::Sleep(sleep)
    }
}

impl Rest {
    /// Rests.
    #[inline]
    pub fn take(self) {
        match self {
            Rest::None => {}
            Rest::Pause(instructions) => (0..instructions).for_each(|_| std::hint::spin_loop()),
            Rest::Sleep(time) => std::thread::sleep(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// More empty turns than there are grades for any configurable longest sleep (10 ms = 1 µs doubled 14 times).
    const MANY: usize = (SPIN_TURNS + PAUSE_TURNS) as usize + 20;

    fn adaptive(longest_sleep_usecs: u32) -> Idle {
        Idle::new(Poll::Adaptive { longest_sleep_usecs })
    }

    fn empty_turns(idle: &mut Idle, turns: usize) -> Vec<Rest> {
        (0..turns).map(|_| idle.after_turn(false)).collect()
    }

    /// Orders rests by how long they take.
    fn weight(rest: Rest) -> (u8, Duration, u32) {
        match rest {
            Rest::None => (0, Duration::ZERO, 0),
            Rest::Pause(instructions) => (1, Duration::ZERO, instructions),
            Rest::Sleep(time) => (2, time, 0),
        }
    }

    #[test]
    fn full_poll_never_rests() {
        assert!(empty_turns(&mut Idle::new(Poll::Full), MANY).iter().all(|rest| *rest == Rest::None));
    }

    #[test]
    fn adaptive_poll_backs_off_by_grades() {
        let rests = empty_turns(&mut adaptive(50), MANY);
        let at = |turn: u32| rests[turn as usize];
        assert!(rests[..SPIN_TURNS as usize].iter().all(|rest| *rest == Rest::None));
        assert_eq!(at(SPIN_TURNS), Rest::Pause(2));
        assert_eq!(at(SPIN_TURNS + TURNS_PER_PAUSE), Rest::Pause(4));
        assert_eq!(at(SPIN_TURNS + PAUSE_TURNS - 1), Rest::Pause(128));
        let sleeps: Vec<Rest> = rests[(SPIN_TURNS + PAUSE_TURNS) as usize..][..8].to_vec();
        let micros = [1, 2, 4, 8, 16, 32, 50, 50];
        assert_eq!(sleeps, micros.map(|time| Rest::Sleep(Duration::from_micros(time))));
    }

    #[test]
    fn a_longest_sleep_of_zero_pauses_only() {
        let rests = empty_turns(&mut adaptive(0), MANY);
        assert_eq!(rests.last(), Some(&Rest::Pause(128)));
        assert!(!rests.iter().any(|rest| matches!(rest, Rest::Sleep(_))));
    }

    #[test]
    fn one_packet_ends_the_rest_and_the_grades_begin_anew() {
        let mut idle = adaptive(50);
        let first = empty_turns(&mut idle, MANY);
        assert_eq!(idle.after_turn(true), Rest::None);
        assert_eq!(empty_turns(&mut idle, MANY), first);
    }

    proptest! {
        #[test]
        fn rests_grow_only_while_nothing_comes_and_keep_to_the_bound(
            longest in 0u32..=10_000,
            turns in proptest::collection::vec(prop::bool::weighted(0.01), 1..2000),
        ) {
            let mut idle = adaptive(longest);
            let (mut before, mut empty) = (weight(Rest::None), 0);
            for busy in turns {
                let rest = idle.after_turn(busy);
                empty = if busy { 0 } else { empty + 1 };
                if empty <= SPIN_TURNS {
                    prop_assert_eq!(rest, Rest::None, "a worker with work in {} turns rests", SPIN_TURNS);
                } else {
                    prop_assert!(weight(rest) >= before);
                    prop_assert!(weight(rest).1 <= Duration::from_micros(u64::from(longest)));
                }
                before = weight(rest);
            }
        }
    }
}
