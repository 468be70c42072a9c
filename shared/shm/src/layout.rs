//! Where everything lies in the segment, computed alike by both sides from two numbers: workers and SA capacity.
//!
//! Enters: the sizes. Leaves: word offsets, and a hash over everything that must agree for them to mean the same.
//!
//! ```text
//! header | next command id | control armed | manager armed      one 128-octet line each
//! ports × [link | length, description]
//! (workers + 1) × [heartbeat line | counters]                    the last block is the manager's
//! SA capacity × 64 octets of statistics | SA capacity × 16 octets of drops
//! commands | datagrams to send | (workers + 1) × events | workers × punted datagrams | workers × observations
//! ```

use causeway_shared::api::Port;
use causeway_shared::counters::{COUNTERS, Drop, Flow};
use causeway_shared::sa::EspSuite;
use causeway_shared::wire::{Command, Datagram, Event, Observation, SlotMessage};

use crate::error::CreateError;
use crate::mapping::SEGMENT_ALIGN;
use crate::ports::PORT_WORDS;
use crate::ring::Geometry;
use crate::stats::{DROP_WORDS, STATS_WORDS};

/// Slots of the command ring.
pub const COMMAND_RING_SLOTS: usize = 1024;
/// Slots of the ring of datagrams to send.
pub const SEND_RING_SLOTS: usize = 256;
/// Slots of each event ring.
pub const EVENT_RING_SLOTS: usize = 1024;
/// Slots of each ring of punted datagrams.
pub const PUNT_RING_SLOTS: usize = 256;
/// Slots of each ring of observations.
pub const OBSERVATION_RING_SLOTS: usize = 512;
/// Most workers a segment serves.
pub const MAX_WORKERS: u32 = 128;
/// Most SAs a segment has statistics for.
pub const MAX_SA_CAPACITY: u32 = 1 << 21;
/// Most ports a segment describes: as many as can be configured.
pub const MAX_PORTS: usize = causeway_shared::config::MAX_PORTS;
/// Octets of a version text; longer ones are cut.
pub const VERSION_BYTES: usize = 64;

/// First word of every segment and every hello.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"CAUSEWAY");

/// Words of a line that one side writes and the other polls: two cache lines, because prefetchers fetch pairs.
const LINE_WORDS: usize = 16;
const COUNTER_WORDS: usize = COUNTERS.next_multiple_of(LINE_WORDS);

pub(crate) const HEADER: Span = Span { start: 0, len: LINE_WORDS };
pub(crate) const NEXT_COMMAND_ID: Span = Span { start: LINE_WORDS, len: 1 };
pub(crate) const CONTROL_ARMED: Span = Span { start: 2 * LINE_WORDS, len: 1 };
pub(crate) const MANAGER_ARMED: Span = Span { start: 3 * LINE_WORDS, len: 1 };
pub(crate) const PORTS: Span = Span { start: 4 * LINE_WORDS, len: MAX_PORTS * PORT_WORDS };
const BLOCKS_START: usize = PORTS.start + PORTS.len;

pub(crate) const COMMAND_RING: Geometry = geometry::<Command>(COMMAND_RING_SLOTS);
pub(crate) const SEND_RING: Geometry = geometry::<Datagram>(SEND_RING_SLOTS);
pub(crate) const EVENT_RING: Geometry = geometry::<Event>(EVENT_RING_SLOTS);
pub(crate) const PUNT_RING: Geometry = geometry::<Datagram>(PUNT_RING_SLOTS);
pub(crate) const OBSERVATION_RING: Geometry = geometry::<Observation>(OBSERVATION_RING_SLOTS);

const fn geometry<M: SlotMessage>(slots: usize) -> Geometry {
    Geometry { slots, slot_bytes: M::SLOT_BYTES, index_stride: LINE_WORDS }
}

/// A run of words in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// The layout of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) workers: u32,
    pub(crate) sa_capacity: u32,
}

impl Layout {
    /// Checks the sizes: whatever passes here, every offset below fits a `usize`.
    pub(crate) fn new(workers: u32, sa_capacity: u32) -> Result<Layout, CreateError> {
        let out_of_range = |what, value: u32, allowed| {
            Err(CreateError::OutOfRange { what, value: u64::from(value), allowed })
        };
        if !(1..=MAX_WORKERS).contains(&workers) {
            return out_of_range("the number of workers", workers, "1 to 128");
        }
        if !sa_capacity.is_power_of_two() || sa_capacity > MAX_SA_CAPACITY {
            return out_of_range("the SA capacity", sa_capacity, "powers of two up to 2097152");
        }
        Ok(Layout { workers, sa_capacity })
    }

    /// Blocks, event rings: one per worker, and the manager's behind them.
    pub(crate) fn sources(&self) -> usize {
        self.workers as usize + 1
    }

