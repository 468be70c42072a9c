//! What the stages of one worker share: tables, counters, buffers, limits. One owner, no locks.

use std::net::Ipv4Addr;

use causeway_shared::config::PortRole;
use causeway_shared::counters::{Drop, Flow};
use causeway_shared::net::reassembly::{Lost, Reassembly};
use causeway_shared::net::{arp, ethernet};
use causeway_shared::wire::Event;

use super::State6;
use crate::buffer::{Allocator, Buffer};
use crate::counters::Counters;
use crate::crypto::{Engine, Line};
use crate::neighbour::{Adjacent, Neighbours};
use crate::path::{Now, PathConfig, PathError, PortConfig, PortId, SaDirection, Sink, Tables};
use crate::route::RouteTable;
use crate::sa::Notice;
use crate::watch::Watches;

/// Events that wait for room in the ring.
pub(crate) const EVENT_BACKLOG: usize = 1024;
/// ICMP errors a second, with as many at once.
const ICMP_ERRORS_PER_SEC: u64 = 100;
/// `InvalidSpi` events a second, with as many at once.
const INVALID_SPI_EVENTS_PER_SEC: u64 = 10;

/// What the stages of one worker share.
pub(crate) struct State<A: Allocator> {
    pub now: Now,
    pub config: PathConfig,
    pub allocator: A,
    pub counters: Counters,
    pub tables: Box<Tables>,
    pub routes: RouteTable,
    pub neighbours: Neighbours<A::Buffer>,
    /// The same, and more, of IPv6.
    pub v6: State6<A::Buffer>,
    /// The last next hop of each side.
    adjacent: [Adjacent; 2],
    /// Our addresses, of every port.
    ours: OurAddresses,
    pub engine: Engine,
    /// The way through a crypto device, where there is one.
    pub line: Option<Box<Line>>,
    /// Who watches the packets.
    pub watches: Watches,
    /// Packets to us of which only fragments are there.
    pub fragments: Reassembly,
    pub events: Backlog,
    pub icmp_errors: RateLimit,
    pub invalid_spi_events: RateLimit,
    /// Smallest MTU of the Outside ports.
    pub outside_mtu: u16,
    identification: u16,
}

impl<A: Allocator> State<A> {
    pub fn new(config: PathConfig, allocator: A) -> Result<State<A>, PathError> {
        let routes = RouteTable::new(&config)?;
        let outside = config.ports.iter().filter(|port| port.role == PortRole::Outside);
        let outside_mtu = outside.map(|port| port.mtu).min().unwrap_or(u16::MAX);
        Ok(State {
            now: Now::default(),
            allocator,
            counters: Counters::default(),
            tables: Tables::new(config.sa_capacity, config.workers),
            routes,
            neighbours: Neighbours::new(),
            v6: State6::new(&config)?,
            adjacent: [Adjacent::none(Ipv4Addr::UNSPECIFIED); 2],
            ours: OurAddresses::new(config.ports.iter().map(|port| port.address)),
            engine: Engine::default(),
            line: None,
            watches: Watches::default(),
            fragments: Reassembly::default(),
            events: Backlog { waiting: Vec::with_capacity(EVENT_BACKLOG) },
            icmp_errors: RateLimit::new(ICMP_ERRORS_PER_SEC),
            invalid_spi_events: RateLimit::new(INVALID_SPI_EVENTS_PER_SEC),
            outside_mtu,
            identification: config.worker,
            config,
        })
    }

    #[inline(always)]
    pub fn port(&self, port: PortId) -> Option<&PortConfig> {
        self.config.ports.get(usize::from(port.0))
    }

