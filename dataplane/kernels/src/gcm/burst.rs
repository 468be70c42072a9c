//! Which packet of a burst goes through which kernel, with which context.
//!
//! Enters: the packets of a burst, where they wait. Leaves: a bit for each. Packets of up to [`column::MAX_ROWS`] × 64 octets are taken four
//! at a time whatever their keys; the rest one by one, their keys expanded four at a time. What a packet needs before its
//! cipher is made right in front of it: the processor does that beside the cipher of the packet before.

use super::batch::{Batch, CHUNK, text_len};
use super::cache::Cache;
use super::expand::LANES;
use super::long::long;
use super::{GcmKey, MaybeGcm, column};
use crate::{MAX_ITEMS, Outcome, View};

/// Short packets of one key in a burst from which on a context pays.
const WORTH: usize = 8;

const _: () = assert!(MAX_ITEMS <= CHUNK && MAX_ITEMS <= u32::BITS as usize);

/// Seals or opens at most [`MAX_ITEMS`] packets; leaves those alone that have keys of other algorithms.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<T, V: View<T, Key: MaybeGcm>, const OPEN: bool>(
    cache: &mut Cache,
    items: &mut [T],
    view: &V,
) -> Outcome {
    cache.begin();
    // Mixed key lengths are rare: the second pass then takes what the first one left.
    let first = cache.last_key_len;
    let mut taken = match first {
        16 => take::<T, V, 10, OPEN>(cache, items, view),
        _ => take::<T, V, 14, OPEN>(cache, items, view),
    };
    if taken.other_length {
        let others = match first {
            16 => take::<T, V, 14, OPEN>(cache, items, view),
            _ => take::<T, V, 10, OPEN>(cache, items, view),
        };
        taken.outcome.done |= others.outcome.done;
    }
    taken.outcome
}

/// What a pass did.
struct Taken {
    outcome: Outcome,
    /// Whether there are keys of the other length.
    other_length: bool,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn take<T, V: View<T, Key: MaybeGcm>, const ROUNDS: usize, const OPEN: bool>(
    cache: &mut Cache,
    items: &mut [T],
    view: &V,
) -> Taken {
    let key_len = if ROUNDS == 10 { 16 } else { 32 };
    let mut taken = Taken { outcome: Outcome::default(), other_length: false };
    let (mut one_row, mut two_rows, mut longer) = (Batch::new(), Batch::new(), Batch::new());
    for (place, item) in (0_u8..MAX_ITEMS as u8).zip(items.iter_mut()) {
        let bit = 1 << place;
        let Some(key) = view.key(item).and_then(MaybeGcm::gcm_key) else {
            taken.outcome.left |= bit;
            continue;
        };
        if key.key_len != key_len {
            taken.other_length = true;
            continue;
        }
        let sequence = view.sequence(item);
        let packet = view.packet(item);
        let Some(len) = text_len(packet) else { continue };
        // What is found wrong loses its bit again.
        taken.outcome.done |= bit;
        let batch = match len {
            0..=64 => &mut one_row,
            65..=TWO_ROWS => &mut two_rows,
            _ => &mut longer,
        };
        // SAFETY: no batch gets more than `MAX_ITEMS` packets; that is the packet's length. Key and packet stay borrowed by
        // `view` and `items` as long as this function runs.
        unsafe { batch.push::<OPEN>(packet, len, key, sequence, place) };
    }
    if taken.outcome.done != 0 {
        cache.last_key_len = key_len;
    }
    let mut wrong = short::<ROUNDS, OPEN, 1>(cache, &mut one_row);
    wrong |= short::<ROUNDS, OPEN, 2>(cache, &mut two_rows);
    if longer.len() > 0 {
        wrong |= long::<ROUNDS, OPEN>(cache, &longer);
    }
    taken.outcome.done &= !wrong;
    taken
}

/// Most octets of text that two rows hold.
const TWO_ROWS: usize = column::MAX_ROWS * 64;

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
    unsafe fn finish<const OPEN: bool, const ROWS: usize>(
        &self,
        batch: &Batch,
        pending: &column::Pending,
    ) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            match *self {
                Before::None => 0,
                Before::Raw(at) => wrong::<OPEN>(batch, at, column::finish::<OPEN, ROWS, false>(pending)),
                Before::Shared(_, at) => {
                    wrong::<OPEN>(batch, at, column::finish::<OPEN, ROWS, true>(pending))
                }
            }
        }
    }
}

