//! The gateway: the real endpoint, the real AAA and address pools, and a driver that takes its time.
//!
//! Enters: inputs of the endpoint. Leaves: what the world must let happen later (datagrams, jobs, commands to the data
//! plane), and a registry of sessions as an operator would have it. What the driver's contract (`causeway_ike::api`)
//! promises is kept here; what it demands is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use causeway_controlplane::aaa::{Asked, Conversations, Directory, EapAnswer, EapLogin, LocalEap};
use causeway_controlplane::pool::{AddressPools, FamilyWish, Wish};
use causeway_eap::{EapType, ServerConfig, ServerRandom};
use causeway_ike::Endpoint;
use causeway_ike::api::{
    AddressFailure, AddressRequest, ChildCommand, ChildInstall, Datagram, EapOutcome, EapStep, Event,
    GatewayAuth, IkeSpis, Inner6, Input, InstallFailure, Job, JobId, JobKind, JobResult, Lease, Output,
    Outputs, PskAnswer, Secret, SelectorPolicy, SessionFacts, SessionId, WakeReason, Wish as Wanted,
};
use causeway_ike::env::Env;
use causeway_ike::job::{Keyring, PublicKeyJob};
use causeway_ike::policy::{EndpointConfig, Subnet};
use causeway_ike::time::Instant;
use causeway_shared::sa::Ipv6Prefix;

use crate::plane::Plane;
use crate::plane::addresses;
use crate::rng::Rng;
use crate::setup::{OWN, OWN6, OWNER};

/// The wall clock that certificates are held against, while it is right; all of a simulation happens within this second.
pub const UNIX_SECS: u64 = 1_800_000_000;

/// What the world must let happen.
pub enum Effect {
    /// Send this.
    Transmit(Datagram),
    /// Let this job take its time, then call [`Gateway::run_public_key`].
    PublicKey(JobId, Box<PublicKeyJob>),
    /// Let this job take its time, then call [`Gateway::run_address`].
    Address(JobId, SessionId, AddressRequest),
    /// Hand this to the data plane, in order.
    Install(JobId, Box<ChildInstall>),
    /// Hand this to the data plane, in order.
    Command(ChildCommand),
    /// The answer of a job that was done at once; its way back may take time.
    Answer(JobId, JobResult),
    /// For the story.
    Event(Event),
}

/// A session as the operator has it.
pub struct Registered {
    /// What was reported when it came up.
    pub facts: SessionFacts,
    /// Its IKE SA now.
    pub spis: IkeSpis,
}

/// The gateway.
pub struct Gateway {
    endpoint: Endpoint,
    /// The data plane's model.
    pub plane: Plane,
    pools: AddressPools,
    conversations: Conversations,
    directory: Arc<Directory>,
    local_eap: LocalEap,
    keyring: Keyring,
    /// What the wall clock says.
    pub unix_secs: u64,
    rng: Rng,
    sessions: BTreeMap<SessionId, Registered>,
    /// Sessions that have given their lease back.
    released: BTreeSet<SessionId>,
    /// Child SAs that were installed after that.
    pub late_installs: u64,
    jobs: BTreeMap<JobId, &'static str>,
    /// Sessions that came up so far.
    pub sessions_up: u64,
    faults: Vec<String>,
    shutdown_complete: bool,
}

/// What a gateway is made of.
pub struct GatewayParts {
    /// For the endpoint.
    pub endpoint: EndpointConfig,
    /// For AAA.
    pub directory: Directory,
    /// For leases.
    pub pools: AddressPools,
    /// For signatures.
    pub keyring: Keyring,
}

/// What is left in a gateway: all 0 when nobody is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remains {
    /// Sessions the operator sees.
    pub sessions: usize,
    /// Addresses leased.
    pub leases: usize,
    /// EAP conversations.
    pub conversations: usize,
    /// Child SAs installed.
    pub children: usize,
    /// Inbound SPIs in use.
    pub spis: usize,
    /// Jobs without answer.
    pub jobs: usize,
}

/// Whether a client's prefix has the address that is its owner's alone.
fn holds_own(inner: Inner6) -> bool {
    Ipv6Prefix::new(inner.address, inner.prefix_len).is_some_and(|prefix| prefix.contains(OWN6))
}

impl Gateway {
    /// A gateway at time 0.
    pub fn new(parts: GatewayParts, rng: Rng) -> Gateway {
        let directory = Arc::new(parts.directory);
        let eap = ServerConfig { name: "gateway".into(), methods: vec![EapType::MSCHAPV2], tls: None };
        Gateway {
            endpoint: Endpoint::new(parts.endpoint),
            plane: Plane::new(),
            pools: parts.pools,
            conversations: Conversations::default(),
            local_eap: LocalEap::new(eap, Arc::clone(&directory)),
            directory,
            keyring: parts.keyring,
            unix_secs: UNIX_SECS,
            rng,
            sessions: BTreeMap::new(),
            released: BTreeSet::new(),
            late_installs: 0,
            jobs: BTreeMap::new(),
            sessions_up: 0,
            faults: vec![],
            shutdown_complete: false,
        }
    }

