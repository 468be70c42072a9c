//! The vocabulary between the protocol and whoever drives it: every input, every output, every job.
//!
//! Long because it is mostly documentation: whoever writes a driver reads this file and no other.
//!
//! Enters: nothing. Leaves: types only. The driver (daemon, simulator, test) calls
//! [`Endpoint::handle`](crate::Endpoint::handle) with one [`Input`] and performs every [`Output`] in order.
//!
//! Rules of the contract:
//! - Every [`Job`] is answered by exactly one [`Input::JobDone`], in any order and after any delay. Late answers, even
//!   for sessions that are gone, must still be given: an address or a Child SA that came too late is given back.
//! - [`JobKind::PublicKey`] jobs are performed by calling [`crate::job::PublicKeyJob::run`], on any thread.
//! - The other kinds belong to the driver: AAA, address pools, data plane.
//! - [`Output::Child`] commands are performed in order after the installs that were issued before them.

mod facts;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use crate::error::Fault;
use crate::ident::Identity;
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::policy::{GatewayName, Subnet};
use crate::suite::{EspSuite, Prf};
pub use crate::ticket::{Ticket, TicketState};
pub use facts::{
    ChildFacts, ClientKind, DownReason, Event, Fragmentation, IkeFacts, IkeSpis, Liveness, SessionFacts, Side,
};

/// A session: one remote user's IKE SA, its successors after rekeys, and their Child SAs. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// One job. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(pub u64);

/// What can happen.
#[derive(Debug)]
pub enum Input {
    /// A UDP datagram of IKE arrived.
    Datagram(Datagram),
    /// The clock reached what [`next_wakeup`](crate::Endpoint::next_wakeup) named (earlier or later does no harm).
    Timer,
    /// A job ended.
    JobDone {
        /// Which.
        job: JobId,
        /// How.
        result: JobResult,
    },
    /// The operator asks for something.
    Operator(Operator),
    /// The operator sends a session to another gateway; one whose client cannot follow ([`IkeFacts::redirect`]) stays.
    Redirect {
        /// Which.
        session: SessionId,
        /// Where to.
        to: GatewayName,
    },
    /// The operator sends all new clients that can follow to another gateway, or no more.
    RedirectNewcomers(Option<GatewayName>),
    /// The data plane reports something.
    DataPlane(DataPlaneEvent),
    /// The peer is known to live at this moment (an ESP packet was accepted), so it need not be asked.
    Alive {
        /// Whose packet it was.
        session: SessionId,
    },
    /// Accept nothing new, delete every session; [`Event::ShutdownComplete`] reports the end.
    Shutdown,
}

/// A UDP datagram of IKE. The non-ESP marker of port 4500 is not in `bytes`: the driver strips it and adds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Our address.
    pub local: IpAddr,
    /// Our port: 500 or 4500.
    pub local_port: u16,
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// The IKE message.
    pub bytes: Vec<u8>,
}

/// What an operator can ask of a session. Unknown sessions are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// Delete it, telling the peer.
    Delete(SessionId),
    /// Delete it because policy wants so, telling the peer.
    End {
        /// Which.
        session: SessionId,
        /// What of the policy.
        why: PolicyEnd,
    },
    /// Rekey its IKE SA now.
    RekeyIke(SessionId),
    /// Rekey this Child SA now.
    RekeyChild {
        /// The SPI of packets to us.
        inbound_spi: u32,
    },
    /// Rekey every Child SA of a session now.
    RekeyChildren(SessionId),
    /// Forget it at once without a word to the peer, whatever its state: another session of the same client, already
    /// authenticated, takes its place ([`DownReason::TakenOver`]).
    Drop(SessionId),
    /// Ask this session's peer for life in another way than [`Timing`](crate::policy::Timing) has it.
    SetLiveness {
        /// Whose.
        session: SessionId,
        /// How.
        liveness: Liveness,
    },
}

