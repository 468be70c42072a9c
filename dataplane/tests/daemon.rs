//! The whole daemon as its own process: this test binary starts itself again as the data plane, and plays control plane,
//! client and operator around it.
//!
//! Virtual ports without traffic (`net_null`) where no packet is needed; `net_af_packet` on a veth pair in a network
//! namespace of its own where one is. The latter need root and iproute2, and fail saying so without.

#![allow(clippy::unwrap_used, clippy::panic)] // Clippy knows test functions, but not their helpers.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use causeway_shared::counters::Flow;
use causeway_shared::sa::{
    Encapsulation, EspKeys, EspSuite, MAX_CIPHER_KEY, MAX_INTEGRITY_KEY, SALT_LEN, SaLimits, SaPair, Selector,
};
use causeway_shared::wire::{AckStatus, Action, Command, Datagram, Event};
use causeway_shm::{AttachError, ControlSide, monotonic_ns};
use rustix::process::{Pid, Signal, kill_process};

/// Tells the copy of this binary that is to be the daemon which file to read.
const CONFIG_VARIABLE: &str = "CAUSEWAY_TEST_DATAPLANE_CONFIG";
/// Longest wait for anything; a busy machine needs a part of it.
const DEADLINE: Duration = Duration::from_secs(30);

const NULL_PORTS: [&str; 2] = ["net_null0,no-rx=1", "net_null1,no-rx=1"];
const INNER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);

#[test]
#[ignore = "this is the daemon itself; the other tests start it"]
fn daemon_process() {
    let file = std::env::var(CONFIG_VARIABLE).unwrap();
    let result = causeway_dataplane::daemon::run(["--config".to_owned(), file], "test");
    assert!(result.is_ok(), "causeway-dataplane: {}", result.unwrap_err());
}

#[test]
fn a_control_plane_attaches_its_commands_take_effect_and_outlive_it() {
    let daemon = Daemon::start("commands", &[0, 1], NULL_PORTS, None);
    let mut control = daemon.attach();
    assert_eq!((control.workers(), control.sa_capacity()), (2, 256));

    assert_eq!(execute(&mut control, Action::RemoveAll), AckStatus::Done);
    assert_eq!(execute(&mut control, Action::AddPool("10.9.0.0/24".parse().unwrap())), AckStatus::Done);
    // One SA for each worker: slots 2 and 3.
    for spi in [0x1002, 0x1003] {
        assert_eq!(execute(&mut control, install(spi)), AckStatus::Done);
        let stats = control.stats(spi).unwrap();
        assert!(stats.outbound_reserved_end >= 5, "{stats:?}");
        assert_eq!((stats.inbound_spi, stats.highest_inbound_sequence, stats.in_packets), (spi, 3, 0));
    }
    assert_eq!(execute(&mut control, install(0x2003)), AckStatus::SlotInUse);
    assert_eq!(execute(&mut control, Action::SelectOutbound { inbound_spi: 0x1002 }), AckStatus::Done);
    assert_eq!(execute(&mut control, Action::Barrier), AckStatus::Done);
    let second = ControlSide::attach(&daemon.socket(), "test").map(|_| ()).unwrap_err();
    assert!(matches!(second, AttachError::Busy { .. }), "{second}");
    let epoch = control.epoch();
    drop(control);

    let mut successor = daemon.attach();
    assert_eq!(successor.epoch(), epoch);
    assert_eq!(execute(&mut successor, install(0x1002)), AckStatus::SlotInUse, "it is still there");
    for spi in [0x1002, 0x1003] {
        assert_eq!(execute(&mut successor, Action::RemoveSa { inbound_spi: spi }), AckStatus::Done);
        assert_eq!(execute(&mut successor, Action::RemoveSa { inbound_spi: spi }), AckStatus::NoSuchSa);
    }
    assert!(daemon.stop().success());
}

#[test]
fn more_commands_than_can_be_under_way_are_all_acknowledged_once() {
    const COMMANDS: u32 = 200;
    let daemon = Daemon::start("many", &[0, 1], NULL_PORTS, None);
    let mut control = daemon.attach();
    assert_eq!(execute(&mut control, Action::AddPool("10.9.0.0/24".parse().unwrap())), AckStatus::Done);
    let mut waiting: Vec<u64> = (0..COMMANDS)
        .map(|number| {
            let Action::InstallSa(mut pair) = install(0x1000 + number) else { unreachable!() };
            pair.peer_inner = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 9, 0, 1)) + number);
            push(&mut control, Action::InstallSa(pair))
        })
        .collect();
    let barrier = push(&mut control, Action::Barrier);
    let status = until("the barrier's acknowledgement", || match control.next_event().unwrap() {
        Some((_, Event::Ack { command_id, status })) if command_id == barrier => Some(status),
        Some((_, Event::Ack { command_id, status })) => {
            assert_eq!(status, AckStatus::Done);
            let place = waiting.iter().position(|id| *id == command_id).unwrap();
            waiting.swap_remove(place);
            None
        }
        _ => None,
    });
    assert_eq!(status, AckStatus::Done);
    assert!(waiting.is_empty(), "acknowledged before the barrier: all but {waiting:?}");
    assert!(daemon.stop().success());
}

