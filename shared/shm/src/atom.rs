//! The one thing that the lock-free algorithms need of memory: an atomic 64-bit word and a fence.
//!
//! They are generic over it so that the same code runs on the segment and under loom's model checker (`tests/loom.rs`).

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// An atomic 64-bit word.
pub trait Atom {
    /// Reads the word.
    fn load(&self, order: Ordering) -> u64;
    /// Writes the word.
    fn store(&self, value: u64, order: Ordering);
    /// Writes the word and returns what it was.
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// Orders this thread's accesses to all words.
    fn fence(order: Ordering);
}

impl Atom for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        AtomicU64::swap(self, value, order)
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}
