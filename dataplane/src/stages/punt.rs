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
use crate::path::{Punt, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: FromPeer<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    out.sink.punt(read(&packet)?).map_err(|_| Drop::PuntFull)?;
    state.counters.flow(Flow::PuntedIke, 1);
    Ok(())
}

fn read<B: Buffer>(packet: &FromPeer<B>) -> Result<Punt<'_>, Drop> {
    let datagram = udp::Datagram::parse(packet.buffer.data()).ok_or(Drop::BadUdp)?;
    let (peer, local) = (packet.outer.source, packet.outer.destination);
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
