//! The engine for any processor: aws-lc-rs for every suite. AES-GCM and ChaCha20-Poly1305 in place; AES-CBC in place with
//! HMAC verified first.
//!
//! A CBC IV must be unpredictable (RFC 3602 §3): it is the packet's sequence number encrypted under a random key that
//! only this SA has, which gives unique IVs that nobody can foresee, without a random number per packet. An AEAD's IV
//! must be unique (RFC 4106 §3.1, RFC 7634 §2): it is the 64-bit sequence number.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use causeway_shared::sa::{EspKeys, EspSuite, SALT_LEN};
use zeroize::Zeroizing;

use super::{ESP_HEADER_LEN, EspEngine, OpenJob, SealJob, SetupError};

const AEAD_IV_LEN: usize = 8;
const AEAD_ICV_LEN: usize = 16;
const CBC_IV_LEN: usize = 16;
/// Octets of the key that encrypts sequence numbers into CBC IVs.
const IV_KEY_LEN: usize = 16;

/// The engine; it has no state of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLc;

/// Key of an inbound SA.
pub enum AwsLcInboundKey {
    /// AES-GCM or ChaCha20-Poly1305.
    Aead(Box<AeadKey>),
    /// AES-CBC with HMAC.
    Cbc(Box<CbcInboundKey>),
}

/// Key of an outbound SA.
pub enum AwsLcOutboundKey {
    /// AES-GCM or ChaCha20-Poly1305.
    Aead(Box<AeadKey>),
    /// AES-CBC with HMAC.
    Cbc(Box<CbcOutboundKey>),
}

/// AES-GCM or ChaCha20-Poly1305, either direction.
pub struct AeadKey {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
    esn: bool,
}

/// AES-CBC + HMAC, inbound.
pub struct CbcInboundKey {
    cipher: DecryptingKey,
    integrity: Integrity,
}

/// AES-CBC + HMAC, outbound.
pub struct CbcOutboundKey {
    cipher: EncryptingKey,
    iv_cipher: EncryptingKey,
    integrity: Integrity,
}

struct Integrity {
    key: hmac::Key,
    icv_len: usize,
    esn: bool,
}

impl EspEngine for AwsLc {
    type InboundKey = AwsLcInboundKey;
    type OutboundKey = AwsLcOutboundKey;

    fn setup_inbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<AwsLcInboundKey, SetupError> {
        if suite.is_aead() {
            return Ok(AwsLcInboundKey::Aead(Box::new(AeadKey::new(suite, esn, keys)?)));
        }
        let cipher = DecryptingKey::cbc(cipher_key(suite, keys)?).map_err(|_| SetupError(suite))?;
        Ok(AwsLcInboundKey::Cbc(Box::new(CbcInboundKey {
            cipher,
            integrity: Integrity::new(suite, esn, keys)?,
        })))
    }

    fn setup_outbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<AwsLcOutboundKey, SetupError> {
        if suite.is_aead() {
            return Ok(AwsLcOutboundKey::Aead(Box::new(AeadKey::new(suite, esn, keys)?)));
        }
        let refused = |_| SetupError(suite);
        let cipher = EncryptingKey::cbc(cipher_key(suite, keys)?).map_err(refused)?;
        let mut iv_key = Zeroizing::new([0; IV_KEY_LEN]);
        rand::fill(iv_key.as_mut_slice()).map_err(refused)?;
        let iv_key = UnboundCipherKey::new(&AES_128, iv_key.as_slice()).map_err(refused)?;
        let iv_cipher = EncryptingKey::ecb(iv_key).map_err(refused)?;
        let integrity = Integrity::new(suite, esn, keys)?;
        Ok(AwsLcOutboundKey::Cbc(Box::new(CbcOutboundKey { cipher, iv_cipher, integrity })))
    }

