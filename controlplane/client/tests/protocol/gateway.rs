//! A gateway in a box: the endpoint, AnyConnect-EAP's server, one address per user, session ids and tokens.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use causeway_client::attributes::AttributeNumbers;
use causeway_client::esp::Tunnels;
use causeway_client::initiator::Child;
use causeway_eap::anyconnect::{
    Accepted, AnyConnectServer, CertificateUse, CertificateVerdict, ConversationSetup, Input as EapInput,
    PasswordVerdict, ServerConfig, Step,
};
use causeway_ike::Endpoint;
use causeway_ike::api::*;
use causeway_ike::cert::{Credential, TrustStore};
use causeway_ike::crypto::{Random as _, Secret as Key, SystemRandom};
use causeway_ike::env::Env;
use causeway_ike::ident::Identity;
use causeway_ike::job::Keyring;
use causeway_ike::policy::*;
use causeway_ike::suite::{EspPolicy, EspProposal, EspSuite, Group, Prf};
use causeway_ike::time::Instant;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub const NAME: &str = "vpn.example.test";
pub const USER: &str = "user1";
pub const PASSWORD: &str = "user1-secret";
pub const OTP: &str = "123456";
pub const SESSION_ID: &str = "rIUHKccDRiUtFTATwq";
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 5);
/// Inside the validity that the certificate library gives by default.
pub const UNIX_NOW: u64 = 1_893_456_000;

