//! Core cycles per packet of AES-CBC with HMAC-SHA2: our kernels, aws-lc-rs and RustCrypto, interleaved in one run.
//!
//! `cargo run --release -p causeway-kernels --example cbc_cycles -- [--quick] [--json] [--only TEXT] [--ours]`
//!
//! Rows: suite × direction × size × keys (sealing, each packet's is picked at random) × burst. Sizes are octets of
//! ciphertext. Opening puts the sealed packets back first, which is not measured. `--ours` leaves the peers out.

#![allow(clippy::unwrap_used)]

mod measure;

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aws_lc_rs::cipher as aws;
use causeway_kernels::cbc::{Cbc, CbcKey, Hash, floor_cycles};
use causeway_kernels::{OpenJob, SealJob, Wide};
use hmac::{Hmac, Mac};
use measure::{Candidate, Phase, cycles_per_packet};

const HEAD_LEN: usize = 24;
/// Bursts whose packets take turns: few, because a worker's buffers come back to it warm.
const BURSTS: usize = 4;
/// Ethernet in front of the ESP packet, IPv4 and UDP: packets lie where they lie in a buffer.
const OFFSET: usize = 42;

struct Case {
    cipher_key_len: usize,
    hash: Hash,
    open: bool,
    /// 0 for the mixture 7:4:1 of 64, 576 and 1424 octets.
    size: usize,
    keys: usize,
    burst: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let only = arguments.iter().position(|a| a == "--only").and_then(|at| arguments.get(at + 1));
    let Some(wide) = Wide::detect() else {
        eprintln!("this processor has no AVX-512 with VAES: the kernels do not run on it");
        std::process::exit(1);
    };
    let windows = if has("--quick") { 300 } else { 2000 };
    if !has("--json") {
        println!("core cycles per packet, tenth percentile of {windows} windows of one burst, interleaved");
        println!("{:<58}{:>8}{:>10}{:>12}{:>8}", "", "ours", "aws-lc-rs", "RustCrypto", "floor");
    }
    for case in cases(has("--quick")) {
        let name = case.name();
        if only.is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let [ours, aws_lc, rust_crypto] = measure_case(&case, wide, windows, !has("--ours"));
        let lengths = case.lengths();
        let floor = |len: &usize| floor_cycles(case.cipher_key_len, case.hash, *len);
        let floor = lengths.iter().map(floor).sum::<f64>() / lengths.len() as f64;
        if has("--json") {
            // What was not measured is no number.
            let number = |value: f64| if value.is_nan() { "null".to_owned() } else { format!("{value:.1}") };
            let (ours, aws_lc, rust_crypto) = (number(ours), number(aws_lc), number(rust_crypto));
            println!(
                r#"{{"case":"{name}","ours":{ours},"aws_lc":{aws_lc},"rust_crypto":{rust_crypto},"floor":{floor:.1}}}"#
            );
        } else {
            println!("{name:<58}{ours:>8.0}{aws_lc:>10.0}{rust_crypto:>12.0}{floor:>8.0}");
        }
    }
}

fn cases(quick: bool) -> Vec<Case> {
    let sizes: &[usize] = if quick { &[64, 512, 1424, 0] } else { &[64, 128, 256, 512, 1024, 1424, 0] };
    let mut cases = Vec::new();
    for hash in [Hash::Sha384, Hash::Sha256, Hash::Sha512] {
        for (keys, burst) in
            [(1, 32), (1_000, 32), (100_000, 32), (32, 16), (32, 8), (32, 4), (32, 2), (32, 1)]
        {
            for open in [false, true] {
                if open && keys > 32 {
                    continue;
                }
                for &size in sizes.iter().filter(|size| **size > 0 || burst >= 16) {
                    cases.push(Case { cipher_key_len: 32, hash, open, size, keys, burst });
                }
            }
        }
    }
    for &size in sizes {
        for cipher_key_len in [16, 24] {
            let hash = Hash::Sha256;
            cases.push(Case { cipher_key_len, hash, open: false, size, keys: 1_000, burst: 32 });
        }
    }
    cases
}

