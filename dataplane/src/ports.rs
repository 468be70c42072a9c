//! Ports: opened as configured, their queues shared out among the workers, started.
//!
//! Enters: `[[port]]` sections. Leaves: for every worker the queues it polls and, for every port, the queue it sends by
//! or the worker that sends for it; and what the operator is told of the port.

use std::collections::BTreeSet;

use causeway_dpdk::{
    Capabilities, Eal, Error, Mempool, PortHandle, ProbedPort, QueueConfig, RxQueue, TxQueue,
};
use causeway_shared::api::{Port as Description, PortEsp, PortLink, Spread};
use causeway_shared::config::Port;

use crate::crypto::Engine;
use crate::path::{PortConfig, PortId};

/// Descriptors of each queue, before the device's own limits.
const DESCRIPTORS: u16 = 1024;
/// The driver that spreads packets over all queues its device string names (`qpairs=N`), whether polled or not.
const FANOUT_DRIVER: &str = "net_af_packet";

/// Started ports: what the manager keeps, and what goes to the workers.
pub struct Ports {
    /// Name and handle for link and counters, in order of their [`PortId`].
    pub handles: Vec<(String, PortHandle)>,
    /// For the operator, in order of their [`PortId`].
    pub descriptions: Vec<Description>,
    /// For the path, in order of their [`PortId`].
    pub configs: Vec<PortConfig>,
    /// One for each worker.
    pub shares: Vec<WorkerPorts>,
}

/// One worker's share of all ports.
#[derive(Default)]
pub struct WorkerPorts {
    /// Queues to poll.
    pub receive: Vec<(PortId, RxQueue)>,
    /// How to send, by [`PortId`].
    pub transmit: Vec<Transmit>,
}

/// How a worker sends on a port.
pub enum Transmit {
    /// By its own queue.
    Own(TxQueue),
    /// By handing frames to this worker.
    Via(u16),
}

/// Opens and starts every port.
///
/// # Errors
/// The first port that fails, with its name and device.
pub fn start_ports(eal: Eal, ports: &[Port], workers: u16, pool: Mempool) -> Result<Ports, PortError> {
    let mut started = Ports {
        handles: Vec::new(),
        descriptions: Vec::new(),
        configs: Vec::new(),
        shares: std::iter::repeat_with(WorkerPorts::default).take(usize::from(workers)).collect(),
    };
    for (number, port) in ports.iter().enumerate() {
        let failed = |source| PortError { name: port.name.clone(), device: port.device.clone(), source };
        let id = PortId(u16::try_from(number).unwrap_or(u16::MAX));
        started.start(eal, id, port, workers, pool).map_err(failed)?;
    }
    Ok(started)
}

/// A port that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[[port]] \"{name}\": {source}{}", hint(.device, .source))]
pub struct PortError {
    name: String,
    device: String,
    source: Error,
}

impl Ports {
    fn start(&mut self, eal: Eal, id: PortId, port: &Port, workers: u16, pool: Mempool) -> Result<(), Error> {
        let probed = ProbedPort::open(eal, &port.device)?;
        let plan = QueuePlan::new(id.0, workers, probed.capabilities());
        let capabilities = probed.capabilities().clone();
        let spread = spread_of(&plan, workers, &capabilities);
        let started = probed.start(
            QueueConfig {
                rx_queues: plan.receivers.len() as u16,
                tx_queues: plan.tx_queues,
                rx_descriptors: DESCRIPTORS,
                tx_descriptors: DESCRIPTORS,
                mtu: port.mtu,
            },
            pool,
        )?;
        let mac = started.handle.mac()?;
        // Solicitations come to a group (RFC 4861 §7.2.1), which no switch without a look into MLD keeps from us.
        if port.address6.is_some()
            && let Err(error) = started.handle.receive_groups()
        {
            tracing::warn!(port = port.name, %error, "IPv6 neighbours may not find address6: the device takes no multicast");
        }
        self.configs.push(PortConfig {
            mac,
            address: port.address,
            prefix_len: port.prefix_len,
            address6: port.address6,
            mtu: port.mtu,
            role: port.role,
        });
        let mut tx: Vec<Option<TxQueue>> = started.tx.into_iter().map(Some).collect();
        for (worker, share) in self.shares.iter_mut().enumerate() {
            let own = plan.senders.get(worker).copied().and_then(|sender| match sender {
                Sender::Queue(queue) => {
                    tx.get_mut(usize::from(queue)).and_then(Option::take).map(Transmit::Own)
                }
                Sender::Worker(other) => Some(Transmit::Via(other)),
            });
            share.transmit.extend(own);
        }
        for (queue, worker) in started.rx.into_iter().zip(&plan.receivers) {
            if let Some(share) = self.shares.get_mut(usize::from(*worker)) {
                share.receive.push((id, queue));
            }
        }
        let description = describe(port, &capabilities, mac, &plan, spread, &started.handle);
        log_port(&description, &plan);
        self.descriptions.push(description);
        self.handles.push((port.name.clone(), started.handle));
        Ok(())
    }
}

