//! Sessions that outlive their process: an established session as octets, and back.
//!
//! Enters: a session that is up and has no rekey under way; later, in another process, its octets. Leaves: the same
//! session: keys, message IDs, last answer, outstanding question, Child SAs, lease, timers. The octets hold keys; whoever
//! stores them encrypts and authenticates them, and hands over none that a later one has replaced.
//!
//! AES-GCM IVs must never come twice (RFC 5282 §7.1), not even if one snapshot is restored twice or lags behind what was
//! sent: a restored IKE SA goes on a random, large distance further.

mod codec;
mod session;

pub(crate) use codec::{Read, Reader, Writer};

/// First octets of every snapshot: a name and the version of the layout.
const MAGIC: &[u8; 5] = b"CWIK\x01";

/// Why a session cannot be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is none of ours, or of another version.
    #[error("not a snapshot of this version")]
    Version,
    /// Its octets contradict the layout.
    #[error("snapshot is malformed: {0}")]
    Malformed(&'static str),
    /// One of its SPIs is in use, so it has been restored already.
    #[error("its SPIs are in use")]
    Taken,
    /// Its IKE SA has ended meanwhile, or its IVs are used up.
    #[error("its IKE SA has ended")]
    Expired,
    /// The endpoint is full or shutting down.
    #[error("there is no room for it")]
    NoRoom,
}
