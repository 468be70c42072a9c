//! A lookaside crypto device (cryptodev): from a device string to started queue pairs, and the sessions that hold keys there.
//!
//! Enters: a device string, keys as [`Transform`]s. Leaves: [`CryptoQueue`]s, one owner each, and [`CryptoSession`]s, which
//! any thread may make and drop. The device is stopped and closed when its last handle, queue or session is gone, so no
//! session outlives it and no queue can be polled on a closed device.

use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use causeway_dpdk_sys as sys;

use crate::crypto_queue::{CryptoQueue, IV_OFFSET, OpPool};
use crate::eal::Eal;
use crate::error::{Errno, Error};
use crate::log;

/// Operations that a queue pair holds at most, and so packets of one worker in the device.
pub const CRYPTO_DESCRIPTORS: usize = 1024;
/// Queue pairs set up at most.
const MAX_PAIRS: u16 = 256;
/// Octets of an AES-GCM nonce.
const GCM_NONCE_LEN: u16 = 12;
/// Octets of an AES-CBC IV.
const CBC_IV_LEN: u16 = 16;
/// `ENODEV`.
const NO_DEVICE: Errno = Errno(19);

/// Which way a session works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CryptoDirection {
    /// Encrypts and writes the ICV.
    Seal,
    /// Verifies the ICV and decrypts.
    Open,
}

/// The hash of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CryptoHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// An algorithm with its keys.
#[derive(Clone, Copy)]
pub enum Transform<'a> {
    /// AES-GCM with a nonce of 12 octets.
    AesGcm {
        /// 16, 24 or 32 octets.
        key: &'a [u8],
        /// Octets of the tag.
        icv_len: u16,
        /// Octets of additional data: at most 16.
        aad_len: u16,
    },
    /// AES-CBC, and over what it leaves an HMAC.
    AesCbcHmac {
        /// 16, 24 or 32 octets.
        key: &'a [u8],
        /// Of the HMAC.
        hash: CryptoHash,
        /// Of the HMAC.
        integrity_key: &'a [u8],
        /// Octets of the truncated HMAC.
        icv_len: u16,
    },
}

/// A started device. Any thread may hold one.
#[derive(Clone)]
pub struct CryptoDevice {
    device: Arc<OpenDevice>,
}

/// One SA's keys in one direction, in the device. Clones share it; the last one takes it out of the device, which wipes it.
#[derive(Clone)]
pub struct CryptoSession {
    inner: Arc<Session>,
}

struct Session {
    raw: NonNull<std::ffi::c_void>,
    icv_len: u16,
    aead: bool,
    device: Arc<OpenDevice>,
}

// SAFETY: a session is a handle into memory of the device that it keeps open; DPDK lets any thread use it in operations and
// free it.
unsafe impl Send for Session {}
// SAFETY: as above; nothing of it changes.
unsafe impl Sync for Session {}

/// An open cryptodev; closed when dropped.
pub(crate) struct OpenDevice {
    id: u8,
    name: String,
    driver: String,
    started: bool,
    /// Queue pairs set up.
    pairs: u16,
    sessions: Option<SessionPool>,
}

struct SessionPool(NonNull<sys::rte_mempool>);

// SAFETY: rte_mempool is made for concurrent use; session pools are never freed.
unsafe impl Send for SessionPool {}
// SAFETY: as above.
unsafe impl Sync for SessionPool {}

