//! Sessions that go on when the control plane is killed: what is stored of each, and what may not leave before it is.
//!
//! Enters: IKE snapshots and Child SAs of sessions that are up. Leaves: their stored form ([`Kept`]), the moment from
//! which a datagram may leave ([`Gate`]: a peer is told nothing that a restart would forget, so no message ID and no IV
//! is used twice, RFC 7296 §2.1 to §2.3), and sequence numbers that no Child SA has reached ([`Floor`]). The driver does
//! the rest: `driver/continuity.rs` saves, `driver/restore.rs` takes up. docs/store.md draws it.

mod floor;
mod gate;
mod kept;

pub use floor::{BLOCK, Floor, SWEEP};
pub use gate::{Gate, MAX_HELD, Ticket};
pub use kept::{Kept, KeptSa, Unreadable};

/// Names this run of the machine: a session goes on only in the run in which it was stored. `None` where the system does
/// not tell.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
