//! What all sessions of an endpoint share, and the ledger of what each one holds.
//!
//! Enters: acquisitions of sessions (SPIs, Child SAs, leases, jobs, half-open places). Leaves: their release, all of it,
//! when a session ends in whatever way: no state has clean-up of its own, so none can forget it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use crate::api::{
    ChildCommand, Datagram, DownReason, Event, Job, JobId, JobKind, Lease, Output, Outputs, SessionId,
    WakeReason,
};
use crate::cisco::CiscoFragments;
use crate::cookie::{CookieJar, CookieSubject};
use crate::counters::{IkeCounter, IkeCounters};
use crate::env::Env;
use crate::error::Fault;
use crate::half_open::HalfOpen;
use crate::policy::EndpointConfig;
use crate::time::Instant;

/// Tries to draw an SPI that is not in use.
const MAX_SPI_TRIES: usize = 16;

/// What handling one input works with.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) env: &'a mut dyn Env,
    pub(crate) out: &'a mut Outputs,
    pub(crate) world: &'a mut World,
}

/// What all sessions share.
pub(crate) struct World {
    pub(crate) config: EndpointConfig,
    pub(crate) counters: IkeCounters,
    pub(crate) cookies: Option<CookieJar>,
    pub(crate) half_open: HalfOpen,
    pub(crate) fragments: CiscoFragments,
    /// Our SPI of each IKE SA.
    pub(crate) ike_spis: HashMap<u64, SessionId>,
    /// Inbound SPI of each Child SA.
    pub(crate) child_spis: HashMap<u32, SessionId>,
    /// IKE_SA_INIT requests that were accepted, to recognise their repetition.
    pub(crate) first_requests: HashMap<FirstRequest, SessionId>,
    /// Sessions that are up, by who is behind them.
    pub(crate) holders: HashMap<Holder, BTreeSet<SessionId>>,
    pub(crate) wakes: BTreeSet<(Instant, SessionId, WakeReason)>,
    /// Sessions that another one has ended; the endpoint ends them after the current input.
    pub(crate) to_end: VecDeque<(SessionId, DownReason)>,
    /// Sessions that are up and may have changed since the driver last asked.
    pub(crate) changed: BTreeSet<SessionId>,
    pub(crate) shutting_down: bool,
    jobs: HashMap<JobId, PendingJob>,
    ledger: HashMap<SessionId, Holdings>,
    next_job: u64,
    next_session: u64,
}

/// What makes an IKE_SA_INIT request the same as one before: the initiator's SPI, its address, and its nonce.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct FirstRequest {
    pub(crate) initiator_spi: u64,
    pub(crate) peer: IpAddr,
    pub(crate) peer_port: u16,
    pub(crate) nonce: Vec<u8>,
}

/// Who a session belongs to, for INITIAL_CONTACT: IDi alone would let strangers with equal private addresses end each
/// other's sessions (many EAP clients call themselves by their address).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Holder {
    pub(crate) identity: crate::ident::Identity,
    pub(crate) user: String,
}

struct PendingJob {
    session: SessionId,
    asks: Asks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Address,
    Install(u32),
    Eap,
    Other,
}

/// Where a Child SA of a session stands with the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ChildHolding {
    /// An SPI, no more.
    Reserved,
    /// An install job runs.
    Installing,
    Installed,
    /// Still installed for packets in flight; the operator was told that it is gone.
    Retired,
}

/// What one session holds.
#[derive(Default)]
struct Holdings {
    ike_spis: BTreeSet<u64>,
    children: BTreeMap<u32, ChildHolding>,
    lease: Option<Lease>,
    half_open_source: Option<IpAddr>,
    first_request: Option<FirstRequest>,
    holder: Option<Holder>,
    eap: bool,
    up: bool,
    wake: Option<(Instant, WakeReason)>,
}

/// What to do with the result of a job.
pub(crate) enum JobAnswer {
    /// Hand it to this session.
    Deliver(SessionId),
    /// Nobody waits for it, and what it acquired is given back.
    Discarded,
}

impl World {
    pub(crate) fn new(config: EndpointConfig) -> World {
        World {
            config,
            counters: IkeCounters::default(),
            cookies: None,
            half_open: HalfOpen::default(),
            fragments: CiscoFragments::default(),
            ike_spis: HashMap::new(),
            child_spis: HashMap::new(),
            first_requests: HashMap::new(),
            holders: HashMap::new(),
            wakes: BTreeSet::new(),
            to_end: VecDeque::new(),
            changed: BTreeSet::new(),
            shutting_down: false,
            jobs: HashMap::new(),
            ledger: HashMap::new(),
            next_job: 0,
            next_session: 0,
        }
    }

