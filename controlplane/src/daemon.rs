//! The control-plane daemon: command line and configuration in, sessions served until SIGTERM.
//!
//! Order of start: log, keys, link, driver, API socket. The socket comes last: who can connect finds everything running.
//! On SIGTERM or SIGINT every client is told goodbye within bounded time, then the daemon ends with success. On SIGUSR1 it ends at
//! once and leaves the sessions to the next control plane: that is how a package is upgraded under its tunnels.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use causeway_ike::Endpoint;
use causeway_shared::config::{Config, DATAPLANE_SOCKET, Log, Mistakes, StoreBackend};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::aaa::radius::{Listener, RadiusError};
use crate::access::{Access, AccessError};
use crate::api::socket::{self, SocketError};
use crate::api::tls::{TlsError, TlsListener};
use crate::api::view::ViewPolicy;
use crate::api::{ApiContext, ApiServer, KeyExport};
use crate::continuity;
use crate::debug::{self, Board};
use crate::driver::{self, Accounts, Core, Desk, PublicKeyPool, Stop, request_queue, restore};
use crate::keys::{self, KeyFiles};
use crate::link::Link;
use crate::link::ledger::PoolRange;
use crate::link::rings::{RingLink, RingOptions};
use crate::link::udp::{NotAnEndpoint, UdpEndpoint, UdpLink};
use crate::reconnect::{Settings, Table};
use crate::setup::{self, SetupError};
use crate::slots::{Slots, SlotsError};
use crate::store::{self, StoreError};
use crate::watch::WatchDesk;

