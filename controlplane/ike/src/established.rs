//! An authenticated session: its IKE SAs, Child SAs, lease, and the exchanges that run in it (RFC 7296 §1.3, §1.4, §2.8).
//!
//! Enters: messages under its keys, job results, timers, commands. Leaves: answers, requests of ours one at a time.
//! The exchanges themselves are in `exchange/`; here are what they share and the order in which they run.
//!
//! Long because the order of timers, tasks and jobs is one decision, and is read together.

use std::collections::{BTreeMap, VecDeque};

use crate::api::{
    ChildCommand, DataPlaneEvent, DownReason, Event, IkeFacts, Inner, JobId, JobResult, Lease, Liveness,
    SessionFacts, SessionId,
};
use crate::child::{self, Child, ChildRole};
use crate::counters::IkeCounter;
use crate::crypto::Role;
use crate::error::IkeError;
use crate::exchange::authenticated::Authenticated;
use crate::exchange::child_rekey::ChildRekey;
use crate::exchange::closing::{Closing, Farewell};
use crate::exchange::create_child::PeerCreate;
use crate::exchange::follow_up::{PeerFollowUp, PeerKe};
use crate::exchange::ike_rekey::{IkeRekey, PeerIkeRekey};
use crate::exchange::mobility::Routability;
use crate::exchange::redirect::Leaving;
use crate::exchange::ticket::PeerTicket;
use crate::sa::{IkeSa, Path};
use crate::selected::Selected;
use crate::state::{Arrival, State};
use crate::time::Instant;
use crate::wire::{Delete, ExchangeType, Message, Notify, NotifyType, Payload};
use crate::world::{Cx, Holder};

/// Most exchanges of ours that wait for the window.
pub(crate) const MAX_TASKS: usize = 64;
/// Most replaced IKE SAs kept for their last retransmissions.
pub(crate) const MAX_OLD_SAS: usize = 4;
/// Milliseconds for which a deleted Child SA stays installed for packets in flight.
pub(crate) const CHILD_LINGER_MS: u64 = 5_000;
/// Milliseconds for which a replaced IKE SA still answers retransmissions.
pub(crate) const OLD_SA_LINGER_MS: u64 = 10_000;
/// Milliseconds after which a rekey that the peer began and does not finish is finished by us.
pub(crate) const SETTLE_MS: u64 = 30_000;
/// Milliseconds until a rekey of ours that failed is tried again.
pub(crate) const REKEY_RETRY_MS: u64 = 30_000;
/// Milliseconds for which a session may be up without ever having had a Child SA.
pub(crate) const CHILDLESS_MS: u64 = 10_000;
/// Milliseconds until a job of an exchange counts as lost.
pub(crate) const JOB_DEADLINE_MS: u64 = 15_000;

/// A session that is up.
pub(crate) struct Established {
    pub(crate) id: SessionId,
    /// Without a proof there is no session.
    _proof: Authenticated,
    pub(crate) lease: Option<Lease>,
    /// The IKE SA in use.
    pub(crate) sa: IkeSa,
    /// When we rekey it, and when it ends.
    pub(crate) sa_rekey_at: Option<Instant>,
    pub(crate) sa_hard_at: Option<Instant>,
    /// The one that the peer made to replace it and has not begun to use.
    pub(crate) next: Option<NextSa>,
    pub(crate) old: Vec<OldSa>,
    pub(crate) children: BTreeMap<u32, Child>,
    /// The Child SA that packets to the client leave by.
    pub(crate) selected: Selected,
    /// The peer's request that waits for a job.
    pub(crate) working: Option<Working>,
    /// The peer's rekey of the IKE SA that waits for additional key exchanges.
    pub(crate) follow_up: Option<Box<PeerFollowUp>>,
    /// Our exchange under way on `sa`.
    pub(crate) ours: Option<Ours>,
    pub(crate) tasks: VecDeque<Task>,
    /// When it ends if it has had no Child SA by then. A client keeps such an IKE SA without knowing what for, and one
    /// without a lease will get none.
    pub(crate) childless_until: Option<Instant>,
    /// When it was made.
    pub(crate) sa_established_at: Instant,
    pub(crate) liveness: Liveness,
    pub(crate) last_heard: Instant,
    pub(crate) liveness_at: Option<Instant>,
    /// Liveness questions of the peer.
    pub(crate) peer_probes: u64,
    /// Whether the peer has sent anything since the session came up.
    pub(crate) confirmed: bool,
    /// Whether the peer says itself when it moves (RFC 4555).
    pub(crate) mobike: bool,
    /// Whether the peer follows a REDIRECT (RFC 5685).
    pub(crate) redirect: bool,
    /// Where it was sent, if it was.
    pub(crate) leaving: Option<Leaving>,
    /// As they were when it came up.
    pub(crate) facts: Box<SessionFacts>,
}

