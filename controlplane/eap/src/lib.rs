//! EAP methods, server and peer, sans-IO (RFC 3748, as RFC 7296 §2.16 carries them).
//!
//! Enters: EAP packets of the other side, the users' NT hashes, randomness as plain arguments. Leaves: the next EAP packet,
//! or the outcome with the MSK. Nothing here knows a clock, a socket, a thread or a file.
//!
//! [`EapServer`] is the gateway's side: Identity, then a method of [`ServerConfig::methods`], which the client may refuse with
//! a Nak: MSCHAPv2, GTC, MD5, or TLS, TTLS and PEAP, whose TLS is rustls. [`EapPeer`] is the client's side, for tests and the load generator. A user counts as logged in only with an
//! [`Authenticated`] in hand, and only a method that verified the peer's proof makes one.

pub mod anyconnect;
#[cfg(test)]
mod dialogues;
mod gtc;
mod md5;
pub mod mschapv2;
mod outcome;
pub mod packet;
pub mod peer;
pub mod server;
pub mod tls;
pub mod tunnel;

pub use mschapv2::crypto::NtHash;
pub use outcome::{Authenticated, DiscardReason, FailureReason, Msk};
pub use packet::{EapType, Packet, PacketError};
pub use peer::{EapPeer, PeerConfig, PeerMethod, PeerStep, TtlsPeerInner};
pub use server::{Credentials, EapServer, ServerConfig, ServerRandom, Step, TlsSettings};
pub use tls::peer::PeerTls;
pub use tunnel::{Binding, TtlsInner};
