//! The start after whatever end: sessions of the last run go on, or wait for their clients with their addresses.
//!
//! Enters: the store, the driver before its first input. Leaves: the driver with its sessions. A session goes on if it was
//! stored in this run of the machine and nothing of it is gone: its SPIs, its address, its IKE SA's lifetime. What the data
//! plane holds is settled when it is attached ([`Ledger::adopt`](crate::link::ledger::Ledger::adopt)). Who was active
//! and cannot go on is inactive from now on, for the whole timeout: nobody knows for how long the client has been
//! waiting. Sessions that no token could bring back are gone.

use std::collections::HashSet;
use std::time::Duration;

use causeway_ike::RestoreError;
use causeway_ike::api::{DataPlaneEvent, Input, SessionId};

use super::core::Core;
use super::env::{DriverEnv, random};
use crate::aaa::Authorization;
use crate::clock;
use crate::continuity::{Kept, Unreadable};
use crate::link::Link;
use crate::sessions::Numbers;
use crate::store::handle::StoreHandle;
use crate::store::{Cursor, DurableId, IkeState, SessionRecord, SessionStore, StoreError, Tokens};

/// Sessions that are read at once.
const PAGE: usize = 1000;

/// Why a session does not go on.
#[derive(Debug, thiserror::Error)]
enum Ends {
    #[error("its state was not stored")]
    NoState,
    #[error(transparent)]
    State(#[from] Unreadable),
    #[error("the machine was restarted")]
    OtherBoot,
    #[error("its SPIs are not of this SA table, or taken")]
    Slots,
    #[error("its address is in no pool any more, or taken")]
    Address,
    #[error(transparent)]
    Ike(#[from] RestoreError),
}

/// A session as it was found.
struct Found {
    record: SessionRecord,
    tokens: Option<Tokens>,
    state: Option<IkeState>,
}

/// Takes over what is in the store. With `boot_id`, sessions that were stored in that run of the machine go on.
///
/// # Errors
/// When the store cannot be read; what to do is in the error's text.
pub async fn restore<L: Link>(
    store: &StoreHandle,
    boot_id: Option<String>,
    core: &mut Core<L>,
) -> Result<(), StoreError> {
    core.keep_sessions(boot_id);
    let mut go_on = HashSet::new();
    let mut ended = Vec::new();
    let mut cursor = Some(Cursor::START);
    while let Some(after) = cursor {
        let (found, next) = store.read(move |store| page(store, after)).await?;
        cursor = next;
        for found in found {
            let id = found.record.id;
            if found.record.state.is_inactive() {
                core.wait_again(found.record);
                continue;
            }
            let plain = found.tokens.is_none().then(|| found.record.clone());
            match core.take_up(found) {
                Ok(()) => drop(go_on.insert(id)),
                Err(why) => {
                    if let Some(record) = plain {
                        core.account_lost(&record);
                    }
                    tracing::debug!(%id, %why, "an active session of the last run ends");
                    ended.push(id);
                }
            }
        }
    }
    let (now, timeout_secs) = (store.now(), core.table.settings().timeout_secs);
    let on = go_on.len();
    let parked = store.change(move |store| store.park_others(now, timeout_secs, &go_on)).await?;
    for ids in ended.chunks(PAGE) {
        let ids = ids.to_vec();
        let get = move |id: &DurableId, store: &dyn SessionStore| store.get(id);
        let records =
            store.read(move |store| ids.iter().map(|id| get(id, store)).collect::<Result<Vec<_>, _>>());
        for (record, _) in records.await?.into_iter().flatten() {
            core.wait_again(record);
        }
    }
    core.all_taken_up();
    if on == 0 && core.table.inactive_count() == 0 {
        core.account_begin();
    }
    if on > 0 || core.table.inactive_count() > 0 || parked.removed > 0 {
        tracing::info!(
            go_on = on,
            inactive = core.table.inactive_count(),
            were_active = parked.parked,
            removed = parked.removed,
            "sessions of the last run go on, or wait for their clients"
        );
    }
    Ok(())
}

/// Some sessions; those that were active with all that is known of them.
fn page(store: &dyn SessionStore, after: Cursor) -> Result<(Vec<Found>, Option<Cursor>), StoreError> {
    let page = store.page(after, PAGE)?;
    let mut found = Vec::with_capacity(page.records.len());
    for record in page.records {
        if record.state.is_inactive() {
            found.push(Found { record, tokens: None, state: None });
            continue;
        }
        // What cannot be unsealed cannot go on; the rest of the store is good.
        let tokens = store.get(&record.id).ok().flatten().and_then(|(_, tokens)| tokens);
        let state = store.ike_state(&record.id).ok().flatten();
        found.push(Found { record, tokens, state });
    }
    Ok((found, page.next))
}

impl<L: Link> Core<L> {
    /// A session of an earlier run waits for its client.
    fn wait_again(&mut self, record: SessionRecord) {
        let (id, v4, v6) = (record.id, record.inner_v4, record.inner_v6);
        let for_accounts = record.state.is_inactive().then(|| record.clone());
        let Some(owner) = self.table.restore(record) else { return };
        if let Some(record) = for_accounts {
            self.account_resumed(&record);
        }
        if !self.services.pools.reserve(owner, v4, v6) {
            tracing::warn!(
                "the address of a waiting session is in no pool any more; its client must log in anew"
            );
            self.table.address_is_gone(owner, &id);
        }
    }

    /// A session of an earlier run goes on. On an error nothing of it is held.
    fn take_up(&mut self, found: Found) -> Result<(), Ends> {
        let Found { record, tokens, state } = found;
        let kept = Kept::decode(&state.ok_or(Ends::NoState)?)?;
        if self.boot_id() != Some(&kept.boot_id) {
            return Err(Ends::OtherBoot);
        }
        let spis: Vec<u32> = kept.sas.iter().map(|sa| sa.pair.inbound_spi).collect();
        let taken =
            spis.iter().take_while(|spi| self.slots.reserve(**spi, || u32::from_ne_bytes(random()))).count();
        if taken < spis.len() {
            self.give_back(spis.get(..taken).unwrap_or_default());
            return Err(Ends::Slots);
        }
        let session = kept.session;
        if !self.services.pools.reserve(session, record.inner_v4, record.inner_v6) {
            self.give_back(&spis);
            return Err(Ends::Address);
        }
        let now = clock::now();
        let elapsed = Duration::from_millis(clock::millis(now).saturating_sub(kept.saved_ms));
        let mut env = DriverEnv { now, slots: &mut self.slots, link: &self.link };
        let restored =
            self.endpoint.restore(clock::instant(now), elapsed, &kept.snapshot, &mut env, &mut self.out);
        if let Err(error) = restored {
            self.give_back(&spis);
            // It was reserved above.
            self.services.pools.release(session);
            return Err(error.into());
        }
        self.went_on(record, tokens, kept);
        Ok(())
    }

    fn give_back(&mut self, spis: &[u32]) {
        for spi in spis {
            self.slots.release(clock::now(), *spi);
        }
    }

    /// The endpoint has the session again; now everybody else gets it.
    fn went_on(&mut self, record: SessionRecord, tokens: Option<Tokens>, kept: Kept) {
        let session = kept.session;
        let numbers = Numbers { serial: record.serial, tunnel_id: kept.tunnel_id };
        let authorization = Authorization::from_stored(&record.attributes);
        self.limits.idle_for(session, authorization.idle_secs);
        let (for_accounts, resumable) = (record.clone(), tokens.is_some());
        let plain = match tokens {
            Some(tokens) => {
                self.table.goes_on(session, record, &tokens, kept.method);
                None
            }
            None => {
                if let Some(ends_at) = record.ends_at {
                    self.limits.end_at(session, ends_at);
                }
                Some(record)
            }
        };
        self.go_on_keeping(session, plain, &kept.sas);
        let described: HashSet<u32> = kept.sas.iter().map(|sa| sa.pair.inbound_spi).collect();
        for sa in kept.sas {
            self.link.restore(sa.pair, sa.traffic);
        }
        // Those that no data plane will have: they end as if it had lost them.
        let bare = self.endpoint.installed(SessionId(session)).into_iter();
        for inbound_spi in bare.filter(|spi| !described.contains(spi)) {
            self.inputs.push_back(Input::DataPlane(DataPlaneEvent::HardExpired { inbound_spi }));
        }
        self.pump();
        self.sessions.goes_on(session, numbers, kept.past);
        self.account_goes_on(session, &for_accounts, resumable);
        self.table.serial_is_taken(numbers.serial);
    }
}
