//! Safe wrappers over DPDK: the EAL, packet buffers, ethdev queues and crypto devices, and nothing that the data plane does not use.
//!
//! Enters: EAL arguments and device strings. Leaves: values whose types make misuse hard. An [`Eal`] proves that the
//! EAL runs; a queue handle has one owner and is used by one thread at a time; a port stops and closes when its last
//! handle is dropped; an [`Mbuf`] is one contiguous packet with one owner.

#![allow(unsafe_code)]

mod crypto_device;
mod crypto_queue;
mod eal;
mod error;
mod huge;
mod log;
mod mbuf;
mod mempool;
mod port;
mod queue;
mod tsc;

pub use crypto_device::{
    CRYPTO_DESCRIPTORS, CryptoDevice, CryptoDirection, CryptoHash, CryptoSession, Transform,
};
pub use crypto_queue::{CRYPTO_IN_FLIGHT, CryptoQueue, CryptoWork, Finished};
pub use eal::{Eal, RegisteredThread};
pub use error::{Errno, Error};
pub use huge::advise_huge_pages;
pub use mbuf::Mbuf;
pub use mempool::Mempool;
pub use port::{Capabilities, LinkState, PortHandle, PortStatistics, ProbedPort, QueueConfig, StartedPort};
pub use queue::{BURST, RxQueue, TxQueue};
pub use tsc::{CACHE_LINE, prefetch, prefetch_lines, prefetch_to_write, tsc, tsc_hz};
