//! A gateway in a box: the endpoint, a driver that performs its outputs at once (or when the test says), and fakes for
//! AAA, pool and data plane that notice every broken promise.
//!
//! Long because every test stands on this one fake world, and its parts know one another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};

use crate::api::*;
use crate::cert::{Credential, TrustStore};
use crate::counters::IkeCounter;
use crate::crypto::Random;
use crate::env::Env;
use crate::ident::Identity;
use crate::job::Keyring;
use crate::policy::*;
use crate::suite::{EspPolicy, Group};
use crate::testing::*;
use crate::time::Instant;
use crate::{Endpoint, Held};

pub(super) const IKE: &str = "aes256gcm16-prfsha384-ecp256";
pub(super) const ESP: &str = "aes256gcm16";
pub(super) const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// 2030-01-01.
pub(super) const UNIX_NOW: u64 = 1_893_456_000;
pub(super) const PSK: &[u8] = b"a shared secret";
pub(super) const PASSWORD: &[u8] = b"correct horse";
/// The driver's number of every session that has a ticket, and how long those last.
pub(super) const TICKET_TAG: u64 = 5723;
pub(super) const TICKET_SECS: u32 = 3600;
const MSK: [u8; 64] = [0x5a; 64];

/// SPIs that are taken, and the data plane's clock readings.
pub(super) struct FakeEnv {
    random: Seeded,
    next_spi: u32,
    pub(super) spis: BTreeSet<u32>,
    pub(super) spi_capacity: usize,
    pub(super) last_inbound: BTreeMap<u32, Instant>,
    /// The next question for an SPI panics.
    pub(super) panics: bool,
}

impl Env for FakeEnv {
    fn random(&mut self, buffer: &mut [u8]) {
        self.random.fill(buffer).unwrap();
    }

    fn allocate_spi(&mut self) -> Option<u32> {
        assert!(!self.panics, "as the test wants it");
        if self.spis.len() >= self.spi_capacity {
            return None;
        }
        self.next_spi += 1;
        self.spis.insert(self.next_spi);
        Some(self.next_spi)
    }

    fn free_spi(&mut self, inbound_spi: u32) {
        assert!(self.spis.remove(&inbound_spi), "an SPI is freed twice");
    }

    fn last_inbound(&mut self, inbound_spi: u32) -> Option<Instant> {
        self.last_inbound.get(&inbound_spi).copied()
    }
}

/// A gateway.
pub(super) struct Gateway {
    config: EndpointConfig,
    pub(super) endpoint: Endpoint,
    pub(super) env: FakeEnv,
    pub(super) now: Instant,
    keyring: Keyring,
    pub(super) psks: BTreeMap<String, Vec<u8>>,
    /// Sessions to be resumed, by their id.
    pub(super) resumable: BTreeMap<Vec<u8>, PskAnswer>,
    /// Tickets that may be used, each once, and what they are for.
    pub(super) tickets: BTreeMap<Vec<u8>, TicketState>,
    /// Whether clients get tickets.
    pub(super) makes_tickets: bool,
    /// More attributes of a lease.
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
    pub(super) address_requests: Vec<AddressRequest>,
    pub(super) eap_starts: Vec<EapStep>,
    pub(super) eap_makes_no_key: bool,
    /// The type of the made-up method.
    pub(super) eap_type: u8,
    pub(super) pool: BTreeSet<Ipv4Addr>,
    /// Empty unless a test fills it.
    pub(super) pool6: BTreeSet<Ipv6Addr>,
    /// Length of what a client gets of it.
    pub(super) client_prefix6: u8,
    pub(super) leased: BTreeMap<IpAddr, SessionId>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) selectors: SelectorPolicy,
    pub(super) lifetime_secs: Option<u32>,
    pub(super) installed: BTreeMap<u32, ChildInstall>,
    /// Which SA packets to an inner address leave by.
    pub(super) selected: BTreeMap<IpAddr, u32>,
    pub(super) paths: BTreeMap<u32, EspPath>,
    pub(super) events: Vec<Event>,
    pub(super) outbox: VecDeque<Datagram>,
    /// Jobs that this names are not done at once but kept.
    pub(super) hold: fn(&JobKind) -> bool,
    pub(super) held_jobs: VecDeque<Job>,
    eap: BTreeSet<SessionId>,
}

