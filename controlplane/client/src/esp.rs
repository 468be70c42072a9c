//! ESP in user space: tunnel-mode packets sealed and opened (RFC 4303, RFC 4106, RFC 3602, RFC 4868), UDP-encapsulated by
//! the caller (RFC 3948).
//!
//! Enters: Child SAs, IPv4 packets, ESP packets. Leaves: ESP packets, IPv4 packets that were authentic and new. Sequence
//! numbers have 32 bits; an SA that has used them up seals nothing more.

use std::collections::VecDeque;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use causeway_ike::suite::{Cipher, EspSuite, Integ};

use crate::initiator::Child;

/// Sequence numbers behind the highest that are still accepted (RFC 4303 §3.4.3 asks for 64 at least).
pub const REPLAY_WINDOW: u32 = 64;
/// Most Child SAs at a time.
const MAX_TUNNELS: usize = 16;
/// Octets of SPI and sequence number.
const HEADER: usize = 8;
const CBC_BLOCK: usize = 16;
const GCM_IV: usize = 8;
const GCM_SALT: usize = 4;
const GCM_TAG: usize = 16;
/// Next header of a tunnelled IPv4 packet.
const IPV4: u8 = 4;

/// The Child SAs of a connection.
#[derive(Default)]
pub struct Tunnels {
    /// Newest last.
    all: VecDeque<Tunnel>,
    /// What has passed and what was dropped.
    pub counters: EspCounters,
}

/// Packets since the connection began.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct EspCounters {
    /// Packets to the gateway.
    pub sealed: u64,
    /// Packets from the gateway.
    pub opened: u64,
    /// Packets that were forged, malformed, of no SA, or repeated.
    pub dropped: u64,
}

struct Tunnel {
    inbound_spi: u32,
    outbound_spi: u32,
    outbound: Key,
    inbound: Key,
    /// The last sequence number used.
    sequence: u32,
    window: Window,
    /// Whether packets may leave by it.
    usable: bool,
}

impl Tunnels {
    /// Adds a Child SA; `false` when its keys do not fit its suite.
    pub fn add(&mut self, child: &Child) -> bool {
        let keys = Key::new(child.suite, child.outbound.as_bytes())
            .zip(Key::new(child.suite, child.inbound.as_bytes()));
        let Some((outbound, inbound)) = keys else { return false };
        if self.all.len() >= MAX_TUNNELS {
            self.all.pop_front();
        }
        self.all.push_back(Tunnel {
            inbound_spi: child.inbound_spi,
            outbound_spi: child.outbound_spi,
            outbound,
            inbound,
            sequence: 0,
            window: Window::default(),
            usable: !child.by_gateway,
        });
        true
    }

    /// Removes a Child SA.
    pub fn remove(&mut self, inbound_spi: u32) {
        self.all.retain(|tunnel| tunnel.inbound_spi != inbound_spi);
        // Whatever is left is known to the gateway, which deleted the other.
        if self.all.iter().all(|tunnel| !tunnel.usable)
            && let Some(last) = self.all.back_mut()
        {
            last.usable = true;
        }
    }

    /// Removes all of them.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// Seals an IPv4 packet in the newest Child SA; `None` without one, or when it is used up.
    pub fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        if packet.first().map(|octet| octet >> 4) != Some(4) {
            self.counters.dropped += 1;
            return None;
        }
        let tunnel = self.all.iter_mut().rev().find(|tunnel| tunnel.usable)?;
        let sealed = tunnel.seal(packet)?;
        self.counters.sealed += 1;
        Some(sealed)
    }

    /// Opens an ESP packet: the IPv4 packet in it, if it is authentic and new.
    pub fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let opened = self.find_and_open(packet);
        match opened {
            Some(_) => self.counters.opened += 1,
            None => self.counters.dropped += 1,
        }
        opened
    }

    fn find_and_open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let spi = u32::from_be_bytes(*packet.first_chunk::<4>()?);
        let tunnel = self.all.iter_mut().find(|tunnel| tunnel.inbound_spi == spi)?;
        let inner = tunnel.open(packet)?;
        // The gateway uses it, so it will also take packets in it.
        tunnel.usable = true;
        Some(inner)
    }
}

