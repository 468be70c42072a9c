//! HMAC over many packets at once: lanes that each carry one packet through inner hash, padding and outer hash.
//!
//! Enters: packets with their keys' precomputed states, the longest first. Leaves: for every packet its ICV, written
//! behind it or compared with the one that stands there, in constant time. RFC 2104, RFC 4868, RFC 4303 §3.3.2.1. A lane
//! whose packet ends takes the next packet at once, so that mixed lengths keep all lanes busy; the padding and the outer
//! block go through the lanes like any other block.

use core::arch::x86_64::*;

use zeroize::Zeroize;

use crate::sha256::{self, SHA256_INITIAL};
use crate::sha512::{self, SHA384_INITIAL, SHA512_INITIAL};

/// The hash under the HMAC, and with it the length of the ICV: half the hash's output (RFC 4868 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// HMAC-SHA-256-128.
    Sha256,
    /// HMAC-SHA-384-192.
    Sha384,
    /// HMAC-SHA-512-256.
    Sha512,
}

impl Hash {
    /// Octets of the ICV.
    pub const fn icv_len(self) -> usize {
        match self {
            Hash::Sha256 => 16,
            Hash::Sha384 => 24,
            Hash::Sha512 => 32,
        }
    }

    /// Octets of the integrity key (RFC 4868 §2.1.1: as long as the hash's output).
    pub const fn key_len(self) -> usize {
        2 * self.icv_len()
    }
}

/// A chaining state, or one lane's row of the transposed ones. SHA-256 uses the first 32 octets.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct State(pub(crate) [u64; 8]);

/// An HMAC key as the two states that its inner and its outer pad leave behind (RFC 2104 §4).
#[derive(Clone)]
pub(crate) struct MacKey {
    inner: [u64; 8],
    outer: [u64; 8],
    pub(crate) hash: Hash,
}

impl MacKey {
    /// `None` if the key's length is not the hash's.
    pub(crate) fn new(hash: Hash, key: &[u8]) -> Option<MacKey> {
        if key.len() != hash.key_len() {
            return None;
        }
        Some(MacKey { inner: pad_state(hash, key, 0x36), outer: pad_state(hash, key, 0x5c), hash })
    }
}

impl Drop for MacKey {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// The state after the key, exclusive-ored with `pad` over a whole block.
fn pad_state(hash: Hash, key: &[u8], pad: u8) -> [u64; 8] {
    let mut block = [pad; sha512::BLOCK_LEN];
    for (octet, key) in block.iter_mut().zip(key) {
        *octet ^= key;
    }
    let mut state = match hash {
        Hash::Sha256 => {
            let mut words = SHA256_INITIAL;
            if let Some(block) = block.first_chunk::<{ sha256::BLOCK_LEN }>() {
                sha2::block_api::compress256(&mut words, core::slice::from_ref(block));
            }
            let mut state = [0; 8];
            for (pair, words) in state.iter_mut().zip(words.chunks_exact(2)) {
                *pair = u64::from(words[0]) | u64::from(words[1]) << 32;
            }
            words.zeroize();
            state
        }
        Hash::Sha384 | Hash::Sha512 => {
            let mut state = if hash == Hash::Sha384 { SHA384_INITIAL } else { SHA512_INITIAL };
            sha2::block_api::compress512(&mut state, core::slice::from_ref(&block));
            state
        }
    };
    block.zeroize();
    let out = state;
    state.zeroize();
    out
}

/// A compression function over lanes.
pub(crate) trait Kernel {
    /// Lanes at full width, at most 16.
    const LANES: usize;
    /// Octets of a block: 64 or 128.
    const BLOCK_LEN: usize;

    /// Whether so many living lanes can go on to the outer hash without leaving the registers.
    fn turns(live: usize) -> bool;

    /// Takes lanes `0..live` through their next `blocks` blocks, and with `outer` through the outer hash after them; other
    /// lanes' states become undefined. `outer` is given only where [`Kernel::turns`] says so.
    ///
    /// # Safety
    /// The features that [`crate::Wide`] proves are there; the next `blocks` blocks of all `LANES` lanes, as
    /// [`Heads::advance`] finds them, are readable, and so are the states of `outer`.
    unsafe fn compress(
        states: &mut [State; 16],
        heads: &mut Heads,
        live: usize,
        blocks: usize,
        outer: Option<&Outer>,
    );
}

/// What lanes that end together need for the outer hash.
pub(crate) struct Outer {
    /// Each lane's outer state.
    pub(crate) states: [*const [u64; 8]; 16],
    /// The lanes whose digest is the whole state, a bit each: SHA-384's is three quarters of it.
    pub(crate) whole: u16,
}

/// Where each lane's next block stands, where its packet's whole blocks end, and where it goes on from there.
pub(crate) struct Heads {
    pub(crate) at: [*const u8; 16],
    end: [*const u8; 16],
    then: [*const u8; 16],
}

impl Heads {
    /// No lane has a packet: all read zeros, for as long as they like.
    pub(crate) fn idle(block_len: usize) -> Heads {
        let idle = IDLE.as_ptr().cast::<u8>();
        Heads { at: [idle; 16], end: [idle.wrapping_add(block_len); 16], then: [idle; 16] }
    }

