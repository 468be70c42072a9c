//! Statistics of each SA, readable by the control plane without a command: one cache line per slot of the SA table, and
//! apart from it, because good packets never touch them, two counts of packets refused.
//!
//! Enters: what the owner worker counts. Leaves: a snapshot that belongs to one SPI for certain, because the slot's tag is
//! taken away before the fields of a new SA are written and comes back after them. Within one SA the fields are read one by
//! one: each is right, together they may lie a few packets apart.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use causeway_shared::sa::slot_of_spi;

use crate::atom::Atom;
use crate::mapping::Words;

/// Words of one SA's statistics: a cache line.
pub(crate) const STATS_WORDS: usize = 8;
/// Words of one SA's refused packets.
pub(crate) const DROP_WORDS: usize = 2;

const TAG: usize = 0;
const IN_PACKETS: usize = 1;
const IN_BYTES: usize = 2;
const OUT_PACKETS: usize = 3;
const OUT_BYTES: usize = 4;
const LAST_INBOUND: usize = 5;
const OUTBOUND_RESERVED: usize = 6;
const HIGHEST_INBOUND: usize = 7;

const IN_DROPS: usize = 0;
const OUT_DROPS: usize = 1;

/// What is known of one SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SaStats {
    /// The SA; 0 is no SA.
    pub inbound_spi: u32,
    /// ESP packets accepted.
    pub in_packets: u64,
    /// Inner octets of them.
    pub in_bytes: u64,
    /// ESP packets sealed.
    pub out_packets: u64,
    /// Inner octets of them.
    pub out_bytes: u64,
    /// When the last inbound packet was accepted, CLOCK_MONOTONIC nanoseconds; 0 for never.
    pub last_inbound_ns: u64,
    /// Every outbound sequence number below this may have been used. Written before the first of its block is used.
    pub outbound_reserved_end: u64,
    /// Highest inbound sequence number accepted.
    pub highest_inbound_sequence: u64,
    /// ESP packets for this SA that were refused: replayed, forged, malformed, outside its selectors, expired.
    pub in_drops: u64,
    /// Packets to its client that could not be sealed or did not fit.
    pub out_drops: u64,
}

/// What a worker has counted of one SA since it was installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SaTotals {
    /// ESP packets accepted.
    pub in_packets: u64,
    /// Inner octets of them.
    pub in_bytes: u64,
    /// ESP packets sealed.
    pub out_packets: u64,
    /// Inner octets of them.
    pub out_bytes: u64,
    /// Highest inbound sequence number accepted.
    pub highest_inbound_sequence: u64,
}

/// The data plane's view. Each slot is written by the worker that owns the SA and by nobody else.
#[derive(Clone)]
pub struct StatsTable {
    words: Words,
    drops: Words,
    capacity: u32,
}

impl StatsTable {
    pub(crate) fn new(words: Words, drops: Words, capacity: u32) -> Self {
        StatsTable { words, drops, capacity }
    }

    /// Slots, a power of two.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The statistics of the slot that `inbound_spi` names; its tag may be another SA's until [`SaStatsSlot::begin`].
    pub fn slot(&self, inbound_spi: u32) -> SaStatsSlot<'_> {
        SaStatsSlot {
            words: slot_words::<STATS_WORDS>(&self.words, self.capacity, inbound_spi),
            drops: slot_words::<DROP_WORDS>(&self.drops, self.capacity, inbound_spi),
        }
    }

    /// A reader, as the control plane has it.
    pub fn reader(&self) -> StatsReader {
        StatsReader { words: self.words.clone(), drops: self.drops.clone(), capacity: self.capacity }
    }
}

/// One SA's statistics, for the worker that owns it. All stores are Relaxed except where said: single figures that nothing
/// is read on the strength of.
pub struct SaStatsSlot<'a> {
    words: &'a [AtomicU64],
    drops: &'a [AtomicU64],
}

