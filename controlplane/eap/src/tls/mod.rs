//! TLS inside EAP: fragments, the TLS session between buffers, keys (RFC 5216, RFC 9190, RFC 9427).
//!
//! Enters: Type-Data of EAP packets of a TLS-based method, a rustls configuration. Leaves: Type-Data, decrypted octets, keys. The
//! TLS is rustls; it sees octets only.

pub mod fragments;
pub(crate) mod keys;
pub mod peer;
pub(crate) mod server;
pub(crate) mod session;
#[cfg(test)]
pub(crate) mod testing;
