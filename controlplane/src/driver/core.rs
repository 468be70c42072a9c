//! What the driver holds, and what it does with each input and output of the endpoint. Nothing here waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use causeway_eap::ServerRandom;
use causeway_ike::Endpoint;
use causeway_ike::api::{
    AddressFailure, AddressRequest, ChildInstall, DataPlaneEvent, Datagram, EapOutcome, EapStep, Event,
    GatewayAuth, Input, InstallFailure, Job, JobId, JobKind, JobResult, Operator, Output, Outputs, PskAnswer,
    Secret, SessionId,
};
use causeway_shared::config::Esp;

use super::convert;
use super::env::{DriverEnv, fill_random};
use super::jobs::{Done, PublicKeyPool};
use super::request::Rekey;
use crate::aaa::{Conversations, Directory, EapAnswer};
use crate::clock;
use crate::counters::{DriverCounts, bump};
use crate::debug::{Board, Watcher};
use crate::link::ledger::{Outcome, Refused};
use crate::link::{Link, LinkInput};
use crate::pool::{AddressPools, LeaseError};
use crate::sessions::Registry;
use crate::slots::Slots;

/// Longest time between two looks at the clock.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// What the driver answers the endpoint's jobs with.
pub struct Services {
    /// Users and keys.
    pub directory: Directory,
    /// EAP conversations under way.
    pub conversations: Conversations,
    /// Inner addresses.
    pub pools: AddressPools,
    /// How Child SAs are installed.
    pub esp: Esp,
}

/// The driver's state.
pub struct Core<L> {
    pub(super) link: L,
    pub(super) jobs: PublicKeyPool,
    pub(super) endpoint: Endpoint,
    pub(super) services: Services,
    pub(super) slots: Slots,
    pub(super) sessions: Registry,
    pub(super) counts: DriverCounts,
    pub(super) version: String,
    watcher: Watcher,
    out: Outputs,
    /// Answers of jobs that were done at once; they are given when the outputs are performed.
    answered: VecDeque<(JobId, JobResult)>,
    shutting_down: bool,
    shutdown_complete: bool,
}

impl<L: Link> Core<L> {
    /// Puts the driver together.
    pub fn new(
        link: L,
        endpoint: Endpoint,
        jobs: PublicKeyPool,
        services: Services,
        slots: Slots,
        version: String,
    ) -> Core<L> {
        Core {
            link,
            jobs,
            endpoint,
            services,
            slots,
            sessions: Registry::default(),
            counts: DriverCounts::default(),
            version,
            watcher: Watcher::new(Arc::default()),
            out: Outputs::new(),
            answered: VecDeque::new(),
            shutting_down: false,
            shutdown_complete: false,
        }
    }

    /// Logs in detail what `board` asks for.
    #[must_use]
    pub fn watched_by(mut self, board: Arc<Board>) -> Core<L> {
        self.watcher = Watcher::new(board);
        self
    }

    pub(super) fn link_input(&mut self, input: LinkInput) {
        match input {
            LinkInput::Datagram(datagram) => self.datagram(datagram),
            LinkInput::DataPlane(event) => self.handle(Input::DataPlane(event)),
            LinkInput::Outcome(outcome) => self.outcome(outcome),
        }
    }

    fn datagram(&mut self, datagram: Datagram) {
        let now = clock::now();
        let watched = self.watcher.is_armed(now, self.sessions.parties())
            && self.watcher.arrived(now, &mut self.endpoint, &datagram);
        if !watched {
            return self.handle(Input::Datagram(datagram));
        }
        let before = self.endpoint.counters().clone();
        self.handle(Input::Datagram(datagram));
        let grown = self.endpoint.counters().iter().filter(|(counter, total)| *total > before.get(*counter));
        self.watcher.handled(now, grown.map(|(counter, _)| counter));
    }

    pub(super) fn job_ended(&mut self, done: Done) {
        if done.panicked {
            bump(&mut self.counts.job_panics);
        }
        self.handle(Input::JobDone { job: done.id, result: done.result });
    }

    /// The endpoint's clock stands still while no data plane carries its datagrams: nobody is given up for not answering
    /// what never left.
    pub(super) fn timer(&mut self) {
        if self.may_time_out() {
            self.handle(Input::Timer);
        }
    }

    fn may_time_out(&self) -> bool {
        self.shutting_down || self.link.is_carrying()
    }

