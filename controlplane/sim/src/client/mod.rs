//! A remote user's client: IKEv2 initiator, then either side of every exchange (RFC 7296).
//!
//! Enters: datagrams, the virtual clock, wishes of its user. Leaves: datagrams, and at any moment what it believes: its IKE
//! SA, its Child SAs with their keys, its address. It shares the codec, the key schedule and the algorithms with the
//! gateway, and nothing else, so that a rule which the gateway misreads is not misread twice.

mod child;
mod established;
mod handshake;
mod link;
mod rekey;
mod rogue;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use causeway_eap::NtHash;
use causeway_ike::api::Inner;
use causeway_ike::api::Secret;
use causeway_ike::cert::Credential;
use causeway_ike::ident::Identity;
use causeway_ike::suite::{EspProposal, Group, IkeProposal};
use causeway_ike::wire::{
    CfgAttribute, CfgAttributeType, Header, Incoming, NotifyType, TrafficSelector, TsRange,
};

use crate::net::{Esp, Load, Packet};
use crate::rng::Rng;

use established::Established;
use handshake::Handshake;

/// Port of IKE.
const IKE_PORT: u16 = 500;
/// Port of IKE with NAT traversal (RFC 7296 §2.23).
const NAT_T_PORT: u16 = 4500;

/// Families of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both, by one Child SA.
    Both,
}

impl Families {
    /// The attributes that ask for addresses.
    pub(crate) fn addresses(self) -> &'static [CfgAttributeType] {
        match self {
            Families::V4 => &[CfgAttributeType::InternalIp4Address],
            Families::V6 => &[CfgAttributeType::InternalIp6Address],
            Families::Both => &[CfgAttributeType::InternalIp4Address, CfgAttributeType::InternalIp6Address],
        }
    }

    /// TSi or TSr: everything.
    pub(crate) fn everything(self) -> Vec<TrafficSelector> {
        let ranges: &[TsRange] = match self {
            Families::V4 => &[TsRange::any_ipv4()],
            Families::V6 => &[TsRange::any_ipv6()],
            Families::Both => &[TsRange::any_ipv4(), TsRange::any_ipv6()],
        };
        ranges.iter().copied().map(TrafficSelector::Range).collect()
    }
}

/// Who a client is and how it behaves.
#[derive(Clone)]
pub struct ClientConfig {
    /// Its own address, perhaps behind a NAT.
    pub address: IpAddr,
    /// The gateway's address.
    pub gateway: IpAddr,
    /// The gateway's identity.
    pub gateway_identity: Identity,
    /// The gateway's public key (P-256, uncompressed point), with which it must have signed.
    pub gateway_key: Vec<u8>,
    /// IDi.
    pub identity: Identity,
    /// How it proves itself.
    pub login: Login,
    /// IKE proposals.
    pub ike: Vec<IkeProposal>,
    /// Group of the first KE payload, which the gateway may refuse.
    pub first_group: Group,
    /// ESP proposals for CREATE_CHILD_SA; for IKE_AUTH they are offered without groups.
    pub esp: Vec<EspProposal>,
    /// Whether it starts on port 4500 at once.
    pub port_4500_at_once: bool,
    /// Whether it says INITIAL_CONTACT.
    pub initial_contact: bool,
    /// The families of inner addresses that it asks for, and offers selectors of.
    pub families: Families,
    /// Types of more attributes that it asks for.
    pub attributes: Vec<u16>,
}

/// How a client proves itself.
#[derive(Clone)]
pub enum Login {
    /// Pre-shared key, which the gateway uses too.
    Psk(Vec<u8>),
    /// A certificate that names the identity; the gateway uses its own.
    Certificate(Rc<Credential>),
    /// EAP-MSCHAPv2; the gateway uses its certificate.
    Eap {
        /// User name.
        user: String,
        /// Hash of the password.
        hash: NtHash,
    },
    /// The token of a session whose id is the identity; the gateway uses its certificate.
    Resume(Vec<u8>),
}

