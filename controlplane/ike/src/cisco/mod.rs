//! What Cisco's clients do beyond the standard: vendor ids, the AnyConnect identity, fragments in the clear.
//!
//! Enters: vendor id payloads and identities of a client. Leaves: what it is, and what we announce to it in turn.

mod fragment;
mod vendor;

pub use fragment::{
    CiscoFragments, MAX_CISCO_FRAGMENTS, MAX_CISCO_MESSAGE, MAX_SETS_PER_SOURCE, MAX_WAITING_OCTETS, Pushed,
    SET_LIFETIME_MS, cut, is_cisco_fragment,
};
pub use vendor::{ANYCONNECT_IDENTITY, VendorId};
pub(crate) use vendor::{Announced, announcement, is_anyconnect};
