//! IKE and ESP that arrive in IP fragments: put together whoever receives them, and never by guesswork.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::ipv4;
use causeway_shared::net::reassembly::{PACKETS, TIMEOUT_MS};
use causeway_shared::sa::{Encapsulation, EspSuite};

use super::workers::{deliver, pair_of_workers};
use super::world::*;

const SUITE: EspSuite = EspSuite::Aes256Gcm16;

/// Frames of `packet` cut as a router cuts it, with payloads of at most `size` octets.
fn cut(packet: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    let whole = ipv4::Packet::parse(packet).unwrap();
    let count = whole.payload().len().div_ceil(size);
    let piece = |(index, payload): (usize, &[u8])| {
        let piece = ip_with(whole.source(), whole.destination(), whole.protocol(), payload, |header| {
            header.identification = identification;
            header.more_fragments = index + 1 < count;
            header.fragment_offset = (index * size) as u16;
        });
        frame(OUTSIDE, &piece)
    };
    whole.payload().chunks(size).enumerate().map(piece).collect()
}

fn ike(port: u16, len: usize) -> Vec<u8> {
    let mut payload = vec![if port == 4500 { 0 } else { 7 }; 4];
    payload.extend((0..len).map(|at| at as u8));
    udp_packet((PEER, 700), (GATEWAY, port), &payload, true)
}

#[test]
fn long_ike_messages_reach_the_control_plane_from_both_ports_in_any_order() {
    // Far longer than any buffer here, and the longest that a slot carries.
    for (port, len) in [(500, 3000), (4500, 9000), (500, causeway_shared::wire::MAX_DATAGRAM - 4)] {
        let mut world = World::new();
        let packet = ike(port, len);
        let mut frames = cut(&packet, 1480, 7);
        let count = frames.len() as u64;
        frames.reverse();
        for frame in frames {
            assert_eq!(world.record.punts, []);
            world.receive(OUTSIDE, &[frame]);
        }
        let payload = ipv4::Packet::parse(&packet).unwrap().payload()[8..].to_vec();
        let message = if port == 4500 { payload[4..].to_vec() } else { payload };
        assert_eq!(world.record.punts, [(GATEWAY.into(), port, PEER.into(), 700, message)]);
        let flows = [Flow::FragmentsTaken, Flow::Reassembled, Flow::PuntedIke].map(|flow| world.flow(flow));
        assert_eq!((flows, world.drops()), ([count, 1, 1], vec![]));
    }
}

#[test]
fn esp_in_fragments_is_opened_plain_and_in_udp() {
    for encapsulation in [Encapsulation::Esp, UDP] {
        let mut world = World::with_clients(SUITE, false, encapsulation);
        let inner = echo(CLIENT_A, HOST, 1372);
        let esp = to_us(SUITE, false, SPI_A).seal(1, &inner, 4);
        let packet = esp_packet(&esp, encapsulation, PEER, PEER_PORT);
        let mut frames = cut(&packet, 552, 9);
        frames.rotate_left(1);
        world.receive(OUTSIDE, &frames);
        assert_eq!(world.sent(INSIDE), forwarded(&inner));
        assert_eq!((world.flow(Flow::Reassembled), world.drops()), (1, vec![]));
        world.receive(OUTSIDE, &cut(&packet, 552, 10));
        assert_eq!(world.drops(), [(Drop::Replay, 1)], "a copy in other fragments is a replay still");
    }
}

#[test]
fn a_wrong_octet_or_checksum_in_a_fragment_is_found() {
    let mut world = World::with_clients(SUITE, false, Encapsulation::Esp);
    let esp = to_us(SUITE, false, SPI_A).seal(1, &echo(CLIENT_A, HOST, 100), 4);
    let mut frames = cut(&esp_packet(&esp, Encapsulation::Esp, PEER, 0), 64, 3);
    *frames[1].last_mut().unwrap() ^= 1;
    world.receive(OUTSIDE, &frames);
    let mut frames = cut(&ike(500, 200), 64, 4);
    *frames[1].last_mut().unwrap() ^= 1;
    world.receive(OUTSIDE, &frames);
    assert_eq!(world.drops(), [(Drop::BadUdp, 1), (Drop::BadIcv, 1)]);
    assert_eq!((world.record.punts.len(), world.record.tx.len()), (0, 0));
}

