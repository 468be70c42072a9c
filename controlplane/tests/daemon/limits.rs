//! Sessions that policy ends: idle ones and old ones, with a client that could come back and with one that could not.

use causeway_ike::testing::Notable;
use causeway_ike::wire::NotifyType;
use causeway_shared::api::ReconnectStats;
use causeway_shared::config::Config;

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, USER};
use crate::http;

fn ends(name: &str, counter: &str, limit: fn(&mut Config)) {
    let gateway = Gateway::start_reconnect(name, "", limit);
    let mut able = Client::anyconnect(&gateway, USER, PASSWORD).connect();
    able.until_seen(&Notable::Down);
    let mut unable = Client::eap(&gateway, USER, PASSWORD).connect();
    assert!(unable.told().is_none());
    unable.until_seen(&Notable::Down);
    gateway.until("both are down", |gateway| gateway.counter(counter) == 2);
    assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (0, 0));
    let stats: ReconnectStats = http::get(&gateway.api, "/v1/stats/reconnect");
    assert_eq!((stats.active_capable, stats.inactive_capable), (0, 0), "removed, not parked");
    let refused = Notable::Refused(NotifyType::AuthenticationFailed);
    Client::resuming(&gateway, &able.told().unwrap()).connect_until(&refused);
}

#[test]
fn an_idle_session_ends_for_good_and_its_client_is_told() {
    ends("idle", "sessions_ended_idle_timeout", |config| config.groups[0].idle_secs = 1);
}

#[test]
fn a_session_that_lasted_as_long_as_it_may_ends_for_good_and_its_client_is_told() {
    ends("old", "sessions_ended_session_timeout", |config| config.groups[0].session_lifetime_secs = 1);
}

#[test]
fn a_session_that_was_resumed_is_still_ended_when_it_is_idle() {
    let gateway = Gateway::start_reconnect("idle-resumed", "", |config| config.groups[0].idle_secs = 2);
    let first = Client::anyconnect(&gateway, USER, PASSWORD).connect();
    let mut resumed = Client::resuming(&gateway, &first.told().unwrap()).connect();
    resumed.until_seen(&Notable::Down);
    gateway.until("it is down", |gateway| gateway.counter("sessions_ended_idle_timeout") == 1);
    assert_eq!((gateway.counter("sessions_ended_taken_over"), gateway.sessions().total), (1, 0));
}
