//! The gateway under measurement: its ports, routes and SAs, the same for the data plane and for its peers.
//!
//! Outside 192.0.2.1/24 with a router at .254, behind which client `n` is 100.64.0.0 + n; inside 10.0.0.1/24 with a host at
//! .9; pool 10.64.0.0/14, in which client `n` has address n + 1. IPv6 likewise: 2001:db8:1::1/64 and ::fe, clients of
//! 2001:db8:64::/64; 2001:db8:2::1/64 and ::9; pool 2001:db8:3::/64. Keys are fixed: what is measured here carries nothing secret.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use causeway_dataplane::path::{PathConfig, PortConfig, PortRole, RouteConfig, RouteConfig6};
use causeway_shared::config::Interface6;
use causeway_shared::net::ethernet::Mac;
use causeway_shared::sa::{
    Encapsulation, EspKeys, InnerAddresses, Ipv4Prefix, Ipv6Prefix, SaLimits, SaPair, Selector,
};
use serde::{Serialize, Serializer};

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
/// Our IPv6 address outside.
pub const GATEWAY6: Ipv6Addr = of_lan6(1, 1);
/// The router that clients of IPv6 are behind.
pub const ROUTER6: Ipv6Addr = of_lan6(1, 0xfe);
/// Our IPv6 address inside.
pub const INSIDE6: Ipv6Addr = of_lan6(2, 1);
/// The host inside.
pub const HOST6: Ipv6Addr = of_lan6(2, 9);
/// The LAN.
pub const LAN6: Ipv6Prefix = Ipv6Prefix { address: of_lan6(2, 0), length: 64 };
/// What clients get their IPv6 addresses from, one each.
pub const POOL6: Ipv6Prefix = Ipv6Prefix { address: of_lan6(3, 0), length: 64 };
/// Where clients of IPv6 are.
const CLIENTS6: Ipv6Addr = of_lan6(0x64, 0);
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

/// Which Internet Protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is set up.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Algorithms of every SA.
    pub suite: Suite,
    /// Clients, each with one SA pair.
    pub sas: u32,
    /// Whether ESP travels in UDP.
    pub natt: bool,
    /// Inside of the tunnel.
    pub inner: Family,
    /// Outside of it.
    pub outer: Family,
    /// Replay window, packets; 0 for none.
    pub replay_window: u32,
}

impl World {
    /// IPv4 in IPv4, plain ESP, no replay check.
    pub fn plain(suite: Suite, sas: u32) -> World {
        World { suite, sas, natt: false, inner: Family::V4, outer: Family::V4, replay_window: 0 }
    }

    /// The gateway's configuration: port 0 receives, port 1 sends.
    pub fn path_config(&self, direction: Direction, macs: [Mac; 2]) -> PathConfig {
        let ports = roles(direction).into_iter().zip(macs).map(|(role, mac)| PortConfig {
            mac,
            address: address_of(role),
            prefix_len: 24,
            address6: self
                .has_ipv6()
                .then(|| Interface6 { address: address6_of(role), prefix_len: LAN6.length }),
            mtu: MTU,
            role,
        });
        let anywhere6 = Ipv6Prefix { address: Ipv6Addr::UNSPECIFIED, length: 0 };
        let everywhere6 = RouteConfig6 { destination: anywhere6, via: ROUTER6 };
        let everywhere = Ipv4Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 };
        PathConfig {
            ports: ports.collect(),
            routes: vec![RouteConfig { destination: everywhere, via: ROUTER }],
            routes6: if self.has_ipv6() { vec![everywhere6] } else { Vec::new() },
            sa_capacity: self.sas.next_power_of_two().max(MIN_CAPACITY),
            worker: 0,
            workers: 1,
        }
    }

    /// Client `n`'s SA pair as the control plane would install it.
    pub fn pair(&self, n: u32) -> SaPair {
        let client = self.client_inner(n);
        let lan = match self.inner {
            Family::V4 => (LAN.address.into(), LAN.last().into()),
            Family::V6 => (LAN6.address.into(), LAN6.last().into()),
        };
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
            local_outer: self.gateway(),
            peer_outer: self.client_outer(n),
            encapsulation: if self.natt {
                Encapsulation::Udp { local_port: NATT_PORT, peer_port: CLIENT_NATT_PORT }
            } else {
                Encapsulation::Esp
            },
            peer_inner: inner_of(client),
            peer_selectors: vec![any_port(client, client)],
            local_selectors: vec![any_port(lan.0, lan.1)],
            replay_window: self.replay_window,
            first_outbound_sequence: 1,
            highest_inbound_sequence: 0,
            limits: SaLimits::default(),
            outbound_selected: true,
        }
    }

    /// Whether anything of it is IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.inner == Family::V6 || self.outer == Family::V6
    }

    /// Our address outside.
    pub fn gateway(&self) -> IpAddr {
        match self.outer {
            Family::V4 => GATEWAY.into(),
            Family::V6 => GATEWAY6.into(),
        }
    }

    /// The host inside.
    pub fn host(&self) -> IpAddr {
        match self.inner {
            Family::V4 => HOST.into(),
            Family::V6 => HOST6.into(),
        }
    }

    /// Client `n`'s address inside the tunnel.
    pub fn client_inner(&self, n: u32) -> IpAddr {
        match self.inner {
            Family::V4 => client_inner(n).into(),
            Family::V6 => nth6(POOL6.address, n).into(),
        }
    }

    /// Client `n`'s address outside the tunnel.
    pub fn client_outer(&self, n: u32) -> IpAddr {
        match self.outer {
            Family::V4 => client_outer(n).into(),
            Family::V6 => nth6(CLIENTS6, n).into(),
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

/// Our IPv6 address on the port of this role.
pub fn address6_of(role: PortRole) -> Ipv6Addr {
    match role {
        PortRole::Outside => GATEWAY6,
        PortRole::Inside => INSIDE6,
    }
}

/// The next hop of IPv6 on the port of this role.
pub fn neighbour6_of(role: PortRole) -> Ipv6Addr {
    match role {
        PortRole::Outside => ROUTER6,
        PortRole::Inside => HOST6,
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

/// A network of 64 bits of the documentation prefix (RFC 3849), and a host in it.
const fn of_lan6(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)
}

fn nth6(first: Ipv6Addr, n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(first.to_bits() + 1 + u128::from(n))
}

fn inner_of(address: IpAddr) -> InnerAddresses {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => InnerAddresses { v4: None, v6: Ipv6Prefix::new(address, 128) },
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::V4 => "4",
            Family::V6 => "6",
        })
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Family, String> {
        match text {
            "4" => Ok(Family::V4),
            "6" => Ok(Family::V6),
            _ => Err("4 and 6 are possible".to_owned()),
        }
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(if *self == Family::V4 { 4 } else { 6 })
    }
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
