//! IKE_SA_INIT and IKE_AUTH: the IKE SA's keys, the gateway's proof, then ours (RFC 7296 §1.2, §2.6, §2.15, §2.16).
//!
//! Enters: the connection wanted, the gateway's answers. Leaves: requests, [`Output::Up`] with the first Child SA, or
//! [`Output::Failed`]. Nothing of the user is said before [`ProvenGateway`] exists: MSCHAPv2 and AnyConnect-EAP both rest
//! on the gateway's certificate.

use causeway_ike::cert::{CertUse, SIGNATURE_HASHES};
use causeway_ike::crypto::{
    ExchangeValues, IkeKeys, KePrivate, Role, Secret, nat_detection_hash, shared_key_auth,
    verify_shared_key_auth,
};
use causeway_ike::suite::{Group, accept_ike_answer};
use causeway_ike::time::Instant;
use causeway_ike::wire::{
    Auth, AuthMethod, Cert, ExchangeType, Header, Identification, IkeSpi, Incoming, Ke, Message, Nonce,
    Notify, NotifyType, Payload, rules,
};

use super::established::Established;
use super::ike_sa::{Cutting, IkeSa, Opened};
use super::rekey::{Exchanged, take_child};
use super::retry::{Retry, Turn};
use super::{Connection, Fault, GatewayPort, Outgoing, Output, Proof, Shared, State, offer, to_natt};
use crate::attributes::{self, Granted};
use crate::method::{Binding, EapMethod, EapReply};

/// Cookies and other groups that a gateway may ask for before we give up.
const MAX_INIT_REPEATS: u32 = 4;
/// Rounds of EAP in one login.
const MAX_EAP_ROUNDS: u32 = 40;
/// Octets of the random vendor id that opens IKE_AUTH in Cisco's clients.
const RANDOM_VENDOR_OCTETS: usize = 20;
const VENDOR_DELETE_REASON: &[u8] = b"CISCO-DELETE-REASON";
const VENDOR_COPYRIGHT: &[u8] = b"CISCO(COPYRIGHT)&Copyright (c) 2009 Cisco Systems, Inc.";
const VENDOR_ANYCONNECT_EAP: &[u8] = b"CISCO-ANYCONNECT-EAP";
/// MD5 of `FRAGMENTATION`: who sends it cuts and joins in Cisco's way.
const VENDOR_FRAGMENTATION: [u8; 16] =
    [0x40, 0x48, 0xb7, 0xd5, 0x6e, 0xbc, 0xe8, 0x85, 0x25, 0xe7, 0xde, 0x7f, 0x00, 0xd6, 0xc2, 0xd3];
const EAP_SUCCESS: u8 = 3;
const EAP_FAILURE: u8 = 4;

/// IKE_SA_INIT is out.
pub(super) struct InitSent {
    connection: Connection,
    spi: IkeSpi,
    ni: Nonce,
    private: KePrivate,
    request: Vec<u8>,
    cookie: Option<Vec<u8>>,
    repeats: u32,
    retry: Retry,
}

/// What of IKE_SA_INIT the AUTH payloads cover.
struct InitFacts {
    request: Vec<u8>,
    response: Vec<u8>,
    ni: Nonce,
    nr: Nonce,
}

/// IKE_AUTH is under way.
pub(super) struct Authenticating {
    init: InitFacts,
    sa: IkeSa,
    id_i: Identification,
    child_spi: u32,
    unix_secs: u64,
    stage: Stage,
    message_id: u32,
    retry: Retry,
}

enum Stage {
    /// The token's AUTH is out; the answer ends the login.
    Token,
    /// The first request, without AUTH, is out.
    Asked(Box<dyn EapMethod>),
    /// An EAP response is out.
    Eap { method: Box<dyn EapMethod>, gateway: ProvenGateway, rounds: u32 },
    /// EAP has succeeded and our AUTH is out.
    Final { msk: Option<Secret>, gateway: ProvenGateway },
}

/// The gateway has signed with a certificate of the dialled name. Made by [`Authenticating::prove_gateway`] only.
struct ProvenGateway {
    /// The body of its IDr: its final AUTH covers it again.
    id_body: Vec<u8>,
}

