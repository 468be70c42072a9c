//! The server's side of every TLS-based method: handshake, then what the method does inside (RFC 5216 §2.1, RFC 9190 §2.1).
//!
//! Enters: Type-Data of responses, the credential store. Leaves: Type-Data of requests, at the end the proof of login.
//! What follows the handshake is an [`Inside`]: EAP-TLS, TTLS or PEAP.

use super::fragments::{self, Arrival, Fragments, TlsPacket};
use super::keys;
use super::session::{TlsBroken, TlsSession};
use crate::outcome::{Authenticated, DiscardReason, FailureReason, Msk};
use crate::packet::EapType;
use crate::server::{Credentials, MethodStep, ServerMethod};

/// Most requests of one method. The longest chains and all that happens inside stay far below it.
const MAX_REQUESTS: u32 = 200;

/// What a method does once the handshake is done.
pub(crate) trait Inside: Send {
    /// The handshake is done and nothing has been said inside.
    fn begin(&mut self, tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep;

    /// The peer said this inside; empty for an acknowledgement of what we said.
    fn handle(&mut self, said: &[u8], tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep;
}

/// What the inside may know of the outside.
pub(crate) struct Tunnel<'a> {
    pub(crate) session: &'a TlsSession,
    /// What the peer called itself before the handshake; proves nothing.
    pub(crate) identity: &'a [u8],
    /// Of the EAP request that will carry what is said next.
    pub(crate) next_identifier: u8,
}

/// What the inside wants.
pub(crate) enum InsideStep {
    /// Say this.
    Say(Vec<u8>),
    /// Wait for the peer to speak.
    Listen,
    /// The user is who he says.
    Accept(Accepted),
    /// It is over; the reason was told or cannot be told.
    Refuse(FailureReason),
}

/// Whom the inside has verified.
pub(crate) struct Accepted {
    pub(crate) user: String,
    /// What verified it, if that is a method of its own.
    pub(crate) by: Option<&'static str>,
    /// Replaces the tunnel's own, where keys of both are bound together.
    pub(crate) msk: Option<Msk>,
}

/// One run of a method.
pub(crate) struct TlsServer {
    kind: EapType,
    identity: Vec<u8>,
    fragments: Fragments,
    session: TlsSession,
    inside: Box<dyn Inside>,
    state: State,
    requests: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    /// It is done, our last flight of it may be on its way.
    Done,
    /// The inside has begun.
    Inside,
    /// The peer was told by an alert that it is over.
    Alerted,
    Finished,
}

impl TlsServer {
    /// Starts; returns the Type-Data of the start.
    pub(crate) fn start(
        kind: EapType,
        identity: &[u8],
        session: TlsSession,
        inside: Box<dyn Inside>,
    ) -> (TlsServer, Vec<u8>) {
        let identity = identity.to_vec();
        let fragments = Fragments::default();
        let server =
            TlsServer { kind, identity, fragments, session, inside, state: State::Handshake, requests: 0 };
        (server, fragments::start())
    }

    fn flight(
        &mut self,
        flight: &[u8],
        next_identifier: u8,
        credentials: &dyn Credentials,
    ) -> Result<MethodStep, TlsBroken> {
        let said = self.session.take(flight)?;
        if self.session.is_handshaking() {
            return Ok(self.send());
        }
        if self.state == State::Handshake {
            self.state = State::Done;
            // Under TLS 1.2 ours is the last flight of the handshake; under TLS 1.3 there is none.
            if self.session.has_flight() && said.is_empty() {
                return Ok(self.send());
            }
        }
        let tunnel = Tunnel { session: &self.session, identity: &self.identity, next_identifier };
        let begun = self.state == State::Inside;
        self.state = State::Inside;
        let mut step = if begun { InsideStep::Listen } else { self.inside.begin(&tunnel, credentials) };
        if begun || (matches!(step, InsideStep::Listen) && !said.is_empty()) {
            step = self.inside.handle(&said, &tunnel, credentials);
        }
        match step {
            InsideStep::Say(words) => {
                self.session.protect(&words)?;
                Ok(self.send())
            }
            InsideStep::Listen => Ok(self.send()),
            InsideStep::Accept(accepted) => {
                let msk = match accepted.msk {
                    Some(msk) => msk,
                    None => keys::msk(&self.session, self.kind)?,
                };
                self.state = State::Finished;
                let proof = Authenticated::new(accepted.user, self.kind, Some(msk));
                Ok(MethodStep::Success(proof.with_inner(accepted.by)))
            }
            InsideStep::Refuse(reason) => {
                self.state = State::Finished;
                Ok(MethodStep::Failure(reason))
            }
        }
    }

