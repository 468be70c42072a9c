//! Inbound SPIs: which slot of the data plane's SA table a Child SA gets, and under which generation.
//!
//! Enters: requests for an SPI, and SPIs given back. Leaves: SPIs whose low bits are the slot and whose high bits are
//! a generation that starts at random and changes with every use, so that a late packet of an old SA never meets a
//! new one (RFC 4303 §2.1: the receiver chooses the SPI; 0 to 255 are reserved).

use std::collections::VecDeque;
use std::time::Duration;

/// How long a slot rests after its SA was removed: longer than a packet lives in any network.
pub const QUARANTINE: Duration = Duration::from_secs(30);

/// Smallest table: SPIs up to 255 are reserved, and generation 0 is never used.
pub const MIN_CAPACITY: u32 = 256;

/// Largest table: leaves a generation of twelve bits.
pub const MAX_CAPACITY: u32 = 1 << 20;

/// Why there is no SPI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SlotsError {
    /// Every slot is in use or in quarantine.
    #[error("all {0} SA slots are in use or resting; raise dataplane.sa_capacity")]
    Full(u32),
    /// The capacity is no power of two or out of bounds.
    #[error(
        "an SA table of {0} slots is not possible: it must be a power of two from {MIN_CAPACITY} to {MAX_CAPACITY}"
    )]
    BadCapacity(u32),
}

/// The allocator. Time is the driver's monotonic time since its start.
pub struct Slots {
    capacity: u32,
    generations: Vec<Generation>,
    /// Slots below this were used at least once.
    fresh: u32,
    /// Slots that were used once, in the order in which they may be used again, with the time from which they may be used again.
    resting: VecDeque<Resting>,
    used: u32,
}

/// A slot given back. If it has another generation by now, or is in use, it was reserved meanwhile.
struct Resting {
    ready: Duration,
    slot: u32,
    generation: u32,
}

/// Last generation of a slot and whether it is in use.
#[derive(Clone, Copy)]
struct Generation {
    value: u32,
    in_use: bool,
}

impl Slots {
    /// An empty table of `capacity` slots.
    ///
    /// # Errors
    /// When `capacity` is no power of two or out of bounds.
    pub fn new(capacity: u32) -> Result<Slots, SlotsError> {
        if !capacity.is_power_of_two() || !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
            return Err(SlotsError::BadCapacity(capacity));
        }
        Ok(Slots { capacity, generations: Vec::new(), fresh: 0, resting: VecDeque::new(), used: 0 })
    }

    /// Slots of the table.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Slots that hold an SPI which was not given back.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Gives an SPI. `random` starts the generation of a slot that was never used.
    ///
    /// # Errors
    /// When no slot is free.
    pub fn allocate(&mut self, now: Duration, random: u32) -> Result<u32, SlotsError> {
        let slot = self
            .take_rested(now)
            .or_else(|| self.take_fresh(random))
            .ok_or(SlotsError::Full(self.capacity))?;
        let mask = self.generation_mask();
        let entry = self.generations.get_mut(slot as usize).ok_or(SlotsError::Full(self.capacity))?;
        entry.value = next_generation(entry.value, mask);
        entry.in_use = true;
        self.used += 1;
        Ok((entry.value << self.slot_bits()) | slot)
    }

    /// Takes an SPI that an earlier run gave. `random` starts the generations of slots that this passes over. Returns whether
    /// it is an SPI of this table and free.
    pub fn reserve(&mut self, spi: u32, mut random: impl FnMut() -> u32) -> bool {
        let slot = spi & (self.capacity - 1);
        let value = spi >> self.slot_bits();
        if value == 0 || self.generations.get(slot as usize).is_some_and(|entry| entry.in_use) {
            return false;
        }
        while self.fresh <= slot {
            let generation = random() & self.generation_mask();
            self.resting.push_front(Resting { ready: Duration::ZERO, slot: self.fresh, generation });
            self.generations.push(Generation { value: generation, in_use: false });
            self.fresh += 1;
        }
        if let Some(entry) = self.generations.get_mut(slot as usize) {
            *entry = Generation { value, in_use: true };
            self.used += 1;
        }
        true
    }

    /// Takes an SPI back; its slot rests for [`QUARANTINE`]. Returns whether it was in use.
    pub fn release(&mut self, now: Duration, spi: u32) -> bool {
        let slot = spi & (self.capacity - 1);
        let generation = spi >> self.slot_bits();
        let Some(entry) = self.generations.get_mut(slot as usize) else { return false };
        if !entry.in_use || entry.value != generation {
            return false;
        }
        entry.in_use = false;
        self.used -= 1;
        self.resting.push_back(Resting { ready: now.saturating_add(QUARANTINE), slot, generation });
        true
    }

    fn take_rested(&mut self, now: Duration) -> Option<u32> {
        loop {
            let Resting { ready, slot, generation } = *self.resting.front()?;
            if now < ready {
                return None;
            }
            self.resting.pop_front();
            let rested = |entry: &&Generation| !entry.in_use && entry.value == generation;
            if self.generations.get(slot as usize).filter(rested).is_some() {
                return Some(slot);
            }
        }
    }

    fn take_fresh(&mut self, random: u32) -> Option<u32> {
        if self.fresh >= self.capacity {
            return None;
        }
        let slot = self.fresh;
        self.fresh += 1;
        self.generations.push(Generation { value: random & self.generation_mask(), in_use: false });
        Some(slot)
    }

    fn slot_bits(&self) -> u32 {
        self.capacity.trailing_zeros()
    }

    fn generation_mask(&self) -> u32 {
        u32::MAX >> self.slot_bits()
    }
}

