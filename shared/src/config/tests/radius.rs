//! The keys of RADIUS: off unless there is a server, typed values, and what each wrong combination says.

use super::*;

const RADIUS: &str = r#"
[aaa]
max_sessions_per_user = 2
on_session_limit = "replace"
[aaa.lockout]
user_failures = 3
[aaa.radius]
timeout_ms = 500
group_attribute = "class"
interim_secs = 60
[[aaa.radius.server]]
address = "192.0.2.50"
secret = "0123456789abcdef-long"
[[aaa.radius.server]]
address = "2001:db8::50"
port = 11812
accounting_port = 0
secret_file = "radius.secret"
[aaa.radius.dynamic]
listen = "192.0.2.1"
require_event_timestamp = false
[management]
"#;

fn with_radius() -> String {
    let text = GOOD.replace(r#"methods = ["eap-mschapv2", "psk"]"#, r#"methods = ["eap-radius", "psk"]"#);
    let (before, after) = text.split_once("[[user]]").unwrap();
    let (_, after) = after.split_once("[management]\n").unwrap();
    format!("{before}{RADIUS}{after}")
}

#[test]
fn without_a_server_nobody_is_asked_told_or_listened_to() {
    let radius = check_plain(GOOD).config.unwrap().radius;
    assert!(radius.servers.is_empty() && radius.accounting.is_none() && radius.dynamic.is_none());
}

#[test]
fn servers_become_typed_values() {
    let checked = check_plain(&with_radius());
    assert_eq!(checked.warnings, []);
    let config = checked.config.unwrap();
    assert_eq!(config.auth.methods, [AuthMethod::EapRadius, AuthMethod::Psk]);
    let radius = &config.radius;
    assert_eq!((radius.nas_identifier.as_str(), radius.nas_address), ("vpn.example.com", None));
    assert_eq!((radius.timeout_ms, radius.tries, radius.dead_secs), (500, 3, 60));
    assert_eq!(radius.group_attribute, GroupAttribute::Class);
    let [first, second] = radius.servers.as_slice() else { panic!("two servers") };
    assert_eq!((first.address, first.port, first.accounting_port), ([192, 0, 2, 50].into(), 1812, 1813));
    assert_eq!(first.secret.0, b"0123456789abcdef-long");
    assert_eq!((second.address.is_ipv6(), second.port, second.accounting_port), (true, 11812, 0));
    let accounting = radius.accounting.as_ref().unwrap();
    assert_eq!((accounting.interim_secs, accounting.on_suspend), (60, OnSuspend::Interim));
    assert_eq!(accounting.queue_file, Some(PathBuf::from("/var/lib/causeway/accounting.db")));
    let dynamic = radius.dynamic.unwrap();
    assert_eq!((dynamic.listen, dynamic.port), ([192, 0, 2, 1].into(), 3799));
    assert!(dynamic.require_message_authenticator && !dynamic.require_event_timestamp);
    assert_eq!((config.aaa.max_sessions_per_user, config.aaa.on_session_limit), (2, OnSessionLimit::Replace));
    assert_eq!((config.lockout.user_failures, config.lockout.source_failures), (3, 100));
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "secrets are not printed");
}

#[test]
fn wrong_combinations_name_the_rule() {
    let good = with_radius();
    for (from, to, expected) in [
        (
            "secret = \"0123456789abcdef-long\"\n[[aaa",
            "[[aaa",
            "aaa.radius.server[1]: has no secret; add `secret_file",
        ),
        (
            "port = 11812",
            "port = 11812\nsecret = \"0123456789abcdef\"",
            "secret_file: stands beside `secret`",
        ),
        (
            "interim_secs = 60",
            "interim_secs = 59",
            "aaa.radius.interim_secs: 59 is too small; write 60 or more, or 0 for none",
        ),
        ("\"192.0.2.50\"", "\"radius.example.com\"", "`radius.example.com` is not an IP address"),
        ("group_attribute = \"class\"", "group_attribute = \"clas\"", "did you mean \"class\"?"),
        ("user_failures = 3", "failures = 3", "unknown key"),
        (
            "timeout_ms = 500",
            "timeout_ms = 5",
            "5 is out of range; write a number from 100 to 30000 (milliseconds)",
        ),
    ] {
        let told = mistakes(&good.replacen(from, to, 1)).join("\n");
        assert!(told.contains(expected), "{from} -> {to}: {told}");
    }
    let (before, after) = good.split_once("[[aaa.radius.server]]").unwrap();
    let (_, after) = after.split_once("[aaa.radius.dynamic]").unwrap();
    let nobody = format!("{before}[aaa.radius.dynamic]{after}");
    let told = mistakes(&nobody).join("\n");
    assert!(told.contains("names `eap-radius`, but there is no RADIUS server that takes logins"), "{told}");
}
