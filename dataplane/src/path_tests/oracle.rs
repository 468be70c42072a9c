//! A peer's ESP, written over RustCrypto and from the RFCs alone: the independent side of every test here.

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use causeway_shared::sa::{EspKeys, EspSuite};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};

/// One direction of a peer's SA.
pub struct PeerSa {
    pub suite: EspSuite,
    pub esn: bool,
    pub spi: u32,
    pub keys: EspKeys,
}

impl PeerSa {
    /// Seals `payload` with the shortest padding.
    pub fn seal(&self, sequence: u64, payload: &[u8], next_header: u8) -> Vec<u8> {
        let pad =
            (self.suite.pad_align() - (payload.len() + 2) % self.suite.pad_align()) % self.suite.pad_align();
        let padding: Vec<u8> = (1..=pad as u8).collect();
        self.seal_plaintext(sequence, &[payload, &padding, &[pad as u8, next_header]].concat())
    }

    /// Seals a plaintext that has its trailer.
    pub fn seal_plaintext(&self, sequence: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut packet = [self.spi.to_be_bytes(), (sequence as u32).to_be_bytes()].concat();
        let mut body = plaintext.to_vec();
        if self.suite.is_aead() {
            let iv = (sequence ^ 0x5a5a).to_be_bytes();
            let aad = self.aad(sequence);
            let tag = self.aead(&iv, |cipher, nonce| cipher.seal(nonce, &aad, &mut body));
            packet.extend(iv);
            packet.extend(body);
            packet.extend(tag);
        } else {
            let iv: [u8; 16] = std::array::from_fn(|index| (sequence as u8).wrapping_mul(31) ^ index as u8);
            self.cbc_encrypt(&iv, &mut body);
            packet.extend(iv);
            packet.extend(body);
            let tag = self.tag(&packet, sequence);
            packet.extend(&tag[..self.suite.icv_len()]);
        }
        packet
    }

    /// Opens a packet from SPI to ICV; the plaintext with its trailer.
    pub fn open(&self, sequence: u64, packet: &[u8]) -> Option<Vec<u8>> {
        assert_eq!(packet[..4], self.spi.to_be_bytes());
        assert_eq!(packet[4..8], (sequence as u32).to_be_bytes());
        let (head, icv) = packet.split_at(packet.len() - self.suite.icv_len());
        let (iv, body) = head[8..].split_at(self.suite.iv_len());
        let mut body = body.to_vec();
        if self.suite.is_aead() {
            let aad = self.aad(sequence);
            let opened = self.aead(iv.try_into().unwrap(), |cipher, nonce| {
                if cipher.open(nonce, &aad, &mut body, icv) { vec![1] } else { vec![] }
            });
            (!opened.is_empty()).then_some(body)
        } else {
            if self.tag(head, sequence)[..icv.len()] != *icv {
                return None;
            }
            self.cbc_decrypt(iv, &mut body);
            Some(body)
        }
    }

    fn aad(&self, sequence: u64) -> Vec<u8> {
        let spi = self.spi.to_be_bytes();
        if self.esn {
            [&spi[..], &sequence.to_be_bytes()].concat()
        } else {
            [spi, (sequence as u32).to_be_bytes()].concat()
        }
    }

    fn aead(&self, iv: &[u8; 8], use_it: impl FnOnce(&dyn Aead, [u8; 12]) -> Vec<u8>) -> Vec<u8> {
        let key = &self.keys.cipher[..self.suite.cipher_key_len()];
        let nonce: [u8; 12] = [&self.keys.salt[..], iv].concat().try_into().unwrap();
        match self.suite {
            EspSuite::Aes128Gcm16 => use_it(&Aes128Gcm::new_from_slice(key).unwrap(), nonce),
            EspSuite::Aes256Gcm16 => use_it(&Aes256Gcm::new_from_slice(key).unwrap(), nonce),
            EspSuite::ChaCha20Poly1305 => use_it(&ChaCha20Poly1305::new_from_slice(key).unwrap(), nonce),
            other => panic!("{} is no AEAD", other.name()),
        }
    }

    fn cbc_encrypt(&self, iv: &[u8], body: &mut [u8]) {
        let key = &self.keys.cipher[..self.suite.cipher_key_len()];
        let len = body.len();
        match key.len() {
            16 => cbc::Encryptor::<Aes128>::new_from_slices(key, iv)
                .unwrap()
                .encrypt_padded::<NoPadding>(body, len)
                .map(|_| ()),
            24 => cbc::Encryptor::<Aes192>::new_from_slices(key, iv)
                .unwrap()
                .encrypt_padded::<NoPadding>(body, len)
                .map(|_| ()),
            _ => cbc::Encryptor::<Aes256>::new_from_slices(key, iv)
                .unwrap()
                .encrypt_padded::<NoPadding>(body, len)
                .map(|_| ()),
        }
        .unwrap();
    }

    fn cbc_decrypt(&self, iv: &[u8], body: &mut [u8]) {
        let key = &self.keys.cipher[..self.suite.cipher_key_len()];
        match key.len() {
            16 => cbc::Decryptor::<Aes128>::new_from_slices(key, iv)
                .unwrap()
                .decrypt_padded::<NoPadding>(body)
                .map(|_| ()),
            24 => cbc::Decryptor::<Aes192>::new_from_slices(key, iv)
                .unwrap()
                .decrypt_padded::<NoPadding>(body)
                .map(|_| ()),
            _ => cbc::Decryptor::<Aes256>::new_from_slices(key, iv)
                .unwrap()
                .decrypt_padded::<NoPadding>(body)
                .map(|_| ()),
        }
        .unwrap();
    }

    fn tag(&self, covered: &[u8], sequence: u64) -> Vec<u8> {
        let key = &self.keys.integrity[..self.suite.integrity_key_len()];
        let high = ((sequence >> 32) as u32).to_be_bytes();
        let high = if self.esn { &high[..] } else { &[] };
        fn run<M: Mac + KeyInit>(key: &[u8], parts: [&[u8]; 2]) -> Vec<u8> {
            let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
            parts.into_iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        }
        match key.len() {
            32 => run::<Hmac<Sha256>>(key, [covered, high]),
            48 => run::<Hmac<Sha384>>(key, [covered, high]),
            _ => run::<Hmac<Sha512>>(key, [covered, high]),
        }
    }
}

/// What the AEADs have in common.
trait Aead {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Vec<u8>;
    fn open(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8], icv: &[u8]) -> bool;
}

impl<C: AeadInOut<NonceSize = aes_gcm::aead::consts::U12>> Aead for C {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Vec<u8> {
        self.encrypt_inout_detached(&Nonce::from(nonce), aad, body.into()).unwrap().to_vec()
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8], icv: &[u8]) -> bool {
        self.decrypt_inout_detached(&Nonce::from(nonce), aad, body.into(), icv.try_into().unwrap()).is_ok()
    }
}
