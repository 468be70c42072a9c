//! Certificates: our own credential that signs, trusted authorities that verify (RFC 7296 §2.15, §3.6 to §3.8).

mod algorithm;
mod credential;
mod crl;
mod detached;
mod error;
mod leaf;
pub mod ocsp;
mod public_key;
mod revocation;
mod signed;
mod trust;

pub use algorithm::RsaHash;
pub use credential::{Credential, RsaPadding, SIGNATURE_HASHES};
pub use crl::{ListError, RevocationList, VerifiedList};
pub use detached::ProvenHolder;
pub use error::{AuthenticationError, CertError, CredentialError, SignError, SignatureError};
use public_key::PublicKey;
pub(crate) use public_key::{is_rsa_pss, key_name};
pub use revocation::{Issued, MAX_PLACES, RevocationPolicy, Status, StatusSource, UnknownStatus};
pub use trust::{CertUse, MAX_CHAIN, ProvenIdentity, TrustStore, VerifiedCertificate};

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod revocation_tests;
#[cfg(test)]
mod tests;