/// A session read back from a snapshot.
pub(crate) struct Restored {
    pub(crate) proof: Authenticated,
    pub(crate) facts: Box<SessionFacts>,
    pub(crate) lease: Option<Lease>,
    pub(crate) sa: IkeSa,
    pub(crate) sa_established_at: Instant,
    pub(crate) sa_rekey_at: Option<Instant>,
    pub(crate) sa_hard_at: Option<Instant>,
    pub(crate) next: Option<NextSa>,
    pub(crate) old: Vec<OldSa>,
    pub(crate) ours: Option<Ours>,
    pub(crate) tasks: Vec<Task>,
    /// Whether it never had a Child SA.
    pub(crate) childless: bool,
    pub(crate) children: Vec<Child>,
    pub(crate) selected: Selected,
    pub(crate) liveness: Liveness,
    pub(crate) peer_probes: u64,
    pub(crate) confirmed: bool,
    pub(crate) mobike: bool,
    pub(crate) redirect: bool,
}

/// An IKE SA that the peer made by a rekey.
pub(crate) struct NextSa {
    pub(crate) sa: IkeSa,
    /// Lowest nonce of the exchange that made it, for collisions.
    pub(crate) settle_at: Instant,
}

/// An IKE SA that was replaced.
pub(crate) struct OldSa {
    pub(crate) sa: IkeSa,
    /// When it is forgotten; while our Delete of it is outstanding, its retransmission decides.
    pub(crate) until: Instant,
}

/// What a request of the peer waits for.
pub(crate) struct Working {
    /// The IKE SA on which it is answered.
    pub(crate) local_spi: u64,
    pub(crate) deadline: Instant,
    pub(crate) what: PeerRequest,
}

/// A request of the peer that needs jobs.
pub(crate) enum PeerRequest {
    Child(Box<PeerCreate>),
    Ike(Box<PeerIkeRekey>),
    FollowUp(Box<PeerKe>),
    Ticket(Box<PeerTicket>),
}

/// An exchange of ours.
pub(crate) enum Ours {
    /// An empty INFORMATIONAL.
    Liveness,
    /// A REDIRECT.
    Redirect,
    /// The question whether the peer is where it says.
    Routability(Routability),
    /// A Delete of these inbound SPIs.
    DeleteChild(u32),
    RekeyChild(Box<ChildRekey>),
    /// A rekey of another process, whose private key is gone: what the peer makes of it (our inbound SPI `new`) is
    /// withdrawn, and `old` rekeyed again.
    LostChildRekey {
        old: u32,
        new: u32,
    },
    RekeyIke(Box<IkeRekey>),
}

/// What we are to begin when the window is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    Liveness,
    Redirect,
    Routability,
    DeleteChild(u32),
    /// Delete an SA that the peer made in answer to us and that we could not install.
    WithdrawChild(u32),
    RekeyChild(u32),
    RekeyIke,
}

/// How handling a message ended.
pub(crate) enum Flow {
    /// The session goes on.
    Stay,
    /// The peer has deleted it; its request is answered.
    Gone(DownReason),
    /// We end it, and tell the peer.
    End(DownReason),
    /// The peer has replaced the IKE SA in use by one that we do not have.
    Lost(DownReason),
}

