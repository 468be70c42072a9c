//! The rekey of the IKE SA, begun by either side, with its collision (RFC 7296 §1.3.2, §2.8, §2.8.2, §2.18, §2.25.2),
//! and its additional key exchanges (RFC 9370 §2.2.4; the peer's are in `follow_up.rs`).
//!
//! Enters: an IKE SA that is due, or the peer's request. Leaves: a new IKE SA that inherits the Child SAs; the old one is
//! deleted by whoever began. If both did, who made the IKE SA with the lowest of the four nonces deletes that one.

use std::sync::Arc;

use crate::api::{DownReason, Event, IkeSpis, JobId, JobKind, JobResult, Side};
use crate::child;
use crate::counters::IkeCounter;
use crate::crypto::{ExchangeValues, IkeKeys, KePrivate, KemPrivate, Role, SharedSecret};
use crate::error::IkeError;
use crate::established::{
    Established, Flow, JOB_DEADLINE_MS, MAX_OLD_SAS, NextSa, OLD_SA_LINGER_MS, OldSa, Ours, PeerRequest,
    REKEY_RETRY_MS, SETTLE_MS, Task, Working,
};
use crate::exchange::agreed::{Agreed, Half, read_answer, read_follow_up};
use crate::exchange::follow_up::{Secrets, link_notify};
use crate::exchange::opening::fresh_nonce;
use crate::exchange::ticket;
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::sa::{IkeSa, IkeSaParameters};
use crate::suite::{IkeChoice, IkeProposal, IkeStage, SelectError, select_ike};
use crate::time::Instant;
use crate::wire::{
    Delete, ExchangeType, IkeSpi, Ke, Message, Nonce, NotifyType, Payload, PayloadType, Sa, WireError,
};
use crate::world::Cx;

/// The peer's rekey of the IKE SA, waiting for the key exchange.
pub(crate) struct PeerIkeRekey {
    job: JobId,
    local_spi: u64,
    peer_spi: IkeSpi,
    pub(crate) choice: IkeChoice,
    ni: Nonce,
    nr: Nonce,
    /// It asks for a ticket of the new IKE SA (RFC 5723 §4.1).
    ticket: bool,
}

/// Our rekey of the IKE SA.
pub(crate) struct IkeRekey {
    local_spi: u64,
    ni: Nonce,
    offer: Vec<IkeProposal>,
    /// Lowest nonce of the peer's rekey of the same IKE SA, answered meanwhile.
    rival: Option<Nonce>,
    step: Step,
}

/// Our rekey without its step.
struct IkeRekeyParts {
    local_spi: u64,
    ni: Nonce,
    offer: Vec<IkeProposal>,
    rival: Option<Nonce>,
}

impl IkeRekeyParts {
    fn rekey(self, step: Step) -> IkeRekey {
        let IkeRekeyParts { local_spi, ni, offer, rival } = self;
        IkeRekey { local_spi, ni, offer, rival, step }
    }
}

enum Step {
    Generating {
        job: JobId,
        deadline: Instant,
    },
    Sent {
        private: KePrivate,
    },
    Deriving(Deriving),
    /// As the first two, for an additional key exchange.
    GeneratingKem {
        job: JobId,
        deadline: Instant,
        agreed: Agreed,
    },
    FollowUpSent {
        private: KemPrivate,
        agreed: Agreed,
    },
}

/// The second half of a key exchange. After the last one the peer has the new IKE SA, and we are about to.
struct Deriving {
    half: Half,
    /// `None` while the next try is waited for.
    job: Option<JobId>,
    deadline: Instant,
    tries: u32,
    agreed: Agreed,
}

/// How often the second half of our key exchange is asked for: without it the session is lost.
const MAX_DERIVE_TRIES: u32 = 5;
/// Milliseconds between two tries.
const DERIVE_RETRY_MS: u64 = 1_000;

impl PeerIkeRekey {
    pub(crate) fn job(&self) -> JobId {
        self.job
    }

    /// Our SPI of the new IKE SA.
    pub(crate) fn local_spi(&self) -> u64 {
        self.local_spi
    }
}

impl IkeRekey {
    /// The job it waits for.
    pub(crate) fn job(&self) -> Option<JobId> {
        match &self.step {
            Step::Generating { job, .. } | Step::GeneratingKem { job, .. } => Some(*job),
            Step::Deriving(deriving) => deriving.job,
            Step::Sent { .. } | Step::FollowUpSent { .. } => None,
        }
    }

