//! Fragments of IKE and ESP from outside, put together (RFC 791 §3.2; the table is `causeway_shared::net::reassembly`).
//!
//! Enters: [`Fragmented`] at the IP header, from a port or from another worker: fragments of one packet all go to one worker, whoever
//! receives them, because a device's receive hash may tell the first, which has UDP ports, from the others. Leaves: IKE to the
//! control plane from the table itself, however long it is; ESP in a buffer of its own, to where whole packets go.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::reassembly::{Fragment, Key, Outcome, Reassembly, Refusal};
use causeway_shared::net::{ipv4, udp};

use super::classify::{PORT_IKE, PORT_NATT};
use super::natt::NON_ESP_MARKER;
use super::{Fragmented, FromPeer, Out, State, esp_in_lookup, punt};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Handoff, Now, Outer, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Fragmented<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Fragmented { buffer } = packet;
    let header = Header::read(buffer.data())?;
    let assembler = header.key.spread(state.config.workers);
    if assembler != state.config.worker {
        out.sink.handoff(assembler, Handoff::Fragment { buffer }).map_err(|_| Drop::HandoffFull)?;
        state.counters.flow(Flow::HandedOff, 1);
        return Ok(());
    }
    let result = put_together(&header, &buffer, state, out);
    state.count_lost_fragments();
    result
}

fn put_together<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    header: &Header,
    buffer: &A::Buffer,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let State { fragments, counters, allocator, now, .. } = state;
    let (payload, tos) = match take(fragments, header, buffer.data(), *now) {
        Outcome::Held => {
            counters.flow(Flow::FragmentsTaken, 1);
            return Ok(());
        }
        Outcome::Whole { payload, tos } => {
            counters.flow(Flow::FragmentsTaken, 1);
            (payload, tos)
        }
        Outcome::Refused { why, lost } => {
            let reason = match why {
                Refusal::Malformed | Refusal::TooLong => Drop::BadFragment,
                Refusal::Overlap => Drop::FragmentOverlap,
            };
            counters.drops(reason, u64::from(lost));
            return Err(reason);
        }
    };
    counters.flow(Flow::Reassembled, 1);
    let Header { source, destination, .. } = *header;
    if header.key.protocol == ipv4::PROTOCOL_ESP {
        let buffer = copied(payload, allocator)?;
        let outer = Outer::v4(source, destination, None, tos);
        return esp_in_lookup::send(FromPeer { buffer, outer }, state, out);
    }
    let datagram = udp::Datagram::parse(payload).ok_or(Drop::BadUdp)?;
    let ports = (datagram.source_port(), datagram.destination_port());
    let outer = Outer::v4(source, destination, Some(ports), tos);
    let ike = match ports.1 {
        PORT_IKE => true,
        PORT_NATT => datagram.payload().starts_with(&NON_ESP_MARKER),
        _ => return Err(Drop::NotForUs),
    };
    if ike {
        return punt::deliver(payload, (source.into(), destination.into()), counters, out.sink);
    }
    let buffer = copied(payload, allocator)?;
    out.natt(FromPeer { buffer, outer }, state)
}

/// What is read of a fragment's IP header, in either family.
struct Header {
    key: Key,
    source: std::net::Ipv4Addr,
    destination: std::net::Ipv4Addr,
    offset: usize,
    more: bool,
    tos: u8,
    /// Where the payload lies in the packet.
    payload: std::ops::Range<usize>,
}

impl Header {
    /// Reads a checked packet; refuses what is neither IKE nor ESP as far as this fragment shows it.
    fn read(octets: &[u8]) -> Result<Header, Drop> {
        let packet = ipv4::Packet::parse(octets).map_err(|_| Drop::BadIpv4Header)?;
        let offset = packet.fragment_offset();
        match packet.protocol() {
            ipv4::PROTOCOL_ESP => {}
            ipv4::PROTOCOL_UDP => match packet.payload() {
                [_, _, p0, p1, ..] if offset == 0 => {
                    let port = u16::from_be_bytes([*p0, *p1]);
                    if port != PORT_IKE && port != PORT_NATT {
                        return Err(Drop::NotForUs);
                    }
                }
                _ if offset == 0 => return Err(Drop::BadFragment),
                _ => {}
            },
            ipv4::PROTOCOL_ICMP => return Err(Drop::Ipv4Fragment),
            _ => return Err(Drop::NotForUs),
        }
        let (source, destination) = (packet.source(), packet.destination());
        let key = Key {
            source: source.into(),
            destination: destination.into(),
            protocol: packet.protocol(),
            identification: u32::from(packet.identification()),
        };
        let payload = packet.header_len()..packet.total_len();
        let (more, tos) = (packet.more_fragments(), packet.tos());
        Ok(Header { key, source, destination, offset, more, tos, payload })
    }
}

fn take<'a>(fragments: &'a mut Reassembly, header: &Header, octets: &[u8], now: Now) -> Outcome<'a> {
    let Header { key, offset, more, tos, .. } = *header;
    let payload = octets.get(header.payload.clone()).unwrap_or(&[]);
    fragments.take(&Fragment { key, offset, more, tos, payload }, now.monotonic_ms)
}

/// A payload in a buffer; ESP that is longer than a buffer is none that a client of ours sends.
fn copied<A: Allocator>(payload: &[u8], allocator: &mut A) -> Result<A::Buffer, Drop> {
    let mut buffer = allocator.allocate().ok_or(Drop::NoBuffer)?;
    buffer.append(payload.len()).ok_or(Drop::BadFragment)?.copy_from_slice(payload);
    Ok(buffer)
}
