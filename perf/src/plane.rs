//! A whole data plane in this process: workers, manager, segment, socket, as the daemon puts them together, between ports that
//! are rings in memory.
//!
//! Enters: frames by [`Plane::to_workers`], commands by [`Plane::control`], which is the control plane's own end. Leaves: frames by
//! [`Plane::from_workers`], acknowledgements, and each worker's watch when it ends. Every worker has a receive and a transmit queue of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use causeway_dataplane::dpdk_buffer::PoolAllocator;
use causeway_dataplane::handoff::Mailbox;
use causeway_dataplane::manager::Manager;
use causeway_dataplane::manager_commands::Executor;
use causeway_dataplane::path::{Path, PathConfig, PortId};
use causeway_dataplane::ports::{Transmit, WorkerPorts};
use causeway_dataplane::ports_watch::PortWatch;
use causeway_dataplane::worker::{Watch, Worker};
use causeway_dpdk::{Eal, Mempool, PortHandle, ProbedPort, QueueConfig, RxQueue, StartedPort, TxQueue};
use causeway_shared::config::Poll;
use causeway_shared::wire::{AckStatus, Action, Command, Event};
use causeway_shm::{ControlSide, DataSide, Handover, ListenOptions, PopError, SegmentConfig, monotonic_ns};

use crate::cell::Direction;
use crate::{Failure, install, world};

/// Descriptors asked for; `net_ring` has 1024 places whatever one asks.
const DESCRIPTORS: u16 = 1024;
/// How long the data plane may take to answer a command.
const ANSWER: Duration = Duration::from_secs(10);
/// Where the daemon's version would stand.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A running data plane. [`Plane::stop`] ends it.
pub struct Plane<W> {
    /// The control plane's end of the segment.
    pub control: ControlSide,
    /// What a worker receives, by worker.
    pub to_workers: Vec<TxQueue>,
    /// What a worker has sent, by worker.
    pub from_workers: Vec<RxQueue>,
    mailboxes: Arc<[Mailbox]>,
    stop: Arc<AtomicBool>,
    manager: JoinHandle<()>,
    workers: Vec<JoinHandle<W>>,
    /// Ports end with their last handle, so not before the workers.
    _ports: Vec<PortHandle>,
    _socket: SocketFolder,
}

/// What is started.
pub struct Design {
    /// The gateway of worker 0; `workers` in it says how many there are.
    pub path: PathConfig,
    /// The core of each worker.
    pub cores: Vec<usize>,
    /// For everything else.
    pub other_core: usize,
}

