//! Key exchange: P-256, P-384, P-521 (RFC 5903), Curve25519 (RFC 8031) and MODP-2048 (RFC 3526).
//!
//! Public values are as in a KE payload: `x | y` for the ECP groups, big-endian and full-length for MODP.

use aws_lc_rs::agreement::{
    Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey, X25519, agree,
};
use zeroize::Zeroizing;

use super::modp::ModpPrivate;
use super::{CryptoError, Random, Secret};
use crate::suite::Group;

/// Tries to hit a scalar below the group's order; each fails with a chance below one half (P-521) or 2^-32 (the others).
const MAX_SCALAR_TRIES: usize = 128;
/// First octet of an uncompressed point (SEC 1), which IKE leaves out.
const UNCOMPRESSED: u8 = 4;

/// Our half of a key exchange. Wiped by the library when dropped.
pub struct KePrivate {
    group: Group,
    key: Key,
}

enum Key {
    Curve(PrivateKey),
    Modp(ModpPrivate),
}

/// What both sides share: g^ir.
pub struct SharedSecret(Secret);

impl SharedSecret {
    /// The octets: the x coordinate, or the full-length residue.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Takes octets from elsewhere, e.g. a test vector.
    pub fn new(octets: Secret) -> SharedSecret {
        SharedSecret(octets)
    }
}

impl KePrivate {
    /// Makes a key pair.
    ///
    /// # Errors
    /// When randomness or the library fails.
    pub fn generate(group: Group, random: &mut dyn Random) -> Result<KePrivate, CryptoError> {
        let key = match curve(group) {
            None => Key::Modp(ModpPrivate::generate(random)?),
            Some(algorithm) => Key::Curve(generate_scalar(group, algorithm, random)?),
        };
        Ok(KePrivate { group, key })
    }

    /// A key pair from its private scalar, for known-answer tests.
    #[cfg(test)]
    pub(crate) fn from_scalar(group: Group, scalar: &[u8]) -> Option<KePrivate> {
        let algorithm = curve(group)?;
        let key = Key::Curve(PrivateKey::from_private_key(algorithm, scalar).ok()?);
        Some(KePrivate { group, key })
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value for a KE payload.
    ///
    /// # Errors
    /// When the library fails.
    pub fn public(&self) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::Modp(private) => private.public(),
            Key::Curve(private) => {
                let public = private.compute_public_key()?;
                let octets = public.as_ref();
                let octets = match self.group {
                    Group::Curve25519 => octets,
                    _ => octets.strip_prefix(&[UNCOMPRESSED]).ok_or(CryptoError::Library)?,
                };
                Ok(octets.to_vec())
            }
        }
    }

    /// The secret shared with the peer that sent `peer_public`.
    ///
    /// # Errors
    /// [`CryptoError::BadPublicValue`] when the value has a wrong length, is no member of the group (RFC 6989), or gives
    /// the all-zero secret (RFC 7748 §6.1).
    pub fn derive(&self, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        if peer_public.len() != self.group.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let private = match &self.key {
            Key::Modp(private) => return private.derive(peer_public).map(SharedSecret),
            Key::Curve(private) => private,
        };
        let mut point = Vec::with_capacity(peer_public.len() + 1);
        if self.group != Group::Curve25519 {
            point.push(UNCOMPRESSED);
        }
        point.extend_from_slice(peer_public);
        let peer = UnparsedPublicKey::new(private.algorithm(), &point);
        agree(private, peer, CryptoError::BadPublicValue, |secret| {
            if secret.iter().fold(0, |bits, octet| bits | octet) == 0 {
                return Err(CryptoError::BadPublicValue);
            }
            Ok(SharedSecret(Secret::new(secret.to_vec())))
        })
    }
}

fn curve(group: Group) -> Option<&'static Algorithm> {
    match group {
        Group::Modp2048 => None,
        Group::Ecp256 => Some(&ECDH_P256),
        Group::Ecp384 => Some(&ECDH_P384),
        Group::Ecp521 => Some(&ECDH_P521),
        Group::Curve25519 => Some(&X25519),
    }
}

fn generate_scalar(
    group: Group,
    algorithm: &'static Algorithm,
    random: &mut dyn Random,
) -> Result<PrivateKey, CryptoError> {
    let octets = match group {
        Group::Ecp384 => 48,
        Group::Ecp521 => 66,
        _ => 32,
    };
    let mut scalar = Zeroizing::new(vec![0; octets]);
    for _ in 0..MAX_SCALAR_TRIES {
        random.fill(&mut scalar)?;
        if group == Group::Ecp521
            && let Some(first) = scalar.first_mut()
        {
            *first &= 1;
        }
        // Zero or not below the order: draw again, so that every scalar is equally likely.
        if let Ok(key) = PrivateKey::from_private_key(algorithm, &scalar) {
            return Ok(key);
        }
    }
    Err(CryptoError::NoRandomness)
}
