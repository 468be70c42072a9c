//! Remote access: that reconnect goes with the methods there are, that attribute numbers are told apart, and that groups, pools
//! and addresses named by users exist.

use std::path::Path;

use super::super::keys::{
    RawAaa, RawAnyconnect, RawCisco, RawGroup, RawPool, RawReconnect, RawStore, RawUser,
};
use super::super::mistake::{Notes, Place};
use super::super::model::{
    Aaa, Anyconnect, AttributeProfile, AuthMethod, Cisco, Group, Policy, Reconnect, ReconnectAttributes,
    Store, StoreBackend, TokenPolicy, User,
};
use super::super::reader::Document;
use super::super::schema::At;
use super::super::suggest::nearest;
use super::network::{check_dns, gives_out, present};
use super::network6::gives_out6;
use super::{no_duplicates, unique};
use crate::sa::IpPrefix;

/// Shortest life of a session, seconds (what IOS-XE takes as session lifetime).
const MIN_SESSION_SECS: u64 = 120;
/// Shortest idle time, seconds; clients probe every half minute, and people pause longer.
const MIN_IDLE_SECS: u64 = 60;
/// Longest domain name in octets (RFC 1035 §2.3.4).
const MAX_DOMAIN: usize = 253;
/// The run directory beside which `/var/lib` holds what lasts.
const DEFAULT_RUN_DIRECTORY: &str = "/run/causeway";
/// Where sessions are stored by default: what is in `/run` does not survive a restart of the machine.
const DEFAULT_STORE: &str = "/var/lib/causeway/sessions.db";
/// Name of the store beside a run directory of one's own.
const STORE_FILE: &str = "sessions.db";
/// Sessions that may wait for each Child SA there can be.
const INACTIVE_PER_SA: usize = 4;

pub(super) fn check(document: &Document, notes: &mut Notes<'_>) {
    check_reconnect(document, notes);
    check_cisco(&document.cisco, notes);
    check_anyconnect(document, notes);
    unique(
        document.groups.iter().filter_map(|g| g.name.as_ref()),
        |name| format!("group name `{name}`"),
        notes,
    );
    unique_addresses(&document.users, notes);
    for group in &document.groups {
        check_group(group, document, notes);
    }
    for user in &document.users {
        check_user(user, document, notes);
    }
    group_exists(&document.aaa.authorize_group, &document.groups, notes);
    check_store(&document.store, notes);
}

/// What a pre-shared key proves and what a session token proves must not be mixed up: IOS-XE refuses pre-shared methods,
/// keyrings and pre-shared AAA on a profile with reconnect, and so do we.
fn check_reconnect(document: &Document, notes: &mut Notes<'_>) {
    let (Some(enabled), Some(methods)) = (&document.reconnect.enabled, &document.auth.methods) else {
        return;
    };
    if !enabled.value {
        return;
    }
    if methods.value.contains(&AuthMethod::Psk) {
        notes.mistake(
            &methods.place,
            "names `psk`, and reconnect is on: a client that comes back proves itself with its session token as pre-shared \
             key, so other pre-shared keys are not possible",
            "remove \"psk\" from auth.methods, or set reconnect.enabled = false",
        );
    }
    if !methods.value.contains(&AuthMethod::AnyconnectEap) {
        notes.warning(
            &enabled.place,
            "has no effect: only clients that log in with `anyconnect-eap` ask for it",
            "add \"anyconnect-eap\" to auth.methods",
        );
    }
}

fn numbers(cisco: &RawCisco) -> [&Option<At<Option<u16>>>; 5] {
    [&cisco.session_id, &cisco.token, &cisco.session_data, &cisco.cleanup_interval, &cisco.dpd_interval]
}

