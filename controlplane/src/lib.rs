//! The control plane: sessions, AAA, address pools, management API, driver.

pub mod aaa;
pub mod link;
pub mod pool;
pub mod slots;
