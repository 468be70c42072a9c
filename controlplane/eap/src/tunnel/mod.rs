//! What is said inside of the TLS session of TTLS (RFC 5281) and PEAP version 0 ([MS-PEAP]).
//!
//! Enters: decrypted octets, the credential store. Leaves: octets to protect, and who was verified how.

pub mod avp;
mod binding;
mod peap;
pub mod tlv;
mod ttls;

pub use binding::Binding;
pub(crate) use peap::{PeapInside, PeapPeer};
pub use ttls::TtlsInner;
pub(crate) use ttls::{TtlsInside, TtlsPeer};
