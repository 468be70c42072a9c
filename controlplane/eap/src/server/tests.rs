//! Conversations with MSCHAPv2, packet by packet: what order, what refusals, what garbage.

use proptest::prelude::*;

use super::*;
use crate::mschapv2::framing::{PeerMessage, ServerMessage};
use crate::peer::{EapPeer, PeerConfig, PeerStep};

fn users(user: &str) -> Option<NtHash> {
    (user == "ann").then(|| NtHash::of_password("s3cret"))
}

fn random() -> ServerRandom {
    let mut next = 6;
    let mut random = ServerRandom::draw(|octets| {
        next += 1;
        octets.fill(next);
    });
    (random.identifier, random.challenge, random.failure_challenge) = (250, [7; 16], [8; 16]);
    random
}

fn start() -> (EapServer, Vec<u8>) {
    let methods = vec![EapType::MSCHAPV2];
    let config = ServerConfig { name: "gw.example".into(), methods, tls: None };
    EapServer::start(Arc::new(config), random())
}

fn peer(user: &str, password: &str) -> EapPeer {
    let config = PeerConfig { identity: user.into(), user: user.into(), hash: NtHash::of_password(password) };
    EapPeer::new(config, [9; 16])
}

fn answer(peer: &mut EapPeer, request: &[u8]) -> Vec<u8> {
    match peer.handle(request) {
        PeerStep::Response(response) => response,
        _ => panic!("the peer had no answer to {request:02x?}"),
    }
}

/// Both sides until the end; the requests seen on the way.
fn converse(peer: &mut EapPeer) -> (Step, Vec<Vec<u8>>) {
    let (mut server, mut request) = start();
    let mut seen = vec![];
    loop {
        seen.push(request.clone());
        let response = answer(peer, &request);
        match server.handle(&response, &users) {
            Step::Request(next) => request = next,
            end => return (end, seen),
        }
    }
}

#[test]
fn the_right_password_ends_in_the_same_msk_on_both_sides() {
    for name in ["ann", "CORP\\ann"] {
        let mut peer = peer(name, "s3cret");
        let (Step::Success { authenticated, packet }, requests) = converse(&mut peer) else {
            panic!("{name} was refused")
        };
        assert_eq!(authenticated.user(), "ann");
        assert_eq!(packet, [3, 252, 0, 4]);
        let PeerStep::Success(msk) = peer.handle(&packet) else { panic!("the peer does not agree") };
        let msk = msk.unwrap();
        assert_eq!(msk.as_bytes(), authenticated.msk().unwrap().as_bytes());
        assert_ne!(msk.as_bytes()[..32], [0; 32]);
        let identifiers: Vec<u8> = requests.iter().map(|request| request[1]).collect();
        assert_eq!(identifiers, [250, 251, 252]);
    }
}

#[test]
fn an_unknown_user_is_told_what_a_wrong_password_is_told() {
    let mut stories = vec![];
    for (user, password) in [("ann", "wrong"), ("bob", "s3cret"), ("", ""), ("CORP\\bob", "x"), ("bob", "")] {
        let (Step::Failure { reason, packet }, requests) = converse(&mut peer(user, password)) else {
            panic!("{user} was let in")
        };
        assert_eq!(reason, FailureReason::BadCredentials);
        assert_eq!(packet, [4, 252, 0, 4]);
        stories.push(requests);
    }
    assert!(stories.iter().all(|story| *story == stories[0]));
    let last = String::from_utf8_lossy(&stories[0][2][9..]).into_owned();
    assert!(last.starts_with("E=691 R=0 C=0808"), "{last}");
}

#[test]
fn a_user_who_does_not_exist_cannot_log_in_with_the_stand_in_hash() {
    let config = PeerConfig { identity: "x".into(), user: "x".into(), hash: NtHash::new([0; 16]) };
    let (end, _) = converse(&mut EapPeer::new(config, [9; 16]));
    assert!(matches!(end, Step::Failure { reason: FailureReason::BadCredentials, .. }));
}

#[test]
fn a_peer_that_wants_another_method_is_refused() {
    let (mut server, _) = start();
    assert!(matches!(server.handle(&[2, 250, 0, 8, 1, b'a', b'n', b'n'], &users), Step::Request(_)));
    let end = server.handle(&[2, 251, 0, 7, 3, 13, 21], &users);
    assert!(matches!(end, Step::Failure { reason: FailureReason::NoCommonMethod, .. }));
    assert!(matches!(
        server.handle(&[2, 251, 0, 7, 3, 13, 21], &users),
        Step::Discard(DiscardReason::Finished)
    ));
}

#[test]
fn a_nak_after_the_method_has_begun_is_ignored() {
    let (mut server, request) = start();
    let mut peer = peer("ann", "s3cret");
    let Step::Request(request) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    let Step::Request(request) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    assert!(matches!(server.handle(&[2, 252, 0, 6, 3, 13], &users), Step::Discard(_)));
    assert!(matches!(server.handle(&answer(&mut peer, &request), &users), Step::Success { .. }));
}