impl CryptoDevice {
    /// Opens and starts a device, a PCI address that the EAL was told to allow or a virtual device with its arguments, with at
    /// most `pairs` queue pairs (fewer if it has fewer) and room for `sessions`.
    ///
    /// # Errors
    /// When it does not exist, does no symmetric crypto, or refuses a step; when memory is short.
    pub fn start<T>(
        _eal: Eal,
        device: &str,
        pairs: u16,
        sessions: u32,
    ) -> Result<(CryptoDevice, Vec<CryptoQueue<T>>), Error> {
        let mut open = OpenDevice::open(device)?;
        let info = open.info();
        if info.feature_flags & u64::from(sys::RTE_CRYPTODEV_FF_SYMMETRIC_CRYPTO) == 0 {
            return Err(open.failed("asking for symmetric crypto", NO_DEVICE, Vec::new()));
        }
        let most = u16::try_from(info.max_nb_queue_pairs).unwrap_or(u16::MAX);
        let pairs = pairs.min(most).clamp(1, MAX_PAIRS);
        let limit = info.sym.max_nb_sessions;
        let sessions = if limit == 0 { sessions } else { sessions.min(limit) };
        open.configure(pairs)?;
        open.pairs = pairs;
        open.make_session_pool(sessions)?;
        for pair in 0..pairs {
            open.set_up_pair(pair)?;
        }
        // SAFETY: the device is configured and its queue pairs are set up.
        open.call("starting", |id| unsafe { sys::rte_cryptodev_start(id) })?;
        open.started = true;
        let ops = OpPool::create(&open.name, u32::from(pairs))
            .map_err(|(errno, said)| open.failed("making a pool of operations", errno, said))?;
        let device = Arc::new(open);
        let queues =
            (0..pairs).map(|pair| CryptoQueue::new(device.clone(), pair, ops)).collect::<Option<_>>();
        let queues = queues.ok_or_else(|| device.failed("taking operations", Errno::last(), Vec::new()))?;
        Ok((CryptoDevice { device }, queues))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// Its driver.
    pub fn driver(&self) -> &str {
        &self.device.driver
    }

    /// Whether the device says that it can do what `transform` describes.
    pub fn offers(&self, transform: &Transform<'_>) -> bool {
        match *transform {
            Transform::AesGcm { key, icv_len, aad_len } => {
                let capability = self.capability(Algorithm::Aead(sys::RTE_CRYPTO_AEAD_AES_GCM));
                let key_len = key.len() as u16;
                // SAFETY: the capability is one of this open device's, for AEAD.
                capability.is_some_and(|capability| unsafe {
                    sys::rte_cryptodev_sym_capability_check_aead(
                        capability.as_ptr(),
                        key_len,
                        icv_len,
                        aad_len,
                        GCM_NONCE_LEN,
                    ) == 0
                })
            }
            Transform::AesCbcHmac { key, hash, integrity_key, icv_len } => {
                let chains = self.device.info().feature_flags
                    & u64::from(sys::RTE_CRYPTODEV_FF_SYM_OPERATION_CHAINING);
                let cipher = self.capability(Algorithm::Cipher(sys::RTE_CRYPTO_CIPHER_AES_CBC));
                let auth = self.capability(Algorithm::Auth(hash.algorithm()));
                let (key_len, integrity_len) = (key.len() as u16, integrity_key.len() as u16);
                // SAFETY: both are capabilities of this open device, for a cipher and for a hash.
                chains != 0
                    && cipher.is_some_and(|capability| unsafe {
                        sys::rte_cryptodev_sym_capability_check_cipher(
                            capability.as_ptr(),
                            key_len,
                            CBC_IV_LEN,
                        ) == 0
                    })
                    // SAFETY: as above.
                    && auth.is_some_and(|capability| unsafe {
                        sys::rte_cryptodev_sym_capability_check_auth(
                            capability.as_ptr(),
                            integrity_len,
                            icv_len,
                            0,
                        ) == 0
                    })
            }
        }
    }

    /// Puts keys into the device; `None` when it refuses them or has no room.
    pub fn session(&self, direction: CryptoDirection, transform: &Transform<'_>) -> Option<CryptoSession> {
        let pool = self.device.sessions.as_ref()?.0;
        let create = |first: &mut sys::rte_crypto_sym_xform| {
            // SAFETY: the device is started; the transforms and the keys that they point to live during the call, which copies
            // them into a session of the pool.
            NonNull::new(unsafe {
                sys::rte_cryptodev_sym_session_create(self.device.id, &raw mut *first, pool.as_ptr())
            })
        };
        let (raw, icv_len, aead) = match *transform {
            Transform::AesGcm { key, icv_len, aad_len } => {
                (create(&mut gcm_transform(direction, key, icv_len, aad_len))?, icv_len, true)
            }
            Transform::AesCbcHmac { key, hash, integrity_key, icv_len } => {
                let mut cipher = cbc_transform(direction, key);
                let mut auth = hmac_transform(direction, hash, integrity_key, icv_len);
                // Encrypt, then hash; verify, then decrypt.
                let (first, second) = match direction {
                    CryptoDirection::Seal => (&mut cipher, &mut auth),
                    CryptoDirection::Open => (&mut auth, &mut cipher),
                };
                first.next = &raw mut *second;
                (create(first)?, icv_len, false)
            }
        };
        let device = self.device.clone();
        Some(CryptoSession { inner: Arc::new(Session { raw, icv_len, aead, device }) })
    }

    fn capability(&self, algorithm: Algorithm) -> Option<NonNull<sys::rte_cryptodev_symmetric_capability>> {
        // SAFETY: all zero is a valid value of this structure of numbers.
        let mut wanted: sys::rte_cryptodev_sym_capability_idx = unsafe { std::mem::zeroed() };
        match algorithm {
            Algorithm::Aead(algorithm) => {
                wanted.type_ = sys::RTE_CRYPTO_SYM_XFORM_AEAD;
                wanted.algo.aead = algorithm;
            }
            Algorithm::Cipher(algorithm) => {
                wanted.type_ = sys::RTE_CRYPTO_SYM_XFORM_CIPHER;
                wanted.algo.cipher = algorithm;
            }
            Algorithm::Auth(algorithm) => {
                wanted.type_ = sys::RTE_CRYPTO_SYM_XFORM_AUTH;
                wanted.algo.auth = algorithm;
            }
        }
        // SAFETY: the device is open; `wanted` lives during the call. The answer points into the driver's static table.
        NonNull::new(unsafe {
            sys::rte_cryptodev_sym_capability_get(self.device.id, &raw const wanted).cast_mut()
        })
    }
}

impl fmt::Debug for CryptoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CryptoDevice").field("name", &self.device.name).finish_non_exhaustive()
    }
}

