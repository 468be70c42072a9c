//! The way to the store: a bounded queue to one thread, which makes one transaction of what waits in it.
//!
//! Enters: closures over a [`SessionStore`]. Leaves: their answers, each after the transaction that holds its change is on
//! the disk. Reads do not wait for that: they run before the changes of their round. The thread never makes its callers
//! wait longer than [`DEADLINE`], nor does it take more than [`QUEUE`] requests.
//!
//! If a transaction fails, its requests are done again one by one, each in a transaction of its own: whose request was at
//! fault learns it, the others do not; on a full disk every change learns that it is full, and reads still work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::clock::StoreClock;
use super::{Integrity, SessionStore, StoreError, WallSecs};

/// Requests that may wait.
pub const QUEUE: usize = 16 * 1024;
/// Most requests of one transaction.
pub const GROUP: usize = 512;
/// How long the first change of a transaction waits for others.
pub const GROUP_WAIT: Duration = Duration::from_millis(2);
/// How long a caller waits.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How often the store's mark moves on when nothing else is committed (see [`StoreClock`]).
const MARK_EVERY: Duration = Duration::from_secs(60);

/// A request, done as often as it takes, then answered once.
trait Request: Send {
    fn is_change(&self) -> bool;
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Does it and keeps the outcome. Gives the error that is the store's, not the request's.
    fn run(&mut self, store: &mut dyn SessionStore) -> Result<(), StoreError>;
    /// Sends the outcome, or `failed` if its transaction did.
    fn answer(self: Box<Self>, failed: Option<&StoreError>);
}

/// A way to the store. Clones lead to the same one; when the last is gone, the store is closed.
#[derive(Clone)]
pub struct StoreHandle {
    queue: SyncSender<Box<dyn Request>>,
    clock: StoreClock,
    integrity: Integrity,
    ticket_secret: Arc<Zeroizing<[u8; 32]>>,
    // Dropped after the queue.
    _thread: Arc<Thread>,
}

/// Waits for the thread's end, so that the store is closed when its last handle is gone.
struct Thread(Mutex<Option<JoinHandle<()>>>);

impl StoreHandle {
    /// Starts the thread that owns `store`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Box<dyn SessionStore>) -> std::io::Result<StoreHandle> {
        let (clock, integrity) = (StoreClock::start(store.mark()), store.integrity());
        let ticket_secret = Arc::new(store.ticket_secret());
        let (queue, requests) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || Worker { store, clock }.serve(&requests))?;
        let thread = Arc::new(Thread(Mutex::new(Some(thread))));
        Ok(StoreHandle { queue, clock, integrity, ticket_secret, _thread: thread })
    }

    /// How sound the store is, as far as is known.
    pub fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    /// What keys of tickets are derived from ([`SessionStore::ticket_secret`]).
    pub fn ticket_secret(&self) -> &[u8; 32] {
        &self.ticket_secret
    }

    /// Now, in the time that stored moments are in.
    pub fn now(&self) -> WallSecs {
        self.clock.now()
    }

    /// Asks for a change. It is queued when this returns; the future gives the answer when the change is durable. If the future
    /// is dropped, the change may happen or not.
    ///
    /// `change` may be called more than once; only its last run counts. If it returns an error about its request after it
    /// changed something, that change stays.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once when too many requests wait; [`StoreError::Late`] when the outcome is unknown; what `change`
    /// returns; why it could not be made durable.
    pub fn change<T, F>(
        &self,
        mut change: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut dyn SessionStore) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(true, move |store| change(store))
    }

    /// Asks for something that changes nothing. It sees every change that was answered before.
    ///
    /// # Errors
    /// As [`StoreHandle::change`].
    pub fn read<T, F>(&self, mut read: F) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&dyn SessionStore) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(false, move |store| read(store))
    }

    fn ask<T, F>(
        &self,
        is_change: bool,
        how: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut dyn SessionStore) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let call = Call { is_change, how, outcome: None, answer };
        let queued = self.queue.try_send(Box::new(call)).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy(QUEUE),
            TrySendError::Disconnected(_) => StoreError::Closed,
        });
        async move {
            queued?;
            match tokio::time::timeout(DEADLINE, answered).await {
                Ok(Ok(outcome)) => outcome,
                // Dropped unanswered: the thread is gone.
                Ok(Err(_)) => Err(StoreError::Closed),
                Err(_) => Err(StoreError::Late(u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX))),
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If it panicked, its message was printed.
            let _ = thread.join();
        }
    }
}

