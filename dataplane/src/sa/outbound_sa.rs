//! The outbound direction of an SA as a packet meets it: sequence numbers that are reserved in blocks, counters, the outer
//! header's parts with their checksum, the selectors' common case and the key. RFC 4303 §3.3, RFC 3948 §3.4.

use std::net::{IpAddr, Ipv4Addr};

use causeway_shared::net::{checksum, ipv4, ipv6, udp};
use causeway_shared::sa::{Encapsulation, EspSuite, SaPair};

use super::HOT_OCTETS;
use super::fast_selector::FastSelector;
use crate::crypto::{ESP_HEADER_LEN, OutboundKey};

/// Sequence numbers reserved at once. A crash skips at most this many, far less than a peer's ESN inference bears.
pub const SEQUENCE_BLOCK: u64 = 1 << 14;
/// Longest outer header: IPv4 and UDP.
pub const MAX_OUTER_HEADER: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;

/// TTL of outer packets.
const OUTER_TTL: u8 = 64;
/// Octets of pad length and next header.
const TRAILER_LEN: usize = 2;
/// The longest alignment of a suite; padding is shorter.
const MAX_ALIGN: usize = 16;
/// RFC 4303 §2.4: padding counts from 1.
const PADDING: [u8; MAX_ALIGN] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// ESP runs over UDP.
const OVER_UDP: u8 = 1;
/// The SA may carry no more packets.
const OVER: u8 = 2;
/// Its figures wait to be published.
pub(super) const TOUCHED: u8 = 4;
/// Extended sequence numbers.
const ESN: u8 = 8;
/// The peer is reached over IPv6; its header is in `outer6.rs`.
const OVER_IPV6: u8 = 16;

/// Hot part of the outbound direction.
#[repr(C, align(64))]
pub struct Outbound {
    inbound_spi: u32,
    /// SPI that the peer chose.
    spi: u32,
    next_sequence: u64,
    /// Numbers left of the reserved block.
    reserved: u16,
    /// Packets that may follow before the limits must be looked at again.
    pub(crate) quiet: u16,
    iv_len: u8,
    icv_len: u8,
    align: u8,
    pub(super) flags: u8,
    /// Packets sealed.
    pub packets: u64,
    /// Inner octets of them.
    pub bytes: u64,
    selector: FastSelector,
    /// The peer's outer address, over IPv4.
    peer: Ipv4Addr,
    /// TTL, protocol, no checksum, our outer address: the middle of the outer IPv4 header as it is sent.
    middle: [u8; 8],
    /// Our and the peer's UDP port as they are sent.
    ports: [u8; 4],
    /// Sum of what never changes in the outer IPv4 header, of words in the order of this machine.
    header_sum: u16,
    /// Octets that the outer packet has more than the inner one at most.
    overhead: u16,
    /// The key; `None` in an empty slot.
    pub(super) key: Option<OutboundKey>,
}

const _: () = assert!(size_of::<Outbound>() <= HOT_OCTETS && SEQUENCE_BLOCK <= u16::MAX as u64);

/// Why an SA has no next sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SA's sequence numbers are used up")]
pub struct SequenceError;

impl Outbound {
    /// Of an SA that is going to be installed.
    pub(super) fn new(pair: &SaPair, key: OutboundKey) -> Outbound {
        Outbound {
            inbound_spi: pair.inbound_spi,
            spi: pair.outbound_spi,
            next_sequence: pair.first_outbound_sequence,
            iv_len: pair.suite.iv_len() as u8,
            icv_len: pair.suite.icv_len() as u8,
            align: pair.suite.pad_align() as u8,
            flags: if pair.esn { ESN } else { 0 },
            selector: FastSelector::new(&pair.peer_selectors, &pair.local_selectors),
            key: Some(key),
            ..Outbound::vacant()
        }
    }

    /// Of a slot without SA.
    pub(super) fn vacant() -> Outbound {
        Outbound {
            inbound_spi: 0,
            spi: 0,
            next_sequence: 0,
            reserved: 0,
            quiet: 0,
            iv_len: 0,
            icv_len: 0,
            align: 1,
            flags: 0,
            packets: 0,
            bytes: 0,
            selector: FastSelector::none(),
            peer: Ipv4Addr::UNSPECIFIED,
            middle: [0; _],
            ports: [0; _],
            header_sum: 0,
            overhead: 0,
            key: None,
        }
    }

    /// SPI of packets to us, which names the SA; 0 for no SA.
    #[inline(always)]
    pub fn inbound_spi(&self) -> u32 {
        self.inbound_spi
    }

