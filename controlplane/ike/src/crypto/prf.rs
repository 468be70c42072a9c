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