impl Case {
    fn name(&self) -> String {
        let (direction, bits) = (if self.open { "open" } else { "seal" }, self.cipher_key_len * 8);
        let hash = match self.hash {
            Hash::Sha256 => "sha256",
            Hash::Sha384 => "sha384",
            Hash::Sha512 => "sha512",
        };
        let size = if self.size == 0 { "imix".to_owned() } else { self.size.to_string() };
        format!("aes-{bits}-cbc-{hash} {direction} {size} B, {} keys, bursts of {}", self.keys, self.burst)
    }

    /// Text lengths of a burst's packets, as often as they come.
    fn lengths(&self) -> Vec<usize> {
        match self.size {
            0 => [64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1424].to_vec(),
            size => vec![size],
        }
    }
}

/// Xorshift: which key and which length comes next.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// One packet of the working set.
#[derive(Clone)]
struct Packet {
    key: usize,
    room: Vec<u8>,
}

/// aws-lc's keys of one SA.
struct AwsLc {
    seal: aws::EncryptingKey,
    iv: aws::EncryptingKey,
    open: aws::DecryptingKey,
    mac: aws_lc_rs::hmac::Key,
}

/// RustCrypto's keys of one SA: the cipher expanded, the MAC with its key absorbed.
struct RustCrypto {
    cipher: aes::Aes256,
    mac: RustMac,
}

enum RustMac {
    Sha256(Hmac<sha2::Sha256>),
    Sha384(Hmac<sha2::Sha384>),
    Sha512(Hmac<sha2::Sha512>),
}

fn measure_case(case: &Case, wide: Wide, windows: usize, with_peers: bool) -> [f64; 3] {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let raw: Vec<(Vec<u8>, Vec<u8>)> = (0..case.keys)
        .map(|_| (random.octets(case.cipher_key_len), random.octets(case.hash.key_len())))
        .collect();
    let icv_len = case.hash.icv_len();
    let lengths = case.lengths();
    let packets: Vec<Packet> = (0..BURSTS * case.burst)
        .map(|i| {
            // The same mixture in every burst, or the tenth percentile would pick the bursts of short packets.
            let len = lengths[i % case.burst * 5 % lengths.len()];
            Packet { key: random.below(case.keys), room: vec![0; OFFSET + HEAD_LEN + len + icv_len] }
        })
        .collect();

    let keys: Vec<CbcKey> =
        raw.iter().map(|(cipher, mac)| CbcKey::new(cipher, case.hash, mac, false).unwrap()).collect();
    let with_peers = with_peers && case.keys <= 1_000;
    // Which key each packet that is sealed has: enough draws that no cache learns them.
    let draws: Vec<usize> =
        (0..(4 * case.keys).next_multiple_of(BURSTS * case.burst)).map(|_| random.below(case.keys)).collect();
    let peers = if with_peers { raw.as_slice() } else { &[] };
    let aws_keys: Vec<AwsLc> = peers.iter().map(|raw| aws_lc(case, raw)).collect();
    // RustCrypto's row is of AES-256 only.
    let peers = if case.cipher_key_len == 32 { peers } else { &[] };
    let rust_keys: Vec<RustCrypto> = peers.iter().map(|raw| rust_crypto(case, raw)).collect();

    let mut cbc = Cbc::new(wide);
    let mut sealed = packets.clone();
    for chunk in sealed.chunks_mut(case.burst) {
        seal_burst(&mut cbc, &keys, chunk, 1);
    }
    let (open, burst) = (case.open, case.burst);
    let mut ours = Turns::new(&packets, &sealed, &draws, case);
    let mut awss = Turns::new(&packets, &sealed, &draws, case);
    let mut rusts = Turns::new(&packets, &sealed, &draws, case);
    let mut sequence = 1_u64;
    let mut candidates = vec![Candidate {
        run: Box::new(|phase| match phase {
            Phase::Prepare => ours.prepare(),
            Phase::Work if open => open_burst(&mut cbc, &keys, ours.burst()),
            Phase::Work => {
                sequence += burst as u64;
                seal_burst(&mut cbc, &keys, ours.burst(), sequence);
            }
        }),
    }];
    if !aws_keys.is_empty() {
        candidates.push(Candidate {
            run: Box::new(|phase| match phase {
                Phase::Prepare => awss.prepare(),
                Phase::Work => {
                    for packet in awss.burst() {
                        aws_keys[packet.key].work(&mut packet.room[OFFSET..], icv_len, open);
                    }
                }
            }),
        });
    }
    if !rust_keys.is_empty() {
        candidates.push(Candidate {
            run: Box::new(|phase| match phase {
                Phase::Prepare => rusts.prepare(),
                Phase::Work => {
                    for packet in rusts.burst() {
                        rust_keys[packet.key].work(&mut packet.room[OFFSET..], icv_len, open);
                    }
                }
            }),
        });
    }
    let cycles = cycles_per_packet(&mut candidates, burst, windows);
    let peer = |at: usize| cycles.get(at).copied().unwrap_or(f64::NAN);
    [cycles[0], peer(1), peer(2)]
}

