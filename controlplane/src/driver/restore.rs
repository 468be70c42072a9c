//! The start after whatever end: sessions of the last run wait for their clients, with their addresses.
//!
//! Enters: the configured store, the address pools. Leaves: the session databases and the desk behind which the store
//! works. Who was active when the daemon, the machine or the power went away is inactive from now on, for the whole
//! timeout: nobody knows for how long the client has been waiting.

use std::io;
use std::path::Path;

use causeway_shared::config::{Config, StoreBackend};

use super::later::Desk;
use crate::pool::AddressPools;
use crate::reconnect::{Settings, Table};
use crate::store::handle::StoreHandle;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Cursor, SessionStore, StoreError};

/// Sessions that are read at once.
const PAGE: usize = 1000;

/// Why the sessions of the last run cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The store's directory or thread.
    #[error("store: cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Opens the store and takes over what is in it. Without reconnect there is no store.
///
/// # Errors
/// When the store cannot be opened or read; what to do is in the error's text.
pub async fn restore(config: &Config, pools: &mut AddressPools) -> Result<(Table, Desk), RestoreError> {
    let settings = Settings::new(&config.reconnect, config.cisco.attributes);
    let timeout_secs = settings.timeout_secs;
    let mut table = Table::new(settings);
    if !config.reconnect.enabled {
        return Ok((table, Desk::new(None)));
    }
    let store: Box<dyn SessionStore> = match config.store.backend {
        StoreBackend::Memory => Box::new(MemoryStore::new()),
        StoreBackend::Sqlite => {
            make_directory(&config.store.path)?;
            Box::new(SqliteStore::open(&config.store.path)?)
        }
    };
    let store = StoreHandle::start(store)
        .map_err(|source| RestoreError::System { doing: "start its thread", source })?;
    let now = store.now();
    let parked = store.change(move |store| store.park_all(now, timeout_secs)).await?;
    let mut cursor = Some(Cursor::START);
    let mut homeless = 0u64;
    while let Some(after) = cursor {
        let page = store.read(move |store| store.page(after, PAGE)).await?;
        cursor = page.next;
        for record in page.records {
            let (id, address) = (record.id, record.inner_v4);
            let Some(owner) = table.restore(record) else { continue };
            if !address.is_some_and(|address| pools.reserve(owner, address)) {
                homeless = homeless.saturating_add(1);
                table.address_is_gone(owner, &id);
            }
        }
    }
    if table.inactive_count() > 0 || parked.removed > 0 {
        tracing::info!(
            inactive = table.inactive_count(),
            were_active = parked.parked,
            removed = parked.removed,
            "sessions of the last run wait for their clients"
        );
    }
    if homeless > 0 {
        tracing::warn!(
            homeless,
            "addresses of waiting sessions are in no pool any more; their clients must log in anew"
        );
    }
    Ok((table, Desk::new(Some(store))))
}

fn make_directory(path: &Path) -> Result<(), RestoreError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(directory)
        .map_err(|source| RestoreError::System { doing: "make its directory", source })
}
