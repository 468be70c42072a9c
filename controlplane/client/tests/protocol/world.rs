//! A client, a gateway, and a network between them that can lose datagrams.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use causeway_client::attributes::{AttributeNumbers, Granted, Reconnect};
use causeway_client::config::Method;
use causeway_client::esp::Tunnels;
use causeway_client::initiator::{
    Connection, DownReason, Fault, GatewayPort, Initiator, InitiatorConfig, Output, Proof,
};
use causeway_client::method::{Answers, AnyConnect, Question, device};
use causeway_eap::anyconnect::Password;
use causeway_ike::api::{Datagram, Input};
use causeway_ike::cert::Credential;
use causeway_ike::crypto::SystemRandom;
use causeway_ike::ident::Identity;
use causeway_ike::time::Instant;

use crate::gateway::{Gateway, NAME, Pki, UNIX_NOW, USER};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Simulated time after which nothing more is expected.
const LIMIT_MILLIS: u64 = 300_000;

/// Everything.
pub struct World {
    pub gateway: Gateway,
    pub now: Instant,
    pub client: Option<Initiator>,
    pub tunnels: Tunnels,
    pub granted: Option<Granted>,
    pub failed: Option<Fault>,
    pub down: Option<DownReason>,
    pub dpd_answered: u32,
    pub children: u32,
    /// Whether the newest Child SA counts in 64 bits.
    pub long_numbers: Option<bool>,
    pub ike_rekeys: u32,
    /// Port of the client; another one after a suspend.
    pub port: u16,
    /// Whether the n-th datagram of the gateway, counted from the connection's start, is lost.
    pub loses: fn(u32) -> bool,
    arrived: u32,
    config: Arc<InitiatorConfig>,
    /// Longest IKE datagram of either side.
    pub longest: usize,
    /// Datagrams of payload 132, of either side.
    pub clear_pieces: u32,
    /// Whether each datagram comes twice, and those of one moment in reverse.
    pub disorder: bool,
    /// Whether damaged copies of each protected datagram arrive before it does.
    pub damage: bool,
}

/// The first payload of Cisco's fragments, and where an IKE header has its type.
const CLEAR_PIECE: (usize, u8) = (16, 132);
/// Where an IKE header has its exchange type, and the one that nothing protects.
const EXCHANGE: usize = 18;
const IKE_SA_INIT: u8 = 34;

/// Answers from a list.
pub struct Listed(Arc<Mutex<Vec<String>>>, pub Arc<Mutex<Vec<String>>>);

impl Answers for Listed {
    fn show(&mut self, text: &str) {
        self.1.lock().unwrap().push(text.to_owned());
    }

    fn answer(&mut self, question: &Question<'_>) -> Option<Password> {
        if question.name == "username" {
            return Some(Password::new(USER.into()));
        }
        let mut answers = self.0.lock().unwrap();
        (!answers.is_empty()).then(|| Password::new(answers.remove(0)))
    }
}

pub fn initiator(pki: &Pki, ike: &str, esp: &str) -> InitiatorConfig {
    InitiatorConfig {
        gateway_name: Identity::Fqdn(NAME.into()),
        trust: pki.trust(),
        ike: vec![ike.parse().unwrap()],
        esp: vec![esp.parse().unwrap()],
        fragment_octets: Some(1200),
        cisco_fragment_octets: Some(1200),
        attributes: AttributeNumbers::default(),
        version: "Causeway test".into(),
        cisco_vendor_ids: true,
        ipv6: false,
        dpd_interval_secs: 30,
        child_lifetime_secs: 0,
        ike_lifetime_secs: 0,
    }
}

impl World {
    pub fn new(gateway: Gateway, config: InitiatorConfig) -> World {
        World {
            gateway,
            now: Instant::from_millis(1_000_000),
            client: None,
            tunnels: Tunnels::default(),
            granted: None,
            failed: None,
            down: None,
            dpd_answered: 0,
            children: 0,
            long_numbers: None,
            ike_rekeys: 0,
            port: 50_000,
            loses: |_| false,
            arrived: 0,
            config: Arc::new(config),
            longest: 0,
            clear_pieces: 0,
            disorder: false,
            damage: false,
        }
    }

    /// Logs in with these answers; returns what the user was shown.
    pub fn log_in(&mut self, answers: &[&str], certificate: Option<Credential>) -> Vec<String> {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let listed = Listed(Arc::new(Mutex::new(answers)), shown.clone());
        let client = device("Causeway test", "laptop", &"ab".repeat(32));
        let method = AnyConnect::new(client, NAME, None, Box::new(listed), certificate);
        let identity = Identity::parse(201, b"*$AnyConnectClient$*").unwrap();
        assert_eq!(Method::default(), Method::AnyconnectEap);
        self.connect(identity, Proof::Eap(Box::new(method)));
        shown.lock().unwrap().clone()
    }

