//! The wrappers against the real DPDK: one EAL without hugepages, virtual devices, and every promise of the types.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, but not their helpers.

use std::collections::HashSet;
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;

use causeway_dpdk::{BURST, Eal, Error, Mbuf, Mempool, ProbedPort, QueueConfig, StartedPort};

const DATA_ROOM: u16 = 2048;
const QUEUE: QueueConfig =
    QueueConfig { rx_queues: 1, tx_queues: 1, rx_descriptors: 512, tx_descriptors: 512, mtu: 1500 };

/// A process has one EAL; every test of this file shares it.
fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    *EAL.get_or_init(|| {
        let prefix = format!("--file-prefix=causeway-test-{}", std::process::id());
        let arguments =
            ["-l", "0", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "128", &prefix];
        Eal::init(&arguments.map(str::to_owned)).unwrap()
    })
}

/// Port operations of DPDK are not made for two threads at once; the daemon has one thread for them.
static PORTS: Mutex<()> = Mutex::new(());

fn pool(name: &str, buffers: u32) -> Mempool {
    Mempool::create(eal(), name, buffers, DATA_ROOM).unwrap()
}

fn loopback(name: &str, pool: Mempool) -> StartedPort {
    ProbedPort::open(eal(), &format!("net_ring_{name}")).unwrap().start(QUEUE, pool).unwrap()
}

fn packet(pool: Mempool, content: &[u8]) -> Mbuf {
    let mut packet = pool.allocate().unwrap();
    packet.append(content.len()).unwrap().copy_from_slice(content);
    packet
}

#[test]
fn the_eal_starts_once_and_has_no_hugepages_here() {
    assert!(!eal().has_hugepages());
    assert!(matches!(Eal::init(&[]), Err(Error::AlreadyStarted)));
}

#[test]
fn a_buffer_grows_and_shrinks_at_both_ends_and_refuses_what_does_not_fit() {
    let pool = pool("ends", 64);
    let mut packet = packet(pool, b"middle");
    assert_eq!((packet.headroom(), packet.tailroom()), (Mempool::HEADROOM, usize::from(DATA_ROOM) - 6));
    packet.prepend(2).unwrap().copy_from_slice(b"a ");
    packet.append(2).unwrap().copy_from_slice(b" z");
    assert_eq!(&packet[..], b"a middle z");
    assert!(packet.prepend(Mempool::HEADROOM).is_none() && packet.append(packet.tailroom() + 1).is_none());
    assert!(!packet.trim_front(11) && !packet.truncate(11));
    assert!(packet.trim_front(2) && packet.truncate(6));
    packet[0] = b'M';
    assert_eq!(&packet[..], b"Middle");
    assert!(packet.prepend(packet.headroom()).is_some() && packet.append(packet.tailroom()).is_some());
    assert_eq!(
        (packet.len(), packet.headroom(), packet.tailroom()),
        (Mempool::HEADROOM + usize::from(DATA_ROOM), 0, 0)
    );
}

#[test]
fn a_pool_ends_and_dropped_buffers_come_back_empty() {
    let pool = pool("ends-too", 8);
    let mut held: Vec<Mbuf> = std::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!((held.len(), pool.in_use(), pool.available()), (8, 8, 0));
    held[0].append(100).unwrap();
    held.clear();
    assert_eq!((pool.in_use(), pool.available()), (0, 8));
    assert!(std::iter::from_fn(|| pool.allocate()).take(8).all(|packet| packet.is_empty()));
}

#[test]
fn a_pool_that_does_not_fit_says_what_to_change() {
    let error = Mempool::create(eal(), "huge", 10_000_000, DATA_ROOM).unwrap_err().to_string();
    assert!(error.contains("dataplane.memory_mib") && error.contains("10000000"), "{error}");
}

#[test]
fn packets_keep_their_content_and_order_through_a_port() {
    let _ports = PORTS.lock();
    let pool = pool("order", 256);
    let mut port = loopback("order", pool);
    let mut sent: Vec<Mbuf> = (0..40u8).map(|number| packet(pool, &[number; 60])).collect();
    assert_eq!(port.tx[0].burst(&mut sent), 40);
    assert!(sent.is_empty());

    let mut received = Vec::with_capacity(64);
    assert_eq!(port.rx[0].burst(&mut received), BURST);
    assert_eq!(port.rx[0].burst(&mut received), 40 - BURST);
    assert_eq!(port.rx[0].burst(&mut received), 0);
    assert!(received.iter().enumerate().all(|(number, packet)| packet[..] == [number as u8; 60]));
    assert_eq!(pool.in_use(), 40);
    received.clear();
    assert_eq!((pool.in_use(), port.rx[0].refused()), (0, 0));

    let statistics = port.handle.statistics().unwrap();
    assert_eq!((statistics.rx_packets, statistics.tx_packets), (40, 40));
    assert!(port.handle.link().unwrap().up);
    assert!(port.handle.mac().is_ok());
    assert!(port.handle.receive_groups().is_ok());
}