    /// Whether an address is one of ours, on any port.
    #[inline(always)]
    pub fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.ours.contains(address)
    }

    /// Our address on the LAN, from which clients hear of errors.
    pub fn inside_address(&self) -> Option<Ipv4Addr> {
        self.config.ports.iter().find(|port| port.role == PortRole::Inside).map(|port| port.address)
    }

    /// An identification for a packet of ours that may be fragmented. Workers count in separate residues.
    #[inline(always)]
    pub fn next_identification(&mut self) -> u16 {
        // From the worker's number on, in steps of all workers.
        let identification = self.identification;
        self.identification = identification.wrapping_add(self.config.workers);
        identification
    }

    /// The last next hop on a side.
    #[inline(always)]
    pub fn adjacent_of(&self, role: PortRole) -> &Adjacent {
        let [outside, inside] = &self.adjacent;
        if role == PortRole::Outside { outside } else { inside }
    }

    /// The last next hop on a side, to be replaced.
    pub fn adjacent_of_mut(&mut self, role: PortRole) -> &mut Adjacent {
        let [outside, inside] = &mut self.adjacent;
        if role == PortRole::Outside { outside } else { inside }
    }

    /// The Ethernet header of IPv4 packets to a neighbour.
    pub fn frame_header(
        &self,
        port: PortId,
        destination: ethernet::Mac,
    ) -> Option<[u8; ethernet::HEADER_LEN]> {
        let source = self.port(port)?.mac;
        Some(ethernet::Header { destination, source, ether_type: ethernet::TYPE_IPV4 }.to_bytes())
    }

    /// Tells the control plane of an SA's first inbound packet, if that is not done yet.
    #[cold]
    pub fn announce_first(&mut self, place: u32, sink: &mut impl Sink<A::Buffer>) {
        let notice = self.tables.sas.first_inbound(place);
        self.notify(place, notice, sink);
    }

    /// Looks at an SA's limits after an inbound packet, and rests as long as none can be passed.
    #[cold]
    pub fn look_at_inbound_limits(&mut self, place: u32, sink: &mut impl Sink<A::Buffer>) {
        let notice = self.tables.sas.inbound_notice(place);
        self.notify(place, notice, sink);
        self.tables.sas.rest_inbound(place);
    }

    /// Looks at an SA's limits after an outbound packet, and rests as long as none can be passed.
    #[cold]
    pub fn look_at_outbound_limits(&mut self, place: u32, sink: &mut impl Sink<A::Buffer>) {
        let notice = self.tables.sas.outbound_notice(place);
        self.notify(place, notice, sink);
        self.tables.sas.rest_outbound(place);
    }

    /// An SA's sequence numbers are used up: it carries nothing more.
    #[cold]
    pub fn end_sa(&mut self, place: u32, sink: &mut impl Sink<A::Buffer>) {
        self.tables.sas.end(place);
        let notice = self.tables.sas.outbound_notice(place);
        self.notify(place, notice, sink);
    }

    /// Tells the control plane about an SA; an SA whose notice found no room gives it again with the next packet.
    fn notify(&mut self, place: u32, notice: Option<Notice>, sink: &mut impl Sink<A::Buffer>) {
        let Some(notice) = notice else { return };
        let Some(inbound_spi) = self.tables.sas.inbound(place).map(|sa| sa.spi()) else { return };
        let event = match notice {
            Notice::Soft => Event::SoftExpired { inbound_spi },
            Notice::Hard => Event::HardExpired { inbound_spi },
            Notice::FirstInbound => Event::FirstInbound { inbound_spi },
        };
        if self.events.send(event, sink) {
            self.tables.sas.announced(place, notice);
        }
    }

    /// A packet is dropped whose SA is known: counts it for the SA, too. The reason, for the caller to pass on.
    #[cold]
    pub fn refused(
        &self,
        place: u32,
        direction: SaDirection,
        reason: Drop,
        sink: &mut impl Sink<A::Buffer>,
    ) -> Drop {
        if let Some(slot) = self.tables.sas.slot_at(place) {
            sink.sa_drop(slot, direction);
        }
        reason
    }

    /// Fetches what [`State::publish`] will read and write.
    #[inline(always)]
    pub fn expect_publish(&self, most: usize, sink: &impl Sink<A::Buffer>) {
        let (worker, workers) = (u32::from(self.config.worker), u32::from(self.config.workers));
        let Tables { sas, touched, .. } = &*self.tables;
        for place in touched.first(most) {
            sas.expect_statistics(place);
            sink.expect_sa_statistics(place.wrapping_mul(workers).wrapping_add(worker));
        }
    }

    /// Publishes the figures of at most `most` SAs, those first that wait longest.
    #[inline(always)]
    pub fn publish(&mut self, most: usize, sink: &mut impl Sink<A::Buffer>) {
        let Tables { sas, touched, .. } = &mut *self.tables;
        for _ in 0..most {
            let Some(place) = touched.next(sas) else { return };
            if let Some((slot, statistics)) = sas.statistics(place) {
                sink.sa_statistics(slot, statistics);
            }
        }
    }

    /// Looks whether the crypto device still answers.
    pub fn watch_device(&mut self) {
        let lost = self.line.as_mut().map_or(0, |line| line.watch());
        self.counters.drops(Drop::CryptoDeviceLost, lost as u64);
    }

    /// Frees the places of packets that did not become whole.
    pub fn forget_late_fragments(&mut self) {
        self.fragments.expire(self.now.monotonic_ms);
        self.count_lost_fragments();
    }

    /// Counts the fragments that the table has given up.
    pub fn count_lost_fragments(&mut self) {
        let Lost { late, displaced } = self.fragments.take_lost();
        self.counters.drops(Drop::FragmentTimeout, u64::from(late));
        self.counters.drops(Drop::FragmentDisplaced, u64::from(displaced));
    }

    /// Sends an ARP message of ours.
    pub fn send_arp(
        &mut self,
        port: PortId,
        destination: ethernet::Mac,
        message: arp::Message,
        sink: &mut impl Sink<A::Buffer>,
    ) {
        let Some(mut frame) = self.allocator.allocate() else {
            return self.counters.drop(Drop::NoBuffer);
        };
        let header =
            ethernet::Header { destination, source: message.sender_mac, ether_type: ethernet::TYPE_ARP };
        match frame.append(ethernet::HEADER_LEN + arp::MESSAGE_LEN) {
            Some(place) => {
                let octets = header.to_bytes().into_iter().chain(message.to_bytes());
                place.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
                sink.tx(port, frame);
            }
            None => self.counters.drop(Drop::NoBuffer),
        }
    }

    /// Asks who has `target`: everybody, or the neighbour that had it.
    pub fn send_arp_request(
        &mut self,
        port: PortId,
        target: Ipv4Addr,
        asked: Option<ethernet::Mac>,
        sink: &mut impl Sink<A::Buffer>,
    ) {
        let Some((sender_mac, sender)) = self.port(port).map(|ours| (ours.mac, ours.address)) else { return };
        let operation = arp::Operation::Request;
        let message = arp::Message { operation, sender_mac, sender, target_mac: [0; 6], target };
        self.counters.flow(Flow::ArpRequests, 1);
        self.send_arp(port, asked.unwrap_or(ethernet::BROADCAST), message, sink);
    }
}

