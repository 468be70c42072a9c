//! Packets of more than a few blocks, one by one: their keys, their groups of rows, their answers.
//!
//! Enters: a batch. Leaves: those of it whose ICV was wrong. A packet is cut into groups of three rows and of
//! four: fewer chains of AES rounds than three leave the processor idle. What a packet needs
//! before its cipher is made right in front of it: the processor does that beside the cipher of the packet before. For the
//! same reason all of it is one function.

use arrayvec::ArrayVec;

use super::GcmKey;
use super::batch::{Batch, HEAD_LEN};
use super::burst::refuse;
use super::cache::Cache;
use super::expand::LANES;
use super::row::{Pending, ROW, Run, mask_of_last};

/// The packet whose ICV is pending.
struct Before {
    context: usize,
    /// Where it stands in the batch.
    at: usize,
}

/// Seals or opens a batch of packets of all lengths from 113 octets of text on, which are three rows. Answers with those whose
/// ICV was wrong, by their places in the caller's burst.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
pub(super) fn long<const ROUNDS: usize, const OPEN: bool>(cache: &mut Cache, batch: &Batch) -> u32 {
    let mut wrong = 0;
    let mut before: Option<Before> = None;
    // A key that comes next, and its context.
    let mut next: Option<(&GcmKey, usize)> = None;
    let mut nowhere = [0; 16];
    let mut pending = Pending::none(cache.context(0).0, 0, &mut nowhere);
    for at in 0..batch.len() {
        // SAFETY: `at` is below the length; the caller has packets and keys borrowed.
        let (key, packet) = unsafe { (batch.key(at), batch.packet(at)) };
        let context = match next {
            Some((next, context)) if core::ptr::eq(next, key) => context,
            _ => cache.find(key).unwrap_or_else(|| {
                let keep = [before.as_ref().map(|before| before.context), None];
                expand::<ROUNDS>(cache, batch, at, keep)
            }),
        };
        // The next key's expansion is a long chain: it begins one packet ahead.
        next = Some((key, context));
        if at + 1 < batch.len() {
            // SAFETY: as above.
            let following = unsafe { batch.key(at + 1) };
            if !core::ptr::eq(following, key) {
                let found = cache.find(following).unwrap_or_else(|| {
                    let keep = [before.as_ref().map(|before| before.context), Some(context)];
                    expand::<ROUNDS>(cache, batch, at + 1, keep)
                });
                next = Some((following, found));
            }
        }
        let (quad, lane) = cache.context(context);
        let len = HEAD_LEN + packet.text_len;
        let mut rows = len.div_ceil(ROW);
        // As many groups of three as leave only groups of four; of five rows, one and a rest of two.
        let mut threes = rows.wrapping_neg() % 4;
        let mask = mask_of_last(len);
        let right;
        // SAFETY: a context's lane is below 4. The rows of the packet lie at the place that the run has reached, and
        // behind; the table of counters goes as far as the longest packet. Both packets are borrowed by their jobs, and
        // the quad of the one that is pending was kept.
        unsafe {
            let mut run = Run::new(quad, lane, &packet);
            if rows > 4 {
                if threes > 0 {
                    right = run.group::<ROUNDS, OPEN, 3, true, false>(0, &pending);
                    (rows, threes) = (rows - 3, threes - 1);
                } else {
                    right = run.group::<ROUNDS, OPEN, 4, true, false>(0, &pending);
                    rows -= 4;
                }
                while threes > 0 && rows > 3 {
                    run.group::<ROUNDS, OPEN, 3, false, false>(0, &pending);
                    (rows, threes) = (rows - 3, threes - 1);
                }
                while rows > 4 {
                    run.group::<ROUNDS, OPEN, 4, false, false>(0, &pending);
                    rows -= 4;
                }
                match rows {
                    0..=2 => run.last::<ROUNDS, OPEN, 2, false>(mask, &mut pending),
                    3 => run.last::<ROUNDS, OPEN, 3, false>(mask, &mut pending),
                    _ => run.last::<ROUNDS, OPEN, 4, false>(mask, &mut pending),
                };
            } else if rows > 3 {
                right = run.last::<ROUNDS, OPEN, 4, true>(mask, &mut pending);
            } else {
                right = run.last::<ROUNDS, OPEN, 3, true>(mask, &mut pending);
            }
            run.end((len - 1) % ROW + 1 + (rows - 1) * ROW, &packet, &mut pending);
            if let Some(before) = before
                && OPEN
                && !right
            {
                wrong |= refuse(batch, before.at);
            }
        }
        before = Some(Before { context, at });
    }
    if let Some(before) = before {
        // SAFETY: as above.
        unsafe {
            if !pending.finish::<OPEN>() && OPEN {
                wrong |= refuse(batch, before.at);
            }
        }
    }
    wrong
}

/// Makes a context for the key of the packet at `from`, and for up to three more that the next ones need. The contexts to
/// `keep` stay.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
fn expand<const ROUNDS: usize>(
    cache: &mut Cache,
    batch: &Batch,
    from: usize,
    keep: [Option<usize>; 2],
) -> usize {
    let mut new: ArrayVec<&GcmKey, LANES> = ArrayVec::new();
    for at in from..batch.len() {
        // SAFETY: `at` is below the length; the caller has the keys borrowed.
        let key = unsafe { batch.key(at) };
        if !new.iter().any(|other| core::ptr::eq(*other, key)) && cache.find(key).is_none() {
            new.push(key);
            if new.is_full() {
                break;
            }
        }
    }
    cache.insert::<ROUNDS>(&new, keep)
}
