//! Additional key exchanges in IKE_INTERMEDIATE (RFC 9242, RFC 9370): logins of every kind, what is refused, what is repeated.

use super::harness::*;
use crate::api::{Event, Input, Operator};
use crate::counters::IkeCounter;
use crate::testing::*;
use crate::wire::{ExchangeType, Ke, NotifyType, Payload};

const HYBRID: &str = "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024";
const THREE: &str = "aes128-sha256-curve25519-ke1_mlkem768-ke2_mlkem1024";
const OPTIONAL: &str = "aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke1_none";
const CLASSIC: &str = "aes256gcm16-prfsha384-ecp384";

fn gateway(pki: &Pki, ike: &str) -> Gateway {
    Gateway::new(pki, 1, |config| config.ike_proposals = vec![ike.parse().unwrap()])
}

/// A client that offers this; it cuts its messages, since a key of ML-KEM fills a packet.
fn client(config: InitiatorConfig, ike: &str) -> Client {
    let fragment = Some(576);
    Client::new(InitiatorConfig { ike: vec![ike.parse().unwrap()], fragment, ..config }, 2)
}

#[test]
fn every_login_after_additional_key_exchanges() {
    let pki = Pki::new();
    for (ike, exchanges) in [(HYBRID, 1), (THREE, 2)] {
        for config in [
            psk_config(),
            certificate_config(&pki, pki.issue("client.example", 2040)),
            eap_config(&pki, PASSWORD),
        ] {
            let mut gateway = gateway(&pki, ike);
            let mut client = client(config, ike);
            assert!(client.login(&mut gateway).contains(&Notable::Up), "{ike}");
            assert_agreement(&client, &gateway);
            assert_eq!(gateway.facts().ike_suite, ike);
            assert_eq!(gateway.count(IkeCounter::AdditionalKeyExchanges), exchanges);
        }
    }
}

#[test]
fn a_session_with_additional_key_exchanges_outlives_the_process() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, THREE);
    let mut client = client(psk_config(), THREE);
    client.login(&mut gateway);
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    gateway.restore(snapshot.expose(), 0).unwrap();
    assert_eq!(gateway.facts().ike_suite, THREE);
    let liveness = client.initiator.liveness().unwrap();
    client.exchange(&mut gateway, liveness);
    assert!(client.notable.contains(&Notable::Answered));
}

/// Gateway's proposal, client's proposal, whether the client announces IKE_INTERMEDIATE, and what comes of it.
#[test]
fn who_can_do_without() {
    let pki = Pki::new();
    let forgets: Arrange = |_, mut payloads| {
        payloads.retain(|payload| {
            !matches!(payload, Payload::Notify(n) if n.kind == NotifyType::IntermediateExchangeSupported)
        });
        payloads
    };
    let keeps: Arrange = |_, payloads| payloads;
    for (ours, theirs, arrange, suite) in [
        (OPTIONAL, OPTIONAL, keeps, Some("aes256gcm16-prfsha384-ecp384-ke1_mlkem768")),
        (OPTIONAL, CLASSIC, keeps, Some(CLASSIC)),
        (CLASSIC, OPTIONAL, keeps, Some(CLASSIC)),
        (OPTIONAL, OPTIONAL, forgets, Some(CLASSIC)),
        (HYBRID, CLASSIC, keeps, None),
        (CLASSIC, HYBRID, keeps, None),
        (HYBRID, HYBRID, forgets, None),
        (HYBRID, "aes256gcm16-prfsha384-ecp384-ke1_mlkem768", keeps, None),
    ] {
        let mut gateway = gateway(&pki, ours);
        let mut client = client(InitiatorConfig { arrange, ..psk_config() }, theirs);
        let notable = client.login(&mut gateway);
        match suite {
            Some(suite) => {
                assert!(notable.contains(&Notable::Up), "{ours} {theirs}");
                assert_eq!(gateway.facts().ike_suite, suite);
            }
            None => {
                assert_eq!(notable, [Notable::Refused(NotifyType::NoProposalChosen)], "{ours} {theirs}");
                gateway.assert_empty();
            }
        }
    }
}

