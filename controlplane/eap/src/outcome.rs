//! How an EAP conversation ends: the MSK, the proof that a user was verified, and the reasons for every other end.
//!
//! Enters: what a method established. Leaves: values that the IKE layer can only obtain from a method (RFC 3748 §7.10).

use crate::packet::EapType;
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
    method: EapType,
    inner: Option<&'static str>,
    msk: Option<Msk>,
}

impl Authenticated {
    /// `msk`: `None` for a method that makes no key.
    pub(crate) fn new(user: String, method: EapType, msk: Option<Msk>) -> Authenticated {
        Authenticated { user, method, inner: None, msk }
    }

    /// Names what verified the user inside of the method.
    pub(crate) fn with_inner(self, inner: Option<&'static str>) -> Authenticated {
        Authenticated { inner, ..self }
    }

    /// The account whose password was proven, as the credential store spells it. Not the EAP-Identity, which proves nothing.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The method.
    pub fn method(&self) -> EapType {
        self.method
    }

    /// What verified the user inside of the method: the name of an EAP method, `pap` or `mschapv2`.
    pub fn inner(&self) -> Option<&'static str> {
        self.inner
    }

    /// The key both sides now share; `None` after a method that makes none.
    pub fn msk(&self) -> Option<&Msk> {
        self.msk.as_ref()
    }

    /// User and key.
    pub fn into_parts(self) -> (String, Option<Msk>) {
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
    /// The TLS session could not be set up, or broke: no common version or cipher, or a certificate that one side refuses.
    #[error("the TLS session failed, perhaps because one side refuses the other's certificate")]
    TlsFailed,
    /// The certificate is good, but nobody here is called as it says.
    #[error("the certificate names no user")]
    NamesNoUser,
    /// What was said inside of the TLS session does not belong there.
    #[error("the peer broke the rules inside of the TLS session")]
    InsideBroken,
    /// The peer did not prove that tunnel and inner method are one conversation.
    #[error("the peer did not bind the inner method to its tunnel")]
    NotBound,
    /// The method wants more packets than any honest conversation.
    #[error("the conversation does not come to an end")]
    TooLong,
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
