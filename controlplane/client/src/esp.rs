//! ESP in user space: tunnel-mode packets sealed and opened (RFC 4303, RFC 4106, RFC 3602, RFC 4868), UDP-encapsulated by
//! the caller (RFC 3948).
//!
//! Enters: Child SAs, IP packets of either version, ESP packets. Leaves: ESP packets, IP packets that were authentic and new. Sequence
//! numbers have 32 bits, or 64 of which 32 are sent (RFC 4303 §2.2.1, ESN); an SA that has used them up seals nothing more.

use std::collections::VecDeque;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
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
pub const REPLAY_WINDOW: u64 = 64;
/// Most Child SAs at a time.
const MAX_TUNNELS: usize = 16;
/// Octets of SPI and sequence number.
const HEADER: usize = 8;
/// The same with a long sequence number, as integrity covers it (RFC 4106 §5).
const LONG_HEADER: usize = 12;
const CBC_BLOCK: usize = 16;
const GCM_IV: usize = 8;
const AEAD_SALT: usize = 4;
const GCM_TAG: usize = 16;
/// Next header of a tunnelled IPv4 packet, and of an IPv6 one.
const IPV4: u8 = 4;
const IPV6: u8 = 41;
/// Octets of an IPv6 header, which its own length leaves out.
const IPV6_HEADER: usize = 40;

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
    esn: bool,
    /// The last sequence number used.
    sequence: u64,
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
            esn: child.esn,
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

    /// Seals an IP packet in the newest Child SA; `None` without one, or when it is used up.
    pub fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let Some(next_header) = next_header(packet) else {
            self.counters.dropped += 1;
            return None;
        };
        let tunnel = self.all.iter_mut().rev().find(|tunnel| tunnel.usable)?;
        let sealed = tunnel.seal(packet, next_header)?;
        self.counters.sealed += 1;
        Some(sealed)
    }

    /// Opens an ESP packet: the IP packet in it, if it is authentic and new.
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
    fn seal(&mut self, packet: &[u8], next_header: u8) -> Option<Vec<u8>> {
        let last = if self.esn { u64::MAX } else { u64::from(u32::MAX) };
        let sequence = self.sequence.checked_add(1).filter(|next| *next <= last)?;
        self.sequence = sequence;
        let block = match self.outbound {
            Key::Aead { .. } => 4,
            Key::Cbc { .. } => CBC_BLOCK,
        };
        let padding = (block - (packet.len() + 2) % block) % block;
        let mut plaintext = packet.to_vec();
        // RFC 4303 §2.4: 1, 2, 3, …; never more than 15 octets here.
        plaintext.extend((1..=u8::MAX).take(padding));
        plaintext.extend([u8::try_from(padding).ok()?, next_header]);
        let mut out = Vec::with_capacity(HEADER + CBC_BLOCK + plaintext.len() + 32);
        out.extend_from_slice(&self.outbound_spi.to_be_bytes());
        let [high, low] = halves(sequence);
        out.extend_from_slice(&low.to_be_bytes());
        self.outbound.seal(sequence, self.esn.then_some(high), out, plaintext)
    }

    fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let low = u32::from_be_bytes(*packet.get(4..)?.first_chunk::<4>()?);
        let sequence = if self.esn { self.window.whole(low)? } else { u64::from(low) };
        if !self.window.may_accept(sequence) {
            return None;
        }
        let [high, _] = halves(sequence);
        let mut plaintext = self.inbound.open(self.esn.then_some(high), packet)?;
        self.window.accept(sequence);
        let (said, padding) = (plaintext.pop()?, plaintext.pop()?);
        let octets = plaintext.len().checked_sub(usize::from(padding))?;
        plaintext.truncate(octets);
        // Padding for traffic-flow confidentiality may follow the packet (RFC 4303 §2.7): its own length counts.
        let total = total_length(&plaintext)?;
        let fits = next_header(&plaintext) == Some(said) && total <= plaintext.len();
        plaintext.truncate(total);
        fits.then_some(plaintext)
    }
}

/// What the ESP trailer calls this packet, by its version.
fn next_header(packet: &[u8]) -> Option<u8> {
    match packet.first()? >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}

/// Octets of the packet as its own header says; `None` for less than a header.
fn total_length(packet: &[u8]) -> Option<usize> {
    let at = |offset: usize| Some(u16::from_be_bytes(*packet.get(offset..)?.first_chunk::<2>()?));
    match next_header(packet)? {
        IPV6 => packet.get(..IPV6_HEADER).and(at(4)).map(|octets| usize::from(octets) + IPV6_HEADER),
        _ => at(2).map(usize::from).filter(|octets| *octets >= 20),
    }
}

enum Key {
    Aead { key: Box<LessSafeKey>, salt: [u8; AEAD_SALT] },
    Cbc { encrypt: Box<EncryptingKey>, decrypt: Box<DecryptingKey>, mac: Box<hmac::Key>, icv: usize },
}

