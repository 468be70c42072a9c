//! The reconnect storm: the gateway has restarted, and every client comes back at once.
//!
//! Enters: how many clients, a seed. Leaves: a [`Report`], or the first promise that was broken: everybody is given its own
//! session and address back, nobody anybody else's, the counters add up, and afterwards nothing is left over. The endpoint,
//! its cryptography, the reconnect table, the pools and the store in memory are the real ones; clock, network and the
//! gateway's cores are models ([`cores`]).

mod census;
pub mod cores;
mod gateway;
mod report;
mod restart;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use causeway_controlplane::store::DurableId;
use causeway_ike::api::{Datagram, Input};
use causeway_ike::ident::Identity;
use causeway_ike::wire::CfgAttributeType;
use causeway_shared::config::ReconnectAttributes;

use crate::client::{Client, ClientConfig, Families, Login, Phase, Wish};
use crate::net::{Load, Network, Packet, Weather};
use crate::queue::Queue;
use crate::rng::Rng;
use crate::setup;
use cores::{Cores, Cpu};
use gateway::{Effect, Gateway, Work};
pub use report::Report;

/// How bad the network is: it loses, doubles, and delays so unevenly that datagrams overtake each other.
const WEATHER: Weather =
    Weather { loss_permille: 30, duplicate_permille: 20, delay_min_ms: 10, delay_max_ms: 120 };
/// All clients notice within this time that the gateway is back.
const ARRIVAL_MS: u64 = 5_000;
/// Clients that are suspended amid their attempt, in thousandths, and come back a little later.
const SUSPENDED_PERMILLE: u64 = 20;
/// When, after the attempt began.
const SUSPENDED_AFTER_MS: (u64, u64) = (50, 1_500);
/// For how long. Longer than a datagram is under way, or a late copy of the first attempt would compete with the second.
const SUSPENDED_FOR_MS: (u64, u64) = (1_000, 3_000);
/// A client that was not served tries again after this time.
const RETRY_MS: (u64, u64) = (1_000, 3_000);
/// Attempts of one client before the storm counts as failed.
const MAX_ATTEMPTS: u32 = 20;
/// Virtual time after which whoever is not back never will be.
const LIMIT_MS: u64 = 300_000;
/// Handshakes that lost their client are forgotten within this time.
const AFTERMATH_MS: u64 = 40_000;
/// First address of the clients' own.
const OUTSIDE: u32 = u32::from_be_bytes([100, 64, 0, 0]);
/// Progress is told each time so much virtual time has passed.
const PROGRESS_MS: u64 = 1_000;

/// Brings `count` clients back. `tell` is told how it goes.
///
/// # Errors
/// The first promise that was broken.
pub fn run(count: u32, seed: u64, tell: &mut dyn FnMut(&str)) -> Result<Report, String> {
    let mut storm = Storm::new(count, seed)?;
    storm.blow(tell)?;
    storm.settle()?;
    storm.check_everybody_is_back()?;
    let back = storm.report();
    tell("everybody is back; everybody leaves");
    storm.leave()?;
    storm.check_nothing_is_left()?;
    Ok(back)
}

/// A client and what it must get back.
struct Returner {
    client: Client,
    id: DurableId,
    inner: Ipv4Addr,
    /// The token it holds: the one it was told last.
    token: Vec<u8>,
    attempts: u32,
    up_at_ms: Option<u64>,
    tick_at_ms: Option<u64>,
    /// It takes no notice of the network.
    suspended: bool,
}

enum What {
    Begin(usize),
    Suspend(usize),
    Confirm(usize),
    Leave(usize),
    ClientTick(usize),
    ToClient(usize, Packet),
    ToGateway(Packet),
    /// The protocol's core gets to it.
    Serve(Packet),
    GatewayTick,
    Work(Work),
}

