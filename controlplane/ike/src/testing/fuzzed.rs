//! The responder against a client that knows its keys and says what it likes: the body of the fuzz target `session`.
//!
//! Enters: octets that choose messages. Leaves: nothing; it panics when a promise is broken: an answer nobody asked for, an
//! SPI, lease, Child SA or session that is left when all is over. The first octet says whether the client logs in first
//! (even) or begins right after IKE_SA_INIT (odd). Then come messages: an octet that says which (see [`step`]), the type of
//! the first payload, two octets of length, and a payload chain. [`pieces`] is the body of another target.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::Endpoint;
use crate::api::{
    AddressFailure, ChildCommand, Datagram, EapOutcome, EapStep, GatewayAuth, Inner6, Input, Job, JobKind,
    JobResult, Lease, Output, Outputs, PskAnswer, Resume, Secret, SelectorPolicy, Ticket, TicketAnswer,
    TicketState, Wish,
};
use crate::cisco::{CiscoFragments, MAX_CISCO_MESSAGE, Pushed, is_cisco_fragment};
use crate::crypto::Random;
use crate::env::Env;
use crate::ident::Identity;
use crate::job::Keyring;
use crate::policy::{
    CiscoPolicy, EndpointConfig, ExtensionPolicy, IdrMismatch, Lifetimes, Limits, Methods, Timing,
};
use crate::suite::{EspPolicy, Group};
use crate::time::Instant;
use crate::wire::{ExchangeType, Header, Payload, parse_payloads};

use super::{AuthWith, Initiator, InitiatorConfig, Outgoing, Seeded};

const IKE: &str = "aes256gcm16-prfsha384-curve25519";
const ESP: &str = "aes256gcm16";
const KEY: &[u8] = b"a shared secret";
/// Most messages of one input.
const MAX_STEPS: usize = 24;
/// Longer than any session lives once it is to end.
const END_MS: u64 = 3_600_000;
const EXCHANGES: [ExchangeType; 8] = [
    ExchangeType::IkeSaInit,
    ExchangeType::IkeAuth,
    ExchangeType::CreateChildSa,
    ExchangeType::Informational,
    ExchangeType::IkeIntermediate,
    ExchangeType::IkeFollowupKe,
    ExchangeType::IkeSessionResume,
    ExchangeType::Unknown(200),
];

/// Plays one input.
pub fn session(octets: &[u8]) {
    let Some((first, mut rest)) = octets.split_first() else { return };
    let mut gateway = Gateway::new();
    let Some(mut client) = client() else { return };
    let Ok(init) = client.start() else { return };
    let answers = gateway.deliver(&init);
    let Some(auth) = answers.first().and_then(|answer| client.receive(&answer.bytes).ok()) else { return };
    let mut id = 1;
    if first & 1 == 0 {
        for answer in gateway.deliver(&auth) {
            let _ = client.receive(&answer.bytes);
        }
        assert!(client.is_up() && gateway.spis.len() == 1, "the login that precedes the input");
        id = 2;
    }
    for _ in 0..MAX_STEPS {
        let Some(([what, kind, high, low], after)) = rest.split_first_chunk::<4>() else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (chain, after) = after.split_at(length);
        rest = after;
        step(&mut gateway, &mut client, &mut id, *what, *kind, chain);
    }
    gateway.end();
}

/// Cisco's fragments from anybody: a port, a moment, the length of a datagram, the datagram, and so on.
pub fn pieces(octets: &[u8]) {
    let mut fragments = CiscoFragments::default();
    let (mut rest, mut now) = (octets, Instant::from_millis(1_000));
    while let Some(([port, pause, high, low], after)) = rest.split_first_chunk::<4>() {
        let (bytes, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(after.len()));
        rest = after;
        now = now.plus_millis(u64::from(*pause) * 50);
        if !is_cisco_fragment(bytes) {
            continue;
        }
        let datagram = Datagram {
            local: Ipv4Addr::new(192, 0, 2, 1).into(),
            local_port: 500,
            peer: Ipv4Addr::new(198, 51, 100, 7).into(),
            peer_port: u16::from(*port),
            bytes: bytes.to_vec(),
        };
        if let Pushed::Whole(whole) = fragments.push(now, 1, &datagram) {
            assert!(whole.len() <= MAX_CISCO_MESSAGE, "longer than it may be");
        }
    }
}

