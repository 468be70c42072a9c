//! What waits for the store before it leaves.
//!
//! Enters: datagrams with the number of the last write that they depend on; ends of writes. Leaves: datagrams. The store
//! takes writes in order, so the end of one is the end of all before it. A write that failed holds nothing back: rather
//! an answer that a restart would forget than a gateway that falls silent with its disk.

use std::collections::{BTreeMap, BTreeSet};

/// Datagrams that wait at most; each session has few, because its windows are of size 1. One more leaves at once.
pub const MAX_HELD: usize = 65_536;

/// The number of a write; 0 is none.
pub type Ticket = u64;

/// The gate, for datagrams of any kind.
pub struct Gate<T> {
    last: Ticket,
    /// Every write up to this one has ended.
    done: Ticket,
    /// Writes after that one that have failed.
    failed: BTreeSet<Ticket>,
    held: BTreeMap<Ticket, Vec<T>>,
    count: usize,
}

impl<T> Default for Gate<T> {
    fn default() -> Gate<T> {
        Gate { last: 0, done: 0, failed: BTreeSet::new(), held: BTreeMap::new(), count: 0 }
    }
}

impl<T> Gate<T> {
    /// The number of the next write.
    pub fn ticket(&mut self) -> Ticket {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// Takes datagrams that depend on this write; gives them back if nothing holds them.
    pub fn pass(&mut self, after: Ticket, datagrams: Vec<T>) -> Vec<T> {
        let open = after <= self.done || self.failed.contains(&after);
        if open || datagrams.is_empty() || self.count >= MAX_HELD {
            return datagrams;
        }
        self.count = self.count.saturating_add(datagrams.len());
        self.held.entry(after).or_default().extend(datagrams);
        Vec::new()
    }

    /// A write has ended. Gives what may leave now, in the order of what it waited for.
    pub fn ended(&mut self, ticket: Ticket, good: bool) -> Vec<T> {
        let free = if good {
            self.done = self.done.max(ticket);
            let later = self.done.saturating_add(1);
            self.failed = self.failed.split_off(&later);
            let waiting = self.held.split_off(&later);
            std::mem::replace(&mut self.held, waiting).into_values().flatten().collect()
        } else {
            if ticket > self.done {
                self.failed.insert(ticket);
            }
            self.held.remove(&ticket).unwrap_or_default()
        };
        self.count = self.count.saturating_sub(free.len());
        free
    }

    /// Datagrams that wait.
    pub fn held(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_leaves_before_what_it_depends_on() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(0, vec!["free"]), ["free"]);
        let (first, second, third) = (gate.ticket(), gate.ticket(), gate.ticket());
        assert!(gate.pass(second, vec!["b"]).is_empty());
        assert!(gate.pass(first, vec!["a"]).is_empty());
        assert!(gate.pass(third, vec!["c"]).is_empty());
        // The first one's end is heard of late.
        assert_eq!(gate.ended(second, true), ["a", "b"]);
        assert_eq!(gate.pass(first, vec!["again"]), ["again"]);
        assert!(gate.ended(first, true).is_empty());
        assert_eq!(gate.ended(third, false), ["c"], "a store that fails silences nobody");
        assert_eq!(gate.pass(third, vec!["d"]), ["d"]);
        assert_eq!(gate.held(), 0);
    }

    proptest! {
        /// Whatever the order in which ends are heard: everything leaves once, not before its write or a later one ended.
        #[test]
        fn everything_leaves_once(waits in prop::collection::vec(0u64..20, 0..40), order in Just((1u64..=20).collect::<Vec<_>>()).prop_shuffle(), fails in prop::collection::vec(any::<bool>(), 20)) {
            let mut gate = Gate::default();
            for _ in 0..20 {
                gate.ticket();
            }
            let mut left: Vec<(u64, usize)> = Vec::new();
            for (number, after) in waits.iter().enumerate() {
                left.extend(gate.pass(*after, vec![(*after, number)]));
            }
            prop_assert!(left.iter().all(|(after, _)| *after == 0));
            let mut ended: Vec<u64> = Vec::new();
            for (ticket, fails) in order.into_iter().zip(fails) {
                let free = gate.ended(ticket, !fails);
                ended.push(ticket);
                let covered = |after: &u64| ended.iter().any(|done| done >= after);
                prop_assert!(free.iter().all(|(after, _)| covered(after)));
                left.extend(free);
            }
            left.sort_unstable_by_key(|(_, number)| *number);
            let numbers: Vec<usize> = left.iter().map(|(_, number)| *number).collect();
            prop_assert_eq!(numbers, (0..waits.len()).collect::<Vec<_>>());
            prop_assert_eq!(gate.held(), 0);
        }
    }
}
