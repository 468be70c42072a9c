//! The thread before the store: durability before answers, one winner of a race, bounds, and failures that stay with
//! whom they belong to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use super::support::{Scratch, dump, id, session, tokens};
use crate::store::handle::{GROUP, QUEUE, StoreHandle};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Changed, Claim, Claimed, Counts, Cursor, DurableId, IkeState, Page, ParkedAll, Rotation, SessionRecord,
    SessionStore, StoreError, Tokens, Totals, WallSecs,
};

fn start(store: impl SessionStore + 'static) -> StoreHandle {
    StoreHandle::start(Box::new(store)).unwrap()
}

fn put(handle: &StoreHandle, n: u32) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
    handle.change(move |store| store.put_new(&session(n), Some(&tokens(n))))
}

fn claim(n: u32, generation: u64) -> Claim {
    Claim { id: id(n), generation, now: WallSecs(5), serial: 1, rotation: None }
}

#[tokio::test]
async fn of_64_claimants_of_one_generation_one_wins_on_every_store() {
    let scratch = Scratch::new("race");
    let stores: [Box<dyn SessionStore>; 2] =
        [Box::new(MemoryStore::new()), Box::new(SqliteStore::open(&scratch.database()).unwrap())];
    for store in stores {
        let handle = StoreHandle::start(store).unwrap();
        put(&handle, 1).await.unwrap();
        for generation in 1..=5 {
            // From threads of their own, so that they really meet at the queue.
            let claimants = (0..64).map(|_| {
                let handle = handle.clone();
                tokio::task::spawn_blocking(move || {
                    let claim = claim(1, generation);
                    handle.change(move |store| store.claim(&claim))
                })
            });
            let claimants: Vec<_> = claimants.collect();
            let (mut won, mut lost) = (0, 0);
            for claimant in claimants {
                match claimant.await.unwrap().await.unwrap() {
                    Claimed::Won { record, .. } => {
                        assert_eq!(record.generation, generation + 1);
                        won += 1;
                    }
                    Claimed::Lost => lost += 1,
                    Claimed::Expired | Claimed::Unknown => panic!("the session is there"),
                }
            }
            assert_eq!((won, lost), (1, 63));
        }
    }
}

#[tokio::test]
async fn reads_see_every_answered_change_and_time_is_committed_with_it() {
    let scratch = Scratch::new("reads");
    let handle = start(SqliteStore::open(&scratch.database()).unwrap());
    for n in 1..=20 {
        put(&handle, n).await.unwrap();
        let found = handle.read(move |store| store.get(&id(n))).await.unwrap();
        assert_eq!(found.unwrap().0, session(n));
    }
    let now = handle.now();
    // The last handle closes the store.
    drop(handle);
    let store = SqliteStore::open(&scratch.database()).unwrap();
    assert_eq!(dump(&store).len(), 20);
    assert!(store.mark() >= now && now > WallSecs(1_600_000_000));
}

#[tokio::test]
async fn a_request_at_fault_does_not_hurt_others_of_its_transaction() {
    let scratch = Scratch::new("fault");
    let handle = start(SqliteStore::open(&scratch.database()).unwrap());
    let (gate, closed) = gate();
    let held = handle.read(move |_| closed.lock().unwrap().recv().map_err(|_| StoreError::Closed));
    let first = put(&handle, 1);
    let twice = put(&handle, 1);
    let other = put(&handle, 2);
    gate.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(first.await, Ok(()));
    assert_eq!(twice.await, Err(StoreError::IdTaken));
    assert_eq!(other.await, Ok(()));
    assert_eq!(handle.read(|store| Ok(store.counts())).await.unwrap().active, 2);
}

