//! AES-CBC + HMAC-SHA2 kernels against two libraries: every length, every suite, every burst size, forged packets.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "cbc_oracle/mod.rs"]
mod oracle;

use causeway_kernels::cbc::{Cbc, CbcKey};
use causeway_kernels::{OpenJob, SealJob, Wide};
use oracle::{CIPHER_KEY_LENS, HASHES, Octets, Sa};

/// The kernels, or `None` on a processor without them: such a machine cannot run these tests.
fn kernels() -> Option<Cbc> {
    let wide = Wide::detect();
    if wide.is_none() {
        eprintln!("this processor has no AVX-512 with VAES: nothing to test");
    }
    wide.map(Cbc::new)
}

/// A packet to seal and all that is known about it.
struct Case {
    sa: Sa,
    key: CbcKey,
    sequence: u64,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Case {
    fn new(octets: &mut Octets, sa: Sa, text_len: usize) -> Case {
        let sequence = octets.word() >> octets.below(64);
        let mut plain = octets.take(24 + text_len + sa.hash.icv_len());
        plain[4..8].copy_from_slice(&(sequence as u32).to_be_bytes());
        let mut sealed = plain.clone();
        sa.seal_aws_lc(&mut sealed, sequence);
        let mut other = plain.clone();
        sa.seal_rust_crypto(&mut other, sequence);
        assert_eq!(sealed, other, "the two libraries agree");
        let mut opened = sealed.clone();
        assert!(sa.open_aws_lc(&mut opened, sequence));
        let mut other = sealed.clone();
        assert!(sa.open_rust_crypto(&mut other, sequence));
        assert_eq!(opened, other, "the two libraries agree");
        Case { key: sa.key(), sa, sequence, plain, sealed }
    }

    /// What an opened packet's plaintext is.
    fn text(&self) -> &[u8] {
        &self.plain[24..self.plain.len() - self.sa.hash.icv_len()]
    }
}

/// Seals and opens `cases` in one burst each, the packets `offset` octets into their buffers.
fn check(cbc: &mut Cbc, cases: &[Case], offset: usize) {
    let buffer = |octets: &[u8]| [vec![0xA5; offset], octets.to_vec(), vec![0xA5; 64]].concat();
    let mut buffers: Vec<Vec<u8>> = cases.iter().map(|case| buffer(&case.plain)).collect();
    let mut jobs: Vec<SealJob<'_, CbcKey>> = cases
        .iter()
        .zip(&mut buffers)
        .map(|(case, buffer)| SealJob {
            key: &case.key,
            packet: &mut buffer[offset..offset + case.plain.len()],
            sequence: case.sequence,
            sealed: false,
        })
        .collect();
    cbc.seal_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.sealed));
    for (case, found) in cases.iter().zip(&buffers) {
        assert_eq!(*found, buffer(&case.sealed), "sealed, {} octets", case.plain.len());
    }
    let mut jobs: Vec<OpenJob<'_, CbcKey>> = cases
        .iter()
        .zip(&mut buffers)
        .map(|(case, buffer)| OpenJob {
            key: &case.key,
            packet: &mut buffer[offset..offset + case.plain.len()],
            sequence: case.sequence,
            opened: false,
        })
        .collect();
    cbc.open_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.opened));
    for (case, found) in cases.iter().zip(&buffers) {
        let mut expected = case.sealed.clone();
        let end = expected.len() - case.sa.hash.icv_len();
        expected[24..end].copy_from_slice(case.text());
        assert_eq!(*found, buffer(&expected), "opened, {} octets", case.plain.len());
    }
}

/// Every length that RFC 3602 §2.4 allows up to 2,048 octets, each suite, alone and in a burst.
#[test]
fn every_length_of_every_suite() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(1);
    for cipher_key_len in CIPHER_KEY_LENS {
        for hash in HASHES {
            let mut cases = Vec::new();
            for text_len in (16..=2048).step_by(16) {
                let sa = octets.sa(cipher_key_len, hash);
                cases.push(Case::new(&mut octets, sa, text_len));
            }
            for case in &cases {
                check(&mut cbc, std::slice::from_ref(case), 0);
            }
            check(&mut cbc, &cases, 0);
        }
    }
}

