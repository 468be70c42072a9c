//! What an operator sees and clears of clients that can come back.

use causeway_ike::testing::Notable;
use causeway_ike::wire::NotifyType;
use causeway_shared::api::{Cleared, InactiveSessionList, ReconnectStats};
use causeway_shared::config::Config;

use crate::client::Client;
use crate::debug::log;
use crate::gateway::{Gateway, PASSWORD, USER};
use crate::http;

fn impatient(config: &mut Config) {
    config.reconnect.dpd_interval_secs = 1;
    config.reconnect.dpd_retry_secs = 1;
    config.reconnect.dpd_tries = 1;
}

fn inactive(gateway: &Gateway, more: &str) -> InactiveSessionList {
    http::get(&gateway.api, &format!("/v1/sessions?state=inactive{more}"))
}

#[test]
fn a_login_by_anyconnect_has_every_field_and_no_secret_in_the_log() {
    log();
    let gateway = Gateway::start_reconnect("operator", "", |_| {});
    let body = r#"{"for":{"match":"peer-ipv4","value":"127.0.0.1"}}"#;
    assert_eq!(http::request(&gateway.api, "POST", "/v1/debug/conditions", Some(body)).status, 201);
    let client = Client::anyconnect(&gateway, USER, PASSWORD).connect();
    let session = gateway.sessions().sessions.remove(0);
    let ike = &session.ike;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    assert_eq!(text(&ike.auth_verify), "AnyConnect-EAP");
    assert_eq!((text(&ike.peer_type), text(&ike.remote_eap_id)), ("AnyConnect".into(), USER.into()));
    assert_eq!(
        (text(&ike.phase1_id), text(&ike.remote_id)),
        ("*$AnyConnectClient$*".into(), text(&ike.phase1_id))
    );
    assert!(ike.capabilities.starts_with("DN") && !ike.capabilities.contains('R'), "{}", ike.capabilities);
    let dpd = ike.dpd.unwrap();
    assert_eq!((dpd.interval_secs, dpd.retry_secs, dpd.on_demand), (45, 2, true));
    assert!(ike.local_spi.is_some() && ike.messages.is_some() && ike.auth_sign.is_some());
    let told = client.told().unwrap();
    let lines = log().lock().unwrap().clone();
    assert!(lines.contains("EAP success: carol by anyconnect-eap"), "{lines}");
    let token = String::from_utf8(told.token).unwrap();
    assert!(!lines.contains(PASSWORD) && !lines.contains(&token), "{lines}");
}

#[test]
fn a_reset_of_the_statistics_counts_from_zero_and_ends_nobody() {
    let gateway = Gateway::start_reconnect("reset", "", |_| {});
    let stats = || -> ReconnectStats { http::get(&gateway.api, "/v1/stats/reconnect") };
    let first = Client::anyconnect(&gateway, USER, PASSWORD).connect();
    let _second = Client::resuming(&gateway, &first.told().unwrap()).connect();
    gateway.until("it is resumed", |_| stats().success == 1);
    let answer = http::request(&gateway.api, "DELETE", "/v1/stats/reconnect", None);
    assert_eq!(answer.status, 204);
    let zeroed = stats();
    assert_eq!((zeroed.total_incoming, zeroed.success, zeroed.failed), (0, 0, 0));
    assert!(zeroed.more.iter().all(|counter| counter.value == 0), "{:?}", zeroed.more);
    assert_eq!(zeroed.active_capable, 1, "what is there stays");
}

#[test]
fn inactive_sessions_are_paged_and_cleared_for_good() {
    let gateway = Gateway::start_reconnect("inactive", "", impatient);
    let told: Vec<_> =
        (0..3).map(|_| Client::anyconnect(&gateway, USER, PASSWORD).connect().told().unwrap()).collect();
    gateway.until("three wait", |gateway| inactive(gateway, "").total == 3);
    let first = inactive(&gateway, "&limit=2");
    assert_eq!((first.sessions.len(), first.total), (2, 3));
    let next = first.next_page_token.clone().unwrap();
    let second = inactive(&gateway, &format!("&limit=2&page_token={next}"));
    assert_eq!((second.sessions.len(), second.next_page_token), (1, None));
    let mut ids: Vec<String> =
        first.sessions.iter().chain(&second.sessions).map(|session| session.id.clone()).collect();
    ids.sort();
    let mut expected: Vec<_> = told.iter().map(|told| String::from_utf8(told.id.clone()).unwrap()).collect();
    expected.sort();
    assert_eq!(ids, expected, "each once");
    assert_eq!(inactive(&gateway, &format!("&user={USER}")).total, 3);
    assert_eq!(inactive(&gateway, "&user=nobody").sessions.len(), 0);

    let id = String::from_utf8(told[0].id.clone()).unwrap();
    let path = format!("/v1/sessions/{id}?state=inactive");
    assert_eq!(http::request(&gateway.api, "DELETE", &path, None).status, 204);
    assert_eq!(http::request(&gateway.api, "DELETE", &path, None).status, 404);
    Client::resuming(&gateway, &told[0]).connect_until(&Notable::Refused(NotifyType::AuthenticationFailed));
    let answer = http::request(&gateway.api, "DELETE", "/v1/sessions?state=inactive", None);
    assert_eq!(answer.json::<Cleared>().cleared, 2);
    gateway.until("no address is kept", |gateway| gateway.health().pools["staff"].used == 0);
    assert_eq!(inactive(&gateway, "").total, 0);
}
