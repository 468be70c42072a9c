//! Inside of PEAP version 0: EAP packets without their headers, then Extensions with the result ([MS-PEAP] 3.1.5).
//!
//! Enters: decrypted octets, the credential store. Leaves: octets to protect, and who was verified. The result is told and
//! answered inside of the tunnel, so that nobody outside can make one up.

use super::binding::{Binding, BoundKeys};
use super::tlv::{BindingKind, Extensions, NONCE_OCTETS};
use crate::outcome::{Authenticated, DiscardReason, FailureReason, Msk};
use crate::packet::EapType;
use crate::peer::{EapPeer, PeerStep};
use crate::server::{Credentials, EapServer, Step};
use crate::tls::keys;
use crate::tls::peer::{PeerInside, PeerSays};
use crate::tls::server::{Accepted, Inside, InsideStep, Tunnel};
use crate::tls::session::TlsSession;

const HEADER_OCTETS: usize = 4;
const CODE_REQUEST: u8 = 1;
const CODE_RESPONSE: u8 = 2;

/// The server's side.
pub(crate) struct PeapInside {
    eap: EapServer,
    first: Vec<u8>,
    binding: Binding,
    nonce: [u8; NONCE_OCTETS],
    state: State,
}

enum State {
    Talking,
    /// The user is verified; the peer is to agree.
    Telling {
        user: String,
        by: EapType,
        keys: Option<BoundKeys>,
    },
    /// The peer was told that it is over.
    Refused(FailureReason),
}

impl PeapInside {
    /// `first`: the inner conversation's Identity request.
    pub(crate) fn new(
        eap: EapServer,
        first: &[u8],
        binding: Binding,
        nonce: [u8; NONCE_OCTETS],
    ) -> PeapInside {
        PeapInside { eap, first: without_header(first), binding, nonce, state: State::Talking }
    }

    fn talk(&mut self, said: &[u8], tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep {
        let packet = with_header(CODE_RESPONSE, self.eap.identifier(), said);
        match self.eap.handle(&packet, credentials) {
            Step::Request(request) => InsideStep::Say(without_header(&request)),
            Step::Success { authenticated, .. } => self.tell(&authenticated, tunnel),
            Step::Failure { reason, .. } => self.refuse(reason, tunnel),
            Step::Discard(_) => self.refuse(FailureReason::InsideBroken, tunnel),
        }
    }

    fn tell(&mut self, authenticated: &Authenticated, tunnel: &Tunnel<'_>) -> InsideStep {
        let keys = match (self.binding, keys::msk(tunnel.session, EapType::PEAP)) {
            (_, Err(_)) => return self.refuse(FailureReason::InsideBroken, tunnel),
            (Binding::Off, _) => None,
            (_, Ok(key)) => Some(BoundKeys::new(&key, authenticated.msk())),
        };
        let binding = keys.as_ref().map(|keys| keys.bind(BindingKind::Request, self.nonce));
        let (user, by) = (authenticated.user().to_owned(), authenticated.method());
        self.state = State::Telling { user, by, keys };
        let extensions = Extensions { success: true, binding };
        InsideStep::Say(extensions.encode(BindingKind::Request, tunnel.next_identifier))
    }

    fn refuse(&mut self, reason: FailureReason, tunnel: &Tunnel<'_>) -> InsideStep {
        self.state = State::Refused(reason);
        let extensions = Extensions { success: false, binding: None };
        InsideStep::Say(extensions.encode(BindingKind::Request, tunnel.next_identifier))
    }
}

impl Inside for PeapInside {
    fn begin(&mut self, _: &Tunnel<'_>, _: &dyn Credentials) -> InsideStep {
        InsideStep::Say(std::mem::take(&mut self.first))
    }

    fn handle(&mut self, said: &[u8], tunnel: &Tunnel<'_>, credentials: &dyn Credentials) -> InsideStep {
        match &mut self.state {
            State::Talking => self.talk(said, tunnel, credentials),
            State::Refused(reason) => InsideStep::Refuse(*reason),
            State::Telling { user, by, keys } => {
                let answer = Extensions::decode(said).filter(|answer| answer.success);
                let Some(Extensions { binding, .. }) = answer else {
                    return InsideStep::Refuse(FailureReason::ServerRefused);
                };
                let (user, by) = (std::mem::take(user), Some(by.name()));
                let msk = match (keys, binding) {
                    (Some(keys), Some(binding)) => {
                        if !keys.verify(&binding, BindingKind::Response) {
                            return InsideStep::Refuse(FailureReason::NotBound);
                        }
                        Some(keys.msk())
                    }
                    (_, None) if self.binding == Binding::Required => {
                        return InsideStep::Refuse(FailureReason::NotBound);
                    }
                    _ => None,
                };
                InsideStep::Accept(Accepted { user, by, msk })
            }
        }
    }
}

/// The inner packet of octets that lack Code, Identifier and Length. Too long a packet is refused when it is read.
fn with_header(code: u8, identifier: u8, data: &[u8]) -> Vec<u8> {
    let length = data.len().saturating_add(HEADER_OCTETS).min(usize::from(u16::MAX)) as u16;
    let [high, low] = length.to_be_bytes();
    [&[code, identifier, high, low], data].concat()
}

fn without_header(packet: &[u8]) -> Vec<u8> {
    packet.get(HEADER_OCTETS..).unwrap_or_default().to_vec()
}

/// The peer's side.
pub(crate) struct PeapPeer {
    inner: Box<EapPeer>,
    /// Fresh randomness for a binding.
    nonce: [u8; NONCE_OCTETS],
    proven: bool,
    bound: Option<BoundKeys>,
}

impl PeapPeer {
    pub(crate) fn new(inner: Box<EapPeer>, nonce: [u8; NONCE_OCTETS]) -> PeapPeer {
        PeapPeer { inner, nonce, proven: false, bound: None }
    }

    fn conclude(&mut self, told: &Extensions, identifier: u8, session: &TlsSession) -> PeerSays {
        let mut ours = Extensions { success: told.success && self.inner.is_proven(), binding: None };
        if let (Some(theirs), Ok(key)) = (&told.binding, keys::msk(session, EapType::PEAP)) {
            let keys = BoundKeys::new(&key, self.inner.msk().as_ref());
            if keys.verify(theirs, BindingKind::Request) {
                ours.binding = Some(keys.bind(BindingKind::Response, self.nonce));
                self.bound = Some(keys);
            } else {
                ours.success = false;
            }
        }
        self.proven = ours.success;
        PeerSays::Words(ours.encode(BindingKind::Response, identifier))
    }
}

impl PeerInside for PeapPeer {
    fn begin(&mut self, _: &TlsSession) -> PeerSays {
        PeerSays::Nothing
    }

    fn handle(&mut self, said: &[u8], session: &TlsSession, identifier: u8) -> PeerSays {
        if said.is_empty() {
            return PeerSays::Nothing;
        }
        if let Some(told) = Extensions::decode(said) {
            return self.conclude(&told, identifier, session);
        }
        match self.inner.handle(&with_header(CODE_REQUEST, identifier, said)) {
            PeerStep::Response(response) => PeerSays::Words(without_header(&response)),
            PeerStep::Discard(reason) => PeerSays::Discard(reason),
            PeerStep::Success(_) | PeerStep::Failure(_) => PeerSays::Discard(DiscardReason::OutOfOrder),
        }
    }

    fn is_proven(&self) -> bool {
        self.proven
    }

    fn msk(&self) -> Option<Msk> {
        self.bound.as_ref().map(BoundKeys::msk)
    }
}