/// A candidate's packets: bursts that take turns, the same keys in the same order for every candidate.
struct Turns<'a> {
    packets: Vec<Packet>,
    sealed: &'a [Packet],
    draws: &'a [usize],
    drawn: usize,
    at: usize,
    burst: usize,
    open: bool,
}

impl<'a> Turns<'a> {
    fn new(packets: &[Packet], sealed: &'a [Packet], draws: &'a [usize], case: &Case) -> Turns<'a> {
        let (burst, open) = (case.burst, case.open);
        Turns { packets: packets.to_vec(), sealed, draws, drawn: 0, at: 0, burst, open }
    }

    /// The next burst: sealed again if it is to be opened, with new keys if it is to be sealed.
    fn prepare(&mut self) {
        self.at = (self.at + self.burst) % self.packets.len();
        let range = self.at..self.at + self.burst;
        let packets = &mut self.packets[range.clone()];
        if self.open {
            for (packet, sealed) in packets.iter_mut().zip(&self.sealed[range]) {
                packet.room.copy_from_slice(&sealed.room);
            }
            return;
        }
        for (packet, key) in packets.iter_mut().zip(&self.draws[self.drawn..]) {
            packet.key = *key;
        }
        self.drawn = (self.drawn + self.burst) % self.draws.len();
    }

    fn burst(&mut self) -> &mut [Packet] {
        &mut self.packets[self.at..self.at + self.burst]
    }
}

/// Most packets of a burst.
const MOST: usize = 32;

fn seal_burst(cbc: &mut Cbc, keys: &[CbcKey], packets: &mut [Packet], sequence: u64) {
    let jobs = packets.iter_mut().zip(sequence..).map(|(packet, sequence)| {
        let (key, packet) = (&keys[packet.key], &mut packet.room[OFFSET..]);
        SealJob { key, packet, sequence, sealed: false }
    });
    let mut jobs: arrayvec::ArrayVec<SealJob<'_, CbcKey>, MOST> = jobs.collect();
    cbc.seal_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.sealed));
}

fn open_burst(cbc: &mut Cbc, keys: &[CbcKey], packets: &mut [Packet]) {
    let jobs = packets.iter_mut().map(|packet| {
        let (key, packet) = (&keys[packet.key], &mut packet.room[OFFSET..]);
        OpenJob { key, packet, sequence: 0, opened: false }
    });
    let mut jobs: arrayvec::ArrayVec<OpenJob<'_, CbcKey>, MOST> = jobs.collect();
    cbc.open_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.opened));
}

