//! The control plane: sessions, AAA, address pools, management API, driver.

pub mod aaa;
pub mod access;
pub mod api;
pub mod clock;
pub mod continuity;
pub mod counters;
pub mod daemon;
pub mod debug;
pub mod driver;
pub mod keys;
pub mod link;
pub mod pool;
pub mod reconnect;
pub mod revocation;
pub mod sessions;
pub mod setup;
pub mod slots;
pub mod store;
pub mod tickets;
pub mod watch;
