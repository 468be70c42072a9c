//! Networks that lose, repeat and damage: answers are repeated octet for octet, work is done once, and garbage changes
//! nothing at any step (RFC 7296 §2.1, §2.2; RFC 7383 §2.6).

use proptest::prelude::*;

use super::harness::*;
use crate::api::{Datagram, Event, Input, Operator};
use crate::counters::IkeCounter;
use crate::testing::*;

/// Every request arrives three times; every answer is the same each time.
fn exchange_thrice(client: &mut Client, gateway: &mut Gateway, first: Vec<Outgoing>) {
    let mut requests = first;
    while !requests.is_empty() {
        let mut answers: Vec<Datagram> = Vec::new();
        for round in 0..3 {
            for request in &requests {
                gateway.input(Input::Datagram(client.datagram(request)));
            }
            let now: Vec<Datagram> = gateway.outbox.drain(..).collect();
            if round == 0 {
                answers = now;
            } else {
                assert_eq!(now, answers, "a repeated request gets the same answer");
            }
        }
        requests = answers.iter().flat_map(|answer| client.receive(answer)).collect();
    }
}

#[test]
fn repeated_requests_are_answered_from_the_cache_and_done_once() {
    let pki = Pki::new();
    for fragment in [None, Some(300)] {
        let mut gateway = Gateway::new(&pki, 1, |config| config.fragment_size = 576);
        let mut client = Client::new(InitiatorConfig { fragment, ..eap_config(&pki, PASSWORD) }, 2);
        let first = client.initiator.start().unwrap();
        exchange_thrice(&mut client, &mut gateway, first);
        assert!(client.initiator.is_up());
        let old = client.child().inbound_spi;
        let request = client.initiator.create_child(Some(old), Some(crate::suite::Group::Ecp256)).unwrap();
        exchange_thrice(&mut client, &mut gateway, request);
        assert_agreement(&client, &gateway);
        let request = client.initiator.rekey_ike().unwrap();
        exchange_thrice(&mut client, &mut gateway, request);
        let request = client.initiator.delete_ike().unwrap();
        exchange_thrice(&mut client, &mut gateway, request);
        let ups = gateway.events.iter().filter(|event| matches!(event, Event::SessionUp(_))).count();
        assert_eq!((ups, gateway.count(IkeCounter::HandshakesBegun)), (1, 1));
        assert_eq!(gateway.count(IkeCounter::ChildRekeys), 1);
        gateway.assert_empty_after_farewell();
    }
}

#[test]
fn an_answer_goes_only_to_who_holds_the_keys() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let request = client.initiator.liveness().unwrap();
    let genuine = client.datagram(&request[0]);
    gateway.input(Input::Datagram(genuine.clone()));
    gateway.outbox.clear();
    let mut forged = genuine;
    let last = forged.bytes.len() - 1;
    forged.bytes[last] ^= 1;
    gateway.input(Input::Datagram(forged));
    assert!(gateway.outbox.is_empty());
}

#[test]
fn our_requests_survive_loss_in_either_direction() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let session = gateway.session();
    let old = client.child();
    gateway.input(Input::Operator(Operator::RekeyChildren(session)));
    let lost = gateway.outbox.pop_front().unwrap();
    gateway.advance(2_000);
    let again = gateway.outbox.pop_front().unwrap();
    assert_eq!(again, lost);
    let _lost_answer = client.receive(&again);
    gateway.advance(4_000);
    let third = gateway.outbox.pop_front().unwrap();
    let answer = client.receive(&third);
    client.exchange(&mut gateway, answer);
    assert_eq!(client.initiator.children().len(), 1);
    assert_ne!(client.child(), old);
    assert_agreement(&client, &gateway);
}

#[test]
fn only_the_next_message_id_is_taken() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let exchange = crate::wire::ExchangeType::Informational;
    let mut send = |gateway: &mut Gateway, id| {
        let sent = client.initiator.raw_message(exchange, false, id, Vec::new()).unwrap();
        gateway.input(Input::Datagram(client.datagram(&sent[0])));
        gateway.outbox.drain(..).count()
    };
    // 0 was IKE_SA_INIT, 1 IKE_AUTH, whose answer is in the cache; 2 is next.
    let answers: Vec<usize> = [0, 3, 4, u32::MAX, 1, 2, 2, 1, 3].map(|id| send(&mut gateway, id)).into();
    assert_eq!(answers, [0, 0, 0, 0, 1, 1, 1, 0, 1]);
    assert_eq!(gateway.count(IkeCounter::DropWindow), 5);
    assert_eq!(gateway.count(IkeCounter::RetransmitsAnswered), 2);
}

