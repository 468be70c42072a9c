//! The AnyConnect-EAP conversations under way, one per session.
//!
//! Enters: a session's number, its EAP packets, verdicts on passwords and certificates. Leaves: the next packet for it, a
//! question, or the outcome. As with the standard methods, a packet that EAP would discard ends the conversation: over
//! IKEv2 every packet is authentic, so nobody else can have sent it.

use std::collections::HashMap;
use std::sync::Arc;

use causeway_eap::anyconnect::{
    AnyConnectServer, CertificateQuestion, CertificateVerdict, ConversationSetup, DiscardReason,
    FailureReason, Input, Login, Note, PasswordQuestion, PasswordVerdict, ServerConfig, Step,
};

use causeway_ike::suite::Prf;

use super::MAX_CONVERSATIONS;

/// Passwords that are checked or wait for it; above it, logins are refused.
pub const MAX_PASSWORD_CHECKS: usize = 256;

/// All conversations.
pub struct AnyConnectConversations {
    config: Arc<ServerConfig>,
    running: HashMap<u64, Talk>,
}

struct Talk {
    server: AnyConnectServer,
    /// Of the packet that is being answered, for an EAP-Failure.
    identifier: u8,
    /// Its hash is that of a certificate's signature.
    prf: Prf,
}

/// What to do now.
pub enum AnyConnectAnswer {
    /// Send this request.
    Request(Vec<u8>),
    /// Judge this, then [`AnyConnectConversations::password`].
    CheckPassword(PasswordQuestion),
    /// Judge this, then [`AnyConnectConversations::certificate`].
    CheckCertificate(CertificateQuestion),
    /// Logged in.
    Success {
        /// EAP-Success.
        packet: Vec<u8>,
        /// Who.
        login: Box<Login>,
    },
    /// It is over.
    Failure {
        /// EAP-Failure.
        packet: Vec<u8>,
        /// Why, for the log; never sent.
        reason: AnyConnectFailure,
    },
}

/// Why a conversation ended badly.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnyConnectFailure {
    /// The method said no.
    #[error(transparent)]
    Refused(#[from] FailureReason),
    /// The packet did not belong where it came.
    #[error("the client broke AnyConnect-EAP: {0}")]
    Protocol(DiscardReason),
    /// No conversation of this session is under way.
    #[error("no AnyConnect-EAP conversation is under way")]
    Unknown,
    /// [`MAX_CONVERSATIONS`] are under way.
    #[error("too many EAP conversations at once")]
    TooMany,
}

impl AnyConnectConversations {
    /// None yet.
    pub fn new(config: ServerConfig) -> AnyConnectConversations {
        AnyConnectConversations { config: Arc::new(config), running: HashMap::new() }
    }

    /// Conversations that begin from now on tell this of our certificate.
    pub fn set_server_cert_hash(&mut self, hash: [u8; 20]) {
        Arc::make_mut(&mut self.config).server_cert_hash = hash;
    }

    /// Begins a conversation with `session`; one that was under way is forgotten.
    pub fn start(&mut self, session: u64, setup: ConversationSetup, prf: Prf) -> AnyConnectAnswer {
        let identifier = setup.identifier;
        if self.running.len() >= MAX_CONVERSATIONS && !self.running.contains_key(&session) {
            return failure(identifier, AnyConnectFailure::TooMany);
        }
        let (server, hello) = AnyConnectServer::start(Arc::clone(&self.config), setup);
        self.running.insert(session, Talk { server, identifier, prf });
        AnyConnectAnswer::Request(hello)
    }

    /// Takes the client's packet.
    pub fn respond(&mut self, session: u64, packet: &[u8]) -> AnyConnectAnswer {
        if let (Some(talk), Some(identifier)) = (self.running.get_mut(&session), packet.get(1)) {
            talk.identifier = *identifier;
        }
        self.take(session, Input::Packet(packet))
    }

    /// Takes the verdict on a password.
    pub fn password(&mut self, session: u64, verdict: PasswordVerdict) -> AnyConnectAnswer {
        self.take(session, Input::Password(verdict))
    }

    /// Takes the verdict on a certificate.
    pub fn certificate(&mut self, session: u64, verdict: CertificateVerdict) -> AnyConnectAnswer {
        self.take(session, Input::Certificate(verdict))
    }

    /// Odd things that the client said since the last call.
    pub fn take_notes(&mut self, session: u64) -> Vec<Note> {
        self.running.get_mut(&session).map(|talk| talk.server.take_notes()).unwrap_or_default()
    }

    /// The negotiated PRF of a conversation.
    pub fn prf(&self, session: u64) -> Option<Prf> {
        self.running.get(&session).map(|talk| talk.prf)
    }

    /// Whether a conversation with this session is under way.
    pub fn has(&self, session: u64) -> bool {
        self.running.contains_key(&session)
    }

