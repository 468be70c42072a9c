//! EAP conversations that are answered here, from the local users.
//!
//! Enters: the client's EAP packets, the directory. Leaves: the turns of a [`Conversation`]. Over IKEv2 every packet is
//! authentic and answered in turn, so a packet that EAP would silently discard (RFC 3748 §4.1) was meant to be what it is:
//! it ends the conversation, lest it wait for ever.

use std::sync::Arc;

use causeway_eap::{Authenticated, EapServer, EapType, ServerConfig, ServerRandom, Step};
use causeway_ike::api::Secret;

use super::conversations::{Conversation, ConversationFailure, EapAnswer, EapLogin, Turn, Turned, failure};
use super::directory::Directory;

/// What local conversations have in common.
pub struct LocalEap {
    config: Arc<ServerConfig>,
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
    /// All conversations are held by this configuration.
    pub fn new(config: ServerConfig, directory: Arc<Directory>) -> LocalEap {
        LocalEap { config: Arc::new(config), directory }
    }

    /// Conversations that begin from now on are held by this configuration.
    pub fn renew(&mut self, config: ServerConfig) {
        self.config = Arc::new(config);
    }

    /// A conversation that has not begun.
    pub fn open(&self, random: ServerRandom) -> Box<dyn Conversation> {
        let (server, first) = EapServer::start(Arc::clone(&self.config), random);
        Box::new(LocalConversation { server, first, directory: Arc::clone(&self.directory) })
    }
}

impl Conversation for LocalConversation {
    fn start(&mut self) -> EapAnswer {
        EapAnswer::Request(std::mem::take(&mut self.first))
    }

    fn respond(self: Box<Self>, packet: Vec<u8>) -> Turn {
        match self.server.works_hard() {
            true => Turn::Work(Box::new(move || self.take(&packet))),
            false => Turn::Done(self.take(&packet)),
        }
    }
}

impl LocalConversation {
    fn take(mut self: Box<Self>, packet: &[u8]) -> Turned {
        let identifier = packet.get(1).copied().unwrap_or(0);
        let answer = match self.server.handle(packet, &*self.directory) {
            Step::Request(request) => EapAnswer::Request(request),
            Step::Success { authenticated, packet } => {
                let method = name(&authenticated);
                let (user, msk) = authenticated.into_parts();
                let msk = msk.map(|msk| Secret::new(msk.as_bytes().to_vec()));
                EapAnswer::Success { packet, login: EapLogin { user, method, msk, remote: None } }
            }
            Step::Failure { reason, packet } => EapAnswer::Failure { packet, reason: reason.into() },
            Step::Discard(reason) => failure(identifier, ConversationFailure::Protocol(reason)),
        };
        let goes_on = matches!(answer, EapAnswer::Request(_));
        Turned { conversation: goes_on.then_some(self as Box<dyn Conversation>), answer }
    }
}

/// The method, and what verified the user inside of it, as operators see it.
fn name(authenticated: &Authenticated) -> &'static str {
    match (authenticated.method(), authenticated.inner()) {
        (EapType::TTLS, Some("pap")) => "eap-ttls/pap",
        (EapType::TTLS, Some("mschapv2")) => "eap-ttls/mschapv2",
        (EapType::TTLS, Some("eap-mschapv2")) => "eap-ttls/eap-mschapv2",
        (EapType::TTLS, Some("eap-gtc")) => "eap-ttls/eap-gtc",
        (EapType::TTLS, Some("eap-md5")) => "eap-ttls/eap-md5",
        (EapType::PEAP, Some("eap-mschapv2")) => "eap-peap/eap-mschapv2",
        (EapType::PEAP, Some("eap-gtc")) => "eap-peap/eap-gtc",
        (EapType::PEAP, Some("eap-md5")) => "eap-peap/eap-md5",
        (method, _) => method.name(),
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
            eap_only: false,
            ppk_required: false,
            revocation: Default::default(),
            ppks: vec![],
        };
        let hash = causeway_shared::config::NtHash(*NtHash::of_password("pw").as_bytes());
        let ann = User { name: "ann".into(), nt_hash: Some(hash), ..User::default() };
        let config = ServerConfig { name: "gw".into(), methods: vec![EapType::MSCHAPV2], tls: None };
        LocalEap::new(config, Arc::new(Directory::new(&auth, &[ann], &[]).unwrap()))
    }

    fn random() -> ServerRandom {
        ServerRandom::draw(|octets| octets.fill(1))
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
