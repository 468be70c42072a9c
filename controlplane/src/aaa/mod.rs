//! Authentication and authorisation against what the configuration file holds (users, groups, pre-shared keys, methods), and
//! what RADIUS servers say.
//!
//! Enters: `[[user]]`, `[[group]]`, `[auth]`, EAP packets of sessions, IKE identities as text. Leaves: EAP packets,
//! questions about passwords and certificates, verdicts, keys, merged policies. Nothing here waits; what takes time
//! ([`Account::accepts`]) is handed out. Only [`radius`] knows sockets and a clock.

mod anyconnect;
mod authorization;
mod certificate_name;
mod conversations;
mod directory;
mod local;
mod lockout;
mod password;
pub mod radius;
mod tls;

pub use anyconnect::{AnyConnectAnswer, AnyConnectConversations, AnyConnectFailure, MAX_PASSWORD_CHECKS};
pub use authorization::{Authorization, authorize};
pub use conversations::{
    Asked, Conversation, ConversationFailure, Conversations, EapAnswer, EapLogin, MAX_CONVERSATIONS, Turn,
    TurnId, Turned,
};
pub use directory::{ANY_IDENTITY, CertificateNames, Directory, DirectoryError};
pub use local::LocalEap;
pub use lockout::{Claimant, Locked, Lockout};
pub use password::{Account, MAX_PASSWORD_OCTETS};
pub use tls::{TlsConfigs, TlsSetupError, tls_configs};
