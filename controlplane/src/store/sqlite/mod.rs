//! The store on disk: SQLite with a write-ahead log that is on the disk when a commit returns.
//!
//! Enters: the calls of [`SessionStore`]. Leaves: statements on two tables (`schema`), errors that name the way out
//! (`fault`). The uniqueness of ids and inner addresses is the database's own, so it holds against our mistakes, too.

mod check;
mod checkpoint;
mod fault;
mod open;
mod rows;
mod schema;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use rusqlite::{Error, ErrorCode, OptionalExtension, Params, Row, params};

use self::check::Checker;
use self::checkpoint::Checkpointer;
use self::fault::{damaged, fault};
use self::schema::{INSERT, MORE_COLUMN, integer, select, state_columns};
use super::integrity::Integrity;
use super::node_key::{NodeKey, Purpose};
use super::record::check_attributes;
use super::{
    Changed, Claim, Claimed, Counts, Cursor, DurableId, IkeState, Page, ParkedAll, Rotation, SessionRecord,
    SessionStore, StoreError, StoredState, Tokens, Totals, WallSecs,
};

/// Changes after which the log is moved into the database: some ten megabytes.
const CHECKPOINT_CHANGES: u64 = 8192;
/// A log of this size is moved while the writer waits: the checkpointer cannot keep up.
const MAX_LOG_OCTETS: u64 = 512 * 1024 * 1024;

/// Sessions in a SQLite file.
pub struct SqliteStore {
    // Before the lock, which must go last.
    checkpointer: Checkpointer,
    _checker: Option<Checker>,
    integrity: Integrity,
    connection: rusqlite::Connection,
    path: PathBuf,
    key: NodeKey,
    mark: WallSecs,
    counts: Counts,
    /// What `counts` was when the transaction began.
    counts_before: Counts,
    /// Changes since the last nudge of the checkpointer.
    changes: u64,
    _lock: open::Lock,
}

/// What a change must know of its session.
struct Held {
    place: i64,
    record: SessionRecord,
    sealed: Vec<u8>,
}

/// Whether a session is the caller's.
enum Holding {
    Yes(Box<Held>),
    No(Changed),
}

