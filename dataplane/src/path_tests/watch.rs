//! Captures, traces and flows: what is seen is what went through, within its bounds, and nothing else changes.

use std::net::Ipv6Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ipv4, ipv6};
use causeway_shared::sa::{Encapsulation, EspSuite};
use causeway_shared::wire::{
    ALL_WATCHES, AckStatus, CaptureOrder, FlowEnd, FlowOrder, FlowRecord, MAX_SEEN, MAX_WATCHES, Observation,
    SeenPacket, TraceFilter, TraceOrder, TracedPacket, Watch, WatchOrder, Way,
};

use super::outer6::{esp6, over6};
use super::world::*;
use super::world6::*;
use super::{device, workers};
use crate::path::{Operation, Watcher};

const SUITE: EspSuite = EspSuite::Aes256Gcm16;
const EVERYTHING: CaptureOrder = CaptureOrder {
    session_id: 1,
    outer: true,
    inner: true,
    snap_len: MAX_SEEN as u16,
    max_packets: 1000,
    max_octets: 1 << 20,
    max_ms: 60_000,
};

fn watch(world: &mut World, id: u32, order: WatchOrder) -> AckStatus {
    world.apply(Operation::Watch(Watcher::new(&Watch { id, order })))
}

fn traced(world: &mut World, filter: TraceFilter, packets: u32) {
    let order = TraceOrder { filter, packets, max_ms: 10_000 };
    assert_eq!(watch(world, 9, WatchOrder::Trace(order)), AckStatus::Done);
}

fn observed(world: &mut World) -> Vec<Observation> {
    std::mem::take(&mut world.record.observations)
}

fn seen(world: &mut World) -> Vec<SeenPacket> {
    observed(world)
        .into_iter()
        .map(|observation| match observation {
            Observation::Packet(seen) => seen,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn stories(world: &mut World) -> Vec<TracedPacket> {
    observed(world)
        .into_iter()
        .filter_map(|observation| match observation {
            Observation::Trace(story) => Some(story),
            _ => None,
        })
        .collect()
}

fn flows(world: &mut World) -> Vec<FlowRecord> {
    let mut flows: Vec<FlowRecord> = observed(world)
        .into_iter()
        .map(|observation| match observation {
            Observation::Flow(flow) => flow,
            other => panic!("{other:?}"),
        })
        .collect();
    flows.sort_by_key(|flow| (flow.key.source, flow.key.destination, flow.key.source_port));
    flows
}

#[test]
fn a_capture_holds_the_packets_of_its_session_before_and_after_crypto() {
    for (suite, encapsulation) in
        EspSuite::ALL.iter().flat_map(|suite| [(*suite, UDP), (*suite, Encapsulation::Esp)])
    {
        let mut world = World::with_clients(suite, true, encapsulation);
        assert_eq!(watch(&mut world, 3, WatchOrder::Capture(EVERYTHING)), AckStatus::Done);
        let client = to_us(suite, true, SPI_A);
        let up: Vec<Vec<u8>> = (0..40).map(|number| echo(CLIENT_A, HOST, number * 7)).collect();
        let sealed: Vec<Vec<u8>> = (1..)
            .zip(&up)
            .map(|(sequence, packet)| {
                esp_packet(&client.seal(sequence, packet, 4), encapsulation, PEER, PEER_PORT)
            })
            .collect();
        world.receive(OUTSIDE, &sealed.iter().map(|packet| frame(OUTSIDE, packet)).collect::<Vec<_>>());
        let all = seen(&mut world);
        let pick = |all: &[SeenPacket], inner| -> Vec<Vec<u8>> {
            all.iter().filter(|seen| seen.seen.inner == inner).map(|seen| seen.octets.clone()).collect()
        };
        assert!(all.iter().all(|seen| seen.seen.way == Way::FromPeer && seen.seen.inbound_spi == SPI_A));
        assert_eq!(pick(&all, false), sealed, "{suite}: as it came, outer header and all");
        assert_eq!(pick(&all, true), up, "{suite}: as it was inside");

        world.record.tx.clear();
        let down: Vec<Vec<u8>> = (0..40).map(|number| echo(HOST, CLIENT_A, number * 7)).collect();
        world.receive(INSIDE, &down.iter().map(|packet| frame(INSIDE, packet)).collect::<Vec<_>>());
        let all = seen(&mut world);
        let sent: Vec<Vec<u8>> = world.record.tx.iter().map(|(_, frame)| strip(OUTSIDE, frame)).collect();
        let whole: Vec<Vec<u8>> = pick(&all, false);
        assert_eq!((whole.len(), sent.len()), (40, 40), "{suite} {:?}", world.drops());
        for (whole, sent) in whole.iter().zip(&sent) {
            let (seen, sent) = (ipv4::Packet::parse(whole).unwrap(), ipv4::Packet::parse(sent).unwrap());
            assert_eq!((seen.source(), seen.destination()), (sent.source(), sent.destination()));
            assert_eq!((seen.payload(), seen.protocol()), (sent.payload(), sent.protocol()));
        }
        assert_eq!(pick(&all, true), down.iter().map(|packet| forwarded(packet)).collect::<Vec<_>>());
        assert!(all.iter().all(|seen| seen.seen.way == Way::ToPeer));
        // Forged packets are seen outside and nowhere else.
        let mut forged = sealed[0].clone();
        *forged.last_mut().unwrap() ^= 1;
        forged[28 + 7] = 200;
        world.receive(OUTSIDE, &[frame(OUTSIDE, &forged)]);
        assert!(seen(&mut world).iter().all(|seen| !seen.seen.inner));
    }
}

#[test]
fn a_capture_over_ipv6_has_the_outer_headers_of_ipv6() {
    for encapsulation in [Encapsulation::Esp, UDP] {
        let mut world = World::six(config6());
        world.connect6(over6(SPI_A, SUITE, encapsulation));
        assert_eq!(watch(&mut world, 3, WatchOrder::Capture(EVERYTHING)), AckStatus::Done);
        let esp = to_us(SUITE, false, SPI_A).seal(1, &echo(CLIENT_A, HOST, 50), 4);
        let arrived = esp6(&esp, encapsulation, PEER6, PEER_PORT);
        world.receive(OUTSIDE, std::slice::from_ref(&arrived));
        let all = seen(&mut world);
        assert_eq!(all[0].octets, arrived[14..]);
        assert_eq!(all[1].octets, echo(CLIENT_A, HOST, 50));
        world.record.tx.clear();
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 50))]);
        let all = seen(&mut world);
        assert_eq!(all[1].octets, world.record.tx[0].1[14..], "the very packet that left");
        let (source, destination) = {
            let packet = ipv6::Packet::parse(&all[1].octets).unwrap();
            (packet.source(), packet.destination())
        };
        assert_eq!((source, destination), (GATEWAY6, PEER6));
        assert_ne!(source, Ipv6Addr::UNSPECIFIED);
    }
}

