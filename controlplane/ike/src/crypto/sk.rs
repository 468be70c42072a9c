//! Protection of the SK and SKF payloads: AES-CBC with HMAC-SHA2 (RFC 7296 §3.14), AES-GCM (RFC 5282) and
//! ChaCha20-Poly1305 (RFC 7634), which only its algorithm tells from the latter.
//!
//! The unit is a whole datagram whose tail is `IV | ciphertext | ICV`. One sealer or opener holds one direction's keys.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::prf::mac;
use super::{CryptoError, Random, Secret, same};
use crate::suite::{AEAD_SALT_LEN, Cipher, Integ};

const CBC_BLOCK: usize = 16;
const AEAD_IV_LEN: usize = 8;
const AEAD_NONCE_LEN: usize = 12;
const AEAD_TAG_LEN: usize = 16;

/// Seals what we send.
pub struct SkSealer(Seal);

enum Seal {
    Cbc { cipher: Box<EncryptingKey>, integ: Box<HmacIntegrity> },
    Aead { key: AeadKey, next_iv: u64 },
}

/// Opens what the peer sent.
pub struct SkOpener(Open);

enum Open {
    Cbc { cipher: Box<DecryptingKey>, integ: Box<HmacIntegrity> },
    Aead(AeadKey),
}

impl SkSealer {
    /// Takes SK_e and SK_a of our direction; SK_a is empty with an AEAD.
    ///
    /// # Errors
    /// [`CryptoError::BadKeyLength`] when keys do not fit the algorithms.
    pub fn new(
        cipher: Cipher,
        integ: Option<Integ>,
        sk_e: &Secret,
        sk_a: &Secret,
    ) -> Result<SkSealer, CryptoError> {
        Ok(SkSealer(match integ {
            None => Seal::Aead { key: AeadKey::new(cipher, sk_e)?, next_iv: 1 },
            Some(integ) => Seal::Cbc {
                cipher: Box::new(EncryptingKey::cbc(cbc_key(cipher, sk_e)?)?),
                integ: Box::new(HmacIntegrity::new(integ, sk_a)?),
            },
        }))
    }

    /// The next IV of an AEAD; `None` with AES-CBC. To be kept with an SA that outlives its process.
    pub fn next_iv(&self) -> Option<u64> {
        match &self.0 {
            Seal::Aead { next_iv, .. } => Some(*next_iv),
            Seal::Cbc { .. } => None,
        }
    }

    /// Moves the AEAD's IV forward, past all that may have been used; never back.
    pub fn skip_ivs_to(&mut self, iv: u64) {
        if let Seal::Aead { next_iv, .. } = &mut self.0 {
            *next_iv = iv.max(*next_iv);
        }
    }

    /// Octets of IV, ciphertext and ICV for `plaintext` octets.
    pub fn sealed_len(&self, plaintext: usize) -> usize {
        match &self.0 {
            Seal::Cbc { integ, .. } => {
                CBC_BLOCK + plaintext.saturating_add(1).next_multiple_of(CBC_BLOCK) + integ.icv_len
            }
            Seal::Aead { .. } => AEAD_IV_LEN + plaintext.saturating_add(1) + AEAD_TAG_LEN,
        }
    }

    /// The most plaintext octets whose sealed form fits `room` octets.
    pub fn largest_plaintext(&self, room: usize) -> Option<usize> {
        match &self.0 {
            Seal::Cbc { integ, .. } => {
                let blocks = room.checked_sub(CBC_BLOCK + integ.icv_len)? / CBC_BLOCK;
                (blocks * CBC_BLOCK).checked_sub(1)
            }
            Seal::Aead { .. } => room.checked_sub(AEAD_IV_LEN + AEAD_TAG_LEN + 1),
        }
    }

