//! What the driver holds, and what it does with each input and output of the endpoint. Nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use causeway_ike::Endpoint;
use causeway_ike::api::{
    ChildInstall, DataPlaneEvent, Datagram, Event, Input, InstallFailure, Job, JobId, JobKind, JobResult,
    Liveness, Operator, Output, Outputs, SessionId,
};
use causeway_ike::counters::IkeCounter;
use causeway_shared::config::{self, Aaa, Esp, GroupAttribute};

use super::accounting::Accounts;
use super::continuity::Continuity;
use super::convert;
use super::env::DriverEnv;
use super::guard;
use super::jobs::{Done, PublicKeyPool};
use super::later::Desk;
use super::login::LoginNotes;
use super::request::Rekey;
use crate::aaa::radius::{Listener, RadiusEap};
use crate::aaa::{AnyConnectConversations, Conversations, Directory, LocalEap, Lockout};
use crate::clock;
use crate::counters::{DriverCounts, bump};
use crate::debug::{Board, Watcher};
use crate::link::ledger::{Outcome, Refused};
use crate::link::{Link, LinkInput};
use crate::pool::AddressPools;
use crate::reconnect::{Table, ending};
use crate::revocation::Registrar;
use crate::sessions::Registry;
use crate::sessions::limits::Limits;
use crate::slots::Slots;
use crate::tickets::Tickets;

/// Longest time between two looks at the clock.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// What the driver answers the endpoint's jobs with.
pub struct Services {
    /// Users and keys.
    pub directory: Arc<Directory>,
    /// Who knows of revoked certificates.
    pub revocation: Arc<Registrar>,
    /// What opens standard EAP conversations that are answered here.
    pub local_eap: LocalEap,
    /// Whether it may be used beside RADIUS.
    pub local_eap_allowed: bool,
    /// Conversations that RADIUS servers hold, if they hold any.
    pub radius_eap: Option<RadiusEap>,
    /// Requests of RADIUS servers, if any are taken.
    pub radius_listener: Option<Listener>,
    /// Which attribute of a RADIUS server names a group.
    pub group_attribute: GroupAttribute,
    /// Standard EAP conversations under way.
    pub conversations: Conversations,
    /// AnyConnect-EAP conversations under way.
    pub anyconnect: AnyConnectConversations,
    /// How policies are merged.
    pub aaa: Aaa,
    /// When logins are refused unseen.
    pub lockout: config::Lockout,
    /// Inner addresses.
    pub pools: AddressPools,
    /// How Child SAs are installed.
    pub esp: Esp,
    /// Name of the gateway's profile.
    pub profile: String,
    /// How clients that can come back are asked for life.
    pub liveness: Liveness,
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
    /// Sessions that outlive their IKE SAs.
    pub(super) table: Table,
    /// What makes and reads tickets (RFC 5723), if clients get any.
    pub(super) tickets: Option<Tickets>,
    /// What is waited for.
    pub(super) desk: Desk,
    /// Of logins whose address is still to come.
    pub(super) logins: HashMap<u64, LoginNotes>,
    /// How long sessions may last (those that cannot be resumed) and carry nothing (all).
    pub(super) limits: Limits,
    /// What is kept of sessions for the next process.
    pub(super) continuity: Continuity,
    /// Where the datagram comes from that is being worked on.
    pub(super) current_peer: Option<IpAddr>,
    /// What the endpoint is told when the outputs are performed.
    pub(super) inputs: VecDeque<Input>,
    /// Logins that failed.
    pub(super) lockout: Lockout,
    /// Who is logging in, by session.
    pub(super) claimants: HashMap<u64, guard::Login>,
    /// What RADIUS servers are told of sessions.
    pub(super) accounts: Option<Accounts>,
    pub(super) watcher: Watcher,
    pub(super) out: Outputs,
    /// Answers of jobs that were done at once; they are given when the outputs are performed.
    answered: VecDeque<(JobId, JobResult)>,
    /// What is wrong with new files of certificates.
    pub(super) keys_problem: Option<String>,
    shutting_down: bool,
    shutdown_complete: bool,
}

