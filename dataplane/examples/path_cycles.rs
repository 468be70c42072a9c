//! What the packet path costs around the crypto: core cycles per packet, by direction, number of SAs and burst length.
//!
//! Packets are made in pool buffers (the time of which is not counted), pass through one worker's `Path`, and are freed.
//! `cargo run --release -p causeway-dataplane --example path_cycles -- [--sas 1,10000] [--bursts 32,4] [--size 64] [--stages]`
//! `--churn` replaces SAs while packets flow, and shows how long a worker's turns take.
//!
//! `around` is everything in the path but the engine's own calls, `all` is with them. Figures are the tenth percentile of
//! short windows, so that a busy machine disturbs little; SAs are visited at random, with the replay check on.

use std::error::Error;
use std::hint::black_box;
use std::net::Ipv4Addr;

use causeway_dataplane::buffer::Buffer;
use causeway_dataplane::crypto::{Engine, EspEngine, SealJob};
use causeway_dataplane::dpdk_buffer::PoolAllocator;
use causeway_dataplane::path::{
    Full, Handoff, Now, Operation, Path, PathConfig, PoolMap, PortConfig, PortId, PortRole, Punt,
    RouteConfig, SaStatistics, Sink, WorkerSa,
};
use causeway_dataplane::probe::{EngineProbe, NoProbe, Probe, Stages};
use causeway_dpdk::{Eal, Mbuf, Mempool, tsc, tsc_hz};
use causeway_shared::net::{arp, ethernet, ipv4, udp};
use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite, SaLimits, SaPair, Selector};
use causeway_shared::wire::Event;

const OUR_MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 0], [2, 0, 0, 0, 1, 1]];
const HOP_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
const OURS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 0, 0, 1)];
const HOPS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 254), Ipv4Addr::new(10, 0, 0, 254)];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
const SUITE: EspSuite = EspSuite::Aes256Gcm16;
const PEER_PORT: u16 = 4500;
const UDP: Encapsulation = Encapsulation::Udp { local_port: 4500, peer_port: PEER_PORT };
/// Packets of one window: well below a millisecond.
const WINDOW: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let eal = ["--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "-l", "0"];
    let eal = Eal::init(&eal.map(str::to_owned))?;
    let pool = Mempool::create(eal, "cycles", 4096, 2048)?;
    println!(
        "{SUITE}, inner packets of {} octets, UDP-encapsulated, random SAs, core cycles per packet",
        options.size - 14
    );
    println!(
        "hot octets of an SA: {} inbound, {} outbound",
        size_of::<causeway_dataplane::sa::Inbound>(),
        size_of::<causeway_dataplane::sa::Outbound>()
    );
    println!(
        "{:>9} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}",
        "direction", "SAs", "burst", "around", "engine", "all", "core/TSC"
    );
    if options.churn {
        return churn(pool, &options);
    }
    for &sas in &options.sas {
        for inbound in [false, true] {
            for &burst in &options.bursts {
                Bench::new(pool, EngineProbe::new(), sas, inbound, options.size, burst)?
                    .report(options.windows);
                if options.stages {
                    Bench::new(pool, Stages::new(), sas, inbound, options.size, burst)?
                        .table(options.windows);
                }
            }
        }
    }
    Ok(())
}

struct Options {
    sas: Vec<u32>,
    bursts: Vec<usize>,
    size: usize,
    windows: usize,
    stages: bool,
    churn: bool,
}

impl Options {
    fn read() -> Result<Options, Box<dyn Error>> {
        let mut options = Options {
            sas: vec![1, 10_000, 100_000],
            bursts: vec![32, 4],
            size: 64,
            windows: 400,
            stages: false,
            churn: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--stages" => options.stages = true,
                "--churn" => options.churn = true,
                _ => {}
            }
            if argument == "--stages" || argument == "--churn" {
                continue;
            }
            let value = arguments.next().ok_or("an option lacks its value")?;
            match argument.as_str() {
                "--sas" => options.sas = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--bursts" => options.bursts = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--size" => options.size = value.parse()?,
                "--windows" => options.windows = value.parse()?,
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(options)
    }
}

/// Frees what leaves.
#[derive(Default)]
struct Outlet {
    /// What was sent, to be freed outside the measurement.
    sent: Vec<Mbuf>,
    count: u64,
    events: u64,
    published: u64,
}

impl Sink<Mbuf> for Outlet {
    fn tx(&mut self, _: PortId, frame: Mbuf) {
        self.sent.push(frame);
    }
    fn handoff(&mut self, _: u16, item: Handoff<Mbuf>) -> Result<(), Handoff<Mbuf>> {
        Err(item)
    }
    fn punt(&mut self, _: Punt<'_>) -> Result<(), Full> {
        Err(Full)
    }
    fn event(&mut self, _: Event) -> Result<(), Full> {
        self.events += 1;
        Ok(())
    }
    fn reserve_sequence(&mut self, _: u32, _: u64) {}
    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics) {
        self.published = self.published.wrapping_add(black_box(statistics.in_packets ^ u64::from(slot)));
    }
}

