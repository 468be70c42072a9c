//! Whatever comes in, nothing panics and nothing is lost: every packet is sent, dropped for one reason, punted, handed
//! over, waiting, or consumed.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::{Encapsulation, EspSuite};
use proptest::prelude::*;

use super::world::*;
use crate::path::PortId;

/// Both sides of the balance.
fn balance(world: &World, handed: usize) -> (u64, u64) {
    let flow = |flow| world.flow(flow);
    let made = [Flow::ArpRequests, Flow::ArpReplies, Flow::IcmpErrors, Flow::FragmentsMade, Flow::SentIke];
    let came = flow(Flow::RxPackets) + made.into_iter().map(flow).sum::<u64>();
    let consumed = [Flow::PuntedIke, Flow::NatKeepalives, Flow::EspDummies, Flow::ArpReceived];
    let dropped: u64 = Drop::ALL.iter().map(|reason| world.dropped(*reason)).sum();
    let sent = world.record.tx.len() + handed + world.path.waiting();
    (came, consumed.into_iter().map(flow).sum::<u64>() + dropped + sent as u64)
}

fn a_frame() -> impl Strategy<Value = (PortId, Vec<u8>)> {
    let port = prop_oneof![Just(OUTSIDE), Just(INSIDE)];
    let noise = prop::collection::vec(any::<u8>(), 0..120);
    let shaped = (port.clone(), noise.clone(), 0u8..12, 1u64..40).prop_map(|(port, noise, shape, n)| {
        let suite = EspSuite::Aes128CbcSha256;
        let seal = |spi, inner: &[u8], next| to_us(suite, false, spi).seal(n, inner, next);
        let (inner, port) = match shape {
            0 => (frame(port, &noise), port),
            1 => (frame(port, &ip(PEER, GATEWAY, 17, &noise)), port),
            2 => (frame(port, &ip(HOST, CLIENT_A, noise.first().copied().unwrap_or(0), &noise)), port),
            3 => (frame(OUTSIDE, &udp_packet((PEER, PEER_PORT), (GATEWAY, 4500), &noise, false)), OUTSIDE),
            4 => (frame(OUTSIDE, &udp_packet((PEER, 500), (GATEWAY, 500), &noise, true)), OUTSIDE),
            5 => (esp_frame(&[&SPI_A.to_be_bytes()[..], &noise].concat(), UDP), OUTSIDE),
            6 => (esp_frame(&seal(SPI_A, &noise, 4), UDP), OUTSIDE),
            7 => {
                (esp_frame(&seal(SPI_A, &echo(CLIENT_A, HOST, noise.len()), 4), Encapsulation::Esp), OUTSIDE)
            }
            8 => (esp_frame(&seal(SPI_B, &ip(CLIENT_B, CLIENT_A, 1, &noise), 4), UDP), OUTSIDE),
            9 => (esp_frame(&seal(SPI_B, &noise, noise.len() as u8), UDP), OUTSIDE),
            10 => (frame(INSIDE, &echo(HOST, CLIENT_A, 1400 + noise.len())), INSIDE),
            _ => (arp_frame(port, causeway_shared::net::arp::Operation::Request, HOST, INSIDE_GATEWAY), port),
        };
        (port, inner)
    });
    let mangled = (shaped.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |((port, mut frame), at, value)| {
            let at = at.index(frame.len());
            frame[at] = value;
            (port, frame)
        },
    );
    prop_oneof![1 => (port, noise), 6 => shaped, 3 => mangled]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_packet_is_accounted_for(
        frames in prop::collection::vec(a_frame(), 1..80), known: bool, full in prop::bool::weighted(0.1), workers in 1u16..3,
    ) {
        let config = crate::path::PathConfig { workers, worker: workers - 1, ..config() };
        let mut world = World::silent(config);
        for (spi, inner) in [(SPI_A, CLIENT_A), (SPI_B, CLIENT_B)] {
            let mut sa = pair(EspSuite::Aes128CbcSha256, false, UDP);
            sa.inbound_spi = spi;
            sa.peer_inner = inner.into();
            sa.peer_selectors = vec![selector(inner, inner)];
            world.install(sa);
        }
        if known {
            world.introduce(OUTSIDE, PEER);
            world.introduce(INSIDE, HOST);
        }
        world.record.full = full;
        for burst in frames.chunks(7) {
            for port in [OUTSIDE, INSIDE] {
                let of_port: Vec<_> = burst.iter().filter(|(to, _)| *to == port).map(|(_, f)| f.clone()).collect();
                world.receive(port, &of_port);
            }
            world.tick(100);
        }
        let handed = world.record.handoffs.iter().filter(|(_, item)| !matches!(item, crate::path::Handoff::Neighbour { .. })).count();
        let (came, went) = balance(&world, handed);
        prop_assert_eq!(came, went, "{:?}", world.drops());
        for _ in 0..50 {
            world.tick(100);
        }
        prop_assert_eq!(world.path.waiting(), 0);
        let (came, went) = balance(&world, handed);
        prop_assert_eq!(came, went, "after everything timed out: {:?}", world.drops());
    }
}
