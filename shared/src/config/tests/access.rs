//! The keys of remote access: defaults that change nothing, typed values, and what each wrong combination says.

use super::*;

/// The good file as a gateway for AnyConnect clients that come back.
fn remote_access() -> String {
    let text = GOOD.replace(r#"methods = ["eap-mschapv2", "psk"]"#, r#"methods = ["anyconnect-eap"]"#);
    let (before, after) = text.split_once("[[auth.psk]]").unwrap();
    let (_, after) = after.split_once("[[pool]]").unwrap();
    let text = format!("{before}[[pool]]{after}");
    let text = text.replace(
        "range = \"10.99.0.0/16\"",
        "range = \"10.99.0.0/28\"\nfirst = \"10.99.0.5\"\nlast = \"10.99.0.10\"",
    );
    text.replace("[management]\n", ACCESS)
}

const ACCESS: &str = r#"group = "staff"
address = "10.99.0.7"
[[user]]
name = "bob"
password_hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$BQyIJVwEqKO9KuJbUEIAl8bDpM1OaOyLfZdTFNBcRI8"
pool = "clients"
subnets = []
traffic_selectors = "any"
[[group]]
name = "staff"
domain = "example.com"
split_dns = ["corp.example.com", "lab.example.com"]
banner = """
Welcome.
Be kind."""
session_lifetime_secs = 86400
[aaa]
authorize_group = "staff"
[anyconnect]
groups = ["staff"]
[reconnect]
enabled = true
timeout_secs = 900
[cisco]
attributes = "capture"
session_id = 28704
token = 28705
session_data = 28706
cleanup_interval = 28707
dpd_interval = 28708
[store]
path = "/srv/sessions.db"
"#;

#[test]
fn a_file_without_the_new_keys_behaves_as_before() {
    let config = check_plain(GOOD).config.unwrap();
    let reconnect = &config.reconnect;
    assert!(!reconnect.enabled && !reconnect.reclaim && reconnect.allow_active_takeover);
    assert_eq!((reconnect.timeout_secs, reconnect.rotate_grace_secs), (1800, 120));
    assert_eq!((reconnect.max_inactive, reconnect.per_user_max), (4 * 16_384, 5));
    assert_eq!((reconnect.dpd_interval_secs, reconnect.dpd_retry_secs, reconnect.dpd_tries), (45, 2, 5));
    assert_eq!(reconnect.on_client_delete, OnClientDelete::Remove);
    assert_eq!(reconnect.on_token_replay, OnTokenReplay::Kill);
    assert_eq!(config.reconnect.token_policy, TokenPolicy::Rotate);
    assert_eq!(config.cisco.attributes, ReconnectAttributes::LAB);
    assert_eq!(config.cisco.idi_types, [201, 11]);
    assert_eq!(config.store.path, PathBuf::from("/var/lib/causeway/sessions.db"));
    assert_eq!((config.pools[0].first, config.pools[0].last), (None, None));
    assert_eq!(config.users[0].policy, Policy::default());
    let own = GOOD.replace("[dataplane]", "run_directory = \"/run/second\"\n[dataplane]");
    assert_eq!(check_plain(&own).config.unwrap().store.path, PathBuf::from("/run/second/sessions.db"));
}

#[test]
fn a_gateway_for_anyconnect_becomes_typed_values() {
    let checked = check_plain(&remote_access());
    assert_eq!(checked.warnings, []);
    let config = checked.config.unwrap();
    assert_eq!(config.auth.methods, [AuthMethod::AnyconnectEap]);
    assert!(config.reconnect.enabled);
    assert_eq!(config.reconnect.timeout_secs, 900);
    assert_eq!(config.reconnect.token_policy, TokenPolicy::Stable);
    assert_eq!(config.cisco.attributes.cleanup_interval, 28_707);
    assert_eq!(config.groups[0].policy.banner.as_deref(), Some("Welcome.\nBe kind."));
    let domains = config.groups[0].policy.split_dns.as_deref().unwrap_or_default();
    assert_eq!(domains, ["corp.example.com", "lab.example.com"]);
    assert_eq!(config.pools[0].first, Some("10.99.0.5".parse().unwrap()));
    let [alice, bob] = config.users.as_slice() else { panic!("two users") };
    assert_eq!((alice.group.as_deref(), alice.address), (Some("staff"), Some("10.99.0.7".parse().unwrap())));
    assert!(bob.nt_hash.is_none() && bob.password_hash.is_some());
    assert_eq!(bob.policy.subnets.as_deref(), Some(&[][..]), "empty is everything, absent is the group's");
    assert_eq!(alice.policy.subnets, None);
    assert_eq!(bob.policy.traffic_selectors, Some(TrafficSelectors::Any));
    assert_eq!(alice.policy.traffic_selectors, None);
    assert_eq!(config.pools[0].traffic_selectors, TrafficSelectors::Subnets, "the safe one unless told");
    assert_eq!(config.store, Store { backend: StoreBackend::Sqlite, path: "/srv/sessions.db".into() });
}

#[test]
fn wrong_combinations_name_the_rule() {
    let good = remote_access();
    for (from, to, expected) in [
        (
            "methods = [\"anyconnect-eap\"]",
            "methods = [\"anyconnect-eap\", \"psk\"]",
            "auth.methods: names `psk`, and reconnect is on: a client that comes back proves itself with its session token",
        ),
        (
            "timeout_secs = 900",
            "timeout_secs = 599",
            "599 is out of range; write a number from 600 to 86400 (seconds)",
        ),
        ("token = 28705", "", "cisco.token: is missing, and `attributes` is \"capture\""),
        ("token = 28705", "token = 28704", "cisco.token: 28704 is already taken by cisco.session_id"),
        ("token = 28705", "token = 3", "cisco.token: 3 is out of range; write a number from 16384 to 32767"),
        ("[cisco]", "[cisco]\nidi_types = []", "cisco.idi_types: is empty"),
        ("[cisco]", "[cisco]\nidi_types = [201, 201]", "ID type 201 stands there twice"),
        ("[cisco]", "[cisco]\nidi_types = [0]", "0 is out of range; write a number from 1 to 255"),
        (
            "group = \"staff\"",
            "group = \"stuff\"",
            "user[1].group: there is no [[group]] `stuff`; did you mean `staff`?",
        ),
        (
            "authorize_group = \"staff\"",
            "authorize_group = \"x\"",
            "aaa.authorize_group: there is no [[group]] `x`; add a [[group]]",
        ),
        ("groups = [\"staff\"]", "groups = [\"x\"]", "anyconnect.groups: there is no [[group]] `x`"),
        ("pool = \"clients\"", "pool = \"p\"", "user[2].pool: there is no [[pool]] `p`"),
        (
            "address = \"10.99.0.7\"",
            "address = \"10.99.0.4\"",
            "user[1].address: no pool gives out 10.99.0.4",
        ),
        (
            "pool = \"clients\"",
            "address = \"10.99.0.7\"",
            "user[2].address: 10.99.0.7 is already taken by user[1].address",
        ),
        ("last = \"10.99.0.10\"", "last = \"10.99.0.4\"", "pool[1].last: 10.99.0.4 comes before 10.99.0.5"),
        ("last = \"10.99.0.10\"", "last = \"10.98.0.10\"", "pool[1].last: 10.98.0.10 is not in 10.99.0.0/28"),
        (
            "session_lifetime_secs = 86400",
            "session_lifetime_secs = 119",
            "119 is too small; write 120 or more, or 0 for none",
        ),
        ("session_lifetime_secs = 86400", "idle_secs = 59", "group[1].idle_secs: 59 is too small"),
        ("domain = \"example.com\"", "domain = \"a b\"", "group[1].domain: is no domain name"),
        ("\"corp.example.com\"", "\"a,b\"", "group[1].split_dns: `a,b` is no domain name"),
        ("\"corp.example.com\"", "\"lab.example.com\"", "group[1].split_dns: `lab.example.com`"),
        ("domain = \"example.com\"", "dns = [\"0.0.0.0\"]", "group[1].dns: 0.0.0.0 cannot be a DNS server"),
        ("Be kind.", "Be \\u0007 kind.", "group[1].banner: holds a control character"),
        (
            "[anyconnect]",
            "[anyconnect]\ncertificate = \"required\"",
            "auth.client_ca_file: is missing, and `anyconnect.certificate` needs it",
        ),
        (
            "password_hash = \"$argon2id$",
            "password_hash = \"$bcrypt$",
            "user[2].password_hash: is no argon2 hash: it names another algorithm",
        ),
        (
            "password_nt_hash = \"00112233445566778899AABBCCDDEEFF\"",
            "",
            "user[1].password_nt_hash: is missing",
        ),
        ("path = \"/srv/", "path = \"srv/", "store.path: is a relative path"),
    ] {
        assert!(good.contains(from), "the file has no {from}");
        let found = mistakes(&good.replacen(from, to, 1));
        assert!(
            found.len() <= 3 && found.iter().any(|m| m.contains(expected)),
            "{from} -> {to}\nexpected {expected}\nfound {found:#?}"
        );
    }
    let pool = good.replacen("pool = \"clients\"", "pool = \"clients\"\naddress = \"10.99.0.11\"", 1);
    assert_eq!(
        mistakes(&pool).first().map(|m| m.contains("pool `clients` does not give out 10.99.0.11")),
        Some(true)
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let good = remote_access();
    for (from, to, expected) in [
        ("attributes = \"capture\"", "attributes = \"lab\"", "cisco.token: is not used"),
        ("[\"anyconnect-eap\"]", "[\"eap-mschapv2\"]", "reconnect.enabled: has no effect"),
        (
            "[\"anyconnect-eap\"]",
            "[\"anyconnect-eap\", \"eap-mschapv2\"]",
            "user[2].password_hash: is of no use to `eap-mschapv2`",
        ),
        ("[store]", "[store]\nbackend = \"memory\"", "store.path: is not used"),
    ] {
        assert!(good.contains(from), "the file has no {from}");
        let checked = check_plain(&good.replacen(from, to, 1));
        assert!(checked.config.is_ok(), "{:?}", checked.config);
        let warnings: Vec<String> = checked.warnings.iter().map(Mistake::to_string).collect();
        assert!(warnings.iter().any(|w| w.contains(expected)), "{expected} is not in {warnings:?}");
    }
}

/// The good file with these methods, and keys of `[eap]`.
fn with_eap(methods: &str, eap: &str) -> String {
    let text =
        GOOD.replace(r#"methods = ["eap-mschapv2", "psk"]"#, &format!("methods = [{methods}, \"psk\"]"));
    text.replace("[management]\n", &format!("[eap]\n{eap}\n[management]\n"))
}

#[test]
fn eap_methods_stand_in_the_operators_order() {
    let text = with_eap(
        r#""eap-tls", "eap-peap", "eap-ttls", "eap-gtc", "eap-mschapv2""#,
        "inner_methods = [\"eap-gtc\", \"eap-mschapv2\"]\npeap_crypto_binding = \"required\"\ntls_versions = [\"1.3\"]",
    );
    let text = text.replace("[auth]\n", "[auth]\nclient_ca_file = \"clients.pem\"\n");
    let checked = check_plain(&text);
    assert_eq!(checked.warnings, []);
    let config = checked.config.unwrap();
    use AuthMethod::{EapGtc, EapMschapv2, EapPeap, EapTls, EapTtls, Psk};
    assert_eq!(config.auth.methods, [EapTls, EapPeap, EapTtls, EapGtc, EapMschapv2, Psk]);
    assert_eq!(config.auth.methods.iter().filter(|method| method.is_local_eap()).count(), 5);
    assert_eq!(config.eap.inner_methods, [InnerMethod::Gtc, InnerMethod::Mschapv2]);
    assert_eq!(config.eap.peap_crypto_binding, PeapBinding::Required);
    assert_eq!(config.eap.tls_versions, [TlsVersion::V13]);
    assert_eq!(config.eap.certificate_user, CertificateUser::AlternativeName);
    assert!(!config.eap.certificate_user_listed);
}

#[test]
fn wrong_eap_methods_name_the_rule() {
    for (methods, eap, expected) in [
        (r#""eap-tls""#, "", "auth.client_ca_file: is missing, and method `eap-tls` needs it"),
        (r#""eap-gtc""#, "tls_versions = []", "eap.tls_versions: is empty; name at least one of: 1.2, 1.3"),
        (r#""eap-gtc""#, "tls_versions = [\"1.1\"]", "unknown version `1.1`; did you mean"),
        (r#""eap-ttls""#, "ttls_inner = []", "eap.ttls_inner: is empty; name at least one of: pap"),
        (
            r#""eap-peap""#,
            "inner_methods = []",
            "eap.inner_methods: is empty; name at least one of: eap-mschapv2",
        ),
        (r#""eap-ttls""#, "inner_methods = [\"eap-tls\"]", "unknown method `eap-tls`"),
        (r#""eap-peap""#, "inner_methods = [\"eap-gtc\", \"eap-gtc\"]", "eap.inner_methods"),
        (r#""eap-tsl""#, "", "did you mean \"eap-tls\"?"),
    ] {
        let told = mistakes(&with_eap(methods, eap));
        assert!(told.iter().any(|one| one.contains(expected)), "{methods} {eap}: {told:?}");
    }
    let md5 = check_plain(&with_eap(r#""eap-md5""#, ""));
    let told: Vec<String> = md5.warnings.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|one| one.contains("no [[user]] has `password_clear`")), "{told:?}");
    let clear = with_eap(r#""eap-md5""#, "")
        .replace("password_nt_hash = \"00112233445566778899AABBCCDDEEFF\"", "password_clear = \"s3cret\"");
    let checked = check_plain(&clear);
    assert_eq!(checked.warnings, []);
    assert_eq!(checked.config.unwrap().users[0].password, Some(Secret(b"s3cret".to_vec())));
}
