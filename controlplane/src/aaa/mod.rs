//! Authentication and authorisation against what the configuration file holds: users, pre-shared keys, methods.
//!
//! Enters: `[[user]]`, `[auth]`, EAP packets of sessions, IKE identities as text. Leaves: EAP packets, verdicts, keys.
//! Nothing here waits: the answers are at hand, so the driver calls it in line. It knows no socket and no clock.

mod conversations;
mod directory;

pub use conversations::{ConversationFailure, Conversations, EapAnswer, MAX_CONVERSATIONS};
pub use directory::{ANY_IDENTITY, Directory, DirectoryError};
