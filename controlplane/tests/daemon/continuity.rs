//! Sessions whose control plane is killed and started again: the client notices nothing, whatever it was in the middle of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use causeway_controlplane::store::sqlite::SqliteStore;
use causeway_controlplane::store::{Cursor, SessionStore};
use causeway_ike::testing::Notable;
use causeway_shared::api::Session;

use crate::client::Client;
use crate::gateway::{DEADLINE, Gateway, PASSWORD, USER};
use crate::http;

/// How long a client waits before it repeats a request.
const REPEAT: Duration = Duration::from_millis(40);
/// The Encrypted payload's type.
const SK: u8 = 46;

/// What an operator knows a session by.
fn known(session: &Session) -> impl PartialEq + std::fmt::Debug + use<> {
    let spis: Vec<_> = session.child_sas.iter().map(|child| child.inbound_spi.clone()).collect();
    (
        (session.id.clone(), session.user.clone(), session.auth_method.clone(), session.state),
        (session.inner_address, session.peer.clone(), session.ike_spis.clone(), spis),
        (session.ike.serial, session.ike.tunnel_id, session.ike.group.clone(), session.ike.reconnect_capable),
    )
}

fn restarted(mut gateway: Gateway) -> Gateway {
    gateway.crash();
    gateway.again_there()
}

fn stored(gateway: &Gateway) -> usize {
    let store = SqliteStore::open(&gateway.directory().join("sessions.db")).unwrap();
    store.page(Cursor::START, 100).unwrap().records.len()
}

/// Repeats the client's request until it is answered, as clients do.
fn settle(client: &mut Client, heard: &mut Heard) {
    let started = Instant::now();
    let mut send_at = started + REPEAT;
    while client.ike.is_waiting() {
        assert!(started.elapsed() < DEADLINE, "no answer: {:?}", client.seen);
        if send_at <= Instant::now() {
            client.send(client.ike.retransmit());
            send_at = Instant::now() + REPEAT;
        }
        if let Some(message) = client.arrived() {
            heard.take(client, &message);
        }
    }
}

fn answered(client: &mut Client) {
    settle(client, &mut Heard::default());
    client.seen.clear();
    let probe = client.ike.liveness().unwrap();
    client.send(probe);
    client.until_seen(&Notable::Answered);
}

