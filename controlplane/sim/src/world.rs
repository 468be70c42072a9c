//! A whole world from one seed: clients, network, gateway, data plane, and everything that befalls them.
//!
//! Enters: a seed. Leaves: a [`Report`], or the [`Violation`] of a promise with the story that led there. Three acts: a storm
//! in which things go wrong; calm weather in which both sides must come to agree; and an end after which nothing may be left.
//!
//! Long because the order of things is what it is about; what the parts do is in the parts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use causeway_ike::Held;
use causeway_ike::api::{
    AddressRequest, ChildCommand, ChildInstall, DataPlaneEvent, Datagram, Event, Input, JobId, JobResult,
    Operator, SessionId, WakeReason,
};
use causeway_ike::job::PublicKeyJob;
use causeway_ike::wire::Header;

use crate::agreement;
use crate::client::{Client, Phase, Wish};
use crate::faults::{Counts, Fate, Fault, PATIENCE_MS, Trouble, Troubles, WALL_CLOCK_LOST_SECS};
use crate::gateway::{Effect, Gateway, Remains, UNIX_SECS};
use crate::hostile::Attacker;
use crate::net::{Load, Network, Packet, Weather};
use crate::plane::Verdict;
use crate::plane::addresses;
use crate::queue::Queue;
use crate::rng::Rng;
use crate::setup;
use crate::story::Story;

/// Length of the storm.
const STORM_MS: u64 = 120_000;
/// Calm after it: more than the longest retransmission of either side, liveness checks and half-open timeouts together.
const CALM_MS: u64 = 300_000;
/// When clients ask a second time whether the gateway lives: it has given up by then, or never will.
const ASK_AGAIN_MS: u64 = 60_000;
/// Window in which a moment of agreement must be found; longer than a rekey with its linger takes.
const AGREEMENT_MS: u64 = 90_000;
const AGREEMENT_STEP_MS: u64 = 250;
/// Time for the end.
const END_MS: u64 = 90_000;
/// Events above which a world is taken for one that never rests.
const MAX_EVENTS: u64 = 400_000;
/// Where forged IKE_SA_INIT requests come from, so that their answers confuse nobody else.
const ATTACKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66)), 500);
const ESP_INTERVAL_MS: u64 = 200;

/// What a run led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Clients in this world.
    pub clients: u64,
    /// Sessions that came up.
    pub sessions_up: u64,
    /// Clients that were up when the weather had calmed.
    pub agreed: u64,
    /// Child SAs installed; as many were removed.
    pub installs: u64,
    /// Forged datagrams that changed nothing.
    pub attacks: u64,
    /// ESP packets opened by their receiver.
    pub esp_accepted: u64,
    /// Things that happened.
    pub events: u64,
    /// What went wrong, and how often.
    pub faults: Counts,
}