    /// Whether the peer may know of it.
    pub(crate) fn is_sent(&self) -> bool {
        !matches!(self.step, Step::Generating { .. })
    }

    pub(crate) fn job_deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Generating { deadline, .. } | Step::GeneratingKem { deadline, .. } => Some(*deadline),
            Step::Deriving(deriving) => Some(deriving.deadline),
            Step::Sent { .. } | Step::FollowUpSent { .. } => None,
        }
    }
}

impl Established {
    /// The peer rekeys the IKE SA in use.
    pub(crate) fn on_peer_ike_rekey(&mut self, cx: &mut Cx<'_>, message: &Message) -> Result<(), IkeError> {
        if matches!(self.ours, Some(Ours::RekeyChild(_) | Ours::LostChildRekey { .. } | Ours::DeleteChild(_)))
        {
            return Err(IkeError::Temporary);
        }
        let offer = message.sa().ok_or(WireError::Missing(PayloadType::Sa))?;
        let ke = message.ke().ok_or(WireError::Missing(PayloadType::Ke))?;
        let ni = message.nonce().cloned().ok_or(WireError::Missing(PayloadType::Nonce))?;
        let choice = select_ike(&cx.world.config.ike_proposals, offer, ke.group, IkeStage::Rekey).map_err(
            |error| match error {
                SelectError::NoProposalChosen => IkeError::NoIkeProposal,
                SelectError::InvalidKe { wanted } => IkeError::InvalidKe(wanted.number()),
            },
        )?;
        let peer_spi = choice.peer_spi.ok_or(IkeError::NoIkeProposal)?;
        let nr = fresh_nonce(cx)?;
        let new_spi = cx.reserve_ike_spi(self.id).ok_or(IkeError::Resources("IKE SPIs"))?;
        let work = PublicKeyJob::Respond { group: choice.suite.group, peer_public: ke.data.clone() };
        let job = cx.job(self.id, JobKind::PublicKey(Box::new(work)));
        self.working = Some(Working {
            local_spi: self.sa.local_spi(),
            deadline: cx.now.plus_millis(JOB_DEADLINE_MS),
            what: PeerRequest::Ike(Box::new(PeerIkeRekey {
                job,
                local_spi: new_spi,
                peer_spi,
                choice,
                ni,
                nr,
                ticket: ticket::is_requested(cx, message),
            })),
        });
        Ok(())
    }

    /// The key exchange of the peer's rekey ended.
    pub(crate) fn on_peer_ike_rekey_job(
        &mut self,
        cx: &mut Cx<'_>,
        on_spi: u64,
        rekey: PeerIkeRekey,
        result: JobResult,
    ) -> Result<(), IkeError> {
        let (public, shared) = match result {
            JobResult::PublicKey(PublicKeyResult::Responded(Ok(done))) => done,
            other => {
                cx.release_ike_spi(self.id, rekey.local_spi);
                let bad = matches!(other, JobResult::PublicKey(PublicKeyResult::Responded(Err(_))));
                return Err(if bad {
                    IkeError::BadKeyExchange
                } else {
                    IkeError::Unavailable("key exchange")
                });
            }
        };
        let mut payloads = vec![
            Payload::Sa(rekey.choice.answer(&IkeSpi(rekey.local_spi).to_bytes())),
            Payload::Nonce(rekey.nr.clone()),
            Payload::Ke(Ke { group: rekey.choice.suite.group.number(), data: public }),
        ];
        if rekey.ticket {
            // The IKE SA that it would be of is not there yet; the client asks again once it is.
            payloads.push(ticket::withheld(cx, NotifyType::TicketAck));
        }
        self.go_on_with_peer_rekey(cx, on_spi, rekey, Secrets::new(shared), payloads)
    }

