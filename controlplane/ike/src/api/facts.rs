//! What the operator is told: events, and the facts of sessions, Child SAs and IKE SAs.
//!
//! Enters: nothing. Leaves: types only; the rules of the contract are in `api.rs`.

use std::fmt;
use std::net::IpAddr;

use super::{EspPath, Fault, Lease, Selector, SessionId};
use crate::ident::Identity;
use crate::suite::{EspSuite, IkeSuite};
use crate::time::Instant;

/// What the operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Authenticated, address assigned, first Child SA installed (or refused: then a `ChildRefused` follows).
    SessionUp(Box<SessionFacts>),
    /// The session's IKE SA was replaced by a new one.
    IkeRekeyed {
        /// Whose.
        session: SessionId,
        /// SPIs of the new IKE SA.
        spis: IkeSpis,
        /// Its suite.
        suite: String,
        /// Who asked for it.
        by: Side,
    },
    /// The peer is reached at another address now.
    PeerMoved {
        /// Whose.
        session: SessionId,
        /// New outer address.
        peer: IpAddr,
        /// New port.
        peer_port: u16,
    },
    /// The session is gone, with all its Child SAs and its lease. Only for sessions that were up.
    SessionDown {
        /// Which.
        session: SessionId,
        /// Why.
        reason: DownReason,
    },
    /// A Child SA carries traffic.
    ChildUp(Box<ChildFacts>),
    /// A Child SA is gone.
    ChildDown {
        /// Whose.
        session: SessionId,
        /// Which.
        inbound_spi: u32,
        /// Its successor, after a rekey.
        replaced_by: Option<u32>,
    },
    /// The session is up but got no Child SA.
    ChildRefused {
        /// Whose.
        session: SessionId,
        /// The notify that the peer was sent.
        notify: String,
    },
    /// The peer of a session that came up has sent its first message since, in IKE or ESP: it has got our last answer.
    PeerConfirmed {
        /// Whose.
        session: SessionId,
    },
    /// An AUTH payload was made with a key that is not in force any more; the handshake fails, see
    /// [`PskAnswer::burnt_keys`](super::PskAnswer::burnt_keys).
    TokenReplayed {
        /// The handshake.
        session: SessionId,
        /// [`PskAnswer::resume`](super::PskAnswer::resume).
        tag: Option<u64>,
        /// The peer's address.
        peer: IpAddr,
    },
    /// A handshake ended without a session.
    HandshakeFailed {
        /// Which.
        session: SessionId,
        /// The peer's address.
        peer: IpAddr,
        /// IDi as text, once known.
        identity: Option<String>,
        /// Who is at fault.
        fault: Fault,
        /// What happened, in words.
        reason: String,
        /// The counter that it went into.
        counter: crate::counters::IkeCounter,
    },
    /// [`Input::Shutdown`] is done: every peer has answered or the deadline has passed.
    ShutdownComplete {
        /// Sessions whose peer did not answer.
        unanswered: usize,
    },
}

/// Everything an operator wants to know of a session that came up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionFacts {
    /// Which.
    pub session: SessionId,
    /// The authenticated user: the EAP user, else the identity as text.
    pub user: String,
    /// IDi.
    pub identity: Identity,
    /// `psk`, `certificate`, or the EAP method, e.g. `eap-mschapv2`.
    pub auth_method: String,
    /// The kind of the key of the client's certificate: `rsa`, `ecdsa` or `ed25519`; `None` with another method.
    pub peer_key: Option<&'static str>,
    /// IKE suite, e.g. `aes256gcm16-prfsha384-ecp384`.
    pub ike_suite: String,
    /// SPIs of the IKE SA.
    pub spis: IkeSpis,
    /// Whether a NAT was detected on either side (RFC 7296 §2.23).
    pub nat_detected: bool,
    /// Our address.
    pub local: IpAddr,
    /// Our port.
    pub local_port: u16,
    /// The peer's outer address.
    pub peer: IpAddr,
    /// The peer's outer port.
    pub peer_port: u16,
    /// The lease, if the client asked for an address.
    pub lease: Option<Lease>,
    /// What kind of client it is.
    pub client: ClientKind,
    /// The vendor ids that the client sent: by name when known, else in hexadecimal.
    pub vendor_ids: Vec<String>,
    /// How long messages are cut.
    pub fragmentation: Fragmentation,
    /// IDr.
    pub local_identity: Identity,
    /// How we proved ourselves: `rsa`, `ecdsa`, `ed25519`, `psk`, `eap` (RFC 5998) or `ticket` (RFC 5723).
    pub local_auth: &'static str,
    /// The session that this one resumes ([`PskAnswer::resume`](super::PskAnswer::resume)).
    pub resumed: Option<u64>,
    /// Whether it resumes it by a ticket (RFC 5723); otherwise by a token used as a shared key.
    pub by_ticket: bool,
    /// Whether its keys depend on a post-quantum pre-shared key (RFC 8784).
    pub ppk: bool,
    /// When the first message of IKE_SA_INIT arrived.
    pub started_at: Instant,
    /// When the session came up.
    pub established_at: Instant,
}