    pub(super) fn timer_if_due(&mut self) {
        if self.time_until_wake().is_zero() {
            self.timer();
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.shutting_down = true;
        self.handle(Input::Shutdown);
    }

    pub(super) fn shutdown_complete(&self) -> bool {
        self.shutdown_complete
    }

    /// Begins a deletion. Returns whether there is such a session.
    pub(super) fn delete(&mut self, session: u64) -> bool {
        let found = self.sessions.closing(session);
        if found {
            self.handle(Input::Operator(Operator::Delete(SessionId(session))));
        }
        found
    }

    /// Begins a rekey. Returns whether there is such a session.
    pub(super) fn rekey(&mut self, session: u64, what: Rekey) -> bool {
        let found = self.sessions.contains(session);
        if found {
            let session = SessionId(session);
            self.handle(Input::Operator(match what {
                Rekey::Ike => Operator::RekeyIke(session),
                Rekey::Child => Operator::RekeyChildren(session),
            }));
        }
        found
    }

    /// Lets the link push on.
    pub(super) fn flush(&mut self) {
        self.link.flush(clock::now());
    }

    /// How long nothing happens by itself.
    pub(super) fn time_until_wake(&self) -> Duration {
        let now = clock::now();
        let endpoint = self.endpoint.next_wakeup().filter(|_| self.may_time_out());
        let endpoint = endpoint.map(|(at, _)| at.since(clock::instant(now)));
        let link = self.link.next_deadline().map(|at| at.saturating_sub(now));
        [endpoint, link].into_iter().flatten().min().unwrap_or(MAX_SLEEP).min(MAX_SLEEP)
    }

    /// Gives the endpoint one input, performs what it asks for, and gives it what could be answered at once.
    fn handle(&mut self, input: Input) {
        self.guarded(input);
        loop {
            while let Some(output) = self.out.pop() {
                self.perform(output);
            }
            let Some((job, result)) = self.answered.pop_front() else { return };
            self.guarded(Input::JobDone { job, result });
        }
    }

    /// One panic in one session's code ends that session only (architecture §9 rule 6).
    fn guarded(&mut self, input: Input) {
        let now = clock::now();
        if let Input::JobDone { job, result } = &input {
            self.watcher.job_ended(now, job.0, result);
        }
        let mut env = DriverEnv { now, slots: &mut self.slots, link: &self.link };
        let (endpoint, out) = (&mut self.endpoint, &mut self.out);
        // Sound to go on with: the endpoint ends the session that it was working on, whose state the panic consumed.
        let caught = catch_unwind(AssertUnwindSafe(|| {
            endpoint.handle(clock::instant(now), input, &mut env, out);
        }));
        if caught.is_err() {
            bump(&mut self.counts.panics_caught);
            let ended = endpoint.recover(clock::instant(now), &mut env, out);
            tracing::error!(
                session = ended.map(|session| session.0),
                "a panic was caught; its session is ended"
            );
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Transmit(datagram) => {
                let now = clock::now();
                if self.watcher.is_armed(now, self.sessions.parties()) {
                    self.watcher.leaves(now, &mut self.endpoint, &datagram);
                }
                self.link.transmit(datagram);
            }
            Output::Job(job) => {
                if self.watcher.is_armed(clock::now(), self.sessions.parties()) {
                    self.watcher.job(clock::now(), &job);
                }
                self.job(job);
            }
            Output::Child(command) => self.link.change(command),
            Output::ReleaseAddress { session, lease } => {
                if let Err(error) = self.services.pools.release(session.0, lease.address) {
                    bump(&mut self.counts.lease_errors);
                    tracing::debug!(%error, session = session.0, "a lease could not be given back");
                }
            }
            Output::EapAbandoned { session } => self.services.conversations.abandon(session.0),
            Output::Event(event) => {
                if self.watcher.is_armed(clock::now(), self.sessions.parties()) {
                    self.watcher.event(clock::now(), &event);
                }
                self.event(&event);
            }
        }
    }

    fn job(&mut self, Job { id, session, kind }: Job) {
        let result = match kind {
            JobKind::PublicKey(job) => match self.jobs.begin(id, *job) {
                Ok(()) => return,
                Err(_) => {
                    bump(&mut self.counts.jobs_refused);
                    JobResult::Unavailable
                }
            },
            JobKind::InstallChild(install) => match self.install(id, &install) {
                Ok(()) => return,
                Err(failure) => JobResult::Installed(Err(failure)),
            },
            JobKind::PskLookup { identity } => {
                let key = self.services.directory.psk(&identity.to_string());
                JobResult::Psk(key.map(|key| PskAnswer {
                    key: Secret::new(key.0.clone()),
                    previous_key: None,
                    burnt_keys: Vec::new(),
                    gateway_auth: GatewayAuth::Psk,
                    user: None,
                    resume: None,
                }))
            }
            JobKind::Eap(step) => JobResult::Eap(self.eap(session, step)),
            JobKind::Address(request) => JobResult::Address(self.address(session, &request)),
        };
        self.answered.push_back((id, result));
    }

    fn install(&mut self, job: JobId, install: &ChildInstall) -> Result<(), InstallFailure> {
        let now = clock::now();
        let refused = match convert::sa_pair(install, &self.services.esp) {
            Ok(pair) => match self.link.install(now, pair, job.0) {
                Ok(()) => return Ok(()),
                Err(Refused::Busy) => InstallFailure::Full,
                Err(Refused::Duplicate) => {
                    // Its slot belongs to the one that is there.
                    bump(&mut self.counts.installs_failed);
                    return Err(InstallFailure::Refused);
                }
            },
            Err(error) => {
                tracing::error!(%error, "a Child SA cannot be described to the data plane");
                InstallFailure::Refused
            }
        };
        bump(&mut self.counts.installs_failed);
        self.slots.release(now, install.inbound_spi);
        Err(refused)
    }

    fn eap(&mut self, session: SessionId, step: EapStep) -> EapOutcome {
        let answer = match step {
            EapStep::Start { .. } => {
                let mut server =
                    ServerRandom { identifier: 0, challenge: [0; 16], failure_challenge: [0; 16] };
                fill_random(std::slice::from_mut(&mut server.identifier));
                fill_random(&mut server.challenge);
                fill_random(&mut server.failure_challenge);
                self.services.conversations.start(session.0, server)
            }
            EapStep::Response { packet } => {
                let Services { conversations, directory, .. } = &mut self.services;
                conversations.respond(session.0, &packet, &*directory)
            }
        };
        match answer {
            EapAnswer::Request(packet) => EapOutcome::Request { packet },
            EapAnswer::Success { packet, authenticated, method } => {
                let (user, msk) = authenticated.into_parts();
                EapOutcome::Success { packet, user, method, msk: Some(Secret::new(msk.as_bytes().to_vec())) }
            }
            EapAnswer::Failure { packet, reason } => {
                EapOutcome::Failure { packet, reason: reason.to_string() }
            }
        }
    }

    fn address(
        &mut self,
        session: SessionId,
        request: &AddressRequest,
    ) -> Result<causeway_ike::api::Lease, AddressFailure> {
        let granted = self.services.pools.lease(session.0, &request.user, request.requested);
        granted.map(convert::lease).map_err(|error| match error {
            LeaseError::Exhausted => AddressFailure::Exhausted,
        })
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Installed { ticket, .. } => {
                self.handle(Input::JobDone { job: JobId(ticket), result: JobResult::Installed(Ok(())) });
            }
            Outcome::InstallFailed { ticket, status, .. } => {
                bump(&mut self.counts.installs_failed);
                tracing::warn!(?status, "the data plane did not take a Child SA");
                let failure = match status {
                    Some(causeway_shared::wire::AckStatus::TableFull) => InstallFailure::Full,
                    _ => InstallFailure::Refused,
                };
                let result = JobResult::Installed(Err(failure));
                self.handle(Input::JobDone { job: JobId(ticket), result });
            }
            Outcome::Gone { inbound_spi } => {
                self.slots.release(clock::now(), inbound_spi);
            }
            Outcome::Lost { inbound_spi } => {
                bump(&mut self.counts.sas_lost);
                self.handle(Input::DataPlane(DataPlaneEvent::HardExpired { inbound_spi }));
            }
            Outcome::CommandRefused { status } => {
                bump(&mut self.counts.commands_refused);
                tracing::warn!(?status, "the data plane refused a command");
            }
        }
    }

