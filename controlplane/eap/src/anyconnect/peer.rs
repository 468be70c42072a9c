//! The client's side of one AnyConnect-EAP conversation, for a client of our own.
//!
//! Enters: the gateway's packets, the user's answers, a signature. Leaves: responses, questions to the user, the outcome.
//! EAP-Success counts only after the gateway's `complete`; the gateway itself has signed in IKE before, and without that
//! signature this method must not be run, for it shows the password to whoever asks.

use zeroize::Zeroizing;

use super::api::{DiscardReason, Password};
use super::framing::{Content, Frame, Tlvs};
use super::message::{
    Ack, Answer, Ask, AuthReply, AuthRequest, ClientInfo, ClientMessage, Complete, Form, GatewayMessage,
    Init, Input, InputKind,
};
use super::pkcs7;
use crate::packet::{self, EapType};

/// Requests that one conversation may have.
pub const MAX_REQUESTS: u32 = 32;

/// Inputs whose answers travel as `password`, whatever the form calls them.
const ANSWERED_AS_PASSWORD: [&str; 3] = ["answer", "whichpin", "new_password"];
/// Inputs that only repeat another for the user's sake and are never sent.
const NEVER_SENT: [&str; 2] = ["verify_pin", "verify_password"];

/// Who the client is.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// What it tells of itself.
    pub client: ClientInfo,
    /// URL or group that the user dialled; empty for none.
    pub group_access: String,
    /// The group that the user wants; also answers a form that offers it, unless [`FormAnswers`] names another.
    pub group: Option<String>,
}

/// What can happen.
pub enum PeerInput<'a> {
    /// The gateway's EAP packet.
    Packet(&'a [u8]),
    /// Answer to [`PeerStep::FillForm`].
    Answers(FormAnswers),
    /// Answer to [`PeerStep::Sign`]; `None` when there is no certificate.
    Certificate(Option<ClientCertificate>),
}

/// A filled form.
pub struct FormAnswers {
    /// Answers by the inputs' names. Hidden inputs answer themselves.
    pub answers: Vec<(String, Password)>,
    /// One of [`Form::groups`].
    pub group: Option<String>,
}

/// A certificate and its use.
pub struct ClientCertificate {
    /// DER, the own one first.
    pub chain: Vec<Vec<u8>>,
    /// Over RealMessage1 | NonceRData | MACedIDForI (RFC 7296 §2.15), with the hash of the negotiated PRF.
    pub signature: Vec<u8>,
}

/// What must be done now.
pub enum PeerStep {
    /// Send this.
    Response(Vec<u8>),
    /// Let the user fill this, and answer with [`PeerInput::Answers`].
    FillForm(Box<Form>),
    /// Sign, and answer with [`PeerInput::Certificate`].
    Sign,
    /// Logged in. AUTH is made with SK_pi (RFC 7296 §2.16).
    Success(Box<Complete>),
    /// It ended without login.
    Failure(PeerFailure),
    /// Ignored; nothing changed.
    Discard(DiscardReason),
}

/// Why a conversation ended without login.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerFailure {
    /// EAP-Failure; with what the gateway last said to the user, if it said something.
    #[error("the gateway refused the login{}", .0.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused(Option<String>),
    /// [`MAX_REQUESTS`] came.
    #[error("the gateway asks without end")]
    TooManyRequests,
    /// An answer holds a character that XML does not have, or does not fit.
    #[error("an answer cannot be sent")]
    Unsendable,
}

/// One conversation.
pub struct AnyConnectPeer {
    config: PeerConfig,
    requests: u32,
    /// The last request that was accepted.
    last: Option<AcceptedRequest>,
    /// What the gateway last said to the user.
    error: Option<String>,
    state: State,
}

struct AcceptedRequest {
    request: Vec<u8>,
    /// What answered it, once there is an answer; may hold a password.
    response: Option<Zeroizing<Vec<u8>>>,
}

enum State {
    /// Hello is awaited.
    Idle,
    /// Init is out.
    Introduced,
    /// The signature is awaited.
    Signing { identifier: u8 },
    /// The user's answers are awaited.
    Filling { identifier: u8, form: Box<Form>, opaque: Option<String> },
    /// Answers are out.
    Answered,
    /// Ack is out.
    Acknowledged(Box<Complete>),
    /// The outcome was reported.
    Finished,
}

