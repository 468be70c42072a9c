//! SAs whose figures changed since they were published. With thousands of SAs nearly every packet changes another one's;
//! published a few at a time, an SA that carries several packets meanwhile is published once.
//!
//! Enters: the place of an SA and the direction that carried something. Leaves: places, oldest first. Each direction of
//! an SA waits at most once, so the queue has a bound; what finds no room is published at once.

use std::collections::VecDeque;

use super::table::SaTable;
use super::{inbound, outbound_sa};

/// Marks an entry of the outbound direction; places are far smaller.
const OUTBOUND: u32 = 1 << 31;

/// The queue.
pub(crate) struct Touched {
    queue: VecDeque<u32>,
    capacity: usize,
}

impl Touched {
    /// For a table of so many places.
    pub fn new(places: usize) -> Touched {
        let capacity = 2 * places;
        Touched { queue: VecDeque::with_capacity(capacity), capacity }
    }

    /// The inbound direction of an SA carried a packet.
    #[inline(always)]
    pub fn inbound(&mut self, place: u32, sa: &mut inbound::Inbound) {
        if sa.flags & inbound::TOUCHED == 0 && self.queue.len() < self.capacity {
            sa.flags |= inbound::TOUCHED;
            self.queue.push_back(place);
        }
    }

    /// The outbound direction of an SA carried a packet.
    #[inline(always)]
    pub fn outbound(&mut self, place: u32, sa: &mut outbound_sa::Outbound) {
        if sa.flags & outbound_sa::TOUCHED == 0 && self.queue.len() < self.capacity {
            sa.flags |= outbound_sa::TOUCHED;
            self.queue.push_back(place | OUTBOUND);
        }
    }

    /// The places of the first `count` entries, so that what they will need can be fetched.
    #[inline(always)]
    pub fn first(&self, count: usize) -> impl Iterator<Item = u32> {
        self.queue.iter().take(count).map(|entry| entry & !OUTBOUND)
    }

    /// The place of the oldest entry, which no longer waits.
    #[inline(always)]
    pub fn next(&mut self, sas: &mut SaTable) -> Option<u32> {
        let entry = self.queue.pop_front()?;
        let place = entry & !OUTBOUND;
        if entry & OUTBOUND == 0 {
            if let Some(sa) = sas.inbound_mut(place) {
                sa.flags &= !inbound::TOUCHED;
            }
        } else if let Some(sa) = sas.outbound_mut(place) {
            sa.flags &= !outbound_sa::TOUCHED;
        }
        Some(place)
    }
}
