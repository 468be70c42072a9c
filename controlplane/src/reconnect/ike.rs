//! Between IKE and the session databases: what one side says in the words of the other.
//!
//! Enters: why IKE sessions ended, tokens that may be proven, effects. Leaves: endings, answers and orders for the endpoint.
//! Whoever drives an endpoint with a [`Table`](super::Table) needs the same: the daemon and the simulation share it.

use std::time::Duration;

use causeway_ike::api::{DownReason, GatewayAuth, Operator, PskAnswer, Secret, SessionId};

use super::attributes::{self, Attribute, ReconnectGrant};
use super::{Effect, Ending, Offer, Settings};
use crate::store::{DurableId, Token};

/// What the end of an IKE SA means for its session.
pub fn ending(reason: DownReason) -> Ending {
    match reason {
        // Unanswered requests of any kind, the IKE SA's own age, our faults: none of it is the client's wish.
        DownReason::PeerDead
        | DownReason::Expired
        | DownReason::NoChildSa
        | DownReason::TakenOver
        | DownReason::ReplacedByInitialContact
        // Another gateway may share the store, and resume it.
        | DownReason::Redirected
        | DownReason::Shutdown
        | DownReason::Internal => Ending::Silent,
        DownReason::PeerDeleted => Ending::ClientDeleted,
        DownReason::OperatorDeleted
        | DownReason::IdleTimeout
        | DownReason::SessionTimeout
        | DownReason::TokenReplay
        | DownReason::PeerMisbehaved => Ending::Final,
    }
}

impl Offer {
    /// For the endpoint, which compares; `session` is the attempt's number.
    pub fn answer(&self, user: Option<String>, session: u64) -> PskAnswer {
        let secret = |token: &Token| Secret::new(token.as_bytes().to_vec());
        let previous = self.previous.as_ref();
        let usable = previous.filter(|(_, usable)| *usable).map(|(token, _)| secret(token));
        let burnt = previous.filter(|(_, usable)| !*usable).map(|(token, _)| secret(token));
        PskAnswer {
            key: secret(&self.current),
            previous_key: usable,
            burnt_keys: burnt.into_iter().collect(),
            gateway_auth: GatewayAuth::Certificate,
            user,
            resume: Some(session),
        }
    }
}

impl Effect {
    /// What the endpoint is told to do about an IKE session.
    pub fn order(&self) -> Option<Operator> {
        match *self {
            Effect::Drop(session) => Some(Operator::Drop(SessionId(session))),
            Effect::Delete(session) => Some(Operator::Delete(SessionId(session))),
            Effect::End(session, why) => Some(Operator::End { session: SessionId(session), why }),
            Effect::Write(_) | Effect::ReleaseLease { .. } | Effect::Event(_) => None,
        }
    }
}

impl Settings {
    /// What a client that asked for it is told, to come back with.
    pub fn reply(&self, id: DurableId, token: &Token, requested: &[Attribute]) -> Vec<Attribute> {
        let grant = ReconnectGrant {
            id,
            token,
            cleanup: Duration::from_secs(self.timeout_secs),
            dpd_interval: Duration::from_secs(self.dpd_interval_secs),
        };
        attributes::reconnect_reply(&self.attributes, requested, &grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_fell_silent_waits_and_what_policy_ends_is_over() {
        let of = |wanted: Ending| {
            let reasons = DownReason::ALL.into_iter().filter(|reason| ending(*reason) == wanted);
            reasons.map(DownReason::name).collect::<Vec<_>>()
        };
        assert_eq!(of(Ending::ClientDeleted), ["peer-deleted"]);
        assert_eq!(
            of(Ending::Final),
            ["operator-deleted", "idle-timeout", "session-timeout", "token-replay", "peer-misbehaved"]
        );
        assert_eq!(of(Ending::Silent).len(), DownReason::ALL.len() - 6);
        assert!(of(Ending::Silent).contains(&"expired") && of(Ending::Silent).contains(&"peer-dead"));
    }

    #[test]
    fn a_token_before_is_usable_or_burnt_and_never_both() {
        let token = |letter: u8| Token::new(vec![letter; 64]).unwrap();
        for (previous, [usable, burnt]) in [(None, [0, 0]), (Some(true), [1, 0]), (Some(false), [0, 1])] {
            let previous = previous.map(|usable| (token(b'b'), usable));
            let answer = Offer { current: token(b'a'), previous }.answer(Some("ann".into()), 7);
            assert_eq!(answer.key.expose(), [b'a'; 64]);
            assert_eq!((answer.previous_key.iter().len(), answer.burnt_keys.len()), (usable, burnt));
            assert_eq!((answer.gateway_auth, answer.resume), (GatewayAuth::Certificate, Some(7)));
        }
    }
}