impl InitSent {
    pub(super) fn start(
        shared: &mut Shared,
        connection: Connection,
        now: Instant,
    ) -> Result<InitSent, Fault> {
        let group =
            *shared.config.ike.first().and_then(|proposal| proposal.groups.first()).ok_or(Fault::Proposal)?;
        let spi = IkeSpi(u64::from_be_bytes(shared.octets()?) | 1);
        let ni = shared.nonce()?;
        InitSent::ask(shared, connection, (spi, ni), group, None, 0, now)
    }

    fn ask(
        shared: &mut Shared,
        connection: Connection,
        (spi, ni): (IkeSpi, Nonce),
        group: Group,
        cookie: Option<Vec<u8>>,
        repeats: u32,
        now: Instant,
    ) -> Result<InitSent, Fault> {
        let private = KePrivate::generate(group, &mut *shared.random).map_err(|_| Fault::Crypto)?;
        let public = private.public().map_err(|_| Fault::Crypto)?;
        let mut payloads = Vec::new();
        payloads.extend(cookie.clone().map(|data| notify(NotifyType::Cookie, data)));
        payloads.push(Payload::Sa(offer::ike(&shared.config.ike)));
        payloads.push(Payload::Ke(Ke { group: group.number(), data: public }));
        payloads.push(Payload::Nonce(ni.clone()));
        if shared.config.cisco_vendor_ids {
            let ids = [VENDOR_DELETE_REASON, VENDOR_COPYRIGHT, VENDOR_ANYCONNECT_EAP];
            payloads.extend(ids.map(|id| Payload::Vendor(id.to_vec())));
        }
        if shared.config.cisco_fragment_octets.is_some() {
            payloads.push(Payload::Vendor(VENDOR_FRAGMENTATION.to_vec()));
        }
        // A hash of no address: ESP is always carried in UDP, because a program has no socket for plain ESP.
        let source = shared.octets::<{ causeway_ike::crypto::NAT_HASH_LEN }>()?.to_vec();
        let (gateway, port) = connection.gateway;
        let destination = nat_detection_hash(spi, IkeSpi::ZERO, gateway, port);
        payloads.push(notify(NotifyType::NatDetectionSourceIp, source));
        payloads.push(notify(NotifyType::NatDetectionDestinationIp, destination));
        if shared.config.fragment_octets.is_some() {
            payloads.push(Payload::Notify(Notify::new(NotifyType::FragmentationSupported)));
        }
        payloads.push(Payload::Notify(Notify::signature_hashes(&SIGNATURE_HASHES)));
        let header = Header::new(spi, IkeSpi::ZERO, ExchangeType::IkeSaInit, true, false, 0);
        let request = Message::new(header, payloads).emit_clear().map_err(|_| Fault::Proposal)?;
        let sent = vec![Outgoing { port: GatewayPort::Ike, bytes: request.clone() }];
        shared.send(&sent);
        let retry = Retry::new(sent, now);
        Ok(InitSent { connection, spi, ni, private, request, cookie, repeats, retry })
    }

    pub(super) fn next_wakeup(&self) -> Instant {
        self.retry.due()
    }

    pub(super) fn on_timer(mut self: Box<Self>, shared: &mut Shared, now: Instant) -> Result<State, Fault> {
        match self.retry.turn(now) {
            Turn::NotYet => {}
            Turn::Again(sent) => shared.send(&sent),
            Turn::GiveUp => return Err(Fault::NoAnswer),
        }
        Ok(State::InitSent(self))
    }

    pub(super) fn receive(
        self: Box<Self>,
        shared: &mut Shared,
        now: Instant,
        datagram: &[u8],
    ) -> Result<State, Fault> {
        let Ok(Incoming::Clear(message)) = Incoming::parse(datagram) else {
            return Ok(State::InitSent(self));
        };
        let header = &message.header;
        let ours = header.exchange == ExchangeType::IkeSaInit
            && header.is_response
            && !header.from_initiator
            && header.initiator_spi == self.spi
            && header.message_id == 0;
        if !ours || rules::check(&message, false).is_err() {
            return Ok(State::InitSent(self));
        }
        if let Some(cookie) = message.notify(NotifyType::Cookie) {
            let (group, cookie) = (self.private.group(), cookie.data.clone());
            return self.again(shared, group, Some(cookie), now);
        }
        if let Some(error) = message.error_notify() {
            let wanted = error.data_u16().and_then(Group::from_number);
            let known = |group: &Group| shared.config.ike.iter().any(|p| p.groups.contains(group));
            return match (error.kind, wanted.filter(known)) {
                (NotifyType::InvalidKePayload, Some(group)) => {
                    let cookie = self.cookie.clone();
                    self.again(shared, group, cookie, now)
                }
                (kind, _) => Err(Fault::Refused(kind)),
            };
        }
        self.agree(shared, now, datagram, &message)
    }

