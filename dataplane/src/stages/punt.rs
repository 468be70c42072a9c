//! IKE datagrams to the control plane.
//!
//! Enters: [`FromPeer`] at the UDP header, to port 500 or to 4500 with the non-ESP marker. Leaves: the IKE message through
//! `Sink::punt`, marker stripped, if the UDP checksum is right or absent (RFC 768).

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::udp;
use causeway_shared::wire::MAX_DATAGRAM;

use super::classify::PORT_NATT;
use super::natt::NON_ESP_MARKER;
use super::{FromPeer, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Counters, Outer, Punt, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    deliver(packet.buffer.data(), packet.outer, &mut state.counters, out.sink)
}

/// Gives the IKE message of the UDP datagram `octets` to the control plane.
pub(super) fn deliver<B>(
    octets: &[u8],
    outer: Outer,
    counters: &mut Counters,
    sink: &mut impl Sink<B>,
) -> Result<(), Drop> {
    sink.punt(read(octets, outer)?).map_err(|_| Drop::PuntFull)?;
    counters.flow(Flow::PuntedIke, 1);
    Ok(())
}

fn read(octets: &[u8], outer: Outer) -> Result<Punt<'_>, Drop> {
    let datagram = udp::Datagram::parse(octets).ok_or(Drop::BadUdp)?;
    let (peer, local) = (outer.source, outer.destination);
    if !datagram.checksum_is_right(peer, local) {
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