/// How to call the daemon.
pub const USAGE: &str = "usage: causeway-controlplane --config FILE [--udp ADDRESS[:IKE_PORT:NATT_PORT]]...";

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The command line.
    #[error("{0}\n{USAGE}")]
    Usage(String),
    /// `--udp`.
    #[error("--udp: {0}")]
    Udp(#[from] NotAnEndpoint),
    /// The configuration.
    #[error("{0}")]
    Config(#[from] Mistakes),
    /// `log.filter`.
    #[error("log.filter `{filter}` is no tracing filter: {source}")]
    LogFilter {
        /// What is configured.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Keys, proposals, users, pools.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// Sessions of the last run.
    #[error("store: {0}")]
    Restore(#[from] StoreError),
    /// `dataplane.sa_capacity`.
    #[error("dataplane.sa_capacity: {0}")]
    Slots(#[from] SlotsError),
    /// Threads.
    #[error("no threads for public-key work: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A UDP socket.
    #[error("cannot listen on {address} port {ike_port} and {natt_port}: {source}")]
    Bind {
        /// Our address.
        address: std::net::IpAddr,
        /// First port.
        ike_port: u16,
        /// Second port.
        natt_port: u16,
        /// The system's answer.
        source: io::Error,
    },
    /// RADIUS.
    #[error(transparent)]
    Radius(#[from] RadiusError),
    /// The API.
    #[error("management.socket: {0}")]
    Api(#[from] SocketError),
    /// The API over TLS.
    #[error(transparent)]
    ApiTls(#[from] TlsError),
    /// Tokens and audit log of the API.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Anything else of the system.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Serve.
    Serve {
        /// The configuration file.
        config: PathBuf,
        /// Plain UDP sockets instead of a data plane.
        udp: Vec<UdpEndpoint>,
    },
    /// Explain.
    Help,
    /// Name the version.
    Version,
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// When it is not understood.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Arguments, DaemonError> {
    let mut arguments = arguments.into_iter();
    let (mut config, mut udp) = (None, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| DaemonError::Usage(format!("{argument} needs a value")));
        match argument.as_str() {
            "--config" => config = Some(PathBuf::from(value()?)),
            "--udp" => udp.push(value()?.parse()?),
            "--help" | "-h" => return Ok(Arguments::Help),
            "--version" | "-V" => return Ok(Arguments::Version),
            other => return Err(DaemonError::Usage(format!("`{other}` is not understood"))),
        }
    }
    let config = config.ok_or_else(|| DaemonError::Usage("--config is missing".to_owned()))?;
    Ok(Arguments::Serve { config, udp })
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// When it cannot be started.
pub fn run(arguments: impl IntoIterator<Item = String>, version: &str) -> Result<(), DaemonError> {
    let (config, udp) = match parse(arguments)? {
        Arguments::Help => {
            println!("{USAGE}");
            return Ok(());
        }
        Arguments::Version => {
            println!("causeway-controlplane {version}");
            return Ok(());
        }
        Arguments::Serve { config, udp } => (Config::load(config)?, udp),
    };
    start_log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DaemonError::System { doing: "make a runtime", source })?;
    runtime.block_on(async {
        let stop = stop_on_signals()?;
        if udp.is_empty() {
            let options = RingOptions {
                socket: config.gateway.run_directory.join(DATAPLANE_SOCKET),
                version: version.to_owned(),
                pools: PoolRange::of(&config.pools),
                sa_capacity: config.dataplane.sa_capacity,
            };
            let watches = Arc::new(WatchDesk::default());
            let link = RingLink::new(options).watched_by(Arc::clone(&watches));
            serve(&config, link, watches, version, stop).await
        } else {
            let link = UdpLink::bind(&udp).await.map_err(|(endpoint, source)| DaemonError::Bind {
                address: endpoint.address,
                ike_port: endpoint.ike_port,
                natt_port: endpoint.natt_port,
                source,
            })?;
            for UdpEndpoint { address, ike_port, natt_port } in link.endpoints() {
                tracing::info!(%address, ike_port, natt_port, "listening");
            }
            serve(&config, link, Arc::default(), version, stop).await
        }
    })
}

/// Serves on `link` until `stop` says so.
///
/// # Errors
/// When the configuration cannot be put to work.
pub async fn serve<L: Link>(
    config: &Config,
    link: L,
    watches: Arc<WatchDesk>,
    version: &str,
    stop: watch::Receiver<Stop>,
) -> Result<(), DaemonError> {
    let key_files = KeyFiles::new(config)?;
    let key_states = key_files.states();
    let keys = key_files.read()?;
    let endpoint = Endpoint::new(setup::endpoint_config(config, &keys.keyring)?);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut services = setup::services(config, &keys)?;
    let (publish, listener) = Listener::channel();
    services.radius_listener = config.radius.dynamic.map(|_| listener);
    let table = Table::new(Settings::new(&config.reconnect, config.cisco.attributes));
    let store = store::open(&config.store)?;
    let desk = Desk::new(Some(store.clone()));
    let jobs = PublicKeyPool::new(threads, keys.keyring)?;
    let slots = Slots::new(config.dataplane.sa_capacity)?;
    let board = Arc::new(Board::default());
    let mut core = Core::new(link, endpoint, jobs, services, slots, version.to_owned(), (table, desk))
        .watched_by(Arc::clone(&board))
        .with_tickets(setup::tickets(&config.ike, &store))
        .accounted_by(setup::accounts(config)?);
    // Memory forgets with the process: nothing could go on.
    let boot_id = match config.store.backend {
        StoreBackend::Sqlite => continuity::boot_id(),
        StoreBackend::Memory => None,
    };
    restore(&store, boot_id, &mut core).await?;
    drop(store);
    let (handle, requests) = request_queue();
    if let Some(dynamic) = &config.radius.dynamic {
        Listener::start(&config.radius, dynamic, handle.clone(), publish)?;
    }
    let following = tokio::spawn(keys::follow(key_files, key_states, handle.clone()));
    let access = Arc::new(Access::open(&config.management)?);
    let tls = config.management.tls.as_ref().map(TlsListener::bind).transpose()?;
    if let Some(Ok(address)) = tls.as_ref().map(TlsListener::address) {
        tracing::info!(%address, "the API is served over TLS");
    }
    let listener = socket::bind(&config.management.socket)?;
    let context = ApiContext {
        driver: handle,
        board,
        policy: Arc::new(ViewPolicy::new(config)),
        access,
        watches,
        key_export: KeyExport(config.management.allow_key_export),
    };
    let api = ApiServer::start(listener, tls, context)
        .map_err(|source| DaemonError::System { doing: "start the API's thread", source })?;
    tracing::info!(version, "control plane started");
    tell_manager(NotifyState::Ready);
    let accounts = driver::run(core, requests, stop).await;
    following.abort();
    if let Some(bookkeeper) = accounts.and_then(Accounts::into_bookkeeper) {
        bookkeeper.finish().await;
    }
    api.stop();
    // The next control plane would replace it anyway; clients see at once that nobody is there.
    let _ = std::fs::remove_file(&config.management.socket);
    tracing::info!("control plane stopped");
    Ok(())
}

fn stop_on_signals() -> Result<watch::Receiver<Stop>, DaemonError> {
    let listen =
        |kind| signal(kind).map_err(|source| DaemonError::System { doing: "listen to signals", source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut leave = listen(SignalKind::user_defined1())?;
    let (sender, receiver) = watch::channel(Stop::Not);
    tokio::spawn(async move {
        let stop = tokio::select! {
            _ = terminate.recv() => Stop::Goodbye,
            _ = interrupt.recv() => Stop::Goodbye,
            _ = leave.recv() => Stop::Leave,
        };
        match stop {
            Stop::Leave => tracing::info!("stopping: the sessions stay for the next control plane"),
            _ => tracing::info!("stopping: every session is being deleted"),
        }
        sender.send_replace(stop);
        // A second signal does not wait for clients.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("stopping at once");
        std::process::exit(1);
    });
    Ok(receiver)
}

/// A service manager that does not listen is no reason to stop.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn start_log(log: &Log) -> Result<(), DaemonError> {
    let unusable = |source| DaemonError::LogFilter { filter: log.filter.clone(), source };
    let debug_lines: Directive = format!("{}=info", debug::TARGET).parse().map_err(unusable)?;
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(unusable)?
        // Conditions are the filter of these lines.
        .add_directive(debug_lines);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // An error means that somebody (a test) has started a log already.
    let _ = match log.json {
        true => lines.json().try_init(),
        false => lines.with_ansi(false).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read() {
        let arguments = |text: &str| parse(text.split_whitespace().map(str::to_owned));
        let loopback = UdpEndpoint { address: [127, 0, 0, 1].into(), ike_port: 1, natt_port: 2 };
        let config = PathBuf::from("c.toml");
        for (text, expected) in [
            ("--config c.toml", Arguments::Serve { config: config.clone(), udp: vec![] }),
            ("--udp 127.0.0.1:1:2 --config c.toml", Arguments::Serve { config, udp: vec![loopback] }),
            ("--help", Arguments::Help),
            ("--version", Arguments::Version),
        ] {
            assert_eq!(arguments(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "--config", "--udp 127.0.0.1", "--config c.toml --udp x", "--config c.toml more"] {
            assert!(arguments(bad).is_err(), "{bad}");
        }
    }
}
