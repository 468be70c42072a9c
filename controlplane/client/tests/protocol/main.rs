//! The client's protocol against the gateway's, both sans-IO: logins by AnyConnect-EAP, resumes by token, packets.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod login;
mod resume;
mod storms;
mod world;
