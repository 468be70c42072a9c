//! The engine of our own kernels: AVX-512, VAES, VPCLMULQDQ. Keys are small and lie in the SA itself. ChaCha20-Poly1305, for which
//! there is no kernel, is left to aws-lc-rs.

use causeway_kernels::Wide as Processor;
use causeway_kernels::cbc::{Cbc, CbcKey, Hash, MaybeCbc};
use causeway_kernels::gcm::{Gcm, GcmKey, MaybeGcm};
use causeway_kernels::{Outcome, View};
use causeway_shared::sa::{EspKeys, EspSuite};

use super::aws_lc::AeadKey;
use super::{EspEngine, OpenJob, SealJob, SetupError};

/// The kernels with their scratch memory.
pub struct Wide {
    gcm: Gcm,
    cbc: Cbc,
}

/// A key of either direction.
pub enum WideKey {
    /// AES-GCM.
    Gcm(GcmKey),
    /// AES-CBC with HMAC.
    Cbc(CbcKey),
    /// ChaCha20-Poly1305.
    Library(Box<AeadKey>),
}

/// A key that may be one of the library's.
pub(super) trait MaybeLibrary {
    /// It, if it is one.
    fn library_key(&self) -> Option<&AeadKey>;
}

impl Wide {
    /// The engine, where the processor has the instructions.
    pub fn new() -> Option<Wide> {
        Processor::detect().map(|wide| Wide { gcm: Gcm::new(wide), cbc: Cbc::new(wide) })
    }

    /// See [`Gcm::forget`].
    pub(super) fn forget(&mut self, key: &GcmKey) {
        self.gcm.forget(key);
    }

    /// See [`Gcm::wipe`].
    pub(super) fn forget_all(&mut self) {
        self.gcm.wipe();
    }

    /// See [`Gcm::open_items`].
    #[inline]
    pub(super) fn open_items<T, V: View<T, Key: MaybeGcm>>(&mut self, items: &mut [T], view: &V) -> Outcome {
        self.gcm.open_items(items, view)
    }

    /// See [`Gcm::seal_items`].
    #[inline]
    pub(super) fn seal_items<T, V: View<T, Key: MaybeGcm>>(&mut self, items: &mut [T], view: &V) -> Outcome {
        self.gcm.seal_items(items, view)
    }

    pub(super) fn open<K: MaybeGcm + MaybeCbc + MaybeLibrary>(&mut self, jobs: &mut [OpenJob<'_, K>]) {
        let not_gcm = self.gcm.open_burst(jobs);
        if not_gcm > 0 && not_gcm + self.cbc.open_burst(jobs) > jobs.len() {
            open_by_library(jobs);
        }
    }

    pub(super) fn seal<K: MaybeGcm + MaybeCbc + MaybeLibrary>(&mut self, jobs: &mut [SealJob<'_, K>]) {
        let not_gcm = self.gcm.seal_burst(jobs);
        if not_gcm > 0 && not_gcm + self.cbc.seal_burst(jobs) > jobs.len() {
            seal_by_library(jobs);
        }
    }

    pub(super) fn key(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<WideKey, SetupError> {
        let refused = SetupError(suite);
        let cipher = keys.cipher.get(..suite.cipher_key_len()).ok_or(refused)?;
        if suite == EspSuite::ChaCha20Poly1305 {
            return AeadKey::new(suite, esn, keys).map(Box::new).map(WideKey::Library);
        }
        if suite.is_aead() {
            return GcmKey::new(cipher, keys.salt, esn).map(WideKey::Gcm).ok_or(refused);
        }
        let hash = match suite.integrity_key_len() {
            32 => Hash::Sha256,
            48 => Hash::Sha384,
            64 => Hash::Sha512,
            _ => return Err(refused),
        };
        let integrity = keys.integrity.get(..suite.integrity_key_len()).ok_or(refused)?;
        let mut iv_salt = [0; 4];
        aws_lc_rs::rand::fill(&mut iv_salt).map_err(|_| refused)?;
        let key = CbcKey::new(cipher, hash, integrity, esn).ok_or(refused)?;
        Ok(WideKey::Cbc(key.with_iv_salt(u32::from_ne_bytes(iv_salt))))
    }
}

/// What is neither of the kernels' algorithms.
#[cold]
fn open_by_library<K: MaybeLibrary>(jobs: &mut [OpenJob<'_, K>]) {
    for job in jobs {
        if let Some(key) = job.key.library_key() {
            job.opened = key.open(job.packet, job.sequence).is_some();
        }
    }
}

/// As above.
#[cold]
fn seal_by_library<K: MaybeLibrary>(jobs: &mut [SealJob<'_, K>]) {
    for job in jobs {
        if let Some(key) = job.key.library_key() {
            job.sealed = key.seal(job.packet, job.sequence).is_some();
        }
    }
}

impl EspEngine for Wide {
    type InboundKey = WideKey;
    type OutboundKey = WideKey;

    fn setup_inbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<WideKey, SetupError> {
        Wide::key(suite, esn, keys)
    }

    fn setup_outbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<WideKey, SetupError> {
        Wide::key(suite, esn, keys)
    }

    fn open_burst(&mut self, jobs: &mut [OpenJob<'_, WideKey>]) {
        self.open(jobs);
    }

    fn seal_burst(&mut self, jobs: &mut [SealJob<'_, WideKey>]) {
        self.seal(jobs);
    }
}

impl MaybeGcm for WideKey {
    #[inline]
    fn gcm_key(&self) -> Option<&GcmKey> {
        match self {
            WideKey::Gcm(key) => Some(key),
            WideKey::Cbc(_) | WideKey::Library(_) => None,
        }
    }
}

impl MaybeCbc for WideKey {
    #[inline]
    fn cbc_key(&self) -> Option<&CbcKey> {
        match self {
            WideKey::Gcm(_) | WideKey::Library(_) => None,
            WideKey::Cbc(key) => Some(key),
        }
    }
}

impl MaybeLibrary for WideKey {
    #[inline]
    fn library_key(&self) -> Option<&AeadKey> {
        match self {
            WideKey::Library(key) => Some(key),
            WideKey::Gcm(_) | WideKey::Cbc(_) => None,
        }
    }
}
