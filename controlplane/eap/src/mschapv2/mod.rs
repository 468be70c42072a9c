//! EAP-MSCHAPv2: MS-CHAPv2 (RFC 2759) in the EAP frame of draft-kamath-pppext-eap-mschapv2, with MSK after RFC 3079.
//!
//! Enters: EAP Type-Data, NT hashes, challenges. Leaves: Type-Data, and the proof of login.

pub mod crypto;
pub mod framing;
pub(crate) mod peer;
pub(crate) mod server;
