//! The data-plane daemon: configuration in, packets forwarded until SIGTERM.
//!
//! Order of start: log, cores, EAL, buffers, crypto device, ports, segment, workers, socket. The socket comes last: who can connect finds
//! everything running. The order of the end is the reverse.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::{fs, io};

use causeway_dpdk::{Eal, Mempool};
use causeway_shared::config::{Config, DATAPLANE_SOCKET, Dataplane, Log, Mistakes, Poll};
use causeway_shared::sa::IpPrefix;
use causeway_shm::{
    CreateError, DataSide, Handover, HandoverError, ListenOptions, MAX_WORKERS, SegmentConfig, WorkerSide,
    monotonic_ns,
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::crypto::{Line, start_device};
use crate::dpdk_buffer::{PoolAllocator, data_room};
use crate::eal_args::{EalArguments, EalArgumentsError, Machine, eal_arguments};
use crate::handoff::Mailbox;
use crate::manager::{Ended, Manager};
use crate::manager_commands::Executor;
use crate::path::{Path, PathConfig, PathError, PortConfig, RouteConfig, RouteConfig6};
use crate::ports::{PortError, WorkerPorts, start_ports};
use crate::ports_watch::PortWatch;
use crate::worker::Worker;

/// By how much the kernel may prolong a worker's sleep, nanoseconds.
const TIMER_SLACK_NS: u64 = 1_000;

/// Why the daemon does not run, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The command line.
    #[error("usage: causeway-dataplane --config FILE")]
    Usage,
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
    /// A core that this process may not use.
    #[error("dataplane.cores names core {core}, but this process may run on {allowed:?} only")]
    Core {
        /// The core.
        core: usize,
        /// What the machine and the affinity mask allow.
        allowed: Vec<usize>,
    },
    /// Too many cores.
    #[error("dataplane.cores names {0} cores; at most {MAX_WORKERS} are possible")]
    TooManyCores(usize),
    /// `dataplane.control_user`.
    #[error("dataplane.control_user: this machine has no user `{0}`; make it, or name another")]
    ControlUser(String),
    /// `dataplane.control_user` and `dataplane.control_uid`.
    #[error(
        "dataplane.control_user `{user}` has the user id {uid}, and dataplane.control_uid says {wanted}; remove one"
    )]
    TwoControlUsers {
        /// The user.
        user: String,
        /// Its id.
        uid: u32,
        /// The other id.
        wanted: u32,
    },
    /// Hugepages are demanded and not there.
    #[error("{0}")]
    EalArguments(#[from] EalArgumentsError),
    /// The crypto engine.
    #[error("{0}")]
    Crypto(#[from] crate::crypto::EngineError),
    /// DPDK's EAL or its memory.
    #[error("{0}")]
    Dpdk(#[from] causeway_dpdk::Error),
    /// A port.
    #[error("{0}")]
    Port(#[from] PortError),
    /// The run directory cannot be made.
    #[error("gateway.run_directory {}: {source}", .path.display())]
    RunDirectory {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The segment.
    #[error("the shared segment cannot be made: {0}")]
    Segment(#[from] CreateError),
    /// The socket.
    #[error("{0}")]
    Handover(#[from] HandoverError),
    /// Ports and routes contradict each other.
    #[error("{0}")]
    Path(#[from] PathError),
    /// A worker could not be started.
    #[error("worker {worker} on core {core} does not start: {reason}")]
    Worker {
        /// Its number.
        worker: usize,
        /// Its core.
        core: usize,
        /// Why.
        reason: String,
    },
    /// Signals.
    #[error("signal handlers cannot be installed: {0}")]
    Signals(io::Error),
    /// A worker's thread ended.
    #[error("a worker died; its last message stands above in the log")]
    WorkerDied,
    /// The manager cannot go on.
    #[error("the manager cannot wait for commands")]
    ManagerDied,
}

/// Runs the daemon with its command line (without the program's name) until it is told to stop.
///
/// # Errors
/// What kept it from starting, or ended it.
pub fn run(arguments: impl IntoIterator<Item = String>, version: &str) -> Result<(), DaemonError> {
    let file = config_file(arguments)?;
    let config = Config::load_without_files(&file)?;
    start_log(&config.log)?;
    tracing::info!(version, config = %file.display(), "data plane starts");
    crate::crypto::choose(config.dataplane.crypto_engine)?;
    let stop = stop_on_signals()?;
    let runtime_directory = RuntimeDirectory::new(&config.gateway.run_directory);
    let eal = start_eal(&config, &runtime_directory)?;
    let result = forward(&config, eal, version, &stop);
    tracing::info!("data plane ends");
    result
}

/// Everything between EAL and end: its values are dropped in the reverse order of their making.
fn forward(config: &Config, eal: Eal, version: &str, stop: &Arc<AtomicBool>) -> Result<(), DaemonError> {
    let cores = &config.dataplane.cores;
    let workers = u16::try_from(cores.len())
        .ok()
        .filter(|workers| u32::from(*workers) <= MAX_WORKERS)
        .ok_or(DaemonError::TooManyCores(cores.len()))?;
    let pool = make_pool(config, eal)?;
    let mut lines = start_crypto_device(&config.dataplane, eal, workers, pool)?.into_iter();
    let ports = start_ports(eal, &config.ports, workers, pool)?;
    let side = DataSide::create(&SegmentConfig {
        workers: u32::from(workers),
        sa_capacity: config.dataplane.sa_capacity,
        epoch: epoch(),
        version: version.to_owned(),
    })?;
    if let Err(error) = side.manager.ports.describe(&ports.descriptions) {
        tracing::warn!(%error, "`causeway show ports` will show nothing");
    }
    let mailboxes: Arc<[Mailbox]> = Mailbox::for_workers(cores.len()).into();
    let mut threads = Threads { stop: stop.clone(), running: Vec::new() };
    for ((core, share), worker_side) in cores.iter().zip(ports.shares).zip(side.workers) {
        let parts = WorkerParts {
            eal,
            pool,
            core: *core,
            share,
            line: lines.next(),
            side: worker_side,
            mailboxes: mailboxes.clone(),
            poll: config.dataplane.poll,
            path: path_config(config, &ports.configs, threads.running.len() as u16, workers),
        };
        threads.start(parts)?;
    }
    let path = run_directory(&config.gateway.run_directory)?.join(DATAPLANE_SOCKET);
    let Dataplane { control_user, control_uid, .. } = &config.dataplane;
    let control_uid = self::control_uid(control_user.as_deref(), *control_uid)?;
    let options = ListenOptions { path, control_uid, socket_gid: None };
    let handover = Handover::bind(options, &side.segment)?;
    tracing::info!(workers, socket = %config.gateway.run_directory.join(DATAPLANE_SOCKET).display(), "data plane is ready");
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
    let executor = Executor::new(workers, config.dataplane.sa_capacity);
    let watch = PortWatch::new(ports.handles);
    let mut manager = Manager::new(side.manager, handover, mailboxes, executor, watch);
    let ended = manager.run(stop, || threads.all_alive());
    drop(threads);
    drop(manager);
    match ended {
        Ended::Stopped => Ok(()),
        Ended::WorkerDied => Err(DaemonError::WorkerDied),
        Ended::CannotWait => Err(DaemonError::ManagerDied),
    }
}

/// Who may attach as the control plane.
fn control_uid(user: Option<&str>, uid: Option<u32>) -> Result<Option<u32>, DaemonError> {
    let Some(user) = user else { return Ok(uid) };
    let found = uzers::get_user_by_name(user).ok_or_else(|| DaemonError::ControlUser(user.into()))?.uid();
    match uid {
        Some(wanted) if wanted != found => {
            Err(DaemonError::TwoControlUsers { user: user.into(), uid: found, wanted })
        }
        _ => Ok(Some(found)),
    }
}

fn config_file(arguments: impl IntoIterator<Item = String>) -> Result<PathBuf, DaemonError> {
    let arguments: Vec<String> = arguments.into_iter().collect();
    match arguments.as_slice() {
        [flag, file] if flag == "--config" => Ok(file.into()),
        [joined] => joined.strip_prefix("--config=").map(PathBuf::from).ok_or(DaemonError::Usage),
        _ => Err(DaemonError::Usage),
    }
}

fn start_log(log: &Log) -> Result<(), DaemonError> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse(&log.filter)
        .map_err(|source| DaemonError::LogFilter { filter: log.filter.clone(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A log that was set up already (in a test) stays.
    let _ = if log.json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    Ok(())
}

fn stop_on_signals() -> Result<Arc<AtomicBool>, DaemonError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone()).map_err(DaemonError::Signals)?;
    }
    Ok(stop)
}

fn start_eal(config: &Config, directory: &RuntimeDirectory) -> Result<Eal, DaemonError> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if let Some(core) = config.dataplane.cores.iter().find(|core| !allowed.contains(core)) {
        return Err(DaemonError::Core { core: *core, allowed });
    }
    let machine = Machine::probe(allowed, directory.prefix.clone());
    let EalArguments { arguments, hugepages } = eal_arguments(&config.dataplane, &config.ports, &machine)?;
    tracing::info!(hugepages, arguments = arguments.join(" "), "EAL starts");
    Ok(Eal::init(&arguments)?)
}

fn make_pool(config: &Config, eal: Eal) -> Result<Mempool, DaemonError> {
    let largest_mtu = config.ports.iter().map(|port| port.mtu).max().unwrap_or_default();
    Ok(Mempool::create(eal, "packets", config.dataplane.buffers, data_room(largest_mtu))?)
}

/// One way through the crypto device for each worker, as far as it has queue pairs; none without a device.
fn start_crypto_device(
    dataplane: &Dataplane,
    eal: Eal,
    workers: u16,
    pool: Mempool,
) -> Result<Vec<Line>, DaemonError> {
    let Some(device) = &dataplane.crypto_device else { return Ok(Vec::new()) };
    let lines = start_device(eal, device, workers, dataplane.crypto_sessions, pool)?;
    if lines.len() < usize::from(workers) && !lines.is_empty() {
        tracing::warn!(
            device,
            queue_pairs = lines.len(),
            workers,
            "the crypto device has fewer queue pairs than there are workers: the others do ESP in software"
        );
    }
    Ok(lines)
}

/// Differs from every earlier start: the monotonic clock never goes back before a reboot, and a reboot takes the control
/// plane with it.
fn epoch() -> u64 {
    monotonic_ns()
}

fn path_config(config: &Config, ports: &[PortConfig], worker: u16, workers: u16) -> PathConfig {
    PathConfig {
        ports: ports.to_vec(),
        routes: config
            .routes
            .iter()
            .filter_map(|route| match (route.destination, route.via) {
                (IpPrefix::V4(destination), IpAddr::V4(via)) => Some(RouteConfig { destination, via }),
                _ => None,
            })
            .collect(),
        routes6: config
            .routes
            .iter()
            .filter_map(|route| match (route.destination, route.via) {
                (IpPrefix::V6(destination), IpAddr::V6(via)) => Some(RouteConfig6 { destination, via }),
                _ => None,
            })
            .collect(),
        sa_capacity: config.dataplane.sa_capacity,
        worker,
        workers,
    }
}

fn run_directory(path: &FilePath) -> Result<&FilePath, DaemonError> {
    fs::create_dir_all(path).map_err(|source| DaemonError::RunDirectory { path: path.to_owned(), source })?;
    Ok(path)
}

/// What one worker's thread needs.
struct WorkerParts {
    eal: Eal,
    pool: Mempool,
    core: usize,
    share: WorkerPorts,
    line: Option<Line>,
    side: WorkerSide,
    mailboxes: Arc<[Mailbox]>,
    poll: Poll,
    path: PathConfig,
}

impl WorkerParts {
    /// On the worker's own thread, so that its memory is near its core. Tells `ready` how the start went.
    fn run(self, stop: &AtomicBool, ready: &mpsc::SyncSender<Result<(), String>>) {
        let tell = |how| {
            // Nobody listens only if the main thread is gone, and then there is nobody to tell.
            let _ = ready.send(how);
        };
        if !core_affinity::set_for_current(core_affinity::CoreId { id: self.core }) {
            return tell(Err("the thread cannot be pinned to the core".to_owned()));
        }
        // Linux adds up to 50 µs to a thread's sleeps unless told otherwise; without this a short sleep is no grade below a long.
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS)) {
            tracing::debug!(%error, "the timer slack stays; short sleeps take longer");
        }
        let registered = match self.eal.register_thread() {
            Ok(registered) => registered,
            Err(error) => return tell(Err(error.to_string())),
        };
        let mut path = match Path::new(self.path, PoolAllocator::new(self.pool)) {
            Ok(path) => path,
            Err(error) => return tell(Err(error.to_string())),
        };
        if let Some(line) = self.line {
            path.use_device(line);
        }
        let worker = Worker::new(path, self.share, self.mailboxes, self.side, self.poll);
        tell(Ok(()));
        worker.run(stop);
        drop(registered);
    }
}

/// Running workers. Dropping them stops them and waits, so that no port is closed under a worker.
struct Threads {
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(&mut self, parts: WorkerParts) -> Result<(), DaemonError> {
        let (worker, core) = (self.running.len(), parts.core);
        let failed = |reason| DaemonError::Worker { worker, core, reason };
        let (ready, answer) = mpsc::sync_channel(1);
        let stop = self.stop.clone();
        let thread = thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || parts.run(&stop, &ready))
            .map_err(|error| failed(error.to_string()))?;
        self.running.push(thread);
        match answer.recv() {
            Ok(how) => how.map_err(failed),
            Err(_) => Err(failed("it panicked; its message stands above in the log".to_owned())),
        }
    }

    fn all_alive(&self) -> bool {
        self.running.iter().all(|thread| !thread.is_finished())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in self.running.drain(..) {
            // A panic was printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// The folder that the EAL makes for its files and leaves behind, empty; removed at the end. Its name follows from our run
/// directory, so that a daemon that was killed leaves one that its successor uses.
struct RuntimeDirectory {
    prefix: String,
}

impl RuntimeDirectory {
    fn new(run_directory: &FilePath) -> RuntimeDirectory {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let name: String = run_directory.to_string_lossy().chars().map(plain).collect();
        RuntimeDirectory { prefix: format!("causeway{name}") }
    }
}

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        // Where the EAL puts it depends on the user; it is there or it is not.
        let roots = [Some("/var/run".into()), std::env::var_os("XDG_RUNTIME_DIR"), Some("/tmp".into())];
        for root in roots.into_iter().flatten() {
            let _ = fs::remove_dir(FilePath::new(&root).join("dpdk").join(&self.prefix));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_is_known_by_name_or_number() {
        for (user, uid, expected) in [
            (None, None, Some(None)),
            (None, Some(7), Some(Some(7))),
            (Some("root"), None, Some(Some(0))),
            (Some("root"), Some(0), Some(Some(0))),
            (Some("root"), Some(7), None),
            (Some("nobody-of-this-name"), None, None),
        ] {
            assert_eq!(control_uid(user, uid).ok(), expected, "{user:?} {uid:?}");
        }
    }

    #[test]
    fn the_command_line_names_one_file() {
        for (arguments, file) in [
            (vec!["--config", "a.toml"], Some("a.toml")),
            (vec!["--config=a.toml"], Some("a.toml")),
            (vec![], None),
            (vec!["--config"], None),
            (vec!["a.toml"], None),
            (vec!["--config", "a.toml", "b"], None),
        ] {
            let found = config_file(arguments.iter().map(|argument| (*argument).to_owned())).ok();
            assert_eq!(found, file.map(PathBuf::from), "{arguments:?}");
        }
    }
}
