//! Why an exchange failed: who is at fault, what the peer is told, what is counted (RFC 7296 §2.21).
//!
//! Enters: a failure anywhere in the state machine. Leaves: one [`IkeError`] that names exactly one notify (or none)
//! and exactly one counter.

use crate::cert::{AuthenticationError, CertError};
use crate::counters::IkeCounter;
use crate::suite::SelectError;
use crate::wire::{NotifyType, WireError};

/// Whose fault it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The peer broke the protocol.
    PeerMisbehaved,
    /// The peer is well-behaved but wants what we do not have.
    PeerIncompatible,
    /// Our operator does not allow it.
    LocalPolicy,
    /// We have not enough of something.
    Resources,
    /// We are wrong.
    Bug,
}

/// A failed exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum IkeError {
    #[error("message breaks the format: {0}")]
    Syntax(#[from] WireError),
    #[error("no common IKE proposal")]
    NoIkeProposal,
    #[error("key exchange value refused")]
    BadKeyExchange,
    #[error("authentication failed: {0}")]
    Authentication(&'static str),
    #[error("authentication failed: the token was replaced")]
    Replayed,
    #[error("ticket refused: {0}")]
    Ticket(&'static str),
    #[error("client certificate refused: {0}")]
    Certificate(&'static str),
    #[error("authentication method is switched off")]
    MethodOff,
    #[error("the EAP method does not prove the gateway, and the client asked for EAP alone")]
    UnsafeEap,
    #[error("post-quantum pre-shared key: {0}")]
    Ppk(&'static str),
    #[error("client asked for another gateway identity")]
    IdrMismatch,
    #[error("no common ESP proposal")]
    NoEspProposal,
    #[error("key exchange is of another group; group {0} is wanted")]
    InvalidKe(u16),
    #[error("no common traffic selectors")]
    TsUnacceptable,
    #[error("no inner address to give")]
    NoAddress,
    #[error("client did not ask for an inner address")]
    CpRequired,
    #[error("no more Child SAs for this session")]
    NoAdditionalSas,
    #[error("no more Child SAs for resources of this client")]
    NoMoreResources,
    #[error("another rekey or delete is under way")]
    Temporary,
    #[error("no such Child SA")]
    ChildNotFound,
    #[error("no rekey waits for this additional key exchange")]
    StateNotFound,
    #[error("out of {0}")]
    Resources(&'static str),
    #[error("not done in time: {0}")]
    Unavailable(&'static str),
    #[error("handshake not finished in time")]
    HandshakeTimeout,
    #[error("client gave up: {0}")]
    PeerGaveUp(NotifyType),
    #[error("a NAT changed the addresses though the client forbids it")]
    UnexpectedNat,
    #[error("internal: {0}")]
    Bug(&'static str),
}

impl From<SelectError> for IkeError {
    fn from(error: SelectError) -> IkeError {
        match error {
            SelectError::NoProposalChosen => IkeError::NoEspProposal,
            SelectError::InvalidKe { wanted } => IkeError::InvalidKe(wanted.number()),
        }
    }
}

impl IkeError {
    /// Why a client's certificate did not authenticate it.
    pub(crate) fn of_certificate(error: &AuthenticationError) -> IkeError {
        match error {
            AuthenticationError::IdentityMismatch => {
                IkeError::Authentication("the certificate names somebody else")
            }
            AuthenticationError::Signature(_) => IkeError::Authentication("the signature is wrong"),
            AuthenticationError::Certificate(error) => IkeError::Certificate(match error {
                CertError::NoCertificate => "none was sent",
                CertError::TooManyCertificates => "too many were sent",
                CertError::Malformed => "malformed",
                CertError::Expired => "expired",
                CertError::NotYetValid => "not valid yet",
                CertError::Revoked => "revoked",
                CertError::StatusUnknown(_) => "revocation status unknown",
                CertError::NotAnAuthority => "issued by no authority",
                CertError::PathTooLong => "the chain is longer than its authority allows",
                CertError::NameConstraint => "a name that its authority may not certify",
                CertError::UnknownIssuer => "unknown issuer",
                CertError::BadSignature => "signature in the chain is wrong",
                CertError::WrongUsage => "not for this use",
                CertError::UnsupportedKey => "key not supported",
                CertError::Invalid(_) => "invalid chain",
            }),
        }
    }

    /// Whose fault it is.
    pub(crate) fn fault(self) -> Fault {
        use IkeError::*;
        match self {
            Syntax(WireError::TooLong { .. }) | Bug(_) => Fault::Bug,
            Syntax(_) | BadKeyExchange | Authentication(_) | Replayed | ChildNotFound | StateNotFound => {
                Fault::PeerMisbehaved
            }
            HandshakeTimeout | Ticket(_) | Certificate(_) | NoIkeProposal | NoEspProposal | InvalidKe(_)
            | TsUnacceptable | PeerGaveUp(_) | UnexpectedNat => Fault::PeerIncompatible,
            MethodOff | UnsafeEap | Ppk(_) | IdrMismatch | CpRequired | NoAdditionalSas | NoMoreResources
            | Temporary => Fault::LocalPolicy,
            NoAddress | Resources(_) | Unavailable(_) => Fault::Resources,
        }
    }

    /// What the peer is told.
    pub(crate) fn notify(self) -> NotifyType {
        use IkeError::*;
        match self {
            Syntax(error) => error.notify(),
            BadKeyExchange => NotifyType::InvalidSyntax,
            Ticket(_) => NotifyType::TicketNack,
            NoIkeProposal | NoEspProposal => NotifyType::NoProposalChosen,
            HandshakeTimeout | Authentication(_) | Replayed | Certificate(_) | MethodOff | UnsafeEap
            | Ppk(_) | IdrMismatch | PeerGaveUp(_) => NotifyType::AuthenticationFailed,
            InvalidKe(_) => NotifyType::InvalidKePayload,
            StateNotFound => NotifyType::StateNotFound,
            TsUnacceptable => NotifyType::TsUnacceptable,
            NoAddress => NotifyType::InternalAddressFailure,
            CpRequired => NotifyType::FailedCpRequired,
            NoAdditionalSas => NotifyType::NoAdditionalSas,
            NoMoreResources => NotifyType::TsMaxQueue,
            ChildNotFound => NotifyType::ChildSaNotFound,
            UnexpectedNat => NotifyType::UnexpectedNatDetected,
            Temporary | Resources(_) | Unavailable(_) | Bug(_) => NotifyType::TemporaryFailure,
        }
    }

    /// The notify that refuses a whole IKE_AUTH exchange: only some of the notifies may (RFC 7296 §2.21.2); whatever
    /// is not the client's format is told as AUTHENTICATION_FAILED.
    pub(crate) fn auth_notify(self) -> NotifyType {
        match self.notify() {
            kind @ (NotifyType::InvalidSyntax
            | NotifyType::UnsupportedCriticalPayload
            | NotifyType::UnexpectedNatDetected) => kind,
            _ => NotifyType::AuthenticationFailed,
        }
    }

    /// The data of the notify.
    pub(crate) fn notify_data(self) -> Vec<u8> {
        match self {
            IkeError::InvalidKe(group) => group.to_be_bytes().to_vec(),
            IkeError::Syntax(WireError::UnsupportedCritical(kind)) => vec![kind],
            _ => Vec::new(),
        }
    }

    /// What is counted.
    pub(crate) fn counter(self) -> IkeCounter {
        use IkeError::*;
        match self {
            Syntax(WireError::TooLong { .. }) | Bug(_) => IkeCounter::InternalErrors,
            Syntax(_) | BadKeyExchange | ChildNotFound => IkeCounter::PeerMisbehaved,
            NoIkeProposal => IkeCounter::IkeNoProposal,
            Authentication(_) | PeerGaveUp(_) => IkeCounter::AuthFailed,
            Replayed => IkeCounter::TokensReplayed,
            Ticket(_) => IkeCounter::TicketsRefused,
            HandshakeTimeout => IkeCounter::HandshakeTimeout,
            Certificate(_) => IkeCounter::CertificateRefused,
            MethodOff | UnsafeEap => IkeCounter::MethodRefused,
            Ppk(_) => IkeCounter::PpkRefused,
            IdrMismatch => IkeCounter::IdrRefused,
            NoEspProposal => IkeCounter::ChildNoProposal,
            InvalidKe(_) => IkeCounter::InvalidKe,
            StateNotFound => IkeCounter::RekeyFailed,
            TsUnacceptable => IkeCounter::TsUnacceptable,
            NoAddress => IkeCounter::AddressFailure,
            CpRequired => IkeCounter::CpRequired,
            NoAdditionalSas | NoMoreResources => IkeCounter::NoAdditionalSas,
            UnexpectedNat => IkeCounter::UnexpectedNat,
            Temporary | Resources(_) => IkeCounter::TemporaryFailure,
            Unavailable(_) => IkeCounter::JobsFailed,
        }
    }
}
