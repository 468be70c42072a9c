//! The segment between real processes, which are killed with SIGKILL.
//!
//! The children are this test program again, running one of the two ignored tests below as their role. They report on
//! standard error, one line per fact.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite, SaLimits, SaPair, keymat_len};
use causeway_shared::wire::{AckStatus, Action, Command, DatagramRef, Event};
use causeway_shm::{
    AttachError, ControlSide, DataSide, Handover, LinkEvent, ListenOptions, PushError, SaStats,
    SegmentConfig, WorkerSide, monotonic_ns,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const VERSION: &str = "two processes";
const SOCKET: &str = "CAUSEWAY_TEST_SOCKET";
const COMMANDS: &str = "CAUSEWAY_TEST_COMMANDS";

/// Nothing here takes longer, on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// How old a heartbeat of a data plane that beats every few milliseconds must be to be dead for certain.
const STALE: Duration = Duration::from_millis(1500);

const EXCHANGED: u64 = 100_000;
const ECHOED: usize = 2_000;
const SPI: u32 = 0x1001;

#[test]
fn a_killed_data_plane_is_noticed_and_its_figures_stay_readable() {
    let path = socket_path("data-killed");
    let mut data = Peer::start("role_data_plane", &path, 0);
    assert_eq!(data.line(), "listening");
    let mut control = attach(&path);
    assert_eq!(data.line(), format!("attached {}", std::process::id()));

    exchange(&mut control, EXCHANGED, |_| {});
    echo(&mut control, ECHOED);
    assert_eq!(control.refusals(), causeway_shm::Refusals::default());
    assert!(!control.link().is_gone());
    let alive = control.heartbeats();
    until("both threads beat on", || control.heartbeats().iter().zip(&alive).all(|(b, a)| b.count > a.count));

    data.kill();
    assert!(readable(&control.link(), DEADLINE), "the end of the connection wakes us");
    assert!(control.link().is_gone());
    until("the heartbeats are stale", || {
        control.heartbeats().iter().all(|beat| beat.is_stale(monotonic_ns(), STALE))
    });
    let stats = control.stats(SPI).unwrap();
    assert_eq!((stats.in_packets, stats.outbound_reserved_end), (ECHOED as u64, 4096));
    assert!(matches!(ControlSide::attach(&path, VERSION), Err(AttachError::NoDataPlane { .. })));

    // Its successor replaces the socket that it left behind, with a segment of its own.
    let mut successor = Peer::start("role_data_plane", &path, 0);
    assert_eq!(successor.line(), "listening");
    let mut next = attach(&path);
    assert_ne!(next.epoch(), control.epoch());
    until("the new worker has its SA", || next.stats(SPI).is_some());
    assert_eq!(next.stats(SPI).map(|stats| stats.in_packets), Some(0));
    exchange(&mut next, 1000, |_| {});
    drop(successor);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_killed_control_plane_is_noticed_and_the_next_one_goes_on() {
    let path = socket_path("control-killed");
    let mut data = Peer::start("role_data_plane", &path, 0);
    assert_eq!(data.line(), "listening");
    for _ in 0..3 {
        let mut control = Peer::start("role_control_plane", &path, u64::MAX);
        assert_eq!(data.line(), format!("attached {}", control.child.id()));
        assert_eq!(control.line(), "under way");
        assert!(matches!(ControlSide::attach(&path, VERSION), Err(AttachError::Busy { .. })));
        assert_eq!(data.line(), "refused");
        // In the middle of its traffic, wherever that is.
        control.kill();
        assert_eq!(data.line(), format!("detached {}", control.child.id()));
    }
    let mut control = Peer::start("role_control_plane", &path, EXCHANGED);
    assert_eq!(data.line(), format!("attached {}", control.child.id()));
    assert_eq!(control.line(), "under way");
    assert_eq!(control.line(), "done");
    assert!(control.child.wait().unwrap().success());
    assert_eq!(data.line(), format!("detached {}", control.child.id()));
    drop(data);
    std::fs::remove_file(&path).unwrap();
}

#[test]
#[ignore = "a role that the other tests start as a process"]
fn role_data_plane() {
    let Ok(path) = std::env::var(SOCKET) else { return };
    let config =
        SegmentConfig { workers: 1, sa_capacity: 64, epoch: monotonic_ns(), version: VERSION.into() };
    let DataSide { segment, mut manager, mut workers } = DataSide::create(&config).unwrap();
    let options = ListenOptions { path: path.into(), control_uid: None, socket_gid: None };
    let mut handover = Handover::bind(options, &segment).unwrap();
    eprintln!("listening");
    let stop = AtomicBool::new(false);
    let give_up = Instant::now() + DEADLINE;
    let mut acks: VecDeque<Event> = VecDeque::new();
    std::thread::scope(|scope| {
        let worker = workers.remove(0);
        scope.spawn(|| run_worker(worker, &stop));
        while Instant::now() < give_up {
            // With acknowledgements waiting for room, look again soon.
            let timeout = Duration::from_millis(if acks.is_empty() { 20 } else { 1 });
            manager.wait(&handover, timeout).unwrap();
            while let Some(event) = handover.serve() {
                match event {
                    LinkEvent::Attached(peer) => eprintln!("attached {}", peer.pid),
                    LinkEvent::Detached(peer) => eprintln!("detached {}", peer.pid),
                    LinkEvent::RefusedBusy(_) | LinkEvent::RefusedUser(_) => eprintln!("refused"),
                }
            }
            manager.heartbeat.beat(monotonic_ns());
            loop {
                while let Some(ack) = acks.pop_front() {
                    match manager.events.push(&ack) {
                        Ok(()) => {}
                        Err(PushError::Full) => {
                            acks.push_front(ack);
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                if !acks.is_empty() {
                    break;
                }
                let Some(command) = manager.next_command().unwrap() else { break };
                let as_sent = command == numbered(command.id);
                let status = if as_sent { AckStatus::Done } else { AckStatus::Malformed };
                acks.push_back(Event::Ack { command_id: command.id, status });
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Sends every datagram back where it came from, counts it as a packet of one SA, and beats.
fn run_worker(mut worker: WorkerSide, stop: &AtomicBool) {
    let stats = worker.stats.clone();
    let stats = stats.slot(SPI);
    stats.begin(&SaStats { inbound_spi: SPI, ..SaStats::default() });
    stats.reserve_outbound(4096);
    let to_send = worker.to_send.as_mut().unwrap();
    let mut waiting: Option<Vec<u8>> = None;
    while !stop.load(Ordering::Relaxed) {
        worker.heartbeat.beat(monotonic_ns());
        if waiting.is_none() {
            waiting = to_send.pop_ref(|datagram| datagram.payload.to_vec()).unwrap();
        }
        match waiting.take() {
            None => std::thread::park_timeout(Duration::from_micros(200)),
            Some(payload) => match worker.punts.push_ref(datagram(&payload)) {
                Ok(()) => stats.count_inbound(1, payload.len() as u64, monotonic_ns()),
                Err(PushError::Full) => {
                    waiting = Some(payload);
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            },
        }
    }
}

#[test]
#[ignore = "a role that the other tests start as a process"]
fn role_control_plane() {
    let Ok(path) = std::env::var(SOCKET) else { return };
    let commands = std::env::var(COMMANDS).unwrap().parse().unwrap();
    let mut control = attach(Path::new(&path));
    exchange(&mut control, commands, |done| {
        if done == 1000 {
            eprintln!("under way");
        }
    });
    assert_eq!(control.refusals(), causeway_shm::Refusals::default());
    eprintln!("done");
}

/// Sends `count` commands as fast as the ring takes them, and checks that each is acknowledged, once and in order.
/// Acknowledgements of a predecessor's commands are passed over by their ids.
fn exchange(control: &mut ControlSide, count: u64, mut progress: impl FnMut(u64)) {
    let first = control.next_command_id();
    let mut next = numbered(first);
    let (mut sent, mut acknowledged) = (0, 0);
    let give_up = Instant::now() + DEADLINE;
    while acknowledged < count {
        assert!(Instant::now() < give_up, "{sent} sent, {acknowledged} acknowledged");
        while sent < count {
            match control.commands.push(&next) {
                Ok(()) => sent += 1,
                Err(PushError::Full) => break,
                Err(error) => panic!("{error}"),
            }
            next = numbered(control.next_command_id());
        }
        control.doorbell().clear();
        let mut progress_made = false;
        while let Some((source, event)) = control.next_event().unwrap() {
            progress_made = true;
            let Event::Ack { command_id, status } = event else { panic!("{event:?}") };
            if command_id < first {
                continue;
            }
            assert_eq!((source, command_id, status), (1, first + acknowledged, AckStatus::Done));
            acknowledged += 1;
            progress(acknowledged);
        }
        // Progress may have made room: sleep only if there was none, for then acknowledgements are under way.
        if !progress_made && control.arm() {
            assert!(readable(&control.doorbell(), DEADLINE), "a wake-up was lost");
        }
    }
}

/// Sends `count` datagrams of all sizes and takes them back in order.
fn echo(control: &mut ControlSide, count: usize) {
    let payload = |number: usize| vec![number as u8; number * 7 % 2000];
    let (mut sent, mut received) = (0, 0);
    let give_up = Instant::now() + DEADLINE;
    while received < count {
        assert!(Instant::now() < give_up, "{sent} sent, {received} received");
        while sent < count && control.to_send.push_ref(datagram(&payload(sent))).is_ok() {
            sent += 1;
        }
        control.doorbell().clear();
        while let Some((worker, datagram)) = control.next_punt().unwrap() {
            assert_eq!((worker, datagram.payload), (0, payload(received)));
            received += 1;
        }
        if received < count && control.arm() {
            readable(&control.doorbell(), Duration::from_millis(1));
        }
    }
}

/// The command that has this id: both sides know what it must say.
fn numbered(id: u64) -> Command {
    let octet = id as u8;
    let suite = EspSuite::ALL[(id % 11) as usize];
    let keys = |octet| EspKeys::from_keymat(suite, &vec![octet; keymat_len(suite)]).unwrap();
    let action = match id % 3 {
        0 => Action::Barrier,
        1 => Action::RemoveSa { inbound_spi: 0x100 + octet as u32 },
        _ => Action::InstallSa(Box::new(SaPair {
            inbound_spi: 0x100 + octet as u32,
            outbound_spi: 0x100,
            session_id: id,
            suite,
            esn: id.is_multiple_of(2),
            inbound_keys: keys(octet),
            outbound_keys: keys(!octet),
            local_outer: Ipv4Addr::new(192, 0, 2, 1).into(),
            peer_outer: Ipv4Addr::new(198, 51, 100, octet).into(),
            encapsulation: Encapsulation::Esp,
            peer_inner: Ipv4Addr::new(10, 0, 0, octet).into(),
            peer_selectors: Vec::new(),
            local_selectors: Vec::new(),
            replay_window: 64,
            first_outbound_sequence: 1,
            highest_inbound_sequence: id,
            limits: SaLimits::default(),
            outbound_selected: true,
        })),
    };
    Command { id, action }
}

fn datagram(payload: &[u8]) -> DatagramRef<'_> {
    let (local, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
    DatagramRef { local: local.into(), local_port: 4500, peer: peer.into(), peer_port: 1024, payload }
}

fn attach(path: &Path) -> ControlSide {
    ControlSide::attach(path, VERSION).unwrap()
}

fn socket_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("causeway-two-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn readable(fd: &impl std::os::fd::AsFd, timeout: Duration) -> bool {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A child in one of the roles; killed at the latest when the test ends.
struct Peer {
    child: Child,
    report: BufReader<ChildStderr>,
}

impl Peer {
    fn start(role: &str, path: &Path, commands: u64) -> Peer {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args([role, "--exact", "--ignored", "--nocapture"])
            .env(SOCKET, path)
            .env(COMMANDS, commands.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let report = BufReader::new(child.stderr.take().unwrap());
        Peer { child, report }
    }

    /// The child's next report; empty when it has ended.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.report.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already dead is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut rest = String::new();
            let _ = self.report.read_to_string(&mut rest);
            eprintln!("process {} also said: {rest}", self.child.id());
        }
    }
}
