//! Byte and packet limits of an SA, and which passing of them was announced (RFC 7296 §2.8: soft to rekey, hard to end).
//!
//! Enters: one direction's figures. Leaves: notices, and how many packets may follow before it is worth looking again, so
//! that the packet path looks here once in thousands of packets.

use causeway_shared::sa::SaLimits;

/// Octets that no inner packet exceeds.
const LARGEST_PACKET: u64 = u16::MAX as u64;

/// Limits of an SA and what was announced of them. Each direction counts for itself.
pub struct Lifetime {
    limits: SaLimits,
    soft_announced: bool,
    hard_announced: bool,
    first_inbound_announced: bool,
    hard: bool,
}

/// What to announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// A soft limit was passed.
    Soft,
    /// A hard limit was passed.
    Hard,
    /// The first packet came in.
    FirstInbound,
}

impl Lifetime {
    pub(super) fn new(limits: SaLimits) -> Lifetime {
        Lifetime {
            limits,
            soft_announced: false,
            hard_announced: false,
            first_inbound_announced: false,
            hard: false,
        }
    }

    /// Whether the SA may carry no more packets.
    pub fn is_over(&self) -> bool {
        self.hard
    }

    /// The SA may carry no more packets (its sequence numbers are used up).
    pub(super) fn end(&mut self) {
        self.hard = true;
    }

    /// Looks at one direction's figures; answers with a notice that was not yet [announced](Lifetime::announced).
    pub(super) fn after(&mut self, packets: u64, bytes: u64, scarce: bool) -> Option<Notice> {
        let passed = |limit: u64, value: u64| limit != 0 && value >= limit;
        self.hard |= passed(self.limits.hard_packets, packets) || passed(self.limits.hard_bytes, bytes);
        if self.hard {
            return (!self.hard_announced).then_some(Notice::Hard);
        }
        let soft =
            scarce || passed(self.limits.soft_packets, packets) || passed(self.limits.soft_bytes, bytes);
        (soft && !self.soft_announced).then_some(Notice::Soft)
    }

    /// How many packets, of whatever size, may follow these figures before [`Lifetime::after`] can have anything new to
    /// say. `until_scarce`: packets before the sequence numbers become scarce.
    pub(super) fn quiet_packets(&self, packets: u64, bytes: u64, until_scarce: u64) -> u16 {
        let below = |limit: u64, value: u64, each: u64| match limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(value).saturating_sub(1) / each,
        };
        let limits = &self.limits;
        let hard =
            below(limits.hard_packets, packets, 1).min(below(limits.hard_bytes, bytes, LARGEST_PACKET));
        let soft =
            below(limits.soft_packets, packets, 1).min(below(limits.soft_bytes, bytes, LARGEST_PACKET));
        let soft = if self.soft_announced { u64::MAX } else { soft.min(until_scarce) };
        u16::try_from(hard.min(soft)).unwrap_or(u16::MAX)
    }

    /// Whether the first inbound packet is still to be announced.
    pub(super) fn first_inbound(&self) -> Option<Notice> {
        (!self.first_inbound_announced).then_some(Notice::FirstInbound)
    }

    /// The notice is on its way and need not be repeated.
    pub(super) fn announced(&mut self, notice: Notice) {
        match notice {
            Notice::Soft => self.soft_announced = true,
            Notice::Hard => self.hard_announced = true,
            Notice::FirstInbound => self.first_inbound_announced = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0u64), 1u64..60, 1u64..3_000_000]
    }

    proptest! {
        #[test]
        fn nothing_is_missed_by_not_looking(
            limits in (limit(), limit(), limit(), limit()), announced: bool,
            sizes in prop::collection::vec(1u64..=65_535, 1..80),
        ) {
            let limits = SaLimits {
                soft_packets: limits.0, hard_packets: limits.1, soft_bytes: limits.2, hard_bytes: limits.3,
            };
            let mut always = Lifetime::new(limits);
            always.soft_announced = announced;
            let mut seldom = Lifetime::new(limits);
            seldom.soft_announced = announced;
            let (mut packets, mut bytes, mut quiet) = (0, 0, 0);
            for size in sizes {
                packets += 1;
                bytes += size;
                let expected = always.after(packets, bytes, false);
                let seen = if quiet == 0 { seldom.after(packets, bytes, false) } else { None };
                prop_assert_eq!(seen, expected);
                if let Some(notice) = expected {
                    always.announced(notice);
                    seldom.announced(notice);
                }
                quiet = if quiet == 0 { seldom.quiet_packets(packets, bytes, u64::MAX) } else { quiet - 1 };
                prop_assert_eq!(always.is_over(), seldom.is_over());
            }
        }
    }
}
