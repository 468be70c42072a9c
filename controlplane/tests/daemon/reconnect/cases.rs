//! Ways back that are rare and must not go wrong: races, lost answers, wishes, full pools, time that has run out, another
//! gateway over the same store.

use causeway_ike::testing::{InitiatorConfig, Notable};
use causeway_ike::wire::{ExchangeType, NotifyType, Payload, TrafficSelector, TsRange};
use causeway_shared::config::OnTokenReplay;

use super::{figures, impatient, inactive, login, refused};
use crate::client::{Client, Told};
use crate::gateway::{Gateway, PASSWORD, USER};

/// Sends both requests of an attempt to resume; what the second is answered stays in the socket.
fn ask_to_resume(gateway: &Gateway, told: &Told) -> Client {
    let mut client = Client::resuming(gateway, told);
    let first = client.ike.start().unwrap();
    client.send(first);
    let answer = client.lose_next();
    let second = client.ike.receive(&answer).unwrap();
    client.send(second);
    client
}

#[test]
fn of_two_attempts_at_once_the_newer_has_the_session() {
    for round in 0..4 {
        let gateway = Gateway::start_reconnect(&format!("race-{round}"), "", impatient);
        let (client, told) = login(&gateway);
        let inner = client.ike.address();
        if round % 2 == 0 {
            drop(client);
            gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
        }
        let [mut older, mut newer] = [ask_to_resume(&gateway, &told), ask_to_resume(&gateway, &told)];
        newer.until_seen(&Notable::Up);
        gateway.until("both are judged", |gateway| figures(gateway)[1] + figures(gateway)[2] == 2);
        let [incoming, success, failed, active, waiting] = figures(&gateway);
        assert_eq!(incoming, 2, "{success} succeeded, {failed} failed");
        if success == 2 {
            // The older was up for a moment.
            older.until_seen(&Notable::Up);
            assert_eq!(older.ike.address(), inner);
        }
        assert_eq!(newer.ike.address(), inner);
        assert_eq!((active, waiting, gateway.sessions().total), (1, 0, 1));
        assert_eq!(gateway.health().pools["staff"].used, 1);
        Client::resuming(&gateway, &newer.told().unwrap()).connect();
    }
}

#[test]
fn an_attempt_that_the_network_kept_back_takes_nothing_from_its_client() {
    for confirmed in [true, false] {
        let gateway = Gateway::start_reconnect(&format!("late-{confirmed}"), "", |_| {});
        let (_first, told) = login(&gateway);
        let mut late = Client::resuming(&gateway, &told);
        let request = late.ike.start().unwrap();
        late.send(request);
        let answer = late.lose_next();
        let kept_back = late.ike.receive(&answer).unwrap();
        // The client has heard nothing and begins anew.
        let mut client = Client::resuming(&gateway, &told).connect();
        let used = figures(&gateway);
        if confirmed {
            let probe = client.ike.liveness().unwrap();
            client.send(probe);
            client.until_seen(&Notable::Answered);
        }
        late.send(kept_back);
        late.until_seen(&Notable::Refused(NotifyType::AuthenticationFailed));
        gateway.until("it is judged", |gateway| figures(gateway) == [2, 1, 1, 1, 0]);
        assert_eq!(used, [1, 1, 0, 1, 0]);
        let probe = client.ike.liveness().unwrap();
        client.seen.clear();
        client.send(probe);
        client.until_seen(&Notable::Answered);
        // What the client was told last brings it back, and the token before is a thief's from then on.
        let stolen = client.told().unwrap();
        let mut again = Client::resuming(&gateway, &stolen).connect();
        let probe = again.ike.liveness().unwrap();
        again.send(probe);
        again.until_seen(&Notable::Answered);
        refused(&gateway, &stolen);
        gateway.until("the session is ended", |gateway| gateway.sessions().total == 0);
        assert_eq!(gateway.counter("sessions_ended_token_replay"), 1);
    }
}

#[test]
fn a_session_that_outlived_the_control_plane_is_resumed_like_any_other() {
    let mut gateway = Gateway::start_reconnect("outlived", "", |_| {});
    let (first, mut told) = login(&gateway);
    let inner = first.ike.address();
    for run in 0..2 {
        gateway.crash();
        gateway = gateway.again_there();
        assert_eq!(figures(&gateway), [0, 0, 0, 1, 0], "it goes on");
        // Newer than whatever another run has seen.
        let client = Client::resuming(&gateway, &told).connect();
        assert_eq!(client.ike.address(), inner, "{run}");
        gateway.until("one session", |gateway| figures(gateway) == [1, 1, 0, 1, 0]);
        assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (1, 1));
        told = client.told().unwrap();
    }
}

