//! The last step: longest prefix, the port's MTU, the next hop's Ethernet address. RFC 1812 §5.2.4, §5.2.6.
//!
//! Enters: [`Leaving`], a whole IPv4 packet. Leaves: an Ethernet frame through `Sink::tx`; or the packet waits for ARP; or
//! [`Refused`] to `icmp_error` when it is too big for the port.

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ethernet, icmp};

use super::fragment::fragment;
use super::{Leaving, Out, Refused, State};
use crate::buffer::{Allocator, Buffer};
use crate::neighbour::{Adjacent, Resolution};
use crate::path::{PortId, Sink};
use crate::probe::Probe;
use crate::route::{NextHop, RouteAnswer};

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Leaving<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let next = match state.routes.lookup(packet.destination, packet.role) {
        RouteAnswer::Via(next) => next,
        answer => return unroutable(packet, answer, state, out),
    };
    let adjacent = state.adjacent_of(packet.role);
    if adjacent.is_for(next, state.neighbours.generation())
        && packet.buffer.len() <= usize::from(adjacent.mtu)
    {
        return transmit(packet.buffer, next.port, &adjacent.header, out.sink);
    }
    unusual(packet, next, state, out)
}

/// To another next hop than the last packet of its side, or too big for its port.
#[inline(never)]
fn unusual<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Leaving<A::Buffer>,
    next: NextHop,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let mtu = state.port(next.port).ok_or(Drop::NoRoute)?.mtu;
    if packet.buffer.len() > usize::from(mtu) {
        return cut(packet, next, mtu, state, out);
    }
    deliver(packet.buffer, next, packet.role, state, out.sink)
}

#[cold]
fn unroutable<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Leaving<A::Buffer>,
    answer: RouteAnswer,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    if answer == RouteAnswer::Broadcast {
        return Err(Drop::PolicyDenied);
    }
    let Leaving { buffer, ingress, .. } = packet;
    let _ = out.icmp_error(Refused { buffer, ingress, error: icmp::Error::NetworkUnreachable }, state);
    Err(Drop::NoRoute)
}

/// Cuts a packet to the port's MTU, or refuses it.
#[cold]
fn cut<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Leaving<A::Buffer>,
    next: NextHop,
    mtu: u16,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Leaving { buffer, ingress, role, .. } = packet;
    let mut pieces = arrayvec::ArrayVec::<A::Buffer, { super::fragment::MAX_FRAGMENTS }>::new();
    let cut = fragment(buffer, usize::from(mtu), &mut state.allocator, |piece, _| {
        // Cannot fail: `fragment` makes no more than that many.
        let _ = pieces.try_push(piece);
    });
    if let Err((reason, buffer)) = cut {
        if reason == Drop::TooBig {
            let error = icmp::Error::FragmentationNeeded { mtu };
            let _ = out.icmp_error(Refused { buffer, ingress, error }, state);
        }
        return Err(reason);
    }
    state.counters.flow(Flow::FragmentsMade, pieces.len().saturating_sub(1) as u64);
    for piece in pieces {
        if let Err(reason) = deliver(piece, next, role, state, out.sink) {
            state.counters.drop(reason);
        }
    }
    Ok(())
}

/// Sends the packet to its next hop, or makes it wait for the hop's Ethernet address.
fn deliver<A: Allocator>(
    buffer: A::Buffer,
    next: NextHop,
    role: PortRole,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Drop> {
    match state.neighbours.resolve(next.port, next.address, state.now) {
        Resolution::Known(mac) => {
            let header = state.frame_header(next.port, mac).ok_or(Drop::NoRoute)?;
            let mtu = state.port(next.port).ok_or(Drop::NoRoute)?.mtu;
            let generation = state.neighbours.generation();
            *state.adjacent_of_mut(role) = Adjacent::new(next, generation, mtu, header);
            return transmit(buffer, next.port, &header, sink);
        }
        Resolution::Full => return Err(Drop::NoNeighbour),
        Resolution::Asked => {}
        Resolution::Ask => state.send_arp_request(next.port, next.address, None, sink),
    }
    state.neighbours.hold(next.port, next.address, buffer).map_err(|_| Drop::NoNeighbour)
}

/// Puts the Ethernet header in front and hands the frame to the port.
#[inline(always)]
pub(super) fn transmit<B: Buffer>(
    mut buffer: B,
    port: PortId,
    header: &[u8; ethernet::HEADER_LEN],
    sink: &mut impl Sink<B>,
) -> Result<(), Drop> {
    let place = buffer.prepend(ethernet::HEADER_LEN).ok_or(Drop::NoBuffer)?;
    *place.first_chunk_mut().ok_or(Drop::NoBuffer)? = *header;
    sink.tx(port, buffer);
    Ok(())
}
