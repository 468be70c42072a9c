//! Three workers behind the rings that the daemon has: what one worker receives for another's SA keeps its order, and an SA
//! that gets more than its owner can take costs no other SA a packet.

use std::net::Ipv4Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::ipv4;
use causeway_shared::sa::{EspSuite, SaPair};
use causeway_shared::wire::{AckStatus, Event};
use proptest::prelude::*;

use super::world::*;
use crate::buffer::HeapBuffer;
use crate::fair_rings::{FairRings, LEAST_SLOTS, NextSender};
use crate::path::*;
use crate::sink::{Full, Punt};

const SUITE: EspSuite = EspSuite::Aes128Gcm16;
const WORKERS: u16 = 3;
const BURST: usize = 32;

/// The gateway on three workers, whose turns the test gives.
struct Team {
    workers: Vec<World>,
    rings: Vec<FairRings<Handoff<HeapBuffer>>>,
    next: Vec<NextSender>,
}

/// A client and its SA.
#[derive(Clone, Copy)]
struct Client {
    spi: u32,
    inner: Ipv4Addr,
    owner: u16,
    /// Where its packets arrive, as a receive hash would have it: always by one worker.
    received_by: u16,
    /// The last packet sent in each direction.
    to_us: u32,
    to_client: u32,
}

impl Client {
    /// The `number`th client of this worker.
    fn of(owner: u16, received_by: u16, number: u8) -> Client {
        let mut spis = 0xc000_0100..;
        let spi = spis
            .by_ref()
            .filter(|spi| owner_of_spi(*spi, 1024, WORKERS) == owner)
            .nth(number.into())
            .unwrap();
        let inner = Ipv4Addr::new(10, 9, 0, 16 * (owner as u8 + 1) + number);
        Client { spi, inner, owner, received_by, to_us: 0, to_client: 0 }
    }
}

/// A worker's outlets: hand-offs by the rings, everything else on record.
struct Outlets<'a> {
    index: u16,
    rings: &'a [FairRings<Handoff<HeapBuffer>>],
    record: &'a mut Record,
}

impl Sink<HeapBuffer> for Outlets<'_> {
    fn tx(&mut self, port: PortId, frame: HeapBuffer) {
        self.record.tx(port, frame);
    }

    fn handoff(&mut self, worker: u16, item: Handoff<HeapBuffer>) -> Result<(), Handoff<HeapBuffer>> {
        self.rings[usize::from(worker)].push(self.index, item)
    }

    fn punt(&mut self, punt: Punt<'_>) -> Result<(), Full> {
        self.record.punt(punt)
    }

    fn event(&mut self, event: Event) -> Result<(), Full> {
        self.record.event(event)
    }

    fn reserve_sequence(&mut self, slot: u32, block_end: u64) {
        self.record.reserve_sequence(slot, block_end);
    }

    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics) {
        self.record.sa_statistics(slot, statistics);
    }
}

impl Team {
    fn new(clients: &[Client], slots: usize) -> Team {
        let mut workers: Vec<World> = (0..WORKERS)
            .map(|worker| World::silent(PathConfig { worker, workers: WORKERS, ..config() }))
            .collect();
        for (index, world) in (0..).zip(&mut workers) {
            world.introduce(OUTSIDE, PEER);
            world.introduce(INSIDE, HOST);
            for Client { spi, inner, owner, .. } in clients.iter().copied() {
                let sa = SaPair {
                    inbound_spi: spi,
                    peer_inner: inner.into(),
                    peer_selectors: vec![selector(inner, inner)],
                    ..pair(SUITE, false, UDP)
                };
                if owner == index {
                    let install = Operation::Install(WorkerSa::new(&sa).unwrap());
                    assert_eq!(world.apply(install), AckStatus::Done);
                }
                world.apply(Operation::SetOutbound { inner, inbound_spi: Some(spi) });
            }
            world.record = Record::default();
        }
        let ring = || FairRings::new(WORKERS.into(), slots);
        let many = usize::from(WORKERS);
        Team {
            workers,
            rings: std::iter::repeat_with(ring).take(many).collect(),
            next: vec![NextSender::default(); many],
        }
    }

    /// `count` packets of this client arrive, in both directions; each carries its number as UDP source port.
    fn arrive(&mut self, client: &mut Client, count: u32) {
        let index = usize::from(client.received_by);
        let number = |packet: u32| u16::try_from(packet).unwrap();
        for _ in 0..count {
            client.to_us += 1;
            let packet = udp_packet((client.inner, number(client.to_us)), (HOST, 9), b"up", true);
            let esp = to_us(SUITE, false, client.spi).seal(client.to_us.into(), &packet, 4);
            self.receive(index, OUTSIDE, &esp_frame(&esp, UDP));
            client.to_client += 1;
            let packet = udp_packet((HOST, number(client.to_client)), (client.inner, 9), b"down", true);
            self.receive(index, INSIDE, &frame(INSIDE, &packet));
        }
    }

    fn receive(&mut self, index: usize, port: PortId, frame: &[u8]) {
        let world = &mut self.workers[index];
        let mut outlets = Outlets { index: index as u16, rings: &self.rings, record: &mut world.record };
        let mut burst = vec![HeapBuffer::from_slice(frame)];
        world.path.receive(world.now, port, &mut burst, &mut outlets);
        while world.path.collect(world.now, &mut outlets) {}
    }

