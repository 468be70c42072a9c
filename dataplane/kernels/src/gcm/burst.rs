//! Which packet of a burst goes through which kernel, with which context.
//!
//! Enters: the jobs of a burst. Leaves: each answered. Packets of up to [`column::MAX_ROWS`] × 64 octets are taken four
//! at a time whatever their keys; the rest one by one, their keys expanded four at a time. What a packet needs before its
//! cipher is made right in front of it: the processor does that beside the cipher of the packet before.

use arrayvec::ArrayVec;

use super::batch::{Batch, CHUNK, Frame};
use super::cache::Cache;
use super::expand::LANES;
use super::long::long;
use super::{GcmKey, MaybeGcm, column};
use crate::{OpenJob, SealJob};

/// Short packets of one key in a burst from which on a context pays.
const WORTH: usize = 8;

/// What sealing and opening have in common.
pub(super) trait Job<'a> {
    /// Its key, if it is one of AES-GCM.
    fn key(&self) -> Option<&'a GcmKey>;
    fn sequence(&self) -> u64;
    fn frame(&mut self) -> Option<Frame>;
    /// Where its answer stands, which is set to no until there is one.
    fn answer(&mut self) -> *mut bool;
}

impl<'a, K: MaybeGcm> Job<'a> for SealJob<'a, K> {
    #[inline]
    fn key(&self) -> Option<&'a GcmKey> {
        self.key.gcm_key()
    }

    #[inline]
    fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    fn frame(&mut self) -> Option<Frame> {
        Frame::to_seal(self.packet, self.sequence)
    }

    #[inline]
    fn answer(&mut self) -> *mut bool {
        self.sealed = false;
        &raw mut self.sealed
    }
}

impl<'a, K: MaybeGcm> Job<'a> for OpenJob<'a, K> {
    #[inline]
    fn key(&self) -> Option<&'a GcmKey> {
        self.key.gcm_key()
    }

    #[inline]
    fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    fn frame(&mut self) -> Option<Frame> {
        Frame::to_open(self.packet)
    }

    #[inline]
    fn answer(&mut self) -> *mut bool {
        self.opened = false;
        &raw mut self.opened
    }
}

/// Seals or opens a burst; answers with how many of its jobs have keys of other algorithms, which it leaves alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<'a, J: Job<'a>, const OPEN: bool>(cache: &mut Cache, jobs: &mut [J]) -> usize {
    cache.begin();
    let mut others = 0;
    for chunk in jobs.chunks_mut(CHUNK) {
        // Mixed key lengths are rare: the second pass then takes what the first one left.
        let first = cache.last_key_len;
        let left = match first {
            16 => take::<J, 10, OPEN>(cache, chunk),
            _ => take::<J, 14, OPEN>(cache, chunk),
        };
        others += left.others;
        if left.other_length {
            match first {
                16 => take::<J, 14, OPEN>(cache, chunk),
                _ => take::<J, 10, OPEN>(cache, chunk),
            };
        }
    }
    others
}

/// What a pass did not take.
struct Left {
    /// Jobs whose keys are not of AES-GCM.
    others: usize,
    /// Whether there are keys of the other length.
    other_length: bool,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn take<'a, J: Job<'a>, const ROUNDS: usize, const OPEN: bool>(cache: &mut Cache, jobs: &mut [J]) -> Left {
    let key_len = if ROUNDS == 10 { 16 } else { 32 };
    let mut left = Left { others: 0, other_length: false };
    let (mut one_row, mut two_rows) = (Batch::new(), Batch::new());
    // Where the longer packets' jobs stand.
    let mut places: ArrayVec<u8, CHUNK> = ArrayVec::new();
    for (at, job) in jobs.iter_mut().enumerate().take(CHUNK) {
        let Some(key) = job.key() else {
            left.others += 1;
            continue;
        };
        if key.key_len != key_len {
            left.other_length = true;
            continue;
        }
        let Some(frame) = job.frame() else {
            job.answer();
            continue;
        };
        if frame.text_len > column::MAX_ROWS * 64 {
            places.push(at as u8);
        } else {
            let batch = if frame.text_len > 64 { &mut two_rows } else { &mut one_row };
            batch.push(frame, key, job.sequence(), job.answer());
        }
    }
    if one_row.len() + two_rows.len() + places.len() > 0 {
        cache.last_key_len = key_len;
    }
    short::<ROUNDS, OPEN, 1>(cache, &mut one_row);
    short::<ROUNDS, OPEN, 2>(cache, &mut two_rows);
    if !places.is_empty() {
        long::<J, ROUNDS, OPEN>(cache, jobs, &places);
    }
    left
}

/// Whose hash is pending: four packets from a place of the batch on.
enum Before {
    None,
    /// With raw keys.
    Raw(usize),
    /// With one expanded key: the one that lies there.
    Shared(*const GcmKey, usize),
}

impl Before {
    /// # Safety
    /// `pending` must be what those four left, and their packets still be borrowed.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    unsafe fn finish<const OPEN: bool, const ROWS: usize>(&self, batch: &Batch, pending: &column::Pending) {
        // SAFETY: the caller's promise.
        unsafe {
            match *self {
                Before::None => {}
                Before::Raw(at) => {
                    answer::<OPEN>(batch, at, column::finish::<OPEN, ROWS, false>(pending));
                }
                Before::Shared(_, at) => {
                    answer::<OPEN>(batch, at, column::finish::<OPEN, ROWS, true>(pending));
                }
            }
        }
    }
}

