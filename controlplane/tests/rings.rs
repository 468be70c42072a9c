//! The ring link against a data side in this process: acknowledgements, back-pressure, death and return of the data plane.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_controlplane::clock;
use causeway_controlplane::link::ledger::{Outcome, PoolRange, SEQUENCE_MARGIN};
use causeway_controlplane::link::rings::{MAX_UNSENT, RingLink, RingOptions};
use causeway_controlplane::link::{Link, LinkInput};
use causeway_ike::api::{ChildCommand, DataPlaneEvent, Datagram};
use causeway_shared::api::{Port, PortEsp, PortLink, Spread};
use causeway_shared::config::PortRole;
use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite, SaLimits, SaPair};
use causeway_shared::wire::{AckStatus, Action, Command, Event};
use causeway_shm::{DataSide, Handover, ListenOptions, SaStats, SegmentConfig, monotonic_ns};

const CAPACITY: u32 = 4096;
const DEADLINE: Duration = Duration::from_secs(20);

/// What the test tells the data plane to do.
enum Order {
    /// Take nothing from any ring until [`Order::Resume`].
    Pause,
    Resume,
    /// Say this on worker 0's ring.
    Say(Event),
    /// Punt this payload.
    Punt(Vec<u8>),
    /// Use an SA: outbound numbers below this, inbound ones up to that.
    Use {
        inbound_spi: u32,
        outbound_end: u64,
        highest_inbound: u64,
    },
    /// Beat with a time that is long past.
    LookStuck,
    /// Port 0 has this link now.
    Link(PortLink),
}

#[derive(Default)]
struct Seen {
    sas: BTreeMap<u32, SaPair>,
    pools: usize,
    sent: Vec<Vec<u8>>,
}

/// A data plane on a thread of its own. Dropping it is its death: the socket closes and the segment stays as it was.
struct FakeDataPlane {
    orders: Option<Sender<Order>>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDataPlane {
    fn start(path: &Path, epoch: u64) -> FakeDataPlane {
        let config = SegmentConfig { workers: 1, sa_capacity: CAPACITY, epoch, version: "test".into() };
        let data = DataSide::create(&config).unwrap();
        data.manager.ports.describe(&[wan()]).unwrap();
        let options = ListenOptions { path: path.to_owned(), control_uid: None, socket_gid: None };
        let handover = Handover::bind(options, &data.segment).unwrap();
        let (orders, inbox) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || serve(data, handover, &inbox, &shared));
        FakeDataPlane { orders: Some(orders), seen, thread: Some(thread) }
    }

    fn order(&self, order: Order) {
        self.orders.as_ref().unwrap().send(order).unwrap();
    }

    fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

impl Drop for FakeDataPlane {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(data: DataSide, mut handover: Handover, orders: &Receiver<Order>, seen: &Mutex<Seen>) {
    let DataSide { mut manager, mut workers, segment: _segment } = data;
    let worker = &mut workers[0];
    let (mut paused, mut beating) = (false, true);
    loop {
        while handover.serve().is_some() {}
        if beating {
            manager.heartbeat.beat(monotonic_ns());
            worker.heartbeat.beat(monotonic_ns());
        }
        match orders.try_recv() {
            Ok(Order::Pause) => paused = true,
            Ok(Order::Resume) => paused = false,
            Ok(Order::Link(link)) => manager.ports.set_link(0, link),
            Ok(Order::Say(event)) => worker.events.push(&event).unwrap(),
            Ok(Order::Punt(payload)) => worker.punts.push(&wire(payload)).unwrap(),
            Ok(Order::Use { inbound_spi, outbound_end, highest_inbound }) => {
                let slot = worker.stats.slot(inbound_spi);
                slot.reserve_outbound(outbound_end);
                slot.set_highest_inbound(highest_inbound);
                slot.count_inbound_drops(2);
                slot.count_outbound_drops(1);
                slot.count_outbound(4, 400);
                // Last, because tests wait for it.
                slot.count_inbound(3, 300, 5_000_000_000);
            }
            Ok(Order::LookStuck) => {
                beating = false;
                worker.heartbeat.beat(1);
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return,
        }
        if paused {
            std::thread::yield_now();
            continue;
        }
        while let Some(datagram) = worker.to_send.as_mut().unwrap().pop().unwrap() {
            seen.lock().unwrap().sent.push(datagram.payload);
        }
        while let Some(Command { id, action }) = manager.next_command().unwrap() {
            let status = execute(&mut seen.lock().unwrap(), &manager.stats, action);
            manager.events.push(&Event::Ack { command_id: id, status }).unwrap();
        }
        manager.wait(&handover, Duration::from_millis(1)).unwrap();
    }
}

fn execute(seen: &mut Seen, stats: &causeway_shm::StatsTable, action: Action) -> AckStatus {
    match action {
        Action::InstallSa(pair) if seen.sas.contains_key(&pair.inbound_spi) => AckStatus::SlotInUse,
        Action::InstallSa(pair) => {
            let initial = SaStats {
                inbound_spi: pair.inbound_spi,
                outbound_reserved_end: pair.first_outbound_sequence,
                highest_inbound_sequence: pair.highest_inbound_sequence,
                ..SaStats::default()
            };
            stats.slot(pair.inbound_spi).begin(&initial);
            seen.sas.insert(pair.inbound_spi, *pair);
            AckStatus::Done
        }
        Action::RemoveSa { inbound_spi } => match seen.sas.remove(&inbound_spi) {
            Some(_) => AckStatus::Done,
            None => AckStatus::NoSuchSa,
        },
        Action::AddPool(_) | Action::AddPool6 { .. } => {
            seen.pools += 1;
            AckStatus::Done
        }
        Action::RemoveAll => {
            (seen.sas, seen.pools) = (BTreeMap::new(), 0);
            AckStatus::Done
        }
        Action::SelectOutbound { .. }
        | Action::MovePeer { .. }
        | Action::Barrier
        | Action::Watch(_)
        | Action::Unwatch { .. } => AckStatus::Done,
    }
}

fn wire(payload: Vec<u8>) -> causeway_shared::wire::Datagram {
    let Datagram { local, local_port, peer, peer_port, bytes } = datagram(payload);
    causeway_shared::wire::Datagram { local, local_port, peer, peer_port, payload: bytes }
}

fn datagram(bytes: Vec<u8>) -> Datagram {
    let (local, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(203, 0, 113, 9));
    Datagram { local: local.into(), local_port: 500, peer: peer.into(), peer_port: 500, bytes }
}

fn pair(inbound_spi: u32) -> SaPair {
    let suite = EspSuite::Aes256Gcm16;
    let keys = EspKeys::from_keymat(suite, &[9; 36]).unwrap();
    SaPair {
        inbound_spi,
        outbound_spi: 0x7777_0000 | inbound_spi,
        session_id: 1,
        suite,
        esn: true,
        inbound_keys: keys.clone(),
        outbound_keys: keys,
        local_outer: Ipv4Addr::new(192, 0, 2, 1).into(),
        peer_outer: Ipv4Addr::new(203, 0, 113, 9).into(),
        encapsulation: Encapsulation::Esp,
        peer_inner: Ipv4Addr::from(0x0a00_0000 | inbound_spi).into(),
        peer_selectors: Vec::new(),
        local_selectors: Vec::new(),
        replay_window: 64,
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
        limits: SaLimits::default(),
        outbound_selected: true,
    }
}

struct World {
    link: RingLink,
    path: PathBuf,
    /// What came up.
    inputs: Vec<LinkInput>,
}

impl World {
    fn new(name: &str, sa_capacity: u32) -> World {
        let path = std::env::temp_dir().join(format!("causeway-rings-{}-{name}.sock", std::process::id()));
        let options = RingOptions {
            socket: path.clone(),
            version: "test".into(),
            pools: vec![PoolRange::V4("10.0.0.0/8".parse().unwrap())],
            sa_capacity,
        };
        World { link: RingLink::new(options), path, inputs: Vec::new() }
    }

