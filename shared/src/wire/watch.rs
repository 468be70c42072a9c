//! Watching packets: what the control plane may ask a data plane to watch, and what that answers.
//!
//! A [`Watch`] goes to every worker; [`Observation`]s come back through rings of their own, so that a flood of them delays neither
//! events nor IKE. What finds its ring full is lost and counted (`observations_lost`); no packet waits for its observer.

use std::net::IpAddr;

/// Octets of an observation's slot.
pub const OBSERVATION_SLOT_BYTES: usize = 2048;
/// Most octets of a packet that an observation carries; longer packets are cut.
pub const MAX_SEEN: usize = OBSERVATION_SLOT_BYTES - 64;
/// The number that means every watch.
pub const ALL_WATCHES: u32 = 0;
/// Watches that a data plane keeps at once.
pub const MAX_WATCHES: usize = 8;
/// Stages that a traced packet names at most; one goes round twice at most.
pub const MAX_TRACE_STEPS: usize = 48;
/// Octets of a text of a traced packet.
pub const MAX_TRACE_TEXT: usize = 96;

/// Something to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Chosen by the control plane, not [`ALL_WATCHES`]; a watch with the same number is replaced.
    pub id: u32,
    /// What is watched.
    pub order: WatchOrder,
}

/// What a [`Watch`] is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchOrder {
    /// Whole packets of one session.
    Capture(CaptureOrder),
    /// What the path does with the next packets.
    Trace(TraceOrder),
    /// All inner flows, until told otherwise.
    Flows(FlowOrder),
}

/// Which packets are copied. The bounds hold for each worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaptureOrder {
    /// `SaPair::session_id`: SAs that come by rekeying belong to it, too.
    pub session_id: u64,
    /// As on the wire outside, ESP and its outer header.
    pub outer: bool,
    /// As inside the tunnel.
    pub inner: bool,
    /// Octets kept of each packet, at most [`MAX_SEEN`].
    pub snap_len: u16,
    /// Packets.
    pub max_packets: u32,
    /// Octets kept.
    pub max_octets: u64,
    /// Milliseconds from its arrival at the worker.
    pub max_ms: u64,
}

/// Which packets are traced. All that is given must match; of a packet with several headers the outermost counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceFilter {
    /// The peer's outer address, as source or destination of a packet outside.
    pub peer: Option<IpAddr>,
    /// SPI of an ESP packet that comes in.
    pub spi: Option<u32>,
    /// A client's inner address: of clear packets to it, and of ESP of the SA that it leaves by.
    pub inner: Option<IpAddr>,
}

/// Which packets are traced, and how many by each worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceOrder {
    /// Which.
    pub filter: TraceFilter,
    /// How many.
    pub packets: u32,
    /// Milliseconds from its arrival at the worker.
    pub max_ms: u64,
}

/// How flows are cut into records (RFC 7011 §5.1.1, RFC 5470 §5.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowOrder {
    /// A flow that goes on is reported so often, milliseconds.
    pub active_ms: u32,
    /// A flow is over after so long without packets, milliseconds.
    pub idle_ms: u32,
}

/// What a worker has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// A captured packet.
    Packet(SeenPacket),
    /// A traced packet.
    Trace(TracedPacket),
    /// A flow, or what it has carried since it was reported last.
    Flow(FlowRecord),
    /// A worker has reached the bound of this watch.
    Ended {
        /// Which.
        watch: u32,
    },
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// From the client.
    FromPeer,
    /// To the client.
    ToPeer,
}

/// What is known of a captured packet besides its octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The watch that asked for it.
    pub watch: u32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Names the SA.
    pub inbound_spi: u32,
    /// From or to the client.
    pub way: Way,
    /// As inside the tunnel; else with ESP and outer header.
    pub inner: bool,
    /// Octets of the packet, of which only the first may be here.
    pub whole_len: u32,
}

/// A captured packet, from its IP header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenPacket {
    /// What is known of it.
    pub seen: Seen,
    /// Its first octets.
    pub octets: Vec<u8>,
}

/// One stage of a traced packet's way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceStep {
    /// The stage's name.
    pub stage: String,
    /// Counters that grew there, with the reason of a drop among them.
    pub did: String,
}

/// A packet's way through one worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TracedPacket {
    /// The watch that asked for it.
    pub watch: u32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Where it came in, and what it was.
    pub entry: String,
    /// The stages, in order.
    pub steps: Vec<TraceStep>,
    /// What left the path.
    pub left: Vec<String>,
}

/// Why a record of a flow is made: RFC 5102's flowEndReason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlowEnd {
    /// No packets for so long.
    Idle = 1,
    /// It goes on.
    Active = 2,
    /// Its SA is gone, or nobody wants flows any more.
    Forced = 4,
    /// Another flow needed its place.
    Displaced = 5,
}

/// What a flow is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowKey {
    /// `SaPair::session_id`.
    pub session_id: u64,
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination, of the source's family.
    pub destination: IpAddr,
    /// Of the inner packet.
    pub protocol: u8,
    /// From or to the client.
    pub way: Way,
    /// Of TCP, UDP, SCTP, DCCP and UDP-Lite; 0 elsewhere, and in fragments.
    pub source_port: u16,
    /// As `source_port`.
    pub destination_port: u16,
}

/// What a flow has carried since it began, or since its last record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowRecord {
    /// Which.
    pub key: FlowKey,
    /// Inner packets.
    pub packets: u64,
    /// Inner octets.
    pub octets: u64,
    /// CLOCK_MONOTONIC of the first, milliseconds.
    pub first_ms: u64,
    /// Of the last.
    pub last_ms: u64,
    /// Why it is reported.
    pub end: FlowEnd,
}
