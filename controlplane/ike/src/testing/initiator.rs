//! The test initiator's exchanges: login by PSK, certificate or EAP; rekeys, deletes, liveness, from either side.
//!
//! Long because a test's reader finds what the client does in one place.

mod follow_up;
mod resume;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cert::{CertUse, Credential, SIGNATURE_HASHES, TrustStore};
use crate::cisco::VendorId;
use crate::crypto::{
    ExchangeValues, IkeKeys, KePrivate, KemPrivate, Random, Role, SharedSecret, nat_detection_hash,
    resumption_auth, shared_key_auth, verify_shared_key_auth,
};
use crate::exchange::mobility::protected_addresses;
use crate::ident::Identity;
use crate::ppk;
use crate::sa::Path;
use crate::suite::{
    ChildKe, EspChoice, EspPolicy, EspProposal, EspSuite, Group, IkeProposal, IkeStage, Kem, Prf,
    accept_esp_answer, accept_ike_answer, select_esp, select_ike,
};
use crate::wire::{
    Auth, AuthMethod, Cert, CfgAttribute, CfgAttributeType, CfgType, Configuration, Delete, ExchangeType,
    Header, Identification, IkeSpi, Incoming, Ke, Message, Nonce, Notify, NotifyType, Payload, ProtocolId,
    Sa, SignatureHash, TrafficSelector, TsRange,
};

use super::ppk::{InitiatorPpk, Unmixed};
use super::sa::{ClientSa, Opened};
use follow_up::RekeyedIke;
pub use resume::InitiatorTicket;

/// How the initiator proves itself.
pub enum AuthWith {
    /// A pre-shared key, both ways.
    Psk(Vec<u8>),
    /// A certificate; the gateway has one too.
    Certificate(Box<Credential>),
    /// EAP; the gateway has a certificate.
    Eap(Box<dyn EapPeer + Send>),
    /// The token of an earlier session, whose id is the identity; the gateway has a certificate.
    Resume(Vec<u8>),
    /// A ticket of an earlier session (RFC 5723); the gateway has the same.
    Ticket(Box<InitiatorTicket>),
}

/// The client's side of an EAP method.
pub trait EapPeer {
    /// Answers an EAP request; `None` gives up.
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>>;

    /// The MSK, once the method has one.
    fn msk(&self) -> Option<Vec<u8>>;

    /// Whether the method makes a key at all; if not, SK_pi and SK_pr take its place (RFC 7296 §2.16).
    fn makes_key(&self) -> bool {
        true
    }

    /// What an AUTH payload of ours would sign, and the PRF; told before the first request.
    fn bind(&mut self, signed_octets: &[u8], prf: Prf) {
        let _ = (signed_octets, prf);
    }
}

/// What the initiator wants.
pub struct InitiatorConfig {
    /// IDi.
    pub identity: Identity,
    /// How it proves itself.
    pub auth: AuthWith,
    /// IDr that it asks for.
    pub remote: Option<Identity>,
    /// Who signs the gateway's certificate; `None` does not look.
    pub trust: Option<TrustStore>,
    /// Unix time for certificates.
    pub unix_secs: u64,
    /// IKE proposals; the first group is the one of the first KE.
    pub ike: Vec<IkeProposal>,
    /// ESP proposals.
    pub esp: Vec<EspProposal>,
    /// Its own address and port, as it believes.
    pub local: (IpAddr, u16),
    /// The gateway's.
    pub gateway: (IpAddr, u16),
    /// Sends a wrong source hash, as a client that wants UDP encapsulation.
    pub force_nat: bool,
    /// Sends fragments of at most this many octets of IKE.
    pub fragment: Option<usize>,
    /// Announces RFC 7383 when `fragment` is set; else only Cisco's way, if it is among the vendor ids.
    pub ietf_fragments: bool,
    /// Vendor ids of IKE_SA_INIT.
    pub vendor_ids: Vec<VendorId>,
    /// Sends a CFG_REQUEST in the clear with IKE_SA_INIT, as Cisco's clients do.
    pub clear_cp: bool,
    /// Sends SIGNATURE_HASH_ALGORITHMS.
    pub announce_hashes: bool,
    /// Says that EAP alone would do (RFC 5998).
    pub eap_only: bool,
    /// More attributes of the CFG_REQUEST.
    pub attributes: Vec<(u16, Vec<u8>)>,
    /// The reserved octets of IDi, which the MAC covers.
    pub id_reserved: [u8; 3],
    /// Asks for a ticket with its login (RFC 5723).
    pub ask_ticket: bool,
    /// Asks for an inner address.
    pub ask_address: bool,
    /// Sends INITIAL_CONTACT.
    pub initial_contact: bool,
    /// Announces MOBIKE (RFC 4555).
    pub mobike: bool,
    /// Announces PPKs (RFC 8784) and has this one.
    pub ppk: Option<InitiatorPpk>,
    /// Wants no Child SA with its login (RFC 6023).
    pub childless: bool,
    /// Follows a REDIRECT: says so, and names the gateway that sent it here, if one did (RFC 5685).
    pub redirect: Option<Option<Ipv4Addr>>,
    /// Answers COOKIE2 with another one, as nobody should.
    pub wrong_cookie2: bool,
    /// TSi and TSr.
    pub selectors: (Vec<TrafficSelector>, Vec<TrafficSelector>),
    /// Changes the payloads of the first two requests before they are sent: what other clients send, and in which order.
    pub arrange: Arrange,
}

/// Changes the payloads of IKE_SA_INIT or of the first IKE_AUTH.
pub type Arrange = fn(ExchangeType, Vec<Payload>) -> Vec<Payload>;

impl InitiatorConfig {
    /// A client that offers what the responder usually takes and asks for everything.
    pub fn new(
        identity: Identity,
        auth: AuthWith,
        ike: &str,
        esp: &str,
    ) -> Result<InitiatorConfig, TestError> {
        let any = vec![TrafficSelector::Range(TsRange::any_ipv4())];
        Ok(InitiatorConfig {
            identity,
            auth,
            remote: None,
            trust: None,
            unix_secs: 0,
            ike: vec![ike.parse().map_err(|_| TestError::Proposal)?],
            esp: vec![esp.parse().map_err(|_| TestError::Proposal)?],
            local: (Ipv4Addr::new(198, 51, 100, 7).into(), 500),
            gateway: (Ipv4Addr::new(192, 0, 2, 1).into(), 500),
            force_nat: false,
            fragment: None,
            ietf_fragments: true,
            vendor_ids: Vec::new(),
            clear_cp: false,
            announce_hashes: true,
            eap_only: false,
            attributes: Vec::new(),
            id_reserved: [0; 3],
            ask_ticket: false,
            ask_address: true,
            initial_contact: false,
            mobike: false,
            ppk: None,
            childless: false,
            redirect: None,
            wrong_cookie2: false,
            selectors: (any.clone(), any),
            arrange: |_, payloads| payloads,
        })
    }
}