    /// Whether the peer is reached over IPv6.
    #[inline(always)]
    pub fn is_over_ipv6(&self) -> bool {
        self.flags & OVER_IPV6 != 0
    }

    /// SPI of packets to the peer, who chose it.
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// The peer's outer address, over IPv4.
    #[inline(always)]
    pub fn peer(&self) -> Ipv4Addr {
        self.peer
    }

    /// Whether the selectors' common case takes a packet from our side's `local` to the peer's `peer`.
    #[inline(always)]
    pub fn takes(&self, local: Ipv4Addr, peer: Ipv4Addr) -> bool {
        self.selector.takes(peer, local)
    }

    /// Whether the SA may carry no more packets.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.flags & OVER != 0
    }

    /// For sealing; `None` for no SA.
    #[inline(always)]
    pub fn key(&self) -> Option<&OutboundKey> {
        self.key.as_ref()
    }

    /// Octets of the explicit IV.
    #[inline(always)]
    pub fn iv_len(&self) -> usize {
        usize::from(self.iv_len)
    }

    /// The next sequence number, never given before. `reserve` is called with the end of each block of numbers before
    /// the first of them is used, so that an SA installed again after a crash starts behind it.
    ///
    /// # Errors
    /// When all are used up (RFC 4303 §3.3.3: they must not cycle).
    #[inline(always)]
    pub fn next_sequence(&mut self, reserve: impl FnOnce(u64)) -> Result<u64, SequenceError> {
        let sequence = self.next_sequence;
        if self.reserved == 0 {
            let last = self.last_sequence();
            if sequence > last || sequence == 0 {
                return Err(SequenceError);
            }
            let end = sequence.saturating_add(SEQUENCE_BLOCK - 1).min(last);
            // At most a block, which fits.
            self.reserved = (end - sequence) as u16 + 1;
            reserve(end);
        }
        self.reserved -= 1;
        // After the last number of an ESN this is 0, which the check above takes for the end.
        self.next_sequence = sequence.wrapping_add(1);
        Ok(sequence)
    }

    /// Whether fewer than a sixteenth of the sequence numbers are left: time to rekey.
    pub fn sequence_is_scarce(&self) -> bool {
        self.last_sequence().saturating_sub(self.next_sequence) < self.last_sequence() / 16
    }

    /// Packets that may follow before the sequence numbers are scarce.
    pub(super) fn packets_until_scarce(&self) -> u64 {
        let last = self.last_sequence();
        last.saturating_sub(self.next_sequence).saturating_sub(last / 16)
    }

    /// Octets that ESP adds behind an inner packet of `inner_len`: padding, trailer, ICV.
    #[inline(always)]
    pub fn trailer_len(&self, inner_len: usize) -> usize {
        self.padding(inner_len) + TRAILER_LEN + usize::from(self.icv_len)
    }

    /// Writes padding, pad length and next header to the front of `trailer`, which has [`Outbound::trailer_len`] octets.
    #[inline(always)]
    pub fn write_trailer(&self, trailer: &mut [u8], inner_len: usize, next_header: u8) -> Option<()> {
        let padding = self.padding(inner_len);
        // The ICV is at least 16 octets, so the whole pattern has room and the engine overwrites what is too much of it.
        *trailer.first_chunk_mut::<MAX_ALIGN>()? = PADDING;
        let [pad_len, next] = trailer.get_mut(padding..)?.first_chunk_mut::<TRAILER_LEN>()?;
        (*pad_len, *next) = (padding as u8, next_header);
        Some(())
    }

    /// SPI and sequence number.
    #[inline(always)]
    pub fn esp_header(&self, sequence: u64) -> [u8; ESP_HEADER_LEN] {
        (u64::from(self.spi) << 32 | sequence & 0xffff_ffff).to_be_bytes()
    }

    /// Below the alignment, so at most 15.
    #[inline(always)]
    fn padding(&self, inner_len: usize) -> usize {
        (inner_len + TRAILER_LEN).wrapping_neg() & (usize::from(self.align) - 1)
    }

    /// Octets of the outer header over IPv4.
    #[inline(always)]
    pub fn outer_len(&self) -> usize {
        if self.flags & OVER_UDP != 0 { MAX_OUTER_HEADER } else { ipv4::HEADER_LEN }
    }

    /// Writes the outer header to `to`, which has [`Outbound::outer_len`] octets, for a packet whose ESP part has
    /// `esp_len`. `None` when the packet would be longer than 65535 octets.
    #[inline(always)]
    pub fn write_outer(&self, to: &mut [u8], esp_len: usize, tos: u8, identification: u16) -> Option<()> {
        let total = u16::try_from(to.len() + esp_len).ok()?;
        // All words as they are sent, read with their first octet lowest: a ones'-complement sum does not mind.
        let (total_word, id_word) = (total.swap_bytes(), identification.swap_bytes());
        let sum =
            u32::from(self.header_sum) + (u32::from(tos) << 8) + u32::from(total_word) + u32::from(id_word);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        let first = 0x45 | u64::from(tos) << 8 | u64::from(total_word) << 16 | u64::from(id_word) << 32;
        let middle = u64::from_le_bytes(self.middle) | u64::from(sum) << 16;
        let (head, rest) = to.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
        let (words, peer) = head.split_first_chunk_mut::<16>()?;
        *words = (u128::from(middle) << 64 | u128::from(first)).to_le_bytes();
        *peer.first_chunk_mut()? = self.peer.octets();
        if let Some(udp) = rest.first_chunk_mut::<{ udp::HEADER_LEN }>() {
            let len = (total - ipv4::HEADER_LEN as u16).swap_bytes();
            // RFC 3948 §2.1: the UDP checksum should be zero.
            *udp = (u64::from(u32::from_le_bytes(self.ports)) | u64::from(len) << 32).to_le_bytes();
        }
        Some(())
    }

    /// Whether an inner packet's outer packet surely fits `mtu`; [`Outbound::max_inner_len`] knows exactly.
    #[inline(always)]
    pub fn surely_fits(&self, inner_len: u16, mtu: u16) -> bool {
        u32::from(inner_len) + u32::from(self.overhead) <= u32::from(mtu)
    }

    /// Largest inner packet whose outer packet fits `mtu`.
    #[inline(always)]
    pub fn max_inner_len(&self, mtu: u16) -> usize {
        let fixed = self.fixed_len();
        inner_room(usize::from(mtu).saturating_sub(fixed), usize::from(self.align))
    }

    pub(super) fn end(&mut self) {
        self.flags |= OVER;
    }

    /// Builds what the outer header is made from. DF stays clear: a router on the way may fragment rather than swallow
    /// what we sized by our own MTU.
    pub(super) fn set_peer(&mut self, local: IpAddr, peer: IpAddr, encapsulation: Encapsulation) {
        self.flags &= !(OVER_UDP | OVER_IPV6);
        if let Encapsulation::Udp { .. } = encapsulation {
            self.flags |= OVER_UDP;
        }
        match (local, peer) {
            (IpAddr::V4(local), IpAddr::V4(peer)) => self.build_ipv4(local, peer, encapsulation),
            _ => self.flags |= OVER_IPV6,
        }
        self.set_path_mtu(u16::MAX, u16::MAX);
    }

    /// Says what [`Outbound::surely_fits`] goes by: of `port_mtu` octets only `path_mtu` pass the path.
    pub(super) fn set_path_mtu(&mut self, path_mtu: u16, port_mtu: u16) {
        let most = self.fixed_len() + TRAILER_LEN + usize::from(self.align) - 1;
        let lost = port_mtu.saturating_sub(path_mtu);
        // A few dozen, and what the path takes.
        self.overhead = (most as u16).saturating_add(lost);
    }

    /// Octets that every outer packet has beside its ciphertext.
    fn fixed_len(&self) -> usize {
        let wider = if self.is_over_ipv6() { ipv6::HEADER_LEN - ipv4::HEADER_LEN } else { 0 };
        self.outer_len() + wider + ESP_HEADER_LEN + self.iv_len() + usize::from(self.icv_len)
    }

    fn build_ipv4(&mut self, local: Ipv4Addr, peer: Ipv4Addr, encapsulation: Encapsulation) {
        self.peer = peer;
        if let Encapsulation::Udp { local_port, peer_port } = encapsulation {
            let ([l0, l1], [p0, p1]) = (local_port.to_be_bytes(), peer_port.to_be_bytes());
            self.ports = [l0, l1, p0, p1];
        }
        let protocol = if self.flags & OVER_UDP != 0 { ipv4::PROTOCOL_UDP } else { ipv4::PROTOCOL_ESP };
        let sum = checksum::Sum::default().word(0x4500).octets(&[OUTER_TTL, protocol]).word(0);
        self.header_sum = (!sum.octets(&local.octets()).octets(&peer.octets()).finish()).swap_bytes();
        let [a, b, c, d] = local.octets();
        self.middle = [OUTER_TTL, protocol, 0, 0, a, b, c, d];
    }

    fn last_sequence(&self) -> u64 {
        last_sequence(self.flags & ESN != 0)
    }
}

