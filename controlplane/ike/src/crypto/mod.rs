//! Cryptography of IKEv2 over aws-lc-rs: prf, key exchange, key schedule, protection of SK payloads.
//!
//! Randomness comes in as [`Random`]. Secrets are wiped when dropped, have no `Debug`, and are compared in constant time.

mod error;
mod int_auth;
mod ke;
mod kem;
mod keys;
mod modp;
mod nat;
mod prf;
mod random;
mod rsa_sha1;
mod secret;
mod sk;

pub use error::CryptoError;
pub use int_auth::IntAuth;
pub use ke::{KePrivate, SharedSecret};
pub use kem::{KemPrivate, encapsulate};
pub use keys::{
    ChildKeymat, ExchangeValues, IkeKeys, Role, resumption_auth, shared_key_auth, verify_shared_key_auth,
};
pub use nat::{NAT_HASH_LEN, nat_detection_hash};
pub use prf::{prf, prf_plus};
pub use random::{Random, SystemRandom};
pub(crate) use rsa_sha1::RsaSha1Signer;
pub use secret::{Secret, same};
pub use sk::{SkOpener, SkSealer};

#[cfg(test)]
pub(crate) mod testing;