    fn again(
        self: Box<Self>,
        shared: &mut Shared,
        group: Group,
        cookie: Option<Vec<u8>>,
        now: Instant,
    ) -> Result<State, Fault> {
        if self.repeats >= MAX_INIT_REPEATS {
            return Err(Fault::Answer("IKE_SA_INIT is asked for without end"));
        }
        let InitSent { connection, spi, ni, repeats, .. } = *self;
        let next = InitSent::ask(shared, connection, (spi, ni), group, cookie, repeats + 1, now)?;
        Ok(State::InitSent(Box::new(next)))
    }

    fn agree(
        self: Box<Self>,
        shared: &mut Shared,
        now: Instant,
        datagram: &[u8],
        message: &Message,
    ) -> Result<State, Fault> {
        let (Some(sa), Some(ke), Some(nr)) = (message.sa(), message.ke(), message.nonce()) else {
            return Err(Fault::Answer("IKE_SA_INIT lacks payloads"));
        };
        let choice = accept_ike_answer(&shared.config.ike, sa, false)
            .ok_or(Fault::Answer("it chose what was not offered"))?;
        if choice.suite.group != self.private.group() || ke.group != self.private.group().number() {
            return Err(Fault::Answer("another group than ours"));
        }
        let secret = self.private.derive(&ke.data).map_err(|_| Fault::Answer("bad public value"))?;
        let responder_spi = message.header.responder_spi;
        let values = ExchangeValues {
            initiator_nonce: &self.ni,
            responder_nonce: nr,
            initiator_spi: self.spi,
            responder_spi,
        };
        let keys = IkeKeys::initial(choice.suite, &secret, &values).map_err(|_| Fault::Crypto)?;
        let cutting = cutting(shared, message);
        let sa = IkeSa::new((self.spi, responder_spi), Role::Initiator, keys, 1, cutting)?;
        let InitSent { connection, ni, request, .. } = *self;
        let init = InitFacts { request, response: datagram.to_vec(), ni, nr: nr.clone() };
        let next = Authenticating::ask(shared, connection, init, sa, now)?;
        Ok(State::Authenticating(Box::new(next)))
    }
}

impl Authenticating {
    fn ask(
        shared: &mut Shared,
        connection: Connection,
        init: InitFacts,
        mut sa: IkeSa,
        now: Instant,
    ) -> Result<Authenticating, Fault> {
        let id_i = Identification::new(connection.identity);
        let child_spi = shared.esp_spi()?;
        let mut payloads = Vec::new();
        if shared.config.cisco_vendor_ids {
            payloads.push(Payload::Vendor(shared.octets::<RANDOM_VENDOR_OCTETS>()?.to_vec()));
        }
        payloads.push(Payload::IdI(id_i.clone()));
        payloads.push(Payload::CertReq(shared.config.trust.cert_req()));
        let stage = match connection.proof {
            Proof::Token(token) => {
                let octets = own_octets(&sa, &init, &id_i);
                payloads.push(shared_key_payload(&sa, token.as_bytes(), &octets));
                Stage::Token
            }
            Proof::Eap(method) => Stage::Asked(method),
        };
        let request =
            attributes::request(&shared.config.attributes, &shared.config.version, shared.config.ipv6);
        payloads.push(Payload::Cp(request));
        let esp = offer::with_group(&shared.config.esp, None);
        payloads.push(Payload::Sa(offer::esp(&esp, child_spi)));
        payloads.push(Payload::TsI(offer::everything(shared.config.ipv6)));
        payloads.push(Payload::TsR(offer::everything(shared.config.ipv6)));
        let (message_id, datagrams) = sa.request(ExchangeType::IkeAuth, payloads, &mut *shared.random)?;
        let sent = to_natt(datagrams);
        shared.send(&sent);
        let (unix_secs, retry) = (connection.unix_secs, Retry::new(sent, now));
        Ok(Authenticating { init, sa, id_i, child_spi, unix_secs, stage, message_id, retry })
    }

    pub(super) fn next_wakeup(&self) -> Instant {
        self.retry.due()
    }

