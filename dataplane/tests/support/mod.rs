//! A daemon process with its configuration, a control plane's moves, and network namespaces.

#![allow(clippy::unwrap_used, clippy::panic)] // Clippy knows test functions, but not their helpers.
#![allow(dead_code)] // Each test binary uses its part.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use causeway_shared::wire::{AckStatus, Action, Command, Event};
use causeway_shm::{AttachError, ControlSide};
use rustix::process::{Pid, Signal, kill_process};

/// Tells the copy of this binary that is to be the daemon which file to read.
const CONFIG_VARIABLE: &str = "CAUSEWAY_TEST_DATAPLANE_CONFIG";
/// Longest wait for anything; a busy machine needs a part of it.
pub const DEADLINE: Duration = Duration::from_secs(30);

#[test]
#[ignore = "this is the daemon itself; the other tests start it"]
fn daemon_process() {
    let file = std::env::var(CONFIG_VARIABLE).unwrap();
    let result = causeway_dataplane::daemon::run(["--config".to_owned(), file], "test");
    assert!(result.is_ok(), "causeway-dataplane: {}", result.unwrap_err());
}

/// What a daemon is started with.
pub struct Site<'a> {
    /// Distinguishes its folder.
    pub name: &'a str,
    pub cores: &'a [usize],
    /// Device strings of the outside and the inside port.
    pub devices: [&'a str; 2],
    /// Address and prefix length of the outside and the inside port.
    pub addresses: [&'a str; 2],
    pub pool: &'a str,
    /// Where it runs; `None` for here.
    pub namespace: Option<&'a str>,
}

impl Default for Site<'_> {
    fn default() -> Self {
        Site {
            name: "site",
            cores: &[0],
            devices: ["net_null0,no-rx=1", "net_null1,no-rx=1"],
            addresses: ["192.0.2.1/24", "10.1.0.1/24"],
            pool: "10.9.0.0/24",
            namespace: None,
        }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it and waits until its socket is there.
    pub fn start(site: &Site<'_>) -> Daemon {
        let mut daemon = Daemon::spawn(site);
        until("the data plane's socket", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}: {}", daemon.log());
            }
            daemon.socket().exists().then_some(())
        });
        daemon
    }

    pub fn spawn(site: &Site<'_>) -> Daemon {
        let directory =
            std::env::temp_dir().join(format!("causeway-daemon-{}-{}", site.name, std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("causeway.toml"), configuration(&directory, site)).unwrap();
        let child = process_in(&directory, site.namespace);
        Daemon { child, directory }
    }

    /// Kills it as a crash would, and starts it again in what it left behind.
    pub fn crash_and_restart(&mut self, site: &Site<'_>) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = process_in(&self.directory, site.namespace);
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("dataplane.sock")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// Attaches, as soon as the daemon is there and has noticed that a predecessor is gone.
    pub fn attach(&self) -> ControlSide {
        until("the attachment", || match ControlSide::attach(&self.socket(), "test") {
            Ok(control) => Some(control),
            Err(AttachError::Busy { .. } | AttachError::NoDataPlane { .. }) => None,
            Err(error) => panic!("{error}: {}", self.log()),
        })
    }

    /// Ends it as an operator would.
    pub fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = until("the daemon's end", || self.child.try_wait().unwrap());
        assert!(self.log().contains("data plane ends"), "{}", self.log());
        status
    }

    /// Waits for its own end.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = until("the daemon's end", || self.child.try_wait().unwrap());
        (status, self.log())
    }
}

