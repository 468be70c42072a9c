//! Ports, routes and pools: that addresses, subnets, next hops and pools do not contradict each other. IPv6's own rules are in
//! `network6.rs`.

use std::net::{IpAddr, Ipv4Addr};

use super::super::keys::{RawPool, RawPort, RawRoute};
use super::super::mistake::{Notes, Place};
use super::super::model::{Pool, PortRole, Route};
use super::super::reader::Document;
use super::super::schema::At;
use super::super::value::InterfaceAddress;
use super::network6::{self, subnet6, usable6};
use super::{no_duplicates, unique};
use crate::sa::{IpPrefix, Ipv4Prefix};

/// Longest prefix of a pool: it keeps two addresses to give out.
const MAX_POOL_LENGTH: u8 = 30;
/// Shortest prefix of a pool: as many addresses as the largest SA table has slots.
const MIN_POOL_LENGTH: u8 = 12;

pub(super) fn check(document: &Document, notes: &mut Notes<'_>) {
    let Document { ports, routes, pools, .. } = document;
    check_ports(ports, notes);
    check_routes(routes, ports, pools, notes);
    check_pools(pools, ports, notes);
    network6::check(document, notes);
    if let Some(fragment) = &document.ike.fragment_size {
        let outside = ports.iter().filter(|p| p.role.as_ref().is_some_and(|r| r.value == PortRole::Outside));
        if let Some(mtu) = outside.filter_map(|p| p.mtu.as_ref()).find(|mtu| mtu.value < fragment.value) {
            notes.mistake(
                &fragment.place,
                format!("{} does not fit {} = {}", fragment.value, mtu.place.key, mtu.value),
                format!("write {} or less", mtu.value),
            );
        }
    }
}

pub(super) fn route(raw: RawRoute) -> Option<Route> {
    Some(Route { destination: raw.destination?.value, via: raw.via?.value })
}

pub(super) fn pool(raw: RawPool) -> Option<Pool> {
    Some(Pool {
        name: raw.name?.value,
        range: raw.range?.value,
        first: raw.first?.value,
        last: raw.last?.value,
        range6: network6::range6(raw.range6?.value, raw.client_prefix6?.value),
        dns: raw.dns?.value,
        subnets: raw.subnets?.value,
        traffic_selectors: raw.traffic_selectors?.value,
    })
}

fn check_ports(ports: &[RawPort], notes: &mut Notes<'_>) {
    unique(ports.iter().filter_map(|p| p.name.as_ref()), |name| format!("port name `{name}`"), notes);
    unique(ports.iter().filter_map(|p| p.device.as_ref()), |device| format!("device `{device}`"), notes);
    for (role, word) in [(PortRole::Outside, "outside"), (PortRole::Inside, "inside")] {
        // An entry whose role could not be read may be the one that is looked for.
        if !ports.iter().any(|p| p.role.as_ref().is_none_or(|r| r.value == role)) {
            let place = Place { span: 0..0, key: "port".into() };
            notes.mistake(
                &place,
                format!("no port faces {word}"),
                format!("add a [[port]] with role = \"{word}\""),
            );
        }
    }
    for device in
        ports.iter().filter_map(|p| p.device.as_ref()).filter(|device| !names_a_device(&device.value))
    {
        notes.mistake(
            &device.place,
            format!("`{}` is no DPDK device", device.value),
            "write a PCI address as in \"0000:3b:00.0\", or a virtual device as in \"net_af_packet0,iface=eth0\"",
        );
    }
    for (i, port) in ports.iter().enumerate() {
        let Some(address) = &port.address else { continue };
        check_port_address(address, notes);
        let earlier = ports.iter().take(i).filter_map(|p| p.address.as_ref());
        for other in earlier.filter(|other| overlap(subnet(&other.value), subnet(&address.value))) {
            notes.mistake(
                &address.place,
                format!(
                    "subnet {} overlaps {} of {}",
                    show(&address.value),
                    show(&other.value),
                    other.place.key
                ),
                "give each port its own subnet",
            );
        }
    }
}

/// Whether the text can be an EAL device: on a bus (`0000:3b:00.0`, `vmbus:…`) or virtual (`net_tap0`, `virtio_user0`).
fn names_a_device(text: &str) -> bool {
    let name = text.split(',').next().unwrap_or_default();
    let virtual_device = ["net_", "eth_", "virtio_"].iter().any(|prefix| name.starts_with(prefix));
    !text.contains(char::is_whitespace) && (virtual_device || name.contains(':'))
}