/// One test authority.
pub(super) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Pki {
    pub(super) fn new() -> Pki {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Pki { issuer: Issuer::new(params, key), ca_pem }
    }

    pub(super) fn trust(&self) -> TrustStore {
        TrustStore::from_pem(self.ca_pem.as_bytes()).unwrap()
    }

    pub(super) fn issue(&self, name: &str, last_year: i32) -> Credential {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = name.try_into().unwrap();
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credential::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

pub(super) fn config() -> EndpointConfig {
    EndpointConfig {
        identity: Identity::Fqdn("vpn.example".to_owned()),
        certificate_request: None,
        methods: Methods { eap: true, anyconnect_eap: true, certificate: true, psk: true, resume: false },
        idr_mismatch: IdrMismatch::AnswerOwn,
        ike_proposals: vec![IKE.parse().unwrap(), "aes256-sha256-curve25519".parse().unwrap()],
        esp: EspPolicy {
            suites: vec![ESP.parse().unwrap(), "aes128-sha256".parse().unwrap()],
            prefer_esn: false,
            groups: Group::ALL.to_vec(),
            require_pfs: false,
        },
        allow_without_address: false,
        lifetimes: Lifetimes { ike_rekey_secs: 0, child_rekey_secs: 0, ..Lifetimes::default() },
        timing: Timing { dpd_interval_secs: 0, ..Timing::default() },
        limits: Limits::default(),
        fragment_size: 1280,
        cisco: CiscoPolicy::default(),
        extensions: ExtensionPolicy::default(),
        ppk: crate::ppk::PpkPolicy::default(),
    }
}

impl Gateway {
    pub(super) fn new(pki: &Pki, seed: u64, change: impl FnOnce(&mut EndpointConfig)) -> Gateway {
        let credential = pki.issue("vpn.example", 2040);
        let mut config = config();
        config.certificate_request = Some(pki.trust().cert_req());
        change(&mut config);
        let keyring = Keyring { credential: Some(credential), client_authorities: Some(pki.trust()) };
        Gateway {
            endpoint: Endpoint::new(config.clone()),
            config,
            env: FakeEnv {
                random: Seeded(seed),
                next_spi: 0x1000,
                spis: BTreeSet::new(),
                spi_capacity: 1000,
                last_inbound: BTreeMap::new(),
                panics: false,
            },
            now: Instant::from_millis(1_000_000),
            keyring,
            psks: BTreeMap::from([("client.example".to_owned(), PSK.to_vec())]),
            resumable: BTreeMap::new(),
            tickets: BTreeMap::new(),
            makes_tickets: true,
            attributes: Vec::new(),
            address_requests: Vec::new(),
            eap_starts: Vec::new(),
            eap_makes_no_key: false,
            eap_type: 99,
            pool: (1..=50).map(|last| Ipv4Addr::new(10, 9, 0, last)).collect(),
            pool6: BTreeSet::new(),
            client_prefix6: 128,
            leased: BTreeMap::new(),
            subnets: vec![Subnet { address: Ipv4Addr::new(10, 1, 0, 0).into(), prefix_len: 16 }],
            selectors: SelectorPolicy::Subnets,
            lifetime_secs: None,
            installed: BTreeMap::new(),
            selected: BTreeMap::new(),
            paths: BTreeMap::new(),
            events: Vec::new(),
            outbox: VecDeque::new(),
            hold: |_| false,
            held_jobs: VecDeque::new(),
            eap: BTreeSet::new(),
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut out = Outputs::new();
        self.endpoint.handle(self.now, input, &mut self.env, &mut out);
        while let Some(output) = out.pop() {
            self.perform(output);
        }
    }

    /// The process dies; what is outside of it stays: data plane, leases, SPIs.
    pub(super) fn restart(&mut self) {
        self.endpoint = Endpoint::new(self.config.clone());
        self.outbox.clear();
        self.events.clear();
        self.held_jobs.clear();
    }

    pub(super) fn snapshot(&self) -> Option<Secret> {
        self.endpoint.snapshot(self.now, self.session())
    }

    /// Takes up a session; its lease becomes the new session's, as a driver books it.
    pub(super) fn restore(
        &mut self,
        snapshot: &[u8],
        elapsed_ms: u64,
    ) -> Result<SessionId, crate::RestoreError> {
        let mut out = Outputs::new();
        let elapsed = std::time::Duration::from_millis(elapsed_ms);
        let session = self.endpoint.restore(self.now, elapsed, snapshot, &mut self.env, &mut out)?;
        while let Some(output) = out.pop() {
            self.perform(output);
        }
        if let Some(lease) = self.facts().lease {
            addresses(lease.inner()).for_each(|address| {
                self.leased.insert(address, session);
            });
        }
        Ok(session)
    }

    /// What a driver does after a panic.
    pub(super) fn recover(&mut self) -> Option<SessionId> {
        let mut out = Outputs::new();
        let session = self.endpoint.recover(self.now, &mut self.env, &mut out);
        while let Some(output) = out.pop() {
            self.perform(output);
        }
        session
    }

    /// Lets time pass, timer by timer.
    pub(super) fn advance(&mut self, millis: u64) {
        let end = self.now.plus_millis(millis);
        while let Some((at, _)) = self.endpoint.next_wakeup().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timer);
        }
        self.now = end;
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Transmit(datagram) => self.outbox.push_back(datagram),
            Output::Job(job) if (self.hold)(&job.kind) => self.held_jobs.push_back(job),
            Output::Job(job) => self.do_job(job),
            Output::Child(ChildCommand::SelectOutbound { inbound_spi }) => {
                let inner = self.installed.get(&inbound_spi).expect("a selected SA is installed").peer_inner;
                addresses(inner).for_each(|address| {
                    self.selected.insert(address, inbound_spi);
                });
            }
            Output::Child(ChildCommand::Remove { inbound_spi }) => {
                let gone = self.installed.remove(&inbound_spi).expect("a removed SA is installed");
                for address in addresses(gone.peer_inner) {
                    if self.selected.get(&address) == Some(&inbound_spi) {
                        self.selected.remove(&address);
                    }
                }
                self.paths.remove(&inbound_spi);
                self.env.free_spi(inbound_spi);
            }
            Output::Child(ChildCommand::MovePeer { inbound_spi, path }) => {
                assert!(self.installed.contains_key(&inbound_spi));
                self.paths.insert(inbound_spi, path);
            }
            Output::ReleaseAddress { session, lease } => {
                for address in addresses(lease.inner()) {
                    assert_eq!(self.leased.remove(&address), Some(session), "a lease is released twice");
                }
                self.pool.extend(lease.address);
                self.pool6.extend(lease.address6.map(|inner| inner.address));
            }
            Output::EapAbandoned { session } => {
                self.eap.remove(&session);
            }
            Output::Event(event) => self.events.push(event),
        }
    }

    /// Does the oldest job that was kept.
    pub(super) fn do_held_job(&mut self) -> bool {
        let Some(job) = self.held_jobs.pop_front() else { return false };
        self.do_job(job);
        true
    }

    /// Answers the oldest job that was kept as a driver that could not do it; says which kind it was.
    pub(super) fn fail_held_job(&mut self) -> Option<String> {
        let Job { id, kind, .. } = self.held_jobs.pop_front()?;
        if let JobKind::InstallChild(install) = &kind {
            self.env.free_spi(install.inbound_spi);
        }
        let name = match &kind {
            JobKind::PublicKey(work) => work.name(),
            JobKind::PskLookup { .. } => "psk",
            JobKind::FindTicket { .. } => "find ticket",
            JobKind::MakeTicket(_) => "make ticket",
            JobKind::Eap(_) => "eap",
            JobKind::Address(_) => "address",
            JobKind::InstallChild(_) => "install",
        };
        self.input(Input::JobDone { job: id, result: JobResult::Unavailable });
        Some(name.to_owned())
    }

    fn do_job(&mut self, job: Job) {
        let Job { id, session, kind } = job;
        let result = match kind {
            JobKind::PublicKey(work) => {
                JobResult::PublicKey(work.run(&self.keyring, UNIX_NOW, &mut self.env.random))
            }
            JobKind::PskLookup { identity } => JobResult::Psk(self.psk_answer(&identity)),
            JobKind::FindTicket { ticket } => JobResult::TicketFound(self.ticket_answer(&ticket)),
            JobKind::MakeTicket(state) => JobResult::TicketMade(self.makes_tickets.then(|| {
                let state = TicketState::decode(state.encode().unwrap().expose()).unwrap();
                let octets =
                    [b"ticket ", &self.now.as_millis().to_be_bytes()[..], &session.0.to_be_bytes()].concat();
                self.tickets.insert(octets.clone(), state);
                Ticket { octets, lifetime_secs: TICKET_SECS }
            })),
            JobKind::Eap(step) => JobResult::Eap(self.eap_step(session, step)),
            JobKind::Address(request) => JobResult::Address(self.lease(session, &request)),
            JobKind::InstallChild(install) => {
                let spi = install.inbound_spi;
                assert!(self.env.spis.contains(&spi) && !self.installed.contains_key(&spi));
                if install.outbound_selected {
                    addresses(install.peer_inner).for_each(|address| {
                        self.selected.insert(address, spi);
                    });
                }
                self.paths.insert(spi, install.path);
                self.installed.insert(spi, *install);
                JobResult::Installed(Ok(()))
            }
        };
        self.input(Input::JobDone { job: id, result });
    }

    fn psk_answer(&self, identity: &Identity) -> Option<PskAnswer> {
        let mut data = Vec::new();
        identity.emit(&mut data);
        let key = self.psks.get(&identity.to_string()).map(|key| PskAnswer {
            key: Secret::new(key.clone()),
            previous_key: None,
            burnt_keys: Vec::new(),
            gateway_auth: GatewayAuth::Psk,
            user: None,
            resume: None,
        });
        self.resumable.get(&data).cloned().or(key)
    }

    /// A made-up method: a request that asks for a name, one that asks for a password, and the verdict.
    fn eap_step(&mut self, session: SessionId, step: EapStep) -> EapOutcome {
        match step {
            EapStep::Start { .. } => {
                self.eap_starts.push(step);
                assert!(self.eap.insert(session));
                EapOutcome::Request { packet: vec![1, 1, 0, 5, 1] }
            }
            EapStep::Response { packet } if packet.get(4) == Some(&1) => {
                EapOutcome::Request { packet: vec![1, 2, 0, 5, self.eap_type] }
            }
            EapStep::Response { packet } => {
                assert!(self.eap.remove(&session));
                if packet.get(5..) == Some(PASSWORD) {
                    EapOutcome::Success {
                        packet: vec![3, 2, 0, 4],
                        user: "alice".to_owned(),
                        method: "eap-test",
                        msk: (!self.eap_makes_no_key).then(|| Secret::new(MSK.to_vec())),
                    }
                } else {
                    EapOutcome::Failure { packet: vec![4, 2, 0, 4], reason: "wrong password".to_owned() }
                }
            }
        }
    }

    fn ticket_answer(&mut self, ticket: &[u8]) -> Option<Box<TicketAnswer>> {
        let state = self.tickets.get(ticket)?.clone();
        Some(Box::new(TicketAnswer { state, resume: Resume { tag: TICKET_TAG, previous_key: false } }))
    }

    fn lease(&mut self, session: SessionId, request: &AddressRequest) -> Result<Lease, AddressFailure> {
        self.address_requests.push(request.clone());
        if request.resume.is_some_and(|resume| resume.tag == TICKET_TAG) {
            // Used.
            self.tickets.clear();
        }
        let address = wished(request.ip4, &mut self.pool);
        let address6 = wished(request.ip6, &mut self.pool6)
            .map(|address| Inner6 { address, prefix_len: self.client_prefix6 });
        let inner = Inner { v4: address, v6: address6 };
        if addresses(inner).next().is_none() {
            return Err(AddressFailure::Exhausted);
        }
        addresses(inner).for_each(|address| {
            self.leased.insert(address, session);
        });
        Ok(Lease {
            address,
            netmask: address.map(|_| Ipv4Addr::new(255, 255, 255, 0)),
            address6,
            dns: vec![Ipv4Addr::new(10, 1, 0, 53).into(), "fd00:1::53".parse().unwrap()],
            subnets: self.subnets.clone(),
            selectors: self.selectors,
            lifetime_secs: self.lifetime_secs,
            pool: "clients".to_owned(),
            attributes: self.attributes.clone(),
        })
    }

    pub(super) fn count(&self, counter: IkeCounter) -> u64 {
        self.endpoint.counters().get(counter)
    }

    /// The one session that came up last.
    pub(super) fn session(&self) -> SessionId {
        self.facts().session
    }

    pub(super) fn facts(&self) -> SessionFacts {
        let up = self.events.iter().rev().find_map(|event| match event {
            Event::SessionUp(facts) => Some((**facts).clone()),
            _ => None,
        });
        up.expect("a session is up")
    }

    /// Nothing of any session is left anywhere.
    pub(super) fn assert_empty(&self) {
        assert_eq!(self.endpoint.held(), Held::default());
        assert!(self.installed.is_empty() && self.selected.is_empty(), "SAs left in the data plane");
        assert!(self.leased.is_empty(), "leases left");
        assert!(self.env.spis.is_empty(), "SPIs left: {:x?}", self.env.spis);
        assert!(self.eap.is_empty(), "EAP conversations left");
    }

    /// Waits out what only answers retransmissions, then nothing may be left.
    pub(super) fn assert_empty_after_farewell(&mut self) {
        assert!(self.leased.is_empty() && self.installed.is_empty(), "held through the farewell");
        assert_eq!(self.endpoint.half_open(), 0);
        self.advance(20_000);
        self.assert_empty();
    }
}

