//! The peer of one EAP conversation: names itself, refuses foreign methods, proves the password (RFC 3748 §2).
//!
//! Enters: the server's EAP packets, one random challenge. Leaves: responses, at the end the MSK. EAP-Success counts only
//! after the server has proven itself (RFC 3748 §4.2).

use crate::mschapv2::crypto::{Challenge, NtHash};
use crate::mschapv2::peer::Mschapv2Peer;
use crate::outcome::{DiscardReason, FailureReason, Msk};
use crate::packet::{EapType, Message, Packet};

/// Who the peer is.
pub struct PeerConfig {
    /// Answer to the Identity request.
    pub identity: String,
    /// Name in the method, perhaps with `DOMAIN\`.
    pub user: String,
    /// Hash of the password.
    pub hash: NtHash,
}

/// What a packet led to.
pub enum PeerStep {
    /// Send this response.
    Response(Vec<u8>),
    /// Both sides have proven themselves; the key for AUTH.
    Success(Msk),
    /// It ended without login.
    Failure(FailureReason),
    /// Ignored; nothing changed.
    Discard(DiscardReason),
}

/// One conversation.
pub struct EapPeer {
    identity: String,
    method: Mschapv2Peer,
    finished: bool,
}

impl EapPeer {
    /// Waits for the server's first request. `peer_challenge` is random.
    pub fn new(config: PeerConfig, peer_challenge: Challenge) -> EapPeer {
        let method = Mschapv2Peer::new(&config.user, config.hash, peer_challenge);
        EapPeer { identity: config.identity, method, finished: false }
    }

    /// Takes the server's packet.
    pub fn handle(&mut self, octets: &[u8]) -> PeerStep {
        let packet = match Packet::decode(octets) {
            Ok(packet) => packet,
            Err(error) => return PeerStep::Discard(error.into()),
        };
        if self.finished {
            return PeerStep::Discard(DiscardReason::Finished);
        }
        match packet {
            Packet::Request(request) => self.respond(request),
            Packet::Success { .. } => match self.method.msk() {
                Some(msk) => {
                    let msk = msk.clone();
                    self.finished = true;
                    PeerStep::Success(msk)
                }
                None => PeerStep::Discard(DiscardReason::OutOfOrder),
            },
            Packet::Failure { .. } => {
                self.finished = true;
                PeerStep::Failure(FailureReason::ServerSaidFailure)
            }
            Packet::Response(_) => PeerStep::Discard(DiscardReason::WrongCode),
        }
    }

    fn respond(&mut self, request: Message<'_>) -> PeerStep {
        let (kind, data) = match request.kind {
            EapType::IDENTITY => (EapType::IDENTITY, self.identity.as_bytes().to_vec()),
            EapType::NOTIFICATION => (EapType::NOTIFICATION, vec![]),
            EapType::MSCHAPV2 => match self.method.handle(request.data) {
                Ok(data) => (EapType::MSCHAPV2, data),
                Err(reason) => return PeerStep::Discard(reason),
            },
            kind if kind.is_method() => (EapType::NAK, vec![EapType::MSCHAPV2.0]),
            kind => return PeerStep::Discard(DiscardReason::UnexpectedType(kind.0)),
        };
        match Packet::Response(Message { identifier: request.identifier, kind, data: &data }).encode() {
            Ok(response) => PeerStep::Response(response),
            Err(error) => PeerStep::Discard(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> EapPeer {
        let config =
            PeerConfig { identity: "ann".into(), user: "ann".into(), hash: NtHash::of_password("s3cret") };
        EapPeer::new(config, [1; 16])
    }

    #[test]
    fn foreign_methods_get_a_nak_and_notifications_an_empty_answer() {
        let table: &[(&[u8], &[u8])] = &[
            (&[1, 3, 0, 5, 1], &[2, 3, 0, 8, 1, b'a', b'n', b'n']),
            (&[1, 4, 0, 6, 13, 32], &[2, 4, 0, 6, 3, 26]),
            (&[1, 5, 0, 6, 2, b'!'], &[2, 5, 0, 5, 2]),
        ];
        for (request, expected) in table {
            let PeerStep::Response(response) = peer().handle(request) else { panic!("{request:02x?}") };
            assert_eq!(response, *expected);
        }
    }

    #[test]
    fn success_out_of_the_blue_is_ignored_and_failure_ends() {
        let mut peer = peer();
        assert!(matches!(peer.handle(&[3, 1, 0, 4]), PeerStep::Discard(DiscardReason::OutOfOrder)));
        assert!(matches!(peer.handle(&[4, 1, 0, 4]), PeerStep::Failure(FailureReason::ServerSaidFailure)));
        assert!(matches!(peer.handle(&[1, 3, 0, 5, 1]), PeerStep::Discard(DiscardReason::Finished)));
    }
}
