//! Which packet of a burst goes through which kernel, with which context.
//!
//! Enters: the jobs of a burst. Leaves: each answered. Packets of up to [`column::MAX_ROWS`] × 64 octets are taken four
//! at a time whatever their keys; the rest one by one, their keys expanded four at a time. What a packet needs before its
//! cipher is made right in front of it: the processor does that beside the cipher of the packet before.

use core::arch::x86_64::*;

use arrayvec::ArrayVec;

use super::batch::{Batch, CHUNK, Frame, Packet, text_len};
use super::cache::Cache;
use super::column::Pending;
use super::expand::{LANES, Quad};
use super::{GcmKey, MaybeGcm, column, row};
use crate::{OpenJob, SealJob};

/// Short packets of one key in a burst from which on a context pays.
const WORTH: usize = 8;

/// What sealing and opening have in common.
pub(super) trait Job<'a> {
    /// Its key, if it is one of AES-GCM.
    fn key(&self) -> Option<&'a GcmKey>;
    fn sequence(&self) -> u64;
    /// Octets of the packet.
    fn len(&self) -> usize;
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
    fn len(&self) -> usize {
        self.packet.len()
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
    fn len(&self) -> usize {
        self.packet.len()
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
    // Which jobs are of one row, of two, and longer.
    let mut classes = [[0_u8; CHUNK]; 3];
    let mut counts = [0; 3];
    for (at, job) in jobs.iter_mut().enumerate().take(CHUNK) {
        let Some(key) = job.key() else {
            left.others += 1;
            continue;
        };
        if key.key_len != key_len {
            left.other_length = true;
            continue;
        }
        let Some(text_len) = text_len(job.len()) else {
            job.answer();
            continue;
        };
        // Without a branch: in a mixture of sizes it would be guessed wrong half of the time.
        let class = usize::from(text_len > 64) + usize::from(text_len > 128);
        classes[class][counts[class]] = at as u8;
        counts[class] += 1;
    }
    if counts != [0; 3] {
        cache.last_key_len = key_len;
    }
    short::<J, ROUNDS, OPEN, 1>(cache, jobs, &classes[0][..counts[0]]);
    short::<J, ROUNDS, OPEN, 2>(cache, jobs, &classes[1][..counts[1]]);
    long::<J, ROUNDS, OPEN>(cache, jobs, &classes[2][..counts[2]]);
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
    unsafe fn finish<const OPEN: bool, const ROWS: usize>(&self, batch: &Batch, pending: &Pending) {
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

/// Packets of at most `ROWS` × 64 octets of text, four at a time: the jobs that stand at `places`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn short<'a, J: Job<'a>, const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(
    cache: &mut Cache,
    jobs: &mut [J],
    places: &[u8],
) {
    let mut batch = Batch::new();
    for place in places {
        // Pointers into one job must outlive the look at the next, so it is not borrowed together with the others.
        // SAFETY: the places are those of jobs, and no other borrow of this one is in use.
        let job = unsafe { &mut *jobs.as_mut_ptr().add(usize::from(*place)) };
        if let (Some(key), Some(frame)) = (job.key(), job.frame()) {
            batch.push(frame, key, job.sequence(), job.answer());
        }
    }
    let batch = &mut batch;
    batch.fill_lanes();
    let mut pending = Pending::new();
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
        return Some(cache.insert::<ROUNDS>(&[key]));
    }
    None
}

/// Longer packets, one by one: the jobs that stand at `places`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn long<'a, J: Job<'a>, const ROUNDS: usize, const OPEN: bool>(
    cache: &mut Cache,
    jobs: &mut [J],
    places: &[u8],
) {
    let mut context = None;
    for (turn, place) in places.iter().enumerate() {
        let Some(key) = jobs[usize::from(*place)].key() else { continue };
        let found = match context {
            Some((last, context)) if core::ptr::eq(last, key) => context,
            _ => cache.find(key).unwrap_or_else(|| expand::<J, ROUNDS>(cache, jobs, &places[turn..])),
        };
        context = Some((key, found));
        let (quad, lane) = cache.context(found);
        let job = &mut jobs[usize::from(*place)];
        let Some(frame) = job.frame() else { continue };
        let packet = frame.packet(key, job.sequence());
        // SAFETY: the packet is borrowed by its job; a context's lane is below 4.
        let done = unsafe { one::<ROUNDS, OPEN>(quad, lane, &packet) };
        // SAFETY: both are borrowed by the job.
        unsafe { finish(job.answer(), done, (packet.text, packet.text_len)) };
    }
}

/// Makes a context for the key of the first of the jobs at `places`, and for up to three more that the next ones need.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn expand<'a, J: Job<'a>, const ROUNDS: usize>(cache: &mut Cache, jobs: &[J], places: &[u8]) -> usize {
    let mut new: ArrayVec<&GcmKey, LANES> = ArrayVec::new();
    for key in places.iter().filter_map(|place| jobs[usize::from(*place)].key()) {
        if !new.iter().any(|other| core::ptr::eq(*other, key)) && cache.find(key).is_none() {
            new.push(key);
            if new.is_full() {
                break;
            }
        }
    }
    cache.insert::<ROUNDS>(&new)
}

/// # Safety
/// As for [`row::crypt`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
unsafe fn one<const ROUNDS: usize, const OPEN: bool>(quad: &Quad, lane: usize, packet: &Packet) -> bool {
    // SAFETY: the caller's promise; the ICV belongs to the packet.
    unsafe {
        let icv = row::crypt::<ROUNDS, OPEN>(quad, lane, packet);
        if OPEN {
            return _mm_cmpneq_epi64_mask(icv, _mm_loadu_si128(packet.icv().cast())) == 0;
        }
        _mm_storeu_si128(packet.icv().cast(), icv);
    }
    true
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
unsafe fn finish(answer: *mut bool, done: bool, (text, text_len): (*mut u8, usize)) {
    // SAFETY: the caller's promise.
    unsafe {
        if !done {
            core::ptr::write_bytes(text, 0, text_len);
        }
        *answer = done;
    }
}
