//! MODP-2048, group 14 (RFC 3526 §3), over the big numbers of AWS-LC.
//!
//! The one place of this crate with `unsafe`: the safe library has no finite-field Diffie-Hellman. Exponents have 256
//! random bits, enough for this safe-prime group (RFC 7919 §5.2 asks for 225); every exponentiation takes the time of
//! the exponent's width, not of its value.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use aws_lc_sys::{
    BIGNUM, BN_CTX, BN_CTX_free, BN_CTX_new, BN_MONT_CTX, BN_MONT_CTX_free, BN_MONT_CTX_new_for_modulus,
    BN_bin2bn, BN_bn2bin_padded, BN_clear_free, BN_get_rfc3526_prime_2048, BN_mod_exp_mont_consttime, BN_new,
};
use zeroize::Zeroizing;

use super::{CryptoError, Random, Secret};

/// Octets of the modulus, of public values and of the shared secret.
const MODULUS_LEN: usize = 256;
/// Octets of a private exponent.
const EXPONENT_LEN: usize = 32;
/// The group's generator.
const GENERATOR: &[u8] = &[2];

/// A private exponent.
pub(super) struct ModpPrivate(Secret);

impl ModpPrivate {
    pub(super) fn generate(random: &mut dyn Random) -> Result<ModpPrivate, CryptoError> {
        let mut exponent = Zeroizing::new(vec![0; EXPONENT_LEN]);
        random.fill(&mut exponent)?;
        // The top bit is set, so that no exponent is small.
        if let Some(first) = exponent.first_mut() {
            *first |= 0x80;
        }
        Ok(ModpPrivate(Secret::new(exponent.to_vec())))
    }

    pub(super) fn public(&self) -> Result<Vec<u8>, CryptoError> {
        Ok(power(GENERATOR, self.0.as_bytes(), &Bn::prime()?)?.to_vec())
    }

    /// `peer_public ^ exponent`, after the membership test of RFC 6989 §2.1: `1 < peer_public < p - 1`.
    pub(super) fn derive(&self, peer_public: &[u8]) -> Result<Secret, CryptoError> {
        let prime = Bn::prime()?;
        let mut largest = prime.to_octets()?;
        // p is odd, so p - 1 differs in the last bit only. All three have MODULUS_LEN octets: octet order is numeric order.
        largest[MODULUS_LEN - 1] &= 0xfe;
        let mut one = [0; MODULUS_LEN];
        one[MODULUS_LEN - 1] = 1;
        if peer_public.len() != MODULUS_LEN || peer_public <= &one[..] || peer_public >= &largest[..] {
            return Err(CryptoError::BadPublicValue);
        }
        let secret = power(peer_public, self.0.as_bytes(), &prime)?;
        Ok(Secret::new(secret.to_vec()))
    }
}

/// `base ^ exponent mod prime`.
fn power(base: &[u8], exponent: &[u8], prime: &Bn) -> Result<Zeroizing<[u8; MODULUS_LEN]>, CryptoError> {
    let base = Bn::from_octets(base)?;
    let exponent = Bn::from_octets(exponent)?;
    let result = Bn::new()?;
    let context = Context::new()?;
    let montgomery = Montgomery::new(prime, &context)?;
    // SAFETY: all six pointers are live objects that the wrappers own until the end of this function; `base` and
    // `exponent` are only read, `result` is not aliased.
    let done = unsafe {
        BN_mod_exp_mont_consttime(
            result.0.as_ptr(),
            base.0.as_ptr(),
            exponent.0.as_ptr(),
            prime.0.as_ptr(),
            context.0.as_ptr(),
            montgomery.0.as_ptr(),
        )
    };
    if done == 1 { result.to_octets() } else { Err(CryptoError::Library) }
}

/// An owned big number, wiped when dropped.
struct Bn(NonNull<BIGNUM>);

impl Bn {
    fn new() -> Result<Bn, CryptoError> {
        // SAFETY: takes nothing; returns null or a number that we own.
        NonNull::new(unsafe { BN_new() }).map(Bn).ok_or(CryptoError::Library)
    }

