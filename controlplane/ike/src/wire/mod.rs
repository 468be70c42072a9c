//! The IKEv2 wire format (RFC 7296 §3, RFC 7383): octets in, typed messages out, and back.
//!
//! [`Incoming::parse`] takes a datagram; [`rules::check`] says whether a message's payloads fit its exchange;
//! [`Message`] is written with `emit_clear`, `seal` or `seal_fragments`.

mod auth;
mod cert;
mod codec;
mod content;
mod cp;
mod delete;
mod error;
mod fragment;
mod header;
mod id;
mod ke;
mod message;
mod nonce;
mod notify;
mod payload;
mod registry;
pub mod rules;
mod sa;
mod ts;

pub use auth::Auth;
pub use cert::{CA_HASH_LEN, Cert, CertReq};
pub use content::Content;
pub use cp::{CfgAttribute, Configuration, MAX_CFG_ATTRIBUTES};
pub use delete::{Delete, MAX_DELETE_SPIS};
pub use error::WireError;
pub use fragment::{FRAGMENT_HEADER_LEN, MAX_FRAGMENTS, Reassembly};
pub use header::{HEADER_LEN, Header, IkeSpi, MAJOR_VERSION};
pub use id::Identification;
pub use ke::{Ke, MAX_KE_DATA};
pub use message::{
    Encrypted, EncryptedFragment, Incoming, MAX_MESSAGE, Message, OpenError, OpenedFragment, SealError,
};
pub use nonce::{MAX_NONCE, MIN_NONCE, Nonce};
pub use notify::Notify;
pub use payload::{MAX_PAYLOADS, PAYLOAD_HEADER_LEN, Payload, emit_payloads, parse_payloads};
pub use registry::{
    AuthMethod, CertEncoding, CfgAttributeType, CfgType, ExchangeType, NotifyType, PayloadType, ProtocolId,
    SignatureHash, TransformType,
};
pub use sa::{Attribute, AttributeValue, MAX_ATTRIBUTES, MAX_PROPOSALS, Proposal, Sa, Transform};
pub use ts::{AddressRange, TrafficSelector, TsRange};

#[cfg(test)]
mod tests;
