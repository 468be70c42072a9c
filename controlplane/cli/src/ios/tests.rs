//! Whole imports: the documented headend configuration, shortened words, what is refused and with which rule.

use causeway_shared::config::{AuthMethod, Checks, check_text};

use super::*;

/// The configuration of a headend for AnyConnect clients with reconnect, without indentation, as documents show it.
const HEADEND: &str = include_str!("../../tests/data/reconnect-headend.ios");

fn outcome<'a>(import: &'a Import, text: &str) -> &'a Explained {
    import.lines.iter().find(|line| line.text == text).unwrap_or_else(|| panic!("{text} is not explained"))
}

/// The import's text with its salted hashes replaced.
fn without_hashes(toml: &str) -> String {
    let hide = |line: &str| match line.split_once("\"$argon2id$") {
        Some((before, _)) => format!("{before}\"…\"\n"),
        None => format!("{line}\n"),
    };
    toml.lines().map(hide).collect()
}

/// Every `#… # fill in` line as an operator would have filled it in.
fn filled(toml: &str) -> String {
    let fill = |line: &str| match line.strip_prefix('#') {
        Some(rest) => format!("{}\n", rest.trim_end_matches(" # fill in")),
        None => format!("{line}\n"),
    };
    toml.lines().map(fill).collect()
}

#[test]
fn the_documented_headend_becomes_the_same_gateway() {
    let import = import(HEADEND, None);
    assert_eq!(import.problems, Vec::<String>::new());
    assert!(import.ok, "{:#?}", import.lines);
    assert_eq!(without_hashes(&import.toml), include_str!("../../tests/data/reconnect-headend.toml"));

    let checks = Checks { files: false, ..Checks::default() };
    let checked = check_text(&filled(&import.toml), Path::new("imported.toml"), &checks);
    let config = checked.config.unwrap();
    assert_eq!(config.auth.methods, [AuthMethod::AnyconnectEap]);
    assert_eq!((config.reconnect.enabled, config.reconnect.timeout_secs), (true, 900));
    assert_eq!((config.reconnect.dpd_interval_secs, config.reconnect.dpd_retry_secs), (45, 2));
    assert_eq!(config.users[0].name, "test");
    assert_eq!(config.aaa.authorize_group.as_deref(), Some("ikev2-auth-policy"));
    assert!(config.aaa.user_attributes_cached && !config.aaa.group_overrides);
    let blanks: Vec<&str> = import.blanks.iter().map(|blank| blank.key.as_str()).collect();
    assert_eq!(
        blanks,
        [
            "gateway.identity",
            "port.device",
            "port.address",
            "port.device",
            "port.address",
            "auth.certificate_file",
            "auth.private_key_file"
        ]
    );
}

#[test]
fn every_line_of_the_documented_headend_is_explained() {
    let import = import(HEADEND, None);
    let said = HEADEND.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('!')).count();
    assert_eq!(import.lines.len(), said);
    for line in &import.lines {
        let known = matches!(line.outcome, Outcome::Became | Outcome::Holds | Outcome::NoEquivalent);
        assert!(known && !line.why.is_empty(), "{line:?}");
        assert!(!line.why.contains("does not refer to it"), "{line:?}");
        assert_eq!(line.outcome == Outcome::Became, !line.keys.is_empty(), "{line:?}");
        assert!(!line.text.contains("cisco") || line.text.contains("secure-client"), "{line:?}");
    }
    for (text, expected, part) in [
        ("username test password 0 ***", Outcome::Became, "hashes"),
        ("encryption aes-cbc-256", Outcome::Became, "same"),
        ("virtual-template 10", Outcome::Holds, "Virtual-Access"),
        ("no crypto ikev2 http-url cert", Outcome::Holds, "HTTP_CERT_LOOKUP"),
        ("anyconnect profile acvpn", Outcome::NoEquivalent, "causeway profile anyconnect"),
        ("ip unnumbered GigabitEthernet1", Outcome::Became, "outside port"),
        ("route set access-list split_tunnel", Outcome::Became, "INTERNAL_IP4_SUBNET"),
        ("route set access-list split_tunnel", Outcome::Became, "selectors stay 0.0.0.0/0"),
    ] {
        let line = outcome(&import, text);
        assert!(line.outcome == expected && line.why.contains(part), "{line:?}");
    }
}

#[test]
fn indentation_and_abbreviations_change_nothing() {
    let expected = without_hashes(&import(HEADEND, None).toml);
    let opens = |line: &str| {
        [
            "aaa new",
            "aaa authentication login",
            "aaa authorization network",
            "username",
            "ip l",
            "ip a",
            "crypto",
            "no ",
            "interface",
        ]
        .iter()
        .any(|start| line.starts_with(start))
    };
    let indented: String = HEADEND
        .lines()
        .map(|l| if opens(l) || l == "!" { format!("{l}\n") } else { format!(" {l}\n") })
        .collect();
    assert_eq!(without_hashes(&import(&indented, None).toml), expected);
    let mut short = HEADEND.to_owned();
    for (long, abbreviated) in [
        ("crypto ikev2 profile", "cry ikev2 prof"),
        ("crypto ipsec transform-set", "cry ipsec trans"),
        ("ip local pool", "ip loc po"),
        ("authentication remote anyconnect-eap aggregate", "auth rem any agg"),
        ("reconnect timeout", "recon time"),
        ("set ikev2-profile", "set ikev2-pr"),
        ("encryption", "enc"),
        ("def-domain", "def"),
    ] {
        assert!(short.contains(long));
        short = short.replace(long, abbreviated);
    }
    assert_eq!(without_hashes(&import(&short, None).toml), expected);
}

