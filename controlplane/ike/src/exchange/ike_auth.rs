//! IKE_AUTH as responder: PSK, certificate and EAP; then the first Child SA (RFC 7296 §1.2, §2.15, §2.16, §2.19, §2.21.2).
//!
//! Enters: requests under the keys of IKE_SA_INIT, results of the jobs that authentication needs. Leaves: an
//! [`Established`] session made with a proof of authentication, or a refusal after which nothing is held.
//!
//! The states here follow one another; each is consumed by what it waits for. One file, though long, because a login is
//! read from its first request to its session.

use std::net::Ipv4Addr;

use crate::api::{
    AddressRequest, DownReason, EapOutcome, EapStep, Event, JobId, JobKind, JobResult, Lease, SessionFacts,
    SessionId,
};
use crate::child::{self, Child, ChildPlan, ChildRole};
use crate::counters::IkeCounter;
use crate::crypto::{Role, shared_key_auth};
use crate::error::IkeError;
use crate::established::Established;
use crate::exchange::authenticated::{Authenticated, EapSuccess};
use crate::exchange::closing::Farewell;
use crate::exchange::config::{self, AddressWish};
use crate::job::{PublicKeyJob, PublicKeyResult, VerifyJob};
use crate::policy::IdrMismatch;
use crate::sa::{IkeSa, Path};
use crate::selectors::{self, SelectorPair};
use crate::state::State;
use crate::suite::{ChildKe, select_esp};
use crate::time::Instant;
use crate::wire::{
    Auth, AuthMethod, Cert, Configuration, Delete, ExchangeType, Identification, Message, Nonce, Notify,
    NotifyType, Payload, Sa, SignatureHash, TrafficSelector, WireError,
};
use crate::world::{Cx, Holder};

/// What every state between IKE_SA_INIT and the session has.
pub(crate) struct Handshake {
    pub(crate) id: SessionId,
    pub(crate) sa: IkeSa,
    pub(crate) started_at: Instant,
    pub(crate) deadline: Instant,
    pub(crate) ni: Nonce,
    pub(crate) nr: Nonce,
    /// The IKE_SA_INIT request as it came: what the client signs.
    pub(crate) request: Vec<u8>,
    /// The IKE_SA_INIT response as it was sent: what we sign.
    pub(crate) response: Vec<u8>,
    pub(crate) peer_hashes: Option<Vec<SignatureHash>>,
}

/// What the first IKE_AUTH request asks for.
pub(crate) struct Applicant {
    pub(crate) id_i: Identification,
    initial_contact: bool,
    sa: Sa,
    ts_i: Vec<TrafficSelector>,
    ts_r: Vec<TrafficSelector>,
    cp: Option<Configuration>,
}

/// IKE_SA_INIT was answered; the first IKE_AUTH request is expected.
pub(crate) struct AwaitAuth {
    pub(crate) hs: Handshake,
}

/// The client's pre-shared key is looked up.
pub(crate) struct PskLookup {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    auth: Auth,
    job: JobId,
}

/// The client's certificate and signature are being verified.
pub(crate) struct CertificateCheck {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    job: JobId,
}

/// The client is authenticated by certificate; our signature is being made.
pub(crate) struct CertificateSign {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    who: Authenticated,
    job: JobId,
}

/// The client wants EAP; our signature is being made.
pub(crate) struct EapSign {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    job: JobId,
}

/// An EAP conversation.
pub(crate) struct EapTalk {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
}

/// AAA works on the next EAP packet.
pub(crate) struct EapServer {
    pub(crate) talk: EapTalk,
    /// What goes before the EAP payload: IDr, CERT and AUTH of the first answer.
    head: Vec<Payload>,
    job: JobId,
}

/// The client works on its EAP response.
pub(crate) struct EapClient {
    pub(crate) talk: EapTalk,
}

/// EAP has succeeded; the client's AUTH under the MSK is expected.
pub(crate) struct EapFinalAuth {
    pub(crate) talk: EapTalk,
    success: EapSuccess,
}

