//! Which packet of a burst goes through which kernel, with which context.
//!
//! Enters: the jobs of a burst. Leaves: each answered. Packets of up to [`column::MAX_ROWS`] × 64 octets are taken four
//! at a time whatever their keys; the rest one by one, their keys expanded four at a time.

use core::arch::x86_64::*;

use arrayvec::ArrayVec;

use super::cache::Cache;
use super::column::{self, Keys};
use super::expand::LANES;
use super::frame::{Frame, length_block};
use super::{GcmKey, row};
use crate::{OpenJob, SealJob};

/// Packets that are worked on at once; longer bursts are cut.
const CHUNK: usize = 32;
/// Short packets of one key in a burst from which on a context pays.
const WORTH: usize = 8;

/// What sealing and opening have in common.
pub(super) trait Job<'a> {
    fn key(&self) -> &'a GcmKey;
    fn frame(&mut self) -> Option<Frame>;
    fn answer(&mut self, done: bool);
}

impl<'a> Job<'a> for SealJob<'a, GcmKey> {
    #[inline]
    fn key(&self) -> &'a GcmKey {
        self.key
    }

    #[inline]
    fn frame(&mut self) -> Option<Frame> {
        Frame::to_seal(self.packet, self.key, self.sequence)
    }

    #[inline]
    fn answer(&mut self, done: bool) {
        self.sealed = done;
    }
}

impl<'a> Job<'a> for OpenJob<'a, GcmKey> {
    #[inline]
    fn key(&self) -> &'a GcmKey {
        self.key
    }

    #[inline]
    fn frame(&mut self) -> Option<Frame> {
        Frame::to_open(self.packet, self.key, self.sequence)
    }

    #[inline]
    fn answer(&mut self, done: bool) {
        self.opened = done;
    }
}

/// A packet of the chunk.
pub(super) struct Item<'a> {
    pub frame: Frame,
    pub lengths: [u64; 2],
    key: &'a GcmKey,
    /// Its place in the chunk.
    job: usize,
}

type Items<'a> = ArrayVec<Item<'a>, CHUNK>;

