//! The IKEv2 protocol, sans-IO (RFC 7296).
//!
//! [`Endpoint`] is the responder: inputs in, outputs out, see [`api`] for the contract with its driver. The message's
//! journey and the states are drawn in `docs/ike.md`.

pub mod api;
pub mod cert;
mod child;
pub mod cisco;
mod cookie;
pub mod counters;
pub mod crypto;
mod endpoint;
pub mod env;
mod error;
mod established;
mod exchange;
mod half_open;
pub mod ident;
pub mod job;
pub mod policy;
pub mod ppk;
mod sa;
mod selected;
mod selectors;
mod snapshot;
mod state;
pub mod suite;
#[cfg(any(test, feature = "test-initiator"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod ticket;
pub mod time;
pub mod wire;
mod world;

pub use endpoint::{Endpoint, Held, MAX_STRAY_ANSWERS_PER_SEC};
pub use snapshot::{Mark, RestoreError};
