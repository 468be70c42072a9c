//! What only the store on disk can meet: restarts, damage, other versions, other processes, a full disk.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::support::{Scratch, commit, dump, id, session, token, tokens};
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Changed, Counts, Cursor, IkeState, SessionStore, StoreError, StoredState, Tokens, Totals, Verdict,
    WallSecs,
};

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path)
}

fn refused(path: &Path) -> StoreError {
    match open(path) {
        Err(error) => error,
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

/// What the check in the background finds.
fn verdict(store: &SqliteStore) -> Verdict {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match store.integrity().verdict() {
            Verdict::Checking => assert!(Instant::now() < deadline, "the check does not end"),
            verdict => return verdict,
        }
        std::thread::yield_now();
    }
}

/// A store with `sessions` sessions, every third inactive, closed again.
fn filled(path: &Path, sessions: u32) {
    let mut store = open(path).unwrap();
    commit(&mut store, |store| {
        for n in 1..=sessions {
            store.put_new(&session(n), Some(&tokens(n)))?;
            let state = IkeState::new(format!("keys of {n}").into_bytes())?;
            assert_eq!(store.put_ike_state(&id(n), 1, &state)?, Changed::Done);
            if n.is_multiple_of(3) {
                let parked = store.park(&id(n), 1, WallSecs(10), WallSecs(100), Totals::default())?;
                assert_eq!(parked, Changed::Done);
            }
        }
        Ok(())
    })
    .unwrap();
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[test]
fn everything_is_there_after_a_restart() {
    let scratch = Scratch::new("restart");
    filled(&scratch.database(), 9);
    let store = open(&scratch.database()).unwrap();
    assert_eq!(store.counts(), Counts { active: 6, resuming: 0, inactive: 3 });
    assert_eq!(store.mark(), WallSecs(1000));
    let all = dump(&store);
    assert_eq!(all.len(), 9);
    for (record, found, ike_state) in all {
        let n = u32::try_from(record.serial).unwrap();
        assert_eq!(found.unwrap(), *tokens(n).encode());
        let kept = (record.state == StoredState::Active).then(|| format!("keys of {n}").into_bytes());
        assert_eq!(ike_state, kept);
    }
}

#[test]
fn the_files_are_their_owners_only_and_hold_no_secret_in_clear() {
    let scratch = Scratch::new("private");
    let path = scratch.database();
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let mut store = open(&path).unwrap();
    let secret = "a token that must not be read";
    let state = IkeState::new(b"a key that must not be read".to_vec()).unwrap();
    commit(&mut store, |store| {
        store.put_new(&session(1), Some(&Tokens::new(token(secret))))?;
        store.put_ike_state(&id(1), 1, &state)
    })
    .map(|_| ())
    .unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let file = entry.unwrap().path();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        let octets = fs::read(&file).unwrap();
        let found = octets.windows(16).any(|window| window == &b"must not be read"[..]);
        assert!(!found, "{}", file.display());
        names.push(file.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["db", "db-shm", "db-wal", "db.key", "db.lock"].map(|end| format!("sessions.{end}")));
}

#[test]
fn only_one_process_holds_a_store() {
    let scratch = Scratch::new("held");
    let first = open(&scratch.database()).unwrap();
    assert!(matches!(refused(&scratch.database()), StoreError::InUse { .. }));
    drop(first);
    open(&scratch.database()).unwrap();
}

#[test]
fn another_version_and_another_programs_database_are_refused_untouched() {
    let scratch = Scratch::new("version");
    let path = scratch.database();
    filled(&path, 3);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let error = refused(&path);
    assert_eq!(error, StoreError::Version { path: path.clone(), found: 2, wanted: 1 });
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    assert_eq!(open(&path).unwrap().counts().active, 2);

    let other = scratch.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    assert!(matches!(refused(&other), StoreError::Foreign { .. }));
    let kept: i64 =
        Connection::open(&other).unwrap().query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1);
}

#[test]
fn the_store_opens_only_with_its_own_key() {
    let scratch = Scratch::new("key");
    let path = scratch.database();
    let key = beside(&path, ".key");
    filled(&path, 3);
    let octets = fs::read(&key).unwrap();
    let wrongs: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&key).unwrap(),
        &|| fs::write(&key, [9; 32]).unwrap(),
        &|| fs::write(&key, &octets[1..]).unwrap(),
        &|| fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap(),
    ];
    for wrong in wrongs {
        wrong();
        let error = refused(&path);
        assert!(matches!(&error, StoreError::NodeKey { path, .. } if *path == key), "{error}");
        let _ = fs::remove_file(&key);
        fs::write(&key, &octets).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(dump(&open(&path).unwrap()).len(), 3);
}

