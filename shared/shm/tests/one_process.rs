//! Both sides in one process, over a real socket: attach, exchange, push-back, refusal, succession.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use causeway_shared::counters::{Drop as DropReason, Flow};
use causeway_shared::wire::{AckStatus, Action, Command, DatagramRef, Event, MAX_DATAGRAM, SlotError};
use causeway_shm::{
    AttachError, COMMAND_RING_SLOTS, ControlSide, CreateError, DataSide, EVENT_RING_SLOTS, Handover,
    HandoverError, LinkEvent, ListenOptions, PUNT_RING_SLOTS, PopError, PushError, SaStats, SegmentConfig,
    Wake, layout_hash,
};

const VERSION: &str = "test";

struct World {
    data: DataSide,
    handover: Handover,
    path: PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let config = SegmentConfig { workers: 2, sa_capacity: 16, epoch: 7, version: VERSION.into() };
        let data = DataSide::create(&config).unwrap();
        let path = std::env::temp_dir().join(format!("causeway-shm-{}-{name}.sock", std::process::id()));
        let handover = Handover::bind(options(&path), &data.segment).unwrap();
        World { data, handover, path }
    }

    /// `attach` waits for the hello, so somebody has to serve meanwhile.
    fn attach(&mut self) -> Result<ControlSide, AttachError> {
        let path = self.path.clone();
        let attaching = std::thread::spawn(move || ControlSide::attach(&path, VERSION));
        while !attaching.is_finished() {
            self.data.manager.wait(&self.handover, Duration::from_millis(5)).unwrap();
            while self.handover.serve().is_some() {}
        }
        attaching.join().unwrap()
    }
}

fn options(path: &std::path::Path) -> ListenOptions {
    ListenOptions { path: path.to_owned(), control_uid: None, socket_gid: None }
}

/// A stranger who could connect, and the control plane's user; one says what it is told by its first word.
const CONNECT: &str = "import socket, sys
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(sys.argv[1])
print(len(link.recv(4096)) > 0)";

#[test]
fn another_user_gets_the_segment_only_if_it_is_configured() {
    const CONTROL: u32 = 54_321;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: other users' processes take root");
        return;
    }
    let mut world = World::new("users");
    drop(world.handover);
    for (control_uid, uid, attached) in
        [(Some(CONTROL), CONTROL, true), (Some(CONTROL), CONTROL + 1, false), (None, CONTROL, false)]
    {
        let options = ListenOptions { control_uid, ..options(&world.path) };
        let mut handover = Handover::bind(options, &world.data.segment).unwrap();
        // Even if the file's mode lets everybody connect.
        std::fs::set_permissions(&world.path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let mut peer = std::process::Command::new("python3")
            .args(["-c", CONNECT])
            .arg(&world.path)
            .uid(uid)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let event = loop {
            if let Some(event) = handover.serve() {
                break event;
            }
            assert!(Instant::now() < deadline, "nobody connects");
            world.data.manager.wait(&handover, Duration::from_millis(5)).unwrap();
        };
        let expected = match attached {
            true => matches!(event, LinkEvent::Attached(peer) if peer.uid == uid),
            false => matches!(event, LinkEvent::RefusedUser(peer) if peer.uid == uid),
        };
        assert!(expected, "{control_uid:?} {uid}: {event:?}");
        assert!(peer.wait().unwrap().success());
        drop(handover);
    }
}

fn barrier(control: &mut ControlSide) -> Command {
    Command { id: control.next_command_id(), action: Action::Barrier }
}

fn datagram(payload: &[u8]) -> DatagramRef<'_> {
    let (local, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
    DatagramRef { local: local.into(), local_port: 500, peer: peer.into(), peer_port: 40_000, payload }
}

