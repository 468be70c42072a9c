//! How long an IKE message waits for the store: states of active sessions saved at the pace of their liveness checks, and
//! as fast as they can be saved; beside it the same states with a commit for each.
//!
//! `cargo run --release -p causeway-controlplane --example ike_states -- [--sessions 10000] [--octets 3000] [--directory D]`
//! Leaves a table in Markdown, and nothing on the disk.

// A measurement that fails has nobody to report to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use causeway_controlplane::store::handle::StoreHandle;
use causeway_controlplane::store::sqlite::SqliteStore;
use causeway_controlplane::store::{
    DurableId, IkeState, SessionRecord, SessionStore, StoredState, Totals, WallSecs,
};

/// Seconds between two liveness checks of one client.
const LIVENESS_SECS: u64 = 30;
/// How long the paced run lasts.
const PACED: Duration = Duration::from_secs(10);
/// Sessions that wait for the store at the same time in the unpaced run.
const AT_ONCE: usize = 256;
/// States saved in the unpaced run.
const SAVED: usize = 20_000;
/// States saved with a commit for each.
const SINGLE: usize = 500;

fn main() {
    let (sessions, octets, directory) = arguments();
    std::fs::create_dir(&directory).expect("the directory must not be there yet");
    let path = directory.join("sessions.db");
    println!(
        "{sessions} active sessions, states of {octets} octets\n\n| what | states/s | wait p50 | p99 | max |"
    );
    println!("|-|-:|-:|-:|-:|");
    let ids = fill(&path, sessions, octets);
    single(&path, &ids, octets);
    let handle = StoreHandle::start(Box::new(SqliteStore::open(&path).unwrap())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        paced(&handle, &ids, octets).await;
        unpaced(&handle, &ids, octets).await;
    });
    drop(runtime);
    drop(handle);
    std::fs::remove_dir_all(&directory).unwrap();
}

fn fill(path: &Path, sessions: usize, octets: usize) -> Vec<DurableId> {
    let mut store = SqliteStore::open(path).unwrap();
    let records: Vec<SessionRecord> = (0..sessions).map(session).collect();
    for group in records.chunks(1000) {
        store.begin().unwrap();
        for record in group {
            store.put_new(record, None).unwrap();
            store.put_ike_state(&record.id, 1, &state(octets)).map(|_| ()).unwrap();
        }
        store.commit(WallSecs(1)).unwrap();
    }
    records.iter().map(|record| record.id).collect()
}

/// Each in a transaction of its own, one after the other: what no group commit would mean.
fn single(path: &Path, ids: &[DurableId], octets: usize) {
    let mut store = SqliteStore::open(path).unwrap();
    let begun = Instant::now();
    let mut waits: Vec<Duration> = ids
        .iter()
        .cycle()
        .take(SINGLE)
        .map(|id| {
            let begun = Instant::now();
            store.begin().unwrap();
            store.put_ike_state(id, 1, &state(octets)).map(|_| ()).unwrap();
            store.commit(WallSecs(1)).unwrap();
            begun.elapsed()
        })
        .collect();
    row("a commit for each, one after the other", begun.elapsed(), &mut waits);
}

/// Every session once in [`LIVENESS_SECS`].
async fn paced(handle: &StoreHandle, ids: &[DurableId], octets: usize) {
    let pause = Duration::from_secs(LIVENESS_SECS) / u32::try_from(ids.len()).unwrap();
    let (begun, mut saves) = (Instant::now(), tokio::task::JoinSet::new());
    let mut ticks = tokio::time::interval(pause);
    for id in ids.iter().cycle().copied() {
        if begun.elapsed() > PACED {
            break;
        }
        ticks.tick().await;
        saves.spawn(save(handle.clone(), id, octets));
    }
    let mut waits = saves.join_all().await;
    row(&format!("each session every {LIVENESS_SECS} s"), begun.elapsed(), &mut waits);
}

async fn unpaced(handle: &StoreHandle, ids: &[DurableId], octets: usize) {
    let (begun, mut clients) = (Instant::now(), tokio::task::JoinSet::new());
    for client in 0..AT_ONCE {
        let (handle, ids) = (handle.clone(), ids.to_vec());
        clients.spawn(async move {
            let mut waits = Vec::new();
            for round in 0..SAVED / AT_ONCE {
                let id = ids[(client + round * AT_ONCE) % ids.len()];
                waits.push(save(handle.clone(), id, octets).await);
            }
            waits
        });
    }
    let mut waits: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    row(&format!("{AT_ONCE} sessions at once, without a pause"), begun.elapsed(), &mut waits);
}

async fn save(handle: StoreHandle, id: DurableId, octets: usize) -> Duration {
    let begun = Instant::now();
    let state = state(octets);
    handle.change(move |store| store.put_ike_state(&id, 1, &state)).await.map(|_| ()).unwrap();
    begun.elapsed()
}

fn state(octets: usize) -> IkeState {
    IkeState::new(vec![7; octets]).unwrap()
}

fn session(n: usize) -> SessionRecord {
    let mut seed = n as u64;
    let id = DurableId::random(|pool| {
        for octet in pool {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (seed >> 56) as u8;
        }
    });
    SessionRecord {
        id,
        generation: 1,
        serial: n as u64,
        state: StoredState::Active,
        user: format!("user{n}@example.com"),
        group: "staff".to_owned(),
        profile: "AnyConnect-EAP".to_owned(),
        pool: "staff".to_owned(),
        inner_v4: Some((0x0a00_0000 + u32::try_from(n).unwrap()).into()),
        inner_v6: None,
        attributes: vec![b'a'; 120],
        client: Vec::new(),
        accounting_id: format!("{n:016x}"),
        created_at: WallSecs(1),
        ends_at: None,
        resumptions: 0,
        totals: Totals::default(),
    }
}

fn row(what: &str, took: Duration, waits: &mut [Duration]) {
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_micros();
    let rate = waits.len() as f64 / took.as_secs_f64();
    println!("| {what} | {rate:.0} | {} µs | {} µs | {} µs |", at(50), at(99), at(100));
}

fn arguments() -> (usize, usize, PathBuf) {
    let (mut sessions, mut octets) = (10_000, 3000);
    let mut directory = PathBuf::from(format!("ike-states-{}", std::process::id()));
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        match name.as_str() {
            "--sessions" => sessions = value.parse().unwrap(),
            "--octets" => octets = value.parse().unwrap(),
            "--directory" => directory = value.into(),
            other => panic!("unknown argument {other}"),
        }
    }
    (sessions, octets, directory)
}
