//! Candidates measured side by side: interleaved windows far shorter than a scheduler's slice, of which the tenth
//! percentile counts. A machine that others use disturbs a few windows, not the tenth percentile of thousands.

use causeway_kernels::clock::{core_per_tsc, tsc_ordered};

/// Something that works on a burst.
pub struct Candidate<'a> {
    /// Prepares a burst, which is not measured, or works on it.
    pub run: Box<dyn FnMut(Phase) + 'a>,
}

/// What a candidate is called for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Put packets back as they came.
    Prepare,
    /// Work.
    Work,
}

/// Core cycles per packet of every candidate, in their order.
pub fn cycles_per_packet(candidates: &mut [Candidate<'_>], packets: usize, windows: usize) -> Vec<f64> {
    let mut ticks: Vec<Vec<u64>> = vec![Vec::with_capacity(windows); candidates.len()];
    let mut clocks = Vec::new();
    for window in 0..windows {
        for (candidate, ticks) in candidates.iter_mut().zip(&mut ticks) {
            (candidate.run)(Phase::Prepare);
            let start = tsc_ordered();
            (candidate.run)(Phase::Work);
            ticks.push(tsc_ordered() - start);
        }
        if window % (windows / 4).max(1) == 0 {
            clocks.push(core_per_tsc());
        }
    }
    let clock = clocks.iter().copied().fold(0.0, f64::max);
    let tenth = |ticks: &mut Vec<u64>| {
        ticks.sort_unstable();
        ticks[ticks.len() / 10] as f64 * clock / packets as f64
    };
    ticks.iter_mut().map(tenth).collect()
}
