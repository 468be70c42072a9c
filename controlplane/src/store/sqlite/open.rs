//! Opening the database: whose it is, that its tables are ours, that nobody else has it, and who may read it.
//!
//! Enters: a path. Leaves: a connection set up for durable commits, and the node's key; or an error with the way out.
//! Files beside the database: `-wal` and `-shm` (SQLite's), `.key` (the node's key), `.lock` (held while open) and
//! `.move-aside`, which an operator creates to have a damaged database moved away at the next start.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};

use super::fault::{damaged, fault};
use super::schema::{APPLICATION_ID, TABLES, VERSION};
use crate::store::node_key::{NodeKey, directory};
use crate::store::{StoreError, WallSecs};

/// Memory for pages of the database.
const CACHE_KIB: i64 = 64 * 1024;
/// How long one connection waits for another of ours.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that are kept prepared: all there are.
const STATEMENTS: usize = 64;

/// An open database.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) key: NodeKey,
    /// The same again, for the check; `None` when the database is new.
    pub(super) key_for_check: Option<NodeKey>,
    pub(super) mark: WallSecs,
    /// Held until the store is closed.
    pub(super) lock: Lock,
}

/// Opens the database at `path`, or makes it.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let lock = lock(path)?;
    move_aside_if_told(path)?;
    make_private(path)?;
    let connection = connect(path)?;
    let at = |error: rusqlite::Error| fault(path, &error);
    if is_new(&connection).map_err(at)? {
        let key = make(path, &connection)?;
        return Ok(Opened { connection, key, key_for_check: None, mark: WallSecs(0), lock });
    }
    check_version(path, &connection)?;
    check_tables(path, &connection)?;
    let (mark, check): (i64, Vec<u8>) = connection
        .query_row("SELECT mark, key_check FROM node", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(at)?;
    let key = key_of(path, &check)?;
    let key_for_check = Some(key_of(path, &check)?);
    Ok(Opened { connection, key, key_for_check, mark: WallSecs(mark.unsigned_abs()), lock })
}

/// A connection to the database at `path`, which exists.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let at = |error: rusqlite::Error| fault(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(at)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(at)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(at)?;
    if mode != "wal" {
        let detail = format!("SQLite cannot write ahead on this file system (it offers {mode})");
        return Err(StoreError::Io { path: path.to_owned(), detail });
    }
    // FULL: a commit has returned when its log is on the disk. Checkpoints are the checkpointer's, see its file.
    let settings = format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -{CACHE_KIB}; \
         PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; \
         PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0"
    );
    connection.execute_batch(&settings).map_err(at)?;
    Ok(connection)
}

/// `path` with `suffix` after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Holds the database for this process.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a child that another thread has forked and that has not begun its program yet has the file, too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    let lock_path = beside(path, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let file = file.map_err(|error| io(&lock_path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(error) => Err(io(&lock_path, &error.into())),
    }
}

/// Moves the database away, if the operator asked for it. The key stays: the next database may use it.
fn move_aside_if_told(path: &Path) -> Result<(), StoreError> {
    let order = beside(path, ".move-aside");
    if !order.exists() {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // The log first: a database without its log is old, a log without its database is nothing.
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (beside(path, suffix), beside(path, &format!(".damaged-{now}{suffix}")));
        if from.exists() {
            fs::rename(&from, &to).map_err(|error| io(&from, &error))?;
        }
    }
    tracing::warn!(database = %path.display(), kept = %format!("{}.damaged-{now}", path.display()), "store moved aside by order");
    fs::remove_file(&order).map_err(|error| io(&order, &error))
}

/// Makes the file before SQLite does, so that it and the files beside it are its owner's only.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => File::open(directory(path)).and_then(|made| made.sync_all()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
    .map_err(|error| io(path, &error))
}

fn is_new(connection: &Connection) -> rusqlite::Result<bool> {
    let (tables, application): (i64, i64) = connection.query_row(
        "SELECT (SELECT count(*) FROM sqlite_schema), (SELECT application_id FROM pragma_application_id)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(tables == 0 && application == 0)
}

/// Makes the tables, all or none.
fn make(path: &Path, connection: &Connection) -> Result<NodeKey, StoreError> {
    let key_path = beside(path, ".key");
    let key = match NodeKey::read(&key_path)? {
        Some(key) => {
            tracing::warn!(database = %path.display(), "there is a node key, but no session store: starting empty");
            key
        }
        None => NodeKey::create(&key_path)?,
    };
    let check = key.check_value();
    let at = |error: rusqlite::Error| fault(path, &error);
    let made = connection.unchecked_transaction().map_err(at)?;
    made.execute_batch(TABLES).map_err(at)?;
    made.execute("INSERT INTO node (one, mark, key_check) VALUES (1, 0, ?1)", [&check[..]]).map_err(at)?;
    made.pragma_update(None, "application_id", APPLICATION_ID).map_err(at)?;
    made.pragma_update(None, "user_version", VERSION).map_err(at)?;
    made.commit().map_err(at)?;
    Ok(key)
}

fn check_version(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = (|| Ok((pragma("application_id")?, pragma("user_version")?)))()
        .map_err(|error| fault(path, &error))?;
    if application != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if found != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found, wanted: VERSION });
    }
    Ok(())
}

/// Compares the tables with what they should be: damage there would show up in the middle of work only.
fn check_tables(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let tables = |connection: &Connection| -> rusqlite::Result<Vec<(String, Option<String>)>> {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let compare = || {
        let model = Connection::open_in_memory()?;
        model.execute_batch(TABLES)?;
        Ok(tables(connection)? == tables(&model)?)
    };
    match compare() {
        Ok(true) => Ok(()),
        Ok(false) => Err(damaged(path, "its tables are not as they were made")),
        Err(error) => Err(fault(path, &error)),
    }
}

/// The key that the database was made with.
fn key_of(path: &Path, check: &[u8]) -> Result<NodeKey, StoreError> {
    let key_path = beside(path, ".key");
    let refuse = |detail: &str| StoreError::NodeKey { path: key_path.clone(), detail: detail.to_owned() };
    let Some(key) = NodeKey::read(&key_path)? else {
        return Err(refuse("it is gone, and what is stored opens only with it: put it back"));
    };
    if key.check_value() != check {
        return Err(refuse("it is not the key that the store was made with: put that one back"));
    }
    Ok(key)
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return StoreError::Full { path: path.to_owned() };
    }
    StoreError::Io { path: path.to_owned(), detail: error.to_string() }
}
