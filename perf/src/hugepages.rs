//! Hugepages for a run: reserved when too few are free, given back at the end.

use std::fs;
use std::path::Path;

/// Pages of 2 MiB.
const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// What a run has of hugepages. Dropping it gives back what was reserved for it.
#[derive(Debug)]
pub struct Hugepages {
    /// Pages there were, if more were reserved.
    before: Option<u64>,
    enough: bool,
}

impl Hugepages {
    /// Sees to it that `mebibytes` are free, as far as the kernel has them.
    pub fn reserve(mebibytes: u64) -> Hugepages {
        let (Some(total), Some(free)) = (read("nr_hugepages"), read("free_hugepages")) else {
            return Hugepages { before: None, enough: false };
        };
        let wanted = mebibytes.div_ceil(2);
        if free >= wanted {
            return Hugepages { before: None, enough: true };
        }
        let asked = fs::write(Path::new(PAGES).join("nr_hugepages"), (total + wanted - free).to_string());
        let enough = asked.is_ok() && read("free_hugepages").is_some_and(|free| free >= wanted);
        Hugepages { before: Some(total), enough }
    }

    /// As [`Hugepages::reserve`], or none at all if none are wanted.
    pub fn reserve_unless(unwanted: bool, mebibytes: u64) -> Hugepages {
        if unwanted { Hugepages { before: None, enough: false } } else { Hugepages::reserve(mebibytes) }
    }

    /// Whether there are as many as were asked for. Without them everything still runs, with more TLB misses on all sides.
    pub fn are_enough(&self) -> bool {
        self.enough
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // Who cannot write here could not reserve either.
            let _ = fs::write(Path::new(PAGES).join("nr_hugepages"), before.to_string());
        }
    }
}

fn read(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new(PAGES).join(name)).ok()?.trim().parse().ok()
}