impl SaStatsSlot<'_> {
    /// Where [`SaStatsSlot::publish`] writes, one cache line, so that it can be fetched in time.
    pub fn line(&self) -> &[AtomicU64] {
        self.words
    }

    /// Gives the slot to a new SA. What the last one counted is gone.
    pub fn begin(&self, initial: &SaStats) {
        write_fresh_stats(self.words, self.drops, initial);
    }

    /// Counts accepted inbound packets; `now_ns` is CLOCK_MONOTONIC.
    pub fn count_inbound(&self, packets: u64, bytes: u64, now_ns: u64) {
        add(self.words, IN_PACKETS, packets);
        add(self.words, IN_BYTES, bytes);
        self.set(LAST_INBOUND, now_ns);
    }

    /// Counts sealed outbound packets.
    pub fn count_outbound(&self, packets: u64, bytes: u64) {
        add(self.words, OUT_PACKETS, packets);
        add(self.words, OUT_BYTES, bytes);
    }

    /// Counts ESP packets for the SA that were refused.
    pub fn count_inbound_drops(&self, packets: u64) {
        add(self.drops, IN_DROPS, packets);
    }

    /// Counts packets to the SA's client that were refused.
    pub fn count_outbound_drops(&self, packets: u64) {
        add(self.drops, OUT_DROPS, packets);
    }

    /// Says that outbound sequence numbers below `end` may be used from now on. Call it before using the first of them:
    /// once this returns, the number survives the death of this process.
    pub fn reserve_outbound(&self, end: u64) {
        self.set(OUTBOUND_RESERVED, end);
        // The store is done before any packet of the block can leave; once per block, so its price does not matter.
        std::sync::atomic::fence(SeqCst);
    }

    /// Publishes the highest inbound sequence number accepted.
    pub fn set_highest_inbound(&self, sequence: u64) {
        self.set(HIGHEST_INBOUND, sequence);
    }

    /// Publishes the totals of an SA whose worker counts them itself. `last_inbound_ns` changes only if packets came in
    /// since; `now_ns` is CLOCK_MONOTONIC.
    pub fn publish(&self, totals: &SaTotals, now_ns: u64) {
        if self.get(IN_PACKETS) != totals.in_packets {
            self.set(LAST_INBOUND, now_ns);
        }
        self.set(IN_PACKETS, totals.in_packets);
        self.set(IN_BYTES, totals.in_bytes);
        self.set(OUT_PACKETS, totals.out_packets);
        self.set(OUT_BYTES, totals.out_bytes);
        self.set(HIGHEST_INBOUND, totals.highest_inbound_sequence);
    }

    fn get(&self, field: usize) -> u64 {
        self.words.get(field).map_or(0, |word| word.load(Relaxed))
    }

    fn set(&self, field: usize, value: u64) {
        if let Some(word) = self.words.get(field) {
            word.store(value, Relaxed);
        }
    }
}

/// The control plane's view. It keeps the mapping alive: the figures stay readable after the data plane has died.
#[derive(Clone)]
pub struct StatsReader {
    words: Words,
    drops: Words,
    capacity: u32,
}

impl StatsReader {
    pub(crate) fn new(words: Words, drops: Words, capacity: u32) -> Self {
        StatsReader { words, drops, capacity }
    }

    /// What is known of this SA; `None` when its slot belongs to another one or to none.
    pub fn read(&self, inbound_spi: u32) -> Option<SaStats> {
        let words = slot_words::<STATS_WORDS>(&self.words, self.capacity, inbound_spi);
        let drops = slot_words::<DROP_WORDS>(&self.drops, self.capacity, inbound_spi);
        read_stats(words, drops).filter(|stats| stats.inbound_spi == inbound_spi)
    }

    /// Every SA that was installed and whose slot no other one has taken since; it may be gone by now.
    pub fn spis(&self) -> impl Iterator<Item = u32> + '_ {
        let slots =
            (0..self.capacity).map(|slot| slot_words::<STATS_WORDS>(&self.words, self.capacity, slot));
        // Relaxed: nothing is read on the strength of a tag here.
        let tags = slots.filter_map(|words| u32::try_from(words.get(TAG)?.load(Relaxed)).ok());
        tags.filter(|spi| *spi != 0)
    }
}

fn slot_words<const EACH: usize>(words: &Words, capacity: u32, inbound_spi: u32) -> &[AtomicU64] {
    let start = slot_of_spi(inbound_spi, capacity) as usize * EACH;
    words.get(start..start + EACH).unwrap_or(&[])
}

fn add(words: &[AtomicU64], field: usize, value: u64) {
    if let Some(word) = words.get(field) {
        // One writer: a plain load and store instead of a locked addition.
        word.store(word.load(Relaxed).wrapping_add(value), Relaxed);
    }
}

/// Writes the statistics of a new SA into a slot that readers may be reading.
pub fn write_fresh_stats<A: Atom>(words: &[A], drops: &[A], stats: &SaStats) {
    let [tag, fields @ ..] = words else { return };
    tag.store(0, Relaxed);
    // Release fence: a reader that sees a new field also sees that the tag is gone.
    A::fence(Release);
    let values = [
        stats.in_packets,
        stats.in_bytes,
        stats.out_packets,
        stats.out_bytes,
        stats.last_inbound_ns,
        stats.outbound_reserved_end,
        stats.highest_inbound_sequence,
    ];
    let refused = [stats.in_drops, stats.out_drops];
    for (word, value) in fields.iter().zip(values).chain(drops.iter().zip(refused)) {
        word.store(value, Relaxed);
    }
    // Release: a reader that sees the new tag sees the new fields.
    tag.store(u64::from(stats.inbound_spi), Release);
}

