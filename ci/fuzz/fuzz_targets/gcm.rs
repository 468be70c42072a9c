//! A burst of GCM packets, their keys, lengths and octets all from the input: the kernels and two libraries agree.
#![no_main]

#[path = "../../../dataplane/kernels/tests/gcm_support/mod.rs"]
#[allow(dead_code)]
mod support;

use causeway_kernels::gcm::{Gcm, GcmKey};
use causeway_kernels::{OpenJob, SealJob, Wide};
use libfuzzer_sys::fuzz_target;
use support::{HEAD_LEN, ICV_LEN, Random, Sa, unsealed};

/// Packets of a burst at most: more than the kernels work on at a time.
const MOST: usize = 40;
/// SAs that the packets choose from.
const SAS: usize = 12;
const SPI: u32 = 0xC0DE_0001;

// Four octets of input: which SA, the text's length, and what is forged.
fuzz_target!(|input: &[u8]| {
    let Some(wide) = Wide::detect() else { return };
    let picks: Vec<&[u8]> = input.chunks_exact(4).take(MOST).collect();
    let seed = |seed: u64, pick: &&[u8]| seed.wrapping_mul(31).wrapping_add(u64::from(pick[1]) + 1);
    // xorshift: its state is never 0.
    let mut random = Random(picks.iter().fold(1, seed) | 1);
    let sas: Vec<Sa> = (0..SAS)
        .map(|index| Sa::random(&mut random, if index % 4 == 3 { 16 } else { 32 }, index % 2 == 0))
        .collect();
    let sa = |pick: &[u8]| &sas[usize::from(pick[0]) % SAS];
    let texts: Vec<Vec<u8>> = picks
        .iter()
        .map(|pick| {
            let long = usize::from(pick[2]) << 3;
            random.octets(usize::from(pick[1]) % 140 + if pick[2] & 1 == 1 { long } else { 0 })
        })
        .collect();
    let sequence = |index: usize| (index as u64) << 31 | 7;
    let mut gcm = Gcm::new(wide);

    let mut packets: Vec<Vec<u8>> =
        texts.iter().enumerate().map(|(index, text)| unsealed(SPI, sequence(index), text)).collect();
    let mut jobs: Vec<SealJob<'_, GcmKey>> = packets
        .iter_mut()
        .zip(&picks)
        .enumerate()
        .map(|(index, (packet, pick))| SealJob {
            key: &sa(pick).key,
            packet,
            sequence: sequence(index),
            sealed: false,
        })
        .collect();
    gcm.seal_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.sealed));
    for (index, (packet, pick)) in packets.iter().zip(&picks).enumerate() {
        assert_eq!(*packet, sa(pick).sealed_by_aws_lc(SPI, sequence(index), &texts[index]));
        assert_eq!(*packet, sa(pick).sealed_by_rust_crypto(SPI, sequence(index), &texts[index]));
    }

    let forged = |pick: &[u8]| pick[3] & 0x80 != 0;
    for (packet, pick) in packets.iter_mut().zip(&picks).filter(|(_, pick)| forged(pick)) {
        let at = usize::from(pick[3] & 0x7f) * packet.len() / 128;
        packet[at] ^= pick[2] | 1;
    }
    let mut jobs: Vec<OpenJob<'_, GcmKey>> = packets
        .iter_mut()
        .zip(&picks)
        .enumerate()
        .map(|(index, (packet, pick))| OpenJob {
            key: &sa(pick).key,
            packet,
            sequence: sequence(index),
            opened: false,
        })
        .collect();
    gcm.open_burst(&mut jobs);
    for (job, pick) in jobs.iter().zip(&picks) {
        assert_eq!(job.opened, !forged(pick));
    }
    for ((packet, pick), text) in packets.iter().zip(&picks).zip(&texts) {
        let clear = &packet[HEAD_LEN..packet.len() - ICV_LEN];
        assert!(if forged(pick) { clear.iter().all(|octet| *octet == 0) } else { clear == text });
    }
});