    /// A secret of the peer's rekey is there: answers, and makes the new IKE SA if it was the last.
    pub(crate) fn go_on_with_peer_rekey(
        &mut self,
        cx: &mut Cx<'_>,
        on_spi: u64,
        rekey: PeerIkeRekey,
        secrets: Secrets,
        mut payloads: Vec<Payload>,
    ) -> Result<(), IkeError> {
        if self.sa.local_spi() != on_spi {
            // Ours, begun at the same time, took over meanwhile: a second successor of the same SA would go unused.
            cx.count(IkeCounter::RekeyCollisions);
            cx.release_ike_spi(self.id, rekey.local_spi);
            return Err(IkeError::Temporary);
        }
        if secrets.next_kem(&rekey.choice).is_some() {
            payloads.push(self.expect_follow_up(cx, on_spi, rekey, secrets));
            return self.respond(cx, on_spi, payloads);
        }
        let PeerIkeRekey { local_spi, peer_spi, choice, ni, nr, .. } = rekey;
        let spis = IkeSpis { initiator: peer_spi.0, responder: local_spi };
        let sa = match self.make_sa(&choice, spis, Role::Responder, &ni, &nr, &secrets) {
            Ok(sa) => sa,
            Err(error) => {
                cx.release_ike_spi(self.id, local_spi);
                return Err(error);
            }
        };
        self.respond(cx, on_spi, payloads)?;
        cx.count(IkeCounter::IkeRekeys);
        if let Some(Ours::RekeyIke(ours)) = &mut self.ours {
            ours.rival = Some(ni.min(nr));
        }
        self.next = Some(NextSa { sa, settle_at: cx.now.plus_millis(SETTLE_MS) });
        Ok(())
    }

    fn make_sa(
        &self,
        choice: &IkeChoice,
        spis: IkeSpis,
        role: Role,
        ni: &Nonce,
        nr: &Nonce,
        secrets: &Secrets,
    ) -> Result<IkeSa, IkeError> {
        let values = ExchangeValues {
            initiator_nonce: ni,
            responder_nonce: nr,
            initiator_spi: IkeSpi(spis.initiator),
            responder_spi: IkeSpi(spis.responder),
        };
        let (first, additional) = secrets.parts();
        let keys = IkeKeys::rekeyed(&self.sa.keys, choice.suite, first, additional, &values)
            .map_err(|_| IkeError::Bug("key derivation failed"))?;
        IkeSa::new(IkeSaParameters {
            spis,
            role,
            keys,
            path: self.sa.path,
            nat: self.sa.nat,
            fragmentation: self.sa.fragmentation,
            first_request_id: 0,
        })
        .map_err(|_| IkeError::Bug("keys do not fit their suite"))
    }

    /// Begins the rekey of the IKE SA in use.
    pub(crate) fn begin_ike_rekey(&mut self, cx: &mut Cx<'_>) -> Result<(), IkeError> {
        let suite = self.sa.keys.suite;
        let local_spi = cx.reserve_ike_spi(self.id).ok_or(IkeError::Resources("IKE SPIs"))?;
        let ni = fresh_nonce(cx)?;
        let work = PublicKeyJob::Generate { group: suite.group };
        let job = cx.job(self.id, JobKind::PublicKey(Box::new(work)));
        let step = Step::Generating { job, deadline: cx.now.plus_millis(JOB_DEADLINE_MS) };
        let offer = vec![IkeProposal::only(suite)];
        self.ours = Some(Ours::RekeyIke(Box::new(IkeRekey { local_spi, ni, offer, rival: None, step })));
        Ok(())
    }

