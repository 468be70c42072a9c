//! Debugging single clients while the gateway runs: conditions say whose IKE is logged in detail, topics say what of it.
//!
//! Enters: conditions and topics from the API; datagrams, jobs and events from the driver. Leaves: log lines of target
//! [`TARGET`], which every log filter lets through, because the conditions are the filter. Nobody else's traffic costs
//! more than one look at an atomic flag. Conditions are bounded in number and time, lines in number per second.

mod board;
mod describe;
pub(crate) mod keys;
mod watcher;

pub use board::{Board, BoardError, MAX_CONDITIONS};
pub use watcher::{MAX_LINES_PER_SEC, MAX_WATCHED, Party, Watcher};

/// Target of every line.
pub const TARGET: &str = "causeway_debug";
