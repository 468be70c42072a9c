//! The path through a crypto device: what comes out is right, in order, and is given up where it must be.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::sa::{Encapsulation, EspSuite};
use causeway_shared::wire::AckStatus;

use super::device;
use super::world::*;
use crate::crypto::PATIENCE_TICKS;
use crate::path::Operation;

fn world(suite: EspSuite, esn: bool) -> World {
    let mut world = World::silent(config());
    if !device::wanted() {
        world.path.use_device(device::line());
    }
    world.introduce(OUTSIDE, PEER);
    world.introduce(INSIDE, HOST);
    for (spi, inner) in [(SPI_A, CLIENT_A), (SPI_B, CLIENT_B)] {
        let mut pair = pair(suite, esn, UDP);
        (pair.inbound_spi, pair.peer_inner) = (spi, inner.into());
        pair.peer_selectors = vec![selector(inner, inner)];
        world.install(pair);
    }
    world.record = Record::default();
    world
}

#[test]
fn every_suite_goes_both_ways_through_the_device_in_order() {
    // ChaCha20-Poly1305 never goes there.
    let suites = EspSuite::ALL.into_iter().filter(|suite| *suite != EspSuite::ChaCha20Poly1305);
    for (suite, esn) in suites.flat_map(|suite| [(suite, false), (suite, true)]) {
        let mut world = world(suite, esn);
        let clear: Vec<Vec<u8>> = (0..48).map(|number| echo(HOST, CLIENT_A, 8 + number * 29)).collect();
        world.receive(INSIDE, &clear.iter().map(|packet| frame(INSIDE, packet)).collect::<Vec<_>>());
        let sent = std::mem::take(&mut world.record.tx);
        let peer = from_us(suite, esn);
        for (number, (frame, clear)) in sent.iter().zip(&clear).enumerate() {
            let esp = esp_of(&strip(OUTSIDE, &frame.1));
            let plaintext = peer.open(number as u64 + 1, &esp).unwrap();
            assert!(plaintext.starts_with(&forwarded(clear)), "{suite} esn {esn} {number}");
            assert_eq!(plaintext.last(), Some(&4), "{suite} esn {esn} {number}");
        }
        assert_eq!(sent.len(), 48, "{suite} {:?}", world.drops());

        let inner: Vec<Vec<u8>> = (0..48).map(|number| echo(CLIENT_A, HOST, 8 + number * 29)).collect();
        let client = to_us(suite, esn, SPI_A);
        let mut frames: Vec<Vec<u8>> = (1..)
            .zip(&inner)
            .map(|(sequence, packet)| esp_frame(&client.seal(sequence, packet, 4), UDP))
            .collect();
        // Forged: the last octet of the ICV, the first of the text.
        let mut forged = client.seal(100, &inner[0], 4);
        *forged.last_mut().unwrap() ^= 1;
        frames.insert(7, esp_frame(&forged, UDP));
        let mut forged = client.seal(101, &inner[0], 4);
        forged[8 + suite.iv_len()] ^= 1;
        frames.insert(30, esp_frame(&forged, UDP));
        world.receive(OUTSIDE, &frames);
        let out: Vec<Vec<u8>> = world.record.tx.iter().map(|(_, frame)| strip(INSIDE, frame)).collect();
        assert_eq!(out, inner.iter().map(|packet| forwarded(packet)).collect::<Vec<_>>(), "{suite} {esn}");
        assert_eq!(world.drops(), [(Drop::BadIcv, 2)], "{suite} esn {esn}");
        // Another device may have fewer suites; software does the others.
        let by_device = world.flow(Flow::CryptoDevicePackets);
        assert!(by_device == 98 || device::wanted() && by_device == 0, "{by_device} {suite} esn {esn}");
    }
}

#[test]
fn what_finds_the_device_full_is_done_in_software_and_keeps_its_place() {
    let suite = EspSuite::Aes256Gcm16;
    let mut world = world(suite, true);
    world.leaves_in_device = true;
    let mut asked = 0;
    while world.dropped(Drop::CryptoLineFull) == 0 {
        let clear: Vec<Vec<u8>> =
            (0..32).map(|number| frame(INSIDE, &echo(HOST, CLIENT_A, number))).collect();
        world.receive(INSIDE, &clear);
        asked += 32;
        assert!(asked < 10_000 && world.record.tx.is_empty());
    }
    let lost = world.dropped(Drop::CryptoLineFull);
    let by_device = world.flow(Flow::CryptoDevicePackets);
    assert_eq!(by_device, causeway_dpdk::CRYPTO_DESCRIPTORS as u64);
    assert_eq!(asked - lost, causeway_dpdk::CRYPTO_IN_FLIGHT as u64);
    world.collect();
    let sent = std::mem::take(&mut world.record.tx);
    assert_eq!(sent.len() as u64, asked - lost);
    let peer = from_us(suite, true);
    for (sequence, (_, frame)) in (1..).zip(&sent) {
        assert!(peer.open(sequence, &esp_of(&strip(OUTSIDE, frame))).is_some(), "packet {sequence}");
    }
    assert_eq!(world.drops(), [(Drop::CryptoLineFull, lost)]);
}

