//! The configuration payload of a remote-access client (RFC 7296 §3.15, RFC 8598 for what is passed over).
//!
//! Enters: a client's CFG_REQUEST; a lease. Leaves: whether and which IPv4 address is wanted; the CFG_REPLY. Attributes
//! of IPv6 and unknown ones get no answer, which tells the client that there is none.

use std::net::Ipv4Addr;

use crate::api::Lease;
use crate::wire::{CfgAttribute, CfgAttributeType, CfgType, Configuration};

/// What a CFG_REQUEST asks of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AddressWish {
    /// No IPv4 address.
    None,
    /// Any.
    Any,
    /// This one, if possible.
    This(Ipv4Addr),
}

/// Reads the request.
pub(crate) fn address_wish(request: &Configuration) -> AddressWish {
    if request.kind != CfgType::Request {
        return AddressWish::None;
    }
    match request.all(CfgAttributeType::InternalIp4Address).next() {
        None => AddressWish::None,
        Some(attribute) => match attribute.as_ipv4() {
            Some(address) if !address.is_unspecified() => AddressWish::This(address),
            _ => AddressWish::Any,
        },
    }
}

/// The request's attributes as the driver gets them.
pub(crate) fn raw_attributes(request: &Configuration) -> Vec<(u16, Vec<u8>)> {
    request.attributes.iter().map(|attribute| (attribute.kind.number(), attribute.value.clone())).collect()
}

/// The reply to a request that was granted. Netmask and subnets are sent to who asked; DNS always, as clients exist
/// that take it unasked and none that mind.
pub(crate) fn reply(request: &Configuration, lease: &Lease) -> Configuration {
    let mut attributes = vec![CfgAttribute::ipv4(CfgAttributeType::InternalIp4Address, lease.address)];
    if request.has(CfgAttributeType::InternalIp4Netmask)
        && let Some(netmask) = lease.netmask
    {
        attributes.push(CfgAttribute::ipv4(CfgAttributeType::InternalIp4Netmask, netmask));
    }
    attributes.extend(lease.dns.iter().map(|dns| CfgAttribute::ipv4(CfgAttributeType::InternalIp4Dns, *dns)));
    attributes.extend(
        lease
            .subnets
            .iter()
            .map(|subnet| CfgAttribute::ip4_subnet(subnet.first(), Ipv4Addr::from(subnet.mask()))),
    );
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
