//! Expanded keys that stay warm between bursts: few, and never used for another key than theirs.
//!
//! Enters: the keys of a burst. Leaves: contexts, numbered quad × 4 + lane. A context is found by the place at which its
//! key lay, which is one comparison of vectors, and taken only if the octets there are still the ones it was made of.

use core::arch::x86_64::*;

use zeroize::Zeroize;

use super::GcmKey;
use super::expand::{LANES, Quad, fill};

/// Quads. As many contexts as a burst has packets; all of them together fit into the first-level cache.
const QUADS: usize = 8;
/// Contexts.
const CONTEXTS: usize = QUADS * LANES;

/// The contexts, and those of the running burst that were found valid.
pub(super) struct Cache {
    quads: [Quad; QUADS],
    places: Places,
    made_of: [MadeOf; CONTEXTS],
    /// Contexts whose octets were compared in this burst.
    verified: u32,
    /// Quads of which contexts were found or made in this burst: others are given up before these.
    in_use: u8,
    /// The quad that is looked at first when room is needed.
    next: usize,
    /// The place of the key that was last refused a context because it had few packets.
    candidate: usize,
    /// The key length that is looked for first.
    pub last_key_len: u8,
}

/// Where the contexts' keys lay; 0 for none.
#[repr(C, align(64))]
struct Places([usize; CONTEXTS]);

/// What a context was made of.
#[derive(Clone, Copy, Zeroize)]
struct MadeOf {
    raw: [u8; 32],
    key_len: u8,
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Box<Cache> {
        Box::new(Cache {
            quads: [const { Quad::EMPTY }; QUADS],
            places: Places([0; CONTEXTS]),
            made_of: [MadeOf { raw: [0; 32], key_len: 0 }; CONTEXTS],
            verified: 0,
            in_use: 0,
            next: 0,
            candidate: 0,
            last_key_len: 32,
        })
    }

    /// A burst begins: keys may have changed.
    pub fn begin(&mut self) {
        self.verified = 0;
        self.in_use = 0;
    }

    /// The context of a key.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    pub fn find(&mut self, key: &GcmKey) -> Option<usize> {
        let wanted = _mm512_set1_epi64(place(key) as i64);
        let mut found = 0u32;
        for (index, eight) in self.places.0.chunks_exact(8).enumerate() {
            // SAFETY: eight places are 64 octets.
            let eight = unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) };
            found |= u32::from(_mm512_cmpeq_epi64_mask(eight, wanted)) << (index * 8);
        }
        if found == 0 {
            return None;
        }
        let context = found.trailing_zeros() as usize;
        if self.verified & (1 << context) == 0 {
            if !self.made_of[context].is(key) {
                self.places.0[context] = 0;
                return None;
            }
            self.verified |= 1 << context;
        }
        self.in_use |= 1 << (context / LANES);
        Some(context)
    }

    /// Whether a key without a context, with few packets in this burst, is worth one: if it was the last to ask too.
    #[inline]
    pub fn is_back(&mut self, key: &GcmKey) -> bool {
        core::mem::replace(&mut self.candidate, place(key)) == place(key)
    }

    /// Expands up to four keys; answers with the first one's context, the others follow. Contexts handed out before may
    /// be gone, except those of the quads of `keep`; `keys` must not be empty.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,bmi2")]
    pub fn insert<const ROUNDS: usize>(&mut self, keys: &[&GcmKey], keep: [Option<usize>; 2]) -> usize {
        let first = keys[0];
        let keep = keep.iter().flatten().fold(0, |keep, context| keep | 1_u8 << (context / LANES % QUADS));
        if self.in_use | keep == u8::MAX {
            self.in_use = 0;
        }
        let taken = self.in_use | keep;
        let mut order = (0..QUADS).map(|step| (self.next + step) % QUADS);
        let quad = order.find(|quad| taken & (1 << quad) == 0).unwrap_or(self.next);
        self.next = (quad + 1) % QUADS;
        self.in_use |= 1 << quad;
        fill::<ROUNDS>(&mut self.quads[quad], core::array::from_fn(|lane| *keys.get(lane).unwrap_or(&first)));
        for lane in 0..LANES {
            let context = quad * LANES + lane;
            match keys.get(lane) {
                Some(key) => {
                    self.places.0[context] = place(key);
                    self.made_of[context] = MadeOf { raw: key.raw, key_len: key.key_len };
                    self.verified |= 1 << context;
                }
                None => self.places.0[context] = 0,
            }
        }
        quad * LANES
    }

    /// A context's quad and lane.
    #[inline]
    pub fn context(&self, context: usize) -> (&Quad, usize) {
        (&self.quads[context / LANES % QUADS], context % LANES)
    }

    /// Forgets the context of one key, and zeroes it.
    pub fn forget(&mut self, key: &GcmKey) {
        for context in 0..CONTEXTS {
            if self.places.0[context] == place(key) {
                self.places.0[context] = 0;
                self.made_of[context].zeroize();
                self.wipe_vacant_lanes(context / LANES);
            }
        }
    }

    /// Zeroes the lanes of a quad that belong to no key; a quad filled for fewer than four has copies there.
    fn wipe_vacant_lanes(&mut self, quad: usize) {
        for lane in 0..LANES {
            if self.places.0[quad * LANES + lane] == 0 {
                self.quads[quad].wipe_lane(lane);
            }
        }
    }

    /// Forgets everything.
    pub fn wipe(&mut self) {
        for quad in &mut self.quads {
            quad.wipe();
        }
        self.places.0 = [0; CONTEXTS];
        self.made_of.zeroize();
        self.candidate = 0;
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl MadeOf {
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn is(&self, key: &GcmKey) -> bool {
        // SAFETY: both have 32 octets.
        let (ours, theirs) = unsafe {
            (_mm256_loadu_si256(self.raw.as_ptr().cast()), _mm256_loadu_si256(key.raw.as_ptr().cast()))
        };
        _mm256_cmpneq_epi64_mask(ours, theirs) == 0 && self.key_len == key.key_len
    }
}

/// Where a key lies.
#[inline]
fn place(key: &GcmKey) -> usize {
    core::ptr::from_ref(key).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcm::Gcm;
    use crate::{SealJob, Wide};

    /// Whether any octet of an expanded key is left.
    fn is_blank(cache: &Cache) -> bool {
        let blocks = |quad: &Quad| {
            let rounds = quad.rounds.iter().flatten();
            rounds.chain(quad.powers.iter().flatten()).all(|block| block.0 == [0; 2])
        };
        cache.quads.iter().all(blocks) && cache.made_of.iter().all(|made_of| made_of.raw == [0; 32])
    }

    fn seal(gcm: &mut Gcm, key: &GcmKey) {
        let mut packet = [1; 600];
        let mut jobs = [SealJob { key, packet: &mut packet, sequence: 1, sealed: false }];
        gcm.seal_burst(&mut jobs);
        assert!(jobs[0].sealed);
    }

    #[test]
    fn a_forgotten_key_leaves_nothing_and_another_stays() {
        let Some(wide) = Wide::detect() else { return };
        let mut gcm = Gcm::new(wide);
        let keys = [1, 2].map(|octet| GcmKey::new(&[octet; 32], [0; 4], false).unwrap());
        seal(&mut gcm, &keys[0]);
        gcm.forget(&keys[1]);
        assert!(!is_blank(&gcm.cache), "the wrong one was forgotten");
        gcm.forget(&keys[0]);
        assert!(is_blank(&gcm.cache));
        keys.iter().for_each(|key| seal(&mut gcm, key));
        gcm.wipe();
        assert!(is_blank(&gcm.cache));
    }
}
