//! Inside of TTLS version 0: the peer says AVPs first; PAP, MS-CHAP-V2 or EAP (RFC 5281 §11).
//!
//! Enters: AVPs, the credential store. Leaves: AVPs, and who was verified. The peer chooses among what is allowed; the
//! server has no word to negotiate with but EAP's own.

use std::collections::VecDeque;

use super::avp::{self, Avp, AvpCode};
use crate::gtc::judge_password;
use crate::mschapv2::crypto::{
    self, AuthenticatorResponse, CHALLENGE_OCTETS, Challenge, NT_RESPONSE_OCTETS, NtHash,
};
use crate::mschapv2::framing::{ServerMessage, success_text};
use crate::mschapv2::server::{Judged, Proof};
use crate::outcome::{DiscardReason, FailureReason};
use crate::packet::MAX_NAME_OCTETS;
use crate::peer::{EapPeer, PeerStep};
use crate::server::{Credentials, EapServer, Step};
use crate::tls::keys;
use crate::tls::peer::{PeerInside, PeerSays};
use crate::tls::server::{Accepted, Inside, InsideStep, Tunnel};
use crate::tls::session::TlsSession;
use zeroize::Zeroizing;

/// What may verify a user inside of TTLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlsInner {
    /// The password in clear (RFC 5281 §11.2.5).
    Pap,
    /// MS-CHAP-V2 without EAP (RFC 5281 §11.2.4).
    Mschapv2,
    /// An EAP method (RFC 5281 §11.2.1).
    Eap,
}

/// Passwords are padded to a multiple of this, to hide how long they are (RFC 5281 §11.2.5).
const PASSWORD_BLOCK_OCTETS: usize = 16;
/// Octets of the longest EAP packet inside.
const MAX_EAP_OCTETS: usize = 4096;

/// The server's side.
pub(crate) struct TtlsInside {
    allowed: Vec<TtlsInner>,
    eap: EapServer,
    state: State,
}

enum State {
    /// The peer speaks first.
    Idle,
    Eap,
    /// MS-CHAP-V2: the peer's proof was right; ours is out.
    Proven(String),
}

impl TtlsInside {
    pub(crate) fn new(allowed: Vec<TtlsInner>, eap: EapServer) -> TtlsInside {
        TtlsInside { allowed, eap, state: State::Idle }
    }