/// Our addresses: a few, asked for several times with every packet, and nearly always in vain.
struct OurAddresses {
    /// A bit for each [mark](OurAddresses::mark) that one of ours has.
    marks: u64,
    all: Vec<u32>,
}

impl OurAddresses {
    fn new(all: impl Iterator<Item = Ipv4Addr>) -> OurAddresses {
        let all: Vec<u32> = all.map(u32::from).collect();
        let marks = all.iter().fold(0, |marks, number| marks | 1 << Self::mark(*number));
        OurAddresses { marks, all }
    }

    /// Six bits that every bit of an address has a part in: addresses that end alike, as those of hosts in several subnets
    /// do, have different ones.
    #[inline(always)]
    fn mark(number: u32) -> u32 {
        // 2^32 divided by the golden ratio (Knuth, Fibonacci hashing).
        number.wrapping_mul(0x9e37_79b9) >> 26
    }

    #[inline(always)]
    fn contains(&self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.marks >> Self::mark(number) & 1 != 0 && self.is_listed(number)
    }

    #[inline(never)]
    fn is_listed(&self, number: u32) -> bool {
        self.all.contains(&number)
    }
}

/// Events on their way to the control plane.
pub(crate) struct Backlog {
    waiting: Vec<Event>,
}

impl Backlog {
    /// Sends an event, or keeps it for later. `false` when neither was possible: say it again at the next occasion.
    pub fn send<B>(&mut self, event: Event, sink: &mut impl Sink<B>) -> bool {
        if self.waiting.is_empty() && sink.event(event).is_ok() {
            return true;
        }
        let room = self.waiting.len() < EVENT_BACKLOG;
        if room {
            self.waiting.push(event);
        }
        room
    }

    /// Offers what waits again, in order.
    pub fn retry<B>(&mut self, sink: &mut impl Sink<B>) {
        let sent = self.waiting.iter().take_while(|event| sink.event(**event).is_ok()).count();
        self.waiting.drain(..sent);
    }
}

/// At most so many a second.
pub(crate) struct RateLimit {
    per_sec: u64,
    /// Thousandths of a permit.
    credit: u64,
    last_ms: u64,
}

impl RateLimit {
    pub fn new(per_sec: u64) -> RateLimit {
        RateLimit { per_sec, credit: per_sec * 1000, last_ms: 0 }
    }

    /// Takes one permit if there is one.
    pub fn permits(&mut self, now: Now) -> bool {
        let elapsed = now.monotonic_ms.saturating_sub(self.last_ms);
        self.last_ms = now.monotonic_ms.max(self.last_ms);
        let most = self.per_sec * 1000;
        self.credit = self.credit.saturating_add(elapsed.saturating_mul(self.per_sec)).min(most);
        let permitted = self.credit >= 1000;
        if permitted {
            self.credit -= 1000;
        }
        permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_ours_however_many() {
        let address = |number: usize| Ipv4Addr::from_bits(0x0a00_0001 + number as u32);
        for count in 0..9 {
            let ours = OurAddresses::new((0..count).map(address));
            for number in 0..200 {
                assert_eq!(ours.contains(address(number)), number < count, "{number} of {count}");
            }
            assert!(!ours.contains(Ipv4Addr::UNSPECIFIED));
        }
    }

    #[test]
    fn the_rate_is_kept_and_credit_is_bounded() {
        let mut limit = RateLimit::new(10);
        let taken =
            |limit: &mut RateLimit, ms| (0..100).filter(|_| limit.permits(Now { monotonic_ms: ms })).count();
        assert_eq!(taken(&mut limit, 0), 10);
        assert_eq!(taken(&mut limit, 99), 0);
        assert_eq!(taken(&mut limit, 200), 2);
        assert_eq!(taken(&mut limit, 1_000_000), 10);
    }
}