#[test]
fn method_choice_follows_our_order_and_never_goes_back() {
    let ours = [EapType(26), EapType(13), EapType(21)];
    for (refused, wanted, expected) in [
        (26, &[21, 13][..], Some(13)),
        (26, &[21], Some(21)),
        (13, &[26, 21], Some(21)),
        (21, &[26, 13], None),
        (26, &[0], None),
        (26, &[], None),
        (99, &[13], None),
    ] {
        assert_eq!(next_method(&ours, EapType(refused), wanted).map(|kind| kind.0), expected);
    }
}

#[test]
fn an_acknowledgement_without_proof_is_not_a_login() {
    for early in [PeerMessage::SuccessAck, PeerMessage::FailureAck] {
        let (mut server, request) = start();
        let mut peer = peer("ann", "s3cret");
        let Step::Request(_) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
        let data = early.encode();
        let ack = Packet::Response(Message { identifier: 251, kind: EapType::MSCHAPV2, data: &data });
        assert!(matches!(
            server.handle(&ack.encode().unwrap(), &users),
            Step::Discard(DiscardReason::OutOfOrder)
        ));
    }
}

#[test]
fn a_success_acknowledgement_after_a_refusal_is_still_a_refusal() {
    let (mut server, request) = start();
    let mut peer = peer("ann", "wrong");
    let Step::Request(request) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    let Step::Request(_) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    let end = server.handle(&[2, 252, 0, 6, 26, 3], &users);
    assert!(matches!(end, Step::Failure { reason: FailureReason::BadCredentials, .. }));
}

#[test]
fn a_response_to_another_challenge_changes_nothing() {
    let (mut server, request) = start();
    let mut peer = peer("ann", "s3cret");
    let Step::Request(request) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    let good = answer(&mut peer, &request);
    let mut other_id = good.clone();
    other_id[6] ^= 1;
    assert!(matches!(server.handle(&other_id, &users), Step::Discard(DiscardReason::OutOfOrder)));
    let mut stale = good.clone();
    stale[1] ^= 1;
    assert!(matches!(server.handle(&stale, &users), Step::Discard(DiscardReason::WrongIdentifier)));
    assert!(matches!(server.handle(&good, &users), Step::Request(_)));
}

#[test]
fn the_peer_demands_the_servers_proof() {
    let (mut server, request) = start();
    let mut peer = peer("ann", "s3cret");
    let Step::Request(request) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    let Step::Request(mut request) = server.handle(&answer(&mut peer, &request), &users) else { panic!() };
    let forged = ServerMessage::Success { id: 251, proof: [0; 20] }.encode();
    request.truncate(5);
    request.extend_from_slice(&forged);
    let response = answer(&mut peer, &request);
    assert!(matches!(peer.handle(&[3, 252, 0, 4]), PeerStep::Discard(_)));
    let end = server.handle(&response, &users);
    assert!(matches!(end, Step::Failure { reason: FailureReason::ServerRefused, .. }));
}

#[test]
fn an_overlong_identity_ends_the_conversation() {
    let (mut server, _) = start();
    let identity = [b'a'; MAX_NAME_OCTETS + 1];
    let response = Message { identifier: 250, kind: EapType::IDENTITY, data: &identity };
    let end = server.handle(&Packet::Response(response).encode().unwrap(), &users);
    assert!(matches!(end, Step::Failure { reason: FailureReason::IdentityTooLong, .. }));
}

proptest! {
    /// Mutated and random packets at every step: no panic, and unless one was a valid answer the login still works.
    #[test]
    fn garbage_at_any_step_changes_nothing(
        garbage in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..96), any::<u8>(), 0usize..3), 0..12),
    ) {
        let (mut server, mut request) = start();
        let mut peer = peer("ann", "s3cret");
        for step in 0..3 {
            let response = answer(&mut peer, &request);
            for (octets, shape, at) in &garbage {
                if *at != step {
                    continue;
                }
                let mut bad = match shape % 3 {
                    0 => octets.clone(),
                    // Truncated: the Length no longer fits.
                    1 => response[..usize::from(*shape) % response.len()].to_vec(),
                    // The right head for this step, then garbage of the method's that cannot be an acknowledgement.
                    _ => {
                        let mut bad = vec![2, request[1], 0, 0, 26, 9];
                        bad.extend_from_slice(octets);
                        bad
                    }
                };
                if shape % 3 == 2 {
                    bad[3] = bad.len() as u8;
                }
                prop_assert!(matches!(server.handle(&bad, &users), Step::Discard(_)), "{:02x?}", bad);
            }
            match server.handle(&response, &users) {
                Step::Request(next) => request = next,
                Step::Success { .. } => prop_assert_eq!(step, 2),
                _ => prop_assert!(false, "refused at step {}", step),
            }
        }
    }

    #[test]
    fn no_octets_log_in(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..8)) {
        let (mut server, _) = start();
        for mut octets in packets {
            if octets.len() >= 4 {
                octets[0] = 2;
                octets[1] = server.identifier;
                octets[2] = 0;
                octets[3] = octets.len() as u8;
            }
            let step = server.handle(&octets, &users);
            let logged_in = matches!(step, Step::Success { .. });
            prop_assert!(!logged_in);
        }
    }
}
