//! Captures and traces of the management API: packets as they are, and what the data plane does with them. Enters: nothing.
//! Leaves: types only.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Captures that are kept at once, running or not.
pub const MAX_CAPTURES: usize = 4;
/// Most packets of a capture.
pub const MAX_CAPTURE_PACKETS: u32 = 100_000;
/// Packets of a capture that names none.
pub const DEFAULT_CAPTURE_PACKETS: u32 = 10_000;
/// Most octets of a capture's packets; they are kept in memory.
pub const MAX_CAPTURE_OCTETS: u64 = 16 << 20;
/// Octets of a capture that names none.
pub const DEFAULT_CAPTURE_OCTETS: u64 = 4 << 20;
/// Longest capture or trace, seconds.
pub const MAX_WATCH_SECS: u64 = 3600;
/// Seconds of a capture or trace that names none.
pub const DEFAULT_WATCH_SECS: u64 = 60;
/// Traces that are kept at once, running or not.
pub const MAX_TRACES: usize = 3;
/// Most packets of a trace.
pub const MAX_TRACE_PACKETS: u32 = 256;
/// Packets of a trace that names none.
pub const DEFAULT_TRACE_PACKETS: u32 = 10;

/// On which side of the encryption packets are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CaptureSide {
    /// Both, each an interface of the file.
    #[default]
    Both,
    /// Outside: ESP with its outer headers.
    Outer,
    /// Inside the tunnel: what the user sends and gets.
    Inner,
}

/// `POST /v1/captures`: packets of one session, until one of the bounds is reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewCapture {
    /// The session's id.
    pub session: String,
    /// On which side of the encryption.
    #[serde(default)]
    pub side: CaptureSide,
    /// Packets, 1 to 100000; 10000 when absent.
    #[serde(default)]
    pub packets: Option<u32>,
    /// Octets of packets, 1 to 16777216; 4194304 when absent.
    #[serde(default)]
    pub octets: Option<u64>,
    /// Seconds, 1 to 3600; 60 when absent.
    #[serde(default)]
    pub secs: Option<u64>,
    /// Octets kept of each packet, 64 to 1984; 1984 when absent.
    #[serde(default)]
    pub snap_len: Option<u16>,
}

/// Whether a capture or trace goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WatchState {
    /// It takes packets.
    Running,
    /// One of its bounds was reached.
    Ended,
    /// Its data plane is gone.
    Interrupted,
}

/// One capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Capture {
    /// Names it; never used twice while the control plane runs.
    pub id: u32,
    /// The session's id.
    pub session: String,
    /// On which side of the encryption.
    pub side: CaptureSide,
    /// Whether it goes on.
    pub state: WatchState,
    /// Packets taken.
    pub packets: u32,
    /// Octets of them that are kept.
    pub octets: u64,
    /// Seconds since it began.
    pub age_secs: u64,
}

/// `GET /v1/captures`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CaptureList {
    /// In the order of their ids.
    pub captures: Vec<Capture>,
}

/// `POST /v1/traces`: the next packets that match all that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewTrace {
    /// A session's id: packets from and to its inner address.
    #[serde(default)]
    pub session: Option<String>,
    /// The peer's outer address, source or destination of a packet outside.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// SPI of ESP that comes in.
    #[serde(default)]
    pub spi: Option<u32>,
    /// A client's inner address.
    #[serde(default)]
    pub inner: Option<IpAddr>,
    /// Packets, 1 to 256; 10 when absent.
    #[serde(default)]
    pub packets: Option<u32>,
    /// Seconds, 1 to 3600; 60 when absent.
    #[serde(default)]
    pub secs: Option<u64>,
}

/// What one stage did with a packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TracedStage {
    /// The stage's name, as docs/packet.md has it.
    pub stage: String,
    /// Counters that grew there, `dropped: ` and the reason first among them; empty where none did.
    pub did: String,
}

/// A packet's way through one worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TracedWay {
    /// The worker.
    pub worker: u32,
    /// Microseconds since the trace began.
    pub at_us: u64,
    /// Where it came in, and what it was.
    pub entry: String,
    /// The stages, in order.
    pub stages: Vec<TracedStage>,
    /// What left the path.
    pub left: Vec<String>,
}

/// One trace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trace {
    /// Names it; never used twice while the control plane runs.
    pub id: u32,
    /// Whether it goes on.
    pub state: WatchState,
    /// The packets, in the order in which workers told of them.
    pub packets: Vec<TracedWay>,
}
