//! A crypto device for tests of the path: DPDK's software one over OpenSSL, with a queue pair for each test at a time.
//!
//! `CAUSEWAY_TEST_DEVICE=crypto_openssl0 cargo test -p causeway-dataplane --lib path` runs every test of the path through a device.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use causeway_dpdk::{Eal, Mbuf, Mempool};
use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::buffer::{Buffer, HEADROOM, HeapBuffer};
use crate::crypto::{Line, start_device};

/// Longest wait for the device.
pub const DEADLINE: Duration = Duration::from_secs(20);
const DEVICE: &str = "crypto_openssl0";
/// Names another device, and sends every test of the path there.
const VARIABLE: &str = "CAUSEWAY_TEST_DEVICE";
const QUEUE_PAIRS: u16 = 16;
const SESSIONS: u32 = 4096;
const BUFFERS: u32 = 8192;

struct Site {
    pool: Mempool,
    give: Sender<Line>,
    take: Receiver<Line>,
}

static SITE: OnceLock<Site> = OnceLock::new();

/// The EAL of this test process.
pub fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    *EAL.get_or_init(|| {
        let prefix = format!("--file-prefix=causeway-path-test-{}", std::process::id());
        let arguments =
            ["-l", "0", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "256", &prefix];
        Eal::init(&arguments.map(str::to_owned)).unwrap()
    })
}

fn site() -> &'static Site {
    SITE.get_or_init(|| {
        let pool = Mempool::create(eal(), "device", BUFFERS, 2048).unwrap();
        let named = std::env::var(VARIABLE).ok();
        let device = format!("{},max_nb_queue_pairs={QUEUE_PAIRS}", named.as_deref().unwrap_or(DEVICE));
        let lines = start_device(eal(), &device, QUEUE_PAIRS, SESSIONS, pool).unwrap();
        assert_eq!(lines.len(), usize::from(QUEUE_PAIRS));
        let (give, take) = unbounded();
        lines.into_iter().for_each(|line| give.send(line).unwrap());
        Site { pool, give, take }
    })
}

/// Whether every test is to go through the device.
pub fn wanted() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// A way through the device; waits for another test to give one back.
pub fn line() -> Line {
    site().take.recv().unwrap()
}

/// The only way through a device of this process, which no other test uses.
pub fn only_line() -> Line {
    let pool = Mempool::create(eal(), "device", BUFFERS, 2048).unwrap();
    let mut lines = start_device(eal(), DEVICE, 1, SESSIONS, pool).unwrap();
    let (give, take) = unbounded();
    assert!(SITE.set(Site { pool, give, take }).is_ok());
    lines.pop().unwrap()
}

/// Gives back a way, emptied.
pub fn give_back(line: Option<Box<Line>>) {
    let (Some(site), Some(mut line)) = (SITE.get(), line) else { return };
    // The next test must not meet what one that failed has left.
    let began = Instant::now();
    while line.in_flight() > 0 && began.elapsed() < DEADLINE {
        line.queue().flush();
        line.queue().poll();
        while line.queue().take().is_some() {}
    }
    // The other end is in the same static value.
    let _ = site.give.send(*line);
}

/// Where the device can reach it.
pub fn copy_in(packet: HeapBuffer) -> Result<Mbuf, HeapBuffer> {
    let Some(site) = SITE.get() else { return Err(packet) };
    let copy = site.pool.allocate().and_then(|mut copy| {
        // What lies in front of the packet goes along, as in a buffer that the device works on itself.
        let front = packet.headroom().min(copy.headroom());
        copy.prepend(front)?.copy_from_slice(packet.front(front)?);
        copy.append(packet.len())?.copy_from_slice(packet.data());
        copy.trim_front(front).then_some(copy)
    });
    copy.ok_or(packet)
}

/// Back from where the device could reach it, with what lies in front of it.
pub fn copy_out(packet: &Mbuf) -> Option<HeapBuffer> {
    let front = packet.front(HEADROOM)?;
    let mut copy = HeapBuffer::from_slice(&[front, packet].concat());
    copy.trim_front(HEADROOM).then_some(copy)
}
