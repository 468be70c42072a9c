//! The rekey of a Child SA that we begin, with the collisions of simultaneous rekeys (RFC 7296 §1.3.3, §2.8, §2.8.1,
//! §2.25.1).
//!
//! Enters: a Child SA that is due. Leaves: its successor, installed before anything is sent by it, then the Delete of
//! the old one. If both sides rekeyed at once, who made the SA with the lowest of the four nonces deletes that SA.

use std::sync::Arc;

use crate::api::{JobId, JobKind, JobResult, Lease};
use crate::child::{self, Child, ChildPlan, ChildRole};
use crate::counters::IkeCounter;
use crate::crypto::{KePrivate, Role, SharedSecret};
use crate::error::IkeError;
use crate::established::{Established, Flow, JOB_DEADLINE_MS, Ours, REKEY_RETRY_MS, Task};
use crate::exchange::opening::fresh_nonce;
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::selectors::{self, SelectorPair};
use crate::suite::{EspChoice, EspProposal, Group, accept_esp_answer};
use crate::time::Instant;
use crate::wire::{ExchangeType, Ke, Message, Nonce, Notify, NotifyType, Payload, Sa, TrafficSelector};
use crate::world::Cx;

/// Our rekey of a Child SA.
pub(crate) struct ChildRekey {
    old: u32,
    new_spi: u32,
    ni: Nonce,
    group: Option<Group>,
    offer: Vec<EspProposal>,
    /// The peer's successor of the same SA, and the lowest nonce of the exchange that made it.
    rival: Option<(u32, Nonce)>,
    step: Step,
}

enum Step {
    Generating { job: JobId, deadline: Instant },
    Sent { private: Option<KePrivate> },
    Deriving { job: JobId, deadline: Instant, answer: Answer },
    Installing { job: JobId, deadline: Instant, child: Box<Child>, nr: Nonce },
}

/// What the peer's answer says.
struct Answer {
    choice: EspChoice,
    nr: Nonce,
    pair: SelectorPair,
}

impl ChildRekey {
    /// The job it waits for.
    pub(crate) fn job(&self) -> Option<JobId> {
        match &self.step {
            Step::Generating { job, .. } | Step::Deriving { job, .. } | Step::Installing { job, .. } => {
                Some(*job)
            }
            Step::Sent { .. } => None,
        }
    }

    pub(crate) fn job_deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Generating { deadline, .. }
            | Step::Deriving { deadline, .. }
            | Step::Installing { deadline, .. } => Some(*deadline),
            Step::Sent { .. } => None,
        }
    }

    /// The SA that it replaces and our SPI of its successor, once the peer may know of it.
    pub(crate) fn sent(&self) -> Option<(u32, u32)> {
        (!matches!(self.step, Step::Generating { .. })).then_some((self.old, self.new_spi))
    }

    /// Whether a Child SA that is not installed yet has, or may have, this SPI of packets to the peer.
    pub(crate) fn makes(&self, outbound_spi: u32) -> bool {
        match &self.step {
            Step::Generating { .. } => false,
            // The answer that names it may be under way.
            Step::Sent { .. } => true,
            Step::Deriving { answer, .. } => answer.choice.peer_spi == outbound_spi,
            Step::Installing { child, .. } => child.outbound_spi == outbound_spi,
        }
    }

    /// The peer has rekeyed the same SA meanwhile.
    pub(crate) fn note_rival(&mut self, old: u32, child: u32, lowest_nonce: Nonce) {
        if old == self.old {
            self.rival = Some((child, lowest_nonce));
        }
    }
}

