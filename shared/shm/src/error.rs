//! Why an operation on the segment failed, and who is at fault.

use std::io;

use causeway_shared::wire::SlotError;

/// What a ring's indices allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Every slot is taken: push again later. Nothing was lost.
    #[error("the ring is full")]
    Full,
    /// The other side wrote an index or a length that no honest peer writes.
    #[error("the other side corrupted the ring")]
    Corrupt,
}

/// Why a message was not pushed. The message stays with the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Every slot is taken: push again later.
    #[error("the ring is full")]
    Full,
    /// The other side wrote an index that no honest peer writes: it is at fault.
    #[error("the other side corrupted the ring")]
    Corrupt,
    /// The message cannot be encoded: the caller is at fault.
    #[error("message refused: {0}")]
    Message(#[from] SlotError),
}

impl From<RingError> for PushError {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Full => PushError::Full,
            RingError::Corrupt => PushError::Corrupt,
        }
    }
}

/// Why a slot was refused. The ring has gone on to the next slot: pop again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PopError {
    /// The other side wrote an index or a length that no honest peer writes.
    #[error("the other side corrupted the ring")]
    Corrupt,
    /// The slot does not hold a message.
    #[error("slot refused: {0}")]
    Garbage(#[from] SlotError),
}

/// Why a segment was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A size is outside its bounds.
    #[error("{what} is {value}, allowed are {allowed}")]
    OutOfRange {
        /// Which size.
        what: &'static str,
        /// The value asked for.
        value: u64,
        /// The values possible.
        allowed: &'static str,
    },
    /// The kernel refused.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Why the control plane could not attach.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody listens on the socket: the data plane is not running. Try again later.
    #[error("no data plane listens on {path}: {source}")]
    NoDataPlane {
        /// The socket.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another control plane is attached.
    #[error("another control plane (process {pid}) is attached to this data plane")]
    Busy {
        /// Its process id.
        pid: u32,
    },
    /// The data plane does not serve this user.
    #[error("the data plane does not serve user {uid}")]
    Forbidden {
        /// Our user id as the data plane sees it.
        uid: u32,
    },
    /// The two programs do not agree on the segment's layout: install the same version of both.
    #[error(
        "the data plane (version {theirs}, layout {their_hash:016x}) and this control plane (version {ours}, layout {our_hash:016x}) do not match"
    )]
    LayoutMismatch {
        /// Our version.
        ours: String,
        /// Our layout hash.
        our_hash: u64,
        /// The data plane's version.
        theirs: String,
        /// The data plane's layout hash.
        their_hash: u64,
    },
    /// The data plane did not answer in time, or its answer makes no sense.
    #[error("the data plane's answer is not usable: {0}")]
    BadHello(&'static str),
    /// The kernel refused.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}
