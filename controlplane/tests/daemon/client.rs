//! A client: the test initiator on a UDP socket.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use causeway_controlplane::reconnect::attributes::{BANNER, DEF_DOMAIN};
use causeway_eap::anyconnect::{
    AnyConnectPeer, CLIENT_IDENTITY, ClientCertificate, FormAnswers, Password,
    PeerConfig as AnyConnectConfig, PeerInput, PeerStep as AnyConnectStep,
};
use causeway_eap::{EapPeer as Mschapv2, NtHash, PeerConfig, PeerStep};
use causeway_ike::cert::{Credential, RsaHash};
use causeway_ike::crypto::SystemRandom;
use causeway_ike::ident::Identity;
use causeway_ike::suite::Prf;
use causeway_ike::testing::{
    AuthWith, EapPeer, Initiator, InitiatorConfig, InitiatorTicket, Notable, Outgoing,
};
use causeway_shared::config::ReconnectAttributes;

use crate::gateway::{DEADLINE, Gateway, NAME, PSK};

const IKE: &str = "aes256gcm16-prfsha384-ecp384";
const ESP: &str = "aes256gcm16";
/// RFC 3948: precedes IKE on the gateway's second port.
const MARKER: [u8; 4] = [0; 4];

/// A client.
pub struct Client {
    socket: UdpSocket,
    gateway: (u16, u16),
    /// Its protocol engine.
    pub ike: Initiator,
    /// What has happened.
    pub seen: Vec<Notable>,
}

impl Client {
    /// One that knows the pre-shared key.
    pub fn psk(gateway: &Gateway, identity: &str) -> Client {
        Client::new(gateway, identity, AuthWith::Psk(PSK.as_bytes().to_vec()), |_| {})
    }

    /// One that knows a password, behind a NAT.
    pub fn eap(gateway: &Gateway, user: &str, password: &str) -> Client {
        Client::eap_with(gateway, user, password, |_| {})
    }

    /// One that comes back by a ticket.
    pub fn by_ticket(
        gateway: &Gateway,
        user: &str,
        ticket: &InitiatorTicket,
        change: impl FnOnce(&mut InitiatorConfig),
    ) -> Client {
        Client::new(gateway, user, AuthWith::Ticket(Box::new(ticket.clone())), |config| {
            config.force_nat = true;
            change(config);
        })
    }

    /// One that knows a password, behind a NAT, with other requests.
    pub fn eap_with(
        gateway: &Gateway,
        user: &str,
        password: &str,
        change: impl FnOnce(&mut InitiatorConfig),
    ) -> Client {
        let hash = NtHash::of_password(password);
        let config = PeerConfig { identity: user.to_owned(), user: user.to_owned(), hash };
        let peer = Peer(Mutex::new(PeerState { method: Mschapv2::new(config, [7; 16]), msk: None }));
        let trust = gateway.trust();
        Client::new(gateway, user, AuthWith::Eap(Box::new(peer)), |config| {
            config.trust = Some(trust);
            config.unix_secs = causeway_controlplane::clock::unix_secs();
            config.force_nat = true;
            change(config);
        })
    }

    /// Cisco's, with everything it asks for.
    pub fn anyconnect(gateway: &Gateway, user: &str, password: &str) -> Client {
        Client::anyconnect_as(gateway, AnyConnect::new(user, password), |_| {})
    }

    /// Cisco's, that behaves as told.
    pub fn anyconnect_as(
        gateway: &Gateway,
        peer: AnyConnect,
        change: impl FnOnce(&mut InitiatorConfig),
    ) -> Client {
        let trust = gateway.trust();
        Client::new(gateway, "unused.example", AuthWith::Eap(Box::new(peer)), |config| {
            config.identity = Identity::KeyId(CLIENT_IDENTITY.to_vec());
            config.trust = Some(trust);
            config.unix_secs = causeway_controlplane::clock::unix_secs();
            config.force_nat = true;
            config.attributes = asked();
            change(config);
        })
    }

    /// One that comes back with what it was told.
    pub fn resuming(gateway: &Gateway, told: &Told) -> Client {
        Client::resuming_as(gateway, told, |_| {})
    }