struct Storm {
    queue: Queue<What>,
    network: Network,
    gateway: Gateway,
    gateway_tick_at_ms: Option<u64>,
    returners: Vec<Returner>,
    by_address: HashMap<IpAddr, usize>,
    cores: Cores,
    rng: Rng,
    up: usize,
    last_up_ms: u64,
    suspensions: u64,
    attempts: u64,
    failures: u64,
    peak_half_open: usize,
    cpu: Cpu,
}

impl Storm {
    fn new(count: u32, seed: u64) -> Result<Storm, String> {
        let (gateway, returning) = restart::restart(count, seed)?;
        let (_, gateway_key, gateway_identity) = setup::gateway_identity()?;
        let mut rng = Rng::stream(seed, "storm");
        let mut queue = Queue::new(0);
        let mut returners = Vec::with_capacity(returning.len());
        let mut by_address = HashMap::with_capacity(returning.len());
        let ike: Vec<_> = vec![parse("aes256gcm16-prfsha384-x25519")?];
        let esp = vec![parse("aes256gcm16")?];
        let numbers = ReconnectAttributes::LAB;
        for (index, (address, waiting)) in (OUTSIDE + 1..).map(Ipv4Addr::from).zip(returning).enumerate() {
            let token = waiting.token.as_bytes().to_vec();
            let config = ClientConfig {
                address: address.into(),
                gateway: setup::GATEWAY,
                gateway_identity: gateway_identity.clone(),
                gateway_key: gateway_key.clone(),
                identity: Identity::KeyId(waiting.id.as_bytes().to_vec()),
                login: Login::Resume(token.clone()),
                ike: ike.clone(),
                first_group: causeway_ike::suite::Group::Curve25519,
                esp: esp.clone(),
                port_4500_at_once: false,
                initial_contact: false,
                families: Families::V4,
                attributes: vec![numbers.session_id, numbers.token, numbers.cleanup_interval],
            };
            let client = Client::new(config, Rng::stream(seed, &format!("client{index}")));
            by_address.insert(address.into(), index);
            let (id, inner) = (waiting.id, waiting.inner);
            returners.push(Returner {
                client,
                id,
                inner,
                token,
                attempts: 0,
                up_at_ms: None,
                tick_at_ms: None,
                suspended: false,
            });
            let begins_ms = rng.between(0, ARRIVAL_MS);
            queue.at(begins_ms, What::Begin(index));
            if rng.chance(SUSPENDED_PERMILLE) {
                let (low, high) = SUSPENDED_AFTER_MS;
                queue.at(begins_ms + rng.between(low, high), What::Suspend(index));
            }
        }
        Ok(Storm {
            queue,
            network: Network::new(WEATHER, Rng::stream(seed, "network")),
            gateway,
            gateway_tick_at_ms: None,
            returners,
            by_address,
            cores: Cores::default(),
            rng,
            up: 0,
            last_up_ms: 0,
            suspensions: 0,
            attempts: 0,
            failures: 0,
            peak_half_open: 0,
            cpu: Cpu::default(),
        })
    }

    /// Until everybody is back.
    fn blow(&mut self, tell: &mut dyn FnMut(&str)) -> Result<(), String> {
        let mut tell_at_ms = PROGRESS_MS;
        while self.up < self.returners.len() || self.returners.iter().any(|returner| returner.suspended) {
            let Some(what) = self.queue.pop_until(LIMIT_MS) else {
                let missing = self.returners.len() - self.up;
                return Err(format!("{missing} clients were not back after {LIMIT_MS} ms"));
            };
            self.happen(what)?;
            if self.queue.now_ms() >= tell_at_ms {
                tell_at_ms = (self.queue.now_ms() / PROGRESS_MS + 1) * PROGRESS_MS;
                let half_open = self.gateway.endpoint().half_open();
                tell(&format!(
                    "{:>4} s: {} back, {half_open} half-open",
                    self.queue.now_ms() / 1000,
                    self.up
                ));
            }
        }
        Ok(())
    }