impl Established {
    /// Begins the rekey of a Child SA, if it is still one to rekey.
    pub(crate) fn begin_child_rekey(&mut self, cx: &mut Cx<'_>, old: u32) -> Result<(), IkeError> {
        // A successor that the peer may not know yet (our answer may be lost) is young enough to wait for its peer.
        let known = |child: &&Child| child.role == ChildRole::Active;
        let Some(child) = self.children.get(&old).filter(known) else { return Ok(()) };
        let (suite, esn, negotiated) = (child.suite, child.esn, child.group);
        let new_spi = cx.reserve_child_spi(self.id).ok_or(IkeError::Resources("Child SAs"))?;
        let ni = fresh_nonce(cx)?;
        // The Child SA of IKE_AUTH says nothing about PFS, as no group is negotiated there: then both are offered.
        let only = |group| EspProposal::only(suite, esn, group);
        let (group, offer) = match negotiated {
            Some(group) => (group, vec![only(Some(group))]),
            None => (self.sa.keys.suite.group, vec![only(None), only(Some(self.sa.keys.suite.group))]),
        };
        let rekey = ChildRekey {
            old,
            new_spi,
            ni,
            group: Some(group),
            offer,
            rival: None,
            step: Step::Sent { private: None },
        };
        self.generate_for_child_rekey(cx, rekey, group);
        Ok(())
    }

    fn generate_for_child_rekey(&mut self, cx: &mut Cx<'_>, rekey: ChildRekey, group: Group) {
        let job = cx.job(self.id, JobKind::PublicKey(Box::new(PublicKeyJob::Generate { group })));
        let step = Step::Generating { job, deadline: cx.now.plus_millis(JOB_DEADLINE_MS) };
        self.ours = Some(Ours::RekeyChild(Box::new(ChildRekey { step, ..rekey })));
    }

    /// A job of our rekey ended.
    pub(crate) fn on_child_rekey_job(
        &mut self,
        cx: &mut Cx<'_>,
        rekey: ChildRekey,
        result: JobResult,
    ) -> Result<Flow, IkeError> {
        let ChildRekey { old, new_spi, ni, group, offer, rival, step } = rekey;
        match (step, result) {
            (
                Step::Generating { .. },
                JobResult::PublicKey(PublicKeyResult::Generated(Ok((public, private)))),
            ) => {
                let step = Step::Sent { private: Some(private) };
                let rekey = ChildRekey { old, new_spi, ni, group, offer, rival, step };
                self.send_child_rekey(cx, rekey, public)?;
            }
            (Step::Deriving { answer, .. }, JobResult::PublicKey(PublicKeyResult::Derived(Ok(shared)))) => {
                let step = Step::Sent { private: None };
                let rekey = ChildRekey { old, new_spi, ni, group, offer, rival, step };
                self.install_child_rekey(cx, rekey, answer, Some(&shared))?;
            }
            (Step::Installing { child, nr, .. }, JobResult::Installed(Ok(()))) => {
                self.finish_child_rekey(cx, old, *child, ni.min(nr), rival);
            }
            (step, _) => {
                let rekey = ChildRekey { old, new_spi, ni, group, offer, rival, step };
                self.abandon_child_rekey(cx, rekey);
            }
        }
        Ok(Flow::Stay)
    }

    fn send_child_rekey(
        &mut self,
        cx: &mut Cx<'_>,
        rekey: ChildRekey,
        public: Vec<u8>,
    ) -> Result<(), IkeError> {
        let old = self.children.get(&rekey.old).filter(|old| old.is_current());
        let Some(old) = old.filter(|_| !self.sa.is_waiting()) else {
            // The peer was faster.
            cx.release_child(self.id, rekey.new_spi);
            return Ok(());
        };
        let proposals = (1..=u8::MAX).zip(&rekey.offer).map(|(n, offer)| offer.to_wire(n, rekey.new_spi));
        let group = rekey.group.map_or(0, Group::number);
        let payloads = vec![
            Payload::Notify(Notify::esp(NotifyType::RekeySa, rekey.old)),
            Payload::Sa(Sa { proposals: proposals.collect() }),
            Payload::Nonce(rekey.ni.clone()),
            Payload::Ke(Ke { group, data: public }),
            Payload::TsI(selectors::to_wire(&old.selectors.local)),
            Payload::TsR(selectors::to_wire(&old.selectors.peer)),
        ];
        self.sa.request(cx, ExchangeType::CreateChildSa, payloads)?;
        self.ours = Some(Ours::RekeyChild(Box::new(rekey)));
        Ok(())
    }

