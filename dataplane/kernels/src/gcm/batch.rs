//! What a packet's octets say to the cipher, and the short packets of a burst as arrays: what four lanes need is one load.
//!
//! Enters: whole ESP packets. Leaves: their texts' places and lengths, nonces, AAD and length blocks (RFC 4106 §3–§5, NIST
//! SP 800-38D §7). Arrays are filled here in words and read by the kernels, much later, in vectors: a vector read right
//! after would wait for the words to reach the cache.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::ESP_HEADER_LEN;

use super::GcmKey;
use super::counters::MAX_TEXT_LEN;
use super::expand::LANES;

/// Octets of the explicit IV.
const IV_LEN: usize = 8;
/// Octets of the ICV.
const ICV_LEN: usize = 16;
/// Octets in front of the text: just as long as a block.
pub(super) const HEAD_LEN: usize = ESP_HEADER_LEN + IV_LEN;

/// Packets that are worked on at once; longer bursts are cut.
pub(super) const CHUNK: usize = 32;

/// A block: two words, octets in memory order or reversed.
pub(super) type Words = [u64; 2];

/// Up to [`CHUNK`] packets. Their pointers are good for as long as the caller has the packets borrowed.
pub(super) struct Batch {
    len: usize,
    texts: MaybeUninit<[*mut u8; CHUNK]>,
    nonces: MaybeUninit<[Words; CHUNK]>,
    aads: MaybeUninit<[Words; CHUNK]>,
    lengths: MaybeUninit<[Words; CHUNK]>,
    keys: MaybeUninit<[*const GcmKey; CHUNK]>,
    answers: MaybeUninit<[*mut bool; CHUNK]>,
}

/// What a packet's octets say, before it has a place in a batch.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// The first octet of the text.
    text: *mut u8,
    /// Octets of the text.
    pub text_len: usize,
    /// SPI and sequence number as one big-endian number.
    header: u64,
    /// The IV as one little-endian number.
    iv: u64,
}

impl Frame {
    /// A packet to seal: writes its IV. `None` when it is too short or too long.
    #[inline]
    pub fn to_seal(packet: &mut [u8], sequence: u64) -> Option<Frame> {
        let mut frame = Frame::to_open(packet)?;
        let iv = sequence.to_be_bytes();
        *packet.get_mut(ESP_HEADER_LEN..)?.first_chunk_mut::<IV_LEN>()? = iv;
        frame.iv = u64::from_le_bytes(iv);
        // The borrow that wrote the IV ended the older pointer's right to the packet.
        frame.text = packet.as_mut_ptr().wrapping_add(HEAD_LEN);
        Some(frame)
    }

    /// A packet to open. `None` when it is too short or too long.
    #[inline]
    pub fn to_open(packet: &mut [u8]) -> Option<Frame> {
        let text_len = packet.len().checked_sub(HEAD_LEN + ICV_LEN)?;
        if text_len > MAX_TEXT_LEN {
            return None;
        }
        let header = u64::from_be_bytes(*packet.first_chunk::<ESP_HEADER_LEN>()?);
        let iv = u64::from_le_bytes(*packet.get(ESP_HEADER_LEN..)?.first_chunk::<IV_LEN>()?);
        Some(Frame { text: packet.as_mut_ptr().wrapping_add(HEAD_LEN), text_len, header, iv })
    }

    /// Salt, IV, and a counter of 0.
    #[inline]
    fn nonce(&self, key: &GcmKey) -> Words {
        let salt = u64::from(u32::from_le_bytes(key.salt));
        [salt | self.iv << 32, self.iv >> 32]
    }

    /// RFC 4106 §5: SPI and sequence number, with ESN all 64 bits of it; octets reversed.
    #[inline]
    fn aad(&self, key: &GcmKey, sequence: u64) -> Words {
        let esn = u64::from(key.esn).wrapping_neg();
        let plain = [0, self.header];
        let extended = [self.header << 32, (self.header & !0xFFFF_FFFF) | (sequence >> 32)];
        [plain[0] & !esn | extended[0] & esn, plain[1] & !esn | extended[1] & esn]
    }

    /// Lengths of text and AAD in bits, octets reversed.
    #[inline]
    fn lengths(&self, key: &GcmKey) -> Words {
        [self.text_len as u64 * 8, 64 + (u64::from(key.esn) << 5)]
    }