    /// Hands the endpoint an input and performs what can be performed at once.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        if let Input::JobDone { job, .. } = &input
            && self.jobs.remove(job).is_none()
        {
            self.faults.push(format!("{job:?} was answered twice"));
        }
        let mut out = Outputs::new();
        let mut env = SimEnv { plane: &mut self.plane, rng: &mut self.rng, now_ms };
        self.endpoint.handle(Instant::from_millis(now_ms), input, &mut env, &mut out);
        let mut effects = vec![];
        while let Some(output) = out.pop() {
            self.perform(output, &mut effects);
        }
        effects
    }

    /// When the endpoint wants [`Input::Timer`].
    pub fn next_wakeup(&self) -> Option<(u64, WakeReason)> {
        self.endpoint.next_wakeup().map(|(at, reason)| (at.as_millis(), reason))
    }

    /// Does public-key work.
    pub fn run_public_key(&mut self, job: PublicKeyJob) -> JobResult {
        JobResult::PublicKey(job.run(&self.keyring, self.unix_secs, &mut self.rng))
    }

    /// Leases an address.
    pub fn run_address(&mut self, session: SessionId, request: &AddressRequest) -> JobResult {
        let grant = {
            let own = self.directory.user(&request.user);
            let family4 = FamilyWish {
                wanted: request.ip4 != Wanted::None,
                requested: request.ip4.named(),
                fixed: own.and_then(|user| user.address),
            };
            let family6 = FamilyWish {
                wanted: request.ip6 != Wanted::None,
                requested: request.ip6.named(),
                fixed: own.and_then(|user| user.address6),
            };
            self.pools.lease_for(session.0, &request.user, Wish { v4: family4, v6: family6, pool: None })
        };
        if let Ok(grant) = &grant
            && (grant.address == Some(OWN) || grant.address6.is_some_and(holds_own))
            && request.user != OWNER
        {
            self.faults.push(format!("{} has an address of {OWNER}: {grant:?}", request.user));
        }
        JobResult::Address(match grant {
            Err(_) => Err(AddressFailure::Exhausted),
            Ok(grant) => Ok(Lease {
                address: grant.address,
                netmask: Some(grant.netmask),
                address6: grant.address6,
                dns: grant.dns,
                subnets: grant
                    .subnets
                    .iter()
                    .map(|subnet| Subnet { address: subnet.address(), prefix_len: subnet.length() })
                    .collect(),
                selectors: SelectorPolicy::Subnets,
                lifetime_secs: None,
                pool: grant.pool,
                attributes: Vec::new(),
            }),
        })
    }

    /// Installs a Child SA, or refuses to.
    pub fn run_install(&mut self, now_ms: u64, install: ChildInstall, refuse: bool) -> JobResult {
        let late = self.released.contains(&install.session);
        for inner in addresses(install.peer_inner) {
            let leased = self.pools.owner(inner);
            if leased != Some(install.session.0) && !late {
                self.faults.push(format!("{inner} is installed but leased to {leased:?}"));
            }
        }
        if refuse {
            self.plane.free(now_ms, install.inbound_spi);
            return JobResult::Installed(Err(InstallFailure::Refused));
        }
        if late {
            self.late_installs += 1;
            self.plane.install_late(install);
        } else {
            self.plane.install(install);
        }
        JobResult::Installed(Ok(()))
    }

    /// Sessions that are up.
    pub fn sessions(&self) -> &BTreeMap<SessionId, Registered> {
        &self.sessions
    }

    /// What is held now.
    pub fn remains(&self) -> Remains {
        Remains {
            sessions: self.sessions.len(),
            leases: self.pools.leased(),
            conversations: self.conversations.len(),
            children: self.plane.sas().len(),
            spis: self.plane.spis_in_use() as usize,
            jobs: self.jobs.len(),
        }
    }

    /// Whether [`Input::Shutdown`] was reported done.
    pub fn shutdown_complete(&self) -> bool {
        self.shutdown_complete
    }

    /// The endpoint, for its own figures.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Every broken rule so far, the data plane's included.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.faults.iter().chain(self.plane.faults())
    }

    fn perform(&mut self, output: Output, effects: &mut Vec<Effect>) {
        match output {
            Output::Transmit(datagram) => effects.push(Effect::Transmit(datagram)),
            Output::Child(command) => effects.push(Effect::Command(command)),
            Output::Job(job) => effects.push(self.begin(job)),
            Output::ReleaseAddress { session, lease } => {
                self.released.insert(session);
                if !self.pools.release(session.0) {
                    self.faults.push(format!("{session:?} released what it does not have: {lease:?}"));
                }
            }
            Output::EapAbandoned { session } => self.conversations.abandon(session.0),
            Output::Event(event) => {
                self.register(&event);
                effects.push(Effect::Event(event));
            }
        }
    }

    fn begin(&mut self, Job { id, session, kind }: Job) -> Effect {
        let (name, effect) = match kind {
            JobKind::PublicKey(job) => (job.name(), Effect::PublicKey(id, job)),
            JobKind::PskLookup { identity } => {
                let answer = self.directory.psk(&identity.to_string()).map(|key| PskAnswer {
                    key: Secret::new(key.0.clone()),
                    previous_key: None,
                    burnt_keys: Vec::new(),
                    gateway_auth: GatewayAuth::Psk,
                    user: None,
                    resume: None,
                });
                ("psk", Effect::Answer(id, JobResult::Psk(answer)))
            }
            JobKind::FindTicket { .. } => ("find ticket", Effect::Answer(id, JobResult::TicketFound(None))),
            JobKind::MakeTicket(_) => ("make ticket", Effect::Answer(id, JobResult::TicketMade(None))),
            JobKind::Eap(step) => ("eap", Effect::Answer(id, JobResult::Eap(self.eap(session, step)))),
            JobKind::Address(request) => ("address", Effect::Address(id, session, request)),
            JobKind::InstallChild(install) => ("install", Effect::Install(id, install)),
        };
        if self.jobs.insert(id, name).is_some() {
            self.faults.push(format!("{id:?} was used twice"));
        }
        effect
    }

    fn eap(&mut self, session: SessionId, step: EapStep) -> EapOutcome {
        let answer = match step {
            EapStep::Start { .. } => {
                let random = ServerRandom::draw(|octets| self.rng.draw(octets));
                self.conversations.start(session.0, self.local_eap.open(random))
            }
            EapStep::Response { packet } => match self.conversations.respond(session.0, packet) {
                Asked::Now(answer) => answer,
                Asked::Work(turn, work) => {
                    let Some(answer) = self.conversations.turned(session.0, turn, Some(work())) else {
                        let reason = "an EAP conversation got lost".to_owned();
                        self.faults.push(reason.clone());
                        return EapOutcome::Failure { packet: vec![], reason };
                    };
                    answer
                }
                Asked::Wait(..) => {
                    let reason = "the simulated gateway asks nobody".to_owned();
                    self.faults.push(reason.clone());
                    return EapOutcome::Failure { packet: vec![], reason };
                }
            },
        };
        match answer {
            EapAnswer::Request(packet) => EapOutcome::Request { packet },
            EapAnswer::Success { packet, login: EapLogin { user, method, msk, .. } } => {
                EapOutcome::Success { packet, user, method, msk }
            }
            EapAnswer::Failure { packet, reason } => {
                EapOutcome::Failure { packet, reason: reason.to_string() }
            }
        }
    }

    fn register(&mut self, event: &Event) {
        match event {
            Event::SessionUp(facts) => {
                self.sessions_up += 1;
                let registered = Registered { facts: (**facts).clone(), spis: facts.spis };
                if self.sessions.insert(facts.session, registered).is_some() {
                    self.faults.push(format!("{:?} came up twice", facts.session));
                }
            }
            Event::IkeRekeyed { session, spis, .. } => match self.sessions.get_mut(session) {
                Some(registered) => registered.spis = *spis,
                None => self.faults.push(format!("{session:?} was rekeyed but is not up")),
            },
            Event::SessionDown { session, .. } if self.sessions.remove(session).is_none() => {
                self.faults.push(format!("{session:?} went down but was not up"));
            }
            Event::ShutdownComplete { .. } => self.shutdown_complete = true,
            _ => {}
        }
    }
}

/// What the endpoint asks while it handles an input.
struct SimEnv<'a> {
    plane: &'a mut Plane,
    rng: &'a mut Rng,
    now_ms: u64,
}

impl Env for SimEnv<'_> {
    fn random(&mut self, buffer: &mut [u8]) {
        self.rng.draw(buffer);
    }

    fn allocate_spi(&mut self) -> Option<u32> {
        let random = self.rng.bits() as u32;
        self.plane.allocate(self.now_ms, random)
    }

    fn free_spi(&mut self, inbound_spi: u32) {
        self.plane.free(self.now_ms, inbound_spi);
    }

    fn last_inbound(&mut self, inbound_spi: u32) -> Option<Instant> {
        self.plane.sas().get(&inbound_spi)?.last_inbound_ms.map(Instant::from_millis)
    }
}
