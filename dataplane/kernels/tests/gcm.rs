//! AES-GCM against two libraries, in every length, alignment and mixture; forgeries; stale contexts.
//!
//! On a processor without the instructions there is nothing to test, and the tests say so.

mod gcm_support;

use causeway_kernels::gcm::{Gcm, GcmKey, MAX_TEXT_LEN};
use causeway_kernels::{OpenJob, SealJob, Wide};
use gcm_support::{HEAD_LEN, ICV_LEN, Random, Sa, unsealed};

const SPI: u32 = 0xC0DE_0001;

fn gcm() -> Option<Gcm> {
    let wide = Wide::detect();
    if wide.is_none() {
        eprintln!("skipped: this processor has no AVX-512 with VAES");
    }
    wide.map(Gcm::new)
}

fn seal_one(gcm: &mut Gcm, sa: &Sa, packet: &mut [u8], sequence: u64) -> bool {
    let mut jobs = [SealJob { key: &sa.key, packet, sequence, sealed: false }];
    gcm.seal_burst(&mut jobs);
    jobs[0].sealed
}

fn open_one(gcm: &mut Gcm, sa: &Sa, packet: &mut [u8], sequence: u64) -> bool {
    let mut jobs = [OpenJob { key: &sa.key, packet, sequence, opened: false }];
    gcm.open_burst(&mut jobs);
    jobs[0].opened
}

#[test]
fn every_length_agrees_with_two_libraries_both_ways() {
    let Some(mut gcm) = gcm() else { return };
    let mut random = Random(1);
    for (key_len, esn) in [(16, false), (16, true), (32, false), (32, true)] {
        let sa = Sa::random(&mut random, key_len, esn);
        for len in 0..=2048 {
            let (text, sequence) = (random.octets(len), random.next());
            let expected = sa.sealed_by_aws_lc(SPI, sequence, &text);
            assert_eq!(expected, sa.sealed_by_rust_crypto(SPI, sequence, &text));
            let mut packet = unsealed(SPI, sequence, &text);
            assert!(seal_one(&mut gcm, &sa, &mut packet, sequence));
            assert!(packet == expected, "seal: key {key_len}, ESN {esn}, {len} octets");
            assert!(open_one(&mut gcm, &sa, &mut packet, sequence), "open: {key_len}, {esn}, {len}");
            assert!(packet[HEAD_LEN..HEAD_LEN + len] == text, "open: key {key_len}, ESN {esn}, {len} octets");
        }
    }
}

#[test]
fn every_alignment_agrees() {
    let Some(mut gcm) = gcm() else { return };
    let mut random = Random(2);
    let sa = Sa::random(&mut random, 32, true);
    let lengths = (0..=300).chain([511, 512, 513, 1023, 1420, 2048]);
    for len in lengths {
        let text = random.octets(len);
        let expected = sa.sealed_by_aws_lc(SPI, 9, &text);
        let fresh = unsealed(SPI, 9, &text);
        let mut room = vec![0xEE; 64 + fresh.len() + 64];
        let base = room.as_ptr().align_offset(64);
        for alignment in 0..64 {
            let at = (base + alignment) % 64;
            room[at..at + fresh.len()].copy_from_slice(&fresh);
            assert!(seal_one(&mut gcm, &sa, &mut room[at..at + fresh.len()], 9));
            assert!(room[at..at + fresh.len()] == expected, "{len} octets at {alignment}");
            assert!(open_one(&mut gcm, &sa, &mut room[at..at + fresh.len()], 9));
            assert!(room[at + HEAD_LEN..at + HEAD_LEN + len] == text, "{len} octets at {alignment}");
            room[at..at + fresh.len()].fill(0xEE);
            assert!(room.iter().all(|octet| *octet == 0xEE), "{len} octets at {alignment}: wrote beside it");
        }
    }
}

