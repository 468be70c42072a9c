//! What follows from a packet that proved authentic: window, limits, the peer's whereabouts, the trailer.
//!
//! Enters: [`EspIn`], decrypted, from its ESP header to its ICV. Leaves: [`InSa`] with the bare inner IPv4 packet, to
//! `policy_in`. RFC 4303 §3.4.3 (window), §2.4 to §2.7 (padding, dummy packets, TFC padding); RFC 7296 §2.23 (NAT
//! mapping changed); RFC 4301 §5.1.2.1 (ECN).

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::ipv4;
use causeway_shared::sa::Encapsulation;
use causeway_shared::wire::Event;

use super::{EspIn, Facts, InSa, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::crypto::ESP_HEADER_LEN;
use crate::path::{Ingress, Outer, SaDirection, Sink};
use crate::probe::Probe;

const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspIn<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let place = packet.place;
    match accept(packet, state, out.sink) {
        Ok(Some(inner)) => out.policy_in(inner, state),
        Ok(None) => Ok(()),
        Err(reason) => Err(state.refused(place, SaDirection::Inbound, reason, out.sink)),
    }
}

/// The inner packet; `None` for a dummy.
#[inline(always)]
fn accept<A: Allocator>(
    packet: EspIn<A::Buffer>,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<Option<InSa<A::Buffer>>, Drop> {
    let EspIn { mut buffer, outer, place, sequence } = packet;
    let tables = &mut *state.tables;
    let sa = tables.sas.inbound_mut(place).ok_or(Drop::UnknownSpi)?;
    // Again, because an earlier packet of this burst may have been its twin.
    if !sa.window.is_new(sequence) {
        return Err(Drop::Replay);
    }
    let newest = sequence > sa.window.top();
    sa.window.take(sequence);
    tables.touched.inbound(place, sa);
    let (iv_len, icv_len) = (usize::from(sa.iv_len), usize::from(sa.icv_len));
    let to_be_looked_at = sa.quiet == 0;
    if to_be_looked_at {
        state.announce_first(place, sink);
    }
    if newest && state.tables.sas.inbound(place).is_some_and(|sa| sa.has_moved(&outer)) {
        follow(place, &outer, state, sink);
    }

    let (start, end) = (ESP_HEADER_LEN + iv_len, buffer.len().saturating_sub(icv_len));
    let plaintext = buffer.data().get(start..end).ok_or(Drop::BadEspFormat)?;
    let (payload_len, next_header) = trailer(plaintext).ok_or(Drop::BadEspFormat)?;
    match next_header {
        ipv4::PROTOCOL_IPV4 => {}
        ipv4::PROTOCOL_NONE => {
            state.counters.flow(Flow::EspDummies, 1);
            return Ok(None);
        }
        // No selector of ours names an IPv6 address.
        ipv4::PROTOCOL_IPV6 => return Err(Drop::SelectorMismatch),
        _ => return Err(Drop::BadEspFormat),
    }
    let payload = plaintext.get(..payload_len).ok_or(Drop::BadEspFormat)?;
    let inner = ipv4::Packet::parse(payload).map_err(|_| Drop::BadIpv4Header)?;
    let mut facts = Facts::of(&inner);
    // What lies between the inner packet's end and the trailer is TFC padding.
    if !buffer.narrow(start, usize::from(facts.len)) {
        return Err(Drop::BadEspFormat);
    }
    if outer.tos & ECN_MASK == ECN_CE && matches!(facts.tos & ECN_MASK, 1 | 2) {
        facts.tos |= ECN_CE;
        ipv4::set_tos(buffer.data_mut(), facts.tos);
    }

    let sa = state.tables.sas.inbound_mut(place).ok_or(Drop::UnknownSpi)?;
    sa.packets += 1;
    sa.bytes += u64::from(facts.len);
    sa.quiet = sa.quiet.saturating_sub(1);
    let ingress = Ingress::Tunnel(sa.spi());
    state.counters.flow(Flow::EspInPackets, 1);
    state.counters.flow(Flow::EspInBytes, u64::from(facts.len));
    if to_be_looked_at {
        state.look_at_inbound_limits(place, sink);
    }
    Ok(Some(InSa { buffer, place, ingress, facts }))
}

/// Follows a peer whose NAT gave it another address or port. Only for an SA that runs over UDP, as RFC 7296 §2.23 has it,
/// and the caller only asks for packets that are newer than all before, so that a late one does not lead us back.
#[cold]
fn follow<A: Allocator>(place: u32, outer: &Outer, state: &mut State<A>, sink: &mut impl Sink<A::Buffer>) {
    let Some((peer_port, local_port)) = outer.udp else { return };
    let sas = &mut state.tables.sas;
    if sas.local_outer(place) != Some(outer.destination) {
        return;
    }
    let Some(inbound_spi) = sas.inbound(place).map(|sa| sa.spi()) else { return };
    let encapsulation = Encapsulation::Udp { local_port, peer_port };
    sas.move_peer(place, outer.source, encapsulation);
    // Lost if even the backlog is full: IKE notices the move by itself.
    let event = Event::PeerMoved { inbound_spi, peer_outer: outer.source, encapsulation };
    let _ = state.events.send(event, sink);
}

/// Octets of the payload and the next header; `None` unless the padding is 1, 2, 3, … (RFC 4303 §2.4).
#[inline(always)]
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
