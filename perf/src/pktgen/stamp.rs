//! What a driven device must bring back: each packet carries its number and the time it was sent.
//!
//! Enters: payloads that were sent and payloads that came back. Leaves: loss, duplicates, reordering (RFC 4737 §3: a packet
//! whose number is below one that arrived before it), latency.

use hdrhistogram::Histogram;

use crate::Failure;

/// Octets of a stamp.
pub const STAMP_LEN: usize = 20;
const MAGIC: u16 = 0xca05;
/// Highest latency that is told apart, nanoseconds.
const LONGEST_NS: u64 = 10_000_000_000;
const WORD_BITS: u64 = 64;

/// In each packet's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The trial, so that a late packet is not counted in the next.
    pub trial: u16,
    /// From 0 on.
    pub number: u64,
    /// When it was sent.
    pub tsc: u64,
}

impl Stamp {
    /// As octets.
    pub fn to_bytes(self) -> [u8; STAMP_LEN] {
        let mut octets = [0; STAMP_LEN];
        octets[..2].copy_from_slice(&MAGIC.to_be_bytes());
        octets[2..4].copy_from_slice(&self.trial.to_be_bytes());
        octets[4..12].copy_from_slice(&self.number.to_be_bytes());
        octets[12..].copy_from_slice(&self.tsc.to_be_bytes());
        octets
    }

    /// The stamp that a payload begins with.
    pub fn parse(payload: &[u8]) -> Option<Stamp> {
        let (magic, rest) = payload.split_first_chunk()?;
        let (trial, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (tsc, _) = rest.split_first_chunk()?;
        (u16::from_be_bytes(*magic) == MAGIC).then(|| Stamp {
            trial: u16::from_be_bytes(*trial),
            number: u64::from_be_bytes(*number),
            tsc: u64::from_be_bytes(*tsc),
        })
    }
}

/// What came back in one trial.
pub struct Tally {
    trial: u16,
    tsc_per_ns: f64,
    /// A bit for each packet of the trial.
    seen: Vec<u64>,
    expected: u64,
    /// One above the highest number that arrived.
    next: u64,
    /// Different packets that came back.
    pub received: u64,
    /// Packets that came back again.
    pub duplicates: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Frames that are not of this trial.
    pub foreign: u64,
    /// Nanoseconds from sending to receiving.
    pub latency: Histogram<u64>,
}

impl Tally {
    /// For a trial of `expected` packets.
    ///
    /// # Errors
    /// Never with the bounds used here; the histogram says so by an error.
    pub fn new(trial: u16, expected: u64, tsc_hz: f64) -> Result<Tally, Failure> {
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3)
            .map_err(|error| Failure::Usage(format!("histogram: {error}")))?;
        Ok(Tally {
            trial,
            tsc_per_ns: tsc_hz / 1e9,
            seen: vec![0; expected.div_ceil(WORD_BITS) as usize],
            expected,
            next: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            foreign: 0,
            latency,
        })
    }

    /// Counts a frame that came back at `now`; none stands for one without a stamp.
    pub fn add(&mut self, stamp: Option<Stamp>, now: u64) {
        let of_trial = stamp.filter(|stamp| stamp.trial == self.trial && stamp.number < self.expected);
        let Some(stamp) = of_trial else {
            self.foreign += 1;
            return;
        };
        let bit = 1 << (stamp.number % WORD_BITS);
        let Some(word) = self.seen.get_mut((stamp.number / WORD_BITS) as usize) else { return };
        if *word & bit != 0 {
            self.duplicates += 1;
            return;
        }
        *word |= bit;
        self.received += 1;
        if stamp.number < self.next {
            self.reordered += 1;
        } else {
            self.next = stamp.number + 1;
        }
        self.latency.saturating_record((now.saturating_sub(stamp.tsc) as f64 / self.tsc_per_ns) as u64);
    }

    /// Whether every packet is back.
    pub fn is_complete(&self) -> bool {
        self.received == self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_wire_and_other_payloads_are_none() {
        let stamp = Stamp { trial: 7, number: u64::MAX - 1, tsc: 1 << 50 };
        assert_eq!(Stamp::parse(&[&stamp.to_bytes()[..], &[0xa5; 9]].concat()), Some(stamp));
        assert_eq!(Stamp::parse(&stamp.to_bytes()[..STAMP_LEN - 1]), None);
        assert_eq!(Stamp::parse(&[0xa5; 64]), None);
    }

    #[test]
    fn loss_duplicates_and_reordering_are_told_apart() {
        for (arrivals, received, duplicates, reordered) in [
            (&[0, 1, 2, 3][..], 4, 0, 0),
            (&[0, 2, 1, 3], 4, 0, 1),
            (&[3, 0, 1, 2], 4, 0, 3),
            (&[0, 0, 1, 0], 2, 2, 0),
            (&[0, 3], 2, 0, 0),
        ] {
            let mut tally = Tally::new(1, 4, 1e9).unwrap();
            for &number in arrivals {
                tally.add(Some(Stamp { trial: 1, number, tsc: 100 }), 350);
            }
            assert_eq!(
                (tally.received, tally.duplicates, tally.reordered),
                (received, duplicates, reordered)
            );
            assert_eq!(tally.is_complete(), received == 4);
            assert_eq!(tally.latency.max(), 250);
            tally.add(Some(Stamp { trial: 0, number: 0, tsc: 0 }), 9);
            tally.add(Some(Stamp { trial: 1, number: 4, tsc: 0 }), 9);
            tally.add(None, 9);
            assert_eq!((tally.foreign, tally.received), (3, received));
        }
    }
}
