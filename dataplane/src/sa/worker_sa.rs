//! One Child SA pair as its owner worker keeps it: a hot part per direction, and what is rarely looked at.
//!
//! Enters: a checked [`SaPair`]. Leaves: expanded keys, a replay window, a sequence counter that reserves its numbers
//! in blocks, and a prebuilt outer header. RFC 4301 §4.4.2, RFC 4303, RFC 3948.

use std::net::Ipv4Addr;

use causeway_shared::net::{checksum, ipv4, udp};
use causeway_shared::sa::{
    Encapsulation, EspSuite, MAX_REPLAY_WINDOW, MAX_SELECTORS, MIN_SPI, SaLimits, SaPair,
};
use causeway_shared::wire::AckStatus;

use super::{ReplayWindow, Selectors};
use crate::crypto::{ESP_HEADER_LEN, Engine, EspEngine, InboundKey, OutboundKey};
use crate::sink::SaStatistics;

/// Sequence numbers reserved at once. A crash skips at most this many, far less than a peer's ESN inference bears.
pub const SEQUENCE_BLOCK: u64 = 1 << 14;
/// Longest outer header: IPv4 and UDP.
pub const MAX_OUTER_HEADER: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;

/// TTL of outer packets.
const OUTER_TTL: u8 = 64;

/// One Child SA pair.
pub struct WorkerSa {
    /// From the peer.
    pub inbound: Inbound,
    /// To the peer.
    pub outbound: Outbound,
    /// Keys for opening.
    pub inbound_key: InboundKey,
    /// Keys for sealing.
    pub outbound_key: OutboundKey,
    /// Which inner packets it carries.
    pub selectors: Selectors,
    /// Byte and packet limits of each direction, and which were announced.
    pub lifetime: Lifetime,
    /// How ESP travels, and between which addresses.
    pub local_outer: Ipv4Addr,
    /// The peer's address.
    pub peer_outer: Ipv4Addr,
    /// With UDP or without.
    pub encapsulation: Encapsulation,
    /// The session it belongs to, for traces.
    pub session_id: u64,
}

/// Hot part of the inbound direction: one cache line.
#[repr(C, align(64))]
pub struct Inbound {
    /// Which numbers were taken.
    pub window: ReplayWindow,
    /// Packets accepted.
    pub packets: u64,
    /// Inner octets of them.
    pub bytes: u64,
    spi: u32,
    /// Octets of the explicit IV.
    pub iv_len: u8,
    /// Octets of the ICV.
    pub icv_len: u8,
    /// Alignment of the ciphertext.
    pub align: u8,
}

/// Hot part of the outbound direction: two cache lines.
#[repr(C, align(64))]
pub struct Outbound {
    next_sequence: u64,
    reserved_end: u64,
    last_sequence: u64,
    /// Packets sealed.
    pub packets: u64,
    /// Inner octets of them.
    pub bytes: u64,
    /// SPI that the peer chose.
    pub spi: u32,
    /// Octets of the explicit IV.
    pub iv_len: u8,
    /// Octets of the ICV.
    pub icv_len: u8,
    /// Alignment of the ciphertext.
    pub align: u8,
    outer_len: u8,
    outer: [u8; MAX_OUTER_HEADER],
}

const _: () = assert!(size_of::<Inbound>() == 64 && size_of::<Outbound>() == 128);

/// Why an SA has no next sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SA's sequence numbers are used up")]
pub struct SequenceError;

