//! The process around the protocol: one session through logins, suspends, resumes and its end.
//!
//! Enters: configuration, datagrams, packets of the device, commands, signals. Leaves: the same the other way, events, the
//! state file. Long waits belong to nobody: one loop waits for everything. While a user types an answer at the terminal the
//! loop stands still, which costs no more than retransmissions.
//!
//! [`opening`] leads to a connection, [`returning`] away from one and back; [`link`] is its socket, [`device`] the TUN device,
//! [`resolver`] its name servers, [`control_server`] the commands, [`answers`] the user.

mod answers;
mod control_server;
mod device;
mod error;
mod journal;
mod link;
mod opening;
mod report;
mod resolver;
mod returning;
mod sleep_watch;

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;
use std::time::Duration;

use causeway_ike::time::Instant;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::attributes::Granted;
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::initiator::{DownReason, Fault, InitiatorConfig, Output};
use crate::state_file::{Kept, StateFile};
use answers::printable;
use control_server::{Asked, ControlServer};
use device::Device;
use journal::{Journal, Kind, Source};
use link::{Arrived, GatewayAddress, Link, MAX_DATAGRAM};
use resolver::Resolver;
use sleep_watch::SleepWatch;

pub use answers::Ask;
pub use error::AgentError;

/// Most commands that wait for a connection.
const MAX_WAITERS: usize = 16;
/// Longest goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the command line adds to the configuration.
#[derive(Default)]
pub struct Options {
    /// No device, whatever the configuration says.
    pub no_tun: bool,
    /// The user, whatever the configuration says.
    pub user: Option<String>,
}

/// Runs a client until it is told to end: by a command, by a signal, or by the gateway.
///
/// # Errors
/// [`AgentError`] when it ends for another reason.
pub fn run(config: Config, options: Options, ask: Arc<dyn Ask>) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AgentError::System { what: "the runtime", error })?;
    runtime.block_on(async {
        let (mut agent, requests, server) = Agent::prepare(config, options, ask)?;
        agent.begin().await;
        let outcome = agent.live(requests).await;
        server.finish().await;
        outcome
    })
}

struct Agent {
    config: Config,
    protocol: Arc<InitiatorConfig>,
    user: String,
    ask: Arc<dyn Ask>,
    journal: Journal,
    file: StateFile,
    clock: std::time::Instant,
    phase: Phase,
    device: Option<Device>,
    resolver: Option<Resolver>,
    kept: Option<Kept>,
    granted: Granted,
    /// Where the session's gateway is.
    last_gateway: Option<GatewayAddress>,
    resumed: bool,
    tally: report::Tally,
    waiters: Vec<oneshot::Sender<Reply>>,
    /// Since when the session is without connection.
    lost_since: Option<std::time::Instant>,
    /// Attempts to resume that were refused since it was lost.
    refusals: u32,
}

enum Phase {
    /// On the way to a connection.
    Opening {
        link: Box<Link>,
        how: How,
    },
    /// Connected.
    Up {
        link: Box<Link>,
    },
    /// Silent. The socket stays open and unread, so that not even an ICMP error says that we are there.
    Suspended {
        _silent: Option<UdpSocket>,
    },
    /// Until the next attempt to resume.
    Waiting {
        until: tokio::time::Instant,
    },
    /// The DELETE is out.
    Leaving {
        link: Box<Link>,
        until: tokio::time::Instant,
    },
    Ended(Result<(), AgentError>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Login,
    Resume,
}

enum Happened {
    Datagram(std::io::Result<(usize, SocketAddr)>),
    Packet(std::io::Result<usize>),
    Timer,
    Asked(Asked),
    Stop,
}

impl Agent {
    fn prepare(
        config: Config,
        options: Options,
        ask: Arc<dyn Ask>,
    ) -> Result<(Agent, mpsc::Receiver<Asked>, ControlServer), AgentError> {
        let system = |what| move |error| AgentError::System { what, error };
        let protocol = Arc::new(config.initiator()?);
        config.credential()?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.directory)
            .map_err(system("the directory"))?;
        let (server, requests) =
            ControlServer::start(&config.control_socket()).map_err(system("the control socket"))?;
        let journal = Journal::open(&config.event_log(), ask.clone()).map_err(system("the event log"))?;
        let user = options
            .user
            .or_else(|| config.login.user.clone())
            .or_else(|| ask.ask("Username:", false).map(|user| user.as_str().to_owned()))
            .filter(|user| !user.is_empty())
            .ok_or(AgentError::NoUser)?;
        let file = StateFile::new(config.state_file(), &config.gateway.address, &user);
        let device = match config.tunnel.enabled && !options.no_tun {
            true => Some(Device::open(&config.tunnel).map_err(AgentError::Device)?),
            false => None,
        };
        let resolver = config.tunnel.resolv_conf.as_ref().map(|file| Resolver::new(file, &config.directory));
        if let Some(resolver) = &resolver {
            // A client that was killed has left the tunnel's servers behind.
            resolver.restore().map_err(system("tunnel.resolv_conf"))?;
        }
        let kept = file.load().filter(|_| config.reconnect.enabled);
        let agent = Agent {
            protocol,
            user,
            ask,
            journal,
            file,
            clock: std::time::Instant::now(),
            phase: Phase::Ended(Ok(())),
            device,
            resolver,
            kept,
            granted: Granted::default(),
            last_gateway: None,
            resumed: false,
            tally: report::Tally::default(),
            waiters: Vec::new(),
            lost_since: None,
            refusals: 0,
            config,
        };
        Ok((agent, requests, server))
    }