impl Drop for Daemon {
    /// Asks it to end, so that it can clean up; a test that failed must not wait for one that cannot.
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let running = matches!(self.child.try_wait(), Ok(None));
        if let Some(pid) = self.child.id().try_into().ok().and_then(Pid::from_raw).filter(|_| running) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn process_in(directory: &Path, namespace: Option<&str>) -> Child {
    let myself = std::env::current_exe().unwrap();
    let mut process = match namespace {
        Some(namespace) => {
            let mut process = Process::new("ip");
            process.args(["netns", "exec", namespace]).arg(myself);
            process
        }
        None => Process::new(myself),
    };
    process
        .args(["--exact", "support::daemon_process", "--ignored", "--nocapture"])
        .env(CONFIG_VARIABLE, directory.join("causeway.toml"))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::options().create(true).append(true).open(directory.join("log")).unwrap())
        .spawn()
        .unwrap()
}

fn configuration(directory: &Path, site: &Site<'_>) -> String {
    let Site { cores, devices: [wan, lan], addresses: [outside, inside], pool, .. } = site;
    format!(
        r#"
        [gateway]
        identity = "vpn.example.test"
        run_directory = "{}"
        [dataplane]
        cores = {cores:?}
        hugepages = "never"
        memory_mib = 128
        buffers = 4096
        sa_capacity = 256
        poll = "adaptive"
        idle_sleep_usecs = 100
        [[port]]
        name = "wan"
        device = "{wan}"
        role = "outside"
        address = "{outside}"
        [[port]]
        name = "lan"
        device = "{lan}"
        role = "inside"
        address = "{inside}"
        [auth]
        methods = ["psk"]
        [[auth.psk]]
        identity = "*"
        secret = "not used by the data plane"
        [[pool]]
        name = "clients"
        range = "{pool}"
        "#,
        directory.display()
    )
}

pub fn push(control: &mut ControlSide, action: Action) -> u64 {
    let id = control.next_command_id();
    control.commands.push(&Command { id, action }).unwrap();
    id
}

/// Gives one command and waits for its acknowledgement.
pub fn execute(control: &mut ControlSide, action: Action) -> AckStatus {
    let id = push(control, action);
    until("an acknowledgement", || match control.next_event().unwrap() {
        Some((_, Event::Ack { command_id, status })) if command_id == id => Some(status),
        _ => None,
    })
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "{what} did not come within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A network namespace; gone when dropped, with the interfaces in it.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(name: &str) -> Namespace {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces: run it as root, with iproute2, ethtool and iputils-ping installed"
        );
        let namespace = Namespace { name: format!("cwdp-{name}-{}", std::process::id()) };
        run("ip", &["netns", "add", &namespace.name]);
        namespace
    }

    /// Joins our new interface to a new one of `other` (both up, without addresses).
    pub fn connect(&self, interface: &str, other: &Namespace, other_interface: &str) {
        run(
            "ip",
            &[
                "-n",
                &self.name,
                "link",
                "add",
                interface,
                "type",
                "veth",
                "peer",
                other_interface,
                "netns",
                &other.name,
            ],
        );
        for (namespace, interface) in [(self, interface), (other, other_interface)] {
            run("ip", &["-n", &namespace.name, "link", "set", interface, "up"]);
            // A veth leaves checksums and segmentation to a card that is not there; packet sockets see them undone.
            run(
                "ip",
                &["netns", "exec", &namespace.name, "ethtool", "-K", interface, "tx", "off", "gro", "off"],
            );
        }
    }

    pub fn add_address(&self, interface: &str, address: &str) {
        run("ip", &["-n", &self.name, "addr", "add", address, "dev", interface]);
    }

    pub fn add_route(&self, destination: &str, via: &str) {
        run("ip", &["-n", &self.name, "route", "add", destination, "via", via]);
    }

    pub fn ping(&self, address: &str) {
        run("ip", &["netns", "exec", &self.name, "ping", "-c", "3", "-i", "0.2", "-W", "5", address]);
    }

    /// Makes sockets in the namespace; they stay there wherever they are used.
    pub fn sockets<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let enter_and_make = move || {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), None).unwrap();
            make()
        };
        thread::spawn(enter_and_make).join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Process::new("ip").args(["netns", "del", &self.name]).status();
    }
}

pub fn run(program: &str, arguments: &[&str]) {
    let output =
        Process::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{errors}");
}