#[test]
fn strangers_are_told_sparingly() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut other = Gateway::new(&pki, 9, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut other);
    let request = client.initiator.liveness().unwrap();
    for _ in 0..500 {
        gateway.input(Input::Datagram(client.datagram(&request[0])));
    }
    assert_eq!(gateway.outbox.len(), crate::MAX_STRAY_ANSWERS_PER_SEC as usize);
    assert_eq!(gateway.count(IkeCounter::DropUnknownSpi), 500);
    gateway.outbox.clear();
    let answer = request[0].bytes.iter().copied().enumerate();
    let answer: Vec<u8> = answer.map(|(at, octet)| if at == 19 { octet | 0x20 } else { octet }).collect();
    gateway.advance(1000);
    gateway.input(Input::Datagram(Datagram { bytes: answer, ..client.datagram(&request[0]) }));
    assert!(gateway.outbox.is_empty(), "never an answer to an answer");
}

#[test]
fn another_major_version_is_told_ours() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    let first = client.initiator.start().unwrap();
    for (version, answers) in [(0x30, 1), (0x10, 0)] {
        let mut datagram = client.datagram(&first[0]);
        datagram.bytes[17] = version;
        gateway.input(Input::Datagram(datagram));
        assert_eq!(gateway.outbox.drain(..).count(), answers, "{version:x}");
    }
    gateway.assert_empty();
}

/// Truncated at every length and with every bit flipped, at each step of a login: nothing changes, the login goes on.
#[test]
fn damaged_messages_at_each_step_change_nothing() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(eap_config(&pki, PASSWORD), 2);
    let mut request = client.initiator.start().unwrap();
    let mut step = 0;
    while let Some(outgoing) = request.first() {
        let good = client.datagram(outgoing);
        if step > 0 {
            let before = (gateway.endpoint.held(), gateway.events.len());
            for length in 0..good.bytes.len() {
                let bytes = good.bytes[..length].to_vec();
                gateway.input(Input::Datagram(Datagram { bytes, ..good.clone() }));
            }
            for bit in 0..good.bytes.len() * 8 {
                let mut bytes = good.bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                gateway.input(Input::Datagram(Datagram { bytes, ..good.clone() }));
            }
            gateway.outbox.clear();
            assert_eq!((gateway.endpoint.held(), gateway.events.len()), before, "step {step}");
        }
        gateway.input(Input::Datagram(good));
        let answer = gateway.outbox.pop_front().unwrap();
        request = client.receive(&answer);
        step += 1;
    }
    assert!(client.initiator.is_up());
    assert_agreement(&client, &gateway);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any octets, with or without a plausible header, against a gateway with a session.
    #[test]
    fn garbage_never_panics_and_never_ends_a_session(
        garbage in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
        keep_header in any::<bool>(),
    ) {
        let pki = Pki::new();
        let mut gateway = Gateway::new(&pki, 1, |_| {});
        let mut client = Client::new(psk_config(), 2);
        client.login(&mut gateway);
        let request = client.initiator.liveness().unwrap();
        let genuine = client.datagram(&request[0]);
        for tail in garbage {
            let bytes = if keep_header {
                let mut bytes = [&genuine.bytes[..28], &tail].concat();
                let length = u32::try_from(bytes.len()).unwrap();
                bytes[24..28].copy_from_slice(&length.to_be_bytes());
                bytes
            } else {
                tail
            };
            gateway.input(Input::Datagram(Datagram { bytes, ..genuine.clone() }));
        }
        gateway.outbox.clear();
        prop_assert_eq!(gateway.endpoint.established(), 1);
        gateway.input(Input::Datagram(genuine));
        let answer = gateway.outbox.pop_front().unwrap();
        client.receive(&answer);
        prop_assert_eq!(client.notable, [Notable::Answered]);
    }
}