/// What a client's user can want.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A new Child SA instead of the newest.
    RekeyChild,
    /// A new IKE SA.
    RekeyIke,
    /// An empty exchange.
    Liveness,
    /// Good-bye.
    Delete,
    /// To see what the gateway makes of nonsense under good keys.
    Mischief,
}

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Did not start.
    Idle,
    /// Logging in.
    Connecting,
    /// Logged in.
    Up,
    /// It is over.
    Gone(End),
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The gateway refused, with this notify.
    Refused(NotifyType),
    /// The gateway did not answer.
    Timeout,
    /// The client said good-bye.
    Deleted,
    /// The gateway said good-bye.
    DeletedByGateway,
    /// The machine was switched off.
    Crashed,
    /// The gateway broke a rule; [`Client::faults`] says which.
    Fault,
}

/// A Child SA as the client has it.
#[derive(Clone)]
pub struct Child {
    /// SPI of packets to the client.
    pub inbound_spi: u32,
    /// SPI of packets to the gateway.
    pub outbound_spi: u32,
    /// Keys of packets to the client.
    pub inbound_key: Secret,
    /// Keys of packets to the gateway.
    pub outbound_key: Secret,
    /// Whether sequence numbers are extended.
    pub esn: bool,
    /// Whether packets to the gateway leave by it; the newest such is used.
    pub outbound: bool,
}

/// A client.
pub struct Client {
    config: ClientConfig,
    state: State,
    /// Everything a client carries from one exchange to the next, whatever its state.
    shared: Shared,
}

/// What every state needs at hand.
struct Shared {
    rng: Rng,
    our_port: u16,
    gateway_port: u16,
    behind_nat: bool,
    next_spi: u32,
    out: Vec<Packet>,
    faults: Vec<String>,
    address: IpAddr,
    gateway: IpAddr,
    /// Of the last CFG_REPLY.
    granted: Vec<CfgAttribute>,
    retransmissions: u64,
}

enum State {
    Idle,
    Connecting(Box<Handshake>),
    Up(Box<Established>),
    Gone(End),
}

impl Client {
    /// A client that has not started.
    pub fn new(config: ClientConfig, mut rng: Rng) -> Client {
        let port = if config.port_4500_at_once { NAT_T_PORT } else { IKE_PORT };
        let shared = Shared {
            next_spi: 0x1000_0000 | (rng.bits() as u32 >> 8),
            rng,
            our_port: port,
            gateway_port: port,
            behind_nat: false,
            out: vec![],
            faults: vec![],
            address: config.address,
            gateway: config.gateway,
            granted: vec![],
            retransmissions: 0,
        };
        Client { config, state: State::Idle, shared }
    }

    /// Begins to log in. A client that was up or gone begins anew and remembers nothing.
    pub fn connect(&mut self, now_ms: u64) {
        let port = if self.config.port_4500_at_once { NAT_T_PORT } else { IKE_PORT };
        (self.shared.our_port, self.shared.gateway_port) = (port, port);
        self.shared.behind_nat = false;
        let handshake = Handshake::start(now_ms, &self.config, &mut self.shared);
        self.state = State::Connecting(Box::new(handshake));
    }

    /// Proves itself in this way from the next [`Client::connect`] on.
    pub fn prove_by(&mut self, login: Login) {
        self.config.login = login;
    }

    /// Lets the user want something; only a client that is up can.
    pub fn wish(&mut self, now_ms: u64, wish: Wish) {
        if let State::Up(up) = &mut self.state {
            up.wish(now_ms, wish, &self.config, &mut self.shared);
        }
    }

    /// Switches the machine off: everything is forgotten, nobody is told.
    pub fn crash(&mut self) {
        self.state = State::Gone(End::Crashed);
        self.shared.out.clear();
    }