fn check_cisco(cisco: &RawCisco, notes: &mut Notes<'_>) {
    if let Some(types) = &cisco.idi_types {
        no_duplicates(&types.value, &types.place, |number| format!("ID type {number}"), notes);
        if types.value.is_empty() {
            notes.mistake(&types.place, "is empty", "name at least one, as in [201, 11]");
        }
    }
    let Some(profile) = &cisco.attributes else { return };
    let mut seen: Vec<(u16, &Place)> = Vec::new();
    for number in numbers(cisco).into_iter().flatten() {
        match (number.value, profile.value) {
            (None, AttributeProfile::Capture) => notes.mistake(
                &number.place,
                "is missing, and `attributes` is \"capture\"",
                "write the attribute number that the capture shows",
            ),
            (Some(_), AttributeProfile::Lab) => notes.warning(
                &number.place,
                "is not used",
                "set attributes = \"capture\", or remove the number",
            ),
            _ => {}
        }
        let Some(value) = number.value else { continue };
        match seen.iter().find(|(other, _)| *other == value) {
            Some((_, first)) => notes.mistake(
                &number.place,
                format!("{value} is already taken by {}", first.key),
                "give each attribute its own number",
            ),
            None => seen.push((value, &number.place)),
        }
    }
}

fn check_anyconnect(document: &Document, notes: &mut Notes<'_>) {
    let Some(listed) = &document.anyconnect.groups else { return };
    no_duplicates(&listed.value, &listed.place, |name| format!("group `{name}`"), notes);
    for name in &listed.value {
        known_group(name, &listed.place, &document.groups, notes);
    }
}

fn check_group(group: &RawGroup, document: &Document, notes: &mut Notes<'_>) {
    check_policy(&group.pool, &group.dns, (&group.domain, &group.split_dns), &group.subnets, document, notes);
    for (secs, least) in [(&group.session_lifetime_secs, MIN_SESSION_SECS), (&group.idle_secs, MIN_IDLE_SECS)]
    {
        super::policy::zero_or_at_least(secs, least, notes);
    }
}

fn check_user(user: &RawUser, document: &Document, notes: &mut Notes<'_>) {
    check_policy(&user.pool, &user.dns, (&user.domain, &user.split_dns), &user.subnets, document, notes);
    group_exists(&user.group, &document.groups, notes);
    if let Some(At { value: Some(address), place }) = &user.address {
        check_own_address(user, *address, |pool| gives_out(pool, *address), place, document, notes);
    }
    if let Some(At { value: Some(address), place }) = &user.address6 {
        check_own_address(user, *address, |pool| gives_out6(pool, *address), place, document, notes);
    }
}

fn check_own_address(
    user: &RawUser,
    address: impl std::fmt::Display,
    given_out: impl Fn(&RawPool) -> bool,
    place: &Place,
    document: &Document,
    notes: &mut Notes<'_>,
) {
    let own_pool = user.pool.as_ref().and_then(|pool| pool.value.as_deref());
    let mut pools = document
        .pools
        .iter()
        .filter(|pool| own_pool.is_none_or(|own| pool.name.as_ref().is_none_or(|name| name.value == own)));
    if !document.pools.is_empty() && !pools.any(given_out) {
        let whose =
            own_pool.map_or("no pool gives out".to_owned(), |own| format!("pool `{own}` does not give out"));
        notes.mistake(
            place,
            format!("{whose} {address}"),
            "use an address of a pool, between its first and its last one",
        );
    }
}

type Optional<T> = Option<At<Option<T>>>;

