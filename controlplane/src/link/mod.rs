//! The link to the data plane: what it should hold ([`ledger`]) and how it is told.

pub mod ledger;
