//! Both sides begin the same rekey at once (RFC 7296 §2.8.1, §2.8.2): one SA survives, the same on both sides, whoever has
//! the lowest nonce and in whatever order messages arrive.

use std::collections::BTreeSet;

use super::harness::*;
use crate::api::{Datagram, Event, Input, Operator};
use crate::counters::IkeCounter;
use crate::established::SETTLE_MS;
use crate::testing::*;
use crate::wire::{Delete, Payload};

fn connected(seed: u64) -> (Client, Gateway) {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, seed, |_| {});
    let mut client = Client::new(psk_config(), seed + 1000);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    (client, gateway)
}

#[test]
fn child_rekeys_collide() {
    let (mut collisions, mut survivors) = (0, BTreeSet::new());
    for seed in 0..24 {
        let (mut client, mut gateway) = connected(seed);
        let session = gateway.session();
        let old = client.child();
        // Both requests are on their way before either arrives.
        gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        let ours: Datagram = gateway.outbox.pop_front().unwrap();
        let theirs = client.initiator.create_child(Some(old.inbound_spi), None).unwrap();
        let mut follow_up = Vec::new();
        let made_by_gateway;
        if seed % 2 == 0 {
            gateway.input(Input::Datagram(client.datagram(&theirs[0])));
            let answer_to_theirs = gateway.outbox.pop_front().unwrap();
            let answer_to_ours = client.receive(&ours);
            made_by_gateway = client.child().outbound_spi;
            gateway.input(Input::Datagram(client.datagram(&answer_to_ours[0])));
            follow_up.extend(client.receive(&answer_to_theirs));
        } else {
            let answer_to_ours = client.receive(&ours);
            made_by_gateway = client.child().outbound_spi;
            gateway.input(Input::Datagram(client.datagram(&theirs[0])));
            let answer_to_theirs = gateway.outbox.pop_front().unwrap();
            follow_up.extend(client.receive(&answer_to_theirs));
            gateway.input(Input::Datagram(client.datagram(&answer_to_ours[0])));
        }
        client.exchange(&mut gateway, follow_up);
        collisions += gateway.count(IkeCounter::RekeyCollisions);
        gateway.advance(SETTLE_MS);
        client.exchange(&mut gateway, Vec::new());
        assert_agreement(&client, &gateway);
        let mine: Vec<u32> = client.initiator.children().iter().map(|child| child.outbound_spi).collect();
        let theirs: Vec<u32> = gateway.installed.keys().copied().collect();
        assert_eq!(theirs, mine, "seed {seed}");
        assert!(!mine.contains(&old.outbound_spi), "seed {seed}: the old one is gone");
        assert_eq!(mine.len(), 1, "seed {seed}: one of the two new ones is gone");
        survivors.insert(mine[0] == made_by_gateway);
        client.act(&mut gateway, Initiator::delete_ike);
        gateway.assert_empty_after_farewell();
    }
    assert_eq!(collisions, 24);
    assert_eq!(survivors.len(), 2, "either side's Child SA survives, as the nonces fall");
}

#[test]
fn ike_rekeys_collide() {
    let mut survivors = BTreeSet::new();
    for seed in 0..24 {
        let (mut client, mut gateway) = connected(seed);
        let session = gateway.session();
        let child = client.child();
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        let ours = gateway.outbox.pop_front().unwrap();
        let theirs = client.initiator.rekey_ike().unwrap();
        gateway.input(Input::Datagram(client.datagram(&theirs[0])));
        let answer_to_theirs = gateway.outbox.pop_front().unwrap();
        let answer_to_ours = client.receive(&ours);
        // Until here both new IKE SAs exist on the client's side only in part; then ours is answered first.
        gateway.input(Input::Datagram(client.datagram(&answer_to_ours[0])));
        assert_eq!(gateway.count(IkeCounter::RekeyCollisions), 1);
        let our_delete = gateway.outbox.pop_front().unwrap();
        let held = gateway.endpoint.held().ike_spis;
        assert_eq!(held, 3, "old, ours, theirs");
        // Each deletes the old one if its own new one stays, else its own new one.
        let their_delete = client.receive(&answer_to_theirs);
        gateway.input(Input::Datagram(client.datagram(&their_delete[0])));
        let answers = client.receive(&our_delete);
        client.exchange(&mut gateway, answers);
        gateway.advance(SETTLE_MS);
        assert_eq!(gateway.endpoint.held().ike_spis, 1, "seed {seed}: one IKE SA survives");
        assert_eq!(gateway.endpoint.established(), 1, "seed {seed}");
        assert_eq!(gateway.installed.len(), 1, "seed {seed}: Child SAs are untouched");
        assert_eq!(client.child(), child);
        client.notable.clear();
        assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered], "seed {seed}");
        let mut replaced = gateway.events.iter().filter_map(|event| match event {
            Event::IkeRekeyed { by, .. } => Some(format!("{by:?}")),
            _ => None,
        });
        survivors.extend(replaced.next());
        assert_eq!(replaced.next(), None, "seed {seed}: replaced once");
        gateway.input(Input::Operator(Operator::Delete(session)));
        gateway.advance(600_000);
        gateway.assert_empty();
    }
    assert_eq!(survivors.len(), 2, "either side's IKE SA survives, as the nonces fall: {survivors:?}");
}

/// The client lost and withdraws its IKE SA: the session lives on, on ours.
#[test]
fn a_redundant_ike_sa_is_withdrawn_without_harm() {
    let mut withdrawn = 0;
    for seed in 0..12 {
        let (mut client, mut gateway) = connected(seed);
        let session = gateway.session();
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        let _ours_is_late = gateway.outbox.pop_front().unwrap();
        let theirs = client.initiator.rekey_ike().unwrap();
        gateway.input(Input::Datagram(client.datagram(&theirs[0])));
        let answer = gateway.outbox.pop_front().unwrap();
        let _delete_of_the_old_one_is_lost = client.receive(&answer);
        // On the redundant IKE SA, before our own rekey was answered.
        let payloads = vec![Payload::Delete(Delete::Ike)];
        let exchange = crate::wire::ExchangeType::Informational;
        let delete = client.initiator.raw_message(exchange, false, 0, payloads).unwrap();
        gateway.input(Input::Datagram(client.datagram(&delete[0])));
        assert_eq!(gateway.endpoint.established(), 1, "seed {seed}");
        assert_eq!(gateway.installed.len(), 1);
        withdrawn += 1;
    }
    assert_eq!(withdrawn, 12);
}
