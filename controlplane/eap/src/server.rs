//! The server of one EAP conversation: Identity, then a method the peer accepts (RFC 3748 §2, §5.3).
//!
//! Enters: the peer's EAP packets, randomness at the start, the credential store. Leaves: the next request, or the outcome
//! with EAP-Success or EAP-Failure. A packet that does not belong to the step changes nothing.

use std::sync::Arc;

use crate::gtc::GtcServer;
use crate::md5::Md5Server;
use crate::mschapv2::crypto::{Challenge, NtHash, without_domain};
use crate::mschapv2::server::Mschapv2Server;
use crate::outcome::{Authenticated, DiscardReason, FailureReason};
use crate::packet::{self, EapType, MAX_NAME_OCTETS, Message, Packet};
use crate::tls::server::{EapTls, Inside, TlsServer};
use crate::tls::session::TlsSession;
use crate::tunnel::{Binding, PeapInside, TtlsInner, TtlsInside};
use zeroize::Zeroizing;

/// What is known of users. Implemented for closures, which know NT hashes.
pub trait Credentials {
    /// The hash of this user's password, `None` for a user who does not exist or has none.
    fn nt_hash(&self, user: &str) -> Option<NtHash>;

    /// Whether this is the user's password, with the same work for a user who does not exist. May take long: methods that
    /// ask say so ([`EapServer::works_hard`]).
    fn accepts_password(&self, user: &str, password: &str) -> bool {
        let (_, _) = (user, password);
        false
    }

    /// The user's password, for MD5-Challenge, which no hash serves.
    fn clear_password(&self, user: &str) -> Option<Zeroizing<String>> {
        let _ = user;
        None
    }

    /// Whom a certificate logs in that the TLS configuration has verified. `identity` is what the peer called itself.
    fn certificate_user(&self, der: &[u8], identity: &[u8]) -> Option<String> {
        let (_, _) = (der, identity);
        None
    }
}

impl<F: Fn(&str) -> Option<NtHash>> Credentials for F {
    fn nt_hash(&self, user: &str) -> Option<NtHash> {
        self(user)
    }
}

/// The names under which an account is looked for: as sent, else without its domain. None for what is no text.
pub(crate) fn names(sent: &[u8]) -> impl Iterator<Item = &str> {
    let text = |name| std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
    let bare = without_domain(sent);
    [Some(sent), (bare.len() < sent.len()).then_some(bare)].into_iter().flatten().filter_map(text)
}

/// What does not change between conversations.
#[derive(Clone)]
pub struct ServerConfig {
    /// Name in the MSCHAPv2 challenge; clients may show it. Cut to [`MAX_NAME_OCTETS`].
    pub name: String,
    /// Methods in the order in which they are offered. Those based on TLS need `tls`.
    pub methods: Vec<EapType>,
    /// For methods based on TLS.
    pub tls: Option<TlsSettings>,
}

/// How methods based on TLS work.
#[derive(Clone)]
pub struct TlsSettings {
    /// For EAP-TLS: asks for a certificate and verifies it. See [`TlsSettings::harden`].
    pub with_certificate: Option<Arc<rustls::ServerConfig>>,
    /// For TTLS and PEAP: asks for none.
    pub without_certificate: Arc<rustls::ServerConfig>,
    /// What may verify the user inside of TTLS without EAP.
    pub ttls_inner: Vec<TtlsInner>,
    /// EAP methods inside of TTLS and PEAP, in the order in which they are offered. None of them is based on TLS.
    pub inner_methods: Vec<EapType>,
    /// Whether tunnel and inner method are bound together in PEAP.
    pub peap_binding: Binding,
}

impl TlsSettings {
    /// Switches off what EAP must not have: sessions that are resumed would log in without any check of the user or of the
    /// certificate (RFC 9190 §5.7).
    pub fn harden(config: &mut rustls::ServerConfig) {
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_tls13_tickets = 0;
        config.max_early_data_size = 0;
    }
}

/// Fresh randomness for one conversation. TLS has its own.
#[derive(Clone)]
pub struct ServerRandom {
    /// Identifier of the first request.
    pub identifier: u8,
    /// The challenge of MSCHAPv2 and MD5.
    pub challenge: Challenge,
    /// The challenge named in a refusal (`C=`); never used, as there are no retries, but the format has it.
    pub failure_challenge: Challenge,
    /// The challenge of a method inside of another.
    pub inner_challenge: Challenge,
    /// Nonce of PEAP's crypto binding.
    pub nonce: [u8; 32],
}

impl ServerRandom {
    /// Draws all of it.
    pub fn draw(mut fill: impl FnMut(&mut [u8])) -> ServerRandom {
        let mut identifier = [0];
        let mut random = ServerRandom {
            identifier: 0,
            challenge: [0; 16],
            failure_challenge: [0; 16],
            inner_challenge: [0; 16],
            nonce: [0; 32],
        };
        fill(&mut identifier);
        fill(&mut random.challenge);
        fill(&mut random.failure_challenge);
        fill(&mut random.inner_challenge);
        fill(&mut random.nonce);
        [random.identifier] = identifier;
        random
    }

