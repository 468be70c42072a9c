//! IPv6 routes: the ports' links and static ones, longest prefix first, per side of the gateway as IPv4's (`route.rs`).

use std::net::Ipv6Addr;

use causeway_shared::config::PortRole;
use causeway_shared::sa::Ipv6Prefix;

use crate::path::{PathConfig, PathError, PortId};
use crate::route::{MAX_ROUTES, NextHop};

#[derive(Clone, Copy)]
struct Entry {
    prefix: Ipv6Prefix,
    role: PortRole,
    port: PortId,
    /// The next hop; `None` where it is the destination itself.
    via: Option<Ipv6Addr>,
}

/// All routes of each side, longest prefix first.
pub struct RouteTable6 {
    outside: Vec<Entry>,
    inside: Vec<Entry>,
}

impl RouteTable6 {
    /// Derives connected routes from the ports and adds the static ones.
    ///
    /// # Errors
    /// When a next hop is on no port's link, a port's prefix is impossible, or there are too many routes.
    pub fn new(config: &PathConfig) -> Result<RouteTable6, PathError> {
        let mut routes = Vec::new();
        for (index, port) in config.ports.iter().enumerate() {
            let Some(ours) = port.address6 else { continue };
            let id = PortId(index as u16);
            let prefix = Ipv6Prefix::new(ours.address, ours.prefix_len).filter(|prefix| prefix.length > 0);
            let prefix = prefix.ok_or(PathError::Port(id.0))?;
            routes.push(Entry { prefix, role: port.role, port: id, via: None });
        }
        let connected = routes.len();
        for route in &config.routes6 {
            let through = routes.iter().take(connected).find(|port| port.prefix.contains(route.via));
            let lost = PathError::Route { destination: route.destination.into(), via: route.via.into() };
            let Entry { role, port, .. } = *through.ok_or(lost)?;
            routes.push(Entry { prefix: route.destination, role, port, via: Some(route.via) });
        }
        if routes.len() > MAX_ROUTES {
            return Err(PathError::Routes(routes.len()));
        }
        // Stable: of two equal prefixes the connected one, then the first declared, wins.
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.length));
        let of = |role| routes.iter().filter(|route| route.role == role).copied().collect();
        Ok(RouteTable6 { outside: of(PortRole::Outside), inside: of(PortRole::Inside) })
    }

    /// Where a packet to `destination` leaves on that side.
    #[inline]
    pub fn lookup(&self, destination: Ipv6Addr, role: PortRole) -> Option<NextHop<Ipv6Addr>> {
        let routes = if role == PortRole::Outside { &self.outside } else { &self.inside };
        let route = routes.iter().find(|route| route.prefix.contains(destination))?;
        Some(NextHop { port: route.port, address: route.via.unwrap_or(destination) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Interface6, PortConfig, RouteConfig6};

    fn config() -> PathConfig {
        let port = |address: &str, role| PortConfig {
            mac: [2, 0, 0, 0, 0, 1],
            address: [10, 0, 0, 1].into(),
            prefix_len: 24,
            address6: Some(Interface6 { address: address.parse().unwrap(), prefix_len: 64 }),
            mtu: 1500,
            role,
        };
        let route = |destination: &str, via: &str| RouteConfig6 {
            destination: destination.parse().unwrap(),
            via: via.parse().unwrap(),
        };
        PathConfig {
            ports: vec![port("2001:db8::1", PortRole::Outside), port("fd00::1", PortRole::Inside)],
            routes: Vec::new(),
            routes6: vec![
                route("::/0", "2001:db8::fe"),
                route("fd07::/16", "fd00::fe"),
                route("fd07:7::/32", "fd00::fd"),
            ],
            sa_capacity: 256,
            worker: 0,
            workers: 1,
        }
    }

    #[test]
    fn the_longest_prefix_of_the_side_wins() {
        let table = RouteTable6::new(&config()).unwrap();
        let via =
            |port, address: &str| Some(NextHop { port: PortId(port), address: address.parse().unwrap() });
        for (destination, role, expected) in [
            ("fd00::9", PortRole::Inside, via(1, "fd00::9")),
            ("fd07:8::9", PortRole::Inside, via(1, "fd00::fe")),
            ("fd07:7::9", PortRole::Inside, via(1, "fd00::fd")),
            ("2001:db9::1", PortRole::Inside, None),
            ("2001:db9::1", PortRole::Outside, via(0, "2001:db8::fe")),
            ("fd00::9", PortRole::Outside, via(0, "2001:db8::fe")),
        ] {
            assert_eq!(table.lookup(destination.parse().unwrap(), role), expected, "{destination} {role:?}");
        }
        let mut lost = config();
        lost.routes6.push(RouteConfig6 {
            destination: "fd08::/16".parse().unwrap(),
            via: "fd55::1".parse().unwrap(),
        });
        assert!(matches!(RouteTable6::new(&lost), Err(PathError::Route { .. })));
    }
}
