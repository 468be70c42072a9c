//! The whole way of a file: what a good one gives, what each mistake says and where, and that example, manual and parser agree.
//!
//! Long because the mistakes are one table: what is written, what is said, and where.

mod access;
mod ipv6;
mod radius;
mod sealed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::sa::EspSuite;

const GOOD: &str = r#"[gateway]
identity = "vpn.example.com"
[dataplane]
cores = [1, 2]
[[port]]
name = "wan"
device = "net_af_packet0,iface=wan0"
role = "outside"
address = "192.0.2.1/24"
[[port]]
name = "lan"
device = "net_af_packet1,iface=lan0"
role = "inside"
address = "10.0.0.1/24"
[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.254"
[ike]
rekey_secs = 0
[esp]
suites = ["aes256gcm16", "aes256-sha512"]
[auth]
methods = ["eap-mschapv2", "psk"]
certificate_file = "gateway.pem"
private_key_file = "gateway.key"
[[auth.psk]]
identity = "*"
secret = "0123456789abcdef-long"
[[pool]]
name = "clients"
range = "10.99.0.0/16"
dns = ["10.0.0.53"]
subnets = ["10.0.0.0/8"]
[[user]]
name = "alice"
password_nt_hash = "00112233445566778899AABBCCDDEEFF"
[management]
[log]
filter = "info"
"#;

fn check_plain(text: &str) -> Checked {
    check_text(text, Path::new("causeway.toml"), &Checks { files: false, ..Checks::default() })
}

fn mistakes(text: &str) -> Vec<String> {
    check_plain(text).config.err().map(|m| m.0.iter().map(Mistake::to_string).collect()).unwrap_or_default()
}

#[test]
fn a_worker_rests_as_the_file_says() {
    let adaptive = |longest_sleep_usecs| Poll::Adaptive { longest_sleep_usecs };
    for (keys, poll) in [
        ("", Poll::Full),
        ("poll = \"full\"", Poll::Full),
        ("poll = \"full\"\nidle_sleep_usecs = 0", Poll::Full),
        ("poll = \"adaptive\"", adaptive(50)),
        ("poll = \"adaptive\"\nidle_sleep_usecs = 0", adaptive(0)),
        ("poll = \"adaptive\"\nidle_sleep_usecs = 200", adaptive(200)),
        ("idle_sleep_usecs = 200", adaptive(200)),
        ("idle_sleep_usecs = 0", Poll::Full),
    ] {
        let text = GOOD.replace("cores = [1, 2]", &format!("cores = [1, 2]\n{keys}"));
        assert_eq!(check_plain(&text).config.unwrap().dataplane.poll, poll, "{keys}");
    }
}

#[test]
fn a_good_file_becomes_typed_values_and_defaults() {
    let checked = check_plain(GOOD);
    assert_eq!(checked.warnings, []);
    let config = checked.config.unwrap();
    assert_eq!(config.gateway.identity, "vpn.example.com");
    assert_eq!(config.gateway.run_directory, PathBuf::from("/run/causeway"));
    assert_eq!(config.dataplane.cores, [1, 2]);
    assert_eq!(config.dataplane.hugepages, Hugepages::Auto);
    assert_eq!((config.ports[0].role, config.ports[1].role), (PortRole::Outside, PortRole::Inside));
    assert_eq!((config.ports[1].address, config.ports[1].prefix_len), ("10.0.0.1".parse().unwrap(), 24));
    assert_eq!(config.ports[0].mtu, 1500);
    assert_eq!(config.routes[0].destination.to_string(), "0.0.0.0/0");
    assert_eq!(config.ike.rekey_secs, 0);
    assert_eq!(config.ike.proposals[0], "aes256gcm16-prfsha384-ecp384");
    assert_eq!(config.esp.suites, [EspSuite::Aes256Gcm16, EspSuite::Aes256CbcSha512]);
    assert_eq!(config.auth.methods, [AuthMethod::EapMschapv2, AuthMethod::Psk]);
    assert_eq!(config.auth.certificate_file, Some(PathBuf::from("gateway.pem")));
    assert_eq!(config.auth.psks[0].secret.0, b"0123456789abcdef-long");
    assert_eq!(config.pools[0].subnets[0].to_string(), "10.0.0.0/8");
    assert_eq!(config.users[0].nt_hash.as_ref().unwrap().0[..3], [0x00, 0x11, 0x22]);
    assert_eq!(config.management.socket, PathBuf::from("/run/causeway/api.sock"));
    assert!(!config.management.allow_key_export, "keys stay inside unless the operator says otherwise");
    assert!(!config.log.json);
}

/// Each case replaces one text in the good file and names the whole message it must bring, and no other.
#[test]
fn each_mistake_is_told_with_place_and_remedy() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "identity = \"vpn.example.com\"",
            "",
            "1:1: gateway.identity: is missing; add it under [gateway], as in `identity = \"vpn.example.com\"`",
        ),
        (
            "identity = \"vpn.example.com\"",
            "identity = \"\"",
            "2:12: gateway.identity: is empty; write a text that is not empty",
        ),
        (
            "identity = \"vpn.example.com\"",
            "identity = \"a b\"",
            "2:12: gateway.identity: holds a space; write the DNS name as the certificate has it",
        ),
        (
            "[gateway]\n",
            "[gateway]\nrun_directory = \"run\"\n",
            "2:17: gateway.run_directory: is a relative path; write a path that starts with /",
        ),
        ("cores = [1, 2]", "cores = [1, 1]", "4:9: dataplane.cores: core 1 stands there twice; remove one"),
        ("cores = [1, 2]", "cores = []", "4:9: dataplane.cores: names no core; name at least one, as in [1]"),
        (
            "cores = [1, 2]",
            "cores = [1, \"2\"]",
            "4:13: dataplane.cores: must be a whole number, found a text; write the number without quotes",
        ),
        (
            "cores = [1, 2]",
            "cores = 1",
            "4:9: dataplane.cores: must be a list, found a whole number; write the values in [ ]",
        ),
        ("cores = [1, 2]", "coers = [1, 2]", "4:1: dataplane.coers: unknown key; did you mean `cores`?"),
        (
            "cores = [1, 2]",
            "colour = 1",
            "4:1: dataplane.colour: unknown key; [dataplane] has: cores, hugepages, memory_mib, buffers, sa_capacity, poll, idle_sleep_usecs, crypto_engine, crypto_device, crypto_sessions, eal_args, control_uid, control_user",
        ),
        (
            "cores = [1, 2]",
            "sa_capacity = 5000",
            "4:15: dataplane.sa_capacity: 5000 is not a power of two; write 4096 or 8192",
        ),
        (
            "cores = [1, 2]",
            "sa_capacity = 128",
            "4:15: dataplane.sa_capacity: 128 is out of range; write a number from 256 to 1048576 (Child SAs)",
        ),
        (
            "cores = [1, 2]",
            "buffers = 1000000",
            "4:11: dataplane.buffers: 1000000 buffers take 2442 MiB, memory_mib is 512; set memory_mib to 3052 or more, or use fewer buffers",
        ),
        (
            "cores = [1, 2]",
            "eal_args = [\"--no-huge\"]",
            "4:12: dataplane.eal_args: `--no-huge` is made from this file; remove it; cores, hugepages and memory_mib say the same",
        ),
        (
            "cores = [1, 2]",
            "hugepages = \"allways\"",
            "4:13: dataplane.hugepages: unknown choice `allways`; did you mean \"always\"?",
        ),
        (
            "cores = [1, 2]",
            "idle_sleep_usecs = 1.5",
            "4:20: dataplane.idle_sleep_usecs: must be a whole number, found a fraction; write a whole number",
        ),
        (
            "cores = [1, 2]",
            "poll = \"full\"\nidle_sleep_usecs = 50",
            "5:20: dataplane.idle_sleep_usecs: contradicts poll = \"full\", which never sleeps; remove it, or write poll = \"adaptive\"",
        ),
        (
            "cores = [1, 2]",
            "cores = [1,\n2\ncores = 3",
            "6:1: : missing comma between array elements, expected `,`; correct the TOML syntax at this place",
        ),
        (
            "name = \"lan\"",
            "name = \"wan\"",
            "11:8: port[2].name: port name `wan` is already taken by port[1].name; give each entry its own, or remove one",
        ),
        (
            "\"net_af_packet1,iface=lan0\"",
            "\"lan0\"",
            "12:10: port[2].device: `lan0` is no DPDK device; write a PCI address as in \"0000:3b:00.0\", or a virtual device as in \"net_af_packet0,iface=eth0\"",
        ),
        (
            "role = \"inside\"",
            "role = \"outside\"",
            "1:1: port: no port faces inside; add a [[port]] with role = \"inside\"",
        ),
        (
            "role = \"inside\"",
            "role = \"insde\"",
            "13:8: port[2].role: unknown role `insde`; did you mean \"inside\"?",
        ),
        (
            "\"10.0.0.1/24\"",
            "\"10.0.0.1\"",
            "14:11: port[2].address: `10.0.0.1` is not an address with a prefix length; write our own address and the subnet's length, as in \"192.0.2.1/24\"",
        ),
        (
            "\"10.0.0.1/24\"",
            "\"10.0.0.0/24\"",
            "14:11: port[2].address: 10.0.0.0 is the network or broadcast address of 10.0.0.0/24; use an address between them",
        ),
        (
            "\"10.0.0.1/24\"",
            "\"192.0.2.129/25\"",
            "14:11: port[2].address: subnet 192.0.2.128/25 overlaps 192.0.2.0/24 of port[1].address; give each port its own subnet",
        ),
        (
            "\"10.0.0.1/24\"",
            "\"224.0.0.1/24\"",
            "14:11: port[2].address: 224.0.0.1 cannot be a port's address; use a unicast address",
        ),
        (
            "iface=lan0\"\n",
            "iface=lan0\"\nmtu = 100\n",
            "13:7: port[2].mtu: 100 is out of range; write a number from 576 to 9216 (octets)",
        ),
        (
            "\"192.0.2.254\"",
            "\"203.0.113.1\"",
            "17:7: route[1].via: next hop 203.0.113.1 is in no port's subnet; use a router in one of: 192.0.2.0/24, 10.0.0.0/24",
        ),
        (
            "\"192.0.2.254\"",
            "\"192.0.2.1\"",
            "17:7: route[1].via: next hop 192.0.2.1 is our own address; write the address of the next router",
        ),
        (
            "\"0.0.0.0/0\"",
            "\"10.99.1.0/24\"",
            "16:15: route[1].destination: 10.99.1.0/24 lies in pool[1].range = 10.99.0.0/16; remove the route; addresses of a pool belong to clients",
        ),
        (
            "[[route]]",
            "[route]",
            "15:1: route[1]: must be a list of sections; write [[route]] with double brackets, once for each entry",
        ),
        (
            "rekey_secs = 0",
            "rekey_secs = 5",
            "19:14: ike.rekey_secs: 5 is too small; write 10 or more, or 0 for none",
        ),
        (
            "rekey_secs = 0",
            "proposals = [\"aes256gcm16-prfsha384-ecp348\"]",
            "19:13: ike.proposals: `aes256gcm16-prfsha384-ecp348`: unknown algorithm `ecp348`; did you mean `ecp384`?",
        ),
        (
            "rekey_secs = 0",
            "cookie_threshold = 500\nhalf_open_max = 100",
            "19:20: ike.cookie_threshold: 500 is above half_open_max = 100, so no cookie is ever asked for; write 100 or less, or raise half_open_max",
        ),
        (
            "rekey_secs = 0",
            "fragment_size = 1500\n[log]",
            "39:2: : duplicate key; correct the TOML syntax at this place",
        ),
        (
            "\"aes256-sha512\"",
            "\"aes256-sha521\"",
            "21:26: esp.suites: unknown suite `aes256-sha521`; did you mean \"aes256-sha512\"?",
        ),
        (
            "\"aes256-sha512\"",
            "\"aes256gcm16\"",
            "21:10: esp.suites: `aes256gcm16` stands there twice; remove one",
        ),
        (
            "certificate_file = \"gateway.pem\"\n",
            "",
            "22:1: auth.certificate_file: is missing, and the gateway must prove itself by certificate for the methods there are; add it under [auth], as in `certificate_file = \"/etc/causeway/gateway.pem\"`",
        ),
        (
            "\"psk\"]",
            "\"psk\", \"certificate\"]",
            "22:1: auth.client_ca_file: is missing, and method `certificate` needs it; add it under [auth], as in `client_ca_file = \"/etc/causeway/clients-ca.pem\"`",
        ),
        (
            "[[auth.psk]]\nidentity = \"*\"\nsecret = \"0123456789abcdef-long\"\n",
            "",
            "23:11: auth.methods: names `psk`, but there is no key; add an [[auth.psk]]",
        ),
        (
            "secret = \"0123456789abcdef-long\"\n",
            "",
            "26:1: auth.psk[1]: has no key; add `secret_file = \"…\"` (or `secret = \"…\"`)",
        ),
        (
            "secret = \"0123456789abcdef-long\"\n",
            "secret = \"0123456789abcdef-long\"\nsecret_file = \"x\"\n",
            "29:15: auth.psk[1].secret_file: stands beside `secret`; keep one of them",
        ),
        (
            "[auth]\n",
            "[auth]\nppk_required = true\n",
            "23:16: auth.ppk_required: is true, but there is no key; add an [[auth.ppk]]",
        ),
        (
            "[[auth.psk]]\n",
            "[[auth.ppk]]\nid = \"seven\"\n\n[[auth.psk]]\n",
            "26:1: auth.ppk[1]: has no key; add `secret_file = \"…\"` (or `secret = \"…\"`)",
        ),
        (
            "[[auth.psk]]\n",
            "[[auth.ppk]]\nid = \"\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n\n[[auth.psk]]\n",
            "27:6: auth.ppk[1].id: is empty; write a text that is not empty",
        ),
        (
            "\"10.99.0.0/16\"",
            "\"10.99.0.1/16\"",
            "31:9: pool[1].range: `10.99.0.1/16` has bits set behind its prefix length; write \"10.99.0.0/16\", or correct the length",
        ),
        (
            "\"10.99.0.0/16\"",
            "\"10.99.0.0/31\"",
            "31:9: pool[1].range: 10.99.0.0/31 is too small; use a prefix length from 12 to 30",
        ),
        (
            "\"10.99.0.0/16\"",
            "\"10.0.0.128/25\"",
            "31:9: pool[1].range: 10.0.0.128/25 overlaps the subnet of port[2].address, 10.0.0.0/24; use a range of its own; hosts on the port's subnet would look for clients by ARP",
        ),
        (
            "[[user]]",
            "[[pool]]\nname = \"b\"\nrange = \"10.99.4.0/24\"\n[[user]]",
            "36:9: pool[2].range: 10.99.4.0/24 overlaps pool[1].range = 10.99.0.0/16; an address may belong to one pool only",
        ),
        (
            "\"10.0.0.53\"",
            "\"10.0.0.531\"",
            "32:8: pool[1].dns: `10.0.0.531` is not an IP address; write it as in \"192.0.2.1\" or \"2001:db8::1\"",
        ),
        (
            "password_nt_hash = \"00112233445566778899AABBCCDDEEFF\"",
            "password = \"secret\"",
            "36:1: user[1].password: unknown key; passwords are kept as hashes: `causeway user hash` prints the line `password_nt_hash = …`",
        ),
        (
            "00112233445566778899AABBCCDDEEFF",
            "hunter2",
            "36:20: user[1].password_nt_hash: is not an NT hash; run `causeway user hash` and copy the line it prints",
        ),
        (
            "[management]",
            "[[user]]\nname = \"alice\"\npassword_nt_hash = \"00112233445566778899aabbccddeeff\"\n[management]",
            "38:8: user[2].name: this user name is already taken by user[1].name; give each entry its own, or remove one",
        ),
        (
            "[management]",
            "[management]\nsocket = \"api\"",
            "38:10: management.socket: is a relative path; write a path that starts with /",
        ),
        (
            "[management]",
            "[[management]]",
            "37:1: management: must be one section; write [management] once, and its keys below it",
        ),
        (
            "[management]",
            "[management]\nlisten = \"10.0.0.1\"\nprivate_key_file = \"/k\"",
            "37:1: management.certificate_file: is missing, and `listen` needs it; add it under [management], as in `certificate_file = \"/etc/causeway/api.pem\"`",
        ),
        (
            "[management]",
            "[[management.client]]\nname = \"m\"\nrole = \"viewer\"\n[management]",
            "37:1: management.client[1]: is known by certificate, but there is no authority for certificates; set management.client_ca_file",
        ),
        (
            "[management]",
            "[management]\nclient_ca_file = \"/ca\"\n[[management.client]]\nname = \"m\"\nrole = \"root\"",
            "41:8: management.client[1].role: unknown role `root`; choose from: viewer, operator, admin",
        ),
        ("[management]", "[managment]", "37:2: managment: unknown key; did you mean `management`?"),
        (
            "filter = \"info\"",
            "filter = \"info\"\njson = \"yes\"",
            "40:8: log.json: must be true or false, found a text; write true or false, without quotes",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "the good file has no {from}");
        let found = mistakes(&GOOD.replacen(from, to, 1));
        let expected = format!("causeway.toml:{}", expected.replace(": : ", ": "));
        if !found.contains(&expected) {
            wrong.push(format!("{from} -> {to}\nexpected {expected}\nfound    {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let bad = GOOD
        .replace("cores = [1, 2]", "cores = []")
        .replace("192.0.2.254", "9.9.9.9")
        .replace("aes256-sha512", "des")
        .replace("hash = \"0011", "hash = \"zz");
    let keys: Vec<String> = check_plain(&bad).config.unwrap_err().0.into_iter().map(|m| m.key).collect();
    assert_eq!(keys, ["dataplane.cores", "route[1].via", "esp.suites", "user[1].password_nt_hash"]);
}

#[test]
fn an_unreadable_key_does_not_bring_mistakes_that_follow_from_it() {
    let bad = GOOD
        .replace("address = \"192.0.2.1/24\"", "address = 5")
        .replace("role = \"outside\"", "role = \"x\"");
    let keys: Vec<String> = check_plain(&bad).config.unwrap_err().0.into_iter().map(|m| m.key).collect();
    assert_eq!(keys, ["port[1].role", "port[1].address"]);
}

#[test]
fn an_empty_file_names_every_required_section() {
    let keys: Vec<String> = check_plain("").config.unwrap_err().0.into_iter().map(|m| m.key).collect();
    for key in ["gateway.identity", "port", "pool", "auth.certificate_file", "auth.private_key_file"] {
        assert!(keys.iter().any(|k| k == key), "{key} is not named in {keys:?}");
    }
}

#[test]
fn hooks_decide_about_proposals_and_filters() {
    let refuse = |text: &str| Err(format!("never {text}"));
    let checks = Checks { ike_proposal: Some(&refuse), log_filter: Some(&refuse), files: false, open: None };
    let text = GOOD.replace("rekey_secs = 0", "proposals = [\"anything\"]");
    let found = check_text(&text, Path::new("c"), &checks).config.unwrap_err().to_string();
    assert!(found.contains("ike.proposals: `anything`: never anything"), "{found}");
    assert!(found.contains("log.filter: `info` is not a log filter: never info"), "{found}");
}

#[test]
fn warnings_do_not_refuse_the_file() {
    for (from, to, expected) in [
        ("suites =", "replay_window = 0\nsuites =", "esp.replay_window: replay protection is off"),
        ("0123456789abcdef-long", "short", "auth.psk[1].secret: the key has fewer than 16 characters"),
        (
            "[[auth.psk]]\n",
            "[[auth.ppk]]\nid = \"seven\"\nsecret = \"not very long\"\n\n[[auth.psk]]\n",
            "auth.ppk[1].secret: the key has fewer than 32 characters",
        ),
        ("[auth]\n", "[auth]\neap_only = true\n", "auth.eap_only: is true, but none of auth.methods proves"),
        ("\"eap-mschapv2\", \"psk\"", "\"psk\"", "user[1]: is not used"),
        ("\"eap-mschapv2\", \"psk\"", "\"eap-mschapv2\"", "auth.psk[1]: is not used"),
    ] {
        let checked = check_plain(&GOOD.replacen(from, to, 1));
        assert!(checked.config.is_ok(), "{:?}", checked.config);
        let warnings: Vec<String> = checked.warnings.iter().map(Mistake::to_string).collect();
        assert!(warnings.iter().any(|w| w.contains(expected)), "{expected} is not in {warnings:?}");
    }
}

#[test]
fn files_are_opened_and_secrets_that_everybody_reads_are_named() {
    let directory = Directory::new();
    let config = directory.write(
        "causeway.toml",
        &GOOD.replace("secret = \"0123456789abcdef-long\"", "secret_file = \"key.psk\""),
        0o644,
    );
    let found = Config::load(&config).unwrap_err().to_string();
    for part in [
        ":24:20: auth.certificate_file: cannot read ",
        ":25:20: auth.private_key_file: cannot read ",
        "create the file, or correct the path",
    ] {
        assert!(found.contains(part), "{part} is not in {found}");
    }
    assert!(found.contains("auth.psk[1].secret_file"), "{found}");
    assert!(Config::load_without_files(&config).is_ok());

    directory.write("gateway.pem", "-----BEGIN PRIVATE KEY-----\n", 0o644);
    directory.write("gateway.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", 0o600);
    directory.write("key.psk", "\n", 0o600);
    let found = Config::load(&config).unwrap_err().to_string();
    for part in ["gateway.pem holds `PRIVATE KEY`", "gateway.key is encrypted", "key.psk is empty"] {
        assert!(found.contains(part), "{part} is not in {found}");
    }

    directory.write("gateway.pem", "-----BEGIN CERTIFICATE-----\n", 0o644);
    directory.write("gateway.key", "-----BEGIN EC PRIVATE KEY-----\n", 0o644);
    directory.write("key.psk", "a key of many letters\r\n", 0o600);
    let checked = check(&config, &Checks::default());
    let loaded = checked.config.unwrap();
    assert_eq!(loaded.auth.psks[0].secret.0, b"a key of many letters");
    assert_eq!(loaded.auth.private_key_file, Some(directory.0.join("gateway.key")));
    // Which cores there are is the machine's matter.
    let told = checked.warnings.iter().filter(|w| w.key != "dataplane.cores");
    let warnings: Vec<String> = told.map(Mistake::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("gateway.key holds a secret and everybody on this machine can read it"));
    assert!(warnings[1].contains("user[1].password_nt_hash") && warnings[1].contains("run `chmod o-rwx"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let found = Config::load("/nonexistent/causeway.toml").unwrap_err().to_string();
    assert!(found.starts_with("/nonexistent/causeway.toml: cannot be read: "), "{found}");
    let directory = Directory::new();
    let path = directory.0.join("latin1.toml");
    fs::write(&path, [b'#', 0xe4, b'\n']).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().ends_with("save it as UTF-8 text"));
}

#[test]
fn the_example_is_a_good_file_and_shows_every_key() {
    let text = example();
    let checked = check_plain(&text);
    assert!(checked.config.is_ok(), "{}", checked.config.unwrap_err());
    // Removing every `#` without a space gives a file that is good as well: defaults and examples are valid values.
    let active: String = text
        .lines()
        .map(|l| match l.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{l}\n"),
        })
        .collect();
    let checked = check_plain(&active);
    assert!(checked.config.is_ok(), "{}", checked.config.unwrap_err());
    for section in sections() {
        assert!(
            active.contains(&format!("\n{}\n", section.header())),
            "{} is not in the example",
            section.path
        );
        for key in section.keys {
            let shown = active.contains(&format!("\n{} = ", key.name));
            assert!(
                shown || matches!(key.presence, Presence::Optional(_)),
                "{} is not in the example",
                key.name
            );
        }
    }
}

#[test]
fn every_key_is_documented_and_defaults_are_what_the_manual_says() {
    let manual = manual();
    for section in sections() {
        assert!(manual.contains(&format!("## `{}`", section.header())));
        for key in section.keys {
            assert!(manual.contains(&format!("- **`{}`**: ", key.name)), "{}", key.name);
            assert!(key.doc.iter().all(|line| !line.is_empty()) && !key.doc.is_empty(), "{}", key.name);
            assert!(
                key.presence != Presence::Required || !key.examples.is_empty(),
                "{}.{} is required and has no example",
                section.path,
                key.name
            );
        }
    }
}

#[test]
fn the_manual_page_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let written = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == manual(),
        "docs/configuration.md is old; write it with `causeway config manual > docs/configuration.md`"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = check_plain(&text);
    }

    #[test]
    fn a_good_file_with_any_line_cut_or_doubled_never_panics(line in 0usize..40, double: bool) {
        let lines: Vec<&str> = GOOD.lines().collect();
        let mut out = String::new();
        for (i, l) in lines.iter().enumerate() {
            if i != line || double { out.push_str(l); out.push('\n'); }
            if i == line && double { out.push_str(l); out.push('\n'); }
        }
        let _ = check_plain(&out);
    }

    #[test]
    fn numbers_come_back_as_written(mtu in 576u16..=9216, secs in 10u64..=604_800) {
        let text = GOOD
            .replacen("iface=wan0\"\n", &format!("iface=wan0\"\nmtu = {}\n", mtu.max(1280)), 1)
            .replacen("rekey_secs = 0", &format!("rekey_secs = {secs}"), 1);
        let config = check_plain(&text).config.unwrap();
        prop_assert_eq!((config.ports[0].mtu, config.ike.rekey_secs), (mtu.max(1280), secs));
    }
}

/// A directory of its own for one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("causeway-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
