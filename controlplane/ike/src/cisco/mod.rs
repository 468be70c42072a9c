//! What Cisco's clients do beyond the standard: vendor ids, the AnyConnect identity, fragments in the clear.
//!
//! Enters: vendor id payloads and identities of a client. Leaves: what it is, and what we announce to it in turn.

mod vendor;

pub use vendor::{ANYCONNECT_IDENTITY, VendorId};
pub(crate) use vendor::{Announced, announcement, is_anyconnect};