    /// For a conversation inside of this one.
    pub(crate) fn inner(&self) -> ServerRandom {
        ServerRandom { challenge: self.inner_challenge, ..self.clone() }
    }
}

/// What a response led to.
pub enum Step {
    /// Send this request.
    Request(Vec<u8>),
    /// The user is who he says. Send `packet`, an EAP-Success.
    Success {
        /// The proof, with user and MSK.
        authenticated: Authenticated,
        /// EAP-Success.
        packet: Vec<u8>,
    },
    /// It ended without login. Send `packet`, an EAP-Failure.
    Failure {
        /// Why.
        reason: FailureReason,
        /// EAP-Failure.
        packet: Vec<u8>,
    },
    /// Ignored; nothing changed.
    Discard(DiscardReason),
}

/// What a method made of a response.
pub(crate) enum MethodStep {
    Request(Vec<u8>),
    Success(Authenticated),
    Failure(FailureReason),
    Discard(DiscardReason),
}

/// A method under way.
pub(crate) trait ServerMethod: Send {
    /// Takes the Type-Data of a response. A request that it leads to will have `next_identifier`.
    fn handle(&mut self, next_identifier: u8, data: &[u8], credentials: &dyn Credentials) -> MethodStep;

    /// Whether the next response may take a processor longer than an event loop may stand still.
    fn works_hard(&self) -> bool {
        false
    }
}

/// One conversation.
pub struct EapServer {
    config: Arc<ServerConfig>,
    random: ServerRandom,
    /// What the peer called itself; proves nothing.
    identity: Vec<u8>,
    /// Identifier of the outstanding request.
    identifier: u8,
    state: State,
}

enum State {
    /// The peer says who it is, asked or (inside of TTLS) unasked.
    Identifying { asked: bool },
    /// A method runs.
    Running { method: Box<dyn ServerMethod>, kind: EapType, answered: bool },
    /// The outcome was reported.
    Finished,
}

impl EapServer {
    /// Begins, and returns the Identity request to send.
    pub fn start(config: Arc<ServerConfig>, random: ServerRandom) -> (EapServer, Vec<u8>) {
        let server = EapServer::begin_with(config, random, true);
        let request = server.request(EapType::IDENTITY, &[]);
        (server, request)
    }

    /// Begins with an Identity response that nobody asked for (RFC 5281 §11.2.1).
    pub(crate) fn unasked(config: Arc<ServerConfig>, random: ServerRandom) -> EapServer {
        EapServer::begin_with(config, random, false)
    }

    fn begin_with(config: Arc<ServerConfig>, random: ServerRandom, asked: bool) -> EapServer {
        let identifier = random.identifier;
        EapServer { config, random, identity: vec![], identifier, state: State::Identifying { asked } }
    }

    /// Whether the next packet may take a processor longer than an event loop may stand still: TLS signs, and methods that
    /// see the password hash it.
    pub fn works_hard(&self) -> bool {
        matches!(&self.state, State::Running { method, .. } if method.works_hard())
    }

    /// Identifier of the outstanding request.
    pub(crate) fn identifier(&self) -> u8 {
        self.identifier
    }

    /// Takes the peer's packet.
    pub fn handle(&mut self, octets: &[u8], credentials: &dyn Credentials) -> Step {
        let response = match Packet::decode(octets) {
            Ok(Packet::Response(response)) => response,
            Ok(_) => return Step::Discard(DiscardReason::WrongCode),
            Err(error) => return Step::Discard(error.into()),
        };
        match &mut self.state {
            State::Finished => Step::Discard(DiscardReason::Finished),
            State::Identifying { asked: false } if response.kind == EapType::IDENTITY => {
                self.identifier = response.identifier;
                self.identified(response.data)
            }
            _ if response.identifier != self.identifier => Step::Discard(DiscardReason::WrongIdentifier),
            State::Identifying { .. } if response.kind == EapType::IDENTITY => self.identified(response.data),
            State::Running { kind, answered: false, .. } if response.kind == EapType::NAK => {
                let refused = *kind;
                self.renegotiate(refused, response.data)
            }
            State::Running { method, kind, answered } if response.kind == *kind => {
                let next = self.identifier.wrapping_add(1);
                let step = method.handle(next, response.data, credentials);
                *answered |= !matches!(step, MethodStep::Discard(_));
                self.carry_out(step)
            }
            _ => Step::Discard(DiscardReason::UnexpectedType(response.kind.0)),
        }
    }

