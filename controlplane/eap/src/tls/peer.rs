//! The peer's side of every TLS-based method: handshake, then what the method does inside (RFC 5216 §2.1, RFC 9190 §2.1).
//!
//! Enters: Type-Data of requests. Leaves: Type-Data of responses, and the MSK once the server has proven itself.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::fragments::{Arrival, Fragments, TlsPacket};
use super::keys;
use super::server::SUCCESS_INDICATION;
use super::session::{TlsBroken, TlsSession};
use crate::outcome::{DiscardReason, Msk};
use crate::packet::EapType;
use crate::peer::RunningMethod;

/// How a peer checks the server, and proves itself.
#[derive(Clone)]
pub struct PeerTls {
    /// Trusted authorities; our certificate, if we have one.
    pub config: Arc<ClientConfig>,
    /// Whom the server's certificate must name.
    pub server_name: ServerName<'static>,
}

/// What a method does once the handshake is done.
pub(crate) trait PeerInside: Send {
    /// The handshake is done.
    fn begin(&mut self, session: &TlsSession) -> PeerSays;
    /// The server said this inside. `identifier` is that of the request around it.
    fn handle(&mut self, said: &[u8], session: &TlsSession, identifier: u8) -> PeerSays;
    /// Whether the server has done all that we demand of it.
    fn is_proven(&self) -> bool;
    /// Replaces the tunnel's own key.
    fn msk(&self) -> Option<Msk> {
        None
    }
}

/// What the peer says inside.
pub(crate) enum PeerSays {
    Words(Vec<u8>),
    /// An acknowledgement.
    Nothing,
    Discard(DiscardReason),
}

/// One run of a method.
pub(crate) struct TlsPeer {
    kind: EapType,
    tls: PeerTls,
    fragments: Fragments,
    session: Option<TlsSession>,
    inside: Box<dyn PeerInside>,
    begun: bool,
    broken: bool,
}

impl TlsPeer {
    pub(crate) fn new(kind: EapType, tls: PeerTls, inside: Box<dyn PeerInside>) -> TlsPeer {
        let fragments = Fragments::default();
        TlsPeer { kind, tls, fragments, session: None, inside, begun: false, broken: false }
    }

    fn flight(&mut self, flight: &[u8], identifier: u8) -> Result<Vec<u8>, DiscardReason> {
        let session = self.session.as_mut().ok_or(DiscardReason::OutOfOrder)?;
        let says = match session.take(flight) {
            Ok(_) if session.is_handshaking() => PeerSays::Nothing,
            Ok(said) if self.begun => self.inside.handle(&said, session, identifier),
            Ok(said) => {
                self.begun = true;
                match self.inside.begin(session) {
                    PeerSays::Nothing if !said.is_empty() => self.inside.handle(&said, session, identifier),
                    says => says,
                }
            }
            Err(TlsBroken) => {
                self.broken = true;
                PeerSays::Nothing
            }
        };
        match says {
            PeerSays::Words(words) => session.protect(&words).map_err(|_| DiscardReason::OutOfOrder)?,
            PeerSays::Nothing => {}
            PeerSays::Discard(reason) => return Err(reason),
        }
        Ok(self.fragments.send(session.flight()))
    }
}

impl RunningMethod for TlsPeer {
    fn handle(&mut self, identifier: u8, data: &[u8]) -> Result<Vec<u8>, DiscardReason> {
        let packet = TlsPacket::decode(data).ok_or(DiscardReason::MalformedMethodData)?;
        if packet.start {
            let (config, name) = (Arc::clone(&self.tls.config), self.tls.server_name.clone());
            let mut session = TlsSession::client(config, name).map_err(|_| DiscardReason::OutOfOrder)?;
            self.fragments = Fragments::default();
            let hello = self.fragments.send(session.flight());
            self.session = Some(session);
            return Ok(hello);
        }
        match self.fragments.take(&packet) {
            Arrival::Broken => Err(DiscardReason::MalformedMethodData),
            Arrival::Reply(data) => Ok(data),
            Arrival::Flight(flight) => self.flight(&flight, identifier),
        }
    }

    fn is_proven(&self) -> bool {
        self.begun && !self.broken && self.inside.is_proven()
    }

    fn msk(&self) -> Option<Msk> {
        self.inside.msk().or_else(|| keys::msk(self.session.as_ref()?, self.kind).ok())
    }
}

/// EAP-TLS: under TLS 1.3 the server has to say that all is well.
#[derive(Default)]
pub(crate) struct EapTlsPeer {
    proven: bool,
}

impl PeerInside for EapTlsPeer {
    fn begin(&mut self, session: &TlsSession) -> PeerSays {
        self.proven = !session.is_tls13();
        PeerSays::Nothing
    }

    fn handle(&mut self, said: &[u8], _: &TlsSession, _: u8) -> PeerSays {
        self.proven |= said == SUCCESS_INDICATION;
        PeerSays::Nothing
    }

    fn is_proven(&self) -> bool {
        self.proven
    }
}
