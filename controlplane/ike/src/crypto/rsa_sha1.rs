//! RSA PKCS#1 v1.5 signatures over SHA-1: authentication method 1 as RFC 7296 §3.8 has it.
//!
//! Peers without RFC 7427 (Windows among them) accept nothing else from an RSA gateway, and the safe library signs with
//! SHA-2 only. What is signed holds a fresh nonce of the peer, so a precomputed collision is of no use.
#![allow(unsafe_code)]

use std::ffi::{c_long, c_uint};
use std::ptr::NonNull;

use aws_lc_rs::digest;
use aws_lc_sys::{
    EVP_PKEY, EVP_PKEY_free, EVP_PKEY_get0_RSA, NID_sha1, RSA_sign, RSA_size, d2i_AutoPrivateKey,
};

use super::CryptoError;

/// An RSA private key that signs over SHA-1.
pub(crate) struct RsaSha1Signer(NonNull<EVP_PKEY>);

// SAFETY: the key is immutable after construction, and AWS-LC documents that signing with a shared RSA key is safe from
// several threads: its lazily made Montgomery contexts and blindings are guarded by a lock in the RSA object.
unsafe impl Send for RsaSha1Signer {}
// SAFETY: as above.
unsafe impl Sync for RsaSha1Signer {}

impl RsaSha1Signer {
    /// Reads a private key in DER, PKCS#8 or PKCS#1.
    pub(crate) fn from_der(der: &[u8]) -> Result<RsaSha1Signer, CryptoError> {
        let length = c_long::try_from(der.len()).map_err(|_| CryptoError::BadKeyLength)?;
        let mut input = der.as_ptr();
        // SAFETY: reads at most `length` octets from a live slice; with a null destination it returns null or a new key
        // that we own.
        let key = unsafe { d2i_AutoPrivateKey(std::ptr::null_mut(), &mut input, length) };
        let signer = RsaSha1Signer(NonNull::new(key).ok_or(CryptoError::Library)?);
        // SAFETY: the key is live; the result is null unless it is an RSA key.
        if unsafe { EVP_PKEY_get0_RSA(signer.0.as_ptr()) }.is_null() {
            return Err(CryptoError::Library);
        }
        Ok(signer)
    }

    /// Signs `octets`.
    pub(crate) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets);
        let digest = digest.as_ref();
        // SAFETY: the key is live and, as checked at construction, holds an RSA key; it stays owned by the EVP_PKEY.
        let rsa = unsafe { EVP_PKEY_get0_RSA(self.0.as_ptr()) };
        // SAFETY: `rsa` is live and not null.
        let size = usize::try_from(unsafe { RSA_size(rsa) }).map_err(|_| CryptoError::Library)?;
        let mut signature = vec![0; size];
        let mut written: c_uint = 0;
        // SAFETY: reads the digest's octets; writes at most RSA_size octets to a live vector of that length.
        let done = unsafe {
            RSA_sign(NID_sha1, digest.as_ptr(), digest.len(), signature.as_mut_ptr(), &mut written, rsa)
        };
        if done != 1 || usize::try_from(written) != Ok(size) {
            return Err(CryptoError::Library);
        }
        Ok(signature)
    }
}

impl Drop for RsaSha1Signer {
    fn drop(&mut self) {
        // SAFETY: we own the key and nobody uses it afterwards; the library wipes it.
        unsafe { EVP_PKEY_free(self.0.as_ptr()) }
    }
}