    fn open_burst(&mut self, jobs: &mut [OpenJob<'_, AwsLcInboundKey>]) {
        for job in jobs {
            job.opened = job.key.open(job.packet, job.sequence).is_some();
        }
    }

    fn seal_burst(&mut self, jobs: &mut [SealJob<'_, AwsLcOutboundKey>]) {
        for job in jobs {
            job.sealed = job.key.seal(job.packet, job.sequence).is_some();
        }
    }
}

impl AwsLcInboundKey {
    pub(super) fn open(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        match self {
            AwsLcInboundKey::Aead(key) => key.open(packet, sequence),
            AwsLcInboundKey::Cbc(key) => key.open(packet, sequence),
        }
    }
}

impl AwsLcOutboundKey {
    pub(super) fn seal(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        match self {
            AwsLcOutboundKey::Aead(key) => key.seal(packet, sequence),
            AwsLcOutboundKey::Cbc(key) => key.seal(packet, sequence),
        }
    }
}

impl AeadKey {
    pub(super) fn new(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<AeadKey, SetupError> {
        let algorithm = match suite {
            EspSuite::Aes128Gcm16 => &AES_128_GCM,
            EspSuite::Aes256Gcm16 => &AES_256_GCM,
            EspSuite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            _ => return Err(SetupError(suite)),
        };
        let octets = keys.cipher.get(..suite.cipher_key_len()).ok_or(SetupError(suite))?;
        let key = UnboundKey::new(algorithm, octets).map_err(|_| SetupError(suite))?;
        Ok(AeadKey { key: LessSafeKey::new(key), salt: keys.salt, esn })
    }

    pub(super) fn open(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let (header, rest) = packet.split_first_chunk_mut::<ESP_HEADER_LEN>()?;
        let (iv, sealed) = rest.split_first_chunk_mut::<AEAD_IV_LEN>()?;
        let aad = self.aad(*header, sequence);
        self.key.open_in_place(self.nonce(*iv), aad, sealed).ok().map(|_| ())
    }

    pub(super) fn seal(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let (header, rest) = packet.split_first_chunk_mut::<ESP_HEADER_LEN>()?;
        let (iv, rest) = rest.split_first_chunk_mut::<AEAD_IV_LEN>()?;
        let (plaintext, icv) = rest.split_last_chunk_mut::<AEAD_ICV_LEN>()?;
        *iv = sequence.to_be_bytes();
        let aad = self.aad(*header, sequence);
        let tag = self.key.seal_in_place_separate_tag(self.nonce(*iv), aad, plaintext).ok()?;
        *icv = tag.as_ref().try_into().ok()?;
        Some(())
    }

    /// RFC 4106 §4, RFC 7634 §2: the salt, then the IV.
    fn nonce(&self, iv: [u8; AEAD_IV_LEN]) -> Nonce {
        let [s0, s1, s2, s3] = self.salt;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = iv;
        Nonce::assume_unique_for_key([s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, i6, i7])
    }

    /// RFC 4106 §5, RFC 7634 §2.1: SPI and sequence number, with ESN all 64 bits of it.
    fn aad(&self, header: [u8; ESP_HEADER_LEN], sequence: u64) -> Aad<AadOctets> {
        let [p0, p1, p2, p3, l0, l1, l2, l3] = header;
        let [h0, h1, h2, h3, ..] = sequence.to_be_bytes();
        Aad::from(if self.esn {
            AadOctets { octets: [p0, p1, p2, p3, h0, h1, h2, h3, l0, l1, l2, l3], len: 12 }
        } else {
            AadOctets { octets: [p0, p1, p2, p3, l0, l1, l2, l3, 0, 0, 0, 0], len: 8 }
        })
    }
}

struct AadOctets {
    octets: [u8; 12],
    len: usize,
}

impl AsRef<[u8]> for AadOctets {
    fn as_ref(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&self.octets)
    }
}

impl CbcInboundKey {
    fn open(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let (covered, icv) =
            packet.split_at_mut_checked(packet.len().checked_sub(self.integrity.icv_len)?)?;
        let tag = self.integrity.tag(covered, sequence);
        verify_slices_are_equal(tag.as_ref().get(..self.integrity.icv_len)?, icv).ok()?;
        let (iv, ciphertext) = covered.get_mut(ESP_HEADER_LEN..)?.split_first_chunk_mut::<CBC_IV_LEN>()?;
        let context = DecryptionContext::Iv128((&*iv).into());
        self.cipher.decrypt(ciphertext, context).ok().map(|_| ())
    }
}

impl CbcOutboundKey {
    fn seal(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let (covered, icv) =
            packet.split_at_mut_checked(packet.len().checked_sub(self.integrity.icv_len)?)?;
        let (iv, plaintext) = covered.get_mut(ESP_HEADER_LEN..)?.split_first_chunk_mut::<CBC_IV_LEN>()?;
        *iv = [0; CBC_IV_LEN];
        iv.last_chunk_mut::<8>()?.copy_from_slice(&sequence.to_be_bytes());
        self.iv_cipher.less_safe_encrypt(iv, EncryptionContext::None).ok()?;
        self.cipher.less_safe_encrypt(plaintext, EncryptionContext::Iv128((&*iv).into())).ok()?;
        let tag = self.integrity.tag(covered, sequence);
        icv.copy_from_slice(tag.as_ref().get(..self.integrity.icv_len)?);
        Some(())
    }
}

impl Integrity {
    fn new(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<Integrity, SetupError> {
        let octets = keys.integrity.get(..suite.integrity_key_len()).ok_or(SetupError(suite))?;
        let algorithm = match suite.integrity_key_len() {
            32 => hmac::HMAC_SHA256,
            48 => hmac::HMAC_SHA384,
            64 => hmac::HMAC_SHA512,
            _ => return Err(SetupError(suite)),
        };
        Ok(Integrity { key: hmac::Key::new(algorithm, octets), icv_len: suite.icv_len(), esn })
    }

    /// RFC 4303 §3.3.2.1: over the packet without its ICV; with ESN the upper 32 bits follow, untransmitted.
    fn tag(&self, covered: &[u8], sequence: u64) -> hmac::Tag {
        if !self.esn {
            return hmac::sign(&self.key, covered);
        }
        let mut context = hmac::Context::with_key(&self.key);
        context.update(covered);
        context.update(&((sequence >> 32) as u32).to_be_bytes());
        context.sign()
    }
}

fn cipher_key(suite: EspSuite, keys: &EspKeys) -> Result<UnboundCipherKey, SetupError> {
    let algorithm = match suite.cipher_key_len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    let octets = keys.cipher.get(..suite.cipher_key_len()).ok_or(SetupError(suite))?;
    UnboundCipherKey::new(algorithm, octets).map_err(|_| SetupError(suite))
}