#[test]
fn messages_and_figures_cross_both_ways() {
    let mut world = World::new("cross");
    let mut control = world.attach().unwrap();
    assert_eq!((control.epoch(), control.workers(), control.sa_capacity()), (7, 2, 16));
    assert_eq!(control.data_plane_version(), VERSION);

    let command = barrier(&mut control);
    control.commands.push(&command).unwrap();
    let received = world.data.manager.next_command().unwrap().unwrap();
    assert_eq!(received, command);
    assert_eq!(world.data.manager.next_command(), Ok(None));
    let ack = Event::Ack { command_id: received.id, status: AckStatus::Done };
    world.data.manager.events.push(&ack).unwrap();
    assert_eq!(control.next_event().unwrap(), Some((2, ack)));

    let largest = vec![0xa5; MAX_DATAGRAM];
    world.data.workers[1].punts.push_ref(datagram(&largest)).unwrap();
    assert_eq!(control.next_punt().unwrap(), Some((1, datagram(&largest).to_owned())));
    assert_eq!(control.next_punt(), Ok(None));
    assert!(matches!(
        world.data.workers[1].punts.push_ref(datagram(&[0; MAX_DATAGRAM + 1])),
        Err(PushError::Message(SlotError::TooLong { .. }))
    ));

    control.to_send.push(&datagram(b"answer").to_owned()).unwrap();
    assert!(world.data.workers[1].to_send.is_none());
    let to_send = world.data.workers[0].to_send.as_mut().unwrap();
    assert_eq!(to_send.pop_ref(|d| d.payload.to_vec()).unwrap().unwrap(), b"answer");
    assert_eq!(to_send.pop_ref(|_| ()).unwrap(), None);

    world.data.workers[0].counters.add_flow(Flow::RxPackets, 3);
    world.data.workers[1].counters.add_flow(Flow::RxPackets, 4);
    world.data.manager.counters.add_drop(DropReason::NoRoute, 5);
    assert_eq!(control.counters()[1][Flow::RxPackets.index()], 4);
    assert_eq!(control.counter_totals()[Flow::RxPackets.index()], 7);
    assert_eq!(control.counter_totals()[DropReason::NoRoute.index()], 5);
    world.data.manager.heartbeat.beat(99);
    assert_eq!(control.heartbeats().iter().map(|beat| beat.at_ns).collect::<Vec<_>>(), [0, 0, 99]);
    world.data.workers[0].stats.slot(0x1234).begin(&SaStats { inbound_spi: 0x1234, ..SaStats::default() });
    assert_eq!(control.stats(0x1234).map(|stats| stats.in_packets), Some(0));
    assert_eq!(control.refusals(), causeway_shm::Refusals::default());
}

#[test]
fn a_full_ring_pushes_back_and_loses_nothing() {
    let mut world = World::new("full");
    let mut control = world.attach().unwrap();
    for _ in 0..COMMAND_RING_SLOTS {
        let command = barrier(&mut control);
        control.commands.push(&command).unwrap();
    }
    let waiting = barrier(&mut control);
    assert_eq!(control.commands.push(&waiting), Err(PushError::Full));
    assert_eq!(control.commands.backlog(), COMMAND_RING_SLOTS);
    let first = world.data.manager.next_command().unwrap().unwrap();
    control.commands.push(&waiting).unwrap();
    for expected in first.id + 1..=waiting.id {
        assert_eq!(world.data.manager.next_command().unwrap().unwrap().id, expected);
    }
    assert_eq!(world.data.manager.next_command(), Ok(None));

    let event = Event::FirstInbound { inbound_spi: 0x100 };
    for _ in 0..EVENT_RING_SLOTS {
        world.data.workers[0].events.push(&event).unwrap();
    }
    assert_eq!(world.data.workers[0].events.push(&event), Err(PushError::Full));
    for _ in 0..PUNT_RING_SLOTS {
        world.data.workers[0].punts.push_ref(datagram(b"x")).unwrap();
    }
    assert_eq!(world.data.workers[0].punts.push_ref(datagram(b"x")), Err(PushError::Full));
    world.data.workers[1].events.push(&event).unwrap();
    let sources: Vec<usize> = (0..3).map(|_| control.next_event().unwrap().unwrap().0).collect();
    assert_eq!(sources, [0, 1, 0], "a busy worker does not starve another");
}

#[test]
fn garbage_in_a_slot_is_refused_counted_and_passed_over() {
    let mut world = World::new("garbage");
    let mut control = world.attach().unwrap();
    // A control plane that does not use the codec.
    let mut junk = [0xff; 64];
    junk[..8].copy_from_slice(&41u64.to_le_bytes());
    control
        .commands
        .push_with(|slot| {
            slot[..junk.len()].copy_from_slice(&junk);
            Ok(junk.len())
        })
        .unwrap();
    let good = barrier(&mut control);
    control.commands.push(&good).unwrap();
    let refused = world.data.manager.next_command().unwrap_err();
    assert_eq!(refused.command_id, Some(41));
    assert!(matches!(refused.reason, PopError::Garbage(_)));
    assert_eq!(world.data.manager.next_command().unwrap(), Some(good));
    assert_eq!(control.counter_totals()[Flow::MalformedSlots.index()], 1);
    assert_eq!(world.data.manager.refusals().garbage, 1);

    // And a data plane that does not.
    world.data.workers[0].events.push_with(|slot| Ok(slot.len())).unwrap();
    world.data.workers[0].events.push(&Event::SoftExpired { inbound_spi: 0x100 }).unwrap();
    assert!(matches!(control.next_event(), Err(PopError::Garbage(SlotError::UnknownKind(0)))));
    assert_eq!(control.next_event().unwrap(), Some((0, Event::SoftExpired { inbound_spi: 0x100 })));
    assert_eq!(control.refusals().garbage, 1);
}

