//! ESP with AES-CBC and HMAC-SHA2 by two libraries, one packet at a time: what the kernels are compared with.
//!
//! Enters: raw keys and a packet. Leaves: the packet as RFC 3602 and RFC 4868 want it, or the verdict on it.

use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::cipher::{
    DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use causeway_kernels::cbc::{CbcKey, Hash};
use hmac::Mac;

pub const CIPHER_KEY_LENS: [usize; 3] = [16, 24, 32];
pub const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

/// The raw material of one SA.
pub struct Sa {
    pub cipher: Vec<u8>,
    pub integrity: Vec<u8>,
    pub hash: Hash,
    pub esn: bool,
}

impl Sa {
    pub fn key(&self) -> CbcKey {
        CbcKey::new(&self.cipher, self.hash, &self.integrity, self.esn).unwrap()
    }

    /// What the ICV covers, the ESN's upper half included.
    fn covered(&self, packet: &[u8], sequence: u64) -> Vec<u8> {
        let mut covered = packet[..packet.len() - self.hash.icv_len()].to_vec();
        if self.esn {
            covered.extend(((sequence >> 32) as u32).to_be_bytes());
        }
        covered
    }

    /// Seals with aws-lc.
    pub fn seal_aws_lc(&self, packet: &mut [u8], sequence: u64) {
        let iv = self.iv_aws_lc(sequence);
        packet[8..24].copy_from_slice(&iv);
        let end = packet.len() - self.hash.icv_len();
        let key = EncryptingKey::cbc(self.aws_lc_key()).unwrap();
        key.less_safe_encrypt(&mut packet[24..end], EncryptionContext::Iv128((&iv).into())).unwrap();
        let icv = self.icv_aws_lc(packet, sequence);
        packet[end..].copy_from_slice(&icv);
    }

    /// Opens with aws-lc.
    pub fn open_aws_lc(&self, packet: &mut [u8], sequence: u64) -> bool {
        let end = packet.len() - self.hash.icv_len();
        if self.icv_aws_lc(packet, sequence) != packet[end..] {
            return false;
        }
        let iv: [u8; 16] = packet[8..24].try_into().unwrap();
        let key = DecryptingKey::cbc(self.aws_lc_key()).unwrap();
        key.decrypt(&mut packet[24..end], DecryptionContext::Iv128((&iv).into())).unwrap();
        true
    }

    fn aws_lc_key(&self) -> UnboundCipherKey {
        let algorithm = match self.cipher.len() {
            16 => &aws_lc_rs::cipher::AES_128,
            24 => &aws_lc_rs::cipher::AES_192,
            _ => &aws_lc_rs::cipher::AES_256,
        };
        UnboundCipherKey::new(algorithm, &self.cipher).unwrap()
    }

    fn iv_aws_lc(&self, sequence: u64) -> [u8; 16] {
        let mut iv = u128::from(sequence).to_be_bytes();
        let key = EncryptingKey::ecb(self.aws_lc_key()).unwrap();
        key.less_safe_encrypt(&mut iv, EncryptionContext::None).unwrap();
        iv
    }

    fn icv_aws_lc(&self, packet: &[u8], sequence: u64) -> Vec<u8> {
        let algorithm = match self.hash {
            Hash::Sha256 => aws_lc_rs::hmac::HMAC_SHA256,
            Hash::Sha384 => aws_lc_rs::hmac::HMAC_SHA384,
            Hash::Sha512 => aws_lc_rs::hmac::HMAC_SHA512,
        };
        let key = aws_lc_rs::hmac::Key::new(algorithm, &self.integrity);
        let tag = aws_lc_rs::hmac::sign(&key, &self.covered(packet, sequence));
        tag.as_ref()[..self.hash.icv_len()].to_vec()
    }

    /// Seals with RustCrypto.
    pub fn seal_rust_crypto(&self, packet: &mut [u8], sequence: u64) {
        let end = packet.len() - self.hash.icv_len();
        let iv = u128::from(sequence).to_be_bytes();
        packet[8..24].copy_from_slice(&iv);
        fn chain<C: KeyInit + BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>>(
            key: &[u8],
            text: &mut [u8],
        ) {
            let cipher = C::new_from_slice(key).unwrap();
            let mut chain = cbc::Encryptor::inner_iv_init(cipher, &[0; 16].into());
            for block in text.chunks_exact_mut(16) {
                chain.encrypt_block(block.try_into().unwrap());
            }
        }
        let text = &mut packet[8..end];
        match self.cipher.len() {
            16 => chain::<Aes128>(&self.cipher, text),
            24 => chain::<Aes192>(&self.cipher, text),
            _ => chain::<Aes256>(&self.cipher, text),
        }
        let icv = self.icv_rust_crypto(packet, sequence);
        packet[end..].copy_from_slice(&icv);
    }

    /// Opens with RustCrypto.
    pub fn open_rust_crypto(&self, packet: &mut [u8], sequence: u64) -> bool {
        let end = packet.len() - self.hash.icv_len();
        if self.icv_rust_crypto(packet, sequence) != packet[end..] {
            return false;
        }
        let iv: [u8; 16] = packet[8..24].try_into().unwrap();
        let text = &mut packet[24..end];
        fn chain<C>(key: &[u8], iv: [u8; 16], text: &mut [u8])
        where
            C: KeyInit + aes::cipher::BlockCipherDecrypt<BlockSize = aes::cipher::consts::U16>,
        {
            let mut chain = cbc::Decryptor::inner_iv_init(C::new_from_slice(key).unwrap(), &iv.into());
            for block in text.chunks_exact_mut(16) {
                chain.decrypt_block(block.try_into().unwrap());
            }
        }
        match self.cipher.len() {
            16 => chain::<Aes128>(&self.cipher, iv, text),
            24 => chain::<Aes192>(&self.cipher, iv, text),
            _ => chain::<Aes256>(&self.cipher, iv, text),
        }
        true
    }

    fn icv_rust_crypto(&self, packet: &[u8], sequence: u64) -> Vec<u8> {
        fn sign<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
            let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        }
        let covered = self.covered(packet, sequence);
        let mut icv = match self.hash {
            Hash::Sha256 => sign::<hmac::Hmac<sha2::Sha256>>(&self.integrity, &covered),
            Hash::Sha384 => sign::<hmac::Hmac<sha2::Sha384>>(&self.integrity, &covered),
            Hash::Sha512 => sign::<hmac::Hmac<sha2::Sha512>>(&self.integrity, &covered),
        };
        icv.truncate(self.hash.icv_len());
        icv
    }
}

/// A stream of test octets that depends on `seed` only (xorshift64*).
pub struct Octets(u64);

impl Octets {
    pub fn new(seed: u64) -> Octets {
        Octets(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() >> 16) as usize % bound
    }

    pub fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.word() >> 32) as u8).collect()
    }

    pub fn sa(&mut self, cipher_key_len: usize, hash: Hash) -> Sa {
        let esn = self.word() >> 63 == 1;
        Sa { cipher: self.take(cipher_key_len), integrity: self.take(hash.key_len()), hash, esn }
    }

    /// A random suite.
    pub fn any_sa(&mut self) -> Sa {
        let (cipher, hash) = (CIPHER_KEY_LENS[self.below(3)], HASHES[self.below(3)]);
        self.sa(cipher, hash)
    }
}
