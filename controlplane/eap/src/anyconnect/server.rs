//! The gateway's side of one AnyConnect-EAP conversation.
//!
//! Enters: the client's packets, verdicts. Leaves: requests, questions, the outcome. There is no EAP-Identity round: the
//! first request is the method's own hello. What belongs to which state is said in `state.rs`.

use std::sync::Arc;

use aws_lc_rs::digest;

use super::api::{ConversationSetup, DiscardReason, FailureReason, Input, Note, ServerConfig, Step};
use super::framing::{Content, Frame, Tlvs};
use super::message::{ClientMessage, GatewayMessage};
use super::pkcs7;
use super::state::{Said, Say, State, Turn};
use crate::packet;

/// Requests in one conversation. A login needs three, each challenge and each wrong password one more.
pub const MAX_REQUESTS: u32 = 32;
/// Odd things that are remembered until somebody takes them.
pub const MAX_NOTES: usize = 32;
/// Octets of an unknown TLV that are remembered.
pub const MAX_NOTED_OCTETS: usize = 32;

/// One conversation.
pub struct AnyConnectServer {
    config: Arc<ServerConfig>,
    setup: ConversationSetup,
    /// Identifier of the outstanding request.
    identifier: u8,
    /// Requests sent.
    requests: u32,
    /// The last response that was accepted.
    accepted: Option<AcceptedResponse>,
    notes: Vec<Note>,
    state: State,
}

struct AcceptedResponse {
    identifier: u8,
    /// SHA-256 of the response, which may hold a password.
    digest: digest::Digest,
    /// The request that answered it, once there is one.
    request: Option<Vec<u8>>,
}

/// A packet that may be taken.
struct Heard {
    said: Said,
    notes: Vec<Note>,
}

impl AnyConnectServer {
    /// Begins, and returns the hello to send.
    pub fn start(config: Arc<ServerConfig>, setup: ConversationSetup) -> (AnyConnectServer, Vec<u8>) {
        let identifier = setup.identifier;
        // A hello has no content that could be too long; were it to, an EAP-Failure is the safe thing to say.
        let hello = encode(&GatewayMessage::Hello, identifier).unwrap_or_else(|| packet::failure(identifier));
        let server = AnyConnectServer {
            config,
            setup,
            identifier,
            requests: 1,
            accepted: None,
            notes: vec![],
            state: State::Greeted,
        };
        (server, hello)
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>) -> Step {
        match input {
            Input::Packet(octets) => self.take_packet(octets),
            Input::Password(verdict) => {
                self.turn(|state, config, setup| state.password(verdict, config, setup))
            }
            Input::Certificate(verdict) => {
                self.turn(|state, config, setup| state.certificate(verdict, config, setup))
            }
        }
    }

    /// The odd things seen since the last call, oldest first; at most [`MAX_NOTES`].
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn take_packet(&mut self, octets: &[u8]) -> Step {
        let (identifier, content) = match Frame::decode(octets) {
            Ok(Frame::Response { identifier, content }) => (identifier, content),
            Ok(_) => return Step::Discard(DiscardReason::WrongCode),
            Err(error) => return Step::Discard(error.into()),
        };
        if self.state.is_finished() {
            return Step::Discard(DiscardReason::Finished);
        }
        let digest = digest::digest(&digest::SHA256, octets);
        if let Some(accepted) = self.repeated(identifier, &digest) {
            return match &accepted.request {
                Some(request) => Step::Request(request.clone()),
                None => Step::Discard(DiscardReason::AwaitingVerdict),
            };
        }
        if self.state.awaits_verdict() {
            return Step::Discard(DiscardReason::AwaitingVerdict);
        }
        if identifier != self.identifier {
            return Step::Discard(DiscardReason::WrongIdentifier);
        }
        let heard = match hear(content) {
            Ok(heard) => heard,
            Err(reason) => return Step::Discard(reason),
        };
        let step = self.turn(|state, config, setup| state.heard(heard.said, config, setup));
        if !matches!(step, Step::Discard(_)) {
            let request = if let Step::Request(request) = &step { Some(request.clone()) } else { None };
            self.accepted = Some(AcceptedResponse { identifier, digest, request });
            self.notes.extend(heard.notes);
            self.notes.truncate(MAX_NOTES);
        }
        step
    }

