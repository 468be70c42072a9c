//! The store that the configuration asks for.
//!
//! Enters: `[store]`. Leaves: a handle to the open store, its directory made if it was not there.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use causeway_shared::config::{Store, StoreBackend};

use super::handle::StoreHandle;
use super::memory::MemoryStore;
use super::node_key::directory;
use super::sqlite::SqliteStore;
use super::{SessionStore, StoreError};

/// Opens the store of `config` and starts its thread. A directory that is missing is made for its owner only.
///
/// # Errors
/// When it cannot be opened, see [`SqliteStore::open`]; the message names the way out.
pub fn open(config: &Store) -> Result<StoreHandle, StoreError> {
    let io = |error: std::io::Error| StoreError::Io { path: config.path.clone(), detail: error.to_string() };
    let store: Box<dyn SessionStore> = match config.backend {
        StoreBackend::Memory => Box::new(MemoryStore::new()),
        StoreBackend::Sqlite => {
            DirBuilder::new().recursive(true).mode(0o700).create(directory(&config.path)).map_err(io)?;
            Box::new(SqliteStore::open(&config.path)?)
        }
    };
    StoreHandle::start(store).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::support::{Scratch, id, session, tokens};
    use super::*;

    #[tokio::test]
    async fn sqlite_remembers_and_memory_forgets() {
        let scratch = Scratch::new("configured");
        let path = scratch.path().join("var/lib/sessions.db");
        for (backend, remembers) in [(StoreBackend::Sqlite, true), (StoreBackend::Memory, false)] {
            let config = Store { backend, path: path.clone() };
            let handle = open(&config).unwrap();
            let n = u32::from(remembers);
            handle.change(move |store| store.put_new(&session(n), Some(&tokens(n)))).await.unwrap();
            drop(handle);
            let found = open(&config).unwrap().read(move |store| store.get(&id(n))).await.unwrap();
            assert_eq!(found.is_some(), remembers);
        }
        let mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