/// The client is authenticated; what is left is its address and first Child SA.
pub(crate) struct Admission {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    who: Authenticated,
    /// What the answer begins with: our IDr, CERT, AUTH.
    head: Vec<Payload>,
}

/// An inner address is being leased.
pub(crate) struct Addressing {
    pub(crate) admission: Admission,
    job: JobId,
}

/// The first Child SA is being installed.
pub(crate) struct Installing {
    pub(crate) admission: Admission,
    lease: Option<Lease>,
    child: Child,
    answer: Vec<Payload>,
    job: JobId,
}

/// Tells the operator of a handshake that failed, and counts it as failed.
pub(crate) fn report_failure(
    cx: &mut Cx<'_>,
    session: SessionId,
    peer: Ipv4Addr,
    identity: Option<String>,
    error: IkeError,
) {
    cx.count(error.counter());
    let (fault, reason, counter) = (error.fault(), error.to_string(), error.counter());
    cx.event(Event::HandshakeFailed { session, peer, identity, fault, reason, counter });
}

impl Handshake {
    /// Refuses the request being worked on, and with it the whole handshake.
    pub(crate) fn refuse(self, cx: &mut Cx<'_>, error: IkeError) -> State {
        self.refuse_with(cx, error, Vec::new(), None)
    }

    fn refuse_with(
        mut self,
        cx: &mut Cx<'_>,
        error: IkeError,
        mut payloads: Vec<Payload>,
        identity: Option<&Identification>,
    ) -> State {
        let identity = identity.map(|id| id.identity.to_string());
        report_failure(cx, self.id, self.sa.path.peer, identity, error);
        let kind = error.auth_notify();
        let data = if kind == error.notify() { error.notify_data() } else { Vec::new() };
        payloads.push(Payload::Notify(Notify::with_data(kind, data)));
        if self.sa.respond(cx, payloads).is_err() {
            cx.count(IkeCounter::InternalErrors);
        }
        Farewell::begin(cx, self.id, self.sa, DownReason::PeerMisbehaved)
    }

    fn refuse_applicant(self, cx: &mut Cx<'_>, applicant: &Applicant, error: IkeError) -> State {
        self.refuse_with(cx, error, Vec::new(), Some(&applicant.id_i))
    }

    /// What the client's AUTH covers.
    fn peer_octets(&self, id_i: &Identification) -> Vec<u8> {
        self.sa.keys.signed_octets(Role::Initiator, &self.request, &self.nr, &id_i.body())
    }

    /// Our identity, and what our AUTH covers.
    fn own_octets(&self, cx: &Cx<'_>) -> (Identification, Vec<u8>) {
        let id_r = Identification::new(cx.world.config.identity.clone());
        let octets = self.sa.keys.signed_octets(Role::Responder, &self.response, &self.ni, &id_r.body());
        (id_r, octets)
    }

    fn own_mac(&self, cx: &Cx<'_>, key: &[u8]) -> (Payload, Payload) {
        let (id_r, octets) = self.own_octets(cx);
        let mac = shared_key_auth(self.sa.keys.suite.prf, key, &octets);
        let auth = Auth { method: AuthMethod::SharedKey, data: mac.as_bytes().to_vec() };
        (Payload::IdR(id_r), Payload::Auth(auth))
    }

    fn sign(&self, cx: &mut Cx<'_>) -> JobId {
        let (_, octets) = self.own_octets(cx);
        let peer_hashes = self.peer_hashes.clone();
        cx.job(self.id, JobKind::PublicKey(Box::new(PublicKeyJob::Sign { octets, peer_hashes })))
    }

    /// IDr, CERT and AUTH.
    fn signed_head(&self, cx: &Cx<'_>, auth: Auth) -> Vec<Payload> {
        let (id_r, _) = self.own_octets(cx);
        let certs = cx.world.config.certificates.iter().cloned().map(Payload::Cert);
        [Payload::IdR(id_r)].into_iter().chain(certs).chain([Payload::Auth(auth)]).collect()
    }
}

impl AwaitAuth {
    /// Our answer to IKE_SA_INIT, for who repeats the request.
    pub(crate) fn response(&self) -> &[u8] {
        &self.hs.response
    }

