//! The anti-replay window of an inbound SA (RFC 4303 §3.4.3) and the upper half of extended sequence numbers
//! (RFC 4303 Appendix A2).
//!
//! Enters: the 32 bits on the wire, later the proof that the packet was authentic. Leaves: the 64-bit number, and
//! whether it is new. The bits lie in a ring of words, as RFC 6479 has them; but of a word that the window enters only the
//! numbers that it passed are cleared, so that a ring is no longer than its window. A ring lies in its SA, in the page that
//! the translation cache then knows; a window that is wider than that brings its own.

use causeway_shared::sa::MAX_REPLAY_WINDOW;

/// Packets that an SA with ESN looks back even if replay protection is off: the inference of the upper half needs a
/// window (RFC 4303 Appendix A2.1).
pub const MIN_ESN_WINDOW: u32 = 64;

/// Words of a ring in an SA: the default window of 1024 packets, two cache lines.
const RING_WORDS: usize = 16;
/// Words of a wider window's own ring.
const WIDE_WORDS: usize = MAX_REPLAY_WINDOW as usize / WORD_BITS as usize;
const WORD_BITS: u64 = u64::BITS as u64;
const _: () = assert!(RING_WORDS.is_power_of_two() && WIDE_WORDS.is_power_of_two());

/// Which numbers were taken, of a window of at most 1024 packets: bit `n % 1024` is that of `n`, for `top - 1024 < n <= top`.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Ring([u64; RING_WORDS]);

impl Ring {
    /// Of no SA.
    pub const VACANT: Ring = Ring([0; RING_WORDS]);

    /// The word that [`ReplayWindow::take`] will write, so that it can be fetched in time.
    #[inline(always)]
    pub fn expected(&self, sequence: u64) -> &u64 {
        &self.0[word_of(sequence) % RING_WORDS]
    }
}

/// How far an SA has come, and how it looks back. Its numbers are in the [`Ring`] that goes with it.
pub struct ReplayWindow {
    /// Highest number taken.
    top: u64,
    /// The numbers taken, where the window is wider than a [`Ring`].
    wide: Option<Box<[u64; WIDE_WORDS]>>,
    size: u32,
    enforced: bool,
    esn: bool,
}

impl ReplayWindow {
    /// A window of `size` packets (0: off; at most [`MAX_REPLAY_WINDOW`]), in which everything up to `top` was taken.
    pub fn new(size: u32, esn: bool, top: u64) -> ReplayWindow {
        let enforced = size != 0;
        let size = match size {
            0 if esn => MIN_ESN_WINDOW,
            size => size.min(MAX_REPLAY_WINDOW),
        };
        let is_wide = size as usize > RING_WORDS * WORD_BITS as usize;
        let wide = is_wide.then(|| Box::new([all_taken_up_to(top); WIDE_WORDS]));
        ReplayWindow { top, wide, size, enforced, esn }
    }

    /// The window of no SA: takes nothing in, allocates nothing.
    pub(super) fn none() -> ReplayWindow {
        ReplayWindow { top: 0, wide: None, size: 1, enforced: true, esn: false }
    }

    /// The ring that goes with a window when its SA is installed.
    pub fn first_ring(&self) -> Ring {
        Ring([all_taken_up_to(self.top); RING_WORDS])
    }

    /// Highest number taken; 0 before the first.
    #[inline(always)]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The 64-bit number that the 32 bits on the wire stand for. `None` if it would lie before 0 or beyond 2^64.
    #[inline(always)]
    pub fn infer(&self, low: u32) -> Option<u64> {
        if !self.esn {
            return Some(u64::from(low));
        }
        let (top_high, top_low) = ((self.top >> 32) as u32, self.top as u32);
        let bottom_low = top_low.wrapping_sub(self.size.wrapping_sub(1));
        let high = if top_low >= self.size - 1 {
            // Case A: the window lies in one subspace.
            if low >= bottom_low { Some(top_high) } else { top_high.checked_add(1) }
        } else {
            // Case B: it spans two, and its bottom lies in the one below.
            if low >= bottom_low { top_high.checked_sub(1) } else { Some(top_high) }
        };
        high.map(|high| u64::from(high) << 32 | u64::from(low))
    }