/// What the operator is told of a port, in the log and in `causeway show ports`.
fn describe(
    port: &Port,
    capabilities: &Capabilities,
    mac: [u8; 6],
    plan: &QueuePlan,
    spread: Spread,
    handle: &PortHandle,
) -> Description {
    let (engine, reason) = Engine::description();
    Description {
        name: port.name.clone(),
        device: port.device.clone(),
        driver: capabilities.driver.clone(),
        role: port.role,
        mac: mac.map(|octet| format!("{octet:02x}")).join(":"),
        mtu: port.mtu,
        link: link_of(handle).unwrap_or_default(),
        rx_queues: plan.receivers.len() as u16,
        tx_queues: plan.tx_queues,
        polled_by: plan.receivers.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        spread,
        esp: PortEsp { engine, reason, device_failed: false, inline_capable: capabilities.inline_esp },
    }
}

/// A port's link; `None` when the device does not answer now.
pub fn link_of(handle: &PortHandle) -> Option<PortLink> {
    handle.link().ok().map(|link| PortLink { up: link.up, speed_mbps: link.speed_mbps })
}

fn log_port(port: &Description, plan: &QueuePlan) {
    let Description { name, device, driver, mac, polled_by, esp, .. } = port;
    tracing::info!(
        port = name,
        device,
        driver,
        mac,
        up = port.link.up,
        ?polled_by,
        spread = port.spread.name(),
        crypto = esp.engine,
        inline_esp = esp.inline_capable,
        "port started"
    );
    if plan.shared_senders() {
        tracing::warn!(
            port = name,
            tx_queues = plan.tx_queues,
            workers = plan.senders.len(),
            "the device has fewer transmit queues than there are workers: some send through others"
        );
    }
}

/// Who spreads a port's packets over the workers.
fn spread_of(plan: &QueuePlan, workers: u16, capabilities: &Capabilities) -> Spread {
    match plan.receivers.len() {
        _ if workers <= 1 => Spread::OneWorker,
        0 | 1 => Spread::Software,
        _ if capabilities.receive_hash => Spread::ReceiveHash,
        _ => Spread::BehindTheDevice,
    }
}

/// What an operator can do about a failure.
fn hint(device: &str, error: &Error) -> String {
    match error {
        Error::Probe { .. } if crate::eal_args::is_pci(device) => format!(
            "; is it bound to a driver that DPDK can use? `dpdk-devbind.py --status` tells, \
             `dpdk-devbind.py -b vfio-pci {device}` binds it"
        ),
        Error::Probe { .. } => match device.split(',').find_map(|part| part.strip_prefix("iface=")) {
            Some(interface) => {
                format!(
                    "; does `ip link show {interface}` find it, and may this process open packet sockets (root or CAP_NET_RAW)?"
                )
            }
            None => "; check the device string against the driver's manual".to_owned(),
        },
        _ => String::new(),
    }
}

/// Who polls and who sends on one port.
#[derive(Debug, PartialEq, Eq)]
struct QueuePlan {
    /// The worker that polls each receive queue.
    receivers: Vec<u16>,
    /// How each worker sends.
    senders: Vec<Sender>,
    tx_queues: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Queue(u16),
    Worker(u16),
}