/// One authority and who it certified.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Pki {
    pub fn new() -> Pki {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Pki { issuer: Issuer::new(params, key), ca_pem }
    }

    pub fn trust(&self) -> TrustStore {
        TrustStore::from_pem(self.ca_pem.as_bytes()).unwrap()
    }

    pub fn issue(&self, name: &str) -> Credential {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Credential::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// A gateway.
pub struct Gateway {
    endpoint: Endpoint,
    env: Spis,
    keyring: Keyring,
    login: Arc<ServerConfig>,
    conversations: BTreeMap<SessionId, AnyConnectServer>,
    /// Whether a password is followed by a question for a code.
    pub wants_otp: bool,
    /// Whether session id and token are offered.
    pub offers_reconnect: bool,
    /// Tokens that are good, the newest last.
    pub tokens: Vec<Vec<u8>>,
    /// IDs under which sessions were resumed.
    pub resumed: Vec<Identity>,
    prf: Option<Prf>,
    /// Certificates that were shown in the EAP method.
    pub certificates: Vec<Vec<Vec<u8>>>,
    pub outbox: VecDeque<Datagram>,
    pub events: Vec<Event>,
    /// Packets' way in and out.
    pub tunnels: Tunnels,
    pub sessions: Vec<SessionId>,
}

struct Spis(u32);

impl Env for Spis {
    fn random(&mut self, buffer: &mut [u8]) {
        SystemRandom.fill(buffer).unwrap();
    }

    fn allocate_spi(&mut self) -> Option<u32> {
        self.0 += 1;
        Some(self.0)
    }

    fn free_spi(&mut self, _inbound_spi: u32) {}

    fn last_inbound(&mut self, _inbound_spi: u32) -> Option<Instant> {
        None
    }
}

impl Gateway {
    pub fn new(pki: &Pki, ike: &str, esp: &str, certificate: CertificateUse) -> Gateway {
        let credential = pki.issue(NAME);
        let proposal: EspProposal = esp.parse().unwrap();
        let suite = EspSuite { cipher: proposal.ciphers[0], integ: proposal.integs.first().copied() };
        let config = EndpointConfig {
            // As Cisco's gateways: IDr is an address, the certificate names the host.
            identity: Identity::Ipv4(Ipv4Addr::new(10, 106, 45, 225)),
            certificate_request: Some(pki.trust().cert_req()),
            methods: Methods {
                eap: true,
                anyconnect_eap: true,
                certificate: false,
                psk: false,
                resume: true,
            },
            idr_mismatch: IdrMismatch::AnswerOwn,
            ike_proposals: vec![ike.parse().unwrap()],
            esp: EspPolicy {
                suites: vec![suite],
                prefer_esn: proposal.esn.contains(&true),
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
            ppk: causeway_ike::ppk::PpkPolicy::default(),
        };
        let login = ServerConfig {
            certificate,
            title: "Login".into(),
            message: "Please enter your user ID and password.".into(),
            banner: "Welcome.".into(),
            groups: vec![],
            attempts: 3,
            client_services_port: None,
            server_cert_hash: [7; 20],
            profile: None,
        };
        Gateway {
            endpoint: Endpoint::new(config),
            env: Spis(0x1000),
            keyring: Keyring { credential: Some(credential), client_authorities: Some(pki.trust()) },
            login: Arc::new(login),
            conversations: BTreeMap::new(),
            wants_otp: false,
            offers_reconnect: true,
            tokens: Vec::new(),
            resumed: Vec::new(),
            prf: None,
            certificates: Vec::new(),
            outbox: VecDeque::new(),
            events: Vec::new(),
            tunnels: Tunnels::default(),
            sessions: Vec::new(),
        }
    }

    pub fn input(&mut self, now: Instant, input: Input) {
        let mut out = Outputs::new();
        self.endpoint.handle(now, input, &mut self.env, &mut out);
        while let Some(output) = out.pop() {
            match output {
                Output::Transmit(datagram) => self.outbox.push_back(datagram),
                Output::Job(Job { id, session, kind }) => {
                    let result = self.perform(session, kind);
                    self.input(now, Input::JobDone { job: id, result });
                }
                Output::Child(ChildCommand::Remove { inbound_spi }) => self.tunnels.remove(inbound_spi),
                Output::Event(Event::SessionUp(facts)) => {
                    self.sessions.push(facts.session);
                    self.events.push(Event::SessionUp(facts));
                }
                Output::Event(event) => self.events.push(event),
                _ => {}
            }
        }
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        self.endpoint.next_wakeup().map(|(at, _)| at)
    }

    fn perform(&mut self, session: SessionId, kind: JobKind) -> JobResult {
        match kind {
            JobKind::PublicKey(work) => {
                JobResult::PublicKey(work.run(&self.keyring, UNIX_NOW, &mut SystemRandom))
            }
            JobKind::PskLookup { identity } => JobResult::Psk(self.find(&identity)),
            JobKind::FindTicket { .. } => JobResult::TicketFound(None),
            JobKind::MakeTicket(_) => JobResult::TicketMade(None),
            JobKind::Eap(EapStep::Start { signed_octets, prf, .. }) => {
                self.prf = Some(prf);
                let setup = ConversationSetup {
                    identifier: 1,
                    handle: 1,
                    session_number: 1,
                    session_secret: [1; 20],
                    initiator_signed_octets: signed_octets,
                };
                let (server, packet) = AnyConnectServer::start(self.login.clone(), setup);
                self.conversations.insert(session, server);
                JobResult::Eap(EapOutcome::Request { packet })
            }
            JobKind::Eap(EapStep::Response { packet }) => JobResult::Eap(self.eap(session, &packet)),
            JobKind::Address(request) => JobResult::Address(Ok(self.lease(&request))),
            JobKind::InstallChild(install) => {
                let key = |secret: &Secret| Key::new(secret.expose().to_vec());
                assert!(self.tunnels.add(&Child {
                    inbound_spi: install.inbound_spi,
                    outbound_spi: install.outbound_spi,
                    suite: install.suite,
                    esn: install.esn,
                    inbound: key(&install.inbound_keymat),
                    outbound: key(&install.outbound_keymat),
                    by_gateway: !install.outbound_selected,
                    remote: vec![],
                }));
                JobResult::Installed(Ok(()))
            }
        }
    }

    fn find(&mut self, identity: &Identity) -> Option<PskAnswer> {
        let mut data = Vec::new();
        identity.emit(&mut data);
        let known = data == SESSION_ID.as_bytes() && !self.tokens.is_empty();
        self.resumed.push(identity.clone());
        known.then(|| PskAnswer {
            key: Secret::new(self.tokens.last().unwrap().clone()),
            previous_key: self.tokens.iter().rev().nth(1).map(|token| Secret::new(token.clone())),
            burnt_keys: vec![],
            gateway_auth: GatewayAuth::Certificate,
            user: Some(USER.into()),
            resume: Some(1),
        })
    }

    fn eap(&mut self, session: SessionId, packet: &[u8]) -> EapOutcome {
        let mut step = self.conversations.get_mut(&session).unwrap().handle(EapInput::Packet(packet));
        loop {
            let input = match step {
                Step::Request(packet) => return EapOutcome::Request { packet },
                Step::Success { packet, login } => {
                    let user = login.user().to_owned();
                    return EapOutcome::Success { packet, user, method: "anyconnect-eap", msk: None };
                }
                Step::Failure { packet, reason } => {
                    return EapOutcome::Failure { packet, reason: reason.to_string() };
                }
                Step::Discard(reason) => panic!("the client said nonsense: {reason}"),
                Step::VerifyPassword(question) => EapInput::Password(
                    match (question.password.as_str(), question.answers_challenge, question.user.as_str()) {
                        (PASSWORD, false, USER) if self.wants_otp => {
                            PasswordVerdict::Challenge { prompt: "Code:".into() }
                        }
                        (PASSWORD, false, USER) | (OTP, true, _) => PasswordVerdict::Accepted(accepted()),
                        _ => PasswordVerdict::Refused,
                    },
                ),
                Step::VerifyCertificate(question) => {
                    let (chain, signature) = (&question.chain, &question.signature);
                    let authorities = self.keyring.client_authorities.as_ref().unwrap();
                    let proven = authorities.authenticate_holder(
                        chain,
                        signature,
                        &question.signed_octets,
                        self.prf.unwrap(),
                        UNIX_NOW,
                    );
                    self.certificates.push(question.chain);
                    EapInput::Certificate(match proven {
                        Ok(_) => CertificateVerdict::Accepted(accepted()),
                        Err(error) => CertificateVerdict::Refused { reason: error.to_string() },
                    })
                }
            };
            step = self.conversations.get_mut(&session).unwrap().handle(input);
        }
    }

    fn lease(&mut self, _request: &AddressRequest) -> Lease {
        let mut attributes = vec![(28672, b"Hello.".to_vec())];
        if self.offers_reconnect {
            let numbers = AttributeNumbers::default();
            let mut token = [0; 32];
            SystemRandom.fill(&mut token).unwrap();
            let token: String = token.iter().map(|octet| format!("{octet:02x}")).collect();
            self.tokens.push(token.clone().into_bytes());
            attributes.push((numbers.session_id, SESSION_ID.as_bytes().to_vec()));
            attributes.push((numbers.token, token.into_bytes()));
            attributes.push((numbers.cleanup_interval, 900u32.to_be_bytes().to_vec()));
        }
        Lease {
            address: Some(ADDRESS),
            address6: None,
            netmask: None,
            dns: vec![],
            subnets: vec![Subnet { address: Ipv4Addr::new(10, 1, 0, 0).into(), prefix_len: 16 }],
            selectors: SelectorPolicy::Subnets,
            lifetime_secs: None,
            pool: "staff".into(),
            attributes,
        }
    }
}

fn accepted() -> Accepted {
    Accepted { user: USER.into(), banner: None }
}