fn check_policy(
    pool: &Optional<String>,
    dns: &Optional<Vec<std::net::IpAddr>>,
    (domain, split_dns): (&Optional<String>, &Optional<Vec<String>>),
    subnets: &Optional<Vec<IpPrefix>>,
    document: &Document,
    notes: &mut Notes<'_>,
) {
    if let Some(At { value: Some(name), place }) = pool {
        let names =
            || document.pools.iter().filter_map(|pool| pool.name.as_ref()).map(|name| name.value.as_str());
        known("[[pool]]", name, names().collect(), place, notes);
    }
    if let Some(At { value: Some(servers), place }) = dns {
        check_dns(servers, place, notes);
    }
    if let Some(At { value: Some(name), place }) = domain
        && !is_domain(name)
    {
        notes.mistake(place, "is no domain name", "write one as in \"example.com\"");
    }
    if let Some(At { value: Some(names), place }) = split_dns {
        no_duplicates(names, place, |name| format!("`{name}`"), notes);
        for name in names.iter().filter(|name| !is_domain(name)) {
            notes.mistake(place, format!("`{name}` is no domain name"), "write one as in \"example.com\"");
        }
    }
    if let Some(At { value: Some(subnets), place }) = subnets {
        no_duplicates(subnets, place, |subnet| subnet.to_string(), notes);
    }
}

fn is_domain(name: &str) -> bool {
    // Clients of Cisco are told a list with commas.
    !name.is_empty() && name.len() <= MAX_DOMAIN && !name.contains([',', ' ', '\t', '\n'])
}

fn group_exists(group: &Optional<String>, groups: &[RawGroup], notes: &mut Notes<'_>) {
    if let Some(At { value: Some(name), place }) = group {
        known_group(name, place, groups, notes);
    }
}

fn known_group(name: &str, place: &Place, groups: &[RawGroup], notes: &mut Notes<'_>) {
    let names =
        groups.iter().filter_map(|group| group.name.as_ref()).map(|name| name.value.as_str()).collect();
    known("[[group]]", name, names, place, notes);
}

fn known(section: &str, name: &str, names: Vec<&str>, place: &Place, notes: &mut Notes<'_>) {
    if names.contains(&name) {
        return;
    }
    let remedy = match nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("add a {section} with name = \"{name}\""),
    };
    notes.mistake(place, format!("there is no {section} `{name}`"), remedy);
}

fn unique_addresses(users: &[RawUser], notes: &mut Notes<'_>) {
    unique_among(users.iter().filter_map(|user| present(&user.address)), notes);
    unique_among(users.iter().filter_map(|user| present(&user.address6)), notes);
}

fn unique_among<'d, T: Eq + std::hash::Hash + std::fmt::Display>(
    addresses: impl Iterator<Item = (T, &'d Place)>,
    notes: &mut Notes<'_>,
) {
    let mut seen = std::collections::HashMap::new();
    for (address, place) in addresses {
        if let Some(first) = seen.get(&address) {
            notes.mistake(
                place,
                format!("{address} is already taken by {first}"),
                "give each user an address of its own",
            );
        } else {
            seen.insert(address, place.key.as_str());
        }
    }
}

fn check_store(store: &RawStore, notes: &mut Notes<'_>) {
    if let Some(At { value: Some(path), place }) = &store.path {
        if !path.is_absolute() {
            notes.mistake(place, "is a relative path", "write a path that starts with /");
        }
        if store.backend.as_ref().is_some_and(|backend| backend.value == StoreBackend::Memory) {
            notes.warning(place, "is not used", "set store.backend = \"sqlite\", or remove the path");
        }
    }
}

pub(super) fn anyconnect(raw: RawAnyconnect) -> Option<Anyconnect> {
    Some(Anyconnect {
        certificate: raw.certificate?.value,
        banner: raw.banner?.value.map(|banner| banner.0),
        title: raw.title?.value,
        message: raw.message?.value,
        groups: raw.groups?.value,
        attempts: raw.attempts?.value,
    })
}