impl Report {
    /// Both worlds together.
    pub fn plus(self, other: Report) -> Report {
        Report {
            clients: self.clients + other.clients,
            sessions_up: self.sessions_up + other.sessions_up,
            agreed: self.agreed + other.agreed,
            installs: self.installs + other.installs,
            attacks: self.attacks + other.attacks,
            esp_accepted: self.esp_accepted + other.esp_accepted,
            events: self.events + other.events,
            faults: self.faults.plus(other.faults),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { clients, sessions_up, agreed, installs, attacks, esp_accepted, events, faults } = self;
        write!(
            f,
            "{clients} clients, {sessions_up} sessions, {agreed} up in the end, {installs} Child SAs, "
        )?;
        writeln!(f, "{attacks} forged datagrams, {esp_accepted} ESP packets, {events} events")?;
        write!(f, "faults: {faults}")
    }
}

/// A broken promise.
pub struct Violation {
    /// Which world.
    pub seed: u64,
    /// What was broken.
    pub what: String,
    /// How it came to that.
    pub story: Vec<String>,
}

/// What can be due.
enum What {
    ToGateway(Packet),
    ToClient(usize, Packet),
    ClientTick(usize),
    GatewayTick,
    PublicKey(JobId, Box<PublicKeyJob>),
    Address(JobId, SessionId, AddressRequest),
    Install(JobId, Box<ChildInstall>),
    Command(ChildCommand),
    Answer(JobId, JobResult),
    Act(usize, Act),
    Traffic(usize),
    Trouble(Trouble),
    ClockRight,
    PlaneEvent(DataPlaneEvent),
}

/// What befalls a client, or its session.
#[derive(Clone, Copy, Debug)]
enum Act {
    Connect,
    Wish(Wish),
    Crash,
    Rebind,
    Dark(bool),
    OperatorDelete,
    OperatorRekeyIke,
    OperatorRekeyChildren,
    SoftExpired,
    HardExpired,
}

/// Runs the world of this seed. With `echo` the story is printed as it happens.
pub fn run(seed: u64, echo: bool) -> Result<Report, Box<Violation>> {
    play(seed, echo).map(|(report, _)| report)
}

/// Runs the world of this seed, and tells its story.
pub fn tell(seed: u64) -> Result<(Report, Vec<String>), Box<Violation>> {
    play(seed, false).map(|(report, story)| (report, story.lines().to_vec()))
}

fn play(seed: u64, echo: bool) -> Result<(Report, Story), Box<Violation>> {
    let violation = |what: String, story: Vec<String>| Box::new(Violation { seed, what, story });
    let mut world = World::new(seed, echo).map_err(|what| violation(what, vec![]))?;
    match world.play() {
        Ok(()) => Ok((world.report, world.story)),
        Err(what) => Err(violation(what, world.story.lines().to_vec())),
    }
}

struct World {
    queue: Queue<What>,
    network: Network,
    gateway: Gateway,
    clients: Vec<Client>,
    attacker: Attacker,
    /// Whether only rekeys happen and no packet may be lost.
    gentle: bool,
    trouble: Rng,
    troubles: Troubles,
    pace: Rng,
    gateway_tick_at: Option<u64>,
    client_tick_at: Vec<Option<u64>>,
    /// When the data plane has done everything it was told.
    plane_busy_until: u64,
    story: Story,
    report: Report,
}

impl World {
    fn new(seed: u64, echo: bool) -> Result<World, String> {
        let mut rng = Rng::stream(seed, "setup");
        let gentle = rng.chance(250);
        let gateway = Gateway::new(setup::gateway(&mut rng, gentle)?, Rng::stream(seed, "gateway"));
        let weather = Weather {
            loss_permille: rng.between(0, 250),
            duplicate_permille: rng.between(0, 150),
            delay_min_ms: 5,
            delay_max_ms: rng.between(10, 400),
        };
        let weather = if gentle { Weather::CALM } else { weather };
        let mut network = Network::new(weather, Rng::stream(seed, "network"));
        let count = rng.between(1, u64::from(setup::MAX_CLIENTS)) as u8;
        let mut clients = vec![];
        for number in 0..count {
            let config = setup::client(number, &mut rng, gentle)?;
            if rng.chance(600) {
                let outside: IpAddr = match config.address {
                    IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, 1 + number % 2).into(),
                    IpAddr::V6(_) => {
                        Ipv6Addr::new(0x2001, 0xdb8, 100, 0, 0, 0, 0, u16::from(1 + number % 2)).into()
                    }
                };
                network.put_behind_nat(config.address, outside);
            }
            clients.push(Client::new(config, Rng::stream(seed, &format!("client{number}"))));
        }
        let client_tick_at = vec![None; clients.len()];
        let mut world = World {
            queue: Queue::new(0),
            network,
            gateway,
            clients,
            attacker: Attacker::new(Rng::stream(seed, "attacker")),
            gentle,
            trouble: Rng::stream(seed, "trouble"),
            troubles: Troubles::new(Rng::stream(seed, "machine")),
            pace: Rng::stream(seed, "pace"),
            gateway_tick_at: None,
            client_tick_at,
            plane_busy_until: 0,
            story: Story::new(echo),
            report: Report { clients: u64::from(count), ..Report::default() },
        };
        world.plan();
        Ok(world)
    }

