//! What can be wrong with an IKE message, and the notify that tells the peer (RFC 7296 §2.21, §3.10.1).

use super::{NotifyType, PayloadType};

/// Why octets are not a legal IKE message, or a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The octets end inside a field.
    #[error("{what} ends early")]
    Truncated {
        /// The structure.
        what: &'static str,
    },
    /// A length field disagrees with its surroundings.
    #[error("{what} has a wrong length")]
    BadLength {
        /// The structure.
        what: &'static str,
    },
    /// A field has a value that RFC 7296 forbids.
    #[error("{what} has a forbidden value")]
    BadValue {
        /// The field.
        what: &'static str,
    },
    /// More of something than this implementation accepts.
    #[error("more than {max} of {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The most accepted.
        max: usize,
    },
    /// An unknown payload with the critical bit (RFC 7296 §2.5).
    #[error("payload type {0} is critical and unknown")]
    UnsupportedCritical(u8),
    /// A major version other than 2.
    #[error("IKE major version {0}")]
    UnsupportedMajorVersion(u8),
    /// A payload that the exchange needs is absent.
    #[error("payload {0} is missing")]
    Missing(PayloadType),
    /// A payload that has no place in this exchange, or too often.
    #[error("payload {0} is out of place")]
    Unexpected(PayloadType),
    /// A payload that must be encrypted came in the clear.
    #[error("payload {0} is not encrypted")]
    NotEncrypted(PayloadType),
    /// What we are to send does not fit its length field: a fault of ours.
    #[error("{what} is too long to send")]
    TooLong {
        /// The structure.
        what: &'static str,
    },
}

impl WireError {
    /// The error notify for the peer.
    pub fn notify(self) -> NotifyType {
        match self {
            WireError::UnsupportedCritical(_) => NotifyType::UnsupportedCriticalPayload,
            WireError::UnsupportedMajorVersion(_) => NotifyType::InvalidMajorVersion,
            _ => NotifyType::InvalidSyntax,
        }
    }
}
