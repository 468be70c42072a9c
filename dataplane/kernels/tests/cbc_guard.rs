//! The kernels touch no octet outside a packet: packets end, or begin, where unreadable pages do.

#![allow(unsafe_code, clippy::unwrap_used, reason = "pages without access can be had from the system only")]

mod guarded;
#[path = "cbc_oracle/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod oracle;

use causeway_kernels::cbc::{Cbc, CbcKey};
use causeway_kernels::{OpenJob, SealJob, Wide};
use guarded::Guarded;
use oracle::{Octets, Sa};

#[test]
fn no_octet_outside_a_packet_is_touched() {
    let Some(wide) = Wide::detect() else { return };
    let mut cbc = Cbc::new(wide);
    let mut octets = Octets::new(7);
    let mut pages: Vec<Guarded> = (0..40).map(|_| Guarded::new()).collect();
    for round in 0..120 {
        let count = [1, 2, 3, 7, 16, 40][round % 6];
        let sas: Vec<Sa> = (0..count).map(|_| octets.any_sa()).collect();
        let keys: Vec<CbcKey> = sas.iter().map(Sa::key).collect();
        let plain: Vec<Vec<u8>> = sas
            .iter()
            .map(|sa| {
                let text_len = 16 * (1 + octets.below(if round % 2 == 0 { 8 } else { 120 }));
                octets.take(24 + text_len + sa.hash.icv_len())
            })
            .collect();
        let at_end = round / 6 % 2 == 0;
        let mut packets: Vec<&mut [u8]> =
            pages.iter_mut().zip(&plain).map(|(page, plain)| page.put(plain, at_end)).collect();
        let mut jobs: Vec<SealJob<'_, CbcKey>> = packets
            .iter_mut()
            .zip(&keys)
            .map(|(packet, key)| SealJob { key, packet, sequence: round as u64, sealed: false })
            .collect();
        cbc.seal_burst(&mut jobs);
        assert!(jobs.iter().all(|job| job.sealed));
        for ((packet, plain), sa) in packets.iter().zip(&plain).zip(&sas) {
            let mut expected = plain.clone();
            sa.seal_aws_lc(&mut expected, round as u64);
            assert_eq!(**packet, expected);
        }
        let mut jobs: Vec<OpenJob<'_, CbcKey>> = packets
            .iter_mut()
            .zip(&keys)
            .map(|(packet, key)| OpenJob { key, packet, sequence: round as u64, opened: false })
            .collect();
        cbc.open_burst(&mut jobs);
        assert!(jobs.iter().all(|job| job.opened));
    }
}