/// One each of the families there are.
pub(super) fn addresses(inner: Inner) -> impl Iterator<Item = IpAddr> {
    let v4 = inner.v4.map(IpAddr::V4);
    v4.into_iter().chain(inner.v6.map(|inner| IpAddr::V6(inner.address)))
}

fn wished<A: Copy + Ord>(wish: Wish<A>, pool: &mut BTreeSet<A>) -> Option<A> {
    let address = match wish {
        Wish::None => None,
        Wish::This(address) if pool.contains(&address) => Some(address),
        Wish::This(_) | Wish::Any => pool.first().copied(),
    }?;
    pool.take(&address)
}

/// The client of the made-up EAP method.
pub(super) struct FakeEapPeer(pub(super) &'static [u8]);

impl EapPeer for FakeEapPeer {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        match request.get(4)? {
            1 => Some([&[2, 1, 0, 10, 1][..], b"alice"].concat()),
            _ => Some([&[2, 2, 0, 18, 99][..], self.0].concat()),
        }
    }

    fn msk(&self) -> Option<Vec<u8>> {
        Some(MSK.to_vec())
    }
}

/// A client on the way to the gateway.
pub(super) struct Client {
    pub(super) initiator: Initiator,
    /// The gateway's address, and its own.
    pub(super) gateway: IpAddr,
    pub(super) address: IpAddr,
    /// How a NAT maps its ports, if there is one.
    pub(super) mapped_port: Option<u16>,
    pub(super) notable: Vec<Notable>,
}

