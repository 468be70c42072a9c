//! What a checked IPv4 or IPv6 header says, read once and carried with the packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use causeway_shared::counters::Drop;
use causeway_shared::net::{ipv4, ipv6};

/// Of a packet that `ipv4::Packet::parse` took.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Octets of the packet.
    pub len: u16,
    pub tos: u8,
    pub ttl: u8,
}

impl Facts {
    #[inline(always)]
    pub fn of(packet: &ipv4::Packet<'_>) -> Facts {
        Facts {
            source: packet.source(),
            destination: packet.destination(),
            // The header's own field, of 16 bits.
            len: packet.total_len() as u16,
            tos: packet.tos(),
            ttl: packet.ttl(),
        }
    }

    /// Checks a whole packet.
    pub fn read(octets: &[u8]) -> Result<Facts, Drop> {
        ipv4::Packet::parse(octets).map(|packet| Facts::of(&packet)).map_err(|_| Drop::BadIpv4Header)
    }
}

/// Of a packet that `ipv6::Packet::parse` took.
#[derive(Clone, Copy)]
pub(crate) struct Facts6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// Octets of the packet, fixed header included.
    pub len: u16,
    pub traffic_class: u8,
    pub hop_limit: u8,
}

impl Facts6 {
    #[inline]
    pub fn of(packet: &ipv6::Packet<'_>) -> Result<Facts6, Drop> {
        Ok(Facts6 {
            source: packet.source(),
            destination: packet.destination(),
            // Longer than 65535 octets with its header: no buffer holds so much.
            len: u16::try_from(packet.total_len()).map_err(|_| Drop::Truncated)?,
            traffic_class: packet.traffic_class(),
            hop_limit: packet.hop_limit(),
        })
    }

    /// Checks a whole packet.
    pub fn read(octets: &[u8]) -> Result<Facts6, Drop> {
        ipv6::Packet::parse(octets).map_err(|_| Drop::BadIpv6Header).and_then(|packet| Facts6::of(&packet))
    }
}
