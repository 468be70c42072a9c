//! How an EAP conversation ends: the MSK, the proof that a user was verified, and the reasons for every other end.
//!
//! Enters: what a method established. Leaves: values that the IKE layer can only obtain from a method (RFC 3748 §7.10).

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets of an MSK (RFC 3748 §7.10: at least 64).
pub const MSK_OCTETS: usize = 64;

/// Master Session Key that both sides derive; IKEv2 computes AUTH with it (RFC 7296 §2.16). Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Msk([u8; MSK_OCTETS]);

impl Msk {
    pub(crate) fn new(octets: [u8; MSK_OCTETS]) -> Msk {
        Msk(octets)
    }

    /// The key's octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Proof that a method verified this user. Only this crate can make one.
pub struct Authenticated {
    user: String,
    msk: Msk,
}

impl Authenticated {
    pub(crate) fn new(user: String, msk: Msk) -> Authenticated {
        Authenticated { user, msk }
    }

    /// The account whose password was proven, as the credential store spells it. Not the EAP-Identity, which proves nothing.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The key both sides now share.
    pub fn msk(&self) -> &Msk {
        &self.msk
    }

    /// Takes the proof apart.
    pub fn into_parts(self) -> (String, Msk) {
        (self.user, self.msk)
    }
}

/// Why a conversation ended without a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FailureReason {
    /// The proof does not fit the password, or there is no such user: the two are the same to the peer and to timing.
    #[error("user name or password is wrong")]
    BadCredentials,
    /// The peer refused every method we offer.
    #[error("the peer speaks none of the methods offered")]
    NoCommonMethod,
    /// The peer did not accept our proof that we know its password.
    #[error("the peer refused the server's proof")]
    ServerRefused,
    /// The peer's identity is longer than [`crate::packet::MAX_NAME_OCTETS`].
    #[error("the identity is too long")]
    IdentityTooLong,
    /// The other side sent EAP-Failure.
    #[error("the server answered EAP-Failure")]
    ServerSaidFailure,
}

/// Why a packet was ignored; the conversation stands where it stood (RFC 3748 §4.1, "silently discarded").
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DiscardReason {
    /// Not an EAP packet.
    #[error("not an EAP packet: {0}")]
    Malformed(#[from] crate::packet::PacketError),
    /// A Request where a Response belongs, or the reverse.
    #[error("wrong EAP code for this direction")]
    WrongCode,
    /// The Identifier is not that of the outstanding request.
    #[error("identifier does not match the outstanding request")]
    WrongIdentifier,
    /// The type is not the one asked for, and not a Nak.
    #[error("unexpected EAP type {0}")]
    UnexpectedType(u8),
    /// The method's own fields are malformed.
    #[error("malformed method data")]
    MalformedMethodData,
    /// A method message that does not belong to this step.
    #[error("method message out of order")]
    OutOfOrder,
    /// The conversation has already ended.
    #[error("the conversation is over")]
    Finished,
}
