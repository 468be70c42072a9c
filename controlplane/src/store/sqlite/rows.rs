//! Many rows at once: sessions by place, and how many there are.
//!
//! Enters: statements. Leaves: sessions; a row that is none costs only that session, and is said in the log.

use rusqlite::Params;

use super::fault::is_of_one_row;
use super::{SqliteStore, schema};
use crate::store::{Counts, SessionRecord, StoreError, StoredState};

impl SqliteStore {
    /// Sessions by state, read from the database.
    pub(super) fn count(&self) -> Result<Counts, StoreError> {
        let count = |state: i64| {
            let counted = self.connection.query_row(&count_of(state), [], |row| row.get::<_, i64>(0));
            counted.map(i64::unsigned_abs).map_err(|error| self.fault(&error))
        };
        Ok(Counts {
            active: count(schema::ACTIVE)?,
            resuming: count(schema::RESUMING)?,
            inactive: count(schema::INACTIVE)?,
        })
    }

    /// A session changed its state, came or went.
    pub(super) fn recount(&mut self, from: Option<StoredState>, to: Option<StoredState>) {
        if let Some(from) = from {
            let count = self.counts.of(from);
            *count = count.saturating_sub(1);
        }
        if let Some(to) = to {
            let count = self.counts.of(to);
            *count = count.saturating_add(1);
        }
    }

    /// Rows by place. One that is no session is an error of its own, so that only that session is lost.
    pub(super) fn rows(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<(i64, Option<SessionRecord>)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params, |row| Ok((row.get(0)?, schema::record(row))))?;
            let whole = |row: rusqlite::Result<(i64, rusqlite::Result<(i64, SessionRecord)>)>| match row? {
                (place, Ok((_, record))) => Ok((place, Some(record))),
                (place, Err(error)) if is_of_one_row(&error) => {
                    tracing::warn!(place, %error, "a session in the store cannot be read; its client must log in anew");
                    Ok((place, None))
                }
                (_, Err(error)) => Err(error),
            };
            rows.map(whole).collect()
        };
        read().map_err(|error| self.fault(&error))
    }

    /// Sessions by place, without those that cannot be read.
    pub(super) fn many(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<Vec<(i64, SessionRecord)>, StoreError> {
        let found = self.rows(sql, params)?.into_iter();
        Ok(found.filter_map(|(place, record)| Some((place, record?))).collect())
    }
}

/// Counts the sessions of a state, in the very words of the partial indexes, without which every row would be read.
fn count_of(state: i64) -> String {
    let live = if state == schema::INACTIVE { "" } else { "state < 2 AND " };
    format!("SELECT count(*) FROM session WHERE {live}state = {state}")
}

/// How the store counts.
#[cfg(test)]
pub(in crate::store) fn count_for_test(state: i64) -> String {
    count_of(state)
}
