//! What clients may announce beyond RFC 7296: logins without a Child SA (RFC 6023), redirects (RFC 5685), the end of an
//! authentication (RFC 4478); and the notifies of RFC 7296 that we answer, or on purpose do not.

use std::net::Ipv4Addr;

use super::harness::*;
use crate::api::{DownReason, Event, Input};
use crate::counters::IkeCounter;
use crate::policy::{EndpointConfig, GatewayName, Redirected};
use crate::testing::*;
use crate::wire::{CfgAttributeType, ExchangeType, Notify, NotifyType, Payload, TrafficSelector, TsRange};

fn gateway(change: impl FnOnce(&mut EndpointConfig)) -> Gateway {
    Gateway::new(&Pki::new(), 1, change)
}

fn notify_of(payloads: &[Payload], wanted: NotifyType) -> Option<Notify> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == wanted => Some(notify.clone()),
        _ => None,
    })
}

// ---- RFC 6023

#[test]
fn a_client_without_child_sa_gets_its_address_and_makes_child_sas_later() {
    let mut gateway = gateway(|_| {});
    let mut client = Client::new(InitiatorConfig { childless: true, ..psk_config() }, 2);
    let happened = client.login(&mut gateway);
    assert_eq!(happened, [Notable::Up]);
    assert!(client.initiator.address().is_some());
    assert!(gateway.installed.is_empty());
    assert!(client.initiator.init_payloads().iter().any(|payload| {
        matches!(payload, Payload::Notify(n) if n.kind == NotifyType::ChildlessIkev2Supported
            && n.protocol == crate::wire::ProtocolId::Ike)
    }));
    // It stays as long as it likes.
    gateway.advance(3_600_000);
    assert_eq!(gateway.endpoint.established(), 1);
    client.act(&mut gateway, |client| client.create_child(None, None));
    assert_agreement(&client, &gateway);
    client.act(&mut gateway, Initiator::delete_ike);
    gateway.assert_empty_after_farewell();
}

#[test]
fn a_client_that_wants_neither_address_nor_child_sa_is_let_in() {
    let mut gateway = gateway(|_| {});
    let config = InitiatorConfig { childless: true, ask_address: false, ..psk_config() };
    let mut client = Client::new(config, 2);
    assert_eq!(client.login(&mut gateway), [Notable::Up]);
    assert!(gateway.leased.is_empty());
    assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
}

#[test]
fn without_childless_the_missing_payloads_are_a_syntax_error_and_half_of_them_always_are() {
    let arrange: Arrange = |exchange, payloads| {
        payloads
            .into_iter()
            .filter(|p| exchange != ExchangeType::IkeAuth || !matches!(p, Payload::Sa(_)))
            .collect()
    };
    for (allowed, config) in [
        (false, InitiatorConfig { childless: true, ..psk_config() }),
        (true, InitiatorConfig { arrange, ..psk_config() }),
    ] {
        let mut gateway = gateway(|config| config.extensions.childless = allowed);
        let mut client = Client::new(config, 2);
        assert_eq!(client.login(&mut gateway), [Notable::Refused(NotifyType::InvalidSyntax)]);
        let announced = notify_of(client.initiator.init_payloads(), NotifyType::ChildlessIkev2Supported);
        assert_eq!(announced.is_some(), allowed);
        gateway.assert_empty_after_farewell();
    }
}

// ---- RFC 5685

fn elsewhere() -> GatewayName {
    "203.0.113.5".parse().unwrap()
}

fn follower(from: Option<Ipv4Addr>) -> InitiatorConfig {
    InitiatorConfig { redirect: Some(from), ..psk_config() }
}

#[test]
fn gateway_names_are_addresses_or_dns_names() {
    for (text, kind) in [("192.0.2.1", 1), ("2001:db8::1", 2), ("vpn2.example.com", 3)] {
        let to: GatewayName = text.parse().unwrap();
        assert_eq!(to.to_string(), text);
        let mut gateway = gateway(|config| {
            config.extensions.redirect.to = Some(to);
            config.extensions.redirect.whom = Redirected::All;
        });
        let mut client = Client::new(follower(None), 2);
        let happened = client.login(&mut gateway);
        assert!(matches!(happened.as_slice(), [Notable::Redirected(got, _)] if *got == kind), "{happened:?}");
        gateway.assert_empty();
        assert_eq!(gateway.count(IkeCounter::Redirects), 1);
    }
    for wrong in ["", "a..b", "with space", "under_score", &"x".repeat(64), &"a.".repeat(128)] {
        assert!(wrong.parse::<GatewayName>().is_err(), "{wrong}");
    }
}

