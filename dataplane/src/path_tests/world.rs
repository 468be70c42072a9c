//! A gateway with one port per side, its neighbours and clients, and everything that left it on record.
//!
//! Outside 192.0.2.1/24 (router .254, client A behind a NAT at .50), inside 10.0.0.1/24 (host .9, router .254 for
//! 10.77.0.0/16), pool 10.9.0.0/24 with client A at .5 and client B at .6.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{arp, checksum, ethernet, icmp, ipv4, udp};
use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite, SaLimits, SaPair, Selector};
use causeway_shared::wire::{AckStatus, Event, OBSERVATION_SLOT_BYTES, Observation, SeenRef, SlotMessage};

use super::device;
use super::oracle::PeerSa;
use crate::buffer::{Buffer, HeapAllocator, HeapBuffer};
use crate::path::*;
use crate::sink::{Full, Handoff, Punt, SaDirection, SaStatistics, Sink};

pub const OUTSIDE: PortId = PortId(0);
pub const INSIDE: PortId = PortId(1);
pub const OUR_MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 0], [2, 0, 0, 0, 1, 1]];
pub const NEIGHBOUR_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const INSIDE_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
pub const CLIENT_A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);
pub const CLIENT_B: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 6);
pub const SPI_A: u32 = 0xa000_0101;
pub const SPI_B: u32 = 0xb000_0102;
/// SPIs that the clients chose.
pub const PEER_SPI: u32 = 0x0c11_e472;
pub const PEER_PORT: u16 = 33_333;
pub const UDP: Encapsulation = Encapsulation::Udp { local_port: 4500, peer_port: PEER_PORT };

/// What left the path.
#[derive(Default)]
pub struct Record {
    pub tx: Vec<(PortId, Vec<u8>)>,
    pub punts: Vec<(IpAddr, u16, IpAddr, u16, Vec<u8>)>,
    pub events: Vec<Event>,
    pub handoffs: Vec<(u16, Handoff<HeapBuffer>)>,
    pub reserved: Vec<(u32, u64)>,
    pub statistics: Vec<(u32, SaStatistics)>,
    pub sa_drops: Vec<(u32, SaDirection)>,
    pub observations: Vec<Observation>,
    /// Whether rings refuse.
    pub full: bool,
}

impl Sink<HeapBuffer> for Record {
    fn tx(&mut self, port: PortId, frame: HeapBuffer) {
        self.tx.push((port, frame.data().to_vec()));
    }

    fn handoff(&mut self, worker: u16, item: Handoff<HeapBuffer>) -> Result<(), Handoff<HeapBuffer>> {
        if self.full {
            return Err(item);
        }
        self.handoffs.push((worker, item));
        Ok(())
    }

    fn punt(&mut self, punt: Punt<'_>) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        self.punts.push((punt.local, punt.local_port, punt.peer, punt.peer_port, punt.payload.to_vec()));
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        self.events.push(event);
        Ok(())
    }

    fn reserve_sequence(&mut self, slot: u32, block_end: u64) {
        self.reserved.push((slot, block_end));
    }

    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics) {
        self.statistics.push((slot, statistics));
    }

    fn seen(&mut self, packet: &SeenRef<'_>, snap_len: u16) -> Result<(), Full> {
        let mut slot = [0; OBSERVATION_SLOT_BYTES];
        let used = packet.encode(&mut slot, snap_len).unwrap();
        self.observe(&Observation::decode(&slot[..used]).unwrap())
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        // What is observed must go through its ring.
        observation.encode(&mut [0; OBSERVATION_SLOT_BYTES]).unwrap();
        self.observations.push(observation.clone());
        Ok(())
    }

    fn sa_drop(&mut self, slot: u32, direction: SaDirection) {
        self.sa_drops.push((slot, direction));
    }
}

pub struct World {
    pub path: Path<HeapAllocator>,
    pub record: Record,
    pub now: Now,
    /// Whether `receive` returns before the crypto device is done.
    pub leaves_in_device: bool,
}

