//! Tests of the stores: their contract, on each of them; and what is special about the disk.

mod contract;
mod crash;
mod disk;
mod group;
mod model;
pub(super) mod support;