/// A datagram to send. Ports are 500 until a NAT is detected, then 4500.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Our port.
    pub local_port: u16,
    /// The gateway's port.
    pub gateway_port: u16,
    /// The IKE message.
    pub bytes: Vec<u8>,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notable {
    /// The IKE SA is up.
    Up,
    /// The exchange was refused with this notify.
    Refused(NotifyType),
    /// The gateway sent EAP-Failure.
    EapFailed,
    /// A cookie was asked for.
    CookieAsked,
    /// Another group was asked for.
    GroupAsked(u16),
    /// A Child SA is up, named by our inbound SPI.
    ChildUp(u32),
    /// A Child SA is gone.
    ChildDown(u32),
    /// The IKE SA was replaced.
    IkeRekeyed,
    /// An answer without error to an INFORMATIONAL of ours.
    Answered,
    /// The gateway sends us to another one: "GW Ident Type" and name (RFC 5685 §9.2).
    Redirected(u8, Vec<u8>),
    /// The gateway has asked whether we receive packets here (COOKIE2), and was answered.
    RoutabilityAsked,
    /// The gateway deleted the IKE SA, or answered our Delete.
    Down,
}

/// Why the initiator cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// A proposal string is wrong.
    #[error("proposal")]
    Proposal,
    /// A message does not parse or open.
    #[error("message does not parse or open")]
    Wire,
    /// Cryptography failed.
    #[error("cryptography")]
    Crypto,
    /// The gateway's proof of identity is wrong.
    #[error("gateway is not authenticated: {0}")]
    Gateway(&'static str),
    /// A payload is missing or wrong.
    #[error("unexpected answer: {0}")]
    Answer(&'static str),
    /// Not possible now.
    #[error("not now: {0}")]
    State(&'static str),
}

/// A Child SA of the initiator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientChild {
    /// Packets to us.
    pub inbound_spi: u32,
    /// Packets to the gateway.
    pub outbound_spi: u32,
    /// Suite.
    pub suite: EspSuite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Group of the fresh key exchange, if there was one.
    pub group: Option<Group>,
    /// Keys of packets to us.
    pub inbound_keymat: Vec<u8>,
    /// Keys of packets to the gateway.
    pub outbound_keymat: Vec<u8>,
    /// Selectors of our side.
    pub local: Vec<TrafficSelector>,
    /// Selectors of the gateway's side.
    pub remote: Vec<TrafficSelector>,
}

/// The initiator.
pub struct Initiator {
    config: InitiatorConfig,
    random: Box<dyn Random + Send>,
    spi: IkeSpi,
    ni: Nonce,
    nr: Option<Nonce>,
    init_request: Vec<u8>,
    init_response: Vec<u8>,
    peer_hashes: Option<Vec<SignatureHash>>,
    cookie: Option<Vec<u8>>,
    group: Group,
    private: Option<KePrivate>,
    nat: bool,
    sas: Vec<ClientSa>,
    pending: Option<Pending>,
    gateway_id: Option<Identification>,
    children: Vec<ClientChild>,
    /// Both sides announced MOBIKE.
    mobike: bool,
    /// The gateway announced PPKs, too.
    ppk_announced: bool,
    /// The keys without the PPK, once it is mixed in.
    unmixed: Option<Unmixed>,
    init_payloads: Vec<Payload>,
    last_answer: Vec<Payload>,
    address: Option<Ipv4Addr>,
    address6: Option<(Ipv6Addr, u8)>,
    config_reply: Option<Configuration>,
    gateway_vendor_ids: Vec<Vec<u8>>,
    /// Rekeys of the gateway that crossed one of ours: what is rekeyed, and the lowest nonce of its exchange.
    rivals: Vec<(Rekeyed, Nonce)>,
    notable: VecDeque<Notable>,
    gateways_rekey: Option<Box<RekeyedIke>>,
    ticket: Option<InitiatorTicket>,
    asks_with_rekeys: bool,
    /// For which resource Child SAs are made (RFC 9611).
    resource: Option<Vec<u8>>,
    /// AUTH says nothing of IKE_INTERMEDIATE, as nobody's should.
    forgets_intermediate: bool,
}

/// What is rekeyed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rekeyed {
    /// A Child SA, by our inbound SPI.
    Child(u32),
    Ike,
}

/// The request that has no answer yet.
struct Pending {
    sa: IkeSpi,
    id: u32,
    sent: Vec<Outgoing>,
    about: About,
}

enum About {
    /// The additional key exchange of this number, from zero.
    Intermediate {
        index: usize,
        private: KemPrivate,
    },
    Auth {
        spi: u32,
    },
    Eap {
        spi: u32,
    },
    Child {
        spi: u32,
        old: Option<u32>,
        private: Option<KePrivate>,
        ni: Nonce,
    },
    Ike {
        spi: IkeSpi,
        private: KePrivate,
        ni: Nonce,
    },
    FollowUp {
        private: KemPrivate,
        made: Box<RekeyedIke>,
    },
    DeleteChild {
        spi: u32,
    },
    DeleteIke,
    DeleteOld,
    Liveness,
    Update,
}

impl Initiator {
    /// An initiator that has sent nothing.
    pub fn new(config: InitiatorConfig, mut random: Box<dyn Random + Send>) -> Result<Initiator, TestError> {
        let group = *config.ike.first().and_then(|p| p.groups.first()).ok_or(TestError::Proposal)?;
        let spi = IkeSpi(u64::from_be_bytes(octets(&mut *random)?) | 1);
        let ni = nonce(&mut *random)?;
        Ok(Initiator {
            config,
            random,
            spi,
            ni,
            nr: None,
            init_request: Vec::new(),
            init_response: Vec::new(),
            peer_hashes: None,
            cookie: None,
            group,
            private: None,
            nat: false,
            sas: Vec::new(),
            pending: None,
            gateway_id: None,
            children: Vec::new(),
            mobike: false,
            ppk_announced: false,
            unmixed: None,
            init_payloads: Vec::new(),
            last_answer: Vec::new(),
            address: None,
            address6: None,
            config_reply: None,
            gateway_vendor_ids: Vec::new(),
            rivals: Vec::new(),
            notable: VecDeque::new(),
            gateways_rekey: None,
            ticket: None,
            asks_with_rekeys: false,
            resource: None,
            forgets_intermediate: false,
        })
    }

    /// Leaves IKE_INTERMEDIATE out of AUTH, for tests of what must be refused.
    pub fn forget_intermediate(&mut self) {
        self.forgets_intermediate = true;
    }

    /// What happened since the last call.
    pub fn take_notable(&mut self) -> Vec<Notable> {
        self.notable.drain(..).collect()
    }

    /// Its Child SAs, oldest first.
    pub fn children(&self) -> &[ClientChild] {
        &self.children
    }