#[test]
fn wrong_combinations_are_refused_with_the_rule() {
    let rule = "token as pre-shared key";
    for (from, to, line, part) in [
        (
            "authentication local rsa-sig",
            "authentication local pre-share key 0 abc",
            "authentication local pre-share key 0 ***",
            rule,
        ),
        (
            "pki trustpoint",
            "authentication remote pre-share\npki trustpoint",
            "authentication remote pre-share",
            rule,
        ),
        ("pki trustpoint", "keyring local K\npki trustpoint", "keyring local K", rule),
        (
            "virtual-template 10",
            "aaa authorization group psk list L P\nvirtual-template 10",
            "aaa authorization group psk list L P",
            rule,
        ),
        (
            "virtual-template 10",
            "aaa authorization user psk cached\nvirtual-template 10",
            "aaa authorization user psk cached",
            rule,
        ),
        ("reconnect timeout 900", "reconnect timeout 599", "reconnect timeout 599", "600 to 86400"),
        (
            "authentication local rsa-sig\n",
            "",
            "crypto ikev2 profile AnyConnect-EAP",
            "no `authentication local`",
        ),
        (
            "match identity remote key-id *$AnyConnectClient$*\n",
            "",
            "crypto ikev2 profile AnyConnect-EAP",
            "no `match identity remote`",
        ),
        ("pool ACPOOL\n", "pool OTHER\n", "pool OTHER", "there is no `ip local pool OTHER`"),
        (
            "192.168.20.5 192.168.20.10",
            "192.168.20.5 192.168.20.4",
            "ip local pool ACPOOL 192.168.20.5 192.168.20.4",
            "comes before",
        ),
        ("0.0.0.255", "0.255.0.255", "10 permit 192.168.10.0 0.255.0.255", "wildcard has holes"),
        (
            "esp-sha384-hmac",
            "esp-md5-hmac",
            "crypto ipsec profile AnyConnect-EAP",
            "none of its transform sets",
        ),
        (
            "login a-eap-authen-local local",
            "login a-eap-authen-local group RAD",
            "aaa authentication login a-eap-authen-local group RAD",
            "no RADIUS",
        ),
        (
            "proposal default\n!\n!",
            "proposal other\n!\n!",
            "proposal other",
            "there is no `crypto ikev2 proposal`",
        ),
        (
            "set transform-set TSET",
            "set transform-set NONE",
            "set transform-set NONE",
            "there is no transform set `NONE`",
        ),
        (
            "virtual-template 10",
            "virtual-template 11",
            "virtual-template 11",
            "there is no `interface Virtual-Template`",
        ),
    ] {
        assert!(HEADEND.contains(from), "{from}");
        let import = import(&HEADEND.replacen(from, to, 1), None);
        let line = outcome(&import, line);
        assert!(line.outcome == Outcome::Refused && line.why.contains(part), "{line:?}");
        assert!(!import.ok && import.toml.is_empty());
    }
    assert!(import("hostname r\n", None).problems[0].contains("there is no `crypto ikev2 profile`"));
    assert!(import(HEADEND, Some("x")).problems[0].contains("crypto ikev2 profile x"));
}

#[test]
fn what_has_no_equivalent_or_is_unknown_is_listed() {
    for (from, to, line, expected, part) in [
        (
            "aaa new-model",
            "aaa new-model\nfrobnicate 7",
            "frobnicate 7",
            Outcome::NotUnderstood,
            "nothing is known",
        ),
        (
            "group 19 14 21",
            "group 19 5 24",
            "group 19 5 24",
            Outcome::Became,
            "left out, too weak or not there: 5, 24",
        ),
        (
            "def-domain example.com",
            "wins 10.0.0.1",
            "wins 10.0.0.1",
            Outcome::NoEquivalent,
            "no key for this setting",
        ),
        ("match fvrf any", "match fvrf blue", "match fvrf blue", Outcome::NoEquivalent, "no VRFs"),
        (
            "route set access-list split_tunnel",
            "route set interface",
            "route set interface",
            Outcome::Holds,
            "no tunnel interface",
        ),
        (
            "password 0 cisco",
            "secret 9 $9$x",
            "username test secret 9 ***",
            Outcome::Became,
            "causeway user hash",
        ),
        (
            "10 permit",
            "5 deny host 192.168.10.9\n10 permit",
            "5 deny host 192.168.10.9",
            Outcome::NoEquivalent,
            "nothing can be taken out",
        ),
        (
            "virtual-template 10",
            "virtual-template 10\ndpd 30 5 periodic",
            "dpd 30 5 periodic",
            Outcome::Became,
            "always on demand",
        ),
        (
            "aaa new-model",
            "ip local pool SPARE 10.1.1.1\naaa new-model",
            "ip local pool SPARE 10.1.1.1",
            Outcome::NoEquivalent,
            "does not refer to it",
        ),
        (
            "aaa new-model",
            "crypto ikev2 reconnect key 1 active abc\naaa new-model",
            "crypto ikev2 reconnect key 1 active abc",
            Outcome::NoEquivalent,
            "stands alone",
        ),
    ] {
        assert!(HEADEND.contains(from), "{from}");
        let import = import(&HEADEND.replacen(from, to, 1), None);
        let line = outcome(&import, line);
        assert!(line.outcome == expected && line.why.contains(part), "{line:?}");
        assert!(import.ok, "{:?}", import.problems);
    }
}