/// What of a policy ends a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PolicyEnd {
    /// It carried nothing for too long.
    Idle,
    /// It has lasted as long as it may.
    Lifetime,
    /// A token of it was used that was burnt.
    TokenReplay,
}

/// What the data plane reports about one Child SA, named by the SPI of packets to us. Unknown SPIs are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataPlaneEvent {
    /// A soft byte or packet limit was passed: rekey.
    SoftExpired {
        /// The SA.
        inbound_spi: u32,
    },
    /// A hard limit was passed: the SA carries nothing any more.
    HardExpired {
        /// The SA.
        inbound_spi: u32,
    },
    /// An authenticated ESP packet came from a new outer address or port; the data plane already sends there.
    PeerMoved {
        /// The SA.
        inbound_spi: u32,
        /// New outer address.
        peer: IpAddr,
        /// New outer UDP port; `None` for plain ESP.
        peer_port: Option<u16>,
    },
    /// The first authenticated packet on a new SA: the peer uses it.
    FirstInbound {
        /// The SA.
        inbound_spi: u32,
    },
}

/// What the driver must do.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit(Datagram),
    /// Do this and answer with [`Input::JobDone`].
    Job(Job),
    /// Change a Child SA in the data plane. No answer.
    Child(ChildCommand),
    /// The lease ends: the address may be given to another session. No answer.
    ReleaseAddress {
        /// Who held it.
        session: SessionId,
        /// What it held.
        lease: Lease,
    },
    /// Forget the EAP conversation of this session, if there still is one. No answer.
    EapAbandoned {
        /// Whose.
        session: SessionId,
    },
    /// Tell the operator. No answer.
    Event(Event),
}

/// Work that takes time or belongs to someone else.
#[derive(Debug)]
pub struct Job {
    /// Names it in the answer.
    pub id: JobId,
    /// For whom.
    pub session: SessionId,
    /// What.
    pub kind: JobKind,
}

/// What a job does.
#[derive(Debug)]
pub enum JobKind {
    /// Key exchange, signature or verification: call [`PublicKeyJob::run`]. Answer: [`JobResult::PublicKey`].
    PublicKey(Box<PublicKeyJob>),
    /// Find the shared key of this identity: a pre-shared key, or the token of a session to be resumed, whose id the
    /// identity's data is (of any ID type). Nothing is believed yet. Answer: [`JobResult::Psk`].
    PskLookup {
        /// IDi.
        identity: Identity,
    },
    /// A step of this session's EAP conversation. Answer: [`JobResult::Eap`].
    Eap(EapStep),
    /// Find what this ticket was given for (RFC 5723 §4.3.2). It comes from anybody, and nothing is believed yet but what the
    /// driver itself has put into it or behind it. Answer: [`JobResult::TicketFound`].
    FindTicket {
        /// As it was presented, at most [`MAX_TICKET_OCTETS`](crate::ticket::MAX_TICKET_OCTETS).
        ticket: Vec<u8>,
    },
    /// Make a ticket for this session, in place of any that it has. Answer: [`JobResult::TicketMade`]; whoever asked is told
    /// nothing before that.
    MakeTicket(Box<TicketState>),
    /// Lease an inner address. Only ever asked for a client whose AUTH was verified, so it is also the moment to take
    /// over a session that the client resumes. Answer: [`JobResult::Address`].
    Address(AddressRequest),
    /// Install a Child SA, inbound at least. Answer: [`JobResult::Installed`]; IKE's own answer to the peer waits
    /// for it, so that no packet of the peer arrives before the SA is there.
    InstallChild(Box<ChildInstall>),
}

