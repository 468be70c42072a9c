//! As `encap`, for an SA whose peer is reached over IPv6: counts what was sealed, puts the outer IPv6 header in front and UDP's if the SA
//! runs over it (RFC 4301 §5.1.2.2, RFC 3948 §3.4).
//!
//! Enters: [`EspOut`] from SPI to ICV. Leaves: [`Leaving6`] on the Outside, to `route6`. DSCP and ECN are the inner packet's.

use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;

use super::{EspOut, Leaving6, Out, State, encap};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspOut<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspOut { mut buffer, place, tos, inner_len, .. } = packet;
    let outer = state.tables.sas.outer6(place).ok_or(Drop::NoSession)?;
    if encap::count(place, inner_len, state)? {
        state.look_at_outbound_limits(place, out.sink);
    }
    buffer.prepend(outer.header_len()).ok_or(Drop::NoBuffer)?;
    outer.write(buffer.data_mut(), tos).ok_or(Drop::TooBig)?;
    let mtu = outer.mtu(state.outside_mtu, state.now.monotonic_ms);
    // A peer on our link that has no other address than that link's.
    let port = outer.peer.is_unicast_link_local().then(|| state.v6.port_of(outer.local)).flatten();
    let (role, ingress, destination) = (PortRole::Outside, Ingress::Local, outer.peer);
    out.route6(Leaving6 { buffer, role, port, ingress, destination, mtu }, state)
}
