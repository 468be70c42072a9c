//! What follows from a packet that proved authentic: window, limits, the peer's whereabouts, the trailer.
//!
//! Enters: [`EspIn`], decrypted, from its ESP header to its ICV. Leaves: [`InSa`] with the bare inner packet, to
//! `policy_in` (IPv6: `policy_in6`). RFC 4303 §3.4.3 (window), §2.4 to §2.7 (padding, dummy packets, TFC padding); RFC 7296 §2.23 (NAT
//! mapping changed); RFC 4301 §5.1.2.1 (ECN).

use std::net::IpAddr;
use std::ops::Range;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ipv4, ipv6};
use causeway_shared::sa::Encapsulation;
use causeway_shared::wire::Event;

use super::{EspIn, Facts, Facts6, InSa, InSa6, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::counters::Counters;
use crate::crypto::ESP_HEADER_LEN;
use crate::path::{Ingress, Outer, SaDirection, Sink, Tables};
use crate::probe::Probe;
use crate::sa::Inbound;

const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspIn<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspIn { buffer, outer, place, sequence } = packet;
    let State { tables, counters, .. } = &mut *state;
    let Tables { sas, touched, .. } = &mut **tables;
    let sa = sas.inbound_mut(place).ok_or(Drop::UnknownSpi)?;
    // Again, because an earlier packet of this burst may have been its twin.
    if !sa.window.is_new(sequence, &sa.ring) {
        return Err(state.refused(place, SaDirection::Inbound, Drop::Replay, out.sink));
    }
    let newest = sequence > sa.window.top();
    sa.window.take(sequence, &mut sa.ring);
    touched.inbound(place, sa);
    let moved = newest && sa.has_moved(&outer);
    if sa.quiet == 0 || moved {
        return accept_and_tell(buffer, &outer, place, moved, state, out);
    }
    let stripped = strip(buffer, &outer, place, sa, counters);
    pass_on(stripped, place, state, out)
}

/// Of a packet after which the control plane has something to hear: the SA's first, one that comes from elsewhere, or one
/// that may pass a limit.
#[cold]
fn accept_and_tell<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    buffer: A::Buffer,
    outer: &Outer,
    place: u32,
    moved: bool,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let to_be_looked_at = state.tables.sas.inbound(place).is_some_and(|sa| sa.quiet == 0);
    if to_be_looked_at {
        state.announce_first(place, out.sink);
    }
    if moved && let Some(addresses) = outer.addresses(&buffer) {
        follow(place, outer, addresses, state, out.sink);
    }
    let State { tables, counters, .. } = &mut *state;
    let sa = tables.sas.inbound_mut(place).ok_or(Drop::UnknownSpi)?;
    let stripped = strip(buffer, outer, place, sa, counters);
    if to_be_looked_at && matches!(stripped, Ok(Stripped::V4(_) | Stripped::V6(_))) {
        state.look_at_inbound_limits(place, out.sink);
    }
    pass_on(stripped, place, state, out)
}

#[inline(always)]
fn pass_on<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    stripped: Result<Stripped<A::Buffer>, Drop>,
    place: u32,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    match stripped {
        Ok(Stripped::V4(inner)) => out.policy_in(inner, state),
        Ok(Stripped::V6(inner)) => pass_on6(inner, state, out),
        Ok(Stripped::Dummy) => Ok(()),
        Err(reason) => Err(state.refused(place, SaDirection::Inbound, reason, out.sink)),
    }
}

/// Out of line, so that IPv4 has its way to itself.
#[inline(never)]
fn pass_on6<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    inner: InSa6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    out.policy_in6(inner, state)
}

/// What was in ESP.
enum Stripped<B> {
    V4(InSa<B>),
    V6(InSa6<B>),
    Dummy,
}

