//! IKE datagrams to the control plane.
//!
//! Enters: [`FromPeer`] at the UDP header, to port 500 or to 4500 with the non-ESP marker. Leaves: the IKE message through
//! `Sink::punt`, marker stripped, if the UDP checksum is right or, over IPv4 only, absent (RFC 768, RFC 8200 §8.1).

use std::net::IpAddr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::udp;
use causeway_shared::wire::MAX_DATAGRAM;

use super::classify::PORT_NATT;
use super::natt::NON_ESP_MARKER;
use super::{FromPeer, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Counters, Punt, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let addresses = packet.outer.addresses_at_udp(&packet.buffer).ok_or(Drop::BadUdp)?;
    deliver(packet.buffer.data(), addresses, &mut state.counters, out.sink)
}

/// Gives the IKE message of the UDP datagram `octets`, with the peer's address and ours, to the control plane.
pub(super) fn deliver<B>(
    octets: &[u8],
    addresses: (IpAddr, IpAddr),
    counters: &mut Counters,
    sink: &mut impl Sink<B>,
) -> Result<(), Drop> {
    sink.punt(read(octets, addresses)?).map_err(|_| Drop::PuntFull)?;
    counters.flow(Flow::PuntedIke, 1);
    Ok(())
}

fn read(octets: &[u8], (peer, local): (IpAddr, IpAddr)) -> Result<Punt<'_>, Drop> {
    let datagram = udp::Datagram::parse(octets).ok_or(Drop::BadUdp)?;
    let right = match (peer, local) {
        (IpAddr::V4(peer), IpAddr::V4(local)) => datagram.checksum_is_right(peer, local),
        (IpAddr::V6(peer), IpAddr::V6(local)) => datagram.checksum_is_right6(peer, local),
        _ => false,
    };
    if !right {
        return Err(Drop::BadUdp);
    }
    let local_port = datagram.destination_port();
    let payload = match local_port {
        PORT_NATT => datagram.payload().strip_prefix(&NON_ESP_MARKER).ok_or(Drop::BadUdp)?,
        _ => datagram.payload(),
    };
    if payload.is_empty() || payload.len() > MAX_DATAGRAM {
        return Err(Drop::BadUdp);
    }
    Ok(Punt { local, local_port, peer, peer_port: datagram.source_port(), payload })
}