    /// Whether `sequence` is new: right of the window, or in it and not yet taken.
    #[inline(always)]
    pub fn is_new(&self, sequence: u64, ring: &Ring) -> bool {
        if sequence > self.top {
            return true;
        }
        self.is_new_below_top(sequence, ring)
    }

    #[inline]
    fn is_new_below_top(&self, sequence: u64, ring: &Ring) -> bool {
        if sequence == 0 || !self.enforced {
            return sequence != 0;
        }
        let word = match &self.wide {
            None => *ring.expected(sequence),
            Some(wide) => wide[word_of(sequence) % WIDE_WORDS],
        };
        self.top - sequence < u64::from(self.size) && word & bit_of(sequence) == 0
    }

    /// Takes `sequence`, which an authentic packet carried and [`ReplayWindow::is_new`] found new.
    #[inline(always)]
    pub fn take(&mut self, sequence: u64, ring: &mut Ring) {
        match &mut self.wide {
            None => take(&mut self.top, sequence, &mut ring.0),
            Some(wide) => take(&mut self.top, sequence, wide),
        }
    }
}

/// Sets the bit of `sequence`; where that is the highest so far, every number passed on the way is not yet taken.
#[inline(always)]
fn take<const WORDS: usize>(top: &mut u64, sequence: u64, words: &mut [u64; WORDS]) {
    if sequence > *top {
        if sequence - *top > 1 {
            clear(*top + 1, sequence, words);
        }
        *top = sequence;
    }
    words[word_of(sequence) % WORDS] |= bit_of(sequence);
}

/// Clears the bits of `first` to `last`, at most the whole ring's.
#[inline(never)]
fn clear<const WORDS: usize>(first: u64, last: u64, words: &mut [u64; WORDS]) {
    if last - first >= WORDS as u64 * WORD_BITS - 1 {
        *words = [0; WORDS];
        return;
    }
    let (from, to) = (first / WORD_BITS, last / WORD_BITS);
    for word in from..=to {
        let below = if word == from { bit_of(first) - 1 } else { 0 };
        let above = if word == to { !(bit_of(last) | (bit_of(last) - 1)) } else { 0 };
        words[word as usize % WORDS] &= below | above;
    }
}

fn all_taken_up_to(top: u64) -> u64 {
    if top > 0 { u64::MAX } else { 0 }
}

#[inline(always)]
fn word_of(sequence: u64) -> usize {
    (sequence / WORD_BITS) as usize
}