pub(super) fn reconnect(raw: RawReconnect, profile: AttributeProfile, sa_capacity: u32) -> Option<Reconnect> {
    // Nobody knows whether Cisco's client takes up a second token; ours does.
    let policy = match profile {
        AttributeProfile::Lab => TokenPolicy::Rotate,
        AttributeProfile::Capture => TokenPolicy::Stable,
    };
    let most = raw.max_inactive?.value.map(|most| most as usize);
    Some(Reconnect {
        enabled: raw.enabled?.value,
        timeout_secs: raw.timeout_secs?.value,
        token_policy: raw.token_policy?.value.unwrap_or(policy),
        rotate_grace_secs: raw.rotate_grace_secs?.value,
        max_inactive: most.unwrap_or((sa_capacity as usize).saturating_mul(INACTIVE_PER_SA)),
        per_user_max: raw.per_user_max?.value as usize,
        on_client_delete: raw.on_client_delete?.value,
        on_token_replay: raw.on_token_replay?.value,
        reclaim: raw.reclaim?.value,
        allow_active_takeover: raw.allow_active_takeover?.value,
        dpd_interval_secs: raw.dpd_interval_secs?.value,
        dpd_retry_secs: raw.dpd_retry_secs?.value,
        dpd_tries: raw.dpd_tries?.value,
    })
}

pub(super) fn cisco(raw: RawCisco) -> Option<Cisco> {
    let attribute_profile = raw.attributes.as_ref()?.value;
    let attributes = match attribute_profile {
        AttributeProfile::Lab => ReconnectAttributes::LAB,
        AttributeProfile::Capture => ReconnectAttributes {
            session_id: raw.session_id?.value?,
            token: raw.token?.value?,
            session_data: raw.session_data?.value?,
            cleanup_interval: raw.cleanup_interval?.value?,
            dpd_interval: raw.dpd_interval?.value?,
        },
    };
    Some(Cisco {
        attributes,
        attribute_profile,
        vendor_ids: raw.vendor_ids?.value,
        idi_types: raw.idi_types?.value,
        fragmentation: raw.fragmentation?.value,
        server_cert_hash: raw.server_cert_hash?.value,
    })
}

pub(super) fn group(raw: RawGroup) -> Option<Group> {
    Some(Group {
        name: raw.name?.value,
        policy: Policy {
            pool: raw.pool?.value,
            dns: raw.dns?.value,
            domain: raw.domain?.value,
            split_dns: raw.split_dns?.value,
            subnets: raw.subnets?.value,
            traffic_selectors: raw.traffic_selectors?.value,
            banner: raw.banner?.value.map(|banner| banner.0),
        },
        session_lifetime_secs: raw.session_lifetime_secs?.value,
        idle_secs: raw.idle_secs?.value,
    })
}

pub(super) fn user(raw: RawUser) -> Option<User> {
    Some(User {
        name: raw.name?.value,
        nt_hash: raw.password_nt_hash?.value,
        password_hash: raw.password_hash?.value,
        password: raw.password_clear?.value,
        group: raw.group?.value,
        address: raw.address?.value,
        address6: raw.address6?.value,
        policy: Policy {
            pool: raw.pool?.value,
            dns: raw.dns?.value,
            domain: raw.domain?.value,
            split_dns: raw.split_dns?.value,
            subnets: raw.subnets?.value,
            traffic_selectors: raw.traffic_selectors?.value,
            banner: raw.banner?.value.map(|banner| banner.0),
        },
    })
}

pub(super) fn aaa(raw: RawAaa) -> Option<Aaa> {
    Some(Aaa {
        authorize_group: raw.authorize_group?.value,
        user_attributes_cached: raw.user_attributes_cached?.value,
        group_overrides: raw.group_overrides?.value,
        max_sessions_per_user: raw.max_sessions_per_user?.value as usize,
        on_session_limit: raw.on_session_limit?.value,
    })
}

pub(super) fn store(raw: RawStore, run_directory: &Path) -> Option<Store> {
    let path = raw.path?.value.unwrap_or_else(|| {
        // A gateway with a run directory of its own shares no sessions with the machine's main one.
        if run_directory == Path::new(DEFAULT_RUN_DIRECTORY) {
            DEFAULT_STORE.into()
        } else {
            run_directory.join(STORE_FILE)
        }
    });
    Some(Store { backend: raw.backend?.value, path })
}