impl Tunnel {
    fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.sequence = self.sequence.checked_add(1)?;
        let block = match self.outbound {
            Key::Gcm { .. } => 4,
            Key::Cbc { .. } => CBC_BLOCK,
        };
        let padding = (block - (packet.len() + 2) % block) % block;
        let mut plaintext = packet.to_vec();
        // RFC 4303 §2.4: 1, 2, 3, …; never more than 15 octets here.
        plaintext.extend((1..=u8::MAX).take(padding));
        plaintext.extend([u8::try_from(padding).ok()?, IPV4]);
        let mut out = Vec::with_capacity(HEADER + CBC_BLOCK + plaintext.len() + 32);
        out.extend_from_slice(&self.outbound_spi.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        self.outbound.seal(self.sequence, out, plaintext)
    }

    fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let sequence = u32::from_be_bytes(*packet.get(4..)?.first_chunk::<4>()?);
        if !self.window.may_accept(sequence) {
            return None;
        }
        let mut plaintext = self.inbound.open(packet)?;
        self.window.accept(sequence);
        let (next_header, padding) = (plaintext.pop()?, plaintext.pop()?);
        let octets = plaintext.len().checked_sub(usize::from(padding))?;
        plaintext.truncate(octets);
        // Padding for traffic-flow confidentiality may follow the packet (RFC 4303 §2.7): its own length counts.
        let total = usize::from(u16::from_be_bytes(*plaintext.get(2..)?.first_chunk::<2>()?));
        let fits =
            next_header == IPV4 && plaintext.first()? >> 4 == 4 && (20..=plaintext.len()).contains(&total);
        plaintext.truncate(total);
        fits.then_some(plaintext)
    }
}

enum Key {
    Gcm { key: Box<LessSafeKey>, salt: [u8; GCM_SALT] },
    Cbc { encrypt: Box<EncryptingKey>, decrypt: Box<DecryptingKey>, mac: Box<hmac::Key>, icv: usize },
}

impl Key {
    fn new(suite: EspSuite, keymat: &[u8]) -> Option<Key> {
        let Some(integ) = suite.integ else {
            let algorithm = match suite.cipher {
                Cipher::AesGcm16_128 => &AES_128_GCM,
                Cipher::AesGcm16_256 => &AES_256_GCM,
                _ => return None,
            };
            let (key, salt) = keymat.split_last_chunk::<GCM_SALT>()?;
            let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
            return Some(Key::Gcm { key: Box::new(key), salt: *salt });
        };
        let (cipher, octets) = match suite.cipher {
            Cipher::AesCbc128 => (&AES_128, 16),
            Cipher::AesCbc192 => (&AES_192, 24),
            Cipher::AesCbc256 => (&AES_256, 32),
            _ => return None,
        };
        let (key, mac) = keymat.split_at_checked(octets)?;
        let algorithm = match integ {
            Integ::HmacSha2_256_128 => hmac::HMAC_SHA256,
            Integ::HmacSha2_384_192 => hmac::HMAC_SHA384,
            Integ::HmacSha2_512_256 => hmac::HMAC_SHA512,
        };
        if mac.len() != integ.key_len() {
            return None;
        }
        let unbound = || UnboundCipherKey::new(cipher, key).ok();
        Some(Key::Cbc {
            encrypt: Box::new(EncryptingKey::cbc(unbound()?).ok()?),
            decrypt: Box::new(DecryptingKey::cbc(unbound()?).ok()?),
            mac: Box::new(hmac::Key::new(algorithm, mac)),
            icv: integ.icv_len(),
        })
    }

