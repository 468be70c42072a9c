//! The daemon on loopback sockets: real handshakes of the test initiator, a real API socket.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod access;
mod api;
mod certificates;
mod client;
mod continuity;
mod debug;
mod faults;
mod gateway;
mod http;
mod keys;
mod limits;
mod operator;
mod reconnect;
mod sessions;
mod tickets;
