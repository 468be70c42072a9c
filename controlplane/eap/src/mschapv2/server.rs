//! The server's side of EAP-MSCHAPv2: challenge, verdict, acknowledgement.
//!
//! Enters: Type-Data of responses, the credential store. Leaves: Type-Data of requests, at the end the proof of login. An
//! unknown user takes the way of a wrong password: same computation, same messages, same reason.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::crypto::{self, AuthenticatorResponse, Challenge, NtHash, NtResponse};
use super::framing::{PeerMessage, ServerMessage};
use crate::outcome::{Authenticated, DiscardReason, FailureReason, Msk};
use crate::packet::EapType;
use crate::server::{Credentials, MethodStep, ServerMethod, names};

/// ERROR_AUTHENTICATION_FAILURE (RFC 2759 §6).
const ERROR_AUTHENTICATION_FAILURE: u32 = 691;

/// Stands in for the hash of a user who does not exist, so that the same work is done.
const NOBODY: [u8; 16] = [0; 16];

/// One run of the method. There are no retries (`R=0`): the peer starts a new IKE SA for another attempt.
pub(crate) struct Mschapv2Server {
    id: u8,
    failure_challenge: Challenge,
    state: State,
}

enum State {
    /// The challenge is out.
    Challenged { challenge: Challenge },
    /// The peer's proof was right; ours is out.
    Proven { user: String, msk: Msk },
    /// The peer's proof was wrong and it was told so.
    Refused,
    /// The outcome was reported.
    Finished,
}

impl Mschapv2Server {
    /// Starts, and returns the Type-Data of the challenge. `id` becomes the MS-CHAPv2-ID.
    pub(crate) fn start(
        id: u8,
        challenge: Challenge,
        failure_challenge: Challenge,
        name: &[u8],
    ) -> (Mschapv2Server, Vec<u8>) {
        let request = ServerMessage::Challenge { id, challenge, name: name.to_vec() }.encode();
        (Mschapv2Server { id, failure_challenge, state: State::Challenged { challenge } }, request)
    }

    fn judge(&mut self, proof: &Proof, credentials: &dyn Credentials) -> MethodStep {
        let Judged { user, ours, msk } = proof.judge(credentials);
        let answer = if let Some(user) = user {
            self.state = State::Proven { user, msk };
            ServerMessage::Success { id: self.id, proof: ours }
        } else {
            self.state = State::Refused;
            ServerMessage::Failure {
                id: self.id,
                error: ERROR_AUTHENTICATION_FAILURE,
                retry: false,
                challenge: self.failure_challenge,
            }
        };
        MethodStep::Request(answer.encode())
    }
}

impl ServerMethod for Mschapv2Server {
    /// Takes the Type-Data of a response.
    fn handle(&mut self, _: u8, data: &[u8], credentials: &dyn Credentials) -> MethodStep {
        let Some(message) = PeerMessage::decode(data) else {
            return MethodStep::Discard(DiscardReason::MalformedMethodData);
        };
        match (std::mem::replace(&mut self.state, State::Finished), message) {
            (
                State::Challenged { challenge },
                PeerMessage::Response { id, peer_challenge, nt_response, name },
            ) if id == self.id => {
                self.judge(&Proof { challenge, peer_challenge, nt_response, name }, credentials)
            }
            (State::Proven { user, msk }, PeerMessage::SuccessAck) => {
                MethodStep::Success(Authenticated::new(user, EapType::MSCHAPV2, Some(msk)))
            }
            (State::Proven { .. }, PeerMessage::FailureAck) => {
                MethodStep::Failure(FailureReason::ServerRefused)
            }
            // Whatever well-formed answer follows a refusal, the outcome is the refusal.
            (State::Refused, _) => MethodStep::Failure(FailureReason::BadCredentials),
            (unchanged, _) => {
                self.state = unchanged;
                MethodStep::Discard(DiscardReason::OutOfOrder)
            }
        }
    }
}

/// What the peer claims, with the challenge it answers.
pub(crate) struct Proof {
    pub(crate) challenge: Challenge,
    pub(crate) peer_challenge: Challenge,
    pub(crate) nt_response: NtResponse,
    pub(crate) name: Vec<u8>,
}

/// What is to be said to a [`Proof`].
pub(crate) struct Judged {
    /// The account, if the proof is right.
    pub(crate) user: Option<String>,
    /// Our own proof.
    pub(crate) ours: AuthenticatorResponse,
    pub(crate) msk: Msk,
}

impl Proof {
    /// The same work whether or not the user exists.
    pub(crate) fn judge(&self, credentials: &dyn Credentials) -> Judged {
        let account = names(&self.name).find_map(|name| Some((name, credentials.nt_hash(name)?)));
        let (user, hash) = match account {
            Some((user, hash)) => (Some(user), hash),
            None => (None, NtHash::new(NOBODY)),
        };
        let expected = crypto::nt_response(&self.challenge, &self.peer_challenge, &self.name, &hash);
        let right = verify_slices_are_equal(&expected, &self.nt_response).is_ok();
        let ours = crypto::authenticator_response(
            &hash,
            &self.nt_response,
            &self.peer_challenge,
            &self.challenge,
            &self.name,
        );
        let msk = crypto::msk(&hash, &self.nt_response);
        Judged { user: user.filter(|_| right).map(str::to_owned), ours, msk }
    }
}
