//! One worker's counters as plain words; the worker copies them to the segment's atomics now and then.

use causeway_shared::counters::{COUNTERS, Drop, Flow};

/// Counts since start. Index with `Flow::index` and `Drop::index`.
#[derive(Clone, Debug)]
pub struct Counters {
    words: [u64; COUNTERS],
}

impl Counters {
    /// Adds `count` to a flow.
    #[inline(always)]
    pub fn flow(&mut self, flow: Flow, count: u64) {
        self.add(flow.index(), count);
    }

    /// Counts a dropped packet.
    #[inline(always)]
    pub fn drop(&mut self, reason: Drop) {
        self.add(reason.index(), 1);
    }

    /// Counts packets that were dropped together.
    pub fn drops(&mut self, reason: Drop, count: u64) {
        self.add(reason.index(), count);
    }

    /// Every word, in order.
    pub fn words(&self) -> &[u64; COUNTERS] {
        &self.words
    }

    /// A flow's count.
    pub fn of_flow(&self, flow: Flow) -> u64 {
        self.words.get(flow.index()).copied().unwrap_or(0)
    }

    /// A drop reason's count.
    pub fn of_drop(&self, reason: Drop) -> u64 {
        self.words.get(reason.index()).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn add(&mut self, index: usize, count: u64) {
        if let Some(word) = self.words.get_mut(index) {
            *word = word.wrapping_add(count);
        }
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { words: [0; COUNTERS] }
    }
}
