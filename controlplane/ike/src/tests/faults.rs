//! Faults on our side and broken peers under good keys: each ends in one answer and loses nothing (RFC 7296 §2.21).

use super::harness::*;
use crate::api::{DownReason, Event, Fault, Input, Operator};
use crate::counters::IkeCounter;
use crate::testing::*;
use crate::wire::{ExchangeType, Notify, NotifyType, Payload, Sa};

/// Lets the first `good` jobs of a login succeed and fails the next one.
fn login_with_failing_job(client: &mut Client, gateway: &mut Gateway, good: usize) -> Option<String> {
    gateway.hold = |_| true;
    let first = client.initiator.start().unwrap();
    client.exchange(gateway, first);
    for _ in 0..good {
        assert!(gateway.do_held_job());
        client.exchange(gateway, Vec::new());
    }
    let failed = gateway.fail_held_job();
    gateway.hold = |_| false;
    client.exchange(gateway, Vec::new());
    failed
}

#[test]
fn every_job_of_a_login_may_fail() {
    let pki = Pki::new();
    type Config = fn(&Pki) -> InitiatorConfig;
    let logins: [(&str, Config, &[&str]); 3] = [
        ("psk", |_| psk_config(), &["respond", "psk", "address", "install"]),
        (
            "certificate",
            |pki| certificate_config(pki, pki.issue("client.example", 2040)),
            &["respond", "verify", "sign", "address", "install"],
        ),
        (
            "eap",
            |pki| eap_config(pki, PASSWORD),
            &["respond", "sign", "eap", "eap", "eap", "address", "install"],
        ),
    ];
    for (name, config, jobs) in logins {
        for (good, job) in jobs.iter().enumerate() {
            let case = format!("{name}: job {good}, {job}");
            let mut gateway = Gateway::new(&pki, 1, |_| {});
            let mut client = Client::new(config(&pki), 2);
            let failed = login_with_failing_job(&mut client, &mut gateway, good);
            assert_eq!(failed.as_deref(), Some(*job), "{case}");
            assert!(gateway.count(IkeCounter::JobsFailed) > 0, "{case}");
            let last = client.notable.last().cloned();
            match *job {
                // No keys, no answer that anybody could believe.
                "respond" => assert_eq!(last, None, "{case}"),
                "address" | "install" => {
                    assert_eq!(last, Some(Notable::Refused(NotifyType::TemporaryFailure)), "{case}");
                    assert!(client.notable.contains(&Notable::Up), "{case}");
                    gateway.advance(10_000);
                    client.exchange(&mut gateway, Vec::new());
                }
                _ => assert_eq!(last, Some(Notable::Refused(NotifyType::AuthenticationFailed)), "{case}"),
            }
            let ours =
                |event: &Event| matches!(event, Event::HandshakeFailed { fault: Fault::Resources, .. });
            assert_eq!(gateway.events.iter().any(ours), !client.notable.contains(&Notable::Up), "{case}");
            gateway.assert_empty_after_farewell();
        }
    }
}

#[test]
fn a_rekey_of_ours_that_cannot_be_installed_is_withdrawn() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let old = client.child();
    let session = gateway.session();
    gateway.hold = |kind| matches!(kind, crate::api::JobKind::InstallChild(_));
    gateway.input(Input::Operator(Operator::RekeyChildren(session)));
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(client.initiator.children().len(), 2);
    assert_eq!(gateway.fail_held_job().as_deref(), Some("install"));
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(client.initiator.children(), [old]);
    assert_agreement(&client, &gateway);
    assert_eq!(gateway.count(IkeCounter::RekeyFailed), 1);
}

fn is_derive(kind: &crate::api::JobKind) -> bool {
    matches!(kind, crate::api::JobKind::PublicKey(work) if work.name() == "derive")
}

