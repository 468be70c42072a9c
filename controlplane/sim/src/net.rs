//! The network between clients and gateway: loss, duplicates, delays that reorder, darkness, and NATs that rebind.
//!
//! Enters: datagrams as their sender sees them. Leaves: copies with the moments they arrive and the addresses their receiver
//! sees. UDP only.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use causeway_ike::api::Secret;

use crate::rng::Rng;

/// A datagram under way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// What it carries.
    pub load: Load,
}

/// What a datagram carries.
#[derive(Clone, Debug)]
pub enum Load {
    /// An IKE message, without non-ESP marker.
    Ike(Vec<u8>),
    /// An ESP packet.
    Esp(Esp),
}

/// An ESP packet, reduced to what says where it belongs.
#[derive(Clone, Debug)]
pub struct Esp {
    /// SPI on the wire.
    pub spi: u32,
    /// Keys that its sender sealed it with.
    pub key: Secret,
}

/// How bad the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weather {
    /// Datagrams lost, in thousandths.
    pub loss_permille: u64,
    /// Datagrams that arrive twice, in thousandths.
    pub duplicate_permille: u64,
    /// Least delay.
    pub delay_min_ms: u64,
    /// Most delay; what lies between reorders.
    pub delay_max_ms: u64,
}

impl Weather {
    /// Nothing is lost and nothing overtakes.
    pub const CALM: Weather =
        Weather { loss_permille: 0, duplicate_permille: 0, delay_min_ms: 20, delay_max_ms: 20 };
}

/// The network.
pub struct Network {
    /// Applies to every datagram in either direction.
    pub weather: Weather,
    rng: Rng,
    nats: BTreeMap<IpAddr, Nat>,
    dark: Vec<IpAddr>,
    /// Datagrams that were lost.
    pub lost: u64,
    /// Datagrams that came twice.
    pub doubled: u64,
}

/// What one private address looks like from outside.
struct Nat {
    outside: IpAddr,
    next_port: u16,
    /// Inside port to outside port. Old mappings are forgotten at a rebinding, so answers to them are lost.
    ports: BTreeMap<u16, u16>,
}

impl Network {
    /// A network in which nobody is behind a NAT yet.
    pub fn new(weather: Weather, rng: Rng) -> Network {
        Network { weather, rng, nats: BTreeMap::new(), dark: vec![], lost: 0, doubled: 0 }
    }

    /// Puts `inside` behind a NAT with the address `outside`, which may serve others too.
    pub fn put_behind_nat(&mut self, inside: IpAddr, outside: IpAddr) {
        let next_port = self.rng.between(1024, 60_000) as u16;
        self.nats.insert(inside, Nat { outside, next_port, ports: BTreeMap::new() });
    }

    /// The NAT forgets this client, who gets other ports from now on. `false` if it is behind none.
    pub fn rebind(&mut self, inside: IpAddr) -> bool {
        self.nats.get_mut(&inside).map(|nat| nat.ports.clear()).is_some()
    }

    /// Whether nothing goes to or comes from this client's (inside) address.
    pub fn set_dark(&mut self, inside: IpAddr, dark: bool) {
        self.dark.retain(|address| *address != inside);
        if dark {
            self.dark.push(inside);
        }
    }

    /// A client's datagram: the copies that reach the gateway, each after its delay in milliseconds.
    pub fn to_gateway(&mut self, packet: Packet) -> Vec<(u64, Packet)> {
        let inside = packet.from.ip();
        if self.dark.contains(&inside) {
            return vec![];
        }
        let from = self.translate(packet.from);
        self.copies(Packet { from, ..packet })
    }

    /// The gateway's datagram: the copies that reach a client, each after its delay, addressed to the inside.
    pub fn to_client(&mut self, packet: Packet) -> Vec<(u64, Packet)> {
        let Some(to) = self.translate_back(packet.to) else { return vec![] };
        if self.dark.contains(&to.ip()) {
            return vec![];
        }
        self.copies(Packet { to, ..packet })
    }

