//! Typed ends of a ring: messages in, messages out, one private copy between slot and codec.
//!
//! The codec never works in shared memory: a producer encodes into its own buffer and copies it to the slot, a consumer
//! copies the slot out and decodes the copy, so the other process cannot change octets between check and use. Both buffers
//! are wiped after each message. No call allocates, except decoding a message that owns memory.

use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;

use causeway_shared::wire::{Datagram, DatagramRef, SlotError, SlotMessage};
use zeroize::Zeroize;

use crate::doorbell::Bell;
use crate::error::{PopError, PushError, RingError};
use crate::mapping::Words;
use crate::ring::{Geometry, RingConsumer, RingProducer};

/// How often a ring's other side misbehaved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refusals {
    /// Slots that did not decode.
    pub garbage: u64,
    /// Indices or lengths that no honest peer writes.
    pub corrupt: u64,
}

/// The writing end of a ring of `M`.
pub struct Producer<M> {
    ring: RingProducer<AtomicU64, Words>,
    staging: Box<[u8]>,
    /// Absent where the consumer polls and never sleeps.
    bell: Option<Bell>,
    corrupt: u64,
    message: PhantomData<fn(M)>,
}

impl<M: SlotMessage> Producer<M> {
    pub(crate) fn new(words: Words, geometry: Geometry, bell: Option<Bell>) -> Result<Self, RingError> {
        let ring = RingProducer::resume(words, geometry)?;
        Ok(Producer { ring, staging: zeroed(M::SLOT_BYTES), bell, corrupt: 0, message: PhantomData })
    }

    /// Sends a message and wakes the other side if it sleeps.
    ///
    /// # Errors
    /// See [`PushError`]; `message` is untouched, push it again when the ring has room.
    pub fn push(&mut self, message: &M) -> Result<(), PushError> {
        self.push_with(|slot| message.encode(slot))
    }

    /// Sends what `write` puts into a slot-sized buffer; `write` returns the octets used and is not called when the ring
    /// is full.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push_with(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<usize, SlotError>,
    ) -> Result<(), PushError> {
        self.ring.reserve().inspect_err(|error| self.corrupt += u64::from(*error == RingError::Corrupt))?;
        let written = write(&mut self.staging);
        // After a failure nobody knows how far it got.
        let dirty = *written.as_ref().unwrap_or(&M::SLOT_BYTES);
        let pushed = written.map_err(PushError::Message).and_then(|used| {
            let available = self.staging.len();
            let octets = self.staging.get(..used).ok_or(SlotError::TooLong { needed: used, available })?;
            Ok(self.ring.push(octets)?)
        });
        if let Some(octets) = self.staging.get_mut(..dirty) {
            octets.zeroize();
        }
        if let (Ok(()), Some(bell)) = (&pushed, &self.bell) {
            bell.notify();
        }
        pushed
    }

    /// Messages that the other side has not taken yet.
    pub fn backlog(&self) -> usize {
        self.ring.backlog()
    }

    /// How often the other side's index made no sense.
    pub fn refusals(&self) -> Refusals {
        Refusals { garbage: 0, corrupt: self.corrupt }
    }
}

impl Producer<Datagram> {
    /// Sends a datagram whose payload lies in a packet buffer. Does not allocate.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push_ref(&mut self, datagram: DatagramRef<'_>) -> Result<(), PushError> {
        self.push_with(|slot| datagram.encode(slot))
    }
}

/// The reading end of a ring of `M`.
pub struct Consumer<M> {
    ring: RingConsumer<AtomicU64, Words>,
    staging: Box<[u8]>,
    refusals: Refusals,
    message: PhantomData<fn() -> M>,
}

impl<M: SlotMessage> Consumer<M> {
    pub(crate) fn new(words: Words, geometry: Geometry) -> Result<Self, RingError> {
        let ring = RingConsumer::resume(words, geometry)?;
        let refusals = Refusals::default();
        Ok(Consumer { ring, staging: zeroed(M::SLOT_BYTES), refusals, message: PhantomData })
    }

    /// Takes the next message; `None` when the ring is empty. The slot is wiped.
    ///
    /// # Errors
    /// When the other side wrote something it should not have. It is counted, and the next call goes on behind it.
    pub fn pop(&mut self) -> Result<Option<M>, PopError> {
        self.pop_with(|octets| M::decode(octets))
    }

    /// Gives the next slot's octets (a private copy) to `read`; `None` when the ring is empty.
    ///
    /// # Errors
    /// As [`Self::pop`]; an error of `read` counts as garbage.
    pub fn pop_with<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> Result<T, SlotError>,
    ) -> Result<Option<T>, PopError> {
        match self.ring.pop(&mut self.staging) {
            Ok(None) => Ok(None),
            Ok(Some(used)) => {
                let octets = self.staging.get_mut(..used).ok_or(PopError::Corrupt)?;
                let message = read(octets);
                octets.zeroize();
                self.refusals.garbage += u64::from(message.is_err());
                Ok(Some(message?))
            }
            Err(_) => {
                self.refusals.corrupt += 1;
                Err(PopError::Corrupt)
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How often the other side misbehaved.
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    pub(crate) fn discard(&mut self) {
        self.ring.discard();
    }
}

impl Consumer<Datagram> {
    /// Gives the next datagram to `take` without allocating; `None` when the ring is empty.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    pub fn pop_ref<T>(&mut self, take: impl FnOnce(DatagramRef<'_>) -> T) -> Result<Option<T>, PopError> {
        self.pop_with(|octets| DatagramRef::decode(octets).map(take))
    }
}

fn zeroed(len: usize) -> Box<[u8]> {
    vec![0; len].into_boxed_slice()
}