/// What kind of client it is, by its identity and vendor ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientKind {
    /// Cisco AnyConnect or Secure Client with its own EAP method.
    AnyConnect,
    /// Any other.
    Standard,
}

/// How messages that are too long for one datagram travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Fragmentation {
    /// In one datagram that IP may cut.
    #[default]
    None,
    /// RFC 7383.
    Ietf,
    /// Cisco's payload 132.
    Cisco,
}

/// When a peer is asked whether it lives, and when it counts as dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Liveness {
    /// Never.
    Off,
    /// After this silence, with the retransmission that every request has.
    Periodic {
        /// Seconds without IKE or ESP from the peer.
        interval_secs: u64,
    },
    /// The peer asks us by itself. We ask only after this silence, and at a steady pace.
    OnDemand {
        /// Seconds without IKE or ESP from the peer.
        interval_secs: u64,
        /// Seconds between the question and its repetitions.
        retry_secs: u64,
        /// How often it is repeated before the peer counts as dead.
        tries: u32,
    },
}

/// The state of a session's IKE SA, read out for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeFacts {
    /// Whose.
    pub session: SessionId,
    /// Its SPIs.
    pub spis: IkeSpis,
    /// Whether we began it (by a rekey).
    pub local_began: bool,
    /// Encryption, integrity, PRF and group.
    pub suite: IkeSuite,
    /// Our address.
    pub local: IpAddr,
    /// Our port.
    pub local_port: u16,
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// Whether a NAT was detected on either side.
    pub nat_detected: bool,
    /// Whether it is the peer who is behind one.
    pub peer_behind_nat: bool,
    /// Whether it is we.
    pub local_behind_nat: bool,
    /// How long messages are cut.
    pub fragmentation: Fragmentation,
    /// Whether the client says by itself when it moves (MOBIKE).
    pub mobike: bool,
    /// Whether the client follows when it is sent to another gateway (REDIRECT).
    pub redirect: bool,
    /// Message ID of our next request.
    pub local_next_id: u32,
    /// Message ID of our request that has no answer yet. The window is 1.
    pub local_outstanding_id: Option<u32>,
    /// Message ID of the peer's next request.
    pub peer_next_id: u32,
    /// Message ID of the peer's request that we are working on. The window is 1.
    pub peer_outstanding_id: Option<u32>,
    /// Exchanges of ours that wait for the window.
    pub queued: usize,
    /// How the peer is asked whether it lives.
    pub liveness: Liveness,
    /// Liveness questions of the peer (empty INFORMATIONAL requests) on all of the session's IKE SAs.
    pub peer_probes: u64,
    /// Last sign of life over IKE, or over ESP when that was looked at.
    pub last_heard: Instant,
    /// When this IKE SA was made.
    pub established_at: Instant,
    /// When we rekey it.
    pub rekey_at: Option<Instant>,
    /// When it ends.
    pub expires_at: Option<Instant>,
    /// Child SAs in use.
    pub child_sas: usize,
}

/// A Child SA as the operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildFacts {
    /// Whose.
    pub session: SessionId,
    /// SPI of packets to us.
    pub inbound_spi: u32,
    /// SPI of packets to the peer.
    pub outbound_spi: u32,
    /// ESP suite; `to_string()` gives e.g. `aes256gcm16`.
    pub suite: EspSuite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Outer addresses.
    pub path: EspPath,
    /// Selectors of our side.
    pub local_selectors: Vec<Selector>,
    /// Selectors of the peer's side.
    pub peer_selectors: Vec<Selector>,
    /// The SA that it replaces, after a rekey.
    pub replaces: Option<u32>,
    /// When it was installed.
    pub established_at: Instant,
}

