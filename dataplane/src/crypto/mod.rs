//! The ESP crypto engine: sealed packets to opened ones and back, a burst at a time, across SAs with different keys.
//!
//! Enters: whole ESP packets (SPI to ICV) and the key of each one's SA. Leaves: the same octets decrypted or sealed in
//! place. RFC 4303 §3.2 and §3.3.2.2 (ESN in the ICV), RFC 4106 (AES-GCM), RFC 7634 (ChaCha20-Poly1305), RFC 3602 (AES-CBC), RFC 4868 (HMAC-SHA2).

mod aws_lc;
mod engine;
mod lookaside;
mod portable;
mod self_test;
#[cfg(test)]
mod vectors;
mod wide;

use causeway_shared::sa::{EspKeys, EspSuite};

pub use aws_lc::AwsLc;
pub use causeway_kernels::{ESP_HEADER_LEN, MAX_ITEMS, OpenJob, SealJob, View};
pub use engine::{Engine, EngineError, EngineKind, InboundKey, OutboundKey, choose};
#[cfg(test)]
pub(crate) use lookaside::PATIENCE_TICKS;
pub use lookaside::{DeviceKey, Line, failed_device, start as start_device};
pub(crate) use lookaside::{Kind, Waiting, shorten};
pub use portable::Portable;
pub use self_test::{SelfTestError, self_test};
pub use wide::Wide;

/// What an engine must do. A worker owns one.
pub trait EspEngine {
    /// Key of one inbound SA.
    type InboundKey;
    /// Key of one outbound SA.
    type OutboundKey;

    /// Prepares the key of an inbound SA; runs on the manager's thread.
    ///
    /// # Errors
    /// When the library refuses it.
    fn setup_inbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<Self::InboundKey, SetupError>;

    /// Prepares the key of an outbound SA; runs on the manager's thread.
    ///
    /// # Errors
    /// When the library refuses it, or gives no random octets for the key that IVs come from.
    fn setup_outbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<Self::OutboundKey, SetupError>;

    /// Verifies each packet's ICV in constant time and, only where it is right, decrypts what lies between IV and ICV.
    fn open_burst(&mut self, jobs: &mut [OpenJob<'_, Self::InboundKey>]);

    /// Writes each packet's IV, encrypts what lies between IV and ICV, and writes the ICV.
    fn seal_burst(&mut self, jobs: &mut [SealJob<'_, Self::OutboundKey>]);
}

/// The library refused a key or gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library refused to set up a key of {0}")]
pub struct SetupError(pub EspSuite);
