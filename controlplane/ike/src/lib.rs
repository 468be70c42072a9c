//! The IKEv2 protocol, sans-IO (RFC 7296).
