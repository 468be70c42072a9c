//! Which payloads each exchange may carry, how often, and whether encrypted: one table and its check
//! (RFC 7296 Appendix C, RFC 7383, RFC 5723, RFC 9242, RFC 9370).
//!
//! Enters: a parsed message. Leaves: nothing, or the rule it breaks. Status notifies, vendor ids and unknown payloads
//! are legal everywhere and only bounded by the payload count.

use super::{ExchangeType, Message, NotifyType, Payload, PayloadType, WireError};

const MANY: usize = usize::MAX;

/// How often a payload may occur.
struct Rule {
    payload: PayloadType,
    min: usize,
    max: usize,
}

const fn rule(payload: PayloadType, min: usize, max: usize) -> Rule {
    Rule { payload, min, max }
}

const IKE_SA_INIT_REQUEST: &[Rule] = &[
    rule(PayloadType::Sa, 1, 1),
    rule(PayloadType::Ke, 1, 1),
    rule(PayloadType::Nonce, 1, 1),
    // Cisco clients send a private attribute here; it is ignored.
    rule(PayloadType::Cp, 0, 1),
];
const IKE_SA_INIT_RESPONSE: &[Rule] = &[
    rule(PayloadType::Sa, 1, 1),
    rule(PayloadType::Ke, 1, 1),
    rule(PayloadType::Nonce, 1, 1),
    rule(PayloadType::CertReq, 0, MANY),
];
/// RFC 5723 §4.3.2. That the request has a ticket is for its reader to see.
const IKE_SESSION_RESUME: &[Rule] = &[rule(PayloadType::Nonce, 1, 1)];
const IKE_AUTH_REQUEST: &[Rule] = &[
    rule(PayloadType::IdI, 0, 1),
    rule(PayloadType::IdR, 0, 1),
    rule(PayloadType::Cert, 0, MANY),
    rule(PayloadType::CertReq, 0, MANY),
    rule(PayloadType::Auth, 0, 1),
    rule(PayloadType::Eap, 0, 1),
    rule(PayloadType::Cp, 0, 1),
    rule(PayloadType::Sa, 0, 1),
    rule(PayloadType::TsI, 0, 1),
    rule(PayloadType::TsR, 0, 1),
];
const IKE_AUTH_RESPONSE: &[Rule] = &[
    rule(PayloadType::IdR, 0, 1),
    rule(PayloadType::Cert, 0, MANY),
    rule(PayloadType::Auth, 0, 1),
    rule(PayloadType::Eap, 0, 1),
    rule(PayloadType::Cp, 0, 1),
    rule(PayloadType::Sa, 0, 1),
    rule(PayloadType::TsI, 0, 1),
    rule(PayloadType::TsR, 0, 1),
];
const CREATE_CHILD_SA: &[Rule] = &[
    rule(PayloadType::Sa, 1, 1),
    rule(PayloadType::Nonce, 1, 1),
    rule(PayloadType::Ke, 0, 1),
    rule(PayloadType::TsI, 0, 1),
    rule(PayloadType::TsR, 0, 1),
    rule(PayloadType::Cp, 0, 1),
];
/// RFC 9242 leaves to others what it carries; here it carries additional key exchanges (RFC 9370).
const IKE_INTERMEDIATE: &[Rule] = &[rule(PayloadType::Ke, 1, 1)];
const IKE_FOLLOWUP_KE: &[Rule] = &[rule(PayloadType::Ke, 1, 1)];
const INFORMATIONAL: &[Rule] = &[rule(PayloadType::Delete, 0, MANY), rule(PayloadType::Cp, 0, 1)];

/// Checks a message against its exchange's rules. `encrypted` says whether it came inside SK or SKF.
///
/// A response that reports an error, a COOKIE, a REDIRECT or a TICKET_NACK may omit what the rules require.
///
/// # Errors
/// [`WireError::Missing`], [`WireError::Unexpected`], [`WireError::NotEncrypted`], or [`WireError::BadValue`] for an
/// exchange without rules here.
pub fn check(message: &Message, encrypted: bool) -> Result<(), WireError> {
    let header = &message.header;
    let rules = match (header.exchange, header.is_response) {
        (ExchangeType::IkeSaInit, false) => IKE_SA_INIT_REQUEST,
        (ExchangeType::IkeSaInit, true) => IKE_SA_INIT_RESPONSE,
        (ExchangeType::IkeSessionResume, _) => IKE_SESSION_RESUME,
        (ExchangeType::IkeAuth, false) => IKE_AUTH_REQUEST,
        (ExchangeType::IkeAuth, true) => IKE_AUTH_RESPONSE,
        (ExchangeType::CreateChildSa, _) => CREATE_CHILD_SA,
        (ExchangeType::Informational, _) => INFORMATIONAL,
        (ExchangeType::IkeIntermediate, _) => IKE_INTERMEDIATE,
        (ExchangeType::IkeFollowupKe, _) => IKE_FOLLOWUP_KE,
        _ => return Err(WireError::BadValue { what: "exchange type" }),
    };
    let clear = matches!(header.exchange, ExchangeType::IkeSaInit | ExchangeType::IkeSessionResume);
    if encrypted == clear {
        return Err(if encrypted { WireError::Unexpected(PayloadType::Sk) } else { clear_error(message) });
    }
    for payload in &message.payloads {
        let kind = payload.payload_type();
        let ruled = rules.iter().any(|rule| rule.payload == kind);
        let free = matches!(payload, Payload::Notify(_) | Payload::Vendor(_) | Payload::Unknown { .. });
        if !ruled && !free {
            return Err(WireError::Unexpected(kind));
        }
    }
    let excused = header.is_response && message.notifies().any(|notify| excuses(notify.kind));
    for rule in rules {
        let count = message.payloads.iter().filter(|payload| payload.payload_type() == rule.payload).count();
        if count > rule.max {
            return Err(WireError::Unexpected(rule.payload));
        }
        if count < rule.min && !excused {
            return Err(WireError::Missing(rule.payload));
        }
    }
    match (message.ts_i(), message.ts_r()) {
        (Some(_), None) => Err(WireError::Missing(PayloadType::TsR)),
        (None, Some(_)) => Err(WireError::Missing(PayloadType::TsI)),
        _ => Ok(()),
    }
}

fn excuses(kind: NotifyType) -> bool {
    kind.is_error() || matches!(kind, NotifyType::Cookie | NotifyType::Redirect | NotifyType::TicketNack)
}

fn clear_error(message: &Message) -> WireError {
    WireError::NotEncrypted(message.payloads.first().map_or(PayloadType::None, Payload::payload_type))
}