#[test]
fn every_thread_shows_that_it_lives_and_sigterm_ends_all_of_it() {
    let daemon = Daemon::start("lives", &[0, 1], NULL_PORTS, None);
    let control = daemon.attach();
    let first = control.heartbeats();
    assert_eq!(first.len(), 3, "two workers and the manager");
    until("a beat of every thread", || {
        let beats = control.heartbeats();
        first.iter().zip(&beats).all(|(before, now)| now.count > before.count + 1).then_some(())
    });
    assert!(control.heartbeats().iter().all(|beat| !beat.is_stale(monotonic_ns(), DEADLINE)));
    let link = control.link();
    let socket = daemon.socket();
    assert!(daemon.stop().success());
    until("the end of the link", || link.is_gone().then_some(()));
    assert!(!socket.exists(), "the socket is removed");
}

#[test]
fn what_keeps_the_daemon_from_starting_is_named() {
    for (name, cores, ports, expected) in [
        ("device", &[0][..], ["net_nonsense0", "net_null1"], "[[port]] \"wan\": device `net_nonsense0`"),
        ("interface", &[0], ["net_af_packet0,iface=not-there", "net_null1"], "ip link show not-there"),
        ("core", &[0, 1000], NULL_PORTS, "dataplane.cores names core 1000"),
        ("twice", &[0], ["net_null0", "net_null0,size=128"], "net_null0"),
    ] {
        let daemon = Daemon::spawn(name, cores, ports, None);
        let (status, log) = daemon.wait();
        assert!(!status.success() && log.contains(expected), "{name}: {status}: {log}");
    }
}

#[test]
fn pings_are_answered_and_ike_datagrams_pass_both_ways_with_one_worker() {
    exchange_with_a_neighbour("one", &[0]);
}

/// The port has one queue, so one of the workers sends through the other.
#[test]
fn pings_are_answered_and_ike_datagrams_pass_both_ways_with_two_workers() {
    exchange_with_a_neighbour("two", &[0, 1]);
}

fn exchange_with_a_neighbour(name: &str, cores: &[usize]) {
    let world = Namespaces::new(name);
    let ports = ["net_af_packet0,iface=wan", "net_af_packet1,iface=lan"];
    let daemon = Daemon::start(name, cores, ports, Some(&world.gateway));
    let mut control = daemon.attach();
    for address in ["192.0.2.1", "10.1.0.1"] {
        run("ip", &["netns", "exec", &world.peer, "ping", "-c", "3", "-i", "0.2", "-W", "5", address]);
    }

    let client = world.udp_socket(Ipv4Addr::new(192, 0, 2, 2), 5000);
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.send_to(b"an IKE request", (Ipv4Addr::new(192, 0, 2, 1), 500)).unwrap();
    let punted = until("the punted datagram", || control.next_punt().unwrap()).1;
    assert_eq!(punted.payload, b"an IKE request");
    assert_eq!((punted.peer, punted.peer_port, punted.local_port), (Ipv4Addr::new(192, 0, 2, 2), 5000, 500));

    // Longer than the MTU: it arrives whole from its fragments.
    for payload in [b"an IKE answer".to_vec(), vec![7; 4000]] {
        control.to_send.push(&Datagram { payload: payload.clone(), ..punted.clone() }).unwrap();
        let mut received = vec![0; 5000];
        let (length, sender) = client.recv_from(&mut received).unwrap();
        assert_eq!((&received[..length], sender.to_string().as_str()), (&payload[..], "192.0.2.1:500"));
    }
    let counted = until("the counters", || {
        let counters = control.counter_totals();
        let [punted, sent, echoes] = [Flow::PuntedIke, Flow::SentIke, Flow::IcmpEchoReplies]
            .map(|flow| counters.get(flow.index()).copied().unwrap());
        ((punted, sent, echoes) == (1, 2, 6)).then_some(counters)
    });
    assert!(counted[Flow::TxPackets.index()] >= 6 + 4);
    assert!(daemon.stop().success());
}