/// The last sequence number of an SA (RFC 4303 §2.2).
pub(super) fn last_sequence(esn: bool) -> u64 {
    if esn { u64::MAX } else { u64::from(u32::MAX) }
}

/// Largest inner packet of a suite over an outer path of `mtu` octets.
pub fn max_inner_len(suite: EspSuite, udp_encapsulated: bool, mtu: u16) -> usize {
    let outer = if udp_encapsulated { MAX_OUTER_HEADER } else { ipv4::HEADER_LEN };
    let fixed = outer + ESP_HEADER_LEN + suite.iv_len() + suite.icv_len();
    inner_room(usize::from(mtu).saturating_sub(fixed), suite.pad_align())
}

/// `align` is a power of two.
#[inline]
fn inner_room(ciphertext_len: usize, align: usize) -> usize {
    (ciphertext_len & !(align - 1)).saturating_sub(TRAILER_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sa(suite: EspSuite, encapsulation: Encapsulation) -> Outbound {
        let mut sa = Outbound::vacant();
        (sa.iv_len, sa.icv_len, sa.align) =
            (suite.iv_len() as u8, suite.icv_len() as u8, suite.pad_align() as u8);
        sa.set_peer(IpAddr::from([192, 0, 2, 1]), IpAddr::from([203, 0, 113, 255]), encapsulation);
        sa
    }

    proptest! {
        #[test]
        fn the_outer_header_is_right_whatever_changes_in_it(esp_len in 30usize..9000, tos: u8, identification: u16, udp: bool) {
            let encapsulation = match udp {
                true => Encapsulation::Udp { local_port: 4500, peer_port: 65_000 },
                false => Encapsulation::Esp,
            };
            let sa = sa(EspSuite::Aes256Gcm16, encapsulation);
            let mut packet = vec![0xee; sa.outer_len() + esp_len];
            let outer_len = sa.outer_len();
            sa.write_outer(&mut packet[..outer_len], esp_len, tos, identification).unwrap();
            let parsed = ipv4::Packet::parse(&packet).unwrap();
            prop_assert_eq!((parsed.total_len(), parsed.tos(), parsed.identification()), (packet.len(), tos, identification));
            prop_assert_eq!((parsed.source(), parsed.destination()), ([192, 0, 2, 1].into(), sa.peer));
            prop_assert_eq!((parsed.ttl(), parsed.is_fragment(), parsed.dont_fragment()), (64, false, false));
        }

        #[test]
        fn what_surely_fits_fits(len in 0u16..2000, mtu in 576u16..2000, gcm: bool, udp: bool) {
            let suite = if gcm { EspSuite::Aes128Gcm16 } else { EspSuite::Aes256CbcSha384 };
            let encapsulation = match udp {
                true => Encapsulation::Udp { local_port: 4500, peer_port: 65_000 },
                false => Encapsulation::Esp,
            };
            let sa = sa(suite, encapsulation);
            let room = sa.max_inner_len(mtu);
            prop_assert!(!sa.surely_fits(len, mtu) || usize::from(len) <= room);
            prop_assert!(sa.surely_fits(len, mtu) || usize::from(len) + suite.pad_align() > room);
        }

        #[test]
        fn padding_counts_from_one_and_aligns(inner_len in 0usize..2000, gcm: bool) {
            let suite = if gcm { EspSuite::Aes128Gcm16 } else { EspSuite::Aes256CbcSha384 };
            let sa = sa(suite, Encapsulation::Esp);
            let mut trailer = vec![0xee; sa.trailer_len(inner_len)];
            sa.write_trailer(&mut trailer, inner_len, 4).unwrap();
            let pad_len = trailer.len() - 2 - suite.icv_len();
            prop_assert!(pad_len < suite.pad_align());
            prop_assert_eq!((inner_len + pad_len + 2) % suite.pad_align(), 0);
            let expected: Vec<u8> = (1..=pad_len as u8).chain([pad_len as u8, 4]).collect();
            prop_assert_eq!(&trailer[..pad_len + 2], &expected[..]);
        }
    }

    #[test]
    fn numbers_end_where_they_must() {
        for (flags, last) in [(0, u64::from(u32::MAX)), (ESN, u64::MAX)] {
            let mut sa = Outbound::vacant();
            (sa.flags, sa.next_sequence) = (flags, last - 1);
            let mut reserved = Vec::new();
            assert_eq!(sa.next_sequence(|end| reserved.push(end)), Ok(last - 1));
            assert_eq!(sa.next_sequence(|end| reserved.push(end)), Ok(last));
            assert_eq!(sa.next_sequence(|end| reserved.push(end)), Err(SequenceError));
            assert_eq!(reserved, [last]);
        }
    }
}
