//! SA tables of a worker: inbound by SPI, outbound by the client's inner address (RFC 4301 §4.4).
//!
//! Everything here is made and freed by the manager; the worker only moves boxes in and out of slots.

mod outbound;
mod replay;
mod selectors;
mod table;
mod worker_sa;

pub use outbound::{MAX_ODD_ADDRESSES, MAX_POOLS, OutboundMap, OutboundRoute, PoolMap};
pub use replay::{MIN_ESN_WINDOW, ReplayWindow};
pub use selectors::{Flow, Selectors};
pub use table::{SaTable, Tables};
pub(crate) use worker_sa::Notice;
pub use worker_sa::{
    Inbound, Lifetime, MAX_OUTER_HEADER, Outbound, SEQUENCE_BLOCK, SequenceError, WorkerSa, max_inner_len,
};
