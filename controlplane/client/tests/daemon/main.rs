//! The client against the real control plane over UDP on loopback: logins, liveness, rekeys, suspend and resume, goodbye.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod gateway;
mod impostor;
mod mschapv2;
mod reconnect;
mod upkeep;
