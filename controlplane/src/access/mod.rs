//! Who may use the management API: tokens, wrong attempts, rates, and the log of what was done.
//!
//! Enters: what callers present, and the time. Leaves: who they are, or why they are refused. Nothing here knows HTTP;
//! [`crate::api`] asks.

pub mod audit;
pub mod rate;
pub mod tokens;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use causeway_shared::config::Management;

use self::audit::AuditLog;
use self::rate::{Lockout, Rates};
use self::tokens::Tokens;

/// Why the directory of tokens and audit log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("management.state_directory: cannot use {path}: {source}; make it writable to the control plane")]
pub struct AccessError {
    path: std::path::PathBuf,
    source: io::Error,
}

/// All of it, for every connection of the API.
pub struct Access {
    /// Tokens.
    pub tokens: Mutex<Tokens>,
    /// What was done.
    pub audit: Mutex<AuditLog>,
    /// How often callers ask.
    pub rates: Mutex<Rates>,
    /// Who guesses.
    pub lockout: Mutex<Lockout>,
}

impl Access {
    /// Reads tokens and audit log, or begins them.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn open(management: &Management) -> Result<Access, AccessError> {
        let directory = &management.state_directory;
        let file = |name: &str| directory.join(name);
        let failed = |path| move |source| AccessError { path, source };
        std::fs::create_dir_all(directory).map_err(failed(directory.clone()))?;
        let (tokens, log) = (file(tokens::FILE), file(audit::FILE));
        Ok(Access {
            tokens: Mutex::new(Tokens::open(&tokens).map_err(failed(tokens.clone()))?),
            audit: Mutex::new(AuditLog::open(&log).map_err(failed(log.clone()))?),
            rates: Mutex::default(),
            lockout: Mutex::default(),
        })
    }
}

/// The value behind a lock; a panic while it was held leaves it as usable as before.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 in hexadecimal.
fn sha256_hex(octets: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, octets).as_ref())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Replaces a file in one step, durably, readable to the owner only.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    // The name is as durable as the content.
    path.parent().map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
}