impl Established {
    pub(crate) fn new(
        cx: &mut Cx<'_>,
        facts: Box<SessionFacts>,
        who: Authenticated,
        sa: IkeSa,
        lease: Option<Lease>,
        child: Option<Child>,
    ) -> Established {
        let soft = cx.world.config.lifetimes.ike_rekey_secs;
        let (sa_rekey_at, sa_hard_at) = child::lifetime(cx, soft);
        let mut session = Established {
            id: facts.session,
            facts,
            _proof: who,
            lease,
            sa,
            sa_rekey_at,
            sa_hard_at,
            next: None,
            old: Vec::new(),
            children: BTreeMap::new(),
            selected: Selected::default(),
            working: None,
            follow_up: None,
            ours: None,
            tasks: VecDeque::new(),
            childless_until: Some(cx.now.plus_millis(CHILDLESS_MS)),
            sa_established_at: cx.now,
            liveness: Liveness::of_timing(&cx.world.config.timing),
            last_heard: cx.now,
            liveness_at: None,
            peer_probes: 0,
            confirmed: false,
            mobike: false,
            redirect: false,
            leaving: None,
        };
        if let Some(child) = child {
            session.selected.select(child.inbound_spi, child.inner);
            session.adopt(cx, child, None);
        }
        session.schedule_liveness();
        session
    }

    /// A session of another process goes on here.
    pub(crate) fn restore(cx: &mut Cx<'_>, id: SessionId, restored: Restored) -> Established {
        let Restored { proof, mut facts, lease, sa, children, .. } = restored;
        facts.session = id;
        cx.set_up(id, Holder { identity: proof.identity().clone(), user: proof.user().to_owned() });
        cx.event(Event::SessionUp(facts.clone()));
        let mut session = Established::new(cx, facts, proof, sa, lease, None);
        session.sa_established_at = restored.sa_established_at;
        session.sa_rekey_at = restored.sa_rekey_at;
        session.sa_hard_at = restored.sa_hard_at;
        session.next = restored.next;
        session.old = restored.old;
        session.ours = restored.ours;
        session.tasks = restored.tasks.into();
        session.peer_probes = restored.peer_probes;
        session.confirmed = restored.confirmed;
        session.mobike = restored.mobike;
        session.redirect = restored.redirect;
        if !restored.childless {
            session.childless_until = None;
        }
        for child in children {
            if matches!(child.role, ChildRole::Lingering { .. }) {
                session.children.insert(child.inbound_spi, child);
                continue;
            }
            let replaces = match child.role {
                ChildRole::Successor { of } => Some(of),
                _ => None,
            };
            session.adopt(cx, child, replaces);
        }
        session.selected = restored.selected;
        // The peer had no gateway meanwhile, so its silence proves nothing: the interval begins anew.
        session.liveness = restored.liveness;
        session.schedule_liveness();
        session.pump(cx);
        session
    }

    /// Whether another process could go on from here. It could not follow our rekey of the IKE SA, once that is sent.
    pub(crate) fn is_restorable(&self) -> bool {
        !matches!(&self.ours, Some(Ours::RekeyIke(rekey)) if rekey.is_sent())
    }

    pub(crate) fn note_alive(&mut self, now: Instant) {
        self.last_heard = self.last_heard.max(now);
    }

