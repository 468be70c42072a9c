//! What routers outside say of the size of our outer packets (RFC 4443 §3.2, RFC 8201; RFC 4301 §8.2.1: believed only of a packet that we
//! may have sent).
//!
//! Enters: an ICMPv6 "packet too big" to us, its checksum right. Leaves: the MTU in the SA that the quoted packet names by the peer's
//! address and SPI, or a word to the workers who may own it. At most so many a second are looked at, because the SA is searched for.

use std::net::Ipv6Addr;

use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{icmp6, ipv4, ipv6, udp};

use super::State;
use super::classify::PORT_NATT;
use crate::buffer::Allocator;
use crate::path::{Handoff, Sink};

/// Reads the message and follows it.
pub(super) fn take<A: Allocator>(
    message: &[u8],
    to: Ipv6Addr,
    state: &mut State<A>,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Drop> {
    let (mtu, quoted) = icmp6::packet_too_big(message).ok_or(Drop::NotForUs)?;
    let (local, peer, spi) = sent_by_us(quoted).ok_or(Drop::NotForUs)?;
    if local != to || !state.v6.path_mtus.permits(state.now) {
        return Err(Drop::NotForUs);
    }
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    told(peer, spi, mtu, state);
    for worker in (0..state.config.workers).filter(|worker| *worker != state.config.worker) {
        // Lost where a ring is full: the next packet that is too big is told again.
        let _ = sink.handoff(worker, Handoff::PathMtu6 { peer, spi, mtu });
    }
    Ok(())
}

/// Sets the MTU of the path of this worker's SA, if it has it.
pub(crate) fn told<A: Allocator>(peer: Ipv6Addr, spi: u32, mtu: u16, state: &mut State<A>) {
    let (port_mtu, now_ms) = (state.outside_mtu, state.now.monotonic_ms);
    if state.tables.sas.learn_path_mtu(peer, spi, mtu, port_mtu, now_ms) {
        state.counters.flow(Flow::PathMtusLearnt, 1);
    }
}

/// Addresses and SPI of ESP, over UDP or not, of whose first octets at least the SPI was quoted.
fn sent_by_us(quoted: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr, u32)> {
    let (header, payload) = quoted.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
    let (source, destination, next_header) = ipv6::quoted(header)?;
    let esp = match next_header {
        ipv4::PROTOCOL_ESP => payload,
        ipv4::PROTOCOL_UDP => {
            let (udp, esp) = payload.split_first_chunk::<{ udp::HEADER_LEN }>()?;
            let [p0, p1, ..] = *udp;
            (u16::from_be_bytes([p0, p1]) == PORT_NATT).then_some(esp)?
        }
        _ => return None,
    };
    let spi = esp.first_chunk().map(|spi| u32::from_be_bytes(*spi))?;
    Some((source, destination, spi))
}
