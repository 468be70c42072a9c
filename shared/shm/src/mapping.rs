//! The memory itself: a sealed memfd, mapped shared, seen only as atomic 64-bit words.
//!
//! Every access to the segment is an atomic access through [`Words`], so the
//! other process can write anything at any time without undefined behaviour here; the seals keep it from shrinking the
//! file under us (SIGBUS).

#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// The segment's size is a multiple of this, so that it fits the common huge page.
pub(crate) const SEGMENT_ALIGN: usize = 2 << 20;

/// What keeps the size of a segment fixed.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A mapped segment; unmapped when the last part of it is dropped.
struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is a fixed range of memory that lives until drop and is only accessed through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references give out `&[AtomicU64]` only.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(memfd: &OwnedFd, bytes: usize) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that Rust knows of.
        let start = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED | MapFlags::POPULATE, memfd, 0)?
        };
        // SAFETY: the range was mapped just now. DONTDUMP changes no contents; it keeps keys out of core dumps.
        unsafe { madvise(start, bytes, Advice::LinuxDontDump)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Mapping { start, words: bytes / size_of::<u64>() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours since `new`, and no `Words` is left, since each holds a reference to this mapping.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}

/// A part of the segment: a slice of atomic words that keeps the mapping alive.
#[derive(Clone)]
pub(crate) struct Words {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl Words {
    /// The part of `len` words from `start` on; `None` if it does not lie inside this one.
    pub(crate) fn part(&self, start: usize, len: usize) -> Option<Words> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| Words { mapping: self.mapping.clone(), start: self.start + start, len })
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `start + len` lies inside the mapping (checked by `part`, and true of the whole), which lives as long as
        // `self`; it is aligned to a page; any bit pattern is an AtomicU64; all accesses anywhere are atomic.
        unsafe { slice::from_raw_parts(self.mapping.start.as_ptr().add(self.start), self.len) }
    }
}

impl AsRef<[AtomicU64]> for Words {
    fn as_ref(&self) -> &[AtomicU64] {
        self
    }
}

/// Makes a zeroed segment of `bytes` octets, in huge pages where there are enough, and seals its size.
pub(crate) fn create(bytes: usize) -> io::Result<(OwnedFd, Words)> {
    let plain = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    create_in(bytes, plain | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB).or_else(|_| create_in(bytes, plain))
}

fn create_in(bytes: usize, flags: MemfdFlags) -> io::Result<(OwnedFd, Words)> {
    let memfd = memfd_create("causeway-segment", flags)?;
    ftruncate(&memfd, bytes as u64)?;
    fcntl_add_seals(&memfd, SEALS)?;
    let words = map(&memfd, bytes)?;
    Ok((memfd, words))
}

/// Maps a segment that the other process made, after checking that it is a memfd of `bytes` octets that cannot shrink.
pub(crate) fn open(memfd: &OwnedFd, bytes: usize) -> io::Result<Words> {
    let refuse = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    // Only memfds have seals: any other file fails here.
    if !fcntl_get_seals(memfd.as_fd())?.contains(SEALS) {
        return Err(refuse("the segment is not sealed"));
    }
    if u64::try_from(fstat(memfd)?.st_size).ok() != u64::try_from(bytes).ok() {
        return Err(refuse("the segment has not the size that its layout needs"));
    }
    map(memfd, bytes)
}

fn map(memfd: &OwnedFd, bytes: usize) -> io::Result<Words> {
    let mapping = Mapping::new(memfd, bytes)?;
    let len = mapping.words;
    Ok(Words { mapping: Arc::new(mapping), start: 0, len })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn two_mappings_show_the_same_words_and_the_size_is_fixed() {
        let (memfd, ours) = create(SEGMENT_ALIGN).unwrap();
        let theirs = open(&memfd, SEGMENT_ALIGN).unwrap();
        ours[7].store(42, Relaxed);
        assert_eq!(theirs.part(7, 1).unwrap()[0].load(Relaxed), 42);
        assert!(ftruncate(&memfd, 0).is_err(), "the seal holds");
        assert!(open(&memfd, 2 * SEGMENT_ALIGN).is_err());
        assert!(ours.part(ours.len() - 1, 2).is_none() && ours.part(usize::MAX, 2).is_none());
    }

    #[test]
    fn an_unsealed_memfd_is_refused() {
        let memfd = memfd_create("t", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&memfd, SEGMENT_ALIGN as u64).unwrap();
        assert!(open(&memfd, SEGMENT_ALIGN).is_err());
    }
}
