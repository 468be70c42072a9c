//! The ring, the doorbell and the statistics tag under loom: every interleaving that the memory model allows (up to a
//! bounded number of preemptions), on the code that ships.
//!
//! Each model also runs over words that ignore the orderings asked for; it must then fail. So the models can fail, and the
//! orderings are needed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use causeway_shm::{
    Atom, Geometry, RingConsumer, RingError, RingProducer, SaStats, arm, disarm, must_ring, read_stats,
    write_fresh_stats,
};
use loom::sync::atomic::{AtomicU64, fence};
use loom::sync::{Arc, Notify};

/// Preemptions per execution that loom tries; published bugs of this kind show with two.
const PREEMPTIONS: usize = 3;

/// What a word does with the ordering that the algorithm asks for.
trait Obedience: Send + Sync + 'static {
    fn order(asked: Ordering) -> Ordering;
    const FENCES: bool;
}

/// Does as asked: the shipped code.
struct Obeys;
/// Makes everything Relaxed and drops fences: the mutant that must fail.
struct Ignores;
/// Obeys, but drops fences.
struct IgnoresFences;

impl Obedience for Obeys {
    fn order(asked: Ordering) -> Ordering {
        asked
    }
    const FENCES: bool = true;
}

impl Obedience for Ignores {
    fn order(_: Ordering) -> Ordering {
        Ordering::Relaxed
    }
    const FENCES: bool = false;
}

impl Obedience for IgnoresFences {
    fn order(asked: Ordering) -> Ordering {
        asked
    }
    const FENCES: bool = false;
}

struct Word<O>(AtomicU64, PhantomData<O>);

impl<O: Obedience> Atom for Word<O> {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(O::order(order))
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, O::order(order));
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, O::order(order))
    }

    fn fence(order: Ordering) {
        if O::FENCES {
            fence(order);
        }
    }
}

struct Memory<O>(Arc<Vec<Word<O>>>);

impl<O> Clone for Memory<O> {
    fn clone(&self) -> Self {
        Memory(self.0.clone())
    }
}

impl<O> AsRef<[Word<O>]> for Memory<O> {
    fn as_ref(&self) -> &[Word<O>] {
        &self.0
    }
}

fn memory<O>(words: usize) -> Memory<O> {
    Memory(Arc::new((0..words).map(|_| Word(AtomicU64::new(0), PhantomData)).collect()))
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

type Producing<O> = RingProducer<Word<O>, Memory<O>>;
type Consuming<O> = RingConsumer<Word<O>, Memory<O>>;

fn ring<O: Obedience>(slots: usize) -> (Producing<O>, Consuming<O>) {
    let geometry = Geometry { slots, slot_bytes: 8, index_stride: 1 };
    let memory = memory::<O>(geometry.words());
    (RingProducer::resume(memory.clone(), geometry).unwrap(), RingConsumer::resume(memory, geometry).unwrap())
}

/// More messages than slots, so that slots are used twice and the full ring is met.
fn ring_delivers_all_in_order<O: Obedience>() {
    const MESSAGES: u64 = 3;
    explore(|| {
        let (mut producer, mut consumer) = ring::<O>(2);
        let writing = loom::thread::spawn(move || {
            let mut next = 1;
            while next <= MESSAGES {
                match producer.push(&next.to_le_bytes()) {
                    Ok(()) => next += 1,
                    Err(RingError::Full) => loom::thread::yield_now(),
                    Err(RingError::Corrupt) => panic!("an honest consumer corrupted the ring"),
                }
            }
        });
        let mut expected = 1u64;
        while expected <= MESSAGES {
            let mut octets = [0; 8];
            match consumer.pop(&mut octets) {
                Ok(Some(8)) => {
                    assert_eq!(u64::from_le_bytes(octets), expected, "a stale or foreign slot was read");
                    expected += 1;
                }
                Ok(None) => loom::thread::yield_now(),
                other => panic!("an honest producer corrupted the ring: {other:?}"),
            }
        }
        writing.join().unwrap();
        assert!(consumer.is_empty());
    });
}

#[test]
fn the_ring_delivers_everything_once_and_in_order() {
    ring_delivers_all_in_order::<Obeys>();
}

#[test]
#[should_panic(expected = "corrupted the ring: Ok(Some(0))")]
fn the_ring_needs_its_orderings() {
    ring_delivers_all_in_order::<Ignores>();
}

/// A consumer that sleeps only after arming and looking again is always woken, however often it sleeps. If a wake-up is
/// lost, every thread waits and loom reports a deadlock.
fn sleeper_is_woken<O: Obedience>(producers: u64, messages_each: u64) {
    explore(move || {
        let armed = memory::<O>(1);
        let bell = Arc::new(Notify::new());
        let mut consumers = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..producers {
            let (mut producer, consumer) = ring::<O>(messages_each as usize);
            consumers.push(consumer);
            let (armed, bell) = (armed.clone(), bell.clone());
            threads.push(loom::thread::spawn(move || {
                for message in 0..messages_each {
                    producer.push(&message.to_le_bytes()).unwrap();
                    if must_ring(&armed.as_ref()[0]) {
                        bell.notify();
                    }
                }
            }));
        }
        let mut received = 0;
        while received < producers * messages_each {
            for consumer in &mut consumers {
                received += u64::from(consumer.pop(&mut [0; 8]).unwrap().is_some());
            }
            if received < producers * messages_each {
                arm(&armed.as_ref()[0]);
                if consumers.iter().all(|consumer| consumer.is_empty()) {
                    bell.wait();
                } else {
                    disarm(&armed.as_ref()[0]);
                }
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn no_wake_up_is_lost() {
    sleeper_is_woken::<Obeys>(1, 2);
}

#[test]
fn no_wake_up_is_lost_between_two_producers() {
    sleeper_is_woken::<Obeys>(2, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_doorbell_needs_its_fences() {
    sleeper_is_woken::<IgnoresFences>(1, 1);
}

/// A reader never sees one SA's tag with another SA's figures.
fn statistics_belong_to_their_tag<O: Obedience>() {
    let of = |spi: u32| SaStats {
        inbound_spi: spi,
        in_packets: u64::from(spi),
        highest_inbound_sequence: u64::from(spi),
        in_drops: u64::from(spi),
        ..SaStats::default()
    };
    explore(move || {
        let memory = memory::<O>(10);
        let (words, drops) = memory.0.split_at(8);
        write_fresh_stats(words, drops, &of(1));
        let writer = memory.clone();
        let writing = loom::thread::spawn(move || {
            let (words, drops) = writer.0.split_at(8);
            write_fresh_stats(words, drops, &of(2));
        });
        if let Some(stats) = read_stats(words, drops) {
            assert_eq!(stats, of(stats.inbound_spi));
        }
        writing.join().unwrap();
        assert_eq!(read_stats(words, drops), Some(of(2)));
    });
}

#[test]
fn statistics_are_of_one_sa() {
    statistics_belong_to_their_tag::<Obeys>();
}

#[test]
#[should_panic(expected = "assertion `left == right` failed")]
fn statistics_need_their_orderings() {
    statistics_belong_to_their_tag::<Ignores>();
}