pub(super) fn psk_config() -> InitiatorConfig {
    let identity = Identity::Fqdn("client.example".to_owned());
    InitiatorConfig::new(identity, AuthWith::Psk(PSK.to_vec()), IKE, ESP).unwrap()
}

pub(super) fn eap_config(pki: &Pki, password: &'static [u8]) -> InitiatorConfig {
    InitiatorConfig {
        identity: Identity::Ipv4(Ipv4Addr::new(192, 168, 1, 5)),
        auth: AuthWith::Eap(Box::new(FakeEapPeer(password))),
        trust: Some(pki.trust()),
        unix_secs: UNIX_NOW,
        ..psk_config()
    }
}

pub(super) fn certificate_config(pki: &Pki, credential: Credential) -> InitiatorConfig {
    InitiatorConfig {
        auth: AuthWith::Certificate(Box::new(credential)),
        trust: Some(pki.trust()),
        unix_secs: UNIX_NOW,
        ..psk_config()
    }
}

impl Client {
    pub(super) fn new(config: InitiatorConfig, seed: u64) -> Client {
        let initiator = Initiator::new(config, Box::new(Seeded(seed))).unwrap();
        Client { initiator, gateway: GATEWAY, address: CLIENT, mapped_port: None, notable: Vec::new() }
    }