/// How a job ended.
#[derive(Debug)]
pub enum JobResult {
    /// Of [`JobKind::PublicKey`].
    PublicKey(PublicKeyResult),
    /// Of [`JobKind::PskLookup`]; `None` when the identity has none. The client's MAC is then compared with one under a
    /// random key and refused as a wrong one is, so that identities cannot be told apart.
    Psk(Option<PskAnswer>),
    /// Of [`JobKind::FindTicket`]; `None` when it may not be used (any more).
    TicketFound(Option<Box<TicketAnswer>>),
    /// Of [`JobKind::MakeTicket`]; `None` when this session gets none.
    TicketMade(Option<Ticket>),
    /// Of [`JobKind::Eap`].
    Eap(EapOutcome),
    /// Of [`JobKind::Address`].
    Address(Result<Lease, AddressFailure>),
    /// Of [`JobKind::InstallChild`]. On an error nothing is installed; the driver gives the SPI back itself.
    Installed(Result<(), InstallFailure>),
    /// Any job: it could not be done (queue full, deadline passed, worker panicked). An `InstallChild` that ends so
    /// counts as not installed, and the driver gives the SPI back.
    Unavailable,
}

/// A step of an EAP conversation (RFC 7296 §2.16). The driver keeps one conversation per session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EapStep {
    /// Begin: answer with the first request, normally EAP-Identity.
    Start {
        /// IDi: what the client calls itself in IKE (for many clients only an address).
        identity: Identity,
        /// Which method family the client wants: AnyConnect-EAP, or any standard one.
        client: ClientKind,
        /// What an AUTH payload of the client would sign (RFC 7296 §2.15); AnyConnect-EAP has certificates sign it.
        signed_octets: Vec<u8>,
        /// The negotiated PRF, whose hash such a signature uses.
        prf: Prf,
    },
    /// The client's EAP packet, unparsed.
    Response {
        /// Code, identifier, length and data (RFC 3748 §4).
        packet: Vec<u8>,
    },
}

/// What an EAP step led to.
#[derive(Debug)]
pub enum EapOutcome {
    /// Send this EAP request and go on.
    Request {
        /// The whole EAP packet.
        packet: Vec<u8>,
    },
    /// The user has proved itself. The conversation is over.
    Success {
        /// The EAP-Success packet.
        packet: Vec<u8>,
        /// Who it is, for policy and operator.
        user: String,
        /// Which method, e.g. `eap-mschapv2`.
        method: &'static str,
        /// The method's MSK (RFC 3748 §7.10): the key of both final AUTH payloads. `None` for a method that makes none:
        /// SK_pi and SK_pr take its place (RFC 7296 §2.16).
        msk: Option<Secret>,
    },
    /// The user has not. The conversation is over.
    Failure {
        /// The EAP-Failure packet.
        packet: Vec<u8>,
        /// For the operator; never sent.
        reason: String,
    },
}

/// Who wants which inner address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressRequest {
    /// IDi.
    pub identity: Identity,
    /// The authenticated user: the EAP user, else the identity as text.
    pub user: String,
    /// What the client would like of IPv4 (CP payload).
    pub ip4: Wish<Ipv4Addr>,
    /// What it would like of IPv6. It wants at least one of the two.
    pub ip6: Wish<Ipv6Addr>,
    /// `psk`, `certificate`, or the EAP method.
    pub method: String,
    /// What kind of client it is.
    pub client: ClientKind,
    /// Every attribute of the CFG_REQUEST in its order, type (without the reserved bit) and value; at most
    /// [`MAX_CFG_ATTRIBUTES`](crate::wire::MAX_CFG_ATTRIBUTES).
    pub attributes: Vec<(u16, Vec<u8>)>,
    /// The session that the client resumes: its shared key was this session's token, or its ticket this session's.
    pub resume: Option<Resume>,
    /// Whether the client wants to be able to resume this session by a ticket (RFC 5723); [`JobKind::MakeTicket`] follows.
    pub ticket: bool,
}

/// What a client would like to have of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish<A> {
    /// No address.
    None,
    /// Any.
    Any,
    /// This one, if possible.
    This(A),
}

impl<A> Wish<A> {
    /// The address that it names.
    pub fn named(self) -> Option<A> {
        match self {
            Wish::This(address) => Some(address),
            Wish::None | Wish::Any => None,
        }
    }
}

