//! Pools of packet buffers.

use std::ffi::CString;
use std::ptr::NonNull;

use causeway_dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::{Errno, Error};
use crate::log;
use crate::mbuf::Mbuf;

/// Buffers that each registered thread keeps at hand.
const CACHE_BUFFERS: u32 = 256;
/// Octets of a buffer besides its data: the header DPDK keeps in front.
const BUFFER_OVERHEAD: u64 = std::mem::size_of::<sys::rte_mbuf>() as u64 + 64;

/// A pool of packet buffers. Any thread may take and give; registered threads do so without contention.
///
/// A pool lives as long as the process, because its buffers may be anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
}

// SAFETY: rte_mempool is made for concurrent use by any threads; the pool is never freed.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Octets free in front of the data of a fresh buffer.
    pub const HEADROOM: usize = sys::RTE_PKTMBUF_HEADROOM as usize;

    /// Makes a pool of `buffers` with `data_room` octets each behind [`Self::HEADROOM`].
    ///
    /// # Errors
    /// When the name is taken or the memory is not there.
    pub fn create(_eal: Eal, name: &str, buffers: u32, data_room: u16) -> Result<Mempool, Error> {
        let text = CString::new(name).map_err(|_| Error::NulOctet(name.to_owned()))?;
        let room = data_room.saturating_add(sys::RTE_PKTMBUF_HEADROOM as u16);
        let cache = CACHE_BUFFERS.min(buffers / 4);
        let (pool, said) = log::collect(|| {
            // SAFETY: the EAL runs, as the argument proves; `text` is terminated and copied by the call; the socket
            // id -1 is SOCKET_ID_ANY.
            unsafe { sys::rte_pktmbuf_pool_create(text.as_ptr(), buffers, cache, 0, room, -1) }
        });
        let pool = NonNull::new(pool).ok_or_else(|| Error::Mempool {
            buffers,
            mebibytes: (u64::from(buffers) * (u64::from(room) + BUFFER_OVERHEAD)) >> 20,
            errno: Errno::last(),
            said,
        })?;
        Ok(Mempool { pool })
    }

    /// An empty buffer; `None` when the pool is empty.
    #[inline]
    pub fn allocate(self) -> Option<Mbuf> {
        // SAFETY: the pool was made by rte_pktmbuf_pool_create and lives for ever; a fresh mbuf is one direct,
        // unshared segment, which is what `Mbuf` requires.
        unsafe { NonNull::new(sys::causeway_mbuf_alloc(self.pool.as_ptr())).map(|raw| Mbuf::from_raw(raw)) }
    }

    /// Buffers free now, those in threads' caches included. Walks every cache: not for the packet path.
    pub fn available(self) -> u32 {
        // SAFETY: the pool lives for ever.
        unsafe { sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }

    /// Buffers in use now. Walks every cache: not for the packet path.
    pub fn in_use(self) -> u32 {
        // SAFETY: the pool lives for ever.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    pub(crate) fn as_ptr(self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }
}
