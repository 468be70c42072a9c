//! EAP alone (RFC 5998): who asks, who allows, and which methods may vouch for the gateway.

use super::harness::*;
use crate::api::Input;
use crate::counters::IkeCounter;
use crate::testing::*;
use crate::wire::{NotifyType, Payload};

/// EAP-TLS.
const SAFE: u8 = 13;

fn gateway_with(pki: &Pki, eap_only: bool, eap_type: u8) -> Gateway {
    let mut gateway = Gateway::new(pki, 1, |config| config.extensions.eap_only = eap_only);
    gateway.eap_type = eap_type;
    gateway
}

fn client(pki: &Pki, eap_only: bool) -> Client {
    Client::new(InitiatorConfig { eap_only, ..eap_config(pki, PASSWORD) }, 2)
}

/// The first answer of IKE_AUTH, then the rest of the login: whether there was AUTH or CERT, and what happened.
fn login(client: &mut Client, gateway: &mut Gateway) -> (bool, Vec<Notable>) {
    let first = client.initiator.start().unwrap();
    gateway.input(Input::Datagram(client.datagram(&first[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    let request = client.receive(&answer);
    gateway.input(Input::Datagram(client.datagram(&request[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    let next = client.receive(&answer);
    let payloads = client.initiator.last_answer();
    assert!(payloads.iter().any(|payload| matches!(payload, Payload::IdR(_))));
    let signed = payloads.iter().any(|payload| matches!(payload, Payload::Auth(_) | Payload::Cert(_)));
    client.exchange(gateway, next);
    (signed, std::mem::take(&mut client.notable))
}

#[test]
fn the_gateway_signs_unless_both_sides_want_eap_alone() {
    let pki = Pki::new();
    for (asked, allowed) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut gateway = gateway_with(&pki, allowed, SAFE);
        let mut client = client(&pki, asked);
        let (signed, notable) = login(&mut client, &mut gateway);
        let alone = asked && allowed;
        assert_eq!(signed, !alone, "asked {asked}, allowed {allowed}");
        assert!(notable.contains(&Notable::Up), "asked {asked}, allowed {allowed}: {notable:?}");
        assert_eq!(gateway.facts().local_auth, if alone { "eap" } else { "ecdsa" });
        assert_agreement(&client, &gateway);
    }
}

/// Methods that prove one side only, that can be guessed, or that are not known: MD5, GTC, MSCHAPv2, expanded, 99.
#[test]
fn a_method_that_does_not_prove_the_gateway_ends_the_login() {
    let pki = Pki::new();
    for eap_type in [4, 6, 26, 254, 99] {
        let mut gateway = gateway_with(&pki, true, eap_type);
        let (_, notable) = login(&mut client(&pki, true), &mut gateway);
        assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)], "type {eap_type}");
        assert_eq!(gateway.count(IkeCounter::MethodRefused), 1);
        gateway.assert_empty_after_farewell();
        // With our signature it is as good as ever.
        let mut signing = gateway_with(&pki, true, eap_type);
        assert!(login(&mut client(&pki, false), &mut signing).1.contains(&Notable::Up));
    }
}

/// "MUST NOT use SK_pi or SK_pr": a method without a key proves nothing, whatever its type.
#[test]
fn a_method_without_a_key_ends_the_login() {
    let pki = Pki::new();
    let mut gateway = gateway_with(&pki, true, SAFE);
    gateway.eap_makes_no_key = true;
    let (_, notable) = login(&mut client(&pki, true), &mut gateway);
    assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
    gateway.assert_empty_after_farewell();
}

#[test]
fn another_key_than_the_methods_proves_nothing() {
    let pki = Pki::new();
    let mut gateway = gateway_with(&pki, true, SAFE);
    let mut client = Client::new(
        InitiatorConfig {
            auth: AuthWith::Eap(Box::new(OtherKey(FakeEapPeer(PASSWORD)))),
            eap_only: true,
            ..eap_config(&pki, PASSWORD)
        },
        2,
    );
    let (_, notable) = login(&mut client, &mut gateway);
    assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
    assert_eq!(gateway.count(IkeCounter::AuthFailed), 1);
}

struct OtherKey(FakeEapPeer);

impl EapPeer for OtherKey {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.0.respond(request)
    }

    fn msk(&self) -> Option<Vec<u8>> {
        Some(vec![0xa5; 64])
    }
}
