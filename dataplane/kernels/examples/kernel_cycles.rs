//! Core cycles per packet of AES-GCM: our kernels, ring and aws-lc-rs, interleaved in one run.
//!
//! `cargo run --release -p causeway-kernels --example kernel_cycles -- [--quick] [--json] [--only TEXT]`
//!
//! Rows: key length × direction × size × keys (picked at random) × burst. Before opening, the sealed packets are put back
//! outside of the measured window.

mod measure;

use arrayvec::ArrayVec;
use aws_lc_rs::aead as aws;
use causeway_kernels::gcm::{Gcm, GcmKey};
use causeway_kernels::{OpenJob, SealJob, Wide, floor};
use measure::{Candidate, Phase, cycles_per_packet};
use ring::aead as rng;

const HEAD_LEN: usize = 16;
const ICV_LEN: usize = 16;
/// Bursts in a row until keys and lengths repeat.
const BURSTS: usize = 64;
/// Bursts of buffers: as a worker uses the same ones over and over, they stay in the first caches.
const BUFFERS: usize = 2;
/// Ethernet in front of the ESP packet, IPv4 and UDP: packets lie where they lie in a buffer.
const OFFSET: usize = 42;

struct Case {
    key_len: usize,
    open: bool,
    /// 0 for the mixture 7:4:1 of 64, 576 and 1420 octets.
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
    let windows = if has("--quick") { 400 } else { 4000 };
    if !has("--json") {
        println!("core cycles per packet, tenth percentile of {windows} windows of one burst, interleaved");
        println!("{:<46}{:>8}{:>8}{:>8}{:>9}{:>7}", "", "ours", "ring", "aws-lc", "floor", "share");
    }
    for case in cases(has("--quick")) {
        let name = case.name();
        if only.is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let [ours, ring, aws_lc] = measure_case(&case, wide, windows);
        let floor: f64 = case.lengths().iter().map(|len| floor::gcm_cycles(case.key_len, *len)).sum::<f64>()
            / case.lengths().len() as f64;
        if has("--json") {
            println!(
                r#"{{"case":"{name}","ours":{ours:.1},"ring":{ring:.1},"aws_lc":{aws_lc:.1},"floor":{floor:.1}}}"#
            );
        } else {
            println!(
                "{name:<46}{ours:>8.0}{ring:>8.0}{aws_lc:>8.0}{floor:>9.1}{:>6.0}%",
                100.0 * floor / ours
            );
        }
    }
}

fn cases(quick: bool) -> Vec<Case> {
    let sizes: &[usize] =
        if quick { &[52, 64, 512, 1420, 0] } else { &[52, 64, 128, 256, 512, 1024, 1420, 0] };
    let mut cases = Vec::new();
    for key_len in [16, 32] {
        for open in [false, true] {
            for &size in sizes {
                cases.push(Case { key_len, open, size, keys: 1, burst: 32 });
            }
        }
    }
    for keys in [1_000, 100_000] {
        for &size in sizes {
            cases.push(Case { key_len: 32, open: false, size, keys, burst: 32 });
        }
    }
    for keys in [1, 1_000] {
        for &size in sizes {
            cases.push(Case { key_len: 32, open: false, size, keys, burst: 4 });
        }
    }
    cases
}

impl Case {
    fn name(&self) -> String {
        let (direction, bits) = (if self.open { "open" } else { "seal" }, self.key_len * 8);
        let size = if self.size == 0 { "imix".to_owned() } else { self.size.to_string() };
        format!("aes-{bits}-gcm {direction} {size}, {} keys, bursts of {}", self.keys, self.burst)
    }

    /// Text lengths of a burst's packets, as often as they come.
    fn lengths(&self) -> Vec<usize> {
        match self.size {
            0 => [64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1420].to_vec(),
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
}

/// The longest text.
const LONGEST: usize = 1420;

/// Which packet comes.
struct Pick {
    key: usize,
    len: usize,
}

impl Pick {
    fn packet<'a>(&self, room: &'a mut [u8]) -> &'a mut [u8] {
        &mut room[OFFSET..OFFSET + HEAD_LEN + self.len + ICV_LEN]
    }
}

