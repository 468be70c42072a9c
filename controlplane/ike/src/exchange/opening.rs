//! How a handshake opens, by IKE_SA_INIT or IKE_SESSION_RESUME (RFC 7296 §1.2, §2.6; RFC 5723 §4.3.2).
//!
//! Enters: a clear request of anybody. Leaves: a stateless refusal (COOKIE, REDIRECT, silence), or an [`Opening`]: a page in the
//! ledger, a place among the half-open ones and our SPI, with what both exchanges make of them.

use crate::api::{Datagram, DownReason, Fragmentation, IkeSpis, SessionId};
use crate::cookie::CookieSubject;
use crate::counters::IkeCounter;
use crate::crypto::{ExchangeValues, IkeKeys, Role};
use crate::error::IkeError;
use crate::exchange::redirect;
use crate::half_open::Admission;
use crate::policy::{EndpointConfig, Redirected};
use crate::sa::{IkeSa, IkeSaParameters, Nat, Path};
use crate::time::Instant;
use crate::wire::{ExchangeType, Header, IkeSpi, Message, Nonce, Notify, NotifyType, Payload, ProtocolId};
use crate::world::{Cx, FirstRequest};

/// Octets of our nonces: at least half the key of the longest PRF (RFC 7296 §2.10).
pub(crate) const NONCE_LEN: usize = 32;

/// A handshake whose first request was accepted.
pub(super) struct Opening {
    pub(super) id: SessionId,
    pub(super) started_at: Instant,
    pub(super) deadline: Instant,
    pub(super) path: Path,
    pub(super) spis: IkeSpis,
    pub(super) ni: Nonce,
    /// The request as it came: what the client signs.
    pub(super) request: Vec<u8>,
}

impl Opening {
    /// Acquires what a handshake holds. `None` if there is no SPI for it.
    pub(super) fn begin(
        cx: &mut Cx<'_>,
        datagram: &Datagram,
        message: &Message,
        ni: &Nonce,
        key: FirstRequest,
    ) -> Option<Opening> {
        let id = cx.open_session();
        let Some(responder) = cx.reserve_ike_spi(id) else {
            cx.count(IkeCounter::InternalErrors);
            cx.close_session(id, DownReason::Internal);
            return None;
        };
        cx.enter_half_open(id, datagram.peer, key);
        cx.count(IkeCounter::HandshakesBegun);
        Some(Opening {
            id,
            started_at: cx.now,
            deadline: cx.now.plus_secs(cx.world.config.timing.half_open_secs),
            path: Path::of(datagram),
            spis: IkeSpis { initiator: message.header.initiator_spi.0, responder },
            ni: ni.clone(),
            request: datagram.bytes.clone(),
        })
    }

    /// What the keys are derived from, beside the secret.
    pub(super) fn values<'a>(&'a self, nr: &'a Nonce) -> ExchangeValues<'a> {
        ExchangeValues {
            initiator_nonce: &self.ni,
            responder_nonce: nr,
            initiator_spi: IkeSpi(self.spis.initiator),
            responder_spi: IkeSpi(self.spis.responder),
        }
    }

    /// Our answer, in the clear.
    pub(super) fn response(
        &self,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
    ) -> Result<Vec<u8>, IkeError> {
        let (initiator, responder) = (IkeSpi(self.spis.initiator), IkeSpi(self.spis.responder));
        let header = Header::new(initiator, responder, exchange, false, true, 0);
        Ok(Message::new(header, payloads).emit_clear()?)
    }

    /// The IKE SA that the next request comes in. `nat`: `None` if the client sent no NAT detection.
    pub(super) fn sa(
        &self,
        keys: IkeKeys,
        nat: Option<Nat>,
        fragmentation: Fragmentation,
    ) -> Result<IkeSa, IkeError> {
        IkeSa::new(IkeSaParameters {
            spis: self.spis,
            role: Role::Responder,
            keys,
            path: self.path,
            nat: nat.unwrap_or_default(),
            fragmentation,
            first_request_id: 1,
        })
        .map_err(|_| IkeError::Bug("keys do not fit their suite"))
    }
}

/// A nonce of ours.
pub(super) fn fresh_nonce(cx: &mut Cx<'_>) -> Result<Nonce, IkeError> {
    Ok(Nonce::new(cx.random::<NONCE_LEN>().to_vec())?)
}

/// CHILDLESS_IKEV2_SUPPORTED, where the operator allows it (RFC 6023 §4).
pub(super) fn childless_supported(config: &EndpointConfig) -> Option<Payload> {
    let notify = Notify::new(NotifyType::ChildlessIkev2Supported);
    let notify = Notify { protocol: ProtocolId::Ike, ..notify };
    config.extensions.childless.then_some(Payload::Notify(notify))
}

/// Whether a handshake may begin now; if not, what there is to answer was answered.
pub(super) fn admit(cx: &mut Cx<'_>, datagram: &Datagram, message: &Message, ni: &Nonce) -> bool {
    let limits = cx.world.config.limits;
    let no_room = |cx: &mut Cx<'_>, counter| {
        match redirect::of_newcomer(cx, message, ni, Redirected::WhenFull) {
            Some(notify) => {
                cx.count(IkeCounter::Redirects);
                refuse(cx, datagram, message, notify);
            }
            None => cx.count(counter),
        }
        false
    };
    if cx.world.pages() >= limits.sessions {
        return no_room(cx, IkeCounter::DropSessionLimit);
    }
    match cx.world.half_open.admission(datagram.peer, &limits) {
        Admission::Accept => true,
        Admission::TotalReached => no_room(cx, IkeCounter::DropHalfOpenLimit),
        Admission::SourceReached => {
            cx.count(IkeCounter::DropSourceLimit);
            false
        }
        Admission::CookieNeeded => {
            let subject = CookieSubject {
                nonce: ni.as_bytes(),
                peer: datagram.peer,
                initiator_spi: message.header.initiator_spi.0,
            };
            if let Some(cookie) = message.notify(NotifyType::Cookie) {
                if cx.verify_cookie(&subject, &cookie.data) {
                    return true;
                }
                cx.count(IkeCounter::CookiesWrong);
            }
            let cookie = cx.bake_cookie(&subject);
            cx.count(IkeCounter::CookiesSent);
            refuse(cx, datagram, message, Notify::with_data(NotifyType::Cookie, cookie));
            false
        }
    }
}

/// Answers without keeping anything: the responder's SPI stays zero.
pub(super) fn refuse(cx: &mut Cx<'_>, datagram: &Datagram, message: &Message, notify: Notify) {
    let header = Header::new(
        message.header.initiator_spi,
        IkeSpi::ZERO,
        message.header.exchange,
        false,
        true,
        message.header.message_id,
    );
    if let Ok(bytes) = Message::new(header, vec![Payload::Notify(notify)]).emit_clear() {
        cx.transmit(Path::of(datagram).datagram(bytes));
    }
}