impl AnyConnectPeer {
    /// Waits for the gateway's hello.
    pub fn new(config: PeerConfig) -> AnyConnectPeer {
        AnyConnectPeer { config, requests: 0, last: None, error: None, state: State::Idle }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: PeerInput<'_>) -> PeerStep {
        match input {
            PeerInput::Packet(octets) => self.take_packet(octets),
            PeerInput::Answers(answers) => match std::mem::replace(&mut self.state, State::Finished) {
                State::Filling { identifier, form, opaque } => {
                    let reply = self.fill(&form, opaque, answers);
                    self.send(State::Answered, identifier, &ClientMessage::AuthReply(reply), None)
                }
                unchanged => self.unasked(unchanged),
            },
            PeerInput::Certificate(certificate) => {
                match std::mem::replace(&mut self.state, State::Finished) {
                    State::Signing { identifier } => {
                        let init = Init { no_certificate: certificate.is_none(), ..self.init() };
                        self.send(State::Answered, identifier, &ClientMessage::Init(init), certificate)
                    }
                    unchanged => self.unasked(unchanged),
                }
            }
        }
    }

    fn unasked(&mut self, unchanged: State) -> PeerStep {
        self.state = unchanged;
        PeerStep::Discard(DiscardReason::UnaskedVerdict)
    }

    fn take_packet(&mut self, octets: &[u8]) -> PeerStep {
        let frame = match Frame::decode(octets) {
            Ok(frame) => frame,
            Err(error) => return PeerStep::Discard(error.into()),
        };
        if matches!(self.state, State::Finished) {
            return PeerStep::Discard(DiscardReason::Finished);
        }
        match frame {
            Frame::Request { identifier, content } => self.take_request(octets, identifier, content),
            Frame::Response { .. } => PeerStep::Discard(DiscardReason::WrongCode),
            Frame::Success { .. } => match std::mem::replace(&mut self.state, State::Finished) {
                State::Acknowledged(complete) => PeerStep::Success(complete),
                unchanged => {
                    self.state = unchanged;
                    PeerStep::Discard(DiscardReason::OutOfOrder)
                }
            },
            Frame::Failure { .. } => {
                let said = self.error.take();
                self.fail(PeerFailure::Refused(said))
            }
        }
    }

    fn take_request(&mut self, octets: &[u8], identifier: u8, content: Content<'_>) -> PeerStep {
        if let Some(last) = self.last.as_ref().filter(|last| last.request == octets) {
            return match &last.response {
                Some(response) => PeerStep::Response(response.to_vec()),
                None => PeerStep::Discard(DiscardReason::AwaitingVerdict),
            };
        }
        let tlvs = match content {
            Content::AnyConnect(tlvs) => tlvs,
            Content::Other(kind) if kind.is_method() && matches!(self.state, State::Idle) => {
                return PeerStep::Response(nak(identifier));
            }
            Content::Other(kind) => return PeerStep::Discard(DiscardReason::UnexpectedType(kind.0)),
            Content::Nak => return PeerStep::Discard(DiscardReason::OutOfOrder),
        };
        let Some(document) = tlvs.document else { return PeerStep::Discard(DiscardReason::OutOfOrder) };
        let message = match GatewayMessage::read(document) {
            Ok(read) => read.message,
            Err(error) => return PeerStep::Discard(error.into()),
        };
        if self.requests >= MAX_REQUESTS {
            return self.fail(PeerFailure::TooManyRequests);
        }
        let step = self.hear(identifier, message);
        if !matches!(step, PeerStep::Discard(_)) {
            self.requests += 1;
            let response =
                if let PeerStep::Response(sent) = &step { Some(Zeroizing::new(sent.clone())) } else { None };
            self.last = Some(AcceptedRequest { request: octets.to_vec(), response });
        }
        step
    }