fn measure_case(case: &Case, wide: Wide, windows: usize) -> [f64; 3] {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let raw: Vec<Vec<u8>> =
        (0..case.keys).map(|_| (0..case.key_len).map(|_| random.below(256) as u8).collect()).collect();
    // Each candidate has keys and buffers of its own; the order is the same.
    let lengths = case.lengths();
    let order: Vec<Pick> = (0..BURSTS * case.burst)
        .map(|_| Pick { key: random.below(case.keys), len: lengths[random.below(lengths.len())] })
        .collect();
    let rooms = || vec![vec![0; OFFSET + HEAD_LEN + LONGEST + ICV_LEN]; BUFFERS * case.burst];
    let keys: Vec<GcmKey> = raw.iter().filter_map(|raw| GcmKey::new(raw, [1; 4], false)).collect();
    let algorithm = if case.key_len == 16 { &rng::AES_128_GCM } else { &rng::AES_256_GCM };
    let ring_keys: Vec<rng::LessSafeKey> = raw
        .iter()
        .filter_map(|raw| rng::UnboundKey::new(algorithm, raw).ok())
        .map(rng::LessSafeKey::new)
        .collect();
    let algorithm = if case.key_len == 16 { &aws::AES_128_GCM } else { &aws::AES_256_GCM };
    let aws_keys: Vec<aws::LessSafeKey> = raw
        .iter()
        .filter_map(|raw| aws::UnboundKey::new(algorithm, raw).ok())
        .map(aws::LessSafeKey::new)
        .collect();

    let mut gcm = Gcm::new(wide);
    let (mut ours, mut rings, mut awss) = (rooms(), rooms(), rooms());
    let mut sealed = vec![vec![0; OFFSET + HEAD_LEN + LONGEST + ICV_LEN]; order.len()];
    for (picks, rooms) in order.chunks(case.burst).zip(sealed.chunks_mut(case.burst)) {
        seal_burst(&mut gcm, &keys, picks, rooms, 1);
    }
    let (mut at_ours, mut at_ring, mut at_aws) = (0, 0, 0);
    let mut sequence = 1_u64;
    let open = case.open;
    let burst = case.burst;
    let mut candidates = [
        Candidate {
            run: Box::new(|phase| {
                let from = place(&mut at_ours, phase, burst);
                let (picks, rooms) = (&order[from..from + burst], half(&mut ours, from, burst));
                if phase == Phase::Prepare {
                    return restore(open, picks, rooms, &sealed[from..from + burst]);
                }
                if open {
                    open_burst(&mut gcm, &keys, picks, rooms);
                } else {
                    sequence += burst as u64;
                    seal_burst(&mut gcm, &keys, picks, rooms, sequence);
                }
            }),
        },
        Candidate {
            run: Box::new(|phase| {
                let from = place(&mut at_ring, phase, burst);
                let (picks, rooms) = (&order[from..from + burst], half(&mut rings, from, burst));
                if phase == Phase::Prepare {
                    return restore(open, picks, rooms, &sealed[from..from + burst]);
                }
                for (pick, room) in picks.iter().zip(rooms) {
                    let packet = pick.packet(room);
                    let key = &ring_keys[pick.key];
                    let nonce = rng::Nonce::assume_unique_for_key(nonce(packet));
                    let (head, body) = packet.split_at_mut(HEAD_LEN);
                    let aad = rng::Aad::from(&head[..8]);
                    if open {
                        assert!(key.open_in_place(nonce, aad, body).is_ok());
                    } else {
                        let end = body.len() - ICV_LEN;
                        let (text, icv) = body.split_at_mut(end);
                        match key.seal_in_place_separate_tag(nonce, aad, text) {
                            Ok(tag) => icv.copy_from_slice(tag.as_ref()),
                            Err(_) => std::process::abort(),
                        }
                    }
                }
            }),
        },
        Candidate {
            run: Box::new(|phase| {
                let from = place(&mut at_aws, phase, burst);
                let (picks, rooms) = (&order[from..from + burst], half(&mut awss, from, burst));
                if phase == Phase::Prepare {
                    return restore(open, picks, rooms, &sealed[from..from + burst]);
                }
                for (pick, room) in picks.iter().zip(rooms) {
                    let packet = pick.packet(room);
                    let key = &aws_keys[pick.key];
                    let nonce = aws::Nonce::assume_unique_for_key(nonce(packet));
                    let (head, body) = packet.split_at_mut(HEAD_LEN);
                    let aad = aws::Aad::from(&head[..8]);
                    if open {
                        assert!(key.open_in_place(nonce, aad, body).is_ok());
                    } else {
                        let end = body.len() - ICV_LEN;
                        let (text, icv) = body.split_at_mut(end);
                        match key.seal_in_place_separate_tag(nonce, aad, text) {
                            Ok(tag) => icv.copy_from_slice(tag.as_ref()),
                            Err(_) => std::process::abort(),
                        }
                    }
                }
            }),
        },
    ];
    let cycles = cycles_per_packet(&mut candidates, burst, windows);
    [cycles[0], cycles[1], cycles[2]]
}

/// The burst's place in the order; after work on it the next one's turn comes.
fn place(at: &mut usize, phase: Phase, burst: usize) -> usize {
    let from = *at;
    if phase == Phase::Work {
        *at = (from + burst) % (BURSTS * burst);
    }
    from
}

/// Most packets of a burst.
const MOST: usize = 32;

/// The buffers of the burst that begins at `from`.
fn half(rooms: &mut [Vec<u8>], from: usize, burst: usize) -> &mut [Vec<u8>] {
    let at = from % (BUFFERS * burst);
    &mut rooms[at..at + burst]
}

fn seal_burst(gcm: &mut Gcm, keys: &[GcmKey], picks: &[Pick], rooms: &mut [Vec<u8>], sequence: u64) {
    let jobs = picks.iter().zip(rooms).zip(sequence..).map(|((pick, room), sequence)| {
        let (key, packet) = (&keys[pick.key], pick.packet(room));
        SealJob { key, packet, sequence, sealed: false }
    });
    let mut jobs: ArrayVec<SealJob<'_, GcmKey>, MOST> = jobs.collect();
    gcm.seal_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.sealed));
}

fn open_burst(gcm: &mut Gcm, keys: &[GcmKey], picks: &[Pick], rooms: &mut [Vec<u8>]) {
    let jobs = picks.iter().zip(rooms).map(|(pick, room)| {
        let (key, packet) = (&keys[pick.key], pick.packet(room));
        OpenJob { key, packet, sequence: 0, opened: false }
    });
    let mut jobs: ArrayVec<OpenJob<'_, GcmKey>, MOST> = jobs.collect();
    gcm.open_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.opened));
}

fn restore(open: bool, picks: &[Pick], rooms: &mut [Vec<u8>], sealed: &[Vec<u8>]) {
    if !open {
        return;
    }
    for ((pick, room), sealed) in picks.iter().zip(rooms).zip(sealed) {
        let end = OFFSET + HEAD_LEN + pick.len + ICV_LEN;
        room[..end].copy_from_slice(&sealed[..end]);
    }
}

/// The salt of this program, and the packet's IV.
fn nonce(packet: &[u8]) -> [u8; 12] {
    let mut nonce = [1; 12];
    nonce[4..].copy_from_slice(&packet[8..16]);
    nonce
}
