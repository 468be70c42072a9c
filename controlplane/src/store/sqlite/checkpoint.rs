//! Moving the log into the database on a thread of its own, so that commits do not wait for it.
//!
//! Enters: a nudge every so many changes. Leaves: `wal_checkpoint(PASSIVE)` on a second connection, which never makes a
//! writer wait. A checkpoint that fails (disk full) is tried again with the next nudge: what is in the log is as
//! durable as what is in the database.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// The thread, and the way to nudge it.
pub(super) struct Checkpointer {
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts it on a connection to the database at `path`.
    pub(super) fn start(path: &Path, connection: Connection) -> io::Result<Checkpointer> {
        // One nudge waits at most: it stands for all that are given meanwhile.
        let (nudge, nudges) = sync_channel(1);
        let path = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || checkpoint(&path, &connection, &nudges))?;
        Ok(Checkpointer { nudge: Some(nudge), thread: Some(thread) })
    }

    /// Asks for a checkpoint soon.
    pub(super) fn nudge(&self) {
        if let Some(nudge) = &self.nudge {
            // Full: one is asked for already.
            let _ = nudge.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(thread) = self.thread.take() {
            // It holds no state of ours; if it panicked, its message was printed.
            let _ = thread.join();
        }
    }
}

fn checkpoint(path: &Path, connection: &Connection, nudges: &Receiver<()>) {
    while nudges.recv().is_ok() {
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(database = %path.display(), %error, "the store's log cannot be moved into its database yet");
        }
    }
}