    /// The same, with other requests.
    pub fn resuming_as(gateway: &Gateway, told: &Told, change: impl FnOnce(&mut InitiatorConfig)) -> Client {
        let trust = gateway.trust();
        Client::new(gateway, "unused.example", AuthWith::Resume(told.token.clone()), |config| {
            config.identity = Identity::KeyId(told.id.clone());
            config.trust = Some(trust);
            config.unix_secs = causeway_controlplane::clock::unix_secs();
            config.force_nat = true;
            config.attributes = asked();
            change(config);
        })
    }

    /// What the client was told to come back with.
    pub fn told(&self) -> Option<Told> {
        let numbers = ReconnectAttributes::LAB;
        let reply = self.ike.config_reply()?;
        let value = |number| {
            let attribute = reply.attributes.iter().find(|attribute| attribute.kind.number() == number)?;
            Some(attribute.value.clone())
        };
        Some(Told { id: value(numbers.session_id)?, token: value(numbers.token)? })
    }

    fn new(
        gateway: &Gateway,
        identity: &str,
        auth: AuthWith,
        change: impl FnOnce(&mut InitiatorConfig),
    ) -> Client {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let endpoint = gateway.endpoint;
        let mut config = InitiatorConfig::new(Identity::from_text(identity), auth, IKE, ESP).unwrap();
        config.remote = Some(Identity::from_text(NAME));
        config.local = (Ipv4Addr::LOCALHOST.into(), socket.local_addr().unwrap().port());
        config.gateway = (endpoint.address, endpoint.ike_port);
        change(&mut config);
        let ike = Initiator::new(config, Box::new(SystemRandom)).unwrap();
        Client { socket, gateway: (endpoint.ike_port, endpoint.natt_port), ike, seen: Vec::new() }
    }

    /// Logs in.
    pub fn connect(mut self) -> Client {
        let first = self.ike.start().unwrap();
        self.send(first);
        self.until_seen(&Notable::Up);
        self
    }

    /// Begins to log in and goes on until something is seen.
    pub fn connect_until(&mut self, wanted: &Notable) {
        let first = self.ike.start().unwrap();
        self.send(first);
        self.until_seen(wanted);
    }

    /// Goes on until this is seen.
    pub fn until_seen(&mut self, wanted: &Notable) {
        self.until(&format!("{wanted:?}"), |client| client.seen.contains(wanted));
    }

    /// Answers the gateway until the condition holds.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Client) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < DEADLINE, "{what}: {:?}", self.seen);
            self.turn();
        }
    }

    /// Takes what has come, for a moment.
    pub fn turn(&mut self) {
        let Some(message) = self.arrived() else { return };
        let answers = self.ike.receive(&message).unwrap();
        self.seen.extend(self.ike.take_notable());
        self.send(answers);
    }

    /// The next IKE message of the gateway, which the engine does not see: on its way it was lost.
    pub fn lose_next(&mut self) -> Vec<u8> {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < DEADLINE, "nothing comes: {:?}", self.seen);
            if let Some(message) = self.arrived() {
                return message;
            }
        }
    }

    /// The next IKE message of the gateway, if one comes within a moment.
    pub fn arrived(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 65_535];
        let (len, from) = self.socket.recv_from(&mut buffer).ok()?;
        let datagram = &buffer[..len];
        let marked = from.port() == self.gateway.1;
        let message = if marked { datagram.strip_prefix(&MARKER).unwrap() } else { datagram };
        Some(message.to_vec())
    }

    /// Sends what the engine made.
    pub fn send(&self, messages: Vec<Outgoing>) {
        for Outgoing { gateway_port, bytes, .. } in messages {
            if gateway_port == self.gateway.0 {
                self.socket.send_to(&bytes, (Ipv4Addr::LOCALHOST, self.gateway.0)).unwrap();
            } else {
                let marked = [&MARKER, &bytes[..]].concat();
                self.socket.send_to(&marked, (Ipv4Addr::LOCALHOST, self.gateway.1)).unwrap();
            }
        }
    }
}

/// What a client is told to come back with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The session id.
    pub id: Vec<u8>,
    /// The token.
    pub token: Vec<u8>,
}

