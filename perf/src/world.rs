//! The gateway under measurement: its ports, routes and SAs, the same for the data plane and for its peers.
//!
//! Outside 192.0.2.1/24 with a router at .254, behind which client `n` is 100.64.0.0 + n; inside 10.0.0.1/24 with a host at
//! .9; pool 10.64.0.0/14, in which client `n` has address n + 1. Keys are fixed: what is measured here carries nothing secret.

use std::net::Ipv4Addr;

use causeway_dataplane::path::{PathConfig, PortConfig, PortRole, RouteConfig};
use causeway_shared::net::ethernet::Mac;
use causeway_shared::sa::{Encapsulation, EspKeys, Ipv4Prefix, SaLimits, SaPair, Selector};

use crate::cell::{Direction, Suite};
use crate::oracle::EspSa;

/// Most SAs: the pool's addresses.
pub const MAX_SAS: u32 = 200_000;
/// Our outside address.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The router that clients are behind.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// Our inside address.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The host inside.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
/// Our ports' Ethernet addresses where there is no device to give them: clear frames come to the first, ESP to the second.
pub const MACS: [Mac; 2] = [[2, 0, 0, 0, 1, 0], [2, 0, 0, 0, 1, 1]];
/// The router's and the host's Ethernet address.
pub const NEIGHBOUR_MAC: Mac = [2, 0, 0, 0, 9, 9];
/// Where clients are.
pub const CLIENTS: Ipv4Prefix = Ipv4Prefix { address: Ipv4Addr::new(100, 64, 0, 0), length: 10 };
/// The LAN.
pub const LAN: Ipv4Prefix = Ipv4Prefix { address: Ipv4Addr::new(10, 0, 0, 0), length: 24 };
/// What clients get their addresses from.
pub const POOL: Ipv4Prefix = Ipv4Prefix { address: Ipv4Addr::new(10, 64, 0, 0), length: 14 };
/// A client's UDP port behind its NAT.
pub const CLIENT_NATT_PORT: u16 = 33_333;
/// RFC 3948.
pub const NATT_PORT: u16 = 4500;
/// MTU of both ports.
pub const MTU: u16 = 1500;

const FIRST_INBOUND_SPI: u32 = 0x4000_0000;
const FIRST_OUTBOUND_SPI: u32 = 0x0c11_0000;
/// Fewest slots of the data plane's table.
const MIN_CAPACITY: u32 = 256;

/// What is set up.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Algorithms of every SA.
    pub suite: Suite,
    /// Clients, each with one SA pair.
    pub sas: u32,
    /// Whether ESP travels in UDP.
    pub natt: bool,
    /// Replay window, packets; 0 for none.
    pub replay_window: u32,
}

impl World {
    /// The gateway's configuration: port 0 receives, port 1 sends.
    pub fn path_config(&self, direction: Direction, macs: [Mac; 2]) -> PathConfig {
        let ports = roles(direction).into_iter().zip(macs).map(|(role, mac)| PortConfig {
            mac,
            address: address_of(role),
            prefix_len: 24,
            address6: None,
            mtu: MTU,
            role,
        });
        let everywhere = Ipv4Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 };
        PathConfig {
            ports: ports.collect(),
            routes: vec![RouteConfig { destination: everywhere, via: ROUTER }],
            routes6: Vec::new(),
            sa_capacity: self.sas.next_power_of_two().max(MIN_CAPACITY),
            worker: 0,
            workers: 1,
        }
    }

    /// Client `n`'s SA pair as the control plane would install it.
    pub fn pair(&self, n: u32) -> SaPair {
        let client = client_inner(n);
        let any_port =
            |first, last| Selector { protocol: 0, first, last, first_port: 0, last_port: u16::MAX };
        SaPair {
            inbound_spi: FIRST_INBOUND_SPI + n,
            outbound_spi: FIRST_OUTBOUND_SPI + n,
            session_id: u64::from(n) + 1,
            suite: self.suite.esp(),
            esn: false,
            inbound_keys: keys(0x10, n, self.suite),
            outbound_keys: keys(0x80, n, self.suite),
            local_outer: GATEWAY.into(),
            peer_outer: client_outer(n).into(),
            encapsulation: if self.natt {
                Encapsulation::Udp { local_port: NATT_PORT, peer_port: CLIENT_NATT_PORT }
            } else {
                Encapsulation::Esp
            },
            peer_inner: client.into(),
            peer_selectors: vec![any_port(client.into(), client.into())],
            local_selectors: vec![any_port(LAN.address.into(), Ipv4Addr::new(10, 0, 0, 255).into())],
            replay_window: self.replay_window,
            first_outbound_sequence: 1,
            highest_inbound_sequence: 0,
            limits: SaLimits::default(),
            outbound_selected: true,
        }
    }

    /// Client `n`'s end for what it sends.
    pub fn sa_from_client(&self, n: u32) -> EspSa {
        EspSa { suite: self.suite, spi: FIRST_INBOUND_SPI + n, keys: keys(0x10, n, self.suite) }
    }

    /// Client `n`'s end for what it receives.
    pub fn sa_to_client(&self, n: u32) -> EspSa {
        EspSa { suite: self.suite, spi: FIRST_OUTBOUND_SPI + n, keys: keys(0x80, n, self.suite) }
    }
}

/// The roles of port 0, which receives, and port 1, which sends.
pub fn roles(direction: Direction) -> [PortRole; 2] {
    match direction {
        Direction::Out => [PortRole::Inside, PortRole::Outside],
        Direction::In => [PortRole::Outside, PortRole::Inside],
    }
}

/// Our address on the port of this role.
pub fn address_of(role: PortRole) -> Ipv4Addr {
    match role {
        PortRole::Outside => GATEWAY,
        PortRole::Inside => INSIDE,
    }
}

/// The next hop on the port of this role.
pub fn neighbour_of(role: PortRole) -> Ipv4Addr {
    match role {
        PortRole::Outside => ROUTER,
        PortRole::Inside => HOST,
    }
}

/// Client `n`'s address inside the tunnel.
pub fn client_inner(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(POOL.address) + 1 + n)
}

/// Client `n`'s address outside the tunnel.
pub fn client_outer(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(CLIENTS.address) + 1 + n)
}

/// Which client's SA an ESP packet that left the gateway belongs to, by its SPI.
pub fn sa_number(esp: &[u8]) -> Option<u32> {
    let (spi, _) = esp.split_first_chunk()?;
    u32::from_be_bytes(*spi).checked_sub(FIRST_OUTBOUND_SPI)
}

/// Different for every SA and direction.
fn keys(direction: u8, n: u32, suite: Suite) -> EspKeys {
    let octet = |index: usize| direction ^ (index as u8) ^ n.to_be_bytes()[index % 4].wrapping_mul(167);
    let aead = suite.esp().is_aead();
    let integrity = suite.esp().integrity_key_len();
    let cipher = suite.esp().cipher_key_len();
    EspKeys {
        cipher: std::array::from_fn(|index| if index < cipher { octet(index) } else { 0 }),
        salt: std::array::from_fn(|index| if aead { octet(index + 100) } else { 0 }),
        integrity: std::array::from_fn(|index| if index < integrity { octet(index + 200) } else { 0 }),
    }
}
