//! The vocabulary between the method's server and whoever drives it: every input, every step, every reason.
//!
//! Enters: nothing. Leaves: types only. Rules of the contract:
//! - [`Step::VerifyPassword`] and [`Step::VerifyCertificate`] are answered by exactly one [`Input::Password`] or
//!   [`Input::Certificate`], after any delay; packets that come meanwhile are discarded.
//! - The verifier does the same work for users that do not exist; to the client both are [`PasswordVerdict::Refused`].

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::framing::FramingError;
use super::message::MessageError;
pub use super::message::{ClientInfo, Device, MacAddress, ProfileManifest};

/// What does not change between conversations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Whether certificates are asked for.
    pub certificate: CertificateUse,
    /// Title of the login form; empty for none.
    pub title: String,
    /// What the login form says, e.g. "Please enter your user ID and password."
    pub message: String,
    /// What the client shows after the login, unless the verdict has a banner of its own; empty for none.
    pub banner: String,
    /// Names in the form's group list; empty: no list.
    pub groups: Vec<String>,
    /// Wrong passwords that one conversation may see; the last ends it. At least 1.
    pub attempts: u32,
    /// Port of HTTPS client services, `None` without them.
    pub client_services_port: Option<u16>,
    /// SHA-1 of our certificate (DER) or of its public key, whichever the operator chose.
    pub server_cert_hash: [u8; 20],
    /// Profile the client should have, `None` for none.
    pub profile: Option<ProfileManifest>,
}

/// What a client's certificate is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateUse {
    /// Nothing: it is not asked for.
    None,
    /// Asked for, and the password too.
    Required,
    /// Asked for, and no password.
    Instead,
}

/// What differs between conversations. All randomness is the caller's.
pub struct ConversationSetup {
    /// Identifier of the first request; Cisco's gateways seem to begin with 1.
    pub identifier: u8,
    /// Random; lets the client name this conversation in later forms.
    pub handle: u32,
    /// Random; the session number in `complete` (decimal there). No relation to the session id of Auto Reconnect.
    pub session_number: u32,
    /// Random; the token in `complete`, of use only on HTTPS.
    pub session_secret: [u8; 20],
    /// What a client's certificate signature must cover: RealMessage1 | NonceRData | MACedIDForI (RFC 7296 §2.15).
    pub initiator_signed_octets: Vec<u8>,
}

/// What can happen.
pub enum Input<'a> {
    /// The client's EAP packet.
    Packet(&'a [u8]),
    /// Answer to [`Step::VerifyPassword`].
    Password(PasswordVerdict),
    /// Answer to [`Step::VerifyCertificate`].
    Certificate(CertificateVerdict),
}

/// What must be done now.
pub enum Step {
    /// Send this.
    Request(Vec<u8>),
    /// Judge this password, or this answer to a challenge.
    VerifyPassword(PasswordQuestion),
    /// Judge this certificate and signature.
    VerifyCertificate(CertificateQuestion),
    /// The user is logged in. Send `packet`, an EAP-Success. The conversation is over.
    Success {
        /// EAP-Success.
        packet: Vec<u8>,
        /// Who it is.
        login: Login,
    },
    /// It ended without login. Send `packet`, an EAP-Failure. The conversation is over.
    Failure {
        /// EAP-Failure.
        packet: Vec<u8>,
        /// Why; never sent.
        reason: FailureReason,
    },
    /// Ignored; nothing changed.
    Discard(DiscardReason),
}

/// A clear password or another answer of a user. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// Takes it over.
    pub fn new(text: String) -> Password {
        Password(text)
    }

    /// The text. Compare it in constant time only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Is this so?
pub struct PasswordQuestion {
    /// Who the client says it is; not proven. May be empty.
    pub user: String,
    /// The password, or the answer to the last [`PasswordVerdict::Challenge`].
    pub password: Password,
    /// Whether `password` answers a challenge.
    pub answers_challenge: bool,
    /// Second name and password, if the client sent them; no form of ours asks.
    pub secondary: Option<(String, Password)>,
    /// The group chosen; one of [`ServerConfig::groups`], or `None` when there is no list.
    pub group: Option<String>,
    /// Identity in the certificate that was verified before, if any.
    pub certificate_identity: Option<String>,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// The verifier's answer.
pub enum PasswordVerdict {
    /// It is so.
    Accepted(Accepted),
    /// The user does not exist, or the password is wrong, or this user may not log in.
    Refused,
    /// Not yet: the user must answer this (one-time password, new PIN). Uses up no attempt.
    Challenge {
        /// Shown to the user.
        prompt: String,
    },
    /// Nobody can say now. Ends the conversation.
    Unavailable,
}

/// Who was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The account, as the directory spells it.
    pub user: String,
    /// Shown after the login instead of [`ServerConfig::banner`].
    pub banner: Option<String>,
}

