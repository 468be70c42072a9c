//! AES-GCM in ESP (RFC 4106), a burst at a time, across SAs with different keys.
//!
//! Enters: bursts of [`SealJob`] and [`OpenJob`] with raw keys of 40 octets. Leaves: sealed or opened packets. Short
//! packets go four at a time through [`column`], each with its own key expanded on the way; longer ones go through
//! [`long`], with keys that are expanded four at a time into a small cache of contexts. Which context belongs to which
//! SA is decided by the key's place *and* its octets, so that a key that another one replaced in its place is never used.

mod batch;
mod burst;
mod cache;
mod column;
mod counters;
mod expand;
mod ghash;
mod lanes;
mod long;
mod row;

use core::marker::PhantomData;

use zeroize::{Zeroize, ZeroizeOnDrop};

use self::cache::Cache;
use crate::{Job, MAX_ITEMS, OpenJob, Outcome, SealJob, View, Wide};

pub use self::counters::MAX_TEXT_LEN;

/// One SA's key, as small as it can be: what every packet needs is made anew or found in the cache.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(8))]
pub struct GcmKey {
    raw: [u8; 32],
    salt: [u8; 4],
    key_len: u8,
    esn: bool,
    /// Of the AAD.
    aad_bits: u16,
}

const _: () = assert!(size_of::<GcmKey>() == 40);

impl GcmKey {
    /// A key of 16 or 32 octets; `None` for any other length (IKE offers no AES-192-GCM here).
    pub fn new(key: &[u8], salt: [u8; 4], esn: bool) -> Option<GcmKey> {
        let mut raw = [0; 32];
        let key_len = match key.len() {
            16 | 32 => key.len() as u8,
            _ => return None,
        };
        raw.get_mut(..key.len())?.copy_from_slice(key);
        Some(GcmKey { raw, salt, key_len, esn, aad_bits: if esn { 96 } else { 64 } })
    }
}

/// A key that may be one of AES-GCM: bursts of mixed suites need not be sorted first.
pub trait MaybeGcm {
    /// It, if it is.
    fn gcm_key(&self) -> Option<&GcmKey>;
}

impl MaybeGcm for GcmKey {
    #[inline]
    fn gcm_key(&self) -> Option<&GcmKey> {
        Some(self)
    }
}

/// The engine: a worker owns one.
pub struct Gcm {
    cache: Box<Cache>,
}

impl Gcm {
    /// An engine with an empty cache.
    pub fn new(_: Wide) -> Gcm {
        Gcm { cache: Cache::new() }
    }

    /// Writes each packet's IV, encrypts what lies between IV and ICV, writes the ICV. A packet shorter than 32 octets or
    /// with more than [`MAX_TEXT_LEN`] octets of text is not sealed. Answers with the number of jobs whose keys are of
    /// other algorithms; they are left alone.
    pub fn seal_burst<K: MaybeGcm>(&mut self, jobs: &mut [SealJob<'_, K>]) -> usize {
        self.burst::<_, false>(jobs)
    }

    /// Decrypts what lies between IV and ICV and compares the ICV in constant time. Where it is wrong, the text is zero
    /// afterwards. Answers as [`Gcm::seal_burst`] does.
    pub fn open_burst<K: MaybeGcm>(&mut self, jobs: &mut [OpenJob<'_, K>]) -> usize {
        self.burst::<_, true>(jobs)
    }

    fn burst<'a, J: Job<'a, Key: MaybeGcm>, const OPEN: bool>(&mut self, jobs: &mut [J]) -> usize {
        let chunks = jobs.chunks_mut(MAX_ITEMS).map(|jobs| {
            // SAFETY: whoever made `self` had a `Wide`, so the processor has the instructions.
            let outcome =
                unsafe { burst::run::<J, Jobs<'a>, OPEN>(&mut self.cache, jobs, &Jobs(PhantomData)) };
            let answers = jobs.iter_mut().enumerate().filter(|(at, _)| outcome.left >> at & 1 == 0);
            answers.for_each(|(at, job)| job.answer(outcome.done >> at & 1 == 1));
            outcome.left.count_ones() as usize
        });
        chunks.sum()
    }

    /// As [`Gcm::seal_burst`], for at most [`MAX_ITEMS`] packets that stay where they are; more are not looked at.
    pub fn seal_items<T, V: View<T, Key: MaybeGcm>>(&mut self, items: &mut [T], view: &V) -> Outcome {
        // SAFETY: whoever made `self` had a `Wide`, so the processor has the instructions.
        unsafe { burst::run::<T, V, false>(&mut self.cache, items, view) }
    }

    /// As [`Gcm::open_burst`], for at most [`MAX_ITEMS`] packets that stay where they are; more are not looked at.
    pub fn open_items<T, V: View<T, Key: MaybeGcm>>(&mut self, items: &mut [T], view: &V) -> Outcome {
        // SAFETY: as above.
        unsafe { burst::run::<T, V, true>(&mut self.cache, items, view) }
    }

    /// Forgets what was expanded of a key: call it when its SA is removed, while the key still lies in its place.
    pub fn forget(&mut self, key: &GcmKey) {
        self.cache.forget(key);
    }

    /// Forgets every expanded key. The cache is bounded, and is wiped with the engine, too.
    pub fn wipe(&mut self) {
        self.cache.wipe();
    }
}

/// Jobs say themselves what they are; their keys live for `'a`.
struct Jobs<'a>(PhantomData<&'a ()>);

impl<'a, J: Job<'a>> View<J> for Jobs<'a> {
    type Key = J::Key;

    #[inline]
    fn key<'v>(&'v self, job: &J) -> Option<&'v J::Key> {
        Some(job.key())
    }

    #[inline]
    fn packet<'p>(&self, job: &'p mut J) -> &'p mut [u8] {
        job.packet()
    }

    #[inline]
    fn sequence(&self, job: &J) -> u64 {
        job.sequence()
    }
}