    /// Moves every lane one block on, from the packet to its padded tail where the whole blocks end.
    #[inline(always)]
    pub(crate) fn advance<const LANES: usize>(&mut self, block_len: usize) {
        for lane in 0..LANES {
            self.advance_lane(lane, block_len);
        }
    }

    /// Moves one lane one block on.
    #[inline(always)]
    pub(crate) fn advance_lane(&mut self, lane: usize, block_len: usize) {
        let next = self.at[lane].wrapping_add(block_len);
        self.at[lane] = if next == self.end[lane] { self.then[lane] } else { next };
    }
}

/// One packet to authenticate.
#[derive(Clone, Copy)]
pub(crate) struct MacJob<'k> {
    /// From the SPI on: `covered_len` octets that are authenticated, then the ICV.
    pub(crate) packet: *mut u8,
    pub(crate) covered_len: usize,
    pub(crate) key: &'k MacKey,
    /// Bits 32 to 63 of the sequence number, where the SA has ESN.
    pub(crate) esn_high: Option<u32>,
    /// The caller's name for the packet.
    pub(crate) index: usize,
}

/// What is done with a finished ICV.
pub(crate) trait Ending {
    /// `icv` lies in the register's words under `mask`; `at` is where the packet's ICV stands.
    ///
    /// # Safety
    /// The octets under `mask` behind `at` are the packet's and can be written.
    unsafe fn end(&mut self, index: usize, at: *mut u8, mask: __mmask16, icv: __m512i);
}

/// What lanes without a packet read.
static IDLE: [State; 2] = [State([0; 8]); 2];

/// The lanes, and the scratch in which their last blocks are put together.
pub(crate) struct Lanes<K> {
    states: [State; 16],
    scratch: [Scratch; 16],
    kernel: core::marker::PhantomData<K>,
}

/// A lane's padded tail (two blocks at most), then the outer hash's block.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Scratch {
    tail: [State; 4],
    outer: [State; 2],
}

/// What the lanes are at. Lanes `0..live` have a packet.
struct Work<'j, 'k> {
    heads: Heads,
    /// Blocks until the lane's hash ends; the highest number in lanes without a packet.
    left: [u64; 16],
    jobs: [Option<&'j MacJob<'k>>; 16],
    /// Lanes change places, scratches do not.
    scratch: [*mut Scratch; 16],
    /// Lanes that are in the outer hash, a bit each.
    outer: u32,
    live: usize,
}

impl Work<'_, '_> {
    /// If all packets end their inner hash in `blocks` blocks: what they need for the outer.
    fn turn_together(&self, blocks: u64) -> Option<Outer> {
        let living = self.left.get(..self.live)?;
        if self.outer & ((1 << self.live) - 1) != 0 || living.iter().any(|left| *left != blocks) {
            return None;
        }
        let mut outer = Outer { states: [&raw const IDLE[0].0; 16], whole: 0 };
        for (lane, job) in self.jobs.iter().enumerate().take(self.live) {
            let job = job.as_ref()?;
            outer.states[lane] = &raw const job.key.outer;
            outer.whole |= u16::from(job.key.hash != Hash::Sha384) << lane;
        }
        Some(outer)
    }
}

impl<K: Kernel> Lanes<K> {
    pub(crate) fn new() -> Lanes<K> {
        let zero = State([0; 8]);
        Lanes {
            states: [zero; 16],
            scratch: [Scratch { tail: [zero; 4], outer: [zero; 2] }; 16],
            kernel: core::marker::PhantomData,
        }
    }