/// Does this certificate belong to the client, and is it good?
pub struct CertificateQuestion {
    /// Certificates as DER, in the client's order: the first is its own. Not empty.
    pub chain: Vec<Vec<u8>>,
    /// Signature, without authentication method: RSA PKCS#1 v1.5 with the hash of the negotiated PRF, or ECDSA.
    pub signature: Vec<u8>,
    /// What must be signed; see [`ConversationSetup::initiator_signed_octets`].
    pub signed_octets: Vec<u8>,
}

/// The verifier's answer.
pub enum CertificateVerdict {
    /// Chain, validity, use and signature are good; this is who it names.
    Accepted(Accepted),
    /// They are not.
    Refused {
        /// For the operator; never sent.
        reason: String,
    },
    /// Nobody can say now. Ends the conversation.
    Unavailable,
}

/// Proof that the verifier accepted this user in a conversation that went the whole way. Only this crate can make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    pub(super) user: String,
    pub(super) group: Option<String>,
    pub(super) certificate_identity: Option<String>,
    pub(super) client: ClientInfo,
}

impl Login {
    /// The account, as the directory spells it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The group that was chosen.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Identity in the certificate that was verified.
    pub fn certificate_identity(&self) -> Option<&str> {
        self.certificate_identity.as_deref()
    }

    /// What the client says of itself; nothing of it is proven.
    pub fn client(&self) -> &ClientInfo {
        &self.client
    }
}

/// Why a conversation ended without login.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FailureReason {
    /// The last attempt was wrong too.
    #[error("user name or password is wrong")]
    BadCredentials,
    /// The verifier did not accept the certificate.
    #[error("the client's certificate was refused: {0}")]
    BadCertificate(String),
    /// The client has none and needs one.
    #[error("the client has no certificate")]
    NoCertificate,
    /// Legacy or Expanded Nak.
    #[error("the client does not speak AnyConnect-EAP")]
    NoCommonMethod,
    /// [`super::server::MAX_REQUESTS`] were sent.
    #[error("too many forms in one conversation")]
    TooManyRequests,
    /// The verifier could not judge.
    #[error("credentials cannot be verified now")]
    Unavailable,
    /// What had to be said did not fit into an EAP packet.
    #[error("a message does not fit into an EAP packet")]
    MessageTooLong,
}

/// Why an input was ignored; the conversation stands where it stood (RFC 3748 §4.1, "silently discarded").
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DiscardReason {
    /// EAP packet or TLVs are malformed.
    #[error("malformed packet: {0}")]
    Framing(#[from] FramingError),
    /// The XML document or the message in it is malformed.
    #[error("malformed message: {0}")]
    Message(#[from] MessageError),
    /// The certificate chain is malformed.
    #[error("malformed certificate chain: {0}")]
    Chain(#[from] super::pkcs7::Pkcs7Error),
    /// A Request where a Response belongs, or the reverse.
    #[error("wrong EAP code for this direction")]
    WrongCode,
    /// The Identifier is not that of the outstanding request.
    #[error("identifier does not match the outstanding request")]
    WrongIdentifier,
    /// Another EAP method.
    #[error("unexpected EAP type {0}")]
    UnexpectedType(u8),
    /// Well-formed, but not what belongs here.
    #[error("message out of order")]
    OutOfOrder,
    /// A verdict is awaited.
    #[error("a verdict is awaited")]
    AwaitingVerdict,
    /// A verdict that nobody asked for.
    #[error("verdict without question")]
    UnaskedVerdict,
    /// The conversation has already ended.
    #[error("the conversation is over")]
    Finished,
}

/// Something odd that the client sent and that changed nothing; for the log, so that a capture settles what it means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A TLV of a type that nobody here knows.
    UnknownTlv {
        /// Its type.
        kind: u16,
        /// Octets it had.
        octets: usize,
        /// The first of them.
        head: Vec<u8>,
    },
    /// An element that nobody here knows.
    UnknownElement {
        /// Its name.
        name: String,
    },
}