    pub(super) fn datagram(&self, outgoing: &Outgoing) -> Datagram {
        Datagram {
            local: self.gateway,
            local_port: outgoing.gateway_port,
            peer: self.address,
            peer_port: self.mapped_port.unwrap_or(outgoing.local_port),
            bytes: outgoing.bytes.clone(),
        }
    }

    /// Carries datagrams both ways until both are quiet.
    pub(super) fn exchange(&mut self, gateway: &mut Gateway, first: Vec<Outgoing>) {
        let mut to_gateway: VecDeque<Outgoing> = first.into();
        loop {
            if let Some(outgoing) = to_gateway.pop_front() {
                gateway.input(Input::Datagram(self.datagram(&outgoing)));
            } else if let Some(datagram) = gateway.outbox.pop_front() {
                to_gateway.extend(self.receive(&datagram));
            } else {
                return;
            }
        }
    }

    pub(super) fn receive(&mut self, datagram: &Datagram) -> Vec<Outgoing> {
        let next = self.initiator.receive(&datagram.bytes).expect("the gateway's answer is good");
        self.notable.extend(self.initiator.take_notable());
        next
    }

    /// Logs in; says what happened.
    pub(super) fn login(&mut self, gateway: &mut Gateway) -> Vec<Notable> {
        let first = self.initiator.start().unwrap();
        self.exchange(gateway, first);
        std::mem::take(&mut self.notable)
    }

