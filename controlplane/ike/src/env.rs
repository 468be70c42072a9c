//! What a state machine may ask while it handles one input: randomness, child SPIs and the data plane's clock readings.
//!
//! Enters: nothing. Leaves: values that a test can fix from a seed. All calls return at once; whatever takes time is a
//! [`crate::api::Job`].

use crate::time::Instant;

/// Answers that must be there at once.
pub trait Env {
    /// Fills `buffer` from a cryptographic random number generator.
    fn random(&mut self, buffer: &mut [u8]);

    /// Takes a free inbound ESP SPI (256 or above, unused, its slot reserved). `None` when the SA table is full.
    fn allocate_spi(&mut self) -> Option<u32>;

    /// Gives back an SPI for which no `InstallChild` job was ever issued. (An installed one is given back by the driver
    /// after [`crate::api::ChildCommand::Remove`] has been performed.)
    fn free_spi(&mut self, inbound_spi: u32);

    /// When the data plane last accepted an ESP packet on this SA, if it knows: asked when a liveness check is due, so
    /// that a peer whose traffic flows is not asked (RFC 7296 §2.4).
    fn last_inbound(&mut self, inbound_spi: u32) -> Option<Instant>;
}
