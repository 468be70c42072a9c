//! Sessions that outlive their process: the client notices nothing, no IV comes twice, and nothing is left in the end.

mod continuity;

use std::collections::BTreeSet;

use super::harness::*;
use crate::RestoreError;
use crate::api::{DownReason, Event, Input, JobKind, Liveness, Operator, SessionId};
use crate::policy::{EndpointConfig, Lifetimes, Timing};
use crate::suite::Group;
use crate::testing::*;

fn connected(change: impl FnOnce(&mut EndpointConfig)) -> (Client, Gateway) {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, change);
    gateway.attributes = vec![(28_800, b"id".to_vec())];
    let mut client = Client::new(InitiatorConfig { force_nat: true, ..psk_config() }, 2);
    client.mapped_port = Some(40_001);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    (client, gateway)
}

/// The process dies and another one goes on with what was stored.
fn reborn(gateway: &mut Gateway) -> SessionId {
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    gateway.restore(snapshot.expose(), 0).unwrap()
}

#[test]
fn a_client_goes_on_as_if_nothing_had_happened() {
    for (ike, esp) in [(IKE, ESP), ("aes256-sha256-curve25519", "aes128-sha256")] {
        let pki = Pki::new();
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        let config = InitiatorConfig {
            ike: vec![ike.parse().unwrap()],
            esp: vec![esp.parse().unwrap()],
            ..psk_config()
        };
        let mut client = Client::new(config, 2);
        client.login(&mut gateway);
        let before = gateway.facts();
        let liveness = Liveness::OnDemand { interval_secs: 45, retry_secs: 2, tries: 5 };
        let asked = Input::Operator(Operator::SetLiveness { session: gateway.session(), liveness });
        gateway.input(asked);
        client.act(&mut gateway, Initiator::liveness);
        let ids = gateway.endpoint.ike_facts(gateway.session()).unwrap();
        let session = reborn(&mut gateway);
        let after = gateway.facts();
        assert_eq!(crate::api::SessionFacts { session, ..before }, after);
        let facts = gateway.endpoint.ike_facts(session).unwrap();
        assert_eq!(crate::api::IkeFacts { session, ..ids }, facts);
        assert_agreement(&client, &gateway);
        assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
        // Rekeys from both sides, of both kinds.
        let old = client.child().inbound_spi;
        client.act(&mut gateway, |initiator| initiator.create_child(Some(old), Some(Group::Ecp256)));
        assert_agreement(&client, &gateway);
        assert!(client.act(&mut gateway, Initiator::rekey_ike).contains(&Notable::IkeRekeyed));
        gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        client.exchange(&mut gateway, Vec::new());
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        client.exchange(&mut gateway, Vec::new());
        assert!(client.notable.contains(&Notable::IkeRekeyed));
        assert_agreement(&client, &gateway);
        assert!(client.act(&mut gateway, Initiator::delete_ike).contains(&Notable::Down));
        gateway.assert_empty_after_farewell();
    }
}

#[test]
fn a_lost_answer_is_repeated_by_the_next_process() {
    let (mut client, mut gateway) = connected(|_| {});
    let sent = client.initiator.liveness().unwrap();
    gateway.input(Input::Datagram(client.datagram(&sent[0])));
    let lost = gateway.outbox.pop_front().unwrap();
    reborn(&mut gateway);
    gateway.input(Input::Datagram(client.datagram(&client.initiator.retransmit()[0])));
    assert_eq!(gateway.outbox.pop_front(), Some(lost));
}

#[test]
fn a_question_without_answer_is_asked_again_in_the_same_octets() {
    let (mut client, mut gateway) = connected(|config| {
        config.timing = Timing { dpd_interval_secs: 30, ..Timing::default() };
    });
    gateway.advance(30_000);
    let question = gateway.outbox.pop_front().unwrap();
    let session = reborn(&mut gateway);
    gateway.input(Input::Timer);
    assert_eq!(gateway.outbox.front(), Some(&question));
    client.exchange(&mut gateway, Vec::new());
    let facts = gateway.endpoint.ike_facts(session).unwrap();
    assert_eq!((facts.local_outstanding_id, facts.local_next_id), (None, 1));
    assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
}

/// The IVs of the gateway's messages (behind the headers of message and payload).
fn ivs(gateway: &Gateway) -> BTreeSet<[u8; 8]> {
    gateway.outbox.iter().map(|datagram| datagram.bytes[32..40].try_into().unwrap()).collect()
}

#[test]
fn no_iv_comes_twice_even_if_a_snapshot_does() {
    let (_, mut gateway) = connected(|_| {});
    let snapshot = gateway.snapshot().unwrap();
    // What was sent after the snapshot was stored, and two processes that know nothing of it or of each other.
    gateway.input(Input::Operator(Operator::Delete(gateway.session())));
    let mut seen = ivs(&gateway);
    assert_eq!(seen.len(), 1);
    for round in 2..6 {
        gateway.restart();
        let (leased, installed) = (gateway.leased.clone(), gateway.installed.len());
        assert!(leased.is_empty() && installed == 0, "the delete has given them back");
        let mut out = crate::api::Outputs::new();
        let elapsed = std::time::Duration::ZERO;
        let (now, env) = (gateway.now, &mut gateway.env);
        let session = gateway.endpoint.restore(now, elapsed, snapshot.expose(), env, &mut out).unwrap();
        let mut out = crate::api::Outputs::new();
        let delete = Input::Operator(Operator::Delete(session));
        gateway.endpoint.handle(now, delete, &mut gateway.env, &mut out);
        while let Some(output) = out.pop() {
            if let crate::api::Output::Transmit(datagram) = output {
                gateway.outbox.push_back(datagram);
            }
        }
        seen.extend(ivs(&gateway));
        assert_eq!(seen.len(), round);
    }
}

