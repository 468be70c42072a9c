//! Cisco's clients: AnyConnect-EAP without an MSK, their identity, vendor ids, attributes and fragments.

use std::sync::{Arc, Mutex};

use super::harness::*;
use crate::api::{ClientKind, Datagram, EapStep, Event, Fragmentation, Input, JobKind, Liveness, Operator};
use crate::cert::RsaHash;
use crate::cisco::{ANYCONNECT_IDENTITY, VendorId};
use crate::counters::IkeCounter;
use crate::ident::Identity;
use crate::job::PublicKeyJob;
use crate::suite::Prf;
use crate::testing::*;
use crate::wire::{CfgAttributeType, ExchangeType, Notify, NotifyType, Payload};

/// What an EAP peer was told before its first request.
pub(super) type Bound = Arc<Mutex<Option<(Vec<u8>, Prf)>>>;

/// The made-up method of the harness, without a key.
struct KeylessPeer {
    password: &'static [u8],
    bound: Bound,
}

impl EapPeer for KeylessPeer {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        FakeEapPeer(self.password).respond(request)
    }

    fn msk(&self) -> Option<Vec<u8>> {
        None
    }

    fn makes_key(&self) -> bool {
        false
    }

    fn bind(&mut self, signed_octets: &[u8], prf: Prf) {
        *self.bound.lock().unwrap() = Some((signed_octets.to_vec(), prf));
    }
}

fn identity(id_type: u8) -> Identity {
    Identity::parse(id_type, ANYCONNECT_IDENTITY).unwrap()
}

pub(super) fn anyconnect_config(pki: &Pki) -> (InitiatorConfig, Bound) {
    let bound = Bound::default();
    let peer = KeylessPeer { password: PASSWORD, bound: Arc::clone(&bound) };
    let vendor_ids = vec![VendorId::DeleteReason, VendorId::Copyright, VendorId::AnyConnectEap];
    let auth = AuthWith::Eap(Box::new(peer));
    (InitiatorConfig { identity: identity(201), auth, vendor_ids, ..eap_config(pki, PASSWORD) }, bound)
}

fn keyless_gateway(pki: &Pki, change: impl FnOnce(&mut crate::policy::EndpointConfig)) -> Gateway {
    let mut gateway = Gateway::new(pki, 1, change);
    gateway.eap_makes_no_key = true;
    gateway
}

#[test]
fn a_method_without_msk_ends_with_macs_under_sk_p() {
    let pki = Pki::new();
    for id_type in [201, 11] {
        // Standard EAP is off: the identity decides.
        let mut gateway = keyless_gateway(&pki, |config| config.methods.eap = false);
        let (config, bound) = anyconnect_config(&pki);
        // Reserved octets that are not zero enter the MAC as they are (RFC 7296 §2.15).
        let config =
            InitiatorConfig { identity: identity(id_type), id_reserved: [1, 2, 3], eap_only: true, ..config };
        let mut client = Client::new(config, 2);
        assert!(client.login(&mut gateway).contains(&Notable::Up), "{id_type}");
        assert_agreement(&client, &gateway);
        let facts = gateway.facts();
        assert_eq!((facts.user.as_str(), facts.client), ("alice", ClientKind::AnyConnect));
        assert_eq!((facts.local_auth, facts.resumed), ("ecdsa", None));
        assert!(facts.vendor_ids.iter().any(|id| id == "CISCO-ANYCONNECT-EAP"));
        let [EapStep::Start { client, signed_octets, prf, .. }] = gateway.eap_starts.as_slice() else {
            panic!()
        };
        assert_eq!(*client, ClientKind::AnyConnect);
        assert_eq!(bound.lock().unwrap().as_ref(), Some(&(signed_octets.clone(), *prf)));
    }
}

#[test]
fn another_key_than_sk_p_is_refused() {
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    let (config, _) = anyconnect_config(&pki);
    // Its MAC is made under an MSK that the gateway's method has not made.
    let config = InitiatorConfig { auth: AuthWith::Eap(Box::new(FakeEapPeer(PASSWORD))), ..config };
    let notable = Client::new(config, 2).login(&mut gateway);
    assert_eq!(notable.last(), Some(&Notable::Refused(NotifyType::AuthenticationFailed)));
    assert_eq!(gateway.count(IkeCounter::AuthFailed), 1);
    assert!(gateway.address_requests.is_empty(), "nothing is leased before AUTH is verified");
    gateway.assert_empty_after_farewell();
}

