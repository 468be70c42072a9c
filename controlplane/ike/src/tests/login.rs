//! Each way to log in, and what the client gets (RFC 7296 §1.2, §2.16, §2.19, §2.23).

use std::net::Ipv4Addr;

use super::harness::*;
use crate::api::{Datagram, Event, Input, UdpPorts};
use crate::counters::IkeCounter;
use crate::ident::Identity;
use crate::policy::{IdrMismatch, Limits};
use crate::testing::*;
use crate::wire::{CfgAttributeType, Incoming, Notify, NotifyType, Payload, TrafficSelector, TsRange};

#[test]
fn psk_login_agrees_on_everything() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    let child = |client: &Client| client.child().inbound_spi;
    assert_eq!(client.login(&mut gateway), [Notable::Up, Notable::ChildUp(child(&client))]);
    assert_agreement(&client, &gateway);
    let address = client.initiator.address().unwrap();
    assert_eq!(address, Ipv4Addr::new(10, 9, 0, 1));
    let range = |first, last| vec![TrafficSelector::Range(TsRange::ipv4(first, last))];
    assert_eq!(client.child().local, range(address, address));
    assert_eq!(client.child().remote, range([10, 1, 0, 0].into(), [10, 1, 255, 255].into()));
    let reply = client.initiator.config_reply().unwrap();
    let one = |kind| reply.all(kind).next().cloned();
    assert_eq!(
        one(CfgAttributeType::InternalIp4Subnet).and_then(|a| a.as_ip4_subnet()),
        Some(([10, 1, 0, 0].into(), [255, 255, 0, 0].into()))
    );
    assert_eq!(one(CfgAttributeType::InternalIp4Dns).and_then(|a| a.as_ipv4()), Some([10, 1, 0, 53].into()));
    assert!(one(CfgAttributeType::InternalIp4Netmask).is_some());
    assert!(one(CfgAttributeType::InternalIp6Address).is_none());
    let facts = gateway.facts();
    assert_eq!((facts.user.as_str(), facts.auth_method.as_str()), ("client.example", "psk"));
    assert_eq!(facts.peer_key, None);
    assert_eq!(facts.ike_suite, IKE);
    assert!(!facts.nat_detected && facts.lease.is_some_and(|lease| lease.address == Some(address)));
    assert_eq!((gateway.endpoint.half_open(), gateway.endpoint.established()), (0, 1));
    let installed = gateway.installed.values().next().unwrap();
    assert_eq!(installed.path.udp, None);
}

#[test]
fn certificate_login() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(certificate_config(&pki, pki.issue("client.example", 2040)), 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_agreement(&client, &gateway);
    let facts = gateway.facts();
    assert_eq!((facts.auth_method.as_str(), facts.peer_key), ("certificate", Some("ecdsa")));
}

#[test]
fn eap_login_is_known_by_its_user() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(eap_config(&pki, PASSWORD), 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_agreement(&client, &gateway);
    let facts = gateway.facts();
    assert_eq!((facts.user.as_str(), facts.auth_method.as_str()), ("alice", "eap-test"));
    assert_eq!(facts.identity, Identity::Ipv4([192, 168, 1, 5].into()));
}

#[test]
fn behind_a_nat_esp_goes_in_udp_and_ports_float() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(InitiatorConfig { force_nat: true, ..psk_config() }, 2);
    client.mapped_port = Some(40_001);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let facts = gateway.facts();
    assert!(facts.nat_detected);
    assert_eq!((facts.local_port, facts.peer_port), (4500, 40_001));
    let installed = gateway.installed.values().next().unwrap();
    assert_eq!(installed.path.udp, Some(UdpPorts { local: 4500, peer: 40_001 }));
}

#[test]
fn suites_of_every_kind() {
    let pki = Pki::new();
    for (ike, esp) in [
        ("aes256-sha256-curve25519", "aes128-sha256"),
        ("aes256gcm16-prfsha384-ecp256", "aes256gcm16-esn"),
        ("aes128-sha512-ecp521", "aes256gcm16-noesn-esn"),
        ("aes128gcm16-prfsha512-modp2048", "aes128-sha256-noesn"),
    ] {
        let mut gateway = Gateway::new(&pki, 1, |config| config.ike_proposals = vec![ike.parse().unwrap()]);
        let config = psk_config();
        let config =
            InitiatorConfig { ike: vec![ike.parse().unwrap()], esp: vec![esp.parse().unwrap()], ..config };
        let mut client = Client::new(config, 2);
        assert!(client.login(&mut gateway).contains(&Notable::Up), "{ike} {esp}");
        assert_agreement(&client, &gateway);
        assert_eq!(client.child().esn, esp.ends_with("16-esn"));
    }
}

