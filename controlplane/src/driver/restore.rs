//! The start after whatever end: sessions of the last run wait for their clients, with their addresses.
//!
//! Enters: the configured store, the address pools. Leaves: the session databases and the desk behind which the store
//! works. Who was active when the daemon, the machine or the power went away is inactive from now on, for the whole
//! timeout: nobody knows for how long the client has been waiting.

use causeway_shared::config::Config;

use super::later::Desk;
use crate::pool::AddressPools;
use crate::reconnect::{Settings, Table};
use crate::store::{self, Cursor, StoreError};

/// Sessions that are read at once.
const PAGE: usize = 1000;

/// Opens the store and takes over what is in it. Without reconnect there is no store.
///
/// # Errors
/// When the store cannot be opened or read; what to do is in the error's text.
pub async fn restore(config: &Config, pools: &mut AddressPools) -> Result<(Table, Desk), StoreError> {
    let settings = Settings::new(&config.reconnect, config.cisco.attributes);
    let timeout_secs = settings.timeout_secs;
    let mut table = Table::new(settings);
    if !config.reconnect.enabled {
        return Ok((table, Desk::new(None)));
    }
    let store = store::open(&config.store)?;
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
