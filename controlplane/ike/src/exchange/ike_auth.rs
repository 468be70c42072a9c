//! IKE_AUTH as responder: shared keys and certificates (RFC 7296 §1.2, §2.15, §2.21.2); EAP goes on in `eap.rs`.
//!
//! Enters: requests under the keys of IKE_SA_INIT, results of the jobs that authentication needs. Leaves: an
//! [`Admission`] made with a proof of authentication, or a refusal after which nothing is held.
//!
//! The states here follow one another; each is consumed by what it waits for.
//!
//! Long because a login is read from its first request to its session.

use std::net::IpAddr;

use crate::api::{
    ClientKind, DownReason, Event, GatewayAuth, JobId, JobKind, JobResult, SessionId, TicketAnswer,
};
use crate::cert::{self, RsaHash};
use crate::cisco::{self, Announced};
use crate::counters::IkeCounter;
use crate::crypto::{Role, shared_key_auth};
use crate::error::IkeError;
use crate::exchange::admission::Admission;
use crate::exchange::authenticated::Authenticated;
use crate::exchange::closing::Farewell;
use crate::exchange::eap::{EapSign, EapTalk};
use crate::exchange::eap_only::GatewayProof;
use crate::exchange::{mobility, session_resume, ticket};
use crate::job::{PublicKeyJob, PublicKeyResult, SignedAuth, VerifyJob};
use crate::policy::IdrMismatch;
use crate::ppk::PpkUse;
use crate::sa::{IkeSa, Path};
use crate::state::State;
use crate::time::Instant;
use crate::wire::{
    Auth, AuthMethod, Cert, Configuration, Identification, Message, Nonce, Notify, NotifyType, Payload, Sa,
    SignatureHash, TrafficSelector, WireError,
};
use crate::world::Cx;

/// Octets of the random key that the MAC of an unknown client is compared under.
const DUMMY_KEY_LEN: usize = 32;

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
    /// What the client said of itself.
    pub(crate) announced: Announced,
    /// Where it stands with a post-quantum pre-shared key (RFC 8784).
    pub(crate) ppk: PpkUse,
    /// It has signed by RSA-PSS, so it can check such a signature (RFC 7427 does not let it say so).
    pub(crate) rsa_pss: bool,
    /// It follows a REDIRECT (RFC 5685).
    pub(crate) redirect: bool,
    /// How we have proved ourselves, for the operator.
    pub(crate) local_auth: &'static str,
    /// What its keys come from, if not from a key exchange (RFC 5723).
    pub(crate) ticket: Option<Box<TicketAnswer>>,
}

/// What the first IKE_AUTH request asks for.
pub(crate) struct Applicant {
    pub(crate) id_i: Identification,
    /// By its identity.
    pub(crate) client: ClientKind,
    pub(crate) initial_contact: bool,
    /// It may move to other addresses (RFC 4555).
    pub(crate) mobike: bool,
    /// It wants a ticket, and may have one (RFC 5723).
    pub(crate) ticket: bool,
    /// The first Child SA; `None` for a client that wants none now (RFC 6023).
    pub(crate) child: Option<ChildOffer>,
    pub(crate) cp: Option<Configuration>,
}

/// What a client offers for its first Child SA.
pub(crate) struct ChildOffer {
    pub(crate) sa: Sa,
    pub(crate) ts_i: Vec<TrafficSelector>,
    pub(crate) ts_r: Vec<TrafficSelector>,
}

impl ChildOffer {
    /// All of it or, if such clients are allowed, nothing.
    fn read(cx: &Cx<'_>, message: &Message) -> Result<Option<ChildOffer>, WireError> {
        use crate::wire::PayloadType;
        let missing = WireError::Missing;
        let (sa, ts_i, ts_r) = (message.sa(), message.ts_i(), message.ts_r());
        if cx.world.config.extensions.childless && sa.is_none() && ts_i.is_none() && ts_r.is_none() {
            return Ok(None);
        }
        Ok(Some(ChildOffer {
            sa: sa.cloned().ok_or(missing(PayloadType::Sa))?,
            ts_i: ts_i.cloned().ok_or(missing(PayloadType::TsI))?,
            ts_r: ts_r.cloned().ok_or(missing(PayloadType::TsR))?,
        }))
    }
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

/// The client is authenticated; our signature is being made.
pub(crate) struct CertificateSign {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    who: Authenticated,
    job: JobId,
}

/// Tells the operator of a handshake that failed, and counts it as failed.
pub(crate) fn report_failure(
    cx: &mut Cx<'_>,
    session: SessionId,
    peer: IpAddr,
    identity: Option<String>,
    error: IkeError,
) {
    cx.leave_half_open(session);
    cx.count(error.counter());
    let (fault, reason, counter) = (error.fault(), error.to_string(), error.counter());
    cx.event(Event::HandshakeFailed { session, peer, identity, fault, reason, counter });
}

impl Handshake {
    /// Refuses the request being worked on, and with it the whole handshake.
    pub(crate) fn refuse(self, cx: &mut Cx<'_>, error: IkeError) -> State {
        self.refuse_with(cx, error, Vec::new(), None)
    }

