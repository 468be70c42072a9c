//! The gateway before the storm: it had sessions, the power failed, and it has started again.
//!
//! Enters: how many sessions, a seed. Leaves: a gateway with all of them inactive, restored from the store as the daemon
//! does it, and what their clients hold. The logins themselves are not simulated: sessions are made as the driver makes
//! them, by pools, table and store.

use std::net::Ipv4Addr;

use causeway_controlplane::pool::{AddressPools, FamilyWish, Wish};
use causeway_controlplane::reconnect::{Login, Settings, Table};
use causeway_controlplane::slots::Slots;
use causeway_controlplane::store::memory::MemoryStore;
use causeway_controlplane::store::{
    Cursor, DurableId, SessionRecord, SessionStore, StoreError, StoredState, Token, Totals,
};
use causeway_ike::job::Keyring;
use causeway_ike::policy::{
    CiscoPolicy, EndpointConfig, ExtensionPolicy, IdrMismatch, Lifetimes, Limits, Methods, Timing,
};
use causeway_ike::suite::{EspPolicy, Group};
use causeway_shared::config::{self, OnClientDelete, OnTokenReplay, ReconnectAttributes, TokenPolicy};

use super::gateway::{Gateway, Parts, START};
use super::parse;
use crate::rng::Rng;
use crate::setup;

/// Inner addresses.
const POOL: &str = "10.96.0.0/12";
/// Sessions that are read at once.
const PAGE: usize = 1000;
/// Cookies are asked for above one half-open IKE SA for so many clients, or above the default if that is lower.
const COOKIE_DIVISOR: usize = 50;
/// SA slots for each session: its predecessors' rest for a while.
const SLOTS_PER_SESSION: u32 = 2;

/// What a client holds.
pub struct Waiting {
    /// Its session.
    pub id: DurableId,
    /// Its token.
    pub token: Token,
    /// Its address inside.
    pub inner: Ipv4Addr,
}

/// The gateway after the restart, and its clients.
pub fn restart(count: u32, seed: u64) -> Result<(Gateway, Vec<Waiting>), String> {
    let mut rng = Rng::stream(seed, "gateway");
    let mut store = MemoryStore::new();
    let waiting = before(count, &mut store, &mut rng).map_err(|error| error.to_string())?;
    let mut pools = pools()?;
    let table = after(&mut store, &mut pools).map_err(|error| error.to_string())?;
    if (table.inactive_count(), pools.leased()) != (waiting.len(), waiting.len()) {
        return Err(format!("{} of {count} sessions outlived the restart", table.inactive_count()));
    }
    let capacity = count.saturating_mul(SLOTS_PER_SESSION).max(1024).next_power_of_two();
    let (credential, _, _) = setup::gateway_identity()?;
    let parts = Parts {
        endpoint: endpoint(count)?,
        keyring: Keyring { credential: Some(credential), client_authorities: None },
        table,
        pools,
        store,
        slots: Slots::new(capacity).map_err(|error| error.to_string())?,
        rng,
    };
    Ok((Gateway::new(parts), waiting))
}

/// Everybody logs in.
fn before(count: u32, store: &mut MemoryStore, rng: &mut Rng) -> Result<Vec<Waiting>, StoreError> {
    let mut pools = pools().map_err(|_| StoreError::Closed)?;
    let mut table = Table::new(settings());
    let mut waiting = vec![];
    for session in 1..=u64::from(count) {
        let user = format!("user{session}");
        let wish = Wish { v4: FamilyWish::any(None), ..Wish::default() };
        let grant = pools.lease_for(session, &user, wish).map_err(|_| StoreError::Closed)?;
        let inner = grant.address.ok_or(StoreError::Closed)?;
        let record = SessionRecord {
            // Set by the table.
            id: DurableId::random(|buffer| rng.draw(buffer)),
            generation: 0,
            serial: 0,
            state: StoredState::Active,
            user,
            group: String::new(),
            profile: "default".to_owned(),
            pool: grant.pool,
            inner_v4: Some(inner),
            inner_v6: None,
            attributes: b"{}".to_vec(),
            client: vec![],
            accounting_id: String::new(),
            created_at: START,
            ends_at: None,
            resumptions: 0,
            totals: Totals::default(),
        };
        let login = Login { session, record, method: "anyconnect-eap".to_owned(), by_ticket: false };
        let (record, tokens) = table.login(login, &mut |buffer| rng.draw(buffer))?;
        store.begin()?;
        store.put_new(&record, Some(&tokens))?;
        store.commit(START)?;
        waiting.push(Waiting { id: record.id, token: tokens.current, inner });
    }
    Ok(waiting)
}

/// The daemon starts: what was active waits, with its address.
fn after(store: &mut MemoryStore, pools: &mut AddressPools) -> Result<Table, StoreError> {
    let mut table = Table::new(settings());
    store.begin()?;
    store.park_all(START, settings().timeout_secs)?;
    store.commit(START)?;
    let mut cursor = Some(Cursor::START);
    while let Some(after) = cursor {
        let page = store.page(after, PAGE)?;
        cursor = page.next;
        for record in page.records {
            let (id, v4, v6) = (record.id, record.inner_v4, record.inner_v6);
            let Some(owner) = table.restore(record) else { continue };
            if !pools.reserve(owner, v4, v6) {
                table.address_is_gone(owner, &id);
            }
        }
    }
    Ok(table)
}

fn settings() -> Settings {
    Settings {
        enabled: true,
        timeout_secs: 1800,
        token_policy: TokenPolicy::Rotate,
        rotate_grace_secs: 120,
        max_inactive: 4 << 20,
        per_user_max: 5,
        on_client_delete: OnClientDelete::Remove,
        on_token_replay: OnTokenReplay::Kill,
        reclaim: false,
        allow_active_takeover: true,
        dpd_interval_secs: 45,
        attributes: ReconnectAttributes::LAB,
    }
}

fn pools() -> Result<AddressPools, String> {
    let pool = config::Pool {
        name: "clients".into(),
        range: Some(parse(POOL)?),
        range6: None,
        first: None,
        last: None,
        dns: vec![],
        subnets: vec![],
        traffic_selectors: config::TrafficSelectors::Subnets,
    };
    AddressPools::new(&[pool], &[]).map_err(|error| error.to_string())
}

fn endpoint(count: u32) -> Result<EndpointConfig, String> {
    let (_, _, identity) = setup::gateway_identity()?;
    Ok(EndpointConfig {
        identity,
        certificate_request: None,
        methods: Methods { eap: false, anyconnect_eap: false, certificate: false, psk: false, resume: true },
        idr_mismatch: IdrMismatch::AnswerOwn,
        ike_proposals: vec![parse("aes256gcm16-prfsha384-x25519-ecp256")?],
        esp: EspPolicy {
            suites: vec![parse("aes256gcm16")?],
            prefer_esn: true,
            groups: vec![Group::Curve25519],
            require_pfs: false,
        },
        allow_without_address: false,
        lifetimes: Lifetimes::default(),
        timing: Timing::default(),
        limits: Limits {
            // Room for those that come again before their predecessor is forgotten.
            sessions: (count as usize).saturating_mul(2),
            // Small storms meet cookies too.
            cookie_threshold: Limits::default().cookie_threshold.min(count as usize / COOKIE_DIVISOR),
            ..Limits::default()
        },
        fragment_size: 1280,
        cisco: CiscoPolicy::default(),
        extensions: ExtensionPolicy::default(),
        ppk: causeway_ike::ppk::PpkPolicy::default(),
    })
}