    fn first(&mut self, avps: &[Avp<'_>], tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep {
        let name = find(avps, AvpCode::USER_NAME).filter(|name| name.len() <= MAX_NAME_OCTETS);
        let (password, challenge, response) = (
            find(avps, AvpCode::USER_PASSWORD),
            find(avps, AvpCode::MS_CHAP_CHALLENGE),
            find(avps, AvpCode::MS_CHAP2_RESPONSE),
        );
        let kind = match (name, password, challenge, response) {
            (Some(_), Some(_), ..) => TtlsInner::Pap,
            (Some(_), None, Some(_), Some(_)) => TtlsInner::Mschapv2,
            _ if find(avps, AvpCode::EAP_MESSAGE).is_some() => TtlsInner::Eap,
            _ => return InsideStep::Refuse(FailureReason::InsideBroken),
        };
        if !self.allowed.contains(&kind) {
            return InsideStep::Refuse(FailureReason::NoCommonMethod);
        }
        match (kind, name, password, challenge, response) {
            (TtlsInner::Pap, Some(name), Some(password), ..) => pap(name, password, credentials),
            (TtlsInner::Mschapv2, Some(name), _, Some(challenge), Some(response)) => {
                let given = Given { name, challenge, response };
                self.mschapv2(&given, tunnel, credentials)
            }
            _ => self.eap(avps, credentials),
        }
    }

    fn mschapv2(
        &mut self,
        given: &Given<'_>,
        tunnel: &Tunnel<'_>,
        credentials: &dyn Credentials,
    ) -> InsideStep {
        let Ok((challenge, identifier)) = keys::ttls_challenge(tunnel.session) else {
            return InsideStep::Refuse(FailureReason::InsideBroken);
        };
        // The challenge is the tunnel's: a proof made for somebody else's does not count.
        let Some(proof) = given.proof(challenge, identifier) else {
            return InsideStep::Refuse(FailureReason::InsideBroken);
        };
        let Judged { user, ours, .. } = proof.judge(credentials);
        match user {
            None => InsideStep::Refuse(FailureReason::BadCredentials),
            Some(user) => {
                self.state = State::Proven(user);
                let mut out = Vec::new();
                let value = [&[identifier], success_text(&ours).as_bytes()].concat();
                avp::encode(&mut out, AvpCode::MS_CHAP2_SUCCESS, &value);
                InsideStep::Say(out)
            }
        }
    }

    fn eap(&mut self, avps: &[Avp<'_>], credentials: &dyn Credentials) -> InsideStep {
        self.state = State::Eap;
        let Some(packet) = eap_packet(avps) else {
            return InsideStep::Refuse(FailureReason::InsideBroken);
        };
        match self.eap.handle(&packet, credentials) {
            Step::Request(request) => InsideStep::Say(eap_message(&request)),
            Step::Success { authenticated, .. } => {
                let by = Some(authenticated.method().name());
                InsideStep::Accept(Accepted { user: authenticated.user().to_owned(), by, msk: None })
            }
            Step::Failure { reason, .. } => InsideStep::Refuse(reason),
            Step::Discard(_) => InsideStep::Refuse(FailureReason::InsideBroken),
        }
    }
}

impl Inside for TtlsInside {
    fn begin(&mut self, _: &Tunnel<'_>, _: &dyn Credentials) -> InsideStep {
        InsideStep::Listen
    }

    fn handle(&mut self, said: &[u8], tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep {
        match (&mut self.state, said.is_empty()) {
            (State::Idle, true) => return InsideStep::Listen,
            (State::Proven(user), true) => {
                let user = std::mem::take(user);
                return InsideStep::Accept(Accepted { user, by: Some("mschapv2"), msk: None });
            }
            _ => {}
        }
        let Some(avps) = avp::decode(said) else {
            return InsideStep::Refuse(FailureReason::InsideBroken);
        };
        match self.state {
            State::Idle => self.first(&avps, tunnel, credentials),
            State::Eap => self.eap(&avps, credentials),
            State::Proven(_) => InsideStep::Refuse(FailureReason::ServerRefused),
        }
    }
}

fn pap(name: &[u8], password: &[u8], credentials: &dyn Credentials) -> InsideStep {
    // Peers may hide its length with zeros, which no password ends in (RFC 5281 §11.2.5).
    let end = password.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    let password = password.get(..end).unwrap_or_default();
    match judge_password(name, password, credentials) {
        Some(user) => InsideStep::Accept(Accepted { user, by: Some("pap"), msk: None }),
        None => InsideStep::Refuse(FailureReason::BadCredentials),
    }
}

/// What the peer gave for MS-CHAP-V2.
struct Given<'a> {
    name: &'a [u8],
    challenge: &'a [u8],
    response: &'a [u8],
}

impl Given<'_> {
    /// `None`: malformed, or for another challenge.
    fn proof(&self, challenge: Challenge, identifier: u8) -> Option<Proof> {
        let (&[ident, _flags], rest) = self.response.split_first_chunk::<2>()?;
        let (peer_challenge, rest) = rest.split_first_chunk::<CHALLENGE_OCTETS>()?;
        let (_reserved, nt_response) = rest.split_first_chunk::<8>()?;
        let nt_response = <[u8; NT_RESPONSE_OCTETS]>::try_from(nt_response).ok()?;
        let ours = self.challenge == challenge && ident == identifier;
        ours.then(|| Proof {
            challenge,
            peer_challenge: *peer_challenge,
            nt_response,
            name: self.name.to_vec(),
        })
    }
}

fn find<'a>(avps: &[Avp<'a>], code: AvpCode) -> Option<&'a [u8]> {
    avps.iter().find(|avp| avp.code == code).map(|avp| avp.data)
}