#[test]
fn lists_written_line_by_line_are_the_same() {
    let numbered = HEADEND
        .replace(
            "ip access-list standard split_tunnel\n10 permit 192.168.10.0",
            "access-list 10 permit 192.168.10.0",
        )
        .replace("access-list split_tunnel", "access-list 10");
    assert_eq!(without_hashes(&import(&numbered, None).toml), without_hashes(&import(HEADEND, None).toml));
}

#[test]
fn one_profile_is_imported_and_the_others_are_said_to_be_left() {
    let second =
        "crypto ikev2 profile SITES\nmatch identity remote any\nauthentication remote pre-share\n!\n";
    let two = HEADEND.replace("no crypto ikev2 http-url", &format!("{second}no crypto ikev2 http-url"));
    let first = import(&two, None);
    assert!(first.ok, "{:?}", first.problems);
    for text in ["crypto ikev2 profile SITES", "match identity remote any", "authentication remote pre-share"]
    {
        let line = outcome(&first, text);
        assert!(
            line.outcome == Outcome::NoEquivalent && line.why.contains("only profile `AnyConnect-EAP`"),
            "{line:?}"
        );
    }
    let other = import(&two, Some("SITES"));
    assert!(!other.ok && outcome(&other, "reconnect timeout 900").why.contains("only profile `SITES`"));
}

#[test]
fn more_of_the_router_becomes_more_of_the_gateway() {
    let text = HEADEND
        .replace("aggregate", "aggregate cert-request")
        .replace("pki trustpoint", "identity local fqdn vpn.example.org\npki trustpoint")
        .replace(
            "def-domain example.com",
            "dns 10.0.0.53 10.0.0.54\nsession-lifetime 7200\nbanner ^C Hello ^C",
        )
        .replace("anyconnect-eap list", "override anyconnect-eap list")
        .replace(
            "set ikev2-profile",
            "set security-association lifetime kilobytes disable\nset security-association idle-time 1800\nset ikev2-profile",
        )
        + "interface GigabitEthernet1\nip address 203.0.113.1 255.255.255.0\n\
           interface GigabitEthernet2\nip address 192.168.10.1 255.255.255.0\nip mtu 1400\n\
           ip route 0.0.0.0 0.0.0.0 203.0.113.254\n";
    let import = import(&text, None);
    assert!(import.ok, "{:#?} {:#?}", import.problems, import.lines);
    let checks = Checks { files: false, ..Checks::default() };
    let config = check_text(&filled(&import.toml), Path::new("imported.toml"), &checks).config.unwrap();
    assert_eq!(config.gateway.identity, "vpn.example.org");
    assert_eq!(config.ports[0].address.to_string(), "203.0.113.1");
    assert_eq!((config.ports[1].name.as_str(), config.ports[1].mtu), ("GigabitEthernet2", 1400));
    assert_eq!(config.routes[0].via.to_string(), "203.0.113.254");
    assert_eq!(config.groups[0].policy.banner.as_deref(), Some("Hello"));
    assert_eq!(config.groups[0].policy.dns.as_ref().map(Vec::len), Some(2));
    assert_eq!((config.groups[0].session_lifetime_secs, config.groups[0].idle_secs), (7200, 1800));
    assert_eq!(config.groups[0].policy.traffic_selectors, Some(config::TrafficSelectors::Any));
    assert!(config.aaa.group_overrides);
    assert_eq!(config.anyconnect.certificate, config::CertificateLogin::Required);
    assert_eq!(config.esp.rekey_bytes, 0);
}

proptest::proptest! {
    // Most of them hash a password.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = import(&text, None);
    }

    #[test]
    fn no_shuffled_configuration_panics(cut in 0usize..60, words in 0usize..6) {
        let line = |(i, l): (usize, &str)| {
            if i == cut { l.split(' ').take(words).collect::<Vec<_>>().join(" ") } else { l.to_owned() }
        };
        let text: Vec<String> = HEADEND.lines().enumerate().map(line).collect();
        let import = import(&text.join("\n"), None);
        proptest::prop_assert!(import.ok == import.problems.is_empty() || !import.ok);
    }
}
