//! SA tables of a worker: inbound by SPI, outbound by the client's inner address (RFC 4301 §4.4).
//!
//! Everything here is made and freed by the manager; the worker only exchanges boxes and slots.

mod fast_selector;
mod fast_selector6;
mod inbound;
mod lifetime;
mod outbound;
mod outbound6;
mod outbound_sa;
mod outer6;
mod replay;
mod selectors;
mod table;
mod touched;
mod worker_sa;

pub use inbound::Inbound;
pub use lifetime::Lifetime;
pub(crate) use lifetime::Notice;
pub use outbound::{MAX_ODD_ADDRESSES, MAX_POOLS, OutboundMap, OutboundRoute, PoolMap};
pub use outbound_sa::{MAX_OUTER_HEADER, Outbound, SEQUENCE_BLOCK, SequenceError, max_inner_len};
pub use outbound6::{MAX_PREFIX_LENGTHS, OutboundMap6};
pub use outer6::Outer6;
pub use replay::{MIN_ESN_WINDOW, ReplayWindow, Ring};
pub use selectors::{Flow, Selectors};
pub use table::{SaTable, Tables};
pub(crate) use touched::Touched;
pub use worker_sa::WorkerSa;

/// Most octets of one direction of an SA that packets touch, keys included.
pub const HOT_OCTETS: usize = 256;
