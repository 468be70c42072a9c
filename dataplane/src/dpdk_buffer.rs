//! DPDK's packet buffers as the path sees them: [`Buffer`] for `Mbuf`, and an [`Allocator`] over a pool.

use causeway_dpdk::{Mbuf, Mempool};

use crate::buffer::{Allocator, Buffer, DATA_ROOM, HEADROOM};

/// Ethernet header with one VLAN tag: what a frame has beside its IP packet.
const FRAME_OVERHEAD: usize = 18;
/// Octets that ESP in tunnel mode may add behind and around a packet: outer IPv6 (40), UDP (8), ESP (8), IV (16),
/// padding with trailer (17), ICV (32), rounded up.
const TUNNEL_OVERHEAD: usize = 128;

const _: () = assert!(Mempool::HEADROOM >= HEADROOM);

/// Octets that a buffer must hold behind its headroom, on a gateway whose largest MTU is `mtu`.
pub fn data_room(mtu: u16) -> u16 {
    let needed = usize::from(mtu) + FRAME_OVERHEAD + TUNNEL_OVERHEAD;
    u16::try_from(needed.next_multiple_of(64).max(DATA_ROOM)).unwrap_or(u16::MAX)
}

/// Takes buffers from a pool. Each worker has its own copy; the pool serves them from the thread's cache.
#[derive(Clone, Copy, Debug)]
pub struct PoolAllocator {
    pool: Mempool,
}

impl PoolAllocator {
    /// An allocator over `pool`, whose buffers have [`data_room`] octets.
    pub fn new(pool: Mempool) -> PoolAllocator {
        PoolAllocator { pool }
    }
}

impl Allocator for PoolAllocator {
    type Buffer = Mbuf;

    #[inline(always)]
    fn allocate(&mut self) -> Option<Mbuf> {
        self.pool.allocate()
    }
}

impl Buffer for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        self
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        self
    }

    #[inline(always)]
    fn headroom(&self) -> usize {
        Mbuf::headroom(self)
    }

    #[inline(always)]
    fn tailroom(&self) -> usize {
        Mbuf::tailroom(self)
    }

    #[inline]
    fn front(&self, count: usize) -> Option<&[u8]> {
        Mbuf::front(self, count)
    }

    #[inline(always)]
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        Mbuf::prepend(self, count)
    }

    #[inline(always)]
    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        Mbuf::append(self, count)
    }

    #[inline(always)]
    fn grow(&mut self, front: usize, back: usize) -> Option<&mut [u8]> {
        Mbuf::grow(self, front, back)
    }

    #[inline(always)]
    fn trim_front(&mut self, count: usize) -> bool {
        Mbuf::trim_front(self, count)
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> bool {
        Mbuf::truncate(self, len)
    }

    #[inline(always)]
    fn narrow(&mut self, start: usize, len: usize) -> bool {
        Mbuf::narrow(self, start, len)
    }

    #[inline(always)]
    fn expect(&self) {
        Mbuf::expect(self);
    }

    #[inline(always)]
    fn expect_ends(&self) {
        Mbuf::expect_ends(self);
    }

    #[inline(always)]
    fn into_mbuf(self) -> Result<Mbuf, Mbuf> {
        Ok(self)
    }

    #[inline(always)]
    fn from_mbuf(packet: Mbuf) -> Option<Mbuf> {
        Some(packet)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_holds_the_largest_frame_and_what_esp_adds() {
        for (mtu, room) in [(576, 2048), (1500, 2048), (1902, 2048), (1903, 2112), (9000, 9152)] {
            assert_eq!(data_room(mtu), room, "MTU {mtu}");
        }
    }
}