/// A running daemon; killed when dropped.
struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it and waits until its socket is there.
    fn start(name: &str, cores: &[usize], ports: [&str; 2], namespace: Option<&str>) -> Daemon {
        let mut daemon = Daemon::spawn(name, cores, ports, namespace);
        until("the data plane's socket", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}: {}", daemon.log());
            }
            daemon.socket().exists().then_some(())
        });
        daemon
    }

    fn spawn(name: &str, cores: &[usize], ports: [&str; 2], namespace: Option<&str>) -> Daemon {
        let directory = std::env::temp_dir().join(format!("causeway-daemon-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("causeway.toml");
        fs::write(&file, configuration(&directory, cores, ports)).unwrap();
        let myself = std::env::current_exe().unwrap();
        let mut process = match namespace {
            Some(namespace) => {
                let mut process = Process::new("ip");
                process.args(["netns", "exec", namespace]).arg(myself);
                process
            }
            None => Process::new(myself),
        };
        let child = process
            .args(["--exact", "daemon_process", "--ignored", "--nocapture"])
            .env(CONFIG_VARIABLE, &file)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        Daemon { child, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("dataplane.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// Attaches, as soon as the daemon has noticed that a predecessor is gone.
    fn attach(&self) -> ControlSide {
        until("the attachment", || match ControlSide::attach(&self.socket(), "test") {
            Ok(control) => Some(control),
            Err(AttachError::Busy { .. }) => None,
            Err(error) => panic!("{error}: {}", self.log()),
        })
    }

    /// Ends it as an operator would.
    fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = until("the daemon's end", || self.child.try_wait().unwrap());
        assert!(self.log().contains("data plane ends"), "{}", self.log());
        status
    }

    /// Waits for its own end.
    fn wait(mut self) -> (ExitStatus, String) {
        let status = until("the daemon's end", || self.child.try_wait().unwrap());
        (status, self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn configuration(directory: &Path, cores: &[usize], [wan, lan]: [&str; 2]) -> String {
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
        idle_sleep_usecs = 100
        [[port]]
        name = "wan"
        device = "{wan}"
        role = "outside"
        address = "192.0.2.1/24"
        [[port]]
        name = "lan"
        device = "{lan}"
        role = "inside"
        address = "10.1.0.1/24"
        [auth]
        methods = ["psk"]
        [[auth.psk]]
        identity = "*"
        secret = "not used by the data plane"
        [[pool]]
        name = "clients"
        range = "10.9.0.0/24"
        "#,
        directory.display()
    )
}

fn install(inbound_spi: u32) -> Action {
    let keys =
        EspKeys { cipher: [7; MAX_CIPHER_KEY], salt: [8; SALT_LEN], integrity: [0; MAX_INTEGRITY_KEY] };
    let any = |first, last| Selector { protocol: 0, first, last, first_port: 0, last_port: u16::MAX };
    Action::InstallSa(Box::new(SaPair {
        inbound_spi,
        outbound_spi: 0x7000,
        session_id: 1,
        suite: EspSuite::Aes256Gcm16,
        esn: false,
        inbound_keys: keys.clone(),
        outbound_keys: keys,
        local_outer: Ipv4Addr::new(192, 0, 2, 1),
        peer_outer: Ipv4Addr::new(192, 0, 2, 9),
        encapsulation: Encapsulation::Udp { local_port: 4500, peer_port: 4500 },
        peer_inner: INNER,
        peer_selectors: vec![any(INNER, INNER)],
        local_selectors: vec![any(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)],
        replay_window: 64,
        first_outbound_sequence: 5,
        highest_inbound_sequence: 3,
        limits: SaLimits::default(),
        outbound_selected: true,
    }))
}

fn push(control: &mut ControlSide, action: Action) -> u64 {
    let id = control.next_command_id();
    control.commands.push(&Command { id, action }).unwrap();
    id
}

/// Gives one command and waits for its acknowledgement.
fn execute(control: &mut ControlSide, action: Action) -> AckStatus {
    let id = push(control, action);
    until("an acknowledgement", || match control.next_event().unwrap() {
        Some((_, Event::Ack { command_id, status })) if command_id == id => Some(status),
        _ => None,
    })
}

/// Asks until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "{what} did not come within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Two namespaces: the gateway's interfaces `wan` and `lan` without addresses, and the peer at their other ends.
struct Namespaces {
    gateway: String,
    peer: String,
}

impl Namespaces {
    fn new(name: &str) -> Namespaces {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces: run it as root, with iproute2, ethtool and iputils-ping installed"
        );
        let unique = format!("cwdp-{name}-{}", std::process::id());
        let world = Namespaces { gateway: format!("{unique}-gw"), peer: format!("{unique}-peer") };
        for namespace in [&world.gateway, &world.peer] {
            run("ip", &["netns", "add", namespace]);
        }
        for (interface, address) in [("wan", "192.0.2.2/24"), ("lan", "10.1.0.2/24")] {
            let (gateway, peer) = (world.gateway.as_str(), world.peer.as_str());
            run(
                "ip",
                &["-n", peer, "link", "add", interface, "type", "veth", "peer", interface, "netns", gateway],
            );
            run("ip", &["-n", peer, "addr", "add", address, "dev", interface]);
            run("ip", &["-n", peer, "link", "set", interface, "up"]);
            run("ip", &["-n", gateway, "link", "set", interface, "up"]);
            // A veth leaves checksums to a card that is not there; packet sockets see them unfinished.
            run("ip", &["netns", "exec", peer, "ethtool", "-K", interface, "tx", "off"]);
        }
        world
    }

    /// A socket of the peer's; it stays in the peer's namespace wherever it is used.
    fn udp_socket(&self, address: Ipv4Addr, port: u16) -> UdpSocket {
        let namespace = File::open(format!("/run/netns/{}", self.peer)).unwrap();
        let bind = move || {
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), None).unwrap();
            UdpSocket::bind((address, port)).unwrap()
        };
        thread::spawn(bind).join().unwrap()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.gateway, &self.peer] {
            let _ = Process::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output =
        Process::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{errors}");
}