impl SqliteStore {
    /// Opens the store at `path`, or makes it: with a node key beside it ([`StoreError::NodeKey`]), readable by its owner only.
    /// Every page and seal is checked in the background, see [`SessionStore::integrity`].
    ///
    /// # Errors
    /// When the file is damaged, of another version or another program's, in use, or not accessible.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        let opened = open::open(path)?;
        let no_thread =
            |error: std::io::Error| StoreError::Io { path: path.to_owned(), detail: error.to_string() };
        let checkpointer = Checkpointer::start(path, open::connect(path)?).map_err(no_thread)?;
        let mut store = SqliteStore {
            checkpointer,
            _checker: None,
            integrity: Integrity::default(),
            connection: opened.connection,
            path: path.to_owned(),
            key: opened.key,
            mark: opened.mark,
            counts: Counts::default(),
            counts_before: Counts::default(),
            changes: 0,
            _lock: opened.lock,
        };
        store.counts = store.count()?;
        if let Some(key) = opened.key_for_check {
            let checker = Checker::start(path, open::connect(path)?, key, store.integrity.clone());
            store._checker = Some(checker.map_err(no_thread)?);
        }
        Ok(store)
    }

    fn fault(&self, error: &Error) -> StoreError {
        fault(&self.path, error)
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        done.map_err(|error| self.fault(&error))
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let found = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional());
        found.map_err(|error| self.fault(&error))
    }

    /// Changes need a transaction that SQLite has not given up by itself.
    fn in_transaction(&self) -> Result<(), StoreError> {
        if self.connection.is_autocommit() {
            let detail = "the transaction was given up".to_owned();
            return Err(StoreError::Io { path: self.path.clone(), detail });
        }
        Ok(())
    }

    fn find(&self, id: &DurableId) -> Result<Option<Held>, StoreError> {
        self.one(select!(", sealed", "WHERE id = ?1"), [&id.as_bytes()[..]], |row| {
            let (place, record) = schema::record(row)?;
            Ok(Held { place, record, sealed: row.get(MORE_COLUMN)? })
        })
    }

    fn hold(&self, id: &DurableId, generation: Option<u64>) -> Result<Holding, StoreError> {
        self.in_transaction()?;
        Ok(match self.find(id)? {
            None => Holding::No(Changed::Unknown),
            Some(held) if generation.is_some_and(|generation| generation != held.record.generation) => {
                Holding::No(Changed::Lost)
            }
            Some(held) => Holding::Yes(Box::new(held)),
        })
    }

    /// Changes a session, if the caller holds it.
    fn change(
        &mut self,
        id: &DurableId,
        generation: u64,
        how: impl FnOnce(&mut SqliteStore, &Held) -> Result<(), StoreError>,
    ) -> Result<Changed, StoreError> {
        match self.hold(id, Some(generation))? {
            Holding::No(why) => Ok(why),
            Holding::Yes(held) => {
                how(self, &held)?;
                self.changes = self.changes.saturating_add(1);
                Ok(Changed::Done)
            }
        }
    }

    fn set_state(&mut self, held: &Held, state: StoredState) -> Result<(), StoreError> {
        let (column, since, expires_at) = state_columns(state);
        self.execute(
            "UPDATE session SET state = ?2, since = ?3, expires_at = ?4 WHERE place = ?1",
            [held.place, column, since, expires_at],
        )?;
        self.recount(Some(held.record.state), Some(state));
        Ok(())
    }

    fn set_tokens(
        &self,
        place: i64,
        record: &SessionRecord,
        tokens: Option<&Tokens>,
    ) -> Result<(), StoreError> {
        let sealed = self.seal_tokens(record, tokens)?;
        self.execute("UPDATE session SET sealed = ?2 WHERE place = ?1", params![place, sealed]).map(|_| ())
    }

    fn forget_ike_state(&self, place: i64) -> Result<(), StoreError> {
        self.execute("DELETE FROM ike_state WHERE place = ?1", [place]).map(|_| ())
    }

    fn seal_tokens(&self, record: &SessionRecord, tokens: Option<&Tokens>) -> Result<Vec<u8>, StoreError> {
        let octets = tokens.map(Tokens::encode).unwrap_or_default();
        self.key.seal(Purpose::Tokens, &record.id, &record.bound(), &octets).map_err(|_| self.no_randomness())
    }

    fn unseal_tokens(&self, held: &Held) -> Result<Option<Tokens>, StoreError> {
        let Held { record, sealed, .. } = held;
        let opened = self.key.open(Purpose::Tokens, &record.id, &record.bound(), sealed);
        let octets = opened.map_err(|_| self.unsealable())?;
        if octets.is_empty() {
            return Ok(None);
        }
        Tokens::decode(&octets).map(Some).ok_or_else(|| self.unsealable())
    }

    fn no_randomness(&self) -> StoreError {
        let detail = "the system has no randomness to seal secrets with".to_owned();
        StoreError::Io { path: self.path.clone(), detail }
    }

    fn unsealable(&self) -> StoreError {
        StoreError::Unsealable { path: self.path.clone() }
    }

    /// Which uniqueness a new record would break.
    fn taken(&self, record: &SessionRecord) -> Result<StoreError, StoreError> {
        let exists = |sql: &str, params: &dyn rusqlite::ToSql| {
            self.one(sql, [params], |_| Ok(())).map(|found| found.is_some())
        };
        if exists("SELECT 1 FROM session WHERE id = ?1", &&record.id.as_bytes()[..])? {
            return Ok(StoreError::IdTaken);
        }
        for address in record.inner_addresses() {
            let taken = match address {
                IpAddr::V4(v4) => exists("SELECT 1 FROM session WHERE inner_v4 = ?1", &v4.to_bits())?,
                IpAddr::V6(v6) => exists("SELECT 1 FROM session WHERE inner_v6 = ?1", &&v6.octets()[..])?,
            };
            if taken {
                return Ok(StoreError::AddressTaken(address));
            }
        }
        Ok(damaged(&self.path, "an index holds what its table does not"))
    }

    fn log_octets(&self) -> u64 {
        std::fs::metadata(open::beside(&self.path, "-wal")).map_or(0, |log| log.len())
    }
}

#[cfg(test)]
pub(super) use self::rows::count_for_test;

/// A connection with the settings that the store works with.
#[cfg(test)]
pub(super) fn connection_for_test(path: &Path) -> rusqlite::Connection {
    open::connect(path).unwrap()
}

