//! EAP that proves both sides, so that the gateway needs no certificate of its own in IKE_AUTH (RFC 5998).
//!
//! Enters: EAP packets on their way to the client. Leaves: whether the method that was used in the end may stand for our
//! signature.

use crate::exchange::authenticated::EapSuccess;
use crate::wire::{Message, NotifyType};
use crate::world::Cx;

/// EAP-Request.
const REQUEST: u8 = 1;
/// Identity and Notification belong to every method (RFC 3748 §5.1, §5.2).
const LAST_COMMON_TYPE: u8 = 2;
/// Methods that prove both sides, make a key and resist guessing: those of RFC 5998 §4 with a number of their own, and
/// PEAP (25) and TEAP (55), which are TLS tunnels as TTLS is. MSCHAPv2 by itself can be guessed, and is not among them.
const SAFE_TYPES: [u8; 14] = [13, 18, 21, 23, 25, 43, 46, 48, 50, 51, 52, 53, 55, 56];

/// How the gateway proves itself in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GatewayProof {
    /// By its signature in the first answer.
    Signature,
    /// By EAP; the method's type, once the server has chosen one.
    Eap(Option<u8>),
}

impl GatewayProof {
    /// What the client asks for and the operator allows (RFC 5998 §3).
    pub(crate) fn chosen(cx: &Cx<'_>, first: &Message) -> GatewayProof {
        let asked = first.notify(NotifyType::EapOnlyAuthentication).is_some();
        if asked && cx.world.config.extensions.eap_only {
            GatewayProof::Eap(None)
        } else {
            GatewayProof::Signature
        }
    }

    /// The server sends this packet. What it asks last before it succeeds is the method that was used.
    pub(crate) fn note(&mut self, packet: &[u8]) {
        if let (GatewayProof::Eap(method), Some((&REQUEST, [_, _, _, kind, ..]))) =
            (self, packet.split_first())
            && *kind > LAST_COMMON_TYPE
        {
            *method = Some(*kind);
        }
    }

    /// RFC 5998 §3: both sides must verify that the method that was used proved both and made a key.
    pub(crate) fn holds(self, success: &EapSuccess) -> bool {
        match self {
            GatewayProof::Signature => true,
            GatewayProof::Eap(method) => {
                success.msk.is_some() && method.is_some_and(|kind| SAFE_TYPES.contains(&kind))
            }
        }
    }
}