#[test]
fn a_capture_ends_at_each_of_its_bounds_and_says_so_once() {
    let orders = [
        CaptureOrder { max_packets: 5, ..EVERYTHING },
        CaptureOrder { max_octets: 5 * 60, snap_len: 60, ..EVERYTHING },
        CaptureOrder { max_ms: 100, ..EVERYTHING },
    ];
    for order in orders {
        let mut world = World::with_clients(SUITE, false, UDP);
        let order = CaptureOrder { outer: false, ..order };
        assert_eq!(watch(&mut world, 3, WatchOrder::Capture(order)), AckStatus::Done);
        let down: Vec<Vec<u8>> = (0..5).map(|_| frame(INSIDE, &echo(HOST, CLIENT_A, 100))).collect();
        world.receive(INSIDE, &down);
        let first = seen(&mut world);
        assert_eq!(first.len(), 5);
        assert!(first.iter().all(|seen| seen.octets.len() == usize::from(order.snap_len).min(128)));
        assert!(first.iter().all(|seen| seen.seen.whole_len == 128));
        if order.max_ms == 100 {
            world.tick(100);
        }
        world.receive(INSIDE, &down);
        // A full ring loses no word of the end.
        world.record.full = true;
        world.tick(100);
        world.record.full = false;
        world.tick(100);
        world.tick(100);
        assert_eq!(observed(&mut world), [Observation::Ended { watch: 3 }], "{order:?}");
        assert_eq!(world.flow(Flow::ObservationsLost), 0);
    }
}