impl<L: Link> Core<L> {
    /// Puts the driver together, without sessions; [`restore`](super::restore()) brings those of the last run.
    pub fn new(
        link: L,
        endpoint: Endpoint,
        jobs: PublicKeyPool,
        services: Services,
        slots: Slots,
        version: String,
        (table, desk): (Table, Desk),
    ) -> Core<L> {
        let lockout = Lockout::new(&services.lockout);
        Core {
            link,
            jobs,
            endpoint,
            services,
            slots,
            sessions: Registry::default(),
            counts: DriverCounts::default(),
            version,
            table,
            tickets: None,
            desk,
            logins: HashMap::new(),
            limits: Limits::default(),
            continuity: Continuity::default(),
            current_peer: None,
            inputs: VecDeque::new(),
            lockout,
            claimants: HashMap::new(),
            accounts: None,
            watcher: Watcher::new(Arc::default()),
            out: Outputs::new(),
            answered: VecDeque::new(),
            keys_problem: None,
            shutting_down: false,
            shutdown_complete: false,
        }
    }

    /// Gives clients tickets to come back with.
    #[must_use]
    pub fn with_tickets(mut self, tickets: Option<Tickets>) -> Core<L> {
        self.tickets = tickets;
        self
    }

    /// Logs in detail what `board` asks for.
    #[must_use]
    pub fn watched_by(mut self, board: Arc<Board>) -> Core<L> {
        self.watcher = Watcher::new(board);
        self
    }

