//! What follows from a packet that proved authentic: window, limits, the peer's whereabouts, the trailer.
//!
//! Enters: [`EspIn`], decrypted, from its ESP header to its ICV. Leaves: [`InSa`] with the bare inner IPv4 packet, to
//! `policy_in`. RFC 4303 §3.4.3 (window), §2.4 to §2.7 (padding, dummy packets, TFC padding); RFC 7296 §2.23 (NAT
//! mapping changed); RFC 4301 §5.1.2.1 (ECN).

use arrayvec::ArrayVec;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::ipv4;
use causeway_shared::sa::Encapsulation;
use causeway_shared::wire::Event;

use super::{EspIn, InSa, Out, QUEUE, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::ESP_HEADER_LEN;
use crate::path::{Ingress, Outer, Sink};
use crate::probe::Probe;
use crate::sa::WorkerSa;

const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<EspIn<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    let mut touched: ArrayVec<u32, QUEUE> = ArrayVec::new();
    for packet in items.drain() {
        if touched.last() != Some(&packet.slot) {
            let _ = touched.try_push(packet.slot);
        }
        if let Err(reason) = accept(packet, state, out) {
            state.counters.drop(reason);
        }
    }
    for slot in touched {
        if let Some(sa) = state.tables.sas.get(slot) {
            out.sink.sa_statistics(slot, sa.statistics());
        }
    }
}

fn accept<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspIn<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspIn { mut buffer, outer, slot, sequence } = packet;
    let State { tables, events, counters, .. } = state;
    let sa = tables.sas.get_mut(slot).ok_or(Drop::UnknownSpi)?;
    // Again, because an earlier packet of this burst may have been its twin.
    if !sa.inbound.window.is_new(sequence) {
        return Err(Drop::Replay);
    }
    let newest = sequence > sa.inbound.window.top();
    sa.inbound.window.take(sequence);
    events.notify(sa, sa.lifetime.first_inbound(), out.sink);
    if newest && let Some(event) = moved(sa, &outer) {
        // Lost if even the backlog is full: IKE notices the move by itself.
        let _ = events.send(event, out.sink);
    }

    let (iv_len, icv_len) = (usize::from(sa.inbound.iv_len), usize::from(sa.inbound.icv_len));
    let plaintext_end = buffer.len().checked_sub(icv_len).ok_or(Drop::BadEspFormat)?;
    if !(buffer.truncate(plaintext_end) && buffer.trim_front(ESP_HEADER_LEN + iv_len)) {
        return Err(Drop::BadEspFormat);
    }
    let (payload_len, next_header) = trailer(buffer.data()).ok_or(Drop::BadEspFormat)?;
    match next_header {
        ipv4::PROTOCOL_IPV4 => {}
        ipv4::PROTOCOL_NONE => {
            counters.flow(Flow::EspDummies, 1);
            return Ok(());
        }
        // No selector of ours names an IPv6 address.
        ipv4::PROTOCOL_IPV6 => return Err(Drop::SelectorMismatch),
        _ => return Err(Drop::BadEspFormat),
    }
    let payload = buffer.data().get(..payload_len).ok_or(Drop::BadEspFormat)?;
    let inner = ipv4::Packet::parse(payload).map_err(|_| Drop::BadIpv4Header)?;
    let (inner_len, tos) = (inner.total_len(), inner.tos());
    // What lies between the inner packet's end and the trailer is TFC padding.
    if !buffer.truncate(inner_len) {
        return Err(Drop::BadEspFormat);
    }
    if outer.tos & ECN_MASK == ECN_CE && matches!(tos & ECN_MASK, 1 | 2) {
        ipv4::set_tos(buffer.data_mut(), tos | ECN_CE);
    }

    sa.inbound.packets += 1;
    sa.inbound.bytes += inner_len as u64;
    counters.flow(Flow::EspInPackets, 1);
    counters.flow(Flow::EspInBytes, inner_len as u64);
    let notice = sa.lifetime.after(sa.inbound.packets, sa.inbound.bytes, false);
    events.notify(sa, notice, out.sink);
    let ingress = Ingress::Tunnel(sa.inbound_spi());
    out.queues.policy_in.push(InSa { buffer, slot, ingress })
}

/// Follows a peer whose NAT gave it another address or port. Only for an SA that runs over UDP, as RFC 7296 §2.23 has it,
/// and the caller only asks for packets that are newer than all before, so that a late one does not lead us back.
fn moved(sa: &mut WorkerSa, outer: &Outer) -> Option<Event> {
    let Encapsulation::Udp { local_port, peer_port } = sa.encapsulation else { return None };
    let (from_port, to_port) = outer.udp?;
    let same = outer.source == sa.peer_outer && from_port == peer_port;
    if same || to_port != local_port || outer.destination != sa.local_outer {
        return None;
    }
    let encapsulation = Encapsulation::Udp { local_port, peer_port: from_port };
    sa.move_peer(outer.source, encapsulation);
    Some(Event::PeerMoved { inbound_spi: sa.inbound_spi(), peer_outer: outer.source, encapsulation })
}

/// Octets of the payload and the next header; `None` unless the padding is 1, 2, 3, … (RFC 4303 §2.4).
fn trailer(plaintext: &[u8]) -> Option<(usize, u8)> {
    let (rest, [pad_len, next_header]) = plaintext.split_last_chunk::<2>()?;
    let payload_len = rest.len().checked_sub(usize::from(*pad_len))?;
    let right = rest.get(payload_len..)?.iter().zip(1..=u8::MAX).all(|(octet, expected)| *octet == expected);
    right.then_some((payload_len, *next_header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_trailers() {
        type Row = (&'static str, &'static [u8], Option<(usize, u8)>);
        let table: [Row; 8] = [
            ("no padding", &[9, 9, 0, 4], Some((2, 4))),
            ("three of padding", &[9, 1, 2, 3, 3, 59], Some((1, 59))),
            ("all padding", &[1, 2, 2, 4], Some((0, 4))),
            ("padding longer than the packet", &[1, 2, 3, 4], None),
            ("wrong padding", &[9, 0, 0, 2, 4], None),
            ("wrong last padding", &[9, 1, 3, 2, 4], None),
            ("one octet", &[4], None),
            ("nothing", &[], None),
        ];
        for (name, octets, expected) in table {
            assert_eq!(trailer(octets), expected, "{name}");
        }
        let mut longest: Vec<u8> = (1..=255).collect();
        longest.extend([255, 4]);
        assert_eq!(trailer(&longest), Some((0, 4)));
    }
}