#[test]
fn another_group_is_asked_for_once() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let ike = vec!["aes256gcm16-prfsha384-ecp384-ecp256".parse().unwrap()];
    let mut client = Client::new(InitiatorConfig { ike, ..psk_config() }, 2);
    let notable = client.login(&mut gateway);
    assert_eq!(notable.first(), Some(&Notable::GroupAsked(19)));
    assert!(notable.contains(&Notable::Up));
    assert_eq!(gateway.count(IkeCounter::InvalidKe), 1);
}

#[test]
fn above_the_threshold_a_cookie_is_asked_for_and_holds() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| {
        config.limits = Limits { cookie_threshold: 0, ..config.limits };
    });
    let mut client = Client::new(psk_config(), 2);
    let notable = client.login(&mut gateway);
    assert_eq!(notable.first(), Some(&Notable::CookieAsked));
    assert!(notable.contains(&Notable::Up));
    assert_eq!(gateway.count(IkeCounter::HandshakesBegun), 1);
}

#[test]
fn a_wrong_cookie_is_no_cookie() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| {
        config.limits = Limits { cookie_threshold: 0, ..config.limits };
    });
    let mut client = Client::new(psk_config(), 2);
    let first = client.initiator.start().unwrap();
    let Ok(Incoming::Clear(mut message)) = Incoming::parse(&first[0].bytes) else {
        panic!("a clear message")
    };
    let wrong = Notify::with_data(NotifyType::Cookie, vec![0; 33]);
    message.payloads.insert(0, Payload::Notify(wrong));
    let datagram = Datagram { bytes: message.emit_clear().unwrap(), ..client.datagram(&first[0]) };
    gateway.input(Input::Datagram(datagram));
    let counts = [IkeCounter::CookiesWrong, IkeCounter::CookiesSent, IkeCounter::HandshakesBegun];
    assert_eq!(counts.map(|counter| gateway.count(counter)), [1, 1, 0]);
    gateway.assert_empty();
}

#[test]
fn fragments_carry_what_is_too_long_both_ways() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| config.fragment_size = 576);
    let config = certificate_config(&pki, pki.issue("client.example", 2040));
    let mut client = Client::new(InitiatorConfig { fragment: Some(300), ..config }, 2);
    let first = client.initiator.start().unwrap();
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    let response = gateway.outbox.pop_front().unwrap();
    let request = client.receive(&response);
    assert!(request.len() > 1, "the request is fragmented");
    for fragment in request.iter().rev() {
        gateway.input(Input::Datagram(client.datagram(fragment)));
    }
    assert!(gateway.outbox.len() > 1, "the answer is fragmented");
    assert!(gateway.outbox.iter().all(|datagram| datagram.bytes.len() + 28 <= 576));
    client.exchange(&mut gateway, Vec::new());
    assert!(client.initiator.is_up());
    assert_agreement(&client, &gateway);
}

#[test]
fn initial_contact_ends_the_holders_older_session_and_nobody_elses() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    gateway.psks.insert("other.example".to_owned(), PSK.to_vec());
    let mut other = Client::new(
        InitiatorConfig { identity: Identity::Fqdn("other.example".to_owned()), ..psk_config() },
        3,
    );
    other.login(&mut gateway);
    let mut first = Client::new(psk_config(), 2);
    first.login(&mut gateway);
    let old = gateway.session();
    let mut second = Client::new(InitiatorConfig { initial_contact: true, ..psk_config() }, 4);
    second.login(&mut gateway);
    assert_ne!(gateway.session(), old);
    assert_eq!(gateway.endpoint.established(), 2);
    let reason = crate::api::DownReason::ReplacedByInitialContact;
    assert!(gateway.events.contains(&Event::SessionDown { session: old, reason }));
    assert_eq!(gateway.leased.len(), 2);
    assert_agreement(&other, &gateway);
    assert_agreement(&second, &gateway);
}

#[test]
fn the_asked_for_idr_is_answered_by_policy() {
    let pki = Pki::new();
    for (asked, policy, good) in [
        ("vpn.example", IdrMismatch::Refuse, true),
        ("VPN.example", IdrMismatch::Refuse, true),
        ("other.example", IdrMismatch::Refuse, false),
        ("other.example", IdrMismatch::AnswerOwn, true),
    ] {
        let mut gateway = Gateway::new(&pki, 1, |config| config.idr_mismatch = policy);
        let remote = Some(Identity::Fqdn(asked.to_owned()));
        let mut client = Client::new(InitiatorConfig { remote, ..psk_config() }, 2);
        assert_eq!(client.login(&mut gateway).contains(&Notable::Up), good, "{asked} {policy:?}");
    }
}

#[test]
fn a_client_without_address_gets_its_own_only_if_allowed() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| config.allow_without_address = true);
    let mut client = Client::new(InitiatorConfig { ask_address: false, ..psk_config() }, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let own = Ipv4Addr::new(198, 51, 100, 7);
    assert_eq!(client.child().local, vec![TrafficSelector::Range(TsRange::ipv4(own, own))]);
    assert!(gateway.leased.is_empty());
}