/// Seals or opens a burst.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<'a, J: Job<'a>, const OPEN: bool>(cache: &mut Cache, jobs: &mut [J]) {
    cache.begin();
    for chunk in jobs.chunks_mut(CHUNK) {
        let Some(first) = chunk.first() else { continue };
        // Mixed key lengths are rare: the second pass then takes what the first one left.
        let rounds = [first.key().key_len, 48 - first.key().key_len];
        for (pass, key_len) in rounds.into_iter().enumerate() {
            if pass == 1 && chunk.iter().all(|job| job.key().key_len != key_len) {
                continue;
            }
            match key_len {
                16 => take::<J, 10, OPEN>(cache, chunk),
                _ => take::<J, 14, OPEN>(cache, chunk),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn take<'a, J: Job<'a>, const ROUNDS: usize, const OPEN: bool>(cache: &mut Cache, jobs: &mut [J]) {
    let key_len = if ROUNDS == 10 { 16 } else { 32 };
    let (mut one_row, mut two_rows, mut long) = (Items::new(), Items::new(), Items::new());
    for (place, job) in jobs.iter_mut().enumerate() {
        let key = job.key();
        if key.key_len != key_len {
            continue;
        }
        let Some(frame) = job.frame() else {
            job.answer(false);
            continue;
        };
        let item = Item { frame, lengths: length_block(frame.text_len, key.esn), key, job: place };
        let list = match frame.text_len {
            0..=64 => &mut one_row,
            65..=128 => &mut two_rows,
            _ => &mut long,
        };
        list.push(item);
    }
    short::<J, ROUNDS, OPEN, 1>(cache, &one_row, jobs);
    short::<J, ROUNDS, OPEN, 2>(cache, &two_rows, jobs);
    rows::<J, ROUNDS, OPEN>(cache, &long, jobs);
}

/// Packets of at most `ROWS` × 64 octets of text, four at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn short<'a, J: Job<'a>, const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(
    cache: &mut Cache,
    items: &[Item<'a>],
    jobs: &mut [J],
) {
    for four in items.chunks(LANES) {
        let Some(first) = four.first() else { continue };
        let lanes: [&Item<'_>; LANES] = core::array::from_fn(|lane| four.get(lane).unwrap_or(first));
        let shared = if four.iter().all(|item| core::ptr::eq(item.key, first.key)) {
            context::<ROUNDS>(cache, first.key, items.len())
        } else {
            None
        };
        let keys = match shared {
            Some(context) => {
                let (quad, lane) = cache.context(context);
                Keys::Shared(quad, lane)
            }
            None => Keys::Raw(lanes.map(|item| item.key)),
        };
        // SAFETY: every frame was made of a job in `jobs`, whose packet that job borrows; `items` has only texts of at
        // most `ROWS` rows; a context's lane is below 4.
        let right = unsafe { column::crypt::<ROUNDS, OPEN, ROWS>(lanes, &keys) };
        for (lane, item) in four.iter().enumerate() {
            let done = !OPEN || right >> lane & 1 == 1;
            finish(item, done, jobs);
        }
    }
}

/// The context of a key that `packets` short packets of the burst may share, if it has or deserves one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn context<const ROUNDS: usize>(cache: &mut Cache, key: &GcmKey, packets: usize) -> Option<usize> {
    if let Some(context) = cache.find(key) {
        return Some(context);
    }
    if packets >= WORTH || cache.is_back(key) {
        cache.release();
        return cache.insert::<ROUNDS>(&[key]).ok();
    }
    None
}

/// Longer packets, one by one. Keys without a context wait until there are four.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn rows<'a, J: Job<'a>, const ROUNDS: usize, const OPEN: bool>(
    cache: &mut Cache,
    items: &[Item<'a>],
    jobs: &mut [J],
) {
    let mut start = 0;
    while start < items.len() {
        // Contexts of the items from `start` on; those without one await the quad that is being filled.
        let mut contexts: ArrayVec<Option<usize>, CHUNK> = ArrayVec::new();
        let mut new: ArrayVec<&GcmKey, LANES> = ArrayVec::new();
        cache.release();
        for item in &items[start..] {
            if !cache.has_room() {
                break;
            }
            let known = cache.find(item.key);
            if known.is_none() && !new.iter().any(|key| core::ptr::eq(*key, item.key)) {
                if new.is_full() {
                    break;
                }
                new.push(item.key);
            }
            contexts.push(known);
        }
        let filled = if new.is_empty() { None } else { cache.insert::<ROUNDS>(&new).ok() };
        for (item, known) in items[start..].iter().zip(&contexts) {
            let place = new.iter().position(|key| core::ptr::eq(*key, item.key));
            let context = known.or_else(|| Some(filled? + place?));
            let done = match context {
                Some(context) => {
                    let (quad, lane) = cache.context(context);
                    // SAFETY: as in `short`.
                    unsafe { one::<ROUNDS, OPEN>(quad, lane, item) }
                }
                None => false,
            };
            finish(item, done, jobs);
        }
        start += contexts.len();
    }
}

/// # Safety
/// As for [`row::crypt`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
unsafe fn one<const ROUNDS: usize, const OPEN: bool>(
    quad: &super::expand::Quad,
    lane: usize,
    item: &Item<'_>,
) -> bool {
    // SAFETY: the caller's promise; the ICV belongs to the packet.
    unsafe {
        let icv = row::crypt::<ROUNDS, OPEN>(quad, lane, &item.frame, item.lengths);
        let place = item.frame.icv();
        if OPEN {
            return _mm_cmpneq_epi64_mask(icv, _mm_loadu_si128(place.cast())) == 0;
        }
        _mm_storeu_si128(place.cast(), icv);
    }
    true
}

/// Answers a job; the text of a packet whose ICV was wrong goes no further.
#[inline]
fn finish<'a, J: Job<'a>>(item: &Item<'a>, done: bool, jobs: &mut [J]) {
    if !done {
        // SAFETY: the text lies in the packet, which the job borrows.
        unsafe { core::ptr::write_bytes(item.frame.text(), 0, item.frame.text_len) };
    }
    if let Some(job) = jobs.get_mut(item.job) {
        job.answer(done);
    }
}