impl std::ops::Drop for World {
    fn drop(&mut self) {
        device::give_back(self.path.give_up_device());
    }
}

pub fn config() -> PathConfig {
    let port = |index: usize, address, role| PortConfig {
        mac: OUR_MAC[index],
        address,
        prefix_len: 24,
        address6: None,
        mtu: 1500,
        role,
    };
    let route = |destination: &str, via| RouteConfig { destination: destination.parse().unwrap(), via };
    PathConfig {
        ports: vec![port(0, GATEWAY, PortRole::Outside), port(1, INSIDE_GATEWAY, PortRole::Inside)],
        routes: vec![
            route("0.0.0.0/0", Ipv4Addr::new(192, 0, 2, 254)),
            route("10.77.0.0/16", Ipv4Addr::new(10, 0, 0, 254)),
        ],
        routes6: Vec::new(),
        sa_capacity: 1024,
        worker: 0,
        workers: 1,
    }
}

impl World {
    /// The gateway with its pool, no clients, and no neighbours known.
    pub fn silent(config: PathConfig) -> World {
        let mut path = Path::new(config, HeapAllocator).unwrap();
        if device::wanted() {
            path.use_device(device::line());
        }
        let mut world = World {
            path,
            record: Record::default(),
            now: Now { monotonic_ms: 1_000 },
            leaves_in_device: false,
        };
        let pool = PoolMap::new("10.9.0.0/24".parse().unwrap()).unwrap();
        assert_eq!(world.apply(Operation::AddPool(pool)), AckStatus::Done);
        world
    }

    /// As `silent`, with every neighbour known.
    pub fn new() -> World {
        let mut world = World::silent(config());
        world.introduce(OUTSIDE, PEER);
        world.introduce(OUTSIDE, Ipv4Addr::new(192, 0, 2, 254));
        world.introduce(INSIDE, HOST);
        world.introduce(INSIDE, Ipv4Addr::new(10, 0, 0, 254));
        world.record = Record::default();
        world
    }

    /// As `new`, with client A (and B) connected by this suite.
    pub fn with_clients(suite: EspSuite, esn: bool, encapsulation: Encapsulation) -> World {
        let mut world = World::new();
        for (spi, inner) in [(SPI_A, CLIENT_A), (SPI_B, CLIENT_B)] {
            let mut pair = pair(suite, esn, encapsulation);
            pair.inbound_spi = spi;
            pair.peer_inner = inner.into();
            pair.peer_selectors = vec![selector(inner, inner)];
            world.install(pair);
        }
        world
    }

    pub fn install(&mut self, pair: SaPair) {
        let inner = pair.peer_inner.v4.unwrap();
        let set = Operation::SetOutbound { inner, inbound_spi: Some(pair.inbound_spi) };
        let install = Operation::Install(WorkerSa::new(&pair).unwrap());
        assert_eq!(self.apply(install), AckStatus::Done);
        assert_eq!(self.apply(set), AckStatus::Done);
    }

    pub fn apply(&mut self, operation: Operation) -> AckStatus {
        self.path.apply(self.now, operation, &mut self.record).status
    }

    pub fn receive(&mut self, port: PortId, frames: &[Vec<u8>]) {
        let mut burst: Vec<_> = frames.iter().map(|frame| HeapBuffer::from_slice(frame)).collect();
        self.path.receive(self.now, port, &mut burst, &mut self.record);
        assert!(burst.is_empty());
        if !self.leaves_in_device {
            self.collect();
        }
    }

    /// Waits for everything that is in the crypto device, if there is one.
    pub fn collect(&mut self) {
        let began = Instant::now();
        while self.path.collect(self.now, &mut self.record) {
            assert!(began.elapsed() < device::DEADLINE, "the device keeps packets");
        }
    }

    pub fn tick(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.path.tick(self.now, &mut self.record);
    }