    /// Appends `IV | ciphertext | ICV` to `out`, which holds the ESP header.
    fn seal(&self, sequence: u32, mut out: Vec<u8>, mut plaintext: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Key::Gcm { key, salt } => {
                // The sequence number is never used twice with this key, so it can be the IV.
                let iv = u64::from(sequence).to_be_bytes();
                let aad = Aad::from(<[u8; HEADER]>::try_from(out.as_slice()).ok()?);
                key.seal_in_place_append_tag(nonce(*salt, iv), aad, &mut plaintext).ok()?;
                out.extend_from_slice(&iv);
                out.append(&mut plaintext);
            }
            Key::Cbc { encrypt, mac, icv, .. } => {
                let mut iv = [0; CBC_BLOCK];
                aws_lc_rs::rand::fill(&mut iv).ok()?;
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                encrypt.less_safe_encrypt(&mut plaintext, context).ok()?;
                out.extend_from_slice(&iv);
                out.append(&mut plaintext);
                let tag = hmac::sign(mac, &out);
                out.extend_from_slice(tag.as_ref().get(..*icv)?);
            }
        }
        Some(out)
    }

    /// The plaintext with its trailer, if the packet is authentic.
    fn open(&self, packet: &[u8]) -> Option<Vec<u8>> {
        match self {
            Key::Gcm { key, salt } => {
                let (header, rest) = packet.split_first_chunk::<HEADER>()?;
                let (iv, sealed) = rest.split_first_chunk::<GCM_IV>()?;
                if sealed.len() < GCM_TAG {
                    return None;
                }
                let mut octets = sealed.to_vec();
                let opened =
                    key.open_in_place(nonce(*salt, *iv), Aad::from(*header), &mut octets).ok()?.len();
                octets.truncate(opened);
                Some(octets)
            }
            Key::Cbc { decrypt, mac, icv, .. } => {
                let (covered, tag) = packet.split_at_checked(packet.len().checked_sub(*icv)?)?;
                let expected = hmac::sign(mac, covered);
                verify_slices_are_equal(expected.as_ref().get(..*icv)?, tag).ok()?;
                let (iv, ciphertext) = covered.get(HEADER..)?.split_first_chunk::<CBC_BLOCK>()?;
                if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(CBC_BLOCK) {
                    return None;
                }
                let mut octets = ciphertext.to_vec();
                decrypt.decrypt(&mut octets, DecryptionContext::Iv128(FixedLength::from(*iv))).ok()?;
                Some(octets)
            }
        }
    }
}

