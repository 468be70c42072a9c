//! Algorithms and their negotiation: proposals as operators write them, suites as both sides agree on them.

mod algorithm;
mod kem;
mod proposal;
mod select;

pub use algorithm::{AEAD_SALT_LEN, Cipher, ESN_EXTENDED, ESN_NONE, Group, Integ, Prf, TRANSFORM_NONE};
pub use kem::{Kem, Kems, MAX_ADDITIONAL_KES};
pub use proposal::{EspProposal, EspSuite, IkeProposal, IkeSuite, ProposalError};
pub use select::{
    ChildKe, EspChoice, EspPolicy, IkeChoice, IkeStage, SelectError, accept_esp_answer, accept_ike_answer,
    select_esp, select_ike,
};

#[cfg(test)]
mod tests;