    pub(crate) fn on_request(self: Box<Self>, cx: &mut Cx<'_>, message: Message, from: Path) -> State {
        let AwaitAuth { mut hs } = *self;
        // The client has moved to port 4500, or a NAT has mapped it anew since (RFC 7296 §2.23).
        hs.sa.path = from;
        let applicant = match Applicant::read(&message) {
            Ok(applicant) => applicant,
            Err(error) => return hs.refuse(cx, error.into()),
        };
        if let Err(error) = check_id_r(cx, &message) {
            return hs.refuse_applicant(cx, &applicant, error);
        }
        let methods = cx.world.config.methods;
        match message.auth().cloned() {
            None if methods.eap => {
                let job = hs.sign(cx);
                State::EapSign(Box::new(EapSign { hs, applicant, job }))
            }
            Some(auth) if auth.method == AuthMethod::SharedKey && methods.psk => {
                let identity = applicant.id_i.identity.clone();
                let job = cx.job(hs.id, JobKind::PskLookup { identity });
                State::PskLookup(Box::new(PskLookup { hs, applicant, auth, job }))
            }
            Some(auth) if auth.method != AuthMethod::SharedKey && methods.certificate => {
                let certificates = message.payloads.iter().filter_map(|payload| match payload {
                    Payload::Cert(cert) => Some(cert.clone()),
                    _ => None,
                });
                let job = VerifyJob {
                    certificates: certificates.collect::<Vec<Cert>>(),
                    auth,
                    octets: hs.peer_octets(&applicant.id_i),
                    identity: applicant.id_i.identity.clone(),
                };
                let job = cx.job(hs.id, JobKind::PublicKey(Box::new(PublicKeyJob::Verify(Box::new(job)))));
                State::CertificateCheck(Box::new(CertificateCheck { hs, applicant, job }))
            }
            _ => hs.refuse_applicant(cx, &applicant, IkeError::MethodOff),
        }
    }
}

fn check_id_r(cx: &Cx<'_>, message: &Message) -> Result<(), IkeError> {
    let config = &cx.world.config;
    let wanted = message.id_r();
    let mismatch = wanted.is_some_and(|id_r| !id_r.identity.matches(&config.identity));
    if mismatch && config.idr_mismatch == IdrMismatch::Refuse { Err(IkeError::IdrMismatch) } else { Ok(()) }
}

impl Applicant {
    fn read(message: &Message) -> Result<Applicant, WireError> {
        use crate::wire::PayloadType;
        let missing = WireError::Missing;
        Ok(Applicant {
            id_i: message.id_i().cloned().ok_or(missing(PayloadType::IdI))?,
            initial_contact: message.notify(NotifyType::InitialContact).is_some(),
            sa: message.sa().cloned().ok_or(missing(PayloadType::Sa))?,
            ts_i: message.ts_i().cloned().ok_or(missing(PayloadType::TsI))?,
            ts_r: message.ts_r().cloned().ok_or(missing(PayloadType::TsR))?,
            cp: message.cp().cloned(),
        })
    }
}

impl PskLookup {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::PskLookup(self);
        }
        let PskLookup { hs, applicant, auth, .. } = *self;
        let key = match result {
            JobResult::Psk(Some(key)) => key,
            JobResult::Psk(None) => {
                return hs.refuse_applicant(cx, &applicant, IkeError::Authentication("unknown identity"));
            }
            _ => return hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("key look-up")),
        };
        let octets = hs.peer_octets(&applicant.id_i);
        let prf = hs.sa.keys.suite.prf;
        match Authenticated::by_psk(&applicant.id_i.identity, prf, key.expose(), &octets, &auth) {
            Ok(who) => {
                let (id_r, auth) = hs.own_mac(cx, key.expose());
                Admission { hs, applicant, who, head: vec![id_r, auth] }.begin(cx)
            }
            Err(error) => hs.refuse_applicant(cx, &applicant, error),
        }
    }
}

