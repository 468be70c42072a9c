//! Packets of the data plane under observation: captures, traces, flows for export.
//!
//! Enters: orders of the API, on its thread; observations and the data plane's coming and going, from the link. Leaves: watches for the
//! link to tell the data plane; pcapng files and traced ways, from memory. Captured packets are users' plain text: they are kept in
//! memory, bounded, and never on disk.

pub mod pcapng;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_shared::api::{
    Capture, CaptureSide, DEFAULT_CAPTURE_OCTETS, DEFAULT_CAPTURE_PACKETS, DEFAULT_TRACE_PACKETS,
    DEFAULT_WATCH_SECS, MAX_CAPTURE_OCTETS, MAX_CAPTURE_PACKETS, MAX_CAPTURES, MAX_TRACE_PACKETS, MAX_TRACES,
    MAX_WATCH_SECS, NewCapture, NewTrace, Trace, TracedStage, TracedWay, WatchState,
};
use causeway_shared::wire::{
    ALL_WATCHES, Action, CaptureOrder, MAX_SEEN, MAX_WATCHES, Observation, SeenPacket, TraceFilter,
    TraceOrder, TracedPacket, Watch, WatchOrder,
};
use tokio::sync::Notify;

use self::pcapng::{FileTime, Pcapng};

/// Fewest octets kept of a captured packet: all of its headers.
pub const MIN_SNAP_LEN: u16 = 64;
/// How long after its time a watch may take to say that it has ended, until it is called interrupted.
const GRACE: Duration = Duration::from_secs(5);

// The data plane has room for all that may run, flows included.
const _: () = assert!(MAX_CAPTURES + MAX_TRACES < MAX_WATCHES);

/// Why something is not watched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WatchError {
    /// A value is out of range.
    #[error("`{member}` must be from {least} to {most}.")]
    Range {
        /// The member of the request.
        member: &'static str,
        /// Smallest value.
        least: u64,
        /// Largest value.
        most: u64,
    },
    /// There are as many as may be.
    #[error("There are {0} already; remove one that is over.")]
    Full(usize),
    /// No data plane is attached.
    #[error("No data plane is attached.")]
    NoDataPlane,
}

/// What is watched. One desk for the whole control plane.
#[derive(Default)]
pub struct WatchDesk {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    attached: bool,
    last_id: u32,
    captures: BTreeMap<u32, HeldCapture>,
    traces: BTreeMap<u32, HeldTrace>,
    orders: VecDeque<Action>,
}

struct HeldCapture {
    session: String,
    side: CaptureSide,
    order: CaptureOrder,
    state: WatchState,
    began: Duration,
    file: Pcapng,
}

struct HeldTrace {
    order: TraceOrder,
    state: WatchState,
    began: Duration,
    packets: Vec<TracedWay>,
}