/// Bits 0 to 2 of `what`: the exchange; 3: an answer instead of a request; 4: the message ID after the expected one;
/// 5: a minute passes first; 6: the message comes twice; 7: a client from elsewhere sends it.
fn step(gateway: &mut Gateway, client: &mut Initiator, id: &mut u32, what: u8, kind: u8, chain: &[u8]) {
    if what & 0x20 != 0 {
        gateway.advance(60_000);
    }
    let payloads: Vec<Payload> = parse_payloads(kind, chain).unwrap_or_default();
    let exchange = EXCHANGES.get(usize::from(what & 7)).copied().unwrap_or(ExchangeType::Informational);
    let (is_response, skips) = (what & 8 != 0, u32::from(what & 0x10 != 0));
    let message_id = if is_response { skips } else { id.saturating_add(skips) };
    let Ok(message) = client.raw_message(exchange, is_response, message_id, payloads) else { return };
    gateway.elsewhere = what & 0x80 != 0;
    for _ in 0..=(what >> 6 & 1) {
        let answers = gateway.deliver(&message);
        let answered = |answer: &Datagram| {
            Header::parse(&answer.bytes)
                .is_ok_and(|header| header.is_response && header.message_id == message_id)
        };
        if !is_response && *id == message_id && answers.iter().any(answered) {
            *id = id.saturating_add(1);
        }
    }
}

fn client() -> Option<Initiator> {
    let identity = Identity::Fqdn("client.example".to_owned());
    let config = InitiatorConfig::new(identity, AuthWith::Psk(KEY.to_vec()), IKE, ESP).ok()?;
    let config = InitiatorConfig { mobike: true, fragment: None, ..config };
    Initiator::new(config, Box::new(Seeded(2))).ok()
}

/// The endpoint, and a driver that does everything at once and keeps account.
struct Gateway {
    endpoint: Endpoint,
    random: Seeded,
    keyring: Keyring,
    now: Instant,
    next_spi: u32,
    spis: BTreeSet<u32>,
    installed: BTreeSet<u32>,
    leases: BTreeSet<Ipv4Addr>,
    /// By number.
    tickets: Vec<TicketState>,
    sent: Vec<Datagram>,
    elsewhere: bool,
}

impl Gateway {
    fn new() -> Gateway {
        Gateway {
            endpoint: Endpoint::new(config()),
            random: Seeded(1),
            keyring: Keyring { credential: None, client_authorities: None },
            now: Instant::from_millis(1_000_000),
            next_spi: 0x1000,
            spis: BTreeSet::new(),
            installed: BTreeSet::new(),
            leases: BTreeSet::new(),
            tickets: Vec::new(),
            sent: Vec::new(),
            elsewhere: false,
        }
    }

