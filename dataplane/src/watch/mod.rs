//! What somebody watches of a worker's packets: captures, traces and flows. Nobody watches, nearly always.
//!
//! Enters: watches, made by the manager so that a worker allocates nothing for them; bursts in front of the crypto engine and behind
//! it ([`Watches::before_open`] and its three fellows), frames in front of the path ([`Watches::wants_frame`]). Leaves: observations
//! through the sink. Without a watch each of these costs one branch for a burst.

mod capture;
mod describe;
mod flows;
mod trace;

use arrayvec::ArrayVec;
use causeway_shared::counters::Flow;
use causeway_shared::wire::{ALL_WATCHES, MAX_WATCHES, Observation, SeenRef, Watch, WatchOrder, Way};

use self::capture::Capture;
pub use self::describe::describe;
use self::flows::FlowTable;
#[cfg(test)]
pub(crate) use self::flows::MAX_FLOWS;
pub(crate) use self::trace::{Spy, Trace, Tracer};
use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::path::{Now, Sink, Tables};
use crate::stages::{EspIn, EspOut};

/// A watch with its memory, on its way to a worker and back.
pub struct Watcher {
    id: u32,
    kind: Kind,
}

enum Kind {
    Capture(Capture),
    Trace(Trace),
    Flows(FlowTable),
}

/// Watches as the manager makes them and takes them back: a worker frees nothing.
pub type Watchers = ArrayVec<Box<Watcher>, MAX_WATCHES>;

/// Every watch of a worker.
#[derive(Default)]
pub(crate) struct Watches {
    all: Watchers,
}

/// What a packet's SA says of it.
#[derive(Clone, Copy)]
pub(crate) struct OfSa {
    pub session_id: u64,
    pub inbound_spi: u32,
}

impl Watcher {
    /// Makes the memory of a watch; runs on the manager's thread.
    pub fn new(watch: &Watch) -> Box<Watcher> {
        let kind = match watch.order {
            WatchOrder::Capture(order) => Kind::Capture(Capture::new(watch.id, order)),
            WatchOrder::Trace(order) => Kind::Trace(Trace::new(watch.id, order)),
            WatchOrder::Flows(order) => Kind::Flows(FlowTable::new(order)),
        };
        Box::new(Watcher { id: watch.id, kind })
    }
}

impl Watches {
    /// Whether nobody watches.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Begins a watch; gives back the one with the same number, if there was one.
    ///
    /// # Errors
    /// Gives it back when there are too many.
    pub fn begin(
        &mut self,
        mut watcher: Box<Watcher>,
        now: Now,
    ) -> Result<Option<Box<Watcher>>, Box<Watcher>> {
        match &mut watcher.kind {
            Kind::Capture(capture) => capture.begin(now),
            Kind::Trace(trace) => trace.begin(now),
            Kind::Flows(_) => {}
        }
        if let Some(same) = self.all.iter_mut().find(|other| other.id == watcher.id) {
            return Ok(Some(std::mem::replace(same, watcher)));
        }
        self.all.try_push(watcher).map(|()| None).map_err(|full| full.element())
    }

    /// Ends a watch, or all of them; its flows are reported.
    pub fn end<B>(&mut self, id: u32, sink: &mut impl Sink<B>, counters: &mut Counters) -> Watchers {
        let mut ended = Watchers::new();
        while let Some(place) = self.all.iter().position(|watcher| watcher.id == id || id == ALL_WATCHES) {
            let mut watcher = self.all.swap_remove(place);
            if let Kind::Flows(flows) = &mut watcher.kind {
                flows.report_all(sink, counters);
            }
            ended.push(watcher);
        }
        ended
    }

    /// Bounds of time, and flows that are over or go on long.
    pub fn tick<B>(&mut self, now: Now, sink: &mut impl Sink<B>, counters: &mut Counters) {
        for watcher in &mut self.all {
            match &mut watcher.kind {
                Kind::Capture(capture) => capture.tick(now, sink),
                Kind::Trace(trace) => trace.tick(now, sink),
                Kind::Flows(flows) => flows.tick(now, sink, counters),
            }
        }
    }

    /// An SA goes: what its session's flows have carried is reported while the control plane still knows whose it is.
    pub fn session_ends<B>(&mut self, session_id: u64, sink: &mut impl Sink<B>, counters: &mut Counters) {
        for watcher in &mut self.all {
            if let Kind::Flows(flows) = &mut watcher.kind {
                flows.report_session(session_id, sink, counters);
            }
        }
    }

    /// Traces that may still take packets.
    pub fn traces(&mut self) -> impl Iterator<Item = &mut Trace> {
        self.all.iter_mut().filter_map(|watcher| match &mut watcher.kind {
            Kind::Trace(trace) if trace.is_open() => Some(trace),
            _ => None,
        })
    }

