//! Sessions that outlive their process: an established session as octets, and back.
//!
//! Enters: a session that is up; later, in another process, its octets. Leaves: the same session: keys, message IDs, last
//! answers, outstanding question, Child SAs, lease, timers. The octets hold keys; whoever stores them encrypts and
//! authenticates them, and hands over none that a later one has replaced. A driver that holds each message back until the
//! state behind it is stored ([`Mark`] tells when it has changed) can die at any moment: the next process answers a
//! repeated request with the same octets, and no message ID is used for two messages (RFC 7296 §2.1 to §2.3).
//!
//! AES-GCM IVs must never come twice (RFC 5282 §7.1), not even if one snapshot is restored twice or lags behind what was
//! sent, as it does when the store fails: a restored IKE SA goes on a random, large distance further.
//!
//! What is under way when the process dies: a request of the peer without answer counts as not received. A question of
//! ours is asked again in the same octets; if it was the rekey of a Child SA, whose private key is gone, the successor is
//! withdrawn and the rekey begun anew. Only between our rekey of the IKE SA and its end is there no snapshot.

mod codec;
mod mark;
mod session;

pub(crate) use codec::{Read, Reader, Writer};
pub use mark::Mark;
pub(crate) use session::{PEER_KEYS, read_identity, write_identity};

/// First octets of every snapshot: a name and the version of the layout.
const MAGIC: &[u8; 5] = b"CWIK\x08";

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