/// Generation 0 is left out, so that no SPI is below [`MIN_CAPACITY`].
fn next_generation(value: u32, mask: u32) -> u32 {
    match value.wrapping_add(1) & mask {
        0 => 1,
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use causeway_shared::sa::{MIN_SPI, slot_of_spi};
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_slot_rests_and_comes_back_with_another_generation() {
        let mut slots = Slots::new(256).unwrap();
        let spis: Vec<u32> = (0..256).map(|_| slots.allocate(at(0), 0xffff_ffff).unwrap()).collect();
        assert!(spis.iter().all(|spi| *spi >= MIN_SPI));
        assert_eq!(slots.allocate(at(0), 0), Err(SlotsError::Full(256)));
        assert!(slots.release(at(1), spis[7]));
        assert!(!slots.release(at(1), spis[7]), "given back twice");
        assert_eq!(slots.allocate(at(30), 0), Err(SlotsError::Full(256)), "still resting");
        let again = slots.allocate(at(31), 0).unwrap();
        assert_eq!(slot_of_spi(again, 256), slot_of_spi(spis[7], 256));
        assert_ne!(again, spis[7]);
        assert!(!slots.release(at(31), spis[7]), "the old SPI does not name the new SA");
    }

    #[test]
    fn spis_of_an_earlier_run_are_taken_once_and_leave_every_other_slot_free() {
        let mut slots = Slots::new(256).unwrap();
        let reserved = [0x5_03, 0x7_80, 0x9_10];
        for spi in reserved {
            assert!(slots.reserve(spi, || 0xffff_fffe));
            assert!(!slots.reserve(spi, || 0) && !slots.reserve(spi ^ 0x1_00, || 0), "its slot is taken");
        }
        assert!(!slots.reserve(0x44, || 0), "no generation is 0");
        let others: HashSet<u32> = (0..253).map(|_| slots.allocate(at(0), 0).unwrap() & 0xff).collect();
        assert_eq!(others.len(), 253);
        assert!(reserved.iter().all(|spi| !others.contains(&(spi & 0xff))));
        assert_eq!((slots.allocate(at(0), 0), slots.used()), (Err(SlotsError::Full(256)), 256));
        assert!(slots.release(at(0), 0x7_80));
        assert_eq!(slots.allocate(at(30), 0), Ok(0x8_80));
        assert!(
            slots.release(at(30), 0x8_80) && slots.reserve(0x3_80, || 0) && slots.release(at(40), 0x3_80)
        );
        assert_eq!(slots.allocate(at(69), 0), Err(SlotsError::Full(256)), "its first rest counts no more");
        assert_eq!(slots.allocate(at(70), 0), Ok(0x4_80));
    }

    #[test]
    fn impossible_tables_are_refused() {
        for capacity in [0, 1, 128, 300, 1 << 21] {
            assert_eq!(Slots::new(capacity).err(), Some(SlotsError::BadCapacity(capacity)));
        }
    }

    proptest! {
        /// Against a naive model: no SPI is in use twice, no slot is used twice, none comes back before its rest, no
        /// SPI of a slot is repeated while its generation has not gone round.
        #[test]
        fn never_two_owners(bits in 8u32..=10, random in any::<u32>(), steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0u64..20), 1..2000)) {
            let capacity = 1 << bits;
            let mut slots = Slots::new(capacity).unwrap();
            let mut held: Vec<u32> = Vec::new();
            let mut freed_at: HashMap<u32, Duration> = HashMap::new();
            let mut ever: HashSet<u32> = HashSet::new();
            let mut now = Duration::ZERO;
            for (free, which, secs) in steps {
                now += at(secs);
                if free && !held.is_empty() {
                    let spi = held.swap_remove(which.index(held.len()));
                    prop_assert!(slots.release(now, spi));
                    freed_at.insert(slot_of_spi(spi, capacity), now);
                } else if let Ok(spi) = slots.allocate(now, random) {
                    let slot = slot_of_spi(spi, capacity);
                    prop_assert!(spi >= MIN_SPI);
                    prop_assert!(held.iter().all(|other| slot_of_spi(*other, capacity) != slot));
                    prop_assert!(ever.insert(spi), "an SPI was given twice");
                    if let Some(when) = freed_at.get(&slot) {
                        prop_assert!(now >= *when + QUARANTINE);
                    }
                    held.push(spi);
                }
                prop_assert_eq!(slots.used() as usize, held.len());
            }
        }
    }
}
