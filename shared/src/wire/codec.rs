//! Slots and messages: how a [`Command`], [`Event`] or [`Datagram`] becomes octets of a ring slot and back.
//!
//! Enters: typed messages on one side, octets that the other process wrote on the other. Leaves: the same message, or a
//! [`SlotError`] that names the field. Both directions check the same rules, so a writer learns of its own mistake first.
//! Integers are little-endian; both processes run on one machine.

mod bytes;
mod command;
mod datagram;
mod event;
#[cfg(test)]
mod tests;
mod watch;

pub use command::peek_command_id;
pub use datagram::DatagramRef;
pub use watch::SeenRef;

use std::net::IpAddr;

use self::bytes::{Reader, Writer};
use super::SlotError;
use crate::sa::{Encapsulation, MIN_SPI};

fn check_spi(field: &'static str, spi: u32) -> Result<u32, SlotError> {
    if spi < MIN_SPI { Err(SlotError::Invalid(field)) } else { Ok(spi) }
}

fn write_peer_location(
    out: &mut Writer<'_>,
    peer_outer: IpAddr,
    encapsulation: Encapsulation,
) -> Result<(), SlotError> {
    let (tag, local_port, peer_port) = match check_encapsulation(encapsulation)? {
        Encapsulation::Esp => (0, 0, 0),
        Encapsulation::Udp { local_port, peer_port } => (1, local_port, peer_port),
    };
    out.ip(peer_outer)?;
    out.u16(local_port)?;
    out.u16(peer_port)?;
    out.u8(tag)?;
    out.zeros(3)
}

fn read_peer_location(input: &mut Reader<'_>) -> Result<(IpAddr, Encapsulation), SlotError> {
    let peer_outer = input.ip("peer_outer")?;
    let local_port = input.u16("local_port")?;
    let peer_port = input.u16("peer_port")?;
    let encapsulation = match input.u8("encapsulation")? {
        0 if local_port == 0 && peer_port == 0 => Encapsulation::Esp,
        1 => Encapsulation::Udp { local_port, peer_port },
        _ => return Err(SlotError::Invalid("encapsulation")),
    };
    input.zeros(3, "reserved")?;
    Ok((peer_outer, check_encapsulation(encapsulation)?))
}

/// A packet has one header, so both ends are of one family.
fn check_family(local: IpAddr, peer: IpAddr) -> Result<(), SlotError> {
    if local.is_ipv4() == peer.is_ipv4() { Ok(()) } else { Err(SlotError::Invalid("family")) }
}

fn check_encapsulation(encapsulation: Encapsulation) -> Result<Encapsulation, SlotError> {
    match encapsulation {
        Encapsulation::Udp { local_port: 0, .. } => Err(SlotError::Invalid("local_port")),
        Encapsulation::Udp { peer_port: 0, .. } => Err(SlotError::Invalid("peer_port")),
        other => Ok(other),
    }
}
