//! Sessions that are resumed: a new IKE SA under the old session's token, the gateway known by its certificate.

use super::harness::*;
use crate::api::*;
use crate::cisco::VendorId;
use crate::counters::IkeCounter;
use crate::ident::Identity;
use crate::policy::EndpointConfig;
use crate::testing::*;
use crate::wire::{ExchangeType, NotifyType, Payload};

const SESSION_ID: &[u8] = b"rIUHKccDRiUtFTATwq";
const TOKEN: &[u8] = &[b'A'; 64];
const OLD_TOKEN: &[u8] = &[b'B'; 64];
const BURNT_TOKEN: &[u8] = &[b'C'; 64];

fn resume_only(config: &mut EndpointConfig) {
    config.methods.psk = false;
    config.methods.resume = true;
}

fn resumable_gateway(pki: &Pki, change: impl FnOnce(&mut EndpointConfig)) -> Gateway {
    let mut gateway = Gateway::new(pki, 1, change);
    let answer = PskAnswer {
        key: Secret::new(TOKEN.to_vec()),
        previous_key: Some(Secret::new(OLD_TOKEN.to_vec())),
        burnt_keys: vec![Secret::new(BURNT_TOKEN.to_vec())],
        gateway_auth: GatewayAuth::Certificate,
        user: Some("alice".to_owned()),
        resume: Some(77),
    };
    gateway.resumable.insert(SESSION_ID.to_vec(), answer);
    gateway
}

fn resume_config(pki: &Pki, id_type: u8, id: &[u8], token: &[u8]) -> InitiatorConfig {
    InitiatorConfig {
        identity: Identity::parse(id_type, id).unwrap(),
        auth: AuthWith::Resume(token.to_vec()),
        trust: Some(pki.trust()),
        unix_secs: UNIX_NOW,
        vendor_ids: vec![VendorId::AnyConnectEap],
        ..psk_config()
    }
}

#[test]
fn a_session_is_resumed_in_one_round_trip_under_any_id_type() {
    let pki = Pki::new();
    for (id_type, token, previous_key) in [(11, TOKEN, false), (201, TOKEN, false), (2, OLD_TOKEN, true)] {
        let mut gateway = resumable_gateway(&pki, resume_only);
        let mut client = Client::new(resume_config(&pki, id_type, SESSION_ID, token), 2);
        assert!(client.login(&mut gateway).contains(&Notable::Up), "{id_type}");
        assert_agreement(&client, &gateway);
        let facts = gateway.facts();
        assert_eq!((facts.user.as_str(), facts.resumed), ("alice", Some(77)));
        assert_eq!((facts.auth_method.as_str(), facts.local_auth), ("psk", "ecdsa"));
        assert_eq!(facts.client, ClientKind::AnyConnect);
        assert_eq!(gateway.address_requests[0].resume, Some(Resume { tag: 77, previous_key }));
        let ike = gateway.endpoint.ike_facts(facts.session).unwrap();
        assert_eq!((ike.peer_next_id, ike.peer_outstanding_id, ike.local_next_id), (2, None, 0));
        assert_eq!((ike.suite.to_string(), ike.child_sas), (IKE.to_owned(), 1));
    }
}

/// The pool has the address that was asked for, and another: what is given is for the driver to say, whatever is asked.
#[test]
fn a_resuming_client_that_asks_for_another_address_is_handed_on_with_its_wish() {
    fn wishes(_: ExchangeType, mut payloads: Vec<Payload>) -> Vec<Payload> {
        for payload in &mut payloads {
            if let Payload::Cp(request) = payload
                && let Some(first) = request.attributes.first_mut()
            {
                first.value = vec![10, 9, 0, 40];
            }
        }
        payloads
    }
    let pki = Pki::new();
    let mut gateway = resumable_gateway(&pki, resume_only);
    let config = InitiatorConfig { arrange: wishes, ..resume_config(&pki, 11, SESSION_ID, TOKEN) };
    assert!(Client::new(config, 2).login(&mut gateway).contains(&Notable::Up));
    let [request] = gateway.address_requests.as_slice() else { panic!() };
    assert_eq!(request.ip4, Wish::This("10.9.0.40".parse().unwrap()));
    assert!(request.resume.is_some(), "so that the driver knows whose address it is");
}

/// Nothing is claimed for a client that could not be told its address and its next token.
#[test]
fn a_resume_without_a_configuration_request_claims_nothing() {
    let pki = Pki::new();
    let mut gateway = resumable_gateway(&pki, resume_only);
    let config = InitiatorConfig { ask_address: false, ..resume_config(&pki, 11, SESSION_ID, TOKEN) };
    let notable = Client::new(config, 2).login(&mut gateway);
    assert_eq!(notable, [Notable::Up, Notable::Refused(NotifyType::FailedCpRequired)]);
    assert!(gateway.address_requests.is_empty() && gateway.leased.is_empty() && gateway.installed.is_empty());
}

#[test]
fn wrong_unknown_and_burnt_tokens_look_alike_to_the_client() {
    let pki = Pki::new();
    for (id, token, change, counter) in [
        (SESSION_ID, &b"wrong"[..], resume_only as fn(&mut EndpointConfig), IkeCounter::AuthFailed),
        (SESSION_ID, b"", resume_only, IkeCounter::AuthFailed),
        (b"aaaaaaaaaaaaaaaaaa", TOKEN, resume_only, IkeCounter::AuthFailed),
        (SESSION_ID, BURNT_TOKEN, resume_only, IkeCounter::TokensReplayed),
        // PSKs stay off though tokens are on, and the other way round.
        (b"client.example", PSK, resume_only, IkeCounter::AuthFailed),
        (SESSION_ID, TOKEN, |_| {}, IkeCounter::AuthFailed),
    ] {
        let mut gateway = resumable_gateway(&pki, change);
        let notable = Client::new(resume_config(&pki, 2, id, token), 2).login(&mut gateway);
        assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
        assert_eq!(gateway.count(counter), 1);
        assert!(gateway.address_requests.is_empty(), "nothing is leased before AUTH is verified");
        let replays: Vec<&Event> =
            gateway.events.iter().filter(|event| matches!(event, Event::TokenReplayed { .. })).collect();
        assert_eq!(replays.len(), usize::from(token == BURNT_TOKEN));
        assert!(replays.iter().all(|event| matches!(event, Event::TokenReplayed { tag: Some(77), .. })));
        gateway.assert_empty_after_farewell();
    }
}

