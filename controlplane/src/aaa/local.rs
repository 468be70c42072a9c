//! EAP conversations that are answered here, from the local users.
//!
//! Enters: the client's EAP packets, the directory. Leaves: the turns of a [`Conversation`]. Over IKEv2 every packet is
//! authentic and answered in turn, so a packet that EAP would silently discard (RFC 3748 §4.1) was meant to be what it is:
//! it ends the conversation, lest it wait for ever.

use std::sync::Arc;

use causeway_eap::{EapServer, ServerConfig, ServerRandom, Step};
use causeway_ike::api::Secret;

use super::conversations::{Conversation, ConversationFailure, EapAnswer, EapLogin, Turn, Turned, failure};
use super::directory::Directory;

/// Name of the method that a login came from, as operators see it.
const METHOD: &str = "eap-mschapv2";

/// What local conversations have in common.
pub struct LocalEap {
    config: ServerConfig,
    directory: Arc<Directory>,
}

/// One of them.
struct LocalConversation {
    server: EapServer,
    /// The Identity request, until it is sent.
    first: Vec<u8>,
    directory: Arc<Directory>,
}

impl LocalEap {
    /// `gateway_name` appears in the MSCHAPv2 challenge.
    pub fn new(gateway_name: &str, directory: Arc<Directory>) -> LocalEap {
        LocalEap { config: ServerConfig { name: gateway_name.to_owned() }, directory }
    }

    /// A conversation that has not begun.
    pub fn open(&self, random: ServerRandom) -> Box<dyn Conversation> {
        let (server, first) = EapServer::start(self.config.clone(), random);
        Box::new(LocalConversation { server, first, directory: Arc::clone(&self.directory) })
    }
}

impl Conversation for LocalConversation {
    fn start(&mut self) -> EapAnswer {
        EapAnswer::Request(std::mem::take(&mut self.first))
    }

    fn respond(self: Box<Self>, packet: Vec<u8>) -> Turn {
        Turn::Done(self.take(&packet))
    }
}

impl LocalConversation {
    fn take(mut self: Box<Self>, packet: &[u8]) -> Turned {
        let identifier = packet.get(1).copied().unwrap_or(0);
        let answer = match self.server.handle(packet, &*self.directory) {
            Step::Request(request) => EapAnswer::Request(request),
            Step::Success { authenticated, packet } => {
                let (user, msk) = authenticated.into_parts();
                let msk = Some(Secret::new(msk.as_bytes().to_vec()));
                EapAnswer::Success { packet, login: EapLogin { user, method: METHOD, msk, remote: None } }
            }
            Step::Failure { reason, packet } => EapAnswer::Failure { packet, reason: reason.into() },
            Step::Discard(reason) => failure(identifier, ConversationFailure::Protocol(reason)),
        };
        let goes_on = matches!(answer, EapAnswer::Request(_));
        Turned { conversation: goes_on.then_some(self as Box<dyn Conversation>), answer }
    }
}

#[cfg(test)]
mod tests {
    use causeway_eap::{EapPeer, FailureReason, NtHash, PeerConfig, PeerStep};
    use causeway_shared::config::{Auth, AuthMethod, User};

    use super::*;
    use crate::aaa::{Asked, Conversations};

    fn local() -> LocalEap {
        let auth = Auth {
            certificate_file: None,
            private_key_file: None,
            methods: vec![AuthMethod::EapMschapv2],
            client_ca_file: None,
            psks: vec![],
            ppk_required: false,
            ppks: vec![],
        };
        let hash = causeway_shared::config::NtHash(*NtHash::of_password("pw").as_bytes());
        let ann = User { name: "ann".into(), nt_hash: Some(hash), ..User::default() };
        LocalEap::new("gw", Arc::new(Directory::new(&auth, &[ann], &[]).unwrap()))
    }

    fn random() -> ServerRandom {
        ServerRandom { identifier: 1, challenge: [1; 16], failure_challenge: [2; 16] }
    }

    fn run(conversations: &mut Conversations, session: u64, password: &str) -> EapAnswer {
        let config =
            PeerConfig { identity: "ann".into(), user: "ann".into(), hash: NtHash::of_password(password) };
        let mut peer = EapPeer::new(config, [3; 16]);
        let mut answer = conversations.start(session, local().open(random()));
        while let EapAnswer::Request(request) = answer {
            let PeerStep::Response(response) = peer.handle(&request) else { panic!("the peer gave up") };
            answer = match conversations.respond(session, response) {
                Asked::Now(answer) => answer,
                _ => panic!("MSCHAPv2 is answered at once"),
            };
        }
        answer
    }

    #[test]
    fn the_password_decides() {
        let mut conversations = Conversations::default();
        let EapAnswer::Success { login, .. } = run(&mut conversations, 1, "pw") else { panic!() };
        assert_eq!((login.user.as_str(), login.method), ("ann", "eap-mschapv2"));
        assert!(login.msk.is_some() && conversations.is_empty());
        let EapAnswer::Failure { reason, .. } = run(&mut conversations, 2, "wrong") else { panic!() };
        assert_eq!(reason, ConversationFailure::Refused(FailureReason::BadCredentials));
        assert!(conversations.is_empty());
    }

    #[test]
    fn a_packet_out_of_place_ends_it() {
        let mut conversations = Conversations::default();
        conversations.start(1, local().open(random()));
        conversations.start(2, local().open(random()));
        let answer = conversations.respond(1, vec![2, 1, 0, 5, 99]);
        let Asked::Now(EapAnswer::Failure { packet, reason }) = answer else { panic!() };
        assert_eq!(packet, [4, 1, 0, 4]);
        assert!(matches!(reason, ConversationFailure::Protocol(_)));
        assert_eq!(conversations.len(), 1);
        conversations.abandon(2);
        assert!(conversations.is_empty());
    }
}
