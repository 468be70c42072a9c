//! The virtual clock: what will happen, in order of time, and of scheduling when the time is the same.
//!
//! Enters: things and the moments they are due. Leaves: the next thing, and with it the time moves. Nothing waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things due at moments of virtual time, in milliseconds.
pub struct Queue<T> {
    now_ms: u64,
    scheduled: u64,
    heap: BinaryHeap<Reverse<Due<T>>>,
}

struct Due<T> {
    at_ms: u64,
    order: u64,
    what: T,
}

impl<T> Queue<T> {
    /// Empty, at time `now_ms`.
    pub fn new(now_ms: u64) -> Queue<T> {
        Queue { now_ms, scheduled: 0, heap: BinaryHeap::new() }
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Lets `what` happen at `at_ms`, or now if that has passed.
    pub fn at(&mut self, at_ms: u64, what: T) {
        let (at_ms, order) = (at_ms.max(self.now_ms), self.scheduled);
        self.scheduled += 1;
        self.heap.push(Reverse(Due { at_ms, order, what }));
    }

    /// Lets `what` happen `delay_ms` from now.
    pub fn after(&mut self, delay_ms: u64, what: T) {
        self.at(self.now_ms.saturating_add(delay_ms), what);
    }

    /// When the next thing is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(due)| due.at_ms)
    }

    /// The next thing that is due not later than `limit_ms`; the clock moves to it.
    pub fn pop_until(&mut self, limit_ms: u64) -> Option<T> {
        if self.next_at()? > limit_ms {
            return None;
        }
        let Reverse(due) = self.heap.pop()?;
        self.now_ms = due.at_ms;
        Some(due.what)
    }

    /// Moves the clock forward over time in which nothing happens.
    pub fn advance_to(&mut self, now_ms: u64) {
        debug_assert!(self.next_at().is_none_or(|next| next >= now_ms));
        self.now_ms = self.now_ms.max(now_ms);
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Due<T>) -> bool {
        (self.at_ms, self.order) == (other.at_ms, other.order)
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Due<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Due<T>) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_orders_and_scheduling_breaks_ties() {
        let mut queue = Queue::new(100);
        for (at, what) in [(300, 'c'), (200, 'a'), (200, 'b'), (50, 'z')] {
            queue.at(at, what);
        }
        let order: Vec<_> =
            std::iter::from_fn(|| queue.pop_until(250).map(|what| (queue.now_ms(), what))).collect();
        assert_eq!(order, [(100, 'z'), (200, 'a'), (200, 'b')]);
        queue.advance_to(250);
        queue.after(10, 'd');
        assert_eq!(queue.pop_until(1000), Some('d'));
        assert_eq!((queue.now_ms(), queue.next_at()), (260, Some(300)));
    }
}