    /// The peer has answered our rekey.
    pub(crate) fn on_child_rekey_answer(
        &mut self,
        cx: &mut Cx<'_>,
        rekey: ChildRekey,
        message: Result<Message, IkeError>,
    ) -> Result<Flow, IkeError> {
        let made = message.as_ref().is_ok_and(|message| message.error_notify().is_none());
        let read = match message {
            Ok(message) => self.read_child_answer(&rekey, &message),
            Err(_) => Err(Refusal::Other),
        };
        match read {
            Ok(ReadAnswer { choice, nr, pair, .. }) if choice.group.is_none() => {
                self.install_child_rekey(cx, rekey, Answer { choice, nr, pair }, None)?;
            }
            Ok(answer) => self.derive_child_rekey(cx, rekey, answer),
            Err(Refusal::OtherGroup(group)) if rekey.group != Some(group) => {
                let offer = rekey.offer.iter().map(|offer| match offer.groups.is_empty() {
                    true => offer.clone(),
                    false => EspProposal { groups: vec![group], ..offer.clone() },
                });
                let offer = offer.collect();
                let ni = fresh_nonce(cx)?;
                let rekey = ChildRekey { group: Some(group), offer, ni, ..rekey };
                self.generate_for_child_rekey(cx, rekey, group);
            }
            Err(Refusal::NotFound) => {
                // The peer has no such SA, so ours is dead (RFC 7296 §2.25).
                let old = rekey.old;
                self.abandon_child_rekey(cx, rekey);
                if self.children.get(&old).is_some_and(Child::is_current) {
                    self.drop_child(cx, old);
                }
            }
            Err(_) => {
                // The peer has the new SA, but we have no use for it: the old one may be gone after a collision.
                if made {
                    self.add_task(Task::WithdrawChild(rekey.new_spi));
                }
                self.abandon_child_rekey(cx, rekey);
            }
        }
        Ok(Flow::Stay)
    }

    fn derive_child_rekey(&mut self, cx: &mut Cx<'_>, rekey: ChildRekey, answer: ReadAnswer) {
        let ReadAnswer { choice, nr, pair, ke } = answer;
        let ChildRekey { old, new_spi, ni, group, offer, rival, step } = rekey;
        let (private, peer_public) = match (step, ke) {
            (Step::Sent { private: Some(private) }, Some(peer_public)) => (private, peer_public),
            (step, _) => {
                let rekey = ChildRekey { old, new_spi, ni, group, offer, rival, step };
                return self.abandon_child_rekey(cx, rekey);
            }
        };
        let work = PublicKeyJob::Derive { private: Arc::new(private), peer_public };
        let job = cx.job(self.id, JobKind::PublicKey(Box::new(work)));
        let deadline = cx.now.plus_millis(JOB_DEADLINE_MS);
        let step = Step::Deriving { job, deadline, answer: Answer { choice, nr, pair } };
        self.ours =
            Some(Ours::RekeyChild(Box::new(ChildRekey { old, new_spi, ni, group, offer, rival, step })));
    }

    fn read_child_answer(&self, rekey: &ChildRekey, message: &Message) -> Result<ReadAnswer, Refusal> {
        if let Some(notify) = message.error_notify() {
            return Err(match notify.kind {
                NotifyType::InvalidKePayload => {
                    notify.data_u16().and_then(Group::from_number).map_or(Refusal::Other, Refusal::OtherGroup)
                }
                NotifyType::ChildSaNotFound => Refusal::NotFound,
                _ => Refusal::Other,
            });
        }
        let sa = message.sa().ok_or(Refusal::Other)?;
        let nr = message.nonce().cloned().ok_or(Refusal::Other)?;
        let choice = accept_esp_answer(&rekey.offer, sa).ok_or(Refusal::Other)?;
        let old = self.children.get(&rekey.old).ok_or(Refusal::Other)?;
        let within = |offered: Option<&Vec<TrafficSelector>>, ours: &[crate::api::Selector]| {
            let ours: Vec<_> = ours.iter().map(selectors::to_range).collect();
            offered.and_then(|offered| selectors::narrow(offered, &ours)).ok_or(Refusal::Other)
        };
        let pair = SelectorPair {
            local: within(message.ts_i(), &old.selectors.local)?,
            peer: within(message.ts_r(), &old.selectors.peer)?,
        };
        let wanted = choice.group.map(Group::number);
        let ke = message.ke().filter(|ke| Some(ke.group) == wanted).map(|ke| ke.data.clone());
        Ok(ReadAnswer { choice, nr, pair, ke })
    }

