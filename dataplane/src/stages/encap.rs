//! Counts what was sealed and puts the outer header in front: IPv4, and UDP if the SA runs over it (RFC 4301 §5.1.2.1,
//! RFC 3948 §3.4).
//!
//! Enters: [`EspOut`] from SPI to ICV. Leaves: [`Leaving`] on the Outside, to `route`. DSCP and ECN are the inner
//! packet's.

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};

use super::{EspOut, Leaving, Out, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;

#[inline(always)]
pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspOut<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspOut { mut buffer, place, tos, inner_len, sequence } = packet;
    let identification = state.next_identification();
    let tables = &mut *state.tables;
    let sa = tables.sas.outbound_mut(place).ok_or(Drop::NoSession)?;
    if sa.is_over_ipv6() {
        return over_ipv6(EspOut { buffer, place, tos, inner_len, sequence }, state, out);
    }
    sa.packets += 1;
    sa.bytes += u64::from(inner_len);
    tables.touched.outbound(place, sa);
    let to_be_looked_at = sa.quiet == 0;
    sa.quiet = sa.quiet.saturating_sub(1);
    let (esp_len, outer_len, destination) = (buffer.len(), sa.outer_len(), sa.peer());
    let header = buffer.prepend(outer_len).ok_or(Drop::NoBuffer)?;
    let written = sa.write_outer(header, esp_len, tos, identification);
    state.counters.flow(Flow::EspOutPackets, 1);
    state.counters.flow(Flow::EspOutBytes, u64::from(inner_len));
    if to_be_looked_at {
        state.look_at_outbound_limits(place, out.sink);
    }
    written.ok_or(Drop::TooBig)?;
    out.route(Leaving { buffer, role: PortRole::Outside, ingress: Ingress::Local, destination }, state)
}

/// Out of line, so that IPv4 has its way to itself.
#[inline(never)]
fn over_ipv6<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: EspOut<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    out.encap6(packet, state)
}

/// A packet was sealed; whether the SA's limits are to be looked at.
pub(super) fn count<A: Allocator>(place: u32, inner_len: u16, state: &mut State<A>) -> Result<bool, Drop> {
    let tables = &mut *state.tables;
    let sa = tables.sas.outbound_mut(place).ok_or(Drop::NoSession)?;
    sa.packets += 1;
    sa.bytes += u64::from(inner_len);
    tables.touched.outbound(place, sa);
    let to_be_looked_at = sa.quiet == 0;
    sa.quiet = sa.quiet.saturating_sub(1);
    state.counters.flow(Flow::EspOutPackets, 1);
    state.counters.flow(Flow::EspOutBytes, u64::from(inner_len));
    Ok(to_be_looked_at)
}
