//! What the devices themselves know: their links, and the packets that they lost before a worker saw them.
//!
//! Enters: the ports' own counters, once a second on the manager's thread. Leaves: log lines when a link goes up or down, and
//! the drop reasons that only a device can tell, in the manager's counters, and the links for `causeway show ports`; there, too, that
//! the crypto device has failed, which a worker finds out and may not log.

use causeway_dpdk::{PortHandle, PortStatistics};
use causeway_shared::api::PortLink;
use causeway_shared::counters::Drop;
use causeway_shm::{CounterBlock, PortBoard};

use crate::crypto::failed_device;
use crate::ports::link_of;

/// Time between two looks, nanoseconds.
const PERIOD_NS: u64 = 1_000_000_000;

/// Watches all ports.
pub struct PortWatch {
    ports: Vec<Watched>,
    next_look_ns: u64,
    /// The crypto device has failed, and that has been said.
    device_failed: bool,
}

struct Watched {
    name: String,
    handle: PortHandle,
    up: bool,
    counted: PortStatistics,
}

impl PortWatch {
    /// Watches these ports, by the names that the configuration gives them.
    pub fn new(ports: Vec<(String, PortHandle)>) -> PortWatch {
        let watched = |(name, handle): (String, PortHandle)| {
            let up = link_of(&handle).is_some_and(|link| link.up);
            Watched { name, handle, up, counted: PortStatistics::default() }
        };
        PortWatch { ports: ports.into_iter().map(watched).collect(), next_look_ns: 0, device_failed: false }
    }

    /// Looks, if it is time; adds what was lost since the last look to `counters` and writes the links to `board`.
    pub fn look(&mut self, now_ns: u64, counters: &CounterBlock, board: &PortBoard) {
        if now_ns < self.next_look_ns {
            return;
        }
        self.next_look_ns = now_ns + PERIOD_NS;
        if !self.device_failed
            && let Some(device) = failed_device()
        {
            self.device_failed = true;
            board.set_device_failed();
            tracing::error!(
                device,
                "the crypto device has stopped answering: its packets are lost, software does ESP until the data plane is restarted"
            );
        }
        for (index, port) in self.ports.iter_mut().enumerate() {
            if let Some(link) = link_of(&port.handle) {
                port.report(link);
                board.set_link(index, link);
            }
            // A device that does not answer now may answer next time; its counters go on.
            let Ok(statistics) = port.handle.statistics() else { continue };
            for (reason, lost) in lost_between(&port.counted, &statistics) {
                counters.add_drop(reason, lost);
            }
            port.counted = statistics;
        }
    }
}

impl std::ops::Drop for PortWatch {
    fn drop(&mut self) {
        for Watched { name, handle, .. } in &self.ports {
            if let Ok(statistics) = handle.statistics() {
                tracing::info!(port = name, ?statistics, "port stops");
            }
        }
    }
}

impl Watched {
    fn report(&mut self, link: PortLink) {
        if link.up != self.up {
            self.up = link.up;
            let speed_mbps = link.speed_mbps.unwrap_or_default();
            match link.up {
                true => tracing::info!(port = self.name, speed_mbps, "link is up"),
                false => tracing::warn!(port = self.name, "link is down"),
            }
        }
    }
}

/// What a device lost between two looks. A counter that went back (a reset device) counts nothing.
fn lost_between(before: &PortStatistics, now: &PortStatistics) -> [(Drop, u64); 3] {
    let errors = |statistics: &PortStatistics| statistics.rx_errors.saturating_add(statistics.tx_errors);
    [
        (Drop::PortMissed, now.rx_missed.saturating_sub(before.rx_missed)),
        (Drop::NoBuffer, now.rx_no_buffer.saturating_sub(before.rx_no_buffer)),
        (Drop::PortError, errors(now).saturating_sub(errors(before))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_since_the_last_look_is_counted_under_its_reason() {
        let before = PortStatistics {
            rx_missed: 10,
            rx_errors: 3,
            tx_errors: 4,
            rx_no_buffer: 9,
            ..Default::default()
        };
        let now = PortStatistics {
            rx_missed: 15,
            rx_errors: 4,
            tx_errors: 6,
            rx_no_buffer: 2,
            ..Default::default()
        };
        assert_eq!(
            lost_between(&before, &now),
            [(Drop::PortMissed, 5), (Drop::NoBuffer, 0), (Drop::PortError, 3)],
            "a counter that went back counts nothing"
        );
    }
}