    async fn begin(&mut self) {
        self.journal.tell_user(&format!("Contacting {}.", self.config.display_name()));
        match self.kept.is_some() {
            true => {
                self.lost_since = Some(std::time::Instant::now());
                self.resume().await;
            }
            false => self.log_in().await,
        }
    }

    async fn live(&mut self, mut requests: mpsc::Receiver<Asked>) -> Result<(), AgentError> {
        use tokio::signal::unix::{SignalKind, signal};
        let system = |error| AgentError::System { what: "signals", error };
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        let mut datagram = vec![0; MAX_DATAGRAM];
        let mut packet = vec![0; MAX_DATAGRAM];
        let mut watch = SleepWatch::new();
        loop {
            if watch.has_slept() && matches!(self.phase, Phase::Up { .. }) && self.kept.is_some() {
                self.wake_up().await;
            }
            self.drain().await;
            if let Phase::Ended(outcome) = &mut self.phase {
                let outcome = std::mem::replace(outcome, Ok(()));
                self.end(&outcome).await;
                return outcome;
            }
            let happened = tokio::select! {
                received = link::receive(self.link(), &mut datagram) => Happened::Datagram(received),
                read = device::receive(self.device.as_ref(), &mut packet) => Happened::Packet(read),
                () = sleep_until(self.deadline()) => Happened::Timer,
                Some(asked) = requests.recv() => Happened::Asked(asked),
                _ = terminate.recv() => Happened::Stop,
                _ = interrupt.recv() => Happened::Stop,
            };
            match happened {
                Happened::Datagram(Ok((octets, from))) => {
                    self.take(datagram.get(..octets).unwrap_or_default(), from).await;
                }
                // A broken route shows up as silence, and liveness deals with that.
                Happened::Datagram(Err(_)) => tokio::task::yield_now().await,
                Happened::Packet(Ok(octets)) => {
                    if let Phase::Up { link } = &mut self.phase {
                        link.send_packet(packet.get(..octets).unwrap_or_default()).await;
                    }
                }
                Happened::Packet(Err(error)) => {
                    self.finish(Err(AgentError::Device(format!("the device is gone: {error}"))));
                }
                Happened::Timer => self.on_timer().await,
                Happened::Asked((request, back)) => self.on_request(request, back).await,
                Happened::Stop => self.leave(),
            }
        }
    }