    /// Appends `IV | ciphertext | ICV` to `message`, which holds everything before, lengths included, and is covered
    /// by the ICV.
    ///
    /// # Errors
    /// When randomness or the library fails, or all IVs are used up.
    pub fn seal(
        &mut self,
        message: &mut Vec<u8>,
        plaintext: &[u8],
        random: &mut dyn Random,
    ) -> Result<(), CryptoError> {
        let header_len = message.len();
        match &mut self.0 {
            Seal::Cbc { cipher, integ } => {
                let mut iv = [0; CBC_BLOCK];
                random.fill(&mut iv)?;
                message.extend_from_slice(&iv);
                let body = message.len();
                message.extend_from_slice(plaintext);
                let pad_len = plaintext.len().saturating_add(1).next_multiple_of(CBC_BLOCK)
                    - plaintext.len().saturating_add(1);
                message.resize(message.len() + pad_len, 0);
                // Less than a block, so it fits the octet.
                message.push(pad_len as u8);
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                cipher.less_safe_encrypt(message.get_mut(body..).unwrap_or_default(), context)?;
                let icv = integ.icv(message);
                message.extend_from_slice(icv.as_ref().get(..integ.icv_len).unwrap_or_default());
            }
            Seal::Aead { key, next_iv } => {
                let iv = next_iv.to_be_bytes();
                *next_iv = next_iv.checked_add(1).ok_or(CryptoError::Library)?;
                message.extend_from_slice(&iv);
                let mut body = Vec::with_capacity(plaintext.len() + 1 + AEAD_TAG_LEN);
                body.extend_from_slice(plaintext);
                body.push(0);
                let aad = Aad::from(message.get(..header_len).unwrap_or_default());
                key.key.seal_in_place_append_tag(key.nonce(iv), aad, &mut body)?;
                message.extend_from_slice(&body);
            }
        }
        Ok(())
    }
}

impl SkOpener {
    /// Takes SK_e and SK_a of the peer's direction; SK_a is empty with an AEAD.
    ///
    /// # Errors
    /// [`CryptoError::BadKeyLength`] when keys do not fit the algorithms.
    pub fn new(
        cipher: Cipher,
        integ: Option<Integ>,
        sk_e: &Secret,
        sk_a: &Secret,
    ) -> Result<SkOpener, CryptoError> {
        Ok(SkOpener(match integ {
            None => Open::Aead(AeadKey::new(cipher, sk_e)?),
            Some(integ) => Open::Cbc {
                cipher: Box::new(DecryptingKey::cbc(cbc_key(cipher, sk_e)?)?),
                integ: Box::new(HmacIntegrity::new(integ, sk_a)?),
            },
        }))
    }

    /// Verifies the ICV of `message`, whose `IV | ciphertext | ICV` begin at `body_offset`, and returns the plaintext
    /// without padding.
    ///
    /// # Errors
    /// [`CryptoError::BadIntegrity`] when the ICV is wrong or there is no room for it; [`CryptoError::BadPadding`] when it
    /// is right, but the padding or the length is not.
    pub fn open(&self, message: &[u8], body_offset: usize) -> Result<Vec<u8>, CryptoError> {
        let mut plaintext = match &self.0 {
            Open::Cbc { cipher, integ } => {
                let icv_at = message.len().checked_sub(integ.icv_len).ok_or(CryptoError::BadIntegrity)?;
                let (covered, icv) = message.split_at_checked(icv_at).ok_or(CryptoError::BadIntegrity)?;
                let body = covered.get(body_offset..).ok_or(CryptoError::BadIntegrity)?;
                let expected = integ.icv(covered);
                if !same(expected.as_ref().get(..integ.icv_len).unwrap_or_default(), icv) {
                    return Err(CryptoError::BadIntegrity);
                }
                let (iv, ciphertext) =
                    body.split_first_chunk::<CBC_BLOCK>().ok_or(CryptoError::BadPadding)?;
                if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(CBC_BLOCK) {
                    return Err(CryptoError::BadPadding);
                }
                let mut body = ciphertext.to_vec();
                cipher.decrypt(&mut body, DecryptionContext::Iv128(FixedLength::from(*iv)))?;
                body
            }
            Open::Aead(key) => {
                let (header, body) =
                    message.split_at_checked(body_offset).ok_or(CryptoError::BadIntegrity)?;
                let (iv, sealed) =
                    body.split_first_chunk::<AEAD_IV_LEN>().ok_or(CryptoError::BadIntegrity)?;
                let mut body = sealed.to_vec();
                let opened = key
                    .key
                    .open_in_place(key.nonce(*iv), Aad::from(header), &mut body)
                    .map_err(|_| CryptoError::BadIntegrity)?
                    .len();
                body.truncate(opened);
                body
            }
        };
        let pad_len = usize::from(plaintext.pop().ok_or(CryptoError::BadPadding)?);
        let octets = plaintext.len().checked_sub(pad_len).ok_or(CryptoError::BadPadding)?;
        plaintext.truncate(octets);
        Ok(plaintext)
    }
}

struct HmacIntegrity {
    key: hmac::Key,
    icv_len: usize,
}

impl HmacIntegrity {
    fn new(integ: Integ, sk_a: &Secret) -> Result<HmacIntegrity, CryptoError> {
        if sk_a.len() != integ.key_len() {
            return Err(CryptoError::BadKeyLength);
        }
        let algorithm = match integ {
            Integ::HmacSha2_256_128 => hmac::HMAC_SHA256,
            Integ::HmacSha2_384_192 => hmac::HMAC_SHA384,
            Integ::HmacSha2_512_256 => hmac::HMAC_SHA512,
        };
        Ok(HmacIntegrity { key: hmac::Key::new(algorithm, sk_a.as_bytes()), icv_len: integ.icv_len() })
    }

