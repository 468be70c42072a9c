//! Sequence numbers of a Child SA that cannot have been used yet, stored in blocks.
//!
//! Enters: how far the data plane has come. Leaves: numbers above that, good until the SA has used up half a block. If both
//! daemons die, the segment with the exact numbers is gone; an SA that is installed again goes on from here: no IV
//! comes twice, and every packet that was ever accepted counts as a replay (RFC 4303 §2.2, §3.4.3).

use std::time::Duration;

use causeway_shared::sa::SaPair;

use crate::link::ledger::SequenceState;

/// Numbers of a block.
pub const BLOCK: u64 = 1 << 27;
/// How often floors are compared with what is used: half a block in that time would be 22 million packets a second
/// over one SA.
pub const SWEEP: Duration = Duration::from_secs(3);

/// Where an SA would go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floor {
    /// No packet has left with this number or a higher one.
    pub outbound: u64,
    /// No packet came in with this number or a higher one.
    pub inbound: u64,
}

impl Floor {
    /// A block above what is used.
    pub fn above(used: SequenceState) -> Floor {
        Floor {
            outbound: used.outbound_reserved_end.saturating_add(BLOCK),
            inbound: used.highest_inbound.saturating_add(BLOCK),
        }
    }

    /// Whether half a block is used up, so that the next one is to be stored.
    pub fn is_near(self, used: SequenceState) -> bool {
        self.outbound.saturating_sub(used.outbound_reserved_end) < BLOCK / 2
            || self.inbound.saturating_sub(used.highest_inbound) < BLOCK / 2
    }

    /// The SA as it is installed again if nothing else is known of it.
    pub fn apply(self, pair: &mut SaPair) {
        let most = if pair.esn { u64::MAX } else { u64::from(u32::MAX) };
        pair.first_outbound_sequence = pair.first_outbound_sequence.max(self.outbound).min(most);
        pair.highest_inbound_sequence = pair.highest_inbound_sequence.max(self.inbound).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_holds_for_half_a_block() {
        let used =
            |outbound_reserved_end, highest_inbound| SequenceState { outbound_reserved_end, highest_inbound };
        let floor = Floor::above(used(1000, 7));
        assert_eq!((floor.outbound, floor.inbound), (1000 + BLOCK, 7 + BLOCK));
        assert!(!floor.is_near(used(1000 + BLOCK / 2, 7)) && !floor.is_near(used(0, 0)));
        assert!(floor.is_near(used(1001 + BLOCK / 2, 7)));
        assert!(floor.is_near(used(1000, 8 + BLOCK / 2)));
        assert!(Floor::above(used(u64::MAX, 0)).is_near(used(u64::MAX, 0)), "it ends at the end");
    }
}
