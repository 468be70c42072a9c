//! The test initiator's post-quantum pre-shared key (RFC 8784 §3).
//!
//! Enters: the keys of its first IKE SA. Leaves: the same keys with the PPK mixed in, and what they were, for a gateway
//! that declines it.

use crate::crypto::{CryptoError, IkeKeys, Secret};
use crate::ppk;

/// A PPK as a client is configured with it.
#[derive(Clone)]
pub struct InitiatorPpk {
    /// PPK_ID, without the octet of its type.
    pub id: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// Goes on with no gateway that does not use it, and sends no NO_PPK_AUTH.
    pub mandatory: bool,
}

/// SK_d', SK_pi' and SK_pr'.
pub(super) struct Unmixed([Secret; 3]);

impl Unmixed {
    /// Mixes the PPK into `keys`; returns what they were.
    pub(super) fn mix(keys: &mut IkeKeys, ppk: &InitiatorPpk) -> Result<Unmixed, CryptoError> {
        let before = Unmixed([keys.sk_d.clone(), keys.sk_pi.clone(), keys.sk_pr.clone()]);
        ppk::mix(keys, &ppk.key)?;
        Ok(before)
    }

    /// Takes the PPK out again.
    pub(super) fn restore(self, keys: &mut IkeKeys) {
        [keys.sk_d, keys.sk_pi, keys.sk_pr] = self.0;
    }
}
