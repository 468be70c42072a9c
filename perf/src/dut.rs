//! Our side of a comparison: one worker of the data plane as it is, in a process like the peer's.
//!
//! Enters: a capture that `net_pcap0` repeats. Leaves: packets on `net_null0`, counted by the port and readable on DPDK's
//! telemetry socket like the peer's. The SAs and neighbours are given to the worker through its mailbox, as the manager does it;
//! there is no control plane. With `--io` the worker is replaced by its receive and transmit calls alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use causeway_dataplane::dpdk_buffer::{PoolAllocator, data_room};
use causeway_dataplane::handoff::{Instruction, Mailbox};
use causeway_dataplane::path::{Operation, Path, PortConfig};
use causeway_dataplane::ports::{Ports, Transmit, WorkerPorts, start_ports};
use causeway_dataplane::worker::Worker;
use causeway_dpdk::{BURST, Eal, Mempool};
use causeway_shared::config::{Poll, Port};
use causeway_shm::DataSide;

use crate::cell::{Cell, Direction, Size, Suite};
use crate::programs::{self, BUFFERS, RuntimeDirectory};
use crate::subject::on_cpu_ns;
use crate::world::{self, World};
use crate::{Failure, install, machine};

/// Time between two looks at the counters.
const REPORT: Duration = Duration::from_secs(1);
/// How long the worker may take to install the SA.
const INSTALL: Duration = Duration::from_secs(10);

/// The device under test: one worker between a repeated capture and a sink that swallows.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Algorithms of the SA.
    #[arg(long, default_value = "aes-256-gcm")]
    suite: Suite,
    /// Whether the capture holds clear frames (out) or ESP (in).
    #[arg(long, default_value = "out")]
    direction: Direction,
    /// A DPDK port, given twice: frames come in by the first and leave by the second, for a generator such as
    /// `causeway-perf pktgen --port`. Without it a capture is repeated and a sink swallows.
    #[arg(long = "port", value_name = "DEVICE", conflicts_with = "capture")]
    ports: Vec<String>,
    /// Clients, each with one SA pair.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(world::MAX_SAS)))]
    sas: u32,
    /// ESP in UDP (RFC 3948).
    #[arg(long)]
    natt: bool,
    /// Frames that port 0 receives for ever; without it they are made.
    #[arg(long)]
    capture: Option<PathBuf>,
    /// Clear frame size of the frames that are made.
    #[arg(long, default_value = "64")]
    size: Size,
    /// The worker's core; the last one by default.
    #[arg(long)]
    core: Option<usize>,
    /// Distinguishes this process's files from those of other DPDK processes.
    #[arg(long, default_value = "causeway-perf-dut")]
    file_prefix: String,
    /// Where 2 MiB hugepages are mounted; none are used without it.
    #[arg(long)]
    huge_dir: Option<PathBuf>,
    /// Forward without a look: the cost of source and sink.
    #[arg(long)]
    io: bool,
    /// End after this many seconds.
    #[arg(long)]
    seconds: Option<u64>,
}

/// Runs until it is ended, and prints a line per second.
///
/// # Errors
/// What kept it from starting, and packets that were dropped instead of forwarded.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let machine = machine::Machine::probe();
    let core = arguments.core.unwrap_or_else(|| machine.measured_core());
    let cell = Cell { suite: arguments.suite, size: arguments.size, direction: arguments.direction };
    let devices = match (&arguments.ports[..], &arguments.capture) {
        ([first, second], _) => [first.clone(), second.clone()],
        ([_, ..], _) => return Err(Failure::Usage("--port is given twice or not at all".to_owned())),
        ([], Some(path)) => programs::devices(path),
        ([], None) => {
            let path = std::env::temp_dir().join(format!("{}.pcap", arguments.file_prefix));
            crate::compare::write_capture(&path, cell, arguments.sas)?;
            programs::devices(&path)
        }
    };
    let _directory = RuntimeDirectory::of(&arguments.file_prefix);
    let eal = start_eal(arguments, &machine.cores)?;
    let pool = Mempool::create(eal, "packets", BUFFERS, data_room(world::MTU))?;
    let ports = open_ports(eal, pool, arguments.direction, devices)?;
    let stop = Arc::new(AtomicBool::new(false));
    let sending = ports.handles.get(1).map(|(_, handle)| handle.clone()).ok_or(Failure::NoPort)?;
    let subject = start(arguments, core, eal, pool, ports, &stop)?;
    let started = Instant::now();
    let mut last = (0, 0);
    while arguments.seconds.is_none_or(|seconds| started.elapsed() < Duration::from_secs(seconds)) {
        thread::sleep(REPORT);
        subject.introduce_neighbours();
        let now = (sending.statistics()?.tx_packets, on_cpu_ns(&subject.schedstat()));
        let (packets, ns) = (now.0 - last.0, now.1 - last.1);
        last = now;
        println!(
            "{packets} packets, {ns} ns on core {core}, {:.2} ns a packet",
            ns as f64 / packets.max(1) as f64
        );
        subject.check(packets, arguments.ports.is_empty())?;
    }
    stop.store(true, Ordering::Relaxed);
    Ok(())
}

/// A thread that forwards.
struct Running {
    mailboxes: Arc<[Mailbox]>,
    /// The segment that the worker writes its counters to.
    _side: DataSide,
    thread: thread::JoinHandle<()>,
    thread_id: i32,
    direction: Direction,
}

impl Running {
    fn schedstat(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/task/{}/schedstat", self.thread_id))
    }

