//! The outer IPv6 header of SAs whose peer is reached over IPv6 (RFC 4301 §5.1.2.2, RFC 3948, RFC 6437), and the MTU of the path there.
//!
//! Enters: where an SA's packets go. Leaves: their outer headers. It has no room in the SA's cache lines and lies in a table of its own
//! beside them (`table.rs`), of integers only: memory of SAs without IPv6 outside is never touched.

use std::net::Ipv6Addr;

use causeway_shared::net::{ipv4, ipv6, udp};
use causeway_shared::sa::Encapsulation;

/// Hop limit of outer packets.
const OUTER_HOP_LIMIT: u8 = 64;
/// How long a path's MTU is believed, milliseconds (RFC 8201 §4: ten minutes).
const PATH_MTU_MS: u64 = 600_000;

/// An SA's place in the table: our address, the peer's, and of the third number from its low end: 32 bits of ports (ours above; 0 for
/// ESP without UDP), 20 of flow label behind 12 of nothing, 16 of the path's MTU (0: as our port's), 48 of when that was learnt,
/// milliseconds.
pub(super) type Packed = [u128; 3];

/// No SA, or one over IPv4.
pub(super) const NONE: Packed = [0; 3];

/// What the outer headers of an SA have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outer6 {
    /// Our address.
    pub local: Ipv6Addr,
    /// The peer's.
    pub peer: Ipv6Addr,
    /// Our and the peer's UDP port, if ESP runs over UDP.
    ports: Option<(u16, u16)>,
    flow_label: u32,
    path_mtu: u16,
    learnt_ms: u64,
}

impl Outer6 {
    /// Of an SA that its `spi` gives a flow label of its own (RFC 6437 §3: any spread value).
    pub fn new(local: Ipv6Addr, peer: Ipv6Addr, encapsulation: Encapsulation, spi: u32) -> Outer6 {
        let ports = match encapsulation {
            Encapsulation::Udp { local_port, peer_port } => Some((local_port, peer_port)),
            Encapsulation::Esp => None,
        };
        // 2^32 divided by the golden ratio (Knuth, Fibonacci hashing).
        let flow_label = spi.wrapping_mul(0x9e37_79b9) >> 12;
        Outer6 { local, peer, ports, flow_label, path_mtu: 0, learnt_ms: 0 }
    }

    pub(super) fn pack(&self) -> Packed {
        let (ours, theirs) = self.ports.unwrap_or_default();
        let ports = u128::from(ours) << 16 | u128::from(theirs);
        let label = u128::from(self.flow_label) << 32;
        let mtu = u128::from(self.path_mtu) << 64 | u128::from(self.learnt_ms & 0xffff_ffff_ffff) << 80;
        [self.local.to_bits(), self.peer.to_bits(), ports | label | mtu]
    }

    pub(super) fn unpack([local, peer, rest]: &Packed) -> Outer6 {
        let (ours, theirs) = ((rest >> 16) as u16, *rest as u16);
        Outer6 {
            local: Ipv6Addr::from_bits(*local),
            peer: Ipv6Addr::from_bits(*peer),
            ports: (ours != 0).then_some((ours, theirs)),
            flow_label: (rest >> 32) as u32 & 0xf_ffff,
            path_mtu: (rest >> 64) as u16,
            learnt_ms: (rest >> 80) as u64,
        }
    }

    /// Octets of the header.
    pub fn header_len(&self) -> usize {
        ipv6::HEADER_LEN + if self.ports.is_some() { udp::HEADER_LEN } else { 0 }
    }

    /// Writes the header to the front of `packet`, which has [`Outer6::header_len`] octets more than its ESP part. Over UDP with a
    /// checksum: RFC 3948 §2.1 wants none for IPv4, but over IPv6 hosts discard a packet without one (RFC 8200 §8.1).
    /// `None` when the packet would be too long.
    pub fn write(&self, packet: &mut [u8], traffic_class: u8) -> Option<()> {
        let payload_len = u16::try_from(packet.len().checked_sub(ipv6::HEADER_LEN)?).ok()?;
        let header = ipv6::Header {
            traffic_class,
            flow_label: self.flow_label,
            payload_len,
            next_header: if self.ports.is_some() { ipv4::PROTOCOL_UDP } else { ipv4::PROTOCOL_ESP },
            hop_limit: OUTER_HOP_LIMIT,
            source: self.local,
            destination: self.peer,
        };
        let (to_header, payload) = packet.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
        *to_header = header.to_bytes();
        if let Some((ours, theirs)) = self.ports {
            let (to_udp, esp) = payload.split_first_chunk_mut::<{ udp::HEADER_LEN }>()?;
            let unsummed = udp::header(ours, theirs, payload_len, 0);
            let sum = udp::checksum6(self.local, self.peer, &unsummed, &[esp]);
            *to_udp = udp::header(ours, theirs, payload_len, sum);
        }
        Some(())
    }

