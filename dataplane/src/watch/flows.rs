//! Inner flows of one worker, for export: a table of fixed size. RFC 7011 §5.1.1, RFC 5470 §5.1.1.
//!
//! Enters: inner packets on both sides of the tunnel. Leaves: records of flows that are over, that go on for long, or whose place
//! another one needs. A flow has one direction; its worker is that of its session's SA, so it is counted in one table only.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use causeway_shared::wire::{FlowEnd, FlowKey, FlowOrder, FlowRecord, Observation, Way};

use super::describe::Glance;
use super::tell;
use crate::counters::Counters;
use crate::path::{Now, Sink};

/// Flows of one set. A flow's key names its set.
const WAYS: usize = 8;
/// Sets of the table.
const SETS: usize = 1024;
/// Flows that one worker follows at once.
pub(crate) const MAX_FLOWS: usize = SETS * WAYS;
/// Sets looked at in one tick, so that a tick of a tenth of a second stays short: all within 3.2 s.
const SETS_PER_TICK: usize = 32;

/// The table.
pub(crate) struct FlowTable {
    order: FlowOrder,
    hash: RandomState,
    flows: Box<[Option<FlowRecord>]>,
    next_set: usize,
}

impl FlowTable {
    /// An empty table with all the memory it will use.
    pub fn new(order: FlowOrder) -> FlowTable {
        let flows = vec![None; MAX_FLOWS].into();
        FlowTable { order, hash: RandomState::new(), flows, next_set: 0 }
    }

    /// Counts a packet.
    pub fn count<B>(
        &mut self,
        session_id: u64,
        way: Way,
        packet: &[u8],
        now: Now,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        let Some(Glance { source, destination, protocol, ports, .. }) = Glance::at_ip(packet) else { return };
        let (source_port, destination_port) = ports.unwrap_or_default();
        let key = FlowKey { session_id, source, destination, protocol, way, source_port, destination_port };
        let now_ms = now.monotonic_ms;
        let fresh =
            FlowRecord { key, packets: 0, octets: 0, first_ms: now_ms, last_ms: now_ms, end: FlowEnd::Idle };
        let set = (self.hash.hash_one(key) % SETS as u64) as usize * WAYS;
        let Some(set) = self.flows.get_mut(set..set + WAYS) else { return };
        let found = set.iter().position(|flow| flow.as_ref().is_some_and(|flow| flow.key == key));
        let place = found.or_else(|| set.iter().position(Option::is_none));
        let oldest = set.iter().enumerate().min_by_key(|(_, flow)| flow.as_ref().map(|flow| flow.last_ms));
        let Some(slot) = place.or(oldest.map(|(way, _)| way)).and_then(|way| set.get_mut(way)) else {
            return;
        };
        if let Some(displaced) = slot.take_if(|flow| flow.key != key) {
            report(displaced, FlowEnd::Displaced, sink, counters);
        }
        let flow = slot.get_or_insert(fresh);
        flow.packets += 1;
        flow.octets += packet.len() as u64;
        flow.last_ms = now_ms;
    }

    /// Reports flows without packets, and those that go on, of the next sets.
    pub fn tick<B>(&mut self, now: Now, sink: &mut impl Sink<B>, counters: &mut Counters) {
        let FlowOrder { active_ms, idle_ms } = self.order;
        let begin = self.next_set * WAYS;
        self.next_set = (self.next_set + SETS_PER_TICK) % SETS;
        let Some(flows) = self.flows.get_mut(begin..begin + SETS_PER_TICK * WAYS) else { return };
        for slot in flows {
            let Some(flow) = slot else { continue };
            let since = |then: u64| now.monotonic_ms.saturating_sub(then);
            if since(flow.last_ms) >= u64::from(idle_ms) {
                let over = *flow;
                *slot = None;
                // A flow that was reported while it went on has nothing left.
                if over.packets > 0 {
                    report(over, FlowEnd::Idle, sink, counters);
                }
            } else if flow.packets > 0 && since(flow.first_ms) >= u64::from(active_ms) {
                report(*flow, FlowEnd::Active, sink, counters);
                (flow.packets, flow.octets, flow.first_ms) = (0, 0, now.monotonic_ms);
            }
        }
    }

    /// Reports and forgets the flows of a session.
    pub fn report_session<B>(&mut self, session_id: u64, sink: &mut impl Sink<B>, counters: &mut Counters) {
        self.report_all_that(|flow| flow.key.session_id == session_id, sink, counters);
    }

    /// Reports and forgets every flow.
    pub fn report_all<B>(&mut self, sink: &mut impl Sink<B>, counters: &mut Counters) {
        self.report_all_that(|_| true, sink, counters);
    }

    fn report_all_that<B>(
        &mut self,
        which: impl Fn(&FlowRecord) -> bool,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        for slot in &mut self.flows {
            if let Some(over) = slot.take_if(|flow| which(flow))
                && over.packets > 0
            {
                report(over, FlowEnd::Forced, sink, counters);
            }
        }
    }
}

fn report<B>(flow: FlowRecord, end: FlowEnd, sink: &mut impl Sink<B>, counters: &mut Counters) {
    tell(&Observation::Flow(FlowRecord { end, ..flow }), sink, counters);
}