/// The shared key of an identity, and what comes with it.
#[derive(Clone, Debug)]
pub struct PskAnswer {
    /// The key.
    pub key: Secret,
    /// A key that was in force before and still is (a token whose successor the client may not have got).
    pub previous_key: Option<Secret>,
    /// Keys that were in force once; an AUTH under one of them is refused and reported
    /// ([`Event::TokenReplayed`]). Those after the first [`MAX_BURNT_KEYS`] are ignored.
    pub burnt_keys: Vec<Secret>,
    /// How we prove ourselves in turn.
    pub gateway_auth: GatewayAuth,
    /// The user behind it; `None` takes the identity as text.
    pub user: Option<String>,
    /// The driver's own number of the session that is resumed; it comes back in [`AddressRequest::resume`].
    pub resume: Option<u64>,
}

/// Most [`PskAnswer::burnt_keys`] that are compared.
pub const MAX_BURNT_KEYS: usize = 4;

/// What a ticket was given for.
#[derive(Clone, Debug)]
pub struct TicketAnswer {
    /// The IKE SA that it was given for.
    pub state: TicketState,
    /// The driver's own number of the session that is resumed, and which of its tickets this is; it comes back in
    /// [`AddressRequest::resume`].
    pub resume: Resume,
}

/// How the gateway proves itself to a client with a shared key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GatewayAuth {
    /// By the same key.
    Psk,
    /// By its certificate, as to all others.
    Certificate,
}

/// The session that a client has proved to resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resume {
    /// [`PskAnswer::resume`].
    pub tag: u64,
    /// Whether the client used [`PskAnswer::previous_key`], or the ticket before the last: it has not got the answer that named the newer one.
    pub previous_key: bool,
}

/// Inner addresses and what the client is told with them (RFC 7296 §3.15). There is one address at least.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// INTERNAL_IP4_ADDRESS.
    pub address: Option<Ipv4Addr>,
    /// INTERNAL_IP4_NETMASK; `None` sends none.
    pub netmask: Option<Ipv4Addr>,
    /// INTERNAL_IP6_ADDRESS.
    pub address6: Option<Inner6>,
    /// INTERNAL_IP4_DNS and INTERNAL_IP6_DNS.
    pub dns: Vec<IpAddr>,
    /// INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET: what the client sends into the tunnel. Empty: everything.
    pub subnets: Vec<Subnet>,
    /// The selectors of our side that it may have.
    pub selectors: SelectorPolicy,
    /// Seconds until the client must log in anew: it is told (AUTH_LIFETIME, RFC 4478). Who ends its session then is the driver.
    pub lifetime_secs: Option<u32>,
    /// Name of the pool it came from.
    pub pool: String,
    /// More attributes of the CFG_REPLY, type and value. One whose type the client did not ask for is not sent.
    pub attributes: Vec<(u16, Vec<u8>)>,
}

impl Lease {
    /// What of the inner network is the client's.
    pub fn inner(&self) -> Inner {
        Inner { v4: self.address, v6: self.address6 }
    }

    /// The subnets that the selectors of our side are narrowed to; none for no narrowing.
    pub fn selectable(&self) -> &[Subnet] {
        match self.selectors {
            SelectorPolicy::Subnets => &self.subnets,
            SelectorPolicy::Any => &[],
        }
    }
}

/// An inner IPv6 address, and how much around it is the client's too (RFC 7296 §3.15.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Inner6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Prefix length: 128 for the address alone, otherwise the client has every address of the prefix.
    pub prefix_len: u8,
}

/// A client's inner addresses; there is one at least.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Inner {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Inner6>,
}

impl From<IpAddr> for Inner {
    /// A client whose inner address is its outer one.
    fn from(address: IpAddr) -> Inner {
        match address {
            IpAddr::V4(address) => Inner { v4: Some(address), v6: None },
            IpAddr::V6(address) => Inner { v4: None, v6: Some(Inner6 { address, prefix_len: 128 }) },
        }
    }
}