fn check_port_address(at: &At<InterfaceAddress>, notes: &mut Notes<'_>) {
    let InterfaceAddress { address, prefix_len } = at.value;
    if !usable(address) {
        notes.mistake(&at.place, format!("{address} cannot be a port's address"), "use a unicast address");
        return;
    }
    let Some(subnet) = subnet(&at.value) else { return };
    if prefix_len == 0 {
        notes.mistake(&at.place, "prefix length 0 is no subnet", "write the subnet's length, as in /24");
    } else if prefix_len <= 30 && (address == subnet.address || address == subnet.last()) {
        notes.mistake(
            &at.place,
            format!("{address} is the network or broadcast address of {subnet}"),
            "use an address between them",
        );
    }
}

fn check_routes(routes: &[RawRoute], ports: &[RawPort], pools: &[RawPool], notes: &mut Notes<'_>) {
    unique(routes.iter().filter_map(|r| r.destination.as_ref()), |d| format!("destination {d}"), notes);
    // With a port whose address could not be read, no statement about next hops is safe.
    let addresses: Option<Vec<_>> = ports.iter().map(links_of).collect();
    let addresses: Option<Vec<_>> = addresses.map(|all| all.into_iter().flatten().collect());
    for route in routes {
        if let (Some(via), Some(addresses)) = (&route.via, &addresses) {
            check_next_hop(via, addresses, notes);
        }
        let Some(destination) = &route.destination else { continue };
        if let Some(via) =
            route.via.as_ref().filter(|via| via.value.is_ipv4() != destination.value.address().is_ipv4())
        {
            notes.mistake(
                &via.place,
                format!("{} cannot be the next hop of {}", via.value, destination.value),
                "use a router's address of the same family",
            );
        }
        for (pool, place) in pools.iter().flat_map(ranges_of) {
            if pool.length() <= destination.value.length() && pool.contains(destination.value.address()) {
                notes.mistake(
                    &destination.place,
                    format!("{} lies in {} = {pool}", destination.value, place.key),
                    "remove the route; addresses of a pool belong to clients",
                );
            }
        }
    }
}

/// Both prefixes of a pool, as far as there are any.
fn ranges_of(pool: &RawPool) -> impl Iterator<Item = (IpPrefix, &Place)> {
    let v4 = present(&pool.range).map(|(range, place)| (IpPrefix::V4(range), place));
    let v6 = present(&pool.range6).map(|(range, place)| (IpPrefix::V6(range), place));
    v4.into_iter().chain(v6)
}

/// Our addresses on a port, each with its link's prefix; `None` where one could not be read.
fn links_of(port: &RawPort) -> Option<Vec<(IpAddr, IpPrefix)>> {
    let v4 = port.address.as_ref()?.value;
    let v6 = port.address6.as_ref()?.value;
    let v4 = subnet(&v4).map(|prefix| (v4.address.into(), prefix.into()));
    let v6 = v6.and_then(|v6| subnet6(&v6).map(|prefix| (v6.address.into(), prefix.into())));
    Some(v4.into_iter().chain(v6).collect())
}

/// The value of an optional key, if it is there and could be read.
pub(super) fn present<T: Copy>(at: &Option<At<Option<T>>>) -> Option<(T, &Place)> {
    at.as_ref().and_then(|at| at.value.map(|value| (value, &at.place)))
}

fn check_next_hop(via: &At<IpAddr>, links: &[(IpAddr, IpPrefix)], notes: &mut Notes<'_>) {
    let on = links.iter().find(|(_, link)| link.contains(via.value));
    match on {
        None => {
            let subnets: Vec<String> = links.iter().map(|(_, link)| link.to_string()).collect();
            notes.mistake(
                &via.place,
                format!("next hop {} is in no port's subnet", via.value),
                format!("use a router in one of: {}", subnets.join(", ")),
            );
        }
        Some((ours, _)) if *ours == via.value => {
            notes.mistake(
                &via.place,
                format!("next hop {} is our own address", via.value),
                "write the address of the next router",
            );
        }
        Some(_) => {}
    }
}

