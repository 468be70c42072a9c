//! Why a client ends without being asked to.
//!
//! Enters: the failures of its parts. Leaves: one sentence for the user.

use crate::config::ConfigError;
use crate::initiator::Fault;

/// Why the client ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// The device or its routes cannot be made.
    #[error("{0}")]
    Device(String),
    /// There is no user to log in.
    #[error("no user: set login.user, or answer when asked")]
    NoUser,
    /// The login did not work.
    #[error("no connection: {0}")]
    Login(Fault),
    /// The gateway's address cannot be found.
    #[error("{0} cannot be resolved to an IPv4 address")]
    Unresolved(String),
    /// The gateway ended the session.
    #[error("the gateway ended the session")]
    EndedByGateway,
    /// The connection was lost and cannot be resumed.
    #[error("the connection is lost: {0}")]
    Lost(String),
}
