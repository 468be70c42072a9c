//! What a packet's octets say to the cipher, and the packets of a burst as arrays: what four lanes need is one load.
//!
//! Enters: whole ESP packets. Leaves: their texts' places and lengths, nonces, AAD and length blocks (RFC 4106 §3–§5, NIST
//! SP 800-38D §7). Arrays are filled here in words, in the packet's own order of octets, and read by the kernels, much later, in
//! vectors: a vector read right after would wait for the words to reach the cache.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::ESP_HEADER_LEN;

use super::GcmKey;
use super::counters::MAX_TEXT_LEN;
use super::expand::LANES;
use super::ghash::{reverse, reverse_one};

/// Octets of the explicit IV.
const IV_LEN: usize = 8;
/// Octets of the ICV.
const ICV_LEN: usize = 16;
/// Octets in front of the text: just as long as a block.
pub(super) const HEAD_LEN: usize = ESP_HEADER_LEN + IV_LEN;

/// Packets that are worked on at once.
pub(super) const CHUNK: usize = 32;

/// A block of octets as they are sent, or of two numbers.
type Words = [u64; 2];

/// Up to [`CHUNK`] packets. Their pointers are good for as long as the caller has the packets borrowed.
pub(super) struct Batch {
    len: usize,
    texts: MaybeUninit<[*mut u8; CHUNK]>,
    /// Salt, IV, and a counter of 0.
    nonces: MaybeUninit<[[u32; 4]; CHUNK]>,
    /// RFC 4106 §5: SPI and sequence number, with ESN all 64 bits of it, and zeroes.
    aads: MaybeUninit<[Words; CHUNK]>,
    /// Lengths of text and AAD in bits.
    lengths: MaybeUninit<[Words; CHUNK]>,
    keys: MaybeUninit<[*const GcmKey; CHUNK]>,
    /// Where the packets stand in the caller's burst.
    places: MaybeUninit<[u8; CHUNK]>,
}

/// Octets of a packet's text; `None` when the packet is too short or too long.
#[inline(always)]
pub(super) fn text_len(packet: &[u8]) -> Option<usize> {
    let len = packet.len().wrapping_sub(HEAD_LEN + ICV_LEN);
    (len <= MAX_TEXT_LEN).then_some(len)
}