impl CryptoSession {
    pub(crate) fn as_ptr(&self) -> *mut std::ffi::c_void {
        self.inner.raw.as_ptr()
    }

    /// Octets of the ICV that it writes or verifies.
    pub(crate) fn icv_len(&self) -> usize {
        usize::from(self.inner.icv_len)
    }

    pub(crate) fn is_aead(&self) -> bool {
        self.inner.aead
    }

    pub(crate) fn device(&self) -> &Arc<OpenDevice> {
        &self.inner.device
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session was made on this device, which is open still; operations in flight hold clones, so none is.
        let result = unsafe { sys::rte_cryptodev_sym_session_free(self.device.id, self.raw.as_ptr()) };
        if result < 0 {
            tracing::warn!(device = self.device.name, errno = %Errno::of(result), "a crypto session stays behind");
        }
    }
}

enum Algorithm {
    Aead(sys::rte_crypto_aead_algorithm),
    Cipher(sys::rte_crypto_cipher_algorithm),
    Auth(sys::rte_crypto_auth_algorithm),
}

impl CryptoHash {
    fn algorithm(self) -> sys::rte_crypto_auth_algorithm {
        match self {
            CryptoHash::Sha256 => sys::RTE_CRYPTO_AUTH_SHA256_HMAC,
            CryptoHash::Sha384 => sys::RTE_CRYPTO_AUTH_SHA384_HMAC,
            CryptoHash::Sha512 => sys::RTE_CRYPTO_AUTH_SHA512_HMAC,
        }
    }
}

fn empty_transform(kind: sys::rte_crypto_sym_xform_type) -> sys::rte_crypto_sym_xform {
    // SAFETY: all zero is a valid value of this structure of numbers and pointers.
    let mut transform: sys::rte_crypto_sym_xform = unsafe { std::mem::zeroed() };
    transform.type_ = kind;
    transform
}

fn gcm_transform(
    direction: CryptoDirection,
    key: &[u8],
    icv_len: u16,
    aad_len: u16,
) -> sys::rte_crypto_sym_xform {
    let mut transform = empty_transform(sys::RTE_CRYPTO_SYM_XFORM_AEAD);
    // SAFETY: all zero is a valid value of this structure of numbers and pointers.
    let mut aead: sys::rte_crypto_aead_xform = unsafe { std::mem::zeroed() };
    aead.op = match direction {
        CryptoDirection::Seal => sys::RTE_CRYPTO_AEAD_OP_ENCRYPT,
        CryptoDirection::Open => sys::RTE_CRYPTO_AEAD_OP_DECRYPT,
    };
    aead.algo = sys::RTE_CRYPTO_AEAD_AES_GCM;
    (aead.key.data, aead.key.length) = (key.as_ptr(), key.len() as u16);
    (aead.iv.offset, aead.iv.length) = (IV_OFFSET as u16, GCM_NONCE_LEN);
    (aead.digest_length, aead.aad_length) = (icv_len, aad_len);
    transform.__bindgen_anon_1.aead = aead;
    transform
}

