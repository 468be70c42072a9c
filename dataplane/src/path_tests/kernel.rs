//! Packets that a Linux kernel made: every suite it was asked for, ESN on and off across 2^32, plain and in UDP.

use std::net::{Ipv4Addr, Ipv6Addr};

use causeway_shared::counters::Drop;
use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite};
use serde::Deserialize;

use super::world::*;
use super::world6::*;
use crate::crypto::{Engine, EspEngine, OpenJob};
use crate::path::{PathConfig, RouteConfig6};

#[derive(Deserialize)]
struct Set {
    name: String,
    alg: String,
    esn: bool,
    spi: u32,
    key: String,
    auth: String,
    packets: Vec<Packet>,
}

#[derive(Deserialize)]
struct Packet {
    esp: String,
    seq: u64,
    next_header: u8,
    pad: u8,
    inner: String,
}

impl Set {
    fn suite_and_keys(&self) -> (EspSuite, EspKeys) {
        let suite = EspSuite::ALL.into_iter().find(|suite| suite.name() == self.alg).unwrap();
        let keymat = [hex(&self.key), hex(&self.auth)].concat();
        (suite, EspKeys::from_keymat(suite, &keymat).unwrap())
    }
}

fn sets() -> Vec<Set> {
    let sets: Vec<Set> = serde_json::from_str(include_str!("../../testdata/esp-kernel.json")).unwrap();
    assert_eq!(sets.len(), 20);
    sets
}

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The gateway whose LAN knows the way to every IPv6 address.
fn lan_everywhere() -> PathConfig {
    let mut config = config6();
    let route = ("::/0".parse().unwrap(), "fd00::fe".parse().unwrap());
    config.routes6.push(RouteConfig6 { destination: route.0, via: route.1 });
    config
}

#[test]
fn every_packet_of_every_set_comes_out_as_it_went_in() {
    let mut opened = 0;
    for set in sets() {
        let (suite, keys) = set.suite_and_keys();
        let encapsulation = if set.name.ends_with("udp") { UDP } else { Encapsulation::Esp };
        let mut pair = pair(suite, set.esn, encapsulation);
        let everything = selector(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        pair.inbound_spi = set.spi;
        pair.inbound_keys = keys;
        pair.highest_inbound_sequence = set.packets[0].seq - 1;
        let everything6 = selector6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX));
        pair.peer_selectors = vec![everything, everything6];
        pair.local_selectors = pair.peer_selectors.clone();
        let mut world = World::six(lan_everywhere());
        world.introduce(INSIDE, Ipv4Addr::new(10, 0, 0, 254));
        world.record = Record::default();
        world.install(pair);

        let frames: Vec<_> = set.packets.iter().map(|p| esp_frame(&hex(&p.esp), encapsulation)).collect();
        // In pieces: the first alone, then the rest as one burst, and all again as replays.
        world.receive(OUTSIDE, &frames[..1]);
        world.receive(OUTSIDE, &frames[1..]);
        let sent: Vec<_> = world.record.tx.iter().map(|(port, frame)| strip(*port, frame)).collect();
        let as_forwarded = |p: &Packet| match p.next_header {
            4 => forwarded(&hex(&p.inner)),
            _ => forwarded6(&hex(&p.inner)),
        };
        let inner: Vec<_> = set.packets.iter().map(as_forwarded).collect();
        assert_eq!(sent, inner, "{}: {:?}", set.name, world.drops());
        world.receive(OUTSIDE, &frames);
        assert_eq!(world.dropped(Drop::Replay), frames.len() as u64, "{}", set.name);
        opened += sent.len();
    }
    assert_eq!(opened, 120);
}

#[test]
fn the_engine_alone_opens_them_to_the_last_octet() {
    for set in sets() {
        let (suite, keys) = set.suite_and_keys();
        let key = Engine::setup_inbound(suite, set.esn, &keys).unwrap();
        let mut packets: Vec<_> = set.packets.iter().map(|p| hex(&p.esp)).collect();
        let numbered = packets.iter_mut().zip(&set.packets);
        let mut jobs: Vec<_> = numbered
            .map(|(packet, p)| OpenJob { key: &key, packet, sequence: p.seq, opened: false })
            .collect();
        Engine::default().open_burst(&mut jobs);
        for (job, packet) in jobs.iter().zip(&set.packets) {
            assert!(job.opened, "{} {}", set.name, packet.seq);
            let end = job.packet.len() - suite.icv_len();
            let plaintext = &job.packet[8 + suite.iv_len()..end];
            let mut expected = hex(&packet.inner);
            expected.extend(1..=packet.pad);
            expected.extend([packet.pad, packet.next_header]);
            assert_eq!(plaintext, expected, "{} {}", set.name, packet.seq);
        }
    }
}