/// The two SPIs of an IKE SA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IkeSpis {
    /// Of the side that began this IKE SA (or its rekey).
    pub initiator: u64,
    /// Of the other side.
    pub responder: u64,
}

impl fmt::Display for IkeSpis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}_i {:016x}_r", self.initiator, self.responder)
    }
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// We.
    Local,
    /// The client.
    Peer,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DownReason {
    /// The client deleted it.
    PeerDeleted,
    /// The operator deleted it.
    OperatorDeleted,
    /// It carried nothing for as long as its policy allows ([`PolicyEnd::Idle`](super::PolicyEnd::Idle)).
    IdleTimeout,
    /// It lasted as long as its policy allows ([`PolicyEnd::Lifetime`](super::PolicyEnd::Lifetime)).
    SessionTimeout,
    /// A burnt token of it was used ([`PolicyEnd::TokenReplay`](super::PolicyEnd::TokenReplay)).
    TokenReplay,
    /// The client did not answer our requests.
    PeerDead,
    /// The same identity came back with INITIAL_CONTACT (RFC 7296 §2.4).
    ReplacedByInitialContact,
    /// The same client, authenticated anew, goes on in another session; the peer was not told.
    TakenOver,
    /// The IKE SA reached its hard lifetime.
    Expired,
    /// It came up without a Child SA, and none was made since: it is of no use to a client.
    NoChildSa,
    /// The client broke the protocol under our keys.
    PeerMisbehaved,
    /// It was sent to another gateway (RFC 5685).
    Redirected,
    /// We stop.
    Shutdown,
    /// A fault of ours (a job failed, a panic was caught).
    Internal,
}

impl DownReason {
    /// All.
    pub const ALL: [DownReason; 14] = [
        DownReason::PeerDeleted,
        DownReason::OperatorDeleted,
        DownReason::IdleTimeout,
        DownReason::SessionTimeout,
        DownReason::TokenReplay,
        DownReason::PeerDead,
        DownReason::ReplacedByInitialContact,
        DownReason::TakenOver,
        DownReason::Expired,
        DownReason::NoChildSa,
        DownReason::PeerMisbehaved,
        DownReason::Redirected,
        DownReason::Shutdown,
        DownReason::Internal,
    ];

    /// A stable name for logs and the API.
    pub fn name(self) -> &'static str {
        match self {
            DownReason::PeerDeleted => "peer-deleted",
            DownReason::OperatorDeleted => "operator-deleted",
            DownReason::IdleTimeout => "idle-timeout",
            DownReason::SessionTimeout => "session-timeout",
            DownReason::TokenReplay => "token-replay",
            DownReason::PeerDead => "peer-dead",
            DownReason::ReplacedByInitialContact => "replaced-by-initial-contact",
            DownReason::TakenOver => "taken-over",
            DownReason::Expired => "expired",
            DownReason::NoChildSa => "no-child-sa",
            DownReason::PeerMisbehaved => "peer-misbehaved",
            DownReason::Redirected => "redirected",
            DownReason::Shutdown => "shutdown",
            DownReason::Internal => "internal",
        }
    }

    /// For operators.
    pub fn meaning(self) -> &'static str {
        match self {
            DownReason::PeerDeleted => "Sessions that their client deleted.",
            DownReason::OperatorDeleted => "Sessions that the operator deleted.",
            DownReason::IdleTimeout => "Sessions that carried nothing for the idle_secs of their group.",
            DownReason::SessionTimeout => {
                "Sessions that lasted for the session_lifetime_secs of their group."
            }
            DownReason::TokenReplay => "Sessions ended because a burnt token of them was used.",
            DownReason::PeerDead => "Sessions whose client did not answer.",
            DownReason::ReplacedByInitialContact => "Sessions whose client came back with INITIAL_CONTACT.",
            DownReason::TakenOver => "Sessions that their client resumed before they were given up.",
            DownReason::Expired => "Sessions whose IKE SA reached its hard lifetime.",
            DownReason::NoChildSa => "Sessions that had no Child SA.",
            DownReason::PeerMisbehaved => "Sessions whose client broke the protocol under their keys.",
            DownReason::Redirected => "Sessions that were sent to another gateway.",
            DownReason::Shutdown => "Sessions ended because the gateway stopped.",
            DownReason::Internal => "Sessions ended by a fault of the gateway's own.",
        }
    }
}
