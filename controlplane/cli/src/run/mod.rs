//! `causeway run`: the supervisor of both daemons. Enters: the configuration file and signals. Leaves: a running appliance, log
//! lines that say why a daemon was started again, and an exit code.
//!
//! Order of start: data plane, and when its socket is there, control plane. Order of stop: control plane, which tells its
//! clients goodbye through the data plane, then data plane. A daemon that crashes is started again alone; the control plane
//! finds a new data plane by itself.

mod backoff;
mod daemon;

use std::ffi::OsString;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_shared::config::{Config, DATAPLANE_SOCKET, Log};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::Build;
use crate::args::Run;
use crate::config_command;
use crate::exit::{Exit, Failure};
use daemon::{Daemon, Health, Order, Stopped, keep};

/// Longest time that the data plane takes to be ready: the EAL may clear many hugepages.
const DATAPLANE_READY_WITHIN: Duration = Duration::from_secs(120);
/// Longest time that the control plane takes to be ready.
const CONTROLPLANE_READY_WITHIN: Duration = Duration::from_secs(30);
/// Lock in the run directory that only one supervisor holds.
const LOCK: &str = "supervisor.lock";
/// Mode of the run directory: its owner and group only.
const RUN_DIRECTORY_MODE: u32 = 0o750;

/// Runs until a signal ends it or a daemon cannot be started at all.
pub(crate) fn run(arguments: &Run, build: Build) -> Result<Exit, Failure> {
    let checked = config_command::load(&arguments.config);
    let config = checked.config.map_err(Failure::Config)?;
    start_log(&config.log)?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let _lock = lock(&config.gateway.run_directory)?;
    let (dataplane, controlplane) = daemons(arguments, &config)?;
    tracing::info!(version = build.version, commit = build.commit, "supervisor started");
    // One thread: the kernel ends the daemons with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(dataplane, controlplane))
}

/// Why the supervisor stops.
enum Why {
    /// A signal asked for it.
    Asked,
    /// This daemon does not start.
    GaveUp(&'static str),
}

async fn supervise(dataplane: Daemon, controlplane: Daemon) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let mut dataplane = Kept::start(dataplane);
    let early = tokio::select! {
        () = signals.next() => Some(Why::Asked),
        () = dataplane.becomes(Health::GaveUp) => Some(Why::GaveUp(dataplane.name)),
        () = dataplane.becomes(Health::Ready) => None,
    };
    let (why, controlplane) = match early {
        Some(why) => (why, None),
        None => {
            let controlplane = Kept::start(controlplane);
            (watch_over(&mut signals, &dataplane, &controlplane).await, Some(controlplane))
        }
    };

    tell_manager(NotifyState::Stopping);
    let mut order = Order::Stop;
    let mut unclean = false;
    if let Some(mut controlplane) = controlplane {
        unclean |= controlplane.stop(&mut order, &mut signals).await != Stopped::Clean;
    }
    unclean |= dataplane.stop(&mut order, &mut signals).await != Stopped::Clean;
    tracing::info!("supervisor stopped");
    match why {
        Why::GaveUp(name) => {
            Err(Failure::NotStarted(format!("the {name} does not start; its log above says why")))
        }
        Why::Asked if unclean => Ok(Exit::Unclean),
        Why::Asked => Ok(Exit::Ok),
    }
}

/// Waits for a reason to stop, and tells the service manager when clients can connect.
async fn watch_over(signals: &mut Signals, dataplane: &Kept, controlplane: &Kept) -> Why {
    let mut announced = false;
    loop {
        tokio::select! {
            () = signals.next() => return Why::Asked,
            () = dataplane.becomes(Health::GaveUp) => return Why::GaveUp(dataplane.name),
            () = controlplane.becomes(Health::GaveUp) => return Why::GaveUp(controlplane.name),
            () = controlplane.becomes(Health::Ready), if !announced => {
                announced = true;
                tracing::info!("both daemons are ready");
                tell_manager(NotifyState::Ready);
            }
        }
    }
}

