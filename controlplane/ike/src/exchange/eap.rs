//! EAP inside IKE_AUTH: our signature, the conversation, the final AUTH payloads (RFC 7296 §2.16).
//!
//! Enters: EAP packets of the client, answers of AAA. Leaves: an [`Admission`] once the client's AUTH under the method's
//! key (or under SK_pi, for a method that makes none) is right; or a refusal after which nothing is held.

use crate::api::{DownReason, EapOutcome, EapStep, JobId, JobKind, JobResult};
use crate::crypto::Role;
use crate::error::IkeError;
use crate::exchange::admission::Admission;
use crate::exchange::authenticated::{Authenticated, EapSuccess};
use crate::exchange::closing::Farewell;
use crate::exchange::eap_only::GatewayProof;
use crate::exchange::ike_auth::{Applicant, Handshake, report_failure};
use crate::job::PublicKeyResult;
use crate::sa::Path;
use crate::state::State;
use crate::wire::{Delete, ExchangeType, Message, NotifyType, Payload};
use crate::world::Cx;

/// The client wants EAP; our signature is being made.
pub(crate) struct EapSign {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    pub(crate) job: JobId,
}

/// An EAP conversation.
pub(crate) struct EapTalk {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    /// How we prove ourselves.
    proof: GatewayProof,
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

/// EAP has succeeded; the client's AUTH under the method's key, or under SK_pi, is expected.
pub(crate) struct EapFinalAuth {
    pub(crate) talk: EapTalk,
    success: EapSuccess,
}

impl EapSign {
    pub(crate) fn on_job(self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        if job != self.job {
            return State::EapSign(self);
        }
        let EapSign { mut hs, applicant, .. } = *self;
        match result {
            JobResult::PublicKey(PublicKeyResult::Signed(Ok(auth))) => {
                let head = hs.signed_head(cx, auth);
                EapTalk { hs, applicant, proof: GatewayProof::Signature }.begin(cx, head)
            }
            _ => hs.refuse_applicant(cx, &applicant, IkeError::Unavailable("signature")),
        }
    }
}

impl EapTalk {
    /// Begins without a signature of ours.
    pub(crate) fn begin_unsigned(
        cx: &mut Cx<'_>,
        mut hs: Handshake,
        applicant: Applicant,
        proof: GatewayProof,
    ) -> State {
        let head = hs.unsigned_head(cx);
        EapTalk { hs, applicant, proof }.begin(cx, head)
    }

    fn begin(self, cx: &mut Cx<'_>, head: Vec<Payload>) -> State {
        let EapTalk { hs, applicant, .. } = &self;
        let step = EapStep::Start {
            identity: applicant.id_i.identity.clone(),
            client: applicant.client,
            signed_octets: hs.peer_octets(&applicant.id_i),
            prf: hs.sa.keys.suite.prf,
        };
        self.ask_server(cx, step, head)
    }

    fn ask_server(self, cx: &mut Cx<'_>, step: EapStep, head: Vec<Payload>) -> State {
        cx.set_eap(self.hs.id, true);
        let job = cx.job(self.hs.id, JobKind::Eap(step));
        State::EapServer(Box::new(EapServer { talk: self, head, job }))
    }

    fn refuse(self, cx: &mut Cx<'_>, error: IkeError, eap: Option<Vec<u8>>) -> State {
        let EapTalk { hs, applicant, .. } = self;
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
        let EapTalk { hs, applicant, .. } = self;
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
            JobResult::Eap(EapOutcome::Request { packet }) => {
                talk.proof.note(&packet);
                (packet, None)
            }
            JobResult::Eap(EapOutcome::Success { packet, user, method, msk }) => {
                cx.set_eap(talk.hs.id, false);
                let success = EapSuccess { user, method, msk };
                if !talk.proof.holds(&success) {
                    return talk.refuse(cx, IkeError::UnsafeEap, None);
                }
                (packet, Some(success))
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
        let auth = match talk.hs.settle_ppk(cx, &talk.applicant.id_i, &message, auth.clone()) {
            Ok(auth) => auth,
            Err(error) => return talk.refuse(cx, error, None),
        };
        let octets = talk.hs.peer_octets(&talk.applicant.id_i);
        let prf = talk.hs.sa.keys.suite.prf;
        let identity = &talk.applicant.id_i.identity;
        let sk_pi = talk.hs.sa.keys.sk_p(Role::Initiator);
        match Authenticated::by_eap(identity, &success, sk_pi.as_bytes(), prf, &octets, &auth) {
            Ok(who) => {
                let EapTalk { hs, applicant, .. } = talk;
                let sk_pr = hs.sa.keys.sk_p(Role::Responder);
                let (_, auth) = hs.own_mac(cx, success.key(sk_pr.as_bytes()));
                Admission { hs, applicant, who, head: vec![auth] }.begin(cx)
            }
            Err(error) => talk.refuse(cx, error, None),
        }
    }
}