    /// Decides what befalls whom in the storm.
    fn plan(&mut self) {
        if !self.gentle {
            for (at, trouble) in self.troubles.plan(STORM_MS) {
                self.queue.at(at, What::Trouble(trouble));
            }
        }
        for client in 0..self.clients.len() {
            let connect_at = self.trouble.between(0, 15_000);
            self.queue.at(connect_at, What::Act(client, Act::Connect));
            self.queue.at(connect_at, What::Traffic(client));
            for _ in 0..self.trouble.between(1, 12) {
                let at = connect_at + self.trouble.between(0, STORM_MS - connect_at);
                let act = if self.gentle { self.gentle_act() } else { self.any_act() };
                self.queue.at(at, What::Act(client, act));
                match act {
                    Act::Dark(true) => {
                        let length = self.trouble.between(1_000, 60_000);
                        self.queue.at(at + length, What::Act(client, Act::Dark(false)));
                    }
                    Act::Crash | Act::Wish(Wish::Delete) | Act::OperatorDelete
                        if self.trouble.chance(700) =>
                    {
                        let pause = self.trouble.between(10, 30_000);
                        self.queue.at((at + pause).min(STORM_MS), What::Act(client, Act::Connect));
                    }
                    _ => {}
                }
                // The same from the other side at nearly the same time: collisions.
                if self.trouble.chance(400) {
                    let pause = self.trouble.between(0, 60);
                    let twin = self.gentle_act();
                    self.queue.at(at + pause, What::Act(client, twin));
                }
            }
        }
    }

    fn gentle_act(&mut self) -> Act {
        match self.trouble.index(6) {
            0 => Act::Wish(Wish::RekeyChild),
            1 => Act::Wish(Wish::RekeyIke),
            2 => Act::OperatorRekeyIke,
            3 => Act::OperatorRekeyChildren,
            4 => Act::SoftExpired,
            _ => Act::Wish(Wish::Liveness),
        }
    }

