//! One queue pair of a crypto device: packets go in with what is to be done to them, and come back in the order in which they
//! went in, whatever order the device finishes them in.
//!
//! Every place of the queue's table owns one operation of DPDK's for good, so nothing is allocated per packet. A packet in the
//! device is the table's and a clone of its session with it: neither can go away while the device works on them.

use std::collections::VecDeque;
use std::ffi::CString;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use causeway_dpdk_sys as sys;

use crate::crypto_device::{CRYPTO_DESCRIPTORS, CryptoSession, OpenDevice, pool_name};
use crate::error::Errno;
use crate::log;
use crate::mbuf::Mbuf;

/// Packets that a queue holds at most: those in the device, and those that wait for earlier ones.
pub const CRYPTO_IN_FLIGHT: usize = 2 * CRYPTO_DESCRIPTORS;
/// Operations taken from the device at once.
const BATCH: usize = 32;
/// Times that a queue looks for its packets before it gives up, when it is dropped.
const LAST_LOOKS: u32 = 1_000_000;

/// Where the IV stands, from the operation's start.
pub(crate) const IV_OFFSET: usize = size_of::<sys::rte_crypto_op>() + size_of::<sys::rte_crypto_sym_op>();
const AAD_OFFSET: usize = IV_OFFSET + 16;
const PLACE_OFFSET: usize = AAD_OFFSET + 16;
/// Octets of ours behind an operation: IV, additional data, its place in the table.
const PRIVATE: usize = PLACE_OFFSET + 16 - IV_OFFSET;

/// What is to be done to a packet; ranges count from its first octet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CryptoWork {
    /// AES-CBC: the IV. AES-GCM: the nonce in the first 12 octets.
    pub iv: [u8; 16],
    /// AES-GCM: additional data, as long as the session says.
    pub aad: [u8; 16],
    /// What is encrypted or decrypted.
    pub cipher: Range<usize>,
    /// AES-CBC with HMAC: what is hashed.
    pub hashed: Range<usize>,
    /// Where the ICV begins.
    pub icv_at: usize,
}

/// A packet that has come back.
#[derive(Debug)]
pub struct Finished<T> {
    /// The packet. Where `done` is false its octets are undefined.
    pub packet: Mbuf,
    /// What was given with it.
    pub tag: T,
    /// Whether it was sealed, or its ICV was right.
    pub done: bool,
}

/// One queue pair. It can move to another thread, but not be shared.
pub struct CryptoQueue<T> {
    device: Arc<OpenDevice>,
    pair: u16,
    /// A ring: `held` places from `oldest` on are in use.
    places: Box<[Place<T>]>,
    oldest: usize,
    held: usize,
    /// Places whose operations the device has not taken yet, oldest first.
    staged: VecDeque<Op>,
    in_device: usize,
    /// Packets taken back, ever.
    taken: u64,
    /// The device is not asked any more.
    given_up: bool,
}

struct Place<T> {
    op: Op,
    holds: Option<Held<T>>,
    /// A packet that was given up while the device had it: it may still write there, so it is kept until it comes back after all.
    lost: Option<Held<T>>,
}