struct Bench<P: Probe> {
    path: Path<PoolAllocator, P>,
    sink: Outlet,
    pool: Mempool,
    engine: Engine,
    /// The clients' sequence numbers.
    sequences: Vec<u64>,
    order: Order,
    inbound: bool,
    size: usize,
    burst: usize,
    now: Now,
}

impl<P: Probe> Bench<P> {
    fn new(
        pool: Mempool,
        probe: P,
        sas: u32,
        inbound: bool,
        size: usize,
        burst: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let path = Path::with_probe(config(sas), PoolAllocator::new(pool), probe)?;
        let mut bench = Bench {
            path,
            sink: Outlet::default(),
            pool,
            engine: Engine::default(),
            sequences: vec![0; sas as usize],
            order: Order(0x9e37_79b9_7f4a_7c15),
            inbound,
            size,
            burst,
            now: Now { monotonic_ms: 1_000 },
        };
        let clients = PoolMap::new("10.64.0.0/10".parse()?).map_err(|status| format!("{status:?}"))?;
        bench.apply(Operation::AddPool(clients));
        for index in 0..sas {
            let pair = pair(index);
            let sa = WorkerSa::new(&pair).map_err(|status| format!("{status:?}"))?;
            bench.apply(Operation::Install(sa));
            let set =
                Operation::SetOutbound { inner: client(index as usize), inbound_spi: Some(pair.inbound_spi) };
            bench.apply(set);
        }
        for port in [0, 1] {
            let mut burst = vec![bench.buffer(&hop_asks(port))];
            bench.path.receive(bench.now, PortId(port as u16), &mut burst, &mut bench.sink);
            bench.sink.count += bench.sink.sent.len() as u64;
            bench.sink.sent.clear();
        }
        Ok(bench)
    }

    fn apply(&mut self, operation: Operation) {
        let _ = self.path.apply(self.now, operation, &mut self.sink);
    }

    #[expect(clippy::expect_used, reason = "a tool: without buffers there is nothing to measure")]
    fn buffer(&self, octets: &[u8]) -> Mbuf {
        let mut buffer = self.pool.allocate().expect("a buffer for each packet of a burst");
        if let Some(place) = Buffer::append(&mut buffer, octets.len()) {
            place.copy_from_slice(octets);
        }
        buffer
    }

    /// Fills caches and tables; how many windows that took.
    fn warm_up(&mut self) -> usize {
        let windows = 4 * self.sequences.len() / WINDOW + 20;
        for _ in 0..windows {
            self.window();
        }
        windows
    }

    fn direction(&self) -> &'static str {
        if self.inbound { "in" } else { "out" }
    }

    /// Sends a window's packets through; TSC cycles of the path.
    fn window(&mut self) -> f64 {
        let mut cycles = 0;
        let mut frames = Vec::with_capacity(self.burst);
        for _ in 0..WINDOW / self.burst {
            self.fill(&mut frames);
            let port = PortId(u16::from(!self.inbound));
            let began = tsc();
            self.path.receive(self.now, port, &mut frames, &mut self.sink);
            cycles += tsc() - began;
            self.sink.count += self.sink.sent.len() as u64;
            self.sink.sent.clear();
        }
        cycles as f64
    }

    /// Makes the frames of a burst.
    fn fill(&mut self, frames: &mut Vec<Mbuf>) {
        for _ in 0..self.burst {
            let index = self.order.next(self.sequences.len());
            let frame = if self.inbound { self.client_frame(index) } else { self.lan_frame(index) };
            frames.push(frame);
        }
    }

    fn lan_frame(&self, index: usize) -> Mbuf {
        self.buffer(&frame(1, &packet(SERVER, client(index), 17, &[0x5a; 2048], self.size - 14)))
    }

    fn client_frame(&mut self, index: usize) -> Mbuf {
        let inner = packet(client(index), SERVER, 17, &[0x5a; 2048], self.size - 14);
        self.sequences[index] += 1;
        let sequence = self.sequences[index];
        let mut esp =
            [&spi(index).to_be_bytes()[..], &(sequence as u32).to_be_bytes(), &[0; 8], &inner].concat();
        let pad = (inner.len() + 2).next_multiple_of(4) - inner.len() - 2;
        esp.extend((1..=pad as u8).chain([pad as u8, ipv4::PROTOCOL_IPV4]));
        esp.extend([0; 16]);
        if let Ok(key) = Engine::setup_outbound(SUITE, false, &keys(index)) {
            let mut jobs = [SealJob { key: &key, packet: &mut esp, sequence, sealed: false }];
            self.engine.seal_burst(&mut jobs);
        }
        let length = (udp::HEADER_LEN + esp.len()) as u16;
        let datagram = [&udp::header(PEER_PORT, 4500, length, 0)[..], &esp].concat();
        self.buffer(&frame(0, &packet(peer(index), OURS[0], 17, &datagram, 20 + datagram.len())))
    }
}

