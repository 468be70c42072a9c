//! What a run adds up to: the cost of a packet from windows of a fraction of a millisecond, and latency at a given rate.
//!
//! A window that the scheduler interrupted is dearer by thousands of cycles a packet, and so are those after it, whose caches are
//! cold. Nothing makes a window cheaper than the code is, so on a busy machine the cheapest tenth of hundreds of windows says what
//! a packet costs, and the median what it cost here and now; both are told. Latency is computed, not timed: packets arrive at the asked rate on a clock that only the measured cost of bursts
//! moves forward, wait in a queue as long as a port's, and are taken in bursts. So neither the making of frames nor other
//! programs on the machine are in it, and a rate that the path cannot carry shows as loss.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

/// Packets of a window.
const WINDOW_PACKETS: u64 = 256;
/// Packets that wait for the worker at most: a receive queue's descriptors.
pub const QUEUE: usize = 1024;
/// Highest latency that is told apart, nanoseconds.
const LONGEST_NS: u64 = 10_000_000_000;

/// Collects windows.
#[derive(Default)]
pub struct Windows {
    packets: u64,
    cycles: u64,
    /// TSC cycles of a packet in each full window.
    costs: Vec<f64>,
}

impl Windows {
    /// Adds a burst; answers the window's cost if it is full.
    pub fn add(&mut self, packets: u64, cycles: u64) -> Option<f64> {
        self.packets += packets;
        self.cycles += cycles;
        if self.packets < WINDOW_PACKETS {
            return None;
        }
        let cost = self.cycles as f64 / self.packets as f64;
        self.costs.push(cost);
        (self.packets, self.cycles) = (0, 0);
        Some(cost)
    }

    /// The cost that `part` of the windows do not exceed.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.costs.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * part) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// Arrivals at a rate, a bounded queue, a clock.
pub struct Line {
    /// TSC cycles between two arrivals.
    gap: f64,
    tsc_per_ns: f64,
    now: f64,
    next_arrival: f64,
    waiting: VecDeque<f64>,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
    /// Packets that found the queue full.
    pub lost: u64,
    /// All packets.
    pub offered: u64,
}

impl Line {
    /// A line with `mpps` million packets a second.
    pub fn new(mpps: f64, tsc_hz: f64) -> Option<Line> {
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3).ok()?;
        Some(Line {
            gap: tsc_hz / (mpps * 1e6),
            tsc_per_ns: tsc_hz / 1e9,
            now: 0.0,
            next_arrival: 0.0,
            waiting: VecDeque::with_capacity(QUEUE),
            latency,
            lost: 0,
            offered: 0,
        })
    }

    /// How many packets the worker finds when it looks, at most `most`; time goes on to the next arrival if there is none.
    pub fn take(&mut self, most: usize) -> usize {
        if self.waiting.is_empty() {
            self.now = self.now.max(self.next_arrival);
        }
        while self.next_arrival <= self.now {
            self.offered += 1;
            if self.waiting.len() < QUEUE {
                self.waiting.push_back(self.next_arrival);
            } else {
                self.lost += 1;
            }
            self.next_arrival += self.gap;
        }
        self.waiting.len().min(most)
    }

    /// The first `packets` of the queue are done after `cycles`.
    pub fn done(&mut self, packets: usize, cycles: u64) {
        self.now += cycles as f64;
        for arrival in self.waiting.drain(..packets.min(self.waiting.len())) {
            let ns = (self.now - arrival) / self.tsc_per_ns;
            self.latency.saturating_record(ns as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_window_moves_neither_the_median_nor_the_cheapest_tenth() {
        let mut windows = Windows::default();
        for window in 0..100 {
            for _ in 0..8 {
                let interrupted = if window % 10 == 0 { 1_000_000 } else { 0 };
                windows.add(32, 3200 + interrupted);
            }
        }
        assert_eq!((windows.quantile(0.1), windows.quantile(0.5)), (100.0, 100.0));
        assert!(windows.quantile(0.95) > 1000.0);
    }

    #[test]
    fn a_rate_below_the_capacity_loses_nothing_and_one_above_does() {
        // 1 GHz TSC, bursts cost 100 cycles a packet: 10 Mpps.
        for (mpps, loses) in [(5.0, false), (9.9, false), (10.5, true)] {
            let mut line = Line::new(mpps, 1e9).unwrap();
            while line.offered < 200_000 {
                let packets = line.take(32);
                line.done(packets, 100 * packets as u64);
            }
            assert_eq!(line.lost > 0, loses, "{mpps}");
            let p50 = line.latency.value_at_quantile(0.5);
            if mpps < 6.0 {
                assert!((100..400).contains(&p50), "{p50}");
            }
            if loses {
                assert!(p50 > 90_000, "{p50}");
            }
        }
    }
}
