//! The control plane: sessions, AAA, address pools, management API, driver.