    /// A job of our rekey ended.
    pub(crate) fn on_ike_rekey_job(
        &mut self,
        cx: &mut Cx<'_>,
        rekey: IkeRekey,
        result: JobResult,
    ) -> Result<Flow, IkeError> {
        let IkeRekey { local_spi, ni, offer, rival, step } = rekey;
        match (step, result) {
            (
                Step::Generating { .. },
                JobResult::PublicKey(PublicKeyResult::Generated(Ok((public, private)))),
            ) => {
                if self.next.is_some() || self.working.is_some() || self.sa.is_waiting() {
                    // The peer was faster.
                    cx.release_ike_spi(self.id, local_spi);
                    return Ok(Flow::Stay);
                }
                let proposals = (1..=u8::MAX)
                    .zip(&offer)
                    .map(|(n, offer)| offer.to_wire(n, &IkeSpi(local_spi).to_bytes()));
                let group = self.sa.keys.suite.group.number();
                let payloads = vec![
                    Payload::Sa(Sa { proposals: proposals.collect() }),
                    Payload::Nonce(ni.clone()),
                    Payload::Ke(Ke { group, data: public }),
                ];
                self.sa.request(cx, ExchangeType::CreateChildSa, payloads)?;
                let step = Step::Sent { private };
                self.ours = Some(Ours::RekeyIke(Box::new(IkeRekey { local_spi, ni, offer, rival, step })));
                Ok(Flow::Stay)
            }
            (
                Step::Deriving(Deriving { agreed, .. }),
                JobResult::PublicKey(PublicKeyResult::Derived(Ok(secret))),
            ) => self.add_secret(cx, IkeRekeyParts { local_spi, ni, offer, rival }, agreed, secret),
            (Step::Deriving(deriving), JobResult::PublicKey(PublicKeyResult::Derived(Err(_)))) => {
                cx.count(IkeCounter::PeerMisbehaved);
                if deriving.agreed.kem_after_this().is_some() {
                    let step = Step::Deriving(deriving);
                    self.abandon_ike_rekey(cx, IkeRekey { local_spi, ni, offer, rival, step });
                    return Ok(Flow::Stay);
                }
                Ok(self.lose_ike_sa(cx, local_spi, DownReason::PeerMisbehaved))
            }
            (
                Step::GeneratingKem { agreed, .. },
                JobResult::PublicKey(PublicKeyResult::GeneratedKem(Ok((public, private)))),
            ) => {
                let parts = IkeRekeyParts { local_spi, ni, offer, rival };
                self.send_follow_up(cx, parts, agreed, public, private).map(|()| Flow::Stay)
            }
            (Step::Deriving(deriving), _) => {
                Ok(self.derive_later(cx, IkeRekeyParts { local_spi, ni, offer, rival }, deriving))
            }
            (step, _) => {
                self.abandon_ike_rekey(cx, IkeRekey { local_spi, ni, offer, rival, step });
                Ok(Flow::Stay)
            }
        }
    }

    /// The peer has answered our rekey.
    pub(crate) fn on_ike_rekey_answer(
        &mut self,
        cx: &mut Cx<'_>,
        rekey: IkeRekey,
        message: Result<Message, IkeError>,
    ) -> Result<Flow, IkeError> {
        let message = message.ok().filter(|message| message.error_notify().is_none());
        let IkeRekey { local_spi, ni, offer, rival, step } = rekey;
        let parts = IkeRekeyParts { local_spi, ni, offer, rival };
        let (job, deadline, tries) = (None, cx.now, 0);
        match (step, message) {
            (Step::Sent { private }, Some(message)) => match read_answer(&parts.offer, &message) {
                Some((agreed, peer_public)) => {
                    let half = Half::Group { private: Arc::new(private), peer_public };
                    self.derive(cx, parts, Deriving { half, job, deadline, tries, agreed });
                }
                None => self.abandon_ike_rekey(cx, parts.rekey(Step::Sent { private })),
            },
            (Step::FollowUpSent { private, mut agreed }, Some(message)) => {
                match read_follow_up(&agreed, &message) {
                    Some((link, ciphertext)) => {
                        agreed.link = link;
                        let half = Half::Kem { private: Arc::new(private), ciphertext };
                        self.derive(cx, parts, Deriving { half, job, deadline, tries, agreed });
                    }
                    None => self.abandon_ike_rekey(cx, parts.rekey(Step::FollowUpSent { private, agreed })),
                }
            }
            (step, _) => self.abandon_ike_rekey(cx, parts.rekey(step)),
        }
        Ok(Flow::Stay)
    }

    /// A secret of our rekey is there: makes the new IKE SA, or begins the next additional key exchange.
    fn add_secret(
        &mut self,
        cx: &mut Cx<'_>,
        parts: IkeRekeyParts,
        mut agreed: Agreed,
        secret: SharedSecret,
    ) -> Result<Flow, IkeError> {
        let secrets = match agreed.secrets.take() {
            None => Secrets::new(secret),
            Some(mut secrets) => {
                cx.count(IkeCounter::AdditionalKeyExchanges);
                secrets.push(secret);
                secrets
            }
        };
        if let Some(kem) = secrets.next_kem(&agreed.choice) {
            agreed.secrets = Some(secrets);
            let job = cx.job(self.id, JobKind::PublicKey(Box::new(PublicKeyJob::GenerateKem { kem })));
            let deadline = cx.now.plus_millis(JOB_DEADLINE_MS);
            let step = Step::GeneratingKem { job, deadline, agreed };
            self.ours = Some(Ours::RekeyIke(Box::new(parts.rekey(step))));
            return Ok(Flow::Stay);
        }
        let Agreed { choice, peer_spi, nr, .. } = agreed;
        let IkeRekeyParts { local_spi, ni, rival, .. } = parts;
        let spis = IkeSpis { initiator: local_spi, responder: peer_spi.0 };
        match self.make_sa(&choice, spis, Role::Initiator, &ni, &nr, &secrets) {
            Ok(sa) => self.finish_ike_rekey(cx, sa, ni.min(nr), rival).map(|()| Flow::Stay),
            Err(error) => {
                cx.count(error.counter());
                Ok(self.lose_ike_sa(cx, local_spi, DownReason::Internal))
            }
        }
    }

