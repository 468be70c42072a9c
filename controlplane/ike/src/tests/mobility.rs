//! Clients that move: by MOBIKE, with the check that they receive packets where they say (RFC 4555), and by a NAT that maps
//! them anew (RFC 7296 §2.23).

use std::net::{IpAddr, Ipv4Addr};

use super::harness::*;
use crate::api::{DataPlaneEvent, Datagram, DownReason, EspPath, Event, Input, Operator, UdpPorts};
use crate::counters::IkeCounter;
use crate::testing::*;
use crate::wire::{ExchangeType, Notify, NotifyType, Payload};

const AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const FURTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));

fn mobile_config() -> InitiatorConfig {
    InitiatorConfig { mobike: true, ..psk_config() }
}

fn connected(config: InitiatorConfig) -> (Client, Gateway) {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(config, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    (client, gateway)
}

fn update(client: &mut Client, address: IpAddr) -> Datagram {
    client.address = address;
    let sent = client.initiator.update_addresses((address, 4500), false).unwrap();
    client.datagram(&sent[0])
}

fn path_of(gateway: &Gateway) -> EspPath {
    *gateway.paths.values().next().unwrap()
}

#[test]
fn traffic_follows_after_the_client_has_answered_from_its_new_address() {
    let (mut client, mut gateway) = connected(mobile_config());
    assert!(client.initiator.mobike());
    let session = gateway.session();
    let before = path_of(&gateway);
    gateway.input(Input::Datagram(update(&mut client, AWAY)));
    // The answer goes to where the request came from, and so does the question; ESP does not yet.
    let answer = gateway.outbox.pop_front().unwrap();
    let question = gateway.outbox.pop_front().unwrap();
    assert_eq!((answer.peer, question.peer), (AWAY, AWAY));
    assert_eq!(path_of(&gateway), before);
    assert!(client.receive(&answer).is_empty());
    let cookie = client.receive(&question);
    client.exchange(&mut gateway, cookie);
    assert_eq!(client.notable, [Notable::Answered, Notable::RoutabilityAsked]);
    assert_eq!(path_of(&gateway), EspPath { peer: AWAY, ..before });
    assert_eq!(gateway.endpoint.peer_end(session), Some((AWAY, 4500)));
    let moved = Event::PeerMoved { session, peer: AWAY, peer_port: 4500 };
    assert_eq!(gateway.events.iter().filter(|event| **event == moved).count(), 1);
    assert_eq!(gateway.count(IkeCounter::AddressUpdates), 1);
    // All goes on: what we ask goes there, too.
    client.notable.clear();
    gateway.input(Input::Operator(Operator::RekeyChildren(session)));
    assert_eq!(gateway.outbox.front().unwrap().peer, AWAY);
    client.exchange(&mut gateway, Vec::new());
    assert_agreement(&client, &gateway);
    assert_eq!(path_of(&gateway).peer, AWAY);
    client.act(&mut gateway, Initiator::rekey_ike);
    client.address = FURTHER;
    client.act(&mut gateway, |client| client.update_addresses((FURTHER, 4500), false));
    assert_eq!(path_of(&gateway).peer, FURTHER, "the new IKE SA has MOBIKE, too");
}

#[test]
fn a_nat_on_the_new_path_switches_encapsulation_and_one_on_the_old_path_switches_it_back() {
    let (mut client, mut gateway) = connected(mobile_config());
    assert_eq!(path_of(&gateway).udp, None);
    // Behind a NAT: the client's own address is another one than we see.
    client.address = AWAY;
    client.mapped_port = Some(61_000);
    client.act(&mut gateway, |client| {
        client.update_addresses((Ipv4Addr::new(192, 168, 1, 2).into(), 4500), false)
    });
    assert_eq!(path_of(&gateway).peer, AWAY);
    assert_eq!(path_of(&gateway).udp, Some(UdpPorts { local: 4500, peer: 61_000 }));
    client.address = CLIENT;
    client.mapped_port = None;
    client.act(&mut gateway, |client| client.update_addresses((CLIENT, 4500), false));
    assert_eq!((path_of(&gateway).peer, path_of(&gateway).udp), (CLIENT, None));
}

#[test]
fn a_wrong_cookie_ends_the_session_and_no_answer_moves_nothing() {
    let (mut client, mut gateway) = connected(InitiatorConfig { wrong_cookie2: true, ..mobile_config() });
    let session = gateway.session();
    client.address = AWAY;
    client.act(&mut gateway, |client| client.update_addresses((AWAY, 4500), false));
    let down = Event::SessionDown { session, reason: DownReason::PeerMisbehaved };
    assert!(gateway.events.contains(&down), "{:?}", gateway.events);
    assert_eq!(gateway.count(IkeCounter::RoutabilityFailed), 1);
    assert!(gateway.installed.is_empty());

    let (mut client, mut gateway) = connected(mobile_config());
    let before = path_of(&gateway);
    gateway.input(Input::Datagram(update(&mut client, AWAY)));
    gateway.outbox.clear();
    gateway.advance(60_000);
    assert_eq!(path_of(&gateway), before);
    gateway.advance(600_000);
    let dead = |event: &Event| matches!(event, Event::SessionDown { reason: DownReason::PeerDead, .. });
    assert!(gateway.events.iter().any(dead));
    gateway.assert_empty();
}

/// RFC 4555 §3.7: an answer to a question that went to two addresses does not say which of them works.
#[test]
fn a_client_that_moves_on_while_it_is_asked_is_asked_again() {
    let (mut client, mut gateway) = connected(mobile_config());
    gateway.input(Input::Datagram(update(&mut client, AWAY)));
    let answer = gateway.outbox.pop_front().unwrap();
    let lost_question = gateway.outbox.pop_front().unwrap();
    client.receive(&answer);
    gateway.input(Input::Datagram(update(&mut client, FURTHER)));
    let answer = gateway.outbox.pop_front().unwrap();
    assert!(gateway.outbox.is_empty(), "the window is one: the first question is still outstanding");
    client.receive(&answer);
    let to_first = client.receive(&lost_question);
    gateway.input(Input::Datagram(client.datagram(&to_first[0])));
    assert_eq!(path_of(&gateway).peer, CLIENT, "that was no proof for the second address");
    let question = gateway.outbox.pop_front().unwrap();
    assert_eq!(question.peer, FURTHER);
    let to_second = client.receive(&question);
    client.exchange(&mut gateway, to_second);
    assert_eq!(path_of(&gateway).peer, FURTHER);
}

#[test]
fn protected_addresses_are_compared_with_what_we_see() {
    let (mut client, mut gateway) = connected(mobile_config());
    client.address = AWAY;
    let honest = client.act(&mut gateway, |client| client.update_addresses((AWAY, 4500), true));
    assert!(honest.contains(&Notable::Answered));
    assert_eq!(path_of(&gateway).peer, AWAY);
    // A NAT has changed the source.
    client.address = FURTHER;
    let natted = client.act(&mut gateway, |client| client.update_addresses((AWAY, 4500), true));
    assert_eq!(natted, [Notable::Refused(NotifyType::UnexpectedNatDetected)]);
    assert_eq!(path_of(&gateway).peer, AWAY);
    assert_eq!(gateway.count(IkeCounter::UnexpectedNat), 1);

    // The same in the login, where the whole handshake is refused.
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let arrange: Arrange = |exchange, mut payloads| {
        if exchange == ExchangeType::IkeAuth {
            let notify = Notify::with_data(NotifyType::NoNatsAllowed, vec![9; 12]);
            payloads.push(Payload::Notify(notify));
        }
        payloads
    };
    let mut client = Client::new(InitiatorConfig { arrange, ..mobile_config() }, 3);
    assert_eq!(client.login(&mut gateway), [Notable::Refused(NotifyType::UnexpectedNatDetected)]);
    gateway.assert_empty_after_farewell();
}

#[test]
fn a_client_without_nat_traversal_must_protect_its_addresses() {
    let arrange: Arrange = |exchange, payloads| {
        let nat = [NotifyType::NatDetectionSourceIp, NotifyType::NatDetectionDestinationIp];
        let is_nat = |p: &Payload| matches!(p, Payload::Notify(notify) if nat.contains(&notify.kind));
        payloads.into_iter().filter(|p| exchange != ExchangeType::IkeSaInit || !is_nat(p)).collect()
    };
    let (mut client, mut gateway) = connected(InitiatorConfig { arrange, ..mobile_config() });
    client.address = AWAY;
    let bare = client.act(&mut gateway, |client| client.update_addresses((AWAY, 4500), false));
    assert_eq!(bare, [Notable::Refused(NotifyType::UnexpectedNatDetected)]);
    assert_eq!(path_of(&gateway).peer, CLIENT);
    let protected = client.act(&mut gateway, |client| client.update_addresses((AWAY, 4500), true));
    assert!(protected.contains(&Notable::Answered));
    assert_eq!(path_of(&gateway).peer, AWAY);
}

/// RFC 4555 §3.4: the client knows our addresses from its login, and takes one of another family where its own is gone.
#[test]
fn a_client_moves_to_any_address_of_ours_that_it_was_told() {
    let ours6: IpAddr = "2001:db8::1".parse().unwrap();
    let away6: IpAddr = "2001:db8:7::9".parse().unwrap();
    let stranger: IpAddr = "2001:db8::2".parse().unwrap();
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| config.extensions.addresses = vec![GATEWAY, ours6]);
    let mut client = Client::new(mobile_config(), 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let kinds = [NotifyType::AdditionalIp4Address, NotifyType::AdditionalIp6Address];
    let told: Vec<(NotifyType, Vec<u8>)> = client
        .initiator
        .last_answer()
        .iter()
        .filter_map(|payload| match payload {
            Payload::Notify(notify) => {
                kinds.contains(&notify.kind).then(|| (notify.kind, notify.data.clone()))
            }
            _ => None,
        })
        .collect();
    let IpAddr::V6(octets) = ours6 else { panic!() };
    assert_eq!(told, [(NotifyType::AdditionalIp6Address, octets.octets().to_vec())]);
    for (local, accepted) in [(stranger, false), (ours6, true)] {
        client.notable.clear();
        let mut datagram = update(&mut client, away6);
        datagram.local = local;
        gateway.input(Input::Datagram(datagram));
        client.exchange(&mut gateway, Vec::new());
        let refused = client.notable.contains(&Notable::Refused(NotifyType::UnacceptableAddresses));
        assert_eq!(refused, !accepted, "{local}: {:?}", client.notable);
    }
    let path = path_of(&gateway);
    assert_eq!((path.local, path.peer), (ours6, away6));
}

#[test]
fn a_move_to_another_address_of_ours_is_refused() {
    let (mut client, mut gateway) = connected(mobile_config());
    let mut datagram = update(&mut client, AWAY);
    datagram.local = Ipv4Addr::new(192, 0, 2, 200).into();
    gateway.input(Input::Datagram(datagram));
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(client.notable, [Notable::Refused(NotifyType::UnacceptableAddresses)]);
    assert_eq!(path_of(&gateway).peer, CLIENT);
    assert_eq!(gateway.count(IkeCounter::AddressesRefused), 1);
}

/// With MOBIKE a request from elsewhere may only try a path (RFC 4555 §3.8); it is answered there, with what the client
/// needs to see that a NAT has mapped it anew. Without MOBIKE we follow.
#[test]
fn requests_from_elsewhere_move_only_clients_that_do_not_know_mobike() {
    for mobike in [true, false] {
        let (mut client, mut gateway) =
            connected(InitiatorConfig { mobike, force_nat: true, ..psk_config() });
        client.mapped_port = Some(61_000);
        let sent = client
            .initiator
            .raw_request(
                ExchangeType::Informational,
                vec![
                    Payload::Notify(Notify::with_data(NotifyType::Cookie2, vec![5; 8])),
                    Payload::Notify(Notify::with_data(NotifyType::NatDetectionSourceIp, vec![0; 20])),
                    Payload::Notify(Notify::with_data(NotifyType::NatDetectionDestinationIp, vec![0; 20])),
                ],
            )
            .unwrap();
        gateway.input(Input::Datagram(client.datagram(&sent[0])));
        let answer = gateway.outbox.pop_front().unwrap();
        assert_eq!(answer.peer_port, 61_000);
        client.receive(&answer);
        let kinds: Vec<NotifyType> = (client.initiator.last_answer().iter())
            .filter_map(|p| if let Payload::Notify(notify) = p { Some(notify.kind) } else { None })
            .collect();
        let expected =
            [NotifyType::Cookie2, NotifyType::NatDetectionSourceIp, NotifyType::NatDetectionDestinationIp];
        assert_eq!(kinds, if mobike { expected.to_vec() } else { Vec::new() });
        let moved = gateway.endpoint.peer_end(gateway.session()) == Some((CLIENT, 61_000));
        assert_eq!(moved, !mobike);
        assert_eq!(path_of(&gateway).udp.unwrap().peer == 61_000, !mobike);
    }
}

/// A NAT that maps the client anew is seen first in ESP, and followed at once, so that nothing is lost.
#[test]
fn esp_from_a_new_mapping_is_followed_with_and_without_mobike() {
    for mobike in [true, false] {
        let (client, mut gateway) = connected(InitiatorConfig { mobike, force_nat: true, ..psk_config() });
        let inbound_spi = client.child().outbound_spi;
        let moved = DataPlaneEvent::PeerMoved { inbound_spi, peer: AWAY, peer_port: Some(61_000) };
        gateway.input(Input::DataPlane(moved));
        assert_eq!(path_of(&gateway).peer, AWAY);
        assert_eq!(gateway.endpoint.peer_end(gateway.session()), Some((AWAY, 61_000)));
        assert!(gateway.outbox.is_empty());
    }
}

#[test]
fn mobike_is_answered_only_if_it_is_on_and_asked_for() {
    for (on, asked) in [(true, true), (true, false), (false, true)] {
        let pki = Pki::new();
        let mut gateway = Gateway::new(&pki, 1, |config| config.extensions.mobike = on);
        let mut client = Client::new(InitiatorConfig { mobike: asked, ..psk_config() }, 2);
        client.login(&mut gateway);
        assert_eq!(client.initiator.mobike(), on && asked);
        client.address = AWAY;
        let answer = client.act(&mut gateway, |client| client.update_addresses((AWAY, 4500), false));
        assert_eq!(answer.first(), Some(&Notable::Answered), "an unknown status notify is passed over");
        assert_eq!(path_of(&gateway).peer == AWAY, on && asked);
    }
}

/// The check goes on in another process, with the same cookie.
#[test]
fn a_move_outlives_the_process() {
    let (mut client, mut gateway) = connected(mobile_config());
    gateway.input(Input::Datagram(update(&mut client, AWAY)));
    let answer = gateway.outbox.pop_front().unwrap();
    client.receive(&answer);
    let question = gateway.outbox.pop_front().unwrap();
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    gateway.restore(snapshot.expose(), 0).unwrap();
    assert_eq!(path_of(&gateway).peer, CLIENT);
    let cookie = client.receive(&question);
    client.exchange(&mut gateway, cookie);
    assert_eq!(path_of(&gateway).peer, AWAY);
    client.address = FURTHER;
    client.act(&mut gateway, |client| client.update_addresses((FURTHER, 4500), false));
    assert_eq!(path_of(&gateway).peer, FURTHER);
}