fn cbc_transform(direction: CryptoDirection, key: &[u8]) -> sys::rte_crypto_sym_xform {
    let mut transform = empty_transform(sys::RTE_CRYPTO_SYM_XFORM_CIPHER);
    // SAFETY: all zero is a valid value of this structure of numbers and pointers.
    let mut cipher: sys::rte_crypto_cipher_xform = unsafe { std::mem::zeroed() };
    cipher.op = match direction {
        CryptoDirection::Seal => sys::RTE_CRYPTO_CIPHER_OP_ENCRYPT,
        CryptoDirection::Open => sys::RTE_CRYPTO_CIPHER_OP_DECRYPT,
    };
    cipher.algo = sys::RTE_CRYPTO_CIPHER_AES_CBC;
    (cipher.key.data, cipher.key.length) = (key.as_ptr(), key.len() as u16);
    (cipher.iv.offset, cipher.iv.length) = (IV_OFFSET as u16, CBC_IV_LEN);
    transform.__bindgen_anon_1.cipher = cipher;
    transform
}

fn hmac_transform(
    direction: CryptoDirection,
    hash: CryptoHash,
    key: &[u8],
    icv_len: u16,
) -> sys::rte_crypto_sym_xform {
    let mut transform = empty_transform(sys::RTE_CRYPTO_SYM_XFORM_AUTH);
    // SAFETY: all zero is a valid value of this structure of numbers and pointers.
    let mut auth: sys::rte_crypto_auth_xform = unsafe { std::mem::zeroed() };
    auth.op = match direction {
        CryptoDirection::Seal => sys::RTE_CRYPTO_AUTH_OP_GENERATE,
        CryptoDirection::Open => sys::RTE_CRYPTO_AUTH_OP_VERIFY,
    };
    auth.algo = hash.algorithm();
    (auth.key.data, auth.key.length) = (key.as_ptr(), key.len() as u16);
    auth.digest_length = icv_len;
    transform.__bindgen_anon_1.auth = auth;
    transform
}

impl OpenDevice {
    fn open(device: &str) -> Result<OpenDevice, Error> {
        let name = device.split(',').next().unwrap_or(device);
        let text = CString::new(device).map_err(|_| Error::NulOctet(device.to_owned()))?;
        if device_id(name).is_none() {
            // SAFETY: the EAL runs (callers hold its proof); the text is terminated and copied by the call.
            let (result, said) = log::collect(|| unsafe { sys::rte_dev_probe(text.as_ptr()) });
            if result < 0 {
                return Err(Error::Probe { device: device.to_owned(), errno: Errno::of(result), said });
            }
        }
        let (id, name) = device_id(name).ok_or_else(|| Error::Probe {
            device: device.to_owned(),
            errno: NO_DEVICE,
            said: Vec::new(),
        })?;
        let mut open =
            OpenDevice { id, name, driver: String::new(), started: false, pairs: 0, sessions: None };
        let driver = open.info().driver_name;
        if !driver.is_null() {
            // SAFETY: a non-null driver name is a terminated text in the driver's static memory.
            open.driver = unsafe { CStr::from_ptr(driver) }.to_string_lossy().into_owned();
        }
        Ok(open)
    }

    pub(crate) fn id(&self) -> u8 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The caller has a queue for itself; where there is no other, nobody uses one meanwhile.
    pub(crate) fn stop_for_its_only_queue(&self) -> bool {
        if self.pairs == 1 {
            // SAFETY: the device is started, and its only queue is not in use. Stopping it again when it is dropped does nothing.
            unsafe { sys::rte_cryptodev_stop(self.id) };
        }
        self.pairs == 1
    }

