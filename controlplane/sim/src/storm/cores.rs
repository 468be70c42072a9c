//! What a gateway's processor can do in a time: a model, so that a storm queues up as it would before a real machine.
//!
//! Enters: work with the moment it comes. Leaves: the moment it is done, or that it is dropped because a bound is reached.
//! One core reads datagrams and runs the protocol, [`WORKERS`] do public-key work; the costs are generous measurements of
//! the real code. Besides, the processor time that the simulation itself takes is measured ([`Cpu`]).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Public-key workers.
pub const WORKERS: usize = 2;
/// One public-key job: key exchange, signature or verification.
pub const PUBLIC_KEY_MICROS: u64 = 150;
/// One datagram through the protocol.
pub const PROTOCOL_MICROS: u64 = 40;
/// Datagrams that wait in the socket; more are lost.
pub const SOCKET_BACKLOG: usize = 4096;
/// Public-key jobs under way, as many as the driver allows; more are refused.
pub const MAX_JOBS: usize = 4096;

/// The gateway's cores.
#[derive(Default)]
pub struct Cores {
    protocol_free_micros: u64,
    workers_free_micros: [u64; WORKERS],
    in_order_ms: u64,
    waiting: usize,
    under_way: usize,
    /// Datagrams lost because the socket was full.
    pub overflows: u64,
    /// Jobs refused because too many were under way.
    pub refused: u64,
}

impl Cores {
    /// A datagram arrives: when the protocol has it, in milliseconds. `None`: it is lost.
    pub fn protocol(&mut self, now_ms: u64) -> Option<u64> {
        if self.waiting >= SOCKET_BACKLOG {
            self.overflows += 1;
            return None;
        }
        self.waiting += 1;
        self.protocol_free_micros = self.protocol_free_micros.max(now_ms * 1000) + PROTOCOL_MICROS;
        Some(self.protocol_free_micros.div_ceil(1000))
    }

    /// The protocol has read a datagram.
    pub fn served(&mut self) {
        self.waiting -= 1;
    }

    /// A public-key job comes: when it is done. `None`: it is refused.
    pub fn public_key(&mut self, now_ms: u64) -> Option<u64> {
        if self.under_way >= MAX_JOBS {
            self.refused += 1;
            return None;
        }
        self.under_way += 1;
        let free = self.workers_free_micros.iter_mut().min()?;
        *free = (*free).max(now_ms * 1000) + PUBLIC_KEY_MICROS;
        Some(free.div_ceil(1000))
    }

    /// A public-key job is done.
    pub fn worked(&mut self) {
        self.under_way -= 1;
    }

    /// Store and data plane take one thing after the other: when this one is done.
    pub fn in_order(&mut self, now_ms: u64, takes_ms: u64) -> u64 {
        self.in_order_ms = self.in_order_ms.max(now_ms + takes_ms);
        self.in_order_ms
    }
}

/// Processor time that was really spent.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cpu {
    /// In the gateway: protocol, public-key work, reconnect table, store.
    pub gateway: Duration,
    /// Of that, in public-key work.
    pub public_key: Duration,
    /// In the clients.
    pub clients: Duration,
}

/// A running measurement.
pub struct Measured(Duration);

impl Cpu {
    /// Begins to measure.
    pub fn begin() -> Measured {
        Measured(thread_time())
    }
}

impl Measured {
    /// What was spent since.
    pub fn end(self) -> Duration {
        thread_time().saturating_sub(self.0)
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_queues_up_and_bounds_hold() {
        let mut cores = Cores::default();
        let done: Vec<_> = (0..5).map(|_| cores.public_key(10)).collect();
        // Two at a time, 150 µs each, and a millisecond is the smallest step.
        assert_eq!(done, [Some(11); 5]);
        for _ in 0..MAX_JOBS - 5 {
            assert!(cores.public_key(10).is_some());
        }
        assert_eq!((cores.public_key(10), cores.refused), (None, 1));
        cores.worked();
        let all_ms = (MAX_JOBS as u64 + 1) * PUBLIC_KEY_MICROS / WORKERS as u64 / 1000;
        assert!(cores.public_key(10).is_some_and(|done| (10 + all_ms..=12 + all_ms).contains(&done)));
        for _ in 0..SOCKET_BACKLOG {
            assert!(cores.protocol(10).is_some());
        }
        assert_eq!((cores.protocol(10), cores.overflows), (None, 1));
        cores.served();
        assert!(cores.protocol(10).is_some());
        assert_eq!((cores.in_order(10, 5), cores.in_order(11, 1), cores.in_order(20, 1)), (15, 15, 21));
    }
}