/// A packet may come in several AVPs.
fn eap_packet(avps: &[Avp<'_>]) -> Option<Vec<u8>> {
    let parts = avps.iter().filter(|avp| avp.code == AvpCode::EAP_MESSAGE);
    let packet: Vec<u8> = parts.flat_map(|avp| avp.data).copied().collect();
    (!packet.is_empty() && packet.len() <= MAX_EAP_OCTETS).then_some(packet)
}

fn eap_message(packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    avp::encode(&mut out, AvpCode::EAP_MESSAGE, packet);
    out
}

/// The peer's side.
pub(crate) enum TtlsPeer {
    Pap {
        user: String,
        password: Zeroizing<String>,
        said: bool,
    },
    Mschapv2 {
        user: String,
        hash: NtHash,
        challenge: Challenge,
        expected: Option<AuthenticatorResponse>,
        proven: bool,
    },
    Eap {
        peer: Box<EapPeer>,
        first: VecDeque<Vec<u8>>,
    },
}

impl TtlsPeer {
    /// Inner EAP: the peer names itself unasked.
    pub(crate) fn eap(mut peer: Box<EapPeer>) -> TtlsPeer {
        let identity_request = [1, 0, 0, 5, 1];
        let first = match peer.handle(&identity_request) {
            PeerStep::Response(response) => VecDeque::from([response]),
            _ => VecDeque::new(),
        };
        TtlsPeer::Eap { peer, first }
    }
}

impl PeerInside for TtlsPeer {
    fn begin(&mut self, session: &TlsSession) -> PeerSays {
        let mut out = Vec::new();
        match self {
            TtlsPeer::Pap { user, password, said } => {
                avp::encode(&mut out, AvpCode::USER_NAME, user.as_bytes());
                let octets = password.len().next_multiple_of(PASSWORD_BLOCK_OCTETS);
                let mut padded = Zeroizing::new(Vec::with_capacity(octets));
                padded.extend_from_slice(password.as_bytes());
                padded.resize(octets, 0);
                avp::encode(&mut out, AvpCode::USER_PASSWORD, &padded);
                *said = true;
            }
            TtlsPeer::Mschapv2 { user, hash, challenge: peer_challenge, expected, .. } => {
                let Ok((challenge, identifier)) = keys::ttls_challenge(session) else {
                    return PeerSays::Discard(DiscardReason::OutOfOrder);
                };
                let nt_response = crypto::nt_response(&challenge, peer_challenge, user.as_bytes(), hash);
                *expected = Some(crypto::authenticator_response(
                    hash,
                    &nt_response,
                    peer_challenge,
                    &challenge,
                    user.as_bytes(),
                ));
                let response = [&[identifier, 0], &peer_challenge[..], &[0; 8], &nt_response].concat();
                avp::encode(&mut out, AvpCode::USER_NAME, user.as_bytes());
                avp::encode(&mut out, AvpCode::MS_CHAP_CHALLENGE, &challenge);
                avp::encode(&mut out, AvpCode::MS_CHAP2_RESPONSE, &response);
            }
            TtlsPeer::Eap { first, .. } => out = eap_message(&first.pop_front().unwrap_or_default()),
        }
        PeerSays::Words(out)
    }

    fn handle(&mut self, said: &[u8], _: &TlsSession, _: u8) -> PeerSays {
        let Some(avps) = avp::decode(said) else {
            return PeerSays::Discard(DiscardReason::MalformedMethodData);
        };
        match self {
            TtlsPeer::Pap { .. } => PeerSays::Nothing,
            TtlsPeer::Mschapv2 { expected, proven, .. } => {
                let text = find(&avps, AvpCode::MS_CHAP2_SUCCESS).and_then(|value| value.get(1..));
                let given = text.and_then(ServerMessage::proof_of_text);
                *proven = given.is_some() && given == *expected;
                if *proven {
                    PeerSays::Nothing
                } else {
                    PeerSays::Discard(DiscardReason::MalformedMethodData)
                }
            }
            TtlsPeer::Eap { peer, .. } => {
                let Some(packet) = eap_packet(&avps) else {
                    return PeerSays::Discard(DiscardReason::MalformedMethodData);
                };
                match peer.handle(&packet) {
                    PeerStep::Response(response) => PeerSays::Words(eap_message(&response)),
                    PeerStep::Discard(reason) => PeerSays::Discard(reason),
                    PeerStep::Success(_) | PeerStep::Failure(_) => PeerSays::Nothing,
                }
            }
        }
    }

    fn is_proven(&self) -> bool {
        match self {
            TtlsPeer::Pap { said, .. } => *said,
            TtlsPeer::Mschapv2 { proven, .. } => *proven,
            TtlsPeer::Eap { peer, .. } => peer.is_proven(),
        }
    }
}
