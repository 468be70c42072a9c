//! `kill -9` in the middle of commits: every acknowledged change is there afterwards.
//!
//! The test starts itself again as a child that works on a store through [`StoreHandle`] and prints what was acknowledged.
//! The parent kills it after so many lines, opens the store, and looks for everything it has read.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::support::{Scratch, id, session, token, tokens};
use crate::store::handle::StoreHandle;
use crate::store::sqlite::SqliteStore;
use crate::store::{Changed, Claim, Claimed, IkeState, Presented, Rotation, SessionStore, Totals, WallSecs};

/// Tells the child where its store is, and its first session's number.
const PLACE: &str = "CAUSEWAY_TEST_STORE";
const FIRST: &str = "CAUSEWAY_TEST_FIRST";
/// Sessions of one round, each worked on by a task of its own.
const SESSIONS: u32 = 64;

#[test]
fn whatever_was_acknowledged_is_there_after_kill_9() {
    let scratch = Scratch::new("crash");
    let path = scratch.database();
    for (round, lines) in [0, 1, 40, 150, 333, 700].into_iter().enumerate() {
        let first = u32::try_from(round).unwrap() * SESSIONS;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::crash::child",
                "--ignored",
                "--nocapture",
                "--test-threads",
                "1",
            ])
            .env(PLACE, &path)
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What was acknowledged of each session last: how far it is.
        let mut acknowledged: BTreeMap<u32, u64> = BTreeMap::new();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        let mut killed = false;
        for line in output.split(b'\n').map(Result::unwrap) {
            let line = String::from_utf8(line).unwrap();
            let Some(rest) = line.split_once("acknowledged ").map(|(_, rest)| rest) else { continue };
            // The last line may have been cut by the kill; whole ones end with a full stop.
            let Some((n, generation)) = rest.strip_suffix('.').and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            acknowledged.insert(n.parse().unwrap(), generation.parse().unwrap());
            seen += 1;
            if seen >= lines && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        let status = child.wait().unwrap();
        assert!(killed && !status.success(), "the child ended by itself: {status}");

        let store = SqliteStore::open(&path).unwrap();
        for (n, generation) in acknowledged {
            let (record, found) = store.get(&id(n)).unwrap().unwrap_or_else(|| panic!("session {n} is lost"));
            assert!(record.generation >= generation, "session {n}: {} < {generation}", record.generation);
            assert!(record.generation <= generation + 1, "only one change of it was under way");
            // A claim rotates the token in the same transaction.
            let found = found.unwrap();
            assert_eq!(found.generation, record.generation);
            if record.generation > 1 {
                assert!(found.current.matches(&token(&format!("{n} {}", record.generation))));
                let kept = store.ike_state(&id(n)).unwrap();
                if let Some(kept) = kept {
                    assert_eq!(kept.as_bytes(), format!("{n} {}", record.generation).as_bytes());
                }
            }
        }
        let counts = store.counts();
        let all = super::support::dump(&store).len() as u64;
        assert_eq!(counts.active + counts.resuming + counts.inactive, all);
    }
}

/// Works until it is killed.
#[test]
#[ignore = "started by the test above"]
fn child() {
    let path = std::env::var(PLACE).expect("only the test above starts this");
    let first: u32 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = SqliteStore::open(path.as_ref()).unwrap();
    let handle = StoreHandle::start(Box::new(store)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> =
            (first..first + SESSIONS).map(|n| tokio::spawn(live(handle.clone(), n))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn live(handle: StoreHandle, n: u32) {
    handle.change(move |store| store.put_new(&session(n), Some(&tokens(n)))).await.unwrap();
    println!("acknowledged {n} 1.");
    for generation in 1.. {
        let text = format!("{n} {}", generation + 1);
        let rotation = Rotation {
            token: token(&text),
            presented: Presented::Current,
            previous_usable_until: WallSecs(9),
        };
        let claim = Claim { id: id(n), generation, now: WallSecs(5), serial: 1, rotation: Some(rotation) };
        let won = handle.change(move |store| store.claim(&claim)).await.unwrap();
        assert!(matches!(won, Claimed::Won { .. }));
        println!("acknowledged {n} {}.", generation + 1);
        let state = IkeState::new(text.into_bytes()).unwrap();
        let next = generation + 1;
        let kept = handle.change(move |store| store.put_ike_state(&id(n), next, &state)).await.unwrap();
        assert_eq!(kept, Changed::Done);
        let totals = Totals::default();
        let parked = handle.change(move |store| store.park(&id(n), next, WallSecs(5), WallSecs(50), totals));
        assert_eq!(parked.await.unwrap(), Changed::Done);
    }
}
