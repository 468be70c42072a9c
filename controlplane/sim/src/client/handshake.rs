//! Logging in: IKE_SA_INIT with COOKIE and INVALID_KE_PAYLOAD, IKE_AUTH with PSK, EAP or the token of a session to be
//! resumed (RFC 7296 §1.2, §2.6, §2.16).
//!
//! Enters: the gateway's answers. Leaves: requests, then an [`Established`] whose gateway has proven itself, or the end.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use causeway_eap::{EapPeer, PeerConfig, PeerStep};
use causeway_ike::api::{Inner, Inner6};
use causeway_ike::crypto::{
    ExchangeValues, IkeKeys, KePrivate, Role, nat_detection_hash, shared_key_auth, verify_shared_key_auth,
};
use causeway_ike::suite::{EspProposal, Group, accept_ike_answer};
use causeway_ike::wire::{
    Auth, AuthMethod, CfgAttribute, CfgAttributeType, CfgType, Configuration, ExchangeType, Header,
    Identification, IkeSpi, Incoming, Ke, Message, Nonce, Notify, NotifyType, Payload, Sa, SignatureHash,
};

use super::established::Established;
use super::link::{Link, Outstanding, Received, Tick};
use super::{ClientConfig, End, Login, NAT_T_PORT, Shared, State};
use crate::net::Load;

/// Octets of our nonces.
const NONCE_OCTETS: usize = 32;
/// Refusals of IKE_SA_INIT (COOKIE, INVALID_KE_PAYLOAD) that are followed.
const MAX_INIT_ROUNDS: u32 = 4;

/// A login under way.
pub(super) enum Handshake {
    Init(Init),
    Auth(Box<Authentication>),
}

/// Waiting for the answer to IKE_SA_INIT.
pub(super) struct Init {
    spi: IkeSpi,
    nonce: Nonce,
    group: Group,
    private: KePrivate,
    cookie: Option<Vec<u8>>,
    rounds: u32,
    request: Vec<u8>,
    outstanding: Outstanding,
}

/// Somewhere in IKE_AUTH.
pub(super) struct Authentication {
    link: Link,
    first_request: Vec<u8>,
    first_response: Vec<u8>,
    our_nonce: Nonce,
    gateway_nonce: Nonce,
    /// SIGNATURE_HASH_ALGORITHMS of the gateway.
    gateway_hashes: Option<Vec<SignatureHash>>,
    child_spi: u32,
    step: Step,
}

/// What the next answer must bring.
enum Step {
    /// Everything: we have sent AUTH.
    Psk(Vec<u8>),
    /// Everything, the gateway proving itself by signature: we have sent our AUTH.
    Certificate,
    /// The gateway's own AUTH, and the first EAP request.
    EapFirst(EapPeer),
    /// EAP.
    Eap(EapPeer),
    /// Everything: both have the MSK.
    EapLast(Vec<u8>),
}

impl Handshake {
    pub(super) fn start(now_ms: u64, config: &ClientConfig, shared: &mut Shared) -> Handshake {
        Handshake::Init(Init::send(now_ms, config.first_group, None, 0, config, shared))
    }

    pub(super) fn receive(
        self,
        now_ms: u64,
        datagram: &[u8],
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        match self {
            Handshake::Init(init) => init.receive(now_ms, datagram, config, shared),
            Handshake::Auth(auth) => auth.receive(now_ms, datagram, config, shared),
        }
    }

    pub(super) fn tick(mut self: Box<Self>, now_ms: u64, shared: &mut Shared) -> State {
        let tick = match &mut *self {
            Handshake::Init(init) => init.outstanding.tick(now_ms),
            Handshake::Auth(auth) => auth.link.tick(now_ms),
        };
        match tick {
            Tick::GiveUp => return State::Gone(End::Timeout),
            Tick::Again(datagrams) => {
                shared.retransmissions += 1;
                shared.send_all(datagrams);
            }
            Tick::Wait => {}
        }
        State::Connecting(self)
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        match self {
            Handshake::Init(init) => Some(init.outstanding.due_ms),
            Handshake::Auth(auth) => auth.link.due_ms(),
        }
    }
}

