//! A session's end that changes while it lasts (Session-Timeout of a CoA-Request, RFC 5176 §3).
//!
//! Enters: the session, its new end. Leaves: a deadline that [`Table::timer`] looks at.

use super::{Phase, Table};
use crate::store::{DurableId, WallSecs};

impl Table {
    /// Another end than it was stored with; it counts until this process ends.
    pub fn end_at(&mut self, id: &DurableId, ends_at: WallSecs) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let before = entry.record.ends_at.replace(ends_at);
        match entry.phase {
            Phase::Inactive { since, expires_at } => {
                let sooner = expires_at.min(ends_at);
                entry.phase = Phase::Inactive { since, expires_at: sooner };
                self.deadlines.remove(&(expires_at, *id));
                self.deadlines.insert((sooner, *id));
            }
            _ => {
                if let Some(before) = before {
                    self.deadlines.remove(&(before, *id));
                }
                self.deadlines.insert((ends_at, *id));
            }
        }
    }
}