    /// The packet by itself.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub fn packet(&self, key: &GcmKey, sequence: u64) -> Packet {
        Packet {
            text: self.text,
            text_len: self.text_len,
            nonce: vector(self.nonce(key)),
            aad: vector(self.aad(key, sequence)),
            lengths: vector(self.lengths(key)),
        }
    }
}

/// Two words in a register. In memory they would be written in halves and read as a whole, which waits.
#[inline]
#[target_feature(enable = "sse2")]
fn vector([low, high]: Words) -> __m128i {
    _mm_set_epi64x(high as i64, low as i64)
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
            answers: MaybeUninit::uninit(),
        }
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a packet; a full batch stays as it is, which no chunk of [`CHUNK`] jobs meets.
    #[inline]
    pub fn push(&mut self, frame: Frame, key: &GcmKey, sequence: u64, answer: *mut bool) {
        debug_assert!(self.len < CHUNK);
        let at = self.len.min(CHUNK - 1);
        // SAFETY: `at < CHUNK`, the length of every array.
        unsafe {
            *self.texts.as_mut_ptr().cast::<*mut u8>().add(at) = frame.text;
            *self.nonces.as_mut_ptr().cast::<Words>().add(at) = frame.nonce(key);
            *self.aads.as_mut_ptr().cast::<Words>().add(at) = frame.aad(key, sequence);
            *self.lengths.as_mut_ptr().cast::<Words>().add(at) = frame.lengths(key);
            *self.keys.as_mut_ptr().cast::<*const GcmKey>().add(at) = key;
            *self.answers.as_mut_ptr().cast::<*mut bool>().add(at) = answer;
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
                copy(&mut self.answers, from, at);
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

    /// Where the answer for the packet at `at` stands.
    ///
    /// # Safety
    /// `at` must be below the length, or filled.
    #[inline]
    pub unsafe fn answer(&self, at: usize) -> *mut bool {
        // SAFETY: the caller's promise.
        unsafe { *get(&self.answers, at) }
    }

    /// Four packets from `at` on.
    ///
    /// # Safety
    /// They must be there, or [filled](Self::fill_lanes).
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub unsafe fn four(&self, at: usize) -> Four {
        // SAFETY: the caller's promise; four blocks are 64 octets.
        unsafe {
            Four {
                texts: *get(&self.texts, at).cast(),
                text_lens: core::array::from_fn(|lane| (*get(&self.lengths, at + lane))[0] as usize / 8),
                nonces: _mm512_loadu_si512(get(&self.nonces, at).cast()),
                aads: _mm512_loadu_si512(get(&self.aads, at).cast()),
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

    #[test]
    fn the_blocks_are_those_of_the_rfc() {
        let mut octets = [0; 40];
        octets[..8].copy_from_slice(&[0xa0, 0xa1, 0xa2, 0xa3, 0xb0, 0xb1, 0xb2, 0xb3]);
        let sequence = 0xc0c1_c2c3_b0b1_b2b3_u64;
        let key = GcmKey::new(&[7; 16], [1, 2, 3, 4], false).unwrap();
        let frame = Frame::to_seal(&mut octets, sequence).unwrap();
        assert_eq!(frame.text_len, 8);
        assert_eq!(frame.aad(&key, sequence), [0, 0xa0a1_a2a3_b0b1_b2b3]);
        assert_eq!(frame.lengths(&key), [64, 64]);
        let nonce = frame.nonce(&key).map(u64::to_le_bytes).concat();
        assert_eq!(nonce, [1, 2, 3, 4, 0xc0, 0xc1, 0xc2, 0xc3, 0xb0, 0xb1, 0xb2, 0xb3, 0, 0, 0, 0]);
        let key = GcmKey::new(&[7; 16], [1, 2, 3, 4], true).unwrap();
        assert_eq!(frame.aad(&key, sequence), [0xb0b1_b2b3_0000_0000, 0xa0a1_a2a3_c0c1_c2c3]);
        assert_eq!(frame.lengths(&key), [64, 96]);
        assert_eq!(octets[8..16], sequence.to_be_bytes());
    }

    #[test]
    fn too_short_and_too_long_are_no_packets() {
        assert!(Frame::to_open(&mut [0; 31]).is_none());
        assert!(Frame::to_open(&mut [0; 32]).is_some());
        assert!(Frame::to_seal(&mut vec![0; MAX_TEXT_LEN + 32], 0).is_some());
        assert!(Frame::to_seal(&mut vec![0; MAX_TEXT_LEN + 33], 0).is_none());
    }
}
