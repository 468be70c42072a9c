//! What both processes agree on: SA descriptions, ring messages, counters, configuration, API types, packet headers.
//!
//! Neither daemon names the other; everything they share is declared here once (architecture §2).

pub mod api;
pub mod config;
pub mod counters;
pub mod net;
pub mod prefix;
pub mod sa;
pub mod wire;