/// A request and who waits for it.
struct Call<T, F> {
    is_change: bool,
    how: F,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for Call<T, F>
where
    T: Send,
    F: FnMut(&mut dyn SessionStore) -> Result<T, StoreError> + Send,
{
    fn is_change(&self) -> bool {
        self.is_change
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, store: &mut dyn SessionStore) -> Result<(), StoreError> {
        // The transaction is rolled back then, so nothing half-done is seen later.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.how)(store)));
        let outcome = outcome.unwrap_or(Err(StoreError::Panicked));
        let failed = match &outcome {
            Err(error) if !error.is_about_request() => Err(error.clone()),
            _ => Ok(()),
        };
        self.outcome = Some(outcome);
        failed
    }

    fn answer(self: Box<Self>, failed: Option<&StoreError>) {
        let outcome = match failed {
            Some(error) => Err(error.clone()),
            None => self.outcome.unwrap_or(Err(StoreError::Closed)),
        };
        // Gone: the caller's deadline is over.
        let _ = self.answer.send(outcome);
    }
}

/// What the thread owns.
struct Worker {
    store: Box<dyn SessionStore>,
    clock: StoreClock,
}

impl Worker {
    fn serve(mut self, requests: &Receiver<Box<dyn Request>>) {
        loop {
            match requests.recv_timeout(MARK_EVERY) {
                Ok(first) => self.round(gather(first, requests)),
                Err(RecvTimeoutError::Timeout) => self.mark(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.mark();
    }

    fn round(&mut self, waiting: Vec<Box<dyn Request>>) {
        let waiting = waiting.into_iter().filter(|request| !request.is_abandoned());
        let (changes, reads): (Vec<_>, Vec<_>) = waiting.partition(|request| request.is_change());
        for mut read in reads {
            // Its outcome says what was wrong.
            let _ = read.run(&mut *self.store);
            read.answer(None);
        }
        if changes.is_empty() {
            return;
        }
        match self.transact(changes) {
            Ok(()) => {}
            // One alone: that is its answer.
            Err((error, changes)) if changes.len() == 1 => {
                changes.into_iter().for_each(|change| change.answer(Some(&error)));
            }
            Err((error, changes)) => {
                tracing::warn!(%error, requests = changes.len(), "a transaction of the store failed");
                for change in changes {
                    if let Err((error, alone)) = self.transact(vec![change]) {
                        alone.into_iter().for_each(|change| change.answer(Some(&error)));
                    }
                }
            }
        }
    }

    /// Runs `changes` in one transaction and answers them, or gives them back with nothing changed.
    fn transact(
        &mut self,
        mut changes: Vec<Box<dyn Request>>,
    ) -> Result<(), (StoreError, Vec<Box<dyn Request>>)> {
        let mut run = || {
            self.store.begin()?;
            changes.iter_mut().try_for_each(|change| change.run(&mut *self.store))?;
            self.store.commit(self.clock.now())
        };
        if let Err(error) = run() {
            self.store.rollback();
            return Err((error, changes));
        }
        changes.into_iter().for_each(|change| change.answer(None));
        Ok(())
    }

    fn mark(&mut self) {
        if let Err((error, _)) = self.transact(Vec::new()) {
            tracing::warn!(%error, "the store's time is not written");
        }
    }
}

/// What waits, and what comes within [`GROUP_WAIT`] of the first change.
fn gather(first: Box<dyn Request>, requests: &Receiver<Box<dyn Request>>) -> Vec<Box<dyn Request>> {
    let mut any_change = first.is_change();
    let mut waiting = vec![first];
    let until = Instant::now() + GROUP_WAIT;
    while waiting.len() < GROUP {
        let next = match any_change {
            true => requests.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
            false => requests.try_recv().ok(),
        };
        let Some(next) = next else { break };
        any_change |= next.is_change();
        waiting.push(next);
    }
    waiting
}
