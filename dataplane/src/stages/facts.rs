//! What a checked IPv4 header says, read once and carried with the packet.

use std::net::Ipv4Addr;

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;

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
