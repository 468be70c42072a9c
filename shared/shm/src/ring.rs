//! A single-producer single-consumer ring of fixed slots over shared words.
//!
//! Enters: octets from the producer. Leaves: the same octets at the consumer, in order, each once. Indices run freely and
//! count slots; each side owns one, keeps its own copy of it, and validates the other's: the distance is never more than
//! the capacity. Every slot word is an atomic accessed `Relaxed`, so that a peer that breaks the protocol can spoil the
//! contents but cannot make them undefined behaviour. A consumed slot is zeroed: slots may have held keys.
//!
//! ```text
//! words: [head + padding][tail + padding][slot 0: length, octets…][slot 1]…
//! ```

use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::atom::Atom;
use crate::error::RingError;

const WORD: usize = size_of::<u64>();

/// Sizes of a ring, agreed by both sides beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Slots, a power of two.
    pub slots: usize,
    /// Octets that a slot carries, a multiple of 8.
    pub slot_bytes: usize,
    /// Words from one index to what follows it, so that the two sides do not share cache lines.
    pub index_stride: usize,
}

impl Geometry {
    /// Words of the whole ring.
    pub const fn words(&self) -> usize {
        2 * self.index_stride + self.slots * self.slot_words()
    }

    const fn slot_words(&self) -> usize {
        1 + self.slot_bytes.div_ceil(WORD)
    }

    fn head<'a, A>(&self, words: &'a [A]) -> Option<&'a A> {
        words.first()
    }

    fn tail<'a, A>(&self, words: &'a [A]) -> Option<&'a A> {
        words.get(self.index_stride)
    }

    /// The length word and the octet words of the slot that free-running `index` names.
    fn slot<'a, A>(&self, words: &'a [A], index: u64) -> Option<(&'a A, &'a [A])> {
        let place = (index as usize) & (self.slots - 1);
        let start = 2 * self.index_stride + place * self.slot_words();
        words.get(start..start + self.slot_words())?.split_first()
    }

    fn distance(&self, head: u64, tail: u64) -> Result<u64, RingError> {
        let distance = head.wrapping_sub(tail);
        if distance > self.slots as u64 { Err(RingError::Corrupt) } else { Ok(distance) }
    }

    fn is_sound(&self, words: usize) -> bool {
        self.slots.is_power_of_two() && self.index_stride > 0 && words == self.words()
    }
}

/// The writing end.
pub struct RingProducer<A, M> {
    words: M,
    geometry: Geometry,
    /// Our index; the segment holds a copy for the consumer.
    head: u64,
    /// The consumer's index when we last looked; we look again only when the ring seems full.
    tail_seen: u64,
    atom: PhantomData<fn() -> A>,
}

impl<A: Atom, M: AsRef<[A]>> RingProducer<A, M> {
    /// Takes the writing end of a ring where a predecessor left it (a zeroed ring is an empty one).
    ///
    /// A predecessor that died may have left an index that makes no sense and a half-written slot: the ring is then made
    /// empty and the slot wiped.
    ///
    /// # Errors
    /// `Corrupt` when `words` has not the size that `geometry` says.
    pub fn resume(words: M, geometry: Geometry) -> Result<Self, RingError> {
        let memory = words.as_ref();
        if !geometry.is_sound(memory.len()) {
            return Err(RingError::Corrupt);
        }
        let (head, tail) = match (geometry.head(memory), geometry.tail(memory)) {
            // Acquire on both: what the predecessor and the consumer did to the slots is visible here.
            (Some(head), Some(tail)) => (head.load(Acquire), tail.load(Acquire)),
            _ => return Err(RingError::Corrupt),
        };
        let (head, used) = match geometry.distance(head, tail) {
            Ok(used) => (head, used),
            Err(_) => (tail, 0),
        };
        if used < geometry.slots as u64
            && let Some((length, octets)) = geometry.slot(memory, head)
        {
            wipe(length, octets);
        }
        if let Some(index) = geometry.head(memory) {
            // Release: the wiped slot is published together with the index.
            index.store(head, Release);
        }
        Ok(RingProducer { words, geometry, head, tail_seen: tail, atom: PhantomData })
    }

    /// Looks whether a slot is free.
    ///
    /// # Errors
    /// `Full` when none is; `Corrupt` when the consumer's index makes no sense.
    pub fn reserve(&mut self) -> Result<(), RingError> {
        if self.head.wrapping_sub(self.tail_seen) < self.geometry.slots as u64 {
            return Ok(());
        }
        let tail = self.geometry.tail(self.words.as_ref()).ok_or(RingError::Corrupt)?;
        // Acquire pairs with the consumer's Release: its reads and its wiping of the slot happened before we write it.
        let tail = tail.load(Acquire);
        if self.geometry.distance(self.head, tail)? == self.geometry.slots as u64 {
            return Err(RingError::Full);
        }
        self.tail_seen = tail;
        Ok(())
    }

