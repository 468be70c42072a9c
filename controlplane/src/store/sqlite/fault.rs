//! What SQLite's errors mean for an operator.
//!
//! Enters: SQLite's result codes. Leaves: [`StoreError`]s that name the file and the way out.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::store::StoreError;

/// A file system with less than this left counts as full when an operation on it fails for no named reason.
const LEAST_SPACE_OCTETS: u64 = 256 * 1024;

/// What `error` means for the database at `path`.
pub(super) fn fault(path: &Path, error: &Error) -> StoreError {
    let owned = || path.to_owned();
    let (failure, text) = match error {
        Error::SqliteFailure(failure, text) => (failure, text),
        Error::QueryReturnedNoRows => return damaged(path, &error.to_string()),
        _ if is_of_one_row(error) => return damaged(path, &error.to_string()),
        _ => return StoreError::Io { path: owned(), detail: error.to_string() },
    };
    let detail = text.clone().unwrap_or_else(|| failure.to_string());
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full { path: owned() },
        // The index beside the log grows by another call, whose lack of space is reported as a failure like any other.
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if is_full(path) => {
            StoreError::Full { path: owned() }
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt { path: owned(), detail },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::InUse { path: owned() },
        _ => StoreError::Io { path: owned(), detail },
    }
}

/// Whether a value is not what the schema promises: only damage puts it there, and the rows beside it may be sound.
pub(super) fn is_of_one_row(error: &Error) -> bool {
    matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
    )
}

/// A value in a row that the schema does not allow.
pub(super) fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), detail: detail.to_owned() }
}

fn is_full(path: &Path) -> bool {
    let directory = crate::store::node_key::directory(path);
    rustix::fs::statvfs(&directory)
        .is_ok_and(|space| space.f_bavail.saturating_mul(space.f_frsize) < LEAST_SPACE_OCTETS)
}