impl Init {
    fn send(
        now_ms: u64,
        group: Group,
        cookie: Option<Vec<u8>>,
        rounds: u32,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> Init {
        let spi = IkeSpi(shared.rng.bits() | 1);
        let nonce = new_nonce(shared);
        let private = new_private(group, shared);
        Init::send_again(now_ms, (spi, nonce, private), cookie, rounds, config, shared)
    }

    /// Sends with the same SPI, nonce and KE value, as a COOKIE demands (RFC 7296 §2.6).
    fn send_again(
        now_ms: u64,
        (spi, nonce, private): (IkeSpi, Nonce, KePrivate),
        cookie: Option<Vec<u8>>,
        rounds: u32,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> Init {
        let group = private.group();
        let proposals = config.ike.iter().zip(1..).map(|(ike, number)| ike.to_wire(number, &[])).collect();
        let hash = |address, port| nat_detection_hash(spi, IkeSpi::ZERO, address, port);
        let source = hash(shared.address, shared.our_port);
        let destination = hash(shared.gateway, shared.gateway_port);
        let mut payloads: Vec<Payload> = cookie
            .iter()
            .map(|cookie| Payload::Notify(Notify::with_data(NotifyType::Cookie, cookie.clone())))
            .collect();
        payloads.extend([
            Payload::Sa(Sa { proposals }),
            Payload::Ke(Ke { group: group.number(), data: public(&private) }),
            Payload::Nonce(nonce.clone()),
            Payload::Notify(Notify::with_data(NotifyType::NatDetectionSourceIp, source)),
            Payload::Notify(Notify::with_data(NotifyType::NatDetectionDestinationIp, destination)),
            Payload::Notify(Notify::new(NotifyType::FragmentationSupported)),
            Payload::Notify(Notify::signature_hashes(&[SignatureHash::Sha2_256, SignatureHash::Sha2_384])),
        ]);
        let header = Header::new(spi, IkeSpi::ZERO, ExchangeType::IkeSaInit, true, false, 0);
        let request = match Message::new(header, payloads).emit_clear() {
            Ok(request) => request,
            Err(error) => unreachable!("a client's IKE_SA_INIT cannot be written: {error}"),
        };
        shared.send(Load::Ike(request.clone()));
        let outstanding = Outstanding::new(now_ms, 0, ExchangeType::IkeSaInit, vec![request.clone()]);
        Init { spi, nonce, group, private, cookie, rounds, request, outstanding }
    }

    fn receive(self, now_ms: u64, datagram: &[u8], config: &ClientConfig, shared: &mut Shared) -> State {
        let Ok(Incoming::Clear(answer)) = Incoming::parse(datagram) else { return self.waiting() };
        let header = answer.header;
        let ours = header.initiator_spi == self.spi
            && header.is_response
            && !header.from_initiator
            && (header.exchange, header.message_id) == (ExchangeType::IkeSaInit, 0);
        if !ours || self.rounds > MAX_INIT_ROUNDS {
            return self.waiting();
        }
        let rounds = self.rounds + 1;
        if let Some(cookie) = answer.notify(NotifyType::Cookie) {
            // A late copy of a demand that was met.
            if self.cookie.as_ref() == Some(&cookie.data) {
                return self.waiting();
            }
            let (same, cookie) = ((self.spi, self.nonce, self.private), Some(cookie.data.clone()));
            let init = Init::send_again(now_ms, same, cookie, rounds, config, shared);
            return State::Connecting(Box::new(Handshake::Init(init)));
        }
        if let Some(refusal) = answer.notify(NotifyType::InvalidKePayload) {
            let wanted = refusal.data_u16().and_then(Group::from_number);
            return match wanted.filter(|group| *group != self.group) {
                Some(group) => {
                    let init = Init::send(now_ms, group, self.cookie, rounds, config, shared);
                    State::Connecting(Box::new(Handshake::Init(init)))
                }
                None => self.waiting(),
            };
        }
        if let Some(refusal) = answer.error_notify() {
            return State::Gone(End::Refused(refusal.kind));
        }
        self.accept(now_ms, datagram, &answer, config, shared)
    }

    fn accept(
        self,
        now_ms: u64,
        datagram: &[u8],
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let (Some(sa), Some(ke), Some(gateway_nonce)) = (answer.sa(), answer.ke(), answer.nonce()) else {
            return shared.fault("IKE_SA_INIT without SA, KE or nonce");
        };
        let Some(choice) = accept_ike_answer(&config.ike, sa, false) else {
            return shared.fault("IKE_SA_INIT answers what was not offered");
        };
        if ke.group != self.group.number() || choice.suite.group != self.group {
            return shared.fault("IKE_SA_INIT answers with another group");
        }
        let responder_spi = answer.header.responder_spi;
        let Ok(secret) = self.private.derive(&ke.data) else {
            return shared.fault("IKE_SA_INIT with a bad public value");
        };
        let values = ExchangeValues {
            initiator_nonce: &self.nonce,
            responder_nonce: gateway_nonce,
            initiator_spi: self.spi,
            responder_spi,
        };
        let link = IkeKeys::initial(choice.suite, &secret, &values)
            .ok()
            .and_then(|keys| Link::new((self.spi, responder_spi), Role::Initiator, keys, 1));
        let Some(link) = link else { return shared.fault("the key schedule failed") };
        shared.detect_nat(answer);
        let child_spi = shared.new_spi();
        let auth = Authentication {
            link,
            first_request: self.request,
            first_response: datagram.to_vec(),
            our_nonce: self.nonce,
            gateway_nonce: gateway_nonce.clone(),
            gateway_hashes: answer
                .notify(NotifyType::SignatureHashAlgorithms)
                .map(|hashes| hashes.hash_list().collect()),
            child_spi,
            step: Step::Psk(vec![]),
        };
        auth.begin(now_ms, config, shared)
    }

    fn waiting(self) -> State {
        State::Connecting(Box::new(Handshake::Init(self)))
    }
}

impl Shared {
    /// Floats to port 4500 if either side is behind a NAT (RFC 7296 §2.23).
    fn detect_nat(&mut self, answer: &Message) {
        let (initiator, responder) = (answer.header.initiator_spi, answer.header.responder_spi);
        let hash = |address, port| nat_detection_hash(initiator, responder, address, port);
        let says = |kind, hash: Vec<u8>| {
            answer.notify(kind).is_some() && answer.notifies().any(|n| n.kind == kind && n.data == hash)
        };
        let gateway_open = says(NotifyType::NatDetectionSourceIp, hash(self.gateway, self.gateway_port));
        let we_open = says(NotifyType::NatDetectionDestinationIp, hash(self.address, self.our_port));
        self.behind_nat = !(gateway_open && we_open);
        if self.behind_nat {
            (self.our_port, self.gateway_port) = (NAT_T_PORT, NAT_T_PORT);
        }
    }
}

impl Authentication {
    fn begin(mut self, now_ms: u64, config: &ClientConfig, shared: &mut Shared) -> State {
        let id = Identification::new(config.identity.clone());
        let mut payloads = vec![Payload::IdI(id.clone())];
        if config.initial_contact {
            payloads.push(Payload::Notify(Notify::new(NotifyType::InitialContact)));
        }
        payloads.push(Payload::IdR(Identification::new(config.gateway_identity.clone())));
        self.step = match &config.login {
            Login::Psk(key) => {
                payloads.push(self.our_auth(key, &id));
                Step::Psk(key.clone())
            }
            Login::Certificate(credential) => {
                payloads.extend(credential.cert_payloads().map(Payload::Cert));
                let octets = self.our_octets(&id);
                let Ok(auth) = credential.sign(&octets, self.gateway_hashes.as_deref()) else {
                    return shared.fault("the client cannot sign for this gateway");
                };
                payloads.push(Payload::Auth(auth));
                Step::Certificate
            }
            Login::Resume(token) => {
                payloads.push(self.our_auth(token, &id));
                Step::Certificate
            }
            Login::Eap { user, hash } => {
                let peer = PeerConfig { identity: user.clone(), user: user.clone(), hash: hash.clone() };
                Step::EapFirst(EapPeer::new(peer, shared.rng.octets()))
            }
        };
        let proposals = config
            .esp
            .iter()
            .zip(1..)
            .map(|(esp, number)| {
                EspProposal { groups: vec![], ..esp.clone() }.to_wire(number, self.child_spi)
            })
            .collect();
        let addresses = config.families.addresses().iter().copied();
        let wanted = addresses.chain([CfgAttributeType::InternalIp4Dns, CfgAttributeType::InternalIp4Subnet]);
        let more = config.attributes.iter().copied().map(CfgAttributeType::from_number);
        let attributes = wanted.chain(more).map(CfgAttribute::empty).collect();
        let any = config.families.everything();
        payloads.extend([
            Payload::Cp(Configuration { kind: CfgType::Request, attributes }),
            Payload::Sa(Sa { proposals }),
            Payload::TsI(any.clone()),
            Payload::TsR(any),
        ]);
        self.send(now_ms, payloads, shared)
    }

    fn receive(mut self, now_ms: u64, datagram: &[u8], config: &ClientConfig, shared: &mut Shared) -> State {
        // A request that has overtaken the last answer waits for its repetition.
        if !super::header_of(datagram).is_some_and(|header| self.link.owns(&header) && header.is_response) {
            return self.waiting();
        }
        let Received::Response(answer) = self.link.receive(datagram) else { return self.waiting() };
        if answer.auth().is_none()
            && answer.eap().is_none()
            && let Some(refusal) = answer.error_notify()
        {
            return State::Gone(End::Refused(refusal.kind));
        }
        self.proceed(now_ms, &answer, config, shared)
    }

    fn proceed(mut self, now_ms: u64, answer: &Message, config: &ClientConfig, shared: &mut Shared) -> State {
        match std::mem::replace(&mut self.step, Step::Psk(vec![])) {
            Step::Certificate => {
                if !self.signature_holds(answer, config) {
                    return shared.fault("the gateway's signature does not hold");
                }
                self.establish(now_ms, answer, config, shared)
            }
            Step::Psk(key) => self.finish(now_ms, &key, answer, config, shared),
            Step::EapLast(msk) => self.finish(now_ms, &msk, answer, config, shared),
            Step::EapFirst(peer) => {
                if !self.signature_holds(answer, config) {
                    return shared.fault("the gateway's signature does not hold");
                }
                self.eap(now_ms, peer, answer, config, shared)
            }
            Step::Eap(peer) => self.eap(now_ms, peer, answer, config, shared),
        }
    }

    fn eap(
        mut self,
        now_ms: u64,
        mut peer: EapPeer,
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let Some(packet) = answer.eap() else { return shared.fault("an answer without EAP") };
        match peer.handle(packet) {
            PeerStep::Response(response) => {
                self.step = Step::Eap(peer);
                self.send(now_ms, vec![Payload::Eap(response)], shared)
            }
            PeerStep::Success(Some(msk)) => {
                let auth = self.our_auth(msk.as_bytes(), &Identification::new(config.identity.clone()));
                self.step = Step::EapLast(msk.as_bytes().to_vec());
                self.send(now_ms, vec![auth], shared)
            }
            PeerStep::Success(None) => shared.fault("an EAP method without a key"),
            PeerStep::Failure(_) => match answer.error_notify() {
                Some(refusal) => State::Gone(End::Refused(refusal.kind)),
                None => State::Gone(End::Refused(NotifyType::AuthenticationFailed)),
            },
            PeerStep::Discard(reason) => shared.fault(format!("bad EAP from the gateway: {reason}")),
        }
    }

    fn finish(
        self,
        now_ms: u64,
        key: &[u8],
        answer: &Message,
        config: &ClientConfig,
        shared: &mut Shared,
    ) -> State {
        let Some(Auth { method: AuthMethod::SharedKey, data }) = answer.auth() else {
            return shared.fault("the last answer of IKE_AUTH has no shared-key AUTH");
        };
        // After EAP the identity was in the first answer; it must be the one we asked for.
        let id = answer.id_r().cloned().unwrap_or(Identification::new(config.gateway_identity.clone()));
        let octets =
            self.link.keys.signed_octets(Role::Responder, &self.first_response, &self.our_nonce, &id.body());
        if id.identity != config.gateway_identity
            || !verify_shared_key_auth(self.link.keys.suite.prf, key, &octets, data)
        {
            return shared.fault("the gateway does not know the shared key");
        }
        self.establish(now_ms, answer, config, shared)
    }

    fn establish(self, now_ms: u64, answer: &Message, config: &ClientConfig, shared: &mut Shared) -> State {
        let told = |kind| answer.cp().and_then(|cp| cp.all(kind).next());
        let v6 = told(CfgAttributeType::InternalIp6Address).and_then(CfgAttribute::as_ipv6_prefix);
        let inner = Inner {
            v4: told(CfgAttributeType::InternalIp4Address).and_then(CfgAttribute::as_ipv4),
            v6: v6.map(|(address, prefix_len)| Inner6 { address, prefix_len }),
        };
        shared.granted = answer.cp().map(|cp| cp.attributes.clone()).unwrap_or_default();
        let nonces = (self.our_nonce, self.gateway_nonce);
        Established::begin(now_ms, self.link, nonces, self.child_spi, inner, answer, config, shared)
    }

    /// The AUTH payload of a shared key: pre-shared, or EAP's.
    fn our_auth(&self, key: &[u8], id: &Identification) -> Payload {
        let keys = &self.link.keys;
        let octets =
            keys.signed_octets(Role::Initiator, &self.first_request, &self.gateway_nonce, &id.body());
        let data = shared_key_auth(keys.suite.prf, key, &octets).as_bytes().to_vec();
        Payload::Auth(Auth { method: AuthMethod::SharedKey, data })
    }

    /// What our AUTH payload is computed over.
    fn our_octets(&self, id: &Identification) -> Vec<u8> {
        let keys = &self.link.keys;
        keys.signed_octets(Role::Initiator, &self.first_request, &self.gateway_nonce, &id.body())
    }

    /// Whether the gateway signed as the owner of its key (RFC 7427, or RFC 4754).
    fn signature_holds(&self, answer: &Message, config: &ClientConfig) -> bool {
        let (Some(id), Some(auth)) = (answer.id_r(), answer.auth()) else { return false };
        let octets =
            self.link.keys.signed_octets(Role::Responder, &self.first_response, &self.our_nonce, &id.body());
        let verified = match auth.method {
            AuthMethod::EcdsaSha256P256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &config.gateway_key)
                    .verify(&octets, &auth.data)
            }
            AuthMethod::DigitalSignature => {
                let Some((&algorithm_octets, rest)) = auth.data.split_first() else { return false };
                let Some(signature) = rest.get(usize::from(algorithm_octets)..) else { return false };
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &config.gateway_key)
                    .verify(&octets, signature)
            }
            _ => return false,
        };
        id.identity == config.gateway_identity && verified.is_ok()
    }

    fn send(mut self, now_ms: u64, payloads: Vec<Payload>, shared: &mut Shared) -> State {
        let datagrams = self.link.request(now_ms, ExchangeType::IkeAuth, payloads, &mut shared.rng);
        shared.send_all(datagrams);
        self.waiting()
    }

    fn waiting(self) -> State {
        State::Connecting(Box::new(Handshake::Auth(Box::new(self))))
    }
}

/// A fresh nonce.
pub(super) fn new_nonce(shared: &mut Shared) -> Nonce {
    match Nonce::new(shared.rng.octets::<NONCE_OCTETS>().to_vec()) {
        Ok(nonce) => nonce,
        Err(error) => unreachable!("{error}"),
    }
}

/// A fresh key pair.
pub(super) fn new_private(group: Group, shared: &mut Shared) -> KePrivate {
    match KePrivate::generate(group, &mut shared.rng) {
        Ok(private) => private,
        Err(error) => unreachable!("{error}"),
    }
}

/// Its public half.
pub(super) fn public(private: &KePrivate) -> Vec<u8> {
    match private.public() {
        Ok(public) => public,
        Err(error) => unreachable!("{error}"),
    }
}
