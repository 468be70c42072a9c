//! The key schedule: SKEYSEED and its seven keys (RFC 7296 §2.14), rekeying (§2.18), KEYMAT of Child SAs (§2.17), and
//! what AUTH payloads are computed over (§2.15, §2.16).

use super::prf::{prf, prf_plus};
use super::{CryptoError, Secret, SharedSecret, SkOpener, SkSealer};
use crate::suite::{EspSuite, IkeSuite, Prf};
use crate::wire::{IkeSpi, Nonce};

/// The text that RFC 7296 §2.15 mixes into shared keys.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// Which side of the IKE SA we are; never changes while the SA lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The SA's original initiator.
    Initiator,
    /// Its responder.
    Responder,
}

/// The nonces and SPIs of an exchange, by role in that exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeValues<'a> {
    /// Ni.
    pub initiator_nonce: &'a Nonce,
    /// Nr.
    pub responder_nonce: &'a Nonce,
    /// SPIi of the SA that is made.
    pub initiator_spi: IkeSpi,
    /// SPIr of the SA that is made.
    pub responder_spi: IkeSpi,
}

/// The keys of an IKE SA.
pub struct IkeKeys {
    /// The suite they are for.
    pub suite: IkeSuite,
    /// SK_d, from which Child SAs and successors get their keys.
    pub sk_d: Secret,
    /// SK_ai; empty with an AEAD.
    pub sk_ai: Secret,
    /// SK_ar; empty with an AEAD.
    pub sk_ar: Secret,
    /// SK_ei, with the salt of an AEAD.
    pub sk_ei: Secret,
    /// SK_er, with the salt of an AEAD.
    pub sk_er: Secret,
    /// SK_pi.
    pub sk_pi: Secret,
    /// SK_pr.
    pub sk_pr: Secret,
}

/// KEYMAT of a Child SA, cut by direction; each is cipher key, salt, integrity key.
pub struct ChildKeymat {
    /// For packets from the exchange's initiator to its responder.
    pub initiator_to_responder: Secret,
    /// For packets from the exchange's responder to its initiator.
    pub responder_to_initiator: Secret,
}

impl IkeKeys {
    /// The keys of a first IKE SA: SKEYSEED = prf(Ni | Nr, g^ir).
    ///
    /// # Errors
    /// When the library fails.
    pub fn initial(
        suite: IkeSuite,
        shared: &SharedSecret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (ni, nr) = (values.initiator_nonce.as_bytes(), values.responder_nonce.as_bytes());
        let key = Secret::new([ni, nr].concat());
        IkeKeys::expand(suite, &prf(suite.prf, key.as_bytes(), &[shared.as_bytes()]), values)
    }

    /// The keys of an IKE SA that replaces `old`: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the old PRF.
    ///
    /// # Errors
    /// When the library fails.
    pub fn rekeyed(
        old: &IkeKeys,
        suite: IkeSuite,
        shared: &SharedSecret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (ni, nr) = (values.initiator_nonce.as_bytes(), values.responder_nonce.as_bytes());
        let skeyseed = prf(old.suite.prf, old.sk_d.as_bytes(), &[shared.as_bytes(), ni, nr]);
        IkeKeys::expand(suite, &skeyseed, values)
    }

    fn expand(
        suite: IkeSuite,
        skeyseed: &Secret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (p, a, e) = (suite.prf.output_len(), suite.integ_key_len(), suite.cipher.keymat_len());
        let seed: [&[u8]; 4] = [
            values.initiator_nonce.as_bytes(),
            values.responder_nonce.as_bytes(),
            &values.initiator_spi.to_bytes(),
            &values.responder_spi.to_bytes(),
        ];
        let keymat = prf_plus(suite.prf, skeyseed.as_bytes(), &seed, 3 * p + 2 * a + 2 * e)?;
        let mut rest = keymat.as_bytes();
        Ok(IkeKeys {
            suite,
            sk_d: cut(&mut rest, p)?,
            sk_ai: cut(&mut rest, a)?,
            sk_ar: cut(&mut rest, a)?,
            sk_ei: cut(&mut rest, e)?,
            sk_er: cut(&mut rest, e)?,
            sk_pi: cut(&mut rest, p)?,
            sk_pr: cut(&mut rest, p)?,
        })
    }

