//! Whether the sealed IPv6 packet will fit the outer path (RFC 4301 §8): if not, its sender is told the size that fits (RFC 4443 §3.2,
//! RFC 8201), because nobody but the sender may fragment it.
//!
//! Enters: [`InSa6`] to a client. Leaves: the same, small enough, to `esp_out_seq6`; or [`Refused6`] to `icmp_error6`. A packet of at most
//! 1280 octets is always small enough (RFC 8200 §5): where the tunnel's path has less room the outer packet is fragmented.

use causeway_shared::counters::Drop;
use causeway_shared::net::{icmp6, ipv6};

use super::{InSa, InSa6, Out, Refused6, State};
use crate::buffer::Allocator;
use crate::path::{SaDirection, Sink};
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let sa = state.tables.sas.outbound(packet.place).ok_or(Drop::NoSession)?;
    let len = packet.facts.len;
    if len <= ipv6::MIN_MTU || sa.surely_fits(len, state.outside_mtu) {
        return out.esp_out_seq6(packet, state);
    }
    let mtu = state.tables.sas.path_mtu(packet.place, state.outside_mtu, state.now.monotonic_ms);
    let room = sa.max_inner_len(mtu).max(usize::from(ipv6::MIN_MTU));
    if usize::from(len) <= room {
        return out.esp_out_seq6(packet, state);
    }
    let InSa { buffer, place, ingress, .. } = packet;
    let error = icmp6::Error::PacketTooBig { mtu: u16::try_from(room).unwrap_or(u16::MAX) };
    let _ = out.icmp_error6(Refused6 { buffer, ingress, error }, state);
    Err(state.refused(place, SaDirection::Outbound, Drop::TooBig, out.sink))
}
