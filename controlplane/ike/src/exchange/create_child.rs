//! CREATE_CHILD_SA that the peer begins for a Child SA: a new one, or the rekey of one (RFC 7296 §1.3.1, §1.3.3, §2.8,
//! §2.25.1), or one more for a resource of the peer (RFC 9611).
//!
//! Enters: an authenticated request. Leaves: a new Child SA, answered after the data plane has it; or one refusal. A
//! rekeyed SA is installed for both directions, but we send by the old one until the peer deletes it or uses the new one.

use crate::api::{JobId, JobKind, JobResult, Lease};
use crate::child::{self, Child, ChildPlan, ChildRole};
use crate::counters::IkeCounter;
use crate::crypto::{Role, SharedSecret};
use crate::error::IkeError;
use crate::established::{Established, JOB_DEADLINE_MS, Ours, PeerRequest, Working};
use crate::exchange::opening::fresh_nonce;
use crate::job::{PublicKeyJob, PublicKeyResult};
use crate::selectors::{self, SelectorPair};
use crate::suite::{ChildKe, EspChoice, select_esp};
use crate::wire::{Ke, Message, Nonce, Notify, NotifyType, Payload, PayloadType, ProtocolId, WireError};
use crate::world::Cx;

/// A Child SA that the peer creates, waiting for a job.
pub(crate) struct PeerCreate {
    job: JobId,
    inbound_spi: u32,
    replaces: Option<u32>,
    ni: Nonce,
    nr: Nonce,
    step: Step,
}

enum Step {
    KeyExchange { choice: EspChoice, pair: SelectorPair, bound: bool, more: Vec<Payload> },
    Install { child: Box<Child>, answer: Vec<Payload> },
}

impl PeerCreate {
    pub(crate) fn job(&self) -> JobId {
        self.job
    }

    pub(crate) fn inbound_spi(&self) -> u32 {
        self.inbound_spi
    }
}

impl Established {
    /// Begins the work on a CREATE_CHILD_SA request; the answer follows, or the error names the refusal.
    pub(crate) fn on_create_child_sa(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: &Message,
    ) -> Result<(), IkeError> {
        if self.sa.local_spi() != local_spi || self.next.is_some() {
            // The IKE SA is being replaced (RFC 7296 §2.25.2).
            return Err(IkeError::Temporary);
        }
        let offer = message.sa().ok_or(WireError::Missing(PayloadType::Sa))?;
        if offer.proposals.iter().any(|proposal| proposal.protocol == ProtocolId::Ike) {
            return self.on_peer_ike_rekey(cx, message);
        }
        if matches!(self.ours, Some(Ours::RekeyIke(_))) {
            return Err(IkeError::Temporary);
        }
        let ts_i = message.ts_i().ok_or(WireError::Missing(PayloadType::TsI))?;
        let ts_r = message.ts_r().ok_or(WireError::Missing(PayloadType::TsR))?;
        let ni = message.nonce().cloned().ok_or(WireError::Missing(PayloadType::Nonce))?;
        let replaces = self.replaced_by_request(message)?;
        // A rekeyed one stays with its resource, whether that is said again or not.
        let replaced = replaces.and_then(|old| self.children.get(&old));
        let asked = message.notify(NotifyType::SaResourceInfo).is_some();
        let bound = replaced.map_or(asked, |replaced| replaced.bound);
        if replaces.is_none() {
            let current = self.children.values().filter(|child| child.is_current()).count();
            if current >= cx.world.config.limits.children_per_session {
                return Err(if bound { IkeError::NoMoreResources } else { IkeError::NoAdditionalSas });
            }
        }
        let inner = match (&self.lease, cx.world.config.allow_without_address) {
            (Some(lease), _) => lease.inner(),
            (None, true) => self.sa.path.peer.into(),
            (None, false) => return Err(IkeError::CpRequired),
        };
        let ke = message.ke().map_or(ChildKe::Absent, |ke| ChildKe::Present(ke.group));
        let choice = select_esp(&cx.world.config.esp, offer, ke)?;
        let subnets = self.lease.as_ref().map_or(&[][..], |lease| lease.selectable());
        let pair = selectors::pair(ts_i, ts_r, inner, subnets).ok_or(IkeError::TsUnacceptable)?;
        let resource = bound.then(|| Payload::Notify(Notify::new(NotifyType::SaResourceInfo)));
        let more = selectors::more_possible(ts_r, subnets).into_iter().chain(resource).collect();
        let nr = fresh_nonce(cx)?;
        let inbound_spi = cx.reserve_child_spi(self.id).ok_or(IkeError::Resources("Child SAs"))?;
        let create = match (choice.group, message.ke()) {
            (Some(group), Some(ke)) => {
                let work = PublicKeyJob::Respond { group, peer_public: ke.data.clone() };
                let job = cx.job(self.id, JobKind::PublicKey(Box::new(work)));
                let step = Step::KeyExchange { choice, pair, bound, more };
                PeerCreate { job, inbound_spi, replaces, ni, nr, step }
            }
            _ => {
                let head = Vec::new();
                self.install_for_peer(
                    cx,
                    PeerParts { inbound_spi, replaces, ni, nr, choice, pair, bound, head, more },
                    None,
                )?
            }
        };
        self.working = Some(Working {
            local_spi,
            deadline: cx.now.plus_millis(JOB_DEADLINE_MS),
            what: PeerRequest::Child(Box::new(create)),
        });
        Ok(())
    }