    fn send_follow_up(
        &mut self,
        cx: &mut Cx<'_>,
        parts: IkeRekeyParts,
        agreed: Agreed,
        public: Vec<u8>,
        private: KemPrivate,
    ) -> Result<(), IkeError> {
        let kem = agreed.secrets.as_ref().and_then(|secrets| secrets.next_kem(&agreed.choice));
        let step = |private, agreed| Step::FollowUpSent { private, agreed };
        let (Some(kem), false) = (kem, self.sa.is_waiting()) else {
            self.abandon_ike_rekey(cx, parts.rekey(step(private, agreed)));
            return Ok(());
        };
        let payloads = vec![Payload::Ke(Ke { group: kem.number(), data: public }), link_notify(&agreed.link)];
        self.sa.request(cx, ExchangeType::IkeFollowupKe, payloads)?;
        self.ours = Some(Ours::RekeyIke(Box::new(parts.rekey(step(private, agreed)))));
        Ok(())
    }

    /// Asks for the second half of the key exchange.
    fn derive(&mut self, cx: &mut Cx<'_>, parts: IkeRekeyParts, mut deriving: Deriving) {
        deriving.job = Some(cx.job(self.id, JobKind::PublicKey(Box::new(deriving.half.work()))));
        deriving.deadline = cx.now.plus_millis(JOB_DEADLINE_MS);
        deriving.tries = deriving.tries.saturating_add(1);
        self.ours = Some(Ours::RekeyIke(Box::new(parts.rekey(Step::Deriving(deriving)))));
    }

    /// Nobody had time for the second half of the key exchange: it is asked for again, for the peer may have the new IKE SA.
    fn derive_later(&mut self, cx: &mut Cx<'_>, parts: IkeRekeyParts, mut deriving: Deriving) -> Flow {
        if deriving.tries >= MAX_DERIVE_TRIES {
            return self.lose_ike_sa(cx, parts.local_spi, DownReason::Internal);
        }
        deriving.job = None;
        deriving.deadline = cx.now.plus_millis(DERIVE_RETRY_MS);
        self.ours = Some(Ours::RekeyIke(Box::new(parts.rekey(Step::Deriving(deriving)))));
        Flow::Stay
    }

    /// [`IkeRekey::job_deadline`] has come.
    pub(crate) fn ike_rekey_on_timer(&mut self, cx: &mut Cx<'_>, rekey: IkeRekey) -> Flow {
        let IkeRekey { local_spi, ni, offer, rival, step } = rekey;
        let parts = IkeRekeyParts { local_spi, ni, offer, rival };
        match step {
            Step::Deriving(deriving) if deriving.job.is_none() => self.derive(cx, parts, deriving),
            Step::Deriving(deriving) => return self.derive_later(cx, parts, deriving),
            step => self.abandon_ike_rekey(cx, parts.rekey(step)),
        }
        Flow::Stay
    }

    /// The peer has the new IKE SA and we cannot have it: only a new login, or a resume, helps.
    fn lose_ike_sa(&mut self, cx: &mut Cx<'_>, local_spi: u64, reason: DownReason) -> Flow {
        cx.count(IkeCounter::RekeyFailed);
        // Whoever writes to it is told that there is nobody.
        cx.release_ike_spi(self.id, local_spi);
        Flow::Lost(reason)
    }

