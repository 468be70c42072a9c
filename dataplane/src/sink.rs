//! What leaves the path: the worker implements [`Sink`] over its ports, rings and the segment; tests record it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_shared::net::{ipv4, ipv6, udp};
use causeway_shared::wire::{Event, Observation, SeenRef};

use crate::buffer::Buffer;
use crate::path::PortId;

/// The outlets of one worker's path. Nothing here blocks.
pub trait Sink<B> {
    /// A finished Ethernet frame for `port`. The worker counts `TxPackets`, `TxBytes` and `Drop::TxFull` when it
    /// gives frames to the port's queue.
    fn tx(&mut self, port: PortId, frame: B);

    /// Something for another worker.
    ///
    /// # Errors
    /// Gives it back when that worker's ring is full.
    fn handoff(&mut self, worker: u16, item: Handoff<B>) -> Result<(), Handoff<B>>;

    /// An IKE datagram for the control plane; no non-ESP marker, payload at most `wire::MAX_DATAGRAM` octets.
    ///
    /// # Errors
    /// When the ring is full.
    fn punt(&mut self, datagram: Punt<'_>) -> Result<(), Full>;

    /// An event for the control plane. The path keeps a refused event and offers it again on `tick`.
    ///
    /// # Errors
    /// When the ring is full.
    fn event(&mut self, event: Event) -> Result<(), Full>;

    /// Writes to the segment that outbound sequence numbers up to and including `block_end` may have been used by
    /// the SA in `slot`. Returns only when the word is visible to the other process; packets follow.
    fn reserve_sequence(&mut self, slot: u32, block_end: u64);

    /// Publishes the figures of an SA that a burst touched.
    fn sa_statistics(&mut self, slot: u32, statistics: SaStatistics);

    /// The figures of the SA in `slot` will be published soon: what that writes can be fetched.
    fn expect_sa_statistics(&self, slot: u32) {
        let _ = slot;
    }

    /// Gives a captured packet away, of which at most `snap_len` octets. A sink without observers takes none.
    ///
    /// # Errors
    /// When the ring is full; the packet goes its way unseen.
    fn seen(&mut self, packet: &SeenRef<'_>, snap_len: u16) -> Result<(), Full> {
        let _ = (packet, snap_len);
        Ok(())
    }

    /// As [`Sink::seen`], for what else is observed.
    ///
    /// # Errors
    /// When the ring is full.
    fn observe(&mut self, observation: &Observation) -> Result<(), Full> {
        let _ = observation;
        Ok(())
    }

    /// CLOCK_MONOTONIC in nanoseconds, for observations only: a reading of the clock.
    fn clock_ns(&self) -> u64 {
        0
    }

    /// Counts a packet of the SA in `slot` that was refused after its SA was known. A sink that keeps no such counts ignores
    /// it; the reason's own counter counts the packet as well.
    fn sa_drop(&mut self, slot: u32, direction: SaDirection) {
        let _ = (slot, direction);
    }
}

/// A ring had no free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full;

/// An IKE datagram on its way to the control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Punt<'a> {
    /// Our address.
    pub local: IpAddr,
    /// Our port: 500 or 4500.
    pub local_port: u16,
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// The IKE message.
    pub payload: &'a [u8],
}

/// What one worker passes to another; opaque to the ring that carries it.
#[derive(Debug)]
pub enum Handoff<B> {
    /// ESP for an SA of the other worker; the buffer starts at the ESP header.
    EspIn {
        /// The packet.
        buffer: B,
        /// Where it came from.
        outer: Outer,
    },
    /// A clear IPv4 packet for a client whose SA the other worker owns.
    EspOut {
        /// The packet, from its IPv4 header.
        buffer: B,
        /// Where it came in.
        ingress: Ingress,
    },
    /// A fragment of a packet to us that the other worker puts together.
    Fragment {
        /// The fragment, from its IP header.
        buffer: B,
    },
    /// As `EspOut`, of IPv6.
    EspOut6 {
        /// The packet, from its IPv6 header.
        buffer: B,
        /// Where it came in.
        ingress: Ingress,
    },
    /// A router's word on how much the path to a peer over IPv6 lets through, for the worker that has the SA.
    PathMtu6 {
        /// The peer's address.
        peer: Ipv6Addr,
        /// The SPI of packets to it.
        spi: u32,
        /// Octets that pass.
        mtu: u16,
    },
    /// A neighbour that neighbour discovery taught this worker.
    Neighbour6 {
        /// The port it is on.
        port: PortId,
        /// Its address.
        address: Ipv6Addr,
        /// Its Ethernet address.
        mac: [u8; 6],
    },
    /// A neighbour that ARP taught this worker.
    Neighbour {
        /// The port it is on.
        port: PortId,
        /// Its address.
        address: Ipv4Addr,
        /// Its Ethernet address.
        mac: [u8; 6],
    },
}

