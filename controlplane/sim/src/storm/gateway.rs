//! The gateway of the storm: the real endpoint, reconnect table, pools and store, and between them what the driver does.
//!
//! Enters: inputs of the endpoint, work whose time has come. Leaves: datagrams, and work that takes time. The store is
//! read and changed when a request's turn comes, not when it is made, so that two attempts at one session can overtake
//! each other as they can before the real store.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use causeway_controlplane::pool::AddressPools;
use causeway_controlplane::reconnect::attributes::Attribute;
use causeway_controlplane::reconnect::{self, Incoming, NotWon, Now, Proof, Resumption, Table, Write};
use causeway_controlplane::slots::Slots;
use causeway_controlplane::store::memory::MemoryStore;
use causeway_controlplane::store::{Changed, Claim, Claimed, DurableId, SessionStore, Totals, WallSecs};
use causeway_ike::Endpoint;
use causeway_ike::api::{
    AddressFailure, AddressRequest, ChildCommand, ChildInstall, Datagram, Event, Input, InstallFailure, Job,
    JobId, JobKind, JobResult, Lease, Liveness, Operator, Output, Outputs, PskAnswer, SelectorPolicy,
    SessionId,
};
use causeway_ike::counters::IkeCounter;
use causeway_ike::env::Env;
use causeway_ike::ident::Identity;
use causeway_ike::job::{Keyring, PublicKeyJob};
use causeway_ike::policy::EndpointConfig;
use causeway_ike::time::Instant;

use crate::plane::addresses;
use crate::rng::Rng;

/// The wall clock at the restart; certificates and sessions are held against it.
pub const START: WallSecs = WallSecs(1_800_000_000);

/// What the storm must let happen.
pub enum Effect {
    /// Send this.
    Transmit(Datagram),
    /// Let this take its time, then call [`Gateway::work`].
    Later(Work),
}

/// Work that takes time.
pub enum Work {
    /// Public-key work.
    PublicKey(JobId, Box<PublicKeyJob>),
    /// Work that was refused.
    Unavailable(JobId),
    /// The store is asked about a session.
    Fetch(JobId, SessionId, DurableId),
    /// The store is asked about a session again, after a claim that was lost.
    FetchAgain(JobId, SessionId, DurableId, Vec<Attribute>),
    /// The store is asked for a session.
    Claim(JobId, SessionId, Box<Claim>, Vec<Attribute>),
    /// The store is told.
    Write(Write),
    /// The data plane installs a Child SA.
    Install(JobId, Box<ChildInstall>),
    /// The data plane changes one.
    Command(ChildCommand),
}

impl Work {
    /// The same, refused.
    pub fn unavailable(self) -> Work {
        match self {
            Work::PublicKey(job, _) => Work::Unavailable(job),
            other => other,
        }
    }
}

/// What a gateway is made of.
pub struct Parts {
    /// For the endpoint.
    pub endpoint: EndpointConfig,
    /// For signatures.
    pub keyring: Keyring,
    /// Restored sessions.
    pub table: Table,
    /// Their addresses.
    pub pools: AddressPools,
    /// Their records.
    pub store: MemoryStore,
    /// SA slots.
    pub slots: Slots,
    /// Chance.
    pub rng: Rng,
}

/// The gateway.
pub struct Gateway {
    endpoint: Endpoint,
    keyring: Keyring,
    out: Outputs,
    inputs: VecDeque<Input>,
    /// The reconnect table.
    pub table: Table,
    /// The address pools.
    pub pools: AddressPools,
    /// The store.
    pub store: MemoryStore,
    slots: Slots,
    rng: Rng,
    jobs: HashSet<JobId>,
    /// IKE sessions that are up, by their initiator's and responder's SPI.
    pub sessions: HashMap<(u64, u64), SessionId>,
    spis: HashMap<SessionId, (u64, u64)>,
    /// Child SAs installed, by inbound SPI.
    pub children: HashMap<u32, Box<ChildInstall>>,
    /// Where the datagram that is being handled came from.
    source: IpAddr,
    /// Changes of the store that came too late to matter.
    pub overtaken: u64,
    /// Sessions resumed, as events tell it.
    pub resumed: u64,
    /// Those of them that were still active.
    pub taken_over: u64,
}

impl Gateway {
    /// A gateway after its restart.
    pub fn new(parts: Parts) -> Gateway {
        Gateway {
            endpoint: Endpoint::new(parts.endpoint),
            keyring: parts.keyring,
            out: Outputs::new(),
            inputs: VecDeque::new(),
            table: parts.table,
            pools: parts.pools,
            store: parts.store,
            slots: parts.slots,
            rng: parts.rng,
            jobs: HashSet::new(),
            sessions: HashMap::new(),
            spis: HashMap::new(),
            children: HashMap::new(),
            source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            overtaken: 0,
            resumed: 0,
            taken_over: 0,
        }
    }