#[test]
fn a_damaged_file_is_noticed_until_an_operator_has_it_moved_aside() {
    let scratch = Scratch::new("damaged");
    let path = scratch.database();
    filled(&path, 200);
    let length = fs::metadata(&path).unwrap().len();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], length / 4096 / 2 * 4096).unwrap();
    let damaged = fs::read(&path).unwrap();
    for _ in 0..2 {
        let text = noticed(&path).unwrap();
        assert!(text.contains(".move-aside") && text.contains("backup"), "{text}");
    }
    assert!(fs::read(&path).unwrap() == damaged, "the damaged file was changed");

    fs::write(beside(&path, ".move-aside"), b"").unwrap();
    let mut store = open(&path).unwrap();
    assert_eq!(store.counts(), Counts::default());
    commit(&mut store, |store| store.put_new(&session(1), Some(&tokens(1)))).unwrap();
    drop(store);
    let kept: Vec<PathBuf> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".damaged-"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(fs::read(&kept[0]).unwrap() == damaged, "the damaged file was not kept as it was");
    assert_eq!(open(&path).unwrap().counts().active, 1, "the order was followed once only");
}

/// What the operator is told of the store at `path` when it is opened, or soon after.
fn noticed(path: &Path) -> Option<String> {
    match open(path) {
        Err(error) => Some(error.to_string()),
        Ok(store) => {
            verdict(&store);
            store.integrity().problem()
        }
    }
}

#[test]
fn no_page_is_damaged_unnoticed() {
    let scratch = Scratch::new("pages");
    let path = scratch.database();
    filled(&path, 200);
    let whole = fs::read(&path).unwrap();
    assert_eq!(noticed(&path), None);
    let (mut refused, mut reported) = (0, 0);
    for page in (0..whole.len()).step_by(4096) {
        let mut damaged = whole.clone();
        damaged[page..page + 4096].fill(0xa5);
        fs::write(&path, &damaged).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside(&path, suffix));
        }
        match open(&path).is_err() {
            true => refused += 1,
            false => reported += 1,
        }
        assert!(noticed(&path).is_some(), "page at {page}");
    }
    assert!(refused > 0 && reported > 0, "{refused} at open, {reported} later");
}

#[test]
fn a_session_that_was_altered_is_lost_alone_and_reported() {
    let scratch = Scratch::new("altered");
    let path = scratch.database();
    filled(&path, 9);
    let store = open(&path).unwrap();
    assert!(matches!(verdict(&store), Verdict::Sound { .. }));
    assert_eq!(store.integrity().problem(), None);
    drop(store);
    let other = Connection::open(&path).unwrap();
    // Somebody else's session, an id that is none.
    assert_eq!(other.execute("UPDATE session SET user = 'mallory' WHERE serial = 2", []).unwrap(), 1);
    assert_eq!(other.execute("UPDATE session SET id = x'00' WHERE serial = 3", []).unwrap(), 1);
    drop(other);
    let mut store = open(&path).unwrap();
    assert_eq!(verdict(&store), Verdict::Altered { sessions: 2 });
    assert!(store.integrity().problem().unwrap().starts_with("2 sessions"));
    assert!(matches!(store.get(&id(2)), Err(StoreError::Unsealable { .. })));
    let page = store.page(Cursor::START, 4).unwrap();
    assert_eq!(page.records.iter().map(|record| record.serial).collect::<Vec<_>>(), [1, 2, 4]);
    let rest = store.page(page.next.unwrap(), 100).unwrap();
    assert_eq!((rest.records.len(), rest.next), (5, None));
    let gone = commit(&mut store, |store| store.purge_expired(WallSecs(1000), 100)).unwrap();
    assert_eq!(gone.iter().map(|record| record.serial).collect::<Vec<_>>(), [6, 9]);
    assert_eq!(store.counts().inactive, 0, "what could not be read is gone, too");
}

/// Without an index a start would read every row, and it does so for each state.
#[test]
fn sessions_are_counted_without_reading_them() {
    let scratch = Scratch::new("count");
    filled(&scratch.database(), 9);
    let connection = crate::store::sqlite::connection_for_test(&scratch.database());
    for state in 0..3 {
        let sql = format!("EXPLAIN QUERY PLAN {}", crate::store::sqlite::count_for_test(state));
        let plan: String = connection.query_row(&sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains("INDEX"), "{sql}: {plan}");
    }
}

#[test]
fn a_store_is_closed_while_it_is_checked() {
    let scratch = Scratch::new("unchecked");
    filled(&scratch.database(), 2000);
    for _ in 0..20 {
        let store = open(&scratch.database()).unwrap();
        let integrity = store.integrity();
        drop(store);
        assert_eq!(integrity.problem(), None, "an end is no damage");
    }
}

