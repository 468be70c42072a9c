//! What many workers hand to one: a bounded ring for each sender, emptied in fair shares.
//!
//! Enters: items, by sender. Leaves: at most a burst of them per turn, each sender's in the order in which it pushed. With one
//! ring for all, a sender whose packets all belong to one busy SA would fill it, and what the others push for that worker's
//! other SAs would be refused with it. Here a sender can fill its own ring only, its refusals are its own to count, and the
//! receiver takes from every ring that holds something before it takes more from one.
//!
//! The rings are crossbeam's; this module adds no atomic operation of its own, so there is no ordering of ours to model.

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

/// Least slots of one sender's ring: two bursts, so that a sender's turn fits while the receiver's turn lasts.
pub const LEAST_SLOTS: usize = 64;

/// The rings to one receiver.
pub struct FairRings<T> {
    by_sender: Box<[CachePadded<ArrayQueue<T>>]>,
}

/// Where the receiver's next turn begins. It belongs to the receiver alone.
#[derive(Clone, Copy, Default, Debug)]
pub struct NextSender(usize);

impl<T> FairRings<T> {
    /// Rings for this many senders that share `slots`, though none gets fewer than [`LEAST_SLOTS`].
    pub fn new(senders: usize, slots: usize) -> FairRings<T> {
        let each = (slots / senders.max(1)).max(LEAST_SLOTS);
        let ring = || CachePadded::new(ArrayQueue::new(each));
        FairRings { by_sender: std::iter::repeat_with(ring).take(senders).collect() }
    }

    /// Puts an item into the sender's ring.
    ///
    /// # Errors
    /// Gives it back when that ring is full, or there is no such sender.
    #[inline]
    pub fn push(&self, sender: u16, item: T) -> Result<(), T> {
        match self.by_sender.get(usize::from(sender)) {
            Some(ring) => ring.push(item),
            None => Err(item),
        }
    }

    /// Moves at most `most` items to `into`: from each sender that has something its share, then what is left of `most` from
    /// whoever has more. Turns begin at another sender each, so that no place in the order is better.
    #[inline]
    pub fn take(&self, next: &mut NextSender, most: usize, into: &mut Vec<T>) {
        // A look costs two loads; a pop from an empty ring would cost a fence.
        if self.by_sender.iter().all(|ring| ring.is_empty()) {
            return;
        }
        let senders = self.by_sender.len();
        let first = next.0;
        next.0 = if first + 1 < senders { first + 1 } else { 0 };
        let in_turn = || self.by_sender.iter().cycle().skip(first).take(senders);
        let waiting = self.by_sender.iter().filter(|ring| !ring.is_empty()).count().max(1);
        let mut left = most;
        for share in [(most / waiting).max(1), most] {
            for ring in in_turn().filter(|ring| !ring.is_empty()) {
                let before = into.len();
                into.extend(std::iter::from_fn(|| ring.pop()).take(share.min(left)));
                left -= into.len() - before;
            }
            if left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    const BURST: usize = 32;

    fn took<T>(rings: &FairRings<T>, next: &mut NextSender, most: usize) -> Vec<T> {
        let mut items = Vec::new();
        rings.take(next, most, &mut items);
        items
    }

    #[test]
    fn a_full_ring_refuses_its_own_sender_only() {
        let rings = FairRings::new(3, 3 * LEAST_SLOTS);
        let accepted = (0..1000).filter(|item| rings.push(0, (0u16, *item)).is_ok()).count();
        assert_eq!(accepted, LEAST_SLOTS);
        for item in 0..LEAST_SLOTS {
            assert_eq!(rings.push(2, (2, item)), Ok(()));
        }
        assert_eq!(rings.push(3, (3, 0)), Err((3, 0)), "no such sender");
    }

    #[test]
    fn shares_are_fair_and_no_room_is_left_unused() {
        let rings = FairRings::new(4, 4 * LEAST_SLOTS);
        for item in 0..LEAST_SLOTS {
            rings.push(0, (0u16, item)).unwrap();
        }
        for item in 0..3 {
            rings.push(2, (2, item)).unwrap();
        }
        let burst = took(&rings, &mut NextSender::default(), BURST);
        assert_eq!(burst.len(), BURST, "the busy sender gets what the other leaves");
        assert_eq!(burst.iter().filter(|(sender, _)| *sender == 2).count(), 3);
    }

    #[test]
    fn with_more_senders_than_a_burst_has_places_all_come_to_their_turn() {
        let senders = 64u16;
        let rings = FairRings::new(usize::from(senders), 0);
        let mut next = NextSender::default();
        let mut seen = vec![0; usize::from(senders)];
        for _ in 0..senders {
            for sender in 0..senders {
                let _ = rings.push(sender, sender);
            }
            took(&rings, &mut next, BURST).iter().for_each(|sender| seen[usize::from(*sender)] += 1);
        }
        assert!(seen.iter().all(|turns| *turns == BURST), "{seen:?}");
    }

    /// Two real senders, one of which never stops, and a receiver that takes bursts.
    #[test]
    fn under_load_from_threads_nothing_is_lost_doubled_or_reordered() {
        const ITEMS: u32 = 50_000;
        let rings = FairRings::new(2, 2 * LEAST_SLOTS);
        let done = AtomicBool::new(false);
        let (mut polite, mut hot) = (Vec::new(), Vec::new());
        let hot_accepted = std::thread::scope(|scope| {
            // The hot sender drops what is refused; the polite one comes back.
            let flood = scope.spawn(|| {
                let mut accepted = Vec::new();
                let mut item = 0u32;
                while !done.load(Ordering::Relaxed) {
                    if rings.push(0, (0u16, item)).is_ok() {
                        accepted.push(item);
                    }
                    item += 1;
                }
                accepted
            });
            scope.spawn(|| {
                for item in 0..ITEMS {
                    while rings.push(1, (1, item)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
            let mut next = NextSender::default();
            while polite.len() < ITEMS as usize {
                for (sender, item) in took(&rings, &mut next, BURST) {
                    if sender == 0 { hot.push(item) } else { polite.push(item) }
                }
                std::thread::yield_now();
            }
            done.store(true, Ordering::Relaxed);
            flood.join().unwrap()
        });
        hot.extend(took(&rings, &mut NextSender::default(), usize::MAX).iter().map(|(_, item)| item));
        assert!(polite.iter().copied().eq(0..ITEMS));
        assert_eq!(hot, hot_accepted);
    }

    proptest! {
        #[test]
        fn each_senders_items_come_in_order_and_a_burst_is_a_burst(
            steps in proptest::collection::vec((0u16..4, 0usize..80), 1..60),
        ) {
            let rings = FairRings::new(3, 0);
            let (mut next, mut pushed, mut taken) = (NextSender::default(), [vec![], vec![], vec![]], [vec![], vec![], vec![]]);
            let mut number = 0;
            // Sender 3 stands for the receiver.
            for (who, count) in steps.into_iter().chain([(3, usize::MAX)]) {
                if who == 3 {
                    let waiting = pushed.iter().map(Vec::len).sum::<usize>() - taken.iter().map(Vec::len).sum::<usize>();
                    let burst = took(&rings, &mut next, count);
                    prop_assert_eq!(burst.len(), waiting.min(count));
                    burst.into_iter().for_each(|(sender, item): (u16, u32)| taken[usize::from(sender)].push(item));
                    continue;
                }
                for _ in 0..count {
                    number += 1;
                    if rings.push(who, (who, number)).is_ok() {
                        pushed[usize::from(who)].push(number);
                    }
                }
            }
            prop_assert_eq!(taken, pushed);
        }
    }
}