/// Reads a slot; `None` when it belongs to no SA or changes hands right now.
pub fn read_stats<A: Atom>(words: &[A], drops: &[A]) -> Option<SaStats> {
    let tag = words.get(TAG)?;
    // Acquire: the fields are at least as new as the tag.
    let inbound_spi = tag.load(Acquire);
    let value = |words: &[A], place: usize| words.get(place).map_or(0, |word| word.load(Relaxed));
    let field = |place| value(words, place);
    let stats = SaStats {
        inbound_spi: u32::try_from(inbound_spi).ok()?,
        in_packets: field(IN_PACKETS),
        in_bytes: field(IN_BYTES),
        out_packets: field(OUT_PACKETS),
        out_bytes: field(OUT_BYTES),
        last_inbound_ns: field(LAST_INBOUND),
        outbound_reserved_end: field(OUTBOUND_RESERVED),
        highest_inbound_sequence: field(HIGHEST_INBOUND),
        in_drops: value(drops, IN_DROPS),
        out_drops: value(drops, OUT_DROPS),
    };
    // Acquire fence: if any field came from the next SA, the tag read below is no longer the one above.
    A::fence(Acquire);
    (inbound_spi != 0 && tag.load(Relaxed) == inbound_spi).then_some(stats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{SEGMENT_ALIGN, create};

    fn table() -> (std::os::fd::OwnedFd, StatsTable) {
        let (memfd, words) = create(SEGMENT_ALIGN).unwrap();
        let part = |start, each| words.part(start, 16 * each).unwrap();
        (memfd, StatsTable::new(part(0, STATS_WORDS), part(16 * STATS_WORDS, DROP_WORDS), 16))
    }

    #[test]
    fn totals_replace_what_stood_there_and_date_the_last_inbound_packet() {
        let (_memfd, table) = table();
        table.slot(0x1003).begin(&SaStats { inbound_spi: 0x1003, ..SaStats::default() });
        let totals = SaTotals {
            in_packets: 2,
            in_bytes: 90,
            out_packets: 1,
            out_bytes: 7,
            highest_inbound_sequence: 5,
        };
        table.slot(3).publish(&totals, 100);
        table.slot(3).publish(&SaTotals { out_packets: 2, ..totals }, 200);
        let stats = table.reader().read(0x1003).unwrap();
        assert_eq!((stats.in_packets, stats.out_packets, stats.highest_inbound_sequence), (2, 2, 5));
        assert_eq!(stats.last_inbound_ns, 100);
    }

    #[test]
    fn a_slot_belongs_to_one_spi_and_counts_for_it() {
        let (_memfd, table) = table();
        let reader = table.reader();
        let (first, second) = (0x1003, 0x2003);
        assert_eq!(reader.read(first), None);

        table.slot(first).begin(&SaStats { inbound_spi: first, ..SaStats::default() });
        table.slot(first).reserve_outbound(4096);
        table.slot(first).count_inbound(2, 300, 77);
        table.slot(first).count_inbound(1, 50, 78);
        table.slot(first).count_outbound(1, 9);
        table.slot(first).set_highest_inbound(12);
        table.slot(first).count_inbound_drops(2);
        table.slot(first).count_inbound_drops(1);
        table.slot(first).count_outbound_drops(7);
        table.slot(first + 1).count_outbound_drops(100);
        let expected = SaStats {
            inbound_spi: first,
            in_packets: 3,
            in_bytes: 350,
            out_packets: 1,
            out_bytes: 9,
            last_inbound_ns: 78,
            outbound_reserved_end: 4096,
            highest_inbound_sequence: 12,
            in_drops: 3,
            out_drops: 7,
        };
        assert_eq!(reader.read(first), Some(expected));
        assert_eq!(reader.read(second), None, "same slot, other generation");
        assert_eq!(reader.spis().collect::<Vec<_>>(), [first]);

        table.slot(second).begin(&SaStats { inbound_spi: second, ..SaStats::default() });
        assert_eq!(reader.read(first), None);
        let fresh = SaStats { inbound_spi: second, ..SaStats::default() };
        assert_eq!(reader.read(second), Some(fresh), "nothing of the SA before is left");
    }
}
