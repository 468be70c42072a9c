//! What can fail before packets flow: which call, on which device, and what DPDK said about it.

use std::ffi::CStr;
use std::fmt;

use causeway_dpdk_sys as sys;

/// A positive errno of a DPDK call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// From a call that answers a negative errno.
    pub(crate) fn of(result: i32) -> Errno {
        Errno(result.saturating_neg())
    }

    /// The calling thread's `rte_errno`.
    pub(crate) fn last() -> Errno {
        // SAFETY: reads a thread-local integer.
        Errno(unsafe { sys::causeway_errno() })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rte_strerror answers a terminated text in static or thread-local memory; it is copied before any
        // other call on this thread could change it.
        let text = unsafe { CStr::from_ptr(sys::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

/// Why the EAL, a pool or a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process can start the EAL once.
    #[error("the EAL was already started in this process")]
    AlreadyStarted,
    /// An argument holds a NUL octet.
    #[error("`{0}` holds a NUL octet, which no EAL argument or device string can")]
    NulOctet(String),
    /// The EAL refused to start.
    #[error("the EAL does not start with `{arguments}`: {errno}{}", quoted(.said))]
    Eal {
        /// The arguments, joined.
        arguments: String,
        /// What it answered.
        errno: Errno,
        /// What it logged.
        said: Vec<String>,
    },
    /// No lcore id was left for a thread, or the EAL does not run.
    #[error("a thread cannot be registered with the EAL: {0}")]
    Thread(Errno),
    /// The buffer pool could not be made.
    #[error(
        "a pool of {buffers} packet buffers ({mebibytes} MiB) cannot be made: {errno}; \
         raise dataplane.memory_mib or lower dataplane.buffers{}", quoted(.said)
    )]
    Mempool {
        /// Buffers asked for.
        buffers: u32,
        /// Memory they take.
        mebibytes: u64,
        /// What DPDK answered.
        errno: Errno,
        /// What it logged.
        said: Vec<String>,
    },
    /// No such device, or its driver does not accept it.
    #[error("device `{device}` cannot be opened: {errno}{}", quoted(.said))]
    Probe {
        /// The device string.
        device: String,
        /// What DPDK answered.
        errno: Errno,
        /// What it logged.
        said: Vec<String>,
    },
    /// The device is there already.
    #[error("device `{0}` is named twice; each port needs its own device")]
    Claimed(String),
    /// A step of a crypto device's set-up failed.
    #[error("crypto device `{device}`: {step} failed: {errno}{}", quoted(.said))]
    CryptoDevice {
        /// The device's name.
        device: String,
        /// What was being done.
        step: &'static str,
        /// What DPDK answered.
        errno: Errno,
        /// What it logged.
        said: Vec<String>,
    },
    /// A step of port set-up failed.
    #[error("port `{port}`: {step} failed: {errno}{}", quoted(.said))]
    Port {
        /// The port's device name.
        port: String,
        /// What was being done.
        step: &'static str,
        /// What DPDK answered.
        errno: Errno,
        /// What it logged.
        said: Vec<String>,
    },
    /// More queues than the device has.
    #[error("port `{port}` has {available} {direction} queues, {wanted} were asked for")]
    Queues {
        /// The port's device name.
        port: String,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// What was asked for.
        wanted: u16,
        /// What it has.
        available: u16,
    },
}

/// DPDK's own log lines, as the end of a message.
fn quoted(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!(" ({})", lines.join("; ")) }
}
