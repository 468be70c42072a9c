//! Whole conversations of both sides of this crate: every method, its refusals, Nak, garbage between the packets.

use std::sync::Arc;

use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::tls::testing::{Pki, TLS12, TLS13, Users, Versions};
use crate::{
    Authenticated, Binding, DiscardReason, EapPeer, EapServer, EapType, FailureReason, Msk, NtHash,
    PeerMethod, PeerStep, ServerConfig, ServerRandom, Step, TlsSettings, TtlsInner, TtlsPeerInner,
};

const ALL: [EapType; 6] =
    [EapType::MSCHAPV2, EapType::TLS, EapType::TTLS, EapType::PEAP, EapType::GTC, EapType::MD5];

fn random() -> ServerRandom {
    let mut next = 0;
    ServerRandom::draw(|octets| {
        next += 1;
        octets.fill(next);
    })
}

fn server(methods: &[EapType], tls: Option<TlsSettings>) -> (EapServer, Vec<u8>) {
    let config = ServerConfig { name: "gw.example".into(), methods: methods.to_vec(), tls };
    EapServer::start(Arc::new(config), random())
}

fn secret(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.to_owned())
}

fn mschapv2(user: &str, password: &str) -> PeerMethod {
    PeerMethod::Mschapv2 { user: user.into(), hash: NtHash::of_password(password), challenge: [9; 16] }
}

fn inner(user: &str, method: PeerMethod) -> Box<EapPeer> {
    Box::new(EapPeer::with_methods(user.to_owned(), vec![method]))
}

/// How a conversation ended on both sides.
struct End {
    server: Result<Authenticated, FailureReason>,
    peer: Option<Option<Msk>>,
    packets: usize,
}

impl End {
    /// Both sides agree that this user is there, verified by this, and on a key (or on none).
    fn agrees(self, method: EapType, by: Option<&str>, keyed: bool) -> usize {
        let authenticated = self.server.unwrap_or_else(|reason| panic!("{}: {reason}", method.name()));
        assert_eq!((authenticated.user(), authenticated.method()), ("ann", method));
        assert_eq!(authenticated.inner(), by);
        let theirs = self.peer.expect("the peer does not agree");
        assert_eq!(theirs.is_some(), keyed);
        assert_eq!(theirs.as_ref().map(Msk::as_bytes), authenticated.msk().map(Msk::as_bytes));
        assert!(theirs.is_none_or(|msk| msk.as_bytes()[..32] != [0; 32]));
        self.packets
    }

    fn refused(self, reason: FailureReason) {
        assert_eq!(self.server.err(), Some(reason));
        assert!(self.peer.is_none(), "the peer thinks that it is in");
    }
}

/// Both sides until the end. `between` sees what the peer is about to answer, and may bother the server first.
fn converse_with(
    (mut server, mut request): (EapServer, Vec<u8>),
    peer: &mut EapPeer,
    mut between: impl FnMut(&mut EapServer, &[u8]),
) -> End {
    let mut packets = 0;
    loop {
        packets += 1;
        assert!(packets < 100, "it does not end");
        let PeerStep::Response(response) = peer.handle(&request) else {
            panic!("the peer had no answer to {request:02x?}")
        };
        between(&mut server, &response);
        let (server, packet) = match server.handle(&response, &Users) {
            Step::Request(next) => {
                request = next;
                continue;
            }
            Step::Success { authenticated, packet } => (Ok(authenticated), packet),
            Step::Failure { reason, packet } => (Err(reason), packet),
            Step::Discard(reason) => panic!("{response:02x?} was refused: {reason}"),
        };
        let peer = match peer.handle(&packet) {
            PeerStep::Success(msk) => Some(msk),
            _ => None,
        };
        return End { server, peer, packets };
    }
}

fn converse(server: (EapServer, Vec<u8>), peer: &mut EapPeer) -> End {
    converse_with(server, peer, |_, _| {})
}

fn run(settings: TlsSettings, method: EapType, peer: PeerMethod) -> End {
    let mut peer = EapPeer::with_methods("ann".into(), vec![peer]);
    converse(server(&[method], Some(settings)), &mut peer)
}

