//! The server of one EAP conversation: Identity, then a method the peer accepts (RFC 3748 §2, §5.3).
//!
//! Enters: the peer's EAP packets, randomness at the start, the credential store. Leaves: the next request, or the outcome
//! with EAP-Success or EAP-Failure. A packet that does not belong to the step changes nothing.

use crate::mschapv2::crypto::{Challenge, NtHash};
use crate::mschapv2::server::Mschapv2Server;
use crate::outcome::{Authenticated, DiscardReason, FailureReason};
use crate::packet::{self, EapType, MAX_NAME_OCTETS, Message, Packet};

/// The methods in the order they are offered.
pub const METHODS: &[EapType] = &[EapType::MSCHAPV2];

/// Where NT hashes come from. Implemented for closures.
pub trait Credentials {
    /// The hash of this user's password, `None` for a user who does not exist.
    fn nt_hash(&self, user: &str) -> Option<NtHash>;
}

impl<F: Fn(&str) -> Option<NtHash>> Credentials for F {
    fn nt_hash(&self, user: &str) -> Option<NtHash> {
        self(user)
    }
}

/// What does not change between conversations.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name in the MSCHAPv2 challenge; clients may show it. Cut to [`MAX_NAME_OCTETS`].
    pub name: String,
}

/// Fresh randomness for one conversation.
#[derive(Clone)]
pub struct ServerRandom {
    /// Identifier of the first request.
    pub identifier: u8,
    /// The MSCHAPv2 challenge.
    pub challenge: Challenge,
    /// The challenge named in a refusal (`C=`); never used, as there are no retries, but the format has it.
    pub failure_challenge: Challenge,
}

/// What a response led to.
pub enum Step {
    /// Send this request.
    Request(Vec<u8>),
    /// The user is who he says. Send `packet`, an EAP-Success.
    Success {
        /// The proof, with user and MSK.
        authenticated: Authenticated,
        /// EAP-Success.
        packet: Vec<u8>,
    },
    /// It ended without login. Send `packet`, an EAP-Failure.
    Failure {
        /// Why.
        reason: FailureReason,
        /// EAP-Failure.
        packet: Vec<u8>,
    },
    /// Ignored; nothing changed.
    Discard(DiscardReason),
}

/// What a method made of a response.
pub(crate) enum MethodStep {
    Request(Vec<u8>),
    Success(Authenticated),
    Failure(FailureReason),
    Discard(DiscardReason),
}

/// One conversation.
pub struct EapServer {
    config: ServerConfig,
    random: ServerRandom,
    /// Identifier of the outstanding request.
    identifier: u8,
    state: State,
}

enum State {
    /// Asked who it is.
    Identifying,
    /// A method runs.
    Running { method: Method, kind: EapType, answered: bool },
    /// The outcome was reported.
    Finished,
}

/// The methods this server can run.
enum Method {
    Mschapv2(Mschapv2Server),
}

impl EapServer {
    /// Begins, and returns the Identity request to send.
    pub fn start(config: ServerConfig, random: ServerRandom) -> (EapServer, Vec<u8>) {
        let identifier = random.identifier;
        let server = EapServer { config, random, identifier, state: State::Identifying };
        let request = server.request(EapType::IDENTITY, &[]);
        (server, request)
    }

    /// Takes the peer's packet.
    pub fn handle(&mut self, octets: &[u8], credentials: &dyn Credentials) -> Step {
        let response = match Packet::decode(octets) {
            Ok(Packet::Response(response)) => response,
            Ok(_) => return Step::Discard(DiscardReason::WrongCode),
            Err(error) => return Step::Discard(error.into()),
        };
        if matches!(self.state, State::Finished) {
            return Step::Discard(DiscardReason::Finished);
        }
        if response.identifier != self.identifier {
            return Step::Discard(DiscardReason::WrongIdentifier);
        }
        match &mut self.state {
            State::Identifying if response.kind == EapType::IDENTITY => self.identified(response.data),
            State::Running { kind, answered: false, .. } if response.kind == EapType::NAK => {
                let refused = *kind;
                self.renegotiate(refused, response.data)
            }
            State::Running { method, kind, answered } if response.kind == *kind => {
                let step = method.handle(response.data, credentials);
                *answered |= !matches!(step, MethodStep::Discard(_));
                self.carry_out(step)
            }
            _ => Step::Discard(DiscardReason::UnexpectedType(response.kind.0)),
        }
    }

    /// The identity proves nothing and chooses nothing yet; the method asks for the name again (RFC 3748 §5.1).
    fn identified(&mut self, identity: &[u8]) -> Step {
        if identity.len() > MAX_NAME_OCTETS {
            return self.fail(FailureReason::IdentityTooLong);
        }
        match METHODS.first() {
            Some(&kind) => self.begin(kind),
            None => self.fail(FailureReason::NoCommonMethod),
        }
    }