impl Batch {
    /// An empty one; its arrays cost nothing.
    #[inline]
    pub fn new() -> Batch {
        Batch {
            len: 0,
            texts: MaybeUninit::uninit(),
            nonces: MaybeUninit::uninit(),
            aads: MaybeUninit::uninit(),
            lengths: MaybeUninit::uninit(),
            keys: MaybeUninit::uninit(),
            places: MaybeUninit::uninit(),
        }
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a packet whose [`text_len`] is given; if it is not to be opened, writes its IV.
    ///
    /// # Safety
    /// The batch must have room, and `text_len` be the packet's.
    #[inline(always)]
    pub unsafe fn push<const OPEN: bool>(
        &mut self,
        packet: &mut [u8],
        text_len: usize,
        key: &GcmKey,
        sequence: u64,
        place: u8,
    ) {
        let at = self.len;
        debug_assert!(at < CHUNK && packet.len() == HEAD_LEN + text_len + ICV_LEN);
        let start = packet.as_mut_ptr();
        // SAFETY: the caller promises that the packet has a head, and that `at < CHUNK`, the length of every array.
        unsafe {
            let header = start.cast::<u64>().read_unaligned();
            let iv_place = start.add(ESP_HEADER_LEN).cast::<u64>();
            let iv = if OPEN { iv_place.read_unaligned() } else { sequence.swap_bytes() };
            if !OPEN {
                iv_place.write_unaligned(iv);
            }
            *self.texts.as_mut_ptr().cast::<*mut u8>().add(at) = start.add(HEAD_LEN);
            let nonce = self.nonces.as_mut_ptr().cast::<u32>().add(at * 4);
            *nonce = u32::from_le_bytes(key.salt);
            nonce.add(1).cast::<u64>().write_unaligned(iv);
            *nonce.add(3) = 0;
            let aad = self.aads.as_mut_ptr().cast::<u64>().add(at * 2);
            if key.esn {
                let high = (sequence >> 32) as u32;
                *aad = header & 0xFFFF_FFFF | u64::from(high.swap_bytes()) << 32;
                *aad.add(1) = header >> 32;
            } else {
                *aad = header;
                *aad.add(1) = 0;
            }
            let lengths = self.lengths.as_mut_ptr().cast::<u64>().add(at * 2);
            *lengths = text_len as u64 * 8;
            *lengths.add(1) = u64::from(key.aad_bits);
            *self.keys.as_mut_ptr().cast::<*const GcmKey>().add(at) = key;
            *self.places.as_mut_ptr().cast::<u8>().add(at) = place;
        }
        self.len = at + 1;
    }

    /// Puts copies of the last four's first where they have no fourth: to work on a packet twice gives the same octets
    /// twice.
    #[inline]
    pub fn fill_lanes(&mut self) {
        let from = self.len - self.len % LANES;
        for at in self.len..self.len.next_multiple_of(LANES) {
            // SAFETY: `from < len`, so it was written; `at` is below a multiple of four that is at most `CHUNK`.
            unsafe {
                copy(&mut self.texts, from, at);
                copy(&mut self.nonces, from, at);
                copy(&mut self.aads, from, at);
                copy(&mut self.lengths, from, at);
                copy(&mut self.keys, from, at);
                copy(&mut self.places, from, at);
            }
        }
    }

    /// The text of the packet at `at`: its place and its length.
    ///
    /// # Safety
    /// `at` must be below the length, or filled.
    #[inline]
    pub unsafe fn text(&self, at: usize) -> (*mut u8, usize) {
        // SAFETY: the caller's promise: it was written.
        unsafe { (*get(&self.texts, at), (*get(&self.lengths, at))[0] as usize / 8) }
    }

    /// The key of the packet at `at`.
    ///
    /// # Safety
    /// `at` must be below the length, or filled; the keys must still be borrowed.
    #[inline]
    pub unsafe fn key<'a>(&self, at: usize) -> &'a GcmKey {
        // SAFETY: the caller's promise.
        unsafe { &**get(&self.keys, at) }
    }

    /// Where the packet at `at` stands in the caller's burst.
    ///
    /// # Safety
    /// `at` must be below the length, or filled.
    #[inline]
    pub unsafe fn place(&self, at: usize) -> u8 {
        // SAFETY: the caller's promise.
        unsafe { *get(&self.places, at) }
    }

    /// The packet at `at`.
    ///
    /// # Safety
    /// `at` must be below the length, or filled.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn packet(&self, at: usize) -> Packet {
        // SAFETY: the caller's promise; a block has 16 octets.
        unsafe {
            let (text, text_len) = self.text(at);
            Packet {
                text,
                text_len,
                nonce: _mm_loadu_si128(get(&self.nonces, at).cast()),
                aad: reverse_one(_mm_loadu_si128(get(&self.aads, at).cast())),
                lengths: _mm_loadu_si128(get(&self.lengths, at).cast()),
            }
        }
    }

    /// Four packets from `at` on.
    ///
    /// # Safety
    /// They must be there, or [filled](Self::fill_lanes).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn four(&self, at: usize) -> Four {
        // SAFETY: the caller's promise; four blocks are 64 octets.
        unsafe {
            Four {
                texts: *get(&self.texts, at).cast(),
                text_lens: core::array::from_fn(|lane| (*get(&self.lengths, at + lane))[0] as usize / 8),
                nonces: _mm512_loadu_si512(get(&self.nonces, at).cast()),
                aads: reverse(_mm512_loadu_si512(get(&self.aads, at).cast())),
                lengths: _mm512_loadu_si512(get(&self.lengths, at).cast()),
            }
        }
    }
}

