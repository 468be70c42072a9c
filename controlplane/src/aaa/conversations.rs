//! The EAP conversations under way, one per session (RFC 7296 §2.16).
//!
//! Enters: a session's number, its EAP packets, fresh randomness. Leaves: the next packet for it, or the verdict. Over IKEv2
//! every packet is authentic and answered in turn, so a packet that EAP would silently discard (RFC 3748 §4.1) was meant to
//! be what it is: it ends the conversation, lest it wait for ever.

use std::collections::HashMap;

use causeway_eap::{
    Authenticated, Credentials, DiscardReason, EapServer, FailureReason, ServerConfig, ServerRandom, Step,
};

/// Conversations at once. Above it a new one is refused; half-open IKE SAs are bounded lower by default.
pub const MAX_CONVERSATIONS: usize = 65_536;

/// Name of the method that [`EapAnswer::Success`] came from, as operators see it.
const METHOD: &str = "eap-mschapv2";

/// All conversations.
pub struct Conversations {
    config: ServerConfig,
    running: HashMap<u64, EapServer>,
}

/// What to tell the client.
pub enum EapAnswer {
    /// Go on with this request.
    Request(Vec<u8>),
    /// The user is who he says.
    Success {
        /// EAP-Success.
        packet: Vec<u8>,
        /// User and MSK.
        authenticated: Authenticated,
        /// Name of the method.
        method: &'static str,
    },
    /// It is over.
    Failure {
        /// EAP-Failure.
        packet: Vec<u8>,
        /// Why, for the log; never sent.
        reason: ConversationFailure,
    },
}

/// Why a conversation ended badly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConversationFailure {
    /// The method said no.
    #[error(transparent)]
    Refused(#[from] FailureReason),
    /// The packet did not belong where it came.
    #[error("the client broke the EAP protocol: {0}")]
    Protocol(DiscardReason),
    /// No conversation of this session is under way.
    #[error("no EAP conversation is under way")]
    Unknown,
    /// [`MAX_CONVERSATIONS`] are under way.
    #[error("too many EAP conversations at once")]
    TooMany,
}

impl Conversations {
    /// None yet. `gateway_name` appears in the MSCHAPv2 challenge.
    pub fn new(gateway_name: &str) -> Conversations {
        let config = ServerConfig { name: gateway_name.to_owned() };
        Conversations { config, running: HashMap::new() }
    }

    /// Begins a conversation with `session`; one that was under way is forgotten.
    pub fn start(&mut self, session: u64, random: ServerRandom) -> EapAnswer {
        if self.running.len() >= MAX_CONVERSATIONS && !self.running.contains_key(&session) {
            return failure(random.identifier, ConversationFailure::TooMany);
        }
        let (server, request) = EapServer::start(self.config.clone(), random);
        self.running.insert(session, server);
        EapAnswer::Request(request)
    }

    /// Takes the client's packet. After a success or failure the conversation is forgotten.
    pub fn respond(&mut self, session: u64, packet: &[u8], credentials: &dyn Credentials) -> EapAnswer {
        let identifier = packet.get(1).copied().unwrap_or(0);
        let Some(server) = self.running.get_mut(&session) else {
            return failure(identifier, ConversationFailure::Unknown);
        };
        let answer = match server.handle(packet, credentials) {
            Step::Request(request) => return EapAnswer::Request(request),
            Step::Success { authenticated, packet } => {
                EapAnswer::Success { packet, authenticated, method: METHOD }
            }
            Step::Failure { reason, packet } => EapAnswer::Failure { packet, reason: reason.into() },
            Step::Discard(reason) => failure(identifier, ConversationFailure::Protocol(reason)),
        };
        self.running.remove(&session);
        answer
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
}

/// EAP-Failure carries the identifier of the response that it answers (RFC 3748 §4.2).
fn failure(identifier: u8, reason: ConversationFailure) -> EapAnswer {
    let packet = causeway_eap::packet::failure(identifier);
    EapAnswer::Failure { packet, reason }
}

#[cfg(test)]
mod tests {
    use causeway_eap::{EapPeer, NtHash, PeerConfig, PeerStep};

    use super::*;

    fn users(user: &str) -> Option<NtHash> {
        (user == "ann").then(|| NtHash::of_password("pw"))
    }

    fn random() -> ServerRandom {
        ServerRandom { identifier: 1, challenge: [1; 16], failure_challenge: [2; 16] }
    }

    fn peer(password: &str) -> EapPeer {
        let config =
            PeerConfig { identity: "ann".into(), user: "ann".into(), hash: NtHash::of_password(password) };
        EapPeer::new(config, [3; 16])
    }

    fn run(conversations: &mut Conversations, session: u64, password: &str) -> EapAnswer {
        let mut peer = peer(password);
        let mut answer = conversations.start(session, random());
        while let EapAnswer::Request(request) = answer {
            let PeerStep::Response(response) = peer.handle(&request) else { panic!("the peer gave up") };
            answer = conversations.respond(session, &response, &users);
        }
        answer
    }

    #[test]
    fn a_conversation_is_forgotten_when_it_ends() {
        let mut conversations = Conversations::new("gw");
        let EapAnswer::Success { authenticated, .. } = run(&mut conversations, 1, "pw") else { panic!() };
        assert_eq!(authenticated.user(), "ann");
        assert!(conversations.is_empty());
        let EapAnswer::Failure { reason, .. } = run(&mut conversations, 2, "wrong") else { panic!() };
        assert_eq!(reason, ConversationFailure::Refused(FailureReason::BadCredentials));
        assert!(conversations.is_empty());
    }

    #[test]
    fn a_packet_out_of_place_ends_it() {
        let mut conversations = Conversations::new("gw");
        conversations.start(1, random());
        conversations.start(2, random());
        let EapAnswer::Failure { packet, reason } = conversations.respond(1, &[2, 1, 0, 5, 99], &users)
        else {
            panic!()
        };
        assert_eq!(packet, [4, 1, 0, 4]);
        assert!(matches!(reason, ConversationFailure::Protocol(_)));
        let EapAnswer::Failure { reason, .. } = conversations.respond(1, &[], &users) else { panic!() };
        assert_eq!(reason, ConversationFailure::Unknown);
        assert_eq!(conversations.len(), 1);
        conversations.abandon(2);
        assert!(conversations.is_empty());
    }

    #[test]
    fn conversations_are_bounded() {
        let mut conversations = Conversations::new("gw");
        for session in 0..MAX_CONVERSATIONS as u64 {
            assert!(matches!(conversations.start(session, random()), EapAnswer::Request(_)));
        }
        let refused = conversations.start(u64::MAX, random());
        assert!(matches!(refused, EapAnswer::Failure { reason: ConversationFailure::TooMany, .. }));
        assert!(matches!(conversations.start(0, random()), EapAnswer::Request(_)), "a restart takes no room");
    }
}
