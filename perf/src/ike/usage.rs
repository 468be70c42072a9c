//! Processor time of processes, from `/proc`. Enters: process ids. Leaves: what they have used, all threads together.

use std::path::PathBuf;
use std::time::Duration;

use crate::Failure;

/// Processor time used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuTime(Duration);

impl CpuTime {
    /// Of one process.
    pub fn of(pid: u32) -> Result<CpuTime, Failure> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let text =
            std::fs::read_to_string(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
        let ticks = ticks(&text)
            .ok_or_else(|| Failure::File { path, source: std::io::ErrorKind::InvalidData.into() })?;
        Ok(CpuTime(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)))
    }

    /// Of several together; `None` of none.
    pub fn of_all(pids: &[u32]) -> Result<Option<CpuTime>, Failure> {
        let each = pids.iter().map(|pid| CpuTime::of(*pid)).collect::<Result<Vec<_>, _>>()?;
        Ok(each.into_iter().reduce(|a, b| CpuTime(a.0 + b.0)))
    }

    /// What was used between two moments.
    pub fn since(self, before: CpuTime) -> Duration {
        self.0.saturating_sub(before.0)
    }
}

/// User and system time (fields 14 and 15); the second field is a name in brackets that may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_spaces_do_no_harm() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
        assert!(CpuTime::of(std::process::id()).is_ok());
    }
}
