//! The kernels touch no octet outside a packet: packets end, or begin, where unreadable pages do.

#![allow(unsafe_code, clippy::unwrap_used, reason = "pages without access can be had from the system only")]

#[allow(dead_code, reason = "shared with other tests")]
mod gcm_support;
mod guarded;

use causeway_kernels::gcm::{Gcm, GcmKey};
use causeway_kernels::{OpenJob, SealJob, Wide};
use gcm_support::{HEAD_LEN, ICV_LEN, Random, Sa, unsealed};
use guarded::Guarded;

/// Packets of a burst.
const BURST: usize = 9;

#[test]
fn no_octet_outside_a_packet_is_touched() {
    let Some(wide) = Wide::detect() else { return };
    let (mut gcm, mut random) = (Gcm::new(wide), Random(7));
    let mut pages: Vec<Guarded> = (0..BURST).map(|_| Guarded::new()).collect();
    let sas: Vec<Sa> = (0..BURST).map(|index| Sa::random(&mut random, 32, index % 2 == 0)).collect();
    for len in (0..=1100).chain([1420, 2047, 2048, 4000]) {
        for (at_end, one_key) in [(false, true), (true, true), (false, false), (true, false)] {
            let text = random.octets(len);
            let sa = |index: usize| if one_key { &sas[0] } else { &sas[index] };
            let fresh = unsealed(1, 2, &text);
            let mut packets: Vec<_> = pages.iter_mut().map(|page| page.put(&fresh, at_end)).collect();
            let mut jobs: Vec<SealJob<'_, GcmKey>> = packets
                .iter_mut()
                .enumerate()
                .map(|(index, packet)| SealJob { key: &sa(index).key, packet, sequence: 2, sealed: false })
                .collect();
            gcm.seal_burst(&mut jobs);
            let last = BURST - 1;
            assert!(*packets[last] == sa(last).sealed_by_aws_lc(1, 2, &text), "{len} octets");
            let mut jobs: Vec<OpenJob<'_, GcmKey>> = packets
                .iter_mut()
                .enumerate()
                .map(|(index, packet)| OpenJob { key: &sa(index).key, packet, sequence: 2, opened: false })
                .collect();
            gcm.open_burst(&mut jobs);
            assert!(jobs.iter().all(|job| job.opened), "{len} octets");
            for packet in &packets {
                assert!(packet[HEAD_LEN..packet.len() - ICV_LEN] == text, "{len} octets");
            }
        }
    }
}