struct Held<T> {
    packet: Mbuf,
    tag: T,
    /// `None` once the packet is finished.
    session: Option<CryptoSession>,
    done: bool,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Op(NonNull<sys::rte_crypto_op>);

// SAFETY: an operation belongs to one place of one queue, which has one owner.
unsafe impl Send for Op {}

/// The pool that a device's operations come from; it lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) struct OpPool(NonNull<sys::rte_mempool>);

impl OpPool {
    pub(crate) fn create(device: &str, pairs: u32) -> Result<OpPool, (Errno, Vec<String>)> {
        // Pool names hold letters and digits only.
        let name = CString::new(pool_name("o", device)).unwrap_or_default();
        let count = pairs * CRYPTO_IN_FLIGHT as u32;
        let (pool, said) = log::collect(|| {
            // SAFETY: the EAL runs, since a device of it is open; the text is terminated and copied by the call.
            unsafe {
                sys::rte_crypto_op_pool_create(
                    name.as_ptr(),
                    sys::RTE_CRYPTO_OP_TYPE_SYMMETRIC,
                    count,
                    0,
                    PRIVATE as u16,
                    -1,
                )
            }
        });
        NonNull::new(pool).map(OpPool).ok_or_else(|| (Errno::last(), said))
    }
}

impl<T> CryptoQueue<T> {
    /// A queue over a pair that nobody else has; `None` when the pool has too few operations.
    pub(crate) fn new(device: Arc<OpenDevice>, pair: u16, ops: OpPool) -> Option<CryptoQueue<T>> {
        let places = (0..CRYPTO_IN_FLIGHT).map(|number| {
            // SAFETY: the pool lives for ever.
            let op = NonNull::new(unsafe { sys::causeway_crypto_op_alloc(ops.0.as_ptr()) })?;
            // SAFETY: the pool's operations have PRIVATE octets behind the symmetric part, of which these are ours.
            unsafe { op.cast::<u8>().add(PLACE_OFFSET).cast::<u32>().write(number as u32) };
            Some(Place { op: Op(op), holds: None, lost: None })
        });
        Some(CryptoQueue {
            device,
            pair,
            places: places.collect::<Option<_>>()?,
            oldest: 0,
            held: 0,
            staged: VecDeque::with_capacity(CRYPTO_IN_FLIGHT),
            in_device: 0,
            taken: 0,
            given_up: false,
        })
    }

    /// Packets that have not come back.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.held
    }

