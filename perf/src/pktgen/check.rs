//! Before anything is measured: what comes out of the path is right, as an independent library sees it.

use causeway_dataplane::probe::NoProbe;
use causeway_dpdk::{Mbuf, Mempool};
use causeway_shared::net::{ethernet, ipv4, ipv6, udp};

use super::rig::Rig;
use super::source::{CLEAR_PORT, ESP_PORT, Plan};
use crate::Failure;
use crate::cell::Direction;
use crate::traffic::{self, Carried};
use crate::world::{self, Family, MACS, World};

/// Packets of each direction: every size of the pattern twice, over several clients.
const PACKETS: usize = 24;

/// Sends a few packets of each direction through a path of the plan's suite and looks at every octet of what leaves it.
///
/// # Errors
/// The first packet that is wrong.
pub fn packets_are_right(plan: Plan, pool: Mempool) -> Result<(), Failure> {
    let world = World { sas: plan.world.sas.min(4), ..plan.world };
    let mut rig = Rig::new(&world, pool, NoProbe)?;
    for index in 0..PACKETS {
        let n = index as u32 % world.sas;
        let wrong = |what| Failure::Wrong { suite: world.suite, what, index };

        let inner = traffic::inner(&world, Direction::Out, n, index, plan.size);
        let sent = rig.pass(CLEAR_PORT, &mut vec![buffer(pool, &traffic::frame(MACS[0], &inner))?]);
        let esp = sent
            .first()
            .and_then(|frame| esp_of(frame, n, &world))
            .ok_or_else(|| wrong("no ESP frame was sent"))?;
        let opened =
            world.sa_to_client(n).open(&esp).ok_or_else(|| wrong("what was sealed does not open"))?;
        if opened != forwarded(&world, &inner) {
            return Err(wrong("what was sealed is another packet"));
        }

        let inner = traffic::inner(&world, Direction::In, n, index, plan.size);
        let sealed = world.sa_from_client(n).seal(index as u32 + 1, &inner)?;
        let frame = traffic::frame(MACS[1], &traffic::outer(&world, n, &sealed));
        let sent = rig.pass(ESP_PORT, &mut vec![buffer(pool, &frame)?]);
        let clear = sent.first().and_then(|frame| frame.get(ethernet::HEADER_LEN..));
        if clear != Some(&forwarded(&world, &inner)[..]) {
            return Err(wrong("what was opened is another packet"));
        }
    }
    Ok(())
}

fn buffer(pool: Mempool, frame: &[u8]) -> Result<Mbuf, Failure> {
    let mut buffer = pool.allocate().ok_or(Failure::NoBuffer)?;
    buffer.append(frame.len()).ok_or(Failure::NoBuffer)?.copy_from_slice(frame);
    Ok(buffer)
}

/// From SPI to ICV, if the outer headers are as they should be.
fn esp_of(frame: &[u8], n: u32, world: &World) -> Option<Vec<u8>> {
    let outer = Carried::parse(frame.get(ethernet::HEADER_LEN..)?)?;
    if (outer.source, outer.destination) != (world.gateway(), world.client_outer(n)) {
        return None;
    }
    match (outer.protocol, world.natt) {
        (ipv4::PROTOCOL_ESP, false) => Some(outer.payload.to_vec()),
        (ipv4::PROTOCOL_UDP, true) => {
            let datagram = udp::Datagram::parse(outer.payload)?;
            let ports = (datagram.source_port(), datagram.destination_port());
            (ports == (world::NATT_PORT, world::CLIENT_NATT_PORT)).then(|| datagram.payload().to_vec())
        }
        _ => None,
    }
}

/// The packet as a router leaves it.
fn forwarded(world: &World, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let goes_on = match world.inner {
        Family::V4 => ipv4::decrement_ttl(&mut packet),
        Family::V6 => ipv6::decrement_hop_limit(&mut packet),
    };
    if !goes_on {
        packet.clear();
    }
    packet
}
