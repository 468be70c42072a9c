//! IPv6 of ports and pools: that addresses are unicast, links and pools apart, and pools have prefixes for clients (RFC 4291 §2.4).

use std::net::Ipv6Addr;

use super::super::keys::{RawPool, RawPort};
use super::super::mistake::Notes;
use super::super::model::Range6;
use super::super::reader::Document;
use super::super::value::InterfaceAddress6;
use super::network::present;
use crate::sa::Ipv6Prefix;

/// What every IPv6 link must carry (RFC 8200 §5).
const MIN_MTU: u16 = 1280;
/// Shortest prefix of a pool.
const MIN_POOL_LENGTH: u8 = 16;
/// Fewest bits between a pool's prefix and its clients': two prefixes to give out beside the first, which is nobody's.
const MIN_CLIENT_BITS: u8 = 2;

pub(super) fn check(document: &Document, notes: &mut Notes<'_>) {
    for (i, port) in document.ports.iter().enumerate() {
        check_port(port, &document.ports[..i], notes);
    }
    for (i, pool) in document.pools.iter().enumerate() {
        check_pool(pool, &document.pools[..i], &document.ports, notes);
    }
}

/// Both keys as one value.
pub(super) fn range6(prefix: Option<Ipv6Prefix>, client_length: u8) -> Option<Range6> {
    prefix.map(|prefix| Range6 { prefix, client_length })
}

/// The link of a port.
pub(super) fn subnet6(address: &InterfaceAddress6) -> Option<Ipv6Prefix> {
    Ipv6Prefix::new(address.address, address.prefix_len)
}

/// Whether a host that is not on our link may have this address.
pub(super) fn usable6(address: Ipv6Addr) -> bool {
    let refused = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some();
    !refused
}

/// Whether a pool gives out the prefix that begins with this address.
pub(super) fn gives_out6(pool: &RawPool, address: Ipv6Addr) -> bool {
    let (Some(range), Some(client)) = (&pool.range6, &pool.client_prefix6) else { return true };
    let Some(range) = range.value else { return false };
    let first = Ipv6Prefix::new(address, client.value).is_some_and(|prefix| prefix.address == address);
    first && range.contains(address) && address != range.address
}

fn check_port(port: &RawPort, earlier: &[RawPort], notes: &mut Notes<'_>) {
    let Some((ours, place)) = present(&port.address6) else { return };
    if !usable6(ours.address) {
        notes.mistake(
            place,
            format!("{} cannot be a port's IPv6 address", ours.address),
            "use a global or unique local unicast address; the link-local one is made from the port's MAC",
        );
        return;
    }
    let Some(link) = subnet6(&ours) else { return };
    if ours.prefix_len == 0 {
        notes.mistake(place, "prefix length 0 is no link", "write the link's prefix length, as in /64");
    } else if ours.prefix_len < 127 && ours.address == link.address {
        notes.mistake(
            place,
            format!("{} is every router's address on {link} (RFC 4291 §2.6.1)", ours.address),
            "use another address of the link",
        );
    }
    if let Some(mtu) = port.mtu.as_ref().filter(|mtu| mtu.value < MIN_MTU) {
        notes.mistake(
            &mtu.place,
            format!("{} is too little for IPv6, which {} asks for", mtu.value, place.key),
            format!("write {MIN_MTU} or more, or remove address6"),
        );
    }
    for (other, its_place) in earlier.iter().filter_map(|port| present(&port.address6)) {
        let Some(other) = subnet6(&other).filter(|other| overlap(*other, link)) else { continue };
        notes.mistake(
            place,
            format!("link {link} overlaps {other} of {}", its_place.key),
            "give each port its own prefix",
        );
    }
}

fn check_pool(pool: &RawPool, earlier: &[RawPool], ports: &[RawPort], notes: &mut Notes<'_>) {
    let Some((range, place)) = present(&pool.range6) else {
        // Only where both keys could be read is it certain that neither is there.
        if pool.range.as_ref().is_some_and(|at| at.value.is_none()) && pool.range6.is_some() {
            notes.mistake(&pool.place, "gives out no address", "add `range`, `range6` or both");
        }
        return;
    };
    if range.length < MIN_POOL_LENGTH || !usable6(range.last()) || range.contains(Ipv6Addr::LOCALHOST) {
        notes.mistake(
            place,
            format!("{range} holds other addresses than clients can have"),
            format!(
                "use a prefix of your own, of length {MIN_POOL_LENGTH} or more, as in \"2001:db8:99::/64\""
            ),
        );
    }
    if let Some(client) = pool.client_prefix6.as_ref() {
        let least = range.length.saturating_add(MIN_CLIENT_BITS);
        if client.value < least {
            notes.mistake(
                &client.place,
                format!("prefixes of length {} are too few in {range}", client.value),
                format!("write a number from {least} to 128, or widen range6"),
            );
        }
    }
    for (other, its_place) in earlier.iter().filter_map(|pool| present(&pool.range6)) {
        if overlap(other, range) {
            notes.mistake(
                place,
                format!("{range} overlaps {} = {other}", its_place.key),
                "an address may belong to one pool only",
            );
        }
    }
    for (port, its_place) in ports.iter().filter_map(|port| present(&port.address6)) {
        let Some(link) = subnet6(&port).filter(|link| overlap(*link, range)) else { continue };
        notes.mistake(
            place,
            format!("{range} overlaps the link of {}, {link}", its_place.key),
            "use a prefix of its own; hosts on the port's link would look for clients by neighbour discovery",
        );
    }
}

fn overlap(a: Ipv6Prefix, b: Ipv6Prefix) -> bool {
    a.contains(b.address) || b.contains(a.address)
}
