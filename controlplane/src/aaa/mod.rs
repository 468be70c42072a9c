//! Authentication and authorisation against what the configuration file holds: users, groups, pre-shared keys, methods.
//!
//! Enters: `[[user]]`, `[[group]]`, `[auth]`, EAP packets of sessions, IKE identities as text. Leaves: EAP packets,
//! questions about passwords and certificates, verdicts, keys, merged policies. Nothing here waits; what takes time
//! ([`Account::accepts`]) is handed out. It knows no socket and no clock.

mod anyconnect;
mod authorization;
mod conversations;
mod directory;
mod password;

pub use anyconnect::{AnyConnectAnswer, AnyConnectConversations, AnyConnectFailure, MAX_PASSWORD_CHECKS};
pub use authorization::{Authorization, authorize};
pub use conversations::{ConversationFailure, Conversations, EapAnswer, MAX_CONVERSATIONS};
pub use directory::{ANY_IDENTITY, Directory, DirectoryError};
pub use password::{Account, MAX_PASSWORD_OCTETS};