#[test]
fn a_burst_never_exceeds_the_spare_capacity() {
    let _ports = PORTS.lock();
    let pool = pool("spare", 256);
    let mut port = loopback("spare", pool);
    port.tx[0].burst(&mut (0..20).map(|_| packet(pool, b"x")).collect());
    let mut received = Vec::with_capacity(8);
    let room = received.capacity();
    assert_eq!(port.rx[0].burst(&mut received), room.min(20));
    assert_eq!(received.capacity(), room);
    assert_eq!(port.rx[0].burst(&mut received), 0);
}

#[test]
fn what_a_full_port_does_not_take_stays_with_the_caller_in_order() {
    let _ports = PORTS.lock();
    let pool = pool("full", 2048);
    let mut port = loopback("full", pool);
    let mut packets: Vec<Mbuf> = (0..1500u16).map(|number| packet(pool, &number.to_be_bytes())).collect();
    let mut taken = 0;
    loop {
        let sent = port.tx[0].burst(&mut packets);
        taken += sent;
        assert_eq!(packets.len(), 1500 - taken);
        if sent == 0 {
            break;
        }
    }
    assert!(taken > 0 && !packets.is_empty(), "the ring of 1024 took {taken} of 1500");
    assert_eq!(packets[0][..], (taken as u16).to_be_bytes());
    assert_eq!(pool.in_use(), 1500);
    packets.clear();
    assert_eq!(pool.in_use() as usize, taken);
}

#[test]
fn wrong_devices_and_wrong_queue_counts_are_named() {
    let _ports = PORTS.lock();
    let text = |result: Result<ProbedPort, Error>| result.map(|_| ()).unwrap_err().to_string();
    assert!(text(ProbedPort::open(eal(), "net_nonsense0")).contains("`net_nonsense0`"));
    let missing = text(ProbedPort::open(eal(), "net_af_packet7,iface=not-there"));
    assert!(missing.contains("not-there"), "{missing}");
    assert!(matches!(ProbedPort::open(eal(), "net_null\0"), Err(Error::NulOctet(_))));

    let first = ProbedPort::open(eal(), "net_null0").unwrap();
    assert_eq!(first.capabilities().driver, "net_null");
    assert!(matches!(ProbedPort::open(eal(), "net_null0"), Err(Error::Claimed(name)) if name == "net_null0"));
    let too_many = first.start(QueueConfig { rx_queues: 60_000, ..QUEUE }, pool("many", 64));
    assert!(matches!(too_many, Err(Error::Queues { direction: "receive", wanted: 60_000, .. })));
}

#[test]
fn queues_move_to_threads_and_the_port_closes_when_the_last_is_gone() {
    let _ports = PORTS.lock();
    let pool = pool("threads", 512);
    let device = "net_null_threads,size=64";
    let config = QueueConfig { rx_queues: 2, tx_queues: 2, ..QUEUE };
    let port = ProbedPort::open(eal(), device).unwrap().start(config, pool).unwrap();
    let (report, reports) = mpsc::channel();
    let both_registered = Arc::new(Barrier::new(2));
    let threads: Vec<_> = port
        .rx
        .into_iter()
        .zip(port.tx)
        .map(|(mut rx, mut tx)| {
            let (report, both_registered) = (report.clone(), both_registered.clone());
            thread::spawn(move || {
                let registered = eal().register_thread().unwrap();
                both_registered.wait();
                let mut packets = Vec::with_capacity(BURST);
                let mut forwarded = 0;
                while forwarded < 1000 {
                    rx.burst(&mut packets);
                    forwarded += tx.burst(&mut packets);
                }
                report.send(registered.lcore_id()).unwrap();
                (rx, tx)
            })
        })
        .collect();
    let lcores: HashSet<u32> = reports.iter().take(2).collect();
    assert_eq!(lcores.len(), 2, "both threads hold an lcore id at once");
    let queues: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(port.handle.statistics().unwrap().tx_packets >= 2000);
    assert!(matches!(ProbedPort::open(eal(), device), Err(Error::Claimed(_))));
    drop((port.handle, queues));
    assert!(!matches!(ProbedPort::open(eal(), device), Err(Error::Claimed(_))), "the name is free again");
}