    /// Until handshakes that lost their client are forgotten.
    fn settle(&mut self) -> Result<(), String> {
        let until_ms = self.queue.now_ms() + AFTERMATH_MS;
        while let Some(what) = self.queue.pop_until(until_ms) {
            self.happen(what)?;
        }
        self.queue.advance_to(until_ms);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), String> {
        for index in 0..self.returners.len() {
            let after_ms = self.rng.between(0, ARRIVAL_MS);
            self.queue.after(after_ms, What::Leave(index));
        }
        self.settle()
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        let now = self.queue.now_ms();
        match what {
            What::Begin(index) => self.begin(index),
            What::Suspend(index) => {
                self.suspensions += 1;
                self.returners[index].client.crash();
                self.returners[index].suspended = true;
                self.note_phase(index)?;
                let (low, high) = SUSPENDED_FOR_MS;
                let back_ms = self.rng.between(low, high);
                self.queue.after(back_ms, What::Begin(index));
                Ok(())
            }
            What::Confirm(index) => self.wish(index, Wish::Liveness),
            What::Leave(index) => self.wish(index, Wish::Delete),
            What::ClientTick(index) => {
                self.returners[index].tick_at_ms = None;
                let measured = Cpu::begin();
                self.returners[index].client.tick(now);
                self.cpu.clients += measured.end();
                self.after_client(index)
            }
            What::ToClient(index, packet) => {
                let Load::Ike(bytes) = &packet.load else { return Ok(()) };
                let measured = Cpu::begin();
                self.returners[index].client.receive(now, packet.from, bytes);
                self.cpu.clients += measured.end();
                self.after_client(index)
            }
            What::ToGateway(packet) => {
                if let Some(at_ms) = self.cores.protocol(now) {
                    self.queue.at(at_ms, What::Serve(packet));
                }
                Ok(())
            }
            What::Serve(packet) => {
                self.cores.served();
                let Load::Ike(bytes) = packet.load else { return Ok(()) };
                let (to, from) = (packet.to, packet.from);
                let datagram = Datagram {
                    local: to.ip(),
                    local_port: to.port(),
                    peer: from.ip(),
                    peer_port: from.port(),
                    bytes,
                };
                self.input(Input::Datagram(datagram))
            }
            What::GatewayTick => {
                self.gateway_tick_at_ms = None;
                self.input(Input::Timer)
            }
            What::Work(work) => {
                let public_key = matches!(work, Work::PublicKey(..));
                if public_key {
                    self.cores.worked();
                }
                let measured = Cpu::begin();
                let effects = self.gateway.work(now, work)?;
                let spent = measured.end();
                self.cpu.gateway += spent;
                if public_key {
                    self.cpu.public_key += spent;
                }
                self.perform(effects)
            }
        }
    }

    fn begin(&mut self, index: usize) -> Result<(), String> {
        let now = self.queue.now_ms();
        let returner = &mut self.returners[index];
        returner.attempts += 1;
        returner.suspended = false;
        if returner.attempts > MAX_ATTEMPTS {
            return Err(format!("client {index} was not served in {MAX_ATTEMPTS} attempts"));
        }
        self.attempts += 1;
        let measured = Cpu::begin();
        returner.client.prove_by(Login::Resume(returner.token.clone()));
        returner.client.connect(now);
        self.cpu.clients += measured.end();
        self.after_client(index)
    }

    fn wish(&mut self, index: usize, wish: Wish) -> Result<(), String> {
        let now = self.queue.now_ms();
        self.returners[index].client.wish(now, wish);
        self.after_client(index)
    }

    /// Sends what a client has to send, sets its alarm, and looks at where it stands.
    fn after_client(&mut self, index: usize) -> Result<(), String> {
        for packet in self.returners[index].client.drain() {
            for (delay, packet) in self.network.to_gateway(packet) {
                self.queue.after(delay, What::ToGateway(packet));
            }
        }
        let returner = &mut self.returners[index];
        if let Some(at) = returner.client.next_wakeup()
            && returner.tick_at_ms.is_none_or(|due| at < due)
        {
            returner.tick_at_ms = Some(at);
            self.queue.at(at, What::ClientTick(index));
        }
        self.note_phase(index)
    }

