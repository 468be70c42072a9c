//! The time that a session may last, and the time that it may carry nothing.
//!
//! Enters: what a session's policy says, that it came up or went down, what its Child SAs carried so far. Leaves: when to
//! look next, and which sessions are over. Packets count in both directions; IKE messages do not, since a client answers
//! liveness checks long after its user has gone home. Nothing here reads a clock.
//!
//! The data plane dates inbound packets only. Outbound ones are seen by their count, which is looked at
//! [`LOOKS_PER_LIMIT`] times per limit: a session whose last packet was an outbound one ends at most one such share late,
//! and never early.

use std::collections::{BTreeSet, HashMap};

use crate::store::WallSecs;

/// Looks at a session that carries packets, per time that it may carry none.
pub const LOOKS_PER_LIMIT: u64 = 8;
/// Sessions looked at in one go; more are looked at after the next messages.
pub const MAX_LOOKS: usize = 256;

/// What a session has carried since it came up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Packets from the client.
    pub in_packets: u64,
    /// Packets to the client.
    pub out_packets: u64,
    /// When the last packet came from the client, milliseconds of CLOCK_MONOTONIC.
    pub last_inbound_ms: Option<u64>,
}

/// The limits of every session that has some.
#[derive(Default)]
pub struct Limits {
    sessions: HashMap<u64, Limit>,
    ends: BTreeSet<(WallSecs, u64)>,
    looks: BTreeSet<(u64, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Limit {
    ends_at: Option<WallSecs>,
    idle_ms: u64,
    /// `None` until it is up.
    watch: Option<Watch>,
}

#[derive(Clone, Copy)]
struct Watch {
    /// It has carried nothing since.
    quiet_since_ms: u64,
    seen: Carried,
    look_at_ms: u64,
}

impl Limits {
    /// The session ends for good at this time, whether it is up by then or not.
    pub fn end_at(&mut self, session: u64, ends_at: WallSecs) {
        let limit = self.sessions.entry(session).or_default();
        if let Some(before) = limit.ends_at.replace(ends_at) {
            self.ends.remove(&(before, session));
        }
        self.ends.insert((ends_at, session));
    }

    /// The session ends when it has carried nothing for so long, from [`Limits::up`] on; 0 for never.
    pub fn idle_for(&mut self, session: u64, secs: u64) {
        if secs > 0 {
            self.sessions.entry(session).or_default().idle_ms = secs.saturating_mul(1000);
        }
    }

    /// The same for a session that is up, from now on; 0 for never.
    pub fn change_idle(&mut self, session: u64, secs: u64, carried: Carried, now_ms: u64) {
        let limit = self.sessions.entry(session).or_default();
        limit.idle_ms = secs.saturating_mul(1000);
        if let Some(watch) = limit.watch.take() {
            self.looks.remove(&(watch.look_at_ms, session));
        }
        if secs == 0 && limit.ends_at.is_none() {
            self.sessions.remove(&session);
        }
        self.up(session, carried, now_ms);
    }

    /// The session came up, or goes on in this process, with `carried` behind it.
    pub fn up(&mut self, session: u64, carried: Carried, now_ms: u64) {
        let Some(limit) = self.sessions.get_mut(&session).filter(|limit| limit.idle_ms > 0) else { return };
        let look_at_ms = now_ms.saturating_add(limit.share());
        let before = limit.watch.replace(Watch { quiet_since_ms: now_ms, seen: carried, look_at_ms });
        if let Some(before) = before {
            self.looks.remove(&(before.look_at_ms, session));
        }
        self.looks.insert((look_at_ms, session));
    }

    /// The session is over, or never came up.
    pub fn down(&mut self, session: u64) {
        let Some(limit) = self.sessions.remove(&session) else { return };
        if let Some(ends_at) = limit.ends_at {
            self.ends.remove(&(ends_at, session));
        }
        if let Some(watch) = limit.watch {
            self.looks.remove(&(watch.look_at_ms, session));
        }
    }

    /// When [`Limits::outlived`] has something to say.
    pub fn next_end(&self) -> Option<WallSecs> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// When [`Limits::idle`] has something to look at, milliseconds of CLOCK_MONOTONIC.
    pub fn next_look_ms(&self) -> Option<u64> {
        self.looks.first().map(|(at, _)| *at)
    }

    /// A session whose time is over; each is named once.
    pub fn outlived(&mut self, now: WallSecs) -> Option<u64> {
        let (at, session) = self.ends.first().copied().filter(|(at, _)| *at <= now)?;
        self.ends.remove(&(at, session));
        if let Some(limit) = self.sessions.get_mut(&session) {
            limit.ends_at = None;
        }
        Some(session)
    }

    /// The sessions that have carried nothing for too long; each is named once. `carried` gives `None` while nobody can
    /// carry anything: such a session's time begins anew.
    pub fn idle(&mut self, now_ms: u64, carried: impl Fn(u64) -> Option<Carried>) -> Vec<u64> {
        let mut over = Vec::new();
        for _ in 0..MAX_LOOKS {
            let Some((at, session)) = self.looks.first().copied().filter(|(at, _)| *at <= now_ms) else {
                break;
            };
            self.looks.remove(&(at, session));
            let Some(limit) = self.sessions.get_mut(&session) else { continue };
            let share = limit.share();
            let Some(watch) = &mut limit.watch else { continue };
            watch.note(carried(session), now_ms);
            let idle_at = watch.quiet_since_ms.saturating_add(limit.idle_ms);
            if idle_at <= now_ms {
                limit.watch = None;
                over.push(session);
                continue;
            }
            watch.look_at_ms = idle_at.min(now_ms.saturating_add(share));
            self.looks.insert((watch.look_at_ms, session));
        }
        over
    }
}

impl Limit {
    fn share(&self) -> u64 {
        (self.idle_ms / LOOKS_PER_LIMIT).max(1)
    }
}

impl Watch {
    fn note(&mut self, carried: Option<Carried>, now_ms: u64) {
        let Some(carried) = carried else {
            self.quiet_since_ms = now_ms;
            return;
        };
        let quiet_since = if carried.out_packets != self.seen.out_packets {
            now_ms
        } else if carried.in_packets != self.seen.in_packets {
            carried.last_inbound_ms.unwrap_or(now_ms).min(now_ms)
        } else {
            self.quiet_since_ms
        };
        self.quiet_since_ms = self.quiet_since_ms.max(quiet_since);
        self.seen = carried;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn inbound(packets: u64, last_inbound_ms: u64) -> Carried {
        Carried { in_packets: packets, out_packets: 0, last_inbound_ms: Some(last_inbound_ms) }
    }

    #[test]
    fn a_session_that_carries_nothing_is_over_on_time() {
        let mut limits = Limits::default();
        limits.idle_for(7, 60);
        assert_eq!(limits.next_look_ms(), None, "not up yet");
        limits.up(7, Carried::default(), 5_000);
        assert_eq!(limits.next_look_ms(), Some(12_500));
        assert!(limits.idle(64_999, |_| Some(Carried::default())).is_empty());
        assert_eq!(limits.next_look_ms(), Some(65_000));
        assert_eq!(limits.idle(65_000, |_| Some(Carried::default())), [7]);
        assert!(limits.idle(200_000, |_| Some(Carried::default())).is_empty(), "named once");
        assert_eq!(limits.next_look_ms(), None);
    }

    #[test]
    fn an_inbound_packet_counts_from_its_own_date_and_an_outbound_one_from_the_look() {
        for (carried, over_at) in [
            (inbound(1, 40_000), 100_000),
            // A clock reading from the future does not make a session last longer than from now.
            (inbound(1, 900_000), 119_999),
            (Carried { out_packets: 1, ..Carried::default() }, 119_999),
            (Carried { out_packets: 1, ..inbound(1, 40_000) }, 119_999),
        ] {
            let mut limits = Limits::default();
            limits.idle_for(1, 60);
            limits.up(1, Carried::default(), 0);
            let mut now = 60_000 - 1;
            while limits.idle(now, |_| Some(carried)).is_empty() {
                now = limits.next_look_ms().unwrap();
            }
            assert_eq!(now, over_at, "{carried:?}");
        }
    }

    #[test]
    fn while_nobody_can_carry_anything_nobody_is_idle() {
        let mut limits = Limits::default();
        limits.idle_for(1, 60);
        limits.up(1, Carried::default(), 0);
        assert!(limits.idle(3_600_000, |_| None).is_empty());
        assert!(limits.idle(3_659_999, |_| Some(Carried::default())).is_empty());
        assert_eq!(limits.idle(3_660_000, |_| Some(Carried::default())), [1]);
    }

    #[test]
    fn an_idle_time_that_changes_counts_from_then_on() {
        let mut limits = Limits::default();
        limits.change_idle(1, 60, Carried::default(), 0);
        limits.change_idle(1, 120, inbound(1, 5), 50_000);
        assert!(limits.idle(169_999, |_| Some(inbound(1, 5))).is_empty());
        assert_eq!(limits.idle(170_000, |_| Some(inbound(1, 5))), [1]);
        limits.change_idle(2, 60, Carried::default(), 0);
        limits.change_idle(2, 0, Carried::default(), 10_000);
        assert_eq!(limits.next_look_ms(), None);
        limits.down(1);
        assert!(limits.sessions.is_empty() && limits.looks.is_empty());
    }

    #[test]
    fn what_is_over_leaves_nothing_behind() {
        let mut limits = Limits::default();
        for session in 0..100 {
            limits.idle_for(session, 60);
            limits.end_at(session, WallSecs(500));
            limits.end_at(session, WallSecs(600 + session % 2));
            limits.up(session, Carried::default(), session);
        }
        assert_eq!(limits.next_end(), Some(WallSecs(600)));
        for session in 1..100 {
            limits.down(session);
        }
        assert_eq!((limits.outlived(WallSecs(599)), limits.outlived(WallSecs(600))), (None, Some(0)));
        assert_eq!(limits.outlived(WallSecs(700)), None);
        limits.down(0);
        assert!(limits.sessions.is_empty() && limits.ends.is_empty() && limits.looks.is_empty());
        limits.idle_for(3, 0);
        limits.up(3, Carried::default(), 0);
        assert!(limits.sessions.is_empty() && limits.looks.is_empty(), "no limit, no cost");
    }

    #[test]
    fn many_at_once_are_looked_at_in_shares() {
        let mut limits = Limits::default();
        for session in 0..MAX_LOOKS as u64 + 1 {
            limits.idle_for(session, 60);
            limits.up(session, Carried::default(), 0);
        }
        assert_eq!(limits.idle(60_000, |_| Some(Carried::default())).len(), MAX_LOOKS);
        assert_eq!(limits.next_look_ms(), Some(7_500), "the rest is due");
        assert_eq!(limits.idle(60_000, |_| Some(Carried::default())).len(), 1);
    }

    proptest! {
        /// Against a session told second by second when it carries: never over early, at most one share late.
        #[test]
        fn never_early_and_at_most_a_share_late(
            limit_secs in 60u64..4000,
            packets in proptest::collection::vec((1u64..3000, any::<bool>()), 0..12),
        ) {
            let (mut limits, carried) = (Limits::default(), Cell::new(Carried::default()));
            let limit_ms = limit_secs * 1000;
            limits.idle_for(1, limit_secs);
            limits.up(1, Carried::default(), 0);
            let mut last_ms = 0;
            let mut packets = packets.into_iter().scan(0, |at, (gap, inbound)| {
                *at += gap * 1000;
                Some((*at, inbound))
            }).peekable();
            let over_at = loop {
                let look = limits.next_look_ms().unwrap();
                while let Some((at, inbound)) = packets.next_if(|(at, _)| *at <= look) {
                    let mut now = carried.get();
                    match inbound {
                        true => { now.in_packets += 1; now.last_inbound_ms = Some(at); }
                        false => now.out_packets += 1,
                    }
                    carried.set(now);
                    last_ms = at;
                }
                if !limits.idle(look, |_| Some(carried.get())).is_empty() {
                    break look;
                }
            };
            prop_assert!(over_at >= last_ms + limit_ms, "early: {over_at} after {last_ms}");
            prop_assert!(over_at <= last_ms + limit_ms + limit_ms / LOOKS_PER_LIMIT, "late: {over_at} after {last_ms}");
        }
    }
}