    /// How many jobs have not been answered.
    pub(crate) fn pending_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is a session with this number.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.ledger.contains_key(&session)
    }

    /// How many sessions have a page in the ledger.
    pub(crate) fn pages(&self) -> usize {
        self.ledger.len()
    }

    pub(crate) fn set_wake(&mut self, session: SessionId, wake: Option<(Instant, WakeReason)>) {
        let Some(holdings) = self.ledger.get_mut(&session) else { return };
        if holdings.wake == wake {
            return;
        }
        if let Some((at, reason)) = holdings.wake.take() {
            self.wakes.remove(&(at, session, reason));
        }
        if let Some((at, reason)) = wake {
            self.wakes.insert((at, session, reason));
        }
        holdings.wake = wake;
    }
}

impl Cx<'_> {
    pub(crate) fn count(&mut self, counter: IkeCounter) {
        self.world.counters.bump(counter);
    }

    pub(crate) fn transmit(&mut self, datagram: Datagram) {
        self.count(IkeCounter::DatagramsOut);
        self.out.push(Output::Transmit(datagram));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    pub(crate) fn child_command(&mut self, command: ChildCommand) {
        self.out.push(Output::Child(command));
    }

    /// Octets nobody can predict.
    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.env.random(&mut octets);
        octets
    }

    pub(crate) fn verify_cookie(&mut self, subject: &CookieSubject<'_>, cookie: &[u8]) -> bool {
        let jar = self.world.cookies.get_or_insert_with(|| CookieJar::new(self.now, self.env));
        jar.verify(self.now, self.env, subject, cookie)
    }

    pub(crate) fn bake_cookie(&mut self, subject: &CookieSubject<'_>) -> Vec<u8> {
        let jar = self.world.cookies.get_or_insert_with(|| CookieJar::new(self.now, self.env));
        jar.bake(self.now, self.env, subject)
    }

    /// Ends every other session of this holder (RFC 7296 §2.4, INITIAL_CONTACT), after the current input.
    pub(crate) fn end_others(&mut self, session: SessionId, holder: &Holder) {
        let others = self.world.holders.get(holder).into_iter().flatten().filter(|other| **other != session);
        let others: Vec<_> = others.map(|other| (*other, DownReason::ReplacedByInitialContact)).collect();
        self.world.to_end.extend(others);
    }

    /// A session of another process, under its number.
    pub(crate) fn open_session_as(&mut self, session: SessionId) {
        self.world.next_session = self.world.next_session.max(session.0.saturating_add(1));
        self.world.ledger.insert(session, Holdings::default());
    }

    /// A new session, with its page in the ledger.
    pub(crate) fn open_session(&mut self) -> SessionId {
        let session = SessionId(self.world.next_session);
        self.world.next_session = self.world.next_session.saturating_add(1);
        self.world.ledger.insert(session, Holdings::default());
        session
    }

    /// A place among the half-open ones, until [`Cx::leave_half_open`] or the session's end.
    pub(crate) fn enter_half_open(&mut self, session: SessionId, source: IpAddr, request: FirstRequest) {
        self.world.half_open.begun(source);
        self.world.first_requests.insert(request.clone(), session);
        if let Some(holdings) = self.world.ledger.get_mut(&session) {
            holdings.half_open_source = Some(source);
            holdings.first_request = Some(request);
        }
    }

    /// The handshake came to its end, whichever. Returns where it came from if it had not before.
    pub(crate) fn leave_half_open(&mut self, session: SessionId) -> Option<IpAddr> {
        let holdings = self.world.ledger.get_mut(&session)?;
        if let Some(request) = holdings.first_request.take() {
            self.world.first_requests.remove(&request);
        }
        holdings.half_open_source.take().inspect(|source| self.world.half_open.ended(*source))
    }

    /// A new SPI of ours for an IKE SA of this session.
    pub(crate) fn reserve_ike_spi(&mut self, session: SessionId) -> Option<u64> {
        for _ in 0..MAX_SPI_TRIES {
            let spi = u64::from_be_bytes(self.random());
            if spi != 0 && !self.world.ike_spis.contains_key(&spi) {
                self.world.ike_spis.insert(spi, session);
                self.world.ledger.entry(session).or_default().ike_spis.insert(spi);
                return Some(spi);
            }
        }
        None
    }

    pub(crate) fn release_ike_spi(&mut self, session: SessionId, spi: u64) {
        if self.world.ledger.get_mut(&session).is_some_and(|holdings| holdings.ike_spis.remove(&spi)) {
            self.world.ike_spis.remove(&spi);
        }
    }

    /// A new inbound SPI for a Child SA of this session.
    pub(crate) fn reserve_child_spi(&mut self, session: SessionId) -> Option<u32> {
        let spi = self.env.allocate_spi()?;
        self.world.child_spis.insert(spi, session);
        self.world.ledger.entry(session).or_default().children.insert(spi, ChildHolding::Reserved);
        Some(spi)
    }

    /// Gives a Child SA back, in whatever state it is.
    pub(crate) fn release_child(&mut self, session: SessionId, spi: u32) {
        let holdings = self.world.ledger.get_mut(&session);
        let Some(holding) = holdings.and_then(|holdings| holdings.children.remove(&spi)) else { return };
        self.release_child_holding(spi, holding);
    }

    fn release_child_holding(&mut self, spi: u32, holding: ChildHolding) {
        self.world.child_spis.remove(&spi);
        match holding {
            ChildHolding::Reserved => self.env.free_spi(spi),
            // The job's answer finds nobody and is undone then.
            ChildHolding::Installing => {}
            ChildHolding::Installed | ChildHolding::Retired => {
                self.child_command(ChildCommand::Remove { inbound_spi: spi })
            }
        }
    }

    /// Tells the operator that a Child SA is gone, though it stays installed for packets in flight.
    pub(crate) fn retire_child(&mut self, session: SessionId, spi: u32, replaced_by: Option<u32>) {
        let holdings = self.world.ledger.get_mut(&session);
        if let Some(holding) = holdings.and_then(|holdings| holdings.children.get_mut(&spi))
            && *holding == ChildHolding::Installed
        {
            *holding = ChildHolding::Retired;
            self.event(Event::ChildDown { session, inbound_spi: spi, replaced_by });
        }
    }

    /// Notes an EAP conversation with the driver, or its end.
    pub(crate) fn set_eap(&mut self, session: SessionId, under_way: bool) {
        if let Some(holdings) = self.world.ledger.get_mut(&session) {
            holdings.eap = under_way;
        }
    }

    /// Gives the lease back before the session ends.
    pub(crate) fn release_lease(&mut self, session: SessionId) {
        let lease = self.world.ledger.get_mut(&session).and_then(|holdings| holdings.lease.take());
        if let Some(lease) = lease {
            self.out.push(Output::ReleaseAddress { session, lease });
        }
    }

    /// The session is up, and belongs to `holder`.
    pub(crate) fn set_up(&mut self, session: SessionId, holder: Holder) {
        self.world.holders.entry(holder.clone()).or_default().insert(session);
        if let Some(holdings) = self.world.ledger.get_mut(&session) {
            holdings.up = true;
            holdings.holder = Some(holder);
        }
    }

    /// Books what a session of another process brings: it is held already, outside. Of each Child SA: whether the operator
    /// was told that it is gone.
    pub(crate) fn take_over(
        &mut self,
        session: SessionId,
        ike_spis: &[u64],
        child_spis: impl Iterator<Item = (u32, bool)>,
        lease: Option<Lease>,
    ) {
        let holdings = self.world.ledger.entry(session).or_default();
        for spi in ike_spis {
            self.world.ike_spis.insert(*spi, session);
            holdings.ike_spis.insert(*spi);
        }
        holdings.lease = lease;
        for (spi, told_gone) in child_spis {
            self.world.child_spis.insert(spi, session);
            let holding = if told_gone { ChildHolding::Retired } else { ChildHolding::Installed };
            holdings.children.insert(spi, holding);
        }
    }

    /// Issues a job.
    pub(crate) fn job(&mut self, session: SessionId, kind: JobKind) -> JobId {
        let id = JobId(self.world.next_job);
        self.world.next_job = self.world.next_job.saturating_add(1);
        let asks = match &kind {
            JobKind::Address(_) => Asks::Address,
            JobKind::InstallChild(install) => {
                let spi = install.inbound_spi;
                let holdings = self.world.ledger.entry(session).or_default();
                holdings.children.insert(spi, ChildHolding::Installing);
                Asks::Install(spi)
            }
            JobKind::Eap(_) => Asks::Eap,
            JobKind::PublicKey(_)
            | JobKind::PskLookup { .. }
            | JobKind::FindTicket { .. }
            | JobKind::MakeTicket(_) => Asks::Other,
        };
        self.world.jobs.insert(id, PendingJob { session, asks });
        self.out.push(Output::Job(Job { id, session, kind }));
        id
    }

    /// Books the answer of a job: what it acquired goes to its session, or back.
    pub(crate) fn job_done(&mut self, id: JobId, result: &crate::api::JobResult) -> JobAnswer {
        use crate::api::JobResult;
        let Some(PendingJob { session, asks }) = self.world.jobs.remove(&id) else {
            return JobAnswer::Discarded;
        };
        let holdings = self.world.ledger.get_mut(&session);
        let alive = holdings.is_some();
        match (asks, result) {
            (Asks::Address, JobResult::Address(Ok(lease))) => match holdings {
                Some(holdings) if holdings.lease.is_none() => holdings.lease = Some(lease.clone()),
                _ => self.out.push(Output::ReleaseAddress { session, lease: lease.clone() }),
            },
            (Asks::Install(spi), JobResult::Installed(Ok(()))) => {
                match holdings.and_then(|holdings| holdings.children.get_mut(&spi)) {
                    Some(holding) => *holding = ChildHolding::Installed,
                    None => self.child_command(ChildCommand::Remove { inbound_spi: spi }),
                }
            }
            (Asks::Eap, JobResult::Eap(crate::api::EapOutcome::Request { .. })) if !alive => {
                self.out.push(Output::EapAbandoned { session });
            }
            // Not installed, and the driver gives the SPI back itself.
            (Asks::Install(spi), _)
                if holdings.and_then(|holdings| holdings.children.remove(&spi)).is_some() =>
            {
                self.world.child_spis.remove(&spi);
            }
            _ => {}
        }
        if matches!(result, JobResult::Unavailable) || !alive {
            self.count(IkeCounter::JobsFailed);
        }
        if alive { JobAnswer::Deliver(session) } else { JobAnswer::Discarded }
    }

    /// Gives back what the session holds except its IKE SPIs: Child SAs, lease, half-open place, EAP conversation.
    pub(crate) fn release_resources(&mut self, session: SessionId, reason: DownReason) {
        let unfinished = self.leave_half_open(session);
        let Some(holdings) = self.world.ledger.get_mut(&session) else { return };
        let children = std::mem::take(&mut holdings.children);
        let was_up = std::mem::take(&mut holdings.up);
        let eap = std::mem::take(&mut holdings.eap);
        let holder = holdings.holder.take();
        if let Some(holder) = holder
            && let Some(sessions) = self.world.holders.get_mut(&holder)
        {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.world.holders.remove(&holder);
            }
        }
        for (spi, holding) in children {
            self.release_child_holding(spi, holding);
            if was_up && holding == ChildHolding::Installed {
                self.event(Event::ChildDown { session, inbound_spi: spi, replaced_by: None });
            }
        }
        self.release_lease(session);
        if eap {
            self.out.push(Output::EapAbandoned { session });
        }
        // It was ended from outside, not by what came of it: whoever keeps accounts of handshakes is told all the same.
        if let Some(peer) = unfinished.filter(|_| reason != DownReason::Shutdown) {
            self.count(IkeCounter::HandshakesAbandoned);
            let fault = if reason == DownReason::Internal { Fault::Bug } else { Fault::LocalPolicy };
            let (reason, counter) = (reason.name().to_owned(), IkeCounter::HandshakesAbandoned);
            self.event(Event::HandshakeFailed { session, peer, identity: None, fault, reason, counter });
        }
        if was_up {
            self.event(Event::SessionDown { session, reason });
        }
    }

    /// Ends the session's page in the ledger: everything it still holds is given back.
    pub(crate) fn close_session(&mut self, session: SessionId, reason: DownReason) {
        self.release_resources(session, reason);
        self.world.set_wake(session, None);
        self.world.changed.remove(&session);
        if let Some(holdings) = self.world.ledger.remove(&session) {
            for spi in holdings.ike_spis {
                self.world.ike_spis.remove(&spi);
            }
        }
    }
}