#[test]
fn overlapping_fragments_end_their_packet_and_no_other() {
    let mut world = World::new();
    let (evil, good) = (cut(&ike(500, 200), 64, 3), cut(&ike(500, 200), 64, 4));
    let forged = {
        let shifted = ip_with(PEER, GATEWAY, 17, &[9; 64], |header| {
            header.identification = 3;
            header.more_fragments = true;
            header.fragment_offset = 32;
        });
        frame(OUTSIDE, &shifted)
    };
    world.receive(OUTSIDE, &[evil[0].clone(), good[0].clone(), evil[1].clone(), forged]);
    assert_eq!(world.drops(), [(Drop::FragmentOverlap, 3)]);
    world.receive(OUTSIDE, &[evil[2].clone(), good[2].clone(), good[1].clone(), good[3].clone()]);
    assert_eq!((world.record.punts.len(), world.drops()), (1, vec![(Drop::FragmentOverlap, 4)]));
}

#[test]
fn lone_fragments_leave_in_time_and_a_flood_displaces_them() {
    let mut world = World::new();
    world.receive(OUTSIDE, &[cut(&ike(500, 200), 64, 3).swap_remove(0)]);
    world.tick(TIMEOUT_MS - 1);
    assert_eq!(world.drops(), []);
    world.tick(1);
    assert_eq!(world.drops(), [(Drop::FragmentTimeout, 1)]);
    let flood: Vec<_> =
        (0..3 * PACKETS as u16).map(|id| cut(&ike(500, 200), 64, id).swap_remove(0)).collect();
    world.receive(OUTSIDE, &flood);
    assert!(world.dropped(Drop::FragmentDisplaced) >= 2 * PACKETS as u64);
    let latest = cut(&ike(500, 200), 64, 3 * PACKETS as u16 - 1);
    world.receive(OUTSIDE, &latest[1..]);
    assert_eq!(world.record.punts.len(), 1, "who comes last during a flood is served");
}

#[test]
fn esp_longer_than_a_buffer_is_a_reason() {
    let mut world = World::with_clients(SUITE, false, Encapsulation::Esp);
    world.receive(OUTSIDE, &cut(&esp_packet(&[7; 4000], Encapsulation::Esp, PEER, 0), 1480, 3));
    assert_eq!(world.drops(), [(Drop::BadFragment, 1)]);
}

#[test]
fn fragments_that_come_in_by_two_workers_meet_in_one() {
    let mut assemblers = [0, 0];
    for identification in 0..16 {
        let mut workers = pair_of_workers();
        let packet = ike(4500, 2000);
        let frames = cut(&packet, 1024, identification);
        workers[0].receive(OUTSIDE, &frames[..1]);
        workers[1].receive(OUTSIDE, &frames[1..]);
        deliver(&mut workers);
        let punts = [0, 1].map(|index: usize| workers[index].record.punts.len());
        assert_eq!(punts.iter().sum::<usize>(), 1, "{identification}");
        assemblers[punts[1]] += 1;
        assert_eq!(workers.iter().map(|world| world.flow(Flow::FragmentsTaken)).sum::<u64>(), 2);
    }
    assert!(assemblers.iter().all(|count| *count > 2), "both do their part: {assemblers:?}");

    // Put together by either worker, ESP finds the owner of its SA.
    for identification in 0..4 {
        let mut workers = pair_of_workers();
        let suite = EspSuite::Aes128CbcSha512;
        let inner = echo(CLIENT_A, HOST, 600);
        let esp = to_us(suite, false, SPI_A).seal(1, &inner, 4);
        workers[0].receive(OUTSIDE, &cut(&esp_packet(&esp, UDP, PEER, PEER_PORT), 512, identification));
        deliver(&mut workers);
        assert_eq!(workers[1].sent(INSIDE), forwarded(&inner));
    }

    let mut workers = pair_of_workers();
    workers[0].record.full = true;
    for identification in 0..16 {
        workers[0].receive(OUTSIDE, &[cut(&ike(500, 200), 64, identification).swap_remove(0)]);
    }
    assert!(workers[0].dropped(Drop::HandoffFull) > 2);
}