fn lives_on(gateway: Gateway, mut client: Client) {
    let before = gateway.sessions().sessions.remove(0);
    answered(&mut client);
    let gateway = restarted(restarted(gateway));
    let list = gateway.sessions();
    assert_eq!((list.total, known(&list.sessions[0])), (1, known(&before)));
    assert_eq!(gateway.health().pools["staff"].used, 1);
    answered(&mut client);
    let old = client.ike.children()[0].inbound_spi;
    let rekey = client.ike.create_child(Some(old), None).unwrap();
    client.send(rekey);
    client.until("its rekey of the Child SA", |client| {
        client.ike.children().iter().all(|c| c.inbound_spi != old)
    });
    let gateway = restarted(gateway);
    client.seen.clear();
    let rekey = client.ike.rekey_ike().unwrap();
    client.send(rekey);
    client.until_seen(&Notable::IkeRekeyed);
    let gateway = restarted(gateway);
    answered(&mut client);
    let path = format!("/v1/sessions/{}/rekey", before.id);
    client.seen.clear();
    let spis = gateway.sessions().sessions.remove(0).ike_spis;
    assert_eq!(http::request(&gateway.api, "POST", &path, Some(r#"{"what":"ike"}"#)).status, 202);
    // Until the gateway has its new keys, it is the one thing that a restart does not survive.
    client.until("its rekey", |_| gateway.sessions().sessions[0].ike_spis != spis);
    let mut gateway = restarted(gateway);
    answered(&mut client);
    assert_eq!(gateway.sessions().sessions[0].id, before.id);
    assert_eq!(gateway.counter("driver_states_unsaved"), 0);
    let goodbye = client.ike.delete_ike().unwrap();
    client.send(goodbye);
    client.until_seen(&Notable::Down);
    gateway.until("nothing is left", |gateway| gateway.health().pools["staff"].used == 0);
    gateway.crash();
    assert_eq!(stored(&gateway), 0);
    let gateway = gateway.again_there();
    assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (0, 0));
}

#[test]
fn an_upgrade_leaves_the_sessions_to_the_next_control_plane() {
    let mut gateway = Gateway::start("leave", "");
    let mut client = Client::psk(&gateway, "a.example").connect();
    let before = gateway.sessions().sessions.remove(0);
    gateway.leave();
    let mut gateway = gateway.again_there();
    assert!(gateway.sessions().sessions.iter().map(known).eq([known(&before)]));
    answered(&mut client);
    gateway.begin_stop();
    client.until_seen(&Notable::Down);
    gateway.stop();
}

#[test]
fn a_client_that_could_come_back_need_not() {
    let gateway = Gateway::start_reconnect("on-anyconnect", "", |_| {});
    let client = Client::anyconnect(&gateway, USER, PASSWORD).connect();
    lives_on(gateway, client);
}

#[test]
fn a_client_that_could_not_come_back_goes_on() {
    let gateway = Gateway::start_reconnect("on-eap", "", |_| {});
    let client = Client::eap(&gateway, USER, PASSWORD).connect();
    lives_on(gateway, client);
}

#[test]
fn a_gateway_without_reconnect_goes_on_too() {
    let gateway = Gateway::start("on-psk", "");
    let client = Client::psk(&gateway, "laptop.example").connect();
    lives_on(gateway, client);
}

#[test]
fn a_session_of_another_run_of_the_machine_does_not_go_on() {
    let mut gateway = Gateway::start("on-power", "");
    let client = Client::psk(&gateway, "laptop.example").connect();
    gateway.power_cut();
    let gateway = gateway.again_there();
    assert_eq!((gateway.sessions().total, gateway.health().pools["staff"].used), (0, 0));
    drop(client);
}

#[test]
fn a_limit_of_a_session_goes_on_with_it() {
    let gateway = Gateway::start_reconnect("on-limit", "", |config| config.groups[0].idle_secs = 2);
    let mut client = Client::eap(&gateway, USER, PASSWORD).connect();
    let gateway = restarted(gateway);
    client.until_seen(&Notable::Down);
    gateway.until("it is down", |gateway| gateway.counter("sessions_ended_idle_timeout") == 1);
}

/// What the gateway has said: by exchange, and which IVs it has used.
#[derive(Default)]
struct Heard {
    answers: BTreeMap<Vec<u8>, Vec<u8>>,
    ivs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Heard {
    fn take(&mut self, client: &mut Client, message: &[u8]) {
        // Complaints about unknown SPIs are in the clear; nobody believes them.
        if message[16] == SK {
            self.hear(message);
            let answers = client.ike.receive(message).unwrap();
            client.seen.extend(client.ike.take_notable());
            client.send(answers);
        }
    }

    /// SPIs, flags and message ID name a message; IV and SPIs must name it, too.
    fn hear(&mut self, message: &[u8]) {
        let (spis, name, iv) =
            (&message[..16], [&message[..16], &message[19..24]].concat(), &message[32..40]);
        let before = self.answers.entry(name).or_insert_with(|| message.to_vec());
        assert_eq!(before, message, "two messages with one id");
        let before = self.ivs.entry([spis, iv].concat()).or_insert_with(|| message.to_vec());
        assert_eq!(before, message, "two messages with one IV");
    }
}

#[test]
fn no_message_id_and_no_iv_is_used_for_two_messages_however_often_the_gateway_dies() {
    let mut gateway = Gateway::start("on-often", "");
    let mut client = Client::psk(&gateway, "laptop.example").connect();
    let mut heard = Heard::default();
    client.seen.clear();
    for round in 0..24u64 {
        let first = match round % 4 {
            1 => {
                let old = client.ike.children()[0].inbound_spi;
                client.ike.create_child(Some(old), None).unwrap()
            }
            3 => client.ike.rekey_ike().unwrap(),
            _ => client.ike.liveness().unwrap(),
        };
        gateway = std::thread::scope(|scope| {
            // Dies somewhere between the request's arrival and long after the answer: the delay is the fault.
            let restarts = scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(round * 7 % 40));
                restarted(gateway)
            });
            client.send(first);
            // Sometimes the first answer is lost; whoever repeats the request hears the same.
            if round % 3 == 0
                && let Some(message) = client.arrived()
            {
                heard.hear(&message);
            }
            settle(&mut client, &mut heard);
            restarts.join().unwrap()
        });
        assert_eq!(gateway.sessions().total, 1, "round {round}");
    }
    assert_eq!(client.seen.iter().filter(|seen| **seen == Notable::Up).count(), 0, "no new login");
    assert!(heard.ivs.len() > 24);
    let spis: BTreeSet<u32> = client.ike.children().iter().map(|child| child.outbound_spi).collect();
    gateway.until("one Child SA", |gateway| gateway.sessions().sessions[0].child_sas.len() == 1);
    let has = &gateway.sessions().sessions[0].child_sas[0].inbound_spi;
    assert!(spis.contains(&u32::from_str_radix(has, 16).unwrap()));
}

#[test]
fn whoever_was_told_that_it_is_logged_in_is_logged_in() {
    const ROUNDS: u64 = 12;
    let mut gateway = Gateway::start_reconnect("on-login", "", |_| {});
    for round in 1..=ROUNDS {
        let mut client = Client::anyconnect(&gateway, USER, PASSWORD);
        let first = client.ike.start().unwrap();
        client.send(first);
        let (told, tells) = mpsc::channel();
        let (again, up) = std::thread::scope(|scope| {
            // The delay is the fault. In the last round it ends when the client was told, however slow the machine is.
            let delay = if round == ROUNDS { DEADLINE } else { Duration::from_millis(20 + round * 10) };
            let restarts = scope.spawn(move || {
                let _ = tells.recv_timeout(delay);
                restarted(gateway)
            });
            while !restarts.is_finished() && !client.seen.contains(&Notable::Up) {
                client.turn();
            }
            if round == ROUNDS {
                let _ = told.send(());
            }
            (restarts.join().unwrap(), client.seen.contains(&Notable::Up))
        });
        gateway = again;
        if up {
            answered(&mut client);
            assert_eq!(gateway.sessions().sessions.last().unwrap().inner_address, client.ike.address());
        }
    }
    assert!(gateway.sessions().total > 0, "some were in time");
}
