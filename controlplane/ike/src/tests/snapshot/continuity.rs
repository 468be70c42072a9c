//! A gateway that dies at every step of every exchange, with a driver that lets no datagram out before the state behind
//! it is stored: nothing is said in two ways, no IV comes twice, and both sides agree in the end.

use std::collections::BTreeMap;

use super::*;
use crate::api::{Datagram, Event, Secret};
use crate::snapshot::Mark;

/// Steps after which every exchange of these tests is over.
const STEPS: usize = 40;

struct World {
    client: Client,
    gateway: Gateway,
    to_gateway: Vec<Outgoing>,
    /// What was stored, and what of it: gone while the gateway rekeys its IKE SA.
    stored: Option<Secret>,
    mark: Option<Mark>,
    said: BTreeMap<Vec<u8>, Vec<u8>>,
    ivs: BTreeMap<Vec<u8>, Vec<u8>>,
    deaths: usize,
}

impl World {
    fn new() -> World {
        let (client, mut gateway) = connected(|config| {
            config.timing = Timing { retransmit_base_ms: 500, retransmit_tries: 6, ..Timing::default() };
        });
        gateway.hold = |_| true;
        let mut world = World {
            client,
            gateway,
            to_gateway: Vec::new(),
            stored: None,
            mark: None,
            said: BTreeMap::new(),
            ivs: BTreeMap::new(),
            deaths: 0,
        };
        world.store();
        world
    }

    fn session(&self) -> SessionId {
        self.gateway.session()
    }

    /// What the driver does after each input, before anything leaves.
    fn store(&mut self) {
        let mark = self.gateway.endpoint.mark(self.session());
        if mark != self.mark || self.stored.is_none() {
            self.stored = self.gateway.snapshot();
            assert_eq!(self.stored.is_some(), mark.is_some());
            self.mark = mark;
        }
    }

    /// One thing happens. Returns whether there was anything.
    fn step(&mut self) -> bool {
        if !self.to_gateway.is_empty() {
            let datagram = self.client.datagram(&self.to_gateway.remove(0));
            self.gateway.input(Input::Datagram(datagram));
        } else if !self.gateway.do_held_job() {
            let Some(datagram) = self.gateway.outbox.pop_front() else { return false };
            self.hear(&datagram);
            self.to_gateway.extend(self.client.receive(&datagram));
        }
        self.store();
        true
    }

    fn hear(&mut self, Datagram { bytes, .. }: &Datagram) {
        let name = [&bytes[..16], &bytes[19..24]].concat();
        assert_eq!(self.said.entry(name).or_insert_with(|| bytes.clone()), bytes, "two messages with one id");
        let iv = [&bytes[..16], &bytes[32..40]].concat();
        assert_eq!(self.ivs.entry(iv).or_insert_with(|| bytes.clone()), bytes, "two messages with one IV");
    }

    /// The process dies with what is on its way, and another one goes on with what was stored. `false`: nothing was.
    fn die(&mut self) -> bool {
        let Some(stored) = self.stored.clone() else { return false };
        self.to_gateway.clear();
        self.gateway.restart();
        // SPIs are the process's; the data plane's SAs stay.
        self.gateway.env.spis = self.gateway.installed.keys().copied().collect();
        let session = self.gateway.restore(stored.expose(), 0).unwrap();
        let known: BTreeSet<u32> = self.gateway.endpoint.installed(session).into_iter().collect();
        self.gateway.installed.retain(|spi, _| known.contains(spi));
        assert!(
            known.iter().all(|spi| self.gateway.installed.contains_key(spi)),
            "no SA that is stored is gone"
        );
        self.gateway.env.spis.clone_from(&known);
        self.deaths += 1;
        true
    }

    /// Until nothing happens any more, with repetitions on both sides.
    fn settle(&mut self) {
        for _ in 0..STEPS {
            while self.step() {}
            if self.client.initiator.is_waiting() {
                self.to_gateway = self.client.initiator.retransmit();
            } else if self
                .gateway
                .endpoint
                .ike_facts(self.session())
                .is_some_and(|facts| facts.local_outstanding_id.is_some())
            {
                self.gateway.advance(1000);
            } else {
                break;
            }
        }
        // What lingers for packets in flight goes.
        self.gateway.advance(30_000);
        while self.step() {}
    }
}

/// Dies before the given step of what `begin` begins; then all must be well, and a second death later must not matter.
fn dies_at(begin: fn(&mut World), at: usize) -> bool {
    let mut world = World::new();
    begin(&mut world);
    for _ in 0..at {
        if !world.step() {
            return false;
        }
    }
    if !world.die() {
        return true;
    }
    world.settle();
    assert!(world.die(), "everything is over, so everything is stored");
    world.settle();
    world.gateway.hold = |_| false;
    world.client.notable.clear();
    assert_agreement(&world.client, &world.gateway);
    assert_eq!(world.client.initiator.children().len(), 1, "one Child SA is left");
    assert!(!world.gateway.events.iter().any(|event| matches!(event, Event::SessionDown { .. })));
    assert_eq!(world.client.act(&mut world.gateway, Initiator::liveness), [Notable::Answered]);
    true
}

fn everywhere(begin: fn(&mut World)) {
    let steps = (0..STEPS).take_while(|at| dies_at(begin, *at)).count();
    assert!((2..STEPS).contains(&steps), "{steps}");
}

#[test]
fn in_a_liveness_check_of_the_client() {
    everywhere(|world| world.to_gateway = world.client.initiator.liveness().unwrap());
}

#[test]
fn in_a_child_rekey_of_the_client() {
    everywhere(|world| {
        let old = world.client.child().inbound_spi;
        world.to_gateway = world.client.initiator.create_child(Some(old), Some(Group::Ecp256)).unwrap();
    });
}

#[test]
fn in_an_ike_rekey_of_the_client() {
    everywhere(|world| world.to_gateway = world.client.initiator.rekey_ike().unwrap());
}

#[test]
fn in_a_child_rekey_of_the_gateway() {
    everywhere(|world| {
        let session = world.session();
        world.gateway.input(Input::Operator(Operator::RekeyChildren(session)));
    });
}

/// But for the time between our request and the new keys, see the head of `snapshot/mod.rs`.
#[test]
fn in_an_ike_rekey_of_the_gateway() {
    everywhere(|world| {
        let session = world.session();
        world.gateway.input(Input::Operator(Operator::RekeyIke(session)));
    });
}

#[test]
fn in_both_rekeys_at_once() {
    everywhere(|world| {
        let (session, old) = (world.session(), world.client.child().inbound_spi);
        world.gateway.input(Input::Operator(Operator::RekeyChildren(session)));
        world.to_gateway = world.client.initiator.create_child(Some(old), None).unwrap();
    });
}