impl<B> Handoff<B> {
    /// The packet in it, if there is one.
    #[inline]
    pub fn buffer(&self) -> Option<&B> {
        match self {
            Handoff::EspIn { buffer, .. }
            | Handoff::EspOut { buffer, .. }
            | Handoff::EspOut6 { buffer, .. }
            | Handoff::Fragment { buffer } => Some(buffer),
            Handoff::Neighbour { .. } | Handoff::Neighbour6 { .. } | Handoff::PathMtu6 { .. } => None,
        }
    }
}

/// How an ESP packet travelled. Of 16 octets for either family: over IPv6 the addresses stay where they are, in the header in front of
/// the packet ([`Buffer::front`]), and only a digest of the peer's goes with it, which tells whether it is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outer {
    /// The peer's IPv4 address, or a digest of its IPv6 address.
    peer: u32,
    /// Our IPv4 address; over IPv6 the octets from its header to the header of ESP or UDP.
    local: u32,
    /// Peer's and our UDP port, if UDP-encapsulated.
    pub udp: Option<(u16, u16)>,
    /// DSCP and ECN of the outer header.
    pub tos: u8,
    is_v6: bool,
}

const _: () = assert!(size_of::<Outer>() == 16);

impl Outer {
    /// Of a packet over IPv4.
    #[inline(always)]
    pub fn v4(peer: Ipv4Addr, local: Ipv4Addr, udp: Option<(u16, u16)>, tos: u8) -> Outer {
        Outer { peer: u32::from(peer), local: u32::from(local), udp, tos, is_v6: false }
    }

    /// Of a packet over IPv6, whose header begins `distance` octets in front of the header of ESP or UDP and stays there.
    pub fn v6(peer: Ipv6Addr, distance: u16, udp: Option<(u16, u16)>, tos: u8) -> Outer {
        Outer { peer: Outer::mark(peer.into()), local: distance.into(), udp, tos, is_v6: true }
    }

    /// What packets from an address have as [`Outer::peer_mark`].
    pub fn mark(peer: IpAddr) -> u32 {
        match peer {
            IpAddr::V4(peer) => u32::from(peer),
            IpAddr::V6(peer) => {
                let bits = peer.to_bits();
                let folded = ((bits >> 64) as u64).wrapping_mul(3) ^ bits as u64;
                // 2^64 divided by the golden ratio (Knuth, Fibonacci hashing).
                (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
            }
        }
    }

    /// The peer's IPv4 address or a digest of its IPv6 address: another one means another peer address.
    #[inline(always)]
    pub fn peer_mark(&self) -> u32 {
        self.peer
    }

    /// The peer's address and ours, of a packet that begins with its ESP header.
    pub fn addresses(&self, packet: &impl Buffer) -> Option<(IpAddr, IpAddr)> {
        self.addresses_behind(packet, if self.udp.is_some() { udp::HEADER_LEN } else { 0 })
    }

    /// The same, of a packet that begins with its UDP header.
    pub fn addresses_at_udp(&self, packet: &impl Buffer) -> Option<(IpAddr, IpAddr)> {
        self.addresses_behind(packet, 0)
    }

    /// The outer IP header and what follows it up to the ESP header that the packet begins with, where it is still there.
    pub fn header_in_front<'b>(&self, packet: &'b impl Buffer) -> Option<&'b [u8]> {
        let in_udp = if self.udp.is_some() { udp::HEADER_LEN } else { 0 };
        if self.is_v6 {
            return packet.front(self.local as usize + in_udp);
        }
        let header = packet.front(ipv4::HEADER_LEN + in_udp)?;
        let [0x45, .., s0, s1, s2, s3, d0, d1, d2, d3] = *header.first_chunk::<{ ipv4::HEADER_LEN }>()?
        else {
            return None;
        };
        let ends = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([d0, d1, d2, d3]));
        (ends == (self.peer, self.local)).then_some(header)
    }

    fn addresses_behind(&self, packet: &impl Buffer, more: usize) -> Option<(IpAddr, IpAddr)> {
        if !self.is_v6 {
            return Some((Ipv4Addr::from(self.peer).into(), Ipv4Addr::from(self.local).into()));
        }
        let header = packet.front(self.local as usize + more)?.first_chunk()?;
        let (source, destination, _) = ipv6::quoted(header)?;
        (Outer::mark(source.into()) == self.peer).then(|| (source.into(), destination.into()))
    }
}

/// Where an inner packet entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ingress {
    /// Clear, on a port.
    Port(PortId),
    /// Through the SA with this inbound SPI.
    Tunnel(u32),
    /// Made here (ICMP).
    Local,
}

/// One of an SA's directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaDirection {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// Figures of one Child SA since it was installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SaStatistics {
    /// Packets opened and accepted.
    pub in_packets: u64,
    /// Inner octets of them.
    pub in_bytes: u64,
    /// Packets sealed.
    pub out_packets: u64,
    /// Inner octets of them.
    pub out_bytes: u64,
    /// Highest inbound sequence number accepted.
    pub highest_inbound_sequence: u64,
}
