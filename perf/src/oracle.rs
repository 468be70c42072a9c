//! ESP sealed and opened by RustCrypto, from the RFCs alone: frames for inbound measurements come from here, and what the
//! data plane sealed is checked here, so no figure rests on packets that only our own engine understands.
//!
//! Enters: keys, sequence numbers, inner packets. Leaves: ESP packets from SPI to ICV, and back. RFC 4303, 4106, 3602, 4868.

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use causeway_shared::sa::EspKeys;
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384};

use crate::cell::Suite;

/// Next header of an IPv4 packet in tunnel mode.
/// Next headers of tunnel mode (RFC 4303 §2.6).
const NEXT_HEADER_IPV4: u8 = 4;
const NEXT_HEADER_IPV6: u8 = 41;
const ESP_HEADER_LEN: usize = 8;

/// One direction of an SA, without extended sequence numbers.
pub struct EspSa {
    /// Algorithms.
    pub suite: Suite,
    /// SPI on the packets.
    pub spi: u32,
    /// Keys.
    pub keys: EspKeys,
}

/// The library refused; with the fixed key lengths here it never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("RustCrypto refused a key or a packet")]
pub struct Refused;

impl EspSa {
    /// Seals an IP packet with the shortest padding.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn seal(&self, sequence: u32, inner: &[u8]) -> Result<Vec<u8>, Refused> {
        let suite = self.suite.esp();
        let pad = (suite.pad_align() - (inner.len() + 2) % suite.pad_align()) % suite.pad_align();
        let mut packet = [self.spi.to_be_bytes(), sequence.to_be_bytes()].concat();
        packet.extend(self.iv(sequence));
        let start = packet.len();
        packet.extend(inner);
        packet.extend(1..=pad as u8);
        packet.extend([pad as u8, next_header(inner)]);
        let (head, body) = packet.split_at_mut(start);
        let icv = if suite.is_aead() {
            let (aad, iv) = head.split_at(ESP_HEADER_LEN);
            self.gcm(iv, |cipher, nonce| cipher.seal(nonce, aad, body))?
        } else {
            self.encrypt(&head[ESP_HEADER_LEN..], body)?;
            self.tag(&packet)?
        };
        packet.extend(icv);
        Ok(packet)
    }

    /// Opens a packet from SPI to ICV: the inner packet without padding and trailer, if everything about it is right.
    pub fn open(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let suite = self.suite.esp();
        let (covered, icv) = packet.split_at_checked(packet.len().checked_sub(suite.icv_len())?)?;
        let (header, rest) = covered.split_at_checked(ESP_HEADER_LEN)?;
        let (iv, body) = rest.split_at_checked(suite.iv_len())?;
        if header.get(..4)? != self.spi.to_be_bytes() {
            return None;
        }
        let mut body = body.to_vec();
        if suite.is_aead() {
            self.gcm(iv, |cipher, nonce| cipher.open(nonce, header, &mut body, icv)).ok()?;
        } else {
            if self.tag(covered).ok()? != icv {
                return None;
            }
            self.decrypt(iv, &mut body).ok()?;
        }
        let (next, pad) = (body.pop()?, usize::from(body.pop()?));
        let inner = body.len().checked_sub(pad)?;
        let padding = body.get(inner..)?;
        if !padding.iter().copied().eq(1..=pad as u8) {
            return None;
        }
        body.truncate(inner);
        (next == next_header(&body)).then_some(body)
    }

    fn iv(&self, sequence: u32) -> Vec<u8> {
        let octet = |index: usize| (sequence.wrapping_mul(31) as u8) ^ index as u8;
        if self.suite.esp().is_aead() {
            u64::from(sequence).to_be_bytes().to_vec()
        } else {
            (0..self.suite.esp().iv_len()).map(octet).collect()
        }
    }

    fn gcm<R>(
        &self,
        iv: &[u8],
        use_it: impl FnOnce(&dyn Gcm, [u8; 12]) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let nonce = [&self.keys.salt[..], iv].concat().try_into().map_err(|_| Refused)?;
        match self.suite {
            Suite::Aes128Gcm => {
                use_it(&Aes128Gcm::new_from_slice(self.cipher_key()).map_err(|_| Refused)?, nonce)
            }
            _ => use_it(&Aes256Gcm::new_from_slice(self.cipher_key()).map_err(|_| Refused)?, nonce),
        }
    }

    fn encrypt(&self, iv: &[u8], body: &mut [u8]) -> Result<(), Refused> {
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(self.cipher_key(), iv).map_err(|_| Refused)?;
        let len = body.len();
        cipher.encrypt_padded::<NoPadding>(body, len).map(|_| ()).map_err(|_| Refused)
    }

    fn decrypt(&self, iv: &[u8], body: &mut [u8]) -> Result<(), Refused> {
        let cipher = cbc::Decryptor::<Aes256>::new_from_slices(self.cipher_key(), iv).map_err(|_| Refused)?;
        cipher.decrypt_padded::<NoPadding>(body).map(|_| ()).map_err(|_| Refused)
    }

    fn cipher_key(&self) -> &[u8] {
        &self.keys.cipher[..self.suite.esp().cipher_key_len()]
    }

    fn tag(&self, covered: &[u8]) -> Result<Vec<u8>, Refused> {
        fn run<M: Mac + KeyInit>(key: &[u8], covered: &[u8]) -> Result<Vec<u8>, Refused> {
            let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| Refused)?;
            mac.update(covered);
            Ok(mac.finalize().into_bytes().to_vec())
        }
        let suite = self.suite.esp();
        let key = &self.keys.integrity[..suite.integrity_key_len()];
        let mut tag = match self.suite {
            Suite::Aes256CbcSha256 => run::<Hmac<Sha256>>(key, covered)?,
            _ => run::<Hmac<Sha384>>(key, covered)?,
        };
        tag.truncate(suite.icv_len());
        Ok(tag)
    }
}