impl WorkerSa {
    /// Checks the description, expands keys and prebuilds headers; runs on the manager's thread.
    ///
    /// # Errors
    /// `OutOfRange` when a value is one that the data plane cannot use.
    pub fn new(pair: &SaPair) -> Result<Box<WorkerSa>, AckStatus> {
        let selectors = [&pair.local_selectors, &pair.peer_selectors];
        let in_range = pair.inbound_spi >= MIN_SPI
            && pair.outbound_spi >= MIN_SPI
            && pair.replay_window <= MAX_REPLAY_WINDOW
            && (1..=last_sequence(pair.esn)).contains(&pair.first_outbound_sequence)
            && pair.highest_inbound_sequence <= last_sequence(pair.esn)
            && selectors.iter().all(|list| (1..=MAX_SELECTORS).contains(&list.len()));
        if !in_range {
            return Err(AckStatus::OutOfRange);
        }
        let (suite, esn) = (pair.suite, pair.esn);
        let inbound_key =
            Engine::setup_inbound(suite, esn, &pair.inbound_keys).map_err(|_| AckStatus::OutOfRange)?;
        let outbound_key =
            Engine::setup_outbound(suite, esn, &pair.outbound_keys).map_err(|_| AckStatus::OutOfRange)?;
        let mut sa = Box::new(WorkerSa {
            inbound: Inbound {
                window: ReplayWindow::new(pair.replay_window, esn, pair.highest_inbound_sequence),
                packets: 0,
                bytes: 0,
                spi: pair.inbound_spi,
                iv_len: suite.iv_len() as u8,
                icv_len: suite.icv_len() as u8,
                align: suite.pad_align() as u8,
            },
            outbound: Outbound {
                next_sequence: pair.first_outbound_sequence,
                reserved_end: pair.first_outbound_sequence - 1,
                last_sequence: last_sequence(esn),
                packets: 0,
                bytes: 0,
                spi: pair.outbound_spi,
                iv_len: suite.iv_len() as u8,
                icv_len: suite.icv_len() as u8,
                align: suite.pad_align() as u8,
                outer_len: 0,
                outer: [0; MAX_OUTER_HEADER],
            },
            inbound_key,
            outbound_key,
            selectors: Selectors::new(&pair.local_selectors, &pair.peer_selectors),
            lifetime: Lifetime::new(pair.limits),
            local_outer: pair.local_outer,
            peer_outer: pair.peer_outer,
            encapsulation: pair.encapsulation,
            session_id: pair.session_id,
        });
        sa.move_peer(pair.peer_outer, pair.encapsulation);
        Ok(sa)
    }

    /// SPI of packets to us.
    pub fn inbound_spi(&self) -> u32 {
        self.inbound.spi
    }

    /// The peer has a new outer address: builds the outer header anew.
    pub fn move_peer(&mut self, peer_outer: Ipv4Addr, encapsulation: Encapsulation) {
        self.peer_outer = peer_outer;
        self.encapsulation = encapsulation;
        self.outbound.build_outer(self.local_outer, peer_outer, encapsulation);
    }

    /// Its figures.
    pub fn statistics(&self) -> SaStatistics {
        SaStatistics {
            in_packets: self.inbound.packets,
            in_bytes: self.inbound.bytes,
            out_packets: self.outbound.packets,
            out_bytes: self.outbound.bytes,
            highest_inbound_sequence: self.inbound.window.top(),
        }
    }
}

impl Outbound {
    /// The next sequence number, never given before. `reserve` is called with the end of each block of numbers before
    /// the first of them is used, so that an SA installed again after a crash starts behind it.
    ///
    /// # Errors
    /// When all are used up (RFC 4303 §3.3.3: they must not cycle).
    #[inline]
    pub fn next_sequence(&mut self, reserve: impl FnOnce(u64)) -> Result<u64, SequenceError> {
        let sequence = self.next_sequence;
        if sequence > self.last_sequence || sequence == 0 {
            return Err(SequenceError);
        }
        if sequence > self.reserved_end {
            self.reserved_end = sequence.saturating_add(SEQUENCE_BLOCK - 1).min(self.last_sequence);
            reserve(self.reserved_end);
        }
        // After the last number of an ESN this is 0, which the check above takes for the end.
        self.next_sequence = sequence.wrapping_add(1);
        Ok(sequence)
    }

    /// Whether fewer than a sixteenth of the sequence numbers are left: time to rekey.
    #[inline]
    pub fn sequence_is_scarce(&self) -> bool {
        self.last_sequence.saturating_sub(self.next_sequence) < self.last_sequence / 16
    }

    /// Octets that ESP adds behind an inner packet of `inner_len`: padding, trailer, ICV.
    #[inline]
    pub fn trailer_len(&self, inner_len: usize) -> usize {
        let align = usize::from(self.align);
        (inner_len + 2).next_multiple_of(align) - inner_len + usize::from(self.icv_len)
    }

    /// The outer header for a packet whose ESP part has `esp_len` octets: written to `to`, its length returned.
    /// `None` when the packet would be longer than 65535 octets.
    #[inline]
    pub fn write_outer(
        &self,
        to: &mut [u8; MAX_OUTER_HEADER],
        esp_len: usize,
        tos: u8,
        identification: u16,
    ) -> Option<usize> {
        *to = self.outer;
        let outer_len = usize::from(self.outer_len);
        let total = u16::try_from(outer_len + esp_len).ok()?.to_be_bytes();
        [to[2], to[3]] = total;
        to[1] = tos;
        [to[4], to[5]] = identification.to_be_bytes();
        let head = to.first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
        let sum = checksum::of(head).to_be_bytes();
        [to[10], to[11]] = sum;
        if outer_len == MAX_OUTER_HEADER {
            let udp = (outer_len - ipv4::HEADER_LEN + esp_len) as u16;
            [to[24], to[25]] = udp.to_be_bytes();
        }
        Some(outer_len)
    }

