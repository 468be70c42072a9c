//! The end of IKE_AUTH: an authenticated client gets its address and first Child SA (RFC 7296 §1.2, §2.19, §2.21.2).
//!
//! Enters: an [`Admission`], which nobody has without a proof of authentication; leases and installs of the driver.
//! Leaves: an [`Established`] session, with a Child SA or told why there is none.

use crate::api::{
    AddressFailure, AddressRequest, ClientKind, DownReason, Event, JobId, JobKind, JobResult, Lease,
    SessionFacts, Wish,
};
use crate::child::{self, Child, ChildPlan, ChildRole};
use crate::counters::IkeCounter;
use crate::crypto::Role;
use crate::error::IkeError;
use crate::established::Established;
use crate::exchange::authenticated::Authenticated;
use crate::exchange::closing::Farewell;
use crate::exchange::config;
use crate::exchange::ike_auth::{Applicant, ChildOffer, Handshake};
use crate::exchange::mobility;
use crate::exchange::ticket::{self, Ticketing};
use crate::ppk::PpkUse;
use crate::selectors;
use crate::state::State;
use crate::suite::{ChildKe, select_esp};
use crate::wire::{Notify, NotifyType, Payload};
use crate::world::{Cx, Holder};

/// The client is authenticated; what is left is its address and first Child SA.
pub(crate) struct Admission {
    pub(crate) hs: Handshake,
    pub(crate) applicant: Applicant,
    pub(crate) who: Authenticated,
    /// What the answer begins with: our IDr, CERT, AUTH.
    pub(crate) head: Vec<Payload>,
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

impl Admission {
    /// The client is authenticated: ends what it left behind, then finds its address.
    pub(crate) fn begin(mut self, cx: &mut Cx<'_>) -> State {
        // Whatever the answer becomes, its AUTH is under the mixed keys and the client must know (RFC 8784 §3).
        if self.hs.ppk == PpkUse::Mixed {
            self.head.push(Payload::Notify(Notify::new(NotifyType::PpkIdentity)));
        }
        if let Some(to) = self.sent_to(cx) {
            return self.redirect(cx, &to);
        }
        // AnyConnect's identity is everybody's, so it does not say which other session is meant; and a session that is
        // resumed is the driver's to take over.
        let own_identity = self.applicant.client == ClientKind::Standard && self.who.resume().is_none();
        if self.applicant.initial_contact && own_identity {
            cx.end_others(self.hs.id, &self.holder());
        }
        let wishes =
            self.applicant.cp.as_ref().map(|request| (config::wish4(request), config::wish6(request)));
        let childless = self.applicant.child.is_none();
        let (ip4, ip6) = match wishes {
            // The session has its address, whether its client asks for it or knows it.
            None | Some((Wish::None, Wish::None)) if self.hs.ticket.is_some() => (Wish::None, Wish::None),
            Some((Wish::None, Wish::None)) | None if childless => {
                return self.establish(cx, None, None, Vec::new());
            }
            Some((Wish::None, Wish::None)) => return self.establish_childless(cx, IkeError::NoAddress),
            Some(wishes) => wishes,
            None if cx.world.config.allow_without_address => return self.install(cx, None),
            None => return self.establish_childless(cx, IkeError::CpRequired),
        };
        // No address is taken for a Child SA that cannot be.
        if let Some(child) = &self.applicant.child
            && let Err(error) = select_esp(&cx.world.config.esp, &child.sa, ChildKe::Impossible)
        {
            return self.establish_childless(cx, error.into());
        }
        let request = AddressRequest {
            identity: self.who.identity().clone(),
            user: self.who.user().to_owned(),
            ip4,
            ip6,
            method: self.who.method().to_owned(),
            client: self.client(),
            attributes: self.applicant.cp.as_ref().map(config::raw_attributes).unwrap_or_default(),
            resume: self.who.resume(),
            ticket: self.applicant.ticket,
        };
        let job = cx.job(self.hs.id, JobKind::Address(request));
        State::Addressing(Box::new(Addressing { admission: self, job }))
    }

    fn client(&self) -> ClientKind {
        if self.hs.announced.anyconnect { ClientKind::AnyConnect } else { self.applicant.client }
    }

    fn holder(&self) -> Holder {
        Holder { identity: self.who.identity().clone(), user: self.who.user().to_owned() }
    }

    fn install(self, cx: &mut Cx<'_>, lease: Option<Lease>) -> State {
        let cp = self.applicant.cp.as_ref().zip(lease.as_ref());
        let cp = cp.map(|(request, lease)| Payload::Cp(config::reply(request, lease)));
        let Some(offer) = &self.applicant.child else {
            return self.establish(cx, lease, None, cp.into_iter().collect());
        };
        let plan = match self.plan(cx, offer, lease.as_ref()) {
            Ok(plan) => plan,
            Err(error) => return self.establish_childless(cx, error),
        };
        let ChildPlan { child, install, mut answer } = plan;
        answer.splice(0..0, cp);
        let job = cx.job(self.hs.id, JobKind::InstallChild(Box::new(install)));
        State::Installing(Box::new(Installing { admission: self, lease, child, answer, job }))
    }