#[test]
fn one_control_plane_at_a_time_and_a_successor_goes_on() {
    let mut world = World::new("succession");
    let mut first = world.attach().unwrap();
    assert!(matches!(world.attach(), Err(AttachError::Busy { pid }) if pid == std::process::id()));

    // Left behind: one unread event, one unread datagram, one command not yet executed.
    world.data.workers[0].events.push(&Event::SoftExpired { inbound_spi: 0x100 }).unwrap();
    world.data.workers[0].punts.push_ref(datagram(b"old")).unwrap();
    let old = barrier(&mut first);
    first.commands.push(&old).unwrap();
    drop(first);
    assert!(
        matches!(world.handover.serve(), Some(LinkEvent::Detached(peer)) if peer.pid == std::process::id())
    );

    let mut second = world.attach().unwrap();
    assert_eq!(second.next_event().unwrap(), Some((0, Event::SoftExpired { inbound_spi: 0x100 })));
    second.discard_waiting();
    assert_eq!((second.next_event(), second.next_punt()), (Ok(None), Ok(None)));
    let new = barrier(&mut second);
    assert!(new.id > old.id, "{} {}", new.id, old.id);
    second.commands.push(&new).unwrap();
    assert_eq!(world.data.manager.next_command().unwrap(), Some(old));
    assert_eq!(world.data.manager.next_command().unwrap(), Some(new));
    world.data.workers[0].punts.push_ref(datagram(b"new")).unwrap();
    assert_eq!(second.next_punt().unwrap().unwrap().1.payload, b"new");

    let link = second.link();
    assert!(!link.is_gone());
    drop(world.handover);
    assert!(link.is_gone());
    let path = world.path.clone();
    assert!(matches!(ControlSide::attach(&path, VERSION), Err(AttachError::NoDataPlane { .. })));
}

#[test]
fn doorbells_ring_only_sleepers() {
    let mut world = World::new("bells");
    let mut control = world.attach().unwrap();
    let readable = |bell: &causeway_shm::Doorbell| {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    };
    let bell = control.doorbell();
    let event = Event::FirstInbound { inbound_spi: 0x100 };
    world.data.workers[0].events.push(&event).unwrap();
    assert!(!readable(&bell), "nobody sleeps");
    assert!(!control.arm(), "an event waits");
    control.next_event().unwrap().unwrap();
    assert!(control.arm());
    world.data.workers[1].events.push(&event).unwrap();
    assert!(readable(&bell));
    bell.clear();
    world.data.workers[1].events.push(&event).unwrap();
    assert!(!readable(&bell), "rung once per sleep");

    let idle = world.data.manager.wait(&world.handover, Duration::ZERO).unwrap();
    assert_eq!(idle, Wake::default());
    let command = barrier(&mut control);
    control.commands.push(&command).unwrap();
    let woken = world.data.manager.wait(&world.handover, Duration::from_secs(60)).unwrap();
    assert_eq!(woken, Wake { commands: true, link: false });
    drop(control);
    world.data.manager.next_command().unwrap().unwrap();
    let woken = world.data.manager.wait(&world.handover, Duration::from_secs(60)).unwrap();
    assert_eq!(woken, Wake { commands: false, link: true });
}

#[test]
fn the_socket_is_private_and_paths_are_not_stolen() {
    let world = World::new("path");
    assert_eq!(std::fs::metadata(&world.path).unwrap().permissions().mode() & 0o777, 0o660);
    let again = Handover::bind(options(&world.path), &world.data.segment);
    assert!(matches!(again, Err(HandoverError::InUse { .. })));

    // A data plane that died leaves its socket behind: a bound file that nobody listens on.
    let stale = world.path.with_extension("stale");
    let dead =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None)
            .unwrap();
    rustix::net::bind(&dead, &rustix::net::SocketAddrUnix::new(&stale).unwrap()).unwrap();
    drop(dead);
    assert!(matches!(ControlSide::attach(&stale, VERSION), Err(AttachError::NoDataPlane { .. })));
    let replaced = Handover::bind(options(&stale), &world.data.segment).unwrap();
    assert!(stale.exists());
    drop(replaced);
    assert!(!stale.exists());

    let file = world.path.with_extension("file");
    std::fs::write(&file, b"precious").unwrap();
    assert!(matches!(
        Handover::bind(options(&file), &world.data.segment),
        Err(HandoverError::NotASocket { .. })
    ));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn sizes_out_of_range_are_the_callers_fault() {
    for (workers, sa_capacity) in [(0, 16), (1, 15)] {
        let config = SegmentConfig { workers, sa_capacity, epoch: 1, version: VERSION.into() };
        assert!(matches!(DataSide::create(&config), Err(CreateError::OutOfRange { .. })));
    }
    assert_eq!(layout_hash(), layout_hash());
}
