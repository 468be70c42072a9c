//! What the stages of IPv6 share beside `state.rs`: routes, neighbours, our addresses, and how our messages of neighbour discovery leave.

use std::net::Ipv6Addr;

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::{ethernet, ndp};

use super::State;
use super::state::RateLimit;
use crate::buffer::{Allocator, Buffer};
use crate::neighbour::{Adjacent, Neighbours};
use crate::path::{PathConfig, PathError, PortId, Sink};
use crate::route6::RouteTable6;

/// What the stages of IPv6 share.
pub(crate) struct State6<B> {
    pub routes: RouteTable6,
    pub neighbours: Neighbours<B, Ipv6Addr>,
    /// The last next hop of each side.
    adjacent: [Adjacent<Ipv6Addr>; 2],
    /// Our addresses, with the port that each is on; the link-local ones are made from the ports' Ethernet addresses.
    ours: Vec<(PortId, Ipv6Addr)>,
    /// How often somebody is believed who says how much a path lets through.
    pub path_mtus: RateLimit,
    identification: u32,
    workers: u32,
}

/// Words on paths that are looked at, a second, with as many at once.
const PATH_MTUS_PER_SEC: u64 = 20;

impl<B> State6<B> {
    pub fn new(config: &PathConfig) -> Result<State6<B>, PathError> {
        let ports = (0..).map(PortId).zip(&config.ports);
        let speaking = ports.filter_map(|(id, port)| port.address6.map(|ours| (id, port.mac, ours.address)));
        Ok(State6 {
            routes: RouteTable6::new(config)?,
            neighbours: Neighbours::new(),
            adjacent: [Adjacent::none(Ipv6Addr::UNSPECIFIED); 2],
            ours: speaking.flat_map(|(id, mac, global)| [(id, global), (id, ndp::link_local(mac))]).collect(),
            path_mtus: RateLimit::new(PATH_MTUS_PER_SEC),
            identification: config.worker.into(),
            workers: config.workers.into(),
        })
    }

    /// Whether an address is one of ours: on any port, but a link-local one only on its own.
    #[inline]
    pub fn is_ours(&self, address: Ipv6Addr, on: PortId) -> bool {
        self.ours
            .iter()
            .any(|(port, ours)| *ours == address && (*port == on || !ours.is_unicast_link_local()))
    }

    /// Whether an address that packets may be routed to is one of ours.
    #[inline]
    pub fn is_ours_anywhere(&self, address: Ipv6Addr) -> bool {
        self.ours.iter().any(|(_, ours)| *ours == address && !ours.is_unicast_link_local())
    }

    /// Our addresses on a port.
    pub fn of_port(&self, port: PortId) -> impl Iterator<Item = Ipv6Addr> {
        self.ours.iter().filter(move |(on, _)| *on == port).map(|(_, ours)| *ours)
    }

    /// Our address on a port from which `to` hears of us: of the same scope.
    pub fn towards(&self, port: PortId, to: Ipv6Addr) -> Option<Ipv6Addr> {
        self.of_port(port).find(|ours| ours.is_unicast_link_local() == to.is_unicast_link_local())
    }

    /// The port that an address of ours is on.
    pub fn port_of(&self, address: Ipv6Addr) -> Option<PortId> {
        self.ours.iter().find(|(_, ours)| *ours == address).map(|(port, _)| *port)
    }

    /// An identification for a packet of ours that is fragmented. Workers count in separate residues.
    pub fn next_identification(&mut self) -> u32 {
        let identification = self.identification;
        self.identification = identification.wrapping_add(self.workers);
        identification
    }

    /// The last next hop on a side.
    #[inline]
    pub fn adjacent_of(&self, role: PortRole) -> &Adjacent<Ipv6Addr> {
        let [outside, inside] = &self.adjacent;
        if role == PortRole::Outside { outside } else { inside }
    }

    /// The last next hop on a side, to be replaced.
    pub fn adjacent_of_mut(&mut self, role: PortRole) -> &mut Adjacent<Ipv6Addr> {
        let [outside, inside] = &mut self.adjacent;
        if role == PortRole::Outside { outside } else { inside }
    }
}

impl<A: Allocator> State<A> {
    /// The Ethernet header of IPv6 packets to a neighbour.
    pub fn frame_header6(
        &self,
        port: PortId,
        destination: ethernet::Mac,
    ) -> Option<[u8; ethernet::HEADER_LEN]> {
        let source = self.port(port)?.mac;
        Some(ethernet::Header { destination, source, ether_type: ethernet::TYPE_IPV6 }.to_bytes())
    }

    /// Sends a message of neighbour discovery.
    pub fn send_ndp(
        &mut self,
        port: PortId,
        destination: ethernet::Mac,
        packet: &[u8; ndp::PACKET_LEN],
        sink: &mut impl Sink<A::Buffer>,
    ) {
        let Some(header) = self.frame_header6(port, destination) else { return };
        let frame = self.allocator.allocate().and_then(|mut frame| {
            let place = frame.append(header.len() + packet.len())?;
            place.iter_mut().zip(header.iter().chain(packet)).for_each(|(to, from)| *to = *from);
            Some(frame)
        });
        match frame {
            Some(frame) => sink.tx(port, frame),
            None => self.counters.drop(Drop::NoBuffer),
        }
    }

    /// Asks who has `target`: all that may have it, or the neighbour that had it (RFC 4861 §7.2.2, §7.3.3).
    pub fn send_solicitation(
        &mut self,
        port: PortId,
        target: Ipv6Addr,
        asked: Option<ethernet::Mac>,
        sink: &mut impl Sink<A::Buffer>,
    ) {
        let Some(source) = self.v6.towards(port, target) else { return };
        let Some(our_mac) = self.port(port).map(|ours| ours.mac) else { return };
        let packet = ndp::solicitation(source, our_mac, target, asked.is_some());
        let to = asked.unwrap_or(ndp::group_mac(ndp::solicited_node(target)));
        self.counters.flow(Flow::NeighbourSolicitations, 1);
        self.send_ndp(port, to, &packet, sink);
    }

    /// Asks whether anybody has our addresses (RFC 4862 §5.4.2), and tells all that we have them (RFC 4861 §7.2.6). They are
    /// in use at once, as IPv4's are: who has one of them, too, is counted as `bad_neighbour_discovery` when it says so.
    pub fn announce6(&mut self, port: PortId, sink: &mut impl Sink<A::Buffer>) {
        let Some(our_mac) = self.port(port).map(|ours| ours.mac) else { return };
        let ours: arrayvec::ArrayVec<Ipv6Addr, 2> = self.v6.of_port(port).take(2).collect();
        for address in ours {
            let group = ndp::solicited_node(address);
            self.send_ndp(port, ndp::group_mac(group), &ndp::probe(address), sink);
            let told = ndp::advertisement(address, our_mac, Ipv6Addr::UNSPECIFIED);
            self.send_ndp(port, ndp::group_mac(ndp::ALL_NODES), &told, sink);
        }
    }
}
