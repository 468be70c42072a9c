//! Whole-system simulation from one seed.
//!
//! Enters: a seed. Leaves: a report, or the story of how a promise was broken. [`world`] is where to begin reading; the
//! gateway's endpoint, AAA, pools and slots are the real ones, the clients are written for the simulation, and the network,
//! the data plane and the clock are models. `cargo run -p causeway-sim -- --seed N` prints the story of a seed.

pub mod agreement;
pub mod client;
pub mod faults;
pub mod gateway;
pub mod hostile;
pub mod net;
pub mod plane;
pub mod queue;
pub mod rng;
pub mod setup;
pub mod storm;
pub mod story;
pub mod world;

pub use world::{Report, Violation, run};
