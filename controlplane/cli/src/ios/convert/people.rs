//! Users, groups and pools: what AAA lists, authorization policies and local pools say. Enters: the profile's AAA commands.
//! Leaves: `[[pool]]`, `[[group]]`, `[[user]]` and `[aaa]`.

use std::net::Ipv4Addr;

use super::super::addresses::{covering, standard_source, with_netmask};
use super::super::grammar::{Key, Mode};
use super::super::parse::{Block, Setting};
use super::super::password::{self, NoPassword};
use super::network::Chain;
use super::{NO_PSK, Work};

/// Longest and shortest prefix that a pool may have.
const POOL_LENGTHS: std::ops::RangeInclusive<u8> = 12..=30;
/// Sources of users that are local.
const LOCAL: [&str; 2] = ["local", "local-case"];
const NOT_LOCAL: &str = "users are local; no RADIUS or TACACS+ server is asked";

/// `aaa authorization group …`, taken apart.
struct GroupAuthorization<'a> {
    line: usize,
    overrides: bool,
    list: &'a str,
    policy: Option<&'a str>,
}

pub(super) fn pools_and_groups(work: &mut Work<'_>, chain: &Chain<'_>) {
    let profile = work.profile;
    let authorization = group_authorization(work);
    let Some(policy) = authorization.as_ref().and_then(|authorization| authorization.policy) else {
        work.notes.refuse(
            authorization.as_ref().map_or(profile.line, |authorization| authorization.line),
            "no `aaa authorization group … list LIST POLICY` names an authorization policy, so nothing says which addresses clients get",
        );
        return;
    };
    let Some(authorization) = &authorization else { return };
    local_list(work, Key::NetworkList, authorization.list, authorization.line, &["aaa.authorize_group"]);
    let Some(block) = work.ios.find(Mode::AuthorizationPolicy, policy) else {
        work.notes
            .refuse(authorization.line, format!("there is no `crypto ikev2 authorization policy {policy}`"));
        return;
    };
    work.notes.became(block.line, &["group.name"], "a group whose users get what it says");
    let pool = pool(work, block);
    group(work, block, pool.as_deref());
    idle_time(work, chain);
    work.draft.section("[aaa]");
    work.draft.text("authorize_group", policy);
    work.notes.became(
        authorization.line,
        &["aaa.authorize_group"],
        "users without a group of their own are in this one",
    );
    user_authorization(work);
    if authorization.overrides {
        work.draft.raw("group_overrides", true);
        work.notes.became(
            authorization.line,
            &["aaa.group_overrides"],
            "`override`: the group counts before the user",
        );
    }
}