#[test]
fn a_repeated_request_is_answered_with_the_same_octets_and_a_new_attempt_with_the_old_token_works() {
    let gateway = Gateway::start_reconnect("lost-final", "", |_| {});
    let (first, told) = login(&gateway);
    let inner = first.ike.address();
    let mut lost = ask_to_resume(&gateway, &told);
    let answer = lost.lose_next();
    // The client asks again, and that answer is lost, too.
    lost.send(lost.ike.retransmit());
    assert_eq!(lost.lose_next(), answer, "nothing is done twice");
    assert_eq!(figures(&gateway), [1, 1, 0, 1, 0]);
    // It gives up, and begins anew with the only token that it knows.
    let second = Client::resuming(&gateway, &told).connect();
    assert_eq!(second.ike.address(), inner);
    gateway.until("one session", |gateway| figures(gateway) == [2, 2, 0, 1, 0]);
    assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (1, 1));
    // The token that was told to nobody is worth nothing to the client, but the newest one is.
    let newest = second.told().unwrap();
    assert_ne!(newest.token, told.token);
    Client::resuming(&gateway, &newest).connect();
}

/// Of the pool, and free.
const WISH: [u8; 4] = [10, 99, 20, 40];

#[test]
fn whatever_address_a_resuming_client_asks_for_it_is_given_its_own() {
    fn wishes(_: ExchangeType, mut payloads: Vec<Payload>) -> Vec<Payload> {
        for payload in &mut payloads {
            if let Payload::Cp(request) = payload {
                request.attributes[0].value = WISH.to_vec();
            }
        }
        payloads
    }
    let gateway = Gateway::start_reconnect("wish", "", impatient);
    let (client, told) = login(&gateway);
    let inner = client.ike.address();
    assert_ne!(inner, Some(WISH.into()));
    // While it is active, and again after it has fallen silent.
    let taken_over = Client::resuming_as(&gateway, &told, |config| config.arrange = wishes).connect();
    assert_eq!(taken_over.ike.address(), inner);
    let told = taken_over.told().unwrap();
    drop((client, taken_over));
    gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
    let back = Client::resuming_as(&gateway, &told, |config| config.arrange = wishes).connect();
    assert_eq!(back.ike.address(), inner);
    assert_eq!(gateway.health().pools["staff"].used, 1);
    // Somebody new may have it.
    let mut other =
        Client::anyconnect_as(&gateway, crate::client::AnyConnect::new(USER, PASSWORD), |config| {
            config.arrange = wishes;
        });
    other.connect_until(&Notable::Up);
    assert_eq!(other.ike.address(), Some(WISH.into()));
}

#[test]
fn a_resume_without_a_configuration_request_is_refused_and_costs_nothing() {
    let gateway = Gateway::start_reconnect("no-cp", "", impatient);
    let (client, told) = login(&gateway);
    let inner = client.ike.address();
    drop(client);
    gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
    Client::resuming_as(&gateway, &told, |config| config.ask_address = false)
        .connect_until(&Notable::Refused(NotifyType::FailedCpRequired));
    gateway.until("the attempt has failed", |gateway| figures(gateway) == [1, 0, 1, 0, 1]);
    let back = Client::resuming(&gateway, &told).connect();
    assert_eq!(back.ike.address(), inner);
    gateway.until("the session is back", |gateway| figures(gateway)[1..] == [1, 1, 1, 0]);
}

#[test]
fn a_resume_without_a_child_sa_in_common_is_told_why_and_leaves_the_session_waiting() {
    let elsewhere = TrafficSelector::Range(TsRange::ipv4([192, 0, 2, 0].into(), [192, 0, 2, 255].into()));
    type Change = fn(&mut InitiatorConfig, TrafficSelector);
    let changes: [(Change, NotifyType); 2] = [
        (|config, _| config.esp = vec!["aes192-sha256".parse().unwrap()], NotifyType::NoProposalChosen),
        (|config, elsewhere| config.selectors.1 = vec![elsewhere], NotifyType::TsUnacceptable),
    ];
    for (change, notify) in changes {
        let gateway = Gateway::start_reconnect(&format!("childless-{notify}"), "", impatient);
        let (client, told) = login(&gateway);
        let inner = client.ike.address();
        drop(client);
        gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
        let mut odd = Client::resuming_as(&gateway, &told, |config| change(config, elsewhere.clone()));
        odd.connect_until(&Notable::Refused(notify));
        assert!(odd.seen.contains(&Notable::Up), "the IKE SA is there, for another try");
        gateway.until("the attempt has failed", |gateway| figures(gateway) == [1, 0, 1, 0, 1]);
        let back = Client::resuming(&gateway, &told).connect();
        assert_eq!(back.ike.address(), inner);
        gateway.until("the session is back", |gateway| figures(gateway)[1..] == [1, 1, 1, 0]);
    }
}