#[tokio::test]
async fn a_request_that_panics_takes_nothing_along() {
    let scratch = Scratch::new("panic");
    let handle = start(SqliteStore::open(&scratch.database()).unwrap());
    let (gate, closed) = gate();
    let held = handle.read(move |_| closed.lock().unwrap().recv().map_err(|_| StoreError::Closed));
    let before = put(&handle, 1);
    let panics = handle.change(|store| {
        store.put_new(&session(2), None)?;
        assert_eq!(store.counts().active, 99, "a mistake");
        Ok(())
    });
    let after = put(&handle, 3);
    gate.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(before.await, Ok(()));
    assert_eq!(panics.await, Err(StoreError::Panicked));
    assert_eq!(after.await, Ok(()));
    assert!(handle.read(|store| store.get(&id(2))).await.unwrap().is_none());
    assert_eq!(handle.read(|store| Ok(store.counts())).await.unwrap().active, 2);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_closed_store_says_so() {
    let handle = start(MemoryStore::new());
    let (gate, closed) = gate();
    let (entered, inside) = channel();
    let held = handle.read(move |_| {
        entered.send(()).unwrap();
        closed.lock().unwrap().recv().map_err(|_| StoreError::Closed)
    });
    inside.recv().unwrap();
    let waiting: Vec<_> = (0..QUEUE).map(|_| handle.read(|store| Ok(store.counts()))).collect();
    let refused = handle.read(|store| Ok(store.counts())).await;
    assert_eq!(refused, Err(StoreError::Busy(QUEUE)));
    gate.send(()).unwrap();
    held.await.unwrap();
    for waits in waiting {
        assert_eq!(waits.await, Ok(Counts::default()));
    }
    assert_eq!(put(&handle, 1).await, Ok(()), "the queue has room again");
}

#[tokio::test]
async fn a_request_whose_caller_is_gone_is_not_done() {
    let handle = start(MemoryStore::new());
    let (gate, closed) = gate();
    let held = handle.read(move |_| closed.lock().unwrap().recv().map_err(|_| StoreError::Closed));
    drop(put(&handle, 1));
    let kept = put(&handle, 2);
    gate.send(()).unwrap();
    held.await.unwrap();
    kept.await.unwrap();
    assert!(handle.read(|store| store.get(&id(1))).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_answered_before_its_commit_has_returned() {
    let (store, commits) = Wrapped::new();
    let answered = Arc::new(AtomicU32::new(0));
    let fails = store.fails.clone();
    let (gate, held) = channel();
    *commits.lock().unwrap() = Some(held);
    let handle = start(store);
    let watched: Vec<_> = (1..=3)
        .map(|n| {
            let (answered, change) = (answered.clone(), put(&handle, n));
            tokio::spawn(async move {
                change.await.unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    // Everybody has asked, and the commit is held: nobody is answered, however often the tasks are looked after.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        assert_eq!(answered.load(Ordering::SeqCst), 0);
    }
    for _ in 0..watched.len() {
        // As many as there may be transactions.
        let _ = gate.send(());
    }
    drop(gate);
    for task in watched {
        task.await.unwrap();
    }
    assert_eq!(answered.load(Ordering::SeqCst), 3);

    // A commit that fails is an answer, too, and nothing has happened then.
    fails.store(true, Ordering::SeqCst);
    let (one, two) = (put(&handle, 8), put(&handle, 9));
    let full = Err(StoreError::Full { path: "nowhere".into() });
    assert_eq!((one.await, two.await), (full.clone(), full));
    let counts = handle.read(|store| Ok(store.counts())).await.unwrap();
    assert_eq!(counts.active, 3, "reads work on, and nothing was added");
    fails.store(false, Ordering::SeqCst);
    assert_eq!(put(&handle, 8).await, Ok(()));
}

#[tokio::test]
async fn many_changes_share_a_commit() {
    let (store, _) = Wrapped::new();
    let commits = store.commits.clone();
    let handle = start(store);
    let (gate, closed) = gate();
    let held = handle.read(move |_| closed.lock().unwrap().recv().map_err(|_| StoreError::Closed));
    let count = u32::try_from(GROUP).unwrap() * 2;
    let changes: Vec<_> = (1..=count).map(|n| put(&handle, n)).collect();
    gate.send(()).unwrap();
    held.await.unwrap();
    for change in changes {
        change.await.unwrap();
    }
    let commits = commits.load(Ordering::SeqCst);
    assert!((2..=3).contains(&commits), "{commits} commits for {count} changes");
}

/// A sender that lets a receiver behind a lock go on (closures of reads may run in any thread).
fn gate() -> (std::sync::mpsc::Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (open, closed) = channel();
    (open, Arc::new(Mutex::new(closed)))
}

type Gate = Arc<Mutex<Option<Receiver<()>>>>;

/// A store in memory whose commits can be counted, held and made to fail.
struct Wrapped {
    inner: MemoryStore,
    commits: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
    gate: Gate,
}

impl Wrapped {
    fn new() -> (Wrapped, Gate) {
        let gate = Gate::default();
        let store = Wrapped {
            inner: MemoryStore::new(),
            commits: Arc::default(),
            fails: Arc::default(),
            gate: gate.clone(),
        };
        (store, gate)
    }
}

impl SessionStore for Wrapped {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.inner.begin()
    }

    fn commit(&mut self, now: WallSecs) -> Result<(), StoreError> {
        if let Some(gate) = &*self.gate.lock().unwrap() {
            // Closed: no longer held.
            let _ = gate.recv();
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Full { path: "nowhere".into() });
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(now)
    }

    fn rollback(&mut self) {
        self.inner.rollback();
    }

    fn mark(&self) -> WallSecs {
        self.inner.mark()
    }

    fn put_new(&mut self, record: &SessionRecord, tokens: Option<&Tokens>) -> Result<(), StoreError> {
        self.inner.put_new(record, tokens)
    }

    fn get(&self, id: &DurableId) -> Result<Option<(SessionRecord, Option<Tokens>)>, StoreError> {
        self.inner.get(id)
    }

    fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.inner.claim(claim)
    }

    fn activate(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError> {
        self.inner.activate(id, generation)
    }

    fn park(
        &mut self,
        id: &DurableId,
        generation: u64,
        since: WallSecs,
        expires_at: WallSecs,
        totals: Totals,
    ) -> Result<Changed, StoreError> {
        self.inner.park(id, generation, since, expires_at, totals)
    }

    fn park_others(
        &mut self,
        now: WallSecs,
        timeout_secs: u64,
        except: &HashSet<DurableId>,
    ) -> Result<ParkedAll, StoreError> {
        self.inner.park_others(now, timeout_secs, except)
    }

    fn rotate(
        &mut self,
        id: &DurableId,
        generation: u64,
        rotation: &Rotation,
    ) -> Result<Changed, StoreError> {
        self.inner.rotate(id, generation, rotation)
    }

    fn confirm_token(&mut self, id: &DurableId, generation: u64, number: u64) -> Result<Changed, StoreError> {
        self.inner.confirm_token(id, generation, number)
    }

    fn set_totals(&mut self, id: &DurableId, generation: u64, totals: Totals) -> Result<Changed, StoreError> {
        self.inner.set_totals(id, generation, totals)
    }

    fn set_attributes(
        &mut self,
        id: &DurableId,
        generation: u64,
        attributes: &[u8],
    ) -> Result<Changed, StoreError> {
        self.inner.set_attributes(id, generation, attributes)
    }

    fn remove(&mut self, id: &DurableId, generation: Option<u64>) -> Result<Changed, StoreError> {
        self.inner.remove(id, generation)
    }

    fn purge_expired(&mut self, now: WallSecs, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        self.inner.purge_expired(now, limit)
    }

    fn oldest_inactive(&self, user: Option<&str>, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        self.inner.oldest_inactive(user, limit)
    }

    fn inactive_of(&self, user: &str) -> Result<u64, StoreError> {
        self.inner.inactive_of(user)
    }

    fn counts(&self) -> Counts {
        self.inner.counts()
    }

    fn page(&self, after: Cursor, limit: usize) -> Result<Page, StoreError> {
        self.inner.page(after, limit)
    }

    fn put_ike_state(
        &mut self,
        id: &DurableId,
        generation: u64,
        state: &IkeState,
    ) -> Result<Changed, StoreError> {
        self.inner.put_ike_state(id, generation, state)
    }

    fn ike_state(&self, id: &DurableId) -> Result<Option<IkeState>, StoreError> {
        self.inner.ike_state(id)
    }

    fn delete_ike_state(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError> {
        self.inner.delete_ike_state(id, generation)
    }
}