    fn plan(
        &self,
        cx: &mut Cx<'_>,
        offer: &ChildOffer,
        lease: Option<&Lease>,
    ) -> Result<ChildPlan, IkeError> {
        let Admission { hs, .. } = self;
        let choice = select_esp(&cx.world.config.esp, &offer.sa, ChildKe::Impossible)?;
        let inner = lease.map_or(hs.sa.path.peer.into(), Lease::inner);
        let subnets = lease.map_or(&[][..], |lease| lease.selectable());
        let pair =
            selectors::pair(&offer.ts_i, &offer.ts_r, inner, subnets).ok_or(IkeError::TsUnacceptable)?;
        let more = selectors::more_possible(&offer.ts_r, subnets);
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
            // The first one is for all of the client's resources (RFC 9611 §3).
            bound: false,
            outbound_selected: true,
        };
        let mut plan = child::plan(cx, &hs.sa, made)?;
        plan.answer.extend(more);
        Ok(plan)
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
        mut tail: Vec<Payload>,
    ) -> State {
        match lease {
            Some(lease) if self.applicant.ticket => Ticketing::begin(cx, self, lease, child, tail),
            lease => {
                if self.applicant.ticket {
                    tail.push(ticket::withheld(cx, NotifyType::TicketNack));
                }
                self.come_up(cx, lease, child, tail)
            }
        }
    }

    /// The client is told everything; the session is up.
    pub(crate) fn come_up(
        self,
        cx: &mut Cx<'_>,
        lease: Option<Lease>,
        child: Option<Child>,
        tail: Vec<Payload>,
    ) -> State {
        let holder = self.holder();
        let facts = self.facts(cx, lease.as_ref());
        let Admission { mut hs, who, mut head, applicant } = self;
        head.extend(tail);
        if let Some(secs) = lease.as_ref().and_then(|lease| lease.lifetime_secs) {
            let data = secs.to_be_bytes().to_vec();
            head.push(Payload::Notify(Notify::with_data(NotifyType::AuthLifetime, data)));
        }
        if applicant.mobike {
            head.push(Payload::Notify(Notify::new(NotifyType::MobikeSupported)));
            head.extend(mobility::announce(&cx.world.config.extensions.addresses, hs.sa.path.local));
        }
        if let Err(error) = hs.sa.respond(cx, head) {
            cx.count(error.counter());
            return Farewell::begin(cx, hs.id, hs.sa, DownReason::Internal);
        }
        cx.leave_half_open(hs.id);
        cx.set_up(hs.id, holder);
        cx.count(IkeCounter::HandshakesDone);
        match hs.ppk {
            PpkUse::Mixed => cx.count(IkeCounter::PpkUsed),
            PpkUse::Declined => cx.count(IkeCounter::PpkDeclined),
            PpkUse::NotAnnounced | PpkUse::Announced => {}
        }
        if facts.by_ticket {
            cx.count(IkeCounter::TicketsUsed);
        }
        cx.event(Event::SessionUp(facts.clone()));
        let mut session = Established::new(cx, facts, who, hs.sa, lease, child);
        session.mobike = applicant.mobike;
        session.redirect = hs.redirect;
        if applicant.child.is_none() {
            // As it wants it.
            session.childless_until = None;
        }
        State::Established(Box::new(session))
    }

    /// What the operator is told once it is up.
    pub(crate) fn facts(&self, cx: &Cx<'_>, lease: Option<&Lease>) -> Box<SessionFacts> {
        let Admission { hs, who, .. } = self;
        let path = hs.sa.path;
        Box::new(SessionFacts {
            session: hs.id,
            user: who.user().to_owned(),
            identity: who.identity().clone(),
            auth_method: who.method().to_owned(),
            peer_key: who.key(),
            ike_suite: hs.sa.keys.suite.to_string(),
            spis: hs.sa.spis,
            nat_detected: hs.sa.nat.detected(),
            local: path.local,
            local_port: path.local_port,
            peer: path.peer,
            peer_port: path.peer_port,
            lease: lease.cloned(),
            client: self.client(),
            vendor_ids: hs.announced.names.clone(),
            fragmentation: hs.sa.fragmentation,
            local_identity: cx.world.config.identity.clone(),
            local_auth: hs.local_auth,
            resumed: who.resume().map(|resume| resume.tag),
            by_ticket: hs.ticket.is_some(),
            ppk: hs.ppk == PpkUse::Mixed || hs.ticket.as_ref().is_some_and(|ticket| ticket.state.ppk),
            started_at: hs.started_at,
            established_at: cx.now,
        })
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
            JobResult::Address(Err(AddressFailure::Refused)) => {
                let Admission { hs, applicant, .. } = admission;
                hs.refuse_applicant(cx, &applicant, IkeError::Authentication("session is gone"))
            }
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
