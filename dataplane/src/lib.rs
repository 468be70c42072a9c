//! The data plane: stages, workers, SA tables, crypto engine, ports.

pub mod buffer;
pub mod counters;
pub mod crypto;
pub mod path;
pub mod sa;
pub mod sink;