    /// Forgets the conversation of a session that ended on the way.
    pub fn abandon(&mut self, session: u64) {
        self.running.remove(&session);
    }

    /// Conversations under way.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn take(&mut self, session: u64, input: Input<'_>) -> AnyConnectAnswer {
        let Some(talk) = self.running.get_mut(&session) else {
            return failure(0, AnyConnectFailure::Unknown);
        };
        let answer = match talk.server.handle(input) {
            Step::Request(request) => return AnyConnectAnswer::Request(request),
            Step::VerifyPassword(question) => return AnyConnectAnswer::CheckPassword(question),
            Step::VerifyCertificate(question) => return AnyConnectAnswer::CheckCertificate(question),
            Step::Success { packet, login } => AnyConnectAnswer::Success { packet, login: Box::new(login) },
            Step::Failure { packet, reason } => AnyConnectAnswer::Failure { packet, reason: reason.into() },
            Step::Discard(reason) => failure(talk.identifier, AnyConnectFailure::Protocol(reason)),
        };
        self.running.remove(&session);
        answer
    }
}

fn failure(identifier: u8, reason: AnyConnectFailure) -> AnyConnectAnswer {
    AnyConnectAnswer::Failure { packet: causeway_eap::packet::failure(identifier), reason }
}

#[cfg(test)]
mod tests {
    use causeway_eap::anyconnect::{
        Accepted, AnyConnectPeer, CertificateUse, FormAnswers, Password, PeerConfig, PeerInput, PeerStep,
    };

    use super::*;

    fn conversations() -> AnyConnectConversations {
        AnyConnectConversations::new(ServerConfig {
            certificate: CertificateUse::None,
            title: String::new(),
            message: "Please log in".into(),
            banner: String::new(),
            groups: vec![],
            attempts: 2,
            client_services_port: None,
            server_cert_hash: [7; 20],
            profile: None,
        })
    }

    fn setup() -> ConversationSetup {
        ConversationSetup {
            identifier: 1,
            handle: 2,
            session_number: 3,
            session_secret: [4; 20],
            initiator_signed_octets: vec![],
        }
    }

    fn run(all: &mut AnyConnectConversations, session: u64, passwords: &[&str]) -> AnyConnectAnswer {
        let mut peer = AnyConnectPeer::new(PeerConfig::default());
        let mut passwords = passwords.iter();
        let mut answer = all.start(session, setup(), Prf::HmacSha2_256);
        loop {
            answer = match answer {
                AnyConnectAnswer::Request(request) => {
                    let mut step = peer.handle(PeerInput::Packet(&request));
                    if let PeerStep::FillForm(_) = step {
                        let fill =
                            |name: &str, value: &str| (name.to_owned(), Password::new(value.to_owned()));
                        let answers =
                            vec![fill("username", "ann"), fill("password", passwords.next().unwrap())];
                        step = peer.handle(PeerInput::Answers(FormAnswers { answers, group: None }));
                    }
                    let PeerStep::Response(response) = step else { panic!("the peer gave up") };
                    all.respond(session, &response)
                }
                AnyConnectAnswer::CheckPassword(question) => {
                    let good = question.password.as_str() == "pw";
                    let accepted = Accepted { user: question.user.clone(), banner: None };
                    let verdict =
                        if good { PasswordVerdict::Accepted(accepted) } else { PasswordVerdict::Refused };
                    all.password(session, verdict)
                }
                other => return other,
            }
        }
    }

    #[test]
    fn a_conversation_is_forgotten_when_it_ends() {
        let mut all = conversations();
        let AnyConnectAnswer::Success { login, .. } = run(&mut all, 1, &["wrong", "pw"]) else { panic!() };
        assert_eq!((login.user(), all.is_empty()), ("ann", true));
        let AnyConnectAnswer::Failure { reason, .. } = run(&mut all, 2, &["wrong", "wrong"]) else {
            panic!()
        };
        assert_eq!((reason, all.is_empty()), (FailureReason::BadCredentials.into(), true));
    }

    #[test]
    fn a_packet_out_of_place_ends_it() {
        let mut all = conversations();
        all.start(1, setup(), Prf::HmacSha2_256);
        all.start(2, setup(), Prf::HmacSha2_256);
        let AnyConnectAnswer::Failure { packet, reason } = all.respond(1, &[2, 9, 0, 5, 99]) else {
            panic!()
        };
        assert!(matches!(reason, AnyConnectFailure::Protocol(_)));
        assert_eq!(packet, [4, 9, 0, 4]);
        let unknown = all.respond(1, &[]);
        assert!(matches!(unknown, AnyConnectAnswer::Failure { reason: AnyConnectFailure::Unknown, .. }));
        all.abandon(2);
        assert!(all.is_empty() && !all.has(2));
    }
}