#[test]
fn a_pool_that_waiting_sessions_fill_is_full_unless_they_may_be_displaced() {
    for reclaim in [false, true] {
        let gateway = Gateway::start_reconnect(&format!("full-{reclaim}"), "", |config| {
            impatient(config);
            config.reconnect.reclaim = reclaim;
            config.pools[0].last = config.pools[0].first.or(Some([10, 99, 20, 1].into()));
            config.pools[0].first = config.pools[0].last;
        });
        let (client, told) = login(&gateway);
        let inner = client.ike.address();
        drop(client);
        gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
        let mut second = Client::anyconnect(&gateway, USER, PASSWORD);
        if reclaim {
            second.connect_until(&Notable::Up);
            assert_eq!((second.ike.address(), inactive(&gateway).total), (inner, 0));
            refused(&gateway, &told);
        } else {
            second.connect_until(&Notable::Refused(NotifyType::InternalAddressFailure));
            assert_eq!(inactive(&gateway).total, 1);
            assert_eq!(Client::resuming(&gateway, &told).connect().ike.address(), inner);
        }
        assert_eq!(gateway.health().pools["staff"].used, 1);
    }
}

/// Minutes pass between the lines: the gateway is stopped, and finds a session in its store that has waited for long.
#[test]
fn a_session_that_has_waited_long_enough_ends_while_the_gateway_runs() {
    const LEFT_SECS: i64 = 2;
    let mut gateway = Gateway::start_reconnect("expiry", "", impatient);
    let (client, told) = login(&gateway);
    drop(client);
    gateway.until("the session is inactive", |gateway| inactive(gateway).total == 1);
    gateway.stop();
    let store = rusqlite::Connection::open(gateway.directory().join("sessions.db")).unwrap();
    let now = i64::try_from(causeway_controlplane::clock::unix_secs()).unwrap();
    let changed = store.execute("UPDATE session SET expires_at = ?1 WHERE state = 2", [now + LEFT_SECS]);
    assert_eq!(changed, Ok(1));
    drop(store);
    let gateway = gateway.again();
    assert_eq!((figures(&gateway), gateway.health().pools["staff"].used), ([0, 0, 0, 0, 1], 1));
    gateway.until("its time is over", |gateway| figures(gateway)[4] == 0);
    assert_eq!(gateway.health().pools["staff"].used, 0);
    refused(&gateway, &told);
    assert_eq!(figures(&gateway), [1, 0, 1, 0, 0]);
    // And its user is as welcome as anybody.
    Client::anyconnect(&gateway, USER, PASSWORD).connect();
}

/// What a second machine over the same disk does, once the first is dead.
#[test]
fn another_gateway_that_is_given_the_store_resumes_its_sessions() {
    let mut first = Gateway::start_reconnect("node-a", "", |_| {});
    let (client, told) = login(&first);
    let inner = client.ike.address();
    // Another machine, which has not the state of its IKE SAs.
    first.power_cut();
    let disk = first.directory().join("sessions.db");
    let second = Gateway::start_reconnect("node-b", "", |config| config.store.path = disk.clone());
    assert_eq!(figures(&second), [0, 0, 0, 0, 1]);
    assert_ne!(second.authority, first.authority, "it has a certificate of its own");
    let back = Client::resuming(&second, &told).connect();
    assert_eq!(back.ike.address(), inner);
    second.until("the session is here", |second| figures(second) == [1, 1, 0, 1, 0]);
    drop(second);
}

#[test]
fn a_replayed_token_costs_the_session_or_only_the_attempt_as_the_policy_says() {
    for (on_token_replay, survives) in [(OnTokenReplay::Kill, false), (OnTokenReplay::Refuse, true)] {
        let gateway = Gateway::start_reconnect(&format!("replay-{survives}"), "", |config| {
            config.reconnect.on_token_replay = on_token_replay;
        });
        let (_first, old) = login(&gateway);
        let mut second = Client::resuming(&gateway, &old).connect();
        let probe = second.ike.liveness().unwrap();
        second.send(probe);
        second.until_seen(&Notable::Answered);
        refused(&gateway, &old);
        if survives {
            assert_eq!(gateway.sessions().total, 1);
            Client::resuming(&gateway, &second.told().unwrap()).connect();
        } else {
            gateway.until("the session is killed", |gateway| gateway.sessions().total == 0);
            refused(&gateway, &second.told().unwrap());
        }
    }
}