/// Packets of at most `ROWS` × 64 octets of text, four at a time. Answers with those whose ICV was wrong.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn short<const ROUNDS: usize, const OPEN: bool, const ROWS: usize>(
    cache: &mut Cache,
    batch: &mut Batch,
) -> u32 {
    batch.fill_lanes();
    let mut wrong_ones = 0;
    let mut pending = column::Pending::new();
    let mut before = Before::None;
    let mut shared = None;
    for at in (0..batch.len()).step_by(LANES) {
        // SAFETY: `at` is below the length, and the lanes behind it are filled.
        let four = unsafe { batch.four(at) };
        // SAFETY: as above; the keys are borrowed by the caller.
        let keys = unsafe { [batch.key(at), batch.key(at + 1), batch.key(at + 2), batch.key(at + 3)] };
        let [a, b, c, d] = keys.map(core::ptr::from_ref);
        let one_key = (a == b) & (b == c) & (c == d);
        let same = matches!(before, Before::Shared(key, _) if key == a);
        if !(one_key & same) {
            if matches!(before, Before::Shared(..)) {
                // Only now may another key take the context's place.
                // SAFETY: this is what the four before left.
                wrong_ones |= unsafe { before.finish::<OPEN, ROWS>(batch, &pending) };
                before = Before::None;
            }
            shared = if one_key { context::<ROUNDS>(cache, keys[0], batch.len()) } else { None };
        }
        // SAFETY: the packets are borrowed by the caller; this batch has only texts of at most `ROWS` rows; a
        // context's lane is below 4, and while one is in use nothing is put into the cache. What is pending is
        // finished by the function that left it.
        unsafe {
            match (shared, &before) {
                (Some(context), Before::Shared(_, done)) => {
                    let (quad, lane) = cache.context(context);
                    let right =
                        column::crypt_shared::<ROUNDS, OPEN, ROWS, true>(&four, quad, lane, &mut pending);
                    wrong_ones |= wrong::<OPEN>(batch, *done, right);
                }
                (None, Before::Raw(done)) => {
                    let right = column::crypt::<ROUNDS, OPEN, ROWS, true>(&four, keys, &mut pending);
                    wrong_ones |= wrong::<OPEN>(batch, *done, right);
                }
                (Some(context), _) => {
                    wrong_ones |= before.finish::<OPEN, ROWS>(batch, &pending);
                    let (quad, lane) = cache.context(context);
                    column::crypt_shared::<ROUNDS, OPEN, ROWS, false>(&four, quad, lane, &mut pending);
                }
                (None, _) => {
                    wrong_ones |= before.finish::<OPEN, ROWS>(batch, &pending);
                    column::crypt::<ROUNDS, OPEN, ROWS, false>(&four, keys, &mut pending);
                }
            }
        }
        before = if shared.is_some() { Before::Shared(a, at) } else { Before::Raw(at) };
    }
    // SAFETY: this is what the last four left.
    wrong_ones | unsafe { before.finish::<OPEN, ROWS>(batch, &pending) }
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

/// Those of the four packets from `at` on that are not `right`, by their places in the caller's burst. Their texts go no
/// further. Lanes without a packet say it of the one that they are a copy of.
///
/// # Safety
/// They must be in the batch or [filled](Batch::fill_lanes), and borrowed by the caller.
#[inline]
unsafe fn wrong<const OPEN: bool>(batch: &Batch, at: usize, right: u8) -> u32 {
    if !OPEN || right == (1 << LANES) - 1 {
        return 0;
    }
    let lanes = (0..LANES).filter(|lane| right >> lane & 1 == 0);
    // SAFETY: the caller's promise.
    lanes.fold(0, |all, lane| all | unsafe { refuse(batch, at + lane) })
}

/// Zeroes the text of a packet whose ICV was wrong; its place in the caller's burst.
///
/// # Safety
/// It must be in the batch or [filled](Batch::fill_lanes), and borrowed by the caller.
#[cold]
pub(super) unsafe fn refuse(batch: &Batch, at: usize) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        let (text, text_len) = batch.text(at);
        core::ptr::write_bytes(text, 0, text_len);
        1 << batch.place(at)
    }
}