    fn renegotiate(&mut self, refused: EapType, wanted: &[u8]) -> Step {
        match next_method(METHODS, refused, wanted) {
            Some(kind) => self.begin(kind),
            None => self.fail(FailureReason::NoCommonMethod),
        }
    }

    fn begin(&mut self, kind: EapType) -> Step {
        self.identifier = self.identifier.wrapping_add(1);
        let Some((method, data)) = Method::start(kind, self.identifier, &self.config, &self.random) else {
            return self.fail(FailureReason::NoCommonMethod);
        };
        self.state = State::Running { method, kind, answered: false };
        Step::Request(self.request(kind, &data))
    }

    fn carry_out(&mut self, step: MethodStep) -> Step {
        match (step, &self.state) {
            (MethodStep::Request(data), &State::Running { kind, .. }) => {
                self.identifier = self.identifier.wrapping_add(1);
                Step::Request(self.request(kind, &data))
            }
            (MethodStep::Request(_), _) => Step::Discard(DiscardReason::Finished),
            (MethodStep::Success(authenticated), _) => {
                self.state = State::Finished;
                Step::Success { authenticated, packet: packet::success(self.identifier) }
            }
            (MethodStep::Failure(reason), _) => self.fail(reason),
            (MethodStep::Discard(reason), _) => Step::Discard(reason),
        }
    }

    fn fail(&mut self, reason: FailureReason) -> Step {
        self.state = State::Finished;
        Step::Failure { reason, packet: packet::failure(self.identifier) }
    }

    /// Requests are bounded far below the packet's limit by the bounds on names, so encoding cannot fail; were it to, an
    /// EAP-Failure is the safe thing to say.
    fn request(&self, kind: EapType, data: &[u8]) -> Vec<u8> {
        Packet::Request(Message { identifier: self.identifier, kind, data })
            .encode()
            .unwrap_or_else(|_| packet::failure(self.identifier))
    }
}

impl Method {
    fn start(
        kind: EapType,
        id: u8,
        config: &ServerConfig,
        random: &ServerRandom,
    ) -> Option<(Method, Vec<u8>)> {
        match kind {
            EapType::MSCHAPV2 => {
                let name = config.name.as_bytes();
                let name = name.get(..MAX_NAME_OCTETS).unwrap_or(name);
                let (method, data) =
                    Mschapv2Server::start(id, random.challenge, random.failure_challenge, name);
                Some((Method::Mschapv2(method), data))
            }
            _ => None,
        }
    }

    fn handle(&mut self, data: &[u8], credentials: &dyn Credentials) -> MethodStep {
        match self {
            Method::Mschapv2(method) => method.handle(data, credentials),
        }
    }
}

/// The method to offer after a Nak: the first after the refused one, in our order, that the peer wants. Offers move in one
/// direction only, so a peer cannot make the server go round for ever.
fn next_method(ours: &[EapType], refused: EapType, wanted: &[u8]) -> Option<EapType> {
    let later = ours.iter().skip_while(|&&kind| kind != refused).skip(1);
    later.copied().find(|kind| kind.is_method() && wanted.contains(&kind.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mschapv2::framing::{PeerMessage, ServerMessage};
    use crate::peer::{EapPeer, PeerConfig, PeerStep};

    fn users(user: &str) -> Option<NtHash> {
        (user == "ann").then(|| NtHash::of_password("s3cret"))
    }

    fn start() -> (EapServer, Vec<u8>) {
        let random = ServerRandom { identifier: 250, challenge: [7; 16], failure_challenge: [8; 16] };
        EapServer::start(ServerConfig { name: "gw.example".into() }, random)
    }

    fn peer(user: &str, password: &str) -> EapPeer {
        let config =
            PeerConfig { identity: user.into(), user: user.into(), hash: NtHash::of_password(password) };
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
            assert_eq!(msk.as_bytes(), authenticated.msk().as_bytes());
            assert_ne!(msk.as_bytes()[..32], [0; 32]);
            let identifiers: Vec<u8> = requests.iter().map(|request| request[1]).collect();
            assert_eq!(identifiers, [250, 251, 252]);
        }
    }

    #[test]
    fn an_unknown_user_is_told_what_a_wrong_password_is_told() {
        let mut stories = vec![];
        for (user, password) in
            [("ann", "wrong"), ("bob", "s3cret"), ("", ""), ("CORP\\bob", "x"), ("bob", "")]
        {
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
        let Step::Request(mut request) = server.handle(&answer(&mut peer, &request), &users) else {
            panic!()
        };
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
}