    /// The peer has sent something, so it has got the answer that brought the session up.
    pub(crate) fn confirm(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.confirmed, true) {
            cx.event(Event::PeerConfirmed { session: self.id });
        }
    }

    /// What the operator sees of its IKE SA.
    pub(crate) fn ike_facts(&self) -> IkeFacts {
        let path = self.sa.path;
        let ids = self.sa.message_ids();
        IkeFacts {
            session: self.id,
            spis: self.sa.spis,
            local_began: self.sa.role == Role::Initiator,
            suite: self.sa.keys.suite,
            local: path.local,
            local_port: path.local_port,
            peer: path.peer,
            peer_port: path.peer_port,
            nat_detected: self.sa.nat.detected(),
            peer_behind_nat: self.sa.nat.peer_behind,
            local_behind_nat: self.sa.nat.local_behind,
            fragmentation: self.sa.fragmentation,
            mobike: self.mobike,
            redirect: self.redirect,
            local_next_id: ids.local_next,
            local_outstanding_id: ids.local_outstanding,
            peer_next_id: ids.peer_next,
            peer_outstanding_id: ids.peer_outstanding,
            queued: self.tasks.len(),
            liveness: self.liveness,
            peer_probes: self.peer_probes,
            last_heard: self.last_heard,
            established_at: self.sa_established_at,
            rekey_at: self.sa_rekey_at,
            expires_at: self.sa_hard_at,
            child_sas: self.children.values().filter(|child| child.is_current()).count(),
        }
    }

    /// The IKE SA with this SPI of ours, in use or not.
    pub(crate) fn sa_mut(&mut self, local_spi: u64) -> Option<&mut IkeSa> {
        self.sas_mut().find(|sa| sa.local_spi() == local_spi)
    }

    /// The IKE SA in use, then all others.
    pub(crate) fn sas_mut(&mut self) -> impl Iterator<Item = &mut IkeSa> {
        [&mut self.sa]
            .into_iter()
            .chain(self.next.as_mut().map(|next| &mut next.sa))
            .chain(self.old.iter_mut().map(|old| &mut old.sa))
    }

    pub(crate) fn on_arrival(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        local_spi: u64,
        arrival: Arrival,
        from: Path,
    ) -> State {
        self.confirm(cx);
        if self.next.as_ref().is_some_and(|next| next.sa.local_spi() == local_spi)
            && !(arrival.deletes_ike() && matches!(self.ours, Some(Ours::RekeyIke(_))))
        {
            // The peer uses its new IKE SA (and does not withdraw it, having lost a collision), so it has our answer.
            self.promote_next(cx);
        }
        if self.sa.local_spi() == local_spi {
            self.follow(cx, from);
        }
        let flow = match arrival {
            Arrival::Request(message) => self.on_request(cx, local_spi, message, from),
            Arrival::BadRequest(error) => {
                let notify = Notify::with_data(error.notify(), IkeError::from(error).notify_data());
                cx.count(IkeCounter::PeerMisbehaved);
                let fatal = error.notify() == NotifyType::InvalidSyntax;
                // Fatal on both sides (RFC 7296 §2.21.3).
                let flow = if fatal { Flow::Gone(DownReason::PeerMisbehaved) } else { Flow::Stay };
                self.respond(cx, local_spi, vec![Payload::Notify(notify)]).map(|()| flow)
            }
            Arrival::Response(message) => self.on_response(cx, local_spi, Ok(message)),
            Arrival::BadResponse(error) => self.on_response(cx, local_spi, Err(error.into())),
        };
        self.after(cx, local_spi, flow)
    }

    /// Turns the end of a handler into the next state.
    pub(crate) fn after(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        local_spi: u64,
        flow: Result<Flow, IkeError>,
    ) -> State {
        match flow {
            Ok(Flow::Stay) => {
                self.pump(cx);
                State::Established(self)
            }
            Ok(Flow::Gone(reason)) => {
                if reason == DownReason::PeerDeleted {
                    cx.count(IkeCounter::PeerDeletes);
                }
                let id = self.id;
                let sa = self.take_sa(local_spi);
                Farewell::begin(cx, id, sa, reason)
            }
            Ok(Flow::End(reason)) => self.delete(cx, reason),
            Ok(Flow::Lost(reason)) => self.delete_with_children(cx, reason),
            Err(error) => {
                cx.count(error.counter());
                self.delete(cx, DownReason::Internal)
            }
        }
    }

    /// The IKE SA with this SPI, else the one in use.
    fn take_sa(self, local_spi: u64) -> IkeSa {
        let Established { sa, next, old, .. } = self;
        let mut others = next.map(|next| next.sa).into_iter().chain(old.into_iter().map(|old| old.sa));
        others.find(|other| other.local_spi() == local_spi).unwrap_or(sa)
    }

    fn on_request(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: Message,
        from: Path,
    ) -> Result<Flow, IkeError> {
        if message.header.exchange == ExchangeType::Informational {
            return self.on_informational(cx, local_spi, &message, from);
        }
        let begun = match message.header.exchange {
            ExchangeType::IkeFollowupKe => self.on_follow_up(cx, local_spi, &message),
            _ => self.on_create_child_sa(cx, local_spi, &message),
        };
        match begun {
            Ok(()) => Ok(Flow::Stay),
            Err(error) => {
                self.refuse(cx, local_spi, error, &message)?;
                Ok(Flow::Stay)
            }
        }
    }

    fn on_response(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        message: Result<Message, IkeError>,
    ) -> Result<Flow, IkeError> {
        if self.sa.local_spi() != local_spi {
            // Our Delete of a replaced IKE SA was answered (or what was outstanding on it, which matters no more).
            self.forget_old(cx, local_spi);
            return Ok(Flow::Stay);
        }
        match self.ours.take() {
            None | Some(Ours::Liveness) => Ok(Flow::Stay),
            Some(Ours::Redirect) => {
                self.on_redirect_answer(cx);
                Ok(Flow::Stay)
            }
            Some(Ours::Routability(check)) => Ok(self.on_routability_answer(cx, &check, message)),
            Some(Ours::DeleteChild(spi)) => {
                self.linger(cx, spi, None);
                Ok(Flow::Stay)
            }
            Some(Ours::RekeyChild(rekey)) => self.on_child_rekey_answer(cx, *rekey, message),
            Some(Ours::LostChildRekey { old, new }) => {
                if message.is_ok_and(|message| message.error_notify().is_none()) {
                    self.add_task(Task::WithdrawChild(new));
                }
                self.add_task(Task::RekeyChild(old));
                Ok(Flow::Stay)
            }
            Some(Ours::RekeyIke(rekey)) => self.on_ike_rekey_answer(cx, *rekey, message),
        }
    }

    pub(crate) fn on_job(mut self: Box<Self>, cx: &mut Cx<'_>, job: JobId, result: JobResult) -> State {
        let local_spi = self.sa.local_spi();
        let flow = match (self.working.take(), self.ours.take()) {
            (Some(working), ours) if working.job() == job => {
                self.ours = ours;
                self.on_working_job(cx, working, result)
            }
            (working, Some(Ours::RekeyChild(rekey))) if rekey.job() == Some(job) => {
                self.working = working;
                self.on_child_rekey_job(cx, *rekey, result)
            }
            (working, Some(Ours::RekeyIke(rekey))) if rekey.job() == Some(job) => {
                self.working = working;
                self.on_ike_rekey_job(cx, *rekey, result)
            }
            (working, ours) => {
                self.working = working;
                self.ours = ours;
                Ok(Flow::Stay)
            }
        };
        self.after(cx, local_spi, flow)
    }

    fn on_working_job(
        &mut self,
        cx: &mut Cx<'_>,
        working: Working,
        result: JobResult,
    ) -> Result<Flow, IkeError> {
        let local_spi = working.local_spi;
        let done = match working.what {
            PeerRequest::Child(create) => self.on_peer_create_job(cx, local_spi, *create, result),
            PeerRequest::Ike(rekey) => self.on_peer_ike_rekey_job(cx, local_spi, *rekey, result),
            PeerRequest::FollowUp(exchange) => self.on_follow_up_job(cx, local_spi, *exchange, result),
            PeerRequest::Ticket(ticket) => self.on_ticket_job(cx, local_spi, *ticket, result),
        };
        match done {
            Ok(()) => Ok(Flow::Stay),
            Err(error) => {
                self.refuse_kind(cx, local_spi, error)?;
                Ok(Flow::Stay)
            }
        }
    }

    /// Refuses the request being worked on. The error names the notify.
    pub(crate) fn refuse_kind(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        error: IkeError,
    ) -> Result<(), IkeError> {
        cx.count(error.counter());
        let notify = Notify::with_data(error.notify(), error.notify_data());
        self.respond(cx, local_spi, vec![Payload::Notify(notify)])
    }

    fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        error: IkeError,
        message: &Message,
    ) -> Result<(), IkeError> {
        if error != IkeError::ChildNotFound {
            return self.refuse_kind(cx, local_spi, error);
        }
        // CHILD_SA_NOT_FOUND names the SA (RFC 7296 §2.25).
        cx.count(error.counter());
        let spi = message.notify(NotifyType::RekeySa).and_then(Notify::esp_spi);
        let notify = spi
            .map_or_else(|| Notify::new(error.notify()), |spi| Notify::esp(NotifyType::ChildSaNotFound, spi));
        self.respond(cx, local_spi, vec![Payload::Notify(notify)])
    }

    /// Answers the request being worked on, on its IKE SA.
    pub(crate) fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        local_spi: u64,
        payloads: Vec<Payload>,
    ) -> Result<(), IkeError> {
        match self.sa_mut(local_spi) {
            Some(sa) => sa.respond(cx, payloads),
            None => Err(IkeError::Bug("an answer on an IKE SA that is gone")),
        }
    }

    /// Queues an exchange of ours; one that is queued already is not queued twice.
    pub(crate) fn add_task(&mut self, task: Task) {
        if self.tasks.len() < MAX_TASKS && !self.tasks.contains(&task) {
            self.tasks.push_back(task);
        }
    }

    /// Begins the next exchange of ours, if the window is free and nothing forbids it.
    pub(crate) fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.ours.is_none() && !self.sa.is_waiting() && self.next.is_none() {
            let Some(task) = self.tasks.pop_front() else { return };
            let begun = match task {
                Task::Liveness => self.begin_liveness(cx),
                Task::Redirect => self.begin_redirect(cx),
                Task::Routability => self.begin_routability_check(cx),
                Task::DeleteChild(spi) => self.begin_child_delete(cx, spi),
                Task::WithdrawChild(spi) => {
                    let delete = Payload::Delete(Delete::Esp(vec![spi]));
                    self.send(cx, vec![delete], Ours::DeleteChild(spi))
                }
                Task::RekeyChild(spi) => self.begin_child_rekey(cx, spi),
                Task::RekeyIke if self.working.is_some() => {
                    // The peer's answer would be TEMPORARY_FAILURE (RFC 7296 §2.25.2).
                    self.tasks.push_front(task);
                    return;
                }
                Task::RekeyIke => self.begin_ike_rekey(cx),
            };
            if let Err(error) = begun {
                cx.count(error.counter());
            }
        }
    }

    fn begin_liveness(&mut self, cx: &mut Cx<'_>) -> Result<(), IkeError> {
        let retry = self.liveness.retry(&cx.world.config.timing);
        self.sa.request_with(cx, ExchangeType::Informational, Vec::new(), retry)?;
        self.ours = Some(Ours::Liveness);
        Ok(())
    }

    fn send(&mut self, cx: &mut Cx<'_>, payloads: Vec<Payload>, ours: Ours) -> Result<(), IkeError> {
        self.sa.request(cx, ExchangeType::Informational, payloads)?;
        self.ours = Some(ours);
        Ok(())
    }

    fn begin_child_delete(&mut self, cx: &mut Cx<'_>, spi: u32) -> Result<(), IkeError> {
        let Some(child) = self.children.get_mut(&spi) else { return Ok(()) };
        if matches!(child.role, ChildRole::Lingering { .. }) {
            return Ok(());
        }
        child.role = ChildRole::Deleting;
        let delete = Delete::Esp(vec![spi]);
        self.send(cx, vec![Payload::Delete(delete)], Ours::DeleteChild(spi))?;
        self.select_other_than(cx, spi);
        Ok(())
    }

    /// Takes an installed Child SA into the session.
    pub(crate) fn adopt(&mut self, cx: &mut Cx<'_>, child: Child, replaces: Option<u32>) {
        cx.event(Event::ChildUp(child.facts(self.id, replaces)));
        self.children.insert(child.inbound_spi, child);
        self.childless_until = None;
    }

    /// Packets to the client leave by this Child SA from now on.
    pub(crate) fn select(&mut self, cx: &mut Cx<'_>, spi: u32) {
        let Some(inner) = self.children.get(&spi).map(|child| child.inner) else { return };
        if self.selected.select(spi, inner) {
            cx.child_command(ChildCommand::SelectOutbound { inbound_spi: spi });
        }
    }

    /// Whether our traffic may move to a Child SA. It stays where it is when the peer makes more for its resources (RFC 9611): to
    /// one of those it moves only if it has no other, or with the rekey of the one that it leaves by.
    pub(crate) fn draws_traffic(&self, spi: u32, replaces: Option<u32>) -> bool {
        let Some(child) = self.children.get(&spi) else { return false };
        let inherits = replaces.is_some_and(|old| self.selected.all().any(|selected| selected == old));
        !child.bound || inherits || self.selected.lacks(child.inner)
    }

    /// Whether our traffic moves to a Child SA once the peer uses it: a successor, or one for the same traffic. One for
    /// other traffic does not draw everything to itself.
    fn takes_over(&self, spi: u32) -> bool {
        let Some(child) = self.children.get(&spi).filter(|child| child.is_current()) else { return false };
        if child.bound {
            let replaces = if let ChildRole::Successor { of } = child.role { Some(of) } else { None };
            return self.draws_traffic(spi, replaces);
        }
        let mut selected = self.selected.of(child.inner).filter_map(|selected| self.children.get(&selected));
        matches!(child.role, ChildRole::Successor { .. })
            || selected.all(|selected| selected.selectors == child.selectors)
    }

    /// Moves outbound traffic off a Child SA that goes: to its successor, else to any other.
    pub(crate) fn select_other_than(&mut self, cx: &mut Cx<'_>, spi: u32) {
        if !self.selected.forget(spi) {
            return;
        }
        let successor = |child: &Child| child.role == ChildRole::Successor { of: spi };
        let others = self.children.values().filter(|child| child.is_current() && child.inbound_spi != spi);
        let mut heirs: Vec<(bool, u32, Inner)> =
            others.map(|child| (successor(child), child.inbound_spi, child.inner)).collect();
        // Its successor first, then the newest.
        heirs.sort_unstable_by_key(|(successor, spi, _)| std::cmp::Reverse((*successor, *spi)));
        for (_, heir, inner) in heirs {
            if self.selected.lacks(inner) {
                self.select(cx, heir);
            }
        }
    }

    /// A Child SA is deleted: outbound traffic leaves it, inbound packets in flight are still taken for a while.
    pub(crate) fn linger(&mut self, cx: &mut Cx<'_>, spi: u32, replaced_by: Option<u32>) {
        self.select_other_than(cx, spi);
        let until = cx.now.plus_millis(CHILD_LINGER_MS);
        let Some(child) = self.children.get_mut(&spi) else { return };
        if matches!(child.role, ChildRole::Lingering { .. }) {
            return;
        }
        let by = match child.role {
            ChildRole::Replaced { by } => Some(by),
            _ => replaced_by,
        };
        child.role = ChildRole::Lingering { until };
        cx.retire_child(self.id, spi, by);
        for heir in self.children.values_mut() {
            if heir.role == (ChildRole::Successor { of: spi }) {
                heir.role = ChildRole::Active;
            }
        }
    }

    /// Removes a Child SA at once.
    pub(crate) fn drop_child(&mut self, cx: &mut Cx<'_>, spi: u32) {
        self.select_other_than(cx, spi);
        if self.children.remove(&spi).is_some() {
            cx.retire_child(self.id, spi, None);
            cx.release_child(self.id, spi);
        }
    }

    /// Follows the peer's address when a NAT has mapped it anew (RFC 7296 §2.23): only a peer behind a NAT moves so, and none
    /// that says by itself when it moves, for it may only be trying a path (RFC 4555 §3.8).
    fn follow(&mut self, cx: &mut Cx<'_>, from: Path) {
        if !self.mobike && self.sa.nat.peer_behind && from != self.sa.path && from.local == self.sa.path.local
        {
            self.move_to(cx, from);
        }
    }

    fn move_to(&mut self, cx: &mut Cx<'_>, path: Path) {
        self.move_ike(cx, path);
        self.move_children(cx);
    }

    /// IKE messages go to another address from now on.
    pub(crate) fn move_ike(&mut self, cx: &mut Cx<'_>, path: Path) {
        self.sas_mut().for_each(|sa| sa.path = path);
        cx.event(Event::PeerMoved { session: self.id, peer: path.peer, peer_port: path.peer_port });
    }

    /// The Child SAs follow the IKE SA.
    pub(crate) fn move_children(&mut self, cx: &mut Cx<'_>) {
        let esp = child::esp_path(&self.sa);
        for child in self.children.values_mut().filter(|child| child.path != esp) {
            child.path = esp;
            cx.child_command(ChildCommand::MovePeer { inbound_spi: child.inbound_spi, path: esp });
        }
    }

    pub(crate) fn on_data_plane(mut self: Box<Self>, cx: &mut Cx<'_>, event: DataPlaneEvent) -> State {
        match event {
            DataPlaneEvent::SoftExpired { inbound_spi } => self.add_task(Task::RekeyChild(inbound_spi)),
            DataPlaneEvent::HardExpired { inbound_spi } => {
                if self.children.get(&inbound_spi).is_some_and(Child::is_current) {
                    self.add_task(Task::DeleteChild(inbound_spi));
                }
            }
            DataPlaneEvent::FirstInbound { inbound_spi } => {
                self.note_alive(cx.now);
                self.confirm(cx);
                if self.takes_over(inbound_spi) {
                    self.select(cx, inbound_spi);
                }
            }
            DataPlaneEvent::PeerMoved { inbound_spi, peer, peer_port: Some(peer_port) } => {
                self.note_alive(cx.now);
                let known = self.children.contains_key(&inbound_spi) && self.sa.nat.peer_behind;
                let path = Path { peer, peer_port, ..self.sa.path };
                if known && path != self.sa.path {
                    self.move_to(cx, path);
                }
            }
            DataPlaneEvent::PeerMoved { peer_port: None, .. } => {}
        }
        self.pump(cx);
        State::Established(self)
    }

    /// The operator asks for a rekey.
    pub(crate) fn rekey(mut self: Box<Self>, cx: &mut Cx<'_>, task: Task) -> State {
        self.add_task(task);
        self.pump(cx);
        State::Established(self)
    }

    /// The operator asks for a rekey of every Child SA.
    pub(crate) fn rekey_children(mut self: Box<Self>, cx: &mut Cx<'_>) -> State {
        let spis: Vec<u32> = self
            .children
            .values()
            .filter(|child| child.is_current())
            .map(|child| child.inbound_spi)
            .collect();
        spis.into_iter().for_each(|spi| self.add_task(Task::RekeyChild(spi)));
        self.pump(cx);
        State::Established(self)
    }

    /// Deletes the session, telling the peer on the newest IKE SA.
    /// Deletes the Child SAs by name, then the IKE SA, whose Delete alone would tell the peer no more than that the rekey is
    /// complete (RFC 7296 §2.8). If the peer has made another IKE SA of its own, that one is deleted, and says it all.
    fn delete_with_children(mut self: Box<Self>, cx: &mut Cx<'_>, reason: DownReason) -> State {
        let told = |child: &&Child| matches!(child.role, ChildRole::Lingering { .. } | ChildRole::Deleting);
        let spis = self.children.values().filter(|child| !told(child)).map(|child| child.inbound_spi);
        let spis: Vec<u32> = spis.collect();
        if self.next.is_none() && !self.sa.is_waiting() && !spis.is_empty() {
            let delete = vec![Payload::Delete(Delete::Esp(spis))];
            if let Err(error) = self.sa.request(cx, ExchangeType::Informational, delete) {
                cx.count(error.counter());
            }
        }
        self.delete(cx, reason)
    }

    pub(crate) fn delete(self: Box<Self>, cx: &mut Cx<'_>, reason: DownReason) -> State {
        let id = self.id;
        let Established { sa, next, old, .. } = *self;
        let mut unused: Vec<IkeSa> = old.into_iter().map(|old| old.sa).collect();
        let newest = match next {
            Some(next) => {
                unused.push(sa);
                next.sa
            }
            None => sa,
        };
        for sa in unused {
            cx.release_ike_spi(id, sa.local_spi());
        }
        Closing::begin(cx, id, newest, reason)
    }
}

impl Working {
    fn job(&self) -> JobId {
        match &self.what {
            PeerRequest::Child(create) => create.job(),
            PeerRequest::Ike(rekey) => rekey.job(),
            PeerRequest::FollowUp(exchange) => exchange.job(),
            PeerRequest::Ticket(ticket) => ticket.job(),
        }
    }
}
