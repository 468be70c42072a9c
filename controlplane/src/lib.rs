//! The control plane: sessions, AAA, address pools, management API, driver.

pub mod link;
pub mod slots;