    /// The path's MTU as far as it is known and not too old; `port_mtu` at most.
    pub fn mtu(&self, port_mtu: u16, now_ms: u64) -> u16 {
        let known = self.path_mtu != 0 && now_ms.saturating_sub(self.learnt_ms) < PATH_MTU_MS;
        if known { self.path_mtu.min(port_mtu) } else { port_mtu }
    }

    /// A router on the path says how much it lets through; `false` when that is nothing new. Less than every link must carry is not
    /// believed (RFC 8201 §4).
    pub(super) fn learn_mtu(&mut self, mtu: u16, port_mtu: u16, now_ms: u64) -> bool {
        let lower = mtu.max(ipv6::MIN_MTU) < self.mtu(port_mtu, now_ms);
        if lower {
            (self.path_mtu, self.learnt_ms) = (mtu.max(ipv6::MIN_MTU), now_ms);
        }
        lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_and_unpacked_is_the_same(
            local: u128, peer: u128, ports in prop::option::of((1u16.., 1u16..)), spi: u32, mtu: u16, learnt_ms in 0u64..1 << 48,
        ) {
            let encapsulation = match ports {
                Some((local_port, peer_port)) => Encapsulation::Udp { local_port, peer_port },
                None => Encapsulation::Esp,
            };
            let mut outer = Outer6::new(local.into(), peer.into(), encapsulation, spi);
            (outer.path_mtu, outer.learnt_ms) = (mtu, learnt_ms);
            prop_assert_eq!(Outer6::unpack(&outer.pack()), outer);
        }

        #[test]
        fn the_header_is_right(len in 30usize..3000, traffic_class: u8, over_udp: bool) {
            let (local, peer): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1".parse().unwrap(), "2001:db8:7::9".parse().unwrap());
            let encapsulation = match over_udp {
                true => Encapsulation::Udp { local_port: 4500, peer_port: 65_000 },
                false => Encapsulation::Esp,
            };
            let outer = Outer6::new(local, peer, encapsulation, 0x1234_5678);
            let mut octets: Vec<u8> = (0..outer.header_len() + len).map(|at| at as u8).collect();
            outer.write(&mut octets, traffic_class).unwrap();
            let packet = ipv6::Packet::parse(&octets).unwrap();
            prop_assert_eq!((packet.source(), packet.destination(), packet.hop_limit()), (local, peer, 64));
            prop_assert_eq!((packet.total_len(), packet.traffic_class()), (octets.len(), traffic_class));
            prop_assert_eq!(packet.protocol(), if over_udp { 17 } else { 50 });
            if over_udp {
                let datagram = udp::Datagram::parse(packet.upper_layer()).unwrap();
                prop_assert_eq!((datagram.source_port(), datagram.destination_port()), (4500, 65_000));
                prop_assert!(datagram.checksum_is_right6(local, peer));
                prop_assert_eq!(datagram.payload().len(), len);
            }
        }
    }

    #[test]
    fn a_paths_mtu_only_shrinks_is_bounded_and_grows_old() {
        let (local, peer) = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let mut outer = Outer6::new(local, peer, Encapsulation::Esp, 256);
        assert_eq!(outer.mtu(1500, 5), 1500);
        assert!(!outer.learn_mtu(1500, 1500, 1_000) && outer.learn_mtu(1400, 1500, 1_000));
        assert!(!outer.learn_mtu(1450, 1500, 2_000) && outer.learn_mtu(7, 1500, 2_000));
        assert_eq!((outer.mtu(1500, 601_999), outer.mtu(1500, 602_000)), (1280, 1500));
    }
}