/// What the two key sizes have in common.
trait Gcm {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Result<Vec<u8>, Refused>;
    fn open(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8], icv: &[u8]) -> Result<(), Refused>;
}

impl<C: AeadInOut<NonceSize = aes_gcm::aead::consts::U12>> Gcm for C {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Result<Vec<u8>, Refused> {
        let tag = self.encrypt_inout_detached(&Nonce::from(nonce), aad, body.into()).map_err(|_| Refused)?;
        Ok(tag.to_vec())
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], body: &mut [u8], icv: &[u8]) -> Result<(), Refused> {
        let icv = icv.try_into().map_err(|_| Refused)?;
        self.decrypt_inout_detached(&Nonce::from(nonce), aad, body.into(), icv).map_err(|_| Refused)
    }
}

/// That of the packet's version.
fn next_header(packet: &[u8]) -> u8 {
    if packet.first().is_some_and(|first| first >> 4 == 6) { NEXT_HEADER_IPV6 } else { NEXT_HEADER_IPV4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_one_wrong_bit_anywhere_does_not() {
        for suite in Suite::ALL {
            let keys = EspKeys { cipher: [3; 32], salt: [4; 4], integrity: [5; 64] };
            let sa = EspSa { suite, spi: 0x1234, keys };
            for len in 20..60 {
                let mut inner: Vec<u8> = (0..len).collect();
                inner[0] = if len % 2 == 0 { 0x45 } else { 0x60 };
                let packet = sa.seal(7, &inner).unwrap();
                assert_eq!(packet.len() % 4, 0);
                assert_eq!(sa.open(&packet).as_deref(), Some(&inner[..]), "{suite} {len}");
                for octet in 0..packet.len() {
                    let mut packet = packet.clone();
                    packet[octet] ^= 0x10;
                    assert_eq!(sa.open(&packet), None, "{suite} {len} {octet}");
                }
            }
        }
    }
}
