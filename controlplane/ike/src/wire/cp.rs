//! The Configuration payload (RFC 7296 §3.15).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::codec::Reader;
use super::{CfgAttributeType, CfgType, WireError};

/// Most attributes accepted in one payload.
pub const MAX_CFG_ATTRIBUTES: usize = 256;

const ATTRIBUTE_TYPE_MASK: u16 = 0x7fff;

/// A CP payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// Request, reply, set or ack.
    pub kind: CfgType,
    /// The attributes, in order, repeated ones included.
    pub attributes: Vec<CfgAttribute>,
}

/// One attribute; in a request the value is empty or a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CfgAttribute {
    /// What it is.
    pub kind: CfgAttributeType,
    /// Its octets.
    pub value: Vec<u8>,
}

impl Configuration {
    /// Whether an attribute of this kind is there.
    pub fn has(&self, kind: CfgAttributeType) -> bool {
        self.all(kind).next().is_some()
    }

    /// Every attribute of this kind.
    pub fn all(&self, kind: CfgAttributeType) -> impl Iterator<Item = &CfgAttribute> {
        self.attributes.iter().filter(move |attribute| attribute.kind == kind)
    }

    pub(super) fn parse(body: &[u8]) -> Result<Configuration, WireError> {
        let mut reader = Reader::new(body, "CP payload");
        let kind = CfgType::from_number(reader.u8()?);
        reader.array::<3>()?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == MAX_CFG_ATTRIBUTES {
                return Err(WireError::TooMany { what: "configuration attributes", max: MAX_CFG_ATTRIBUTES });
            }
            let kind = CfgAttributeType::from_number(reader.u16()? & ATTRIBUTE_TYPE_MASK);
            let length = reader.u16()?;
            attributes.push(CfgAttribute { kind, value: reader.take(usize::from(length))?.to_vec() });
        }
        Ok(Configuration { kind, attributes })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(self.kind.number());
        out.extend_from_slice(&[0; 3]);
        for attribute in &self.attributes {
            let length = u16::try_from(attribute.value.len())
                .map_err(|_| WireError::TooLong { what: "configuration attribute" })?;
            out.extend_from_slice(&(attribute.kind.number() & ATTRIBUTE_TYPE_MASK).to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&attribute.value);
        }
        Ok(())
    }
}

impl CfgAttribute {
    /// An attribute without value, as in a request.
    pub fn empty(kind: CfgAttributeType) -> CfgAttribute {
        CfgAttribute { kind, value: Vec::new() }
    }

    /// An attribute that holds one IPv4 address: address, netmask, DNS, NBNS, DHCP.
    pub fn ipv4(kind: CfgAttributeType, address: Ipv4Addr) -> CfgAttribute {
        CfgAttribute { kind, value: address.octets().to_vec() }
    }

    /// INTERNAL_IP4_SUBNET.
    pub fn ip4_subnet(address: Ipv4Addr, netmask: Ipv4Addr) -> CfgAttribute {
        let value = [address.octets(), netmask.octets()].concat();
        CfgAttribute { kind: CfgAttributeType::InternalIp4Subnet, value }
    }

    /// INTERNAL_IP6_ADDRESS: the address and the length of its prefix.
    pub fn ip6_address(address: Ipv6Addr, prefix_len: u8) -> CfgAttribute {
        CfgAttribute { kind: CfgAttributeType::InternalIp6Address, value: with_length(address, prefix_len) }
    }

    /// INTERNAL_IP6_SUBNET.
    pub fn ip6_subnet(address: Ipv6Addr, prefix_len: u8) -> CfgAttribute {
        CfgAttribute { kind: CfgAttributeType::InternalIp6Subnet, value: with_length(address, prefix_len) }
    }

    /// INTERNAL_IP6_DNS.
    pub fn ip6_dns(address: Ipv6Addr) -> CfgAttribute {
        CfgAttribute { kind: CfgAttributeType::InternalIp6Dns, value: address.octets().to_vec() }
    }

    /// The value as an IPv6 address, with or without a prefix length: some clients ask for an address without one.
    pub fn as_ipv6(&self) -> Option<Ipv6Addr> {
        match self.value.as_slice() {
            [octets @ .., _] if octets.len() == 16 => <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from),
            octets => <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from),
        }
    }

    /// The value as an IPv6 address and a prefix length: INTERNAL_IP6_ADDRESS, INTERNAL_IP6_SUBNET.
    pub fn as_ipv6_prefix(&self) -> Option<(Ipv6Addr, u8)> {
        let (address, length) = self.value.split_first_chunk::<16>()?;
        match length {
            [length @ 0..=128] => Some(((*address).into(), *length)),
            _ => None,
        }
    }

    /// The value as one IPv4 address.
    pub fn as_ipv4(&self) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.value.as_slice()).ok().map(Ipv4Addr::from)
    }

    /// The value as an IPv4 address and a netmask.
    pub fn as_ip4_subnet(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let (address, netmask) = self.value.split_first_chunk::<4>()?;
        Some(((*address).into(), <[u8; 4]>::try_from(netmask).ok()?.into()))
    }
}

fn with_length(address: Ipv6Addr, prefix_len: u8) -> Vec<u8> {
    let mut value = address.octets().to_vec();
    value.push(prefix_len);
    value
}
