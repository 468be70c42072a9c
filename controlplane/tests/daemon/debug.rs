//! Conditions of debugging, set while clients come and go: only those that match are logged, and no secret is.

use std::io::Write;
use std::sync::{Mutex, OnceLock};

use causeway_ike::testing::Notable;
use causeway_ike::wire::NotifyType;
use causeway_shared::api::{Condition, DebugState, DebugTopic};

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, PSK, USER};
use crate::http;

const CONDITIONS: &str = "/v1/debug/conditions";

/// What all gateways of this process log in detail; tests tell theirs apart by users.
pub fn log() -> &'static Mutex<String> {
    static LOG: OnceLock<Mutex<String>> = OnceLock::new();
    LOG.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(format!("off,{}=info", causeway_controlplane::debug::TARGET))
            .with_ansi(false)
            .with_writer(|| Lines)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Mutex::default()
    })
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        log().lock().unwrap().push_str(&String::from_utf8_lossy(octets));
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn state(gateway: &Gateway) -> DebugState {
    http::get(&gateway.api, CONDITIONS)
}

fn set(gateway: &Gateway, body: &str) -> Condition {
    let answer = http::request(&gateway.api, "POST", CONDITIONS, Some(body));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[test]
fn a_watched_login_is_logged_without_its_secrets() {
    log();
    let gateway = Gateway::start("debug", "");
    Client::psk(&gateway, "unwatched.example").connect();
    // The client is up a moment before the gateway has said so.
    assert_eq!(gateway.sessions().total, 1);
    assert_eq!(state(&gateway).lines, 0, "nobody asked for it");
    let condition = set(&gateway, r#"{"for":{"match":"peer-ipv4","value":"127.0.0.1"},"secs":60}"#);
    let mut client = Client::eap(&gateway, USER, PASSWORD).connect();
    let goodbye = client.ike.delete_ike().unwrap();
    client.send(goodbye);
    client.until_seen(&Notable::Down);
    gateway.until("no session of hers", |gateway| gateway.sessions().total == 1);
    let text = log().lock().unwrap().clone();
    let has = |parts: &[&str]| {
        let found = text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} are in no line of\n{text}");
    };
    has(&["topic=\"packet\" direction=\"in\"", "IKE_SA_INIT request 0", "SA KE Nonce"]);
    has(&["topic=\"packet\" direction=\"out\"", "IKE_SA_INIT response 0"]);
    has(&[
        "direction=\"in\"",
        "IKE_AUTH request 1",
        "SK { IDi(type 2, carol)",
        "CP(CFG_REQUEST: INTERNAL_IP4_ADDRESS",
    ]);
    has(&["direction=\"out\"", "IKE_AUTH response 1", "SK { IDr", "CERT", "AUTH(", "EAP("]);
    has(&["INFORMATIONAL request", "SK { D }"]);
    has(&["topic=\"internal\"", "job begins: EAP step"]);
    has(&["topic=\"internal\"", "job ends: EAP success: carol by eap-mschapv2"]);
    has(&["topic=\"internal\"", "session up: carol by eap-mschapv2 from 127.0.0.1"]);
    has(&["topic=\"internal\"", "session down: peer-deleted"]);
    assert!(!text.contains(PASSWORD) && !text.contains(PSK) && !text.contains("unwatched"), "{text}");

    let lines = state(&gateway).lines;
    assert!(lines > 20, "{lines}");
    let path = format!("{CONDITIONS}/{}", condition.id);
    assert_eq!(http::request(&gateway.api, "DELETE", &path, None).status, 204);
    Client::psk(&gateway, "later.example").connect();
    assert_eq!(state(&gateway).lines, lines, "it was removed");
}

#[test]
fn errors_of_a_user_are_logged_and_nothing_else() {
    let gateway = Gateway::start("debug-errors", "");
    set(&gateway, r#"{"for":{"match":"username","value":"laptop.example"},"until_reset":true}"#);
    let answer = http::request(&gateway.api, "POST", "/v1/debug/topics", Some(r#"{"topics":["error"]}"#));
    assert_eq!(answer.json::<DebugState>().topics, [DebugTopic::Error]);
    let mut client = Client::psk(&gateway, "laptop.example").connect();
    assert_eq!(state(&gateway).lines, 0, "all went well");
    // A message under no key of hers, from her address and port.
    let mut forged = client.ike.liveness().unwrap();
    let last = forged[0].bytes.len() - 1;
    forged[0].bytes[last] ^= 1;
    client.send(forged);
    gateway.until("a line", |gateway| state(gateway).lines == 1);
    assert_eq!(gateway.counter("ike_drop_integrity"), 1);
    assert_eq!(http::request(&gateway.api, "DELETE", CONDITIONS, None).status, 204);
    assert!(state(&gateway).conditions.is_empty());
}

/// The name is in IDi, in the EAP identity, or in AnyConnect's form; a client that only says that it is somebody and does not
/// prove it is watched, too, because that is what one wants to see when a user cannot log in.
#[test]
fn a_user_is_watched_from_the_message_that_names_it() {
    log();
    let gateway = Gateway::start_reconnect("debug-named", "", |_| {});
    set(&gateway, &format!(r#"{{"for":{{"match":"username","value":"{USER}"}},"until_reset":true}}"#));
    set(&gateway, r#"{"for":{"match":"username","value":"named.example"},"until_reset":true}"#);
    let mut before = 0;
    let mut grown = || {
        let lines = state(&gateway).lines;
        std::mem::replace(&mut before, lines) < lines
    };
    let refused = Notable::Refused(NotifyType::AuthenticationFailed);
    Client::anyconnect(&gateway, "somebody.else", "wrong").connect_until(&refused);
    assert!(!grown(), "nobody asked for it");
    Client::anyconnect(&gateway, USER, "wrong").connect_until(&refused);
    assert!(grown(), "the form names the user");
    Client::eap(&gateway, "named.example", "wrong").connect_until(&refused);
    assert!(grown(), "IDi names the user");
    let text = log().lock().unwrap().clone();
    for parts in [
        [&format!("a client says that it is \"{USER}\"")[..], "topic=\"internal\""],
        ["handshake of *$AnyConnectClient$*", "topic=\"error\""],
        ["a client says that it is \"named.example\"", "topic=\"internal\""],
    ] {
        let found = text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} are in no line of\n{text}");
    }
    assert!(!text.contains("somebody.else"), "{text}");
}

#[test]
fn wrong_conditions_are_refused() {
    let gateway = Gateway::start("debug-wrong", "");
    for (method, path, body, status) in [
        ("POST", CONDITIONS, Some(r#"{"for":{"match":"peer-ipv4","value":"x"}}"#), 422),
        ("POST", CONDITIONS, Some(r#"{"for":{"match":"username","value":""}}"#), 422),
        ("POST", CONDITIONS, Some(r#"{"for":{"match":"username","value":"u"},"secs":0}"#), 422),
        (
            "POST",
            CONDITIONS,
            Some(r#"{"for":{"match":"username","value":"u"},"secs":5,"until_reset":true}"#),
            422,
        ),
        ("POST", CONDITIONS, Some(r#"{"for":{"match":"username","value":"u"},"more":1}"#), 422),
        ("POST", "/v1/debug/topics", Some(r#"{"topics":["everything"]}"#), 422),
        ("DELETE", "/v1/debug/conditions/1", None, 404),
        ("DELETE", "/v1/debug/conditions/x", None, 404),
    ] {
        let answer = http::request(&gateway.api, method, path, body);
        assert_eq!(answer.status, status, "{method} {path} {body:?}: {answer:?}");
        assert_eq!(answer.header_value("content-type").as_deref(), Some("application/problem+json"));
    }
    for number in 0..causeway_controlplane::debug::MAX_CONDITIONS {
        set(&gateway, &format!(r#"{{"for":{{"match":"session","value":"{number}"}}}}"#));
    }
    let more = r#"{"for":{"match":"session","value":"more"}}"#;
    assert_eq!(http::request(&gateway.api, "POST", CONDITIONS, Some(more)).status, 409);
}