    /// Hands datagrams over, and takes what is sent in turn.
    fn deliver(&mut self, datagrams: &[Outgoing]) -> Vec<Datagram> {
        for outgoing in datagrams {
            let last = if self.elsewhere { 8 } else { 7 };
            self.input(Input::Datagram(Datagram {
                local: Ipv4Addr::new(192, 0, 2, 1).into(),
                local_port: outgoing.gateway_port,
                peer: IpAddr::from([198, 51, 100, last]),
                peer_port: outgoing.local_port,
                bytes: outgoing.bytes.clone(),
            }));
        }
        std::mem::take(&mut self.sent)
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Outputs::new();
            let mut env = Spis { random: &mut self.random, next: &mut self.next_spi, taken: &mut self.spis };
            self.endpoint.handle(self.now, input, &mut env, &mut out);
            while let Some(output) = out.pop() {
                inputs.extend(self.perform(output));
            }
        }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Transmit(datagram) => self.sent.push(datagram),
            Output::Job(Job { id, kind, .. }) => {
                return Some(Input::JobDone { job: id, result: self.result(kind) });
            }
            Output::Child(ChildCommand::Remove { inbound_spi }) => {
                assert!(self.installed.remove(&inbound_spi), "removed, but not installed");
                assert!(self.spis.remove(&inbound_spi), "an installed SA has an SPI");
            }
            Output::Child(
                ChildCommand::SelectOutbound { inbound_spi } | ChildCommand::MovePeer { inbound_spi, .. },
            ) => assert!(self.installed.contains(&inbound_spi), "changed, but not installed"),
            Output::ReleaseAddress { lease, .. } => {
                let leased = lease.address.is_some_and(|address| self.leases.remove(&address));
                assert!(leased, "released, but not leased");
            }
            Output::EapAbandoned { .. } | Output::Event(_) => {}
        }
        None
    }

    fn result(&mut self, kind: JobKind) -> JobResult {
        match kind {
            JobKind::PublicKey(work) => {
                JobResult::PublicKey(work.run(&self.keyring, 1_893_456_000, &mut self.random))
            }
            JobKind::PskLookup { identity } => {
                JobResult::Psk((identity.to_string() == "client.example").then(psk))
            }
            JobKind::FindTicket { ticket } => {
                let state = ticket.first().and_then(|number| self.tickets.get(usize::from(*number))).cloned();
                let resume = Resume { tag: 1, previous_key: false };
                JobResult::TicketFound(state.map(|state| Box::new(TicketAnswer { state, resume })))
            }
            JobKind::MakeTicket(state) => {
                let number = u8::try_from(self.tickets.len()).ok();
                self.tickets.push(*state);
                JobResult::TicketMade(number.map(|number| Ticket { octets: vec![number], lifetime_secs: 60 }))
            }
            JobKind::Eap(EapStep::Start { .. }) => {
                JobResult::Eap(EapOutcome::Request { packet: vec![1, 1, 0, 5, 1] })
            }
            JobKind::Eap(EapStep::Response { .. }) => JobResult::Eap(EapOutcome::Failure {
                packet: vec![4, 1, 0, 4],
                reason: "nobody logs in here by EAP".to_owned(),
            }),
            JobKind::Address(request) => JobResult::Address(self.lease(request.ip4 != Wish::None)),
            JobKind::InstallChild(install) => {
                assert!(
                    self.spis.contains(&install.inbound_spi),
                    "installed under an SPI that was not taken"
                );
                assert!(self.installed.insert(install.inbound_spi), "installed twice");
                JobResult::Installed(Ok(()))
            }
        }
    }

    fn lease(&mut self, wanted: bool) -> Result<Lease, AddressFailure> {
        let free = (1..=9).map(|last| Ipv4Addr::new(10, 9, 0, last)).find(|one| !self.leases.contains(one));
        let address = free.filter(|_| wanted).ok_or(AddressFailure::Exhausted)?;
        self.leases.insert(address);
        Ok(Lease {
            address: Some(address),
            netmask: None,
            address6: None::<Inner6>,
            dns: Vec::new(),
            subnets: Vec::new(),
            selectors: SelectorPolicy::Any,
            lifetime_secs: None,
            pool: "clients".to_owned(),
            attributes: Vec::new(),
        })
    }

    fn advance(&mut self, millis: u64) {
        let end = self.now.plus_millis(millis);
        while let Some((at, _)) = self.endpoint.next_wakeup().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timer);
        }
        self.now = end;
    }

    /// Everybody is told to go; what is left afterwards has leaked.
    fn end(&mut self) {
        self.input(Input::Shutdown);
        self.advance(END_MS);
        assert_eq!(self.endpoint.sessions(), 0, "sessions are left");
        assert!(self.spis.is_empty() && self.installed.is_empty(), "SPIs or Child SAs are left");
        assert!(self.leases.is_empty(), "leases are left");
    }
}

fn psk() -> PskAnswer {
    PskAnswer {
        key: Secret::new(KEY.to_vec()),
        previous_key: None,
        burnt_keys: Vec::new(),
        gateway_auth: GatewayAuth::Psk,
        user: None,
        resume: None,
    }
}

fn config() -> EndpointConfig {
    EndpointConfig {
        identity: Identity::Fqdn("vpn.example".to_owned()),
        certificate_request: None,
        methods: Methods { eap: true, anyconnect_eap: true, certificate: true, psk: true, resume: false },
        idr_mismatch: IdrMismatch::AnswerOwn,
        ike_proposals: IKE.parse().into_iter().collect(),
        esp: EspPolicy {
            suites: ESP.parse().into_iter().collect(),
            prefer_esn: false,
            groups: Group::ALL.to_vec(),
            require_pfs: false,
        },
        allow_without_address: false,
        lifetimes: Lifetimes::default(),
        timing: Timing::default(),
        limits: Limits::default(),
        fragment_size: 1280,
        cisco: CiscoPolicy::default(),
        extensions: ExtensionPolicy { tickets: true, ..ExtensionPolicy::default() },
        ppk: crate::ppk::PpkPolicy::default(),
    }
}

struct Spis<'a> {
    random: &'a mut Seeded,
    next: &'a mut u32,
    taken: &'a mut BTreeSet<u32>,
}

impl Env for Spis<'_> {
    fn random(&mut self, buffer: &mut [u8]) {
        let _ = self.random.fill(buffer);
    }

    fn allocate_spi(&mut self) -> Option<u32> {
        *self.next = self.next.saturating_add(1);
        self.taken.insert(*self.next);
        Some(*self.next)
    }

    fn free_spi(&mut self, inbound_spi: u32) {
        assert!(self.taken.remove(&inbound_spi), "an SPI is given back twice");
    }

    fn last_inbound(&mut self, _: u32) -> Option<Instant> {
        None
    }
}