    /// The sealer for what `role` sends and the opener for what it receives.
    ///
    /// # Errors
    /// When the library fails.
    pub fn ends(&self, role: Role) -> Result<(SkSealer, SkOpener), CryptoError> {
        let (cipher, integ) = (self.suite.cipher, self.suite.integ);
        let (own_e, own_a, peer_e, peer_a) = match role {
            Role::Initiator => (&self.sk_ei, &self.sk_ai, &self.sk_er, &self.sk_ar),
            Role::Responder => (&self.sk_er, &self.sk_ar, &self.sk_ei, &self.sk_ai),
        };
        Ok((SkSealer::new(cipher, integ, own_e, own_a)?, SkOpener::new(cipher, integ, peer_e, peer_a)?))
    }

    /// The key that authenticates `role`: SK_pi or SK_pr.
    pub fn sk_p(&self, role: Role) -> &Secret {
        match role {
            Role::Initiator => &self.sk_pi,
            Role::Responder => &self.sk_pr,
        }
    }

    /// What the AUTH payload of `role` signs (RFC 7296 §2.15): its first message (the IKE_SA_INIT datagram as it was
    /// sent, without non-ESP marker), the other side's nonce, and prf(SK_p, IDx').
    pub fn signed_octets(
        &self,
        role: Role,
        first_message: &[u8],
        other_nonce: &Nonce,
        id_body: &[u8],
    ) -> Vec<u8> {
        let mac = prf(self.suite.prf, self.sk_p(role).as_bytes(), &[id_body]);
        [first_message, other_nonce.as_bytes(), mac.as_bytes()].concat()
    }

    /// KEYMAT of a Child SA made under this IKE SA. Nonces are those of the exchange that makes it; `shared` is there
    /// with a fresh key exchange.
    ///
    /// # Errors
    /// When the library fails.
    pub fn child_keymat(
        &self,
        suite: EspSuite,
        shared: Option<&SharedSecret>,
        initiator_nonce: &Nonce,
        responder_nonce: &Nonce,
    ) -> Result<ChildKeymat, CryptoError> {
        let octets = suite.keymat_len();
        let seed: [&[u8]; 3] = [
            shared.map_or(&[], SharedSecret::as_bytes),
            initiator_nonce.as_bytes(),
            responder_nonce.as_bytes(),
        ];
        let keymat = prf_plus(self.suite.prf, self.sk_d.as_bytes(), &seed, 2 * octets)?;
        let mut rest = keymat.as_bytes();
        Ok(ChildKeymat {
            initiator_to_responder: cut(&mut rest, octets)?,
            responder_to_initiator: cut(&mut rest, octets)?,
        })
    }
}

/// AUTH data of method 2 (RFC 7296 §2.15): prf(prf(key, "Key Pad for IKEv2"), signed octets). `key` is the pre-shared
/// key, the EAP method's MSK, or, for an EAP method without one, SK_pi or SK_pr (§2.16).
pub fn shared_key_auth(algorithm: Prf, key: &[u8], signed_octets: &[u8]) -> Secret {
    let padded = prf(algorithm, key, &[KEY_PAD]);
    prf(algorithm, padded.as_bytes(), &[signed_octets])
}

/// Checks AUTH data of method 2 in constant time.
pub fn verify_shared_key_auth(algorithm: Prf, key: &[u8], signed_octets: &[u8], auth: &[u8]) -> bool {
    shared_key_auth(algorithm, key, signed_octets).matches(auth)
}

fn cut(rest: &mut &[u8], octets: usize) -> Result<Secret, CryptoError> {
    let (head, tail) = rest.split_at_checked(octets).ok_or(CryptoError::BadKeyLength)?;
    *rest = tail;
    Ok(Secret::new(head.to_vec()))
}
