//! Where a worker's cycles go: packets, calls and TSC cycles of each stage, and of the crypto engine within its stages.
//!
//! Enters: the path's reports, if it was made with a probe. Leaves: figures per stage. A path made without one has
//! [`NoProbe`], whose every method is empty: nothing of this is left in the daemon.
//!
//! In the daemon stages that need not wait for memory are called straight from the stage before them. [`Groups`] leaves
//! that so and accounts such a stage's cycles to the one whose burst it belongs to: their sum is what a packet costs.
//! [`Stages`] makes every stage gather its own burst, so that each can be looked at alone; that costs a few cycles more.

use causeway_dpdk::tsc;

use crate::counters::Counters;
use crate::path::STAGES;

/// What a path reports to.
pub trait Probe {
    /// Whether every stage gathers a burst of its own.
    const SPLIT: bool = false;

    /// A moment.
    #[inline(always)]
    fn now(&self) -> u64 {
        0
    }

    /// The stage with this place in [`STAGES`] has worked on `packets` since `began`.
    #[inline(always)]
    fn stage(&mut self, _stage: usize, _packets: usize, _began: u64) {}

    /// A stage is done; the counters as it has left them.
    #[inline(always)]
    fn counted(&mut self, _stage: usize, _counters: &Counters) {}

    /// The moment before the engine is called.
    #[inline(always)]
    fn engine_now(&self) -> u64 {
        0
    }

    /// The crypto engine has worked on `packets` since `began`; part of the stage that called it.
    #[inline(always)]
    fn engine(&mut self, _packets: usize, _began: u64) {}
}

/// Measures nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {}

/// Measures the path as the daemon runs it.
pub type Groups = StageProbe<false>;
/// Measures every stage alone.
pub type Stages = StageProbe<true>;

/// Measures the engine alone and disturbs the rest least: what a burst costs as seen from outside, without the engine's
/// cycles and without [`EngineProbe::own_cycles`], is what the path costs around its crypto.
#[derive(Clone, Debug)]
pub struct EngineProbe {
    engine: Figures,
    reading: u64,
}

impl EngineProbe {
    /// All zero.
    pub fn new() -> EngineProbe {
        EngineProbe { engine: Figures::default(), reading: reading_cycles() }
    }

    /// The crypto engine.
    pub fn engine(&self) -> Figures {
        self.engine
    }

    /// What the measurement itself has cost: two readings around each call of the engine.
    pub fn own_cycles(&self) -> u64 {
        2 * self.reading * self.engine.calls
    }

    /// What two readings around a burst cost.
    pub fn reading_cycles(&self) -> u64 {
        self.reading
    }

    /// Begins again from zero.
    pub fn reset(&mut self) {
        self.engine = Figures::default();
    }
}

impl Default for EngineProbe {
    fn default() -> EngineProbe {
        EngineProbe::new()
    }
}

impl Probe for EngineProbe {
    #[inline(always)]
    fn engine_now(&self) -> u64 {
        tsc()
    }

    #[inline(always)]
    fn engine(&mut self, packets: usize, began: u64) {
        // The measured span holds one of the two readings' costs.
        self.engine.add(packets, tsc().wrapping_sub(began).saturating_sub(self.reading));
    }
}

/// TSC cycles between two readings with nothing between them.
fn reading_cycles() -> u64 {
    let reading = (0..1000).map(|_| {
        let began = tsc();
        tsc().wrapping_sub(began)
    });
    reading.min().unwrap_or(0)
}

/// What one stage did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Packets it worked on.
    pub packets: u64,
    /// Times it was called: packets / calls is the length of a vector.
    pub calls: u64,
    /// TSC cycles, without those of reading the counter.
    pub cycles: u64,
}

impl Figures {
    fn add(&mut self, packets: usize, cycles: u64) {
        self.packets += packets as u64;
        self.calls += 1;
        self.cycles += cycles;
    }

    /// TSC cycles per packet.
    pub fn cycles_per_packet(&self) -> f64 {
        self.cycles as f64 / self.packets.max(1) as f64
    }

    /// Packets per call.
    pub fn vector(&self) -> f64 {
        self.packets as f64 / self.calls.max(1) as f64
    }
}

/// Counts and measures. `SPLIT`: every stage alone.
#[derive(Clone, Debug)]
pub struct StageProbe<const SPLIT: bool> {
    stages: [Figures; STAGES.len()],
    engine: Figures,
    /// Cycles between two readings with nothing between them.
    reading: u64,
}

impl<const SPLIT: bool> StageProbe<SPLIT> {
    /// All zero.
    pub fn new() -> Self {
        StageProbe {
            stages: [Figures::default(); STAGES.len()],
            engine: Figures::default(),
            reading: reading_cycles(),
        }
    }

    /// Each stage's name and figures, in the order of a pass.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, Figures)> + '_ {
        STAGES.iter().zip(&self.stages).map(|((name, _), figures)| (*name, *figures))
    }

    /// The crypto engine, whose cycles are also part of `esp_in_open` and `esp_out_seal`.
    pub fn engine(&self) -> Figures {
        self.engine
    }

    /// Cycles of all stages without the engine's.
    pub fn around_engine(&self) -> u64 {
        let all: u64 = self.stages.iter().map(|figures| figures.cycles).sum();
        all.saturating_sub(self.engine.cycles)
    }

    /// Begins again from zero.
    pub fn reset(&mut self) {
        self.stages = [Figures::default(); STAGES.len()];
        self.engine = Figures::default();
    }

    fn since(&self, began: u64) -> u64 {
        tsc().wrapping_sub(began).saturating_sub(self.reading)
    }
}

impl<const SPLIT: bool> Default for StageProbe<SPLIT> {
    fn default() -> Self {
        StageProbe::new()
    }
}

impl<const SPLIT: bool> Probe for StageProbe<SPLIT> {
    const SPLIT: bool = SPLIT;

    #[inline(always)]
    fn now(&self) -> u64 {
        tsc()
    }

    #[inline(always)]
    fn stage(&mut self, stage: usize, packets: usize, began: u64) {
        let cycles = self.since(began);
        if let Some(figures) = self.stages.get_mut(stage) {
            figures.add(packets, cycles);
        }
    }

    #[inline(always)]
    fn engine_now(&self) -> u64 {
        tsc()
    }

    #[inline(always)]
    fn engine(&mut self, packets: usize, began: u64) {
        let cycles = self.since(began);
        self.engine.add(packets, cycles);
    }
}