fn nonce(salt: [u8; GCM_SALT], iv: [u8; GCM_IV]) -> Nonce {
    let mut nonce = [0; GCM_SALT + GCM_IV];
    for (place, octet) in nonce.iter_mut().zip(salt.into_iter().chain(iv)) {
        *place = octet;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// The anti-replay window (RFC 4303 §3.4.3): bit n stands for `highest - n`.
#[derive(Default)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Window {
    fn may_accept(&self, sequence: u32) -> bool {
        match self.highest.checked_sub(sequence) {
            _ if sequence == 0 => false,
            None => true,
            Some(behind) => behind < REPLAY_WINDOW && self.seen >> behind & 1 == 0,
        }
    }

    fn accept(&mut self, sequence: u32) {
        match sequence.checked_sub(self.highest) {
            Some(ahead) if ahead > 0 => {
                self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
                self.highest = sequence;
            }
            _ => self.seen |= 1u64.checked_shl(self.highest.saturating_sub(sequence)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use causeway_ike::crypto::Secret;
    use causeway_ike::suite::EspProposal;
    use proptest::prelude::*;

    use super::*;

    const SUITES: [&str; 5] =
        ["aes128gcm16", "aes256gcm16", "aes128-sha256", "aes256-sha384", "aes256-sha512"];

    fn suite(text: &str) -> EspSuite {
        let proposal: EspProposal = text.parse().unwrap();
        EspSuite { cipher: proposal.ciphers[0], integ: proposal.integs.first().copied() }
    }

    fn pair(text: &str, by_gateway: bool) -> (Tunnels, Tunnels) {
        let suite = suite(text);
        let key = |seed: u8| Secret::new((0..suite.keymat_len()).map(|i| seed ^ i as u8).collect());
        let child = |mine: u32, theirs: u32, inbound: u8, outbound: u8| Child {
            inbound_spi: mine,
            outbound_spi: theirs,
            suite,
            inbound: key(inbound),
            outbound: key(outbound),
            by_gateway,
            remote: vec![],
        };
        let (mut a, mut b) = (Tunnels::default(), Tunnels::default());
        assert!(a.add(&child(0x1111, 0x2222, 1, 2)));
        assert!(b.add(&Child { by_gateway: false, ..child(0x2222, 0x1111, 2, 1) }));
        (a, b)
    }

    fn packet(octets: usize) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0];
        packet.resize(octets, 0xab);
        packet[2..4].copy_from_slice(&u16::try_from(octets).unwrap().to_be_bytes());
        packet
    }

    #[test]
    fn every_suite_and_length_comes_through() {
        for text in SUITES {
            let (mut a, mut b) = pair(text, false);
            for octets in (20..80).chain([1400]) {
                let sealed = a.seal(&packet(octets)).unwrap();
                assert_eq!(b.open(&sealed).unwrap(), packet(octets), "{text} {octets}");
                assert!(b.open(&sealed).is_none(), "{text}: a replay was taken");
            }
        }
    }

    #[test]
    fn a_changed_octet_is_noticed_and_changes_nothing() {
        for text in SUITES {
            let (mut a, mut b) = pair(text, false);
            let sealed = a.seal(&packet(60)).unwrap();
            for at in 0..sealed.len() {
                let mut bad = sealed.clone();
                bad[at] ^= 1;
                assert!(b.open(&bad).is_none(), "{text}: octet {at}");
                assert!(b.open(&sealed[..at]).is_none(), "{text}: cut at {at}");
            }
            assert!(b.open(&sealed).is_some());
        }
    }

    #[test]
    fn what_the_gateway_made_is_used_after_the_gateway_used_it() {
        let (mut a, mut b) = pair("aes256gcm16", true);
        assert!(a.seal(&packet(40)).is_none());
        let theirs = b.seal(&packet(40)).unwrap();
        a.open(&theirs).unwrap();
        assert!(a.seal(&packet(40)).is_some());
    }

    #[test]
    fn only_ipv4_is_sealed_and_a_used_up_sa_seals_nothing() {
        let (mut a, _) = pair("aes256gcm16", false);
        assert!(a.seal(&[0x60; 40]).is_none());
        assert!(a.seal(&[]).is_none());
        a.all[0].sequence = u32::MAX;
        assert!(a.seal(&packet(40)).is_none());
    }

    /// RFC 4303 with AES-GCM as a Linux kernel makes it: IV after the header, the tag over header and ciphertext.
    #[test]
    fn layout_of_a_gcm_packet() {
        let (mut a, _) = pair("aes256gcm16", false);
        let sealed = a.seal(&packet(40)).unwrap();
        assert_eq!(sealed[..8], [0, 0, 0x22, 0x22, 0, 0, 0, 1]);
        assert_eq!(sealed[8..16], [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(sealed.len(), 8 + 8 + 44 + 16);
    }

    proptest! {
        #[test]
        fn the_window_accepts_each_number_once(numbers in prop::collection::vec(0u32..300, 0..400)) {
            let (mut window, mut seen, mut highest) = (Window::default(), BTreeSet::new(), 0);
            for number in numbers {
                let expected = number > 0 && number + REPLAY_WINDOW > highest && !seen.contains(&number);
                prop_assert_eq!(window.may_accept(number), expected);
                if expected {
                    window.accept(number);
                    seen.insert(number);
                    highest = highest.max(number);
                }
            }
        }

        #[test]
        fn strange_packets_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..120)) {
            let (mut a, _) = pair("aes256-sha384", false);
            let packet = [&[0, 0, 0x11, 0x11][..], &octets].concat();
            prop_assert!(a.open(&packet).is_none());
        }
    }
}