    fn any_act(&mut self) -> Act {
        match self.trouble.index(14) {
            0 => Act::Crash,
            1 => Act::Rebind,
            2 => Act::Dark(true),
            3 => Act::OperatorDelete,
            4 => Act::Wish(Wish::Delete),
            5 => Act::HardExpired,
            6 => Act::Connect,
            7 => Act::Wish(Wish::Mischief),
            _ => self.gentle_act(),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        self.run_until(STORM_MS)?;
        self.tell(format_args!("--- the weather calms"));
        self.network.weather = Weather::CALM;
        for client in 0..self.clients.len() {
            self.network.set_dark(self.clients[client].address(), false);
        }
        // A client whose gateway has given up learns it as real ones do: it asks whether the gateway lives.
        for pause in [0, ASK_AGAIN_MS] {
            self.run_until(STORM_MS + pause)?;
            for client in 0..self.clients.len() {
                self.act(client, Act::Wish(Wish::Liveness))?;
            }
        }
        self.run_until(STORM_MS + CALM_MS)?;
        self.agree()?;
        self.tell(format_args!("--- the end"));
        self.end()
    }

    /// Looks for a moment at which each client and the gateway believe the same, and one at which the gateway holds
    /// nothing for anybody else. They are moments of their own, as somebody is nearly always being rekeyed.
    fn agree(&mut self) -> Result<(), String> {
        let until = self.queue.now_ms() + AGREEMENT_MS;
        let mut differing: Vec<usize> = (0..self.clients.len()).collect();
        let mut whole = None;
        loop {
            let mut difference = None;
            differing.retain(|client| match agreement::check_client(&self.clients[*client], &self.gateway) {
                Ok(()) => false,
                Err(what) => {
                    difference = Some(format!("client {client}: {what}"));
                    true
                }
            });
            if whole.is_none() {
                match agreement::check_gateway(&self.clients, &self.gateway) {
                    Ok(up) => whole = Some(up),
                    Err(what) => difference = Some(what),
                }
            }
            match (difference, whole) {
                (None, Some(up)) => {
                    self.tell(format_args!("--- the gateway and all clients agree, {up} are up"));
                    self.report.agreed = up;
                    return Ok(());
                }
                (Some(what), _) if self.queue.now_ms() >= until => {
                    return Err(format!("no agreement: {what}"));
                }
                _ => self.run_until(self.queue.now_ms() + AGREEMENT_STEP_MS)?,
            }
        }
    }

    /// Ends every session, in one of three ways, and looks at what is left.
    fn end(&mut self) -> Result<(), String> {
        let shutdown = self.trouble.chance(400);
        if shutdown {
            self.input(Input::Shutdown)?;
        } else {
            for client in 0..self.clients.len() {
                let act =
                    if self.trouble.chance(500) { Act::Wish(Wish::Delete) } else { Act::OperatorDelete };
                self.act(client, act)?;
            }
        }
        self.run_until(self.queue.now_ms() + END_MS)?;
        if shutdown && !self.gateway.shutdown_complete() {
            return Err("the shutdown was never reported complete".into());
        }
        let remains = self.gateway.remains();
        if remains != Remains::default() {
            return Err(format!("left behind: {remains:?}"));
        }
        agreement::nothing_left(self.gateway.endpoint())?;
        let (installs, removes) = (self.gateway.plane.installs, self.gateway.plane.removes);
        if installs != removes {
            return Err(format!("{installs} installs but {removes} removes"));
        }
        self.report.installs = installs;
        self.report.sessions_up = self.gateway.sessions_up;
        self.troubles.counts.add(Fault::Lost, self.network.lost);
        self.troubles.counts.add(Fault::Doubled, self.network.doubled);
        self.troubles.counts.add(Fault::InstalledTooLate, self.gateway.late_installs);
        self.report.faults = self.troubles.counts;
        Ok(())
    }

    fn run_until(&mut self, limit_ms: u64) -> Result<(), String> {
        while let Some(what) = self.queue.pop_until(limit_ms) {
            self.report.events += 1;
            if self.report.events > MAX_EVENTS {
                return Err("this world never rests".into());
            }
            self.happen(what)?;
            if let Some(fault) = self.gateway.faults().next() {
                return Err(format!("the gateway broke its contract: {fault}"));
            }
            for (number, client) in self.clients.iter().enumerate() {
                if let Some(fault) = client.faults().first() {
                    return Err(format!("client {number}: {fault}"));
                }
            }
        }
        self.queue.advance_to(limit_ms);
        Ok(())
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        let now = self.queue.now_ms();
        let what = match self.waits_for(&what) {
            Some(later) if later > now => {
                self.queue.at(later, what);
                return Ok(());
            }
            _ => what,
        };
        match what {
            What::ToGateway(packet) => self.arrive_at_gateway(packet),
            What::ToClient(client, packet) => self.arrive_at_client(client, packet),
            What::ClientTick(client) => {
                self.client_tick_at[client] = None;
                self.clients[client].tick(now);
                self.flush(client);
                Ok(())
            }
            What::GatewayTick => {
                self.gateway_tick_at = None;
                self.input(Input::Timer)
            }
            What::PublicKey(job, work) => {
                let lost = self.stormy() && self.trouble.chance(5);
                self.troubles.counts.add(Fault::JobLost, u64::from(lost));
                let result = if lost { JobResult::Unavailable } else { self.gateway.run_public_key(*work) };
                self.input(Input::JobDone { job, result })
            }
            What::Address(job, session, request) => {
                let result = self.gateway.run_address(session, &request);
                self.input(Input::JobDone { job, result })
            }
            What::Install(job, install) => {
                let refuse = self.stormy() && self.trouble.chance(10);
                self.troubles.counts.add(Fault::InstallRefused, u64::from(refuse));
                let result = self.gateway.run_install(now, *install, refuse);
                let back = self.pace.between(0, 5);
                self.queue.after(back, What::Answer(job, result));
                Ok(())
            }
            What::Command(command) => {
                self.gateway.plane.command(now, command);
                Ok(())
            }
            What::Answer(job, result) => self.input(Input::JobDone { job, result }),
            What::Act(client, act) => self.act(client, act),
            What::Traffic(client) => self.traffic(client),
            What::Trouble(trouble) => {
                self.suffer(trouble);
                Ok(())
            }
            What::ClockRight => {
                if now >= self.troubles.clock_right_at {
                    self.gateway.unix_secs = UNIX_SECS;
                }
                Ok(())
            }
            What::PlaneEvent(event) => self.input(Input::DataPlane(event)),
        }
    }

    /// Until when this must wait, because whoever does it stands still: the control plane, or the data plane.
    fn waits_for(&self, what: &What) -> Option<u64> {
        match what {
            What::ToGateway(Packet { load: Load::Ike(_), .. })
            | What::GatewayTick
            | What::PublicKey(..)
            | What::Address(..)
            | What::Answer(..)
            | What::PlaneEvent(_)
            | What::Act(
                _,
                Act::OperatorDelete
                | Act::OperatorRekeyIke
                | Act::OperatorRekeyChildren
                | Act::SoftExpired
                | Act::HardExpired,
            ) => Some(self.troubles.awake_at),
            What::Install(..) | What::Command(_) => Some(self.troubles.plane_back_at),
            _ => None,
        }
    }

    fn suffer(&mut self, trouble: Trouble) {
        let now = self.queue.now_ms();
        self.tell(format_args!("the gateway's machine: {trouble:?}"));
        self.troubles.begin(now, trouble);
        match trouble {
            Trouble::RingFull(length) => {
                self.plane_busy_until = self.plane_busy_until.max(now) + length;
            }
            Trouble::PlaneRestart(_) => {
                self.gateway.plane.restart();
                // What was under way to it is told again first, in its order.
                self.plane_busy_until = self.plane_busy_until.max(self.troubles.plane_back_at + 1);
            }
            Trouble::WallClock(length) => {
                self.gateway.unix_secs = WALL_CLOCK_LOST_SECS;
                self.queue.at(now + length, What::ClockRight);
            }
            Trouble::RadiusSilent(_) | Trouble::RadiusSlow(_) | Trouble::Asleep(_) => {}
        }
    }

    /// Whether packets go through the data plane.
    fn plane_carries(&self) -> bool {
        self.queue.now_ms() >= self.troubles.plane_back_at
    }

    /// Whether things go wrong by themselves.
    fn stormy(&self) -> bool {
        !self.gentle && self.queue.now_ms() < STORM_MS
    }

    fn arrive_at_gateway(&mut self, packet: Packet) -> Result<(), String> {
        let now = self.queue.now_ms();
        if !self.plane_carries() {
            return Ok(());
        }
        match packet.load {
            Load::Esp(esp) => {
                let (verdict, events) = self.gateway.plane.receive(now, packet.from, &esp);
                self.report.esp_accepted += u64::from(verdict == Verdict::Accepted);
                if self.gentle && now < STORM_MS && verdict != Verdict::Accepted {
                    return Err(format!("a client's packet on SPI {:08x} was lost: {verdict:?}", esp.spi));
                }
                if now < self.troubles.awake_at {
                    for event in events {
                        self.queue.at(self.troubles.awake_at, What::PlaneEvent(event));
                    }
                    return Ok(());
                }
                events.into_iter().try_for_each(|event| self.input(Input::DataPlane(event)))
            }
            Load::Ike(bytes) => {
                while now < STORM_MS && self.trouble.chance(200) {
                    self.attack(&bytes, packet.from, packet.to)?;
                }
                self.tell(format_args!("gateway <- {} {}", packet.from, describe(&bytes)));
                let before = self.gateway_state();
                let input = Input::Datagram(datagram(packet.to, packet.from, bytes.clone()));
                let effects = self.gateway.handle(now, input);
                // What came too early and was dropped may come again and be right; only what was taken is a replay.
                if before != self.gateway_state() || !effects.iter().all(is_transmit) {
                    self.attacker.see(&bytes);
                }
                self.perform(effects);
                Ok(())
            }
        }
    }

    /// Lets an attacker try, and holds the gateway to having stayed the same.
    fn attack(&mut self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> Result<(), String> {
        let attack = self.attacker.attack(bytes);
        let free_for_all = attack.may_begin_handshake();
        let from = if free_for_all || self.trouble.chance(300) { ATTACKER } else { from };
        let before = self.gateway_state();
        let now = self.queue.now_ms();
        let effects = self.gateway.handle(now, Input::Datagram(datagram(to, from, attack.bytes.clone())));
        self.report.attacks += 1;
        if !free_for_all && (before != self.gateway_state() || !effects.iter().all(is_transmit)) {
            let what = describe(&attack.bytes);
            self.tell(format_args!("gateway <- {from} {what} ({})", attack.how));
            return Err(format!("a forged datagram ({}, {what}) changed the gateway", attack.how));
        }
        self.perform(effects);
        Ok(())
    }

    fn gateway_state(&self) -> (Remains, Option<(u64, WakeReason)>, Held) {
        (self.gateway.remains(), self.gateway.next_wakeup(), self.gateway.endpoint().held())
    }

    fn arrive_at_client(&mut self, client: usize, packet: Packet) -> Result<(), String> {
        let now = self.queue.now_ms();
        match packet.load {
            Load::Esp(esp) => {
                let opened = self.clients[client].receive_esp(&esp);
                self.report.esp_accepted += u64::from(opened);
                let counts = self.gentle && now < STORM_MS && self.clients[client].phase() == Phase::Up;
                if counts && !opened {
                    return Err(format!("the gateway's packet on SPI {:08x} was lost", esp.spi));
                }
            }
            Load::Ike(bytes) => {
                self.tell(format_args!("client{client} <- {}", describe(&bytes)));
                let before = belief(&self.clients[client]);
                self.clients[client].receive(now, packet.from, &bytes);
                let after = belief(&self.clients[client]);
                if before != after {
                    self.tell(format_args!("client{client} {after}"));
                }
                self.flush(client);
            }
        }
        Ok(())
    }

    fn act(&mut self, client: usize, act: Act) -> Result<(), String> {
        let now = self.queue.now_ms();
        let address = self.clients[client].address();
        self.tell(format_args!("client{client}: {act:?}"));
        match act {
            Act::Connect => {
                if !matches!(self.clients[client].phase(), Phase::Idle | Phase::Gone(_)) {
                    // A second login while the first stands: the machine was restarted.
                    self.clients[client].crash();
                }
                self.clients[client].connect(now);
            }
            Act::Wish(wish) => self.clients[client].wish(now, wish),
            Act::Crash => {
                self.troubles.counts.count(Fault::Crashed);
                self.clients[client].crash();
            }
            Act::Rebind => {
                let rebound = self.network.rebind(address);
                self.troubles.counts.add(Fault::Rebound, u64::from(rebound));
            }
            Act::Dark(dark) => {
                self.troubles.counts.add(Fault::Dark, u64::from(dark));
                self.network.set_dark(address, dark);
            }
            Act::OperatorDelete => self.operate(client, Operator::Delete)?,
            Act::OperatorRekeyIke => self.operate(client, Operator::RekeyIke)?,
            Act::OperatorRekeyChildren => self.operate(client, Operator::RekeyChildren)?,
            Act::SoftExpired => {
                self.expire(client, |inbound_spi| DataPlaneEvent::SoftExpired { inbound_spi })?
            }
            Act::HardExpired => {
                self.expire(client, |inbound_spi| DataPlaneEvent::HardExpired { inbound_spi })?
            }
        }
        self.flush(client);
        Ok(())
    }

    fn operate(&mut self, client: usize, what: fn(SessionId) -> Operator) -> Result<(), String> {
        match self.session(client) {
            Some(session) => self.input(Input::Operator(what(session))),
            None => Ok(()),
        }
    }

    fn expire(&mut self, client: usize, event: fn(u32) -> DataPlaneEvent) -> Result<(), String> {
        let spi = self.clients[client].children().last().map(|child| child.outbound_spi);
        match spi.filter(|spi| self.gateway.plane.sas().contains_key(spi)) {
            Some(spi) => self.input(Input::DataPlane(event(spi))),
            None => Ok(()),
        }
    }

    fn session(&self, client: usize) -> Option<SessionId> {
        agreement::session_of(self.clients[client].ike_spis()?, &self.gateway)
    }

    /// A packet each way, and again after a while.
    fn traffic(&mut self, client: usize) -> Result<(), String> {
        if self.queue.now_ms() < STORM_MS {
            self.queue.after(ESP_INTERVAL_MS, What::Traffic(client));
        }
        self.clients[client].send_esp();
        self.flush(client);
        if !self.plane_carries() {
            return Ok(());
        }
        for inner in addresses(self.clients[client].inner()) {
            if let Some((to, esp)) = self.gateway.plane.send_to(inner) {
                let from = SocketAddr::new(setup::gateway_of(to.ip()), 4500);
                self.send_to_client(Packet { from, to, load: Load::Esp(esp) });
            }
        }
        Ok(())
    }

    fn input(&mut self, input: Input) -> Result<(), String> {
        let effects = self.gateway.handle(self.queue.now_ms(), input);
        self.perform(effects);
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Transmit(datagram) => self.transmit(datagram),
                Effect::PublicKey(job, work) => {
                    let delay = self.pace.between(1, 40);
                    self.queue.after(delay, What::PublicKey(job, work));
                }
                Effect::Address(job, session, request) => {
                    let delay = self.pace.between(0, 20);
                    self.queue.after(delay, What::Address(job, session, request));
                }
                Effect::Answer(job, result) => {
                    let delay = self.pace.between(0, 20);
                    let (delay, result) = self.asked_of_the_server(delay, result);
                    self.queue.after(delay, What::Answer(job, result));
                }
                Effect::Install(job, install) => {
                    let at = self.plane_time();
                    self.queue.at(at, What::Install(job, install));
                }
                Effect::Command(command) => {
                    let at = self.plane_time();
                    self.queue.at(at, What::Command(command));
                }
                Effect::Event(event) => self.tell_event(&event),
            }
        }
        if let Some((at, _)) = self.gateway.next_wakeup()
            && self.gateway_tick_at.is_none_or(|due| at < due)
        {
            self.gateway_tick_at = Some(at);
            self.queue.at(at, What::GatewayTick);
        }
    }