#[test]
fn what_finds_the_ring_full_is_lost_and_counted_and_the_packets_go_on() {
    let mut world = World::with_clients(SUITE, false, UDP);
    watch(&mut world, 3, WatchOrder::Capture(EVERYTHING));
    watch(&mut world, 4, WatchOrder::Capture(CaptureOrder { session_id: 2, ..EVERYTHING }));
    world.record.full = true;
    world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 100))]);
    assert_eq!((world.flow(Flow::ObservationsLost), world.record.tx.len()), (2, 1));
    world.record.full = false;
    // Ended watches see nothing more.
    assert_eq!(world.apply(Operation::Unwatch { id: ALL_WATCHES }), AckStatus::Done);
    world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 100))]);
    assert_eq!(observed(&mut world), []);
}

#[test]
fn watches_are_bounded_and_replaced_by_their_number() {
    let mut world = World::with_clients(SUITE, false, UDP);
    for id in (1..=MAX_WATCHES as u32).chain([1]) {
        assert_eq!(watch(&mut world, id, WatchOrder::Capture(EVERYTHING)), AckStatus::Done);
    }
    assert_eq!(watch(&mut world, 99, WatchOrder::Capture(EVERYTHING)), AckStatus::TableFull);
    assert_eq!(world.apply(Operation::Unwatch { id: 4 }), AckStatus::Done);
    assert_eq!(world.apply(Operation::Unwatch { id: 4 }), AckStatus::Done);
    assert_eq!(watch(&mut world, 99, WatchOrder::Capture(EVERYTHING)), AckStatus::Done);
}

#[test]
fn a_trace_tells_each_stage_of_the_next_packets_that_match() {
    let mut world = World::with_clients(SUITE, false, UDP);
    traced(&mut world, TraceFilter { peer: Some(PEER.into()), spi: Some(SPI_A), inner: None }, 2);
    let client = to_us(SUITE, false, SPI_A);
    let esp = |sequence| esp_frame(&client.seal(sequence, &echo(CLIENT_A, HOST, 10), 4), UDP);
    let other = esp_frame(&to_us(SUITE, false, SPI_B).seal(1, &echo(CLIENT_B, HOST, 10), 4), UDP);
    // The second is a replay, the third is not traced any more.
    world.receive(OUTSIDE, &[other.clone(), esp(1), other, esp(1), esp(2)]);
    let stories = stories(&mut world);
    let [good, replay] = &stories[..] else { panic!("{stories:?}") };
    assert!(good.entry.contains(&format!("ESP in UDP spi {SPI_A:#010x} seq 1")), "{}", good.entry);
    let stages: Vec<&str> = good.steps.iter().map(|step| step.stage.as_str()).collect();
    let expected = ["classify", "natt", "esp_in_lookup", "esp_in_replay", "esp_in_open"];
    assert!(stages.starts_with(&expected), "{stages:?}");
    if !device::wanted() {
        assert_eq!(stages[5..], ["esp_in_accept", "policy_in", "forward", "route"]);
        assert!(good.left[0].contains(&format!("{CLIENT_A} > {HOST} ICMP echo request")), "{:?}", good.left);
        let last = replay.steps.last().unwrap();
        assert_eq!((last.stage.as_str(), last.did.as_str()), ("esp_in_replay", "dropped: replay"));
        assert!(replay.left.is_empty());
    }
    assert_eq!(world.record.tx.len(), 3, "traced or not, and in order; {:?}", world.drops());
    world.tick(100);
    assert_eq!(observed(&mut world), [Observation::Ended { watch: 9 }]);
}

#[test]
fn a_trace_by_inner_address_finds_both_directions_and_drops_on_the_way_in() {
    let mut world = World::with_clients(SUITE, false, UDP);
    traced(&mut world, TraceFilter { inner: Some(CLIENT_A.into()), ..TraceFilter::default() }, 9);
    let client = to_us(SUITE, false, SPI_A);
    world.receive(OUTSIDE, &[esp_frame(&client.seal(1, &echo(CLIENT_A, HOST, 10), 4), UDP)]);
    world.receive(
        INSIDE,
        &[frame(INSIDE, &echo(HOST, CLIENT_A, 10)), frame(INSIDE, &echo(HOST, CLIENT_B, 10))],
    );
    // No selector takes this one.
    let stranger = echo([172, 16, 0, 1].into(), CLIENT_A, 10);
    world.receive(INSIDE, &[frame(INSIDE, &stranger)]);
    // Not for our Ethernet address.
    let mut misled = frame(INSIDE, &echo(HOST, CLIENT_A, 10));
    misled[5] ^= 0xff;
    world.receive(INSIDE, &[misled]);
    let stories = stories(&mut world);
    assert_eq!(stories.len(), 4, "{stories:?}");
    assert!(stories[1].left[0].contains("ESP in UDP"), "{:?}", stories[1]);
    let did = |story: &TracedPacket| story.steps.last().unwrap().did.clone();
    assert!(
        did(&stories[2]).contains("dropped: selector_mismatch") || world.dropped(Drop::SelectorMismatch) == 1
    );
    assert_eq!((did(&stories[3]), stories[3].steps.len()), ("dropped: not_our_mac".to_owned(), 1));
}

