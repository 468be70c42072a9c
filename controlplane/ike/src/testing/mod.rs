//! A minimal but real initiator, for tests of the responder here, of the daemon and of whole systems.
//!
//! Enters: a configuration, datagrams. Leaves: datagrams, and what came of it. It shares the codec, suites and crypto
//! with the responder, but none of its state machine, windows or bookkeeping, so that both do not err alike.
//! Only for tests: no timers, no limits, no defence against its gateway.

pub mod fuzzed;
mod initiator;
mod ppk;
mod random;
mod sa;

pub use initiator::{
    Arrange, AuthWith, ClientChild, EapPeer, Initiator, InitiatorConfig, InitiatorTicket, Notable, Outgoing,
    TestError,
};
pub use ppk::InitiatorPpk;
pub use random::Seeded;
