//! Resumes: the session id as identity, the token as key, the gateway proven by its certificate as always.

use causeway_client::attributes::Reconnect;
use causeway_client::initiator::Fault;
use causeway_eap::anyconnect::CertificateUse;
use causeway_ike::crypto::Secret;
use causeway_ike::ident::Identity;
use causeway_ike::wire::NotifyType;

use crate::gateway::{ADDRESS, Gateway, PASSWORD, Pki, SESSION_ID};
use crate::world::{World, initiator};

const IKE: &str = "aes256-sha512-ecp256";
const ESP: &str = "aes256gcm16";

fn logged_in() -> (World, Reconnect) {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut world = World::new(gateway, initiator(&pki, IKE, ESP));
    world.log_in(&[PASSWORD], None);
    let reconnect = world.granted().reconnect.clone().unwrap();
    (world, reconnect)
}

#[test]
fn the_same_address_comes_back_from_another_port_with_a_new_token() {
    let (mut world, first) = logged_in();
    world.resume(&first);
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert_eq!(world.gateway.resumed, [Identity::KeyId(SESSION_ID.as_bytes().to_vec())]);
    world.ping();
    let second = world.granted().reconnect.clone().unwrap();
    assert_eq!(second.session_id, first.session_id);
    assert!(!second.token.matches(first.token.as_bytes()));
    world.resume(&second);
    assert_eq!(world.granted().address, Some(ADDRESS));
    world.ping();
}

#[test]
fn a_wrong_token_is_refused() {
    let (mut world, first) = logged_in();
    world.resume(&Reconnect { token: Secret::new(b"guess".to_vec()), ..first });
    assert_eq!(world.failed, Some(Fault::Refused(NotifyType::AuthenticationFailed)));
}

#[test]
fn an_unknown_session_is_refused() {
    let (mut world, first) = logged_in();
    world.resume(&Reconnect { session_id: "AAAAAAAAAAAAAAAAAA".into(), ..first });
    assert_eq!(world.failed, Some(Fault::Refused(NotifyType::AuthenticationFailed)));
}

#[test]
fn a_lost_answer_costs_a_retransmission_and_no_token() {
    let (mut world, first) = logged_in();
    world.loses = |n| n < 3;
    world.resume(&first);
    assert_eq!(world.granted().address, Some(ADDRESS));
    world.ping();
}

#[test]
fn when_every_answer_is_lost_the_old_token_still_resumes() {
    let (mut world, first) = logged_in();
    // The first answer is that of IKE_SA_INIT; the one with the new token never arrives.
    world.loses = |n| n > 1;
    world.resume(&first);
    assert_eq!(world.failed, Some(Fault::NoAnswer));
    assert_eq!(world.gateway.tokens.len(), 2);
    world.loses = |_| false;
    world.resume(&first);
    assert_eq!(world.granted().address, Some(ADDRESS));
}

#[test]
fn a_gateway_without_the_right_certificate_gets_no_second_try_of_the_token() {
    let (_, first) = logged_in();
    let gateway = Gateway::new(&Pki::new(), IKE, ESP, CertificateUse::None);
    let mut world = World::new(gateway, initiator(&Pki::new(), IKE, ESP));
    world.gateway.tokens.push(first.token.as_bytes().to_vec());
    world.resume(&first);
    assert!(matches!(world.failed, Some(Fault::Gateway(_))), "{:?}", world.failed);
}
