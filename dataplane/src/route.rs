//! Routes: connected subnets and static ones, longest prefix first, per side of the gateway.
//!
//! Inner packets of clients look among routes that leave by Inside ports, outer packets among those of Outside ports, so
//! that a default route for one side never leaks the other's traffic.

use std::net::Ipv4Addr;

use causeway_shared::config::PortRole;
use causeway_shared::sa::Ipv4Prefix;

use crate::path::{PathConfig, PathError, PortId};

/// Most routes, connected ones included.
pub const MAX_ROUTES: usize = 256;

/// Where a packet goes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop<A = Ipv4Addr> {
    /// By this port.
    pub port: PortId,
    /// To this neighbour.
    pub address: A,
}

/// What a look-up finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteAnswer {
    /// Send it there.
    Via(NextHop),
    /// It is the network or broadcast address of a connected subnet (RFC 2644: not forwarded).
    Broadcast,
    /// Nothing matches.
    None,
}

struct Route {
    prefix: Ipv4Prefix,
    role: PortRole,
    port: PortId,
    via: Option<Ipv4Addr>,
}

/// A route as packets meet it.
#[derive(Clone, Copy)]
struct Entry {
    network: u32,
    mask: u32,
    /// The next hop; `None` where it is the destination itself.
    via: Option<Ipv4Addr>,
    port: PortId,
}

/// All routes of each side, longest prefix first.
pub struct RouteTable {
    outside: Vec<Entry>,
    inside: Vec<Entry>,
}

impl RouteTable {
    /// Derives connected routes from the ports and adds the static ones.
    ///
    /// # Errors
    /// When a next hop is in no port's subnet, a port's prefix is impossible, or there are too many routes.
    pub fn new(config: &PathConfig) -> Result<RouteTable, PathError> {
        let mut routes = Vec::new();
        for (index, port) in config.ports.iter().enumerate() {
            let id = PortId(index as u16);
            let prefix = Ipv4Prefix::new(port.address, port.prefix_len).filter(|p| p.length > 0);
            let prefix = prefix.ok_or(PathError::Port(id.0))?;
            routes.push(Route { prefix, role: port.role, port: id, via: None });
        }
        let connected = routes.len();
        for route in &config.routes {
            let through = routes.iter().take(connected).find(|port| port.prefix.contains(route.via));
            let through = through
                .ok_or(PathError::Route { destination: route.destination.into(), via: route.via.into() })
                .map(|port| (port.role, port.port))?;
            let (role, port) = through;
            routes.push(Route { prefix: route.destination, role, port, via: Some(route.via) });
        }
        if routes.len() > MAX_ROUTES {
            return Err(PathError::Routes(routes.len()));
        }
        // Stable: of two equal prefixes the connected one, then the first declared, wins.
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.length));
        let of = |role| routes.iter().filter(|route| route.role == role).map(Entry::new).collect();
        Ok(RouteTable { outside: of(PortRole::Outside), inside: of(PortRole::Inside) })
    }

    /// Where a packet to `destination` leaves on that side.
    #[inline]
    pub fn lookup(&self, destination: Ipv4Addr, role: PortRole) -> RouteAnswer {
        let number = u32::from(destination);
        let routes = if role == PortRole::Outside { &self.outside } else { &self.inside };
        let Some(route) = routes.iter().find(|route| number & route.mask == route.network) else {
            return RouteAnswer::None;
        };
        match route.via {
            Some(address) => RouteAnswer::Via(NextHop { port: route.port, address }),
            None if route.is_edge(number) => RouteAnswer::Broadcast,
            None => RouteAnswer::Via(NextHop { port: route.port, address: destination }),
        }
    }
}

impl Entry {
    fn new(route: &Route) -> Entry {
        let mask = u32::from(route.prefix.netmask());
        Entry { network: u32::from(route.prefix.address) & mask, mask, via: route.via, port: route.port }
    }

    /// Whether an address is the network's own or its broadcast address; a /31 or /32 has neither (RFC 3021).
    fn is_edge(&self, number: u32) -> bool {
        !self.mask > 1 && (number == self.network || number == self.network | !self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{PortConfig, RouteConfig};

    fn config() -> PathConfig {
        let port = |address: [u8; 4], role| PortConfig {
            mac: [2, 0, 0, 0, 0, 1],
            address: address.into(),
            prefix_len: 24,
            address6: None,
            mtu: 1500,
            role,
        };
        let route = |destination: &str, via: [u8; 4]| RouteConfig {
            destination: destination.parse().unwrap(),
            via: via.into(),
        };
        PathConfig {
            ports: vec![port([192, 0, 2, 1], PortRole::Outside), port([10, 0, 0, 1], PortRole::Inside)],
            routes: vec![
                route("0.0.0.0/0", [192, 0, 2, 254]),
                route("10.0.0.0/8", [10, 0, 0, 2]),
                route("10.7.0.0/16", [10, 0, 0, 3]),
            ],
            routes6: Vec::new(),
            sa_capacity: 256,
            worker: 0,
            workers: 1,
        }
    }

    #[test]
    fn a_table_of_destinations() {
        let table = RouteTable::new(&config()).unwrap();
        let via = |port, address: [u8; 4]| {
            RouteAnswer::Via(NextHop { port: PortId(port), address: Ipv4Addr::from(address) })
        };
        for (name, destination, role, expected) in [
            ("connected", [10, 0, 0, 9], PortRole::Inside, via(1, [10, 0, 0, 9])),
            ("longest prefix", [10, 7, 1, 1], PortRole::Inside, via(1, [10, 0, 0, 3])),
            ("shorter prefix", [10, 8, 1, 1], PortRole::Inside, via(1, [10, 0, 0, 2])),
            ("broadcast", [10, 0, 0, 255], PortRole::Inside, RouteAnswer::Broadcast),
            ("network", [10, 0, 0, 0], PortRole::Inside, RouteAnswer::Broadcast),
            ("no default inside", [8, 8, 8, 8], PortRole::Inside, RouteAnswer::None),
            ("default outside", [8, 8, 8, 8], PortRole::Outside, via(0, [192, 0, 2, 254])),
            ("inside routes are not for outside", [10, 7, 1, 1], PortRole::Outside, via(0, [192, 0, 2, 254])),
        ] {
            assert_eq!(table.lookup(destination.into(), role), expected, "{name}");
        }
    }

    #[test]
    fn a_next_hop_must_be_connected() {
        let mut config = config();
        config.routes.push(RouteConfig {
            destination: "10.9.0.0/16".parse().unwrap(),
            via: Ipv4Addr::new(172, 16, 0, 1),
        });
        assert!(matches!(RouteTable::new(&config), Err(PathError::Route { .. })));
    }
}