#[test]
fn the_method_is_a_matter_of_policy() {
    let pki = Pki::new();
    type Change = fn(&mut crate::policy::EndpointConfig);
    let changes: [Change; 2] =
        [|config| config.methods.anyconnect_eap = false, |config| config.cisco.id_types = vec![11]];
    for change in changes {
        let mut gateway = keyless_gateway(&pki, |config| {
            config.methods.eap = false;
            change(config);
        });
        let notable = Client::new(anyconnect_config(&pki).0, 2).login(&mut gateway);
        assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
        assert_eq!(gateway.count(IkeCounter::MethodRefused), 1);
        gateway.assert_empty_after_farewell();
    }
}

#[test]
fn vendor_ids_are_answered_to_who_asks_and_a_clear_cp_is_passed_over() {
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    let config = InitiatorConfig { clear_cp: true, ..anyconnect_config(&pki).0 };
    let mut client = Client::new(config, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let ours: Vec<Vec<u8>> =
        [VendorId::DeleteReason, VendorId::Copyright].iter().map(|id| id.octets().to_vec()).collect();
    assert_eq!(client.initiator.gateway_vendor_ids(), ours);
    let mut stranger = Client::new(psk_config(), 3);
    assert!(stranger.login(&mut gateway).contains(&Notable::Up));
    assert!(stranger.initiator.gateway_vendor_ids().is_empty());
    assert_eq!(gateway.facts().client, ClientKind::Standard);
}

#[test]
fn rsa_method_1_uses_the_hash_of_the_prf_for_cisco_only() {
    let pki = Pki::new();
    for (config, expected) in [
        (anyconnect_config(&pki).0, RsaHash::Sha384),
        (
            InitiatorConfig { vendor_ids: vec![VendorId::Fragmentation], ..anyconnect_config(&pki).0 },
            RsaHash::Sha1,
        ),
        (eap_config(&pki, PASSWORD), RsaHash::Sha1),
    ] {
        let mut gateway = keyless_gateway(&pki, |_| {});
        gateway.hold = |kind| matches!(kind, JobKind::PublicKey(work) if work.name() == "sign");
        Client::new(InitiatorConfig { announce_hashes: false, ..config }, 2).login(&mut gateway);
        let job = gateway.held_jobs.pop_front().unwrap();
        let JobKind::PublicKey(work) = job.kind else { panic!() };
        let PublicKeyJob::Sign { rsa_hash, peer_hashes, .. } = *work else { panic!() };
        assert_eq!((rsa_hash, peer_hashes), (expected, None));
    }
}

#[test]
fn attributes_come_raw_and_only_those_asked_for_go_out() {
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    gateway.attributes =
        vec![(28_672, b"welcome".to_vec()), (28_800, b"id".to_vec()), (28_801, b"token".to_vec())];
    let attributes = vec![(28_800, Vec::new()), (28_682, b"laptop".to_vec())];
    let config = InitiatorConfig { attributes: attributes.clone(), ..anyconnect_config(&pki).0 };
    let mut client = Client::new(config, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    let reply = client.initiator.config_reply().unwrap();
    let values = |kind| -> Vec<Vec<u8>> {
        reply.all(CfgAttributeType::from_number(kind)).map(|attribute| attribute.value.clone()).collect()
    };
    assert_eq!(values(28_800), [b"id".to_vec()]);
    assert!(values(28_801).is_empty() && values(28_672).is_empty());
    let [request] = gateway.address_requests.as_slice() else { panic!() };
    assert!(request.attributes.ends_with(&attributes));
    assert_eq!((request.client, request.method.as_str()), (ClientKind::AnyConnect, "eap-test"));
    assert_eq!((request.user.as_str(), request.resume), ("alice", None));
}

/// Notifies, vendor ids, a payload and attributes that this gateway has never heard of, in both of the first requests.
#[test]
fn what_nobody_knows_is_passed_over_and_handed_on_raw() {
    fn strange(exchange: ExchangeType, mut payloads: Vec<Payload>) -> Vec<Payload> {
        // Seen from Cisco's clients; its meaning is not public.
        let notify = |kind, data| Payload::Notify(Notify::with_data(NotifyType::from_number(kind), data));
        payloads.insert(0, Payload::Vendor(b"CISCO-GRE-MODE\x02".to_vec()));
        payloads.push(notify(40_963, vec![0xee; 65]));
        payloads.push(notify(65_535, Vec::new()));
        if exchange == ExchangeType::IkeAuth {
            payloads.insert(0, Payload::Vendor(vec![0x5a; 20]));
            payloads.push(Payload::Unknown { number: 200, body: vec![1, 2, 3] });
        }
        payloads
    }
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    // The members of Cisco's request that have no public name, one with a value and one of no sensible length.
    let mut attributes: Vec<(u16, Vec<u8>)> = (28_704..=28_710).map(|kind| (kind, Vec::new())).collect();
    attributes.extend([(28_711, vec![0x05, 0x7e]), (28_729, vec![0; 300]), (0x7fff, Vec::new())]);
    let config = InitiatorConfig {
        arrange: strange,
        attributes: attributes.clone(),
        clear_cp: true,
        ..anyconnect_config(&pki).0
    };
    let mut client = Client::new(config, 2);
    assert!(client.login(&mut gateway).contains(&Notable::Up));
    assert_agreement(&client, &gateway);
    assert!(
        gateway.address_requests[0].attributes.ends_with(&attributes),
        "one capture settles what they are"
    );
    let reply = client.initiator.config_reply().unwrap();
    assert!(reply.attributes.iter().all(|attribute| attribute.kind.number() < 16_384));
    assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
}

#[test]
fn another_device_of_the_same_user_is_left_alone_by_initial_contact() {
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    for seed in [2, 3] {
        let config = InitiatorConfig { initial_contact: true, ..anyconnect_config(&pki).0 };
        assert!(Client::new(config, seed).login(&mut gateway).contains(&Notable::Up));
    }
    assert_eq!(gateway.endpoint.established(), 2);
}

/// Long certificates and attributes, cut both ways.
fn cut_config(pki: &Pki, ietf: bool) -> InitiatorConfig {
    let mut config = anyconnect_config(pki).0;
    config.vendor_ids.push(VendorId::Fragmentation);
    let attributes = vec![(28_682, vec![b'x'; 700])];
    InitiatorConfig { fragment: Some(300), ietf_fragments: ietf, attributes, ..config }
}

#[test]
fn messages_are_cut_in_ciscos_way_when_that_is_the_only_one() {
    let pki = Pki::new();
    for (ietf, allowed, expected) in [
        (false, true, Fragmentation::Cisco),
        (true, true, Fragmentation::Ietf),
        (false, false, Fragmentation::None),
    ] {
        let mut gateway = keyless_gateway(&pki, |config| {
            config.fragment_size = 576;
            config.cisco.fragmentation = allowed;
        });
        let mut client = Client::new(cut_config(&pki, ietf), 2);
        let first = client.initiator.start().unwrap();
        gateway.input(Input::Datagram(client.datagram(&first[0])));
        let response = gateway.outbox.pop_front().unwrap();
        let request = client.receive(&response);
        assert_eq!(request.len() > 1, expected != Fragmentation::None);
        for fragment in request.iter().rev() {
            gateway.input(Input::Datagram(client.datagram(fragment)));
        }
        assert_eq!(gateway.outbox.len() > 1, expected != Fragmentation::None);
        let clear = gateway.outbox.iter().all(|datagram| datagram.bytes[16] == 132);
        assert_eq!(clear, expected == Fragmentation::Cisco);
        if expected != Fragmentation::None {
            assert!(gateway.outbox.iter().all(|datagram| datagram.bytes.len() + 28 <= 576));
        }
        client.exchange(&mut gateway, Vec::new());
        assert!(client.initiator.is_up());
        assert_agreement(&client, &gateway);
        assert_eq!(gateway.facts().fragmentation, expected);
        let session = gateway.session();
        assert_eq!(gateway.endpoint.ike_facts(session).unwrap().fragmentation, expected);
        // The successor of the IKE SA cuts as the first one did.
        assert!(client.act(&mut gateway, Initiator::rekey_ike).contains(&Notable::IkeRekeyed));
        assert_eq!(gateway.endpoint.ike_facts(session).unwrap().fragmentation, expected);
    }
}

#[test]
fn pieces_for_sessions_that_did_not_agree_or_from_elsewhere_are_dropped() {
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    let mut stranger = Client::new(psk_config(), 3);
    stranger.login(&mut gateway);
    let mut client = Client::new(cut_config(&pki, false), 2);
    client.login(&mut gateway);
    let probe = |client: &mut Client| {
        let sent = client.initiator.liveness().unwrap();
        client.datagram(&sent[0])
    };
    let cut = |datagram: &Datagram| -> Vec<Datagram> {
        let pieces = crate::cisco::cut(&datagram.bytes, 1, 60).unwrap();
        pieces.into_iter().map(|bytes| Datagram { bytes, ..datagram.clone() }).collect()
    };
    let refused = cut(&probe(&mut stranger));
    assert!(refused.len() > 1);
    let count = refused.len() as u64;
    refused.into_iter().for_each(|piece| gateway.input(Input::Datagram(piece)));
    assert_eq!(gateway.count(IkeCounter::DropFragment), count);
    let mut pieces = cut(&probe(&mut client));
    // Another source can neither complete nor spoil what the client has begun.
    let last = pieces.pop().unwrap();
    pieces.into_iter().for_each(|piece| gateway.input(Input::Datagram(piece)));
    gateway.input(Input::Datagram(Datagram { peer_port: 9, ..last.clone() }));
    assert!(gateway.outbox.is_empty());
    gateway.input(Input::Datagram(last));
    assert_eq!(gateway.outbox.len(), 1);
}

#[test]
fn on_demand_liveness_waits_for_silence_and_then_asks_at_a_steady_pace() {
    let pki = Pki::new();
    let mut gateway = keyless_gateway(&pki, |_| {});
    let mut client = Client::new(anyconnect_config(&pki).0, 2);
    client.login(&mut gateway);
    let session = gateway.session();
    let liveness = Liveness::OnDemand { interval_secs: 45, retry_secs: 2, tries: 5 };
    gateway.input(Input::Operator(Operator::SetLiveness { session, liveness }));
    assert_eq!(gateway.endpoint.ike_facts(session).map(|facts| facts.liveness), Some(liveness));
    assert!(!gateway.events.contains(&Event::PeerConfirmed { session }));
    // The client asks by itself: we need not.
    for probes in 1..4 {
        gateway.advance(30_000);
        assert_eq!(client.act(&mut gateway, Initiator::liveness), [Notable::Answered]);
        let facts = gateway.endpoint.ike_facts(session).unwrap();
        assert_eq!((facts.peer_probes, facts.local_next_id, facts.last_heard), (probes, 0, gateway.now));
    }
    let confirmed = |event: &&Event| **event == Event::PeerConfirmed { session };
    assert_eq!(gateway.events.iter().filter(confirmed).count(), 1);
    // Its traffic speaks for it.
    gateway.advance(44_000);
    let spi = *gateway.installed.keys().next().unwrap();
    gateway.env.last_inbound.insert(spi, gateway.now);
    gateway.advance(44_999);
    assert!(gateway.outbox.is_empty());
    gateway.advance(1);
    assert_eq!(gateway.outbox.len(), 1);
    assert_eq!(gateway.endpoint.ike_facts(session).unwrap().local_outstanding_id, Some(0));
    for sent in 2..7 {
        gateway.advance(1_999);
        assert_eq!(gateway.outbox.len(), sent - 1);
        gateway.advance(1);
        assert_eq!(gateway.outbox.len(), sent);
    }
    gateway.advance(1_999);
    assert_eq!(gateway.endpoint.established(), 1);
    gateway.advance(1);
    let reason = crate::api::DownReason::PeerDead;
    assert_eq!(gateway.events.last(), Some(&Event::SessionDown { session, reason }));
    gateway.assert_empty();
}

#[test]
fn liveness_can_be_switched_off_for_one_session() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| config.timing.dpd_interval_secs = 30);
    Client::new(psk_config(), 2).login(&mut gateway);
    let session = gateway.session();
    gateway.input(Input::Operator(Operator::SetLiveness { session, liveness: Liveness::Off }));
    gateway.advance(600_000);
    assert!(gateway.outbox.is_empty());
    assert_eq!(gateway.endpoint.established(), 1);
}
