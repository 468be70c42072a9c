//! Logins, and the life of a connection.

use causeway_client::initiator::{DownReason, Fault};
use causeway_eap::anyconnect::CertificateUse;
use causeway_ike::api::{Event, Input, Operator};
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
    assert_eq!(world.clear_pieces, 0, "RFC 7383 comes before Cisco's way");
    // Without fragmentation the same messages go whole.
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut config = initiator(&pki, IKE, ESP);
    (config.fragment_octets, config.cisco_fragment_octets) = (None, None);
    config.version = "v".repeat(2000);
    let mut world = World::new(gateway, config);
    world.log_in(&[PASSWORD], None);
    assert_eq!(world.granted().address, Some(ADDRESS));
    assert!(world.longest > 2000, "{}", world.longest);
}

#[test]
fn long_messages_go_in_cisco_s_pieces_with_a_gateway_that_knows_nothing_else() {
    for disorder in [false, true] {
        let pki = Pki::new();
        let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::Required);
        let mut config = initiator(&pki, IKE, ESP);
        (config.fragment_octets, config.cisco_fragment_octets) = (None, Some(576));
        config.version = "v".repeat(2000);
        let mut world = World::new(gateway, config);
        world.disorder = disorder;
        world.log_in(&[PASSWORD], Some(pki.issue(USER)));
        assert_eq!(world.granted().address, Some(ADDRESS));
        assert!(world.longest <= 1280, "{}", world.longest);
        assert!(world.clear_pieces > 8, "{}", world.clear_pieces);
        world.ping();
        // A new IKE SA cuts as the first one did, and a resume as a login.
        let now = world.now;
        world.client.as_mut().unwrap().rekey_ike(now);
        world.run_until(|world| world.ike_rekeys == 1);
        let (before, reconnect) = (world.clear_pieces, world.granted().reconnect.clone().unwrap());
        world.resume(&reconnect);
        assert_eq!(world.granted().address, Some(ADDRESS));
        assert!(world.clear_pieces > before);
        world.ping();
    }
}

#[test]
fn pieces_that_were_not_agreed_on_are_nothing() {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut world = World::new(gateway, initiator(&pki, IKE, ESP));
    world.log_in(&[PASSWORD], None);
    let session = *world.gateway.sessions.last().unwrap();
    world.gateway.input(world.now, Input::Operator(Operator::Delete(session)));
    let farewell = world.gateway.outbox.pop_front().unwrap();
    let client = world.client.as_mut().unwrap();
    for piece in causeway_ike::cisco::cut(&farewell.bytes, 1, 60).unwrap() {
        client.receive(world.now, &piece);
    }
    assert!(client.next_output().is_none());
    client.receive(world.now, &farewell.bytes);
    world.exchange();
    assert_eq!(world.down, Some(DownReason::ByGateway));
}

#[test]
fn the_client_rekeys_its_ike_sa_in_time_and_loses_nothing() {
    let pki = Pki::new();
    let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
    let mut config = initiator(&pki, IKE, ESP);
    config.ike_lifetime_secs = 100;
    let mut world = World::new(gateway, config);
    world.log_in(&[PASSWORD], None);
    let first = world.client.as_ref().unwrap().ike_spis().unwrap();
    let begun = world.now;
    world.run_until(|world| world.ike_rekeys == 1);
    assert!(world.now >= begun.plus_secs(100) && world.now < begun.plus_secs(110));
    assert_ne!(world.client.as_ref().unwrap().ike_spis().unwrap(), first);
    world.ping();
    // Children live under the new one, for either side.
    let now = world.now;
    world.client.as_mut().unwrap().rekey_children(now);
    world.run_until(|world| world.children == 2);
    let session = *world.gateway.sessions.last().unwrap();
    world.gateway.input(world.now, Input::Operator(Operator::RekeyChildren(session)));
    world.run_until(|world| world.children == 3);
    // And again, and with answers that are lost.
    world.loses = |n| n % 2 == 0;
    world.run_until(|world| world.ike_rekeys == 3);
    world.loses = |_| false;
    world.ping();
    let answered = world.dpd_answered;
    world.run_until(|world| world.dpd_answered == answered + 2);
    assert!(world.down.is_none());
    world.gateway.input(world.now, Input::Operator(Operator::Delete(session)));
    world.run_until(|world| world.down.is_some());
    assert_eq!(world.down, Some(DownReason::ByGateway), "the gateway has the same IKE SA");
}

/// Nonces are random, so both sides win in some of the rounds.
#[test]
fn ike_rekeys_that_cross_leave_one_ike_sa_that_both_sides_have() {
    for round in 0..12 {
        let (mut world, _) = world(CertificateUse::None);
        world.log_in(&[PASSWORD], None);
        let (now, session) = (world.now, *world.gateway.sessions.last().unwrap());
        world.disorder = round % 3 == 2;
        world.gateway.input(now, Input::Operator(Operator::RekeyIke(session)));
        world.client.as_mut().unwrap().rekey_ike(now);
        let answered = world.dpd_answered;
        world.run_until(|world| world.dpd_answered == answered + 2);
        assert!(world.down.is_none() && world.ike_rekeys >= 1, "round {round}: {:?}", world.down);
        world.ping();
        let now = world.now;
        world.gateway.input(now, Input::Operator(Operator::RekeyChildren(session)));
        world.run_until(|world| world.children == 2);
        world.ping();
        let now = world.now;
        world.client.as_mut().unwrap().disconnect(now);
        world.run_until(|world| world.down.is_some());
        assert_eq!(world.down, Some(DownReason::ByUs));
        world.exchange();
        assert!(world.gateway.events.iter().any(|event| matches!(event, Event::SessionDown { .. })));
    }
}

#[test]
fn long_sequence_numbers_are_used_when_the_gateway_wants_them() {
    for (esp, wanted) in [("aes256gcm16-esn-noesn", true), ("aes256-sha384-esn", true), (ESP, false)] {
        let pki = Pki::new();
        let gateway = Gateway::new(&pki, IKE, esp, CertificateUse::None);
        let offer = if wanted { esp } else { "aes256-sha384-esn-noesn" };
        let mut world = World::new(gateway, initiator(&pki, IKE, offer));
        world.log_in(&[PASSWORD], None);
        assert_eq!(world.long_numbers, Some(wanted), "{esp}");
        world.ping();
        let (now, session) = (world.now, *world.gateway.sessions.last().unwrap());
        world.client.as_mut().unwrap().rekey_children(now);
        world.run_until(|world| world.children == 2);
        assert_eq!(world.long_numbers, Some(wanted), "after a rekey of ours");
        world.gateway.input(world.now, Input::Operator(Operator::RekeyChildren(session)));
        world.run_until(|world| world.children == 3);
        assert_eq!(world.long_numbers, Some(wanted), "after a rekey of the gateway");
        world.ping();
    }
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