    /// Says what ARP would: nobody answers on these ports. To be repeated, since neighbours age.
    fn introduce_neighbours(&self) {
        for neighbour in install::neighbours(self.direction) {
            if let Some(mailbox) = self.mailboxes.first() {
                // A full mailbox means that earlier introductions still wait.
                let _ = mailbox.handoffs.push(0, neighbour);
            }
        }
    }

    /// A path that drops measures nothing. A generator may be silent, a capture is not.
    fn check(&self, packets: u64, busy: bool) -> Result<(), Failure> {
        if self.thread.is_finished() {
            return Err(Failure::WorkerEnded);
        }
        if busy && packets == 0 {
            return Err(Failure::NothingForwarded);
        }
        Ok(())
    }
}

fn start_eal(arguments: &Arguments, cores: &[usize]) -> Result<Eal, Failure> {
    let cores = cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut eal = vec![format!("--lcores=0@({cores})")];
    eal.extend(programs::device_arguments(&arguments.ports));
    eal.extend(programs::memory_arguments(arguments.huge_dir.as_deref(), &arguments.file_prefix));
    Ok(Eal::init(&eal)?)
}

fn open_ports(eal: Eal, pool: Mempool, direction: Direction, devices: [String; 2]) -> Result<Ports, Failure> {
    let made_for = devices[0].starts_with("net_pcap").then_some(programs::SOURCE_MAC);
    let ports: Vec<Port> = devices
        .into_iter()
        .zip(world::roles(direction))
        .map(|(device, role)| Port {
            name: format!("{role:?}"),
            device,
            role,
            address: world::address_of(role),
            prefix_len: 24,
            address6: None,
            mtu: world::MTU,
        })
        .collect();
    let ports = start_ports(eal, &ports, 1, pool)?;
    match ports.configs.first() {
        Some(PortConfig { mac, .. }) if made_for.is_none_or(|source| source == *mac) => Ok(ports),
        _ => Err(Failure::SourceMac),
    }
}

fn start(
    arguments: &Arguments,
    core: usize,
    eal: Eal,
    pool: Mempool,
    ports: Ports,
    stop: &Arc<AtomicBool>,
) -> Result<Running, Failure> {
    let world = World { natt: arguments.natt, ..World::plain(arguments.suite, arguments.sas) };
    let mut macs = ports.configs.iter().map(|port| port.mac);
    let macs = [macs.next().ok_or(Failure::NoPort)?, macs.next().ok_or(Failure::NoPort)?];
    let mut config = world.path_config(arguments.direction, macs);
    config.ports = ports.configs;
    let share = ports.shares.into_iter().next().ok_or(Failure::NoPort)?;
    let (side, worker_side) = install::segment(config.sa_capacity)?;
    let mailboxes: Arc<[Mailbox]> = Mailbox::for_workers(1).into();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (boxes, stop, io) = (mailboxes.clone(), stop.clone(), arguments.io);
    let thread = thread::Builder::new().name("worker-0".into()).spawn(move || {
        let ready = || -> Result<_, Failure> {
            if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
                return Err(Failure::Core(core));
            }
            let registered = eal.register_thread()?;
            let path = Path::new(config, PoolAllocator::new(pool))?;
            Ok((registered, path, rustix::thread::gettid().as_raw_nonzero().get()))
        };
        match ready() {
            Err(failure) => {
                let _ = tell.send(Err(failure));
            }
            Ok((registered, path, thread_id)) => {
                let _ = tell.send(Ok(thread_id));
                if io {
                    forward_blindly(share, &stop);
                } else {
                    Worker::new(path, share, boxes, worker_side, Poll::Full).run(&stop);
                }
                drop(registered);
            }
        }
    })?;
    let thread_id = told.recv().map_err(|_| Failure::WorkerEnded)??;
    let running = Running { mailboxes, _side: side, thread, thread_id, direction: arguments.direction };
    if !arguments.io {
        running.introduce_neighbours();
        running.install(&world)?;
    }
    Ok(running)
}

/// Receive and transmit as the worker does it, and nothing between.
fn forward_blindly(mut share: WorkerPorts, stop: &AtomicBool) {
    let mut burst = Vec::with_capacity(BURST);
    let sender = share.transmit.get_mut(1);
    let (Some((_, receiver)), Some(Transmit::Own(sender))) = (share.receive.first_mut(), sender) else {
        return;
    };
    while !stop.load(Ordering::Relaxed) {
        receiver.burst(&mut burst);
        sender.burst(&mut burst);
        burst.clear();
    }
}

impl Running {
    /// Pool, SAs, and the ways to the clients, as the manager would say it.
    fn install(&self, world: &World) -> Result<(), Failure> {
        self.order(install::pool(world::Family::V4)?)?;
        for n in 0..world.sas {
            for operation in install::client(world, n)? {
                self.order(operation)?;
            }
        }
        Ok(())
    }

    fn order(&self, operation: Operation) -> Result<(), Failure> {
        let mailbox = self.mailboxes.first().ok_or(Failure::WorkerEnded)?;
        let instruction = Instruction { ticket: 0, operation, statistics: None };
        mailbox.instructions.push(instruction).map_err(|_| Failure::WorkerEnded)?;
        let deadline = Instant::now() + INSTALL;
        while Instant::now() < deadline {
            match mailbox.reports.pop() {
                Some(report) => return install::done(report.applied.status),
                None => thread::yield_now(),
            }
        }
        Err(Failure::WorkerEnded)
    }
}