impl WatchDesk {
    /// Begins to capture packets of a session, which the caller has found.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn capture(&self, now: FileTime, session_id: u64, new: &NewCapture) -> Result<Capture, WatchError> {
        let order = CaptureOrder {
            session_id,
            outer: new.side != CaptureSide::Inner,
            inner: new.side != CaptureSide::Outer,
            snap_len: in_range("snap_len", new.snap_len, MAX_SEEN as u16, (MIN_SNAP_LEN, MAX_SEEN as u16))?,
            max_packets: in_range("packets", new.packets, DEFAULT_CAPTURE_PACKETS, (1, MAX_CAPTURE_PACKETS))?,
            max_octets: in_range("octets", new.octets, DEFAULT_CAPTURE_OCTETS, (1, MAX_CAPTURE_OCTETS))?,
            max_ms: 1000 * in_range("secs", new.secs, DEFAULT_WATCH_SECS, (1, MAX_WATCH_SECS))?,
        };
        let mut inner = self.lock();
        if inner.captures.len() >= MAX_CAPTURES {
            return Err(WatchError::Full(MAX_CAPTURES));
        }
        let id = inner.begin(WatchOrder::Capture(order))?;
        let held = HeldCapture {
            session: new.session.clone(),
            side: new.side,
            order,
            state: WatchState::Running,
            began: now.monotonic,
            file: Pcapng::new(now, order.snap_len),
        };
        let shown = held.shown(id, now.monotonic);
        inner.captures.insert(id, held);
        self.changed.notify_one();
        Ok(shown)
    }

    /// Begins to trace packets.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub fn trace(&self, now: Duration, filter: TraceFilter, new: &NewTrace) -> Result<Trace, WatchError> {
        let order = TraceOrder {
            filter,
            packets: in_range("packets", new.packets, DEFAULT_TRACE_PACKETS, (1, MAX_TRACE_PACKETS))?,
            max_ms: 1000 * in_range("secs", new.secs, DEFAULT_WATCH_SECS, (1, MAX_WATCH_SECS))?,
        };
        let mut inner = self.lock();
        if inner.traces.len() >= MAX_TRACES {
            return Err(WatchError::Full(MAX_TRACES));
        }
        let id = inner.begin(WatchOrder::Trace(order))?;
        let held = HeldTrace { order, state: WatchState::Running, began: now, packets: Vec::new() };
        let shown = held.shown(id);
        inner.traces.insert(id, held);
        self.changed.notify_one();
        Ok(shown)
    }

    /// Every capture.
    pub fn captures(&self, now: Duration) -> Vec<Capture> {
        let mut inner = self.lock();
        inner.give_up_late(now);
        inner.captures.iter().map(|(id, held)| held.shown(*id, now)).collect()
    }

    /// One capture's packets so far, as a pcapng file.
    pub fn file(&self, id: u32) -> Option<Vec<u8>> {
        self.lock().captures.get(&id).map(|held| held.file.octets().to_vec())
    }

    /// A trace.
    pub fn traced(&self, now: Duration, id: u32) -> Option<Trace> {
        let mut inner = self.lock();
        inner.give_up_late(now);
        inner.traces.get(&id).map(|held| held.shown(id))
    }

    /// Ends a capture and forgets its packets. Returns whether there was one.
    pub fn remove_capture(&self, id: u32) -> bool {
        let mut inner = self.lock();
        let removed = inner.captures.remove(&id).is_some();
        inner.unwatch(removed, id);
        self.changed.notify_one();
        removed
    }

    /// Ends a trace and forgets it. Returns whether there was one.
    pub fn remove_trace(&self, id: u32) -> bool {
        let mut inner = self.lock();
        let removed = inner.traces.remove(&id).is_some();
        inner.unwatch(removed, id);
        self.changed.notify_one();
        removed
    }

    /// A data plane is there, perhaps with watches of a control plane that is gone: what it is to be told.
    pub(crate) fn attached(&self) -> Vec<Action> {
        let mut inner = self.lock();
        inner.interrupt();
        inner.attached = true;
        vec![Action::Unwatch { id: ALL_WATCHES }]
    }

    /// The data plane is gone, and what it watched.
    pub(crate) fn detached(&self) {
        let mut inner = self.lock();
        inner.attached = false;
        inner.interrupt();
    }

    /// What the data plane is to be told.
    pub(crate) fn orders(&self) -> Vec<Action> {
        self.lock().orders.drain(..).collect()
    }

    /// Waits until there may be orders.
    pub(crate) async fn has_orders(&self) {
        self.changed.notified().await;
    }

    /// Takes what a worker has seen.
    pub(crate) fn observe(&self, worker: usize, observation: Observation) {
        let mut inner = self.lock();
        let over = match observation {
            Observation::Packet(packet) => inner.packet(&packet),
            Observation::Trace(traced) => inner.traced(worker, traced),
            Observation::Ended { watch } => inner.ended(watch),
            Observation::Flow(_) => None,
        };
        if let Some(id) = over {
            inner.unwatch(true, id);
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere cannot have left half a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn begin(&mut self, order: WatchOrder) -> Result<u32, WatchError> {
        if !self.attached {
            return Err(WatchError::NoDataPlane);
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.orders.push_back(Action::Watch(Watch { id: self.last_id, order }));
        Ok(self.last_id)
    }

    fn unwatch(&mut self, is_known: bool, id: u32) {
        if is_known && self.attached {
            self.orders.push_back(Action::Unwatch { id });
        }
    }

    fn interrupt(&mut self) {
        self.orders.clear();
        let captures = self.captures.values_mut().map(|held| &mut held.state);
        let traces = self.traces.values_mut().map(|held| &mut held.state);
        captures.chain(traces).filter(|state| **state == WatchState::Running).for_each(|state| {
            *state = WatchState::Interrupted;
        });
    }

    /// A data plane that has refused a watch, or lost it, never says that it has ended.
    fn give_up_late(&mut self, now: Duration) {
        let captures =
            self.captures.values_mut().map(|held| (held.began, held.order.max_ms, &mut held.state));
        let traces = self.traces.values_mut().map(|held| (held.began, held.order.max_ms, &mut held.state));
        for (began, max_ms, state) in captures.chain(traces) {
            let end = began.saturating_add(Duration::from_millis(max_ms)).saturating_add(GRACE);
            if *state == WatchState::Running && now > end {
                *state = WatchState::Interrupted;
            }
        }
    }

    /// The capture that is complete with this packet, if it is.
    fn packet(&mut self, packet: &SeenPacket) -> Option<u32> {
        let id = packet.seen.watch;
        let held = self.captures.get_mut(&id).filter(|held| held.state == WatchState::Running)?;
        let (order, file) = (&held.order, &mut held.file);
        if file.kept_octets().saturating_add(packet.octets.len() as u64) <= order.max_octets {
            file.packet(packet);
            if file.packets() < order.max_packets {
                return None;
            }
        }
        held.state = WatchState::Ended;
        Some(id)
    }

    fn traced(&mut self, worker: usize, traced: TracedPacket) -> Option<u32> {
        let TracedPacket { watch: id, time_ns, entry, steps, left } = traced;
        let held = self.traces.get_mut(&id).filter(|held| held.state == WatchState::Running)?;
        let since = Duration::from_nanos(time_ns).saturating_sub(held.began);
        held.packets.push(TracedWay {
            worker: u32::try_from(worker).unwrap_or(u32::MAX),
            at_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            entry,
            stages: steps.into_iter().map(|step| TracedStage { stage: step.stage, did: step.did }).collect(),
            left,
        });
        if held.packets.len() < held.order.packets as usize {
            return None;
        }
        held.state = WatchState::Ended;
        Some(id)
    }

    /// A worker has reached a bound. Bounds are of one worker and those here of all, so that one's end is all's end: by time at the
    /// same moment, and by number because no other one can have brought more.
    fn ended(&mut self, id: u32) -> Option<u32> {
        let capture = self.captures.get_mut(&id).map(|held| &mut held.state);
        let state = capture.or_else(|| self.traces.get_mut(&id).map(|held| &mut held.state));
        let state = state.filter(|state| **state == WatchState::Running)?;
        *state = WatchState::Ended;
        Some(id)
    }
}

impl HeldCapture {
    fn shown(&self, id: u32, now: Duration) -> Capture {
        Capture {
            id,
            session: self.session.clone(),
            side: self.side,
            state: self.state,
            packets: self.file.packets(),
            octets: self.file.kept_octets(),
            age_secs: now.saturating_sub(self.began).as_secs(),
        }
    }
}

impl HeldTrace {
    fn shown(&self, id: u32) -> Trace {
        Trace { id, state: self.state, packets: self.packets.clone() }
    }
}

fn in_range<T: Copy + PartialOrd + Into<u64>>(
    member: &'static str,
    asked: Option<T>,
    default: T,
    (least, most): (T, T),
) -> Result<T, WatchError> {
    let value = asked.unwrap_or(default);
    if value < least || value > most {
        return Err(WatchError::Range { member, least: least.into(), most: most.into() });
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