impl Bench<EngineProbe> {
    fn report(&mut self, windows: usize) {
        let before = self.warm_up();
        let mut rows: Vec<[f64; 4]> = Vec::new();
        for _ in 0..windows {
            self.path.probe_mut().reset();
            let clock = core_per_tsc();
            let all = self.window();
            let probe = self.path.probe();
            let own = probe.own_cycles() + 2 * probe.reading_cycles() * (WINDOW / self.burst) as u64;
            let engine = probe.engine().cycles as f64;
            let per_packet = |cycles: f64| cycles / WINDOW as f64 * clock;
            let all = all - own as f64;
            rows.push([per_packet(all - engine), per_packet(engine), per_packet(all), clock]);
        }
        let column = |index: usize| percentile(rows.iter().filter_map(|row| row.get(index).copied()), 10);
        println!(
            "{:>9} {:>8} {:>6} {:>8.0} {:>8.0} {:>8.0} {:>8.2}",
            self.direction(),
            self.sequences.len(),
            self.burst,
            column(0),
            column(1),
            column(2),
            column(3),
        );
        let expected = ((before + windows) * WINDOW) as u64 + 2;
        assert_eq!(self.sink.count, expected, "packets were lost: {:?}", self.path.counters());
    }
}

impl Bench<Stages> {
    fn table(&mut self, windows: usize) {
        self.warm_up();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for _ in 0..windows {
            self.path.probe_mut().reset();
            let clock = core_per_tsc();
            self.window();
            let stages = self.path.probe().stages();
            rows.push(stages.map(|(_, figures)| figures.cycles_per_packet() * clock).collect());
        }
        for (index, (name, figures)) in self.path.probe().stages().enumerate() {
            let cycles = percentile(rows.iter().filter_map(|row| row.get(index).copied()), 10);
            if figures.packets > 0 {
                println!("{name:>20} {cycles:>8.1} cycles, vectors of {:.1}", figures.vector());
            }
        }
    }
}

/// SAs replaced while packets flow: how long a worker's turn takes with a burst of packets, and with eight changes of the
/// tables after it, as many as a worker takes in one turn.
fn churn(pool: Mempool, options: &Options) -> Result<(), Box<dyn Error>> {
    println!(
        "{:>9} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "direction", "SAs", "changes", "p50 us", "p99 us", "p99.9 us", "max us", "SAs/minute"
    );
    for &sas in &options.sas {
        for inbound in [false, true] {
            for changes in [0, 2] {
                Bench::new(pool, NoProbe, sas, inbound, options.size, 32)?.turns(20_000, changes)?;
            }
        }
    }
    Ok(())
}

impl Bench<NoProbe> {
    /// Runs turns in each of which so many SAs are replaced, by four changes each.
    fn turns(&mut self, turns: usize, replaced: usize) -> Result<(), Box<dyn Error>> {
        let before = self.warm_up() * WINDOW;
        let mut times = Vec::with_capacity(turns);
        let mut retired = Vec::new();
        let mut frames = Vec::with_capacity(self.burst);
        for _ in 0..turns {
            self.fill(&mut frames);
            let mut prepared = Vec::new();
            for _ in 0..replaced {
                let index = self.order.next(self.sequences.len()) as u32;
                let pair = pair(index);
                let sa = WorkerSa::new(&pair).map_err(|status| format!("{status:?}"))?;
                let (inner, inbound_spi) = (client(index as usize), pair.inbound_spi);
                prepared.extend([
                    Operation::SetOutbound { inner, inbound_spi: None },
                    Operation::Remove { inbound_spi },
                    Operation::Install(sa),
                    Operation::SetOutbound { inner, inbound_spi: Some(inbound_spi) },
                ]);
            }
            let port = PortId(u16::from(!self.inbound));
            let began = tsc();
            self.path.receive(self.now, port, &mut frames, &mut self.sink);
            for operation in prepared {
                let applied = self.path.apply(self.now, operation, &mut self.sink);
                retired.push(applied);
            }
            times.push(tsc() - began);
            retired.clear();
            self.sink.count += self.sink.sent.len() as u64;
            self.sink.sent.clear();
        }
        times.sort_unstable();
        let per_us = tsc_hz() as f64 / 1e6;
        let at = |share: f64| {
            times.get(((turns - 1) as f64 * share) as usize).map_or(0.0, |ticks| *ticks as f64 / per_us)
        };
        let minutes = times.iter().sum::<u64>() as f64 / per_us / 60e6;
        println!(
            "{:>9} {:>8} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>12.0}",
            self.direction(),
            self.sequences.len(),
            4 * replaced,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            (turns * replaced) as f64 / minutes,
        );
        let expected = (before + turns * self.burst) as u64 + 2;
        assert_eq!(self.sink.count, expected, "packets were lost: {:?}", self.path.counters());
        Ok(())
    }
}