impl CertificateCheck {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::CertificateCheck(self);
        }
        let CertificateCheck { hs, applicant, .. } = *self;
        match result {
            JobResult::PublicKey(PublicKeyResult::Verified(Ok(proof))) => {
                let who = Authenticated::by_certificate(&proof);
                let job = hs.sign(cx);
                State::CertificateSign(Box::new(CertificateSign { hs, applicant, who, job }))
            }
            JobResult::PublicKey(PublicKeyResult::Verified(Err(error))) => {
                hs.refuse_applicant(cx, &applicant, IkeError::of_certificate(&error))
            }
            _ => hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("certificate check")),
        }
    }
}

impl CertificateSign {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::CertificateSign(self);
        }
        let CertificateSign { hs, applicant, who, .. } = *self;
        match result {
            JobResult::PublicKey(PublicKeyResult::Signed(Ok(auth))) => {
                let head = hs.signed_head(cx, auth);
                Admission { hs, applicant, who, head }.begin(cx)
            }
            _ => hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("signature")),
        }
    }
}

impl EapSign {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::EapSign(self);
        }
        let EapSign { hs, applicant, .. } = *self;
        match result {
            JobResult::PublicKey(PublicKeyResult::Signed(Ok(auth))) => {
                let head = hs.signed_head(cx, auth);
                let step = EapStep::Start { identity: applicant.id_i.identity.clone() };
                EapTalk { hs, applicant }.ask_server(cx, step, head)
            }
            _ => hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("signature")),
        }
    }
}

impl EapTalk {
    fn ask_server(self, cx: &mut Cx<'_>, step: EapStep, head: Vec<Payload>) -> State {
        cx.set_eap(self.hs.id, true);
        let job = cx.job(self.hs.id, JobKind::Eap(step));
        State::EapServer(Box::new(EapServer { talk: self, head, job }))
    }

    fn refuse(self, cx: &mut Cx<'_>, error: IkeError, eap: Option<Vec<u8>>) -> State {
        let EapTalk { hs, applicant } = self;
        let payloads = eap.map(Payload::Eap).into_iter().collect();
        hs.refuse_with(cx, error, payloads, Some(&applicant.id_i))
    }

    /// The client gives up in an INFORMATIONAL exchange; anything else in it is only acknowledged.
    fn on_informational(mut self, cx: &mut Cx<'_>, message: &Message) -> Result<EapTalk, State> {
        let deletes = message.payloads.iter().any(|p| matches!(p, Payload::Delete(Delete::Ike)));
        let gave_up = message.error_notify().map(|notify| notify.kind);
        if let Err(error) = self.hs.sa.respond(cx, Vec::new()) {
            return Err(self.refuse(cx, error, None));
        }
        if !deletes && gave_up.is_none() {
            return Ok(self);
        }
        let error = IkeError::PeerGaveUp(gave_up.unwrap_or(NotifyType::AuthenticationFailed));
        let EapTalk { hs, applicant } = self;
        let identity = Some(applicant.id_i.identity.to_string());
        report_failure(cx, hs.id, hs.sa.path.peer, identity, error);
        Err(Farewell::begin(cx, hs.id, hs.sa, DownReason::PeerDeleted))
    }
}

impl EapServer {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::EapServer(self);
        }
        let EapServer { mut talk, mut head, .. } = *self;
        let (packet, success) = match result {
            JobResult::Eap(EapOutcome::Request { packet }) => (packet, None),
            JobResult::Eap(EapOutcome::Success { packet, user, method, msk }) => {
                cx.set_eap(talk.hs.id, false);
                (packet, Some(EapSuccess { user, method, msk }))
            }
            JobResult::Eap(EapOutcome::Failure { packet, .. }) => {
                cx.set_eap(talk.hs.id, false);
                return talk.refuse(cx, IkeError::Authentication("EAP failed"), Some(packet));
            }
            _ => return talk.refuse(cx, IkeError::Unavailable("EAP"), None),
        };
        head.push(Payload::Eap(packet));
        if let Err(error) = talk.hs.sa.respond(cx, head) {
            return talk.refuse(cx, error, None);
        }
        match success {
            None => State::EapClient(Box::new(EapClient { talk })),
            Some(success) => State::EapFinalAuth(Box::new(EapFinalAuth { talk, success })),
        }
    }
}

