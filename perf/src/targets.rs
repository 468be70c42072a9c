//! What the data plane is held to: ratios against the peer on one core, and the share of the instruction floor.

use causeway_kernels::cbc::{self, Hash};
use causeway_kernels::floor;
use causeway_shared::net::ethernet;

use crate::cell::{Cell, Size, Suite};

/// The least ratio (peer over ours) that was promised for a cell; none for sizes without a promise.
pub fn ratio(cell: Cell) -> Option<f64> {
    let [small, middle, large, imix] = match cell.suite {
        Suite::Aes128Gcm | Suite::Aes256Gcm => [2.5, 1.8, 1.45, 2.0],
        Suite::Aes256CbcSha384 => [1.7, 1.3, 1.15, 1.4],
        Suite::Aes256CbcSha256 => [1.8, 1.3, 1.1, 1.4],
    };
    match cell.size {
        Size::Fixed(64) => Some(small),
        Size::Fixed(512) => Some(middle),
        Size::Fixed(1420) => Some(large),
        Size::Imix => Some(imix),
        Size::Fixed(_) => None,
    }
}

/// The least share of the instruction floor that was promised for a cell.
pub fn floor_share(cell: Cell) -> Option<f64> {
    (cell.suite.esp().is_aead() && cell.size == Size::Fixed(1420)).then_some(0.65)
}

/// Core cycles that the instructions of cipher and hash alone take this processor for a packet of the cell, of which nothing
/// else can take away; none where the processor has no known floor.
pub fn floor_cycles(cell: Cell) -> Option<f64> {
    floor::throughput()?;
    let esp = cell.suite.esp();
    let hash = match cell.suite {
        Suite::Aes128Gcm | Suite::Aes256Gcm => None,
        Suite::Aes256CbcSha256 => Some(Hash::Sha256),
        Suite::Aes256CbcSha384 => Some(Hash::Sha384),
    };
    let period = cell.size.period();
    let cycles = |index| {
        let inner = cell.size.of(index) - ethernet::HEADER_LEN;
        let text_len = (inner + 2).next_multiple_of(esp.pad_align());
        match hash {
            None => floor::gcm_cycles(esp.cipher_key_len(), text_len),
            Some(hash) => cbc::floor_cycles(esp.cipher_key_len(), hash, text_len),
        }
    };
    Some((0..period).map(cycles).sum::<f64>() / period as f64)
}