    async fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let now = self.now();
        let Some(link) = self.link_mut() else { return };
        if let Arrived::Packet(inner) = link.take(now, datagram, from)
            && let Some(device) = &self.device
        {
            device.deliver(&inner).await;
        }
    }

    async fn on_timer(&mut self) {
        let now = self.now();
        let keepalive = self.config.ike.nat_keepalive_secs;
        match &mut self.phase {
            Phase::Opening { link, .. } => link.initiator.on_timer(now),
            Phase::Up { link } => {
                link.initiator.on_timer(now);
                link.keep_alive(keepalive).await;
            }
            Phase::Leaving { until, .. } if tokio::time::Instant::now() >= *until => self.finish(Ok(())),
            Phase::Leaving { link, .. } => link.initiator.on_timer(now),
            Phase::Waiting { until } if tokio::time::Instant::now() >= *until => self.resume().await,
            _ => {}
        }
    }

    async fn on_request(&mut self, request: Request, back: oneshot::Sender<Reply>) {
        let now = self.now();
        let reply = match (request, &mut self.phase) {
            (Request::Status, _) => self.done(),
            (Request::Suspend, Phase::Up { .. }) => {
                self.suspend();
                self.done()
            }
            (Request::Resume, Phase::Suspended { .. }) => {
                self.wait_for_connection(back);
                self.wake_up().await;
                return;
            }
            (Request::Resume, Phase::Opening { .. } | Phase::Waiting { .. }) => {
                self.wait_for_connection(back);
                return;
            }
            (Request::Rekey, Phase::Up { link }) => {
                link.initiator.rekey_children(now);
                self.done()
            }
            (Request::RekeyIke, Phase::Up { link }) => {
                link.initiator.rekey_ike(now);
                self.done()
            }
            (Request::Disconnect, _) => {
                self.leave();
                self.done()
            }
            (Request::Suspend | Request::Rekey | Request::RekeyIke, _) => {
                Reply::Refused("the client is not connected".into())
            }
            (Request::Resume, _) => Reply::Refused("the client is not suspended".into()),
        };
        // Whoever asked may have gone.
        let _ = back.send(reply);
    }

    /// Performs what the initiator wants.
    async fn drain(&mut self) {
        while let Some(output) = self.link_mut().and_then(|link| link.initiator.next_output()) {
            match output {
                Output::Send(outgoing) => {
                    if let Some(link) = self.link_mut() {
                        link.send(&outgoing).await;
                    }
                }
                Output::Up(granted) => self.on_up(*granted).await,
                Output::ChildUp(child) => {
                    self.tally.children = self.tally.children.saturating_add(1);
                    if let Some(link) = self.link_mut()
                        && !link.tunnels.add(&child)
                    {
                        self.journal.event(Kind::Error, Source::Agent, "A Child SA's keys do not fit.");
                    }
                }
                Output::ChildDown(spi) => {
                    if let Some(link) = self.link_mut() {
                        link.tunnels.remove(spi);
                    }
                }
                Output::IkeRekeyed => {
                    self.tally.ike_rekeys = self.tally.ike_rekeys.saturating_add(1);
                    self.journal.event(Kind::Information, Source::Agent, "The IKE SA was rekeyed.");
                }
                Output::DpdAnswered => self.tally.dpd_answered = self.tally.dpd_answered.saturating_add(1),
                Output::Failed(fault) => self.on_failed(fault).await,
                Output::Down(reason) => self.on_down(reason).await,
            }
        }
    }

    async fn on_up(&mut self, granted: Granted) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended(Ok(())));
        let (link, how) = match phase {
            Phase::Opening { link, how } => (link, how),
            other => {
                self.phase = other;
                return;
            }
        };
        self.resumed = how == How::Resume;
        match how {
            How::Login => self.tally.logins = self.tally.logins.saturating_add(1),
            How::Resume => self.tally.resumes = self.tally.resumes.saturating_add(1),
        }
        self.keep(&granted, how);
        if let Some(banner) = &granted.banner {
            self.journal.tell_user(&printable(banner));
        }
        self.last_gateway = Some(link.gateway);
        let gateway = link.gateway.address;
        self.granted = granted;
        self.phase = Phase::Up { link };
        self.lost_since = None;
        self.refusals = 0;
        self.tally.children = 0;
        if let Err(problem) = self.configure_device(gateway).await {
            self.finish(Err(AgentError::Device(problem)));
            return;
        }
        self.set_name_servers();
        self.journal.event(
            Kind::Information,
            Source::Agent,
            "The IPsec connection to the secure gateway has been established.",
        );
        self.journal.tell_user(&format!("Connected to {}.", self.config.display_name()));
        let reply = self.done();
        self.answer_waiters(&reply);
    }

    /// The new token is on the disk before anything is said under the new IKE SA, which is what burns the old one.
    fn keep(&mut self, granted: &Granted, how: How) {
        self.kept = match granted.reconnect.clone().filter(|_| self.config.reconnect.enabled) {
            Some(reconnect) => Some(Kept {
                reconnect,
                address: granted.address,
                address6: granted.address6,
                cleanup_interval_secs: granted.cleanup_interval_secs,
            }),
            // A gateway that does not repeat them goes on with the old ones.
            None => self.kept.take().filter(|_| how == How::Resume),
        };
        let written = match &self.kept {
            Some(kept) => self.file.save(kept),
            None => self.file.forget(),
        };
        if let Err(error) = written {
            let text = format!("The session cannot be kept for a restart of the client: {error}");
            self.journal.event(Kind::Warning, Source::Agent, &text);
        }
    }

    async fn configure_device(&mut self, gateway: IpAddr) -> Result<(), String> {
        let Some(device) = &mut self.device else { return Ok(()) };
        if let Some(problem) = device.configure(&self.config.tunnel, &self.granted, gateway).await? {
            let text = format!("The inner IPv6 address is not used: {problem}");
            self.journal.event(Kind::Warning, Source::Agent, &text);
        }
        Ok(())
    }

    fn set_name_servers(&mut self) {
        let Some(resolver) = &self.resolver else { return };
        if let Err(error) = resolver.apply(&self.granted.dns, self.granted.domain.as_deref()) {
            let text = format!("The name servers cannot be set: {error}");
            self.journal.event(Kind::Warning, Source::Agent, &text);
        }
    }

    async fn on_failed(&mut self, fault: Fault) {
        let how = match &self.phase {
            Phase::Opening { how, .. } => *how,
            _ => How::Login,
        };
        self.journal.event(Kind::Error, Source::Agent, &format!("No connection: {fault}"));
        match how {
            How::Login => self.login_failed(fault),
            How::Resume => self.resume_failed(&fault).await,
        }
    }

    async fn on_down(&mut self, reason: DownReason) {
        match (&self.phase, reason) {
            (Phase::Leaving { .. }, _) | (_, DownReason::ByUs) => self.finish(Ok(())),
            (_, DownReason::ByGateway) => {
                self.forget();
                self.finish(Err(AgentError::EndedByGateway));
            }
            (_, reason) if self.kept.is_some() => {
                let text = format!("Session level reconnect:\n{reason}\nOriginates from session level");
                self.journal.event(Kind::Warning, Source::Agent, &text);
                self.lost_since = Some(std::time::Instant::now());
                self.reconnecting();
                self.resume().await;
            }
            (_, reason) => self.finish(Err(AgentError::Lost(reason.to_string()))),
        }
    }

    /// Says goodbye, if there is somebody to say it to.
    fn leave(&mut self) {
        let now = self.now();
        let phase = std::mem::replace(&mut self.phase, Phase::Ended(Ok(())));
        // Asked a second time it ends at once.
        if let Phase::Up { mut link } = phase {
            self.journal.tell_user("Disconnecting.");
            link.initiator.disconnect(now);
            self.phase = Phase::Leaving { link, until: tokio::time::Instant::now() + GOODBYE };
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.kept = None;
        if let Err(error) = self.file.forget() {
            let text = format!("The session's file cannot be removed: {error}");
            self.journal.event(Kind::Warning, Source::Agent, &text);
        }
    }

    fn finish(&mut self, outcome: Result<(), AgentError>) {
        self.phase = Phase::Ended(outcome);
    }

    async fn end(&mut self, outcome: &Result<(), AgentError>) {
        let text = match outcome {
            Ok(()) => format!("Disconnected from {}.", self.config.display_name()),
            Err(error) => error.to_string(),
        };
        self.answer_waiters(&Reply::Refused(text.clone()));
        if let Some(device) = &mut self.device {
            device.forget_way_around().await;
        }
        if let Some(Err(error)) = self.resolver.as_ref().map(Resolver::restore) {
            let text = format!("The machine's name servers cannot be put back: {error}");
            self.journal.event(Kind::Warning, Source::Agent, &text);
        }
        self.journal.event(
            Kind::Information,
            Source::Ui,
            &format!("Message type information sent to the user:\n{text}"),
        );
    }

    fn wait_for_connection(&mut self, back: oneshot::Sender<Reply>) {
        if self.waiters.len() < MAX_WAITERS {
            self.waiters.push(back);
        } else {
            let _ = back.send(Reply::Refused("too many commands are waiting".into()));
        }
    }

    fn answer_waiters(&mut self, reply: &Reply) {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(reply.clone());
        }
    }

    fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Opening { link, .. } | Phase::Up { link } | Phase::Leaving { link, .. } => Some(link),
            _ => None,
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Opening { link, .. } | Phase::Up { link } | Phase::Leaving { link, .. } => Some(link),
            _ => None,
        }
    }

    fn deadline(&self) -> Option<tokio::time::Instant> {
        let initiator = self.link().and_then(|link| link.initiator.next_wakeup());
        let initiator = initiator.map(|at| self.clock + Duration::from_millis(at.as_millis()));
        let own = match &self.phase {
            Phase::Waiting { until } | Phase::Leaving { until, .. } => Some(*until),
            Phase::Up { link } => {
                let watch = tokio::time::Instant::now() + sleep_watch::EVERY;
                let keepalive = link.next_keepalive(self.config.ike.nat_keepalive_secs);
                [Some(watch), keepalive].into_iter().flatten().min()
            }
            _ => None,
        };
        [initiator.map(tokio::time::Instant::from_std), own].into_iter().flatten().min()
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
