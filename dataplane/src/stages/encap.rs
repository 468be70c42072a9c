//! Puts the prebuilt outer header in front: IPv4, and UDP if the SA runs over it (RFC 4301 §5.1.2.1, RFC 3948 §3.4).
//!
//! Enters: [`EspOut`] from SPI to ICV. Leaves: [`Leaving`] on the Outside, to `route`. DSCP and ECN are the inner
//! packet's.

use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;

use super::{EspOut, Leaving, Out, Queue, State};
use crate::buffer::{Allocator, Buffer};
use crate::path::{Ingress, Sink};
use crate::probe::Probe;
use crate::sa::MAX_OUTER_HEADER;

pub(crate) fn run<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    items: &mut Queue<EspOut<A::Buffer>>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) {
    for packet in items.drain() {
        if let Err(reason) = wrap(packet, state, out) {
            state.counters.drop(reason);
        }
    }
}

fn wrap<A: Allocator, S, P>(
    packet: EspOut<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let EspOut { mut buffer, slot, tos, .. } = packet;
    let identification = state.next_identification();
    let sa = state.tables.sas.get(slot).ok_or(Drop::NoSession)?;
    let mut header = [0; MAX_OUTER_HEADER];
    let len = sa.outbound.write_outer(&mut header, buffer.len(), tos, identification).ok_or(Drop::TooBig)?;
    let place = buffer.prepend(len).ok_or(Drop::NoBuffer)?;
    place.iter_mut().zip(header).for_each(|(to, from)| *to = from);
    out.queues.route.push(Leaving { buffer, role: PortRole::Outside, ingress: Ingress::Local })
}
