//! What goes wrong in the gateway's machine and around it, beyond what the network and the clients do, and how often.
//!
//! Enters: the seed's stream. Leaves: a plan of troubles for the storm, what each means at a moment, and [`Counts`] of
//! everything that went wrong, so that a run of many seeds can say what it has tried.

use std::fmt;

use crate::rng::Rng;

/// What a login waits for the server at most, as the driver's deadline is: later answers count as none.
pub const PATIENCE_MS: u64 = 10_000;
/// A clock that has lost its battery: before any certificate was valid.
pub const WALL_CLOCK_LOST_SECS: u64 = 0;

/// Everything that can go wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A datagram was lost.
    Lost,
    /// A datagram came twice.
    Doubled,
    /// A NAT mapped a client anew.
    Rebound,
    /// A client's network was gone for a while.
    Dark,
    /// A client's machine died.
    Crashed,
    /// The EAP server did not answer.
    RadiusSilent,
    /// It answered late, but in time.
    RadiusSlow,
    /// It answered after the deadline.
    RadiusTooLate,
    /// The ring to the data plane was full for a while.
    RingFull,
    /// The data plane died and got every SA again.
    PlaneRestart,
    /// The control plane stood still and then found that time had passed.
    Asleep,
    /// The wall clock jumped.
    WallClock,
    /// A job was not done.
    JobLost,
    /// The data plane refused a Child SA.
    InstallRefused,
    /// A Child SA was installed after its session had ended.
    InstalledTooLate,
}

impl Fault {
    /// Each of them.
    pub const ALL: [Fault; 15] = [
        Fault::Lost,
        Fault::Doubled,
        Fault::Rebound,
        Fault::Dark,
        Fault::Crashed,
        Fault::RadiusSilent,
        Fault::RadiusSlow,
        Fault::RadiusTooLate,
        Fault::RingFull,
        Fault::PlaneRestart,
        Fault::Asleep,
        Fault::WallClock,
        Fault::JobLost,
        Fault::InstallRefused,
        Fault::InstalledTooLate,
    ];
}

/// How often each fault happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts([u64; Fault::ALL.len()]);

impl Counts {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    /// More.
    pub fn add(&mut self, fault: Fault, times: u64) {
        self.0[fault as usize] += times;
    }

    /// How often.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Both together.
    pub fn plus(self, other: Counts) -> Counts {
        Counts(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> =
            Fault::ALL.iter().map(|fault| format!("{fault:?} {}", self.of(*fault))).collect();
        f.write_str(&words.join(", "))
    }
}

/// A trouble of the gateway's machine, for so many milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The EAP server answers nobody.
    RadiusSilent(u64),
    /// It takes its time.
    RadiusSlow(u64),
    /// The ring takes nothing.
    RingFull(u64),
    /// The data plane is gone.
    PlaneRestart(u64),
    /// The control plane does nothing.
    Asleep(u64),
    /// The wall clock is wrong.
    WallClock(u64),
}

/// The troubles of one world.
pub struct Troubles {
    rng: Rng,
    radius: Option<(Trouble, u64)>,
    /// When the data plane works again.
    pub plane_back_at: u64,
    /// When the control plane goes on.
    pub awake_at: u64,
    /// When the wall clock is right again.
    pub clock_right_at: u64,
    /// What has happened.
    pub counts: Counts,
}

/// What becomes of an answer of the EAP server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives after so long.
    After(u64),
    /// It never does, or too late; the login learns that at its deadline.
    Never,
}

impl Troubles {
    /// None yet.
    pub fn new(rng: Rng) -> Troubles {
        let counts = Counts::default();
        Troubles { rng, radius: None, plane_back_at: 0, awake_at: 0, clock_right_at: 0, counts }
    }

    /// Which troubles begin when, all over by `end_ms`.
    pub fn plan(&mut self, end_ms: u64) -> Vec<(u64, Trouble)> {
        (0..self.rng.between(0, 4)).map(|_| self.one(end_ms)).collect()
    }

    fn one(&mut self, end_ms: u64) -> (u64, Trouble) {
        let rng = &mut self.rng;
        let trouble = match rng.index(6) {
            0 => Trouble::RadiusSilent(rng.between(5_000, 60_000)),
            1 => Trouble::RadiusSlow(rng.between(5_000, 60_000)),
            2 => Trouble::RingFull(rng.between(500, 15_000)),
            3 => Trouble::PlaneRestart(rng.between(100, 8_000)),
            4 => Trouble::Asleep(rng.between(500, 50_000)),
            _ => Trouble::WallClock(rng.between(5_000, 60_000)),
        };
        let (Trouble::RadiusSilent(length)
        | Trouble::RadiusSlow(length)
        | Trouble::RingFull(length)
        | Trouble::PlaneRestart(length)
        | Trouble::Asleep(length)
        | Trouble::WallClock(length)) = trouble;
        (rng.between(0, end_ms.saturating_sub(length)), trouble)
    }

    /// It begins now.
    pub fn begin(&mut self, now_ms: u64, trouble: Trouble) {
        match trouble {
            Trouble::RadiusSilent(length) | Trouble::RadiusSlow(length) => {
                self.radius = Some((trouble, now_ms + length));
            }
            Trouble::RingFull(_) => self.counts.count(Fault::RingFull),
            Trouble::PlaneRestart(length) => {
                self.plane_back_at = self.plane_back_at.max(now_ms + length);
                self.counts.count(Fault::PlaneRestart);
            }
            Trouble::Asleep(length) => {
                self.awake_at = self.awake_at.max(now_ms + length);
                self.counts.count(Fault::Asleep);
            }
            Trouble::WallClock(length) => {
                self.clock_right_at = self.clock_right_at.max(now_ms + length);
                self.counts.count(Fault::WallClock);
            }
        }
    }

    /// What becomes of an answer that the EAP server is asked for now; `None` if it is well.
    pub fn fate(&mut self, now_ms: u64) -> Option<Fate> {
        let (trouble, _) = self.radius.filter(|(_, until)| now_ms < *until)?;
        if matches!(trouble, Trouble::RadiusSilent(_)) {
            self.counts.count(Fault::RadiusSilent);
            return Some(Fate::Never);
        }
        let after = self.rng.between(500, PATIENCE_MS * 3 / 2);
        let late = after > PATIENCE_MS;
        self.counts.count(if late { Fault::RadiusTooLate } else { Fault::RadiusSlow });
        Some(if late { Fate::Never } else { Fate::After(after) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_place_and_troubles_end_in_time() {
        for (at, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, at);
        }
        let mut seen = Counts::default();
        for seed in 0..200 {
            let mut troubles = Troubles::new(Rng::new(seed));
            for (at, trouble) in troubles.plan(120_000) {
                troubles.begin(at, trouble);
                while troubles.fate(at).is_some_and(|fate| fate != Fate::Never) {}
            }
            assert!(troubles.plane_back_at.max(troubles.awake_at).max(troubles.clock_right_at) <= 120_000);
            seen = seen.plus(troubles.counts);
        }
        for fault in [Fault::RadiusSilent, Fault::RadiusSlow, Fault::RadiusTooLate, Fault::Asleep] {
            assert!(seen.of(fault) > 20, "{seen}");
        }
    }
}
