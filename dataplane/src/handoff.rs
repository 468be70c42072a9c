//! Bounded queues between threads of the data plane: packets from worker to worker, instructions from the manager to a
//! worker, reports back.
//!
//! Every queue is allocated at start and refuses when it is full; nobody waits.

use causeway_dpdk::Mbuf;
use causeway_shm::SaStats;
use crossbeam::queue::ArrayQueue;

use crate::fair_rings::FairRings;
use crate::manager_commands::{FAMILIES, MAX_IN_FLIGHT};
use crate::path::{Applied, Operation, PortId};
use crate::sink::Handoff;

/// Packets that may wait for a worker because its SA needs them, from all other workers together; each has its share of this
/// (`fair_rings.rs`).
pub const HANDOFF_SLOTS: usize = 4096;
/// Finished frames that may wait for a worker because it owns the port's queue, from all other workers together.
pub const FRAME_SLOTS: usize = 1024;
/// Instructions that may wait for a worker, and reports for the manager. The manager has at most
/// [`crate::manager_commands::MAX_IN_FLIGHT`] commands under way, each with at most [`crate::manager_commands::FAMILIES`] instructions per
/// worker.
pub const INSTRUCTION_SLOTS: usize = 128;

const _: () = assert!(MAX_IN_FLIGHT * FAMILIES <= INSTRUCTION_SLOTS);

/// What the manager tells a worker to do.
pub struct Instruction {
    /// Comes back in the [`Report`].
    pub ticket: u64,
    /// What to do.
    pub operation: Operation,
    /// For an installation: what the SA's statistics start from.
    pub statistics: Option<SaStats>,
}

/// What a worker did.
pub struct Report {
    /// The instruction's.
    pub ticket: u64,
    /// How it ended, and what the manager has to free.
    pub applied: Applied,
}

/// What waits for one worker.
pub struct Mailbox {
    /// From other workers: packets for its SAs.
    pub handoffs: FairRings<Handoff<Mbuf>>,
    /// From other workers: frames for its transmit queues.
    pub frames: FairRings<(PortId, Mbuf)>,
    /// From the manager.
    pub instructions: ArrayQueue<Instruction>,
    /// To the manager.
    pub reports: ArrayQueue<Report>,
}

impl Mailbox {
    /// One mailbox for each worker.
    pub fn for_workers(workers: usize) -> Vec<Mailbox> {
        std::iter::repeat_with(|| Mailbox::new(workers)).take(workers).collect()
    }

    fn new(workers: usize) -> Mailbox {
        Mailbox {
            handoffs: FairRings::new(workers, HANDOFF_SLOTS),
            frames: FairRings::new(workers, FRAME_SLOTS),
            instructions: ArrayQueue::new(INSTRUCTION_SLOTS),
            reports: ArrayQueue::new(INSTRUCTION_SLOTS),
        }
    }
}