#[test]
fn a_rekey_of_our_ike_sa_that_nobody_has_time_for_is_tried_again() {
    for (failures, times_out) in [(1, false), (4, false), (2, true)] {
        let pki = Pki::new();
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        let mut client = Client::new(psk_config(), 2);
        client.login(&mut gateway);
        let session = gateway.session();
        gateway.hold = is_derive;
        gateway.input(Input::Operator(Operator::RekeyIke(session)));
        client.exchange(&mut gateway, Vec::new());
        for _ in 0..failures {
            if times_out {
                gateway.advance(crate::established::JOB_DEADLINE_MS);
                gateway.held_jobs.clear();
            } else {
                assert_eq!(gateway.fail_held_job().as_deref(), Some("derive"));
            }
            assert_eq!(gateway.held_jobs.len(), 0, "not at once");
            gateway.advance(1_000);
            assert_eq!(gateway.held_jobs.len(), 1);
        }
        gateway.hold = |_| false;
        gateway.do_held_job();
        client.exchange(&mut gateway, Vec::new());
        assert!(client.notable.contains(&Notable::IkeRekeyed), "{failures}");
        assert_eq!((gateway.count(IkeCounter::IkeRekeys), gateway.count(IkeCounter::RekeyFailed)), (1, 0));
        assert_eq!(gateway.endpoint.established(), 1);
        assert_agreement(&client, &gateway);
    }
}

#[test]
fn a_client_whose_new_ike_sa_we_cannot_have_is_told_that_its_tunnel_is_gone() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let session = gateway.session();
    gateway.hold = is_derive;
    gateway.input(Input::Operator(Operator::RekeyIke(session)));
    client.exchange(&mut gateway, Vec::new());
    for _ in 0..5 {
        assert_eq!(client.initiator.children().len(), 1);
        assert_eq!(gateway.fail_held_job().as_deref(), Some("derive"));
        gateway.advance(1_000);
    }
    assert!(gateway.held_jobs.is_empty(), "enough");
    client.exchange(&mut gateway, Vec::new());
    assert!(client.initiator.children().is_empty(), "it was told");
    let reason = DownReason::Internal;
    assert!(gateway.events.contains(&Event::SessionDown { session, reason }));
    assert_eq!(gateway.count(IkeCounter::RekeyFailed), 1);
    assert!(gateway.leased.is_empty() && gateway.installed.is_empty());
    gateway.assert_empty_after_farewell();
}

#[test]
fn a_client_that_does_not_trust_us_ends_its_own_login() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(eap_config(&pki, PASSWORD), 2);
    let mut request = client.initiator.start().unwrap();
    for _ in 0..2 {
        gateway.input(Input::Datagram(client.datagram(&request[0])));
        let answer = gateway.outbox.pop_front().unwrap();
        request = client.receive(&answer);
    }
    let notify = Payload::Notify(Notify::new(NotifyType::AuthenticationFailed));
    let gives_up = client.initiator.raw_message(ExchangeType::Informational, false, 2, vec![notify]).unwrap();
    gateway.input(Input::Datagram(client.datagram(&gives_up[0])));
    assert_eq!(gateway.outbox.len(), 1, "acknowledged");
    assert_eq!(gateway.endpoint.half_open(), 0);
    assert!(matches!(
        gateway.events.last(),
        Some(Event::HandshakeFailed { fault: Fault::PeerIncompatible, identity: Some(_), .. })
    ));
    gateway.assert_empty_after_farewell();
}

#[test]
fn a_message_that_breaks_the_rules_under_good_keys_is_fatal() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let session = gateway.session();
    let proposal = ESP.parse::<crate::suite::EspProposal>().unwrap().to_wire(1, 0x4242);
    let payloads = vec![Payload::Sa(Sa { proposals: vec![proposal] })];
    client.act(&mut gateway, |initiator| initiator.raw_request(ExchangeType::Informational, payloads));
    let reason = DownReason::PeerMisbehaved;
    assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
    assert_eq!(gateway.count(IkeCounter::PeerMisbehaved), 1);
    gateway.assert_empty_after_farewell();
}

#[test]
fn a_client_that_rejects_our_last_answer_is_believed() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let notify = Payload::Notify(Notify::new(NotifyType::AuthenticationFailed));
    client.act(&mut gateway, |initiator| initiator.raw_request(ExchangeType::Informational, vec![notify]));
    assert_eq!(gateway.endpoint.established(), 0);
    gateway.assert_empty_after_farewell();
}
