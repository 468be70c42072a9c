//! Two libraries' AES-GCM in ESP's frame (RFC 4106), and packets from one seed.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use causeway_kernels::gcm::GcmKey;

/// SPI, sequence number and IV.
pub const HEAD_LEN: usize = 16;
pub const ICV_LEN: usize = 16;

/// One SA.
pub struct Sa {
    pub raw: Vec<u8>,
    pub salt: [u8; 4],
    pub esn: bool,
    pub key: GcmKey,
}

impl Sa {
    pub fn new(raw: &[u8], salt: [u8; 4], esn: bool) -> Sa {
        Sa { raw: raw.to_vec(), salt, esn, key: GcmKey::new(raw, salt, esn).unwrap() }
    }

    pub fn random(random: &mut Random, key_len: usize, esn: bool) -> Sa {
        let raw = random.octets(key_len);
        Sa::new(&raw, random.octets(4).try_into().unwrap(), esn)
    }

    /// The packet that `sequence` and `text` make, by aws-lc-rs.
    pub fn sealed_by_aws_lc(&self, spi: u32, sequence: u64, text: &[u8]) -> Vec<u8> {
        let algorithm = if self.raw.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &self.raw).unwrap());
        let nonce = Nonce::assume_unique_for_key(self.nonce(sequence));
        let mut sealed = text.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(self.aad(spi, sequence)), &mut sealed).unwrap();
        [head(spi, sequence).as_slice(), &sealed].concat()
    }

    /// The same by RustCrypto.
    pub fn sealed_by_rust_crypto(&self, spi: u32, sequence: u64, text: &[u8]) -> Vec<u8> {
        let (nonce, aad) = (self.nonce(sequence).into(), self.aad(spi, sequence));
        let mut sealed = text.to_vec();
        let tag = if self.raw.len() == 16 {
            let key = Aes128Gcm::new_from_slice(&self.raw).unwrap();
            key.encrypt_inout_detached(&nonce, &aad, sealed.as_mut_slice().into()).unwrap()
        } else {
            let key = Aes256Gcm::new_from_slice(&self.raw).unwrap();
            key.encrypt_inout_detached(&nonce, &aad, sealed.as_mut_slice().into()).unwrap()
        };
        [head(spi, sequence).as_slice(), &sealed, &tag].concat()
    }

    fn nonce(&self, sequence: u64) -> [u8; 12] {
        [self.salt.as_slice(), &sequence.to_be_bytes()].concat().try_into().unwrap()
    }

    fn aad(&self, spi: u32, sequence: u64) -> Vec<u8> {
        let number = sequence.to_be_bytes();
        let number = if self.esn { &number[..] } else { &number[4..] };
        [&spi.to_be_bytes(), number].concat()
    }
}

/// SPI, lower sequence number, IV.
pub fn head(spi: u32, sequence: u64) -> [u8; HEAD_LEN] {
    let parts = [&spi.to_be_bytes()[..], &(sequence as u32).to_be_bytes(), &sequence.to_be_bytes()];
    parts.concat().try_into().unwrap()
}

/// A packet to seal: IV and ICV still hold rubbish.
pub fn unsealed(spi: u32, sequence: u64, text: &[u8]) -> Vec<u8> {
    let number = (sequence as u32).to_be_bytes();
    [&spi.to_be_bytes()[..], &number, &[0xA5; 8], text, &[0x5A; ICV_LEN]].concat()
}

/// Octets from a seed (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