/// One packet.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    /// The first octet of the text. The IV and the header stand in front of it, the ICV behind it.
    pub text: *mut u8,
    /// Octets of the text.
    pub text_len: usize,
    /// Salt, IV, and a counter of 0.
    pub nonce: __m128i,
    /// The AAD, octets reversed.
    pub aad: __m128i,
    /// Lengths of text and AAD in bits, octets reversed.
    pub lengths: __m128i,
}

impl Packet {
    /// Where the ICV stands.
    #[inline]
    pub fn icv(&self) -> *mut u8 {
        self.text.wrapping_add(self.text_len)
    }
}

/// Four packets in the lanes of vectors; otherwise as [`Packet`].
#[derive(Clone, Copy)]
pub(super) struct Four {
    pub texts: [*mut u8; LANES],
    pub text_lens: [usize; LANES],
    pub nonces: __m512i,
    pub aads: __m512i,
    pub lengths: __m512i,
}

#[inline]
fn get<T>(array: &MaybeUninit<[T; CHUNK]>, at: usize) -> *const T {
    array.as_ptr().cast::<T>().wrapping_add(at)
}

/// # Safety
/// Both must be below [`CHUNK`], and `from` be written.
#[inline]
unsafe fn copy<T: Copy>(array: &mut MaybeUninit<[T; CHUNK]>, from: usize, to: usize) {
    let first = array.as_mut_ptr().cast::<T>();
    // SAFETY: the caller's promise.
    unsafe { *first.add(to) = *first.add(from) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of the only packet: nonce, AAD and lengths.
    fn blocks(octets: &mut [u8], key: &GcmKey, sequence: u64) -> ([u8; 16], [u8; 16], Words) {
        let mut batch = Batch::new();
        let len = text_len(octets).unwrap();
        // SAFETY: an empty batch has room.
        unsafe { batch.push::<false>(octets, len, key, sequence, 0) };
        // SAFETY: one packet was put in; any octets are a block.
        unsafe {
            let nonce = get(&batch.nonces, 0).cast::<[u8; 16]>().read();
            (nonce, get(&batch.aads, 0).cast::<[u8; 16]>().read(), *get(&batch.lengths, 0))
        }
    }

    #[test]
    fn the_blocks_are_those_of_the_rfc() {
        let mut octets = [0; 40];
        octets[..8].copy_from_slice(&[0xa0, 0xa1, 0xa2, 0xa3, 0xb0, 0xb1, 0xb2, 0xb3]);
        let sequence = 0xc0c1_c2c3_b0b1_b2b3_u64;
        let nonce = [1, 2, 3, 4, 0xc0, 0xc1, 0xc2, 0xc3, 0xb0, 0xb1, 0xb2, 0xb3, 0, 0, 0, 0];
        let short = [0xa0, 0xa1, 0xa2, 0xa3, 0xb0, 0xb1, 0xb2, 0xb3, 0, 0, 0, 0, 0, 0, 0, 0];
        let key = GcmKey::new(&[7; 16], [1, 2, 3, 4], false).unwrap();
        assert_eq!(blocks(&mut octets, &key, sequence), (nonce, short, [64, 64]));
        assert_eq!(octets[8..16], sequence.to_be_bytes());
        let long = [0xa0, 0xa1, 0xa2, 0xa3, 0xc0, 0xc1, 0xc2, 0xc3, 0xb0, 0xb1, 0xb2, 0xb3, 0, 0, 0, 0];
        let key = GcmKey::new(&[7; 16], [1, 2, 3, 4], true).unwrap();
        assert_eq!(blocks(&mut octets, &key, sequence), (nonce, long, [64, 96]));
    }

    #[test]
    fn too_short_and_too_long_are_no_packets() {
        assert!(text_len(&[0; 31]).is_none());
        assert_eq!(text_len(&[0; 32]), Some(0));
        assert_eq!(text_len(&vec![0; MAX_TEXT_LEN + 32]), Some(MAX_TEXT_LEN));
        assert!(text_len(&vec![0; MAX_TEXT_LEN + 33]).is_none());
    }
}
