//! One daemon under supervision: started, watched, started again after a back-off, stopped on request. Enters: its command line
//! and a stop order. Leaves: log lines, its readiness, and how it ended.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::backoff::Backoff;

/// How often a file is looked for while a daemon starts.
const READY_POLL: Duration = Duration::from_millis(50);
/// Starts that may fail before the daemon was ready for the first time; after that it is started again for ever.
const FIRST_STARTS: u32 = 4;

/// What to run and how to know that it is there.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    /// Name for logs.
    pub name: &'static str,
    /// This program, which becomes the daemon (see `launch.rs`).
    pub launcher: PathBuf,
    /// The daemon's program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its socket: stale before the start, there when it is ready.
    pub socket: PathBuf,
    /// Longest time from start to readiness.
    pub ready_within: Duration,
    /// Time from SIGTERM to SIGKILL.
    pub stop_within: Duration,
}

/// What the supervisor wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Keep it running.
    Run,
    /// SIGTERM, then SIGKILL when the time is over.
    Stop,
    /// SIGKILL.
    Kill,
}

/// How a daemon is seen from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    /// Not ready yet, or crashed.
    Starting,
    /// Ready.
    Ready,
    /// It failed again and again before it was ready once.
    GaveUp,
}

/// How the last process ended after a stop order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopped {
    /// In time and with success, or it was not running.
    Clean,
    /// In time, but with a failure.
    Failed,
    /// By SIGKILL.
    Killed,
}

/// Keeps the daemon running until another order comes.
pub(super) async fn keep(
    daemon: Daemon,
    mut orders: watch::Receiver<Order>,
    health: watch::Sender<Health>,
) -> Stopped {
    let daemon = &daemon;
    let mut backoff = Backoff::default();
    let mut was_ready = false;
    loop {
        if *orders.borrow() != Order::Run {
            return Stopped::Clean;
        }
        let started = Instant::now();
        let why = match start(daemon) {
            Ok(mut child) => {
                let pid = child.id().unwrap_or_default();
                tracing::info!(daemon = daemon.name, pid, "started");
                match attend(daemon, &mut child, &mut orders, &health).await {
                    Ended::Itself(why) => why,
                    Ended::OnOrder(stopped) => return stopped,
                }
            }
            Err(error) => format!("cannot be started: {error}"),
        };
        was_ready |= *health.borrow() == Health::Ready;
        let wait = backoff.wait_after(started.elapsed());
        if !was_ready && backoff.crashes() >= FIRST_STARTS {
            tracing::error!(daemon = daemon.name, "{why}; it never became ready, giving up");
            health.send_replace(Health::GaveUp);
            return Stopped::Failed;
        }
        health.send_replace(Health::Starting);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(
            daemon = daemon.name,
            crashes = backoff.crashes(),
            wait_ms,
            "{why}; starting it again"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = next_order(&mut orders) => {}
        }
    }
}

/// The next order; a supervisor that is gone wants nothing to stay.
async fn next_order(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.changed().await {
        Ok(()) => *orders.borrow_and_update(),
        Err(_) => Order::Kill,
    }
}

enum Ended {
    Itself(String),
    OnOrder(Stopped),
}

fn start(daemon: &Daemon) -> std::io::Result<Child> {
    match std::fs::remove_file(&daemon.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Command::new(&daemon.launcher)
        .arg("launch")
        .args(["--parent", &std::process::id().to_string(), "--"])
        .arg(&daemon.program)
        .args(&daemon.arguments)
        .stdin(std::process::Stdio::null())
        // The supervisor is the service; what it runs is its own affair.
        .env_remove("NOTIFY_SOCKET")
        // A group of its own: Ctrl-C on the terminal reaches the supervisor alone, which stops the daemons in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits for the process's end or an order, and tells when it is ready.
async fn attend(
    daemon: &Daemon,
    child: &mut Child,
    orders: &mut watch::Receiver<Order>,
    health: &watch::Sender<Health>,
) -> Ended {
    let mut ready = false;
    let late = tokio::time::sleep(daemon.ready_within);
    tokio::pin!(late);
    loop {
        tokio::select! {
            status = child.wait() => return Ended::Itself(describe(status)),
            order = next_order(orders) => {
                if order != Order::Run {
                    return Ended::OnOrder(stop(daemon, child, order, orders).await);
                }
            }
            () = &mut late, if !ready => {
                kill(child);
                let status = describe(child.wait().await);
                let waited = daemon.ready_within.as_secs();
                return Ended::Itself(format!("was not ready within {waited} s and was stopped ({status})"));
            }
            () = tokio::time::sleep(READY_POLL), if !ready => {
                if is_socket(&daemon.socket) {
                    ready = true;
                    tracing::info!(daemon = daemon.name, "ready");
                    health.send_replace(Health::Ready);
                }
            }
        }
    }
}

async fn stop(
    daemon: &Daemon,
    child: &mut Child,
    order: Order,
    orders: &mut watch::Receiver<Order>,
) -> Stopped {
    if order == Order::Stop {
        tracing::info!(daemon = daemon.name, "stopping");
        if let Some(pid) = pid(child) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = tokio::time::sleep(daemon.stop_within);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                status = child.wait() => {
                    let clean = status.as_ref().is_ok_and(ExitStatus::success);
                    tracing::info!(daemon = daemon.name, "stopped: {}", describe(status));
                    return if clean { Stopped::Clean } else { Stopped::Failed };
                }
                () = &mut deadline => {
                    tracing::error!(daemon = daemon.name, "did not stop within {} s, killing it", daemon.stop_within.as_secs());
                    break;
                }
                order = next_order(orders) => if order == Order::Kill { break },
            }
        }
    }
    kill(child);
    tracing::warn!(daemon = daemon.name, "killed: {}", describe(child.wait().await));
    Stopped::Killed
}

/// Ends the process and whatever it started.
fn kill(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// The process's id while it has not been waited for, so that it cannot be another's.
fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket())
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) if status.core_dumped() => format!("killed by signal {signal}, core dumped"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}