impl Key {
    fn new(suite: EspSuite, keymat: &[u8]) -> Option<Key> {
        let Some(integ) = suite.integ else {
            let algorithm = match suite.cipher {
                Cipher::AesGcm16_128 => &AES_128_GCM,
                Cipher::AesGcm16_256 => &AES_256_GCM,
                Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
                _ => return None,
            };
            let (key, salt) = keymat.split_last_chunk::<AEAD_SALT>()?;
            let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
            return Some(Key::Aead { key: Box::new(key), salt: *salt });
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

    /// Appends `IV | ciphertext | ICV` to `out`, which holds the ESP header; `high`: that of a long sequence number.
    fn seal(
        &self,
        sequence: u64,
        high: Option<u32>,
        mut out: Vec<u8>,
        mut plaintext: Vec<u8>,
    ) -> Option<Vec<u8>> {
        match self {
            Key::Aead { key, salt } => {
                // The sequence number is never used twice with this key, so it can be the IV.
                let iv = sequence.to_be_bytes();
                let aad = associated_data(high, *out.first_chunk()?);
                key.seal_in_place_append_tag(nonce(*salt, iv), Aad::from(aad), &mut plaintext).ok()?;
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
                let tag = sign(mac, &out, high);
                out.extend_from_slice(tag.as_ref().get(..*icv)?);
            }
        }
        Some(out)
    }

    /// The plaintext with its trailer, if the packet is authentic.
    fn open(&self, high: Option<u32>, packet: &[u8]) -> Option<Vec<u8>> {
        match self {
            Key::Aead { key, salt } => {
                let (header, rest) = packet.split_first_chunk::<HEADER>()?;
                let (iv, sealed) = rest.split_first_chunk::<GCM_IV>()?;
                if sealed.len() < GCM_TAG {
                    return None;
                }
                let mut octets = sealed.to_vec();
                let aad = Aad::from(associated_data(high, *header));
                let opened = key.open_in_place(nonce(*salt, *iv), aad, &mut octets).ok()?.len();
                octets.truncate(opened);
                Some(octets)
            }
            Key::Cbc { decrypt, mac, icv, .. } => {
                let (covered, tag) = packet.split_at_checked(packet.len().checked_sub(*icv)?)?;
                let expected = sign(mac, covered, high);
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

/// What AES-GCM covers beside the ciphertext (RFC 4106 §5): SPI and sequence number, long or short.
fn associated_data(high: Option<u32>, header: [u8; HEADER]) -> Vec<u8> {
    let (spi, low) = header.split_at(HEADER / 2);
    let mut octets = Vec::with_capacity(LONG_HEADER);
    octets.extend_from_slice(spi);
    octets.extend(high.iter().flat_map(|high| high.to_be_bytes()));
    octets.extend_from_slice(low);
    octets
}

/// The ICV of HMAC covers the half of a long sequence number that is not sent as if it came last (RFC 4303 §2.8).
fn sign(mac: &hmac::Key, covered: &[u8], high: Option<u32>) -> hmac::Tag {
    let mut context = hmac::Context::with_key(mac);
    context.update(covered);
    if let Some(high) = high {
        context.update(&high.to_be_bytes());
    }
    context.sign()
}

/// High and low half.
fn halves(sequence: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

fn nonce(salt: [u8; AEAD_SALT], iv: [u8; GCM_IV]) -> Nonce {
    let mut nonce = [0; AEAD_SALT + GCM_IV];
    for (place, octet) in nonce.iter_mut().zip(salt.into_iter().chain(iv)) {
        *place = octet;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// The anti-replay window (RFC 4303 §3.4.3): bit n stands for `highest - n`.
#[derive(Default)]
struct Window {
    highest: u64,
    seen: u64,
}

impl Window {
    /// The long sequence number whose low half was sent: the one next to the window (RFC 4303 §A2.2). `None` for one
    /// before the first.
    fn whole(&self, low: u32) -> Option<u64> {
        let [high, _] = halves(self.highest);
        // The lowest number in the window, as if numbers went round.
        let bottom = self.highest.wrapping_sub(REPLAY_WINDOW - 1);
        let [bottom_high, bottom_low] = halves(bottom);
        // A window within one turn takes lower numbers for the next turn; one across two takes higher ones for the last.
        let high = match bottom_high == high {
            true if low >= bottom_low => high,
            true => high.checked_add(1)?,
            false if low >= bottom_low => high.checked_sub(1)?,
            false => high,
        };
        Some(u64::from(high) << 32 | u64::from(low))
    }

    fn may_accept(&self, sequence: u64) -> bool {
        match self.highest.checked_sub(sequence) {
            _ if sequence == 0 => false,
            None => true,
            Some(behind) => behind < REPLAY_WINDOW && self.seen >> behind & 1 == 0,
        }
    }

    fn accept(&mut self, sequence: u64) {
        let shifted =
            |bits: u64, by: u64| u32::try_from(by).ok().and_then(|by| bits.checked_shl(by)).unwrap_or(0);
        match sequence.checked_sub(self.highest) {
            Some(ahead) if ahead > 0 => {
                self.seen = shifted(self.seen, ahead) | 1;
                self.highest = sequence;
            }
            _ => self.seen |= shifted(1, self.highest.saturating_sub(sequence)),
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

    const SUITES: [&str; 6] =
        ["aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes128-sha256", "aes256-sha384", "aes256-sha512"];

    fn suite(text: &str) -> EspSuite {
        let proposal: EspProposal = text.parse().unwrap();
        EspSuite { cipher: proposal.ciphers[0], integ: proposal.integs.first().copied() }
    }

    fn pair(text: &str, by_gateway: bool) -> (Tunnels, Tunnels) {
        pair_with(text, by_gateway, false)
    }

    fn pair_with(text: &str, by_gateway: bool, esn: bool) -> (Tunnels, Tunnels) {
        let suite = suite(text);
        let key = |seed: u8| Secret::new((0..suite.keymat_len()).map(|i| seed ^ i as u8).collect());
        let child = |mine: u32, theirs: u32, inbound: u8, outbound: u8| Child {
            inbound_spi: mine,
            outbound_spi: theirs,
            suite,
            esn,
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
    fn ipv6_comes_through_and_what_says_another_length_or_version_does_not() {
        let (mut a, mut b) = pair("aes256gcm16", false);
        let mut packet = vec![0x60, 0, 0, 0, 0, 20];
        packet.resize(60, 0xcd);
        let sealed = a.seal(&packet).unwrap();
        assert_eq!(b.open(&sealed).as_deref(), Some(&packet[..]));
        // Octets behind the packet are padding (RFC 4303 §2.7); a packet longer than what there is is none.
        packet[5] = 19;
        let sealed = a.seal(&packet).unwrap();
        assert_eq!(b.open(&sealed).as_deref(), Some(&packet[..59]));
        for bad in [&[0x60, 0, 0, 0, 0, 21][..], &[0x60, 0, 0], &[0x45, 0, 0, 61]] {
            let mut packet = bad.to_vec();
            packet.resize(bad.len().max(if bad.len() < 6 && bad[0] == 0x60 { 3 } else { 60 }), 0);
            let sealed = a.seal(&packet).unwrap();
            assert!(b.open(&sealed).is_none(), "{bad:x?}");
        }
        let foreign = a.all[0].seal(&packet, IPV4).unwrap();
        assert!(b.open(&foreign).is_none(), "the trailer says another version than the packet");
    }

    #[test]
    fn only_ip_is_sealed_and_a_used_up_sa_seals_nothing() {
        let (mut a, _) = pair("aes256gcm16", false);
        assert!(a.seal(&[0x50; 40]).is_none());
        assert!(a.seal(&[]).is_none());
        a.all[0].sequence = u64::from(u32::MAX);
        assert!(a.seal(&packet(40)).is_none());
    }

    /// The low half goes round, out of order; what the receiver cannot see of the number is covered all the same.
    #[test]
    fn long_sequence_numbers_go_on_where_short_ones_end() {
        for text in SUITES {
            let (mut a, mut b) = pair_with(text, false, true);
            let near = u64::from(u32::MAX) - 40;
            a.all[0].sequence = near;
            b.all[0].window = Window { highest: near, seen: u64::MAX };
            let mut sealed: Vec<_> = (0..80).map(|_| a.seal(&packet(60)).unwrap()).collect();
            assert_eq!(a.all[0].sequence, near + 80);
            assert_eq!(sealed[41][4..8], [0, 0, 0, 1], "low half");
            for pair in sealed.chunks_mut(4) {
                pair.reverse();
            }
            for packet_of in &sealed {
                assert_eq!(b.open(packet_of), Some(packet(60)), "{text}");
                assert_eq!(b.open(packet_of), None, "{text}: twice");
            }
            // Who counts in 32 bits makes another ICV.
            let (mut short, _) = pair(text, false);
            assert_eq!(
                pair_with(text, false, true).1.open(&short.seal(&packet(60)).unwrap()),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn the_hidden_half_is_the_one_next_to_the_window() {
        let turn = 1u64 << 32;
        for (highest, low, whole) in [
            (0, 1, Some(1)),
            (0, u32::MAX, None),
            (63, 0, Some(0)),
            (turn - 1, 0, Some(turn)),
            (turn - 1, u32::MAX - 63, Some(turn - 64)),
            (turn - 1, u32::MAX - 64, Some(2 * turn - 65)),
            (turn + 3, u32::MAX, Some(turn - 1)),
            (turn + 3, 4, Some(turn + 4)),
            (turn + 100, 37, Some(turn + 37)),
            (turn + 100, 36, Some(2 * turn + 36)),
        ] {
            assert_eq!(Window { highest, seen: 1 }.whole(low), whole, "{highest:x} {low:x}");
        }
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
        fn the_window_accepts_each_number_once(numbers in prop::collection::vec(0u64..300, 0..400)) {
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
