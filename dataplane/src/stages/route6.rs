//! The last step of an IPv6 packet: longest prefix, the port's MTU, the next hop's Ethernet address. RFC 4861 §5.2, RFC 8200 §5.
//!
//! Enters: [`Leaving6`], a whole IPv6 packet. Leaves: an Ethernet frame through `Sink::tx`; or the packet waits for neighbour discovery; or
//! [`Refused6`] to `icmp_error6` when it is too big for the port; a packet of ours is cut then.

use std::net::Ipv6Addr;

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::icmp6;

use super::fragment::MAX_FRAGMENTS;
use super::fragment6::fragment6;
use super::route::transmit;
use super::{Leaving6, Out, Refused6, State};
use crate::buffer::{Allocator, Buffer};
use crate::neighbour::{Adjacent, Resolution};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;
use crate::route::NextHop;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: Leaving6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Leaving6 { buffer, role, port, ingress, destination, mtu: path_mtu } = packet;
    let next = match port {
        Some(port) => Some(NextHop { port, address: destination }),
        None => state.v6.routes.lookup(destination, role),
    };
    let Some(next) = next else {
        let _ = out.icmp_error6(Refused6 { buffer, ingress, error: icmp6::Error::NoRoute }, state);
        return Err(Drop::NoRoute);
    };
    let adjacent = state.v6.adjacent_of(role);
    let fits_path = buffer.len() <= usize::from(path_mtu);
    if adjacent.is_for(next, state.v6.neighbours.generation())
        && buffer.len() <= usize::from(adjacent.mtu)
        && fits_path
    {
        return transmit(buffer, next.port, &adjacent.header, out.sink);
    }
    let mtu = state.port(next.port).ok_or(Drop::NoRoute)?.mtu;
    if buffer.len() > usize::from(mtu.min(path_mtu)) {
        if ingress == Ingress::Local {
            return cut(buffer, next, role, mtu.min(path_mtu), state, out);
        }
        let _ =
            out.icmp_error6(Refused6 { buffer, ingress, error: icmp6::Error::PacketTooBig { mtu } }, state);
        return Err(Drop::TooBig);
    }
    deliver(buffer, next, role, state, out.sink)
}

/// Cuts a packet of ours, which its source may do and nobody else (RFC 8200 §5).
#[cold]
fn cut<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    buffer: A::Buffer,
    next: NextHop<Ipv6Addr>,
    role: PortRole,
    mtu: u16,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let identification = state.v6.next_identification();
    let mut pieces = arrayvec::ArrayVec::<A::Buffer, MAX_FRAGMENTS>::new();
    fragment6(buffer.data(), usize::from(mtu), identification, &mut state.allocator, |piece| {
        // Cannot fail: `fragment6` makes no more than that many.
        let _ = pieces.try_push(piece);
    })?;
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
    next: NextHop<Ipv6Addr>,
    role: PortRole,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Drop> {
    match state.v6.neighbours.resolve(next.port, next.address, state.now) {
        Resolution::Known(mac) => {
            let header = state.frame_header6(next.port, mac).ok_or(Drop::NoRoute)?;
            let mtu = state.port(next.port).ok_or(Drop::NoRoute)?.mtu;
            let generation = state.v6.neighbours.generation();
            *state.v6.adjacent_of_mut(role) = Adjacent::new(next, generation, mtu, header);
            return transmit(buffer, next.port, &header, sink);
        }
        Resolution::Full => return Err(Drop::NoNeighbour),
        Resolution::Asked => {}
        Resolution::Ask => state.send_solicitation(next.port, next.address, None, sink),
    }
    state.v6.neighbours.hold(next.port, next.address, buffer).map_err(|_| Drop::NoNeighbour)
}