    /// Does something and carries it through; says what happened.
    pub(super) fn act(
        &mut self,
        gateway: &mut Gateway,
        act: impl FnOnce(&mut Initiator) -> Result<Vec<Outgoing>, TestError>,
    ) -> Vec<Notable> {
        let first = act(&mut self.initiator).unwrap();
        self.exchange(gateway, first);
        std::mem::take(&mut self.notable)
    }

    pub(super) fn child(&self) -> ClientChild {
        self.initiator.children().last().expect("a Child SA").clone()
    }
}

/// Both sides have the same Child SAs with the same keys, and packets to the client leave by one that it has.
pub(super) fn assert_agreement(client: &Client, gateway: &Gateway) {
    assert!(!client.initiator.children().is_empty());
    let installed = gateway.installed.keys().copied().collect();
    assert_eq!(gateway.env.spis, installed, "no SPI is reserved for nothing");
    for child in client.initiator.children() {
        let install = gateway.installed.get(&child.outbound_spi).expect("the gateway has it too");
        assert_eq!(install.outbound_spi, child.inbound_spi);
        assert_eq!(install.inbound_keymat.expose(), child.outbound_keymat);
        assert_eq!(install.outbound_keymat.expose(), child.inbound_keymat);
        assert_eq!((install.suite, install.esn), (child.suite, child.esn));
        assert_ne!(addresses(install.peer_inner).count(), 0);
        for inner in addresses(install.peer_inner) {
            let selected = gateway.selected.get(&inner).expect("an SA is selected");
            assert!(client.initiator.children().iter().any(|child| child.outbound_spi == *selected));
        }
    }
}
