//! Rekeys begun by either side: same keys on both, no moment without an SA to send by (RFC 7296 §2.8).

use super::harness::*;
use crate::api::{DataPlaneEvent, Event, Input, Operator, SelectorPolicy, Side};
use crate::counters::IkeCounter;
use crate::established::CHILD_LINGER_MS;
use crate::policy::Lifetimes;
use crate::suite::Group;
use crate::testing::*;
use crate::wire::NotifyType;

fn connected(change: impl FnOnce(&mut crate::policy::EndpointConfig)) -> (Client, Gateway) {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, change);
    let mut client = Client::new(psk_config(), 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    (client, gateway)
}

#[test]
fn the_client_rekeys_a_child_sa_and_we_send_by_the_old_one_until_it_is_deleted() {
    for group in [None, Some(Group::Ecp256), Some(Group::Curve25519)] {
        let (mut client, mut gateway) = connected(|_| {});
        let old = client.child();
        let request = client.initiator.create_child(Some(old.inbound_spi), group).unwrap();
        gateway.input(Input::Datagram(client.datagram(&request[0])));
        let inner = std::net::IpAddr::from(client.initiator.address().unwrap());
        assert_eq!(gateway.installed.len(), 2, "both are there before the client knows of the new one");
        assert_eq!(gateway.selected[&inner], old.outbound_spi);
        let answer = gateway.outbox.pop_front().unwrap();
        let delete = client.receive(&answer);
        client.exchange(&mut gateway, delete);
        let new = client.child();
        assert_eq!(new.group, group);
        assert_ne!(new.inbound_keymat, old.inbound_keymat);
        assert_eq!(gateway.selected[&inner], new.outbound_spi);
        assert!(gateway.installed.contains_key(&old.outbound_spi), "packets in flight are still taken");
        assert_agreement(&client, &gateway);
        gateway.advance(CHILD_LINGER_MS);
        assert_eq!(gateway.installed.len(), 1);
        let down = Event::ChildDown {
            session: gateway.session(),
            inbound_spi: old.outbound_spi,
            replaced_by: Some(new.outbound_spi),
        };
        assert_eq!(gateway.events.iter().filter(|event| **event == down).count(), 1);
        assert_eq!(gateway.count(IkeCounter::ChildRekeys), 1);
    }
}

#[test]
fn selectors_are_the_subnets_or_whatever_the_client_asks_for_at_login_and_after() {
    for (selectors, [first, last]) in [
        (SelectorPolicy::Subnets, [[10, 1, 0, 0], [10, 1, 255, 255]]),
        (SelectorPolicy::Any, [[0; 4], [255; 4]]),
    ] {
        let pki = Pki::new();
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        gateway.selectors = selectors;
        let mut client = Client::new(psk_config(), 2);
        assert!(client.login(&mut gateway).contains(&Notable::Up));
        let inner = std::net::IpAddr::from(client.initiator.address().unwrap());
        let old = client.child().inbound_spi;
        // One in place of the first, one beside it, and one that we begin.
        client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
        client.act(&mut gateway, |initiator| initiator.create_child(None, None));
        let session = gateway.session();
        gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        client.exchange(&mut gateway, Vec::new());
        let ups = gateway.events.iter().filter_map(|event| match event {
            Event::ChildUp(facts) => Some(facts),
            _ => None,
        });
        let mut seen = 0;
        for facts in ups {
            let ends = |list: &[crate::api::Selector]| {
                list.iter().map(|selector| (selector.first, selector.last)).collect::<Vec<_>>()
            };
            assert_eq!(ends(&facts.local_selectors), [(first.into(), last.into())], "{selectors:?}");
            assert_eq!(ends(&facts.peer_selectors), [(inner, inner)], "never another client's address");
            seen += 1;
        }
        assert!(seen >= 4, "{seen}");
        let reply = client.initiator.config_reply().unwrap();
        let told = reply.attributes.iter().any(|attribute| attribute.value == [10, 1, 0, 0, 255, 255, 0, 0]);
        assert!(told, "the routes are told either way");
    }
}