#[test]
fn methods_of_one_question() {
    let gtc = |password| PeerMethod::Gtc { password: secret(password) };
    let md5 = |password| PeerMethod::Md5 { user: "ann".into(), password: secret(password) };
    for identity in ["ann", "CORP\\ann"] {
        let run = |method, peer| {
            converse(server(&[method], None), &mut EapPeer::with_methods(identity.into(), vec![peer]))
        };
        run(EapType::GTC, gtc("s3cret")).agrees(EapType::GTC, None, false);
        run(EapType::MD5, md5("s3cret")).agrees(EapType::MD5, None, false);
        run(EapType::GTC, gtc("wrong")).refused(FailureReason::BadCredentials);
        run(EapType::MD5, md5("wrong")).refused(FailureReason::BadCredentials);
    }
    for (method, peer) in [(EapType::GTC, gtc("s3cret")), (EapType::MD5, md5(""))] {
        let mut bob = EapPeer::with_methods("bob".into(), vec![peer]);
        converse(server(&[method], None), &mut bob).refused(FailureReason::BadCredentials);
    }
}

#[test]
fn eap_tls_in_both_versions() {
    let pki = Pki::new(0);
    for versions in [TLS12, TLS13] {
        let settings = pki.settings(versions, Binding::Off);
        let peer = PeerMethod::Tls(pki.peer(versions, Some("ann")));
        // Identity, start, the gateway's flight, and its Finished (TLS 1.2) or its success indication (TLS 1.3).
        let requests = run(settings.clone(), EapType::TLS, peer).agrees(EapType::TLS, None, true);
        assert_eq!(requests, 4);
        // A certificate that names nobody here, none at all, one of another authority.
        let bob = PeerMethod::Tls(pki.peer(versions, Some("bob")));
        run(settings.clone(), EapType::TLS, bob).refused(FailureReason::NamesNoUser);
        let nobody = PeerMethod::Tls(pki.peer(versions, None));
        run(settings.clone(), EapType::TLS, nobody).refused(FailureReason::TlsFailed);
        let strangers = Pki::new(0);
        let mut stranger = strangers.peer(versions, Some("ann"));
        run(settings.clone(), EapType::TLS, PeerMethod::Tls(stranger.clone()))
            .refused(FailureReason::TlsFailed);
        stranger.config = pki.peer(versions, None).config;
        stranger.server_name = "other.example".try_into().unwrap();
        run(settings, EapType::TLS, PeerMethod::Tls(stranger)).refused(FailureReason::TlsFailed);
    }
    let older = PeerMethod::Tls(pki.peer(TLS12, Some("ann")));
    run(pki.settings(TLS13, Binding::Off), EapType::TLS, older).refused(FailureReason::TlsFailed);
}

#[test]
fn long_chains_go_in_fragments_both_ways() {
    let (short, long) = (Pki::new(0), Pki::new(12));
    for versions in [TLS12, TLS13] {
        let packets = |pki: &Pki| {
            let peer = PeerMethod::Tls(pki.peer(versions, Some("ann")));
            run(pki.settings(versions, Binding::Off), EapType::TLS, peer).agrees(EapType::TLS, None, true)
        };
        let (few, many) = (packets(&short), packets(&long));
        assert!(many >= few + 8, "{few} and {many} packets");
    }
}