    /// The inner address it was given.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.address
    }

    /// The inner IPv6 address it was given, with the length of its prefix.
    pub fn address6(&self) -> Option<(Ipv6Addr, u8)> {
        self.address6
    }

    /// The CFG_REPLY it was given.
    pub fn config_reply(&self) -> Option<&Configuration> {
        self.config_reply.as_ref()
    }

    /// The vendor ids of the gateway.
    pub fn gateway_vendor_ids(&self) -> &[Vec<u8>] {
        &self.gateway_vendor_ids
    }

    /// Whether a request of ours has no answer.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some() || (self.private.is_some() && self.sas.is_empty())
    }

    /// Whether the IKE SA is up.
    pub fn is_up(&self) -> bool {
        self.gateway_id.is_some() && !self.sas.is_empty()
    }

    /// The IKE_SA_INIT request.
    pub fn start(&mut self) -> Result<Vec<Outgoing>, TestError> {
        if let AuthWith::Ticket(ticket) = &self.config.auth {
            let ticket = ticket.clone();
            return self.start_resumption(&ticket);
        }
        let private = KePrivate::generate(self.group, &mut *self.random).map_err(|_| TestError::Crypto)?;
        let public = private.public().map_err(|_| TestError::Crypto)?;
        self.private = Some(private);
        let proposals = (1..=u8::MAX).zip(&self.config.ike).map(|(n, p)| p.to_wire(n, &[]));
        let mut payloads: Vec<Payload> = Vec::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(Payload::Notify(Notify::with_data(NotifyType::Cookie, cookie.clone())));
        }
        payloads.push(Payload::Sa(Sa { proposals: proposals.collect() }));
        payloads.push(Payload::Ke(Ke { group: self.group.number(), data: public }));
        payloads.push(Payload::Nonce(self.ni.clone()));
        let hash = |(address, port): (IpAddr, u16)| nat_detection_hash(self.spi, IkeSpi::ZERO, address, port);
        let source = if self.config.force_nat { vec![0; 20] } else { hash(self.config.local) };
        let notify = |kind, data| Payload::Notify(Notify::with_data(kind, data));
        payloads.push(notify(NotifyType::NatDetectionSourceIp, source));
        payloads.push(notify(NotifyType::NatDetectionDestinationIp, hash(self.config.gateway)));
        if self.config.fragment.is_some() && self.config.ietf_fragments {
            payloads.push(Payload::Notify(Notify::new(NotifyType::FragmentationSupported)));
        }
        match self.config.redirect {
            Some(Some(from)) => {
                let data = [&[1, 4][..], &from.octets()].concat();
                payloads.push(notify(NotifyType::RedirectedFrom, data));
            }
            Some(None) => payloads.push(notify(NotifyType::RedirectSupported, Vec::new())),
            None => {}
        }
        if self.config.ike.iter().any(|proposal| !proposal.kems.is_empty()) {
            payloads.push(Payload::Notify(Notify::new(NotifyType::IntermediateExchangeSupported)));
        }
        if self.config.announce_hashes {
            payloads.push(Payload::Notify(Notify::signature_hashes(&SIGNATURE_HASHES)));
        }
        if self.config.ppk.is_some() {
            payloads.push(Payload::Notify(Notify::new(NotifyType::UsePpk)));
        }
        payloads.extend(self.config.vendor_ids.iter().map(|id| Payload::Vendor(id.octets().to_vec())));
        if self.config.clear_cp {
            let attributes =
                vec![CfgAttribute { kind: CfgAttributeType::from_number(0x0340), value: vec![0, 0] }];
            payloads.push(Payload::Cp(Configuration { kind: CfgType::Request, attributes }));
        }
        let payloads = (self.config.arrange)(ExchangeType::IkeSaInit, payloads);
        let header = Header::new(self.spi, IkeSpi::ZERO, ExchangeType::IkeSaInit, true, false, 0);
        self.init_request = Message::new(header, payloads).emit_clear().map_err(|_| TestError::Wire)?;
        Ok(self.outgoing(vec![self.init_request.clone()]))
    }

    /// The request without an answer, again.
    pub fn retransmit(&self) -> Vec<Outgoing> {
        match &self.pending {
            Some(pending) => pending.sent.clone(),
            None if self.sas.is_empty() => self.outgoing(vec![self.init_request.clone()]),
            None => Vec::new(),
        }
    }

    /// Takes a datagram of the gateway.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<Vec<Outgoing>, TestError> {
        let header = Header::parse(datagram).map_err(|_| TestError::Wire)?;
        if header.exchange == ExchangeType::IkeSaInit {
            return self.on_init(datagram);
        }
        if header.exchange == ExchangeType::IkeSessionResume {
            return self.on_resumption(datagram);
        }
        let local = if header.from_initiator { header.responder_spi } else { header.initiator_spi };
        let Some(at) = self.sas.iter().position(|sa| sa.local_spi() == local) else { return Ok(Vec::new()) };
        let sa = self.sas.get_mut(at).ok_or(TestError::State("no IKE SA"))?;
        match sa.open(datagram)? {
            Opened::Nothing => Ok(Vec::new()),
            Opened::Again(datagrams) => Ok(self.outgoing(datagrams)),
            Opened::Answer(message) => {
                let expected = |p: &Pending| p.sa == local && p.id == message.header.message_id;
                match self.pending.take_if(|pending| expected(pending)) {
                    Some(pending) => self.on_answer(at, pending.about, &message),
                    None => Ok(Vec::new()),
                }
            }
            Opened::Request(message) => self.on_request(at, &message),
        }
    }

    fn on_init(&mut self, datagram: &[u8]) -> Result<Vec<Outgoing>, TestError> {
        let Ok(Incoming::Clear(message)) = Incoming::parse(datagram) else { return Err(TestError::Wire) };
        if !self.sas.is_empty() || message.header.initiator_spi != self.spi {
            return Ok(Vec::new());
        }
        if let Some(cookie) = message.notify(NotifyType::Cookie) {
            self.notable.push_back(Notable::CookieAsked);
            self.cookie = Some(cookie.data.clone());
            return self.start();
        }
        if let Some(redirect) = message.notify(NotifyType::Redirect) {
            let (kind, name, nonce) = read_redirect(redirect)?;
            // RFC 5685 §3: with another nonce somebody else has sent it.
            if nonce == self.ni.as_bytes() {
                self.notable.push_back(Notable::Redirected(kind, name));
            }
            return Ok(Vec::new());
        }
        if let Some(error) = message.error_notify() {
            if error.kind == NotifyType::InvalidKePayload
                && let Some(group) = error.data_u16().and_then(Group::from_number)
            {
                self.notable.push_back(Notable::GroupAsked(group.number()));
                self.group = group;
                return self.start();
            }
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        let (Some(sa), Some(ke), Some(nr)) = (message.sa(), message.ke(), message.nonce()) else {
            return Err(TestError::Answer("IKE_SA_INIT lacks payloads"));
        };
        self.ppk_announced = self.config.ppk.is_some() && message.notify(NotifyType::UsePpk).is_some();
        if !self.ppk_announced && self.config.ppk.as_ref().is_some_and(|ppk| ppk.mandatory) {
            return Err(TestError::Gateway("no PPK"));
        }
        let choice = accept_ike_answer(&self.config.ike, sa, false).ok_or(TestError::Answer("SA"))?;
        let private = self.private.take().ok_or(TestError::State("no key"))?;
        let shared = private.derive(&ke.data).map_err(|_| TestError::Crypto)?;
        let responder = message.header.responder_spi;
        let values = ExchangeValues {
            initiator_nonce: &self.ni,
            responder_nonce: nr,
            initiator_spi: self.spi,
            responder_spi: responder,
        };
        let keys = IkeKeys::initial(choice.suite, &shared, &values).map_err(|_| TestError::Crypto)?;
        let cisco_id = Payload::Vendor(VendorId::Fragmentation.octets().to_vec());
        let ietf = message.notify(NotifyType::FragmentationSupported).is_some();
        let cisco = message.payloads.contains(&cisco_id) && !ietf;
        let fragment = self.config.fragment.filter(|_| ietf || cisco);
        self.gateway_vendor_ids = message
            .payloads
            .iter()
            .filter_map(|payload| match payload {
                Payload::Vendor(body) => Some(body.clone()),
                _ => None,
            })
            .collect();
        self.init_payloads.clone_from(&message.payloads);
        self.nat = self.detect_nat(&message);
        self.peer_hashes =
            message.notify(NotifyType::SignatureHashAlgorithms).map(|notify| notify.hash_list().collect());
        self.nr = Some(nr.clone());
        self.init_response = datagram.to_vec();
        self.sas.push(ClientSa::new(self.spi, responder, Role::Initiator, keys, 1, (fragment, cisco))?);
        if !choice.suite.kems.is_empty()
            && message.notify(NotifyType::IntermediateExchangeSupported).is_none()
        {
            return Err(TestError::Answer("additional key exchanges without IKE_INTERMEDIATE"));
        }
        self.next_intermediate(0)
    }

    /// The additional key exchange of this number, or IKE_AUTH if there is none left (RFC 9370 §2.2.2).
    fn next_intermediate(&mut self, index: usize) -> Result<Vec<Outgoing>, TestError> {
        let Some(kem) = self.first_sa()?.keys.suite.kems.get(index) else { return self.first_auth() };
        let (data, private) = KemPrivate::generate(kem).map_err(|_| TestError::Crypto)?;
        let payloads = vec![Payload::Ke(Ke { group: kem.number(), data })];
        let payloads = (self.config.arrange)(ExchangeType::IkeIntermediate, payloads);
        self.request(0, ExchangeType::IkeIntermediate, payloads, About::Intermediate { index, private })
    }

    fn on_intermediate(
        &mut self,
        index: usize,
        private: &KemPrivate,
        message: &Message,
    ) -> Result<Vec<Outgoing>, TestError> {
        if let Some(error) = message.error_notify() {
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        let ke = message.ke().ok_or(TestError::Answer("no KE"))?;
        let shared = private.decapsulate(&ke.data).map_err(|_| TestError::Crypto)?;
        let nr = self.nr.clone().ok_or(TestError::State("no nonce"))?;
        let ni = self.ni.clone();
        let sa = self.sas.first_mut().ok_or(TestError::State("no IKE SA"))?;
        let values = ExchangeValues {
            initiator_nonce: &ni,
            responder_nonce: &nr,
            initiator_spi: sa.initiator_spi,
            responder_spi: sa.responder_spi,
        };
        let keys = sa.keys.strengthened(&shared, &values).map_err(|_| TestError::Crypto)?;
        sa.change_keys(keys)?;
        self.next_intermediate(index + 1)
    }

    fn detect_nat(&self, message: &Message) -> bool {
        let header = &message.header;
        let hash = |(address, port): (IpAddr, u16)| {
            nat_detection_hash(header.initiator_spi, header.responder_spi, address, port)
        };
        let says = |kind, data: Vec<u8>| message.notify(kind).is_some_and(|notify| notify.data == data);
        self.config.force_nat
            || !says(NotifyType::NatDetectionDestinationIp, hash(self.config.local))
            || !says(NotifyType::NatDetectionSourceIp, hash(self.config.gateway))
    }

    fn first_auth(&mut self) -> Result<Vec<Outgoing>, TestError> {
        let id_i = self.own_id();
        let mut payloads = vec![Payload::IdI(id_i.clone())];
        let octets = self.own_octets(&id_i)?;
        let prf = self.first_sa()?.keys.suite.prf;
        if let AuthWith::Eap(peer) = &mut self.config.auth {
            peer.bind(&octets, prf);
        }
        if let AuthWith::Certificate(credential) = &self.config.auth {
            payloads.extend(credential.cert_payloads().map(Payload::Cert));
        }
        payloads.extend(self.config.remote.clone().map(|id| Payload::IdR(Identification::new(id))));
        if !matches!(self.config.auth, AuthWith::Eap(_)) {
            payloads.extend(self.own_auth_payloads()?);
        }
        if self.config.eap_only {
            payloads.push(Payload::Notify(Notify::new(NotifyType::EapOnlyAuthentication)));
        }
        if self.config.mobike {
            payloads.push(Payload::Notify(Notify::new(NotifyType::MobikeSupported)));
        }
        if self.config.ask_ticket {
            payloads.push(Payload::Notify(Notify::new(NotifyType::TicketRequest)));
        }
        if self.config.initial_contact {
            payloads.push(Payload::Notify(Notify::new(NotifyType::InitialContact)));
        }
        if self.config.ask_address {
            let kinds = [
                CfgAttributeType::InternalIp4Address,
                CfgAttributeType::InternalIp4Netmask,
                CfgAttributeType::InternalIp4Dns,
                CfgAttributeType::InternalIp6Address,
            ];
            let more = self.config.attributes.iter().map(|(kind, value)| {
                let kind = CfgAttributeType::from_number(*kind);
                CfgAttribute { kind, value: value.clone() }
            });
            let attributes = kinds.into_iter().map(CfgAttribute::empty).chain(more).collect();
            payloads.push(Payload::Cp(Configuration { kind: CfgType::Request, attributes }));
        }
        let spi = self.new_spi()?;
        if !self.config.childless {
            payloads.push(Payload::Sa(self.esp_offer(&self.config.esp, spi)));
            payloads.push(Payload::TsI(self.config.selectors.0.clone()));
            payloads.push(Payload::TsR(self.config.selectors.1.clone()));
        }
        let about = match self.config.auth {
            AuthWith::Eap(_) => About::Eap { spi },
            _ => About::Auth { spi },
        };
        let payloads = (self.config.arrange)(ExchangeType::IkeAuth, payloads);
        self.request(0, ExchangeType::IkeAuth, payloads, about)
    }

    fn on_answer(&mut self, at: usize, about: About, message: &Message) -> Result<Vec<Outgoing>, TestError> {
        self.last_answer.clone_from(&message.payloads);
        let next = match about {
            About::Intermediate { index, private } => self.on_intermediate(index, &private, message),
            About::Eap { spi } => self.on_eap(spi, message),
            About::Auth { spi } => self.on_auth(spi, message),
            About::Child { spi, old, private, ni } => self.on_child(at, spi, old, private, &ni, message),
            About::Ike { spi, private, ni } => self.on_ike(at, spi, &private, &ni, message),
            About::FollowUp { private, made } => self.on_follow_up(at, &private, *made, message),
            About::DeleteChild { spi } => {
                self.drop_child(spi);
                Ok(Vec::new())
            }
            About::DeleteIke => {
                self.notable.push_back(Notable::Down);
                self.sas.clear();
                self.children.clear();
                Ok(Vec::new())
            }
            About::DeleteOld => {
                self.sas.remove(at);
                Ok(Vec::new())
            }
            About::Liveness => {
                self.notable.push_back(Notable::Answered);
                Ok(Vec::new())
            }
            About::Update => {
                let error = message.error_notify().map(|error| Notable::Refused(error.kind));
                self.notable.push_back(error.unwrap_or(Notable::Answered));
                Ok(Vec::new())
            }
        };
        self.note_ticket(message)?;
        next
    }

    fn on_eap(&mut self, spi: u32, message: &Message) -> Result<Vec<Outgoing>, TestError> {
        if let Some(auth) = message.auth() {
            self.check_gateway(message, auth)?;
        } else if self.config.eap_only && self.gateway_id.is_none() {
            // RFC 5998 §3: proved by the last answer.
            self.gateway_id = message.id_r().cloned();
        }
        let eap = message.eap().cloned();
        if eap.as_ref().and_then(|packet| packet.first()) == Some(&4) {
            self.notable.push_back(Notable::EapFailed);
        }
        if let Some(error) = message.error_notify() {
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        let packet = eap.ok_or(TestError::Answer("no EAP"))?;
        let AuthWith::Eap(peer) = &mut self.config.auth else { return Err(TestError::State("no EAP")) };
        if packet.first() == Some(&3) {
            let payloads = self.own_auth_payloads()?;
            return self.request(0, ExchangeType::IkeAuth, payloads, About::Auth { spi });
        }
        let answer = peer.respond(&packet).ok_or(TestError::Answer("EAP peer gives up"))?;
        self.request(0, ExchangeType::IkeAuth, vec![Payload::Eap(answer)], About::Eap { spi })
    }

    fn on_auth(&mut self, spi: u32, message: &Message) -> Result<Vec<Outgoing>, TestError> {
        let auth = match (message.auth(), message.error_notify()) {
            (Some(auth), _) => auth,
            (None, Some(error)) => {
                self.notable.push_back(Notable::Refused(error.kind));
                return Ok(Vec::new());
            }
            (None, None) => return Err(TestError::Answer("no AUTH")),
        };
        if message.notify(NotifyType::PpkIdentity).is_none()
            && let Some(unmixed) = self.unmixed.take()
        {
            if self.config.ppk.as_ref().is_some_and(|ppk| ppk.mandatory) {
                return Err(TestError::Gateway("it goes on without the PPK"));
            }
            let sa = self.sas.first_mut().ok_or(TestError::State("no IKE SA"))?;
            unmixed.restore(&mut sa.keys);
        }
        self.check_gateway(message, auth)?;
        self.notable.push_back(Notable::Up);
        self.mobike = self.config.mobike && message.notify(NotifyType::MobikeSupported).is_some();
        if let Some(cp) = message.cp() {
            self.address =
                cp.all(CfgAttributeType::InternalIp4Address).next().and_then(CfgAttribute::as_ipv4);
            self.address6 =
                cp.all(CfgAttributeType::InternalIp6Address).next().and_then(CfgAttribute::as_ipv6_prefix);
            self.config_reply = Some(cp.clone());
        }
        if let Some(redirect) = message.notify(NotifyType::Redirect) {
            let (kind, name, nonce) = read_redirect(redirect)?;
            if !nonce.is_empty() {
                return Err(TestError::Answer("a nonce in REDIRECT"));
            }
            self.notable.push_back(Notable::Redirected(kind, name));
            return Ok(Vec::new());
        }
        if let Some(error) = message.error_notify() {
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        if self.config.childless {
            return Ok(Vec::new());
        }
        let offer = self.without_groups();
        let (ni, nr) = (self.ni.clone(), self.nr.clone().ok_or(TestError::State("no nonce"))?);
        self.take_child(0, &offer, spi, None, (&ni, &nr), message)?;
        Ok(Vec::new())
    }

    fn check_gateway(&mut self, message: &Message, auth: &Auth) -> Result<(), TestError> {
        if let Some(id_r) = message.id_r() {
            self.gateway_id = Some(id_r.clone());
        }
        let id_r = self.gateway_id.clone().ok_or(TestError::Gateway("no IDr"))?;
        let sa = self.first_sa()?;
        let octets = sa.keys.signed_octets(Role::Responder, &self.init_response, &self.ni, &id_r.body());
        let octets = [octets, sa.int_auth.octets()].concat();
        let prf = self.first_sa()?.keys.suite.prf;
        if auth.method != AuthMethod::SharedKey {
            let Some(trust) = &self.config.trust else { return Ok(()) };
            let certs: Vec<Cert> = message
                .payloads
                .iter()
                .filter_map(|payload| match payload {
                    Payload::Cert(cert) => Some(cert.clone()),
                    _ => None,
                })
                .collect();
            return trust
                .authenticate(&certs, CertUse::Server, &id_r.identity, auth, &octets, self.config.unix_secs)
                .map(|_| ())
                .map_err(|_| TestError::Gateway("certificate"));
        }
        let key = match &self.config.auth {
            AuthWith::Psk(key) => key.clone(),
            AuthWith::Eap(peer) if !peer.makes_key() => {
                self.first_sa()?.keys.sk_p(Role::Responder).as_bytes().to_vec()
            }
            AuthWith::Eap(peer) => peer.msk().ok_or(TestError::Gateway("no MSK"))?,
            AuthWith::Ticket(_) => {
                let mac = resumption_auth(prf, self.first_sa()?.keys.sk_p(Role::Responder), &octets);
                return mac.matches(&auth.data).then_some(()).ok_or(TestError::Gateway("wrong MAC"));
            }
            AuthWith::Resume(_) | AuthWith::Certificate(_) => {
                return Err(TestError::Gateway("PSK instead of a certificate"));
            }
        };
        let good = verify_shared_key_auth(prf, &key, &octets, &auth.data);
        good.then_some(()).ok_or(TestError::Gateway("wrong MAC"))
    }

    fn own_id(&self) -> Identification {
        Identification { reserved: self.config.id_reserved, identity: self.config.identity.clone() }
    }

    /// AUTH, and with PPKs what goes beside it (RFC 8784 §3).
    fn own_auth_payloads(&mut self) -> Result<Vec<Payload>, TestError> {
        let plain = self.own_auth()?;
        let Some(ppk) = self.config.ppk.as_ref().filter(|_| self.ppk_announced) else {
            return Ok(vec![Payload::Auth(plain)]);
        };
        let sa = self.sas.first_mut().ok_or(TestError::State("no IKE SA"))?;
        self.unmixed = Some(Unmixed::mix(&mut sa.keys, ppk).map_err(|_| TestError::Crypto)?);
        let identity = ppk::ppk_identity(&ppk.id);
        let without = (!ppk.mandatory).then(|| Notify::with_data(NotifyType::NoPpkAuth, plain.data));
        let notifies = [Some(identity), without].into_iter().flatten().map(Payload::Notify);
        Ok([Payload::Auth(self.own_auth()?)].into_iter().chain(notifies).collect())
    }

    fn own_auth(&self) -> Result<Auth, TestError> {
        let octets = self.own_octets(&self.own_id())?;
        let keys = &self.first_sa()?.keys;
        let mac = |key: &[u8]| Auth {
            method: AuthMethod::SharedKey,
            data: shared_key_auth(keys.suite.prf, key, &octets).as_bytes().to_vec(),
        };
        match &self.config.auth {
            AuthWith::Psk(key) | AuthWith::Resume(key) => Ok(mac(key)),
            AuthWith::Ticket(_) => {
                let mac = resumption_auth(keys.suite.prf, keys.sk_p(Role::Initiator), &octets);
                Ok(Auth { method: AuthMethod::SharedKey, data: mac.as_bytes().to_vec() })
            }
            AuthWith::Certificate(credential) => {
                credential.sign(&octets, self.peer_hashes.as_deref()).map_err(|_| TestError::Crypto)
            }
            AuthWith::Eap(peer) if peer.makes_key() => {
                Ok(mac(&peer.msk().ok_or(TestError::Answer("EAP-Success without MSK"))?))
            }
            AuthWith::Eap(_) => Ok(mac(keys.sk_p(Role::Initiator).as_bytes())),
        }
    }

    fn own_octets(&self, id_i: &Identification) -> Result<Vec<u8>, TestError> {
        let nr = self.nr.as_ref().ok_or(TestError::State("no nonce"))?;
        let sa = self.first_sa()?;
        let octets = sa.keys.signed_octets(Role::Initiator, &self.init_request, nr, &id_i.body());
        let int_auth = if self.forgets_intermediate { Vec::new() } else { sa.int_auth.octets() };
        Ok([octets, int_auth].concat())
    }

    /// From now on Child SAs are made for this resource, or for none (RFC 9611).
    pub fn for_resource(&mut self, resource: Option<&[u8]>) {
        self.resource = resource.map(<[u8]>::to_vec);
    }

    /// Rekeys a Child SA, or makes another when `old` is `None`. `group` adds a fresh key exchange.
    pub fn create_child(
        &mut self,
        old: Option<u32>,
        group: Option<Group>,
    ) -> Result<Vec<Outgoing>, TestError> {
        let spi = self.new_spi()?;
        let ni = nonce(&mut *self.random)?;
        let mut payloads = Vec::new();
        payloads.extend(old.map(|old| Payload::Notify(Notify::esp(NotifyType::RekeySa, old))));
        let offer = self.with_group(group);
        payloads.push(Payload::Sa(self.esp_offer(&offer, spi)));
        payloads.push(Payload::Nonce(ni.clone()));
        let private = match group {
            None => None,
            Some(group) => {
                let private = KePrivate::generate(group, &mut *self.random).map_err(|_| TestError::Crypto)?;
                let data = private.public().map_err(|_| TestError::Crypto)?;
                payloads.push(Payload::Ke(Ke { group: group.number(), data }));
                Some(private)
            }
        };
        payloads.push(Payload::TsI(self.config.selectors.0.clone()));
        payloads.push(Payload::TsR(self.config.selectors.1.clone()));
        if let Some(resource) = &self.resource {
            payloads.push(Payload::Notify(Notify::with_data(NotifyType::SaResourceInfo, resource.clone())));
        }
        let at = self.current()?;
        self.request(at, ExchangeType::CreateChildSa, payloads, About::Child { spi, old, private, ni })
    }

    /// Rekeys the IKE SA.
    pub fn rekey_ike(&mut self) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        let suite = self.sas.get(at).ok_or(TestError::State("no IKE SA"))?.keys.suite;
        let spi = IkeSpi(u64::from_be_bytes(octets(&mut *self.random)?) | 1);
        let ni = nonce(&mut *self.random)?;
        let private = KePrivate::generate(suite.group, &mut *self.random).map_err(|_| TestError::Crypto)?;
        let data = private.public().map_err(|_| TestError::Crypto)?;
        let proposal = IkeProposal::only(suite).to_wire(1, &spi.to_bytes());
        let mut payloads = vec![
            Payload::Sa(Sa { proposals: vec![proposal] }),
            Payload::Nonce(ni.clone()),
            Payload::Ke(Ke { group: suite.group.number(), data }),
        ];
        if self.asks_with_rekeys {
            payloads.push(Payload::Notify(Notify::new(NotifyType::TicketRequest)));
        }
        self.request(at, ExchangeType::CreateChildSa, payloads, About::Ike { spi, private, ni })
    }

    /// Deletes a Child SA.
    pub fn delete_child(&mut self, spi: u32) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        let payloads = vec![Payload::Delete(Delete::Esp(vec![spi]))];
        self.request(at, ExchangeType::Informational, payloads, About::DeleteChild { spi })
    }

    /// Deletes the IKE SA.
    pub fn delete_ike(&mut self) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        self.request(at, ExchangeType::Informational, vec![Payload::Delete(Delete::Ike)], About::DeleteIke)
    }

    /// Asks whether the gateway lives.
    pub fn liveness(&mut self) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        self.request(at, ExchangeType::Informational, Vec::new(), About::Liveness)
    }

    /// What was in the gateway's answer to IKE_SA_INIT.
    pub fn init_payloads(&self) -> &[Payload] {
        &self.init_payloads
    }

    /// What was in the gateway's last answer to a request of ours.
    pub fn last_answer(&self) -> &[Payload] {
        &self.last_answer
    }

    /// Whether both sides announced MOBIKE.
    pub fn mobike(&self) -> bool {
        self.mobike
    }

    /// Tells the gateway that it has another address (RFC 4555 §3.5). NAT detection goes along unless `protected`, which
    /// forbids NATs and names the addresses and ports of the request instead.
    pub fn update_addresses(
        &mut self,
        local: (IpAddr, u16),
        protected: bool,
    ) -> Result<Vec<Outgoing>, TestError> {
        self.config.local = local;
        let at = self.current()?;
        let sa = self.sas.get(at).ok_or(TestError::State("no IKE SA"))?;
        let (initiator, responder) = (sa.initiator_spi, sa.responder_spi);
        let hash = |(address, port): (IpAddr, u16)| nat_detection_hash(initiator, responder, address, port);
        let (gateway, gateway_port) = self.config.gateway;
        let gateway_port = if self.floats() { 4500 } else { gateway_port };
        let notify = |kind, data| Payload::Notify(Notify::with_data(kind, data));
        let mut payloads = vec![notify(NotifyType::UpdateSaAddresses, Vec::new())];
        if protected {
            let (source, source_port) = local;
            let from =
                Path { local: gateway, local_port: gateway_port, peer: source, peer_port: source_port };
            let data = protected_addresses(from);
            payloads.push(notify(NotifyType::NoNatsAllowed, data));
        } else {
            let source = if self.config.force_nat { vec![0; 20] } else { hash(local) };
            payloads.push(notify(NotifyType::NatDetectionSourceIp, source));
            payloads.push(notify(NotifyType::NatDetectionDestinationIp, hash((gateway, gateway_port))));
        }
        self.request(at, ExchangeType::Informational, payloads, About::Update)
    }

    /// A request of any kind, for tests of what must be refused; its answer is reported as [`Notable::Answered`] or, if
    /// it has an error, not at all.
    pub fn raw_request(
        &mut self,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
    ) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        self.request(at, exchange, payloads, About::Liveness)
    }

    /// A sealed message of any kind that leaves the windows alone.
    pub fn raw_message(
        &mut self,
        exchange: ExchangeType,
        is_response: bool,
        id: u32,
        payloads: Vec<Payload>,
    ) -> Result<Vec<Outgoing>, TestError> {
        let at = self.current()?;
        let sa = self.sas.get_mut(at).ok_or(TestError::State("no IKE SA"))?;
        let datagrams = sa.seal(exchange, is_response, id, payloads, &mut *self.random)?;
        Ok(self.outgoing(datagrams))
    }

    fn on_child(
        &mut self,
        at: usize,
        spi: u32,
        old: Option<u32>,
        private: Option<KePrivate>,
        ni: &Nonce,
        message: &Message,
    ) -> Result<Vec<Outgoing>, TestError> {
        if let Some(error) = message.error_notify() {
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        let nr = message.nonce().cloned().ok_or(TestError::Answer("no nonce"))?;
        let shared = match (&private, message.ke()) {
            (Some(private), Some(ke)) => Some(private.derive(&ke.data).map_err(|_| TestError::Crypto)?),
            (None, None) => None,
            _ => return Err(TestError::Answer("KE")),
        };
        let offer = self.with_group(private.as_ref().map(KePrivate::group));
        self.take_child(at, &offer, spi, shared.as_ref(), (ni, &nr), message)?;
        match old {
            Some(old) if self.lost(Rekeyed::Child(old), ni.min(&nr)) => self.delete_child(spi),
            Some(old) => self.delete_child(old),
            None => Ok(Vec::new()),
        }
    }

    fn on_ike(
        &mut self,
        at: usize,
        spi: IkeSpi,
        private: &KePrivate,
        ni: &Nonce,
        message: &Message,
    ) -> Result<Vec<Outgoing>, TestError> {
        if let Some(error) = message.error_notify() {
            self.notable.push_back(Notable::Refused(error.kind));
            return Ok(Vec::new());
        }
        let old = self.sas.get(at).ok_or(TestError::State("no IKE SA"))?;
        let (Some(sa), Some(ke), Some(nr)) = (message.sa(), message.ke(), message.nonce()) else {
            return Err(TestError::Answer("IKE rekey lacks payloads"));
        };
        let offer = [IkeProposal::only(old.keys.suite)];
        let choice = accept_ike_answer(&offer, sa, true).ok_or(TestError::Answer("SA"))?;
        let responder = choice.peer_spi.ok_or(TestError::Answer("SPI"))?;
        let shared = private.derive(&ke.data).map_err(|_| TestError::Crypto)?;
        let nonces = (ni.clone(), nr.clone());
        let made = RekeyedIke::new(choice, (spi, responder), Role::Initiator, nonces, shared, message);
        self.follow_up(at, made)
    }

    /// Whether the gateway's rekey of the same SA wins over ours, whose lowest nonce is given (RFC 7296 §2.8.1).
    fn lost(&mut self, what: Rekeyed, lowest: &Nonce) -> bool {
        let rival = self.rivals.iter().position(|(rekeyed, _)| *rekeyed == what);
        rival.is_some_and(|at| *lowest < self.rivals.swap_remove(at).1)
    }

    fn on_request(&mut self, at: usize, message: &Message) -> Result<Vec<Outgoing>, TestError> {
        if message.header.exchange == ExchangeType::CreateChildSa {
            let ike =
                message.sa().is_some_and(|sa| sa.proposals.iter().any(|p| p.protocol == ProtocolId::Ike));
            return if ike { self.answer_ike_rekey(at, message) } else { self.answer_child(at, message) };
        }
        if message.header.exchange == ExchangeType::IkeFollowupKe {
            return self.answer_follow_up(at, message);
        }
        let mut gone = Vec::new();
        for payload in &message.payloads {
            match payload {
                Payload::Delete(Delete::Ike) => {
                    let answer = self.answer(at, message, Vec::new())?;
                    // What was outstanding on it has no answer any more.
                    let gone = self.sas.get(at).map(ClientSa::local_spi);
                    self.pending.take_if(|pending| Some(pending.sa) == gone);
                    // An IKE SA that was replaced stays to repeat its last answer; the last one ends all.
                    if at + 1 == self.sas.len() {
                        self.notable.push_back(Notable::Down);
                        self.children.clear();
                        self.gateway_id = None;
                    }
                    return Ok(answer);
                }
                Payload::Delete(Delete::Esp(spis)) => gone.extend(spis.iter().copied()),
                _ => {}
            }
        }
        let mine: Vec<u32> = self
            .children
            .iter()
            .filter(|child| gone.contains(&child.outbound_spi))
            .map(|child| child.inbound_spi)
            .collect();
        mine.iter().for_each(|spi| self.drop_child(*spi));
        let mut payloads =
            if mine.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::Esp(mine))] };
        if let Some(redirect) = message.notify(NotifyType::Redirect) {
            let (kind, name, _) = read_redirect(redirect)?;
            self.notable.push_back(Notable::Redirected(kind, name));
        }
        if let Some(cookie) = message.notify(NotifyType::Cookie2) {
            let data = if self.config.wrong_cookie2 { vec![0; 16] } else { cookie.data.clone() };
            payloads.push(Payload::Notify(Notify::with_data(NotifyType::Cookie2, data)));
            self.notable.push_back(Notable::RoutabilityAsked);
        }
        self.answer(at, message, payloads)
    }

    fn answer_child(&mut self, at: usize, message: &Message) -> Result<Vec<Outgoing>, TestError> {
        if let Some(refusal) = self.collision(message) {
            return self.answer(at, message, vec![Payload::Notify(refusal)]);
        }
        let (Some(sa), Some(ni)) = (message.sa(), message.nonce()) else { return Err(TestError::Wire) };
        let policy = EspPolicy {
            suites: self
                .config
                .esp
                .iter()
                .flat_map(|p| {
                    p.ciphers.iter().map(|c| EspSuite { cipher: *c, integ: p.integs.first().copied() })
                })
                .collect(),
            prefer_esn: false,
            groups: self.config.esp.iter().flat_map(|p| p.groups.clone()).collect(),
            require_pfs: self.config.esp.iter().all(|p| !p.groups.is_empty()),
        };
        let ke = message.ke().map_or(ChildKe::Absent, |ke| ChildKe::Present(ke.group));
        let Ok(choice) = select_esp(&policy, sa, ke) else {
            let notify = Payload::Notify(Notify::new(NotifyType::NoProposalChosen));
            return self.answer(at, message, vec![notify]);
        };
        let (public, shared) = match (choice.group, message.ke()) {
            (Some(group), Some(ke)) => {
                let private = KePrivate::generate(group, &mut *self.random).map_err(|_| TestError::Crypto)?;
                let public = private.public().map_err(|_| TestError::Crypto)?;
                (Some(public), Some(private.derive(&ke.data).map_err(|_| TestError::Crypto)?))
            }
            _ => (None, None),
        };
        let spi = self.new_spi()?;
        let nr = nonce(&mut *self.random)?;
        let (Some(ts_i), Some(ts_r)) = (message.ts_i(), message.ts_r()) else { return Err(TestError::Wire) };
        let mut payloads = vec![Payload::Sa(choice.answer(spi)), Payload::Nonce(nr.clone())];
        payloads.extend(
            public.zip(choice.group).map(|(data, group)| Payload::Ke(Ke { group: group.number(), data })),
        );
        payloads.push(Payload::TsI(ts_i.clone()));
        payloads.push(Payload::TsR(ts_r.clone()));
        let sides = (ts_r.clone(), ts_i.clone());
        let rekeyed = message.notify(NotifyType::RekeySa).and_then(Notify::esp_spi);
        let rekeyed = self.children.iter().find(|child| Some(child.outbound_spi) == rekeyed);
        if let (Some(child), Some(Pending { about: About::Child { old, .. }, .. })) = (rekeyed, &self.pending)
            && *old == Some(child.inbound_spi)
        {
            self.rivals.push((Rekeyed::Child(child.inbound_spi), ni.min(&nr).clone()));
        }
        self.add_child(at, &choice, spi, shared.as_ref(), (ni, &nr), Role::Responder, sides)?;
        self.answer(at, message, payloads)
    }

    /// Why a request about a Child SA is refused now (RFC 7296 §2.25.1, §2.25.2).
    fn collision(&self, message: &Message) -> Option<Notify> {
        let temporary = Some(Notify::new(NotifyType::TemporaryFailure));
        let about = self.pending.as_ref().map(|pending| &pending.about);
        if matches!(about, Some(About::Ike { .. } | About::FollowUp { .. })) {
            return temporary;
        }
        let rekeyed = message.notify(NotifyType::RekeySa)?.esp_spi()?;
        match (self.children.iter().find(|child| child.outbound_spi == rekeyed), about) {
            (None, _) => Some(Notify::esp(NotifyType::ChildSaNotFound, rekeyed)),
            (Some(child), Some(About::DeleteChild { spi })) if *spi == child.inbound_spi => temporary,
            (Some(_), _) => None,
        }
    }

    fn answer_ike_rekey(&mut self, at: usize, message: &Message) -> Result<Vec<Outgoing>, TestError> {
        let (Some(sa), Some(ni), Some(ke)) = (message.sa(), message.nonce(), message.ke()) else {
            return Err(TestError::Wire);
        };
        let about = self.pending.as_ref().map(|pending| &pending.about);
        if matches!(about, Some(About::Child { .. } | About::DeleteChild { .. } | About::DeleteIke)) {
            let notify = Payload::Notify(Notify::new(NotifyType::TemporaryFailure));
            return self.answer(at, message, vec![notify]);
        }
        let Ok(choice) = select_ike(&self.config.ike, sa, ke.group, IkeStage::Rekey) else {
            let notify = Payload::Notify(Notify::new(NotifyType::NoProposalChosen));
            return self.answer(at, message, vec![notify]);
        };
        let private =
            KePrivate::generate(choice.suite.group, &mut *self.random).map_err(|_| TestError::Crypto)?;
        let data = private.public().map_err(|_| TestError::Crypto)?;
        let shared = private.derive(&ke.data).map_err(|_| TestError::Crypto)?;
        let spi = IkeSpi(u64::from_be_bytes(octets(&mut *self.random)?) | 1);
        let initiator = choice.peer_spi.ok_or(TestError::Wire)?;
        let nr = nonce(&mut *self.random)?;
        let payloads = vec![
            Payload::Sa(choice.answer(&spi.to_bytes())),
            Payload::Nonce(nr.clone()),
            Payload::Ke(Ke { group: choice.suite.group.number(), data }),
        ];
        let nonces = (ni.clone(), nr);
        let made = RekeyedIke::new(choice, (initiator, spi), Role::Responder, nonces, shared, message);
        self.go_on_with_gateways_rekey(at, message, made, payloads)
    }

    fn take_child(
        &mut self,
        at: usize,
        offer: &[EspProposal],
        spi: u32,
        shared: Option<&SharedSecret>,
        nonces: (&Nonce, &Nonce),
        message: &Message,
    ) -> Result<(), TestError> {
        let (Some(sa), Some(ts_i), Some(ts_r)) = (message.sa(), message.ts_i(), message.ts_r()) else {
            return Err(TestError::Answer("no Child SA"));
        };
        let choice = accept_esp_answer(offer, sa).ok_or(TestError::Answer("ESP SA"))?;
        let sides = (ts_i.clone(), ts_r.clone());
        self.add_child(at, &choice, spi, shared, nonces, Role::Initiator, sides)
    }

    #[allow(clippy::too_many_arguments, reason = "the inputs of RFC 7296 §2.17")]
    fn add_child(
        &mut self,
        at: usize,
        choice: &EspChoice,
        spi: u32,
        shared: Option<&SharedSecret>,
        (ni, nr): (&Nonce, &Nonce),
        role: Role,
        (local, remote): (Vec<TrafficSelector>, Vec<TrafficSelector>),
    ) -> Result<(), TestError> {
        let sa = self.sas.get(at).ok_or(TestError::State("no IKE SA"))?;
        let keymat = sa.keys.child_keymat(choice.suite, shared, ni, nr).map_err(|_| TestError::Crypto)?;
        let to_responder = keymat.initiator_to_responder.as_bytes().to_vec();
        let to_initiator = keymat.responder_to_initiator.as_bytes().to_vec();
        let (outbound_keymat, inbound_keymat) = match role {
            Role::Initiator => (to_responder, to_initiator),
            Role::Responder => (to_initiator, to_responder),
        };
        self.children.push(ClientChild {
            inbound_spi: spi,
            outbound_spi: choice.peer_spi,
            suite: choice.suite,
            esn: choice.esn,
            group: choice.group,
            inbound_keymat,
            outbound_keymat,
            local,
            remote,
        });
        self.notable.push_back(Notable::ChildUp(spi));
        Ok(())
    }

    fn drop_child(&mut self, spi: u32) {
        let before = self.children.len();
        self.children.retain(|child| child.inbound_spi != spi);
        if self.children.len() < before {
            self.notable.push_back(Notable::ChildDown(spi));
        }
    }

    fn request(
        &mut self,
        at: usize,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        about: About,
    ) -> Result<Vec<Outgoing>, TestError> {
        if self.pending.is_some() {
            return Err(TestError::State("a request is outstanding"));
        }
        let sa = self.sas.get_mut(at).ok_or(TestError::State("no IKE SA"))?;
        let (id, datagrams) = sa.request(exchange, payloads, &mut *self.random)?;
        let local = sa.local_spi();
        let sent = self.outgoing(datagrams);
        self.pending = Some(Pending { sa: local, id, sent: sent.clone(), about });
        Ok(sent)
    }

    fn answer(
        &mut self,
        at: usize,
        request: &Message,
        payloads: Vec<Payload>,
    ) -> Result<Vec<Outgoing>, TestError> {
        let sa = self.sas.get_mut(at).ok_or(TestError::State("no IKE SA"))?;
        let datagrams = sa.answer(request, payloads, &mut *self.random)?;
        Ok(self.outgoing(datagrams))
    }

    /// Whether we are on port 4500: behind a NAT, or because a NAT may be on the next path (RFC 4555 §3.3).
    fn floats(&self) -> bool {
        (self.nat || self.config.mobike) && !self.sas.is_empty()
    }

    fn outgoing(&self, datagrams: Vec<Vec<u8>>) -> Vec<Outgoing> {
        let (local_port, gateway_port) =
            if self.floats() { (4500, 4500) } else { (self.config.local.1, self.config.gateway.1) };
        datagrams.into_iter().map(|bytes| Outgoing { local_port, gateway_port, bytes }).collect()
    }

    fn esp_offer(&self, offer: &[EspProposal], spi: u32) -> Sa {
        Sa { proposals: (1..=u8::MAX).zip(offer).map(|(n, p)| p.to_wire(n, spi)).collect() }
    }

    fn without_groups(&self) -> Vec<EspProposal> {
        self.config.esp.iter().map(|p| EspProposal { groups: Vec::new(), ..p.clone() }).collect()
    }

    fn with_group(&self, group: Option<Group>) -> Vec<EspProposal> {
        let groups: Vec<Group> = group.into_iter().collect();
        self.config.esp.iter().map(|p| EspProposal { groups: groups.clone(), ..p.clone() }).collect()
    }

    fn new_spi(&mut self) -> Result<u32, TestError> {
        Ok(u32::from_be_bytes(octets(&mut *self.random)?) | 0x100)
    }

    fn first_sa(&self) -> Result<&ClientSa, TestError> {
        self.sas.first().ok_or(TestError::State("no IKE SA"))
    }

    /// The newest IKE SA.
    fn current(&self) -> Result<usize, TestError> {
        self.sas.len().checked_sub(1).ok_or(TestError::State("no IKE SA"))
    }
}

/// Type, name and nonce of a REDIRECT.
fn read_redirect(notify: &Notify) -> Result<(u8, Vec<u8>, Vec<u8>), TestError> {
    let ([kind, len], rest) = notify.data.split_first_chunk::<2>().ok_or(TestError::Wire)?;
    let (name, nonce) = rest.split_at_checked(usize::from(*len)).ok_or(TestError::Wire)?;
    Ok((*kind, name.to_vec(), nonce.to_vec()))
}

fn octets<const N: usize>(random: &mut dyn Random) -> Result<[u8; N], TestError> {
    let mut octets = [0; N];
    random.fill(&mut octets).map_err(|_| TestError::Crypto)?;
    Ok(octets)
}

fn nonce(random: &mut dyn Random) -> Result<Nonce, TestError> {
    Nonce::new(octets::<32>(random)?.to_vec()).map_err(|_| TestError::Wire)
}
