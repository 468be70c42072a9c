//! Which of a range's addresses are taken: one bit each, found round-robin.
//!
//! Enters: indexes. Leaves: free indexes, the one longest free coming late, so that an address just given back is not
//! given to somebody else at once.

const WORD_BITS: usize = u64::BITS as usize;

/// A set of taken indexes below `len`.
pub(super) struct Bitmap {
    words: Vec<u64>,
    len: usize,
    taken: usize,
    cursor: usize,
}

impl Bitmap {
    /// All `len` indexes free.
    pub(super) fn new(len: usize) -> Bitmap {
        Bitmap { words: vec![0; len.div_ceil(WORD_BITS)], len, taken: 0, cursor: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether this one is taken, or out of range.
    pub(super) fn is_taken(&self, index: usize) -> bool {
        let word = self.words.get(index / WORD_BITS).filter(|_| index < self.len);
        word.is_none_or(|word| word & (1u64 << (index % WORD_BITS)) != 0)
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes this one; `false` if it is taken already or out of range.
    pub(super) fn take(&mut self, index: usize) -> bool {
        let bit = 1u64 << (index % WORD_BITS);
        match self.words.get_mut(index / WORD_BITS).filter(|word| index < self.len && **word & bit == 0) {
            Some(word) => {
                *word |= bit;
                self.taken += 1;
                true
            }
            None => false,
        }
    }

    /// Takes the next free one after the last that was taken so.
    pub(super) fn take_next(&mut self) -> Option<usize> {
        if self.taken == self.len {
            return None;
        }
        let index = self.free_in(self.cursor, self.len).or_else(|| self.free_in(0, self.cursor))?;
        self.cursor = index + 1;
        self.take(index).then_some(index)
    }

    /// Frees this one; `false` if it was free or is out of range.
    pub(super) fn free(&mut self, index: usize) -> bool {
        let bit = 1u64 << (index % WORD_BITS);
        match self.words.get_mut(index / WORD_BITS).filter(|word| **word & bit != 0) {
            Some(word) => {
                *word &= !bit;
                self.taken -= 1;
                true
            }
            None => false,
        }
    }

    /// The first free index in `from..to`.
    fn free_in(&self, from: usize, to: usize) -> Option<usize> {
        let first_word = from / WORD_BITS;
        self.words.iter().enumerate().skip(first_word).take_while(|(word, _)| word * WORD_BITS < to).find_map(
            |(word, &bits)| {
                let before = if word == first_word { (1u64 << (from % WORD_BITS)) - 1 } else { 0 };
                let free = !(bits | before);
                let index = word * WORD_BITS + free.trailing_zeros() as usize;
                (free != 0 && index < to).then_some(index)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_freed_index_comes_back_last() {
        let mut bitmap = Bitmap::new(4);
        assert_eq!([bitmap.take_next(), bitmap.take_next()], [Some(0), Some(1)]);
        assert!(bitmap.free(0));
        let rest: Vec<_> = std::iter::from_fn(|| bitmap.take_next()).collect();
        assert_eq!(rest, [2, 3, 0]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(len in 0usize..200, steps in proptest::collection::vec((0u8..3, 0usize..210), 0..400)) {
            let mut bitmap = Bitmap::new(len);
            let mut model = BTreeSet::new();
            for (what, index) in steps {
                match what {
                    0 => prop_assert_eq!(bitmap.take(index), index < len && model.insert(index)),
                    1 => prop_assert_eq!(bitmap.free(index), model.remove(&index)),
                    _ => match bitmap.take_next() {
                        Some(index) => prop_assert!(index < len && model.insert(index)),
                        None => prop_assert_eq!(model.len(), len),
                    },
                }
                prop_assert_eq!(bitmap.taken(), model.len());
            }
        }
    }
}
