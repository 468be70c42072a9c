//! EAP methods, server and peer, sans-IO (RFC 3748, as RFC 7296 §2.16 carries them).
//!
//! Enters: EAP packets of the other side, the users' NT hashes, randomness as plain arguments. Leaves: the next EAP packet,
//! or the outcome with the MSK. Nothing here knows a clock, a socket, a thread or a file.
//!
//! [`EapServer`] is the gateway's side: Identity, then a method of [`server::METHODS`], which the client may refuse with a
//! Nak. [`EapPeer`] is the client's side, for tests and the load generator. A user counts as logged in only with an
//! [`Authenticated`] in hand, and only a method that verified the peer's proof makes one.

pub mod anyconnect;
pub mod mschapv2;
mod outcome;
pub mod packet;
pub mod peer;
pub mod server;

pub use mschapv2::crypto::NtHash;
pub use outcome::{Authenticated, DiscardReason, FailureReason, Msk};
pub use packet::{EapType, Packet, PacketError};
pub use peer::{EapPeer, PeerConfig, PeerStep};
pub use server::{Credentials, EapServer, ServerConfig, ServerRandom, Step};