#[test]
fn newcomers_are_sent_on_only_if_they_can_follow_and_were_not_sent_here_from_there() {
    let from = Ipv4Addr::new(203, 0, 113, 5);
    let other = Ipv4Addr::new(203, 0, 113, 6);
    for (redirect, sent_on) in
        [(None, false), (Some(None), true), (Some(Some(from)), false), (Some(Some(other)), true)]
    {
        let mut gateway = gateway(|_| {});
        gateway.input(Input::RedirectNewcomers(Some(elsewhere())));
        let mut client = Client::new(InitiatorConfig { redirect, ..psk_config() }, 2);
        let happened = client.login(&mut gateway);
        let told = happened == [Notable::Redirected(1, from.octets().to_vec())];
        assert_eq!(told, sent_on, "{redirect:?}: {happened:?}");
        assert_eq!(gateway.endpoint.established(), usize::from(!sent_on));
        // And no more.
        gateway.input(Input::RedirectNewcomers(None));
        let mut late = Client::new(InitiatorConfig { redirect, ..psk_config() }, 3);
        assert!(late.login(&mut gateway).contains(&Notable::Up));
    }
}

#[test]
fn a_full_gateway_sends_on_whom_it_has_no_room_for() {
    let mut gateway = gateway(|config| {
        config.extensions.redirect.to = Some(elsewhere());
        config.limits.sessions = 1;
    });
    let mut first = Client::new(follower(None), 2);
    assert!(first.login(&mut gateway).contains(&Notable::Up));
    let mut second = Client::new(follower(None), 3);
    assert!(matches!(second.login(&mut gateway).as_slice(), [Notable::Redirected(..)]));
    let mut third = Client::new(psk_config(), 4);
    assert!(third.login(&mut gateway).is_empty(), "who cannot follow is not answered");
    assert_eq!(gateway.count(IkeCounter::DropSessionLimit), 1);
}

#[test]
fn clients_may_be_sent_on_once_they_have_proved_who_they_are() {
    let pki = Pki::new();
    for config in [follower(None), InitiatorConfig { redirect: Some(None), ..eap_config(&pki, PASSWORD) }] {
        let mut gateway = Gateway::new(&pki, 1, |config| {
            config.extensions.redirect.to = Some(elsewhere());
            config.extensions.redirect.whom = Redirected::Authenticated;
        });
        let mut client = Client::new(config, 2);
        let happened = client.login(&mut gateway);
        assert!(matches!(happened.as_slice(), [Notable::Up, Notable::Redirected(1, _)]), "{happened:?}");
        assert!(gateway.leased.is_empty() && gateway.installed.is_empty());
        // The client deletes what it does not need (RFC 5685 §6), or just goes.
        client.act(&mut gateway, Initiator::delete_ike);
        gateway.assert_empty_after_farewell();
    }
    // A wrong key is told nothing about other gateways.
    let mut gateway = Gateway::new(&pki, 1, |config| {
        config.extensions.redirect.to = Some(elsewhere());
        config.extensions.redirect.whom = Redirected::Authenticated;
    });
    let auth = AuthWith::Psk(b"wrong".to_vec());
    let mut client = Client::new(InitiatorConfig { auth, ..follower(None) }, 2);
    assert_eq!(client.login(&mut gateway), [Notable::Refused(NotifyType::AuthenticationFailed)]);
}

#[test]
fn a_session_that_is_sent_on_ends_when_its_client_goes_or_after_the_grace() {
    for goes in [true, false] {
        let mut gateway = gateway(|_| {});
        let mut client = Client::new(follower(None), 2);
        client.login(&mut gateway);
        let session = gateway.session();
        assert!(gateway.endpoint.ike_facts(session).unwrap().redirect);
        let to = "vpn2.example.com".parse().unwrap();
        gateway.input(Input::Redirect { session, to });
        client.exchange(&mut gateway, Vec::new());
        assert_eq!(client.notable, [Notable::Redirected(3, b"vpn2.example.com".to_vec())]);
        gateway.advance(59_000);
        assert_eq!(gateway.endpoint.established(), 1, "it has time to go");
        if goes {
            client.act(&mut gateway, Initiator::delete_ike);
        } else {
            gateway.advance(1_000);
            client.exchange(&mut gateway, Vec::new());
        }
        let down = Event::SessionDown { session, reason: DownReason::Redirected };
        assert!(gateway.events.contains(&down));
        gateway.advance(10_000);
        gateway.assert_empty();
    }
}

