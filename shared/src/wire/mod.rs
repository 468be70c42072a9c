//! The messages of the shared-memory rings: typed values on both sides, fixed-size slots between (architecture §5).
//!
//! A slot is bytes that the other process wrote; nothing in it is trusted. `decode` checks everything it reads.

mod codec;
mod message;
mod watch;

pub use codec::{DatagramRef, SeenRef, peek_command_id};
pub use message::*;
pub use watch::*;

/// A message that fits a ring slot.
pub trait SlotMessage: Sized {
    /// Octets of a slot, a multiple of 8.
    const SLOT_BYTES: usize;
    /// Name and version of the encoding; it enters the segment's layout hash.
    const LAYOUT: &'static str;

    /// Writes the message into `slot`, which has [`Self::SLOT_BYTES`] octets, and returns the octets used.
    ///
    /// # Errors
    /// When a variable part is longer than the slot allows.
    fn encode(&self, slot: &mut [u8]) -> Result<usize, SlotError>;

    /// Reads a message that the other process wrote; `slot` holds exactly the octets that [`Self::encode`] returned.
    ///
    /// # Errors
    /// When any field is not one that an honest writer produces.
    fn decode(slot: &[u8]) -> Result<Self, SlotError>;
}

/// Why a slot was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The message does not fit the slot.
    #[error("message needs {needed} octets, a slot has {available}")]
    TooLong {
        /// Octets the message needs.
        needed: usize,
        /// Octets a slot has.
        available: usize,
    },
    /// The slot ends before the message does.
    #[error("slot ends inside field `{0}`")]
    Truncated(&'static str),
    /// A field has a value no honest writer produces.
    #[error("field `{0}` has an impossible value")]
    Invalid(&'static str),
    /// The kind is unknown.
    #[error("unknown message kind {0}")]
    UnknownKind(u32),
}
