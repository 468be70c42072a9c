//! The proof that a client is who it says. Only the verifiers in this file make one.
//!
//! Enters: AUTH data and keys, a verified certificate, a finished EAP conversation (RFC 7296 §2.15, §2.16), or a ticket
//! (RFC 5723 §4.3.3).
//! Leaves: [`Authenticated`], without which no session is established.

use crate::api::{MAX_BURNT_KEYS, PskAnswer, Resume, Secret, SessionFacts, TicketAnswer, TicketState};
use crate::cert::ProvenIdentity;
use crate::crypto::{IkeKeys, Role, resumption_auth, verify_shared_key_auth};
use crate::error::IkeError;
use crate::ident::Identity;
use crate::suite::Prf;
use crate::wire::{Auth, AuthMethod};

/// Who the client is.
pub(crate) struct Authenticated {
    identity: Identity,
    user: String,
    method: String,
    key: Option<&'static str>,
    resume: Option<Resume>,
}

/// What a successful EAP conversation left.
pub(crate) struct EapSuccess {
    pub(crate) user: String,
    pub(crate) method: &'static str,
    pub(crate) msk: Option<Secret>,
}

impl EapSuccess {
    /// The key of a final AUTH payload: the MSK, else SK_pi or SK_pr of who makes it.
    pub(crate) fn key<'a>(&'a self, sk_p: &'a [u8]) -> &'a [u8] {
        self.msk.as_ref().map_or(sk_p, Secret::expose)
    }
}

impl Authenticated {
    /// By an AUTH payload under a shared key of `identity`; returns that key, too. The work is the same whether the
    /// identity is known or not, `dummy` standing in for every key that there is not.
    pub(crate) fn by_psk<'a>(
        identity: &Identity,
        prf: Prf,
        answer: Option<&'a PskAnswer>,
        dummy: &[u8],
        octets: &[u8],
        auth: &Auth,
    ) -> Result<(Authenticated, &'a Secret), IkeError> {
        let matches = |key: Option<&'a Secret>| {
            // An empty key would be known to everybody.
            let key = key.filter(|key| !key.expose().is_empty());
            let good = check_mac(prf, key.map_or(dummy, Secret::expose), octets, auth).is_ok();
            key.filter(|_| good)
        };
        let current = matches(answer.map(|answer| &answer.key));
        let previous = matches(answer.and_then(|answer| answer.previous_key.as_ref()));
        let burnt = (0..MAX_BURNT_KEYS)
            .filter(|at| matches(answer.and_then(|answer| answer.burnt_keys.get(*at))).is_some())
            .count();
        let (Some(answer), Some(key)) = (answer, current.or(previous)) else {
            return Err(if burnt > 0 { IkeError::Replayed } else { IkeError::Authentication("wrong key") });
        };
        let resume = answer.resume.map(|tag| Resume { tag, previous_key: current.is_none() });
        let user = answer.user.clone().unwrap_or_else(|| identity.to_string());
        let (identity, method) = (identity.clone(), "psk".to_owned());
        Ok((Authenticated { identity, user, method, key: None, resume }, key))
    }

    /// By an AUTH payload under the keys of an IKE SA that was made from a ticket (RFC 5723 §4.3.3).
    pub(crate) fn by_ticket(
        ticket: &TicketAnswer,
        keys: &IkeKeys,
        octets: &[u8],
        auth: &Auth,
    ) -> Result<Authenticated, IkeError> {
        let expected = resumption_auth(keys.suite.prf, keys.sk_p(Role::Initiator), octets);
        if auth.method != AuthMethod::SharedKey || !expected.matches(&auth.data) {
            return Err(IkeError::Authentication("wrong keys for the ticket"));
        }
        let TicketState { identity, user, method, peer_key, .. } = &ticket.state;
        Ok(Authenticated {
            identity: identity.clone(),
            user: user.clone(),
            method: method.clone(),
            key: *peer_key,
            resume: Some(ticket.resume),
        })
    }

    /// By a certificate that names the identity, and whose key made the AUTH payload.
    pub(crate) fn by_certificate(proof: &ProvenIdentity) -> Authenticated {
        let identity = proof.identity();
        let user = identity.to_string();
        let (identity, method) = (identity.clone(), "certificate".to_owned());
        Authenticated { identity, user, method, key: Some(proof.key()), resume: None }
    }

    /// By an EAP conversation and an AUTH payload under its MSK, or under SK_pi if it made none.
    pub(crate) fn by_eap(
        identity: &Identity,
        success: &EapSuccess,
        sk_pi: &[u8],
        prf: Prf,
        octets: &[u8],
        auth: &Auth,
    ) -> Result<Authenticated, IkeError> {
        check_mac(prf, success.key(sk_pi), octets, auth)?;
        let (identity, user) = (identity.clone(), success.user.clone());
        Ok(Authenticated { identity, user, method: success.method.to_owned(), key: None, resume: None })
    }

    /// By a proof that another process of this gateway accepted, read back from where only this gateway can write.
    pub(crate) fn restored(facts: &SessionFacts) -> Authenticated {
        let SessionFacts { identity, user, auth_method, .. } = facts;
        Authenticated {
            identity: identity.clone(),
            user: user.clone(),
            method: auth_method.clone(),
            key: facts.peer_key,
            resume: None,
        }
    }

    /// IDi.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The EAP user, else the identity as text.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The session that the client goes on with.
    pub(crate) fn resume(&self) -> Option<Resume> {
        self.resume
    }

    /// For the operator.
    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    /// The kind of the key of the client's certificate, if that was the proof.
    pub(crate) fn key(&self) -> Option<&'static str> {
        self.key
    }
}

fn check_mac(prf: Prf, key: &[u8], octets: &[u8], auth: &Auth) -> Result<(), IkeError> {
    let good = auth.method == AuthMethod::SharedKey && verify_shared_key_auth(prf, key, octets, &auth.data);
    good.then_some(()).ok_or(IkeError::Authentication("wrong key"))
}