/// No method twice (RFC 9370 §2.2.2): a second choice is taken, or none.
#[test]
fn no_method_is_chosen_twice() {
    let pki = Pki::new();
    let twice = "aes128-sha256-ecp256-ke1_mlkem768-ke2_mlkem768-ke2_none";
    let mut gateway = gateway(&pki, twice);
    let mut client = client(psk_config(), twice);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_eq!(gateway.facts().ike_suite, "aes128-sha256-ecp256-ke1_mlkem768");
}

#[test]
fn a_wrong_key_ends_only_the_attempt_and_says_why() {
    let pki = Pki::new();
    let other_method: Arrange = |exchange, payloads| match exchange {
        ExchangeType::IkeIntermediate => vec![Payload::Ke(Ke { group: 36, data: vec![1; 1184] })],
        _ => payloads,
    };
    let short: Arrange = |exchange, payloads| match exchange {
        ExchangeType::IkeIntermediate => vec![Payload::Ke(Ke { group: 37, data: vec![1; 1567] })],
        _ => payloads,
    };
    let nothing: Arrange = |exchange, payloads| match exchange {
        ExchangeType::IkeIntermediate => Vec::new(),
        _ => payloads,
    };
    for (arrange, notify) in [
        (other_method, NotifyType::InvalidSyntax),
        (short, NotifyType::InvalidSyntax),
        (nothing, NotifyType::InvalidSyntax),
    ] {
        let mut gateway = gateway(&pki, HYBRID);
        let mut client = client(InitiatorConfig { arrange, ..psk_config() }, HYBRID);
        assert_eq!(client.login(&mut gateway), [Notable::Refused(notify)]);
        assert!(gateway.events.iter().any(|event| matches!(event, Event::HandshakeFailed { .. })));
        gateway.assert_empty_after_farewell();
    }
}

/// Whoever alters what IKE_INTERMEDIATE carried is found out by AUTH, though it could open and seal those messages.
#[test]
fn auth_covers_what_was_exchanged() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, HYBRID);
    let mut client = client(psk_config(), HYBRID);
    client.initiator.forget_intermediate();
    let notable = client.login(&mut gateway);
    assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
}

/// The answer is lost: the request comes again under the keys of before, and so does the answer.
#[test]
fn a_repeated_request_gets_the_same_answer_though_the_keys_have_changed() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, HYBRID);
    let mut client = client(psk_config(), HYBRID);
    let first = client.initiator.start().unwrap();
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    let request = client.receive(&answer);
    assert!(request.len() > 1, "a key of ML-KEM-1024 takes several fragments");
    let mut answers = Vec::new();
    for _ in 0..3 {
        for outgoing in &request {
            gateway.input(Input::Datagram(client.datagram(outgoing)));
        }
        answers.push(gateway.outbox.drain(..).collect::<Vec<_>>());
    }
    assert!(!answers[0].is_empty() && answers.iter().all(|again| *again == answers[0]));
    assert_eq!(gateway.count(IkeCounter::AdditionalKeyExchanges), 1);
    let mut next = Vec::new();
    for answer in &answers[0] {
        next.extend(client.receive(answer));
    }
    client.exchange(&mut gateway, next);
    assert!(client.notable.contains(&Notable::Up));
}

/// The client goes away between the exchanges.
#[test]
fn who_does_not_go_on_is_forgotten() {
    let pki = Pki::new();
    let mut gateway = gateway(&pki, HYBRID);
    let mut client = client(psk_config(), HYBRID);
    let first = client.initiator.start().unwrap();
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    assert_eq!(gateway.endpoint.half_open(), 1);
    gateway.advance(120_000);
    assert_eq!(gateway.count(IkeCounter::HandshakeTimeout), 1);
    gateway.assert_empty();
}

