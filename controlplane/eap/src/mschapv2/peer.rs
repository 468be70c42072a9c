//! The peer's side of EAP-MSCHAPv2: proves the password, and demands the server's proof.
//!
//! Enters: Type-Data of requests. Leaves: Type-Data of responses, and the MSK once the server has proven itself.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::crypto::{self, AuthenticatorResponse, Challenge, NtHash};
use super::framing::{PeerMessage, ServerMessage};
use crate::outcome::{DiscardReason, Msk};
use crate::peer::RunningMethod;

/// One run of the method.
pub(crate) struct Mschapv2Peer {
    user: Vec<u8>,
    hash: NtHash,
    peer_challenge: Challenge,
    state: State,
}

enum State {
    /// Nothing was proven yet.
    Idle,
    /// Our proof is out.
    Answered { expected: AuthenticatorResponse, msk: Msk },
    /// The server has proven itself.
    Proven { msk: Msk },
    /// The server, or we, said no.
    Refused,
}

impl Mschapv2Peer {
    pub(crate) fn new(user: &str, hash: NtHash, peer_challenge: Challenge) -> Mschapv2Peer {
        Mschapv2Peer { user: user.as_bytes().to_vec(), hash, peer_challenge, state: State::Idle }
    }
}

impl RunningMethod for Mschapv2Peer {
    fn handle(&mut self, _: u8, data: &[u8]) -> Result<Vec<u8>, DiscardReason> {
        let message = ServerMessage::decode(data).ok_or(DiscardReason::MalformedMethodData)?;
        let (state, answer) = match (&self.state, message) {
            (State::Idle, ServerMessage::Challenge { id, challenge, .. }) => {
                let nt_response =
                    crypto::nt_response(&challenge, &self.peer_challenge, &self.user, &self.hash);
                let expected = crypto::authenticator_response(
                    &self.hash,
                    &nt_response,
                    &self.peer_challenge,
                    &challenge,
                    &self.user,
                );
                let msk = crypto::msk(&self.hash, &nt_response);
                let name = self.user.clone();
                let answer =
                    PeerMessage::Response { id, peer_challenge: self.peer_challenge, nt_response, name };
                (State::Answered { expected, msk }, answer)
            }
            (State::Answered { expected, msk }, ServerMessage::Success { proof, .. }) => {
                match verify_slices_are_equal(expected, &proof) {
                    Ok(()) => (State::Proven { msk: msk.clone() }, PeerMessage::SuccessAck),
                    Err(_) => (State::Refused, PeerMessage::FailureAck),
                }
            }
            (State::Answered { .. }, ServerMessage::Failure { .. }) => {
                (State::Refused, PeerMessage::FailureAck)
            }
            _ => return Err(DiscardReason::OutOfOrder),
        };
        self.state = state;
        Ok(answer.encode())
    }

    fn is_proven(&self) -> bool {
        matches!(self.state, State::Proven { .. })
    }

    fn msk(&self) -> Option<Msk> {
        match &self.state {
            State::Proven { msk } => Some(msk.clone()),
            _ => None,
        }
    }
}