fn config(sas: u32) -> PathConfig {
    let port = |index: usize, role| PortConfig {
        mac: OUR_MAC[index],
        address: OURS[index],
        prefix_len: 24,
        address6: None,
        mtu: 1500,
        role,
    };
    let all = |via| RouteConfig { destination: any(), via };
    PathConfig {
        ports: vec![port(0, PortRole::Outside), port(1, PortRole::Inside)],
        routes: HOPS.map(all).to_vec(),
        routes6: Vec::new(),
        sa_capacity: sas.next_power_of_two().max(256),
        worker: 0,
        workers: 1,
    }
}

fn any() -> causeway_shared::sa::Ipv4Prefix {
    causeway_shared::sa::Ipv4Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 }
}

/// Each SA has keys of its own.
fn keys(index: usize) -> EspKeys {
    let [a, b, c, d, ..] = index.to_le_bytes();
    let cipher = std::array::from_fn(|place| [a, b, c, d, 7, 9][place % 6] ^ place as u8);
    EspKeys { cipher, salt: [a, b, c, 9], integrity: [3; _] }
}

fn spi(index: usize) -> u32 {
    0xa000_0000 | index as u32
}

fn client(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 1)) + index as u32)
}

fn peer(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + index as u32)
}

fn pair(index: u32) -> SaPair {
    let index = index as usize;
    let selector = |first, last| Selector { protocol: 0, first, last, first_port: 0, last_port: u16::MAX };
    SaPair {
        inbound_spi: spi(index),
        outbound_spi: 0xc000_0000 | index as u32,
        session_id: index as u64,
        suite: SUITE,
        esn: false,
        inbound_keys: keys(index),
        outbound_keys: keys(index),
        local_outer: OURS[0].into(),
        peer_outer: peer(index).into(),
        encapsulation: UDP,
        peer_inner: client(index).into(),
        peer_selectors: vec![selector(client(index).into(), client(index).into())],
        local_selectors: vec![selector(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())],
        replay_window: 1024,
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
        limits: SaLimits {
            soft_packets: 1 << 40,
            hard_packets: 1 << 41,
            soft_bytes: 1 << 50,
            hard_bytes: 1 << 51,
        },
        outbound_selected: true,
    }
}

fn packet(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8], len: usize) -> Vec<u8> {
    let header = ipv4::Header {
        tos: 0,
        total_len: len as u16,
        identification: 1,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        source,
        destination,
    };
    [&header.to_bytes()[..], payload.get(..len - ipv4::HEADER_LEN).unwrap_or(payload)].concat()
}

fn frame(port: usize, packet: &[u8]) -> Vec<u8> {
    let header =
        ethernet::Header { destination: OUR_MAC[port], source: HOP_MAC, ether_type: ethernet::TYPE_IPV4 };
    [&header.to_bytes()[..], packet].concat()
}

fn hop_asks(port: usize) -> Vec<u8> {
    let header = ethernet::Header {
        destination: ethernet::BROADCAST,
        source: HOP_MAC,
        ether_type: ethernet::TYPE_ARP,
    };
    let operation = arp::Operation::Request;
    let message = arp::Message {
        operation,
        sender_mac: HOP_MAC,
        sender: HOPS[port],
        target_mac: [0; 6],
        target: OURS[port],
    };
    [&header.to_bytes()[..], &message.to_bytes()].concat()
}

/// A xorshift generator.
struct Order(u64);

impl Order {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % below
    }
}

/// Core cycles in a TSC cycle, now: a chain of multiplications (three cycles) and exclusive-ors (one).
fn core_per_tsc() -> f64 {
    // Long against what the processor may have under way when the counter is read.
    const LENGTH: u64 = 20_000;
    let factor = black_box(0x5851_f42d_4c95_7f2d_u64);
    let shortest = (0..2).map(|_| {
        let mut value = black_box(1u64);
        let began = tsc();
        for _ in 0..LENGTH {
            value = value.wrapping_mul(factor) ^ factor;
        }
        black_box(value);
        tsc() - began
    });
    (LENGTH * 4) as f64 / shortest.min().unwrap_or(1) as f64
}

fn percentile(values: impl Iterator<Item = f64>, percent: usize) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0.0)
}