    /// Drives the link as the driver does, until it looks as it should.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&RingLink, &[LinkInput]) -> bool) {
        let started = Instant::now();
        loop {
            self.link.flush(clock::now());
            while let Some(input) = self.link.take() {
                self.inputs.push(input);
            }
            if holds(&self.link, &self.inputs) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{what}: {:?}", self.link.status(clock::now()));
            // The bound only limits how late a condition outside the link is seen.
            let _ = tokio::time::timeout(Duration::from_millis(20), self.link.ready()).await;
        }
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |input: &LinkInput| match input {
            LinkInput::Outcome(outcome) => Some(*outcome),
            _ => None,
        };
        self.inputs.iter().filter_map(outcome).collect()
    }
}

fn wan() -> Port {
    Port {
        name: "wan".into(),
        device: "0000:3b:00.0".into(),
        driver: "net_ixgbe".into(),
        role: PortRole::Outside,
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        link: PortLink { up: true, speed_mbps: Some(10_000) },
        rx_queues: 1,
        tx_queues: 1,
        polled_by: vec![0],
        spread: Spread::OneWorker,
        esp: PortEsp {
            engine: "wide".into(),
            reason: "fastest".into(),
            device_failed: false,
            inline_capable: true,
        },
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn installs_are_acknowledged_and_datagrams_and_events_cross() {
    let mut world = World::new("cross", CAPACITY);
    world.link.install(clock::now(), pair(0x1001), 7).unwrap();
    assert!(!world.link.status(clock::now()).attached);
    let plane = FakeDataPlane::start(&world.path, 3);
    world.until("the install's end", |_, inputs| !inputs.is_empty()).await;
    assert_eq!(world.outcomes(), [Outcome::Installed { ticket: 7, inbound_spi: 0x1001 }]);
    assert_eq!(plane.seen(|seen| (seen.sas.len(), seen.pools)), (1, 1));
    let status = world.link.status(clock::now());
    assert_eq!((status.attached, status.epoch, status.workers), (true, 3, 1));

    assert_eq!(world.link.ports(), Some(vec![wan()]));
    let link = PortLink { up: false, speed_mbps: None };
    plane.order(Order::Link(link));
    world.until("the port's link", |rings, _| rings.ports() == Some(vec![Port { link, ..wan() }])).await;

    world.link.transmit(datagram(b"out".to_vec()));
    plane.order(Order::Punt(b"in".to_vec()));
    plane.order(Order::Say(Event::FirstInbound { inbound_spi: 0x1001 }));
    world.inputs.clear();
    world.until("both messages", |_, inputs| inputs.len() == 2).await;
    world.until("the datagram's leaving", |_, _| plane.seen(|seen| seen.sent.len() == 1)).await;
    for input in &world.inputs {
        match input {
            LinkInput::Datagram(found) => assert_eq!(*found, datagram(b"in".to_vec())),
            LinkInput::DataPlane(event) => {
                assert_eq!(*event, DataPlaneEvent::FirstInbound { inbound_spi: 0x1001 });
            }
            LinkInput::Outcome(other) => panic!("{other:?}"),
        }
    }

    world.inputs.clear();
    world.link.change(ChildCommand::Remove { inbound_spi: 0x1001 });
    world.until("the removal", |link, _| link.is_settled()).await;
    assert_eq!(world.outcomes(), [Outcome::Gone { inbound_spi: 0x1001 }]);
    assert!(plane.seen(|seen| seen.sas.is_empty()));
}

#[tokio::test]
async fn full_rings_push_back_and_lose_nothing() {
    let mut world = World::new("full", CAPACITY);
    let plane = FakeDataPlane::start(&world.path, 1);
    world.until("attachment", |link, _| link.status(clock::now()).attached && link.is_settled()).await;
    plane.order(Order::Pause);
    let count = 3000;
    assert!(count as usize <= CAPACITY as usize);
    for spi in 0..count {
        world.link.install(clock::now(), pair(0x1000 + spi), u64::from(spi)).unwrap();
    }
    let datagrams = 1500;
    assert!(datagrams <= MAX_UNSENT && datagrams > causeway_shm::SEND_RING_SLOTS);
    for number in 0..datagrams {
        world.link.transmit(datagram(number.to_be_bytes().to_vec()));
    }
    world.link.flush(clock::now());
    assert!(!world.link.is_settled());
    plane.order(Order::Resume);
    world.until("everything", |link, inputs| link.is_settled() && inputs.len() == count as usize).await;
    world.until("the last datagram", |_, _| plane.seen(|seen| seen.sent.len() == datagrams)).await;
    assert_eq!(plane.seen(|seen| seen.sas.len()), count as usize);
    let in_order = |seen: &Seen| seen.sent.iter().enumerate().all(|(n, sent)| *sent == n.to_be_bytes());
    assert!(plane.seen(in_order));
    assert_eq!(world.link.counts().unsent, 0);
}

#[tokio::test]
async fn a_data_plane_that_died_is_replaced_without_a_repeated_sequence_number() {
    let mut world = World::new("death", CAPACITY);
    let plane = FakeDataPlane::start(&world.path, 1);
    for spi in [0x1001, 0x1002, 0x1003] {
        world.link.install(clock::now(), pair(spi), 0).unwrap();
    }
    world.until("installs", |_, inputs| inputs.len() == 3).await;
    plane.order(Order::Use { inbound_spi: 0x1001, outbound_end: 5000, highest_inbound: 77 });
    let moved = Event::PeerMoved {
        inbound_spi: 0x1002,
        peer_outer: Ipv4Addr::new(198, 51, 100, 2).into(),
        encapsulation: Encapsulation::Udp { local_port: 4500, peer_port: 1024 },
    };
    plane.order(Order::Say(moved));
    world.inputs.clear();
    world.until("the move", |_, inputs| !inputs.is_empty()).await;
    world.until("figures", |link, _| link.traffic(0x1001).is_some_and(|t| t.traffic.in_packets == 3)).await;

    drop(plane);
    world.inputs.clear();
    world.until("the loss", |link, _| link.counts().lost == 1).await;
    assert_eq!(world.outcomes(), [], "nothing is lost for good");
    let status = world.link.status(clock::now());
    assert!(!status.attached && !status.problems.is_empty());
    assert_eq!(world.link.ports(), None);
    assert_eq!(world.link.traffic(0x1001).unwrap().traffic.out_bytes, 400);
    world.link.change(ChildCommand::Remove { inbound_spi: 0x1003 });
    world.link.install(clock::now(), pair(0x1004), 4).unwrap();

    let second = FakeDataPlane::start(&world.path, 2);
    world.until("the return", |link, _| link.status(clock::now()).epoch == 2 && link.is_settled()).await;
    let expected =
        [Outcome::Gone { inbound_spi: 0x1003 }, Outcome::Installed { ticket: 4, inbound_spi: 0x1004 }];
    assert_eq!(world.outcomes(), expected);
    second.seen(|seen| {
        assert_eq!(seen.sas.keys().copied().collect::<Vec<_>>(), [0x1001, 0x1002, 0x1004]);
        let used = &seen.sas[&0x1001];
        assert_eq!(used.first_outbound_sequence, 5000 + SEQUENCE_MARGIN);
        assert_eq!(used.highest_inbound_sequence, 77);
        assert_eq!(seen.sas[&0x1002].peer_outer, Ipv4Addr::new(198, 51, 100, 2));
        assert_eq!(seen.sas[&0x1004].first_outbound_sequence, 1);
    });
    second.order(Order::Use { inbound_spi: 0x1001, outbound_end: 9000, highest_inbound: 99 });
    world.until("sums", |link, _| link.traffic(0x1001).is_some_and(|t| t.traffic.in_packets == 6)).await;
    let sums = world.link.traffic(0x1001).unwrap();
    assert_eq!((sums.in_drops, sums.out_drops), (4, 2), "of both data planes");
}

#[tokio::test]
async fn a_data_plane_of_another_size_and_a_stuck_one_are_reported() {
    let mut world = World::new("size", CAPACITY * 2);
    let _plane = FakeDataPlane::start(&world.path, 1);
    let told = |link: &RingLink, text: &str| {
        link.status(clock::now()).problems.iter().any(|problem| problem.contains(text))
    };
    world.until("the refusal", |link, _| told(link, "SA slots")).await;

    let mut world = World::new("stuck", CAPACITY);
    let plane = FakeDataPlane::start(&world.path, 1);
    world.until("attachment", |link, _| link.status(clock::now()).attached).await;
    plane.order(Order::LookStuck);
    world.until("the report", |link, _| told(link, "have not beaten")).await;
    assert!(!world.link.status(clock::now()).attached);
}