    /// Authenticates all of `jobs`; the nearer to longest first they come, the fuller the lanes.
    ///
    /// # Safety
    /// The processor has what [`crate::Wide`] proves. Every job's packet is readable and writable from its SPI to the end
    /// of its ICV, of no one else, `covered_len` a multiple of four, and its key alive.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    pub(crate) unsafe fn run<'k>(&mut self, jobs: &[MacJob<'k>], ending: &mut impl Ending) {
        let states = &mut self.states;
        let scratch = self.scratch.as_mut_ptr();
        let mut work = Work {
            heads: Heads::idle(K::BLOCK_LEN),
            left: [u64::MAX; 16],
            jobs: [None; 16],
            scratch: [scratch; 16],
            outer: 0,
            live: 0,
        };
        let mut queue = jobs.iter();
        for lane in 0..K::LANES {
            let Some(job) = queue.next() else { break };
            work.scratch[lane] = scratch.wrapping_add(lane);
            work.live += 1;
            // SAFETY: the caller's promise.
            unsafe { Self::begin(states, &mut work, lane, job) };
        }
        while work.live > 0 {
            let blocks = work.left.iter().copied().min().unwrap_or(0);
            let outer = work.turn_together(blocks).filter(|_| K::turns(work.live));
            // SAFETY: every living lane has so many blocks left, the others read `IDLE`.
            unsafe { K::compress(states, &mut work.heads, work.live, blocks as usize, outer.as_ref()) };
            if outer.is_some() {
                work.outer = u32::MAX;
            }
            let mut ended = 0;
            for (lane, left) in work.left.iter_mut().enumerate() {
                *left = if *left == u64::MAX { u64::MAX } else { *left - blocks };
                ended |= u32::from(*left == 0) << lane;
            }
            // In two passes, because a branch on each lane's own state would be guessed wrong half of the time.
            let outer = work.outer;
            let mut turning = ended & !outer;
            while turning != 0 {
                let lane = turning.trailing_zeros() as usize;
                turning &= turning - 1;
                let Some(job) = work.jobs[lane] else { continue };
                // SAFETY: the caller's promise.
                unsafe { Self::turn(states, &mut work, lane, job) };
            }
            // From the last lane down, because a lane that stays empty is filled with the last one.
            let mut done = ended & outer;
            while done != 0 {
                let lane = done.ilog2() as usize;
                done ^= 1 << lane;
                let Some(job) = work.jobs[lane] else { continue };
                let mask = (1_u32 << (job.key.hash.icv_len() / 4)) - 1;
                // SAFETY: the caller's promise.
                unsafe {
                    let icv = job.packet.add(job.covered_len);
                    ending.end(job.index, icv, mask as u16, digest::<K>(&states[lane]));
                    match queue.next() {
                        Some(job) => Self::begin(states, &mut work, lane, job),
                        None => Self::close(states, &mut work, lane),
                    }
                }
            }
        }
    }

    /// Puts a packet into a lane: the whole blocks are read where they stand, the rest is padded into the scratch.
    ///
    /// # Safety
    /// As [`Lanes::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    #[inline]
    unsafe fn begin<'j, 'k>(
        states: &mut [State; 16],
        work: &mut Work<'j, 'k>,
        lane: usize,
        job: &'j MacJob<'k>,
    ) {
        let whole = job.covered_len & !(K::BLOCK_LEN - 1);
        let rest_words = (job.covered_len - whole) / 4;
        let length_len = K::BLOCK_LEN / 8;
        let esn_words = usize::from(job.esn_high.is_some());
        // One octet of padding and the length must fit behind what is left.
        let tail_blocks = 1 + usize::from((rest_words + esn_words) * 4 + 1 + length_len > K::BLOCK_LEN);
        // RFC 4303 §3.3.2.1: the upper half of the sequence number follows the packet, untransmitted.
        let rest = (1_u64 << rest_words) - 1;
        let esn = (esn_words as u64) << rest_words;
        let one = 1_u64 << (rest_words + esn_words);
        let bits = 8 * (K::BLOCK_LEN + job.covered_len + 4 * esn_words) as u64;
        let last = 1_u64 << (tail_blocks * K::BLOCK_LEN / 8 - 1);
        let esn_word = _mm512_set1_epi32(job.esn_high.unwrap_or(0).swap_bytes() as i32);
        let bits = _mm512_set1_epi64(bits.swap_bytes() as i64);
        let from = job.packet.cast_const().wrapping_add(whole);
        // SAFETY: the masks hold the reads to `covered_len`; a tail is four rows of 64 octets.
        unsafe {
            let tail = (&raw mut (*work.scratch[lane]).tail).cast::<u8>();
            // All rows, though the last may not be needed: a loop of one length is not guessed wrong.
            for row in 0..2 * K::BLOCK_LEN / 64 {
                let mask = (rest >> (16 * row)) as u16;
                let words = _mm512_maskz_loadu_epi32(mask, from.wrapping_add(64 * row).cast());
                let words = _mm512_mask_mov_epi32(words, (esn >> (16 * row)) as u16, esn_word);
                let one = (one >> (16 * row)) as u16;
                let words = _mm512_mask_mov_epi32(words, one, _mm512_set1_epi32(0x80));
                let words = _mm512_mask_mov_epi64(words, (last >> (8 * row)) as u8, bits);
                _mm512_store_si512(tail.add(64 * row).cast(), words);
            }
            set_state(&mut states[lane], &job.key.inner);
            work.heads.at[lane] = if whole == 0 { tail } else { job.packet.cast_const() };
            // A packet without a whole block begins in its tail and has no end to meet.
            work.heads.end[lane] = if whole == 0 { core::ptr::null() } else { from };
            work.heads.then[lane] = tail;
        }
        work.left[lane] = (whole / K::BLOCK_LEN + tail_blocks) as u64;
        work.jobs[lane] = Some(job);
        work.outer &= !(1 << lane);
    }

    /// From the inner hash to the outer: its digest becomes a padded block, its state the outer one.
    ///
    /// # Safety
    /// As [`Lanes::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    #[inline]
    unsafe fn turn(states: &mut [State; 16], work: &mut Work<'_, '_>, lane: usize, job: &MacJob<'_>) {
        let words = job.key.hash.key_len() / 4;
        let one = 1_u32 << words;
        let bits = _mm512_set1_epi64(((K::BLOCK_LEN + 4 * words) as u64 * 8).swap_bytes() as i64);
        let low = _mm512_maskz_mov_epi32((one - 1) as u16, digest::<K>(&states[lane]));
        let low = _mm512_mask_mov_epi32(low, one as u16, _mm512_set1_epi32(0x80));
        // SAFETY: an outer block is two rows of 64 octets.
        unsafe {
            let outer = (&raw mut (*work.scratch[lane]).outer).cast::<u8>();
            if K::BLOCK_LEN == 64 {
                _mm512_store_si512(outer.cast(), _mm512_mask_mov_epi64(low, 0x80, bits));
            } else {
                let high = _mm512_maskz_mov_epi32((one >> 16) as u16, _mm512_set1_epi32(0x80));
                _mm512_store_si512(outer.cast(), low);
                _mm512_store_si512(outer.add(64).cast(), _mm512_mask_mov_epi64(high, 0x80, bits));
            }
            work.heads.at[lane] = outer;
        }
        set_state(&mut states[lane], &job.key.outer);
        work.heads.end[lane] = core::ptr::null();
        work.left[lane] = 1;
        work.outer |= 1 << lane;
    }

    /// Leaves a lane empty that has no successor: the last living one takes its place.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    #[inline]
    fn close(states: &mut [State; 16], work: &mut Work<'_, '_>, lane: usize) {
        work.live -= 1;
        let last = work.live;
        let state = states[last].0;
        set_state(&mut states[lane], &state);
        work.heads.at[lane] = work.heads.at[last];
        work.heads.end[lane] = work.heads.end[last];
        work.heads.then[lane] = work.heads.then[last];
        work.left[lane] = work.left[last];
        work.jobs[lane] = work.jobs[last];
        work.scratch[lane] = work.scratch[last];
        let bit = work.outer >> last & 1;
        work.outer = work.outer & !(1 << lane) | bit << lane;
        let idle = IDLE.as_ptr().cast::<u8>();
        work.heads.at[last] = idle;
        work.heads.end[last] = idle.wrapping_add(K::BLOCK_LEN);
        work.heads.then[last] = idle;
        work.left[last] = u64::MAX;
    }
}

/// In one store, because the kernels read it in one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
#[inline]
fn set_state(state: &mut State, words: &[u64; 8]) {
    // SAFETY: both are 64 octets.
    unsafe {
        _mm512_store_si512(state.0.as_mut_ptr().cast(), _mm512_loadu_si512(words.as_ptr().cast()));
    }
}

/// A state's words in the order of the wire.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
#[inline]
fn digest<K: Kernel>(state: &State) -> __m512i {
    let from = state.0.as_ptr();
    // SAFETY: a `State` is 64 octets. Each is read as wide as the kernel wrote it.
    unsafe {
        if K::BLOCK_LEN == sha256::BLOCK_LEN {
            let swap = _mm256_broadcastsi128_si256(sha256::swap_words());
            _mm512_zextsi256_si512(_mm256_shuffle_epi8(_mm256_load_si256(from.cast()), swap))
        } else {
            let swap = _mm512_broadcast_i32x4(sha512::swap_words());
            _mm512_shuffle_epi8(_mm512_load_si512(from.cast()), swap)
        }
    }
}

#[cfg(test)]
mod tests;
