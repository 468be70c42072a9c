//! What the path needs from a packet buffer: bytes that grow and shrink at both ends without being copied.
//!
//! DPDK's `Mbuf` implements it in the daemon; [`HeapBuffer`] implements it for tests and tools. Data is contiguous.

use causeway_dpdk::Mbuf;

/// Octets free in front of the data that an [`Allocator`] leaves: room for every header the path prepends.
pub const HEADROOM: usize = 128;
/// Octets of data that a fresh buffer can hold at least, behind [`HEADROOM`].
pub const DATA_ROOM: usize = 2048;

/// One packet, contiguous, owned.
pub trait Buffer {
    /// The packet.
    fn data(&self) -> &[u8];

    /// The packet, writable.
    fn data_mut(&mut self) -> &mut [u8];

    /// Octets that can be prepended.
    fn headroom(&self) -> usize;

    /// Octets that can be appended.
    fn tailroom(&self) -> usize;

    /// Grows the packet by `count` octets at its front and returns them (their content is undefined);
    /// `None`, and no change, without that much headroom.
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]>;

    /// Grows the packet by `count` octets at its end and returns them (their content is undefined);
    /// `None`, and no change, without that much tailroom.
    fn append(&mut self, count: usize) -> Option<&mut [u8]>;

    /// Grows the packet by `front` octets at its front and `back` at its end and returns the whole of it (what is new is
    /// undefined); `None`, and no change, without that much room.
    fn grow(&mut self, front: usize, back: usize) -> Option<&mut [u8]> {
        if front > self.headroom() || back > self.tailroom() {
            return None;
        }
        self.prepend(front)?;
        self.append(back)?;
        Some(self.data_mut())
    }

    /// Removes `count` octets from the front; `false`, and no change, if the packet is shorter.
    #[must_use]
    fn trim_front(&mut self, count: usize) -> bool;

    /// Shortens the packet to `len` octets; `false`, and no change, if it is shorter already.
    #[must_use]
    fn truncate(&mut self, len: usize) -> bool;

    /// The `count` octets in front of the packet: what was trimmed from there, as long as nothing was prepended since.
    /// `None` without that much headroom.
    fn front(&self, count: usize) -> Option<&[u8]>;

    /// Keeps `len` octets from `start` on; `false`, and no change, if the packet has not so many.
    #[must_use]
    fn narrow(&mut self, start: usize, len: usize) -> bool {
        let enough = start.checked_add(len).is_some_and(|end| end <= self.len());
        enough && self.truncate(start + len) && self.trim_front(start)
    }

    /// The packet comes from another core: what the processor keeps of its buffer can be fetched.
    fn expect(&self) {}

    /// As [`Buffer::expect`], which comes first for a whole burst: the packet's ends can be fetched.
    fn expect_ends(&self) {}

    /// The packet for a device of DPDK's; itself back, where no device could reach it.
    ///
    /// # Errors
    /// Itself.
    fn into_mbuf(self) -> Result<Mbuf, Self>
    where
        Self: Sized,
    {
        Err(self)
    }

    /// A packet that a device has given back; `None` where [`Buffer::into_mbuf`] gives none.
    fn from_mbuf(_packet: Mbuf) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Octets of the packet.
    fn len(&self) -> usize {
        self.data().len()
    }

    /// Whether the packet has no octets.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where fresh buffers come from. Each worker owns one; it never blocks.
pub trait Allocator {
    /// What it gives.
    type Buffer: Buffer;

    /// An empty buffer with at least [`HEADROOM`] in front and [`DATA_ROOM`] behind; `None` when the pool is empty.
    fn allocate(&mut self) -> Option<Self::Buffer>;
}

/// A buffer on the heap, for tests and tools.
#[derive(Clone, Debug)]
pub struct HeapBuffer {
    room: Vec<u8>,
    start: usize,
    end: usize,
}

impl HeapBuffer {
    /// A buffer that holds `data`, with [`HEADROOM`] in front and at least 256 octets behind.
    pub fn from_slice(data: &[u8]) -> HeapBuffer {
        let mut room = vec![0; HEADROOM + data.len().saturating_add(256).max(DATA_ROOM)];
        let end = HEADROOM + data.len();
        if let Some(place) = room.get_mut(HEADROOM..end) {
            place.copy_from_slice(data);
        }
        HeapBuffer { room, start: HEADROOM, end }
    }
}

impl Buffer for HeapBuffer {
    /// In tests of the path a device gets a copy.
    #[cfg(test)]
    fn into_mbuf(self) -> Result<Mbuf, HeapBuffer> {
        crate::path::tests::device::copy_in(self)
    }

    #[cfg(test)]
    fn from_mbuf(packet: Mbuf) -> Option<HeapBuffer> {
        crate::path::tests::device::copy_out(&packet)
    }

    fn data(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or(&[])
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(self.start..self.end).unwrap_or(&mut [])
    }

    fn headroom(&self) -> usize {
        self.start
    }

    fn front(&self, count: usize) -> Option<&[u8]> {
        self.room.get(self.start.checked_sub(count)?..self.start)
    }

    fn tailroom(&self) -> usize {
        self.room.len() - self.end
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        self.room.get_mut(self.start..self.start + count)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.tailroom() {
            return None;
        }
        self.end += count;
        self.room.get_mut(self.end - count..self.end)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let enough = count <= self.len();
        if enough {
            self.start += count;
        }
        enough
    }

    fn truncate(&mut self, len: usize) -> bool {
        let enough = len <= self.len();
        if enough {
            self.end = self.start + len;
        }
        enough
    }
}

/// Gives [`HeapBuffer`]s without limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapAllocator;

impl Allocator for HeapAllocator {
    type Buffer = HeapBuffer;

    fn allocate(&mut self) -> Option<HeapBuffer> {
        Some(HeapBuffer::from_slice(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_grow_and_shrink_and_refuse_what_does_not_fit() {
        let mut buffer = HeapBuffer::from_slice(b"middle");
        buffer.prepend(2).unwrap().copy_from_slice(b"a ");
        buffer.append(2).unwrap().copy_from_slice(b" z");
        assert_eq!((buffer.data(), buffer.headroom()), (&b"a middle z"[..], HEADROOM - 2));
        assert!(buffer.prepend(HEADROOM).is_none() && buffer.append(buffer.tailroom() + 1).is_none());
        assert!(!buffer.trim_front(11) && !buffer.truncate(11));
        assert!(buffer.grow(HEADROOM - 1, 0).is_none() && buffer.grow(0, usize::MAX).is_none());
        assert_eq!(buffer.grow(2, 1).map(|whole| whole.len()), Some(13));
        assert!(buffer.narrow(2, 10) && buffer.data() == b"a middle z");
        assert!(buffer.trim_front(2) && buffer.truncate(6));
        assert_eq!((buffer.front(2), buffer.front(HEADROOM + 1)), (Some(&b"a "[..]), None));
        assert_eq!(buffer.data(), b"middle");
        assert!(!buffer.narrow(3, 4) && !buffer.narrow(usize::MAX, 1));
        assert!(buffer.narrow(1, 4));
        assert_eq!(buffer.data(), b"iddl");
    }
}
