//! As `esp_out_seq`, for an inner IPv6 packet (ESP's next header 41).
//!
//! Enters: [`InSa6`] to a client, small enough. Leaves: [`EspOut`](super::EspOut) from SPI to the room for its ICV, to `esp_out_seal`.

use causeway_shared::counters::Drop;
use causeway_shared::net::ipv4;

use super::esp_out_seq::{Inner, number};
use super::{InSa, InSa6, Out, State};
use crate::buffer::Allocator;
use crate::path::Sink;
use crate::probe::Probe;

pub(crate) fn one<A: Allocator, S: Sink<A::Buffer>, P: Probe>(
    packet: InSa6<A::Buffer>,
    state: &mut State<A>,
    out: &mut Out<'_, A::Buffer, S, P>,
) -> Result<(), Drop> {
    let InSa { buffer, place, facts, .. } = packet;
    let inner = Inner { len: facts.len, tos: facts.traffic_class, next_header: ipv4::PROTOCOL_IPV6 };
    number(buffer, place, inner, state, out)
}