    /// Resumes a session from a new port.
    pub fn resume(&mut self, reconnect: &Reconnect) {
        self.port += 1;
        let identity = Identity::KeyId(reconnect.session_id.clone().into_bytes());
        self.connect(identity, Proof::Token(reconnect.token.clone()));
    }

    /// Connects and runs until the outcome.
    pub fn connect(&mut self, identity: Identity, proof: Proof) {
        let connection = Connection { identity, proof, gateway: (GATEWAY.into(), 500), unix_secs: UNIX_NOW };
        let client =
            Initiator::start(self.config.clone(), connection, Box::new(SystemRandom), self.now).unwrap();
        self.client = Some(client);
        self.tunnels = Tunnels::default();
        (self.granted, self.failed, self.down) = (None, None, None);
        (self.arrived, self.children) = (0, 0);
        self.run_until(|world| world.granted.is_some() || world.failed.is_some());
    }

    /// What the gateway granted.
    pub fn granted(&self) -> &Granted {
        self.granted.as_ref().unwrap_or_else(|| panic!("no connection: {:?}", self.failed))
    }

    /// Runs until this holds.
    pub fn run_until(&mut self, holds: impl Fn(&World) -> bool) {
        let end = self.now.plus_millis(LIMIT_MILLIS);
        loop {
            self.exchange();
            if holds(self) {
                return;
            }
            let client = self.client.as_ref().and_then(Initiator::next_wakeup);
            let next = [client, self.gateway.next_wakeup()].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| panic!("nothing will happen any more: {:?}", self.down));
            assert!(next < end, "it does not happen");
            self.now = self.now.max(next);
            self.gateway.input(self.now, Input::Timer);
            if let Some(client) = &mut self.client {
                client.on_timer(self.now);
            }
        }
    }

    /// A packet to the gateway and one back.
    pub fn ping(&mut self) {
        let mut packet = vec![0x45, 0, 0, 60];
        packet.resize(60, 0x11);
        let sealed = self.tunnels.seal(&packet).expect("the client has a tunnel");
        assert_eq!(self.gateway.tunnels.open(&sealed), Some(packet.clone()), "to the gateway");
        let sealed = self.gateway.tunnels.seal(&packet).expect("the gateway has a tunnel");
        assert_eq!(self.tunnels.open(&sealed), Some(packet), "from the gateway");
    }

    /// Delivers until nothing moves.
    pub fn exchange(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.client.as_mut().and_then(Initiator::next_output) {
                moved = true;
                self.perform(output);
            }
            while let Some(datagram) = self.gateways_next() {
                moved = true;
                self.look_at(&datagram.bytes);
                if datagram.peer_port != self.port {
                    continue;
                }
                self.arrived += 1;
                if self.damage && datagram.bytes[EXCHANGE] != IKE_SA_INIT {
                    self.deliver_damaged(&datagram.bytes);
                }
                if !(self.loses)(self.arrived)
                    && let Some(client) = &mut self.client
                {
                    client.receive(self.now, &datagram.bytes);
                    if self.disorder {
                        client.receive(self.now, &datagram.bytes);
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Each octet changed in turn (every third, for time), and the datagram cut short: nothing may come of it.
    fn deliver_damaged(&mut self, bytes: &[u8]) {
        let Some(client) = &mut self.client else { return };
        for at in (0..bytes.len()).step_by(3) {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << (at % 8);
            client.receive(self.now, &changed);
            client.receive(self.now, &bytes[..at]);
        }
        assert!(client.next_output().is_none(), "a damaged datagram had an effect");
    }

    fn gateways_next(&mut self) -> Option<Datagram> {
        match self.disorder {
            true => self.gateway.outbox.pop_back(),
            false => self.gateway.outbox.pop_front(),
        }
    }

    fn look_at(&mut self, bytes: &[u8]) {
        self.longest = self.longest.max(bytes.len());
        self.clear_pieces += u32::from(bytes.get(CLEAR_PIECE.0) == Some(&CLEAR_PIECE.1));
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send(outgoing) => {
                self.look_at(&outgoing.bytes);
                let local_port = if outgoing.port == GatewayPort::Ike { 500 } else { 4500 };
                let datagram = Datagram {
                    local: GATEWAY.into(),
                    local_port,
                    peer: Ipv4Addr::new(198, 51, 100, 7).into(),
                    peer_port: self.port,
                    bytes: outgoing.bytes,
                };
                self.gateway.input(self.now, Input::Datagram(datagram));
            }
            Output::Up(granted) => self.granted = Some(*granted),
            Output::ChildUp(child) => {
                self.children += 1;
                self.long_numbers = Some(child.esn);
                assert!(self.tunnels.add(&child));
            }
            Output::ChildDown(spi) => self.tunnels.remove(spi),
            Output::IkeRekeyed => self.ike_rekeys += 1,
            Output::DpdAnswered => self.dpd_answered += 1,
            Output::Failed(fault) => self.failed = Some(fault),
            Output::Down(reason) => self.down = Some(reason),
        }
    }
}
