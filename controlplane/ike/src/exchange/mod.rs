//! The exchanges of RFC 7296 and its extensions, one file each.

pub(crate) mod admission;
pub(crate) mod agreed;
pub(crate) mod authenticated;
pub(crate) mod child_rekey;
pub(crate) mod closing;
pub(crate) mod config;
pub(crate) mod create_child;
pub(crate) mod eap;
pub(crate) mod eap_only;
pub(crate) mod follow_up;
pub(crate) mod ike_auth;
pub(crate) mod ike_rekey;
pub(crate) mod ike_sa_init;
pub(crate) mod informational;
pub(crate) mod intermediate;
pub(crate) mod mobility;
pub(crate) mod opening;
pub(crate) mod redirect;
pub(crate) mod session_resume;
pub(crate) mod ticket;
pub(crate) mod upkeep;
