//! The tables, and how a session stands in them.
//!
//! Enters: records. Leaves: rows, and records again. Rows are large, so they stand in a table ordered by a small number
//! (`place`), and ids and addresses in indexes: with the random id as the table's own order, loading a million
//! sessions moves large rows about for minutes.

use std::net::{Ipv4Addr, Ipv6Addr};

use rusqlite::Row;

use crate::store::{DurableId, SessionRecord, StoredState, Totals, WallSecs};

/// Marks the file as ours: "CWSS".
pub(super) const APPLICATION_ID: i64 = 0x4357_5353;
/// Changes with every change of the tables.
pub(super) const VERSION: i64 = 1;

/// `state` of a row; the indexes below repeat the figures.
pub(super) const ACTIVE: i64 = 0;
pub(super) const RESUMING: i64 = 1;
pub(super) const INACTIVE: i64 = 2;

/// The tables. `node` has one row. `sealed` holds the tokens and binds the rest of the row ([`SessionRecord::bound`]); without
/// tokens it holds nothing, but binds just so.
pub(super) const TABLES: &str = "
CREATE TABLE session (
  place INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  generation INTEGER NOT NULL,
  serial INTEGER NOT NULL,
  state INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
  since INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  inner_v4 INTEGER,
  inner_v6 BLOB,
  created_at INTEGER NOT NULL,
  ends_at INTEGER,
  resumptions INTEGER NOT NULL,
  in_packets INTEGER NOT NULL,
  in_bytes INTEGER NOT NULL,
  out_packets INTEGER NOT NULL,
  out_bytes INTEGER NOT NULL,
  user TEXT NOT NULL,
  policy_group TEXT NOT NULL,
  profile TEXT NOT NULL,
  pool TEXT NOT NULL,
  accounting_id TEXT NOT NULL,
  client BLOB NOT NULL,
  attributes BLOB NOT NULL,
  resumable INTEGER NOT NULL,
  sealed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX session_id ON session(id);
CREATE UNIQUE INDEX session_inner_v4 ON session(inner_v4) WHERE inner_v4 IS NOT NULL;
CREATE UNIQUE INDEX session_inner_v6 ON session(inner_v6) WHERE inner_v6 IS NOT NULL;
CREATE INDEX session_live ON session(state) WHERE state < 2;
CREATE INDEX inactive_by_expiry ON session(expires_at) WHERE state = 2;
CREATE INDEX inactive_by_silence ON session(since) WHERE state = 2;
CREATE INDEX inactive_by_user ON session(user, since) WHERE state = 2;
CREATE TABLE ike_state (
  place INTEGER PRIMARY KEY REFERENCES session(place) ON DELETE CASCADE,
  sealed BLOB NOT NULL
) STRICT;
CREATE TABLE node (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  mark INTEGER NOT NULL,
  key_check BLOB NOT NULL
) STRICT;
";

/// A statement that selects the columns that [`record`] reads, in its order; `$more` may add columns after them.
macro_rules! select {
    ($more:literal, $which:literal) => {
        concat!(
            "SELECT place, id, generation, serial, state, since, expires_at, inner_v4, inner_v6, created_at, \
             ends_at, resumptions, in_packets, in_bytes, out_packets, out_bytes, user, policy_group, profile, \
             pool, accounting_id, client, attributes",
            $more,
            " FROM session ",
            $which
        )
    };
}
pub(super) use select;

/// The first column that `$more` of [`select`] adds.
pub(super) const MORE_COLUMN: usize = 23;

/// A new row.
pub(super) const INSERT: &str = "INSERT INTO session (id, generation, serial, state, since, expires_at, inner_v4, \
     inner_v6, created_at, ends_at, resumptions, in_packets, in_bytes, out_packets, out_bytes, user, policy_group, \
     profile, pool, accounting_id, client, attributes, resumable, sealed) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";

/// A row's place and record. An error means damage.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<(i64, SessionRecord)> {
    let number = |column: usize| row.get::<_, i64>(column).map(|stored| stored.unsigned_abs());
    let id: Vec<u8> = row.get(1)?;
    let v6: Option<Vec<u8>> = row.get(8)?;
    let v4: Option<u32> = row.get(7)?;
    let record = SessionRecord {
        id: DurableId::parse(&id).ok_or_else(|| wrong(1, "id"))?,
        generation: number(2)?,
        serial: number(3)?,
        state: state(row.get(4)?, WallSecs(number(5)?), WallSecs(number(6)?))
            .ok_or_else(|| wrong(4, "state"))?,
        inner_v4: v4.map(Ipv4Addr::from),
        inner_v6: match v6 {
            None => None,
            Some(octets) => {
                let octets: [u8; 16] = octets.try_into().map_err(|_| wrong(8, "inner_v6"))?;
                Some(Ipv6Addr::from(octets))
            }
        },
        created_at: WallSecs(number(9)?),
        ends_at: row.get::<_, Option<i64>>(10)?.map(|stored| WallSecs(stored.unsigned_abs())),
        resumptions: number(11)?,
        totals: Totals {
            in_packets: number(12)?,
            in_bytes: number(13)?,
            out_packets: number(14)?,
            out_bytes: number(15)?,
        },
        user: row.get(16)?,
        group: row.get(17)?,
        profile: row.get(18)?,
        pool: row.get(19)?,
        accounting_id: row.get(20)?,
        client: row.get(21)?,
        attributes: row.get(22)?,
    };
    Ok((row.get(0)?, record))
}

/// A state as columns: state, since, expires_at.
pub(super) fn state_columns(state: StoredState) -> (i64, i64, i64) {
    match state {
        StoredState::Active => (ACTIVE, 0, 0),
        StoredState::Resuming => (RESUMING, 0, 0),
        StoredState::Inactive { since, expires_at } => (INACTIVE, integer(since.0), integer(expires_at.0)),
    }
}

/// SQLite's integers are signed. Counters and times stop at their end, which none reaches.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn state(column: i64, since: WallSecs, expires_at: WallSecs) -> Option<StoredState> {
    match column {
        ACTIVE => Some(StoredState::Active),
        RESUMING => Some(StoredState::Resuming),
        INACTIVE => Some(StoredState::Inactive { since, expires_at }),
        _ => None,
    }
}

fn wrong(column: usize, name: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, name.to_owned(), rusqlite::types::Type::Blob)
}