    /// The identity proves nothing and chooses nothing; methods with a name of their own ask again (RFC 3748 §5.1).
    fn identified(&mut self, identity: &[u8]) -> Step {
        if identity.len() > MAX_NAME_OCTETS {
            return self.fail(FailureReason::IdentityTooLong);
        }
        self.identity = identity.to_vec();
        match self.config.methods.first() {
            Some(&kind) => self.begin(kind),
            None => self.fail(FailureReason::NoCommonMethod),
        }
    }

    fn renegotiate(&mut self, refused: EapType, wanted: &[u8]) -> Step {
        match next_method(&self.config.methods, refused, wanted) {
            Some(kind) => self.begin(kind),
            None => self.fail(FailureReason::NoCommonMethod),
        }
    }

    fn begin(&mut self, kind: EapType) -> Step {
        self.identifier = self.identifier.wrapping_add(1);
        let Some((method, data)) = self.method(kind) else {
            return self.fail(FailureReason::NoCommonMethod);
        };
        self.state = State::Running { method, kind, answered: false };
        Step::Request(self.request(kind, &data))
    }

    fn method(&self, kind: EapType) -> Option<(Box<dyn ServerMethod>, Vec<u8>)> {
        let (random, name) = (&self.random, self.config.name.as_bytes());
        let name = name.get(..MAX_NAME_OCTETS).unwrap_or(name);
        match kind {
            EapType::MSCHAPV2 => {
                let (id, refusal) = (self.identifier, random.failure_challenge);
                let (method, data) = Mschapv2Server::start(id, random.challenge, refusal, name);
                Some((Box::new(method), data))
            }
            EapType::GTC => {
                let (method, data) = GtcServer::start(&self.identity);
                Some((Box::new(method), data))
            }
            EapType::MD5 => {
                let (method, data) =
                    Md5Server::start(self.identifier, random.challenge, &self.identity, name);
                Some((Box::new(method), data))
            }
            EapType::TLS | EapType::TTLS | EapType::PEAP => {
                let settings = self.config.tls.as_ref()?;
                let rustls = match kind {
                    EapType::TLS => settings.with_certificate.as_ref()?,
                    _ => &settings.without_certificate,
                };
                let session = TlsSession::server(Arc::clone(rustls)).ok()?;
                let (method, data) =
                    TlsServer::start(kind, &self.identity, session, self.inside(kind, settings));
                Some((Box::new(method), data))
            }
            _ => None,
        }
    }

    fn inside(&self, kind: EapType, settings: &TlsSettings) -> Box<dyn Inside> {
        let inner = || ServerConfig {
            name: self.config.name.clone(),
            methods: settings.inner_methods.clone(),
            tls: None,
        };
        match kind {
            EapType::TTLS => {
                let eap = EapServer::unasked(Arc::new(inner()), self.random.inner());
                Box::new(TtlsInside::new(settings.ttls_inner.clone(), eap))
            }
            EapType::PEAP => {
                let (eap, request) = EapServer::start(Arc::new(inner()), self.random.inner());
                Box::new(PeapInside::new(eap, &request, settings.peap_binding, self.random.nonce))
            }
            _ => Box::new(EapTls::new()),
        }
    }

    fn carry_out(&mut self, step: MethodStep) -> Step {
        match (step, &self.state) {
            (MethodStep::Request(data), &State::Running { kind, .. }) => {
                self.identifier = self.identifier.wrapping_add(1);
                Step::Request(self.request(kind, &data))
            }
            (MethodStep::Request(_), _) => Step::Discard(DiscardReason::Finished),
            (MethodStep::Success(authenticated), _) => {
                self.state = State::Finished;
                Step::Success { authenticated, packet: packet::success(self.identifier) }
            }
            (MethodStep::Failure(reason), _) => self.fail(reason),
            (MethodStep::Discard(reason), _) => Step::Discard(reason),
        }
    }

    fn fail(&mut self, reason: FailureReason) -> Step {
        self.state = State::Finished;
        Step::Failure { reason, packet: packet::failure(self.identifier) }
    }

    /// Requests are bounded far below the packet's limit by the bounds on names and fragments, so encoding cannot fail; were
    /// it to, an EAP-Failure is the safe thing to say.
    fn request(&self, kind: EapType, data: &[u8]) -> Vec<u8> {
        Packet::Request(Message { identifier: self.identifier, kind, data })
            .encode()
            .unwrap_or_else(|_| packet::failure(self.identifier))
    }
}

/// The method to offer after a Nak: the first after the refused one, in our order, that the peer wants. Offers move in one
/// direction only, so a peer cannot make the server go round for ever.
fn next_method(ours: &[EapType], refused: EapType, wanted: &[u8]) -> Option<EapType> {
    let later = ours.iter().skip_while(|&&kind| kind != refused).skip(1);
    later.copied().find(|kind| kind.is_method() && wanted.contains(&kind.0))
}

#[cfg(test)]
mod tests;