    /// Octets of the outer header.
    pub fn outer_len(&self) -> usize {
        usize::from(self.outer_len)
    }

    /// Largest inner packet whose outer packet fits `mtu`.
    pub fn max_inner_len(&self, mtu: u16) -> usize {
        let fixed = usize::from(self.outer_len) + ESP_HEADER_LEN + usize::from(self.iv_len + self.icv_len);
        inner_room(usize::from(mtu).saturating_sub(fixed), usize::from(self.align))
    }

    fn build_outer(&mut self, local: Ipv4Addr, peer: Ipv4Addr, encapsulation: Encapsulation) {
        let protocol = match encapsulation {
            Encapsulation::Esp => ipv4::PROTOCOL_ESP,
            Encapsulation::Udp { .. } => ipv4::PROTOCOL_UDP,
        };
        // DF stays clear: a router on the way may fragment rather than swallow what we sized by our own MTU.
        let header = ipv4::Header {
            tos: 0,
            total_len: 0,
            identification: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: OUTER_TTL,
            protocol,
            source: local,
            destination: peer,
        };
        let mut header = header.to_bytes();
        // The checksum is made per packet over a header in which it is zero.
        [header[10], header[11]] = [0, 0];
        // RFC 3948 §2.1: the UDP checksum should be zero.
        let (udp, len) = match encapsulation {
            Encapsulation::Esp => ([0; udp::HEADER_LEN], ipv4::HEADER_LEN),
            Encapsulation::Udp { local_port, peer_port } => {
                (udp::header(local_port, peer_port, 0, 0), MAX_OUTER_HEADER)
            }
        };
        for (to, from) in self.outer.iter_mut().zip(header.into_iter().chain(udp)) {
            *to = from;
        }
        self.outer_len = len as u8;
    }
}

/// Largest inner packet of a suite over an outer path of `mtu` octets.
pub fn max_inner_len(suite: EspSuite, udp_encapsulated: bool, mtu: u16) -> usize {
    let outer = if udp_encapsulated { MAX_OUTER_HEADER } else { ipv4::HEADER_LEN };
    let fixed = outer + ESP_HEADER_LEN + suite.iv_len() + suite.icv_len();
    inner_room(usize::from(mtu).saturating_sub(fixed), suite.pad_align())
}

fn inner_room(ciphertext_len: usize, align: usize) -> usize {
    (ciphertext_len / align * align).saturating_sub(2)
}

fn last_sequence(esn: bool) -> u64 {
    if esn { u64::MAX } else { u64::from(u32::MAX) }
}

/// Limits of an SA and what was announced of them. Each direction counts for itself.
pub struct Lifetime {
    limits: SaLimits,
    soft_announced: bool,
    hard_announced: bool,
    first_inbound_announced: bool,
    hard: bool,
}

/// What to announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// A soft limit was passed.
    Soft,
    /// A hard limit was passed.
    Hard,
    /// The first packet came in.
    FirstInbound,
}

impl Lifetime {
    fn new(limits: SaLimits) -> Lifetime {
        Lifetime {
            limits,
            soft_announced: false,
            hard_announced: false,
            first_inbound_announced: false,
            hard: false,
        }
    }

    /// Whether the SA may still carry packets.
    pub fn is_over(&self) -> bool {
        self.hard
    }

    /// The SA may carry no more packets (its sequence numbers are used up).
    pub(crate) fn end(&mut self) {
        self.hard = true;
    }

    /// Looks at one direction's figures; answers with a notice that was not yet [announced](Lifetime::announced).
    pub(crate) fn after(&mut self, packets: u64, bytes: u64, scarce: bool) -> Option<Notice> {
        let passed = |limit: u64, value: u64| limit != 0 && value >= limit;
        self.hard |= passed(self.limits.hard_packets, packets) || passed(self.limits.hard_bytes, bytes);
        if self.hard {
            return (!self.hard_announced).then_some(Notice::Hard);
        }
        let soft =
            scarce || passed(self.limits.soft_packets, packets) || passed(self.limits.soft_bytes, bytes);
        (soft && !self.soft_announced).then_some(Notice::Soft)
    }

    /// Whether the first inbound packet is still to be announced.
    pub(crate) fn first_inbound(&self) -> Option<Notice> {
        (!self.first_inbound_announced).then_some(Notice::FirstInbound)
    }

    /// The notice is on its way and need not be repeated.
    pub(crate) fn announced(&mut self, notice: Notice) {
        match notice {
            Notice::Soft => self.soft_announced = true,
            Notice::Hard => self.hard_announced = true,
            Notice::FirstInbound => self.first_inbound_announced = true,
        }
    }
}