#[test]
fn ttls_with_every_inner_method() {
    let pki = Pki::new(0);
    let hash = NtHash::of_password;
    for versions in [TLS12, TLS13] {
        let settings = pki.settings(versions, Binding::Off);
        let ttls = |inner| PeerMethod::Ttls(pki.peer(versions, None), inner);
        let pap = |user: &str, password| TtlsPeerInner::Pap { user: user.into(), password: secret(password) };
        let chap = |user: &str, password| TtlsPeerInner::Mschapv2 {
            user: user.into(),
            hash: hash(password),
            challenge: [9; 16],
        };
        let eap = |user: &str, password| TtlsPeerInner::Eap(inner(user, mschapv2(user, password)));
        let gtc = |user: &str, password| {
            TtlsPeerInner::Eap(inner(user, PeerMethod::Gtc { password: secret(password) }))
        };
        for (right, by) in [
            (pap("ann", "s3cret"), "pap"),
            (pap("CORP\\ann", "s3cret"), "pap"),
            (chap("ann", "s3cret"), "mschapv2"),
            (eap("ann", "s3cret"), "eap-mschapv2"),
            (gtc("ann", "s3cret"), "eap-gtc"),
        ] {
            run(settings.clone(), EapType::TTLS, ttls(right)).agrees(EapType::TTLS, Some(by), true);
        }
        for wrong in [
            pap("ann", "wrong"),
            pap("bob", "s3cret"),
            pap("", ""),
            chap("ann", "wrong"),
            chap("bob", "s3cret"),
            gtc("ann", "wrong"),
        ] {
            run(settings.clone(), EapType::TTLS, ttls(wrong)).refused(FailureReason::BadCredentials);
        }
        run(settings.clone(), EapType::TTLS, ttls(eap("ann", "wrong")))
            .refused(FailureReason::BadCredentials);
        let only_chap = TlsSettings { ttls_inner: vec![TtlsInner::Mschapv2], ..settings };
        for refused in [pap("ann", "s3cret"), eap("ann", "s3cret")] {
            run(only_chap.clone(), EapType::TTLS, ttls(refused)).refused(FailureReason::NoCommonMethod);
        }
        let eve = Pki::new(0);
        let trusting_another = PeerMethod::Ttls(eve.peer(versions, None), pap("ann", "s3cret"));
        run(only_chap, EapType::TTLS, trusting_another).refused(FailureReason::TlsFailed);
    }
}

#[test]
fn peap_with_and_without_crypto_binding() {
    let pki = Pki::new(0);
    for versions in [TLS12, TLS13] {
        let peap = |method| PeerMethod::Peap {
            tls: pki.peer(versions, None),
            inner: inner("ann", method),
            nonce: [5; 32],
        };
        for binding in [Binding::Off, Binding::Optional, Binding::Required] {
            let settings = pki.settings(versions, binding);
            let end = run(settings.clone(), EapType::PEAP, peap(mschapv2("ann", "s3cret")));
            end.agrees(EapType::PEAP, Some("eap-mschapv2"), true);
            let end =
                run(settings.clone(), EapType::PEAP, peap(PeerMethod::Gtc { password: secret("s3cret") }));
            end.agrees(EapType::PEAP, Some("eap-gtc"), true);
            let end = run(settings, EapType::PEAP, peap(mschapv2("ann", "wrong")));
            end.refused(FailureReason::BadCredentials);
        }
    }
}

#[test]
fn a_nak_leads_to_the_first_of_ours_that_the_peer_wants() {
    let pki = Pki::new(0);
    for versions in [TLS12, TLS13] {
        let settings = pki.settings(versions, Binding::Off);
        let gtc = || PeerMethod::Gtc { password: secret("s3cret") };
        let tls = || PeerMethod::Tls(pki.peer(versions, Some("ann")));
        for (methods, expected) in [
            (vec![gtc()], EapType::GTC),
            (vec![gtc(), tls()], EapType::TLS),
            (vec![tls(), gtc()], EapType::TLS),
        ] {
            let mut peer = EapPeer::with_methods("ann".into(), methods);
            let end = converse(server(&ALL, Some(settings.clone())), &mut peer);
            end.agrees(expected, None, expected == EapType::TLS);
        }
    }
    let mut peer = EapPeer::with_methods("ann".into(), vec![mschapv2("ann", "s3cret")]);
    let refused = converse(server(&[EapType::GTC, EapType::MD5], None), &mut peer);
    refused.refused(FailureReason::NoCommonMethod);
}

#[test]
fn a_method_that_lacks_its_tls_is_not_begun() {
    for method in [EapType::TLS, EapType::TTLS, EapType::PEAP] {
        let mut peer = EapPeer::with_methods("ann".into(), vec![mschapv2("ann", "s3cret")]);
        converse(server(&[method], None), &mut peer).refused(FailureReason::NoCommonMethod);
    }
}