#[inline(always)]
fn bit_of(sequence: u64) -> u64 {
    1 << (sequence % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A window and its ring, as an installed SA has them.
    struct Installed {
        window: ReplayWindow,
        ring: Ring,
    }

    impl Installed {
        fn new(size: u32, esn: bool, top: u64) -> Installed {
            let window = ReplayWindow::new(size, esn, top);
            Installed { ring: window.first_ring(), window }
        }

        fn is_new(&self, sequence: u64) -> bool {
            self.window.is_new(sequence, &self.ring)
        }

        fn take(&mut self, sequence: u64) {
            self.window.take(sequence, &mut self.ring);
        }

        fn top(&self) -> u64 {
            self.window.top()
        }
    }

    /// Infers, checks and takes as the path does.
    fn offer(installed: &mut Installed, low: u32) -> Option<u64> {
        let sequence = installed.window.infer(low)?;
        installed.is_new(sequence).then(|| {
            installed.take(sequence);
            sequence
        })
    }

    #[test]
    fn a_table_of_arrivals() {
        type Step = (u32, bool);
        let table: [(&str, u32, &[Step]); 6] = [
            ("in order", 64, &[(1, true), (2, true), (3, true)]),
            ("zero is never valid", 64, &[(0, false), (1, true), (0, false)]),
            ("duplicates", 64, &[(5, true), (5, false), (4, true), (4, false), (5, false)]),
            ("left edge", 64, &[(100, true), (37, true), (36, false), (37, false), (101, true), (37, false)]),
            (
                "a leap clears the window",
                64,
                &[(3, true), (9999, true), (9936, true), (9935, false), (3, false)],
            ),
            ("window of one", 1, &[(7, true), (6, false), (7, false), (8, true)]),
        ];
        for (name, size, steps) in table {
            let mut window = Installed::new(size, false, 0);
            for (low, expected) in steps {
                assert_eq!(offer(&mut window, *low).is_some(), *expected, "{name}: {low}");
            }
        }
    }

    #[test]
    fn off_takes_everything_but_zero() {
        let mut window = Installed::new(0, false, 0);
        for (low, expected) in [(9, true), (9, true), (1, true), (0, false)] {
            assert_eq!(offer(&mut window, low).is_some(), expected);
        }
    }

    #[test]
    fn what_came_before_a_restart_is_a_replay() {
        for top in [1, 63, 64, 127, 128, 1000, (1 << 32) + 5] {
            for size in [1, 32, 64, 100, 1024, 1025, 4096] {
                let window = Installed::new(size, true, top);
                for back in 0..70.min(top) {
                    assert!(!window.is_new(top - back), "top {top} size {size} back {back}");
                }
                for forward in 1..200 {
                    let mut window = Installed::new(size, true, top);
                    window.take(top + forward);
                    let between = (top + 1..top + forward).filter(|n| top + forward - n < u64::from(size));
                    for sequence in between {
                        assert!(window.is_new(sequence), "top {top} size {size} {sequence}");
                    }
                    assert!(!window.is_new(top), "top {top} size {size} after {forward}");
                }
            }
        }
    }

    #[test]
    fn the_upper_half_near_two_to_the_32() {
        let wrap = 1u64 << 32;
        for (name, top, low, expected) in [
            ("next, same subspace", wrap - 10, u32::MAX - 3, Some(wrap - 4)),
            ("crossing up", wrap - 2, 0, Some(wrap)),
            ("crossing up, far", wrap - 2, 1000, Some(wrap + 1000)),
            ("late, window in one subspace", wrap - 2, u32::MAX - 60, Some(wrap - 61)),
            ("late, from the subspace below", wrap + 5, u32::MAX, Some(wrap - 1)),
            ("left edge in the subspace below", wrap + 5, u32::MAX - 57, Some(wrap - 58)),
            ("just left of it: next time round", wrap + 5, u32::MAX - 58, Some(2 * wrap - 59)),
            ("low again", wrap + 5, 6, Some(wrap + 6)),
            ("first packets have nothing below", 5, u32::MAX, None),
            ("no third half", u64::MAX - 5, 3, None),
        ] {
            assert_eq!(Installed::new(64, true, top).window.infer(low), expected, "{name}");
        }
    }

    /// RFC 4303 §3.4.3 as a set: everything taken, the top, and nothing else.
    struct Naive {
        taken: BTreeSet<u64>,
        top: u64,
        size: u64,
    }

    impl Naive {
        fn offer(&mut self, sequence: u64) -> bool {
            let new = sequence != 0
                && !self.taken.contains(&sequence)
                && (sequence > self.top || self.top - sequence < self.size);
            if new {
                self.taken.insert(sequence);
                self.top = self.top.max(sequence);
            }
            new
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            size in prop_oneof![1u32..200, 1000u32..1100, Just(1024), Just(1025), Just(4096)],
            start in prop_oneof![Just(0u64), Just((1u64 << 32) - 300), any::<u32>().prop_map(u64::from)],
            steps in prop::collection::vec((-300i64..300, any::<bool>()), 1..300),
        ) {
            let mut window = Installed::new(size, true, 0);
            let mut naive = Naive { taken: BTreeSet::new(), top: 0, size: u64::from(size) };
            let mut at = start;
            for (step, leap) in steps {
                at = at.saturating_add_signed(if leap { step * 20 } else { step });
                let new = window.is_new(at);
                prop_assert_eq!(new, naive.offer(at), "at {}", at);
                if new {
                    window.take(at);
                }
                prop_assert_eq!(window.top(), naive.top);
            }
        }

        #[test]
        fn any_number_within_half_a_subspace_is_inferred(
            top in 4096u64..1 << 40, size in 1u32..4096, ahead in -4095i64..1 << 31,
        ) {
            let window = Installed::new(size, true, top);
            prop_assume!(ahead > -i64::from(size));
            let sequence = top.saturating_add_signed(ahead);
            prop_assert_eq!(window.window.infer(sequence as u32), Some(sequence));
        }
    }
}