/// Takes ESP off an authentic packet, which then counts unless it is a dummy.
#[inline(always)]
fn strip<B: Buffer>(
    mut buffer: B,
    outer: &Outer,
    place: u32,
    sa: &mut Inbound,
    counters: &mut Counters,
) -> Result<Stripped<B>, Drop> {
    let start = ESP_HEADER_LEN + usize::from(sa.iv_len);
    let end = buffer.len().saturating_sub(usize::from(sa.icv_len));
    let plaintext = buffer.data().get(start..end).ok_or(Drop::BadEspFormat)?;
    let (payload_len, next_header) = trailer(plaintext).ok_or(Drop::BadEspFormat)?;
    if next_header != ipv4::PROTOCOL_IPV4 {
        return strip_other(buffer, start..start + payload_len, next_header, outer, place, sa, counters);
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
    count(sa, facts.len, counters);
    Ok(Stripped::V4(InSa { buffer, place, ingress: Ingress::Tunnel(sa.spi()), facts }))
}

/// Another next header: IPv6, a dummy packet (RFC 4303 §2.6), or what is not for us.
#[inline(never)]
fn strip_other<B: Buffer>(
    mut buffer: B,
    payload: Range<usize>,
    next_header: u8,
    outer: &Outer,
    place: u32,
    sa: &mut Inbound,
    counters: &mut Counters,
) -> Result<Stripped<B>, Drop> {
    match next_header {
        ipv4::PROTOCOL_IPV6 => {}
        ipv4::PROTOCOL_NONE => {
            counters.flow(Flow::EspDummies, 1);
            return Ok(Stripped::Dummy);
        }
        _ => return Err(Drop::BadEspFormat),
    }
    let start = payload.start;
    let octets = buffer.data().get(payload).ok_or(Drop::BadEspFormat)?;
    let inner = ipv6::Packet::parse(octets).map_err(|_| Drop::BadIpv6Header)?;
    let mut facts = Facts6::of(&inner)?;
    // What lies between the inner packet's end and the trailer is TFC padding.
    if !buffer.narrow(start, usize::from(facts.len)) {
        return Err(Drop::BadEspFormat);
    }
    if outer.tos & ECN_MASK == ECN_CE && matches!(facts.traffic_class & ECN_MASK, 1 | 2) {
        facts.traffic_class |= ECN_CE;
        ipv6::set_traffic_class(buffer.data_mut(), facts.traffic_class);
    }
    count(sa, facts.len, counters);
    Ok(Stripped::V6(InSa { buffer, place, ingress: Ingress::Tunnel(sa.spi()), facts }))
}

/// An inner packet was taken.
#[inline(always)]
fn count(sa: &mut Inbound, inner_len: u16, counters: &mut Counters) {
    sa.packets += 1;
    sa.bytes += u64::from(inner_len);
    sa.quiet = sa.quiet.saturating_sub(1);
    counters.flow(Flow::EspInPackets, 1);
    counters.flow(Flow::EspInBytes, u64::from(inner_len));
}

/// Follows a peer whose NAT gave it another address or port. Only for an SA that runs over UDP, as RFC 7296 §2.23 has it,
/// and the caller only asks for packets that are newer than all before, so that a late one does not lead us back.
#[cold]
fn follow<A: Allocator>(
    place: u32,
    outer: &Outer,
    (peer, local): (IpAddr, IpAddr),
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    let Some((peer_port, local_port)) = outer.udp else { return };
    let sas = &mut state.tables.sas;
    if sas.local_outer(place) != Some(local) {
        return;
    }
    let Some(inbound_spi) = sas.inbound(place).map(|sa| sa.spi()) else { return };
    let encapsulation = Encapsulation::Udp { local_port, peer_port };
    sas.move_peer(place, local, peer, encapsulation);
    // Lost if even the backlog is full: IKE notices the move by itself.
    let event = Event::PeerMoved { inbound_spi, peer_outer: peer, encapsulation };
    let _ = state.events.send(event, sink);
}

/// Octets of the payload and the next header; `None` unless the padding is 1, 2, 3, … (RFC 4303 §2.4).
#[inline(always)]
fn trailer(plaintext: &[u8]) -> Option<(usize, u8)> {
    let (rest, [pad_len, next_header]) = plaintext.split_last_chunk::<2>()?;
    let payload_len = rest.len().checked_sub(usize::from(*pad_len))?;
    let right = match *pad_len {
        // The padding that GCM needs, and the one that CBC needs, at one stroke: what lies in front of it is shifted out.
        0..8 if let Some(last) = rest.last_chunk() => {
            let surplus = 63 - 8 * u32::from(*pad_len);
            let counting = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
            (u64::from_le_bytes(*last) ^ counting << 1 << surplus) >> 1 >> surplus == 0
        }
        0..16 if let Some(last) = rest.last_chunk() => {
            let surplus = 127 - 8 * u32::from(*pad_len);
            let counting = u128::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
            (u128::from_le_bytes(*last) ^ counting << 1 << surplus) >> 1 >> surplus == 0
        }
        _ => is_counting(rest.get(payload_len..)?),
    };
    right.then_some((payload_len, *next_header))
}

#[inline(never)]
fn is_counting(padding: &[u8]) -> bool {
    padding.iter().zip(1..=u8::MAX).all(|(octet, expected)| *octet == expected)
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
        for pad_len in 0..=20u8 {
            for front in 0..20 {
                let right: Vec<u8> =
                    vec![7; front].into_iter().chain(1..=pad_len).chain([pad_len, 4]).collect();
                assert_eq!(trailer(&right), Some((front, 4)), "{front} + {pad_len}");
                for place in front..front + usize::from(pad_len) {
                    let mut wrong = right.clone();
                    wrong[place] ^= 0x10;
                    assert_eq!(trailer(&wrong), None, "{front} + {pad_len}, wrong at {place}");
                }
            }
        }
        let mut longest: Vec<u8> = (1..=255).collect();
        longest.extend([255, 4]);
        assert_eq!(trailer(&longest), Some((0, 4)));
    }
}