#[test]
fn the_first_packet_on_the_new_child_sa_moves_our_traffic_to_it() {
    let (mut client, mut gateway) = connected(|_| {});
    let old = client.child();
    let request = client.initiator.create_child(Some(old.inbound_spi), None).unwrap();
    gateway.input(Input::Datagram(client.datagram(&request[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    let delete = client.receive(&answer);
    let new = client.child();
    let inner = std::net::IpAddr::from(client.initiator.address().unwrap());
    gateway.input(Input::DataPlane(DataPlaneEvent::FirstInbound { inbound_spi: new.outbound_spi }));
    assert_eq!(gateway.selected[&inner], new.outbound_spi);
    client.exchange(&mut gateway, delete);
    assert_eq!(gateway.selected[&inner], new.outbound_spi);
    assert_agreement(&client, &gateway);
}

#[test]
fn we_rekey_a_child_sa_when_it_is_due_or_asked_for() {
    let lifetimes =
        Lifetimes { child_rekey_secs: 100, jitter_percent: 0, rekey_grace_secs: 50, ike_rekey_secs: 0 };
    type Trigger = fn(&mut Gateway, u32);
    let triggers: [(&str, Trigger); 4] = [
        ("time", |gateway, _| gateway.advance(100_000)),
        ("volume", |gateway, inbound_spi| {
            gateway.input(Input::DataPlane(DataPlaneEvent::SoftExpired { inbound_spi }));
        }),
        ("operator", |gateway, inbound_spi| {
            gateway.input(Input::Operator(Operator::RekeyChild { inbound_spi }));
        }),
        ("operator, all", |gateway, _| {
            let session = gateway.session();
            gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        }),
    ];
    for (name, trigger) in triggers {
        let (mut client, mut gateway) = connected(|config| config.lifetimes = lifetimes);
        let old = client.child();
        trigger(&mut gateway, old.outbound_spi);
        assert_eq!(gateway.outbox.len(), 1, "{name}: one request, not sent again at once");
        client.exchange(&mut gateway, Vec::new());
        assert_eq!(client.initiator.children().len(), 1, "{name}");
        let new = client.child();
        assert_ne!(new.inbound_spi, old.inbound_spi, "{name}");
        assert_agreement(&client, &gateway);
        gateway.advance(CHILD_LINGER_MS);
        assert_eq!(gateway.installed.len(), 1, "{name}");
    }
}

#[test]
fn our_rekey_serves_clients_that_want_pfs_and_clients_that_do_not() {
    let pki = Pki::new();
    for (esp, expected) in
        [("aes256gcm16", None), ("aes256gcm16-ecp256", Some(Group::Ecp256)), ("aes256gcm16-curve25519", None)]
    {
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        let config = InitiatorConfig { esp: vec![esp.parse().unwrap()], ..psk_config() };
        let mut client = Client::new(config, 2);
        client.login(&mut gateway);
        let old = client.child();
        let session = gateway.session();
        gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        client.exchange(&mut gateway, Vec::new());
        let new = client.child();
        let refused = esp.contains("curve");
        // A client with a group that we did not guess refuses; it rekeys by itself then.
        assert_eq!(new.inbound_spi == old.inbound_spi, refused, "{esp}");
        assert_eq!(new.group, expected, "{esp}");
        assert_agreement(&client, &gateway);
        assert_eq!(gateway.count(IkeCounter::RekeyFailed), u64::from(refused), "{esp}");
    }
}

#[test]
fn the_client_rekeys_the_ike_sa_and_child_sas_move_over() {
    let (mut client, mut gateway) = connected(|_| {});
    let session = gateway.session();
    let child = client.child();
    for round in 1..=3 {
        assert_eq!(client.act(&mut gateway, Initiator::rekey_ike), [Notable::IkeRekeyed], "{round}");
        assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered], "{round}");
    }
    let by_peer = |event: &&Event| matches!(event, Event::IkeRekeyed { by: Side::Peer, .. });
    assert_eq!(gateway.events.iter().filter(by_peer).count(), 3);
    assert_eq!(client.child(), child);
    assert_eq!(gateway.session(), session);
    // Keys of Child SAs now come from the new IKE SA.
    client.act(&mut gateway, |initiator| initiator.create_child(Some(child.inbound_spi), None));
    assert_agreement(&client, &gateway);
    assert_eq!(client.act(&mut gateway, Initiator::delete_ike), [Notable::Down]);
    gateway.assert_empty_after_farewell();
}

#[test]
fn we_rekey_the_ike_sa() {
    let lifetimes =
        Lifetimes { child_rekey_secs: 0, jitter_percent: 0, rekey_grace_secs: 50, ike_rekey_secs: 100 };
    let (mut client, mut gateway) = connected(|config| config.lifetimes = lifetimes);
    let child = client.child();
    for _ in 0..3 {
        gateway.advance(100_000);
        client.exchange(&mut gateway, Vec::new());
    }
    assert_eq!(client.notable.iter().filter(|n| **n == Notable::IkeRekeyed).count(), 3);
    client.notable.clear();
    assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
    client.act(&mut gateway, |initiator| initiator.create_child(Some(child.inbound_spi), None));
    assert_agreement(&client, &gateway);
    assert_eq!(gateway.endpoint.held().ike_spis, 1, "old IKE SAs are forgotten");
}

#[test]
fn an_ike_sa_that_cannot_be_rekeyed_ends_at_its_hard_lifetime() {
    let lifetimes =
        Lifetimes { child_rekey_secs: 0, jitter_percent: 0, rekey_grace_secs: 50, ike_rekey_secs: 100 };
    let (_, mut gateway) = connected(|config| {
        config.lifetimes = lifetimes;
        config.timing.retransmit_tries = 1000;
    });
    gateway.advance(150_000);
    assert_eq!(gateway.endpoint.established(), 0);
    assert!(gateway.leased.is_empty());
}

#[test]
fn rekeys_of_what_is_not_there_or_going_are_refused() {
    let (mut client, mut gateway) = connected(|_| {});
    let notable = client.act(&mut gateway, |initiator| initiator.create_child(Some(0xdead), None));
    assert_eq!(notable, [Notable::Refused(NotifyType::ChildSaNotFound)]);
    // The gateway deletes the SA; its Delete has not arrived when the client asks for a rekey (RFC 7296 §2.25.1).
    let child = client.child();
    gateway.input(Input::DataPlane(DataPlaneEvent::HardExpired { inbound_spi: child.outbound_spi }));
    let delete = gateway.outbox.pop_front().unwrap();
    let notable = client.act(&mut gateway, |initiator| initiator.create_child(Some(child.inbound_spi), None));
    assert_eq!(notable, [Notable::Refused(NotifyType::TemporaryFailure)]);
    let answer = client.receive(&delete);
    client.exchange(&mut gateway, answer);
    gateway.advance(CHILD_LINGER_MS);
    assert!(gateway.installed.is_empty() && client.initiator.children().is_empty());
    assert_eq!(gateway.endpoint.established(), 1);
}

#[test]
fn more_child_sas_up_to_the_limit() {
    let (mut client, mut gateway) = connected(|config| config.limits.children_per_session = 3);
    for _ in 0..2 {
        client.act(&mut gateway, |initiator| initiator.create_child(None, None));
    }
    assert_eq!(gateway.installed.len(), 3);
    assert_agreement(&client, &gateway);
    let notable = client.act(&mut gateway, |initiator| initiator.create_child(None, None));
    assert_eq!(notable, [Notable::Refused(NotifyType::NoAdditionalSas)]);
    let first = client.initiator.children()[0].clone();
    let inner = std::net::IpAddr::from(client.initiator.address().unwrap());
    assert_eq!(gateway.selected[&inner], first.outbound_spi);
    client.act(&mut gateway, |initiator| initiator.delete_child(first.inbound_spi));
    assert_agreement(&client, &gateway);
}

#[test]
fn while_we_rekey_the_ike_sa_child_requests_wait() {
    let (mut client, mut gateway) = connected(|_| {});
    let session = gateway.session();
    gateway.input(Input::Operator(Operator::RekeyIke(session)));
    let ours = gateway.outbox.pop_front().unwrap();
    let old = client.child().inbound_spi;
    let notable = client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
    assert_eq!(notable, [Notable::Refused(NotifyType::TemporaryFailure)]);
    let answer = client.receive(&ours);
    client.exchange(&mut gateway, answer);
    assert_eq!(std::mem::take(&mut client.notable), [Notable::IkeRekeyed]);
    client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
    assert_agreement(&client, &gateway);
}

#[test]
fn soft_lifetimes_are_spread_by_the_jitter() {
    let lifetimes =
        Lifetimes { child_rekey_secs: 100, jitter_percent: 10, rekey_grace_secs: 50, ike_rekey_secs: 0 };
    let pki = Pki::new();
    let mut due = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let mut gateway = Gateway::new(&pki, seed, |config| config.lifetimes = lifetimes);
        Client::new(psk_config(), 2).login(&mut gateway);
        let (at, why) = gateway.endpoint.next_wakeup().unwrap();
        assert_eq!(why, crate::api::WakeReason::Rekey);
        let millis = at.millis_since(gateway.now);
        assert!((90_000..=100_000).contains(&millis), "{millis}");
        due.insert(millis);
    }
    assert!(due.len() > 4, "{due:?}");
}

#[test]
fn a_rekey_asked_for_twice_is_done_once() {
    let (mut client, mut gateway) = connected(|_| {});
    let session = gateway.session();
    for _ in 0..3 {
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        gateway.input(Input::Operator(Operator::RekeyChildren(session)));
    }
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(gateway.count(IkeCounter::IkeRekeys), 1);
    assert_eq!(gateway.count(IkeCounter::ChildRekeys), 1);
    gateway.advance(CHILD_LINGER_MS);
    assert_agreement(&client, &gateway);
}
