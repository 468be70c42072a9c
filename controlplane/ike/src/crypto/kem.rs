//! Key encapsulation for additional key exchanges (RFC 9370): ML-KEM (FIPS 203).
//!
//! The initiator makes a key pair and sends the encapsulation key; the responder encapsulates and sends the ciphertext. The
//! library draws its own randomness: it offers no other way to make keys or ciphertexts.

use aws_lc_rs::kem::{
    Algorithm, AlgorithmId, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768, ML_KEM_1024,
};

use super::{CryptoError, Secret, SharedSecret};
use crate::suite::Kem;

/// The initiator's key pair. Wiped by the library when dropped.
pub struct KemPrivate {
    kem: Kem,
    key: DecapsulationKey<AlgorithmId>,
}

impl KemPrivate {
    /// Makes a key pair; returns it with the encapsulation key for the KE payload.
    ///
    /// # Errors
    /// When the library fails.
    pub fn generate(kem: Kem) -> Result<(Vec<u8>, KemPrivate), CryptoError> {
        let key = DecapsulationKey::generate(algorithm(kem))?;
        let public = key.encapsulation_key()?.key_bytes()?.as_ref().to_vec();
        Ok((public, KemPrivate { kem, key }))
    }

    /// The secret in the responder's ciphertext. A ciphertext that was made for another key gives another secret, as FIPS 203
    /// wants it: the next message does not open then.
    ///
    /// # Errors
    /// [`CryptoError::BadPublicValue`] when its length is wrong.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, CryptoError> {
        if ciphertext.len() != self.kem.ciphertext_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let secret = self.key.decapsulate(Ciphertext::from(ciphertext));
        Ok(shared(secret.map_err(|_| CryptoError::BadPublicValue)?.as_ref()))
    }
}

/// Answers an initiator's encapsulation key: the ciphertext for the KE payload, and the secret in it.
///
/// # Errors
/// [`CryptoError::BadPublicValue`] when the key has a wrong length or is none (FIPS 203 §7.2).
pub fn encapsulate(kem: Kem, peer_key: &[u8]) -> Result<(Vec<u8>, SharedSecret), CryptoError> {
    if peer_key.len() != kem.key_len() {
        return Err(CryptoError::BadPublicValue);
    }
    let key = EncapsulationKey::new(algorithm(kem), peer_key).map_err(|_| CryptoError::BadPublicValue)?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| CryptoError::BadPublicValue)?;
    Ok((ciphertext.as_ref().to_vec(), shared(secret.as_ref())))
}

fn shared(octets: &[u8]) -> SharedSecret {
    SharedSecret::new(Secret::new(octets.to_vec()))
}

fn algorithm(kem: Kem) -> &'static Algorithm<AlgorithmId> {
    match kem {
        Kem::MlKem768 => &ML_KEM_768,
        Kem::MlKem1024 => &ML_KEM_1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_secret() {
        for kem in Kem::ALL {
            let (public, private) = KemPrivate::generate(kem).unwrap();
            assert_eq!(public.len(), kem.key_len());
            let (ciphertext, ours) = encapsulate(kem, &public).unwrap();
            assert_eq!(ciphertext.len(), kem.ciphertext_len());
            assert_eq!(ours.as_bytes(), private.decapsulate(&ciphertext).unwrap().as_bytes());
            assert_eq!(ours.as_bytes().len(), 32);
            let (_, others) = encapsulate(kem, &public).unwrap();
            assert_ne!(ours.as_bytes(), others.as_bytes());
        }
    }

    #[test]
    fn what_is_no_key_or_ciphertext_is_refused() {
        for kem in Kem::ALL {
            let (public, private) = KemPrivate::generate(kem).unwrap();
            // Coefficients above the modulus: FIPS 203 §7.2 has the encapsulating side look.
            let mut excessive = public.clone();
            excessive[..3].copy_from_slice(&[0xff; 3]);
            for bad in [&[][..], &public[1..], &[&public[..], &[0]].concat(), &excessive] {
                assert_eq!(
                    encapsulate(kem, bad).err(),
                    Some(CryptoError::BadPublicValue),
                    "{kem:?} {}",
                    bad.len()
                );
            }
            let (ciphertext, ours) = encapsulate(kem, &public).unwrap();
            for bad in [&[][..], &ciphertext[1..], &[&ciphertext[..], &[0]].concat()] {
                assert_eq!(private.decapsulate(bad).err(), Some(CryptoError::BadPublicValue));
            }
            let mut damaged = ciphertext;
            damaged[0] ^= 1;
            assert_ne!(private.decapsulate(&damaged).unwrap().as_bytes(), ours.as_bytes());
        }
    }
}
