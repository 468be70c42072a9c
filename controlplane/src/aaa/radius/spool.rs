//! Where accounting records wait on the disk, so that a start or stop that was written outlives the process.
//!
//! Enters: records, acknowledgements. Leaves: what was there at the last start. One SQLite file; a transaction for all that has
//! come up to a moment. It is used by the accounting thread only, which may wait for the disk.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use causeway_radius::accounting::Waiting;
use causeway_radius::attribute::StatusType;
use causeway_radius::packet::AttributeList;
use rusqlite::{Connection, params};

/// Of the layout; another one is not read.
const VERSION: i64 = 1;
const TABLE: &str = "CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY, status INTEGER NOT NULL, \
                     made_at INTEGER NOT NULL, attributes BLOB NOT NULL) STRICT";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The system's answer.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// SQLite's.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// Somebody else's file.
    #[error("it holds something else than version {VERSION} of accounting records")]
    Version,
}

/// The file.
pub(super) struct Spool {
    connection: Connection,
}

impl Spool {
    /// Opens the file, or makes it, readable by its owner only.
    pub(super) fn open(path: &Path) -> Result<Spool, SpoolError> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF",
        )?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != 0 && version != VERSION {
            return Err(SpoolError::Version);
        }
        connection.execute_batch(&format!("{TABLE}; PRAGMA user_version = {VERSION}"))?;
        Ok(Spool { connection })
    }

    /// At most `most` of the records, the oldest first. What cannot be read is left out.
    pub(super) fn load(&self, most: usize) -> Result<Vec<Waiting>, SpoolError> {
        let mut statement = self
            .connection
            .prepare("SELECT number, status, made_at, attributes FROM waiting ORDER BY number LIMIT ?1")?;
        let rows = statement.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
            let (number, status, made_at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((number, status, made_at, row.get::<_, Vec<u8>>(3)?))
        })?;
        let mut records = Vec::new();
        for row in rows {
            let (number, status, made_at, attributes) = row?;
            let status = [StatusType::Start, StatusType::Stop, StatusType::AccountingOn]
                .into_iter()
                .find(|one| *one as i64 == status);
            let (Some(status), Some(attributes)) = (status, AttributeList::from_octets(attributes)) else {
                continue;
            };
            records.push(Waiting {
                number: number.unsigned_abs(),
                status,
                made_at_unix_secs: made_at.unsigned_abs(),
                attributes,
            });
        }
        Ok(records)
    }

    /// Adds records and takes away those with these numbers, in one transaction.
    pub(super) fn write(&mut self, added: &[Waiting], gone: &[u64]) -> Result<(), SpoolError> {
        let integer = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction()?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO waiting VALUES (?1, ?2, ?3, ?4)")?;
            for one in added {
                let made_at = integer(one.made_at_unix_secs);
                insert.execute(params![
                    integer(one.number),
                    one.status as i64,
                    made_at,
                    one.attributes.octets()
                ])?;
            }
            let mut delete = transaction.prepare_cached("DELETE FROM waiting WHERE number = ?1")?;
            for number in gone {
                delete.execute([integer(*number)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use causeway_radius::attribute::USER_NAME;

    use super::*;

    fn waiting(number: u64) -> Waiting {
        let mut attributes = AttributeList::new();
        attributes.push_text(USER_NAME, "ann").unwrap();
        Waiting { number, status: StatusType::Stop, made_at_unix_secs: 100 + number, attributes }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let directory = std::env::temp_dir().join(format!("causeway-spool-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("accounting.db");
        let mut spool = Spool::open(&path).unwrap();
        spool.write(&[waiting(1), waiting(2), waiting(3)], &[]).unwrap();
        spool.write(&[waiting(4)], &[2, 77]).unwrap();
        drop(spool);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o077,
            0,
            "only its owner reads it"
        );
        let spool = Spool::open(&path).unwrap();
        assert_eq!(spool.load(10).unwrap(), [waiting(1), waiting(3), waiting(4)]);
        assert_eq!(spool.load(1).unwrap(), [waiting(1)]);
        spool.connection.execute_batch("PRAGMA user_version = 9").unwrap();
        drop(spool);
        assert!(matches!(Spool::open(&path), Err(SpoolError::Version)));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
