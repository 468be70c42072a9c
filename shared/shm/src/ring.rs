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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use super::*;

    const RING: Geometry = Geometry { slots: 4, slot_bytes: 16, index_stride: 2 };
    const HEAD: usize = 0;
    const TAIL: usize = 2;
    const FIRST_SLOT: usize = 4;

    #[derive(Clone)]
    struct Memory(Arc<Vec<AtomicU64>>);

    impl AsRef<[AtomicU64]> for Memory {
        fn as_ref(&self) -> &[AtomicU64] {
            &self.0
        }
    }

    type Ends = (Memory, RingProducer<AtomicU64, Memory>, RingConsumer<AtomicU64, Memory>);

    /// A ring whose indices start at `index`, so that they wrap soon if it is large.
    fn ring(index: u64) -> Ends {
        let memory = Memory(Arc::new((0..RING.words()).map(|_| AtomicU64::new(0)).collect()));
        memory.0[HEAD].store(index, Relaxed);
        memory.0[TAIL].store(index, Relaxed);
        let producer = RingProducer::resume(memory.clone(), RING).unwrap();
        let consumer = RingConsumer::resume(memory.clone(), RING).unwrap();
        (memory, producer, consumer)
    }

    fn pop(consumer: &mut RingConsumer<AtomicU64, Memory>) -> Result<Option<Vec<u8>>, RingError> {
        let mut octets = [0; 16];
        Ok(consumer.pop(&mut octets)?.map(|used| octets[..used].to_vec()))
    }

    #[test]
    fn a_consumed_slot_holds_nothing() {
        let (memory, mut producer, mut consumer) = ring(0);
        producer.push(b"sixteen secret o").unwrap();
        assert!(memory.0[FIRST_SLOT..].iter().any(|word| word.load(Relaxed) != 0));
        assert_eq!(pop(&mut consumer), Ok(Some(b"sixteen secret o".to_vec())));
        assert!(memory.0[FIRST_SLOT..].iter().all(|word| word.load(Relaxed) == 0));
    }

    #[test]
    fn a_consumer_refuses_an_impossible_index_once_and_goes_on_behind_it() {
        for lie in [5, 1000, u64::MAX, u64::MAX - 3] {
            let (memory, _, mut consumer) = ring(0);
            memory.0[HEAD].store(lie, Relaxed);
            assert!(!consumer.is_empty());
            assert_eq!(pop(&mut consumer), Err(RingError::Corrupt), "{lie}");
            assert_eq!(pop(&mut consumer), Ok(None));
            let mut producer = RingProducer::<AtomicU64, _>::resume(memory, RING).unwrap();
            producer.push(b"after").unwrap();
            assert_eq!(pop(&mut consumer), Ok(Some(b"after".to_vec())));
        }
    }

    #[test]
    fn a_producer_refuses_an_impossible_index_and_writes_nothing() {
        let (memory, mut producer, _consumer) = ring(10);
        for _ in 0..RING.slots {
            producer.push(b"x").unwrap();
        }
        let slots = || memory.0[FIRST_SLOT..].iter().map(|word| word.load(Relaxed)).collect::<Vec<_>>();
        let before = slots();
        for lie in [9, 15, 0, u64::MAX] {
            memory.0[TAIL].store(lie, Relaxed);
            assert_eq!(producer.push(b"y"), Err(RingError::Corrupt), "{lie}");
        }
        memory.0[TAIL].store(10, Relaxed);
        assert_eq!(producer.push(b"y"), Err(RingError::Full));
        assert_eq!(slots(), before);
        memory.0[TAIL].store(11, Relaxed);
        assert_eq!(producer.push(b"y"), Ok(()));
    }

    #[test]
    fn an_impossible_length_costs_one_slot() {
        for lie in [17, u64::MAX] {
            let (memory, mut producer, mut consumer) = ring(0);
            producer.push(b"spoilt").unwrap();
            producer.push(b"good").unwrap();
            memory.0[FIRST_SLOT].store(lie, Relaxed);
            assert_eq!(pop(&mut consumer), Err(RingError::Corrupt), "{lie}");
            assert_eq!(pop(&mut consumer), Ok(Some(b"good".to_vec())));
            assert!(memory.0[FIRST_SLOT..].iter().all(|word| word.load(Relaxed) == 0));
        }
    }

    #[test]
    fn a_successor_wipes_the_half_written_slot_and_keeps_the_published_ones() {
        let (memory, mut producer, mut consumer) = ring(0);
        producer.push(b"published").unwrap();
        // The producer dies in the middle of the second slot.
        let second = FIRST_SLOT + 3;
        memory.0[second + 1].store(0xdead, Relaxed);
        let _successor: RingProducer<AtomicU64, Memory> = RingProducer::resume(memory.clone(), RING).unwrap();
        assert_eq!(memory.0[second + 1].load(Relaxed), 0);
        assert_eq!(pop(&mut consumer), Ok(Some(b"published".to_vec())));
    }

    #[test]
    fn a_geometry_that_does_not_fit_is_refused() {
        let memory = Memory(Arc::new((0..RING.words()).map(|_| AtomicU64::new(0)).collect()));
        for wrong in [
            Geometry { slots: 8, ..RING },
            Geometry { slots: 3, ..RING },
            Geometry { index_stride: 0, ..RING },
        ] {
            assert!(RingProducer::<AtomicU64, _>::resume(memory.clone(), wrong).is_err());
            assert!(RingConsumer::<AtomicU64, _>::resume(memory.clone(), wrong).is_err());
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Pop,
        NewProducer,
        NewConsumer,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..=16).prop_map(Step::Push),
            4 => Just(Step::Pop),
            1 => Just(Step::NewProducer),
            1 => Just(Step::NewConsumer),
        ]
    }

    proptest! {
        #[test]
        fn the_ring_is_a_bounded_queue_across_successions_and_wrapping(
            start in prop_oneof![Just(0), Just(u64::MAX - 2), any::<u64>()],
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let (memory, mut producer, mut consumer) = ring(start);
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Push(octets) if model.len() < RING.slots => {
                        prop_assert_eq!(producer.push(&octets), Ok(()));
                        model.push_back(octets);
                    }
                    Step::Push(octets) => prop_assert_eq!(producer.push(&octets), Err(RingError::Full)),
                    Step::Pop => prop_assert_eq!(pop(&mut consumer), Ok(model.pop_front())),
                    Step::NewProducer => producer = RingProducer::resume(memory.clone(), RING).unwrap(),
                    Step::NewConsumer => consumer = RingConsumer::resume(memory.clone(), RING).unwrap(),
                }
                prop_assert_eq!(consumer.is_empty(), model.is_empty());
                prop_assert_eq!(producer.backlog(), model.len());
            }
        }

        #[test]
        fn no_contents_of_the_memory_make_either_end_panic(
            words in proptest::collection::vec(prop_oneof![any::<u64>(), 0u64..32], RING.words()),
            writes in proptest::collection::vec((0..RING.words(), prop_oneof![any::<u64>(), 0u64..32]), 0..50),
        ) {
            let memory = Memory(Arc::new(words.into_iter().map(AtomicU64::new).collect()));
            let mut producer = RingProducer::<AtomicU64, _>::resume(memory.clone(), RING).unwrap();
            let mut consumer = RingConsumer::<AtomicU64, _>::resume(memory.clone(), RING).unwrap();
            for (place, value) in writes {
                memory.0[place].store(value, Relaxed);
                let _ = producer.push(&value.to_le_bytes());
                let _ = pop(&mut consumer);
                prop_assert!(producer.backlog() <= RING.slots);
            }
            consumer.discard();
        }
    }
}