/// What the selectors of our side are narrowed to (RFC 7296 §2.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SelectorPolicy {
    /// To [`Lease::subnets`].
    #[default]
    Subnets,
    /// To nothing: the client has what it asks for, and the subnets are its routes only.
    Any,
}

/// Why there is no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressFailure {
    /// No pool has a free address.
    Exhausted,
    /// This user may have none.
    NotAllowed,
    /// The session that was to be resumed is gone, or another one's by now: the login fails.
    Refused,
}

/// Why a Child SA was not installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstallFailure {
    /// The data plane refused it.
    Refused,
    /// A table is full.
    Full,
}

/// One Child SA pair in tunnel mode, for the data plane.
#[derive(Debug)]
pub struct ChildInstall {
    /// Whose.
    pub session: SessionId,
    /// SPI of packets to us; from [`crate::env::Env::allocate_spi`].
    pub inbound_spi: u32,
    /// SPI of packets to the peer.
    pub outbound_spi: u32,
    /// ESP suite; `to_string()` gives the operator's spelling: `aes256gcm16`, `aes128-sha256`.
    pub suite: EspSuite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Keys of packets to us, RFC 7296 §2.17 order: cipher key, salt, integrity key.
    pub inbound_keymat: Secret,
    /// Keys of packets to the peer, same order.
    pub outbound_keymat: Secret,
    /// Outer addresses.
    pub path: EspPath,
    /// The client's inner addresses: what outbound look-up finds the SA by.
    pub peer_inner: Inner,
    /// Selectors of our side.
    pub local_selectors: Vec<Selector>,
    /// Selectors of the peer's side.
    pub peer_selectors: Vec<Selector>,
    /// Whether outbound look-up finds this SA at once; a rekeyed one waits for [`ChildCommand::SelectOutbound`].
    pub outbound_selected: bool,
}

/// Outer addresses of ESP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EspPath {
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub peer: IpAddr,
    /// UDP ports, ours and the peer's (RFC 3948); `None` for plain ESP.
    pub udp: Option<UdpPorts>,
}

/// UDP ports of encapsulated ESP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpPorts {
    /// Ours.
    pub local: u16,
    /// The peer's as we see it.
    pub peer: u16,
}

/// A traffic selector (RFC 7296 §3.13.1); ranges are inclusive, both addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Selector {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
    /// First port; 0 with `last_port` 65535 means any.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

/// Changes of an installed Child SA, named by the SPI of packets to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildCommand {
    /// Packets to its inner address leave by this SA from now on.
    SelectOutbound {
        /// The SA.
        inbound_spi: u32,
    },
    /// Remove both directions; afterwards the SPI is free.
    Remove {
        /// The SA.
        inbound_spi: u32,
    },
    /// The peer's outer address or port changed, seen by IKE.
    MovePeer {
        /// The SA.
        inbound_spi: u32,
        /// The new path.
        path: EspPath,
    },
}

/// Why [`next_wakeup`](crate::Endpoint::next_wakeup) wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WakeReason {
    /// A request of ours is due to be sent again.
    Retransmit,
    /// A session has no Child SA yet.
    Childless,
    /// A half-open IKE SA has lived long enough.
    HalfOpenTimeout,
    /// The peer should be asked whether it lives.
    LivenessCheck,
    /// An SA is due to be rekeyed.
    Rekey,
    /// An SA reached its hard lifetime.
    HardLifetime,
    /// A client that was sent to another gateway has had time enough.
    Leaving,
    /// An SA that was replaced or deleted is due to be removed.
    Linger,
    /// A job has not been answered in time.
    JobDeadline,
    /// The shutdown's deadline.
    Shutdown,
}

/// The outputs of one or more inputs, in order.
#[derive(Debug, Default)]
pub struct Outputs {
    queue: std::collections::VecDeque<Output>,
}

impl Outputs {
    /// None yet.
    pub fn new() -> Outputs {
        Outputs::default()
    }

    /// The next one to perform.
    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// Whether all are performed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }
}

/// Octets that must not leak: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the octets over.
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// The octets, for whoever must use them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
