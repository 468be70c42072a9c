//! Sessions end: deleted by either side, dead, at shutdown, half-open too long; and they live while their peer does.

use super::harness::*;
use crate::api::{DataPlaneEvent, DownReason, Event, Input, JobKind, Operator, WakeReason};
use crate::counters::IkeCounter;
use crate::ident::Identity;
use crate::policy::{EndpointConfig, Timing};
use crate::testing::*;

fn connected(change: impl FnOnce(&mut EndpointConfig)) -> (Client, Gateway) {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, change);
    let mut client = Client::new(InitiatorConfig { force_nat: true, ..psk_config() }, 2);
    client.mapped_port = Some(40_001);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    (client, gateway)
}

fn dpd(config: &mut EndpointConfig) {
    config.timing =
        Timing { dpd_interval_secs: 30, retransmit_base_ms: 1000, retransmit_tries: 3, ..Timing::default() };
}

#[test]
fn the_client_deletes() {
    let (mut client, mut gateway) = connected(|_| {});
    let session = gateway.session();
    assert_eq!(client.act(&mut gateway, Initiator::delete_ike), [Notable::Down]);
    let reason = DownReason::PeerDeleted;
    assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
    gateway.assert_empty_after_farewell();
}

#[test]
fn the_operator_deletes_and_the_client_hears_of_it() {
    let (mut client, mut gateway) = connected(|_| {});
    let session = gateway.session();
    gateway.input(Input::Operator(Operator::Delete(session)));
    assert!(gateway.leased.is_empty() && gateway.installed.is_empty());
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(client.notable, [Notable::Down]);
    gateway.assert_empty();
}

#[test]
fn a_silent_client_is_asked_and_then_given_up() {
    let (_, mut gateway) = connected(dpd);
    let session = gateway.session();
    gateway.advance(29_999);
    assert_eq!(gateway.outbox.len(), 0);
    gateway.advance(1);
    assert_eq!(gateway.outbox.len(), 1);
    gateway.advance(1000 + 2000 + 4000 + 8000 - 1);
    assert_eq!((gateway.outbox.len(), gateway.count(IkeCounter::RetransmitsSent)), (4, 3));
    let first = gateway.outbox[0].clone();
    assert!(gateway.outbox.iter().all(|datagram| *datagram == first), "retransmissions are the same octets");
    assert_eq!(gateway.endpoint.established(), 1);
    gateway.advance(1);
    let reason = DownReason::PeerDead;
    assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
    gateway.assert_empty();
}

#[test]
fn a_client_that_answers_no_request_of_any_kind_is_given_up() {
    for request in [Operator::RekeyIke, Operator::RekeyChildren] {
        let (_, mut gateway) = connected(dpd);
        let session = gateway.session();
        gateway.input(Input::Operator(request(session)));
        assert_eq!(gateway.outbox.len(), 1);
        gateway.advance(1000 + 2000 + 4000 + 8000 - 1);
        assert_eq!(gateway.endpoint.established(), 1);
        gateway.advance(1);
        let reason = DownReason::PeerDead;
        assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
        gateway.assert_empty();
    }
}

#[test]
fn a_client_that_answers_lives() {
    let (mut client, mut gateway) = connected(dpd);
    for _ in 0..10 {
        gateway.advance(30_000);
        assert_eq!(gateway.outbox.len(), 1);
        client.exchange(&mut gateway, Vec::new());
    }
    assert_eq!(gateway.endpoint.established(), 1);
}

#[test]
fn a_client_whose_traffic_flows_is_not_asked() {
    let (client, mut gateway) = connected(dpd);
    let (spi, session) = (client.child().outbound_spi, gateway.session());
    for round in 0..10 {
        gateway.advance(20_000);
        if round % 2 == 0 {
            let now = gateway.now;
            gateway.env.last_inbound.insert(spi, now);
        } else {
            gateway.input(Input::Alive { session });
        }
    }
    assert_eq!(gateway.outbox.len(), 0);
    gateway.advance(31_000);
    assert!(!gateway.outbox.is_empty(), "asked once it is quiet");
}