    /// The whole tag; its first `icv_len` octets are the ICV.
    fn icv(&self, covered: &[u8]) -> hmac::Tag {
        mac(&self.key, &[covered])
    }
}

struct AeadKey {
    key: LessSafeKey,
    salt: [u8; AEAD_SALT_LEN],
}

impl AeadKey {
    fn new(cipher: Cipher, sk_e: &Secret) -> Result<AeadKey, CryptoError> {
        let algorithm = match cipher {
            Cipher::AesGcm16_128 => &AES_128_GCM,
            Cipher::AesGcm16_256 => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::AesCbc128 | Cipher::AesCbc192 | Cipher::AesCbc256 => {
                return Err(CryptoError::BadKeyLength);
            }
        };
        let (key, salt) =
            sk_e.as_bytes().split_last_chunk::<AEAD_SALT_LEN>().ok_or(CryptoError::BadKeyLength)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::BadKeyLength)?;
        Ok(AeadKey { key: LessSafeKey::new(key), salt: *salt })
    }

    fn nonce(&self, iv: [u8; AEAD_IV_LEN]) -> Nonce {
        let mut nonce = [0; AEAD_NONCE_LEN];
        for (place, octet) in nonce.iter_mut().zip(self.salt.into_iter().chain(iv)) {
            *place = octet;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

fn cbc_key(cipher: Cipher, sk_e: &Secret) -> Result<UnboundCipherKey, CryptoError> {
    let algorithm = match cipher {
        Cipher::AesCbc128 => &AES_128,
        Cipher::AesCbc192 => &AES_192,
        Cipher::AesCbc256 => &AES_256,
        Cipher::AesGcm16_128 | Cipher::AesGcm16_256 | Cipher::ChaCha20Poly1305 => {
            return Err(CryptoError::BadKeyLength);
        }
    };
    UnboundCipherKey::new(algorithm, sk_e.as_bytes()).map_err(|_| CryptoError::BadKeyLength)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SystemRandom;

    const ALGORITHMS: [(Cipher, Option<Integ>); 7] = [
        (Cipher::ChaCha20Poly1305, None),
        (Cipher::AesGcm16_128, None),
        (Cipher::AesGcm16_256, None),
        (Cipher::AesCbc128, Some(Integ::HmacSha2_256_128)),
        (Cipher::AesCbc192, Some(Integ::HmacSha2_384_192)),
        (Cipher::AesCbc256, Some(Integ::HmacSha2_512_256)),
        (Cipher::AesCbc256, Some(Integ::HmacSha2_256_128)),
    ];

    fn secret(octets: usize) -> Secret {
        Secret::new((0..octets).map(|value| value as u8).collect())
    }

    fn pair(cipher: Cipher, integ: Option<Integ>) -> (SkSealer, SkOpener) {
        let sk_e = secret(cipher.keymat_len());
        let sk_a = secret(integ.map_or(0, Integ::key_len));
        (
            SkSealer::new(cipher, integ, &sk_e, &sk_a).unwrap(),
            SkOpener::new(cipher, integ, &sk_e, &sk_a).unwrap(),
        )
    }

    #[test]
    fn what_is_sealed_opens_and_has_the_length_foretold() {
        for (cipher, integ) in ALGORITHMS {
            let (mut sealer, opener) = pair(cipher, integ);
            for octets in 0..70 {
                let plaintext = vec![0x5a; octets];
                let mut message = b"header".to_vec();
                sealer.seal(&mut message, &plaintext, &mut SystemRandom).unwrap();
                assert_eq!(message.len(), 6 + sealer.sealed_len(octets));
                assert_eq!(opener.open(&message, 6).unwrap(), plaintext);
            }
        }
    }

    #[test]
    fn the_largest_plaintext_fits_and_one_more_does_not() {
        for (cipher, integ) in ALGORITHMS {
            let (sealer, _) = pair(cipher, integ);
            for room in 0..200 {
                match sealer.largest_plaintext(room) {
                    Some(octets) => {
                        assert!(sealer.sealed_len(octets) <= room);
                        assert!(sealer.sealed_len(octets + 1) > room);
                    }
                    None => assert!(sealer.sealed_len(0) > room),
                }
            }
        }
    }

    #[test]
    fn short_messages_have_no_integrity() {
        for (cipher, integ) in ALGORITHMS {
            let (mut sealer, opener) = pair(cipher, integ);
            let mut message = b"header".to_vec();
            sealer.seal(&mut message, b"", &mut SystemRandom).unwrap();
            for octets in 0..message.len() {
                assert_eq!(opener.open(&message[..octets], 6).err(), Some(CryptoError::BadIntegrity));
            }
            assert_eq!(opener.open(&message, message.len() + 1).err(), Some(CryptoError::BadIntegrity));
        }
    }

    /// A peer that holds the keys, but pads more than there is or sends no whole block.
    #[test]
    fn authenticated_nonsense_is_the_peers_fault() {
        let sk_a = secret(32);
        let integ = HmacIntegrity::new(Integ::HmacSha2_256_128, &sk_a).unwrap();
        let (_, opener) = pair(Cipher::AesCbc128, Some(Integ::HmacSha2_256_128));
        let cipher = EncryptingKey::cbc(cbc_key(Cipher::AesCbc128, &secret(16)).unwrap()).unwrap();
        let mut padded = [0xff; 16];
        cipher.less_safe_encrypt(&mut padded, EncryptionContext::Iv128(FixedLength::from([0; 16]))).unwrap();
        for body in [[&[0; 16][..], &padded].concat(), vec![0; 16], vec![0; 24], vec![0; 7], vec![]] {
            let mut message = [b"header", body.as_slice()].concat();
            let icv = integ.icv(&message);
            message.extend_from_slice(&icv.as_ref()[..16]);
            assert_eq!(opener.open(&message, 6).err(), Some(CryptoError::BadPadding));
        }
    }

    #[test]
    fn an_aead_never_repeats_an_iv() {
        let (mut sealer, _) = pair(Cipher::AesGcm16_128, None);
        let mut ivs = std::collections::HashSet::new();
        for _ in 0..5 {
            let mut message = Vec::new();
            sealer.seal(&mut message, b"x", &mut SystemRandom).unwrap();
            assert!(ivs.insert(message[..AEAD_IV_LEN].to_vec()));
        }
        assert_eq!(sealer.next_iv(), Some(6));
        sealer.skip_ivs_to(3);
        assert_eq!(sealer.next_iv(), Some(6));
        sealer.skip_ivs_to(100);
        assert_eq!(sealer.next_iv(), Some(100));
        sealer.skip_ivs_to(u64::MAX);
        assert_eq!(sealer.seal(&mut Vec::new(), b"x", &mut SystemRandom), Err(CryptoError::Library));
    }

    /// RFC 7634 appendix B: an INFORMATIONAL request with SET_WINDOW_SIZE.
    #[test]
    fn the_example_of_the_rfc_opens() {
        const MESSAGE: [u8; 69] = [
            0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7,
            0x2e, 0x20, 0x25, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x45, 0x29, 0x00, 0x00, 0x29,
            0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x61, 0x03, 0x94, 0x70, 0x1f, 0x8d, 0x01, 0x7f,
            0x7c, 0x12, 0x92, 0x48, 0x89, 0x6b, 0x71, 0xbf, 0xe2, 0x52, 0x36, 0xef, 0xd7, 0xcd, 0xc6, 0x70,
            0x66, 0x90, 0x63, 0x15, 0xb2,
        ];
        let sk_e = Secret::new((0x80..=0x9f).chain(0xa0..=0xa3).collect());
        let opener = SkOpener::new(Cipher::ChaCha20Poly1305, None, &sk_e, &secret(0)).unwrap();
        assert_eq!(opener.open(&MESSAGE, 32).unwrap(), [0, 0, 0, 0x0c, 0, 0, 0x40, 0x01, 0, 0, 0, 0x0a]);
        let mut forged = MESSAGE;
        forged[31] ^= 1;
        assert_eq!(opener.open(&forged, 32).err(), Some(CryptoError::BadIntegrity));
    }

    #[test]
    fn keys_of_wrong_length_are_refused() {
        for (cipher, integ) in ALGORITHMS {
            let (e, a) = (cipher.keymat_len(), integ.map_or(0, Integ::key_len));
            for sk_e in [secret(0), secret(e - 1), secret(e + 1)] {
                assert!(SkSealer::new(cipher, integ, &sk_e, &secret(a)).is_err());
                assert!(SkOpener::new(cipher, integ, &sk_e, &secret(a)).is_err());
            }
            if a != 0 {
                assert!(SkSealer::new(cipher, integ, &secret(e), &secret(a - 1)).is_err());
                assert!(SkOpener::new(cipher, integ, &secret(e), &secret(a + 1)).is_err());
            }
        }
    }
}