fn group_authorization<'a>(work: &mut Work<'a>) -> Option<GroupAuthorization<'a>> {
    let profile = work.profile;
    let reconnect = profile.last(Key::Reconnect).is_some();
    let mut found = None;
    for setting in profile.all(Key::GroupAuthorization) {
        let words: Vec<&str> = setting.arguments.iter().map(String::as_str).collect();
        let (overrides, words) = match words.as_slice() {
            ["override", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        match words {
            ["psk", ..] if reconnect => work.notes.refuse(setting.line, NO_PSK),
            [kind, "list", list, rest @ ..] if covers(kind, profile) => {
                let policy =
                    rest.first().copied().filter(|word| !matches!(*word, "name-mangler" | "password"));
                if rest.first() == Some(&"name-mangler") {
                    work.notes.lacks(
                        setting.line,
                        "a group is named in [[user]] or aaa.authorize_group, not cut out of a name",
                    );
                }
                found = Some(GroupAuthorization { line: setting.line, overrides, list, policy });
            }
            _ => work.notes.lacks(setting.line, "clients of this profile do not log in that way"),
        }
    }
    found
}

/// Whether an AAA command for one kind of login is about the profile's clients.
fn covers(kind: &str, profile: &Block) -> bool {
    let has = |key| profile.last(key).is_some();
    match kind {
        "any" => true,
        "anyconnect-eap" => has(Key::RemoteAnyconnect),
        "eap" => has(Key::RemoteEap),
        "cert" => has(Key::RemoteSignature),
        "psk" => has(Key::RemotePsk),
        _ => false,
    }
}

fn user_authorization(work: &mut Work<'_>) {
    let profile = work.profile;
    let reconnect = profile.last(Key::Reconnect).is_some();
    let mut cached = false;
    for setting in profile.all(Key::UserAuthorization) {
        match (setting.argument(0), setting.argument(1)) {
            ("psk", _) if reconnect => work.notes.refuse(setting.line, NO_PSK),
            (kind, "cached") if covers(kind, profile) => {
                cached = true;
                work.notes.became(
                    setting.line,
                    &["aaa.user_attributes_cached"],
                    "what a [[user]] says counts, as it was found at the login",
                );
            }
            (_, "list") => work.notes.lacks(setting.line, NOT_LOCAL),
            _ => work.notes.lacks(setting.line, "clients of this profile do not log in that way"),
        }
    }
    work.draft.raw("user_attributes_cached", cached);
}

/// Explains the AAA list that a profile names; whether it is local.
fn local_list(work: &mut Work<'_>, key: Key, name: &str, used_at: usize, keys: &[&str]) -> bool {
    let Some(list) = work.ios.globals(key).filter(|list| list.argument(0) == name).last() else {
        work.notes.refuse(used_at, format!("there is no AAA list `{name}`"));
        return false;
    };
    let local = list.arguments.iter().skip(1).any(|method| LOCAL.contains(&method.as_str()));
    if local {
        work.notes.became(list.line, keys, "what this file says itself is asked");
    } else {
        work.notes.refuse(list.line, NOT_LOCAL);
    }
    local
}

/// `[[pool]]` of the policy; gives its name.
fn pool(work: &mut Work<'_>, policy: &Block) -> Option<String> {
    let Some(reference) = policy.last(Key::Pool) else {
        work.notes.refuse(policy.line, "the policy names no pool, so clients would get no address");
        return None;
    };
    let name = reference.argument(0);
    let Some(pool) = work.ios.globals(Key::LocalPool).find(|pool| pool.argument(0) == name) else {
        work.notes.refuse(reference.line, format!("there is no `ip local pool {name}`"));
        return None;
    };
    let first: Option<Ipv4Addr> = pool.argument(1).parse().ok();
    let last: Option<Ipv4Addr> = match pool.argument(2) {
        "" => first,
        text => text.parse().ok(),
    };
    let (Some(first), Some(last)) = (first, last) else {
        work.notes.refuse(pool.line, "the addresses cannot be read");
        return None;
    };
    if first > last {
        work.notes.refuse(pool.line, "the last address comes before the first");
        return None;
    }
    let range =
        covering(first, last, *POOL_LENGTHS.end()).filter(|range| POOL_LENGTHS.contains(&range.length));
    let Some(range) = range else {
        work.notes.refuse(pool.line, "no prefix of 12 bits or more holds the first and the last address");
        return None;
    };
    work.draft.section("[[pool]]");
    work.draft.text("name", name);
    work.draft.text("range", &range.to_string());
    work.draft.text("first", &first.to_string());
    work.draft.text("last", &last.to_string());
    work.notes.became(
        pool.line,
        &["pool.name", "pool.range", "pool.first", "pool.last"],
        format!("the same addresses; {range} is the smallest prefix around them"),
    );
    work.notes.became(reference.line, &["group.pool"], "the same");
    Some(name.to_owned())
}

fn group(work: &mut Work<'_>, policy: &Block, pool: Option<&str>) {
    work.draft.section("[[group]]");
    work.draft.text("name", &policy.name);
    if let Some(pool) = pool {
        work.draft.text("pool", pool);
    }
    if let Some(dns) = policy.last(Key::Dns) {
        work.draft.list("dns", &dns.arguments);
        work.notes.became(dns.line, &["group.dns"], "the same");
    }
    if let Some(domain) = policy.last(Key::Domain) {
        work.draft.text("domain", domain.argument(0));
        work.notes.became(domain.line, &["group.domain"], "the client's default domain");
    }
    subnets(work, policy);
    if let Some(banner) = policy.last(Key::Banner) {
        work.draft.text("banner", &undelimited(&banner.arguments.join(" ")));
        work.notes.became(banner.line, &["group.banner"], "the same text");
    }
    if let Some(lifetime) = policy.last(Key::SessionLifetime) {
        match lifetime.argument(0).parse::<u64>() {
            Ok(secs) => {
                work.draft.raw("session_lifetime_secs", secs);
                work.notes.became(lifetime.line, &["group.session_lifetime_secs"], "the same");
            }
            Err(_) => work.notes.refuse(lifetime.line, "it is 120 to 25920000 seconds"),
        }
    }
}

/// IOS ends the Child SA of who carries nothing, and with it a remote-access session.
fn idle_time(work: &mut Work<'_>, chain: &Chain<'_>) {
    let of_profile = chain.ipsec.and_then(|ipsec| ipsec.last(Key::IdleTime));
    let Some(setting) = of_profile.or(work.ios.globals(Key::IdleTime).last()) else { return };
    match setting.argument(0).parse::<u64>() {
        Ok(secs) => {
            work.draft.raw("idle_secs", secs);
            work.notes.became(
                setting.line,
                &["group.idle_secs"],
                "a session that carries nothing for so long ends for good, and its client is told",
            );
        }
        Err(_) => work.notes.refuse(setting.line, "it is 60 to 86400 seconds"),
    }
}

/// What a split route becomes.
const ROUTE_KEYS: [&str; 2] = ["group.subnets", "group.traffic_selectors"];
const ROUTES_ONLY: &str = "told to the client as INTERNAL_IP4_SUBNET; as on IOS these are its routes and no limit: the traffic \
                           selectors stay 0.0.0.0/0 (write \"subnets\" to hold clients to these networks)";

/// Split routes: each permitted network of the access list is told to the client as INTERNAL_IP4_SUBNET.
fn subnets(work: &mut Work<'_>, policy: &Block) {
    let mut subnets: Vec<String> = Vec::new();
    let mut split = false;
    for setting in policy.all(Key::RouteSet) {
        let address = |index| setting.argument(index).parse::<Ipv4Addr>().ok();
        match address(0).zip(address(1)).and_then(|(network, mask)| with_netmask(network, mask)) {
            Some(prefix) => {
                split = true;
                subnets.push(prefix.to_string());
                work.notes.became(setting.line, &ROUTE_KEYS, ROUTES_ONLY);
            }
            None => work.notes.refuse(setting.line, "network and mask cannot be read"),
        }
    }
    for setting in policy.all(Key::RouteSetAcl) {
        let name = setting.argument(0);
        let Some(list) = work.ios.find(Mode::AccessList, name) else {
            work.notes.refuse(setting.line, format!("there is no `ip access-list standard {name}`"));
            continue;
        };
        split = true;
        work.notes.became(setting.line, &ROUTE_KEYS, ROUTES_ONLY);
        work.notes.became(list.line, &["group.subnets"], "its permitted networks are the split tunnel");
        for entry in &list.settings {
            match (entry.key, standard_source(&entry.arguments)) {
                (Key::Permit, Some(prefix)) => {
                    subnets.push(prefix.to_string());
                    work.notes.became(entry.line, &["group.subnets"], format!("it is {prefix}"));
                }
                (Key::Permit, None) => work
                    .notes
                    .refuse(entry.line, "it is no network: the wildcard has holes, or an address is wrong"),
                _ => work
                    .notes
                    .lacks(entry.line, "a split tunnel lists what is in it; nothing can be taken out"),
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    subnets.retain(|subnet| seen.insert(subnet.clone()));
    // One of them may be everything, and that is what the empty list says.
    if subnets.iter().any(|subnet| subnet == "0.0.0.0/0") {
        subnets.clear();
    }
    if split {
        work.draft.list("subnets", &subnets);
        work.draft.text("traffic_selectors", "any");
    }
}

/// A banner stands between two equal characters, or between `^C` and `^C`.
fn undelimited(text: &str) -> String {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix("^C") {
        return inner.trim_end_matches("^C").trim().to_owned();
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next_back()) {
        (Some(first), Some(last)) if first == last && !first.is_alphanumeric() => {
            chars.as_str().trim().to_owned()
        }
        _ => text.to_owned(),
    }
}

pub(super) fn users(work: &mut Work<'_>, methods: &[String]) {
    let (ios, profile) = (work.ios, work.profile);
    let by_password = |method: &&String| matches!(method.as_str(), "anyconnect-eap" | "eap-mschapv2");
    if !methods.iter().any(|method| by_password(&method)) {
        return;
    }
    for setting in profile.all(Key::AuthenticationList) {
        if local_list(work, Key::LoginList, setting.argument(1), setting.line, &["user"]) {
            work.notes.became(setting.line, &["user"], "the [[user]] entries are asked");
        }
    }
    for user in ios.globals(Key::User) {
        self::user(work, user, methods.iter().any(|method| method == "eap-mschapv2"));
    }
}

fn user(work: &mut Work<'_>, user: &Setting, mschapv2: bool) {
    let password = match password::clear(user.arguments.get(1..).unwrap_or_default()) {
        Ok(password) => password,
        Err(NoPassword::Absent) => {
            work.notes.lacks(user.line, "the user has no password and so cannot log in");
            return;
        }
        Err(why) => {
            work.draft.section("[[user]]");
            work.draft.text("name", user.argument(0));
            let what = format!("a new password for `{}`: {why}", user.argument(0));
            work.draft.blank("password_nt_hash", "\"00112233445566778899aabbccddeeff\"", &what);
            work.notes.became(
                user.line,
                &["user.name"],
                format!("{why}; set a new one with `causeway user hash`"),
            );
            return;
        }
    };
    let hash = match crate::user::argon2_hash(&password) {
        Ok(hash) => hash,
        Err(why) => {
            work.notes.refuse(user.line, format!("the password cannot be hashed: {why}"));
            return;
        }
    };
    work.draft.section("[[user]]");
    work.draft.text("name", user.argument(0));
    let mut keys = vec!["user.name", "user.password_hash"];
    if mschapv2 {
        work.draft.text("password_nt_hash", &crate::user::nt_hash(&password));
        keys.push("user.password_nt_hash");
    }
    work.draft.text("password_hash", &hash);
    let why = "only hashes of the password are kept, made at the import; whatever rights the user has on the router do not count";
    work.notes.became(user.line, &keys, why);
}

#[cfg(test)]
mod tests {
    use super::undelimited;

    #[test]
    fn banners_lose_their_delimiters() {
        for (text, expected) in [
            ("^C Hello ^C", "Hello"),
            ("#Hello you#", "Hello you"),
            ("Hello", "Hello"),
            ("aba", "aba"),
            ("#", "#"),
            ("", ""),
        ] {
            assert_eq!(undelimited(text), expected);
        }
    }
}