impl EapClient {
    pub(crate) fn on_request(self: Box<Self>, cx: &mut Cx<'_>, message: Message, from: Path) -> State {
        let EapClient { mut talk } = *self;
        talk.hs.sa.path = from;
        if message.header.exchange == ExchangeType::Informational {
            return match talk.on_informational(cx, &message) {
                Ok(talk) => State::EapClient(Box::new(EapClient { talk })),
                Err(state) => state,
            };
        }
        // AUTH before EAP has succeeded proves nothing, whatever is in it.
        match message.eap().cloned() {
            Some(packet) if message.auth().is_none() => {
                talk.ask_server(cx, EapStep::Response { packet }, Vec::new())
            }
            _ => talk.refuse(cx, IkeError::Authentication("no EAP response"), None),
        }
    }
}

impl EapFinalAuth {
    pub(crate) fn on_request(self: Box<Self>, cx: &mut Cx<'_>, message: Message, from: Path) -> State {
        let EapFinalAuth { mut talk, success } = *self;
        talk.hs.sa.path = from;
        if message.header.exchange == ExchangeType::Informational {
            return match talk.on_informational(cx, &message) {
                Ok(talk) => State::EapFinalAuth(Box::new(EapFinalAuth { talk, success })),
                Err(state) => state,
            };
        }
        let Some(auth) = message.auth().filter(|_| message.eap().is_none()) else {
            return talk.refuse(cx, IkeError::Authentication("no AUTH after EAP"), None);
        };
        let octets = talk.hs.peer_octets(&talk.applicant.id_i);
        let prf = talk.hs.sa.keys.suite.prf;
        let identity = &talk.applicant.id_i.identity;
        match Authenticated::by_eap(identity, &success, prf, &octets, auth) {
            Ok(who) => {
                let EapTalk { hs, applicant } = talk;
                let (_, auth) = hs.own_mac(cx, success.msk.expose());
                Admission { hs, applicant, who, head: vec![auth] }.begin(cx)
            }
            Err(error) => talk.refuse(cx, error, None),
        }
    }
}

impl Admission {
    /// The client is authenticated: ends what it left behind, then finds its address.
    fn begin(self, cx: &mut Cx<'_>) -> State {
        if self.applicant.initial_contact {
            cx.end_others(self.hs.id, &self.holder());
        }
        let wish = self.applicant.cp.as_ref().map(config::address_wish);
        let requested = match wish {
            Some(AddressWish::Any) => None,
            Some(AddressWish::This(address)) => Some(address),
            Some(AddressWish::None) => return self.establish_childless(cx, IkeError::NoAddress),
            None if cx.world.config.allow_without_address => return self.install(cx, None),
            None => return self.establish_childless(cx, IkeError::CpRequired),
        };
        // No address is taken for a Child SA that cannot be.
        if let Err(error) = select_esp(&cx.world.config.esp, &self.applicant.sa, ChildKe::Impossible) {
            return self.establish_childless(cx, error.into());
        }
        let request = AddressRequest {
            identity: self.who.identity().clone(),
            user: self.who.user().to_owned(),
            requested,
        };
        let job = cx.job(self.hs.id, JobKind::Address(request));
        State::Addressing(Box::new(Addressing { admission: self, job }))
    }

    fn holder(&self) -> Holder {
        Holder { identity: self.who.identity().clone(), user: self.who.user().to_owned() }
    }

    fn install(self, cx: &mut Cx<'_>, lease: Option<Lease>) -> State {
        let plan = match self.plan(cx, lease.as_ref()) {
            Ok(plan) => plan,
            Err(error) => return self.establish_childless(cx, error),
        };
        let ChildPlan { child, install, mut answer } = plan;
        if let (Some(request), Some(lease)) = (&self.applicant.cp, &lease) {
            answer.insert(0, Payload::Cp(config::reply(request, lease)));
        }
        let job = cx.job(self.hs.id, JobKind::InstallChild(Box::new(install)));
        State::Installing(Box::new(Installing { admission: self, lease, child, answer, job }))
    }