#[test]
fn a_handshake_that_is_dropped_before_it_is_up_is_told_once() {
    let pki = Pki::new();
    for hold in [
        (|kind| matches!(kind, JobKind::PskLookup { .. })) as fn(&JobKind) -> bool,
        |kind| matches!(kind, JobKind::Address(_)),
        |kind| matches!(kind, JobKind::InstallChild(_)),
        |_| false,
    ] {
        let mut gateway = resumable_gateway(&pki, resume_only);
        gateway.hold = hold;
        let notable = Client::new(resume_config(&pki, 11, SESSION_ID, TOKEN), 2).login(&mut gateway);
        let session = SessionId(0);
        gateway.input(Input::Operator(Operator::Drop(session)));
        let failed =
            |event: &&Event| matches!(event, Event::HandshakeFailed { session: id, .. } if *id == session);
        let ended = gateway.events.iter().filter(failed).count();
        let down = Event::SessionDown { session, reason: DownReason::TakenOver };
        let down = gateway.events.iter().filter(|event| **event == down).count();
        let up = notable.contains(&Notable::Up);
        assert_eq!((ended, down), (usize::from(!up), usize::from(up)));
        assert_eq!(gateway.count(IkeCounter::HandshakesAbandoned), ended as u64);
        while gateway.do_held_job() {}
        gateway.assert_empty();
    }
}

#[test]
fn an_empty_key_opens_nothing() {
    let pki = Pki::new();
    let mut gateway = resumable_gateway(&pki, resume_only);
    let answer = gateway.resumable.get_mut(SESSION_ID).unwrap();
    answer.key = Secret::new(Vec::new());
    answer.previous_key = Some(Secret::new(Vec::new()));
    let notable = Client::new(resume_config(&pki, 11, SESSION_ID, b""), 2).login(&mut gateway);
    assert_eq!(notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
}

#[test]
fn the_old_session_gives_way_without_a_word_once_the_client_is_authenticated() {
    let pki = Pki::new();
    let mut gateway = resumable_gateway(&pki, resume_only);
    let mut first = Client::new(resume_config(&pki, 11, SESSION_ID, TOKEN), 2);
    first.login(&mut gateway);
    let old = gateway.session();
    let inner = first.initiator.address();
    gateway.hold = |kind| matches!(kind, JobKind::Address(_));
    let config = InitiatorConfig { initial_contact: true, ..resume_config(&pki, 11, SESSION_ID, TOKEN) };
    let mut second = Client::new(config, 3);
    second.login(&mut gateway);
    assert_eq!(gateway.held_jobs.len(), 1);
    assert_eq!(gateway.endpoint.established(), 1, "INITIAL_CONTACT does not end what is resumed");
    gateway.input(Input::Operator(Operator::Drop(old)));
    assert!(gateway.outbox.is_empty(), "no Delete");
    let reason = DownReason::TakenOver;
    assert!(gateway.events.contains(&Event::SessionDown { session: old, reason }));
    assert!(gateway.leased.is_empty() && gateway.installed.is_empty());
    assert!(gateway.do_held_job());
    second.exchange(&mut gateway, Vec::new());
    assert!(second.initiator.is_up());
    assert_eq!(second.initiator.address(), inner);
    assert_agreement(&second, &gateway);
    assert_eq!(gateway.endpoint.established(), 1);
    let session = gateway.session();
    gateway.input(Input::Operator(Operator::Drop(session)));
    gateway.input(Input::Operator(Operator::Drop(session)));
    gateway.assert_empty();
}

/// In every state, a dropped session is gone at once with all it holds.
#[test]
fn a_handshake_can_be_dropped_too() {
    let pki = Pki::new();
    let mut gateway = resumable_gateway(&pki, resume_only);
    gateway.hold = |kind| matches!(kind, JobKind::PublicKey(work) if work.name() == "sign");
    let mut client = Client::new(resume_config(&pki, 11, SESSION_ID, TOKEN), 2);
    client.login(&mut gateway);
    assert_eq!(gateway.endpoint.state_of(SessionId(0)).as_deref(), Some("CertificateSign"));
    gateway.input(Input::Operator(Operator::Drop(SessionId(0))));
    assert!(gateway.do_held_job());
    gateway.assert_empty();
}

/// Somebody else was faster, or the session ended, between the proof and the claim.
#[test]
fn a_claim_that_comes_too_late_fails_the_login() {
    let pki = Pki::new();
    let mut gateway = resumable_gateway(&pki, resume_only);
    gateway.hold = |kind| matches!(kind, JobKind::Address(_));
    let mut client = Client::new(resume_config(&pki, 11, SESSION_ID, TOKEN), 2);
    client.login(&mut gateway);
    let job = gateway.held_jobs.pop_front().unwrap().id;
    gateway.input(Input::JobDone { job, result: JobResult::Address(Err(AddressFailure::Refused)) });
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(client.notable, [Notable::Refused(NotifyType::AuthenticationFailed)]);
    gateway.assert_empty_after_farewell();
}
