//! How the session store does with many inactive sessions: rate of loading, memory, look-ups, claims, opening, purging;
//! and the same rows put into plain SQLite, as the figure to compare with.
//!
//! `cargo run --release -p causeway-controlplane --example store_scale -- --sessions 1000000 [--directory D]`
//! Needs about 3 KiB of disk per session. Leaves a table in Markdown, and nothing on the disk.

// A measurement that fails has nobody to report to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use causeway_controlplane::store::handle::StoreHandle;
use causeway_controlplane::store::sqlite::SqliteStore;
use causeway_controlplane::store::{
    Claim, Claimed, Cursor, DurableId, Presented, Rotation, SessionRecord, SessionStore, StoredState, Token,
    Tokens, Totals, Verdict, WallSecs,
};
use rusqlite::{Connection, params};

/// Sessions put in one transaction while loading.
const LOAD_GROUP: usize = 2000;
/// Look-ups and claims that are timed.
const SAMPLES: usize = 20_000;
/// Clients that resume at the same time.
const STORM: usize = 256;
/// Sessions purged in one transaction.
const PURGE_GROUP: usize = 1000;

fn main() {
    let (sessions, directory) = arguments();
    std::fs::create_dir(&directory).expect("the directory must not be there yet");
    println!("{sessions} sessions\n\n| what | store | plain SQLite |\n|-|-:|-:|");
    // First, so that its pages do not count as ours.
    let reference = plain(&directory.join("plain.db"), sessions);
    ours(&directory.join("sessions.db"), sessions, &reference);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// What plain SQLite took.
struct Reference {
    load: Duration,
    lookups: Vec<Duration>,
    octets: u64,
    open: Duration,
    check: Duration,
    purge: Duration,
}

fn ours(path: &Path, sessions: usize, reference: &Reference) {
    let rss_before = rss_kib();
    let mut store = SqliteStore::open(path).unwrap();
    let begun = Instant::now();
    for group in (0..sessions).step_by(LOAD_GROUP) {
        store.begin().unwrap();
        for n in group..(group + LOAD_GROUP).min(sessions) {
            let token = Token::new(token(n)).unwrap();
            store.put_new(&session(n), Some(&Tokens::new(token))).unwrap();
        }
        store.commit(WallSecs(1)).unwrap();
    }
    let load = begun.elapsed();
    row("loading, 2000 in a commit", &rate(sessions, load), &rate(sessions, reference.load));
    row("memory for it (growth of RSS)", &mib((rss_kib() - rss_before) * 1024), "");

    let begun = Instant::now();
    drop(store);
    row("closing", &ms(begun.elapsed()), "");
    row("file after closing", &mib(file(path)), &mib(reference.octets));

    let begun = Instant::now();
    let store = SqliteStore::open(path).unwrap();
    row("opening, counted", &ms(begun.elapsed()), &ms(reference.open));
    let opened = begun;
    assert_eq!(store.counts().inactive, sessions as u64);

    let begun = Instant::now();
    let (mut cursor, mut seen) = (Some(Cursor::START), 0);
    while let Some(after) = cursor {
        let page = store.page(after, 1000).unwrap();
        seen += page.records.len();
        cursor = page.next;
    }
    assert_eq!(seen, sessions);
    row("walking over all of them", &ms(begun.elapsed()), "");
    let Verdict::Sound { took } = settled(&store) else { panic!("the store is not sound") };
    row("meanwhile: every page and seal checked", &ms(took), &ms(reference.check));
    row("  known after", &ms(opened.elapsed()), "");

    let mut lookups = times(sessions, |n| {
        let (record, tokens) = store.get(&id(n)).unwrap().unwrap();
        assert!(record.id == id(n) && tokens.is_some());
    });
    percentiles("look-up by id, tokens unsealed", &mut lookups, Some(&reference.lookups));

    let handle = StoreHandle::start(Box::new(store)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let begun = Instant::now();
    let mut waits = runtime.block_on(storm(&handle, sessions));
    let storm = begun.elapsed();
    let name = format!("claims with a new token, {STORM} clients at once");
    row(&name, &rate(waits.len(), storm), "");
    percentiles("  from asking to durable", &mut waits, None);
    drop(runtime);
    drop(handle);

    let mut store = SqliteStore::open(path).unwrap();
    let begun = Instant::now();
    let mut purged = 0;
    loop {
        store.begin().unwrap();
        let gone = store.purge_expired(WallSecs(u64::MAX), PURGE_GROUP).unwrap();
        store.commit(WallSecs(1)).unwrap();
        if gone.is_empty() {
            break;
        }
        purged += gone.len();
    }
    let purge = begun.elapsed();
    row("purging, 1000 in a commit", &rate(purged, purge), &rate(sessions, reference.purge));
    assert_eq!(store.counts().inactive, 0);
    row("memory at the end (RSS, all of the process)", &mib(rss_kib() * 1024), "");
}

async fn storm(handle: &StoreHandle, sessions: usize) -> Vec<Duration> {
    let local = tokio::task::JoinSet::new();
    let each = SAMPLES.min(sessions) / STORM;
    let mut clients = (0..STORM).fold(local, |mut clients, client| {
        let handle = handle.clone();
        clients.spawn(async move {
            let mut waits = Vec::with_capacity(each);
            for round in 0..each {
                let rotation = Rotation {
                    token: Token::new(token(round)).unwrap(),
                    presented: Presented::Current,
                    previous_usable_until: WallSecs(500),
                };
                let n = spread(client * each + round, sessions);
                let claim = Claim {
                    id: id(n),
                    generation: 1,
                    now: WallSecs(10),
                    serial: 7,
                    rotation: Some(rotation),
                };
                let begun = Instant::now();
                let won = handle.change(move |store| store.claim(&claim)).await.unwrap();
                waits.push(begun.elapsed());
                assert!(matches!(won, Claimed::Won { .. }));
                // Back again, so that the purge finds it. Not timed.
                let (since, expires_at) = (WallSecs(10), WallSecs(1_000_000));
                let parked =
                    handle.change(move |store| store.park(&id(n), 2, since, expires_at, Totals::default()));
                parked.await.map(|_| ()).unwrap();
            }
            waits
        });
        clients
    });
    let mut waits = Vec::new();
    while let Some(done) = clients.join_next().await {
        waits.extend(done.unwrap());
    }
    waits
}

/// The same figures of rows of the same size in a table with a unique id and a unique address, without anything of ours.
fn plain(path: &Path, sessions: usize) -> Reference {
    let connection = connect(path);
    let tables = "CREATE TABLE s (place INTEGER PRIMARY KEY, id BLOB NOT NULL, address INTEGER, expires INTEGER, \
         rest BLOB); CREATE UNIQUE INDEX s_id ON s(id); CREATE UNIQUE INDEX s_address ON s(address); \
         CREATE INDEX s_expires ON s(expires)";
    connection.execute_batch(tables).unwrap();
    let begun = Instant::now();
    for group in (0..sessions).step_by(LOAD_GROUP) {
        connection.execute_batch("BEGIN").unwrap();
        let sql = "INSERT INTO s (id, address, expires, rest) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = connection.prepare_cached(sql).unwrap();
        for n in group..(group + LOAD_GROUP).min(sessions) {
            let record = session(n);
            let mut rest = record.attributes;
            rest.extend(record.client);
            rest.extend(format!("{}{}{}", record.user, record.group, record.accounting_id).into_bytes());
            // The token and what sealing adds.
            rest.extend([7; 64 + 28 + 18]);
            let address = record.inner_v4.map(u32::from);
            insert.execute(params![&record.id.as_bytes()[..], address, 1_000_000, rest]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    let load = begun.elapsed();
    drop(connection);
    let octets = file(path);

    let begun = Instant::now();
    let connection = connect(path);
    let count: i64 = connection.query_row("SELECT count(*) FROM s", [], |row| row.get(0)).unwrap();
    assert!(count == i64::try_from(sessions).unwrap());
    let open = begun.elapsed();
    let begun = Instant::now();
    let verdict: String = connection.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let check = begun.elapsed();

    let mut lookups = times(sessions, |n| {
        let sql = "SELECT address, expires, rest FROM s WHERE id = ?1";
        let mut select = connection.prepare_cached(sql).unwrap();
        let rest: Vec<u8> = select.query_row([&id(n).as_bytes()[..]], |row| row.get(2)).unwrap();
        assert!(rest.len() > 64);
    });
    lookups.sort();

    let begun = Instant::now();
    loop {
        let sql = "DELETE FROM s WHERE place IN \
             (SELECT place FROM s WHERE expires <= 2000000 ORDER BY expires LIMIT ?1)";
        let limit = i64::try_from(PURGE_GROUP).unwrap();
        if connection.prepare_cached(sql).unwrap().execute([limit]).unwrap() == 0 {
            break;
        }
    }
    Reference { load, lookups, octets, open, check, purge: begun.elapsed() }
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; \
             PRAGMA wal_autocheckpoint = 16000",
        )
        .unwrap();
    connection
}

/// What the check in the background found, once it is over.
fn settled(store: &SqliteStore) -> Verdict {
    loop {
        match store.integrity().verdict() {
            Verdict::Checking => std::thread::park_timeout(Duration::from_millis(5)),
            verdict => return verdict,
        }
    }
}

fn times(sessions: usize, mut look_up: impl FnMut(usize)) -> Vec<Duration> {
    (0..SAMPLES.min(sessions))
        .map(|sample| {
            let n = spread(sample, sessions);
            let begun = Instant::now();
            look_up(n);
            begun.elapsed()
        })
        .collect()
}

/// Different samples fall on different sessions, all over the table: 2,147,483,647 is prime.
fn spread(sample: usize, sessions: usize) -> usize {
    sample * 2_147_483_647 % sessions
}

fn session(n: usize) -> SessionRecord {
    let number = u32::try_from(n).unwrap();
    SessionRecord {
        id: id(n),
        generation: 1,
        serial: n as u64,
        state: StoredState::Inactive { since: WallSecs(1), expires_at: WallSecs(1_000_000) },
        user: format!("user{:06}", n / 2),
        group: "remote-access".to_owned(),
        profile: "AnyConnect-EAP".to_owned(),
        pool: "inside".to_owned(),
        inner_v4: Some(Ipv4Addr::from_bits(0x0a00_0000 + number)),
        inner_v6: None,
        attributes: br#"{"dns":["192.168.3.5"],"domain":"example.com","subnets":["192.168.10.0/24","172.16.0.0/12"],"banner":"Authorized users only. Activity may be monitored.","idle_secs":1800,"session_lifetime_secs":86400,"mtu":1406}"#.to_vec(),
        client: format!(r#"{{"device_id":"win","host":"LAPTOP-{n:06}","version":"5.1.2.42","platform":"Windows 10.0.22631","unique_id":"{n:064x}"}}"#).into_bytes(),
        accounting_id: format!("{n:016X}"),
        created_at: WallSecs(1),
        ends_at: None,
        resumptions: 0,
        totals: Totals { in_packets: 10, in_bytes: 1000, out_packets: 20, out_bytes: 2000 },
    }
}

/// Letters in no order: as random ids fall into the index.
fn id(n: usize) -> DurableId {
    let mut state = (n as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    DurableId::random(|pool| {
        for place in pool {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *place = mixed.to_le_bytes()[7];
        }
    })
}

fn token(n: usize) -> Vec<u8> {
    format!("{n:064}").into_bytes()
}

fn percentiles(what: &str, own: &mut [Duration], reference: Option<&[Duration]>) {
    own.sort();
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let of = |sorted: &[Duration]| {
            let place = (sorted.len() as f64 * share) as usize;
            format!("{:.0} µs", sorted[place.min(sorted.len() - 1)].as_secs_f64() * 1e6)
        };
        row(&format!("{what}, {name}"), &of(own), &reference.map(of).unwrap_or_default());
    }
}

fn row(what: &str, own: &str, reference: &str) {
    println!("| {what} | {own} | {reference} |");
}

fn rate(count: usize, took: Duration) -> String {
    format!("{:.0}/s", count as f64 / took.as_secs_f64())
}

fn ms(took: Duration) -> String {
    format!("{:.0} ms", took.as_secs_f64() * 1e3)
}

fn mib(octets: u64) -> String {
    format!("{:.0} MiB", octets as f64 / 1048576.0)
}

fn file(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn arguments() -> (usize, PathBuf) {
    let mut sessions = 100_000;
    let mut directory = std::env::temp_dir();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--sessions" => sessions = value.parse().expect("--sessions is a number"),
            "--directory" => directory = PathBuf::from(value),
            _ => panic!("usage: store_scale [--sessions N] [--directory D]"),
        }
    }
    (sessions, directory.join(format!("causeway-store-scale-{}", std::process::id())))
}