    /// This worker takes a burst from its rings; answers whether there was any.
    fn turn(&mut self, index: usize) -> bool {
        let world = &mut self.workers[index];
        let mut handed = Vec::new();
        self.rings[index].take(&mut self.next[index], BURST, &mut handed);
        let any = !handed.is_empty();
        let mut outlets = Outlets { index: index as u16, rings: &self.rings, record: &mut world.record };
        world.path.resume(world.now, &mut handed, &mut outlets);
        while world.path.collect(world.now, &mut outlets) {}
        any
    }

    fn drain(&mut self) {
        while (0..self.workers.len()).fold(false, |any, index| self.turn(index) | any) {}
    }

    /// The numbers of this client's packets that left, in their order: to the host, and to the client. All by its owner.
    fn left(&self, client: &Client) -> (Vec<u32>, Vec<u32>) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut sequence = 0;
        for (index, world) in (0..).zip(&self.workers) {
            for (port, frame) in &world.record.tx {
                let octets = strip(*port, frame);
                let inner = match *port {
                    INSIDE => octets,
                    // All clients here have the same keys: whose packet it is says the inner destination.
                    _ => {
                        let esp = esp_of(&octets);
                        let claimed = u32::from_be_bytes(esp[4..8].try_into().unwrap());
                        let opened = from_us(SUITE, false).open(claimed.into(), &esp).unwrap();
                        if ipv4::Packet::parse(&opened).unwrap().destination() == client.inner {
                            assert_eq!(claimed, sequence + 1, "sequence numbers leave in order");
                            sequence = claimed;
                        }
                        opened
                    }
                };
                let packet = ipv4::Packet::parse(&inner).unwrap();
                let number = u32::from(u16::from_be_bytes(packet.payload()[..2].try_into().unwrap()));
                let list = match (packet.source(), packet.destination()) {
                    (source, HOST) if source == client.inner => &mut up,
                    (HOST, destination) if destination == client.inner => &mut down,
                    _ => continue,
                };
                assert_eq!(index, client.owner);
                list.push(number);
            }
        }
        (up, down)
    }

    fn drops(&self, index: usize) -> Vec<(Drop, u64)> {
        self.workers[index].drops()
    }
}

fn all(count: u32) -> Vec<u32> {
    (1..=count).collect()
}

#[test]
fn an_sa_with_more_packets_than_its_owner_takes_costs_the_others_none() {
    const FLOOD: u32 = 500;
    const POLITE: u32 = 20;
    // The hot SA and one other are worker 1's, and come in by different workers; the rest shares the hot one's receiver.
    let mut hot = Client::of(1, 0, 0);
    let mut others = [Client::of(1, 2, 1), Client::of(0, 0, 0), Client::of(2, 0, 0), Client::of(2, 2, 1)];
    let clients: Vec<Client> = others.iter().copied().chain([hot]).collect();
    let mut team = Team::new(&clients, 0);
    // Worker 1 takes nothing all the while, so that the hot SA's ring fills.
    team.arrive(&mut hot, FLOOD);
    for client in &mut others {
        team.arrive(client, POLITE);
        team.turn(2);
    }
    team.drain();
    for client in &others {
        assert_eq!(team.left(client), (all(POLITE), all(POLITE)), "of worker {}", client.owner);
    }
    let refused = 2 * u64::from(FLOOD) - LEAST_SLOTS as u64;
    assert_eq!(team.drops(0), [(Drop::HandoffFull, refused)], "counted where it was refused");
    assert_eq!((team.drops(1), team.drops(2)), (vec![], vec![]));
    // What the ring took leaves in order: it alternated between the directions.
    assert_eq!(team.left(&hot), (all(LEAST_SLOTS as u32 / 2), all(LEAST_SLOTS as u32 / 2)));
    // And the hot SA works as before when there is room again.
    team.arrive(&mut hot, 1);
    team.drain();
    assert_eq!(team.left(&hot).0.last(), Some(&(FLOOD + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn order_within_an_sa_is_kept_in_both_directions(
        steps in proptest::collection::vec((0usize..6, 1u32..9), 1..60),
    ) {
        // Received by its owner, and by either of the other two.
        let mut clients = [Client::of(0, 0, 0), Client::of(1, 2, 0), Client::of(2, 0, 0)];
        let mut team = Team::new(&clients, 3 * 4096);
        for (what, count) in steps {
            match what {
                0..3 => team.arrive(&mut clients[what], count),
                _ => {
                    team.turn(what - 3);
                }
            }
        }
        team.drain();
        for client in &clients {
            prop_assert_eq!(team.left(client), (all(client.to_us), all(client.to_client)));
        }
        for index in 0..3 {
            prop_assert_eq!(team.drops(index), vec![]);
        }
        let handed: u64 = team.workers.iter().map(|world| world.flow(Flow::HandedOff)).sum();
        let [_, one, two] = clients;
        prop_assert_eq!(handed, u64::from(one.to_us + one.to_client + two.to_us + two.to_client));
    }
}