    /// A neighbour asks for us, and so becomes known.
    pub fn introduce(&mut self, port: PortId, address: Ipv4Addr) {
        let target = self.our_address(port);
        self.receive(port, &[arp_frame(port, arp::Operation::Request, address, target)]);
    }

    pub fn our_address(&self, port: PortId) -> Ipv4Addr {
        [GATEWAY, INSIDE_GATEWAY][usize::from(port.0)]
    }

    pub fn dropped(&self, reason: Drop) -> u64 {
        self.path.counters().of_drop(reason)
    }

    /// Every drop reason with a count.
    pub fn drops(&self) -> Vec<(Drop, u64)> {
        let all = Drop::ALL.iter().map(|reason| (*reason, self.dropped(*reason)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    pub fn flow(&self, flow: Flow) -> u64 {
        self.path.counters().of_flow(flow)
    }

    /// The only frame sent since the last call, without its Ethernet header, which is checked.
    pub fn sent(&mut self, port: PortId) -> Vec<u8> {
        let all = std::mem::take(&mut self.record.tx);
        assert_eq!(all.len(), 1, "frames sent; drops: {:?}", self.drops());
        assert_eq!(all[0].0, port);
        strip(port, &all[0].1)
    }

    /// The only frame sent to a client, from SPI to ICV, with the outer packet's TOS.
    pub fn sent_esp(&mut self) -> Vec<u8> {
        let packet = self.sent(OUTSIDE);
        esp_of(&packet)
    }
}

/// Checks and strips the Ethernet header of a sent frame.
pub fn strip(port: PortId, frame: &[u8]) -> Vec<u8> {
    let header = ethernet::Header::parse(frame).unwrap();
    assert_eq!((header.source, header.destination), (OUR_MAC[usize::from(port.0)], NEIGHBOUR_MAC));
    frame[ethernet::HEADER_LEN..].to_vec()
}

/// Checks the outer headers of a packet to client A or B and strips them.
pub fn esp_of(packet: &[u8]) -> Vec<u8> {
    let outer = ipv4::Packet::parse(packet).unwrap();
    assert_eq!((outer.source(), outer.destination()), (GATEWAY, PEER));
    assert_eq!(outer.total_len(), packet.len());
    assert!(!outer.dont_fragment() && !outer.is_fragment());
    match outer.protocol() {
        ipv4::PROTOCOL_ESP => outer.payload().to_vec(),
        ipv4::PROTOCOL_UDP => {
            let datagram = udp::Datagram::parse(outer.payload()).unwrap();
            assert_eq!((datagram.source_port(), datagram.destination_port()), (4500, PEER_PORT));
            assert_eq!((datagram.total_len(), &outer.payload()[6..8]), (outer.payload().len(), &[0, 0][..]));
            datagram.payload().to_vec()
        }
        other => panic!("protocol {other}"),
    }
}

pub fn selector(first: Ipv4Addr, last: Ipv4Addr) -> Selector {
    Selector { protocol: 0, first: first.into(), last: last.into(), first_port: 0, last_port: u16::MAX }
}

pub fn keys(from: u8) -> EspKeys {
    EspKeys {
        cipher: std::array::from_fn(|index| from ^ index as u8),
        salt: [from; 4],
        integrity: std::array::from_fn(|index| from.wrapping_add(index as u8)),
    }
}

/// Client A's SA: it may reach the LAN (10.0.0.0/24), what lies behind it (10.77.0.0/16) and the pool.
pub fn pair(suite: EspSuite, esn: bool, encapsulation: Encapsulation) -> SaPair {
    SaPair {
        inbound_spi: SPI_A,
        outbound_spi: PEER_SPI,
        session_id: 1,
        suite,
        esn,
        inbound_keys: keys(0x10),
        outbound_keys: keys(0x80),
        local_outer: GATEWAY.into(),
        peer_outer: PEER.into(),
        encapsulation,
        peer_inner: CLIENT_A.into(),
        peer_selectors: vec![selector(CLIENT_A, CLIENT_A)],
        local_selectors: vec![
            selector(Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 0, 0, 255)),
            selector(Ipv4Addr::new(10, 77, 0, 0), Ipv4Addr::new(10, 77, 255, 255)),
            selector(Ipv4Addr::new(10, 9, 0, 0), Ipv4Addr::new(10, 9, 0, 255)),
        ],
        replay_window: 64,
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
        limits: SaLimits::default(),
        outbound_selected: true,
    }
}

/// The peer's side of `pair`, sealing towards us.
pub fn to_us(suite: EspSuite, esn: bool, spi: u32) -> PeerSa {
    PeerSa { suite, esn, spi, keys: keys(0x10) }
}

/// The peer's side of `pair`, opening what comes from us.
pub fn from_us(suite: EspSuite, esn: bool) -> PeerSa {
    PeerSa { suite, esn, spi: PEER_SPI, keys: keys(0x80) }
}

pub fn ip(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(source, destination, protocol, payload, |_| ())
}

pub fn ip_with(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
    change: impl FnOnce(&mut ipv4::Header),
) -> Vec<u8> {
    let mut header = ipv4::Header {
        tos: 0,
        total_len: (ipv4::HEADER_LEN + payload.len()) as u16,
        identification: 0x1234,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        source,
        destination,
    };
    change(&mut header);
    [&header.to_bytes()[..], payload].concat()
}

pub fn udp_packet(
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
    summed: bool,
) -> Vec<u8> {
    let length = (udp::HEADER_LEN + payload.len()) as u16;
    let unsummed = udp::header(source.1, destination.1, length, 0);
    let sum = udp::checksum(source.0, destination.0, &unsummed, &[payload]);
    let header = udp::header(source.1, destination.1, length, if summed { sum } else { 0 });
    ip(source.0, destination.0, ipv4::PROTOCOL_UDP, &[&header[..], payload].concat())
}

/// An echo request, with padding up to `len` octets of data.
pub fn echo(source: Ipv4Addr, destination: Ipv4Addr, len: usize) -> Vec<u8> {
    let mut message = vec![icmp::ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 7];
    message.resize(icmp::HEADER_LEN + len, 0xa5);
    let sum = checksum::of(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ip(source, destination, ipv4::PROTOCOL_ICMP, &message)
}

pub fn frame(port: PortId, packet: &[u8]) -> Vec<u8> {
    let header = ethernet::Header {
        destination: OUR_MAC[usize::from(port.0)],
        source: NEIGHBOUR_MAC,
        ether_type: ethernet::TYPE_IPV4,
    };
    [&header.to_bytes()[..], packet].concat()
}

pub fn arp_frame(port: PortId, operation: arp::Operation, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let destination = match operation {
        arp::Operation::Request => ethernet::BROADCAST,
        arp::Operation::Reply => OUR_MAC[usize::from(port.0)],
    };
    let header = ethernet::Header { destination, source: NEIGHBOUR_MAC, ether_type: ethernet::TYPE_ARP };
    let message = arp::Message { operation, sender_mac: NEIGHBOUR_MAC, sender, target_mac: [0; 6], target };
    [&header.to_bytes()[..], &message.to_bytes(), &[0; 18]].concat()
}

/// ESP as client A or B sends it to us.
pub fn esp_frame(esp: &[u8], encapsulation: Encapsulation) -> Vec<u8> {
    frame(OUTSIDE, &esp_packet(esp, encapsulation, PEER, PEER_PORT))
}

pub fn esp_packet(esp: &[u8], encapsulation: Encapsulation, peer: Ipv4Addr, peer_port: u16) -> Vec<u8> {
    match encapsulation {
        Encapsulation::Esp => ip(peer, GATEWAY, ipv4::PROTOCOL_ESP, esp),
        Encapsulation::Udp { .. } => udp_packet((peer, peer_port), (GATEWAY, 4500), esp, false),
    }
}

/// The packet as a router that forwards it leaves it.
pub fn forwarded(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    assert!(ipv4::decrement_ttl(&mut packet));
    packet
}
