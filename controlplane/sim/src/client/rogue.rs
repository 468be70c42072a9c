//! A client that has logged in and then sends what no client should: noise and mutilated payloads, sealed with good keys.
//!
//! Enters: chance. Leaves: plaintexts for the SK payload. The gateway may refuse or end that session; it must not panic, leak,
//! or let others notice.

use causeway_ike::wire::{
    CfgAttribute, CfgAttributeType, CfgType, Configuration, Delete, ExchangeType, Ke, Notify, NotifyType,
    Payload, Sa, emit_payloads,
};

use super::{ClientConfig, Shared};
use crate::client::handshake::new_nonce;

/// Longest noise.
const MAX_NOISE_OCTETS: u64 = 200;

/// An exchange, the number of its first payload, and a plaintext.
pub(super) fn mischief(config: &ClientConfig, shared: &mut Shared) -> (ExchangeType, u8, Vec<u8>) {
    let exchanges = [
        ExchangeType::CreateChildSa,
        ExchangeType::Informational,
        ExchangeType::IkeAuth,
        ExchangeType::IkeSaInit,
        ExchangeType::Unknown(shared.rng.bits() as u8),
    ];
    let exchange = exchanges[shared.rng.index(exchanges.len())];
    if shared.rng.chance(300) {
        let mut noise = vec![0; shared.rng.between(0, MAX_NOISE_OCTETS) as usize];
        shared.rng.draw(&mut noise);
        return (exchange, shared.rng.bits() as u8, noise);
    }
    let some =
        |shared: &mut Shared, payload: Payload| if shared.rng.chance(600) { Some(payload) } else { None };
    let mut payloads = vec![];
    for payload in every_payload(config, shared) {
        payloads.extend(some(shared, payload));
    }
    let Ok((first, mut octets)) = emit_payloads(&payloads) else { return (exchange, 0, vec![]) };
    match shared.rng.index(3) {
        0 if !octets.is_empty() => {
            let index = shared.rng.index(octets.len());
            octets[index] ^= shared.rng.between(1, 255) as u8;
        }
        1 if !octets.is_empty() => octets.truncate(shared.rng.index(octets.len())),
        // Well-formed payloads in an exchange where they make no sense.
        _ => {}
    }
    (exchange, first, octets)
}

fn every_payload(config: &ClientConfig, shared: &mut Shared) -> Vec<Payload> {
    let spi = shared.rng.bits() as u32;
    let any = config.families.everything();
    let proposals = match shared.rng.chance(500) {
        true => {
            config.ike.iter().zip(1..).map(|(ike, n)| ike.to_wire(n, &shared.rng.octets::<8>())).collect()
        }
        false => config.esp.iter().zip(1..).map(|(esp, n)| esp.to_wire(n, spi)).collect(),
    };
    let mut public = vec![0; 32];
    shared.rng.draw(&mut public);
    vec![
        Payload::Notify(Notify::esp(NotifyType::RekeySa, spi)),
        Payload::Sa(Sa { proposals }),
        Payload::Nonce(new_nonce(shared)),
        Payload::Ke(Ke { group: config.first_group.number(), data: public }),
        Payload::TsI(any.clone()),
        Payload::TsR(any),
        Payload::Delete(Delete::Esp(vec![spi])),
        Payload::Cp(Configuration {
            kind: CfgType::Request,
            attributes: vec![CfgAttribute::empty(CfgAttributeType::InternalIp4Address)],
        }),
        Payload::Notify(Notify::new(NotifyType::InitialContact)),
        Payload::Eap(vec![2, 1, 0, 5, 1]),
        Payload::Unknown { number: 200, body: vec![1, 2, 3] },
    ]
}