    fn note_phase(&mut self, index: usize) -> Result<(), String> {
        let now = self.queue.now_ms();
        let returner = &mut self.returners[index];
        if let Some(fault) = returner.client.faults().first() {
            return Err(format!("client {index}: {fault}"));
        }
        match (returner.client.phase(), returner.up_at_ms) {
            (Phase::Up, None) => {
                let numbers = ReconnectAttributes::LAB;
                let told = |number| told(&returner.client, number);
                if returner.client.inner().v4 != Some(returner.inner) {
                    let got = returner.client.inner().v4;
                    return Err(format!("client {index} had {} and was given {got:?}", returner.inner));
                }
                if told(numbers.session_id) != Some(returner.id.as_bytes()) {
                    return Err(format!("client {index} was given another session"));
                }
                let token = told(numbers.token).ok_or(format!("client {index} was told no token"))?;
                returner.token = token.to_vec();
                returner.up_at_ms = Some(now);
                self.up += 1;
                self.last_up_ms = self.last_up_ms.max(now);
                let soon_ms = self.rng.between(0, 300);
                self.queue.after(soon_ms, What::Confirm(index));
            }
            (Phase::Gone(_), up) => {
                if up.is_some() {
                    self.up -= 1;
                    returner.up_at_ms = None;
                }
                let left = matches!(returner.client.phase(), Phase::Gone(crate::client::End::Deleted));
                if !returner.suspended && !left {
                    // It was refused, or never answered. Suspended in the eyes of this loop until it begins anew.
                    self.failures += 1;
                    returner.suspended = true;
                    let (low, high) = RETRY_MS;
                    let again_ms = self.rng.between(low, high);
                    self.queue.after(again_ms, What::Begin(index));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        let measured = Cpu::begin();
        let effects = self.gateway.handle(self.queue.now_ms(), input)?;
        self.cpu.gateway += measured.end();
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        let now = self.queue.now_ms();
        for effect in effects {
            match effect {
                Effect::Transmit(datagram) => {
                    let from = SocketAddr::new(datagram.local, datagram.local_port);
                    let to = SocketAddr::new(datagram.peer, datagram.peer_port);
                    let packet = Packet { from, to, load: Load::Ike(datagram.bytes) };
                    for (delay, packet) in self.network.to_client(packet) {
                        if let Some(index) = self.by_address.get(&packet.to.ip()) {
                            self.queue.after(delay, What::ToClient(*index, packet));
                        }
                    }
                }
                Effect::Later(work @ Work::PublicKey(..)) => match self.cores.public_key(now) {
                    Some(at_ms) => self.queue.at(at_ms, What::Work(work)),
                    None => {
                        let refused = work.unavailable();
                        self.queue.at(now, What::Work(refused));
                    }
                },
                Effect::Later(work) => {
                    let at_ms = self.cores.in_order(now, self.rng.between(0, 2));
                    self.queue.at(at_ms, What::Work(work));
                }
            }
        }
        self.peak_half_open = self.peak_half_open.max(self.gateway.endpoint().half_open());
        if let Some(at) = self.gateway.next_wakeup_ms()
            && self.gateway_tick_at_ms.is_none_or(|due| at < due)
        {
            self.gateway_tick_at_ms = Some(at);
            self.queue.at(at, What::GatewayTick);
        }
        Ok(())
    }
}

/// The value of an attribute that a client was granted.
fn told(client: &Client, number: u16) -> Option<&[u8]> {
    let kind = CfgAttributeType::from_number(number);
    client
        .granted()
        .iter()
        .find(|attribute| attribute.kind == kind)
        .map(|attribute| attribute.value.as_slice())
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