#[test]
fn shutdown_tells_everybody_and_waits_only_so_long() {
    for answers in [true, false] {
        let (mut client, mut gateway) = connected(|_| {});
        gateway.input(Input::Shutdown);
        if answers {
            client.exchange(&mut gateway, Vec::new());
            assert_eq!(client.notable, [Notable::Down]);
        } else {
            assert!(!gateway.events.contains(&Event::ShutdownComplete { unanswered: 1 }));
            gateway.advance(3_000);
        }
        let unanswered = usize::from(!answers);
        assert_eq!(gateway.events.last(), Some(&Event::ShutdownComplete { unanswered }));
        gateway.assert_empty();
        let mut late = Client::new(psk_config(), 5);
        assert_eq!(late.login(&mut gateway), [], "nobody is let in any more");
        assert_eq!(gateway.count(IkeCounter::DropShutdown), 1);
    }
}

#[test]
fn half_open_ones_end_in_time_at_every_step() {
    let pki = Pki::new();
    for carried in 0..4 {
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        let mut client = Client::new(eap_config(&pki, PASSWORD), 2);
        let mut request = client.initiator.start().unwrap();
        for _ in 0..carried {
            gateway.input(Input::Datagram(client.datagram(&request[0])));
            let answer = gateway.outbox.pop_front().unwrap();
            request = client.receive(&answer);
        }
        assert_eq!(gateway.endpoint.half_open(), usize::from(carried > 0));
        if carried > 0 {
            let (at, why) = gateway.endpoint.next_wakeup().unwrap();
            assert_eq!((at.millis_since(gateway.now), why), (30_000, WakeReason::HalfOpenTimeout));
        }
        gateway.advance(30_000);
        assert_eq!(gateway.count(IkeCounter::HandshakeTimeout), u64::from(carried > 0));
        gateway.assert_empty();
    }
}

#[test]
fn half_open_limits_hold() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| {
        config.limits.half_open = 4;
        config.limits.half_open_per_source = 3;
    });
    for seed in 0..6 {
        let mut client = Client::new(psk_config(), seed);
        let first = client.initiator.start().unwrap();
        client.address = [198, 51, 100, if seed < 4 { 1 } else { 2 }].into();
        gateway.input(Input::Datagram(client.datagram(&first[0])));
    }
    assert_eq!(gateway.endpoint.half_open(), 4);
    assert_eq!(gateway.count(IkeCounter::DropSourceLimit), 1);
    assert_eq!(gateway.count(IkeCounter::DropHalfOpenLimit), 1);
    gateway.advance(30_000);
    gateway.assert_empty();
}

#[test]
fn jobs_that_end_after_their_session_leave_nothing() {
    let pki = Pki::new();
    type Hold = fn(&JobKind) -> bool;
    let holds: [(&str, Hold); 6] = [
        ("public key", |kind| matches!(kind, JobKind::PublicKey(_))),
        ("psk", |kind| matches!(kind, JobKind::PskLookup { .. })),
        ("address", |kind| matches!(kind, JobKind::Address(_))),
        ("install", |kind| matches!(kind, JobKind::InstallChild(_))),
        ("eap", |kind| matches!(kind, JobKind::Eap(_))),
        ("all", |_| true),
    ];
    for (name, hold) in holds {
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        gateway.hold = hold;
        let config = if name == "eap" { eap_config(&pki, PASSWORD) } else { psk_config() };
        let mut client = Client::new(config, 2);
        client.login(&mut gateway);
        assert_eq!(gateway.held_jobs.len(), 1, "{name}");
        assert_eq!(gateway.endpoint.half_open(), 1, "{name}");
        gateway.advance(30_000);
        assert_eq!(gateway.endpoint.half_open(), 0, "{name}");
        gateway.hold = |_| false;
        assert!(gateway.do_held_job(), "{name}");
        gateway.assert_empty();
    }
}

