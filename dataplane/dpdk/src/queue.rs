//! Receive and transmit queues of a started port: one owner each, bursts of packets.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use causeway_dpdk_sys as sys;

use crate::mbuf::Mbuf;
use crate::port::OpenPort;

/// Most packets of one burst.
pub const BURST: usize = 32;

/// The receiving end of a queue. It can move to another thread, but not be shared.
#[derive(Debug)]
pub struct RxQueue {
    port: Arc<OpenPort>,
    queue: u16,
    refused: u64,
    not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<OpenPort>, queue: u16) -> RxQueue {
        RxQueue { port, queue, refused: 0, not_sync: PhantomData }
    }

    /// Appends what has arrived to `packets`: at most [`BURST`], and no more than its spare capacity. Answers how many.
    #[inline]
    pub fn burst(&mut self, packets: &mut Vec<Mbuf>) -> usize {
        let held = packets.len();
        let spare = packets.spare_capacity_mut();
        let room = spare.len().min(BURST);
        // SAFETY: the port is started while a queue handle lives and this handle is the queue's only receiver; there
        // is room for `room` pointers in the spare capacity, and `Mbuf` is a transparent non-null pointer.
        let received = usize::from(unsafe {
            sys::causeway_rx_burst(self.port.id(), self.queue, spare.as_mut_ptr().cast(), room as u16)
        });
        // SAFETY: the driver wrote that many valid, owned mbufs behind the first `held`.
        unsafe { packets.set_len(held + received) };
        self.refuse_chains(packets, held)
    }

    /// Packets dropped because they did not fit one buffer.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The queue's number on its port.
    pub fn number(&self) -> u16 {
        self.queue
    }

    /// Drops received chains: an [`Mbuf`] is one segment. Scattered receive is off, so a driver should make none.
    #[inline]
    fn refuse_chains(&mut self, packets: &mut Vec<Mbuf>, from: usize) -> usize {
        let mut index = from;
        while let Some(packet) = packets.get(index) {
            if packet.is_single() {
                index += 1;
            } else {
                packets.swap_remove(index);
                self.refused += 1;
            }
        }
        index - from
    }
}

/// The sending end of a queue. It can move to another thread, but not be shared.
#[derive(Debug)]
pub struct TxQueue {
    port: Arc<OpenPort>,
    queue: u16,
    not_sync: PhantomData<Cell<()>>,
}

impl TxQueue {
    pub(crate) fn new(port: Arc<OpenPort>, queue: u16) -> TxQueue {
        TxQueue { port, queue, not_sync: PhantomData }
    }

    /// Sends from the front of `packets` as many as the port takes now and removes them; answers how many. What is
    /// left is the caller's to offer again or to drop.
    #[inline]
    pub fn burst(&mut self, packets: &mut Vec<Mbuf>) -> usize {
        let count = packets.len();
        let offered = count.min(usize::from(u16::MAX)) as u16;
        let first = packets.as_mut_ptr();
        // SAFETY: the port is started while a queue handle lives and this handle is the queue's only sender; `Mbuf`
        // is a transparent pointer, so the vector is an array of `count` mbuf pointers.
        let sent = usize::from(unsafe {
            sys::causeway_tx_burst(self.port.id(), self.queue, first.cast::<*mut sys::rte_mbuf>(), offered)
        })
        .min(count);
        // SAFETY: the driver owns the first `sent`; moving the rest to the front and shortening the vector forgets
        // exactly those, without dropping or doubling any.
        unsafe {
            packets.set_len(0);
            std::ptr::copy(first.add(sent), first, count - sent);
            packets.set_len(count - sent);
        }
        sent
    }

    /// The queue's number on its port.
    pub fn number(&self) -> u16 {
        self.queue
    }
}

const _: () = assert!(
    std::mem::size_of::<Mbuf>() == std::mem::size_of::<*mut sys::rte_mbuf>()
        && std::mem::size_of::<Option<NonNull<sys::rte_mbuf>>>() == std::mem::size_of::<Mbuf>()
);