    pub(super) fn link_input(&mut self, input: LinkInput) {
        match input {
            LinkInput::Datagram(datagram) => {
                self.current_peer = Some(datagram.peer);
                self.datagram(datagram);
                self.current_peer = None;
            }
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
        if self.time_until_expiry().is_some_and(|left| left.is_zero()) {
            self.expire();
        }
        self.sweep();
    }

    /// Clients that can come back are not told goodbye: they would not come back.
    pub(super) fn shut_down(&mut self) {
        self.shutting_down = true;
        for session in self.table.holders() {
            self.handle(Input::Operator(Operator::Drop(SessionId(session))));
        }
        self.handle(Input::Shutdown);
    }

    pub(super) fn shutdown_complete(&self) -> bool {
        self.shutdown_complete
    }

    /// Begins a deletion. Returns whether there is such a session.
    pub(super) fn delete(&mut self, session: u64) -> bool {
        let found = self.sessions.closing(session);
        let durable = self.table.of_session(session).map(|(record, _)| record.id);
        match durable {
            // For good: it is not to be resumed either.
            Some(id) => {
                self.table.clear(&id);
                self.pump();
            }
            None if found => self.handle(Input::Operator(Operator::Delete(SessionId(session)))),
            None => {}
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
        let (expiry, sweep) = (self.time_until_expiry(), self.time_until_sweep());
        [endpoint, link, expiry, sweep].into_iter().flatten().min().unwrap_or(MAX_SLEEP).min(MAX_SLEEP)
    }

    /// Gives the endpoint one input, performs what it asks for, and gives it what could be answered at once.
    pub(super) fn handle(&mut self, input: Input) {
        self.guarded(input);
        self.pump();
    }

    /// Performs what is asked for until nothing is.
    pub(super) fn pump(&mut self) {
        loop {
            while let Some(output) = self.out.pop() {
                self.perform(output);
            }
            self.settle();
            self.close_batch();
            if let Some(input) = self.inputs.pop_front() {
                self.guarded(input);
            } else if let Some((job, result)) = self.answered.pop_front() {
                self.guarded(Input::JobDone { job, result });
            } else {
                self.end_batches();
                return;
            }
        }
    }

    /// The answer of a job, given when the outputs are performed.
    pub(super) fn answer_job(&mut self, job: JobId, result: JobResult) {
        self.answered.push_back((job, result));
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
                self.send_with_batch(datagram);
            }
            Output::Job(job) => {
                if self.watcher.is_armed(clock::now(), self.sessions.parties()) {
                    self.watcher.job(clock::now(), &mut self.endpoint, &job);
                }
                self.job(job);
            }
            Output::Child(command) => self.link.change(command),
            Output::ReleaseAddress { session, lease } => {
                let now = self.desk.wall();
                if self.table.lease_returned(session.0, now) {
                    return;
                }
                if !self.services.pools.release(session.0) {
                    bump(&mut self.counts.lease_errors);
                    tracing::debug!(session = session.0, ?lease, "a lease could not be given back");
                }
            }
            Output::EapAbandoned { session } => {
                self.services.conversations.abandon(session.0);
                self.services.anyconnect.abandon(session.0);
            }
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
            JobKind::PskLookup { identity } => match self.psk(id, session, &identity) {
                Some(result) => result,
                None => return,
            },
            JobKind::FindTicket { ticket } => match self.find_ticket(id, session, &ticket) {
                Some(result) => result,
                None => return,
            },
            JobKind::MakeTicket(state) => match self.make_ticket(id, session, &state) {
                Some(result) => result,
                None => return,
            },
            JobKind::Eap(step) => match self.eap(id, session, step) {
                Some(outcome) => JobResult::Eap(outcome),
                None => return,
            },
            JobKind::Address(request) => match self.address(id, session, request) {
                Some(lease) => JobResult::Address(lease),
                None => return,
            },
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
            Outcome::Renewed { inbound_spi } => {
                self.handle(Input::Operator(Operator::RekeyChild { inbound_spi }));
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

    fn note_for_reconnect(&mut self, event: &Event) {
        match event {
            Event::SessionUp(facts) => {
                self.logins.remove(&facts.session.0);
                self.table.up(facts.session.0, (facts.peer, facts.peer_port));
                self.account_up(facts);
                self.make_reconnectable(facts.session.0);
                self.begin_idle_watch(facts.session.0);
                self.begin_keeping(facts.session.0);
            }
            Event::SessionDown { session, reason } => {
                self.counts.ended.count(*reason);
                self.limits.down(session.0);
                let totals = self.sessions.totals(session.0);
                let now = self.desk.wall();
                let durable = self.table.of_session(session.0).map(|(record, _)| record.id);
                self.table.down(session.0, ending(*reason), now, totals);
                self.account_down(session.0, *reason, totals, durable);
                self.end_keeping(session.0);
            }
            Event::HandshakeFailed { session, peer, counter, .. } => {
                self.logins.remove(&session.0);
                self.limits.down(session.0);
                self.end_keeping(session.0);
                self.account_never_up(session.0);
                self.handshake_failed(session.0, *peer, *counter);
                let authentication = *counter == IkeCounter::AuthFailed;
                let now = self.both_clocks();
                self.table.handshake_failed(session.0, authentication, now);
            }
            Event::PeerConfirmed { session } => self.table.first_message(session.0),
            Event::IkeRekeyed { session, .. } => self.table.ike_rekeyed(session.0),
            Event::TokenReplayed { session, .. } => self.table.burnt(session.0),
            Event::PeerMoved { session, peer, peer_port } => {
                self.table.moved(session.0, (*peer, *peer_port));
            }
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) {
        if let Event::SessionDown { .. } = event {
            // Its record still has the totals.
            self.note_for_reconnect(event);
        }
        let link = &self.link;
        self.sessions.note(event, |spi| link.traffic(spi));
        if !matches!(event, Event::SessionDown { .. }) {
            self.note_for_reconnect(event);
        }
        match event {
            Event::SessionUp(facts) if self.is_restoring() => {
                tracing::info!(session = facts.session.0, user = %facts.user, "session goes on");
            }
            Event::ChildUp(_) if self.is_restoring() => {}
            Event::SessionUp(facts) => {
                let set_up_ms = facts.established_at.millis_since(facts.started_at);
                tracing::info!(
                    session = facts.session.0,
                    user = %facts.user,
                    method = %facts.auth_method,
                    suite = %facts.ike_suite,
                    nat = facts.nat_detected,
                    post_quantum_key = facts.ppk,
                    set_up_ms,
                    "session up"
                );
                let inner = facts.lease.as_ref().map(|lease| lease.inner());
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
            // Told by the session databases, which know whose it was.
            Event::TokenReplayed { .. } => {}
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
