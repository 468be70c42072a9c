//! The client's side of IKEv2, sans-IO (RFC 7296): login by EAP or by a session token, rekeys, liveness, delete.
//!
//! Enters: a configuration, datagrams of the gateway, the time. Leaves: [`Output`]s in order. Codec, suites, key schedule
//! and certificates are the gateway's own; states, windows and timers are not shared with it.
//!
//! [`login`] asks for an IKE SA and proves both sides; [`established`] keeps it; [`rekey`] renews it and its Child SAs.

mod established;
mod ike_sa;
mod login;
mod offer;
mod rekey;
mod retry;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use causeway_ike::cert::TrustStore;
use causeway_ike::crypto::{Random, Secret};
use causeway_ike::ident::Identity;
use causeway_ike::suite::{EspProposal, EspSuite, IkeProposal};
use causeway_ike::time::Instant;
use causeway_ike::wire::{Nonce, NotifyType, TrafficSelector};

use crate::attributes::{AttributeNumbers, Granted};
use crate::method::EapMethod;
use established::Established;
use login::{Authenticating, InitSent};

pub use retry::WAITS_MILLIS;

/// Octets of our nonces (RFC 7296 §2.10 asks for half the prf's key, 16 to 256).
const NONCE_OCTETS: usize = 32;
/// Most outputs that wait for the driver; more means that it does not take them.
const MAX_OUTPUTS: usize = 256;

/// What does not change between connections.
pub struct InitiatorConfig {
    /// The name that was dialled: the gateway's certificate must have it among its alternative names.
    pub gateway_name: Identity,
    /// Who signs gateways' certificates.
    pub trust: TrustStore,
    /// IKE proposals; the first group is that of the first KE.
    pub ike: Vec<IkeProposal>,
    /// ESP proposals.
    pub esp: Vec<EspProposal>,
    /// Largest IKE message in one datagram, octets; longer ones go in fragments (RFC 7383). `None`: never.
    pub fragment_octets: Option<usize>,
    /// The same in Cisco's way (payload 132), with gateways that know only that. `None`: never.
    pub cisco_fragment_octets: Option<usize>,
    /// Whether to ask for inner addresses of both families.
    pub ipv6: bool,
    /// Numbers of the attributes of Auto Reconnect.
    pub attributes: AttributeNumbers,
    /// APPLICATION_VERSION.
    pub version: String,
    /// Whether to name ourselves with Cisco's vendor ids.
    pub cisco_vendor_ids: bool,
    /// Seconds between liveness checks; 0 for none.
    pub dpd_interval_secs: u64,
    /// Seconds after which a Child SA is rekeyed; 0 for never.
    pub child_lifetime_secs: u64,
    /// Seconds after which the IKE SA is rekeyed; 0 for never.
    pub ike_lifetime_secs: u64,
}

/// How this connection proves who we are.
pub enum Proof {
    /// A login.
    Eap(Box<dyn EapMethod>),
    /// The token of a session, as a pre-shared key.
    Token(Secret),
}

/// One connection.
pub struct Connection {
    /// IDi.
    pub identity: Identity,
    /// How it is proven.
    pub proof: Proof,
    /// The gateway's address and first port.
    pub gateway: (IpAddr, u16),
    /// Unix time, for certificates.
    pub unix_secs: u64,
}

/// The gateway's port that a datagram goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GatewayPort {
    /// 500: IKE without a marker.
    Ike,
    /// 4500: the driver puts the non-ESP marker in front (RFC 3948 §2.2).
    Natt,
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Where to.
    pub port: GatewayPort,
    /// The IKE message, without marker.
    pub bytes: Vec<u8>,
}

/// What the driver must do or know.
pub enum Output {
    /// Send this.
    Send(Outgoing),
    /// Both sides are proven. [`Output::ChildUp`] follows.
    Up(Box<Granted>),
    /// Carry packets in this Child SA.
    ChildUp(Box<Child>),
    /// This Child SA, named by our inbound SPI, is gone.
    ChildDown(u32),
    /// A new IKE SA has taken the place of the old one.
    IkeRekeyed,
    /// The gateway answered a liveness check.
    DpdAnswered,
    /// There will be no connection. The last output.
    Failed(Fault),
    /// The connection is over. The last output.
    Down(DownReason),
}

/// A Child SA in tunnel mode.
pub struct Child {
    /// Packets to us.
    pub inbound_spi: u32,
    /// Packets to the gateway.
    pub outbound_spi: u32,
    /// Suite.
    pub suite: EspSuite,
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Keys of packets to us: cipher key, salt, integrity key.
    pub inbound: Secret,
    /// Keys of packets to the gateway, same order.
    pub outbound: Secret,
    /// The gateway asked for it: it is not used before the gateway has used it.
    pub by_gateway: bool,
    /// What lies behind the gateway.
    pub remote: Vec<TrafficSelector>,
}

/// Why a connection ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DownReason {
    /// The gateway deleted it.
    #[error("the gateway ended the session")]
    ByGateway,
    /// We asked for it.
    #[error("disconnected")]
    ByUs,
    /// The gateway does not answer.
    #[error("the gateway does not answer")]
    PeerDead,
    /// A message id, an SPI or the random source ran out, or the library failed.
    #[error("{0}")]
    Internal(Fault),
}