    fn prime() -> Result<Bn, CryptoError> {
        // SAFETY: with a null argument it returns null or a new number that we own.
        let prime = unsafe { BN_get_rfc3526_prime_2048(std::ptr::null_mut()) };
        NonNull::new(prime).map(Bn).ok_or(CryptoError::Library)
    }

    fn from_octets(octets: &[u8]) -> Result<Bn, CryptoError> {
        // SAFETY: reads `octets.len()` octets from a live slice; with a null destination it returns null or a new
        // number that we own.
        let number = unsafe { BN_bin2bn(octets.as_ptr(), octets.len(), std::ptr::null_mut()) };
        NonNull::new(number).map(Bn).ok_or(CryptoError::Library)
    }

    fn to_octets(&self) -> Result<Zeroizing<[u8; MODULUS_LEN]>, CryptoError> {
        let mut octets = Zeroizing::new([0; MODULUS_LEN]);
        // SAFETY: writes exactly MODULUS_LEN octets to a live array of that size, or fails.
        let done = unsafe { BN_bn2bin_padded(octets.as_mut_ptr(), MODULUS_LEN, self.0.as_ptr()) };
        if done == 1 { Ok(octets) } else { Err(CryptoError::Library) }
    }
}

impl Drop for Bn {
    fn drop(&mut self) {
        // SAFETY: we own the number and nobody uses it afterwards.
        unsafe { BN_clear_free(self.0.as_ptr()) }
    }
}

struct Context(NonNull<BN_CTX>);

impl Context {
    fn new() -> Result<Context, CryptoError> {
        // SAFETY: takes nothing; returns null or a context that we own.
        NonNull::new(unsafe { BN_CTX_new() }).map(Context).ok_or(CryptoError::Library)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: we own the context and nobody uses it afterwards.
        unsafe { BN_CTX_free(self.0.as_ptr()) }
    }
}

struct Montgomery(NonNull<BN_MONT_CTX>);

impl Montgomery {
    fn new(modulus: &Bn, context: &Context) -> Result<Montgomery, CryptoError> {
        // SAFETY: both pointers are live; the modulus is copied; returns null or an object that we own.
        let montgomery = unsafe { BN_MONT_CTX_new_for_modulus(modulus.0.as_ptr(), context.0.as_ptr()) };
        NonNull::new(montgomery).map(Montgomery).ok_or(CryptoError::Library)
    }
}

impl Drop for Montgomery {
    fn drop(&mut self) {
        // SAFETY: we own the object and nobody uses it afterwards.
        unsafe { BN_MONT_CTX_free(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{hex, vectors};

    #[test]
    fn known_answers() {
        let groups = vectors();
        let known = groups.last().unwrap();
        let prime = Bn::prime().unwrap().to_octets().unwrap();
        assert_eq!(hex(&prime[..]), known.text("prime"));
        let private = ModpPrivate(Secret::new(known.octets("modp_x")));
        assert_eq!(hex(&private.public().unwrap()), known.text("modp_gx"));
        let shared = private.derive(&known.octets("modp_gy")).unwrap();
        assert_eq!(hex(shared.as_bytes()), known.text("modp_gxy"));
    }

    /// RFC 6989 §2.1: 0, 1, p - 1, p and above are refused; 2 and p - 2 are the first and last that are taken.
    #[test]
    fn only_members_of_the_group_are_taken() {
        let prime = Bn::prime().unwrap().to_octets().unwrap();
        let low = |value: u8| {
            let mut octets = [0; MODULUS_LEN];
            octets[MODULUS_LEN - 1] = value;
            octets
        };
        let below_prime = |less: u8| {
            let mut octets = *prime;
            octets[MODULUS_LEN - 1] -= less;
            octets
        };
        let private = ModpPrivate(Secret::new(vec![0x81; EXPONENT_LEN]));
        for refused in [low(0), low(1), below_prime(1), below_prime(0), [0xff; MODULUS_LEN]] {
            assert_eq!(private.derive(&refused).err(), Some(CryptoError::BadPublicValue));
        }
        for taken in [low(2), below_prime(2)] {
            assert!(private.derive(&taken).is_ok());
        }
    }
}