/// Where in a cache line a packet starts changes nothing.
#[test]
fn every_alignment() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(2);
    for offset in 0..64 {
        let cases: Vec<Case> = (0..9)
            .map(|i| {
                let sa = octets.sa(CIPHER_KEY_LENS[i % 3], HASHES[i / 3]);
                let text_len = 16 * (1 + octets.below(20));
                Case::new(&mut octets, sa, text_len)
            })
            .collect();
        check(&mut cbc, &cases, offset);
    }
}

/// Bursts of 1 to 40 packets and one beyond a chunk: equal lengths of one suite, and anything mixed with anything.
#[test]
fn every_burst_size() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(3);
    for count in (1..=40).chain([63, 64, 65, 130]) {
        for hash in HASHES {
            let text_len = 16 * (1 + octets.below(30));
            let cases: Vec<Case> = (0..count)
                .map(|_| {
                    let sa = octets.sa(32, hash);
                    Case::new(&mut octets, sa, text_len)
                })
                .collect();
            check(&mut cbc, &cases, 2);
        }
        for _ in 0..8 {
            let longest = [4, 20, 128][octets.below(3)];
            let cases: Vec<Case> = (0..count)
                .map(|_| {
                    let (sa, text_len) = (octets.any_sa(), 16 * (1 + octets.below(longest)));
                    Case::new(&mut octets, sa, text_len)
                })
                .collect();
            check(&mut cbc, &cases, 50);
        }
    }
}

/// A few long packets among many short ones of one suite: the short ones wait for the lanes beside the long ones.
#[test]
fn few_long_among_many_short() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(9);
    for (round, short) in [3, 7, 8, 9, 13, 16, 17, 24, 29, 40, 60].into_iter().enumerate() {
        for long in 1..=4 {
            let (cipher_key_len, hash) = (CIPHER_KEY_LENS[round % 3], HASHES[(round + long) % 3]);
            let cases: Vec<Case> = (0..long + short)
                .map(|i| {
                    let text_len = if i % (short / long + 1) == 0 {
                        16 * (60 + octets.below(30))
                    } else {
                        16 * (1 + octets.below(12))
                    };
                    let sa = octets.sa(cipher_key_len, hash);
                    Case::new(&mut octets, sa, text_len)
                })
                .collect();
            check(&mut cbc, &cases, 10);
        }
    }
}

/// The longest packets: the largest an IP datagram can hold, and among them short ones.
#[test]
fn longest_packets() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(4);
    let cases: Vec<Case> = [65_472, 16, 9_200, 65_440, 32, 1_440]
        .into_iter()
        .map(|text_len| {
            let sa = octets.any_sa();
            Case::new(&mut octets, sa, text_len)
        })
        .collect();
    check(&mut cbc, &cases, 1);
}

