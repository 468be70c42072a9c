//! The proof that a client is who it says. Only the verifiers in this file make one.
//!
//! Enters: AUTH data and keys, a verified certificate, or a finished EAP conversation (RFC 7296 §2.15, §2.16).
//! Leaves: [`Authenticated`], without which no session is established.

use crate::cert::ProvenIdentity;
use crate::crypto::verify_shared_key_auth;
use crate::error::IkeError;
use crate::ident::Identity;
use crate::suite::Prf;
use crate::wire::{Auth, AuthMethod};

/// Who the client is.
pub(crate) struct Authenticated {
    identity: Identity,
    user: String,
    method: &'static str,
}

/// What a successful EAP conversation left.
pub(crate) struct EapSuccess {
    pub(crate) user: String,
    pub(crate) method: &'static str,
    pub(crate) msk: crate::api::Secret,
}

impl Authenticated {
    /// By an AUTH payload under the pre-shared key of `identity`.
    pub(crate) fn by_psk(
        identity: &Identity,
        prf: Prf,
        key: &[u8],
        octets: &[u8],
        auth: &Auth,
    ) -> Result<Authenticated, IkeError> {
        check_mac(prf, key, octets, auth)?;
        Ok(Authenticated { identity: identity.clone(), user: identity.to_string(), method: "psk" })
    }

    /// By a certificate that names the identity, and whose key made the AUTH payload.
    pub(crate) fn by_certificate(proof: &ProvenIdentity) -> Authenticated {
        let identity = proof.identity();
        Authenticated { identity: identity.clone(), user: identity.to_string(), method: "certificate" }
    }

    /// By an EAP conversation and an AUTH payload under its MSK.
    pub(crate) fn by_eap(
        identity: &Identity,
        success: &EapSuccess,
        prf: Prf,
        octets: &[u8],
        auth: &Auth,
    ) -> Result<Authenticated, IkeError> {
        check_mac(prf, success.msk.expose(), octets, auth)?;
        Ok(Authenticated { identity: identity.clone(), user: success.user.clone(), method: success.method })
    }

    /// IDi.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The EAP user, else the identity as text.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// For the operator.
    pub(crate) fn method(&self) -> &'static str {
        self.method
    }
}

fn check_mac(prf: Prf, key: &[u8], octets: &[u8], auth: &Auth) -> Result<(), IkeError> {
    let good = auth.method == AuthMethod::SharedKey && verify_shared_key_auth(prf, key, octets, &auth.data);
    good.then_some(()).ok_or(IkeError::Authentication("wrong key"))
}
