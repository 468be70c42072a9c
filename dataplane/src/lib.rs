//! The data plane: stages, workers, SA tables, crypto engine, ports.

pub mod buffer;
pub mod counters;
pub mod crypto;
pub mod daemon;
pub mod dpdk_buffer;
pub mod eal_args;
pub mod fair_rings;
pub mod handoff;
pub mod manager;
pub mod manager_commands;
pub mod neighbour;
pub mod path;
pub mod poll;
pub mod ports;
pub mod ports_watch;
pub mod probe;
pub mod route;
pub mod route6;
pub mod sa;
pub mod sink;
mod stages;
pub mod watch;
pub mod worker;
pub mod worker_sink;