    pub(super) fn on_timer(mut self: Box<Self>, shared: &mut Shared, now: Instant) -> Result<State, Fault> {
        match self.retry.turn(now) {
            Turn::NotYet => {}
            Turn::Again(sent) => shared.send(&sent),
            Turn::GiveUp => return Err(Fault::NoAnswer),
        }
        Ok(State::Authenticating(self))
    }

    pub(super) fn receive(
        mut self: Box<Self>,
        shared: &mut Shared,
        now: Instant,
        datagram: &[u8],
    ) -> Result<State, Fault> {
        let message = match self.sa.open(now, datagram) {
            Opened::Answer(message) if message.header.message_id == self.message_id => message,
            _ => return Ok(State::Authenticating(self)),
        };
        let Authenticating { init, sa, id_i, child_spi, unix_secs, stage, .. } = *self;
        let login = Login { init, sa, id_i, child_spi, unix_secs };
        match stage {
            Stage::Token => {
                login.prove_gateway(shared, &message)?;
                login.finish(shared, now, &message)
            }
            Stage::Asked(method) => {
                let gateway = login.prove_gateway(shared, &message)?;
                login.eap(shared, now, &message, method, gateway, 0)
            }
            Stage::Eap { method, gateway, rounds } => {
                login.eap(shared, now, &message, method, gateway, rounds)
            }
            Stage::Final { msk, gateway } => {
                login.check_final(&message, msk.as_ref(), &gateway)?;
                login.finish(shared, now, &message)
            }
        }
    }
}

/// An IKE_AUTH answer is being looked at: no request is out.
struct Login {
    init: InitFacts,
    sa: IkeSa,
    id_i: Identification,
    child_spi: u32,
    unix_secs: u64,
}

impl Login {
    /// Certificate, name and signature.
    fn prove_gateway(&self, shared: &Shared, message: &Message) -> Result<ProvenGateway, Fault> {
        let (auth, id_r) = match (message.auth(), message.id_r(), message.error_notify()) {
            (Some(auth), Some(id_r), _) => (auth, id_r),
            (_, _, Some(error)) => return Err(Fault::Refused(error.kind)),
            _ => return Err(Fault::Gateway("it does not say who it is")),
        };
        if auth.method == AuthMethod::SharedKey {
            return Err(Fault::Gateway("it has no certificate"));
        }
        let certs: Vec<Cert> = message
            .payloads
            .iter()
            .filter_map(|payload| match payload {
                Payload::Cert(cert) => Some(cert.clone()),
                _ => None,
            })
            .collect();
        let certificate = shared
            .config
            .trust
            .verify(&certs, CertUse::Server, self.unix_secs)
            .map_err(|_| Fault::Gateway("its certificate is not trusted, expired or not for gateways"))?;
        // What was dialled counts, not what it calls itself: IDr may be an address (as Cisco's gateways send it).
        if !certificate.names(&shared.config.gateway_name) {
            return Err(Fault::Gateway("its certificate does not name it"));
        }
        let id_body = id_r.body();
        let octets =
            self.sa.keys.signed_octets(Role::Responder, &self.init.response, &self.init.ni, &id_body);
        certificate.verify_auth(auth, &octets).map_err(|_| Fault::Gateway("its signature is wrong"))?;
        Ok(ProvenGateway { id_body })
    }

