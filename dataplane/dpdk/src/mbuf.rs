//! One packet buffer: contiguous, owned, given back to its pool when dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use causeway_dpdk_sys as sys;

use crate::tsc::{CACHE_LINE, prefetch_to_write};

/// A packet. Its data can grow and shrink at both ends within its buffer.
///
/// Invariants: one segment (`nb_segs == 1`, `next` null), one reference, `data_off + data_len <= buf_len`,
/// `pkt_len == data_len`. Nobody else holds the buffer.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<sys::rte_mbuf>,
}

// SAFETY: the buffer has one owner and DPDK lets any thread use and free it.
unsafe impl Send for Mbuf {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership of a buffer.
    ///
    /// # Safety
    /// `raw` fulfils the type's invariants and nobody else holds it.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Mbuf {
        Mbuf { raw }
    }

    /// Octets that can be prepended.
    #[inline(always)]
    pub fn headroom(&self) -> usize {
        usize::from(self.header().data_off)
    }

    /// The `count` octets in front of the packet, with whatever they hold.
    #[inline]
    pub fn front(&self, count: usize) -> Option<&[u8]> {
        let offset = self.headroom().checked_sub(count)?;
        // SAFETY: `offset + count` is where the packet begins, in the buffer; its memory is initialised as `deref` says.
        Some(unsafe { std::slice::from_raw_parts(self.header().buf_addr.cast::<u8>().add(offset), count) })
    }

    /// Octets that can be appended.
    #[inline(always)]
    pub fn tailroom(&self) -> usize {
        let header = self.header();
        usize::from(header.buf_len) - usize::from(header.data_off) - usize::from(header.data_len)
    }

    /// Grows the packet by `count` octets at its front and answers them, with whatever they held before.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let offset = self.headroom().checked_sub(count)?;
        let len = self.len() + count;
        self.set_extent(offset, len);
        // SAFETY: the packet now begins at `offset` and has at least `count` octets; the buffer is ours alone.
        Some(unsafe { self.room_mut(offset, count) })
    }

    /// Grows the packet by `count` octets at its end and answers them, with whatever they held before.
    #[inline(always)]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.tailroom() {
            return None;
        }
        let (offset, old_len) = (self.headroom(), self.len());
        self.set_extent(offset, old_len + count);
        // SAFETY: the packet has just grown by these octets; the buffer is ours alone.
        Some(unsafe { self.room_mut(offset + old_len, count) })
    }

    /// Grows the packet by `front` octets at its front and `back` at its end and answers the whole of it; what is new holds
    /// whatever it held before. `None`, and no change, without that much room.
    #[inline(always)]
    pub fn grow(&mut self, front: usize, back: usize) -> Option<&mut [u8]> {
        let offset = self.headroom().checked_sub(front)?;
        if back > self.tailroom() {
            return None;
        }
        let len = self.len() + front + back;
        self.set_extent(offset, len);
        // SAFETY: that is the packet; the buffer is ours alone.
        Some(unsafe { self.room_mut(offset, len) })
    }

    /// Removes `count` octets from the front; `false`, and no change, if the packet is shorter.
    #[inline(always)]
    #[must_use]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let Some(len) = self.len().checked_sub(count) else { return false };
        self.set_extent(self.headroom() + count, len);
        true
    }

    /// Shortens the packet to `len` octets; `false`, and no change, if it is shorter already.
    #[inline(always)]
    #[must_use]
    pub fn truncate(&mut self, len: usize) -> bool {
        let enough = len <= self.len();
        if enough {
            self.set_extent(self.headroom(), len);
        }
        enough
    }

    /// Keeps `len` octets from `start` on; `false`, and no change, if the packet has not so many.
    #[inline(always)]
    #[must_use]
    pub fn narrow(&mut self, start: usize, len: usize) -> bool {
        let enough = start.checked_add(len).is_some_and(|end| end <= self.len());
        if enough {
            self.set_extent(self.headroom() + start, len);
        }
        enough
    }

    /// Asks another core's cache for the buffer's header.
    #[inline(always)]
    pub fn expect(&self) {
        prefetch_to_write(self.raw.as_ptr().cast_const().cast());
    }

    /// Asks another core's cache for what is written when headers are put before the packet and a trailer behind it, or taken
    /// away: the lines around both of its ends. Reads the header: first [`Mbuf::expect`] for every packet of a burst.
    #[inline(always)]
    pub fn expect_ends(&self) {
        let (front, len) = (self.as_ptr(), self.len());
        // Addresses outside of the buffer do no harm here.
        prefetch_to_write(front);
        prefetch_to_write(front.wrapping_sub(CACHE_LINE));
        prefetch_to_write(front.wrapping_add(CACHE_LINE));
        prefetch_to_write(front.wrapping_add(len));
    }

    /// The buffer, for a device that works on it while its owner keeps it.
    #[inline(always)]
    pub(crate) fn raw(&self) -> *mut sys::rte_mbuf {
        self.raw.as_ptr()
    }

    /// Where a device finds the packet's octet `at`.
    #[inline(always)]
    pub(crate) fn iova(&self, at: usize) -> u64 {
        let header = self.header();
        header.buf_iova + u64::from(header.data_off) + at as u64
    }

    /// Whether the buffer fulfils the invariant of one segment; asked once, when a driver hands it over.
    #[inline(always)]
    pub(crate) fn is_single(&self) -> bool {
        self.header().nb_segs == 1
    }

    #[inline(always)]
    fn header(&self) -> &sys::rte_mbuf {
        // SAFETY: the buffer is ours and its header is initialised.
        unsafe { self.raw.as_ref() }
    }

    /// `len` octets from `offset` on, counted from the buffer's start.
    ///
    /// # Safety
    /// `offset + len <= buf_len`.
    #[inline(always)]
    unsafe fn room_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        // SAFETY: the caller says that these octets lie in the buffer, which is initialised as `deref` says and ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.header().buf_addr.cast::<u8>().add(offset), len) }
    }

    /// Callers keep `offset + len <= buf_len`, so both fit 16 bits.
    #[inline(always)]
    fn set_extent(&mut self, offset: usize, len: usize) {
        // SAFETY: the buffer is ours alone.
        let header = unsafe { self.raw.as_mut() };
        debug_assert!(offset + len <= usize::from(header.buf_len));
        header.data_off = offset as u16;
        header.data_len = len as u16;
        header.pkt_len = len as u32;
    }
}

impl Deref for Mbuf {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: `data_off + data_len <= buf_len` octets at `buf_addr` belong to this buffer; the pool's memory was
        // initialised when it was mapped.
        unsafe {
            std::slice::from_raw_parts(
                header.buf_addr.cast::<u8>().add(usize::from(header.data_off)),
                usize::from(header.data_len),
            )
        }
    }
}

impl DerefMut for Mbuf {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        let header = self.header();
        // SAFETY: as in `deref`; the exclusive reference to the only owner makes the access exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(
                header.buf_addr.cast::<u8>().add(usize::from(header.data_off)),
                usize::from(header.data_len),
            )
        }
    }
}

impl Drop for Mbuf {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the only owner gives the buffer back; pools are never freed.
        unsafe { sys::causeway_mbuf_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf").field("len", &self.len()).field("headroom", &self.headroom()).finish()
    }
}
