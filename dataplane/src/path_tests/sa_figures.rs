//! What is told of single SAs: packets refused, and figures published in time.

use std::net::Ipv4Addr;

use causeway_shared::counters::Drop;
use causeway_shared::sa::{EspSuite, SaLimits, SaPair};
use causeway_shared::wire::AckStatus;

use super::world::*;
use crate::path::*;

const SUITE: EspSuite = EspSuite::Aes256CbcSha256;
const SLOT_A: u32 = SPI_A & 1023;

/// Name, port, frame, the reason it is dropped for, and the direction of A's SA that counts it.
type Row = (&'static str, PortId, Vec<u8>, Drop, Option<SaDirection>);

#[test]
fn a_refused_packet_counts_for_its_sa_and_for_no_other() {
    let seal = |n, inner: &[u8], next| esp_frame(&to_us(SUITE, false, SPI_A).seal(n, inner, next), UDP);
    let good = seal(1, &echo(CLIENT_A, HOST, 1), 4);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let stranger = Ipv4Addr::new(172, 16, 0, 1);
    let table: [Row; 8] = [
        ("forged", OUTSIDE, forged, Drop::BadIcv, Some(SaDirection::Inbound)),
        ("too old", OUTSIDE, seal(0, &echo(CLIENT_A, HOST, 1), 4), Drop::Replay, Some(SaDirection::Inbound)),
        ("no such header", OUTSIDE, seal(1, &[0; 20], 99), Drop::BadEspFormat, Some(SaDirection::Inbound)),
        ("bad inner packet", OUTSIDE, seal(1, &[0; 20], 4), Drop::BadIpv4Header, Some(SaDirection::Inbound)),
        (
            "another's source",
            OUTSIDE,
            seal(1, &echo(CLIENT_B, HOST, 1), 4),
            Drop::SelectorMismatch,
            Some(SaDirection::Inbound),
        ),
        (
            "cut inner packet",
            OUTSIDE,
            seal(1, &echo(CLIENT_A, INSIDE_GATEWAY, 1)[..20], 4),
            Drop::BadIpv4Header,
            Some(SaDirection::Inbound),
        ),
        (
            "from where the client may not reach",
            INSIDE,
            frame(INSIDE, &echo(stranger, CLIENT_A, 1)),
            Drop::SelectorMismatch,
            Some(SaDirection::Outbound),
        ),
        (
            "unknown SPI",
            OUTSIDE,
            esp_frame(&to_us(SUITE, false, SPI_A + 9).seal(1, &[0; 20], 4), UDP),
            Drop::UnknownSpi,
            None,
        ),
    ];
    for (name, port, frame, reason, direction) in table {
        let mut world = World::with_clients(SUITE, false, UDP);
        world.receive(port, &[frame]);
        assert_eq!(world.drops(), [(reason, 1)], "{name}");
        let expected: Vec<_> = direction.map(|direction| (SLOT_A, direction)).into_iter().collect();
        assert_eq!(world.record.sa_drops, expected, "{name}");
    }
}

#[test]
fn an_sa_that_ended_counts_what_it_refuses() {
    let mut world = World::new();
    world.install(SaPair {
        limits: SaLimits { hard_packets: 1, ..SaLimits::default() },
        ..pair(SUITE, false, UDP)
    });
    for _ in 0..3 {
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 1))]);
    }
    assert_eq!(world.drops(), [(Drop::SaExpired, 2)]);
    assert_eq!(world.record.sa_drops, [(SLOT_A, SaDirection::Outbound); 2]);
}

/// Many SAs in one burst: the worker publishes a few after it and the rest when it is idle, each once, with all it carried.
#[test]
fn figures_that_wait_are_published_once_and_before_an_sa_goes() {
    let mut world = World::new();
    let spi = |n: u32| 0xa000_0100 + n;
    let inner = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 9, 0, 100)) + n);
    for n in 0..40 {
        let mut sa = pair(SUITE, false, UDP);
        (sa.inbound_spi, sa.peer_inner) = (spi(n), inner(n).into());
        sa.peer_selectors = vec![selector(inner(n), inner(n))];
        world.install(sa);
    }
    world.record.statistics.clear();
    let frames: Vec<_> = (0..80).map(|n| frame(INSIDE, &echo(HOST, inner(n % 40), 1))).collect();
    world.receive(INSIDE, &frames);
    assert!(world.record.statistics.len() < 40);
    assert_eq!(world.apply(Operation::Remove { inbound_spi: spi(39) }), AckStatus::Done);
    assert_eq!(world.record.statistics.last().unwrap().1.out_packets, 2, "the last figures of one that goes");
    world.path.idle(&mut world.record);
    for n in 0..40 {
        let of_it = |(slot, _): &&(u32, SaStatistics)| *slot == spi(n) & 1023;
        let last = world.record.statistics.iter().rfind(of_it).map(|(_, figures)| figures.out_packets);
        assert_eq!(last, Some(2), "SA {n}");
    }
    let told = world.record.statistics.len();
    world.path.idle(&mut world.record);
    assert_eq!(world.record.statistics.len(), told, "nothing is told twice");
}
