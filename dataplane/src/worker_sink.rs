//! The outlets of one worker: its transmit queues, the other workers' mailboxes, the segment.
//!
//! Nothing here waits. Frames are collected per port and given to the device in bursts; what a full device does not take
//! stays for the next turn, up to [`TX_PENDING`] frames, and is dropped and counted beyond.

use std::sync::Arc;

use causeway_dpdk::{BURST, Mbuf, TxQueue, prefetch};
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::wire::{Datagram, DatagramRef, Event, Observation, SeenRef};
use causeway_shm::{Producer, SaTotals, StatsTable, monotonic_ns};

use crate::counters::Counters;
use crate::handoff::Mailbox;
use crate::path::PortId;
use crate::ports::Transmit;
use crate::sink::{Full, Handoff, Punt, SaDirection, SaStatistics, Sink};

/// Most frames that wait for one port's queue.
pub const TX_PENDING: usize = 512;

/// What leaves one worker's path.
pub struct WorkerSink {
    /// The worker's own number, by which other workers know its rings.
    index: u16,
    ports: Vec<Outlet>,
    mailboxes: Arc<[Mailbox]>,
    events: Producer<Event>,
    punts: Producer<Datagram>,
    observations: Producer<Observation>,
    stats: StatsTable,
    /// CLOCK_MONOTONIC of the present turn.
    now_ns: u64,
    tally: Tally,
}

/// What the sink counts until the worker fetches it.
#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    full: u64,
}

enum Outlet {
    Own(OwnQueue),
    Via(u16),
}

struct OwnQueue {
    queue: TxQueue,
    pending: Vec<Mbuf>,
    /// Octets of what is pending, counted as it comes: the path has just written each frame's length.
    pending_octets: u64,
}

impl WorkerSink {
    /// Makes the outlets and the memory they use.
    pub fn new(
        index: u16,
        transmit: Vec<Transmit>,
        mailboxes: Arc<[Mailbox]>,
        events: Producer<Event>,
        punts: Producer<Datagram>,
        observations: Producer<Observation>,
        stats: StatsTable,
    ) -> WorkerSink {
        let outlet = |transmit| match transmit {
            Transmit::Own(queue) => {
                Outlet::Own(OwnQueue { queue, pending: Vec::with_capacity(TX_PENDING), pending_octets: 0 })
            }
            Transmit::Via(worker) => Outlet::Via(worker),
        };
        let ports = transmit.into_iter().map(outlet).collect();
        WorkerSink {
            index,
            ports,
            mailboxes,
            events,
            punts,
            observations,
            stats,
            now_ns: 0,
            tally: Tally::default(),
        }
    }

    /// Begins a turn.
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Gives the devices what is collected; answers whether frames are left.
    pub fn flush(&mut self) -> bool {
        let mut left = false;
        for outlet in &mut self.ports {
            if let Outlet::Own(own) = outlet {
                own.flush(&mut self.tally);
                left |= !own.pending.is_empty();
            }
        }
        left
    }

    /// Moves what was counted since the last call to `counters`.
    pub fn settle(&mut self, counters: &mut Counters) {
        let tally = std::mem::take(&mut self.tally);
        counters.flow(Flow::TxPackets, tally.packets);
        counters.flow(Flow::TxBytes, tally.bytes);
        for _ in 0..tally.full {
            counters.drop(Drop::TxFull);
        }
    }

    /// The segment's statistics, for installations.
    pub fn stats(&self) -> &StatsTable {
        &self.stats
    }

    /// A port whose queue another worker owns.
    #[inline(never)]
    fn tx_elsewhere(&mut self, port: PortId, frame: Mbuf) {
        let mailbox = match self.ports.get(usize::from(port.0)) {
            Some(Outlet::Via(worker)) => self.mailboxes.get(usize::from(*worker)),
            _ => None,
        };
        let refused = match mailbox {
            Some(mailbox) => mailbox.frames.push(self.index, (port, frame)).is_err(),
            None => true,
        };
        self.tally.full += u64::from(refused);
    }
}

impl Sink<Mbuf> for WorkerSink {
    #[inline]
    fn tx(&mut self, port: PortId, frame: Mbuf) {
        match self.ports.get_mut(usize::from(port.0)) {
            Some(Outlet::Own(own)) => own.push(frame, &mut self.tally),
            _ => self.tx_elsewhere(port, frame),
        }
    }

    #[inline]
    fn handoff(&mut self, worker: u16, item: Handoff<Mbuf>) -> Result<(), Handoff<Mbuf>> {
        match self.mailboxes.get(usize::from(worker)) {
            Some(mailbox) => mailbox.handoffs.push(self.index, item),
            None => Err(item),
        }
    }

    fn punt(&mut self, datagram: Punt<'_>) -> Result<(), Full> {
        let Punt { local, local_port, peer, peer_port, payload } = datagram;
        self.punts.push_ref(DatagramRef { local, local_port, peer, peer_port, payload }).map_err(|_| Full)
    }

    fn event(&mut self, event: Event) -> Result<(), Full> {
        self.events.push(&event).map_err(|_| Full)
    }

    fn seen(&mut self, packet: &SeenRef<'_>, snap_len: u16) -> Result<(), Full> {
        self.observations.push_with(|slot| packet.encode(slot, snap_len)).map_err(|_| Full)
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), Full> {
        self.observations.push(observation).map_err(|_| Full)
    }

    fn clock_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn reserve_sequence(&mut self, slot: u32, block_end: u64) {
        // The segment's word is the first number that was not reserved.
        self.stats.slot(slot).reserve_outbound(block_end.saturating_add(1));
    }

    #[inline]
    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics) {
        self.stats.slot(slot).publish(&statistics.into(), self.now_ns);
    }

    #[inline]
    fn expect_sa_statistics(&self, slot: u32) {
        prefetch(self.stats.slot(slot).line());
    }

    #[cold]
    fn sa_drop(&mut self, slot: u32, direction: SaDirection) {
        match direction {
            SaDirection::Inbound => self.stats.slot(slot).count_inbound_drops(1),
            SaDirection::Outbound => self.stats.slot(slot).count_outbound_drops(1),
        }
    }
}

/// The path's figures as the segment holds them.
impl From<SaStatistics> for SaTotals {
    #[inline]
    fn from(statistics: SaStatistics) -> SaTotals {
        let SaStatistics { in_packets, in_bytes, out_packets, out_bytes, highest_inbound_sequence } =
            statistics;
        SaTotals { in_packets, in_bytes, out_packets, out_bytes, highest_inbound_sequence }
    }
}

impl OwnQueue {
    /// Short, so that the path takes it in; what happens once per burst is a call.
    #[inline]
    fn push(&mut self, frame: Mbuf, tally: &mut Tally) {
        if self.pending.len() >= BURST {
            self.flush(tally);
        }
        if self.pending.len() < TX_PENDING {
            self.pending_octets += frame.len() as u64;
            self.pending.push(frame);
        } else {
            tally.full += 1;
        }
    }

    #[inline(never)]
    fn flush(&mut self, tally: &mut Tally) {
        if self.pending.is_empty() {
            return;
        }
        tally.packets += self.queue.burst(&mut self.pending) as u64;
        let left = self.pending.iter().map(|frame| frame.len() as u64).sum::<u64>();
        tally.bytes += self.pending_octets.saturating_sub(left);
        self.pending_octets = left;
    }
}
