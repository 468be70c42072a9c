//! Two workers: each SA has one owner, and packets find it from wherever they come in.

use causeway_shared::counters::Flow;
use causeway_shared::net::arp;
use causeway_shared::sa::{EspSuite, SaPair};
use causeway_shared::wire::AckStatus;

use super::world::*;
use crate::path::*;

const SUITE: EspSuite = EspSuite::Aes128CbcSha512;
const BOTH: [(u32, std::net::Ipv4Addr); 2] = [(SPI_A, CLIENT_A), (SPI_B, CLIENT_B)];

/// Worker 1 owns A's SA (odd slot), worker 0 owns B's.
pub fn pair_of_workers() -> [World; 2] {
    let mut workers = [0, 1].map(|worker| World::silent(PathConfig { worker, workers: 2, ..config() }));
    for (spi, inner) in BOTH {
        let sa = SaPair {
            inbound_spi: spi,
            peer_inner: inner.into(),
            peer_selectors: vec![selector(inner, inner)],
            ..pair(SUITE, false, UDP)
        };
        let owner = owner_of_spi(spi, 1024, 2);
        let install = Operation::Install(WorkerSa::new(&sa).unwrap());
        assert_eq!(workers[usize::from(owner)].apply(install), AckStatus::Done);
        for world in &mut workers {
            world.apply(Operation::SetOutbound { inner, inbound_spi: Some(spi) });
        }
    }
    // One worker hears the neighbours and tells the other.
    workers[0].introduce(OUTSIDE, PEER);
    workers[0].introduce(INSIDE, HOST);
    deliver(&mut workers);
    for world in &mut workers {
        world.record = Record::default();
    }
    workers
}

/// Carries what each worker handed over to the other, until nothing is left.
pub fn deliver(workers: &mut [World; 2]) {
    for _ in 0..4 {
        for from in 0..2 {
            let handed = std::mem::take(&mut workers[from].record.handoffs);
            let mut items: Vec<_> = handed
                .into_iter()
                .map(|(to, item)| {
                    assert_eq!(usize::from(to), 1 - from);
                    item
                })
                .collect();
            let other = &mut workers[1 - from];
            other.path.resume(other.now, &mut items, &mut other.record);
            other.collect();
        }
    }
}

#[test]
fn packets_find_the_owner_of_their_sa_in_both_directions() {
    for (spi, inner) in BOTH {
        for received_by in 0..2 {
            let mut workers = pair_of_workers();
            let owner = usize::from(owner_of_spi(spi, 1024, 2));
            let packet = echo(inner, HOST, 10);
            let frame_in = esp_frame(&to_us(SUITE, false, spi).seal(1, &packet, 4), UDP);
            workers[received_by].receive(OUTSIDE, &[frame_in]);
            deliver(&mut workers);
            assert_eq!(workers[owner].sent(INSIDE), forwarded(&packet), "{spi:x} by {received_by}");

            let packet = echo(HOST, inner, 10);
            workers[received_by].receive(INSIDE, &[frame(INSIDE, &packet)]);
            deliver(&mut workers);
            let opened = from_us(SUITE, false).open(1, &workers[owner].sent_esp()).unwrap();
            assert_eq!(opened[..packet.len()], forwarded(&packet), "TTL goes down once");
            let handed = if owner == received_by { 0 } else { 2 };
            assert_eq!(workers[received_by].flow(Flow::HandedOff), handed);
        }
    }
}

#[test]
fn a_hairpin_crosses_workers() {
    let mut workers = pair_of_workers();
    let packet = echo(CLIENT_A, CLIENT_B, 10);
    workers[0].receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &packet, 4), UDP)]);
    deliver(&mut workers);
    let opened = from_us(SUITE, false).open(1, &workers[0].sent_esp()).unwrap();
    assert_eq!(opened[..packet.len()], forwarded(&packet));
}

#[test]
fn an_arp_answer_to_one_worker_frees_what_waits_in_the_other() {
    let mut workers = [0, 1].map(|worker| World::silent(PathConfig { worker, workers: 2, ..config() }));
    workers[1].install(pair(SUITE, false, UDP));
    let packet = echo(CLIENT_A, HOST, 10);
    workers[1].receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &packet, 4), UDP)]);
    workers[1].record.tx.clear();
    assert_eq!(workers[1].path.waiting(), 1);
    // The table of worker 0 knows the host for long already: the answer must still be passed on.
    workers[0].introduce(INSIDE, HOST);
    workers[0].record.handoffs.clear();
    workers[0].receive(INSIDE, &[arp_frame(INSIDE, arp::Operation::Reply, HOST, INSIDE_GATEWAY)]);
    deliver(&mut workers);
    assert_eq!(workers[1].sent(INSIDE), forwarded(&packet));
}

#[test]
fn a_full_ring_to_the_owner_is_a_reason() {
    let mut workers = pair_of_workers();
    workers[0].record.full = true;
    workers[0].receive(OUTSIDE, &[esp_frame(&to_us(SUITE, false, SPI_A).seal(1, &[0; 20], 4), UDP)]);
    workers[0].receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
    assert_eq!(workers[0].drops(), [(causeway_shared::counters::Drop::HandoffFull, 2)]);
}