    /// What there is to send, or else an acknowledgement.
    fn send(&mut self) -> MethodStep {
        let flight = self.session.flight();
        MethodStep::Request(self.fragments.send(flight))
    }

    /// The peer is told by an alert, if there is one; its answer does not matter.
    fn broken(&mut self) -> MethodStep {
        let alert = self.session.flight();
        if alert.is_empty() {
            self.state = State::Finished;
            return MethodStep::Failure(FailureReason::TlsFailed);
        }
        self.state = State::Alerted;
        MethodStep::Request(self.fragments.send(alert))
    }
}

impl ServerMethod for TlsServer {
    fn handle(&mut self, next_identifier: u8, data: &[u8], credentials: &dyn Credentials) -> MethodStep {
        let Some(packet) = TlsPacket::decode(data) else {
            return MethodStep::Discard(DiscardReason::MalformedMethodData);
        };
        match self.state {
            State::Finished => return MethodStep::Discard(DiscardReason::Finished),
            State::Alerted => {
                self.state = State::Finished;
                return MethodStep::Failure(FailureReason::TlsFailed);
            }
            State::Handshake | State::Done | State::Inside => {}
        }
        let flight = match self.fragments.take(&packet) {
            Arrival::Broken => return MethodStep::Discard(DiscardReason::MalformedMethodData),
            _ if self.requests >= MAX_REQUESTS => {
                self.state = State::Finished;
                return MethodStep::Failure(FailureReason::TooLong);
            }
            Arrival::Reply(data) => {
                self.requests += 1;
                return MethodStep::Request(data);
            }
            Arrival::Flight(flight) => flight,
        };
        self.requests += 1;
        match self.flight(&flight, next_identifier, credentials) {
            Ok(step) => step,
            Err(TlsBroken) => self.broken(),
        }
    }

    fn works_hard(&self) -> bool {
        true
    }
}

/// EAP-TLS: the handshake is all there is, and the certificate names the user.
pub(crate) struct EapTls {
    user: Option<String>,
}

/// What the server says inside under TLS 1.3 when all is well (RFC 9190 §2.5).
pub(crate) const SUCCESS_INDICATION: &[u8] = &[0];

impl EapTls {
    pub(crate) fn new() -> EapTls {
        EapTls { user: None }
    }
}

impl Inside for EapTls {
    fn begin(&mut self, tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep {
        // The configuration makes the handshake fail without a good certificate.
        let certificate = tunnel.session.peer_certificate();
        let user = certificate.and_then(|der| credentials.certificate_user(der, tunnel.identity));
        match user {
            None => InsideStep::Refuse(FailureReason::NamesNoUser),
            Some(user) if tunnel.session.is_tls13() => {
                self.user = Some(user);
                InsideStep::Say(SUCCESS_INDICATION.to_vec())
            }
            Some(user) => InsideStep::Accept(Accepted { user, by: None, msk: None }),
        }
    }

    fn handle(&mut self, said: &[u8], _: &Tunnel<'_>, _: &dyn Credentials) -> InsideStep {
        match self.user.take() {
            Some(user) if said.is_empty() => InsideStep::Accept(Accepted { user, by: None, msk: None }),
            // Nothing is said inside of EAP-TLS.
            _ => InsideStep::Refuse(FailureReason::InsideBroken),
        }
    }
}