fn aws_lc(case: &Case, (cipher, mac): &(Vec<u8>, Vec<u8>)) -> AwsLc {
    let algorithm = match case.cipher_key_len {
        16 => &aws::AES_128,
        24 => &aws::AES_192,
        _ => &aws::AES_256,
    };
    let key = || aws::UnboundCipherKey::new(algorithm, cipher).unwrap();
    let hash = match case.hash {
        Hash::Sha256 => aws_lc_rs::hmac::HMAC_SHA256,
        Hash::Sha384 => aws_lc_rs::hmac::HMAC_SHA384,
        Hash::Sha512 => aws_lc_rs::hmac::HMAC_SHA512,
    };
    AwsLc {
        seal: aws::EncryptingKey::cbc(key()).unwrap(),
        iv: aws::EncryptingKey::ecb(key()).unwrap(),
        open: aws::DecryptingKey::cbc(key()).unwrap(),
        mac: aws_lc_rs::hmac::Key::new(hash, mac),
    }
}

impl AwsLc {
    fn work(&self, packet: &mut [u8], icv_len: usize, open: bool) {
        let (covered, icv) = packet.split_at_mut(packet.len() - icv_len);
        if open {
            let tag = aws_lc_rs::hmac::sign(&self.mac, covered);
            assert!(tag.as_ref()[..icv_len] == *icv);
            let iv: [u8; 16] = covered[8..24].try_into().unwrap();
            let context = aws::DecryptionContext::Iv128((&iv).into());
            self.open.decrypt(&mut covered[24..], context).unwrap();
            return;
        }
        let (iv, text) = covered[8..].split_at_mut(16);
        self.iv.less_safe_encrypt(iv, aws::EncryptionContext::None).unwrap();
        let iv: [u8; 16] = iv.try_into().unwrap();
        self.seal.less_safe_encrypt(text, aws::EncryptionContext::Iv128((&iv).into())).unwrap();
        let tag = aws_lc_rs::hmac::sign(&self.mac, covered);
        icv.copy_from_slice(&tag.as_ref()[..icv_len]);
    }
}

fn rust_crypto(case: &Case, (cipher, mac): &(Vec<u8>, Vec<u8>)) -> RustCrypto {
    let mac = match case.hash {
        Hash::Sha256 => RustMac::Sha256(KeyInit::new_from_slice(mac).unwrap()),
        Hash::Sha384 => RustMac::Sha384(KeyInit::new_from_slice(mac).unwrap()),
        Hash::Sha512 => RustMac::Sha512(KeyInit::new_from_slice(mac).unwrap()),
    };
    RustCrypto { cipher: aes::Aes256::new_from_slice(cipher).unwrap(), mac }
}

impl RustCrypto {
    fn work(&self, packet: &mut [u8], icv_len: usize, open: bool) {
        let (covered, icv) = packet.split_at_mut(packet.len() - icv_len);
        if open {
            self.icv(covered, |tag| assert!(tag[..icv_len] == *icv));
            let iv: [u8; 16] = covered[8..24].try_into().unwrap();
            let mut chain = cbc::Decryptor::inner_iv_init(self.cipher.clone(), &iv.into());
            let (blocks, _) = aes::Block::slice_as_chunks_mut(&mut covered[24..]);
            chain.decrypt_blocks(blocks);
            return;
        }
        let mut chain = cbc::Encryptor::inner_iv_init(self.cipher.clone(), &[0; 16].into());
        let (blocks, _) = aes::Block::slice_as_chunks_mut(&mut covered[8..]);
        chain.encrypt_blocks(blocks);
        self.icv(covered, |tag| icv.copy_from_slice(&tag[..icv_len]));
    }

    fn icv(&self, covered: &[u8], then: impl FnOnce(&[u8])) {
        fn finish<M: Mac + Clone>(mac: &M, covered: &[u8], then: impl FnOnce(&[u8])) {
            let mut mac = mac.clone();
            mac.update(covered);
            then(&mac.finalize().into_bytes());
        }
        match &self.mac {
            RustMac::Sha256(mac) => finish(mac, covered, then),
            RustMac::Sha384(mac) => finish(mac, covered, then),
            RustMac::Sha512(mac) => finish(mac, covered, then),
        }
    }
}
