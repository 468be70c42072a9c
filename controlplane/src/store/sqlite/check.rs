//! The whole database looked through while the store works already, so that a start does not wait for a million sessions.
//!
//! Enters: a connection of its own and the node's key. Leaves: a verdict, and a line in the log. First every page, then every
//! row's seal, which binds who the session is. It reads one state of the database, so meanwhile the log grows with what
//! is written; [`Checker`] ends it at once when the store is closed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, InterruptHandle};

use super::fault::{damaged, fault, is_of_one_row};
use super::schema::{MORE_COLUMN, record, select};
use crate::store::integrity::{Integrity, Verdict};
use crate::store::node_key::{NodeKey, Purpose};
use crate::store::{DurableId, SessionRecord, StoreError};

/// Clients go first: the nice value that gives way to everything.
const LEAST_URGENT: i32 = 19;

/// The thread, and the way to end it.
pub(super) struct Checker {
    interrupt: InterruptHandle,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Starts it on a connection to the database at `path`, which nobody else uses.
    pub(super) fn start(
        path: &Path,
        connection: Connection,
        key: NodeKey,
        integrity: Integrity,
    ) -> io::Result<Checker> {
        integrity.set(Verdict::Checking);
        let interrupt = connection.get_interrupt_handle();
        let closing = Arc::new(AtomicBool::new(false));
        let (path, closes) = (path.to_owned(), Arc::clone(&closing));
        let thread = std::thread::Builder::new().name("store-check".to_owned()).spawn(move || {
            // Of this thread alone. Refused, the check only costs others more.
            let _ = rustix::process::setpriority_process(None, LEAST_URGENT);
            let verdict = check(&path, &connection, &key);
            // Relaxed: it is only read, and whoever set it interrupts until it is seen.
            if !closes.load(Relaxed) {
                say(&path, &verdict);
                integrity.set(verdict);
            }
        })?;
        Ok(Checker { interrupt, closing, thread: Some(thread) })
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.closing.store(true, Relaxed);
            // Until it is heard: an interrupt between two statements is lost.
            while !thread.is_finished() {
                self.interrupt.interrupt();
                std::thread::yield_now();
            }
            // It holds no state of ours; if it panicked, its message was printed.
            let _ = thread.join();
        }
    }
}

fn check(path: &Path, connection: &Connection, key: &NodeKey) -> Verdict {
    let begun = Instant::now();
    let looked = pages(path, connection).and_then(|()| altered_rows(path, connection, key));
    match looked {
        Ok(0) => Verdict::Sound { took: begun.elapsed() },
        Ok(sessions) => Verdict::Altered { sessions },
        Err(error @ StoreError::Corrupt { .. }) => Verdict::Damaged(error),
        Err(error) => Verdict::Unfinished(error),
    }
}

/// Reads every page and checks that they fit together.
fn pages(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| fault(path, &error))?;
    if verdict != "ok" {
        return Err(damaged(path, verdict.trim()));
    }
    Ok(())
}

/// Rows that are none, or whose seal does not fit what stands beside it.
fn altered_rows(path: &Path, connection: &Connection, key: &NodeKey) -> Result<u64, StoreError> {
    let at = |error: rusqlite::Error| fault(path, &error);
    let mut statement = connection.prepare(select!(", sealed", "")).map_err(at)?;
    let mut rows = statement.query([]).map_err(at)?;
    let mut altered = 0u64;
    while let Some(row) = rows.next().map_err(at)? {
        let read = record(row).and_then(|(_, record)| Ok((record, row.get::<_, Vec<u8>>(MORE_COLUMN)?)));
        let sound = match read {
            Ok((record, sealed)) => fits(key, &record.id, &record, &sealed),
            Err(error) if is_of_one_row(&error) => false,
            Err(error) => return Err(at(error)),
        };
        altered = altered.saturating_add(u64::from(!sound));
    }
    Ok(altered)
}

fn fits(key: &NodeKey, id: &DurableId, record: &SessionRecord, sealed: &[u8]) -> bool {
    key.open(Purpose::Tokens, id, &record.bound(), sealed).is_ok()
}

fn say(path: &Path, verdict: &Verdict) {
    let database = path.display();
    match verdict {
        Verdict::Nothing | Verdict::Checking => {}
        Verdict::Sound { took } => {
            tracing::info!(%database, took_ms = took.as_millis(), "the whole store was checked");
        }
        Verdict::Altered { sessions } => {
            tracing::error!(%database, sessions, "sessions in the store are not as they were stored");
        }
        Verdict::Damaged(error) => tracing::error!(%database, %error, "the store is damaged"),
        Verdict::Unfinished(error) => {
            tracing::warn!(%database, %error, "the check of the store was not finished")
        }
    }
}