    /// Packets that have been taken back since the start: while some are in flight and this stands still, the device does.
    #[inline]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether another packet can be held: else [`CryptoQueue::submit`] and [`CryptoQueue::wait`] would refuse it.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.held < self.places.len()
    }

    /// Whether the device can take another packet now.
    #[inline]
    pub fn device_has_room(&self) -> bool {
        self.has_room() && self.in_device + self.staged.len() < CRYPTO_DESCRIPTORS && !self.given_up
    }

    /// Stages a packet for the device; [`CryptoQueue::flush`] gives it over.
    ///
    /// # Errors
    /// Packet and tag, when there is no room, the session is of another device, or `work` does not lie in the packet.
    #[inline]
    pub fn submit(
        &mut self,
        session: &CryptoSession,
        mut packet: Mbuf,
        work: &CryptoWork,
        tag: T,
    ) -> Result<(), (Mbuf, T)> {
        let fits = self.device_has_room()
            && Arc::ptr_eq(session.device(), &self.device)
            && lies_within(session, work, packet.len());
        let next = self.next_place();
        let Some(place) = self.places.get_mut(next).filter(|_| fits) else { return Err((packet, tag)) };
        // SAFETY: the operation is the place's own and not in the device, since the place is free; the packet and a clone of
        // the session stay in the place until the device is done; all ranges lie in the packet.
        unsafe { place.op.describe(session, &mut packet, work) };
        self.staged.push_back(place.op);
        place.holds = Some(Held { packet, tag, session: Some(session.clone()), done: false });
        self.held += 1;
        Ok(())
    }

    /// Puts a packet in line that needs nothing of the device: it comes back behind all that went in before.
    ///
    /// # Errors
    /// Packet and tag, when there is no room.
    #[inline]
    pub fn wait(&mut self, packet: Mbuf, tag: T, done: bool) -> Result<(), (Mbuf, T)> {
        let next = self.next_place();
        let room = self.has_room();
        let Some(place) = self.places.get_mut(next).filter(|_| room) else { return Err((packet, tag)) };
        place.holds = Some(Held { packet, tag, session: None, done });
        self.held += 1;
        Ok(())
    }

    /// Gives the device what is staged, as far as it takes it now.
    #[inline]
    pub fn flush(&mut self) {
        // Twice at most: the deque may wrap.
        for _ in 0..2 {
            let (first, _) = self.staged.as_slices();
            if first.is_empty() {
                return;
            }
            let count = first.len().min(usize::from(u16::MAX));
            let ops = first.as_ptr().cast_mut().cast::<*mut sys::rte_crypto_op>();
            // SAFETY: the device is started while a queue lives and this is the pair's only user; `Op` is a transparent pointer,
            // so this is an array of `count` operations, each described and held; the call only reads the array.
            let taken =
                unsafe { sys::causeway_crypto_enqueue(self.device.id(), self.pair, ops, count as u16) };
            let taken = usize::from(taken).min(count);
            self.staged.drain(..taken);
            self.in_device += taken;
            if taken < count {
                return;
            }
        }
    }

    /// Looks what the device has finished.
    #[inline]
    pub fn poll(&mut self) {
        while self.in_device > 0 {
            let mut ops = [std::ptr::null_mut::<sys::rte_crypto_op>(); BATCH];
            // SAFETY: as in `flush`; there is room for BATCH pointers.
            let count = usize::from(unsafe {
                sys::causeway_crypto_dequeue(self.device.id(), self.pair, ops.as_mut_ptr(), BATCH as u16)
            });
            for op in ops.iter().take(count).filter_map(|op| NonNull::new(*op)) {
                // SAFETY: the device gives back operations that it got from this queue, with our private octets behind them.
                let (place, status) = unsafe {
                    let place = op.cast::<u8>().add(PLACE_OFFSET).cast::<u32>().read();
                    (place as usize, u32::from(op.as_ref().__bindgen_anon_1.__bindgen_anon_1.status))
                };
                let Some(place) = self.places.get_mut(place) else { continue };
                if let Some(held) = place.holds.as_mut()
                    && held.session.take().is_some()
                {
                    held.done = status == sys::RTE_CRYPTO_OP_STATUS_SUCCESS;
                    self.in_device -= 1;
                } else if place.lost.take().is_some() {
                    self.in_device -= 1;
                }
            }
            if count < BATCH {
                return;
            }
        }
    }

    /// The oldest packet, if it is finished.
    #[inline]
    pub fn take(&mut self) -> Option<Finished<T>> {
        while self.held > 0 {
            let place = self.places.get_mut(self.oldest)?;
            if place.holds.as_ref().is_some_and(|held| held.session.is_some()) {
                return None;
            }
            let held = place.holds.take();
            self.oldest = (self.oldest + 1) % self.places.len();
            self.held -= 1;
            self.taken = self.taken.wrapping_add(1);
            // Nothing is left of one that was given up.
            if let Some(Held { packet, tag, done, .. }) = held {
                return Some(Finished { packet, tag, done });
            }
        }
        None
    }

    /// Asks the device for nothing more: what it has is lost, and what stands behind can be taken. Answers how many packets are lost.
    /// Their buffers are free again if the device ever gives them back to [`CryptoQueue::poll`].
    pub fn give_up(&mut self) -> usize {
        self.given_up = true;
        let mut lost = self.staged.len();
        for op in self.staged.drain(..) {
            // SAFETY: a staged operation is one of this queue's own, with our private octets behind it.
            let place = unsafe { op.0.cast::<u8>().add(PLACE_OFFSET).cast::<u32>().read() };
            if let Some(place) = self.places.get_mut(place as usize) {
                place.holds = None;
            }
        }
        for place in &mut self.places {
            if let Some(held) = place.holds.take_if(|held| held.session.is_some()) {
                place.lost = Some(held);
                lost += 1;
            }
        }
        lost
    }

    /// Stops the device, if this is its only queue: from then on it takes nothing and gives nothing back, as a broken one does.
    /// For tests of what happens then. Answers whether it was done.
    pub fn break_device(&mut self) -> bool {
        self.device.stop_for_its_only_queue()
    }

    fn next_place(&self) -> usize {
        (self.oldest + self.held) % self.places.len()
    }
}

