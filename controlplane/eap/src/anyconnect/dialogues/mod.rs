//! Whole dialogues, and everything a stranger may say in between: what the tests have in common.

mod logins;
mod peers;
mod strangers;

use super::framing::{Content, Frame, Tlvs};
use super::message::{Ack, Answer, AuthReply, ClientMessage, Init};
use super::*;

const SIGNED_OCTETS: &[u8] = b"what the client signs";

const LEAF: &[u8] = include_bytes!("../testdata/leaf.der");

const CA: &[u8] = include_bytes!("../testdata/ca.der");

fn config() -> ServerConfig {
    ServerConfig {
        certificate: CertificateUse::None,
        title: "Login".into(),
        message: "Please enter your username and password.".into(),
        banner: "Welcome & be good".into(),
        groups: vec![],
        attempts: 3,
        client_services_port: None,
        server_cert_hash: [0xab; 20],
        profile: None,
    }
}

fn setup() -> ConversationSetup {
    ConversationSetup {
        identifier: 1,
        handle: 77,
        session_number: 4242,
        session_secret: [0xcd; 20],
        initiator_signed_octets: SIGNED_OCTETS.to_vec(),
    }
}

fn client() -> ClientInfo {
    ClientInfo {
        version: "4.9.01095".into(),
        device: Device {
            platform: "linux-64".into(),
            computer_name: "ann's <laptop>".into(),
            device_type: "X".into(),
            platform_version: "6.1".into(),
            unique_id: "ab".repeat(32),
            unique_id_global: "cd".repeat(20),
        },
        mac_addresses: vec![
            MacAddress { address: "00-00-5e-00-53-01".into(), public_interface: true },
            MacAddress { address: "00-00-5e-00-53-02".into(), public_interface: false },
        ],
        auth_methods: vec!["multiple-cert".into(), "single-sign-on".into()],
    }
}

fn document_of(request: &[u8]) -> (u8, String) {
    let Ok(Frame::Request { identifier, content: Content::AnyConnect(tlvs) }) = Frame::decode(request) else {
        panic!("no request: {request:02x?}")
    };
    assert!(tlvs.unknown.is_empty() && tlvs.chain.is_none() && tlvs.signature.is_none());
    (identifier, String::from_utf8(tlvs.document.unwrap().to_vec()).unwrap())
}

const RIGHT: (&str, &str) = ("ann", " s3cret<&>\" ");

/// A server under trial.
struct Tried(AnyConnectServer);

impl Tried {
    fn say(&mut self, identifier: u8, message: &ClientMessage) -> Step {
        self.0.handle(Input::Packet(&response(identifier, message)))
    }
}

/// A server that has sent its second request: a form, or the wish for a certificate.
fn at_form(config: ServerConfig) -> Tried {
    let mut server = Tried(AnyConnectServer::start(config.into(), setup()).0);
    let init = ClientMessage::Init(Init { client: client(), ..Init::default() });
    assert!(matches!(server.say(1, &init), Step::Request(_)));
    server
}

/// A peer that has sent init.
fn introduced() -> AnyConnectPeer {
    let mut peer = AnyConnectPeer::new(PeerConfig { client: client(), ..PeerConfig::default() });
    let (_, hello) = AnyConnectServer::start(config().into(), setup());
    assert!(matches!(peer.handle(PeerInput::Packet(&hello)), PeerStep::Response(_)));
    peer
}

fn response(identifier: u8, message: &ClientMessage) -> Vec<u8> {
    let document = message.write().unwrap();
    Tlvs::of_document(document.as_bytes()).encode_response(identifier).unwrap()
}

fn reply((user, password): (&str, &str), group: Option<&str>) -> ClientMessage {
    let answer = |name: &str, value: &str| Answer { name: name.into(), value: Password::new(value.into()) };
    ClientMessage::AuthReply(AuthReply {
        client: client(),
        opaque: None,
        answers: vec![answer("username", user), answer("password", password)],
        group_select: group.map(str::to_owned),
    })
}

fn ack() -> ClientMessage {
    ClientMessage::Ack(Ack { client: client() })
}