    pub(crate) fn refuse_with(
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

    pub(crate) fn refuse_applicant(self, cx: &mut Cx<'_>, applicant: &Applicant, error: IkeError) -> State {
        self.refuse_with(cx, error, Vec::new(), Some(&applicant.id_i))
    }

    /// The client's AUTH payload, or what stands for it, once SK_pi is the key that covers it (RFC 8784 §3).
    pub(crate) fn settle_ppk(
        &mut self,
        cx: &Cx<'_>,
        id_i: &Identification,
        message: &Message,
        auth: Auth,
    ) -> Result<Auth, IkeError> {
        let policy = &cx.world.config.ppk;
        policy.settle(&mut self.ppk, &mut self.sa.keys, &id_i.identity, message, auth)
    }

    /// What the client's AUTH covers.
    pub(crate) fn peer_octets(&self, id_i: &Identification) -> Vec<u8> {
        let octets = self.sa.keys.signed_octets(Role::Initiator, &self.request, &self.nr, &id_i.body());
        [octets, self.sa.int_auth.octets()].concat()
    }

    /// Our identity, and what our AUTH covers.
    pub(crate) fn own_octets(&self, cx: &Cx<'_>) -> (Identification, Vec<u8>) {
        let id_r = Identification::new(cx.world.config.identity.clone());
        let octets = self.sa.keys.signed_octets(Role::Responder, &self.response, &self.ni, &id_r.body());
        (id_r, [octets, self.sa.int_auth.octets()].concat())
    }

    /// IDr without a proof, which follows in another message.
    pub(crate) fn unsigned_head(&mut self, cx: &Cx<'_>) -> Vec<Payload> {
        self.local_auth = "eap";
        vec![Payload::IdR(self.own_octets(cx).0)]
    }

    pub(crate) fn own_mac(&self, cx: &Cx<'_>, key: &[u8]) -> (Payload, Payload) {
        let (id_r, octets) = self.own_octets(cx);
        let mac = shared_key_auth(self.sa.keys.suite.prf, key, &octets);
        let auth = Auth { method: AuthMethod::SharedKey, data: mac.as_bytes().to_vec() };
        (Payload::IdR(id_r), Payload::Auth(auth))
    }

    pub(crate) fn sign(&self, cx: &mut Cx<'_>) -> JobId {
        let (_, octets) = self.own_octets(cx);
        let peer_hashes = self.peer_hashes.clone();
        // Cisco's clients make and take method 1 with the hash of the PRF, all others with SHA-1.
        let rsa_hash =
            if self.announced.cisco { RsaHash::of_prf(self.sa.keys.suite.prf) } else { RsaHash::Sha1 };
        let rsa_pss = self.rsa_pss;
        let job = PublicKeyJob::Sign { octets, peer_hashes, rsa_hash, rsa_pss };
        cx.job(self.id, JobKind::PublicKey(Box::new(job)))
    }

    /// IDr, CERT and AUTH.
    pub(crate) fn signed_head(&mut self, cx: &Cx<'_>, signed: SignedAuth) -> Vec<Payload> {
        let SignedAuth { auth, certificates } = signed;
        self.local_auth = cert::key_name(&auth);
        let (id_r, _) = self.own_octets(cx);
        let certs = certificates.into_iter().map(Payload::Cert);
        [Payload::IdR(id_r)].into_iter().chain(certs).chain([Payload::Auth(auth)]).collect()
    }
}

impl AwaitAuth {
    pub(crate) fn on_request(self: Box<Self>, cx: &mut Cx<'_>, message: Message, from: Path) -> State {
        let AwaitAuth { mut hs } = *self;
        // The client has moved to port 4500, or a NAT has mapped it anew since (RFC 7296 §2.23).
        hs.sa.path = from;
        let applicant = match Applicant::read(cx, &message) {
            Ok(applicant) => applicant,
            Err(error) => return hs.refuse(cx, error.into()),
        };
        if let Err(error) = check_id_r(cx, &message) {
            return hs.refuse_applicant(cx, &applicant, error);
        }
        if applicant.mobike && !mobility::untouched(&message, from, hs.sa.nat) {
            return hs.refuse_applicant(cx, &applicant, IkeError::UnexpectedNat);
        }
        if let Some(ticket) = hs.ticket.take() {
            return session_resume::on_auth(cx, hs, ticket, applicant, &message);
        }
        let auth = match message.auth().cloned() {
            None => cx.world.config.ppk.check_announced(hs.ppk).map(|()| None),
            Some(auth) => hs.settle_ppk(cx, &applicant.id_i, &message, auth).map(Some),
        };
        let auth = match auth {
            Ok(auth) => auth,
            Err(error) => return hs.refuse_applicant(cx, &applicant, error),
        };
        let methods = cx.world.config.methods;
        match auth {
            // We sign before the client proves anything, unless it would do without (RFC 5998); but AnyConnect-EAP makes no
            // key that could vouch for us.
            None if (if applicant.client == ClientKind::AnyConnect {
                methods.anyconnect_eap
            } else {
                methods.eap
            }) =>
            {
                let proof = GatewayProof::chosen(cx, &message);
                if applicant.client == ClientKind::Standard && proof != GatewayProof::Signature {
                    return EapTalk::begin_unsigned(cx, hs, applicant, proof);
                }
                let job = hs.sign(cx);
                State::EapSign(Box::new(EapSign { hs, applicant, job }))
            }
            Some(auth) if auth.method == AuthMethod::SharedKey && (methods.psk || methods.resume) => {
                let identity = applicant.id_i.identity.clone();
                let job = cx.job(hs.id, JobKind::PskLookup { identity });
                State::PskLookup(Box::new(PskLookup { hs, applicant, auth, job }))
            }
            Some(auth) if auth.method != AuthMethod::SharedKey && methods.certificate => {
                hs.rsa_pss = cert::is_rsa_pss(&auth);
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
    fn read(cx: &Cx<'_>, message: &Message) -> Result<Applicant, WireError> {
        use crate::wire::PayloadType;
        let missing = WireError::Missing;
        let id_i = message.id_i().cloned().ok_or(missing(PayloadType::IdI))?;
        let anyconnect = cisco::is_anyconnect(&cx.world.config.cisco, &id_i.identity);
        Ok(Applicant {
            client: if anyconnect { ClientKind::AnyConnect } else { ClientKind::Standard },
            id_i,
            initial_contact: message.notify(NotifyType::InitialContact).is_some(),
            mobike: cx.world.config.extensions.mobike
                && message.notify(NotifyType::MobikeSupported).is_some(),
            ticket: ticket::is_requested(cx, message),
            child: ChildOffer::read(cx, message)?,
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
        let JobResult::Psk(answer) = result else {
            return hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("key look-up"));
        };
        let allowed = cx.world.config.methods;
        let answer = answer.filter(|answer| match answer.resume {
            Some(_) => allowed.resume,
            None => allowed.psk,
        });
        let octets = hs.peer_octets(&applicant.id_i);
        let prf = hs.sa.keys.suite.prf;
        let dummy = cx.random::<DUMMY_KEY_LEN>();
        let identity = &applicant.id_i.identity;
        match Authenticated::by_psk(identity, prf, answer.as_ref(), &dummy, &octets, &auth) {
            Ok((who, key)) => match answer.as_ref().map_or(GatewayAuth::Psk, |answer| answer.gateway_auth) {
                GatewayAuth::Psk => {
                    let (id_r, auth) = hs.own_mac(cx, key.expose());
                    Admission { hs, applicant, who, head: vec![id_r, auth] }.begin(cx)
                }
                GatewayAuth::Certificate => {
                    let job = hs.sign(cx);
                    State::CertificateSign(Box::new(CertificateSign { hs, applicant, who, job }))
                }
            },
            Err(error) => {
                if error == IkeError::Replayed {
                    let tag = answer.and_then(|answer| answer.resume);
                    cx.event(Event::TokenReplayed { session: hs.id, tag, peer: hs.sa.path.peer });
                }
                hs.refuse_applicant(cx, &applicant, error)
            }
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
        let CertificateSign { mut hs, applicant, who, .. } = *self;
        match result {
            JobResult::PublicKey(PublicKeyResult::Signed(Ok(signed))) => {
                let head = hs.signed_head(cx, signed);
                Admission { hs, applicant, who, head }.begin(cx)
            }
            _ => hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("signature")),
        }
    }
}