impl SessionStore for SqliteStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.counts_before = self.counts;
        self.execute("BEGIN IMMEDIATE", []).map(|_| ())
    }

    fn commit(&mut self, now: WallSecs) -> Result<(), StoreError> {
        self.in_transaction()?;
        let mark = self.mark.max(now);
        self.execute("UPDATE node SET mark = ?1", [integer(mark.0)])?;
        self.execute("COMMIT", [])?;
        self.mark = mark;
        if self.changes >= CHECKPOINT_CHANGES {
            self.changes = 0;
            self.checkpointer.nudge();
            if self.log_octets() > MAX_LOG_OCTETS {
                // What is committed stays so; the log goes on growing until this succeeds.
                let moved = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                if let Err(error) = moved {
                    tracing::warn!(database = %self.path.display(), %error, "the store's log grows");
                }
            }
        }
        Ok(())
    }

    fn rollback(&mut self) {
        self.counts = self.counts_before;
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK", [])
        {
            // SQLite gives the transaction up by itself then; `in_transaction` sees to it that nothing goes on in it.
            tracing::warn!(%error, "a transaction of the store was not rolled back");
        }
    }

    fn mark(&self) -> WallSecs {
        self.mark
    }

    fn put_new(&mut self, record: &SessionRecord, tokens: Option<&Tokens>) -> Result<(), StoreError> {
        record.check()?;
        self.in_transaction()?;
        let sealed = self.seal_tokens(record, tokens)?;
        let (state, since, expires_at) = state_columns(record.state);
        let totals = record.totals;
        let inserted = self.connection.prepare_cached(INSERT).and_then(|mut statement| {
            statement.execute(params![
                &record.id.as_bytes()[..],
                integer(record.generation),
                integer(record.serial),
                state,
                since,
                expires_at,
                record.inner_v4.map(|address| address.to_bits()),
                record.inner_v6.map(|address| address.octets().to_vec()),
                integer(record.created_at.0),
                record.ends_at.map(|ends_at| integer(ends_at.0)),
                integer(record.resumptions),
                integer(totals.in_packets),
                integer(totals.in_bytes),
                integer(totals.out_packets),
                integer(totals.out_bytes),
                record.user,
                record.group,
                record.profile,
                record.pool,
                record.accounting_id,
                record.client,
                record.attributes,
                tokens.is_some(),
                sealed,
            ])
        });
        match inserted {
            Ok(_) => {
                self.recount(None, Some(record.state));
                self.changes = self.changes.saturating_add(1);
                Ok(())
            }
            Err(Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::ConstraintViolation => {
                Err(self.taken(record)?)
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn get(&self, id: &DurableId) -> Result<Option<(SessionRecord, Option<Tokens>)>, StoreError> {
        let Some(held) = self.find(id)? else { return Ok(None) };
        let tokens = self.unseal_tokens(&held)?;
        Ok(Some((held.record, tokens)))
    }

    fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.in_transaction()?;
        let Some(held) = self.find(&claim.id)? else { return Ok(Claimed::Unknown) };
        if held.record.generation != claim.generation {
            return Ok(Claimed::Lost);
        }
        if held.record.is_expired(claim.now) {
            return Ok(Claimed::Expired);
        }
        let mut tokens = self.unseal_tokens(&held)?;
        let Held { place, mut record, .. } = held;
        let from = record.state;
        record.claimed(claim);
        let (state, since, expires_at) = state_columns(record.state);
        let changed = self.execute(
            "UPDATE session SET generation = ?3, serial = ?4, resumptions = ?5, state = ?6, since = ?7, \
             expires_at = ?8 WHERE place = ?1 AND generation = ?2",
            [
                place,
                integer(claim.generation),
                integer(record.generation),
                integer(record.serial),
                integer(record.resumptions),
                state,
                since,
                expires_at,
            ],
        )?;
        if changed != 1 {
            return Ok(Claimed::Lost);
        }
        if let (Some(before), Some(rotation)) = (&tokens, &claim.rotation) {
            let rotated = before.rotated(rotation);
            self.set_tokens(place, &record, Some(&rotated))?;
            tokens = Some(rotated);
        }
        self.forget_ike_state(place)?;
        self.recount(Some(from), Some(record.state));
        self.changes = self.changes.saturating_add(1);
        Ok(Claimed::Won { record: Box::new(record), tokens, from })
    }

    fn activate(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError> {
        self.change(id, generation, |store, held| store.set_state(held, StoredState::Active))
    }

    fn park(
        &mut self,
        id: &DurableId,
        generation: u64,
        since: WallSecs,
        expires_at: WallSecs,
        totals: Totals,
    ) -> Result<Changed, StoreError> {
        self.change(id, generation, |store, held| {
            store.set_state(held, StoredState::Inactive { since, expires_at })?;
            store.write_totals(held.place, totals)?;
            store.forget_ike_state(held.place)
        })
    }

    fn park_others(
        &mut self,
        now: WallSecs,
        timeout_secs: u64,
        except: &HashSet<DurableId>,
    ) -> Result<ParkedAll, StoreError> {
        self.in_transaction()?;
        // Gone again with the connection.
        self.execute("CREATE TEMP TABLE IF NOT EXISTS goes_on (id BLOB PRIMARY KEY)", [])?;
        self.execute("DELETE FROM goes_on", [])?;
        for id in except {
            self.execute("INSERT INTO goes_on VALUES (?1)", [&id.as_bytes()[..]])?;
        }
        let removed = self.execute(
            "DELETE FROM session WHERE state < 2 AND NOT resumable AND id NOT IN (SELECT id FROM goes_on)",
            [],
        )?;
        let parked = self.execute(
            "UPDATE session SET state = 2, since = ?1, expires_at = min(?2, ifnull(ends_at, ?2)) \
             WHERE state < 2 AND id NOT IN (SELECT id FROM goes_on)",
            [integer(now.0), integer(now.after(timeout_secs).0)],
        )?;
        self.execute(
            "DELETE FROM ike_state WHERE place NOT IN \
             (SELECT place FROM session JOIN goes_on USING (id) WHERE state < 2)",
            [],
        )?;
        self.counts = self.count()?;
        Ok(ParkedAll { parked: parked as u64, removed: removed as u64 })
    }

    fn rotate(
        &mut self,
        id: &DurableId,
        generation: u64,
        rotation: &Rotation,
    ) -> Result<Changed, StoreError> {
        self.change(id, generation, |store, held| match store.unseal_tokens(held)? {
            Some(tokens) => store.set_tokens(held.place, &held.record, Some(&tokens.rotated(rotation))),
            None => Ok(()),
        })
    }

    fn confirm_token(
        &mut self,
        id: &DurableId,
        generation: u64,
        token_generation: u64,
    ) -> Result<Changed, StoreError> {
        self.change(id, generation, |store, held| match store.unseal_tokens(held)? {
            Some(tokens) => {
                store.set_tokens(held.place, &held.record, Some(&tokens.confirmed(token_generation)))
            }
            None => Ok(()),
        })
    }

    fn set_totals(&mut self, id: &DurableId, generation: u64, totals: Totals) -> Result<Changed, StoreError> {
        self.change(id, generation, |store, held| store.write_totals(held.place, totals))
    }

    fn set_attributes(
        &mut self,
        id: &DurableId,
        generation: u64,
        attributes: &[u8],
    ) -> Result<Changed, StoreError> {
        check_attributes(attributes)?;
        self.change(id, generation, |store, held| {
            let tokens = store.unseal_tokens(held)?;
            let mut record = held.record.clone();
            record.attributes = attributes.to_vec();
            let params = params![held.place, attributes];
            store.execute("UPDATE session SET attributes = ?2 WHERE place = ?1", params)?;
            store.set_tokens(held.place, &record, tokens.as_ref())
        })
    }

    fn remove(&mut self, id: &DurableId, generation: Option<u64>) -> Result<Changed, StoreError> {
        match self.hold(id, generation)? {
            Holding::No(why) => Ok(why),
            Holding::Yes(held) => {
                self.delete(held.place, held.record.state)?;
                Ok(Changed::Done)
            }
        }
    }

    fn purge_expired(&mut self, now: WallSecs, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        self.in_transaction()?;
        let gone = self.rows(
            select!("", "WHERE state = 2 AND expires_at <= ?1 ORDER BY expires_at, place LIMIT ?2"),
            [integer(now.0), integer(limit as u64)],
        )?;
        for (place, _) in &gone {
            // Also one that cannot be read: nobody else removes it.
            self.delete(*place, StoredState::Inactive { since: WallSecs(0), expires_at: now })?;
        }
        Ok(gone.into_iter().filter_map(|(_, record)| record).collect())
    }

    fn oldest_inactive(&self, user: Option<&str>, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        let limit = integer(limit as u64);
        let found = match user {
            None => self.many(select!("", "WHERE state = 2 ORDER BY since, place LIMIT ?1"), [limit]),
            Some(user) => self.many(
                select!("", "WHERE state = 2 AND user = ?1 ORDER BY since, place LIMIT ?2"),
                params![user, limit],
            ),
        };
        Ok(found?.into_iter().map(|(_, record)| record).collect())
    }

    fn inactive_of(&self, user: &str) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM session WHERE state = 2 AND user = ?1";
        let counted = self.one(sql, [user], |row| row.get::<_, i64>(0))?;
        Ok(counted.unwrap_or(0).unsigned_abs())
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn ticket_secret(&self) -> Zeroizing<[u8; 32]> {
        self.key.ticket_secret()
    }

    fn integrity(&self) -> Integrity {
        self.integrity.clone()
    }

    fn page(&self, after: Cursor, limit: usize) -> Result<Page, StoreError> {
        let found = self.rows(
            select!("", "WHERE place > ?1 ORDER BY place LIMIT ?2"),
            [after.0, integer(limit as u64)],
        )?;
        let next = if found.len() < limit { None } else { found.last().map(|(place, _)| Cursor(*place)) };
        Ok(Page { records: found.into_iter().filter_map(|(_, record)| record).collect(), next })
    }

    fn put_ike_state(
        &mut self,
        id: &DurableId,
        generation: u64,
        state: &IkeState,
    ) -> Result<Changed, StoreError> {
        let held = match self.hold(id, Some(generation))? {
            Holding::No(why) => return Ok(why),
            Holding::Yes(held) if held.record.state.is_inactive() => return Ok(Changed::Lost),
            Holding::Yes(held) => held,
        };
        let sealed = self.key.seal(Purpose::IkeState, id, id.as_bytes(), state.as_bytes());
        let sealed = sealed.map_err(|_| self.no_randomness())?;
        let sql = "INSERT INTO ike_state (place, sealed) VALUES (?1, ?2) \
             ON CONFLICT (place) DO UPDATE SET sealed = excluded.sealed";
        self.execute(sql, params![held.place, sealed])?;
        self.changes = self.changes.saturating_add(1);
        Ok(Changed::Done)
    }

    fn ike_state(&self, id: &DurableId) -> Result<Option<IkeState>, StoreError> {
        let sql = "SELECT ike_state.sealed FROM ike_state JOIN session USING (place) WHERE id = ?1";
        let sealed = self.one(sql, [&id.as_bytes()[..]], |row| row.get::<_, Vec<u8>>(0))?;
        let Some(sealed) = sealed else { return Ok(None) };
        let opened =
            self.key.open(Purpose::IkeState, id, id.as_bytes(), &sealed).map_err(|_| self.unsealable())?;
        IkeState::new(opened.to_vec()).map(Some)
    }

    fn delete_ike_state(&mut self, id: &DurableId, generation: u64) -> Result<Changed, StoreError> {
        self.change(id, generation, |store, held| store.forget_ike_state(held.place))
    }
}

impl SqliteStore {
    fn write_totals(&self, place: i64, totals: Totals) -> Result<(), StoreError> {
        let sql = "UPDATE session SET in_packets = ?2, in_bytes = ?3, out_packets = ?4, out_bytes = ?5 \
             WHERE place = ?1";
        let Totals { in_packets, in_bytes, out_packets, out_bytes } = totals;
        let figures =
            [place, integer(in_packets), integer(in_bytes), integer(out_packets), integer(out_bytes)];
        self.execute(sql, figures).map(|_| ())
    }

    /// The IKE state goes along, by the schema.
    fn delete(&mut self, place: i64, state: StoredState) -> Result<(), StoreError> {
        self.execute("DELETE FROM session WHERE place = ?1", [place])?;
        self.recount(Some(state), None);
        self.changes = self.changes.saturating_add(1);
        Ok(())
    }
}