/// A service manager that does not listen is no reason to stop.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// A daemon with the task that keeps it.
struct Kept {
    name: &'static str,
    orders: watch::Sender<Order>,
    health: watch::Receiver<Health>,
    task: JoinHandle<Stopped>,
}

impl Kept {
    fn start(daemon: Daemon) -> Kept {
        let (orders, order) = watch::channel(Order::Run);
        let (tell, health) = watch::channel(Health::Starting);
        Kept { name: daemon.name, orders, health, task: tokio::spawn(keep(daemon, order, tell)) }
    }

    /// Waits until the daemon's health is this one.
    async fn becomes(&self, health: Health) {
        if self.health.clone().wait_for(|now| *now == health).await.is_err() {
            // Its task has ended with another health, so this one never comes.
            std::future::pending::<()>().await;
        }
    }

    /// Stops the daemon. A signal that comes meanwhile turns the order into `Kill`, for this daemon and the next.
    async fn stop(&mut self, order: &mut Order, signals: &mut Signals) -> Stopped {
        loop {
            self.orders.send_replace(*order);
            tokio::select! {
                ended = &mut self.task => return ended.unwrap_or(Stopped::Failed),
                () = signals.next() => {
                    tracing::warn!("second signal: killing what still runs");
                    *order = Order::Kill;
                }
            }
        }
    }
}

/// Signals that end the supervisor.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let Signals([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn start_log(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|e| Failure::Input(format!("log.filter: {e}")))?;
    let log_lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = if log.json { log_lines.json().try_init() } else { log_lines.with_ansi(false).try_init() };
    started.map_err(|e| Failure::Input(format!("the log cannot be started: {e}")))
}

/// Creates the run directory if it is missing, and makes sure that one supervisor works in it.
fn lock(run_directory: &Path) -> Result<File, Failure> {
    let at = |what: &str, error: std::io::Error| {
        Failure::NotStarted(format!("cannot {what} in {}: {error}", run_directory.display()))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(RUN_DIRECTORY_MODE)
        .create(run_directory)
        .map_err(|e| at("make a directory", e))?;
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(run_directory.join(LOCK))
        .map_err(|e| at("open the lock", e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Failure::NotStarted(format!(
            "another `causeway run` works in {}; stop it first",
            run_directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(at("take the lock", error)),
    }
}

fn daemons(arguments: &Run, config: &Config) -> Result<(Daemon, Daemon), Failure> {
    let launcher = std::env::current_exe()?;
    let daemon = |name, socket: PathBuf, ready_within| -> Result<Daemon, Failure> {
        let program =
            find_program(&format!("causeway-{}", str::replace(name, " ", "")), arguments, &launcher)?;
        Ok(Daemon {
            name,
            launcher: launcher.clone(),
            program,
            arguments: vec![OsString::from("--config"), arguments.config.clone().into()],
            socket,
            ready_within,
            stop_within: Duration::from_secs(arguments.stop_timeout),
        })
    };
    Ok((
        daemon("data plane", config.gateway.run_directory.join(DATAPLANE_SOCKET), DATAPLANE_READY_WITHIN)?,
        daemon("control plane", config.management.socket.clone(), CONTROLPLANE_READY_WITHIN)?,
    ))
}

/// The daemon's program: in `--programs`, else beside this program, else in PATH.
fn find_program(name: &str, arguments: &Run, launcher: &Path) -> Result<PathBuf, Failure> {
    let mut places: Vec<PathBuf> = match &arguments.programs {
        Some(directory) => vec![directory.clone()],
        None => launcher.parent().map(Path::to_owned).into_iter().collect(),
    };
    if arguments.programs.is_none() {
        places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    }
    places.iter().map(|place| place.join(name)).find(|program| program.is_file()).ok_or_else(|| {
        let first = places.first().map(|p| p.display().to_string()).unwrap_or_default();
        Failure::NotStarted(format!(
            "there is no {name} in {first}, nor in PATH; install it, or name its directory with --programs"
        ))
    })
}
