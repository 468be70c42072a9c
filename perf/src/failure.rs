//! Why a measurement did not happen, and what to do about it.

use std::io;
use std::path::PathBuf;

use causeway_dataplane::path::PathError;
use causeway_dataplane::ports::PortError;
use causeway_shared::wire::AckStatus;
use causeway_shm::{AttachError, CreateError, HandoverError, PopError};

use crate::oracle::Refused;
use crate::subject::SubjectError;

/// Ends the program with a message.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Threads, signals.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
    /// DPDK.
    #[error("{0}")]
    Dpdk(#[from] causeway_dpdk::Error),
    /// A port.
    #[error("{0}")]
    Port(#[from] PortError),
    /// A path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// The crypto engine or device.
    #[error("{0}")]
    Crypto(#[from] causeway_dataplane::crypto::EngineError),
    /// The segment.
    #[error("{0}")]
    Segment(#[from] CreateError),
    /// The socket.
    #[error("{0}")]
    Handover(#[from] HandoverError),
    /// The control plane's end.
    #[error("{0}")]
    Attach(#[from] AttachError),
    /// The rings.
    #[error("{0}")]
    Ring(#[from] PopError),
    /// Traffic cannot be sealed.
    #[error("{0}")]
    Sealing(#[from] Refused),
    /// A program of the comparison.
    #[error("{0}")]
    Subject(#[from] SubjectError),
    /// A port is missing.
    #[error("two ports were opened but not found; this is a bug of causeway-perf")]
    NoPort,
    /// The driver's address.
    #[error(
        "net_pcap gave its first port another Ethernet address than it does in DPDK 22.11, so the capture would not be for us"
    )]
    SourceMac,
    /// The core.
    #[error("core {0} cannot be used; `--core` takes one of those in /proc/self/status, Cpus_allowed_list")]
    Core(usize),
    /// The worker.
    #[error("the worker ended or does not follow instructions")]
    WorkerEnded,
    /// The data plane refused an SA.
    #[error("the data plane refused an operation: {0:?}")]
    Refused(AckStatus),
    /// No packet came through.
    #[error("the worker forwarded nothing in a second")]
    NothingForwarded,
    /// A driven port.
    #[error(
        "a port has no link; is the device under test running, with the other end of the same socket or cable?"
    )]
    NoLink,
    /// A device under test forwards nothing.
    #[error(
        "no packet came back ({foreign} other frames did); does the device under test have as many SAs, the same suite and \
         direction, and `--to` as its Ethernet address?"
    )]
    NothingCameBack {
        /// Frames without a stamp of ours.
        foreign: u64,
    },
    /// The pool ran dry.
    #[error("the buffer pool is empty; this is a bug of causeway-perf")]
    NoBuffer,
    /// A packet came out wrong.
    #[error("{suite}, packet {index}: {what}; nothing is measured before that is right")]
    Wrong {
        /// Algorithms.
        suite: crate::cell::Suite,
        /// What is wrong.
        what: &'static str,
        /// Which packet of the check.
        index: usize,
    },
    /// Packets were dropped.
    #[error("the path dropped {count} packets for {reason}, so its figures would mean nothing")]
    Lost {
        /// The counter's name.
        reason: String,
        /// How many.
        count: u64,
    },
    /// A regression.
    #[error("these became more than a tenth dearer (old, new, change):\n{0}")]
    Dearer(String),
    /// Not root.
    #[error("this makes mounts and reserves hugepages: run it as root (sudo ./perf/compare)")]
    NotRoot,
    /// Peers are missing.
    #[error("{0}; run ./perf/compare, which installs and builds what is missing")]
    Missing(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// An option.
    #[error("{0}")]
    Usage(String),
}
