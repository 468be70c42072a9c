//! Counters and heartbeats: figures that one thread of the data plane writes and the control plane reads at any time.
//!
//! Everything is Relaxed: each word is a figure by itself, and nothing else is read on the strength of it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use causeway_shared::counters::{COUNTERS, Drop, Flow};
use rustix::time::{ClockId, clock_gettime};

use crate::mapping::Words;

/// The counters of one thread, for that thread.
pub struct CounterBlock {
    words: Words,
}

impl CounterBlock {
    pub(crate) fn new(words: Words) -> Self {
        CounterBlock { words }
    }

    /// Adds to a flow counter.
    pub fn add_flow(&self, flow: Flow, amount: u64) {
        self.add(flow.index(), amount);
    }

    /// Adds to a drop counter.
    pub fn add_drop(&self, reason: Drop, amount: u64) {
        self.add(reason.index(), amount);
    }

    /// Adds to the counter at `index` (see [`Flow::index`], [`Drop::index`]); an index above all counters is ignored.
    pub fn add(&self, index: usize, amount: u64) {
        if let Some(word) = self.words.get(index) {
            // One writer: a plain load and store instead of a locked addition.
            word.store(word.load(Relaxed).wrapping_add(amount), Relaxed);
        }
    }

    /// The array as it stands.
    pub fn snapshot(&self) -> CounterTable {
        read_counters(&self.words)
    }
}

/// One value per counter, in order of their numbers.
pub type CounterTable = [u64; COUNTERS];

pub(crate) fn read_counters(words: &Words) -> CounterTable {
    let mut table = [0; COUNTERS];
    for (value, word) in table.iter_mut().zip(words.iter()) {
        *value = word.load(Relaxed);
    }
    table
}

/// Says that a thread is alive, for that thread.
pub struct Heartbeat {
    words: Words,
}

impl Heartbeat {
    pub(crate) fn new(words: Words) -> Self {
        Heartbeat { words }
    }

    /// Beats once. `now_ns` is CLOCK_MONOTONIC, the same clock in both processes.
    pub fn beat(&self, now_ns: u64) {
        if let [count, at] = &self.words[..] {
            at.store(now_ns, Relaxed);
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }
}

/// A heartbeat as the control plane reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeartbeatReading {
    /// Beats since the segment was created.
    pub count: u64,
    /// When the last one was, CLOCK_MONOTONIC nanoseconds; 0 for never.
    pub at_ns: u64,
}

impl HeartbeatReading {
    pub(crate) fn read(words: &Words) -> HeartbeatReading {
        match &words[..] {
            [count, at] => HeartbeatReading { count: count.load(Relaxed), at_ns: at.load(Relaxed) },
            _ => HeartbeatReading::default(),
        }
    }

    /// Time since the last beat; zero if it lies in the future.
    pub fn age(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(now_ns.saturating_sub(self.at_ns))
    }

    /// Whether the thread has not beaten for `limit`.
    pub fn is_stale(&self, now_ns: u64, limit: Duration) -> bool {
        self.age(now_ns) > limit
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of heartbeats and of [`crate::SaStats::last_inbound_ns`].
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{SEGMENT_ALIGN, create};

    #[test]
    fn counters_land_where_their_numbers_say() {
        let (_memfd, words) = create(SEGMENT_ALIGN).unwrap();
        let block = CounterBlock::new(words.part(16, COUNTERS).unwrap());
        block.add_flow(Flow::RxPackets, 3);
        block.add_flow(Flow::RxPackets, 4);
        block.add_drop(Drop::NoBuffer, 5);
        block.add(COUNTERS, 9);
        let table = block.snapshot();
        assert_eq!((table[Flow::RxPackets.index()], table[Drop::NoBuffer.index()]), (7, 5));
        assert_eq!(table.iter().sum::<u64>(), 12);
    }

    #[test]
    fn a_heartbeat_ages() {
        let (_memfd, words) = create(SEGMENT_ALIGN).unwrap();
        let words = words.part(0, 2).unwrap();
        let heart = Heartbeat::new(words.clone());
        heart.beat(1_000);
        heart.beat(5_000);
        let reading = HeartbeatReading::read(&words);
        assert_eq!(reading, HeartbeatReading { count: 2, at_ns: 5_000 });
        assert!(!reading.is_stale(5_100, Duration::from_nanos(100)));
        assert!(reading.is_stale(5_101, Duration::from_nanos(100)));
        assert!(!reading.is_stale(0, Duration::ZERO), "a clock reading from before the beat is no age");
    }
}