#[test]
fn a_client_that_cannot_follow_stays() {
    let mut gateway = gateway(|_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let session = gateway.session();
    gateway.input(Input::Redirect { session, to: elsewhere() });
    assert!(gateway.outbox.is_empty());
    gateway.advance(3_600_000);
    assert_eq!(gateway.endpoint.established(), 1);
}

// ---- RFC 4478

#[test]
fn a_client_is_told_when_to_log_in_anew() {
    for lifetime_secs in [None, Some(3_600)] {
        let mut gateway = gateway(|_| {});
        gateway.lifetime_secs = lifetime_secs;
        let mut client = Client::new(psk_config(), 2);
        client.login(&mut gateway);
        let told = notify_of(client.initiator.last_answer(), NotifyType::AuthLifetime);
        assert_eq!(told.map(|notify| notify.data), lifetime_secs.map(|secs| secs.to_be_bytes().to_vec()));
    }
}

// ---- Notifies of RFC 7296

/// Transport mode, compression and non-first fragments are agreed by an answer that names them (RFC 7296 §1.3.1): ours
/// does not, so the Child SA is one in tunnel mode without any. We take TFC padding, so we do not refuse it.
#[test]
fn what_we_do_not_do_is_declined_by_silence() {
    let arrange: Arrange = |exchange, mut payloads| {
        if exchange == ExchangeType::IkeAuth {
            let kinds = [
                NotifyType::UseTransportMode,
                NotifyType::EspTfcPaddingNotSupported,
                NotifyType::NonFirstFragmentsAlso,
            ];
            payloads.extend(kinds.map(|kind| Payload::Notify(Notify::new(kind))));
            let ipcomp = Notify::with_data(NotifyType::IpcompSupported, vec![0x12, 0x34, 2]);
            payloads.push(Payload::Notify(ipcomp));
        }
        payloads
    };
    let mut gateway = gateway(|_| {});
    let mut client = Client::new(InitiatorConfig { arrange, ..psk_config() }, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_agreement(&client, &gateway);
    let notifies = client.initiator.last_answer().iter().any(|p| matches!(p, Payload::Notify(_)));
    assert!(!notifies, "{:?}", client.initiator.last_answer());
}

#[test]
fn a_client_whose_selectors_do_not_all_fit_is_told_that_there_are_more() {
    let range =
        |last| TrafficSelector::Range(TsRange::ipv4([10, 1, last, 0].into(), [10, 1, last, 9].into()));
    for (count, more) in [(3, false), (16, false), (17, true), (40, true)] {
        let mut gateway = gateway(|_| {});
        let mut config = psk_config();
        config.selectors.1 = (0..count).map(range).collect();
        let mut client = Client::new(config, 2);
        assert!(client.login(&mut gateway).contains(&Notable::Up));
        let told = |client: &Client| {
            notify_of(client.initiator.last_answer(), NotifyType::AdditionalTsPossible).is_some()
        };
        assert_eq!(told(&client), more, "{count}");
        client.act(&mut gateway, |client| client.create_child(None, None));
        assert_eq!(told(&client), more, "{count}");
    }
}

/// RFC 8598 §3.2: domains only with servers, and trust anchors only with domains, each after its own.
#[test]
fn split_dns_is_told_whole_or_not_at_all() {
    let (domain, anchor) = (CfgAttributeType::InternalDnsDomain, CfgAttributeType::InternalDnssecTa);
    for (asked, told) in [
        (vec![domain], vec![domain, domain]),
        (vec![domain, anchor], vec![domain, anchor, domain]),
        (vec![anchor], vec![]),
        (vec![], vec![]),
    ] {
        let mut gateway = gateway(|_| {});
        gateway.attributes = vec![
            (domain.number(), b"corp.example".to_vec()),
            (anchor.number(), vec![0xaa, 0x1b, 8, 2, 1, 2, 3]),
            (domain.number(), b"lab.example".to_vec()),
        ];
        let attributes = asked.iter().map(|kind| (kind.number(), Vec::new())).collect();
        let mut client = Client::new(InitiatorConfig { attributes, ..psk_config() }, 2);
        client.login(&mut gateway);
        let reply = client.initiator.config_reply().unwrap();
        let split: Vec<_> = reply
            .attributes
            .iter()
            .map(|one| one.kind)
            .filter(|kind| [domain, anchor].contains(kind))
            .collect();
        assert_eq!(split, told, "{asked:?}");
    }
}