impl<W: Watch + Send + 'static> Plane<W> {
    /// Starts everything; `watch` makes each worker's.
    ///
    /// # Errors
    /// What DPDK, the kernel or the data plane refuses.
    pub fn start(
        eal: Eal,
        pool: Mempool,
        design: &Design,
        mut watch: impl FnMut() -> W,
    ) -> Result<Plane<W>, Failure> {
        let count = design.cores.len();
        let mut receiving = open(eal, pool, "net_ring0", count)?;
        let mut sending = open(eal, pool, "net_ring1", count)?;
        // What a worker would send by the port that it receives by (ARP) goes nowhere.
        let mut nowhere = open(eal, pool, "net_null0", count)?;
        let workers = u16::try_from(count).unwrap_or(u16::MAX);
        let side = DataSide::create(&SegmentConfig {
            workers: u32::from(workers),
            sa_capacity: design.path.sa_capacity,
            epoch: monotonic_ns(),
            version: VERSION.to_owned(),
        })?;
        let mailboxes: Arc<[Mailbox]> = Mailbox::for_workers(count).into();
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (core, worker_side) in design.cores.iter().copied().zip(side.workers) {
            let share = WorkerPorts {
                receive: vec![(PortId(0), receiving.rx.remove(0))],
                transmit: vec![Transmit::Own(nowhere.tx.remove(0)), Transmit::Own(sending.tx.remove(0))],
            };
            let worker = threads.len() as u16;
            let config = PathConfig { worker, workers, ..design.path.clone() };
            let (boxes, stop, mut watch) = (mailboxes.clone(), stop.clone(), watch());
            let (tell, told) = mpsc::sync_channel(1);
            threads.push(thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
                let ready = || -> Result<_, Failure> {
                    pin(core)?;
                    let registered = eal.register_thread()?;
                    Ok((registered, Path::new(config, PoolAllocator::new(pool))?))
                };
                match ready() {
                    Ok((registered, path)) => {
                        let _ = tell.send(Ok(()));
                        Worker::new(path, share, boxes, worker_side, Poll::Full)
                            .run_watched(&stop, &mut watch);
                        drop(registered);
                    }
                    Err(failure) => {
                        let _ = tell.send(Err(failure));
                    }
                }
                watch
            })?);
            told.recv().map_err(|_| Failure::WorkerEnded)??;
        }
        let socket = SocketFolder::make()?;
        let options = ListenOptions { path: socket.path(), control_uid: None, socket_gid: None };
        let handover = Handover::bind(options, &side.segment)?;
        let executor = Executor::new(workers, design.path.sa_capacity);
        let mut manager =
            Manager::new(side.manager, handover, mailboxes.clone(), executor, PortWatch::new(Vec::new()));
        let (manager_stop, other_core) = (stop.clone(), design.other_core);
        let manager = thread::Builder::new().name("manager".into()).spawn(move || {
            // Where the kernel refuses, it runs elsewhere.
            let _ = pin(other_core);
            manager.run(&manager_stop, || true);
        })?;
        pin(other_core)?;
        let plane = Plane {
            control: ControlSide::attach(&socket.path(), VERSION)?,
            to_workers: receiving.tx,
            from_workers: sending.rx,
            mailboxes,
            stop,
            manager,
            workers: threads,
            _ports: vec![receiving.handle, sending.handle, nowhere.handle],
            _socket: socket,
        };
        plane.introduce_neighbours(Direction::Out);
        Ok(plane)
    }

    /// Says what ARP would: nobody answers on these ports. To be repeated, since neighbours age.
    pub fn introduce_neighbours(&self, direction: Direction) {
        for mailbox in self.mailboxes.iter() {
            for neighbour in install::neighbours(direction) {
                // A full mailbox means that earlier introductions still wait.
                let _ = mailbox.handoffs.push(0, neighbour);
            }
        }
    }

    /// Gives a command and waits until it has taken effect.
    ///
    /// # Errors
    /// A refusal, and no answer.
    pub fn order(&mut self, action: Action) -> Result<(), Failure> {
        let id = self.control.next_command_id();
        self.control.commands.push(&Command { id, action }).map_err(|_| Failure::WorkerEnded)?;
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            match self.acknowledgement()? {
                Some((command_id, status)) if command_id == id => return install::done(status),
                Some(_) => {}
                None => thread::sleep(Duration::from_micros(20)),
            }
        }
        Err(Failure::WorkerEnded)
    }

    /// The next acknowledgement, if one is there; other events are passed over.
    ///
    /// # Errors
    /// A ring that makes no sense.
    pub fn acknowledgement(&mut self) -> Result<Option<(u64, AckStatus)>, PopError> {
        while let Some((_, event)) = self.control.next_event()? {
            if let Event::Ack { command_id, status } = event {
                return Ok(Some((command_id, status)));
            }
        }
        Ok(None)
    }

    /// Whether a thread has ended by itself.
    pub fn is_broken(&self) -> bool {
        self.manager.is_finished() || self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Ends it; each worker's watch.
    ///
    /// # Errors
    /// A thread that panicked.
    pub fn stop(self) -> Result<Vec<W>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.manager.join().map_err(|_| Failure::WorkerEnded)?;
        self.workers.into_iter().map(|worker| worker.join().map_err(|_| Failure::WorkerEnded)).collect()
    }
}

fn open(eal: Eal, pool: Mempool, device: &str, queues: usize) -> Result<StartedPort, Failure> {
    let queues = u16::try_from(queues).unwrap_or(u16::MAX);
    let config = QueueConfig {
        rx_queues: queues,
        tx_queues: queues,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu: world::MTU,
    };
    Ok(ProbedPort::open(eal, device)?.start(config, pool)?)
}

fn pin(core: usize) -> Result<(), Failure> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(Failure::Core(core))
    }
}

/// A folder of our own for the socket, removed at the end.
struct SocketFolder(PathBuf);

impl SocketFolder {
    fn make() -> Result<SocketFolder, Failure> {
        let path = std::env::temp_dir().join(format!("causeway-perf-plane-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
        Ok(SocketFolder(path))
    }

    fn path(&self) -> PathBuf {
        self.0.join("dataplane.sock")
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // Left behind it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