#[test]
fn a_job_that_never_ends_does_not_block_an_established_session() {
    let (mut client, mut gateway) = connected(|_| {});
    gateway.hold = |kind| matches!(kind, JobKind::InstallChild(_));
    let old = client.child().inbound_spi;
    let request = client.initiator.create_child(Some(old), None).unwrap();
    client.exchange(&mut gateway, request);
    assert_eq!(client.notable, []);
    gateway.advance(15_000);
    client.exchange(&mut gateway, Vec::new());
    let notable = std::mem::take(&mut client.notable);
    assert_eq!(notable, [Notable::Refused(crate::wire::NotifyType::TemporaryFailure)]);
    gateway.hold = |_| false;
    assert!(gateway.do_held_job());
    assert_eq!(gateway.installed.len(), 1, "what came too late is removed");
    client.act(&mut gateway, |initiator| initiator.create_child(Some(old), None));
    assert_agreement(&client, &gateway);
}

#[test]
fn a_nat_that_maps_anew_is_followed_by_ike_and_by_esp() {
    let (mut client, mut gateway) = connected(|_| {});
    let session = gateway.session();
    let spi = client.child().outbound_spi;
    client.mapped_port = Some(50_002);
    client.act(&mut gateway, Initiator::liveness);
    assert_eq!(gateway.paths[&spi].udp.map(|ports| ports.peer), Some(50_002));
    let moved = |peer_port| Event::PeerMoved { session, peer: CLIENT, peer_port };
    assert_eq!(gateway.events.last(), Some(&moved(50_002)));
    let event = DataPlaneEvent::PeerMoved { inbound_spi: spi, peer: CLIENT, peer_port: Some(60_003) };
    gateway.input(Input::DataPlane(event));
    assert_eq!(gateway.events.last(), Some(&moved(60_003)));
    gateway.input(Input::Operator(Operator::RekeyIke(session)));
    assert_eq!(gateway.outbox.front().map(|datagram| datagram.peer_port), Some(60_003));
}

#[test]
fn a_client_without_nat_is_answered_where_it_asks_but_not_followed() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    client.mapped_port = Some(50_002);
    let request = client.initiator.liveness().unwrap();
    gateway.input(Input::Datagram(client.datagram(&request[0])));
    assert_eq!(gateway.outbox.pop_front().map(|datagram| datagram.peer_port), Some(50_002));
    let session = gateway.session();
    gateway.input(Input::Operator(Operator::RekeyIke(session)));
    assert_eq!(gateway.outbox.front().map(|datagram| datagram.peer_port), Some(500));
}

/// The environment panics in the middle of a rekey, as any bug might.
#[test]
fn a_panic_costs_one_session() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    gateway.psks.insert("other.example".to_owned(), PSK.to_vec());
    let identity = Identity::Fqdn("other.example".to_owned());
    let mut other = Client::new(InitiatorConfig { identity, ..psk_config() }, 3);
    other.login(&mut gateway);
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let session = gateway.session();
    let old = client.child().inbound_spi;
    let request = client.initiator.create_child(Some(old), None).unwrap();
    gateway.env.panics = true;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        gateway.input(Input::Datagram(client.datagram(&request[0])));
    }));
    assert!(caught.is_err());
    gateway.env.panics = false;
    assert_eq!(gateway.recover(), Some(session));
    assert_eq!(gateway.recover(), None);
    let reason = DownReason::Internal;
    assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
    assert_eq!((gateway.endpoint.established(), gateway.installed.len(), gateway.leased.len()), (1, 1, 1));
    assert_eq!(other.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
    other.act(&mut gateway, Initiator::delete_ike);
    gateway.assert_empty_after_farewell();
}