    fn info(&self) -> sys::rte_cryptodev_info {
        // SAFETY: all zero is a valid value of this structure of numbers and pointers.
        let mut info: sys::rte_cryptodev_info = unsafe { std::mem::zeroed() };
        // SAFETY: the device is open; the pointer is to a live structure.
        unsafe { sys::rte_cryptodev_info_get(self.id, &raw mut info) };
        info
    }

    fn configure(&self, pairs: u16) -> Result<(), Error> {
        let mut config = sys::rte_cryptodev_config { socket_id: -1, nb_queue_pairs: pairs, ff_disable: 0 };
        self.call("configuring", |id| {
            // SAFETY: the device is open; `config` is a complete structure that the call copies.
            unsafe { sys::rte_cryptodev_configure(id, &raw mut config) }
        })
    }

    fn make_session_pool(&mut self, sessions: u32) -> Result<(), Error> {
        let name = pool_name("s", &self.name);
        let text = CString::new(name).map_err(|_| Error::NulOctet(self.name.clone()))?;
        let (pool, said) = log::collect(|| {
            // SAFETY: the device is open and configured, so it knows the size of its sessions; the text is terminated and
            // copied by the call.
            unsafe {
                let size = sys::rte_cryptodev_sym_get_private_session_size(self.id);
                sys::rte_cryptodev_sym_session_pool_create(text.as_ptr(), sessions, size, 0, 0, -1)
            }
        });
        let pool =
            NonNull::new(pool).ok_or_else(|| self.failed("making room for sessions", Errno::last(), said))?;
        self.sessions = Some(SessionPool(pool));
        Ok(())
    }

    fn set_up_pair(&self, pair: u16) -> Result<(), Error> {
        let pool = self.sessions.as_ref().map_or(std::ptr::null_mut(), |pool| pool.0.as_ptr());
        let config =
            sys::rte_cryptodev_qp_conf { nb_descriptors: CRYPTO_DESCRIPTORS as u32, mp_session: pool };
        self.call("setting up a queue pair", |id| {
            // SAFETY: the device is configured with this queue pair; the structure is copied; the pool lives for ever.
            unsafe { sys::rte_cryptodev_queue_pair_setup(id, pair, &raw const config, -1) }
        })
    }

    fn call(&self, step: &'static str, call: impl FnOnce(u8) -> i32) -> Result<(), Error> {
        let (result, said) = log::collect(|| call(self.id));
        if result < 0 {
            return Err(self.failed(step, Errno::of(result), said));
        }
        Ok(())
    }

    fn failed(&self, step: &'static str, errno: Errno, said: Vec<String>) -> Error {
        Error::CryptoDevice { device: self.name.clone(), step, errno, said }
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        if self.started {
            // SAFETY: the device is started, and no queue is left that could use it.
            unsafe { sys::rte_cryptodev_stop(self.id) };
        }
        // SAFETY: the device is stopped and this was its last holder.
        let result = unsafe { sys::rte_cryptodev_close(self.id) };
        if result < 0 {
            tracing::warn!(device = self.name, errno = %Errno::of(result), "a crypto device did not close");
        }
    }
}

/// Names of pools are short; what tells devices apart stands at the end of theirs.
pub(crate) fn pool_name(kind: &str, device: &str) -> String {
    const MOST: usize = 20;
    let plain: Vec<char> = device.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail: String = plain.iter().skip(plain.len().saturating_sub(MOST)).collect();
    format!("c{kind}-{tail}")
}

/// The cryptodev with this name, or one that a PCI device with this address has (`0000:3d:01.0_qat_sym`).
fn device_id(name: &str) -> Option<(u8, String)> {
    let named = (0..=u8::MAX).filter_map(|id| {
        // SAFETY: asks about any number whether there is such a device.
        if unsafe { sys::rte_cryptodev_is_valid_dev(id) } == 0 {
            return None;
        }
        // SAFETY: the device exists; its name is a terminated text in the device's memory, copied here.
        let found = unsafe { CStr::from_ptr(sys::rte_cryptodev_name_get(id)) }.to_str().ok()?;
        Some((id, found.to_owned()))
    });
    let of_this_device = |found: &str| {
        let part = found.strip_prefix(name).and_then(|rest| rest.strip_prefix('_'));
        found == name
            || part.is_some_and(|part| name.contains(':') && part.contains("sym") && !part.contains("asym"))
    };
    named.into_iter().find(|(_, found)| of_this_device(found))
}
