//! Post-quantum pre-shared keys (RFC 8784 §3, §5.1), and the responder's choice of Table 1.
//!
//! Enters: what the operator configured, what both sides said in IKE_SA_INIT, the notifies beside the client's AUTH payload.
//! Leaves: keys with the PPK mixed in, or the AUTH data that was made without it, or a refusal.
//!
//! An attacker who stores today's traffic and breaks its Diffie-Hellman in years to come still lacks the PPK, and with it
//! SK_d and the keys of every Child SA.

use std::collections::BTreeMap;

use crate::api::Secret;
use crate::crypto::{self, CryptoError, IkeKeys};
use crate::error::IkeError;
use crate::ident::Identity;
use crate::wire::{Auth, Message, Notify, NotifyType};

/// PPK_ID_FIXED: the identifier is a configured string (RFC 8784 §5.1). The other type, PPK_ID_OPAQUE, has no format, so no
/// PPK is found by it.
const PPK_ID_FIXED: u8 = 2;

/// The PPKs of this gateway.
#[derive(Clone, Debug, Default)]
pub struct PpkPolicy {
    /// Whether every client must use one; else those that can, do.
    pub required: bool,
    /// By PPK_ID, without the octet of its type. Empty: the extension is off.
    pub keys: BTreeMap<Vec<u8>, Ppk>,
}

/// A post-quantum pre-shared key.
#[derive(Clone, Debug)]
pub struct Ppk {
    /// The IDi, as text, that may use it; `None` for any.
    pub identity: Option<String>,
    /// The key; at least 256 bits of entropy are wanted (RFC 8784 §6).
    pub key: Secret,
}

/// Where an IKE SA stands with its PPK.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum PpkUse {
    /// Not both sides announced it.
    NotAnnounced,
    /// Both sides announced it; IKE_AUTH will tell.
    Announced,
    /// SK_d, SK_pi and SK_pr depend on it.
    Mixed,
    /// The client named a PPK that we do not have, and did without.
    Declined,
}

impl PpkPolicy {
    /// What the client's IKE_SA_INIT request leads to; USE_PPK is answered with USE_PPK when it is
    /// [`PpkUse::Announced`].
    pub(crate) fn announced(&self, request: &Message) -> PpkUse {
        if !self.keys.is_empty() && request.notify(NotifyType::UsePpk).is_some() {
            PpkUse::Announced
        } else {
            PpkUse::NotAnnounced
        }
    }

    /// Refuses a client that did not announce PPKs where they are mandatory (RFC 8784 §3, Table 1). Also for a message that
    /// has no AUTH payload yet, so that no EAP conversation is begun in vain.
    pub(crate) fn check_announced(&self, ppk: PpkUse) -> Result<(), IkeError> {
        let missing = self.required && ppk == PpkUse::NotAnnounced;
        if missing { Err(IkeError::Ppk("the client does not use one")) } else { Ok(()) }
    }

    /// Chooses what the client's AUTH payload, which came in `message`, is verified with, and mixes the PPK into the keys.
    pub(crate) fn settle(
        &self,
        ppk: &mut PpkUse,
        keys: &mut IkeKeys,
        id_i: &Identity,
        message: &Message,
        auth: Auth,
    ) -> Result<Auth, IkeError> {
        self.check_announced(*ppk)?;
        if *ppk != PpkUse::Announced {
            return Ok(auth);
        }
        // RFC 8784 §3: without PPK_IDENTITY the negotiation MUST fail.
        let named =
            message.notify(NotifyType::PpkIdentity).ok_or(IkeError::Ppk("PPK_IDENTITY is missing"))?;
        if let Some(key) = self.find(&named.data, id_i) {
            mix(keys, key.expose()).map_err(|_| IkeError::Bug("key derivation failed"))?;
            *ppk = PpkUse::Mixed;
            return Ok(auth);
        }
        let without = message.notify(NotifyType::NoPpkAuth).filter(|_| !self.required);
        let without = without.ok_or(IkeError::Ppk("the client names one that it may not use here"))?;
        *ppk = PpkUse::Declined;
        Ok(Auth { method: auth.method, data: without.data.clone() })
    }

    fn find(&self, ppk_id: &[u8], id_i: &Identity) -> Option<&Secret> {
        let (&PPK_ID_FIXED, id) = ppk_id.split_first()? else { return None };
        let ppk = self.keys.get(id)?;
        let allowed = ppk.identity.as_ref().is_none_or(|identity| *identity == id_i.to_string());
        allowed.then_some(&ppk.key)
    }
}

/// The PPK_IDENTITY notify that names a PPK to the responder; the responder's own has no data.
pub fn ppk_identity(id: &[u8]) -> Notify {
    Notify::with_data(NotifyType::PpkIdentity, [&[PPK_ID_FIXED], id].concat())
}

/// SK_d, SK_pi and SK_pr become prf+(PPK, SK) (RFC 8784 §3). Only for an IKE SA whose first keys these are: a rekeyed one
/// inherits the PPK through SK_d.
///
/// # Errors
/// When the library fails.
pub fn mix(keys: &mut IkeKeys, ppk: &[u8]) -> Result<(), CryptoError> {
    let prf = keys.suite.prf;
    for key in [&mut keys.sk_d, &mut keys.sk_pi, &mut keys.sk_pr] {
        *key = crypto::prf_plus(prf, ppk, &[key.as_bytes()], key.len())?;
    }
    Ok(())
}
