//! What a figure depends on: the processor's name and clock, and which cores may be used.
//!
//! There is no cycle counter in a virtual machine. Time on a core is turned into core cycles by the core clock, which is measured
//! with a chain of dependent additions against the TSC; the TSC itself runs at another, fixed rate.

use std::fs;

use causeway_dpdk::tsc_hz;
use causeway_kernels::clock::core_per_tsc;
use serde::Serialize;

/// Weight of what is measured among the sessions of a busy machine, a nice value.
pub const AUTOGROUP_NICE: i32 = -12;

/// This machine, for the head of a table.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Machine {
    /// The processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// The core clock when it was measured, GHz.
    pub core_ghz: f64,
    /// The kernel.
    pub kernel: String,
}

impl Machine {
    /// Looks and measures.
    pub fn probe() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cores: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let identity = [("family", "cpu family"), ("model", "model\t"), ("stepping", "stepping")]
            .into_iter()
            .filter_map(|(name, key)| Some(format!("{name} {}", field(key)?)))
            .collect::<Vec<_>>()
            .join(" ");
        let processor = format!("{} ({identity})", field("model name").unwrap_or_else(|| "unknown".into()));
        Machine { processor, cores, core_ghz: core_ghz(), kernel: kernel.trim().to_owned() }
    }

    /// The core that is measured: the last one, because interrupts and other programs favour the first.
    pub fn measured_core(&self) -> usize {
        self.cores.last().copied().unwrap_or(0)
    }
}

/// Asks the scheduler of a busy machine for more of the core than other sessions get, where it weighs sessions (`sched_autogroup`).
/// Only where this process can have a session of its own, so that nobody's shell is changed.
pub fn weigh_more() {
    if rustix::process::setsid().is_ok() {
        // Without the file, or the right, nothing is lost but calm.
        let _ = fs::write("/proc/self/autogroup", AUTOGROUP_NICE.to_string());
    }
}

/// The core clock of the calling thread's core now, GHz.
pub fn core_ghz() -> f64 {
    core_per_tsc() * tsc_hz() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_name_a_core_and_a_core_to_measure() {
        let machine = Machine::probe();
        assert!(machine.processor.contains("model ") && !machine.cores.is_empty());
        assert!(machine.cores.contains(&machine.measured_core()) && machine.core_ghz > 0.0);
    }
}