    fn plan(&self, cx: &mut Cx<'_>, lease: Option<&Lease>) -> Result<ChildPlan, IkeError> {
        let Admission { hs, applicant, .. } = self;
        let choice = select_esp(&cx.world.config.esp, &applicant.sa, ChildKe::Impossible)?;
        let inner = lease.map_or(hs.sa.path.peer, |lease| lease.address);
        let subnets = lease.map_or(&[][..], |lease| &lease.subnets);
        let pair = SelectorPair {
            local: selectors::narrow(&applicant.ts_r, &selectors::reachable(subnets))
                .ok_or(IkeError::TsUnacceptable)?,
            peer: selectors::narrow(&applicant.ts_i, &selectors::host(inner))
                .ok_or(IkeError::TsUnacceptable)?,
        };
        let inbound_spi = cx.reserve_child_spi(hs.id).ok_or(IkeError::Resources("Child SAs"))?;
        let made = child::Made {
            session: hs.id,
            inbound_spi,
            choice: &choice,
            selectors: pair,
            inner,
            ni: &hs.ni,
            nr: &hs.nr,
            shared: None,
            local_role: Role::Responder,
            child_role: ChildRole::Active,
            outbound_selected: true,
        };
        child::plan(cx, &hs.sa, made)
    }

    /// The IKE SA comes up without a Child SA: the client is told why, and may go or ask again (RFC 7296 §2.21.2).
    fn establish_childless(self, cx: &mut Cx<'_>, error: IkeError) -> State {
        cx.count(error.counter());
        cx.release_lease(self.hs.id);
        let id = self.hs.id;
        let kind = error.notify();
        let notify = Payload::Notify(Notify::with_data(kind, error.notify_data()));
        let state = self.establish(cx, None, None, vec![notify]);
        if matches!(state, State::Established(_)) {
            cx.event(Event::ChildRefused { session: id, notify: kind.to_string() });
        }
        state
    }

    fn establish(
        self,
        cx: &mut Cx<'_>,
        lease: Option<Lease>,
        child: Option<Child>,
        tail: Vec<Payload>,
    ) -> State {
        let holder = self.holder();
        let Admission { mut hs, who, mut head, .. } = self;
        head.extend(tail);
        if let Err(error) = hs.sa.respond(cx, head) {
            cx.count(error.counter());
            return Farewell::begin(cx, hs.id, hs.sa, DownReason::Internal);
        }
        cx.leave_half_open(hs.id);
        cx.set_up(hs.id, holder);
        cx.count(IkeCounter::HandshakesDone);
        let path = hs.sa.path;
        cx.event(Event::SessionUp(Box::new(SessionFacts {
            session: hs.id,
            user: who.user().to_owned(),
            identity: who.identity().clone(),
            auth_method: who.method().to_owned(),
            ike_suite: hs.sa.keys.suite.to_string(),
            spis: hs.sa.spis,
            nat_detected: hs.sa.nat.detected(),
            local: path.local,
            local_port: path.local_port,
            peer: path.peer,
            peer_port: path.peer_port,
            lease: lease.clone(),
            started_at: hs.started_at,
            established_at: cx.now,
        })));
        State::Established(Box::new(Established::new(cx, hs.id, who, hs.sa, lease, child)))
    }
}

impl Addressing {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::Addressing(self);
        }
        let admission = self.admission;
        match result {
            JobResult::Address(Ok(lease)) => admission.install(cx, Some(lease)),
            JobResult::Address(Err(_)) => admission.establish_childless(cx, IkeError::NoAddress),
            _ => admission.establish_childless(cx, IkeError::Unavailable("address")),
        }
    }
}

impl Installing {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::Installing(self);
        }
        let Installing { admission, lease, child, answer, .. } = *self;
        match result {
            JobResult::Installed(Ok(())) => admission.establish(cx, lease, Some(child), answer),
            JobResult::Installed(Err(_)) => {
                admission.establish_childless(cx, IkeError::Resources("data-plane tables"))
            }
            _ => admission.establish_childless(cx, IkeError::Unavailable("data plane")),
        }
    }
}