/// IKE_FOLLOWUP_KE: both sides rekey the IKE SA, one after the other, and Child SAs under the new one.
#[test]
fn rekeys_repeat_the_additional_key_exchanges() {
    let pki = Pki::new();
    for (ike, exchanges) in [(HYBRID, 1), (THREE, 2)] {
        let mut gateway = gateway(&pki, ike);
        let mut client = client(psk_config(), ike);
        client.login(&mut gateway);
        let session = gateway.session();
        for round in 1..=3 {
            let before = gateway.count(IkeCounter::AdditionalKeyExchanges);
            assert_eq!(
                client.act(&mut gateway, Initiator::rekey_ike),
                [Notable::IkeRekeyed],
                "{ike} {round}"
            );
            gateway.input(Input::Operator(Operator::RekeyIke(session)));
            client.exchange(&mut gateway, Vec::new());
            assert_eq!(std::mem::take(&mut client.notable), [Notable::IkeRekeyed], "{ike} {round}");
            assert_eq!(gateway.count(IkeCounter::AdditionalKeyExchanges), before + 2 * exchanges);
            assert_eq!(gateway.facts().ike_suite, ike);
            let old = client.child().inbound_spi;
            let notable = client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
            assert!(notable.contains(&Notable::ChildDown(old)));
            gateway.advance(60_000);
            assert_agreement(&client, &gateway);
        }
        assert_eq!(gateway.count(IkeCounter::RekeyFailed), 0);
    }
}

/// An additional key exchange that belongs to no rekey, or to one that was given up (RFC 9370 §2.2.4).
#[test]
fn a_follow_up_without_its_rekey_is_not_found() {
    let pki = Pki::new();
    let wrong_link: Arrange = |exchange, mut payloads| {
        if exchange == ExchangeType::IkeFollowupKe {
            payloads.retain(|payload| !matches!(payload, Payload::Notify(_)));
        }
        payloads
    };
    let mut gateway = gateway(&pki, HYBRID);
    let mut client = client(InitiatorConfig { arrange: wrong_link, ..psk_config() }, HYBRID);
    client.login(&mut gateway);
    let notable = client.act(&mut gateway, Initiator::rekey_ike);
    assert_eq!(notable, [Notable::Refused(NotifyType::StateNotFound)]);
    // What waits for its next exchange is forgotten in time; the session stays.
    gateway.advance(60_000);
    assert_eq!(gateway.count(IkeCounter::RekeyFailed), 2);
    assert_agreement(&client, &gateway);
    let liveness = client.initiator.liveness().unwrap();
    client.exchange(&mut gateway, liveness);
    assert!(client.notable.contains(&Notable::Answered));
}

/// Both rekey the IKE SA at once: one new IKE SA is left, with the Child SAs.
#[test]
fn rekeys_of_both_sides_at_once_leave_one_ike_sa() {
    let pki = Pki::new();
    for seed in 0..8 {
        let mut gateway = gateway(&pki, HYBRID);
        let config = InitiatorConfig { ike: vec![HYBRID.parse().unwrap()], ..psk_config() };
        let mut client = Client::new(config, 100 + seed);
        client.login(&mut gateway);
        let session = gateway.session();
        let first = client.initiator.rekey_ike().unwrap();
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        client.exchange(&mut gateway, first);
        gateway.advance(60_000);
        client.exchange(&mut gateway, Vec::new());
        let liveness = client.initiator.liveness().unwrap();
        client.exchange(&mut gateway, liveness);
        assert!(client.notable.contains(&Notable::Answered), "seed {seed}");
        assert_agreement(&client, &gateway);
        let child = client.child().inbound_spi;
        let notable = client.act(&mut gateway, |initiator| initiator.create_child(Some(child), None));
        assert!(notable.contains(&Notable::ChildDown(child)), "seed {seed}");
    }
}
