//! Rekeys of both sides in every order, crossing, over a network that loses, doubles, reverses and damages: what both sides
//! have in the end carries packets, and either can say goodbye.

use causeway_client::initiator::DownReason;
use causeway_eap::anyconnect::CertificateUse;
use causeway_ike::api::{Input, Operator};

use crate::gateway::{Gateway, PASSWORD, Pki};
use crate::world::{World, initiator};

const IKE: &str = "aes256-sha512-ecp256";
const ESP: &str = "aes256gcm16";
const SEEDS: u64 = 60;
const MOVES: u64 = 14;

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn hash(n: u32) -> u64 {
    Dice(u64::from(n)).below(1 << 20)
}

#[test]
fn rekeys_in_any_order_over_a_bad_network_end_with_a_connection_that_works() {
    let pki = Pki::new();
    // Without a rhythm that retransmissions could fall in with, and never so many in a row that the gateway counts as dead.
    let losses: [fn(u32) -> bool; 3] = [
        |_| false,
        |n| !n.is_multiple_of(4) && hash(n).is_multiple_of(3),
        |n| !n.is_multiple_of(3) && hash(n).is_multiple_of(2),
    ];
    let (mut ike_rekeys, mut children) = (0, 0);
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
        let mut world = World::new(gateway, initiator(&pki, IKE, ESP));
        world.log_in(&[PASSWORD], None);
        let session = *world.gateway.sessions.last().unwrap();
        for _ in 0..MOVES {
            world.disorder = dice.below(3) == 0;
            world.loses = losses[dice.below(3) as usize];
            let now = world.now;
            // One or two at once, before anything is delivered.
            for _ in 0..=dice.below(2) {
                let client = world.client.as_mut().unwrap();
                match dice.below(4) {
                    0 => client.rekey_ike(now),
                    1 => client.rekey_children(now),
                    2 => world.gateway.input(now, Input::Operator(Operator::RekeyIke(session))),
                    _ => world.gateway.input(now, Input::Operator(Operator::RekeyChildren(session))),
                }
            }
            let answered = world.dpd_answered;
            let patience = dice.below(3);
            world.run_until(|world| {
                world.down.is_some() || u64::from(world.dpd_answered - answered) >= patience
            });
            assert_eq!(world.down, None, "seed {seed}");
        }
        (world.disorder, world.loses) = (false, losses[0]);
        let answered = world.dpd_answered;
        world.run_until(|world| world.down.is_some() || world.dpd_answered - answered >= 3);
        assert_eq!(world.down, None, "seed {seed}: after the storm");
        world.ping();
        (ike_rekeys, children) = (ike_rekeys + world.ike_rekeys, children + world.children);
        let now = world.now;
        match seed % 2 {
            0 => world.client.as_mut().unwrap().disconnect(now),
            _ => world.gateway.input(now, Input::Operator(Operator::Delete(session))),
        }
        world.run_until(|world| world.down.is_some());
        let by = if seed % 2 == 0 { DownReason::ByUs } else { DownReason::ByGateway };
        assert_eq!(world.down, Some(by), "seed {seed}");
    }
    // Rekeys that never happen would agree, too.
    assert!(u64::from(ike_rekeys) > 3 * SEEDS && u64::from(children) > 3 * SEEDS, "{ike_rekeys}, {children}");
}

/// Every state of a connection sees damaged copies of what it waits for; pieces of either fragmentation, too.
#[test]
fn damaged_datagrams_change_nothing() {
    for (ietf, cisco) in [(None, None), (Some(576), None), (None, Some(576))] {
        let pki = Pki::new();
        let gateway = Gateway::new(&pki, IKE, ESP, CertificateUse::None);
        let mut config = initiator(&pki, IKE, ESP);
        (config.fragment_octets, config.cisco_fragment_octets) = (ietf, cisco);
        let mut world = World::new(gateway, config);
        world.damage = true;
        world.log_in(&["wrong", PASSWORD], None);
        let session = *world.gateway.sessions.last().expect("a login");
        world.gateway.input(world.now, Input::Operator(Operator::RekeyIke(session)));
        world.run_until(|world| world.ike_rekeys == 1);
        let now = world.now;
        world.client.as_mut().unwrap().rekey_ike(now);
        world.run_until(|world| world.ike_rekeys == 2);
        let now = world.now;
        world.client.as_mut().unwrap().rekey_children(now);
        world.run_until(|world| world.children == 2);
        world.ping();
        let reconnect = world.granted().reconnect.clone().unwrap();
        world.resume(&reconnect);
        world.ping();
        let now = world.now;
        world.client.as_mut().unwrap().disconnect(now);
        world.run_until(|world| world.down.is_some());
        assert_eq!(world.down, Some(DownReason::ByUs));
    }
}
