//! The shared-memory segment between the two daemons: one memfd with rings, counters and per-SA statistics, handed over
//! a Unix socket with two doorbells (architecture §5, `docs/segment.md`).
//!
//! The data plane [`DataSide::create`]s the segment and offers it through a [`Handover`]; the control plane
//! [`ControlSide::attach`]es. Neither trusts what it reads: indices are validated, messages are copied out before they are
//! decoded, and whatever is refused is counted.
//!
//! Enters: typed messages. Leaves: typed messages in the other process. All `unsafe` is in `mapping.rs` and
//! `credentials.rs`.

mod atom;
mod control_side;
mod credentials;
mod data_side;
mod doorbell;
mod error;
mod handover;
mod hello;
mod layout;
mod mapping;
mod ports;
mod pulse;
mod queue;
mod ring;
mod stats;

pub use atom::Atom;
pub use control_side::{ControlSide, PeerLink};
pub use credentials::PeerCredentials;
pub use data_side::{CommandRefused, DataSegment, DataSide, ManagerSide, SegmentConfig, Wake, WorkerSide};
pub use doorbell::{Doorbell, arm, disarm, must_ring};
pub use error::{AttachError, CreateError, PopError, PushError, RingError};
pub use handover::{Handover, HandoverError, LinkEvent, ListenOptions};
pub use layout::{
    COMMAND_RING_SLOTS, EVENT_RING_SLOTS, MAX_PORTS, MAX_SA_CAPACITY, MAX_WORKERS, PUNT_RING_SLOTS,
    SEND_RING_SLOTS, VERSION_BYTES, layout_hash,
};
pub use ports::{NotDescribed, PortBoard};
pub use pulse::{CounterBlock, CounterTable, Heartbeat, HeartbeatReading, monotonic_ns};
pub use queue::{Consumer, Producer, Refusals};
pub use ring::{Geometry, RingConsumer, RingProducer};
pub use stats::{SaStats, SaStatsSlot, SaTotals, StatsReader, StatsTable, read_stats, write_fresh_stats};