    fn hear(&mut self, identifier: u8, message: GatewayMessage) -> PeerStep {
        match (std::mem::replace(&mut self.state, State::Finished), message) {
            (State::Idle, GatewayMessage::Hello) => {
                let init = ClientMessage::Init(self.init());
                self.send(State::Introduced, identifier, &init, None)
            }
            (State::Introduced | State::Answered, GatewayMessage::AuthRequest(request)) => {
                self.asked(identifier, request)
            }
            (State::Introduced | State::Answered, GatewayMessage::Complete(complete)) => {
                let ack = ClientMessage::Ack(Ack { client: self.config.client.clone() });
                self.send(State::Acknowledged(complete), identifier, &ack, None)
            }
            (unchanged, _) => {
                self.state = unchanged;
                PeerStep::Discard(DiscardReason::OutOfOrder)
            }
        }
    }

    fn asked(&mut self, identifier: u8, request: AuthRequest) -> PeerStep {
        match request.ask {
            Ask::Certificate => {
                self.state = State::Signing { identifier };
                PeerStep::Sign
            }
            Ask::Form(form) => {
                self.error = form.error.as_ref().map(|error| error.display());
                self.state = State::Filling { identifier, form: form.clone(), opaque: request.opaque };
                PeerStep::FillForm(form)
            }
            Ask::AuthenticationComplete => {
                let client = self.config.client.clone();
                let reply = AuthReply { client, opaque: request.opaque, answers: vec![], group_select: None };
                self.send(State::Answered, identifier, &ClientMessage::AuthReply(reply), None)
            }
        }
    }

    fn init(&self) -> Init {
        Init {
            client: self.config.client.clone(),
            group_access: Some(self.config.group_access.clone()).filter(|access| !access.is_empty()),
            group_select: self.config.group.clone(),
            ..Init::default()
        }
    }

    fn fill(&self, form: &Form, opaque: Option<String>, given: FormAnswers) -> AuthReply {
        let asked = form.inputs.iter().filter(|input| !NEVER_SENT.contains(&input.name.as_str()));
        let answers = asked.filter_map(|Input { kind, name, value, .. }| {
            let written = given.answers.iter().find(|(known, _)| known == name);
            let value = match (written, kind) {
                (Some((_, answer)), _) => answer.clone(),
                (None, InputKind::Hidden) => Password::new(value.clone()),
                (None, _) => return None,
            };
            let as_password = ANSWERED_AS_PASSWORD.contains(&name.as_str());
            let name = if as_password { "password".to_owned() } else { name.clone() };
            Some(Answer { name, value })
        });
        let offered = |group: &String| form.groups.iter().any(|option| option.name == *group);
        let wished = given.group.or_else(|| self.config.group.clone()).filter(offered);
        let preset = || form.groups.iter().find(|option| option.selected).map(|option| option.name.clone());
        AuthReply {
            client: self.config.client.clone(),
            opaque,
            answers: answers.collect(),
            group_select: wished.or_else(preset),
        }
    }

    /// Sends a message, with a certificate before it if there is one.
    fn send(
        &mut self,
        next: State,
        identifier: u8,
        message: &ClientMessage,
        certificate: Option<ClientCertificate>,
    ) -> PeerStep {
        let Some(response) = encode(identifier, message, certificate) else {
            return self.fail(PeerFailure::Unsendable);
        };
        self.state = next;
        if let Some(last) = &mut self.last {
            last.response = Some(Zeroizing::new(response.clone()));
        }
        PeerStep::Response(response)
    }

    fn fail(&mut self, reason: PeerFailure) -> PeerStep {
        self.state = State::Finished;
        PeerStep::Failure(reason)
    }
}

fn encode(
    identifier: u8,
    message: &ClientMessage,
    certificate: Option<ClientCertificate>,
) -> Option<Vec<u8>> {
    let document = Zeroizing::new(message.write().ok()?);
    let chain = certificate.as_ref().map(|certificate| pkcs7::write(&certificate.chain)).transpose().ok()?;
    let signature = certificate.as_ref().map(|certificate| certificate.signature.as_slice());
    let tlvs =
        Tlvs { document: Some(document.as_bytes()), signature, chain: chain.as_deref(), unknown: vec![] };
    tlvs.encode_response(identifier).ok()
}

/// Legacy Nak that wants an expanded type (RFC 3748 §5.3.1).
fn nak(identifier: u8) -> Vec<u8> {
    let data = [super::framing::TYPE_EXPANDED.0];
    let nak = packet::Packet::Response(packet::Message { identifier, kind: EapType::NAK, data: &data });
    nak.encode().unwrap_or_default()
}