#[test]
fn mixed_bursts_of_many_keys_agree() {
    let Some(mut gcm) = gcm() else { return };
    let mut random = Random(3);
    let sas: Vec<Sa> = (0..80)
        .map(|index| Sa::random(&mut random, if index % 5 == 0 { 16 } else { 32 }, index % 3 == 0))
        .collect();
    for round in 0..600 {
        let busy = [1, 2, 4, 31, 80][round % 5];
        let longest = [65, 129, 300, 1500][round % 4];
        let count = 1 + random.below(70);
        let picks: Vec<(usize, u64, Vec<u8>)> = (0..count)
            .map(|_| {
                let len = random.below(longest);
                (random.below(busy), random.next(), random.octets(len))
            })
            .collect();
        let mut packets: Vec<Vec<u8>> =
            picks.iter().map(|(_, sequence, text)| unsealed(SPI, *sequence, text)).collect();
        let mut jobs: Vec<SealJob<'_, GcmKey>> = packets
            .iter_mut()
            .zip(&picks)
            .map(|(packet, pick)| SealJob { key: &sas[pick.0].key, packet, sequence: pick.1, sealed: false })
            .collect();
        gcm.seal_burst(&mut jobs);
        assert!(jobs.iter().all(|job| job.sealed));
        for (packet, (sa, sequence, text)) in packets.iter().zip(&picks) {
            assert!(*packet == sas[*sa].sealed_by_aws_lc(SPI, *sequence, text), "round {round}");
        }

        // Every fourth packet is forged in one bit of text or ICV.
        let forged: Vec<bool> = (0..count).map(|_| random.below(4) == 0).collect();
        for (packet, _) in packets.iter_mut().zip(&forged).filter(|(_, forged)| **forged) {
            let at = HEAD_LEN + random.below(packet.len() - HEAD_LEN);
            packet[at] ^= 1 << random.below(8);
        }
        let mut jobs: Vec<OpenJob<'_, GcmKey>> = packets
            .iter_mut()
            .zip(&picks)
            .map(|(packet, pick)| OpenJob { key: &sas[pick.0].key, packet, sequence: pick.1, opened: false })
            .collect();
        gcm.open_burst(&mut jobs);
        for (job, forged) in jobs.iter().zip(&forged) {
            assert_eq!(job.opened, !forged, "round {round}");
        }
        for ((packet, (_, _, text)), forged) in packets.iter().zip(&picks).zip(&forged) {
            let clear = &packet[HEAD_LEN..packet.len() - ICV_LEN];
            if *forged {
                assert!(clear.iter().all(|octet| *octet == 0), "a forged packet's text stayed");
            } else {
                assert!(clear == text);
            }
        }
    }
}

#[test]
fn every_bit_of_header_text_and_icv_and_the_upper_sequence_number_count() {
    let Some(mut gcm) = gcm() else { return };
    let mut random = Random(4);
    let sa = Sa::random(&mut random, 32, true);
    let sequence = 0x1_0000_0007;
    for len in [0, 1, 16, 52, 64, 100, 128, 160, 400] {
        let text = random.octets(len);
        let sealed = sa.sealed_by_aws_lc(SPI, sequence, &text);
        for bit in 0..sealed.len() * 8 {
            let mut packet = sealed.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(!open_one(&mut gcm, &sa, &mut packet, sequence), "{len} octets, bit {bit}");
        }
        let mut packet = sealed.clone();
        assert!(!open_one(&mut gcm, &sa, &mut packet, sequence + (1 << 32)));
        let mut packet = sealed;
        assert!(open_one(&mut gcm, &sa, &mut packet, sequence));
    }
}

#[test]
fn another_key_in_the_same_place_never_meets_the_old_ones_context() {
    let Some(mut gcm) = gcm() else { return };
    let mut random = Random(5);
    let mut sa = Sa::random(&mut random, 32, false);
    for round in 0..200 {
        let fresh = Sa::random(&mut random, if round % 3 == 0 { 16 } else { 32 }, false);
        (sa.raw, sa.salt, sa.key) = (fresh.raw, fresh.salt, fresh.key);
        for len in [40, 60, 500, 500, 40, 100, 1000] {
            let text = random.octets(len);
            let mut packets: Vec<Vec<u8>> = (0..12).map(|n| unsealed(SPI, n, &text)).collect();
            let numbered = packets.iter_mut().zip(0..);
            let mut jobs: Vec<_> = numbered
                .map(|(packet, sequence)| SealJob { key: &sa.key, packet, sequence, sealed: false })
                .collect();
            gcm.seal_burst(&mut jobs);
            for (packet, sequence) in packets.iter().zip(0..) {
                assert!(*packet == sa.sealed_by_aws_lc(SPI, sequence, &text), "round {round}");
            }
        }
        match round % 10 {
            0 => gcm.wipe(),
            5 => gcm.forget(&sa.key),
            _ => {}
        }
    }
}

#[test]
fn what_is_no_packet_is_refused_and_left_alone() {
    let Some(mut gcm) = gcm() else { return };
    let sa = Sa::random(&mut Random(6), 16, false);
    for len in (0..HEAD_LEN + ICV_LEN).chain([HEAD_LEN + MAX_TEXT_LEN + ICV_LEN + 1]) {
        let mut packet = vec![7; len];
        assert!(!seal_one(&mut gcm, &sa, &mut packet, 1));
        assert!(!open_one(&mut gcm, &sa, &mut packet, 1));
        assert!(packet.iter().all(|octet| *octet == 7));
    }
    let text = vec![9; MAX_TEXT_LEN];
    let mut packet = unsealed(SPI, 3, &text);
    assert!(seal_one(&mut gcm, &sa, &mut packet, 3));
    assert!(packet == sa.sealed_by_aws_lc(SPI, 3, &text));
    for len in [0, 15, 17, 24, 31, 33] {
        assert!(GcmKey::new(&vec![0; len], [0; 4], false).is_none());
    }
}