#[test]
fn there_is_no_snapshot_while_our_rekey_of_the_ike_sa_is_under_way() {
    let (mut client, mut gateway) = connected(|_| {});
    assert!(gateway.endpoint.take_changed().contains(&gateway.session()));
    assert!(gateway.endpoint.take_changed().is_empty());
    gateway.hold = |kind| matches!(kind, JobKind::InstallChild(_));
    let old = client.child().inbound_spi;
    let session = gateway.session();
    let before = gateway.endpoint.mark(session);
    client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
    // Nothing is told yet: the request counts as not received.
    assert_eq!(gateway.endpoint.mark(session), before);
    gateway.do_held_job();
    assert_ne!(gateway.endpoint.mark(session), before);
    client.exchange(&mut gateway, Vec::new());
    assert!(gateway.snapshot().is_some());
    assert!(gateway.endpoint.take_changed().contains(&session));
    gateway.hold = |_| true;
    gateway.input(Input::Operator(Operator::RekeyIke(session)));
    assert!(gateway.snapshot().is_some(), "nothing is sent yet");
    gateway.do_held_job();
    assert!(gateway.snapshot().is_none() && gateway.endpoint.mark(session).is_none());
    while gateway.do_held_job() {}
    client.exchange(&mut gateway, Vec::new());
    while gateway.do_held_job() {
        client.exchange(&mut gateway, Vec::new());
    }
    assert!(gateway.snapshot().is_some());
    client.act(&mut gateway, Initiator::delete_ike);
    assert!(gateway.endpoint.snapshot(gateway.now, session).is_none());
    assert!(gateway.endpoint.take_changed().is_empty());
}

#[test]
fn timers_go_on_by_the_clock_that_outlives_processes() {
    let lifetimes =
        Lifetimes { ike_rekey_secs: 100, jitter_percent: 0, rekey_grace_secs: 50, ..Lifetimes::default() };
    let (_, mut gateway) = connected(|config| config.lifetimes = lifetimes);
    gateway.advance(10_000);
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    assert_eq!(gateway.restore(snapshot.expose(), 140_000).err(), Some(RestoreError::Expired));
    assert_eq!(gateway.endpoint.held(), crate::Held::default());
    let session = gateway.restore(snapshot.expose(), 20_000).unwrap();
    let facts = gateway.endpoint.ike_facts(session).unwrap();
    assert_eq!(facts.rekey_at, Some(gateway.now.plus_secs(70)));
    assert_eq!(facts.expires_at, Some(gateway.now.plus_secs(120)));
    assert_eq!(gateway.now.millis_since(facts.established_at), 30_000);
    assert_eq!(gateway.restore(snapshot.expose(), 0).err(), Some(RestoreError::Taken));
    gateway.advance(70_000);
    assert_eq!(gateway.outbox.len(), 1, "the rekey is due");
}

#[test]
fn damaged_octets_restore_nothing_or_something_whole_and_never_panic() {
    let (_, mut gateway) = connected(|_| {});
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    let octets = snapshot.expose();
    for length in 0..octets.len() {
        let cut = &octets[..length];
        assert!(gateway.restore(cut, 0).is_err(), "{length}");
    }
    assert_eq!(
        gateway.restore(&[octets, &[0]].concat(), 0).err().map(|e| e.to_string()).as_deref(),
        Some("snapshot is malformed: octets are left over")
    );
    assert_eq!(gateway.endpoint.held(), crate::Held::default());
    let mut other = octets.to_vec();
    other[4] = 1;
    assert_eq!(gateway.restore(&other, 0), Err(RestoreError::Version));
    for at in 5..octets.len() {
        let mut damaged = octets.to_vec();
        damaged[at] ^= 0x41;
        let (now, env) = (gateway.now, &mut gateway.env);
        let mut out = crate::api::Outputs::new();
        let elapsed = std::time::Duration::from_millis(5);
        let restored = gateway.endpoint.restore(now, elapsed, &damaged, env, &mut out);
        if let Ok(session) = restored {
            let drop = Input::Operator(Operator::Drop(session));
            gateway.endpoint.handle(now, drop, &mut gateway.env, &mut out);
        }
        assert_eq!(gateway.endpoint.held(), crate::Held::default(), "octet {at}");
    }
}

#[test]
fn a_dead_client_is_found_dead_after_a_restart_too() {
    let (_, mut gateway) = connected(|config| {
        config.timing = Timing {
            dpd_interval_secs: 30,
            retransmit_base_ms: 1000,
            retransmit_tries: 2,
            ..Timing::default()
        };
    });
    let session = reborn(&mut gateway);
    gateway.advance(30_000 + 1000 + 2000 + 4000);
    let reason = DownReason::PeerDead;
    assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
    gateway.assert_empty();
}