/// Whether the device would touch only the packet's own octets.
fn lies_within(session: &CryptoSession, work: &CryptoWork, len: usize) -> bool {
    let within = |range: &Range<usize>| range.start <= range.end && range.end <= len;
    within(&work.cipher)
        && (session.is_aead() || within(&work.hashed))
        && work.icv_at.checked_add(session.icv_len()).is_some_and(|end| end <= len)
}

impl Op {
    /// Fills in the operation.
    ///
    /// # Safety
    /// The operation is not in the device; packet and session outlive its stay there; [`lies_within`] holds.
    #[inline]
    unsafe fn describe(self, session: &CryptoSession, packet: &mut Mbuf, work: &CryptoWork) {
        let base = self.0.cast::<u8>();
        // SAFETY: the operation is ours, as the caller says, with the symmetric part and PRIVATE octets behind it; the ICV lies in
        // the packet.
        unsafe {
            let op = self.0.as_ptr();
            let header = &mut (*op).__bindgen_anon_1.__bindgen_anon_1;
            header.status = sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED as u8;
            header.sess_type = sys::RTE_CRYPTO_OP_WITH_SESSION as u8;
            base.add(IV_OFFSET).cast::<[u8; 16]>().write(work.iv);
            let icv = packet.as_mut_ptr().add(work.icv_at);
            let icv_iova = packet.iova(work.icv_at);
            let sym = &mut *self.0.add(1).cast::<sys::rte_crypto_sym_op>().as_ptr();
            sym.m_src = packet.raw();
            sym.m_dst = std::ptr::null_mut();
            sym.__bindgen_anon_1.session = session.as_ptr();
            if session.is_aead() {
                base.add(AAD_OFFSET).cast::<[u8; 16]>().write(work.aad);
                let aead = &mut sym.__bindgen_anon_2.aead;
                aead.data.offset = work.cipher.start as u32;
                aead.data.length = work.cipher.len() as u32;
                (aead.digest.data, aead.digest.phys_addr) = (icv, icv_iova);
                aead.aad.data = base.add(AAD_OFFSET).as_ptr();
                aead.aad.phys_addr = (*op).phys_addr + AAD_OFFSET as u64;
            } else {
                let chain = &mut sym.__bindgen_anon_2.__bindgen_anon_1;
                chain.cipher.data.offset = work.cipher.start as u32;
                chain.cipher.data.length = work.cipher.len() as u32;
                chain.auth.data.offset = work.hashed.start as u32;
                chain.auth.data.length = work.hashed.len() as u32;
                (chain.auth.digest.data, chain.auth.digest.phys_addr) = (icv, icv_iova);
            }
        }
    }
}

impl<T> Drop for CryptoQueue<T> {
    /// Waits for what the device has; what it does not give back is left to it for ever rather than reused under it.
    fn drop(&mut self) {
        for _ in 0..LAST_LOOKS {
            self.poll();
            if self.in_device == 0 || self.given_up {
                break;
            }
            // Some devices finish what they have only when more comes or somebody looks.
            std::hint::spin_loop();
        }
        if self.in_device > 0 {
            tracing::error!(
                device = self.device.name(),
                packets = self.in_device,
                "a crypto device does not give packets back; they stay with it"
            );
            self.give_up();
            self.places.iter_mut().for_each(|place| std::mem::forget(place.lost.take()));
            // Their operations stay out of the pool, too, and the device open.
            std::mem::forget(self.device.clone());
            return;
        }
        for place in &self.places {
            // SAFETY: no operation is in the device; each came from the pool and goes back once.
            unsafe { sys::causeway_crypto_op_free(place.op.0.as_ptr()) };
        }
    }
}

const _: () = assert!(size_of::<Op>() == size_of::<*mut sys::rte_crypto_op>());
