//! What the endpoint may ask while it handles one input: randomness, inbound SPIs, the data plane's clock readings.

use std::time::Duration;

use causeway_ike::env::Env;
use causeway_ike::time::Instant;

use crate::link::Link;
use crate::slots::Slots;

/// The driver's answers, for one input.
pub(super) struct DriverEnv<'a, L> {
    pub(super) now: Duration,
    pub(super) slots: &'a mut Slots,
    pub(super) link: &'a L,
}

impl<L: Link> Env for DriverEnv<'_, L> {
    fn random(&mut self, buffer: &mut [u8]) {
        fill_random(buffer);
    }

    fn allocate_spi(&mut self) -> Option<u32> {
        let mut random = [0; 4];
        fill_random(&mut random);
        self.slots.allocate(self.now, u32::from_ne_bytes(random)).ok()
    }

    fn free_spi(&mut self, inbound_spi: u32) {
        self.slots.release(self.now, inbound_spi);
    }

    fn last_inbound(&mut self, inbound_spi: u32) -> Option<Instant> {
        self.link.traffic(inbound_spi)?.last_inbound_ms.map(Instant::from_millis)
    }
}

/// Octets that nobody can predict.
pub(crate) fn fill_random(buffer: &mut [u8]) {
    // The generator is seeded at start and has no way to fail on Linux; keys and nonces from a broken one must not leave.
    if aws_lc_rs::rand::fill(buffer).is_err() {
        tracing::error!("no randomness");
        std::process::abort();
    }
}

/// An array of octets that nobody can predict.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    fill_random(&mut octets);
    octets
}