/// The octets of one TLS-based conversation of each kind.
fn method(pki: &Pki, kind: u8, versions: Versions) -> (EapType, PeerMethod) {
    let tls = pki.peer(versions, Some("ann"));
    match kind {
        0 => (EapType::TLS, PeerMethod::Tls(tls)),
        1 => {
            let hash = NtHash::of_password("s3cret");
            let inner = TtlsPeerInner::Mschapv2 { user: "ann".into(), hash, challenge: [9; 16] };
            (EapType::TTLS, PeerMethod::Ttls(tls, inner))
        }
        _ => {
            let inner = inner("ann", mschapv2("ann", "s3cret"));
            (EapType::PEAP, PeerMethod::Peap { tls, inner, nonce: [5; 32] })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What a network may do, and what EAP says nothing comes of: packets of another time, cut short, not EAP at all.
    #[test]
    fn what_is_discarded_changes_nothing(
        kind in 0u8..3,
        old in any::<bool>(),
        bothers in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..8),
    ) {
        let (pki, versions) = (Pki::new(3), if old { TLS12 } else { TLS13 });
        let (kind, peer) = method(&pki, kind, versions);
        let mut peer = EapPeer::with_methods("ann".into(), vec![peer]);
        let (mut last, mut bothers) = (vec![], bothers.into_iter().cycle());
        let server = server(&[kind], Some(pki.settings(versions, Binding::Optional)));
        let end = converse_with(server, &mut peer, |server, response| {
            let (how, octets) = bothers.next().unwrap();
            let bad = match how % 5 {
                0 => last.clone(),
                1 => response[..usize::from(how) % response.len()].to_vec(),
                2 => [&[2, response[1].wrapping_add(how | 1)], &response[2..]].concat(),
                // The right head, with a fragment that breaks the rules: another version, or a start.
                3 => [2, response[1], 0, 8, kind.0, 0x20 | (how % 8), 0, 0].to_vec(),
                _ => octets,
            };
            last = response.to_vec();
            assert!(matches!(server.handle(&bad, &Users), Step::Discard(_)), "{bad:02x?} was taken");
        });
        let by = match kind {
            EapType::TTLS => Some("mschapv2"),
            EapType::PEAP => Some("eap-mschapv2"),
            _ => None,
        };
        end.agrees(kind, by, true);
    }

    /// Octets that are changed on the way, with a right head: never a login by them, never a panic.
    #[test]
    fn changed_octets_log_nobody_in(
        kind in 0u8..3,
        old in any::<bool>(),
        at in 0usize..12,
        place in any::<u16>(),
        flip in 1u8..,
    ) {
        let (pki, versions) = (Pki::new(0), if old { TLS12 } else { TLS13 });
        let (kind, peer) = method(&pki, kind, versions);
        let mut peer = EapPeer::with_methods("ann".into(), vec![peer]);
        let (mut server, mut request) = server(&[kind], Some(pki.settings(versions, Binding::Off)));
        let mut changed = false;
        for step in 0..60 {
            let PeerStep::Response(mut response) = peer.handle(&request) else { break };
            // Past Code, Identifier, Length, Type and Flags: what TLS protects.
            if step == at && response.len() > 6 {
                let place = 6 + usize::from(place) % (response.len() - 6);
                response[place] ^= flip;
                changed = true;
            }
            match server.handle(&response, &Users) {
                Step::Request(next) => request = next,
                Step::Success { packet, .. } => {
                    // A ClientHello may survive a change (its random, an extension that nobody reads), and then both sides
                    // do not agree on the handshake: the change was in what is no part of TLS, or there was none.
                    prop_assert!(!changed || matches!(peer.handle(&packet), PeerStep::Success(_)));
                    break;
                }
                Step::Failure { .. } => break,
                Step::Discard(reason) => {
                    prop_assert!(changed && !matches!(reason, DiscardReason::Finished));
                    break;
                }
            }
        }
    }

    #[test]
    fn no_octets_log_in(kind in 0u8..3, packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
        let pki = Pki::new(0);
        let (kind, _) = method(&pki, kind, TLS13);
        let (mut server, _) = server(&[kind], Some(pki.settings(TLS13, Binding::Off)));
        let identity = [2, server.identifier(), 0, 8, 1, b'a', b'n', b'n'];
        prop_assert!(matches!(server.handle(&identity, &Users), Step::Request(_)));
        for data in packets {
            let mut packet = vec![2, server.identifier(), 0, (5 + data.len()) as u8, kind.0];
            packet.extend_from_slice(&data);
            let logged_in = matches!(server.handle(&packet, &Users), Step::Success { .. });
            prop_assert!(!logged_in);
        }
    }
}
