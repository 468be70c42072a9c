//! A burst of CBC packets, their suites, lengths and octets all from the input: the kernels and two libraries agree.
#![no_main]

#[path = "../../../dataplane/kernels/tests/cbc_oracle/mod.rs"]
#[allow(dead_code)]
mod oracle;

use causeway_kernels::cbc::{Cbc, CbcKey};
use causeway_kernels::{OpenJob, SealJob, Wide};
use libfuzzer_sys::fuzz_target;
use oracle::{CIPHER_KEY_LENS, HASHES, Octets, Sa};

/// Packets of a burst at most: one more than the kernels work on at a time.
const MOST: usize = 65;

fuzz_target!(|input: &[u8]| {
    let Some(wide) = Wide::detect() else { return };
    let (sas, plain): (Vec<Sa>, Vec<Vec<u8>>) = input.chunks_exact(4).take(MOST).map(packet).unzip();
    let keys: Vec<CbcKey> = sas.iter().map(Sa::key).collect();
    let sequence = |i: usize| (i as u64) << 31 | 7;
    let mut cbc = Cbc::new(wide);

    let mut packets = plain.clone();
    let mut jobs: Vec<SealJob<'_, CbcKey>> = packets
        .iter_mut()
        .zip(&keys)
        .enumerate()
        .map(|(i, (packet, key))| SealJob { key, packet, sequence: sequence(i), sealed: false })
        .collect();
    cbc.seal_burst(&mut jobs);
    assert!(jobs.iter().all(|job| job.sealed));
    for (i, (packet, sa)) in packets.iter().zip(&sas).enumerate() {
        let (mut first, mut second) = (plain[i].clone(), plain[i].clone());
        sa.seal_aws_lc(&mut first, sequence(i));
        sa.seal_rust_crypto(&mut second, sequence(i));
        assert_eq!(*packet, first);
        assert_eq!(*packet, second);
    }

    // One octet of some packets is changed, as the input wants it.
    for (packet, octets) in packets.iter_mut().zip(input.chunks_exact(4)) {
        if octets[3] & 0x80 != 0 {
            let at = usize::from(octets[3] & 0x7f) * packet.len() / 128;
            packet[at] ^= octets[2] | 1;
        }
    }
    let mut expected = packets.clone();
    let right: Vec<bool> = expected
        .iter_mut()
        .zip(&sas)
        .enumerate()
        .map(|(i, (packet, sa))| sa.open_rust_crypto(packet, sequence(i)))
        .collect();
    let mut jobs: Vec<OpenJob<'_, CbcKey>> = packets
        .iter_mut()
        .zip(&keys)
        .enumerate()
        .map(|(i, (packet, key))| OpenJob { key, packet, sequence: sequence(i), opened: false })
        .collect();
    cbc.open_burst(&mut jobs);
    assert!(jobs.iter().map(|job| job.opened).eq(right));
    assert_eq!(packets, expected);
});

/// Four octets of input say the suite and the length of a packet, and seed its keys and text.
fn packet(octets: &[u8]) -> (Sa, Vec<u8>) {
    let mut stream = Octets::new(u64::from(u16::from_le_bytes([octets[0], octets[2]])));
    let suite = usize::from(octets[0]);
    let sa = stream.sa(CIPHER_KEY_LENS[suite % 3], HASHES[suite / 3 % 3]);
    let text_len = 16 * (1 + usize::from(octets[1]));
    let packet = stream.take(24 + text_len + sa.hash.icv_len());
    (sa, packet)
}