    fn event(&mut self, event: &Event) {
        let link = &self.link;
        self.sessions.note(event, |spi| link.traffic(spi));
        match event {
            Event::SessionUp(facts) => {
                let set_up_ms = facts.established_at.millis_since(facts.started_at);
                tracing::info!(
                    session = facts.session.0,
                    user = %facts.user,
                    method = %facts.auth_method,
                    suite = %facts.ike_suite,
                    nat = facts.nat_detected,
                    set_up_ms,
                    "session up"
                );
                let inner = facts.lease.as_ref().map(|lease| lease.address);
                tracing::debug!(session = facts.session.0, peer = %facts.peer, ?inner, "session's addresses");
            }
            Event::SessionDown { session, reason } => {
                tracing::info!(session = session.0, reason = reason.name(), "session down");
            }
            Event::HandshakeFailed { session, peer, identity, fault, reason, counter } => {
                let counter = counter.name();
                tracing::info!(session = session.0, ?fault, counter, %reason, "handshake failed");
                tracing::debug!(session = session.0, %peer, ?identity, "who failed");
            }
            Event::ChildRefused { session, notify } => {
                tracing::info!(session = session.0, %notify, "session without Child SA");
            }
            Event::IkeRekeyed { session, by, .. } => {
                tracing::info!(session = session.0, ?by, "IKE SA rekeyed");
            }
            Event::ChildUp(facts) => {
                let rekeyed = facts.replaces.is_some();
                tracing::info!(session = facts.session.0, suite = %facts.suite, rekeyed, "Child SA up");
            }
            Event::ChildDown { session, replaced_by, .. } => {
                tracing::info!(session = session.0, replaced = replaced_by.is_some(), "Child SA down");
            }
            Event::PeerConfirmed { session } => {
                tracing::debug!(session = session.0, "the peer has our last answer");
            }
            Event::TokenReplayed { session, tag, peer } => {
                tracing::warn!(session = session.0, ?tag, %peer, "a token was used that is not in force any more");
            }
            Event::PeerMoved { session, peer, peer_port } => {
                tracing::debug!(session = session.0, %peer, peer_port, "peer moved");
            }
            Event::ShutdownComplete { unanswered } => {
                self.shutdown_complete = true;
                tracing::info!(unanswered, "every session is ended");
            }
        }
    }
}