    /// What this client's address and port look like from outside, now.
    pub fn translate(&mut self, inside: SocketAddr) -> SocketAddr {
        let taken: Vec<(IpAddr, u16)> = self
            .nats
            .values()
            .flat_map(|nat| nat.ports.values().map(move |port| (nat.outside, *port)))
            .collect();
        let Some(nat) = self.nats.get_mut(&inside.ip()) else { return inside };
        let Nat { outside, next_port, ports } = nat;
        let port = *ports.entry(inside.port()).or_insert_with(|| {
            while taken.contains(&(*outside, *next_port)) || *next_port < 1024 {
                *next_port = next_port.wrapping_add(1);
            }
            let port = *next_port;
            *next_port = next_port.wrapping_add(1);
            port
        });
        SocketAddr::new(*outside, port)
    }

    fn translate_back(&self, outside: SocketAddr) -> Option<SocketAddr> {
        let mut nats = self.nats.iter().filter(|(_, nat)| nat.outside == outside.ip()).peekable();
        if nats.peek().is_none() {
            return Some(outside);
        }
        nats.find_map(|(inside, nat)| {
            let (port, _) = nat.ports.iter().find(|(_, port)| **port == outside.port())?;
            Some(SocketAddr::new(*inside, *port))
        })
    }

    fn copies(&mut self, packet: Packet) -> Vec<(u64, Packet)> {
        let Weather { loss_permille, duplicate_permille, delay_min_ms, delay_max_ms } = self.weather;
        let mut copies = 1 + usize::from(self.rng.chance(duplicate_permille));
        self.doubled += copies as u64 - 1;
        if self.rng.chance(loss_permille) {
            copies -= 1;
            self.lost += 1;
        }
        (0..copies).map(|_| (self.rng.between(delay_min_ms, delay_max_ms), packet.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4500);
    const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

    fn client(last: u8) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), 4500)
    }

    fn network(weather: Weather) -> Network {
        Network::new(weather, Rng::new(9))
    }

    fn packet(from: SocketAddr, to: SocketAddr) -> Packet {
        Packet { from, to, load: Load::Ike(vec![]) }
    }

    fn up(network: &mut Network, from: SocketAddr) -> Packet {
        let mut arrived = network.to_gateway(packet(from, GATEWAY));
        assert_eq!(arrived.len(), 1);
        arrived.remove(0).1
    }

    #[test]
    fn answers_find_back_through_a_shared_nat_until_it_rebinds() {
        let mut network = network(Weather::CALM);
        network.put_behind_nat(client(1).ip(), OUTSIDE);
        network.put_behind_nat(client(2).ip(), OUTSIDE);
        let (one, two) = (up(&mut network, client(1)), up(&mut network, client(2)));
        assert_eq!((one.from.ip(), two.from.ip()), (OUTSIDE, OUTSIDE));
        assert_ne!(one.from.port(), two.from.port());
        let answer = |to| packet(GATEWAY, to);
        assert_eq!(network.to_client(answer(two.from))[0].1.to, client(2));
        assert_eq!(network.to_client(answer(one.from))[0].1.to, client(1));
        assert!(network.rebind(client(1).ip()));
        assert!(network.to_client(answer(one.from)).is_empty());
        let moved = up(&mut network, client(1));
        assert_ne!(moved.from, one.from);
        assert_eq!(network.to_client(answer(moved.from))[0].1.to, client(1));
        assert!(!network.rebind(client(3).ip()));
    }

    #[test]
    fn darkness_swallows_both_directions() {
        let mut network = network(Weather::CALM);
        network.set_dark(client(1).ip(), true);
        assert!(network.to_gateway(packet(client(1), GATEWAY)).is_empty());
        assert!(network.to_client(packet(GATEWAY, client(1))).is_empty());
        network.set_dark(client(1).ip(), false);
        assert_eq!(up(&mut network, client(1)).from, client(1));
    }

    #[test]
    fn weather_loses_and_doubles_as_it_says() {
        let weather =
            Weather { loss_permille: 200, duplicate_permille: 100, delay_min_ms: 5, delay_max_ms: 50 };
        let mut network = network(weather);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            let arrived = network.to_gateway(packet(client(1), GATEWAY));
            assert!(arrived.iter().all(|(delay, _)| (5..=50).contains(delay)));
            counts[arrived.len()] += 1;
        }
        // Lost: 0.2 of those not doubled. Twice: 0.1 of those not lost.
        assert!((1650..1950).contains(&counts[0]) && (700..900).contains(&counts[2]), "{counts:?}");
    }
}