    /// When the answer of a job comes, and which: EAP's is the server's to give.
    fn asked_of_the_server(&mut self, delay: u64, result: JobResult) -> (u64, JobResult) {
        if !matches!(result, JobResult::Eap(_)) {
            return (delay, result);
        }
        match self.troubles.fate(self.queue.now_ms()) {
            None => (delay, result),
            Some(Fate::After(slow)) => (slow, result),
            Some(Fate::Never) => (PATIENCE_MS, JobResult::Unavailable),
        }
    }

    /// The data plane does one thing after the other.
    fn plane_time(&mut self) -> u64 {
        let delay = self.pace.between(0, 8);
        self.plane_busy_until = self.plane_busy_until.max(self.queue.now_ms() + delay);
        self.plane_busy_until
    }

    fn transmit(&mut self, datagram: Datagram) {
        let from = SocketAddr::new(datagram.local, datagram.local_port);
        let to = SocketAddr::new(datagram.peer, datagram.peer_port);
        self.tell(format_args!("gateway -> {to} {}", describe(&datagram.bytes)));
        self.send_to_client(Packet { from, to, load: Load::Ike(datagram.bytes) });
    }

    fn send_to_client(&mut self, packet: Packet) {
        if !self.plane_carries() {
            return;
        }
        for (delay, packet) in self.network.to_client(packet) {
            let to = self.clients.iter().position(|client| client.address() == packet.to.ip());
            if let Some(client) = to {
                self.queue.after(delay, What::ToClient(client, packet));
            }
        }
    }

