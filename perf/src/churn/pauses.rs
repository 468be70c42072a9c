//! How long a worker stays away from its queues: a histogram of its turns, and whose fault the long ones are.
//!
//! Enters: a worker's turns ([`Watch`]). Leaves: for each phase of a run, the distribution of the time from one look at the receive
//! queues to the next, of the part of it that went into the manager's instructions, and how many turns the scheduler took the
//! core away in. The last is the kernel's own word (`schedstat`, time runnable but not running), read only after a turn that was
//! long enough to hold such an interruption. What the hypervisor takes it does not tell; it falls on all phases alike.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use causeway_dataplane::worker::Watch;
use causeway_dpdk::{tsc, tsc_hz};
use hdrhistogram::Histogram;

use crate::Failure;

/// Phases of a run: without and with commands.
pub const PHASES: usize = 2;
/// Longest turn that is told apart, nanoseconds.
const LONGEST_NS: u64 = 10_000_000_000;
/// A turn shorter than this was not interrupted: two switches of context and another program's time slice are longer.
const SUSPICIOUS_NS: u64 = 15_000;

/// Which phase it is, as the run says and the workers ask. [`PHASES`] and above: none, nothing is recorded.
pub type PhaseNow = Arc<AtomicUsize>;

/// One worker's turns.
pub struct Pauses {
    now: PhaseNow,
    ns_per_tick: f64,
    /// This thread's `schedstat`; opened on the thread itself.
    schedstat: Option<File>,
    waited_ns: u64,
    turn_began: u64,
    instructions_began: u64,
    instructions_ticks: u64,
    followed: usize,
    phases: [Phase; PHASES],
}

/// The turns of one phase.
#[derive(Clone)]
pub struct Phase {
    /// All, nanoseconds.
    pub turns: Histogram<u64>,
    /// Those in which the scheduler left the core to the worker.
    pub undisturbed: Histogram<u64>,
    /// The part of an undisturbed turn that the manager's instructions took, where there were any.
    pub instructions: Histogram<u64>,
    /// Instructions carried out.
    pub followed: u64,
}

impl Pauses {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// Never with these bounds; the histogram says so by an error.
    pub fn new(now: PhaseNow) -> Result<Pauses, Failure> {
        let ns_per_tick = 1e9 / tsc_hz() as f64;
        let phase = Phase::new()?;
        Ok(Pauses {
            now,
            ns_per_tick,
            schedstat: None,
            waited_ns: 0,
            turn_began: 0,
            instructions_began: 0,
            instructions_ticks: 0,
            followed: 0,
            phases: [phase.clone(), phase],
        })
    }

    /// What was seen.
    pub fn phases(&self) -> &[Phase; PHASES] {
        &self.phases
    }

    #[inline]
    fn record(&mut self, ticks: u64) {
        let ns = |ticks: u64| (ticks as f64 * self.ns_per_tick) as u64;
        let (turn_ns, instructions_ns) = (ns(ticks), ns(self.instructions_ticks));
        let undisturbed = turn_ns < SUSPICIOUS_NS || !self.was_interrupted();
        // Relaxed: the phase is a label; nothing else is read on the strength of it.
        let Some(phase) = self.phases.get_mut(self.now.load(Ordering::Relaxed)) else { return };
        phase.turns.saturating_record(turn_ns);
        if undisturbed {
            phase.undisturbed.saturating_record(turn_ns);
            if self.followed > 0 {
                phase.instructions.saturating_record(instructions_ns);
            }
        }
        phase.followed += self.followed as u64;
    }

    /// Whether the thread had to wait for its core since the last call.
    #[cold]
    fn was_interrupted(&mut self) -> bool {
        if self.schedstat.is_none() {
            self.schedstat = File::open("/proc/thread-self/schedstat").ok();
        }
        let mut text = [0; 64];
        let read = self.schedstat.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let waited_ns = text
            .get(..read)
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(self.waited_ns);
        waited_ns != std::mem::replace(&mut self.waited_ns, waited_ns)
    }
}

impl Watch for Pauses {
    #[inline]
    fn turn_begins(&mut self) {
        let now = tsc();
        if self.turn_began != 0 {
            self.record(now.wrapping_sub(self.turn_began));
        }
        (self.followed, self.instructions_ticks) = (0, 0);
        // What recording took is no part of the next turn.
        self.turn_began = tsc();
    }

    #[inline]
    fn instructions_begin(&mut self) {
        self.instructions_began = tsc();
    }

    #[inline]
    fn instructions_ended(&mut self, followed: usize) {
        self.instructions_ticks = tsc().wrapping_sub(self.instructions_began);
        self.followed = followed;
    }
}

impl Phase {
    fn new() -> Result<Phase, Failure> {
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST_NS, 3)
                .map_err(|error| Failure::Usage(format!("no histogram: {error}")))
        };
        Ok(Phase { turns: empty()?, undisturbed: empty()?, instructions: empty()?, followed: 0 })
    }

    /// Turns that the scheduler interrupted.
    pub fn interrupted(&self) -> u64 {
        self.turns.len().saturating_sub(self.undisturbed.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_phase_holds_its_own_turns_and_what_sleeps_is_no_interruption_of_the_next() {
        let now = PhaseNow::default();
        let mut pauses = Pauses::new(now.clone()).unwrap();
        for (phase, spin) in [(0, 1u64), (1, 300), (PHASES, 9_000)] {
            pauses.turn_begins();
            now.store(phase, Ordering::Relaxed);
            let until = Instant::now() + Duration::from_micros(spin);
            pauses.instructions_begin();
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            pauses.instructions_ended(phase);
        }
        pauses.turn_begins();
        let [quiet, churn] = pauses.phases();
        assert_eq!((quiet.turns.len(), quiet.instructions.len(), quiet.followed), (1, 0, 0));
        assert_eq!((churn.turns.len(), churn.followed), (1, 1));
        assert!(churn.turns.max() >= 299_000, "{}", churn.turns.max());
    }
}