/// Flips one bit after the other, all over the file: the store refuses it, or every session that it lets resume is as it was.
#[test]
fn no_flipped_bit_makes_a_session_another_ones() {
    let scratch = Scratch::new("flipped");
    let path = scratch.database();
    filled(&path, 40);
    let whole = fs::read(&path).unwrap();
    let before = dump(&open(&path).unwrap());
    let (mut at_open, mut unsealable, mut harmless) = (0, 0, 0);
    // A prime, so that flips fall everywhere in pages.
    for (round, place) in (0..whole.len()).step_by(467).enumerate() {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (round % 8);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside(&path, suffix));
        }
        fs::write(&path, &flipped).unwrap();
        let Ok(store) = open(&path) else {
            at_open += 1;
            continue;
        };
        let mut altered = false;
        for (record, expected, ike_state) in &before {
            match store.get(&record.id) {
                Ok(Some((found, found_tokens))) => {
                    assert_eq!(found.bound(), record.bound(), "octet {place}");
                    let same = found_tokens.map(|tokens| tokens.encode().to_vec()) == *expected;
                    assert!(same, "octet {place}");
                }
                Ok(None) => altered = true,
                Err(error) => {
                    assert!(
                        matches!(error, StoreError::Unsealable { .. } | StoreError::Corrupt { .. }),
                        "octet {place}: {error}"
                    );
                    altered = true;
                }
            }
            if let Ok(Some(found)) = store.ike_state(&record.id) {
                assert_eq!(Some(found.as_bytes()), ike_state.as_deref(), "octet {place}");
            }
        }
        match altered {
            true => unsealable += 1,
            false => harmless += 1,
        }
    }
    // Free space and display figures are harmless; most of the rest must have been noticed.
    assert!(at_open > 0 && unsealable > 0, "{at_open} at open, {unsealable} later, {harmless} never");
}

/// After a loss of power the log may end anywhere behind the last durable commit. Wherever it ends: transactions are there
/// whole or not at all, and in order.
#[test]
fn a_log_that_is_cut_gives_a_prefix_of_what_was_committed() {
    let scratch = Scratch::new("cut");
    let path = scratch.database();
    let mut store = open(&path).unwrap();
    for pair in 0..12 {
        commit(&mut store, |store| {
            store.put_new(&session(2 * pair + 1), Some(&tokens(2 * pair + 1)))?;
            store.put_new(&session(2 * pair + 2), None)
        })
        .unwrap();
    }
    let log = fs::read(beside(&path, "-wal")).unwrap();
    let after = scratch.path().join("after");
    fs::create_dir(&after).unwrap();
    let copy = after.join("sessions.db");
    fs::copy(beside(&path, ".key"), beside(&copy, ".key")).unwrap();
    let mut last = 0;
    for length in (0..log.len()).step_by(1999).chain([log.len()]) {
        let _ = fs::remove_file(beside(&copy, "-shm"));
        fs::copy(&path, &copy).unwrap();
        fs::write(beside(&copy, "-wal"), &log[..length]).unwrap();
        let found = dump(&open(&copy).unwrap()).into_iter().map(|(record, ..)| record.serial);
        let found: Vec<u64> = found.collect();
        let count = found.len() as u64;
        assert!(found == (1..=count).collect::<Vec<_>>(), "cut at {length}: {found:?}");
        assert!(count.is_multiple_of(2) && count >= last, "cut at {length}: {found:?}");
        last = count;
    }
    assert_eq!(last, 24);
}

#[test]
fn a_commit_waits_for_the_disk() {
    let scratch = Scratch::new("settings");
    drop(open(&scratch.database()).unwrap());
    let connection = crate::store::sqlite::connection_for_test(&scratch.database());
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    // 2 is FULL: the log is synchronised with every commit.
    assert_eq!((pragma("synchronous"), pragma("wal_autocheckpoint"), pragma("foreign_keys")), (2, 0, 1));
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

/// A small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, octets: u64) -> SmallDisk {
        let size = format!("size={octets},mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().unwrap();
        let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "this test mounts a small tmpfs and so needs root: {said}");
        SmallDisk(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_changes_and_nothing_else_and_loses_nothing() {
    let scratch = Scratch::new("full");
    let disk = SmallDisk::mount(scratch.path(), 4 * 1024 * 1024);
    let path = scratch.database();
    let ballast = scratch.path().join("ballast");
    fs::write(&ballast, vec![1; 1024 * 1024]).unwrap();
    let mut store = open(&path).unwrap();
    let mut stored = 0;
    let error = loop {
        match commit(&mut store, |store| store.put_new(&session(stored + 1), Some(&tokens(stored + 1)))) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100_000, "the disk does not fill up");
    };
    assert_eq!(error, StoreError::Full { path: path.clone() });
    assert!(error.to_string().contains("free some"), "{error}");
    assert!(stored > 10, "only {stored} sessions fitted in");
    assert_eq!((dump(&store).len(), store.counts().active), (stored as usize, u64::from(stored)));
    let again = commit(&mut store, |store| store.remove(&id(1), None));
    assert_eq!(again, Err(StoreError::Full { path: path.clone() }));

    fs::remove_file(&ballast).unwrap();
    commit(&mut store, |store| store.put_new(&session(stored + 1), Some(&tokens(stored + 1)))).unwrap();
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(dump(&store).len() as u64, u64::from(stored) + 1);
    drop(store);
    drop(disk);
}
