//! The engine of last resort: RustCrypto for every suite, for a processor or build that aws-lc-rs fails on.
//!
//! A CBC IV is the sequence number, beside a random number of the installation, encrypted under the packet's own key (NIST
//! SP 800-38A appendix C): unique and unforeseeable without a random number per packet.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, Nonce, Tag};
use causeway_shared::sa::{EspKeys, EspSuite, SALT_LEN};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};

use super::{ESP_HEADER_LEN, EspEngine, OpenJob, SealJob, SetupError};

const AEAD_IV_LEN: usize = 8;
const AEAD_ICV_LEN: usize = 16;
const CBC_IV_LEN: usize = 16;

/// The engine; it has no state of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

/// A key of either direction.
pub struct PortableKey {
    keyed: Keyed,
    salt: [u8; SALT_LEN],
    esn: bool,
}

enum Keyed {
    Gcm128(Aes128Gcm),
    Gcm256(Aes256Gcm),
    ChaCha(Box<ChaCha20Poly1305>),
    Cbc(Box<Cbc>),
}

struct Cbc {
    cipher: Cipher,
    integrity: Integrity,
    icv_len: usize,
    iv_salt: [u8; 8],
}

enum Cipher {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

enum Integrity {
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl EspEngine for Portable {
    type InboundKey = Box<PortableKey>;
    type OutboundKey = Box<PortableKey>;

    fn setup_inbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<Box<PortableKey>, SetupError> {
        PortableKey::new(suite, esn, keys).map(Box::new).ok_or(SetupError(suite))
    }

    fn setup_outbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<Box<PortableKey>, SetupError> {
        Self::setup_inbound(suite, esn, keys)
    }

    fn open_burst(&mut self, jobs: &mut [OpenJob<'_, Box<PortableKey>>]) {
        for job in jobs {
            job.opened = job.key.open(job.packet, job.sequence).is_some();
        }
    }

    fn seal_burst(&mut self, jobs: &mut [SealJob<'_, Box<PortableKey>>]) {
        for job in jobs {
            job.sealed = job.key.seal(job.packet, job.sequence).is_some();
        }
    }
}

impl PortableKey {
    fn new(suite: EspSuite, esn: bool, keys: &EspKeys) -> Option<PortableKey> {
        let cipher = keys.cipher.get(..suite.cipher_key_len())?;
        let keyed = match suite {
            EspSuite::Aes128Gcm16 => Keyed::Gcm128(Aes128Gcm::new_from_slice(cipher).ok()?),
            EspSuite::Aes256Gcm16 => Keyed::Gcm256(Aes256Gcm::new_from_slice(cipher).ok()?),
            EspSuite::ChaCha20Poly1305 => {
                Keyed::ChaCha(Box::new(ChaCha20Poly1305::new_from_slice(cipher).ok()?))
            }
            _ => {
                let integrity = keys.integrity.get(..suite.integrity_key_len())?;
                let mut iv_salt = [0; 8];
                aws_lc_rs::rand::fill(&mut iv_salt).ok()?;
                let (cipher, integrity) = (Cipher::new(cipher)?, Integrity::new(integrity)?);
                Keyed::Cbc(Box::new(Cbc { cipher, integrity, icv_len: suite.icv_len(), iv_salt }))
            }
        };
        Some(PortableKey { keyed, salt: keys.salt, esn })
    }

    pub(super) fn open(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let Keyed::Cbc(key) = &self.keyed else {
            return self.open_aead(packet, sequence);
        };
        let (covered, icv) = packet.split_at_mut_checked(packet.len().checked_sub(key.icv_len)?)?;
        key.integrity.verify(covered, self.upper(sequence).as_slice(), icv)?;
        let (iv, text) = covered.get_mut(ESP_HEADER_LEN..)?.split_first_chunk_mut::<CBC_IV_LEN>()?;
        key.cipher.decrypt(*iv, text)
    }

    pub(super) fn seal(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let Keyed::Cbc(key) = &self.keyed else {
            return self.seal_aead(packet, sequence);
        };
        let (covered, icv) = packet.split_at_mut_checked(packet.len().checked_sub(key.icv_len)?)?;
        let (iv, text) = covered.get_mut(ESP_HEADER_LEN..)?.split_first_chunk_mut::<CBC_IV_LEN>()?;
        let nonce = u128::from(u64::from_ne_bytes(key.iv_salt)) << 64 | u128::from(sequence);
        *iv = key.cipher.forward(nonce.to_be_bytes());
        key.cipher.encrypt(*iv, text)?;
        key.integrity.write(covered, self.upper(sequence).as_slice(), icv)
    }

    fn open_aead(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let (header, rest) = packet.split_first_chunk_mut::<ESP_HEADER_LEN>()?;
        let (iv, rest) = rest.split_first_chunk_mut::<AEAD_IV_LEN>()?;
        let (text, icv) = rest.split_last_chunk_mut::<AEAD_ICV_LEN>()?;
        let (nonce, (aad, aad_len)) = (self.nonce(*iv), self.aad(*header, sequence));
        let (aad, tag) = (aad.get(..aad_len)?, Tag::from(*icv));
        match &self.keyed {
            Keyed::Gcm128(key) => key.decrypt_inout_detached(&nonce, aad, text.into(), &tag).ok(),
            Keyed::Gcm256(key) => key.decrypt_inout_detached(&nonce, aad, text.into(), &tag).ok(),
            Keyed::ChaCha(key) => key.decrypt_inout_detached(&nonce, aad, text.into(), &tag).ok(),
            Keyed::Cbc(_) => None,
        }
    }

    fn seal_aead(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        let (header, rest) = packet.split_first_chunk_mut::<ESP_HEADER_LEN>()?;
        let (iv, rest) = rest.split_first_chunk_mut::<AEAD_IV_LEN>()?;
        let (text, icv) = rest.split_last_chunk_mut::<AEAD_ICV_LEN>()?;
        *iv = sequence.to_be_bytes();
        let (nonce, (aad, aad_len)) = (self.nonce(*iv), self.aad(*header, sequence));
        let aad = aad.get(..aad_len)?;
        let tag = match &self.keyed {
            Keyed::Gcm128(key) => key.encrypt_inout_detached(&nonce, aad, text.into()).ok()?,
            Keyed::Gcm256(key) => key.encrypt_inout_detached(&nonce, aad, text.into()).ok()?,
            Keyed::ChaCha(key) => key.encrypt_inout_detached(&nonce, aad, text.into()).ok()?,
            Keyed::Cbc(_) => return None,
        };
        *icv = tag.into();
        Some(())
    }

    /// RFC 4106 §4: the salt, then the IV.
    fn nonce(&self, iv: [u8; AEAD_IV_LEN]) -> Nonce<aes_gcm::aead::consts::U12> {
        let [s0, s1, s2, s3] = self.salt;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = iv;
        [s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, i6, i7].into()
    }

    /// RFC 4106 §5: SPI and sequence number, with ESN all 64 bits of it; and how many octets of this they are.
    fn aad(&self, header: [u8; ESP_HEADER_LEN], sequence: u64) -> ([u8; 12], usize) {
        let [p0, p1, p2, p3, l0, l1, l2, l3] = header;
        let [h0, h1, h2, h3, ..] = sequence.to_be_bytes();
        if self.esn {
            ([p0, p1, p2, p3, h0, h1, h2, h3, l0, l1, l2, l3], 12)
        } else {
            ([p0, p1, p2, p3, l0, l1, l2, l3, 0, 0, 0, 0], 8)
        }
    }

    /// RFC 4303 §3.3.2.1: with ESN the upper 32 bits are authenticated behind the packet.
    fn upper(&self, sequence: u64) -> Upper {
        Upper { octets: ((sequence >> 32) as u32).to_be_bytes(), there: self.esn }
    }
}

struct Upper {
    octets: [u8; 4],
    there: bool,
}

impl Upper {
    fn as_slice(&self) -> &[u8] {
        if self.there { &self.octets } else { &[] }
    }
}

impl Cipher {
    fn new(key: &[u8]) -> Option<Cipher> {
        Some(match key.len() {
            16 => Cipher::Aes128(Aes128::new_from_slice(key).ok()?),
            24 => Cipher::Aes192(Aes192::new_from_slice(key).ok()?),
            _ => Cipher::Aes256(Aes256::new_from_slice(key).ok()?),
        })
    }

    fn forward(&self, block: [u8; CBC_IV_LEN]) -> [u8; CBC_IV_LEN] {
        let mut block = Block::from(block);
        match self {
            Cipher::Aes128(key) => key.encrypt_block(&mut block),
            Cipher::Aes192(key) => key.encrypt_block(&mut block),
            Cipher::Aes256(key) => key.encrypt_block(&mut block),
        }
        block.into()
    }

    fn encrypt(&self, iv: [u8; CBC_IV_LEN], text: &mut [u8]) -> Option<()> {
        fn run<E: BlockModeEncrypt>(mode: E, text: &mut [u8]) -> Option<()> {
            let len = text.len();
            mode.encrypt_padded::<NoPadding>(text, len).ok().map(|_| ())
        }
        match self {
            Cipher::Aes128(key) => run(cbc::Encryptor::inner_iv_init(key.clone(), &iv.into()), text),
            Cipher::Aes192(key) => run(cbc::Encryptor::inner_iv_init(key.clone(), &iv.into()), text),
            Cipher::Aes256(key) => run(cbc::Encryptor::inner_iv_init(key.clone(), &iv.into()), text),
        }
    }

    fn decrypt(&self, iv: [u8; CBC_IV_LEN], text: &mut [u8]) -> Option<()> {
        fn run<D: BlockModeDecrypt>(mode: D, text: &mut [u8]) -> Option<()> {
            mode.decrypt_padded::<NoPadding>(text).ok().map(|_| ())
        }
        match self {
            Cipher::Aes128(key) => run(cbc::Decryptor::inner_iv_init(key.clone(), &iv.into()), text),
            Cipher::Aes192(key) => run(cbc::Decryptor::inner_iv_init(key.clone(), &iv.into()), text),
            Cipher::Aes256(key) => run(cbc::Decryptor::inner_iv_init(key.clone(), &iv.into()), text),
        }
    }
}

impl Integrity {
    fn new(key: &[u8]) -> Option<Integrity> {
        Some(match key.len() {
            32 => Integrity::Sha256(Hmac::new_from_slice(key).ok()?),
            48 => Integrity::Sha384(Hmac::new_from_slice(key).ok()?),
            64 => Integrity::Sha512(Hmac::new_from_slice(key).ok()?),
            _ => return None,
        })
    }

    fn write(&self, covered: &[u8], upper: &[u8], icv: &mut [u8]) -> Option<()> {
        fn run<M: Mac + Clone>(mac: &M, parts: [&[u8]; 2], icv: &mut [u8]) -> Option<()> {
            let tag = mac.clone().chain_update(parts[0]).chain_update(parts[1]).finalize().into_bytes();
            icv.copy_from_slice(tag.get(..icv.len())?);
            Some(())
        }
        match self {
            Integrity::Sha256(mac) => run(mac, [covered, upper], icv),
            Integrity::Sha384(mac) => run(mac, [covered, upper], icv),
            Integrity::Sha512(mac) => run(mac, [covered, upper], icv),
        }
    }

    fn verify(&self, covered: &[u8], upper: &[u8], icv: &[u8]) -> Option<()> {
        fn run<M: Mac + Clone>(mac: &M, parts: [&[u8]; 2], icv: &[u8]) -> Option<()> {
            mac.clone().chain_update(parts[0]).chain_update(parts[1]).verify_truncated_left(icv).ok()
        }
        match self {
            Integrity::Sha256(mac) => run(mac, [covered, upper], icv),
            Integrity::Sha384(mac) => run(mac, [covered, upper], icv),
            Integrity::Sha512(mac) => run(mac, [covered, upper], icv),
        }
    }
}
