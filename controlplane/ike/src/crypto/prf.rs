//! prf and prf+ (RFC 7296 §2.13), over HMAC-SHA2 (RFC 4868).

use aws_lc_rs::hmac;
use zeroize::Zeroize as _;

use super::{CryptoError, Secret};
use crate::suite::Prf;

/// Most blocks of prf+: its counter is one octet.
const MAX_PRF_PLUS_BLOCKS: usize = 255;

/// `prf(key, parts...)`, the parts concatenated.
pub fn prf(prf: Prf, key: &[u8], parts: &[&[u8]]) -> Secret {
    Secret::new(mac(&hmac::Key::new(algorithm(prf), key), parts).as_ref().to_vec())
}

/// The first `octets` of `prf+(key, seed...)`, the seed's parts concatenated.
///
/// # Errors
/// [`CryptoError::BadKeyLength`] for more than 255 blocks.
pub fn prf_plus(prf: Prf, key: &[u8], seed: &[&[u8]], octets: usize) -> Result<Secret, CryptoError> {
    let blocks = octets.div_ceil(prf.output_len());
    if blocks > MAX_PRF_PLUS_BLOCKS {
        return Err(CryptoError::BadKeyLength);
    }
    let key = hmac::Key::new(algorithm(prf), key);
    // Reserved once, so that growing leaves no copy behind.
    let mut out = Vec::with_capacity(blocks * prf.output_len());
    let mut previous = Vec::with_capacity(prf.output_len());
    for counter in (1..=u8::MAX).take(blocks) {
        let mut parts = Vec::with_capacity(seed.len() + 2);
        parts.push(previous.as_slice());
        parts.extend_from_slice(seed);
        let counter = [counter];
        parts.push(&counter);
        let block = mac(&key, &parts);
        previous.clear();
        previous.extend_from_slice(block.as_ref());
        out.extend_from_slice(block.as_ref());
    }
    previous.zeroize();
    out.truncate(octets);
    Ok(Secret::new(out))
}

pub(super) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

fn algorithm(prf: Prf) -> hmac::Algorithm {
    match prf {
        Prf::HmacSha2_256 => hmac::HMAC_SHA256,
        Prf::HmacSha2_384 => hmac::HMAC_SHA384,
        Prf::HmacSha2_512 => hmac::HMAC_SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{hex, unhex};

    /// RFC 4231 §4.3 (a key shorter than the hash) and §4.7 (a key longer than the block).
    #[test]
    fn prf_is_hmac_sha2() {
        let long_key = [0xaa; 131];
        let long_data = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let table: [(Prf, &[u8], &[u8], &str); 6] = [
            (
                Prf::HmacSha2_256,
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Prf::HmacSha2_384,
                b"Jefe",
                b"what do ya want for nothing?",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Prf::HmacSha2_512,
                b"Jefe",
                b"what do ya want for nothing?",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
                 caeab1a34d4a6b4b636e070a38bce737",
            ),
            (
                Prf::HmacSha2_256,
                &long_key,
                long_data,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                Prf::HmacSha2_384,
                &long_key,
                long_data,
                "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
            ),
            (
                Prf::HmacSha2_512,
                &long_key,
                long_data,
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e52\
                 95e64f73f63f0aec8b915a985d786598",
            ),
        ];
        for (algorithm, key, data, expected) in table {
            let (head, tail) = data.split_at(7);
            assert_eq!(hex(prf(algorithm, key, &[head, tail]).as_bytes()), expected);
        }
    }

    #[test]
    fn prf_plus_chains_blocks_and_knows_its_limit() {
        let whole = prf_plus(Prf::HmacSha2_256, b"key", &[b"se", b"ed"], 100).unwrap();
        let first = prf(Prf::HmacSha2_256, b"key", &[b"seed", &[1]]);
        let second = prf(Prf::HmacSha2_256, b"key", &[first.as_bytes(), b"seed", &[2]]);
        assert_eq!(&whole.as_bytes()[..32], first.as_bytes());
        assert_eq!(&whole.as_bytes()[32..64], second.as_bytes());
        assert_eq!(whole.len(), 100);
        assert_eq!(prf_plus(Prf::HmacSha2_256, b"key", &[b"seed"], 255 * 32).unwrap().len(), 255 * 32);
        let refused = prf_plus(Prf::HmacSha2_256, b"key", &[b"seed"], 255 * 32 + 1);
        assert_eq!(refused.err(), Some(CryptoError::BadKeyLength));
        assert!(prf_plus(Prf::HmacSha2_512, &unhex("00"), &[], 0).unwrap().is_empty());
    }
}
