//! Clients that fall silent, move, come back, and those who only pretend to: over real sockets, with a real store.

mod cases;
mod families;
mod logins;

use causeway_ike::testing::Notable;
use causeway_ike::wire::NotifyType;
use causeway_shared::api::{InactiveSessionList, ReconnectStats};
use causeway_shared::config::{Config, OnClientDelete, TokenPolicy};

use crate::client::{Client, Told};
use crate::gateway::{Gateway, PASSWORD, USER};
use crate::http;

/// Silence is noticed after two seconds.
fn impatient(config: &mut Config) {
    config.reconnect.dpd_interval_secs = 1;
    config.reconnect.dpd_retry_secs = 1;
    config.reconnect.dpd_tries = 1;
}

fn figures(gateway: &Gateway) -> [u64; 5] {
    let stats: ReconnectStats = http::get(&gateway.api, "/v1/stats/reconnect");
    [stats.total_incoming, stats.success, stats.failed, stats.active_capable, stats.inactive_capable]
}

fn inactive(gateway: &Gateway) -> InactiveSessionList {
    http::get(&gateway.api, "/v1/sessions?state=inactive")
}

/// Logs in, and says what the client was told.
fn login(gateway: &Gateway) -> (Client, Told) {
    let client = Client::anyconnect(gateway, USER, PASSWORD).connect();
    let told = client.told().unwrap();
    (client, told)
}

fn refused(gateway: &Gateway, told: &Told) {
    Client::resuming(gateway, told).connect_until(&Notable::Refused(NotifyType::AuthenticationFailed));
}

#[test]
fn a_silent_client_becomes_inactive_and_comes_back_from_elsewhere() {
    let gateway = Gateway::start_reconnect("suspend", "", impatient);
    let (client, told) = login(&gateway);
    assert_eq!((told.id.len(), told.token.len()), (18, 64));
    let before = gateway.sessions().sessions.remove(0);
    assert_eq!((before.user.as_str(), before.auth_method.as_str()), (USER, "anyconnect-eap"));
    assert!(before.ike.reconnect_capable && !before.ike.resumed);
    assert_eq!(before.ike.group.as_deref(), Some("staff"));
    let inner = client.ike.address();
    assert_eq!(figures(&gateway), [0, 0, 0, 1, 0]);

    // The lid is closed: no answer to anything, and the port is gone.
    drop(client);
    gateway.until("the session is inactive", |gateway| figures(gateway) == [0, 0, 0, 0, 1]);
    assert_eq!(gateway.sessions().total, 0);
    let waiting = inactive(&gateway).sessions.remove(0);
    assert_eq!((waiting.user.as_str(), waiting.inner_address), (USER, inner));
    assert_eq!(gateway.health().pools["staff"].used, 1, "the address is kept");

    let client = Client::resuming(&gateway, &told).connect();
    assert_eq!(client.ike.address(), inner);
    gateway.until("the session is back", |gateway| figures(gateway) == [1, 1, 0, 1, 0]);
    let after = gateway.sessions().sessions.remove(0);
    assert_eq!((after.user.as_str(), after.auth_method.as_str()), (USER, "psk"));
    assert!(after.ike.resumed && after.ike.reconnect_capable && after.peer != before.peer);
    let serial = before.ike.serial.unwrap();
    assert_eq!(after.ike.serial, Some(serial + 1));
    assert_ne!(after.ike.interface, before.ike.interface);
    let hex: String = told.id.iter().map(|octet| format!("{octet:02X}")).collect();
    assert_eq!(after.ike.phase1_id, Some(hex));
    assert_eq!(after.ike.auth_verify.as_deref(), Some("PSK"));
    let again = client.told().unwrap();
    assert_eq!(again.id, told.id);
    assert_ne!(again.token, told.token, "each return gives a new token");
}

#[test]
fn a_client_that_notices_first_takes_its_own_session_over() {
    let gateway = Gateway::start_reconnect("takeover", "", |_| {});
    let (old, told) = login(&gateway);
    let new = Client::resuming(&gateway, &told).connect();
    assert_eq!(new.ike.address(), old.ike.address());
    gateway.until("one session", |gateway| gateway.sessions().total == 1);
    assert_eq!(figures(&gateway), [1, 1, 0, 1, 0]);
    assert_eq!(gateway.health().pools["staff"].used, 1);
    assert!(!old.seen.contains(&Notable::Down));
}

#[test]
fn wrong_tokens_unknown_ids_and_burnt_tokens_are_refused_alike() {
    let gateway = Gateway::start_reconnect("refused", "", |_| {});
    let (_old, told) = login(&gateway);
    refused(&gateway, &Told { token: vec![b'x'; 64], ..told.clone() });
    refused(&gateway, &Told { id: b"nobodyhasthisidxyz".to_vec(), ..told.clone() });
    assert_eq!(figures(&gateway), [2, 0, 2, 1, 0]);

    let mut client = Client::resuming(&gateway, &told).connect();
    let new = client.told().unwrap();
    // The client uses its new keys, so it has the new token, and the old one is burnt.
    let probe = client.ike.liveness().unwrap();
    client.send(probe);
    client.until_seen(&Notable::Answered);
    refused(&gateway, &told);
    gateway.until("the session is killed", |gateway| gateway.sessions().total == 0);
    refused(&gateway, &new);
    assert_eq!(figures(&gateway), [5, 1, 4, 0, 0]);
    assert_eq!(gateway.health().pools["staff"].used, 0);
}

