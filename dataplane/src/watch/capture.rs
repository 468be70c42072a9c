//! A capture of one session's packets, within bounds that hold for each worker.
//!
//! Enters: packets where the crypto engine takes and leaves them. Leaves: their octets to the ring of observations, from the IP header
//! on. The outer header of a packet that came is the one it came with where that is still in front of it, and one of the same addresses
//! and ports otherwise (after reassembly); that of a packet to the client is the one it will get, but for its identification.

use causeway_shared::net::{ipv4, udp};
use causeway_shared::wire::{CaptureOrder, Observation, Seen, SeenRef, Way};

use super::{OfSa, give};
use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::crypto::ESP_HEADER_LEN;
use crate::path::{Now, Sink, Tables};
use crate::sink::Outer;
use crate::stages::EspOut;

/// Octets of the largest packet with its outer header.
const LARGEST: usize = 9216 + 128;
/// Octets of the longest outer IPv4 header that is made here.
const MADE_LEN: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;
/// TTL of a header that is made here.
const MADE_TTL: u8 = 64;
/// Octets of pad length and next header.
const TRAILER_LEN: usize = 2;

/// One capture.
pub(super) struct Capture {
    watch: u32,
    pub(super) order: CaptureOrder,
    until_ms: u64,
    packets: u32,
    octets: u64,
    state: State,
    /// Where a packet over IPv6 gets its outer header.
    scratch: Box<[u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A bound is reached; nobody knows yet.
    Over,
    Told,
}

/// Room for an outer header.
#[derive(Default)]
pub(super) struct OuterHeader {
    octets: [u8; MADE_LEN],
}

impl Capture {
    pub fn new(watch: u32, order: CaptureOrder) -> Capture {
        let scratch = vec![0; LARGEST].into();
        Capture { watch, order, until_ms: 0, packets: 0, octets: 0, state: State::Open, scratch }
    }

    pub fn begin(&mut self, now: Now) {
        self.until_ms = now.monotonic_ms.saturating_add(self.order.max_ms);
    }

    /// Whether it wants packets of a session.
    pub fn is_of(&self, session_id: u64) -> bool {
        self.state == State::Open && self.order.session_id == session_id
    }

    /// Ends by time, and tells that it has ended.
    pub fn tick<B>(&mut self, now: Now, sink: &mut impl Sink<B>) {
        if self.state == State::Open && now.monotonic_ms >= self.until_ms {
            self.state = State::Over;
        }
        if self.state == State::Over && sink.observe(&Observation::Ended { watch: self.watch }).is_ok() {
            self.state = State::Told;
        }
    }

    /// Takes a packet: what stands in front of it, and itself.
    pub fn take<B>(
        &mut self,
        sa: OfSa,
        way: Way,
        inner: bool,
        (head, tail): (&[u8], &[u8]),
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        let whole_len = head.len() + tail.len();
        let kept = whole_len.min(usize::from(self.order.snap_len)) as u64;
        if self.packets >= self.order.max_packets || self.octets.saturating_add(kept) > self.order.max_octets
        {
            self.state = State::Over;
            return;
        }
        let seen = Seen {
            watch: self.watch,
            time_ns: sink.clock_ns(),
            inbound_spi: sa.inbound_spi,
            way,
            inner,
            whole_len: whole_len as u32,
        };
        if give(&SeenRef { seen, head, tail }, self.order.snap_len, sink, counters) {
            self.packets += 1;
            self.octets += kept;
        }
        if self.packets >= self.order.max_packets {
            self.state = State::Over;
        }
    }

    /// Takes a packet to the client, with the outer header that it is going to get.
    pub fn take_sealed<B: Buffer>(
        &mut self,
        sa: OfSa,
        packet: &EspOut<B>,
        tables: &Tables,
        sink: &mut impl Sink<B>,
        counters: &mut Counters,
    ) {
        let Some(direction) = tables.sas.outbound(packet.place) else { return };
        let esp = packet.buffer.data();
        if !direction.is_over_ipv6() {
            let mut made = OuterHeader::default();
            let Some(header) = made.octets.get_mut(..direction.outer_len()) else { return };
            if direction.write_outer(header, esp.len(), packet.tos, 0).is_some() {
                self.take(sa, Way::ToPeer, false, (header, esp), sink, counters);
            }
            return;
        }
        let Some(outer) = tables.sas.outer6(packet.place) else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        let whole = outer.header_len() + esp.len();
        if let Some(room) = scratch.get_mut(..whole)
            && let Some(place) = room.get_mut(outer.header_len()..)
        {
            place.copy_from_slice(esp);
            if outer.write(room, packet.tos).is_some() {
                self.take(sa, Way::ToPeer, false, (&[], room), sink, counters);
            }
        }
        self.scratch = scratch;
    }
}

/// The outer header of a packet that came: from the octets in front of it, or made in `made`.
pub(super) fn outer_header<'b, B: Buffer>(
    outer: &Outer,
    packet: &'b B,
    made: &'b mut OuterHeader,
) -> &'b [u8] {
    outer.header_in_front(packet).or_else(|| made.make(outer, packet)).unwrap_or_default()
}

impl OuterHeader {
    fn make(&mut self, outer: &Outer, packet: &impl Buffer) -> Option<&[u8]> {
        let (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) = outer.addresses(packet)?
        else {
            return None;
        };
        let in_udp = if outer.udp.is_some() { udp::HEADER_LEN } else { 0 };
        let payload_len = u16::try_from(packet.len() + in_udp).ok()?;
        let protocol = if outer.udp.is_some() { ipv4::PROTOCOL_UDP } else { ipv4::PROTOCOL_ESP };
        let header = ipv4::Header {
            tos: outer.tos,
            total_len: payload_len.checked_add(ipv4::HEADER_LEN as u16)?,
            identification: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: MADE_TTL,
            protocol,
            source,
            destination,
        };
        self.octets.get_mut(..ipv4::HEADER_LEN)?.copy_from_slice(&header.to_bytes());
        if let Some((from, to)) = outer.udp {
            let place = self.octets.get_mut(ipv4::HEADER_LEN..)?;
            place.copy_from_slice(&udp::header(from, to, payload_len, 0));
        }
        self.octets.get(..ipv4::HEADER_LEN + in_udp)
    }
}

/// The inner packet of opened ESP, without padding; `None` where there is none, or what is there makes no sense.
pub(super) fn opened_inner(esp: &[u8], (iv_len, icv_len): (usize, usize)) -> Option<&[u8]> {
    let text = esp.get(ESP_HEADER_LEN + iv_len..esp.len().checked_sub(icv_len)?)?;
    let [.., padding, next_header] = *text else { return None };
    let is_ip = matches!(next_header, ipv4::PROTOCOL_IPV4 | ipv4::PROTOCOL_IPV6);
    let end = text.len().checked_sub(TRAILER_LEN + usize::from(padding))?;
    text.get(..end).filter(|inner| is_ip && !inner.is_empty())
}
