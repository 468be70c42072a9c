//! ESP kernels: bursts of packets with different keys sealed and opened by AVX-512, VAES and VPCLMULQDQ.
//!
//! Enters: whole ESP packets (SPI to ICV) in safe slices, and the raw keys of their SAs. Leaves: the same octets sealed or
//! opened in place. RFC 4303 §3.2, RFC 4106 (AES-GCM), RFC 3602 (AES-CBC), RFC 4868 (HMAC-SHA2). Unsafe code stands here
//! only behind [`Wide`], the proof that this processor has the instructions.
#![allow(
    unsafe_code,
    reason = "intrinsics that touch memory, and calls of code that needs certain instructions"
)]

pub mod cbc;
pub mod clock;
pub mod floor;
pub mod gcm;
mod hmac;
mod sha256;
mod sha512;

/// Octets of SPI and sequence number in front of the IV.
pub const ESP_HEADER_LEN: usize = 8;

/// One packet to seal.
pub struct SealJob<'a, K> {
    /// Its SA's key.
    pub key: &'a K,
    /// SPI, sequence number, room for the IV, plaintext with its trailer, room for the ICV.
    pub packet: &'a mut [u8],
    /// The 64-bit sequence number, never used before with this key.
    pub sequence: u64,
    /// Answer: whether it was sealed. Where it is `false`, the packet must not leave.
    pub sealed: bool,
}

/// One packet to open.
pub struct OpenJob<'a, K> {
    /// Its SA's key.
    pub key: &'a K,
    /// From SPI to ICV.
    pub packet: &'a mut [u8],
    /// The 64-bit sequence number; the upper half, inferred by the receiver, is authenticated if the SA has ESN.
    pub sequence: u64,
    /// Answer: whether the ICV was right. Where it is `false`, the packet's octets are undefined.
    pub opened: bool,
}

/// What [`SealJob`] and [`OpenJob`] have in common.
trait Job<'a> {
    /// A key as an SA keeps it.
    type Key: 'a;

    /// Its SA's key.
    fn key(&self) -> &'a Self::Key;

    /// From SPI to ICV.
    fn packet(&mut self) -> &mut [u8];

    /// The 64-bit sequence number.
    fn sequence(&self) -> u64;

    /// Whether it was sealed, or its ICV was right.
    fn answer(&mut self, done: bool);
}

impl<'a, K: 'a> Job<'a> for SealJob<'a, K> {
    type Key = K;

    #[inline]
    fn key(&self) -> &'a K {
        self.key
    }

    #[inline]
    fn packet(&mut self) -> &mut [u8] {
        self.packet
    }

    #[inline]
    fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    fn answer(&mut self, done: bool) {
        self.sealed = done;
    }
}

impl<'a, K: 'a> Job<'a> for OpenJob<'a, K> {
    type Key = K;

    #[inline]
    fn key(&self) -> &'a K {
        self.key
    }

    #[inline]
    fn packet(&mut self) -> &mut [u8] {
        self.packet
    }

    #[inline]
    fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    fn answer(&mut self, done: bool) {
        self.opened = done;
    }
}

/// Most packets that are given at once as a queue's items.
pub const MAX_ITEMS: usize = 32;

/// What the kernels must know of packets that wait in a caller's queue: they are worked on there, and nothing is copied.
pub trait View<T> {
    /// A key as an SA keeps it.
    type Key;

    /// The key of a packet's SA; `None` and the packet is left alone.
    fn key<'v>(&'v self, item: &T) -> Option<&'v Self::Key>;

    /// From SPI to ICV.
    fn packet<'p>(&self, item: &'p mut T) -> &'p mut [u8];

    /// The 64-bit sequence number; see [`SealJob::sequence`] and [`OpenJob::sequence`].
    fn sequence(&self, item: &T) -> u64;
}

/// What became of a queue's items, a bit for each, the first one's lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Those that were sealed, or whose ICV was right.
    pub done: u32,
    /// Those that were left alone, because their key is of another algorithm.
    pub left: u32,
}

/// Proof that this processor has AVX-512 (F, BW, VL, DQ), VAES, VPCLMULQDQ and BMI2. Only [`Wide::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Wide(());

impl Wide {
    /// Asks the processor.
    pub fn detect() -> Option<Wide> {
        let there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("bmi2");
        there.then_some(Wide(()))
    }
}