#[test]
fn a_lost_last_answer_locks_nobody_out() {
    let gateway = Gateway::start_reconnect("lost", "", |_| {});
    let (first, told) = login(&gateway);
    // Its answer is thrown away with it; the client knows only the old token.
    drop(Client::resuming(&gateway, &told).connect());
    let second = Client::resuming(&gateway, &told).connect();
    assert_eq!(second.ike.address(), first.ike.address());
    gateway.until("one session", |gateway| figures(gateway) == [2, 2, 0, 1, 0]);
}

#[test]
fn sessions_outlive_a_crash_and_a_stop() {
    let mut gateway = Gateway::start_reconnect("restart", "", |_| {});
    let (client, mut told) = login(&gateway);
    let (inner, serial) = (client.ike.address(), gateway.sessions().sessions[0].ike.serial.unwrap());
    for run in 1..=2 {
        if run == 1 {
            gateway.power_cut();
        } else {
            gateway.stop();
        }
        gateway = gateway.again();
        assert_eq!(figures(&gateway), [0, 0, 0, 0, 1]);
        assert_eq!(gateway.health().pools["staff"].used, 1);
        let client = Client::resuming(&gateway, &told).connect();
        assert_eq!(client.ike.address(), inner);
        gateway.until("the session is back", |gateway| figures(gateway) == [1, 1, 0, 1, 0]);
        assert_eq!(gateway.sessions().sessions[0].ike.serial, Some(serial + run));
        told = client.told().unwrap();
    }
}

#[test]
fn a_deleted_session_is_gone_for_good_unless_the_policy_keeps_it() {
    for (on_client_delete, kept) in [(OnClientDelete::Remove, false), (OnClientDelete::Keep, true)] {
        let name = format!("delete-{kept}");
        let gateway = Gateway::start_reconnect(&name, "", |config| {
            config.reconnect.on_client_delete = on_client_delete;
        });
        let (mut client, told) = login(&gateway);
        let goodbye = client.ike.delete_ike().unwrap();
        client.send(goodbye);
        client.until_seen(&Notable::Down);
        gateway.until("the session is down", |gateway| gateway.sessions().total == 0);
        assert_eq!(figures(&gateway)[4], u64::from(kept));
        if kept {
            Client::resuming(&gateway, &told).connect();
        } else {
            refused(&gateway, &told);
        }
    }
}

#[test]
fn an_operators_order_is_final() {
    let gateway = Gateway::start_reconnect("clear", "", impatient);
    let (mut client, told) = login(&gateway);
    let id = gateway.sessions().sessions[0].id.clone();
    assert_eq!(http::request(&gateway.api, "DELETE", &format!("/v1/sessions/{id}"), None).status, 202);
    client.until_seen(&Notable::Down);
    refused(&gateway, &told);

    let (client, told) = login(&gateway);
    drop(client);
    gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
    let id = inactive(&gateway).sessions[0].id.clone();
    let path = format!("/v1/sessions/{id}?state=inactive");
    assert_eq!(http::request(&gateway.api, "DELETE", &path, None).status, 204);
    assert_eq!((inactive(&gateway).total, gateway.health().pools["staff"].used), (0, 0));
    refused(&gateway, &told);
}

#[test]
fn a_stable_token_stays_and_a_rekeyed_session_comes_back_too() {
    let gateway = Gateway::start_reconnect("stable", "", |config| {
        config.reconnect.token_policy = TokenPolicy::Stable;
    });
    let (mut client, told) = login(&gateway);
    let rekey = client.ike.rekey_ike().unwrap();
    client.send(rekey);
    client.until_seen(&Notable::IkeRekeyed);
    for _ in 0..2 {
        let client = Client::resuming(&gateway, &told).connect();
        assert_eq!(client.told().as_ref(), Some(&told));
    }
}

#[test]
fn wrong_passwords_do_not_log_in_and_other_clients_see_nothing_of_cisco() {
    let gateway = Gateway::start_reconnect("others", "", |_| {});
    for (user, password) in [(USER, "guess"), ("nobody", PASSWORD)] {
        Client::anyconnect(&gateway, user, password).connect_until(&Notable::EapFailed);
    }
    assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (0, 0));

    let client = Client::eap(&gateway, USER, PASSWORD).connect();
    let reply = client.ike.config_reply().unwrap();
    assert!(reply.attributes.iter().all(|attribute| attribute.kind.number() < 16_384));
    let session = gateway.sessions().sessions.remove(0);
    assert!(!session.ike.reconnect_capable);
    assert_eq!(figures(&gateway), [0, 0, 0, 0, 0]);
}