impl QueuePlan {
    /// Shares out the queues round-robin, beginning at a worker that differs from port to port, so that ports with few
    /// queues do not all load worker 0.
    fn new(port: u16, workers: u16, capabilities: &Capabilities) -> QueuePlan {
        let first = port % workers.max(1);
        let worker_of = |queue: u16| (u32::from(first) + u32::from(queue)) as u16 % workers.max(1);
        let rx_queues = if capabilities.driver == FANOUT_DRIVER {
            capabilities.max_rx_queues
        } else {
            capabilities.max_rx_queues.min(workers)
        };
        let tx_queues = capabilities.max_tx_queues.min(workers);
        let senders = (0..workers)
            .map(|worker| {
                (0..tx_queues)
                    .find(|queue| worker_of(*queue) == worker)
                    .map_or_else(|| Sender::Worker(worker_of(worker % tx_queues.max(1))), Sender::Queue)
            })
            .collect();
        QueuePlan { receivers: (0..rx_queues).map(worker_of).collect(), senders, tx_queues }
    }

    fn shared_senders(&self) -> bool {
        self.senders.iter().any(|sender| matches!(sender, Sender::Worker(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(driver: &str, rx: u16, tx: u16) -> Capabilities {
        Capabilities {
            driver: driver.into(),
            max_rx_queues: rx,
            max_tx_queues: tx,
            numa_node: None,
            receive_hash: driver == "net_ixgbe",
            inline_esp: false,
        }
    }

    fn plan(port: u16, workers: u16, driver: &str, rx: u16, tx: u16) -> QueuePlan {
        QueuePlan::new(port, workers, &capabilities(driver, rx, tx))
    }

    #[test]
    fn who_spreads_packets_is_told() {
        for (driver, queues, workers, spread) in [
            ("net_ixgbe", 64, 1, Spread::OneWorker),
            ("net_ixgbe", 64, 4, Spread::ReceiveHash),
            ("net_ixgbe", 1, 4, Spread::Software),
            ("net_af_packet", 1, 2, Spread::Software),
            ("net_af_packet", 2, 2, Spread::BehindTheDevice),
        ] {
            let capabilities = capabilities(driver, queues, queues);
            let plan = QueuePlan::new(0, workers, &capabilities);
            assert_eq!(spread_of(&plan, workers, &capabilities), spread, "{driver} {queues}/{workers}");
        }
    }

    #[test]
    fn queues_are_shared_out() {
        use Sender::{Queue, Worker};
        /// Port, workers, driver, receive and transmit queues it has; who polls, who sends how.
        type Case<'a> = (u16, u16, &'a str, u16, u16, &'a [u16], &'a [Sender]);
        let cases: [Case<'_>; 7] = [
            (0, 1, "net_null", 1024, 1024, &[0], &[Queue(0)]),
            (0, 2, "net_ixgbe", 64, 64, &[0, 1], &[Queue(0), Queue(1)]),
            (1, 2, "net_ixgbe", 64, 64, &[1, 0], &[Queue(1), Queue(0)]),
            (0, 2, "net_af_packet", 1, 1, &[0], &[Queue(0), Worker(0)]),
            (1, 2, "net_af_packet", 1, 1, &[1], &[Worker(1), Queue(0)]),
            (0, 1, "net_af_packet", 2, 2, &[0, 0], &[Queue(0)]),
            (2, 3, "net_af_packet", 2, 2, &[2, 0], &[Queue(1), Worker(0), Queue(0)]),
        ];
        for (port, workers, driver, rx, tx, receivers, senders) in cases {
            let plan = plan(port, workers, driver, rx, tx);
            assert_eq!(
                (&plan.receivers[..], &plan.senders[..]),
                (receivers, senders),
                "{driver} {port}/{workers}"
            );
        }
    }

    #[test]
    fn every_queue_has_one_sender_and_nobody_sends_through_one_without_a_queue() {
        for (port, workers, tx) in
            (0..5).flat_map(|p| (1..6).flat_map(move |w| (1..6).map(move |t| (p, w, t))))
        {
            let plan = plan(port, workers, "any", tx, tx);
            let queues = plan.senders.iter().filter(|sender| matches!(sender, Sender::Queue(_))).count();
            assert_eq!(queues, usize::from(tx.min(workers)));
            for sender in &plan.senders {
                if let Sender::Worker(other) = sender {
                    assert!(matches!(plan.senders[usize::from(*other)], Sender::Queue(_)));
                }
            }
        }
    }
}