    /// Our new IKE SA is ready: it takes over, unless it lost a collision.
    fn finish_ike_rekey(
        &mut self,
        cx: &mut Cx<'_>,
        sa: IkeSa,
        lowest_nonce: Nonce,
        rival: Option<Nonce>,
    ) -> Result<(), IkeError> {
        cx.count(IkeCounter::IkeRekeys);
        if let Some(rivals_lowest) = rival {
            cx.count(IkeCounter::RekeyCollisions);
            if lowest_nonce < rivals_lowest {
                // Ours is redundant, and ours to delete; the peer deletes the old one.
                return self.delete_old(cx, sa);
            }
        }
        // The peer's, if there was a collision, is redundant, and the peer deletes it.
        if let Some(redundant) = self.next.take() {
            self.keep_for_retransmissions(cx, redundant.sa);
        }
        let old = self.install_sa(cx, sa, Side::Local);
        self.delete_old(cx, old)
    }

    /// The peer uses the IKE SA that it made, or has deleted the one before: it takes over.
    pub(crate) fn promote_next(&mut self, cx: &mut Cx<'_>) {
        let Some(next) = self.next.take() else { return };
        let old = self.install_sa(cx, next.sa, Side::Peer);
        // What was outstanding on the old one has no answer any more.
        match self.ours.take() {
            Some(Ours::RekeyChild(rekey)) => self.abandon_child_rekey(cx, *rekey),
            Some(Ours::RekeyIke(rekey)) => self.abandon_ike_rekey(cx, *rekey),
            Some(Ours::DeleteChild(spi)) => self.add_task(Task::DeleteChild(spi)),
            Some(Ours::Redirect) => self.add_task(Task::Redirect),
            Some(Ours::Routability(_)) => self.add_task(Task::Routability),
            Some(Ours::Liveness | Ours::LostChildRekey { .. }) | None => {}
        }
        self.keep_for_retransmissions(cx, old);
    }

    fn install_sa(&mut self, cx: &mut Cx<'_>, sa: IkeSa, by: Side) -> IkeSa {
        let soft = cx.world.config.lifetimes.ike_rekey_secs;
        (self.sa_rekey_at, self.sa_hard_at) = child::lifetime(cx, soft);
        self.sa_established_at = cx.now;
        self.tasks.retain(|task| *task != Task::RekeyIke);
        cx.event(Event::IkeRekeyed { session: self.id, spis: sa.spis, suite: sa.keys.suite.to_string(), by });
        std::mem::replace(&mut self.sa, sa)
    }

    /// Tells the peer that an IKE SA is not used any more, and keeps it for its last messages.
    fn delete_old(&mut self, cx: &mut Cx<'_>, mut sa: IkeSa) -> Result<(), IkeError> {
        sa.request(cx, ExchangeType::Informational, vec![Payload::Delete(Delete::Ike)])?;
        self.keep(cx, sa, OLD_SA_LINGER_MS);
        Ok(())
    }

    /// Keeps an IKE SA that the peer has deleted or is to delete.
    pub(crate) fn keep_for_retransmissions(&mut self, cx: &mut Cx<'_>, mut sa: IkeSa) {
        sa.abandon_request();
        self.keep(cx, sa, SETTLE_MS);
    }

    fn keep(&mut self, cx: &mut Cx<'_>, sa: IkeSa, linger_ms: u64) {
        if self.old.len() >= MAX_OLD_SAS {
            let oldest = self.old.remove(0);
            cx.release_ike_spi(self.id, oldest.sa.local_spi());
        }
        self.old.push(OldSa { sa, until: cx.now.plus_millis(linger_ms) });
    }

    /// A replaced IKE SA is done with.
    pub(crate) fn forget_old(&mut self, cx: &mut Cx<'_>, local_spi: u64) {
        let before = self.old.len();
        self.old.retain(|old| old.sa.local_spi() != local_spi);
        if self.old.len() < before {
            cx.release_ike_spi(self.id, local_spi);
        }
    }

    /// The rekey leads nowhere: the IKE SA stays, and we try again later.
    pub(crate) fn abandon_ike_rekey(&mut self, cx: &mut Cx<'_>, rekey: IkeRekey) {
        cx.count(IkeCounter::RekeyFailed);
        cx.release_ike_spi(self.id, rekey.local_spi);
        let retry = cx.now.plus_millis(REKEY_RETRY_MS);
        self.sa_rekey_at = self.sa_rekey_at.map(|_| retry);
    }
}