fn check_pools(pools: &[RawPool], ports: &[RawPort], notes: &mut Notes<'_>) {
    unique(pools.iter().filter_map(|p| p.name.as_ref()), |name| format!("pool name `{name}`"), notes);
    if pools.is_empty() {
        let place = Place { span: 0..0, key: "pool".into() };
        notes.mistake(
            &place,
            "there is no address pool",
            "add a [[pool]]; without one no client gets an address",
        );
    }
    for (i, pool) in pools.iter().enumerate() {
        if let Some(dns) = &pool.dns {
            check_dns(&dns.value, &dns.place, notes);
        }
        if let Some(subnets) = &pool.subnets {
            no_duplicates(&subnets.value, &subnets.place, |subnet| subnet.to_string(), notes);
        }
        let Some((range, place)) = present(&pool.range) else { continue };
        check_bounds(pool, range, notes);
        if !(MIN_POOL_LENGTH..=MAX_POOL_LENGTH).contains(&range.length) {
            notes.mistake(
                place,
                format!("{range} is too {}", if range.length > MAX_POOL_LENGTH { "small" } else { "large" }),
                format!("use a prefix length from {MIN_POOL_LENGTH} to {MAX_POOL_LENGTH}"),
            );
        }
        if !usable(range.address) {
            notes.mistake(place, format!("{range} holds no unicast addresses"), "use a private range");
        }
        for (other, its_place) in pools.iter().take(i).filter_map(|p| present(&p.range)) {
            if overlap(Some(other), Some(range)) {
                notes.mistake(
                    place,
                    format!("{range} overlaps {} = {other}", its_place.key),
                    "an address may belong to one pool only",
                );
            }
        }
        for port in ports.iter().filter_map(|p| p.address.as_ref()) {
            if overlap(subnet(&port.value), Some(range)) {
                notes.mistake(
                    place,
                    format!("{range} overlaps the subnet of {}, {}", port.place.key, show(&port.value)),
                    "use a range of its own; hosts on the port's subnet would look for clients by ARP",
                );
            }
        }
    }
}

/// That `first` and `last` lie inside the range, in this order.
fn check_bounds(pool: &RawPool, range: Ipv4Prefix, notes: &mut Notes<'_>) {
    let (Some(first), Some(last)) = (&pool.first, &pool.last) else { return };
    for bound in [first, last] {
        if let Some(address) = bound.value.filter(|address| !range.contains(*address)) {
            notes.mistake(
                &bound.place,
                format!("{address} is not in {range}"),
                "use an address of `range`, or widen it",
            );
        }
    }
    if let (Some(from), Some(to)) = (first.value, last.value)
        && from > to
    {
        notes.mistake(&last.place, format!("{to} comes before {from}"), "swap `first` and `last`");
    }
}

/// Each DNS server once, and each a host.
pub(super) fn check_dns(servers: &[IpAddr], place: &Place, notes: &mut Notes<'_>) {
    no_duplicates(servers, place, |server| server.to_string(), notes);
    for server in servers.iter().filter(|server| !a_host(**server)) {
        notes.mistake(place, format!("{server} cannot be a DNS server"), "use a unicast address");
    }
}

fn a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => usable(address),
        IpAddr::V6(address) => usable6(address),
    }
}

/// Whether a pool gives out this address.
pub(super) fn gives_out(pool: &RawPool, address: Ipv4Addr) -> bool {
    let bound = |at: &Option<At<Option<Ipv4Addr>>>| at.as_ref().and_then(|at| at.value);
    let Some(range) = pool.range.as_ref().map(|range| range.value) else { return true };
    let Some(range) = range else { return false };
    range.contains(address)
        && bound(&pool.first).map_or(address > range.address, |first| address >= first)
        && bound(&pool.last).map_or(address < range.last(), |last| address <= last)
}

fn subnet(address: &InterfaceAddress) -> Option<Ipv4Prefix> {
    Ipv4Prefix::new(address.address, address.prefix_len)
}

fn show(address: &InterfaceAddress) -> String {
    subnet(address).map(|s| s.to_string()).unwrap_or_default()
}

fn overlap(a: Option<Ipv4Prefix>, b: Option<Ipv4Prefix>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a.contains(b.address) || b.contains(a.address))
}

/// Whether a host may have this address.
fn usable(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback()
}