    /// Whether a trace may still take packets.
    #[inline]
    pub fn has_traces(&self) -> bool {
        self.all.iter().any(|watcher| matches!(&watcher.kind, Kind::Trace(trace) if trace.is_open()))
    }

    /// ESP of peers, as it came.
    #[cold]
    #[inline(never)]
    pub fn before_open<B: Buffer>(
        &mut self,
        packets: &[EspIn<B>],
        tables: &Tables,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        for packet in packets {
            let Some(sa) = of_sa(tables, packet.place) else { continue };
            for capture in self.captures(sa.session_id).filter(|capture| capture.order.outer) {
                let mut made = capture::OuterHeader::default();
                let head = capture::outer_header(&packet.outer, &packet.buffer, &mut made);
                capture.take(sa, Way::FromPeer, false, (head, packet.buffer.data()), sink, counters);
            }
        }
    }

    /// The same, opened: a bit for each that was authentic.
    #[cold]
    #[inline(never)]
    pub fn opened<B: Buffer>(
        &mut self,
        packets: &[EspIn<B>],
        opened: u32,
        tables: &Tables,
        now: Now,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        for (bit, packet) in packets.iter().enumerate() {
            if opened.checked_shr(bit as u32).unwrap_or_default() & 1 == 0 {
                continue;
            }
            let (Some(sa), Some(direction)) = (of_sa(tables, packet.place), tables.sas.inbound(packet.place))
            else {
                continue;
            };
            let lengths = (usize::from(direction.iv_len), usize::from(direction.icv_len));
            if let Some(inner) = capture::opened_inner(packet.buffer.data(), lengths) {
                self.inner(sa, Way::FromPeer, inner, now, sink, counters);
            }
        }
    }

    /// Packets to peers, framed but not sealed yet.
    #[cold]
    #[inline(never)]
    pub fn before_seal<B: Buffer>(
        &mut self,
        packets: &[EspOut<B>],
        tables: &Tables,
        now: Now,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        for packet in packets {
            let (Some(sa), Some(direction)) =
                (of_sa(tables, packet.place), tables.sas.outbound(packet.place))
            else {
                continue;
            };
            let start = crate::crypto::ESP_HEADER_LEN + direction.iv_len();
            let end = start + usize::from(packet.inner_len);
            if let Some(inner) = packet.buffer.data().get(start..end) {
                self.inner(sa, Way::ToPeer, inner, now, sink, counters);
            }
        }
    }

    /// The same, sealed: a bit for each that leaves.
    #[cold]
    #[inline(never)]
    pub fn sealed<B: Buffer>(
        &mut self,
        packets: &[EspOut<B>],
        sealed: u32,
        tables: &Tables,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        for (bit, packet) in packets.iter().enumerate() {
            if sealed.checked_shr(bit as u32).unwrap_or_default() & 1 == 0 {
                continue;
            }
            let Some(sa) = of_sa(tables, packet.place) else { continue };
            for capture in self.captures(sa.session_id).filter(|capture| capture.order.outer) {
                capture.take_sealed(sa, packet, tables, sink, counters);
            }
        }
    }

    fn inner<B>(
        &mut self,
        sa: OfSa,
        way: Way,
        inner: &[u8],
        now: Now,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        for watcher in &mut self.all {
            match &mut watcher.kind {
                Kind::Capture(capture) if capture.is_of(sa.session_id) && capture.order.inner => {
                    capture.take(sa, way, true, (&[], inner), sink, counters);
                }
                Kind::Flows(flows) => flows.count(sa.session_id, way, inner, now, sink, counters),
                _ => {}
            }
        }
    }

    fn captures(&mut self, session_id: u64) -> impl Iterator<Item = &mut Capture> {
        self.all.iter_mut().filter_map(move |watcher| match &mut watcher.kind {
            Kind::Capture(capture) if capture.is_of(session_id) => Some(capture),
            _ => None,
        })
    }
}

fn of_sa(tables: &Tables, place: u32) -> Option<OfSa> {
    let inbound_spi = tables.sas.inbound(place).map(|sa| sa.spi()).filter(|spi| *spi != 0)?;
    Some(OfSa { session_id: tables.sas.session_id(place)?, inbound_spi })
}

/// Gives a packet away; counts it if there was no room.
fn give<B>(packet: &SeenRef<'_>, snap_len: u16, sink: &mut impl Sink<B>, counters: &mut Counters) -> bool {
    let given = sink.seen(packet, snap_len).is_ok();
    counters.flow(Flow::ObservationsLost, u64::from(!given));
    given
}

/// As [`give`], for anything else.
fn tell<B>(observation: &Observation, sink: &mut impl Sink<B>, counters: &mut Counters) {
    let told = sink.observe(observation).is_ok();
    counters.flow(Flow::ObservationsLost, u64::from(!told));
}
