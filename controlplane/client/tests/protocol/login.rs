//! Logins, and the life of a connection.

use causeway_client::initiator::{DownReason, Fault};
use causeway_eap::anyconnect::CertificateUse;
use causeway_ike::api::{Input, Operator};
use causeway_ike::wire::NotifyType;

use crate::gateway::{ADDRESS, Gateway, OTP, PASSWORD, Pki, SESSION_ID, USER};
use crate::world::{World, initiator};

/// As the founding document's gateway: AES-CBC-256, SHA-512, group 19; ESP AES-CBC-256 with SHA-384.
const IKE: &str = "aes256-sha512-ecp256";
const ESP: &str = "aes256-sha384";

fn world(certificate: CertificateUse) -> (World, Pki) {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, certificate);
    let config = initiator(&pki, IKE, ESP);
    (World::new(gateway, config), pki)
}

#[test]
fn a_password_login_gets_address_session_id_and_packets() {
    for (ike, esp) in [(IKE, ESP), ("aes256gcm16-prfsha384-ecp384", "aes256gcm16")] {
        let pki = Pki::new();
        let gateway = Gateway::new(&pki, ike, esp, CertificateUse::None);
        let mut world = World::new(gateway, initiator(&pki, ike, esp));
        let shown = world.log_in(&[PASSWORD], None);
        let granted = world.granted();
        assert_eq!(granted.address, Some(ADDRESS));
        assert_eq!(granted.banner.as_deref(), Some("Hello."));
        assert_eq!(granted.cleanup_interval_secs, Some(900));
        assert_eq!(granted.reconnect.as_ref().unwrap().session_id, SESSION_ID);
        assert!(shown.contains(&"Welcome.".to_owned()), "{shown:?}");
        world.ping();
    }
}

#[test]
fn a_wrong_password_is_asked_for_again_and_three_end_the_login() {
    let (mut world, _) = world(CertificateUse::None);
    let shown = world.log_in(&["wrong", "wrong too", PASSWORD], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert!(shown.contains(&"Login failed.".to_owned()), "{shown:?}");
    world.log_in(&["1", "2", "3"], None);
    assert!(matches!(world.failed, Some(Fault::Login(_))), "{:?}", world.failed);
}

#[test]
fn a_challenge_is_answered() {
    let (mut world, _) = world(CertificateUse::None);
    world.gateway.wants_otp = true;
    let shown = world.log_in(&[PASSWORD, OTP], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert!(shown.contains(&"Code:".to_owned()), "{shown:?}");
}

#[test]
fn a_certificate_is_shown_and_signs() {
    let (mut world, pki) = world(CertificateUse::Required);
    world.log_in(&[PASSWORD], Some(pki.issue(USER)));
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert_eq!(world.gateway.certificates.len(), 1);
    world.log_in(&[PASSWORD], None);
    assert!(world.failed.is_some());
}

#[test]
fn a_user_who_has_no_answer_ends_the_login() {
    let (mut world, _) = world(CertificateUse::None);
    world.log_in(&[], None);
    assert_eq!(world.failed, Some(Fault::Login("cancelled".into())));
}

#[test]
fn a_gateway_of_another_authority_sees_no_password() {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut world = World::new(gateway, initiator(&Pki::new(), IKE, ESP));
    let shown = world.log_in(&[PASSWORD], None);
    assert!(matches!(world.failed, Some(Fault::Gateway(_))), "{:?}", world.failed);
    assert!(shown.is_empty());
}

#[test]
fn without_common_proposal_the_gateway_s_notify_is_told() {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut world = World::new(gateway, initiator(&pki, "aes128-sha256-ecp384", ESP));
    world.log_in(&[PASSWORD], None);
    assert_eq!(world.failed, Some(Fault::Refused(NotifyType::NoProposalChosen)));
}

#[test]
fn another_group_is_taken_when_the_gateway_wants_it() {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, "aes256-sha512-ecp384", ESP, CertificateUse::None);
    let mut config = initiator(&pki, IKE, ESP);
    config.ike.push("aes256-sha512-ecp384".parse().unwrap());
    let mut world = World::new(gateway, config);
    world.log_in(&[PASSWORD], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
}

#[test]
fn every_other_answer_may_be_lost() {
    let (mut world, _) = world(CertificateUse::None);
    world.loses = |n| n % 2 == 1;
    world.log_in(&["wrong", PASSWORD], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
    world.ping();
}

#[test]
fn long_messages_go_in_fragments() {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut config = initiator(&pki, IKE, ESP);
    config.fragment_octets = Some(576);
    config.version = "v".repeat(2000);
    let mut world = World::new(gateway, config);
    world.log_in(&[PASSWORD], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert!(world.longest <= 1280, "{}", world.longest);
    // Without fragmentation the same messages go whole.
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut config = initiator(&pki, IKE, ESP);
    config.fragment_octets = None;
    config.version = "v".repeat(2000);
    let mut world = World::new(gateway, config);
    world.log_in(&[PASSWORD], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert!(world.longest > 2000, "{}", world.longest);
}

#[test]
fn liveness_rekeys_of_both_sides_and_goodbye() {
    let (mut world, _) = world(CertificateUse::None);
    world.log_in(&[PASSWORD], None);
    world.run_until(|world| world.dpd_answered == 2);
    world.ping();
    let now = world.now;
    world.client.as_mut().unwrap().rekey_children(now);
    world.run_until(|world| world.children == 2);
    world.ping();
    let session = *world.gateway.sessions.last().unwrap();
    world.gateway.input(now, Input::Operator(Operator::RekeyChildren(session)));
    world.run_until(|world| world.children == 3);
    world.ping();
    world.gateway.input(world.now, Input::Operator(Operator::RekeyIke(session)));
    world.run_until(|world| world.ike_rekeys == 1);
    let answered = world.dpd_answered;
    world.run_until(|world| world.dpd_answered == answered + 2);
    world.ping();
    let now = world.now;
    world.client.as_mut().unwrap().disconnect(now);
    world.run_until(|world| world.down.is_some());
    assert_eq!(world.down, Some(DownReason::ByUs));
}

#[test]
fn rekeys_that_cross_leave_one_tunnel_that_works() {
    for _ in 0..4 {
        let (mut world, _) = world(CertificateUse::None);
        world.log_in(&[PASSWORD], None);
        let (now, session) = (world.now, *world.gateway.sessions.last().unwrap());
        world.gateway.input(now, Input::Operator(Operator::RekeyChildren(session)));
        world.client.as_mut().unwrap().rekey_children(now);
        let answered = world.dpd_answered;
        world.run_until(|world| world.dpd_answered == answered + 2);
        world.ping();
        assert!(world.down.is_none());
    }
}

#[test]
fn the_gateway_s_delete_and_its_silence_are_told_apart() {
    let (mut world, _) = world(CertificateUse::None);
    world.log_in(&[PASSWORD], None);
    let session = *world.gateway.sessions.last().unwrap();
    world.gateway.input(world.now, Input::Operator(Operator::Delete(session)));
    world.run_until(|world| world.down.is_some());
    assert_eq!(world.down, Some(DownReason::ByGateway));
    world.log_in(&[PASSWORD], None);
    world.loses = |_| true;
    world.run_until(|world| world.down.is_some());
    assert_eq!(world.down, Some(DownReason::PeerDead));
}