    /// Hands the endpoint an input and performs what can be performed at once.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Result<Vec<Effect>, String> {
        if let Input::Datagram(datagram) = &input {
            self.source = datagram.peer;
        }
        let mut effects = vec![];
        self.give(now_ms, input)?;
        self.pump(now_ms, &mut effects)?;
        Ok(effects)
    }

    /// Does work whose time has come.
    pub fn work(&mut self, now_ms: u64, work: Work) -> Result<Vec<Effect>, String> {
        let wall = wall(now_ms);
        let mut effects = vec![];
        let answer = match work {
            Work::Unavailable(job) => Some((job, JobResult::Unavailable)),
            Work::PublicKey(job, work) => {
                Some((job, JobResult::PublicKey(work.run(&self.keyring, wall.0, &mut self.rng))))
            }
            Work::Fetch(job, session, id) => Some((job, JobResult::Psk(self.offer(now_ms, session, id)))),
            Work::Claim(job, session, claim, requested) => {
                let outcome = self.changed(now_ms, |store| store.claim(&claim))?;
                let lease = self.claimed(now_ms, job, session, requested, outcome, &mut effects)?;
                lease.map(|lease| (job, JobResult::Address(lease)))
            }
            Work::FetchAgain(job, session, id, requested) => {
                let found = self.store.get(&id);
                let rng = &mut self.rng;
                let mut fill = |buffer: &mut [u8]| rng.draw(buffer);
                match self.table.fetched_again(session.0, found, &requested, wall, &mut fill) {
                    Ok(claim) => {
                        effects.push(Effect::Later(Work::Claim(job, session, Box::new(claim), requested)));
                        None
                    }
                    Err(_) => Some((job, JobResult::Address(Err(AddressFailure::Refused)))),
                }
            }
            Work::Write(write) => {
                self.write(now_ms, write)?;
                None
            }
            Work::Install(job, install) => Some((job, JobResult::Installed(self.install(install)?))),
            Work::Command(command) => {
                self.command(now_ms, command)?;
                None
            }
        };
        if let Some((job, result)) = answer {
            self.give(now_ms, Input::JobDone { job, result })?;
        }
        self.pump(now_ms, &mut effects)?;
        Ok(effects)
    }

    /// When the endpoint wants [`Input::Timer`].
    pub fn next_wakeup_ms(&self) -> Option<u64> {
        self.endpoint.next_wakeup().map(|(at, _)| at.as_millis())
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Jobs without answer.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Inbound SPIs in use, installed or not.
    pub fn spis_in_use(&self) -> u32 {
        self.slots.used()
    }

    fn give(&mut self, now_ms: u64, input: Input) -> Result<(), String> {
        if let Input::JobDone { job, .. } = &input
            && !self.jobs.remove(job)
        {
            return Err(format!("{job:?} was answered twice"));
        }
        let mut env = StormEnv { slots: &mut self.slots, rng: &mut self.rng, now_ms };
        self.endpoint.handle(Instant::from_millis(now_ms), input, &mut env, &mut self.out);
        Ok(())
    }

    fn pump(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> Result<(), String> {
        loop {
            while let Some(output) = self.out.pop() {
                self.perform(now_ms, output, effects)?;
            }
            while let Some(effect) = self.table.pop() {
                self.settle(effect, effects)?;
            }
            let Some(input) = self.inputs.pop_front() else { return Ok(()) };
            self.give(now_ms, input)?;
        }
    }

    fn perform(&mut self, now_ms: u64, output: Output, effects: &mut Vec<Effect>) -> Result<(), String> {
        match output {
            Output::Transmit(datagram) => effects.push(Effect::Transmit(datagram)),
            Output::Child(command) => effects.push(Effect::Later(Work::Command(command))),
            Output::Job(job) => self.begin(now_ms, job, effects)?,
            Output::ReleaseAddress { session, lease } => {
                if !self.table.lease_returned(session.0, wall(now_ms)) {
                    let released = self.pools.release(session.0);
                    released.then_some(()).ok_or(format!("{session:?} released {lease:?} twice"))?;
                }
            }
            Output::EapAbandoned { session } => return Err(format!("{session:?} spoke EAP")),
            Output::Event(event) => self.event(now_ms, &event)?,
        }
        Ok(())
    }

    fn begin(&mut self, now_ms: u64, job: Job, effects: &mut Vec<Effect>) -> Result<(), String> {
        let Job { id: job, session, kind } = job;
        if !self.jobs.insert(job) {
            return Err(format!("{job:?} was used twice"));
        }
        let work = match kind {
            JobKind::PublicKey(work) => Work::PublicKey(job, work),
            JobKind::InstallChild(install) => Work::Install(job, install),
            JobKind::Eap(_) => return Err(format!("{session:?} speaks EAP")),
            JobKind::FindTicket { .. } | JobKind::MakeTicket(_) => {
                return Err(format!("{session:?} is about tickets"));
            }
            JobKind::PskLookup { identity } => match self.incoming(now_ms, session, &identity) {
                Incoming::Fetch(id) => Work::Fetch(job, session, id),
                Incoming::NotAnId => return Err(format!("{identity} is no session id")),
            },
            JobKind::Address(request) => match self.prove(now_ms, session, request) {
                Ok((claim, requested)) => Work::Claim(job, session, Box::new(claim), requested),
                Err(failure) => {
                    let result = JobResult::Address(Err(failure));
                    self.inputs.push_back(Input::JobDone { job, result });
                    return Ok(());
                }
            },
        };
        effects.push(Effect::Later(work));
        Ok(())
    }

    fn incoming(&mut self, now_ms: u64, session: SessionId, identity: &Identity) -> Incoming {
        let mut octets = vec![];
        identity.emit(&mut octets);
        self.table.incoming(session.0, self.source, &octets, both_clocks(now_ms))
    }

    fn offer(&mut self, now_ms: u64, session: SessionId, id: DurableId) -> Option<PskAnswer> {
        let found = self.store.get(&id);
        let user = found.as_ref().ok().and_then(|found| Some(found.as_ref()?.0.user.clone()));
        let offer = self.table.fetched(session.0, found, wall(now_ms))?;
        Some(offer.answer(user, session.0))
    }

    fn prove(
        &mut self,
        now_ms: u64,
        session: SessionId,
        request: AddressRequest,
    ) -> Result<(Claim, Vec<Attribute>), AddressFailure> {
        let resume = request.resume.ok_or(AddressFailure::NotAllowed)?;
        let proof = if resume.previous_key { Proof::Previous } else { Proof::Current };
        let rng = &mut self.rng;
        let mut fill = |buffer: &mut [u8]| rng.draw(buffer);
        let claim = self.table.proven(session.0, proof, &request.attributes, wall(now_ms), &mut fill);
        Ok((claim.map_err(|_| AddressFailure::Refused)?, request.attributes))
    }

    /// `None` if the answer comes later.
    fn claimed(
        &mut self,
        now_ms: u64,
        job: JobId,
        session: SessionId,
        requested: Vec<Attribute>,
        outcome: Claimed,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Result<Lease, AddressFailure>>, String> {
        let resumption = self.table.claimed(session.0, Ok(outcome));
        // A predecessor goes before its successor comes.
        self.pump(now_ms, effects)?;
        Ok(match resumption {
            Ok(resumption) => Some(self.resumed(session, &requested, &resumption)),
            Err(NotWon::Refused(_)) => Some(Err(AddressFailure::Refused)),
            Err(NotWon::Again(id)) => {
                effects.push(Effect::Later(Work::FetchAgain(job, session, id, requested)));
                None
            }
        })
    }

    fn resumed(
        &mut self,
        session: SessionId,
        requested: &[Attribute],
        resumption: &Resumption,
    ) -> Result<Lease, AddressFailure> {
        let Some(grant) = resumption.owner.and_then(|owner| self.pools.grant_of(owner)) else {
            self.table.address_gone(session.0);
            return Err(AddressFailure::Exhausted);
        };
        let id = resumption.record.id;
        let settings = self.table.settings();
        let told = resumption.tokens.as_ref().map(|tokens| settings.reply(id, &tokens.current, requested));
        Ok(Lease {
            address: grant.address,
            netmask: Some(grant.netmask),
            address6: grant.address6,
            dns: grant.dns,
            subnets: vec![],
            selectors: SelectorPolicy::Subnets,
            lifetime_secs: None,
            pool: grant.pool,
            attributes: told.unwrap_or_default(),
        })
    }

    fn settle(&mut self, effect: reconnect::Effect, effects: &mut Vec<Effect>) -> Result<(), String> {
        match effect {
            reconnect::Effect::Write(write) => effects.push(Effect::Later(Work::Write(write))),
            reconnect::Effect::ReleaseLease { owner } => {
                let released = self.pools.release(owner);
                released.then_some(()).ok_or(format!("{owner} holds no lease"))?;
            }
            reconnect::Effect::Event(reconnect::Event::Resumed { taken_over, .. }) => {
                self.resumed += 1;
                self.taken_over += u64::from(taken_over);
            }
            other => self.inputs.extend(other.order().map(Input::Operator)),
        }
        Ok(())
    }

    fn write(&mut self, now_ms: u64, write: Write) -> Result<(), String> {
        let changed = self.changed(now_ms, |store| write.apply(store))?;
        if changed != Changed::Done {
            self.overtaken += 1;
        }
        Ok(())
    }

    fn changed<T>(
        &mut self,
        now_ms: u64,
        change: impl FnOnce(&mut MemoryStore) -> Result<T, causeway_controlplane::store::StoreError>,
    ) -> Result<T, String> {
        let store = &mut self.store;
        let done = store.begin().and_then(|()| change(store));
        let done = done.and_then(|done| store.commit(wall(now_ms)).map(|()| done));
        done.map_err(|error| format!("the store: {error}"))
    }

    fn install(&mut self, install: Box<ChildInstall>) -> Result<Result<(), InstallFailure>, String> {
        let (spi, session) = (install.inbound_spi, install.session);
        // Whoever was overtaken meanwhile may still come here, with the session's own address and no other.
        if let Some((record, _)) = self.table.of_session(session.0)
            && record.inner_v4 != install.peer_inner.v4
        {
            return Err(format!("{session:?} installs {:?}", install.peer_inner));
        }
        if addresses(install.peer_inner).any(|inner| self.pools.owner(inner).is_none()) {
            return Err(format!("{:?} is installed but nobody's", install.peer_inner));
        }
        if self.children.insert(spi, install).is_some() {
            return Err(format!("SPI {spi:08x} was installed twice"));
        }
        Ok(Ok(()))
    }

    fn command(&mut self, now_ms: u64, command: ChildCommand) -> Result<(), String> {
        let spi = match command {
            ChildCommand::SelectOutbound { inbound_spi }
            | ChildCommand::MovePeer { inbound_spi, .. }
            | ChildCommand::Remove { inbound_spi } => inbound_spi,
        };
        if !self.children.contains_key(&spi) {
            return Err(format!("SPI {spi:08x} is not installed"));
        }
        if matches!(command, ChildCommand::Remove { .. }) {
            self.children.remove(&spi);
            if !self.slots.release(Duration::from_millis(now_ms), spi) {
                return Err(format!("SPI {spi:08x} was given back but not in use"));
            }
        }
        Ok(())
    }

    fn event(&mut self, now_ms: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::SessionUp(facts) => {
                let spis = (facts.spis.initiator, facts.spis.responder);
                if self.sessions.insert(spis, facts.session).is_some() {
                    return Err(format!("{:?} came up twice", facts.session));
                }
                self.spis.insert(facts.session, spis);
                self.table.up(facts.session.0, (facts.peer, facts.peer_port));
                let settings = self.table.settings();
                let liveness =
                    Liveness::OnDemand { interval_secs: settings.dpd_interval_secs, retry_secs: 2, tries: 5 };
                let session = facts.session;
                self.inputs.push_back(Input::Operator(Operator::SetLiveness { session, liveness }));
            }
            Event::SessionDown { session, reason } => {
                let spis = self.spis.remove(session).ok_or(format!("{session:?} was not up"))?;
                self.sessions.remove(&spis);
                self.table.down(session.0, reconnect::ending(*reason), wall(now_ms), Totals::default());
            }
            Event::HandshakeFailed { session, counter, .. } => {
                let authentication = *counter == IkeCounter::AuthFailed;
                self.table.handshake_failed(session.0, authentication, both_clocks(now_ms));
            }
            Event::PeerConfirmed { session } => self.table.first_message(session.0),
            Event::TokenReplayed { session, .. } => self.table.burnt(session.0),
            _ => {}
        }
        Ok(())
    }
}

fn wall(now_ms: u64) -> WallSecs {
    START.after(now_ms / 1000)
}

fn both_clocks(now_ms: u64) -> Now {
    Now { monotonic: Duration::from_millis(now_ms), wall: wall(now_ms) }
}

/// What the endpoint asks while it handles an input. Nobody sends ESP in the storm.
struct StormEnv<'a> {
    slots: &'a mut Slots,
    rng: &'a mut Rng,
    now_ms: u64,
}

impl Env for StormEnv<'_> {
    fn random(&mut self, buffer: &mut [u8]) {
        self.rng.draw(buffer);
    }

    fn allocate_spi(&mut self) -> Option<u32> {
        let random = self.rng.bits() as u32;
        self.slots.allocate(Duration::from_millis(self.now_ms), random).ok()
    }

    fn free_spi(&mut self, inbound_spi: u32) {
        self.slots.release(Duration::from_millis(self.now_ms), inbound_spi);
    }

    fn last_inbound(&mut self, _: u32) -> Option<Instant> {
        None
    }
}
