//! Logins, rekeys and ends, as clients and the operator see them.

use causeway_ike::testing::Notable;
use causeway_shared::api::{Cleared, Session, SessionState};

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, USER};
use crate::http;

#[test]
fn a_session_is_shown_rekeyed_and_deleted() {
    let gateway = Gateway::start("life", "");
    let mut client = Client::psk(&gateway, "laptop.example").connect();
    let list = gateway.sessions();
    assert_eq!((list.total, list.sessions.len(), list.next_page_token.clone()), (1, 1, None));
    let session = &list.sessions[0];
    assert_eq!((session.user.as_str(), session.auth_method.as_str()), ("laptop.example", "psk"));
    assert_eq!((session.state, session.nat_detected), (SessionState::Active, false));
    assert_eq!(session.inner_address, client.ike.address());
    assert_eq!(session.pool.as_deref(), Some("staff"));
    assert_eq!(session.child_sas.len(), 1);
    assert_eq!(session.child_sas[0].esp_suite, "aes256gcm16");
    assert_eq!(session.child_sas[0].local_selectors, ["10.99.10.0/24"]);
    let ike = &session.ike;
    assert_eq!(
        (ike.serial, ike.tunnel_id, ike.interface.as_deref()),
        (Some(1), Some(1), Some("Virtual-Access1"))
    );
    assert_eq!((ike.auth_sign.as_deref(), ike.auth_verify.as_deref()), (Some("PSK"), Some("PSK")));
    assert_eq!(
        (ike.encr.as_deref(), ike.hash.as_deref(), ike.dh_group),
        (Some("AES-GCM"), Some("None"), Some(20))
    );
    assert_eq!(ike.local_id.as_deref(), Some(crate::gateway::NAME));
    let messages = ike.messages.unwrap();
    assert_eq!(
        (messages.local_request, messages.remote_request),
        (0, 2),
        "IKE_SA_INIT and IKE_AUTH were hers"
    );
    assert_eq!(session.child_sas[0].esp.remote[0].first, session.inner_address.unwrap());
    assert_eq!(session.child_sas[0].esp.encr.as_deref(), Some("AES-GCM"));
    let path = format!("/v1/sessions/{}", session.id);
    let same: Session = http::get(&gateway.api, &path);
    assert_eq!(
        (same.ike_spis.as_str(), same.inner_address),
        (session.ike_spis.as_str(), session.inner_address)
    );

    let rekey = format!("{path}/rekey");
    assert_eq!(http::request(&gateway.api, "POST", &rekey, Some(r#"{"what":"ike"}"#)).status, 202);
    client.until_seen(&Notable::IkeRekeyed);
    let first_child = client.ike.children()[0].inbound_spi;
    // The gateway deletes the old IKE SA before it begins anything on the new one.
    client.until("a Child SA rekey", |client| {
        if client.ike.children().iter().all(|child| child.inbound_spi != first_child) {
            return true;
        }
        http::request(&gateway.api, "POST", &rekey, Some(r#"{"what":"child"}"#));
        false
    });
    client.until("one Child SA", |_| gateway.sessions().sessions[0].child_sas.len() == 1);
    let after: Session = http::get(&gateway.api, &path);
    assert_ne!(after.ike_spis, session.ike_spis);
    assert_ne!(after.child_sas[0].inbound_spi, session.child_sas[0].inbound_spi);
    assert_eq!(after.inner_address, session.inner_address);

    assert_eq!(gateway.health().pools["staff"].used, 1);
    assert_eq!(http::request(&gateway.api, "DELETE", &path, None).status, 202);
    client.until_seen(&Notable::Down);
    gateway.until("no session", |gateway| gateway.sessions().total == 0);
    let health = gateway.health();
    assert_eq!((health.sessions, health.half_open, health.pools["staff"].used), (0, 0, 0));
    assert_eq!(http::request(&gateway.api, "DELETE", &path, None).status, 404);
}

#[test]
fn a_password_logs_in_through_a_nat_and_a_wrong_one_leaves_nothing() {
    let gateway = Gateway::start("eap", "");
    let mut wrong = Client::eap(&gateway, USER, "guess");
    wrong.connect_until(&Notable::EapFailed);
    gateway.until("nothing left", |gateway| gateway.health().half_open == 0);
    assert_eq!(gateway.sessions().total, 0);
    assert_eq!(gateway.counter("ike_auth_failed"), 1);

    let mut client = Client::eap(&gateway, USER, PASSWORD).connect();
    let session = gateway.sessions().sessions.remove(0);
    assert_eq!((session.user.as_str(), session.auth_method.as_str()), (USER, "eap-mschapv2"));
    assert!(session.nat_detected);
    assert_eq!(session.child_sas[0].encapsulation, "udp");
    let goodbye = client.ike.delete_ike().unwrap();
    client.send(goodbye);
    client.until_seen(&Notable::Down);
    gateway.until("no session", |gateway| gateway.sessions().total == 0);
    assert_eq!(gateway.health().pools["staff"].used, 0);
}

#[test]
fn pages_and_filters_show_every_session_once() {
    let gateway = Gateway::start("pages", "");
    let clients: Vec<_> =
        (0..7).map(|number| Client::psk(&gateway, &format!("c{number}.example")).connect()).collect();
    let mut addresses: Vec<_> = clients.iter().filter_map(|client| client.ike.address()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 7, "nobody shares an address");
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("/v1/sessions?limit=3{token}");
        let page: causeway_shared::api::SessionList = http::get(&gateway.api, &path);
        assert_eq!(page.total, 7);
        assert!(page.sessions.len() <= 3);
        seen.extend(page.sessions.into_iter().map(|session| session.user));
        match page.next_page_token {
            Some(next) => token = format!("&page_token={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|number| format!("c{number}.example")).collect::<Vec<_>>());
    let filtered: causeway_shared::api::SessionList = http::get(&gateway.api, "/v1/sessions?user=c4.example");
    assert_eq!((filtered.total, filtered.sessions.len()), (1, 1));
}

#[test]
fn many_sessions_are_deleted_by_a_filter() {
    let gateway = Gateway::start("bulk", "");
    let mut clients: Vec<_> =
        (0..3).map(|number| Client::psk(&gateway, &format!("c{number}.example")).connect()).collect();
    let delete = |filter: &str| {
        let answer = http::request(&gateway.api, "DELETE", &format!("/v1/sessions?{filter}"), None);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json::<Cleared>().cleared
    };
    assert_eq!(delete("state=active&peer=192.0.2.77"), 0);
    assert_eq!(gateway.sessions().total, 3);
    assert_eq!(delete("state=active&peer=127.0.0.1"), 3);
    for client in &mut clients {
        client.until_seen(&Notable::Down);
    }
    gateway.until("no session", |gateway| gateway.sessions().total == 0);
    assert_eq!(delete("state=active"), 0);
}

#[test]
fn a_stop_tells_every_client_and_removes_the_socket() {
    let mut gateway = Gateway::start("stop", "");
    let mut clients =
        [Client::psk(&gateway, "a.example").connect(), Client::psk(&gateway, "b.example").connect()];
    gateway.begin_stop();
    for client in &mut clients {
        client.until_seen(&Notable::Down);
    }
    gateway.stop();
    assert!(!gateway.api.exists());
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_client_that_is_gone() {
    let mut gateway = Gateway::start("gone", "");
    let client = Client::psk(&gateway, "a.example").connect();
    let started = std::time::Instant::now();
    gateway.stop();
    drop(client);
    assert!(started.elapsed() < causeway_controlplane::driver::SHUTDOWN_DEADLINE);
}