    /// The Child SA that the request rekeys. Its REKEY_SA names the SPI of packets to the peer.
    fn replaced_by_request(&self, message: &Message) -> Result<Option<u32>, IkeError> {
        let Some(notify) = message.notify(NotifyType::RekeySa) else { return Ok(None) };
        let spi = notify.esp_spi().ok_or(IkeError::ChildNotFound)?;
        let child = self.children.values().find(|child| child.outbound_spi == spi);
        match child.map(|child| (child.role, child.inbound_spi)) {
            // The peer has it already; here it is still being installed.
            None if matches!(&self.ours, Some(Ours::RekeyChild(rekey)) if rekey.makes(spi)) => {
                Err(IkeError::Temporary)
            }
            None | Some((ChildRole::Lingering { .. }, _)) => Err(IkeError::ChildNotFound),
            Some((ChildRole::Deleting | ChildRole::Replaced { .. }, _)) => Err(IkeError::Temporary),
            Some((ChildRole::Active | ChildRole::Successor { .. }, spi)) => Ok(Some(spi)),
        }
    }

    fn install_for_peer(
        &mut self,
        cx: &mut Cx<'_>,
        parts: PeerParts,
        shared: Option<&SharedSecret>,
    ) -> Result<PeerCreate, IkeError> {
        let PeerParts { inbound_spi, replaces, ni, nr, choice, pair, bound, head, more } = parts;
        let inner = self.lease.as_ref().map_or(self.sa.path.peer.into(), Lease::inner);
        let made = child::Made {
            session: self.id,
            inbound_spi,
            choice: &choice,
            selectors: pair,
            inner,
            ni: &ni,
            nr: &nr,
            shared,
            local_role: Role::Responder,
            child_role: replaces.map_or(ChildRole::Active, |of| ChildRole::Successor { of }),
            bound,
            outbound_selected: false,
        };
        let ChildPlan { child, install, answer } = child::plan(cx, &self.sa, made)?;
        // SA, Nr, [KE,] TSi, TSr.
        let mut payloads = answer;
        let at = payloads.len().min(1);
        payloads.splice(at..at, [Payload::Nonce(nr.clone())].into_iter().chain(head));
        payloads.extend(more);
        let job = cx.job(self.id, JobKind::InstallChild(Box::new(install)));
        let step = Step::Install { child: Box::new(child), answer: payloads };
        Ok(PeerCreate { job, inbound_spi, replaces, ni, nr, step })
    }

    /// A job of a Child SA that the peer creates ended.
    pub(crate) fn on_peer_create_job(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        create: PeerCreate,
        result: JobResult,
    ) -> Result<(), IkeError> {
        let PeerCreate { inbound_spi, replaces, ni, nr, step, .. } = create;
        match (step, result) {
            (
                Step::KeyExchange { choice, pair, bound, more },
                JobResult::PublicKey(PublicKeyResult::Responded(Ok((public, shared)))),
            ) => {
                let group = choice.group.map_or(0, |group| group.number());
                let head = vec![Payload::Ke(Ke { group, data: public })];
                let parts = PeerParts { inbound_spi, replaces, ni, nr, choice, pair, bound, head, more };
                let create = self.install_for_peer(cx, parts, Some(&shared))?;
                self.working = Some(Working {
                    local_spi,
                    deadline: cx.now.plus_millis(JOB_DEADLINE_MS),
                    what: PeerRequest::Child(Box::new(create)),
                });
                Ok(())
            }
            (Step::Install { child, answer }, JobResult::Installed(Ok(()))) => {
                self.finish_peer_create(cx, local_spi, *child, replaces, answer, ni.min(nr))
            }
            (step, result) => {
                cx.release_child(self.id, inbound_spi);
                Err(match (step, result) {
                    (_, JobResult::PublicKey(PublicKeyResult::Responded(Err(_)))) => IkeError::BadKeyExchange,
                    (_, JobResult::Installed(Err(_))) => IkeError::Resources("data-plane tables"),
                    (Step::KeyExchange { .. }, _) => IkeError::Unavailable("key exchange"),
                    (Step::Install { .. }, _) => IkeError::Unavailable("data plane"),
                })
            }
        }
    }

    fn finish_peer_create(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        child: Child,
        replaces: Option<u32>,
        answer: Vec<Payload>,
        lowest_nonce: Nonce,
    ) -> Result<(), IkeError> {
        let spi = child.inbound_spi;
        self.respond(cx, local_spi, answer)?;
        self.adopt(cx, child, replaces);
        if let Some(old) = replaces {
            cx.count(IkeCounter::ChildRekeys);
            let draws = self.draws_traffic(spi, Some(old));
            let replaced = self.children.get_mut(&old).filter(|old| old.is_current());
            match replaced {
                Some(replaced) => {
                    replaced.role = ChildRole::Replaced { by: spi };
                    replaced.rekey_at = None;
                }
                // Deleted meanwhile: nothing to wait for.
                None if draws => self.select(cx, spi),
                None => {}
            }
            if let Some(Ours::RekeyChild(rekey)) = &mut self.ours {
                rekey.note_rival(old, spi, lowest_nonce);
            }
        } else if self.children.get(&spi).is_some_and(|child| self.selected.lacks(child.inner)) {
            self.select(cx, spi);
        }
        Ok(())
    }
}

/// What installing needs.
struct PeerParts {
    inbound_spi: u32,
    replaces: Option<u32>,
    ni: Nonce,
    nr: Nonce,
    choice: EspChoice,
    pair: SelectorPair,
    /// Whether it is for one of the peer's resources (RFC 9611).
    bound: bool,
    head: Vec<Payload>,
    /// ADDITIONAL_TS_POSSIBLE, if there is more to have, and SA_RESOURCE_INFO, if the peer has sent it.
    more: Vec<Payload>,
}
