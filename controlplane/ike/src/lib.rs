//! The IKEv2 protocol, sans-IO (RFC 7296).

pub mod cert;
pub mod crypto;
pub mod ident;
pub mod suite;
pub mod wire;