    /// Takes an IKE datagram.
    pub fn receive(&mut self, now_ms: u64, from: SocketAddr, datagram: &[u8]) {
        if from.ip() != self.config.gateway {
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Connecting(handshake) => {
                self.state = handshake.receive(now_ms, datagram, &self.config, &mut self.shared);
            }
            State::Up(up) => self.state = up.receive(now_ms, datagram, &self.config, &mut self.shared),
            other => self.state = other,
        }
    }

    /// Takes an ESP packet; whether one of its Child SAs opens it.
    pub fn receive_esp(&mut self, esp: &Esp) -> bool {
        let State::Up(up) = &self.state else { return false };
        up.inbound().any(|(spi, key)| (spi, key) == (esp.spi, &esp.key))
    }

    /// Sends an ESP packet by the Child SA in use, if there is one.
    pub fn send_esp(&mut self) {
        let State::Up(up) = &self.state else { return };
        if let Some(child) = up.children().iter().rev().find(|child| child.outbound) {
            let esp = Esp { spi: child.outbound_spi, key: child.outbound_key.clone() };
            self.shared.send(Load::Esp(esp));
        }
    }

    /// Looks at the clock.
    pub fn tick(&mut self, now_ms: u64) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Connecting(handshake) => self.state = handshake.tick(now_ms, &mut self.shared),
            State::Up(up) => self.state = up.tick(now_ms, &self.config, &mut self.shared),
            other => self.state = other,
        }
    }

    /// When [`Client::tick`] has something to do.
    pub fn next_wakeup(&self) -> Option<u64> {
        match &self.state {
            State::Connecting(handshake) => handshake.due_ms(),
            State::Up(up) => up.due_ms(),
            State::Idle | State::Gone(_) => None,
        }
    }

    /// What it wants to send.
    pub fn drain(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.shared.out)
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Idle => Phase::Idle,
            State::Connecting(_) => Phase::Connecting,
            State::Up(_) => Phase::Up,
            State::Gone(end) => Phase::Gone(*end),
        }
    }

    /// Its Child SAs, oldest first.
    pub fn children(&self) -> &[Child] {
        match &self.state {
            State::Up(up) => up.children(),
            _ => &[],
        }
    }

    /// The SPIs of its IKE SA, initiator's first.
    pub fn ike_spis(&self) -> Option<(u64, u64)> {
        match &self.state {
            State::Up(up) => Some(up.spis()),
            _ => None,
        }
    }

    /// Its inner addresses; none unless it is up.
    pub fn inner(&self) -> Inner {
        match &self.state {
            State::Up(up) => up.inner,
            _ => Inner { v4: None, v6: None },
        }
    }

    /// What the gateway granted with the address, the last time.
    pub fn granted(&self) -> &[CfgAttribute] {
        &self.shared.granted
    }

    /// Requests sent again so far, while logging in.
    pub fn retransmissions(&self) -> u64 {
        self.shared.retransmissions
    }

    /// Whether it has nothing under way.
    pub fn is_settled(&self) -> bool {
        self.next_wakeup().is_none()
    }

    /// Its own address.
    pub fn address(&self) -> IpAddr {
        self.config.address
    }

    /// Rules that the gateway broke.
    pub fn faults(&self) -> &[String] {
        &self.shared.faults
    }
}

impl Shared {
    fn send(&mut self, load: Load) {
        let from = SocketAddr::new(self.address, self.our_port);
        let to = SocketAddr::new(self.gateway, self.gateway_port);
        self.out.push(Packet { from, to, load });
    }

    fn send_all(&mut self, datagrams: Vec<Vec<u8>>) {
        datagrams.into_iter().for_each(|bytes| self.send(Load::Ike(bytes)));
    }

    fn new_spi(&mut self) -> u32 {
        self.next_spi += 1;
        self.next_spi
    }

    fn fault(&mut self, what: impl Into<String>) -> State {
        self.faults.push(what.into());
        State::Gone(End::Fault)
    }
}

/// The header of a datagram that is an IKE message.
fn header_of(datagram: &[u8]) -> Option<Header> {
    Incoming::parse(datagram).ok().map(|incoming| *incoming.header())
}