#[test]
fn a_trace_goes_on_at_the_worker_that_owns_the_sa() {
    let mut workers = workers::pair_of_workers();
    for world in &mut workers {
        traced(world, TraceFilter { inner: Some(CLIENT_A.into()), ..TraceFilter::default() }, 5);
    }
    workers[0].receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 10))]);
    workers::deliver(&mut workers);
    let [first, second] = [0, 1].map(|worker| stories(&mut workers[worker]));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(first[0].left, ["to worker 1, which goes on with it"]);
    assert!(second[0].entry.starts_with("from another worker: "), "{}", second[0].entry);
    assert_eq!(workers[1].record.tx.len(), 1);
}

#[test]
fn flows_are_counted_by_direction_and_reported_when_they_rest_or_go_on() {
    let mut world = World::with_clients(SUITE, false, UDP);
    let order = FlowOrder { active_ms: 10_000, idle_ms: 2_000 };
    assert_eq!(watch(&mut world, 1, WatchOrder::Flows(order)), AckStatus::Done);
    let client = to_us(SUITE, false, SPI_A);
    let request = udp_packet((CLIENT_A, 5000), (HOST, 53), b"question", true);
    let answer = udp_packet((HOST, 53), (CLIENT_A, 5000), b"longer answer", true);
    for sequence in 1..=3 {
        world.receive(OUTSIDE, &[esp_frame(&client.seal(sequence, &request, 4), UDP)]);
        world.receive(INSIDE, &[frame(INSIDE, &answer)]);
        world.now.monotonic_ms += 500;
    }
    // Rest: every set is looked at within 32 ticks.
    (0..60).for_each(|_| world.tick(100));
    let reported = flows(&mut world);
    let [down, up] = &reported[..] else { panic!("{reported:?}") };
    assert_eq!((up.packets, up.octets, up.end), (3, 3 * request.len() as u64, FlowEnd::Idle));
    assert_eq!((down.packets, down.octets), (3, 3 * answer.len() as u64));
    assert_eq!((up.key.way, up.key.source_port, up.key.destination_port), (Way::FromPeer, 5000, 53));
    assert_eq!((down.key.way, down.key.session_id, down.key.protocol), (Way::ToPeer, 1, 17));
    assert_eq!(up.last_ms - up.first_ms, 1_000);
    // One that goes on.
    for _ in 0..150 {
        world.receive(INSIDE, &[frame(INSIDE, &answer)]);
        world.tick(100);
    }
    let reported = flows(&mut world);
    assert!(!reported.is_empty() && reported.iter().all(|flow| flow.end == FlowEnd::Active));
    let active: u64 = reported.iter().map(|flow| flow.packets).sum();
    // Its SA goes.
    world.receive(INSIDE, &[frame(INSIDE, &answer)]);
    assert_eq!(world.apply(Operation::Remove { inbound_spi: SPI_A }), AckStatus::Done);
    let reported = flows(&mut world);
    assert_eq!((reported[0].end, reported[0].packets + active), (FlowEnd::Forced, 151));
}

#[test]
fn more_flows_than_the_table_holds_lose_their_place_but_not_their_packets() {
    let mut world = World::with_clients(SUITE, false, UDP);
    watch(&mut world, 1, WatchOrder::Flows(FlowOrder { active_ms: 10_000, idle_ms: 10_000 }));
    let count = crate::watch::MAX_FLOWS + 500;
    for number in 0..count {
        let port = (number % 60_000) as u16 + 1;
        let packet = udp_packet((HOST, port), (CLIENT_A, 7), b"x", false);
        world.receive(INSIDE, &[frame(INSIDE, &packet)]);
    }
    assert!(!world.record.observations.is_empty());
    assert_eq!(world.apply(Operation::Unwatch { id: 1 }), AckStatus::Done);
    let reported = flows(&mut world);
    assert_eq!(reported.iter().map(|flow| flow.packets).sum::<u64>(), count as u64);
    assert!(reported.iter().any(|flow| flow.end == FlowEnd::Displaced));
}