    /// Copies `octets` into the next slot and publishes it.
    ///
    /// # Errors
    /// As [`Self::reserve`]; `Corrupt` also when `octets` is longer than a slot, which the typed layer never lets happen.
    pub fn push(&mut self, octets: &[u8]) -> Result<(), RingError> {
        self.reserve()?;
        let memory = self.words.as_ref();
        let (length, slot) = self.geometry.slot(memory, self.head).ok_or(RingError::Corrupt)?;
        if octets.len() > self.geometry.slot_bytes {
            return Err(RingError::Corrupt);
        }
        // Relaxed: the slot is ours until the index below is published.
        length.store(octets.len() as u64, Relaxed);
        for (word, chunk) in slot.iter().zip(octets.chunks(WORD)) {
            let mut padded = [0; WORD];
            padded[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(padded), Relaxed);
        }
        self.head = self.head.wrapping_add(1);
        let index = self.geometry.head(memory).ok_or(RingError::Corrupt)?;
        // Release pairs with the consumer's Acquire: who sees the index sees the slot.
        index.store(self.head, Release);
        Ok(())
    }

    /// Slots that the consumer has not released yet, as far as its index can be believed.
    pub fn backlog(&self) -> usize {
        match self.geometry.tail(self.words.as_ref()) {
            // Relaxed: only a figure, nothing is read on the strength of it.
            Some(tail) => {
                self.geometry.distance(self.head, tail.load(Relaxed)).map_or(0, |used| used as usize)
            }
            None => 0,
        }
    }
}

/// The reading end.
pub struct RingConsumer<A, M> {
    words: M,
    geometry: Geometry,
    /// Our index; the segment holds a copy for the producer.
    tail: u64,
    /// The producer's index when we last looked; we look again only when the ring seems empty.
    head_seen: u64,
    atom: PhantomData<fn() -> A>,
}

impl<A: Atom, M: AsRef<[A]>> RingConsumer<A, M> {
    /// Takes the reading end where a predecessor left it (a zeroed ring is an empty one).
    ///
    /// # Errors
    /// `Corrupt` when `words` has not the size that `geometry` says.
    pub fn resume(words: M, geometry: Geometry) -> Result<Self, RingError> {
        let memory = words.as_ref();
        if !geometry.is_sound(memory.len()) {
            return Err(RingError::Corrupt);
        }
        // Acquire: what the predecessor did to the slots is visible here.
        let tail = geometry.tail(memory).ok_or(RingError::Corrupt)?.load(Acquire);
        Ok(RingConsumer { words, geometry, tail, head_seen: tail, atom: PhantomData })
    }

    /// Whether nothing waits. An index that makes no sense counts as something waiting: [`Self::pop`] reports it.
    pub fn is_empty(&self) -> bool {
        if self.head_seen != self.tail {
            return false;
        }
        // Relaxed: nothing is read on the strength of it. Who sleeps on the answer fences before asking (doorbell.rs).
        self.geometry.head(self.words.as_ref()).is_none_or(|head| head.load(Relaxed) == self.tail)
    }

    /// Copies the next slot's octets into `out`, wipes and releases the slot, and returns how many they are.
    ///
    /// # Errors
    /// `Corrupt` when the producer's index or length makes no sense; the ring has then gone on, past everything the
    /// producer published or past the one slot, and the next call starts afresh.
    pub fn pop(&mut self, out: &mut [u8]) -> Result<Option<usize>, RingError> {
        let memory = self.words.as_ref();
        if self.head_seen == self.tail {
            let head = self.geometry.head(memory).ok_or(RingError::Corrupt)?;
            // Acquire pairs with the producer's Release: who sees the index sees the slot.
            let head = head.load(Acquire);
            if let Err(error) = self.geometry.distance(head, self.tail) {
                self.head_seen = head;
                self.release(head);
                return Err(error);
            }
            if head == self.tail {
                return Ok(None);
            }
            self.head_seen = head;
        }
        let (length, slot) = self.geometry.slot(memory, self.tail).ok_or(RingError::Corrupt)?;
        // Relaxed throughout: the Acquire above made the slot visible, and only our Release gives it back.
        let claimed = usize::try_from(length.load(Relaxed)).unwrap_or(usize::MAX);
        let result = match out.get_mut(..claimed) {
            Some(out) if claimed <= self.geometry.slot_bytes => {
                for (word, chunk) in slot.iter().zip(out.chunks_mut(WORD)) {
                    chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes()[..chunk.len()]);
                }
                wipe(length, &slot[..claimed.div_ceil(WORD)]);
                Ok(Some(claimed))
            }
            _ => {
                wipe(length, slot);
                Err(RingError::Corrupt)
            }
        };
        self.release(self.tail.wrapping_add(1));
        result
    }

    /// Releases everything published so far without reading it: what a predecessor left is nobody's.
    pub fn discard(&mut self) {
        if let Some(head) = self.geometry.head(self.words.as_ref()) {
            // Acquire, as in `pop`: the next slot we read lies behind this index.
            let head = head.load(Acquire);
            self.head_seen = head;
            self.release(head);
        }
    }

    fn release(&mut self, tail: u64) {
        self.tail = tail;
        if let Some(index) = self.geometry.tail(self.words.as_ref()) {
            // Release pairs with the producer's Acquire: it writes the slot only after we read and wiped it.
            index.store(tail, Release);
        }
    }
}

fn wipe<A: Atom>(length: &A, octets: &[A]) {
    // Relaxed: the index store that follows publishes the zeros.
    length.store(0, Relaxed);
    for word in octets {
        word.store(0, Relaxed);
    }
}