    pub(crate) fn heartbeat(&self, source: usize) -> Span {
        Span { start: BLOCKS_START + source * (LINE_WORDS + COUNTER_WORDS), len: 2 }
    }

    pub(crate) fn counters(&self, source: usize) -> Span {
        Span { start: self.heartbeat(source).start + LINE_WORDS, len: COUNTERS }
    }

    pub(crate) fn stats(&self) -> Span {
        Span { start: self.heartbeat(self.sources()).start, len: self.sa_capacity as usize * STATS_WORDS }
    }

    pub(crate) fn sa_drops(&self) -> Span {
        let before = self.stats();
        let start = (before.start + before.len).next_multiple_of(LINE_WORDS);
        Span { start, len: self.sa_capacity as usize * DROP_WORDS }
    }

    pub(crate) fn commands(&self) -> Span {
        let before = self.sa_drops();
        Span { start: (before.start + before.len).next_multiple_of(LINE_WORDS), len: COMMAND_RING.words() }
    }

    pub(crate) fn send_queue(&self) -> Span {
        let before = self.commands();
        Span { start: before.start + before.len, len: SEND_RING.words() }
    }

    pub(crate) fn events(&self, source: usize) -> Span {
        let before = self.send_queue();
        let len = EVENT_RING.words();
        Span { start: before.start + before.len + source * len, len }
    }

    pub(crate) fn punts(&self, worker: usize) -> Span {
        let len = PUNT_RING.words();
        Span { start: self.events(self.sources()).start + worker * len, len }
    }

    pub(crate) fn observations(&self, worker: usize) -> Span {
        let len = OBSERVATION_RING.words();
        Span { start: self.punts(self.workers as usize).start + worker * len, len }
    }

    /// Octets of the segment.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.observations(self.workers as usize).start;
        (words * size_of::<u64>()).next_multiple_of(SEGMENT_ALIGN)
    }
}

/// A number that differs between two programs that would read the segment differently: FNV-1a over message encodings, slot
/// and ring sizes, and the counters' names in their order.
pub fn layout_hash() -> u64 {
    let rings = [
        (Command::LAYOUT, COMMAND_RING),
        (Datagram::LAYOUT, SEND_RING),
        (Event::LAYOUT, EVENT_RING),
        (Datagram::LAYOUT, PUNT_RING),
        (Observation::LAYOUT, OBSERVATION_RING),
    ];
    let mut text = format!(
        "segment-4 {LINE_WORDS} {STATS_WORDS} {DROP_WORDS}; {} {MAX_PORTS} {PORT_WORDS}",
        Port::LAYOUT
    );
    for (name, ring) in rings {
        text.push_str(&format!("; {name} {} {} {}", ring.slots, ring.slot_bytes, ring.index_stride));
    }
    let counters = Flow::ALL.iter().map(|flow| flow.name()).chain(Drop::ALL.iter().map(|drop| drop.name()));
    // A data plane without one of the suites could not install what the control plane has negotiated.
    let suites = EspSuite::ALL.iter().map(|suite| suite.name());
    for name in counters.chain(suites) {
        text.push_str("; ");
        text.push_str(name);
    }
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_overlap_inside_the_segment() {
        for (workers, sa_capacity) in [(1, 1), (3, 8), (MAX_WORKERS, MAX_SA_CAPACITY)] {
            let layout = Layout::new(workers, sa_capacity).unwrap();
            let mut spans = vec![HEADER, NEXT_COMMAND_ID, CONTROL_ARMED, MANAGER_ARMED, PORTS];
            for source in 0..layout.sources() {
                spans.extend([layout.heartbeat(source), layout.counters(source)]);
            }
            spans.extend([layout.stats(), layout.sa_drops(), layout.commands(), layout.send_queue()]);
            spans.extend((0..layout.sources()).map(|source| layout.events(source)));
            spans.extend((0..workers as usize).map(|worker| layout.punts(worker)));
            spans.extend((0..workers as usize).map(|worker| layout.observations(worker)));
            for pair in spans.windows(2) {
                assert!(pair[0].start + pair[0].len <= pair[1].start, "{pair:?}");
                assert_eq!(pair[1].start % LINE_WORDS, 0, "{pair:?}");
            }
            let last = spans.last().unwrap();
            assert!((last.start + last.len) * size_of::<u64>() <= layout.bytes());
        }
    }

    #[test]
    fn sizes_outside_their_bounds_are_refused() {
        for (workers, sa_capacity) in
            [(0, 8), (MAX_WORKERS + 1, 8), (1, 0), (1, 12), (1, MAX_SA_CAPACITY * 2)]
        {
            assert!(Layout::new(workers, sa_capacity).is_err(), "{workers} {sa_capacity}");
        }
    }
}