/// Why there is no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// No answer to any retransmission.
    #[error("the gateway does not answer")]
    NoAnswer,
    /// Somebody refused with this notify before the gateway had proved itself: anybody on the way can say so.
    #[error("the gateway refused: {}", notify_name(*.0))]
    Refused(NotifyType),
    /// The gateway, which has proved itself, refused with this notify.
    #[error("the gateway refused: {}", notify_name(*.0))]
    Denied(NotifyType),
    /// The EAP method ended without success.
    #[error("login failed: {0}")]
    Login(String),
    /// The gateway is not who it should be. Nothing was told to it.
    #[error("the gateway is not authenticated: {0}")]
    Gateway(&'static str),
    /// An authenticated answer breaks the protocol.
    #[error("the gateway's answer is wrong: {0}")]
    Answer(&'static str),
    /// Our proposals are unusable.
    #[error("no usable proposal")]
    Proposal,
    /// The library failed.
    #[error("cryptography failed")]
    Crypto,
    /// Message ids are used up.
    #[error("message ids are used up")]
    Exhausted,
}

/// The initiator of one connection.
pub struct Initiator {
    shared: Shared,
    state: State,
}

/// What every state needs.
pub(crate) struct Shared {
    config: Arc<InitiatorConfig>,
    random: Box<dyn Random + Send>,
    out: VecDeque<Output>,
}

enum State {
    InitSent(Box<InitSent>),
    Authenticating(Box<Authenticating>),
    Established(Box<Established>),
    Closed,
}

impl Initiator {
    /// Begins: the first request is among the outputs.
    ///
    /// # Errors
    /// [`Fault::Proposal`] without a group to begin with, [`Fault::Crypto`] when the library fails.
    pub fn start(
        config: Arc<InitiatorConfig>,
        connection: Connection,
        random: Box<dyn Random + Send>,
        now: Instant,
    ) -> Result<Initiator, Fault> {
        let mut shared = Shared { config, random, out: VecDeque::new() };
        let state = State::InitSent(Box::new(InitSent::start(&mut shared, connection, now)?));
        Ok(Initiator { shared, state })
    }

    /// Takes a datagram of IKE, without marker. Whatever is not authentic or not expected changes nothing.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) {
        self.step(|shared, state| match state {
            State::InitSent(init) => init.receive(shared, now, datagram),
            State::Authenticating(auth) => auth.receive(shared, now, datagram),
            State::Established(established) => established.receive(shared, now, datagram),
            State::Closed => Ok(State::Closed),
        });
    }

    /// The clock reached [`Initiator::next_wakeup`].
    pub fn on_timer(&mut self, now: Instant) {
        self.step(|shared, state| match state {
            State::InitSent(init) => init.on_timer(shared, now),
            State::Authenticating(auth) => auth.on_timer(shared, now),
            State::Established(established) => established.on_timer(shared, now),
            State::Closed => Ok(State::Closed),
        });
    }

    /// Ends the session with a DELETE; [`Output::Down`] follows.
    pub fn disconnect(&mut self, now: Instant) {
        self.step(|shared, state| match state {
            State::Established(established) => established.disconnect(shared, now),
            _ => {
                shared.push(Output::Down(DownReason::ByUs));
                Ok(State::Closed)
            }
        });
    }

    /// Rekeys every Child SA now.
    pub fn rekey_children(&mut self, now: Instant) {
        self.step(|shared, state| match state {
            State::Established(established) => established.rekey_children(shared, now),
            other => Ok(other),
        });
    }

    /// Rekeys the IKE SA now.
    pub fn rekey_ike(&mut self, now: Instant) {
        self.step(|shared, state| match state {
            State::Established(established) => established.rekey_ike(shared, now),
            other => Ok(other),
        });
    }

    /// When [`Initiator::on_timer`] must be called.
    pub fn next_wakeup(&self) -> Option<Instant> {
        match &self.state {
            State::InitSent(init) => Some(init.next_wakeup()),
            State::Authenticating(auth) => Some(auth.next_wakeup()),
            State::Established(established) => established.next_wakeup(),
            State::Closed => None,
        }
    }

    /// The oldest output that was not taken.
    pub fn next_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// SPIs of the IKE SA, initiator's and responder's, once there is one.
    pub fn ike_spis(&self) -> Option<(u64, u64)> {
        match &self.state {
            State::Established(established) => established.ike_spis(),
            _ => None,
        }
    }

    fn step(&mut self, handle: impl FnOnce(&mut Shared, State) -> Result<State, Fault>) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let was_up = matches!(state, State::Established(_));
        match handle(&mut self.shared, state) {
            Ok(next) => self.state = next,
            Err(fault) if was_up => self.shared.push(Output::Down(DownReason::Internal(fault))),
            Err(fault) => self.shared.push(Output::Failed(fault)),
        }
    }
}

impl Shared {
    fn push(&mut self, output: Output) {
        if self.out.len() < MAX_OUTPUTS {
            self.out.push_back(output);
        }
    }

    fn send(&mut self, datagrams: &[Outgoing]) {
        for datagram in datagrams {
            self.push(Output::Send(datagram.clone()));
        }
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut octets = [0; N];
        self.random.fill(&mut octets).map_err(|_| Fault::Crypto)?;
        Ok(octets)
    }

    fn nonce(&mut self) -> Result<Nonce, Fault> {
        Nonce::new(self.octets::<NONCE_OCTETS>()?.to_vec()).map_err(|_| Fault::Crypto)
    }

    /// An SPI for packets to us; 0 to 255 are reserved (RFC 4303 §2.1).
    fn esp_spi(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.octets()?) | 0x100)
    }
}

/// After the first exchange everything goes to the second port, so that ESP finds its way through any NAT.
fn to_natt(datagrams: Vec<Vec<u8>>) -> Vec<Outgoing> {
    datagrams.into_iter().map(|bytes| Outgoing { port: GatewayPort::Natt, bytes }).collect()
}

fn notify_name(kind: NotifyType) -> String {
    kind.name().map_or_else(|| format!("notify {}", kind.number()), str::to_owned)
}