    /// Sends what a client has to send, and sets its alarm.
    fn flush(&mut self, client: usize) {
        for packet in self.clients[client].drain() {
            if let Load::Ike(bytes) = &packet.load {
                self.tell(format_args!("client{client} -> {}", describe(bytes)));
            }
            for (delay, packet) in self.network.to_gateway(packet) {
                self.queue.after(delay, What::ToGateway(packet));
            }
        }
        if let Some(at) = self.clients[client].next_wakeup()
            && self.client_tick_at[client].is_none_or(|due| at < due)
        {
            self.client_tick_at[client] = Some(at);
            self.queue.at(at, What::ClientTick(client));
        }
    }

    fn tell_event(&mut self, event: &Event) {
        match event {
            Event::SessionUp(facts) => self.tell(format_args!(
                "gateway: session {} of {} up by {}",
                facts.session.0, facts.user, facts.auth_method
            )),
            Event::ChildUp(child) => {
                let (spi, session) = (child.inbound_spi, child.session.0);
                self.tell(format_args!("gateway: child {spi:08x} of session {session} up"));
            }
            Event::ChildDown { session, inbound_spi, .. } => {
                self.tell(format_args!("gateway: child {inbound_spi:08x} of session {} down", session.0));
            }
            Event::IkeRekeyed { session, spis, by, .. } => {
                self.tell(format_args!("gateway: session {} rekeyed by {by:?}, now {spis}", session.0));
            }
            other => self.tell(format_args!("gateway: {other:?}")),
        }
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.story.tell(self.queue.now_ms(), what);
    }
}

fn is_transmit(effect: &Effect) -> bool {
    matches!(effect, Effect::Transmit(_))
}

fn datagram(local: SocketAddr, peer: SocketAddr, bytes: Vec<u8>) -> Datagram {
    Datagram { local: local.ip(), local_port: local.port(), peer: peer.ip(), peer_port: peer.port(), bytes }
}

/// What a client takes for true, in a line.
fn belief(client: &Client) -> String {
    let children: Vec<String> =
        client.children().iter().map(|child| format!("{:08x}", child.outbound_spi)).collect();
    format!("{:?} with {children:?}", client.phase())
}

fn describe(bytes: &[u8]) -> String {
    match Header::parse(bytes) {
        Ok(header) => format!(
            "{:?} {} #{} of {:08x} ({} octets)",
            header.exchange,
            if header.is_response { "response" } else { "request" },
            header.message_id,
            header.initiator_spi.0 >> 32,
            bytes.len()
        ),
        Err(_) => format!("{} octets", bytes.len()),
    }
}
