//! Waking a sleeper at the price of one system call per sleep, not one per message.
//!
//! A consumer that is about to sleep [`arm`]s a word in the segment, looks once more whether its rings are empty, and only
//! then sleeps on an eventfd. A producer asks [`must_ring`] after each push and writes the eventfd only when the word was
//! armed. Both put a `SeqCst` fence between their own store and their look at the other's, so at least one of them sees the
//! other: the wake-up cannot be lost (modelled in `tests/loom.rs`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use rustix::event::{EventfdFlags, eventfd};

use crate::atom::Atom;
use crate::mapping::Words;

const ARMED: u64 = 1;

/// Consumer: says that it is about to sleep. It must look at its rings again afterwards, and sleep only if all are empty.
pub fn arm<A: Atom>(armed: &A) {
    // Every write to the word is a swap, so that they form one chain: a producer's late swap to 0 belongs to the arming
    // that it answered and cannot come to lie behind this one.
    armed.swap(ARMED, Relaxed);
    // Our store to `armed` before our loads of the rings' heads; pairs with the fence in `must_ring`.
    A::fence(SeqCst);
}

/// Consumer: says that it is awake, after all: something waited when it looked again, or it woke for another reason.
/// Relaxed: a producer that still sees the word armed rings once too often, which does no harm.
pub fn disarm<A: Atom>(armed: &A) {
    armed.swap(0, Relaxed);
}

/// Producer: whether the consumer sleeps and has to be rung, asked after each push.
pub fn must_ring<A: Atom>(armed: &A) -> bool {
    // Our store of the ring's head before our load of `armed`; pairs with the fence in `arm`.
    A::fence(SeqCst);
    // The swap lets one of several producers ring. Relaxed: the eventfd carries no data, the rings order their own.
    armed.load(Relaxed) != 0 && armed.swap(0, Relaxed) != 0
}

/// An eventfd that both processes hold. Readable means: somebody rang.
#[derive(Clone, Debug)]
pub struct Doorbell {
    fd: Arc<OwnedFd>,
}

impl Doorbell {
    pub(crate) fn create() -> io::Result<Doorbell> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Doorbell { fd: Arc::new(fd) })
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Doorbell {
        Doorbell { fd: Arc::new(fd) }
    }

    /// Makes the descriptor readable. Never blocks: a counter that a hostile peer filled up is readable anyway.
    pub fn ring(&self) {
        // The only failure of a non-blocking write is a full counter.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable until the next ring. Call it before emptying the rings.
    pub fn clear(&self) {
        // The only failure of a non-blocking read is a counter of zero.
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A doorbell together with the word that says whether anybody listens: what a producer holds.
#[derive(Clone)]
pub(crate) struct Bell {
    pub(crate) armed: Words,
    pub(crate) doorbell: Doorbell,
}

impl Bell {
    /// Wakes the consumer if it sleeps.
    pub(crate) fn notify(&self) {
        if self.armed.first().is_some_and(must_ring) {
            self.doorbell.ring();
        }
    }

    pub(crate) fn arm(&self) {
        if let Some(armed) = self.armed.first() {
            arm(armed);
        }
    }

    pub(crate) fn disarm(&self) {
        if let Some(armed) = self.armed.first() {
            disarm(armed);
        }
    }
}
