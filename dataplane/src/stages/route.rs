//! The last step: longest prefix, the port's MTU, the next hop's Ethernet address. RFC 1812 §5.2.4, §5.2.6.
//!
//! Enters: [`Leaving`], a whole IPv4 packet. Leaves: an Ethernet frame through `Sink::tx`; or the packet waits for ARP; or
//! [`Refused`] to `icmp_error` when it is too big for the port.

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ethernet, icmp, ipv4};

use super::fragment::fragment;
use super::{Leaving, Out, Queue, Refused, State};
use crate::buffer::{Allocator, Buffer};
use crate::neighbour::Resolution;
use crate::path::{PortId, Sink};
use crate::probe::Probe;
use crate::route::{NextHop, RouteAnswer};

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<Leaving<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = route(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn route<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Leaving<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Leaving { buffer, role, ingress } = packet;
    let destination = ipv4::Packet::parse(buffer.data()).map_err(|_| Drop::BadIpv4Header)?.destination();
    let next = match state.routes.lookup(destination, role) {
        RouteAnswer::Via(next) => next,
        RouteAnswer::Broadcast => return Err(Drop::PolicyDenied),
        RouteAnswer::None => {
            let error = icmp::Error::NetworkUnreachable;
            let _ = out.queues.icmp_error.push(Refused { buffer, ingress, error });
            return Err(Drop::NoRoute);
        }
    };
    let mtu = state.port(next.port).ok_or(Drop::NoRoute)?.mtu;
    if buffer.len() <= usize::from(mtu) {
        return deliver(buffer, next, state, out.sink);
    }
    let mut pieces = arrayvec::ArrayVec::<A::Buffer, { super::fragment::MAX_FRAGMENTS }>::new();
    let cut = fragment(buffer, usize::from(mtu), &mut state.allocator, |piece, _| {
        // Cannot fail: `fragment` makes no more than that many.
        let _ = pieces.try_push(piece);
    });
    if let Err((reason, buffer)) = cut {
        if reason == Drop::TooBig {
            let error = icmp::Error::FragmentationNeeded { mtu };
            let _ = out.queues.icmp_error.push(Refused { buffer, ingress, error });
        }
        return Err(reason);
    }
    state.counters.flow(Flow::FragmentsMade, pieces.len().saturating_sub(1) as u64);
    for piece in pieces {
        if let Err(reason) = deliver(piece, next, state, out.sink) {
            state.counters.drop(reason);
        }
    }
    Ok(())
}

/// Sends the packet to its next hop, or makes it wait for the hop's Ethernet address.
fn deliver<A: Allocator>(
    buffer: A::Buffer,
    next: NextHop,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Drop> {
    match state.neighbours.resolve(next.port, next.address, state.now) {
        Resolution::Known(mac) => return transmit(buffer, next.port, mac, state, sink),
        Resolution::Full => return Err(Drop::NoNeighbour),
        Resolution::Asked => {}
        Resolution::Ask => state.send_arp_request(next.port, next.address, None, sink),
    }
    state.neighbours.hold(next.port, next.address, buffer).map_err(|_| Drop::NoNeighbour)
}

/// Puts the Ethernet header in front and hands the frame to the port.
pub(super) fn transmit<A: Allocator>(
    mut buffer: A::Buffer,
    port: PortId,
    destination: ethernet::Mac,
    state: &State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Drop> {
    let source = state.port(port).ok_or(Drop::NoRoute)?.mac;
    let header = ethernet::Header { destination, source, ether_type: ethernet::TYPE_IPV4 }.to_bytes();
    let place = buffer.prepend(header.len()).ok_or(Drop::NoBuffer)?;
    place.iter_mut().zip(header).for_each(|(to, from)| *to = from);
    sink.tx(port, buffer);
    Ok(())
}
