//! Our packets opened, and packets for us sealed, by Python's `cryptography` (OpenSSL): `ci/esp_check.py`.

use std::io::Write;
use std::process::{Command, Stdio};

use causeway_shared::sa::{Encapsulation, EspKeys, EspSuite, SaPair};
use serde::{Deserialize, Serialize};

use super::kernel::hex;
use super::world::*;

/// One SA's packets, either way; octets as hex.
#[derive(Serialize, Deserialize)]
struct Set {
    suite: String,
    esn: bool,
    spi: u32,
    cipher_key: String,
    salt: String,
    integrity_key: String,
    packets: Vec<Packet>,
}

#[derive(Serialize, Deserialize)]
struct Packet {
    sequence: u64,
    esp: String,
    inner: String,
}

fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Runs the checker, gives it `input` and returns what it prints.
fn checker(direction: &str, input: &[u8]) -> Vec<u8> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/esp_check.py");
    // Debian's own interpreter first: the package is installed for that one, and another may come before it in PATH.
    let debians = "/usr/bin/python3";
    let python = if std::path::Path::new(debians).exists() { debians } else { "python3" };
    let mut child = Command::new(python)
        .args([script, direction])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with the package python3-cryptography is needed for this test");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "ci/esp_check.py {direction} failed; its message is above");
    output.stdout
}

#[test]
fn it_opens_what_we_seal() {
    let mut sets = Vec::new();
    for suite in EspSuite::ALL {
        for esn in [false, true] {
            let mut world = World::new();
            let first = if esn { (1 << 32) - 2 } else { 1 };
            world.install(SaPair { first_outbound_sequence: first, ..pair(suite, esn, UDP) });
            let keys = keys(0x80);
            let packets = (first..).zip([0, 1, 7, 40, 1200]).map(|(sequence, len)| {
                let inner = echo(HOST, CLIENT_A, len);
                world.receive(INSIDE, &[frame(INSIDE, &inner)]);
                Packet { sequence, esp: to_hex(&world.sent_esp()), inner: to_hex(&forwarded(&inner)) }
            });
            let packets = packets.collect();
            sets.push(Set {
                suite: suite.name().into(),
                esn,
                spi: PEER_SPI,
                cipher_key: to_hex(&keys.cipher[..suite.cipher_key_len()]),
                salt: to_hex(&keys.salt[..suite.salt_len()]),
                integrity_key: to_hex(&keys.integrity[..suite.integrity_key_len()]),
                packets,
            });
        }
    }
    checker("open", &serde_json::to_vec(&sets).unwrap());
}

#[test]
fn we_open_what_it_seals() {
    let inner: Vec<_> = [0, 1, 7, 40, 1200].iter().map(|len| to_hex(&echo(CLIENT_A, HOST, *len))).collect();
    let sets = checker("seal", &serde_json::to_vec(&inner).unwrap());
    let sets: Vec<Set> = serde_json::from_slice(&sets).unwrap();
    assert_eq!(sets.len(), 2 * EspSuite::ALL.len());
    for (index, set) in sets.iter().enumerate() {
        let suite = EspSuite::ALL.into_iter().find(|suite| suite.name() == set.suite).unwrap();
        let keymat = [hex(&set.cipher_key), hex(&set.salt), hex(&set.integrity_key)].concat();
        let encapsulation = if index % 2 == 0 { UDP } else { Encapsulation::Esp };
        let mut pair = pair(suite, set.esn, encapsulation);
        pair.inbound_spi = set.spi;
        pair.inbound_keys = EspKeys::from_keymat(suite, &keymat).unwrap();
        pair.highest_inbound_sequence = set.packets[0].sequence - 1;
        let mut world = World::new();
        world.install(pair);
        for packet in &set.packets {
            world.receive(OUTSIDE, &[esp_frame(&hex(&packet.esp), encapsulation)]);
            let sent = world.sent(INSIDE);
            assert_eq!(sent, forwarded(&hex(&packet.inner)), "{} esn {}", set.suite, set.esn);
        }
    }
}
