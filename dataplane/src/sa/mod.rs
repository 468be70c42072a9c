//! SA tables of a worker: inbound by SPI, outbound by the client's inner address.

use causeway_shared::sa::{Ipv4Prefix, SaPair};
use causeway_shared::wire::AckStatus;

/// One Child SA pair as its owner worker keeps it.
pub struct WorkerSa {
    inbound_spi: u32,
}

impl WorkerSa {
    /// Expands keys and prebuilds headers; runs on the manager's thread.
    ///
    /// # Errors
    /// `OutOfRange` when a value is one that the data plane cannot use.
    pub fn new(pair: &SaPair) -> Result<Box<WorkerSa>, AckStatus> {
        Ok(Box::new(WorkerSa { inbound_spi: pair.inbound_spi }))
    }

    /// SPI of packets to us.
    pub fn inbound_spi(&self) -> u32 {
        self.inbound_spi
    }
}

/// One pool: an array from address offset to SA.
pub struct PoolMap {
    range: Ipv4Prefix,
}

impl PoolMap {
    /// An empty pool; runs on the manager's thread.
    ///
    /// # Errors
    /// `OutOfRange` when the range is too large.
    pub fn new(range: Ipv4Prefix) -> Result<Box<PoolMap>, AckStatus> {
        Ok(Box::new(PoolMap { range }))
    }

    /// Its range.
    pub fn range(&self) -> Ipv4Prefix {
        self.range
    }
}

/// Every table of a worker that commands change.
pub struct Tables {
    sa_capacity: u32,
}

impl Tables {
    /// Empty tables; runs on the manager's thread.
    pub fn new(sa_capacity: u32) -> Box<Tables> {
        Box::new(Tables { sa_capacity })
    }

    /// Slots of the SA table.
    pub fn sa_capacity(&self) -> u32 {
        self.sa_capacity
    }
}
