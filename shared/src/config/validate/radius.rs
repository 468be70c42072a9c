//! RADIUS: that there is a server for what needs one, that secrets can be had, and that nothing is configured in vain.

use std::path::Path;

use super::super::Checks;
use super::super::keys::{RawDynamic, RawLockout, RawRadius, RawRadiusServer};
use super::super::mistake::Notes;
use super::super::model::{
    Accounting, AuthMethod, Dynamic, Lockout, Radius, RadiusServer, Secret, Store, StoreBackend,
};
use super::super::reader::Document;
use super::auth::{SHORT_PSK, SecretKeys, read_secret};
use super::policy::zero_or_at_least;

/// Shortest time between two interim records, seconds (RFC 2869 §5.16).
const MIN_INTERIM_SECS: u64 = 60;
/// Name of the queue's file beside the session store.
const QUEUE_FILE: &str = "accounting.db";

/// Checks all of `[aaa.radius]`; gives the servers' secrets, `None` if one could not be had.
pub(super) fn check(document: &Document, checks: &Checks<'_>, notes: &mut Notes<'_>) -> Option<Vec<Secret>> {
    let Document { radius_servers: servers, radius, dynamic, auth, .. } = document;
    zero_or_at_least(&radius.interim_secs, MIN_INTERIM_SECS, notes);
    let port = |server: &RawRadiusServer| server.port.as_ref().is_none_or(|port| port.value > 0);
    if let Some(methods) = &auth.methods
        && methods.value.contains(&AuthMethod::EapRadius)
        && !servers.iter().any(port)
    {
        notes.mistake(
            &methods.place,
            "names `eap-radius`, but there is no RADIUS server that takes logins",
            "add an [[aaa.radius.server]]",
        );
    }
    if let Some(listen) = &dynamic.listen
        && listen.value.is_some()
        && servers.is_empty()
    {
        notes.warning(
            &listen.place,
            "is of no use: only RADIUS servers may end or change sessions, and there is none",
            "add an [[aaa.radius.server]], or remove it",
        );
    }
    let secrets = servers.iter().map(|server| {
        let keys = SecretKeys {
            secret: server.secret.as_ref()?,
            file: server.secret_file.as_ref()?,
            place: &server.place,
            what: "secret",
            short: SHORT_PSK,
        };
        read_secret(&keys, checks, notes)
    });
    secrets.collect::<Vec<_>>().into_iter().collect()
}

pub(super) fn radius(
    raw: RawRadius,
    dynamic: RawDynamic,
    servers: Vec<RawRadiusServer>,
    secrets: Vec<Secret>,
    (identity, store, config_file): (&str, &Store, &Path),
) -> Option<Radius> {
    let servers = servers.into_iter().zip(secrets).map(|(server, secret)| {
        Some(RadiusServer {
            address: server.address?.value,
            port: server.port?.value,
            accounting_port: server.accounting_port?.value,
            secret,
        })
    });
    let servers: Vec<_> = servers.collect::<Option<_>>()?;
    let beside_store = match store.backend {
        StoreBackend::Sqlite => Some(store.path.with_file_name(QUEUE_FILE)),
        StoreBackend::Memory => None,
    };
    let queue_file =
        raw.queue_file?.value.map(|path| super::auth::beside(config_file, &path)).or(beside_store);
    let accounting = Accounting {
        interim_secs: raw.interim_secs?.value,
        on_suspend: raw.on_suspend?.value,
        queue: raw.queue?.value as usize,
        queue_file,
    };
    let wanted = raw.accounting?.value && servers.iter().any(|server| server.accounting_port > 0);
    Some(Radius {
        nas_identifier: raw.nas_identifier?.value.unwrap_or_else(|| identity.to_owned()),
        nas_address: raw.nas_address?.value,
        timeout_ms: raw.timeout_ms?.value,
        tries: raw.tries?.value,
        dead_secs: raw.dead_secs?.value,
        group_attribute: raw.group_attribute?.value,
        accounting: wanted.then_some(accounting),
        dynamic: dynamic_authorization(dynamic)?.filter(|_| !servers.is_empty()),
        servers,
    })
}

fn dynamic_authorization(raw: RawDynamic) -> Option<Option<Dynamic>> {
    let Some(listen) = raw.listen?.value else { return Some(None) };
    Some(Some(Dynamic {
        listen,
        port: raw.port?.value,
        require_message_authenticator: raw.require_message_authenticator?.value,
        require_event_timestamp: raw.require_event_timestamp?.value,
        window_secs: raw.window_secs?.value,
    }))
}

pub(super) fn lockout(raw: RawLockout) -> Option<Lockout> {
    Some(Lockout {
        user_failures: raw.user_failures?.value,
        source_failures: raw.source_failures?.value,
        window_secs: raw.window_secs?.value,
        lock_secs: raw.lock_secs?.value,
    })
}
