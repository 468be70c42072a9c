//! Profiles that are written pass the check; each change that would keep clients from coming back is found.

use causeway_shared::config::{Checks, check_text};

use super::*;

const CONFIG: &str = r#"[gateway]
identity = "vpn.example.com"
[[port]]
name = "wan"
device = "net_tap0"
role = "outside"
address = "192.0.2.1/24"
[[port]]
name = "lan"
device = "net_tap1"
role = "inside"
address = "198.51.100.1/24"
[auth]
methods = ["anyconnect-eap"]
certificate_file = "gateway.pem"
private_key_file = "gateway.key"
[reconnect]
enabled = true
[[pool]]
name = "clients"
range = "10.99.0.0/24"
"#;

fn config(text: &str) -> Config {
    let checks = Checks { files: false, ..Checks::default() };
    check_text(text, Path::new("causeway.toml"), &checks).config.unwrap()
}

fn profile() -> String {
    write::profile(&config(CONFIG), Some("IKEv2 <Gateway> & Co")).unwrap()
}

#[test]
fn what_is_written_lets_clients_come_back() {
    let text = profile();
    assert_eq!(findings(&text, Some(&config(CONFIG))), []);
    let root = xml::parse(&text).unwrap();
    let host = root.child("ServerList").and_then(|list| list.child("HostEntry")).unwrap();
    assert_eq!(host.child("HostName").unwrap().value(), "IKEv2 <Gateway> & Co");
    assert_eq!(host.child("HostAddress").unwrap().value(), "vpn.example.com");
    let unnamed = write::profile(&config(CONFIG), None).unwrap();
    assert!(unnamed.contains("<HostName>vpn.example.com</HostName>"));
    let off = write::profile(&config(&CONFIG.replace("enabled = true", "enabled = false")), None).unwrap();
    assert!(
        off.contains(
            "\">false\n      <AutoReconnectBehavior UserControllable=\"false\">DisconnectOnSuspend<"
        )
    );
    let other = config(&CONFIG.replace("anyconnect-eap", "eap-mschapv2"));
    assert!(write::profile(&other, None).unwrap_err().contains("anyconnect-eap"));
}

#[test]
fn what_keeps_clients_from_coming_back_is_named() {
    let good = profile();
    for (from, to, severity, expected) in [
        (
            "\">true\n      <AutoReconnectB",
            "\">false\n      <AutoReconnectB",
            Severity::Error,
            "AutoReconnect is `false`",
        ),
        (
            "ReconnectAfterResume",
            "DisconnectOnSuspend",
            Severity::Error,
            "AutoReconnectBehavior is `DisconnectOnSuspend`",
        ),
        (
            "<AutoReconnectBehavior UserControllable=\"false\">ReconnectAfterResume</AutoReconnectBehavior>",
            "",
            Severity::Error,
            "there is no <AutoReconnectBehavior>",
        ),
        (
            "<AutoReconnect UserControllable=\"false\">",
            "<AutoReconnect UserControllable=\"true\">",
            Severity::Warning,
            "can switch <AutoReconnect> off",
        ),
        ("IPv4,IPv6", "IPv6", Severity::Error, "speaks IPv4 only"),
        ("<PrimaryProtocol>IPsec", "<PrimaryProtocol>SSL", Severity::Error, "is `SSL`"),
        ("EAP-AnyConnect", "EAP-MSCHAPv2", Severity::Error, "logs in with `EAP-MSCHAPv2`"),
        (
            "<AuthMethodDuringIKENegotiation>EAP-AnyConnect</AuthMethodDuringIKENegotiation>",
            "",
            Severity::Error,
            "without <AuthMethodDuringIKENegotiation>",
        ),
        (
            "<HostAddress>vpn.",
            "<HostAddress>www.",
            Severity::Warning,
            "no <HostAddress> is the gateway's identity",
        ),
        ("AnyConnectProfile", "OtherProfile", Severity::Error, "the root is <OtherProfile>"),
        ("encoding/\" xmlns:xsi", "other/\" xmlns:xsi", Severity::Error, "the root is <AnyConnectProfile>"),
        ("HostEntry", "HostGone", Severity::Error, "there is no <HostEntry>"),
        ("ClientInitialization", "Initialization", Severity::Error, "there is no <ClientInitialization>"),
        (
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
            "<!DOCTYPE x>",
            Severity::Error,
            "document type declaration",
        ),
        ("</ServerList>", "", Severity::Error, "well-formed"),
    ] {
        assert!(good.contains(from), "{from}");
        let found = findings(&good.replace(from, to), Some(&config(CONFIG)));
        assert!(
            found.iter().any(|f| f.severity == severity && f.what.contains(expected) && !f.remedy.is_empty()),
            "{from} -> {to}: {found:#?}"
        );
    }
    let found = findings(&good, Some(&config(&CONFIG.replace("enabled = true", "enabled = false"))));
    assert!(found.len() == 1 && found[0].what.contains("reconnect.enabled"));
}

/// Documents lose tags on their way through the web; the words alone must not count.
#[test]
fn words_without_their_elements_do_not_count() {
    let good = profile();
    let start = good.find("<AutoReconnect ").unwrap();
    let end = good.find("</AutoReconnect>").unwrap() + "</AutoReconnect>".len();
    let lost = format!("{}true\nReconnectAfterResume{}", &good[..start], &good[end..]);
    let found = findings(&lost, None);
    assert!(found.len() == 1 && found[0].what.contains("there is no <AutoReconnect>"), "{found:#?}");
}
