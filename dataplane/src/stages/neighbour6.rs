//! Neighbour discovery (RFC 4861 §7.2): solicitations for our addresses are answered, advertisements free the packets that wait. Clients'
//! addresses lie on no link of ours, so that there is none to answer for.
//!
//! Enters: [`Frame`] with a solicitation or advertisement, of which nothing is believed. Leaves: the answer; waiting packets to `tx`; news
//! of neighbours to the other workers, since a port's answers reach only one of them.

use std::net::Ipv6Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ethernet, ipv6, ndp};
use causeway_shared::sa::Ipv6Prefix;

use super::route::transmit;
use super::{Frame, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::neighbour::Learnt;
use crate::path::{Handoff, PortConfig, PortId, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    frame: Frame<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let Frame { port, buffer } = frame;
    let octets = buffer.data();
    let header = ethernet::Header::parse(octets).ok_or(Drop::Truncated)?;
    let octets = octets.get(ethernet::HEADER_LEN..).ok_or(Drop::Truncated)?;
    let packet = ipv6::Packet::parse(octets).map_err(|_| Drop::BadIpv6Header)?;
    let message = ndp::Message::parse(&packet).ok_or(Drop::BadNeighbourDiscovery)?;
    let ours = state.port(port).ok_or(Drop::BadNeighbourDiscovery)?;
    match message {
        ndp::Message::Solicitation { target, from } => {
            let asked = Asked { target, from, who: packet.source(), mac: header.source };
            asked.check(ours, state, port)?;
            state.counters.flow(Flow::NeighbourDiscoveryReceived, 1);
            asked.answer(port, state, out.sink);
        }
        ndp::Message::Advertisement { target, mac, solicited, overrides } => {
            if state.v6.is_ours(target, port) || !is_neighbour(target, mac, ours) {
                return Err(Drop::BadNeighbourDiscovery);
            }
            state.counters.flow(Flow::NeighbourDiscoveryReceived, 1);
            if solicited || overrides {
                learn(port, target, mac, false, solicited, state, out.sink);
            }
        }
    }
    Ok(())
}

/// Another worker heard from a neighbour.
pub(crate) fn told<A: Allocator>(
    port: PortId,
    address: Ipv6Addr,
    mac: ethernet::Mac,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    state.v6.neighbours.learn(port, address, mac, true, state.now);
    release(port, address, mac, state, sink);
}

/// A solicitation: who asks for whom.
struct Asked {
    target: Ipv6Addr,
    /// The Ethernet address that it names.
    from: Option<ethernet::Mac>,
    /// Unspecified while the sender finds out whether the target is free (RFC 4862 §5.4.2).
    who: Ipv6Addr,
    /// The Ethernet address that the frame came from.
    mac: ethernet::Mac,
}

impl Asked {
    fn check<A: Allocator>(&self, ours: &PortConfig, state: &State<A>, port: PortId) -> Result<(), Drop> {
        let mac = self.from.unwrap_or(self.mac);
        let plausible = self.who.is_unspecified() || is_neighbour(self.who, mac, ours);
        if plausible && !state.v6.is_ours(self.who, port) { Ok(()) } else { Err(Drop::BadNeighbourDiscovery) }
    }

    fn answer<A: Allocator>(&self, port: PortId, state: &mut State<A>, sink: &mut impl Sink<A::Buffer>) {
        let to_us = state.v6.of_port(port).any(|ours| ours == self.target);
        if let Some(mac) = self.from {
            learn(port, self.who, mac, to_us, false, state, sink);
        }
        let Some(our_mac) = state.port(port).map(|ours| ours.mac).filter(|_| to_us) else { return };
        let reply = ndp::advertisement(self.target, our_mac, self.who);
        let to = match self.who.is_unspecified() {
            true => ndp::group_mac(ndp::ALL_NODES),
            false => self.from.unwrap_or(self.mac),
        };
        state.counters.flow(Flow::NeighbourAdvertisements, 1);
        state.send_ndp(port, to, &reply, sink);
    }
}

/// Whether this may be the address of a host on the port's link.
fn is_neighbour(address: Ipv6Addr, mac: ethernet::Mac, ours: &PortConfig) -> bool {
    let on_link = ours.address6.and_then(|ours| Ipv6Prefix::new(ours.address, ours.prefix_len));
    let on_link = on_link.is_some_and(|link| link.contains(address)) && ipv6::may_be_forwarded(address);
    (on_link || address.is_unicast_link_local()) && !ethernet::is_group(mac) && mac != [0; 6]
}

fn learn<A: Allocator>(
    port: PortId,
    address: Ipv6Addr,
    mac: ethernet::Mac,
    to_us: bool,
    answered: bool,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    let learnt = state.v6.neighbours.learn(port, address, mac, to_us, state.now);
    if learnt == Learnt::Changed || (learnt == Learnt::Confirmed && answered) {
        let others = (0..state.config.workers).filter(|worker| *worker != state.config.worker);
        for worker in others {
            // A worker whose ring is full asks for itself again.
            let _ = sink.handoff(worker, Handoff::Neighbour6 { port, address, mac });
        }
    }
    release(port, address, mac, state, sink);
}

fn release<A: Allocator>(
    port: PortId,
    address: Ipv6Addr,
    mac: ethernet::Mac,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    while let Some(buffer) = state.v6.neighbours.next_waiting(port, address) {
        let header = state.frame_header6(port, mac).ok_or(Drop::NoRoute);
        if let Err(reason) = header.and_then(|header| transmit(buffer, port, &header, sink)) {
            state.counters.drop(reason);
        }
    }
}
