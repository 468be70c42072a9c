//! What happens, told twice: as blocks in the event log, and as plain lines to the user.
//!
//! Enters: events. Leaves: the log's blocks, the user's lines. A full disk ends no session: it is told to the user once.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Ask;
use crate::event_log::EventLog;
pub(super) use crate::event_log::{Kind, Source};

pub(super) struct Journal {
    log: EventLog,
    user: Arc<dyn Ask>,
    failed: bool,
}

impl Journal {
    pub(super) fn open(path: &Path, user: Arc<dyn Ask>) -> std::io::Result<Journal> {
        Ok(Journal { log: EventLog::open(path)?, user, failed: false })
    }

    /// For the log only.
    pub(super) fn event(&mut self, kind: Kind, source: Source, text: &str) {
        if let Err(error) = self.log.write(unix_secs(), kind, source, text)
            && !std::mem::replace(&mut self.failed, true)
        {
            self.user.show(&format!("The event log cannot be written: {error}"));
        }
    }

    /// For the user, and the log says so.
    pub(super) fn tell_user(&mut self, text: &str) {
        self.user.show(text);
        let text = format!("Message type information sent to the user:\n{text}");
        self.event(Kind::Information, Source::Ui, &text);
    }
}

/// The wall clock.
pub(super) fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
