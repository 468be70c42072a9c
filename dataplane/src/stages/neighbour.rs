//! ARP messages: requests for our addresses are answered, for clients in an Inside port's subnet too; answers free the
//! packets that wait. RFC 826, RFC 1027 (proxy), RFC 5227.
//!
//! Enters: [`Frame`] with an ARP message. Leaves: the reply in the same buffer; waiting packets to `tx`; news of
//! neighbours to the other workers, since a port's answers reach only one of them.

use std::net::Ipv4Addr;

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{arp, ethernet, ipv4};
use causeway_shared::sa::Ipv4Prefix;

use super::route::transmit;
use super::{Frame, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::neighbour::Learnt;
use crate::path::{Handoff, PortConfig, PortId, Sink};
use crate::probe::Probe;
use crate::sa::OutboundRoute;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    frame: Frame<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    take(frame, state, out.sink)
}

fn take<A: Allocator>(
    frame: Frame<A::Buffer>,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Drop> {
    let Frame { port, buffer } = frame;
    let octets = buffer.data().get(ethernet::HEADER_LEN..).ok_or(Drop::Truncated)?;
    let message = arp::Message::parse(octets).ok_or(Drop::BadArp)?;
    let ours = state.port(port).ok_or(Drop::BadArp)?;
    check_sender(&message, ours)?;
    if state.is_ours(message.sender) {
        return Err(Drop::BadArp);
    }
    let (our_mac, to_us) = (ours.mac, message.target == ours.address);
    let answer = message.operation == arp::Operation::Request && (to_us || is_proxied(&message, ours, state));
    state.counters.flow(Flow::ArpReceived, 1);

    // A probe (RFC 5227: sender 0.0.0.0) teaches nothing but is answered.
    if !message.sender.is_unspecified() {
        let learnt = state.neighbours.learn(port, message.sender, message.sender_mac, to_us, state.now);
        let news = learnt == Learnt::Changed
            || (learnt == Learnt::Confirmed && message.operation == arp::Operation::Reply);
        if news {
            tell_others(port, &message, state, sink);
        }
        release(port, message.sender, message.sender_mac, state, sink);
    }
    if answer {
        let reply = arp::Message {
            operation: arp::Operation::Reply,
            sender_mac: our_mac,
            sender: message.target,
            target_mac: message.sender_mac,
            target: message.sender,
        };
        state.counters.flow(Flow::ArpReplies, 1);
        state.send_arp(port, message.sender_mac, reply, sink);
    }
    Ok(())
}

/// Another worker heard from a neighbour.
pub(crate) fn told<A: Allocator>(
    port: PortId,
    address: Ipv4Addr,
    mac: ethernet::Mac,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    state.neighbours.learn(port, address, mac, true, state.now);
    release(port, address, mac, state, sink);
}

fn check_sender(message: &arp::Message, ours: &PortConfig) -> Result<(), Drop> {
    let in_subnet =
        Ipv4Prefix::new(ours.address, ours.prefix_len).is_some_and(|p| p.contains(message.sender));
    let plausible = message.sender.is_unspecified() || (in_subnet && ipv4::may_be_source(message.sender));
    let sane = !ethernet::is_group(message.sender_mac) && message.sender_mac != [0; 6];
    if plausible && sane { Ok(()) } else { Err(Drop::BadArp) }
}

/// Whether we answer for a client: its address lies in this Inside port's own subnet, so hosts ask for it directly.
fn is_proxied<A: Allocator>(message: &arp::Message, ours: &PortConfig, state: &State<A>) -> bool {
    ours.role == PortRole::Inside
        && message.sender != message.target
        && Ipv4Prefix::new(ours.address, ours.prefix_len).is_some_and(|p| p.contains(message.target))
        && matches!(state.tables.outbound.lookup(message.target), OutboundRoute::Client(_))
}

fn tell_others<A: Allocator>(
    port: PortId,
    message: &arp::Message,
    state: &State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    let others = (0..state.config.workers).filter(|worker| *worker != state.config.worker);
    for worker in others {
        let item = Handoff::Neighbour { port, address: message.sender, mac: message.sender_mac };
        // A worker whose ring is full asks for itself again.
        let _ = sink.handoff(worker, item);
    }
}

fn release<A: Allocator>(
    port: PortId,
    address: Ipv4Addr,
    mac: ethernet::Mac,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) {
    while let Some(buffer) = state.neighbours.next_waiting(port, address) {
        let header = state.frame_header(port, mac).ok_or(Drop::NoRoute);
        if let Err(reason) = header.and_then(|header| transmit(buffer, port, &header, sink)) {
            state.counters.drop(reason);
        }
    }
}