/// One wrong bit anywhere, or another sequence number's upper half, and the packet is refused and left as it was; its
/// neighbours in the burst are opened.
#[test]
fn forged_packets() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(5);
    for round in 0..400 {
        let cases: Vec<Case> = (0..1 + octets.below(40))
            .map(|_| {
                let (sa, text_len) = (octets.any_sa(), 16 * (1 + octets.below(40)));
                Case::new(&mut octets, sa, text_len)
            })
            .collect();
        let mut sequences: Vec<u64> = cases.iter().map(|case| case.sequence).collect();
        let mut packets: Vec<Vec<u8>> = cases.iter().map(|case| case.sealed.clone()).collect();
        let mut forged = vec![false; cases.len()];
        for (i, case) in cases.iter().enumerate() {
            match octets.below(4) {
                0 => {
                    // The ICV's every octet gets its turn as the rounds go by.
                    let bit = octets.below(8);
                    let at = if round % 2 == 0 {
                        case.sealed.len() - 1 - round / 2 % case.sa.hash.icv_len()
                    } else {
                        octets.below(case.sealed.len())
                    };
                    packets[i][at] ^= 1 << bit;
                    forged[i] = true;
                }
                1 if case.sa.esn => {
                    sequences[i] ^= 1 << (32 + octets.below(32));
                    forged[i] = true;
                }
                _ => {}
            }
        }
        let before = packets.clone();
        let mut jobs: Vec<OpenJob<'_, CbcKey>> = cases
            .iter()
            .zip(&mut packets)
            .zip(&sequences)
            .map(|((case, packet), &sequence)| OpenJob { key: &case.key, packet, sequence, opened: true })
            .collect();
        cbc.open_burst(&mut jobs);
        let opened: Vec<bool> = jobs.iter().map(|job| job.opened).collect();
        for (i, case) in cases.iter().enumerate() {
            assert_eq!(opened[i], !forged[i]);
            if forged[i] {
                assert_eq!(packets[i], before[i], "a forged packet is not decrypted");
            } else {
                assert_eq!(&packets[i][24..packets[i].len() - case.sa.hash.icv_len()], case.text());
            }
        }
    }
}

/// Lengths that no packet of the suite can have are refused in both directions and not touched.
#[test]
fn impossible_lengths() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(6);
    for hash in HASHES {
        let sa = octets.sa(32, hash);
        let key = sa.key();
        let shortest = 24 + 16 + hash.icv_len();
        for len in (0..300).chain([65_536, 24 + 65_536 + hash.icv_len()]) {
            let possible = len >= shortest && (len - shortest) % 16 == 0 && len <= 65_535;
            let before = octets.take(len);
            let mut packet = before.clone();
            let mut jobs = [SealJob { key: &key, packet: &mut packet, sequence: 7, sealed: !possible }];
            cbc.seal_burst(&mut jobs);
            assert_eq!(jobs[0].sealed, possible, "{len}");
            assert_eq!(packet == before, !possible);
            if !possible {
                let mut jobs = [OpenJob { key: &key, packet: &mut packet, sequence: 7, opened: true }];
                cbc.open_burst(&mut jobs);
                assert!(!jobs[0].opened);
                assert_eq!(packet, before);
            }
        }
    }
}

/// A key's octets have to be as many as the suite says.
#[test]
fn key_lengths() {
    for hash in HASHES {
        for cipher_len in 0..40 {
            for integrity_len in 0..=70 {
                let key = CbcKey::new(&[1; 40][..cipher_len], hash, &[2; 70][..integrity_len], false);
                let right = CIPHER_KEY_LENS.contains(&cipher_len) && integrity_len == hash.key_len();
                assert_eq!(key.is_some(), right);
            }
        }
    }
    assert!(size_of::<CbcKey>() <= 176);
}

/// A salt changes the IV, and nothing for who opens the packet.
#[test]
fn salted_ivs() {
    let Some(mut cbc) = kernels() else { return };
    let mut octets = Octets::new(8);
    for salt in [0, 1, 0x8000_0000, u32::MAX] {
        let case = {
            let sa = octets.any_sa();
            Case::new(&mut octets, sa, 80)
        };
        let key = case.sa.key().with_iv_salt(salt);
        let mut packet = case.plain.clone();
        let mut jobs = [SealJob { key: &key, packet: &mut packet, sequence: case.sequence, sealed: false }];
        cbc.seal_burst(&mut jobs);
        assert!(jobs[0].sealed);
        assert_eq!(packet[8..24] == case.sealed[8..24], salt == 0);
        assert!(case.sa.open_rust_crypto(&mut packet, case.sequence));
        assert_eq!(&packet[24..packet.len() - case.sa.hash.icv_len()], case.text());
    }
}