    /// Whether this is the last accepted response again: it gets the same answer, and changes nothing.
    fn repeated(&self, identifier: u8, digest: &digest::Digest) -> Option<&AcceptedResponse> {
        let same = |accepted: &&AcceptedResponse| {
            accepted.identifier == identifier && accepted.digest.as_ref() == digest.as_ref()
        };
        self.accepted.as_ref().filter(same)
    }

    /// Lets the state decide, then does what it says.
    fn turn(&mut self, decide: impl FnOnce(State, &ServerConfig, &ConversationSetup) -> Turn) -> Step {
        let state = std::mem::replace(&mut self.state, State::Finished);
        let Turn { state, say } = decide(state, &self.config, &self.setup);
        self.state = state;
        match say {
            Say::Message(message) => self.request(&message),
            Say::AskPassword(question) => Step::VerifyPassword(question),
            Say::AskCertificate(question) => Step::VerifyCertificate(question),
            Say::Success(login) => Step::Success { packet: packet::success(self.identifier), login },
            Say::Failure(reason) => self.fail(reason),
            Say::Discard(reason) => Step::Discard(reason),
        }
    }

    fn request(&mut self, message: &GatewayMessage) -> Step {
        if self.requests >= MAX_REQUESTS {
            return self.fail(FailureReason::TooManyRequests);
        }
        let identifier = self.identifier.wrapping_add(1);
        let Some(request) = encode(message, identifier) else {
            return self.fail(FailureReason::MessageTooLong);
        };
        self.requests += 1;
        self.identifier = identifier;
        if let Some(accepted) = &mut self.accepted {
            accepted.request = Some(request.clone());
        }
        Step::Request(request)
    }

    /// EAP-Failure carries the identifier of the response that it answers (RFC 3748 §4.2).
    fn fail(&mut self, reason: FailureReason) -> Step {
        self.state = State::Finished;
        Step::Failure { packet: packet::failure(self.identifier), reason }
    }
}

fn encode(message: &GatewayMessage, identifier: u8) -> Option<Vec<u8>> {
    let document = message.write().ok()?;
    Tlvs::of_document(document.as_bytes()).encode_request(identifier).ok()
}

/// What a response says, and what is odd about it.
fn hear(content: Content<'_>) -> Result<Heard, DiscardReason> {
    let tlvs = match content {
        Content::AnyConnect(tlvs) => tlvs,
        Content::Nak => return Ok(Heard { said: Said::Nak, notes: vec![] }),
        Content::Other(kind) => return Err(DiscardReason::UnexpectedType(kind.0)),
    };
    let unknown = tlvs.unknown.iter().map(|tlv| Note::UnknownTlv {
        kind: tlv.kind,
        octets: tlv.value.len(),
        head: tlv.value.iter().copied().take(MAX_NOTED_OCTETS).collect(),
    });
    let mut notes: Vec<Note> = unknown.collect();
    let document = tlvs.document.map(ClientMessage::read).transpose()?;
    let message = document.map(|read| {
        notes.extend(read.unknown.into_iter().map(|name| Note::UnknownElement { name }));
        read.message
    });
    let said = match (tlvs.chain, tlvs.signature, message) {
        (Some(chain), Some(signature), None | Some(ClientMessage::Init(_))) => {
            Said::Signed { chain: pkcs7::parse(chain)?, signature: signature.to_vec() }
        }
        (None, None, Some(ClientMessage::Init(init))) => Said::Init(init),
        (None, None, Some(ClientMessage::AuthReply(reply))) => Said::Reply(reply),
        (None, None, Some(ClientMessage::Ack(_))) => Said::Ack,
        _ => return Err(DiscardReason::OutOfOrder),
    };
    Ok(Heard { said, notes })
}