#[test]
fn packets_of_an_sa_that_went_meanwhile_are_not_taken_for_those_of_its_successor() {
    let suite = EspSuite::Aes256Gcm16;
    let mut world = world(suite, true);
    world.leaves_in_device = true;
    let client = to_us(suite, true, SPI_A);
    world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 64))]);
    world.receive(OUTSIDE, &[esp_frame(&client.seal(1, &echo(CLIENT_A, HOST, 64), 4), UDP)]);
    assert_eq!(world.flow(Flow::CryptoDevicePackets), 2);
    assert_eq!(world.apply(Operation::Remove { inbound_spi: SPI_A }), AckStatus::Done);
    // The same slot, another generation.
    let mut successor = pair(suite, true, Encapsulation::Esp);
    successor.inbound_spi = SPI_A ^ 0x0100_0000;
    world.install(successor);
    world.collect();
    assert!(world.record.tx.is_empty());
    assert_eq!(world.drops(), [(Drop::UnknownSpi, 1), (Drop::NoSession, 1)]);
}

#[test]
fn a_device_that_has_nothing_of_ours_leaves_all_to_software() {
    let pool = causeway_dpdk::Mempool::create(device::eal(), "null", 64, 2048).unwrap();
    let started = causeway_dpdk::CryptoDevice::start::<()>(device::eal(), "crypto_null0", 1, 16);
    let (null, queues) = started.unwrap();
    let key = [0; 32];
    let gcm = causeway_dpdk::Transform::AesGcm { key: &key, icv_len: 16, aad_len: 8 };
    assert!(!null.offers(&gcm) && null.session(causeway_dpdk::CryptoDirection::Seal, &gcm).is_none());
    assert_eq!((queues.len(), null.driver(), pool.in_use()), (1, "crypto_null", 0));
    let missing = causeway_dpdk::CryptoDevice::start::<()>(device::eal(), "crypto_nonsense0", 1, 16);
    assert!(missing.map(|_| ()).unwrap_err().to_string().contains("`crypto_nonsense0`"));
}

/// The device's death is the process's, so a process of its own sees it.
#[test]
fn a_device_that_stops_answering_is_given_up_and_software_goes_on() {
    const CHILD: &str = "CAUSEWAY_TEST_DEVICE_DIES";
    if std::env::var_os(CHILD).is_none() {
        let name = "path::tests::lookaside::a_device_that_stops_answering_is_given_up_and_software_goes_on";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").env_remove("CAUSEWAY_TEST_DEVICE");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    it_is_given_up(false);
    // Paths made later do not use it either.
    it_is_given_up(true);
}

fn it_is_given_up(again: bool) {
    let suite = EspSuite::Aes256CbcSha256;
    let mut world = World::silent(config());
    if !again {
        world.path.use_device(device::only_line());
    }
    world.introduce(OUTSIDE, PEER);
    world.introduce(INSIDE, HOST);
    world.install(pair(suite, true, UDP));
    // The line's last movement, in its self-test, is seen here.
    world.tick(100);
    world.record = Record::default();
    world.leaves_in_device = true;
    let (client, peer) = (to_us(suite, true, SPI_A), from_us(suite, true));
    let send = |world: &mut World, sequence| {
        world.receive(INSIDE, &[frame(INSIDE, &echo(HOST, CLIENT_A, 64))]);
        world.receive(OUTSIDE, &[esp_frame(&client.seal(sequence, &echo(CLIENT_A, HOST, 64), 4), UDP)]);
    };
    let mut lost = 0;
    if !again {
        for tick in 1..=u64::from(PATIENCE_TICKS) {
            assert_eq!((crate::crypto::failed_device(), world.record.tx.len()), (None, 0), "tick {tick}");
            send(&mut world, tick);
            // The device has the first two packets when it dies; it takes none of the others.
            if tick == 1 {
                let mut line = world.path.give_up_device().unwrap();
                assert!(line.queue().break_device());
                world.path.use_device(*line);
            }
            world.path.collect(world.now, &mut world.record);
            world.tick(100);
        }
        lost = 2 * u64::from(PATIENCE_TICKS);
        world.path.collect(world.now, &mut world.record);
    }
    assert_eq!(crate::crypto::failed_device(), Some("crypto_openssl0"));
    let given_up: Vec<_> = world.drops();
    assert_eq!(given_up, if again { vec![] } else { vec![(Drop::CryptoDeviceLost, lost)] });
    // The next numbers are not those of the lost packets, which the device may have seen.
    let next = lost / 2 + 1;
    send(&mut world, next);
    let [(OUTSIDE, sealed), (INSIDE, opened)] = &world.record.tx[..] else { panic!("{:?}", world.record.tx) };
    assert!(peer.open(next, &esp_of(&strip(OUTSIDE, sealed))).is_some());
    assert_eq!(strip(INSIDE, opened), forwarded(&echo(CLIENT_A, HOST, 64)));
    assert_eq!((world.drops(), world.flow(Flow::CryptoDevicePackets)), (given_up, lost));
    // What is left is not given to another test.
    drop(world.path.give_up_device());
}