/// Packets of at most `ROWS` × 64 octets of text, four at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn short<const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(cache: &mut Cache, batch: &mut Batch) {
    batch.fill_lanes();
    let mut pending = column::Pending::new();
    let mut before = Before::None;
    let mut shared = None;
    for at in (0..batch.len()).step_by(LANES) {
        // SAFETY: `at` is below the length, and the lanes behind it are filled.
        let four = unsafe { batch.four(at) };
        // SAFETY: as above; the keys are those of `jobs`.
        let keys = unsafe { [batch.key(at), batch.key(at + 1), batch.key(at + 2), batch.key(at + 3)] };
        let [a, b, c, d] = keys.map(core::ptr::from_ref);
        let one_key = (a == b) & (b == c) & (c == d);
        let same = matches!(before, Before::Shared(key, _) if key == a);
        if !(one_key & same) {
            if matches!(before, Before::Shared(..)) {
                // Only now may another key take the context's place.
                // SAFETY: this is what the four before left.
                unsafe { before.finish::<OPEN, ROWS>(batch, &pending) };
                before = Before::None;
            }
            shared = if one_key { context::<ROUNDS>(cache, keys[0], batch.len()) } else { None };
        }
        // SAFETY: the packets are those of `jobs`, borrowed by them; this batch has only texts of at most `ROWS` rows; a
        // context's lane is below 4, and while one is in use nothing is put into the cache. What is pending is
        // finished by the function that left it.
        unsafe {
            match (shared, &before) {
                (Some(context), Before::Shared(_, done)) => {
                    let (quad, lane) = cache.context(context);
                    let right =
                        column::crypt_shared::<ROUNDS, OPEN, ROWS, true>(&four, quad, lane, &mut pending);
                    answer::<OPEN>(batch, *done, right);
                }
                (None, Before::Raw(done)) => {
                    let right = column::crypt::<ROUNDS, OPEN, ROWS, true>(&four, keys, &mut pending);
                    answer::<OPEN>(batch, *done, right);
                }
                (Some(context), _) => {
                    before.finish::<OPEN, ROWS>(batch, &pending);
                    let (quad, lane) = cache.context(context);
                    column::crypt_shared::<ROUNDS, OPEN, ROWS, false>(&four, quad, lane, &mut pending);
                }
                (None, _) => {
                    before.finish::<OPEN, ROWS>(batch, &pending);
                    column::crypt::<ROUNDS, OPEN, ROWS, false>(&four, keys, &mut pending);
                }
            }
        }
        before = if shared.is_some() { Before::Shared(a, at) } else { Before::Raw(at) };
    }
    // SAFETY: this is what the last four left.
    unsafe { before.finish::<OPEN, ROWS>(batch, &pending) };
}

/// The context of a key that `packets` short packets of the burst may share, if it has or deserves one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn context<const ROUNDS: usize>(cache: &mut Cache, key: &GcmKey, packets: usize) -> Option<usize> {
    if let Some(context) = cache.find(key) {
        return Some(context);
    }
    if packets >= WORTH || cache.is_back(key) {
        return Some(cache.insert::<ROUNDS>(&[key], [None; 2]));
    }
    None
}

/// Answers the jobs of the four packets from `at` on. Lanes without one answer for the packet they are a copy of.
///
/// # Safety
/// They must be in the batch or [filled](Batch::fill_lanes), and borrowed by their jobs.
#[inline]
unsafe fn answer<const OPEN: bool>(batch: &Batch, at: usize, right: u8) {
    for lane in 0..LANES {
        // SAFETY: the caller's promise.
        unsafe {
            finish(batch.answer(at + lane), !OPEN || right >> lane & 1 == 1, batch.text(at + lane));
        }
    }
}

/// Answers a job; the text of a packet whose ICV was wrong goes no further.
///
/// # Safety
/// The text and the answer must be borrowed by the caller.
#[inline]
pub(super) unsafe fn finish(answer: *mut bool, done: bool, (text, text_len): (*mut u8, usize)) {
    // SAFETY: the caller's promise.
    unsafe {
        if !done {
            core::ptr::write_bytes(text, 0, text_len);
        }
        *answer = done;
    }
}