    fn install_child_rekey(
        &mut self,
        cx: &mut Cx<'_>,
        rekey: ChildRekey,
        answer: Answer,
        shared: Option<&SharedSecret>,
    ) -> Result<(), IkeError> {
        let Answer { choice, nr, pair } = answer;
        let ChildRekey { old, new_spi, ni, group, offer, rival, .. } = rekey;
        let inner = self.children.get(&old).map(|old| old.inner);
        let inner = inner.or_else(|| self.lease.as_ref().map(Lease::inner));
        let made = child::Made {
            session: self.id,
            inbound_spi: new_spi,
            choice: &choice,
            selectors: pair,
            inner: inner.unwrap_or(self.sa.path.peer.into()),
            ni: &ni,
            nr: &nr,
            shared,
            local_role: Role::Initiator,
            child_role: ChildRole::Active,
            bound: self.children.get(&old).is_some_and(|old| old.bound),
            outbound_selected: false,
        };
        let ChildPlan { child, install, .. } = child::plan(cx, &self.sa, made)?;
        let job = cx.job(self.id, JobKind::InstallChild(Box::new(install)));
        let deadline = cx.now.plus_millis(JOB_DEADLINE_MS);
        let step = Step::Installing { job, deadline, child: Box::new(child), nr };
        self.ours =
            Some(Ours::RekeyChild(Box::new(ChildRekey { old, new_spi, ni, group, offer, rival, step })));
        Ok(())
    }

    /// The successor is installed: it takes over and the old one goes, unless it lost a collision.
    fn finish_child_rekey(
        &mut self,
        cx: &mut Cx<'_>,
        old: u32,
        child: Child,
        lowest_nonce: Nonce,
        rival: Option<(u32, Nonce)>,
    ) {
        let spi = child.inbound_spi;
        self.adopt(cx, child, Some(old));
        cx.count(IkeCounter::ChildRekeys);
        if let Some((rival, rivals_lowest)) = rival {
            cx.count(IkeCounter::RekeyCollisions);
            if lowest_nonce < rivals_lowest && self.children.contains_key(&rival) {
                // Ours is redundant, and ours to delete; the peer deletes the old one.
                self.add_task(Task::DeleteChild(spi));
                return;
            }
        }
        if self.draws_traffic(spi, Some(old)) {
            self.select(cx, spi);
        }
        if let Some(replaced) = self.children.get_mut(&old)
            && !matches!(replaced.role, ChildRole::Lingering { .. })
        {
            replaced.role = ChildRole::Replaced { by: spi };
            replaced.rekey_at = None;
            self.add_task(Task::DeleteChild(old));
        }
    }

    /// The rekey leads nowhere: the old SA stays, and we try again later.
    pub(crate) fn abandon_child_rekey(&mut self, cx: &mut Cx<'_>, rekey: ChildRekey) {
        cx.count(IkeCounter::RekeyFailed);
        cx.release_child(self.id, rekey.new_spi);
        if matches!(rekey.step, Step::Deriving { .. } | Step::Installing { .. }) {
            self.add_task(Task::WithdrawChild(rekey.new_spi));
        }
        if let Some(old) = self.children.get_mut(&rekey.old).filter(|old| old.is_current()) {
            let retry = cx.now.plus_millis(REKEY_RETRY_MS);
            old.rekey_at = old.rekey_at.map(|_| retry);
        }
    }
}

/// The parts of a good answer.
struct ReadAnswer {
    choice: EspChoice,
    nr: Nonce,
    pair: SelectorPair,
    ke: Option<Vec<u8>>,
}

/// Why there is no good answer.
enum Refusal {
    OtherGroup(Group),
    NotFound,
    Other,
}
