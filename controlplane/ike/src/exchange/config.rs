//! The configuration payload of a remote-access client (RFC 7296 §3.15, RFC 8598 for what is passed over).
//!
//! Enters: a client's CFG_REQUEST; a lease. Leaves: whether and which addresses are wanted; the CFG_REPLY. Unknown attributes,
//! and those of a family of which the client got no address, get no answer, which tells the client that there is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::api::{Lease, Wish};
use crate::policy::mask4;
use crate::wire::{AddressRange, CfgAttribute, CfgAttributeType, CfgType, Configuration};

/// What a CFG_REQUEST asks for of IPv4.
pub(crate) fn wish4(request: &Configuration) -> Wish<Ipv4Addr> {
    wish(request, CfgAttributeType::InternalIp4Address, |attribute| {
        attribute.as_ipv4().filter(|address| !address.is_unspecified())
    })
}

/// What a CFG_REQUEST asks for of IPv6.
pub(crate) fn wish6(request: &Configuration) -> Wish<Ipv6Addr> {
    wish(request, CfgAttributeType::InternalIp6Address, |attribute| {
        attribute.as_ipv6().filter(|address| !address.is_unspecified())
    })
}

fn wish<A>(
    request: &Configuration,
    kind: CfgAttributeType,
    named: impl Fn(&CfgAttribute) -> Option<A>,
) -> Wish<A> {
    // The first one counts; RFC 7296 §3.15.1 lets clients ask for several addresses, and us give fewer.
    match request.all(kind).next().filter(|_| request.kind == CfgType::Request) {
        None => Wish::None,
        Some(attribute) => named(attribute).map_or(Wish::Any, Wish::This),
    }
}

/// The request's attributes as the driver gets them.
pub(crate) fn raw_attributes(request: &Configuration) -> Vec<(u16, Vec<u8>)> {
    request.attributes.iter().map(|attribute| (attribute.kind.number(), attribute.value.clone())).collect()
}

/// The reply to a request that was granted. Netmask and subnets are sent to who asked; DNS always, as clients exist
/// that take it unasked and none that mind.
pub(crate) fn reply(request: &Configuration, lease: &Lease) -> Configuration {
    let mut attributes = Vec::new();
    if let Some(address) = lease.address {
        attributes.push(CfgAttribute::ipv4(CfgAttributeType::InternalIp4Address, address));
    }
    if request.has(CfgAttributeType::InternalIp4Netmask)
        && let Some(netmask) = lease.netmask
    {
        attributes.push(CfgAttribute::ipv4(CfgAttributeType::InternalIp4Netmask, netmask));
    }
    if let Some(inner) = lease.address6 {
        attributes.push(CfgAttribute::ip6_address(inner.address, inner.prefix_len));
    }
    // A server or network of a family that the client has no address of is of no use to it.
    let of_use = |address: IpAddr| match address {
        IpAddr::V4(_) => lease.address.is_some(),
        IpAddr::V6(_) => lease.address6.is_some(),
    };
    attributes.extend(lease.dns.iter().filter(|dns| of_use(**dns)).map(|dns| match *dns {
        IpAddr::V4(dns) => CfgAttribute::ipv4(CfgAttributeType::InternalIp4Dns, dns),
        IpAddr::V6(dns) => CfgAttribute::ip6_dns(dns),
    }));
    let subnets = lease.subnets.iter().filter(|subnet| of_use(subnet.address));
    attributes.extend(subnets.map(|subnet| match subnet.range() {
        AddressRange::Ipv4(first, _) => {
            CfgAttribute::ip4_subnet(first, Ipv4Addr::from_bits(mask4(subnet.prefix_len)))
        }
        AddressRange::Ipv6(first, _) => CfgAttribute::ip6_subnet(first, subnet.prefix_len),
    }));
    let more = lease.attributes.iter().map(|(kind, value)| {
        let kind = CfgAttributeType::from_number(*kind);
        CfgAttribute { kind, value: value.clone() }
    });
    // Domains are of use only with servers for them, and trust anchors only with domains (RFC 8598 §3.2).
    let domains = request.has(CfgAttributeType::InternalDnsDomain) && !lease.dns.is_empty();
    let split = [CfgAttributeType::InternalDnsDomain, CfgAttributeType::InternalDnssecTa];
    let told = |kind| request.has(kind) && (domains || !split.contains(&kind));
    attributes.extend(more.filter(|attribute| told(attribute.kind)));
    Configuration { kind: CfgType::Reply, attributes }
}