fn asked() -> Vec<(u16, Vec<u8>)> {
    let numbers = ReconnectAttributes::LAB;
    let all = [numbers.session_id, numbers.token, numbers.cleanup_interval, numbers.dpd_interval];
    all.into_iter().chain([BANNER, DEF_DOMAIN]).map(|number| (number, Vec::new())).collect()
}

/// AnyConnect-EAP for the initiator.
pub struct AnyConnect {
    method: AnyConnectPeer,
    user: String,
    passwords: Vec<String>,
    certificate: Option<(Credential, RsaHash)>,
    mangle: fn(u32, Vec<u8>) -> Vec<u8>,
    responses: u32,
    bound: Vec<u8>,
}

impl AnyConnect {
    /// A user with a password.
    pub fn new(user: &str, password: &str) -> AnyConnect {
        AnyConnect {
            method: AnyConnectPeer::new(AnyConnectConfig::default()),
            user: user.to_owned(),
            passwords: vec![password.to_owned()],
            certificate: None,
            mangle: |_, packet| packet,
            responses: 0,
            bound: Vec::new(),
        }
    }

    /// Who chooses a group.
    pub fn of_group(self, group: &str) -> AnyConnect {
        let config = AnyConnectConfig { group: Some(group.to_owned()), ..AnyConnectConfig::default() };
        AnyConnect { method: AnyConnectPeer::new(config), ..self }
    }

    /// Who types these first, one for each form.
    pub fn after_mistakes(mut self, wrong: &[&str]) -> AnyConnect {
        self.passwords.extend(wrong.iter().rev().map(|wrong| (*wrong).to_owned()));
        self
    }

    /// Who shows this if it is asked for; the hash is that of an RSA signature.
    pub fn with_certificate(self, credential: Credential, hash: RsaHash) -> AnyConnect {
        AnyConnect { certificate: Some((credential, hash)), ..self }
    }

    /// Whose responses are changed on their way; the number is that of the response, 1 for the first.
    pub fn mangled(self, mangle: fn(u32, Vec<u8>) -> Vec<u8>) -> AnyConnect {
        AnyConnect { mangle, ..self }
    }

    fn sign(&self) -> Option<ClientCertificate> {
        let (credential, hash) = self.certificate.as_ref()?;
        let signature = credential.sign_with(&self.bound, None, *hash).unwrap().data;
        Some(ClientCertificate {
            chain: credential.cert_payloads().map(|cert| cert.data).collect(),
            signature,
        })
    }
}

impl EapPeer for AnyConnect {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let mut step = self.method.handle(PeerInput::Packet(request));
        if let AnyConnectStep::Sign = step {
            step = self.method.handle(PeerInput::Certificate(self.sign()));
        }
        if let AnyConnectStep::FillForm(_) = step {
            let answer = |name: &str, value: &str| (name.to_owned(), Password::new(value.to_owned()));
            let password = self.passwords.pop().unwrap_or_default();
            let answers = vec![answer("username", &self.user), answer("password", &password)];
            step = self.method.handle(PeerInput::Answers(FormAnswers { answers, group: None }));
        }
        match step {
            AnyConnectStep::Response(response) => {
                self.responses += 1;
                Some((self.mangle)(self.responses, response))
            }
            _ => None,
        }
    }

    fn msk(&self) -> Option<Vec<u8>> {
        None
    }

    fn makes_key(&self) -> bool {
        false
    }

    fn bind(&mut self, signed_octets: &[u8], _prf: Prf) {
        self.bound = signed_octets.to_vec();
    }
}

/// EAP-MSCHAPv2 for the initiator.
struct Peer(Mutex<PeerState>);

struct PeerState {
    method: Mschapv2,
    msk: Option<Vec<u8>>,
}

impl EapPeer for Peer {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        match self.0.get_mut().unwrap().method.handle(request) {
            PeerStep::Response(response) => Some(response),
            _ => None,
        }
    }

    fn msk(&self) -> Option<Vec<u8>> {
        let mut state = self.0.lock().unwrap();
        if state.msk.is_none()
            // The initiator asks when EAP-Success has come; the method wants to see one.
            && let PeerStep::Success(Some(msk)) = state.method.handle(&[3, 0, 0, 4])
        {
            state.msk = Some(msk.as_bytes().to_vec());
        }
        state.msk.clone()
    }
}