    fn eap(
        mut self,
        shared: &mut Shared,
        now: Instant,
        message: &Message,
        mut method: Box<dyn EapMethod>,
        gateway: ProvenGateway,
        rounds: u32,
    ) -> Result<State, Fault> {
        let Some(packet) = message.eap() else {
            return Err(message.error_notify().map_or(Fault::Answer("no EAP"), |e| Fault::Refused(e.kind)));
        };
        if rounds >= MAX_EAP_ROUNDS {
            return Err(Fault::Answer("EAP without end"));
        }
        let octets = own_octets(&self.sa, &self.init, &self.id_i);
        let (payload, stage) =
            match method.respond(packet, &Binding { signed_octets: &octets, prf: self.sa.keys.suite.prf }) {
                EapReply::Respond(response) => {
                    (Payload::Eap(response), Stage::Eap { method, gateway, rounds: rounds + 1 })
                }
                EapReply::Success(msk) if packet.first() == Some(&EAP_SUCCESS) => {
                    let key = msk.as_ref().unwrap_or_else(|| self.sa.keys.sk_p(Role::Initiator)).as_bytes();
                    (shared_key_payload(&self.sa, key, &octets), Stage::Final { msk, gateway })
                }
                EapReply::Failure(reason) => return Err(Fault::Login(reason)),
                EapReply::Success(_) | EapReply::Confused if packet.first() == Some(&EAP_FAILURE) => {
                    return Err(Fault::Login("the gateway refused the login".into()));
                }
                EapReply::Success(_) | EapReply::Confused => return Err(Fault::Answer("EAP out of order")),
            };
        let random = &mut *shared.random;
        let (message_id, datagrams) = self.sa.request(ExchangeType::IkeAuth, vec![payload], random)?;
        let sent = to_natt(datagrams);
        shared.send(&sent);
        let Login { init, sa, id_i, child_spi, unix_secs } = self;
        let retry = Retry::new(sent, now);
        Ok(State::Authenticating(Box::new(Authenticating {
            init,
            sa,
            id_i,
            child_spi,
            unix_secs,
            stage,
            message_id,
            retry,
        })))
    }

    /// The gateway's second AUTH, made with the MSK or, without one, with SK_pr.
    fn check_final(
        &self,
        message: &Message,
        msk: Option<&Secret>,
        gateway: &ProvenGateway,
    ) -> Result<(), Fault> {
        let Some(auth) = message.auth() else {
            return Err(message.error_notify().map_or(Fault::Answer("no AUTH"), |e| Fault::Refused(e.kind)));
        };
        let keys = &self.sa.keys;
        let key = msk.unwrap_or_else(|| keys.sk_p(Role::Responder)).as_bytes();
        let octets =
            keys.signed_octets(Role::Responder, &self.init.response, &self.init.ni, &gateway.id_body);
        let good = auth.method == AuthMethod::SharedKey
            && verify_shared_key_auth(keys.suite.prf, key, &octets, &auth.data);
        good.then_some(()).ok_or(Fault::Gateway("its second AUTH is wrong"))
    }

    fn finish(self, shared: &mut Shared, now: Instant, message: &Message) -> Result<State, Fault> {
        if let Some(error) = message.error_notify() {
            return Err(Fault::Denied(error.kind));
        }
        let granted = message
            .cp()
            .map_or_else(Granted::default, |reply| Granted::read(reply, &shared.config.attributes));
        if granted.address.is_none() && granted.address6.is_none() {
            return Err(Fault::Answer("no inner address"));
        }
        let exchange = Exchanged {
            offer: &offer::with_group(&shared.config.esp, None),
            spi: self.child_spi,
            shared: None,
            ni: &self.init.ni,
            nr: &self.init.nr,
        };
        let (facts, child) = take_child(&self.sa.keys, &exchange, message)?;
        shared.push(Output::Up(Box::new(granted)));
        shared.push(Output::ChildUp(Box::new(child)));
        Ok(State::Established(Box::new(Established::new(shared, self.sa, facts, now))))
    }
}

/// What both sides have announced; RFC 7383 before Cisco's way, because its fragments are authentic each by itself.
fn cutting(shared: &Shared, answer: &Message) -> Cutting {
    let ietf = answer.notify(NotifyType::FragmentationSupported).is_some();
    let vendor = |payload: &Payload| matches!(payload, Payload::Vendor(id) if *id == VENDOR_FRAGMENTATION);
    match (shared.config.fragment_octets, shared.config.cisco_fragment_octets) {
        (Some(octets), _) if ietf => Cutting::Ietf(octets),
        (_, Some(octets)) if answer.payloads.iter().any(vendor) => Cutting::Cisco(octets),
        _ => Cutting::None,
    }
}

fn own_octets(sa: &IkeSa, init: &InitFacts, id_i: &Identification) -> Vec<u8> {
    sa.keys.signed_octets(Role::Initiator, &init.request, &init.nr, &id_i.body())
}

fn shared_key_payload(sa: &IkeSa, key: &[u8], octets: &[u8]) -> Payload {
    let data = shared_key_auth(sa.keys.suite.prf, key, octets).as_bytes().to_vec();
    Payload::Auth(Auth { method: AuthMethod::SharedKey, data })
}

fn notify(kind: NotifyType, data: Vec<u8>) -> Payload {
    Payload::Notify(Notify::with_data(kind, data))
}
