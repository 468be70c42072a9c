//! The tables that commands change: SAs by inbound SPI, and inner addresses to SAs.
//!
//! What packets meet of an SA lies inline in the table, in cache lines of its own for each direction, so that its address
//! follows from the SPI alone and can be fetched before it is needed. The rest stays in the box that the manager made. Parts
//! are exchanged, not copied: after a removal nothing of a key is left in the table.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv6Addr};

use causeway_dpdk::{CACHE_LINE, advise_huge_pages, prefetch, prefetch_lines};
use causeway_shared::sa::{Encapsulation, slot_of_spi};

use super::fast_selector6::{self, FastSelector6};
use super::lifetime::Notice;
use super::outbound::OutboundMap;
use super::outbound6::OutboundMap6;
use super::outer6::{self, Outer6};
use super::worker_sa::{Cold, WorkerSa, outer6_of};
use super::{Flow, HOT_OCTETS, Inbound, Outbound, Touched};
use crate::sink::SaStatistics;

/// Cache lines that packets of an AES-GCM SA meet inbound and outbound: what is in front of the key, and a short key.
const GCM_LINES: usize = lines(offset_of!(Inbound, key));
/// Cache lines that those of any other suite meet besides.
const ALL_LINES: usize = HOT_OCTETS / CACHE_LINE;

/// Octets of an AES-GCM key where it lies in an SA, with what says that it is one.
const GCM_KEY: usize = 48;
const _: () = assert!(GCM_LINES == 2 && GCM_LINES == lines(offset_of!(Outbound, key)));

const fn lines(before_key: usize) -> usize {
    (before_key + GCM_KEY).div_ceil(CACHE_LINE)
}

/// Every table of a worker that commands change; exchanged whole by `RemoveAll`.
pub struct Tables {
    /// SAs that this worker owns.
    pub(crate) sas: SaTable,
    /// Which SA packets to a client leave by, whichever worker owns it.
    pub(crate) outbound: OutboundMap,
    /// The same of IPv6.
    pub(crate) outbound6: OutboundMap6,
    /// SAs whose figures wait to be published.
    pub(crate) touched: Touched,
}

impl Tables {
    /// Empty tables of one worker of `workers`, who share `sa_capacity` slots (a power of two); runs on the manager's
    /// thread.
    pub fn new(sa_capacity: u32, workers: u16) -> Box<Tables> {
        let sas = SaTable::new(sa_capacity, workers);
        let touched = Touched::new(sas.inbound.len());
        Box::new(Tables {
            sas,
            outbound: OutboundMap::new(),
            outbound6: OutboundMap6::new(sa_capacity),
            touched,
        })
    }
}

/// Who owns a slot, and where: slot % workers and slot / workers, without a division.
#[derive(Clone, Copy)]
struct Owners {
    workers: u32,
    /// 2^64 / workers, rounded up: exact for 32-bit numbers (Lemire, Kaser, Kurz 2019).
    reciprocal: u64,
}

impl Owners {
    fn new(workers: u16) -> Owners {
        let workers = u32::from(workers.max(1));
        Owners { workers, reciprocal: (u64::MAX / u64::from(workers)).wrapping_add(1) }
    }

    #[inline(always)]
    fn of(self, slot: u32) -> (u16, u32) {
        if self.workers == 1 {
            return (0, slot);
        }
        let place = ((u128::from(self.reciprocal) * u128::from(slot)) >> 64) as u32;
        ((slot - place * self.workers) as u16, place)
    }
}

/// SAs of one worker in the slots that their inbound SPIs name: the low bits are the slot, the rest a generation that must
/// match. A place is a slot's index among those of its owner.
pub struct SaTable {
    capacity: u32,
    owners: Owners,
    inbound: Vec<Inbound>,
    outbound: Vec<Outbound>,
    /// The selectors' common case of IPv6, by place.
    selectors6: Vec<FastSelector6>,
    /// How outer packets of IPv6 begin, by place.
    outers6: Vec<outer6::Packed>,
    boxes: Vec<Option<Box<WorkerSa>>>,
    /// Whether any of the SAs installed so far has a key that lies in all their cache lines.
    long_keys: bool,
}

impl SaTable {
    /// An empty table of one worker's share of `capacity` slots, a power of two.
    pub fn new(capacity: u32, workers: u16) -> SaTable {
        let places = capacity.div_ceil(u32::from(workers.max(1))) as usize;
        let mut inbound = Vec::with_capacity(places);
        let mut outbound = Vec::with_capacity(places);
        advise_huge_pages(inbound.spare_capacity_mut());
        advise_huge_pages(outbound.spare_capacity_mut());
        inbound.resize_with(places, Inbound::vacant);
        outbound.resize_with(places, Outbound::vacant);
        let boxes = std::iter::repeat_with(|| None).take(places).collect();
        SaTable {
            capacity,
            owners: Owners::new(workers),
            inbound,
            outbound,
            // Of integers: the kernel gives the memory when it is touched.
            selectors6: vec![fast_selector6::NONE; places],
            outers6: vec![outer6::NONE; places],
            boxes,
            long_keys: false,
        }
    }

    /// The slot that an SPI names.
    #[inline(always)]
    pub fn slot_of(&self, spi: u32) -> u32 {
        slot_of_spi(spi, self.capacity)
    }

    /// The worker that owns the SA with this inbound SPI, and the place where it lies there.
    #[inline(always)]
    pub fn locate(&self, spi: u32) -> (u16, u32) {
        self.owners.of(self.slot_of(spi))
    }

    /// A packet for the SA with this inbound SPI came from its peer: fetches what it will meet.
    #[inline(always)]
    pub fn expect_inbound(&self, spi: u32) {
        if let Some(sa) = self.inbound.get(self.locate(spi).1 as usize) {
            prefetch_lines::<0, GCM_LINES, _>(sa);
            if self.long_keys {
                prefetch_lines::<GCM_LINES, ALL_LINES, _>(sa);
            }
        }
    }

    /// A packet is to leave by the SA with this inbound SPI: fetches what it will meet.
    #[inline(always)]
    pub fn expect_outbound(&self, spi: u32) {
        if let Some(sa) = self.outbound.get(self.locate(spi).1 as usize) {
            prefetch_lines::<0, GCM_LINES, _>(sa);
            if self.long_keys {
                prefetch_lines::<GCM_LINES, ALL_LINES, _>(sa);
            }
        }
    }

    /// The inbound direction of the SA in a place.
    #[inline(always)]
    pub fn inbound(&self, place: u32) -> Option<&Inbound> {
        self.inbound.get(place as usize)
    }

    /// The inbound direction, to be changed.
    #[inline(always)]
    pub fn inbound_mut(&mut self, place: u32) -> Option<&mut Inbound> {
        self.inbound.get_mut(place as usize)
    }

    /// The outbound direction of the SA in a place.
    #[inline(always)]
    pub fn outbound(&self, place: u32) -> Option<&Outbound> {
        self.outbound.get(place as usize)
    }

    /// The outbound direction, to be changed.
    #[inline(always)]
    pub fn outbound_mut(&mut self, place: u32) -> Option<&mut Outbound> {
        self.outbound.get_mut(place as usize)
    }

    fn cold(&self, place: u32) -> Option<&Cold> {
        self.boxes.get(place as usize)?.as_ref().map(|sa| &sa.cold)
    }

    fn cold_mut(&mut self, place: u32) -> Option<&mut Cold> {
        self.boxes.get_mut(place as usize)?.as_mut().map(|sa| &mut sa.cold)
    }

    /// Whether the SA's full list of selectors takes a packet that came from the peer.
    #[cold]
    pub fn selectors_take_inbound(&self, place: u32, flow: &Flow) -> bool {
        self.cold(place).is_some_and(|cold| cold.selectors.allow_inbound(flow))
    }

    /// Whether the SA's full list of selectors takes a packet to the peer.
    #[cold]
    pub fn selectors_take_outbound(&self, place: u32, flow: &Flow) -> bool {
        self.cold(place).is_some_and(|cold| cold.selectors.allow_outbound(flow))
    }

    /// Whether the selectors' common case of the SA in a place takes an IPv6 packet between the peer's `peer` and our side's `local`.
    #[inline]
    pub fn takes6(&self, place: u32, peer: Ipv6Addr, local: Ipv6Addr) -> bool {
        let selector = self.selectors6.get(place as usize);
        selector.is_some_and(|selector| fast_selector6::takes(selector, peer, local))
    }

    /// Our outer address of an SA.
    #[cold]
    pub fn local_outer(&self, place: u32) -> Option<IpAddr> {
        self.cold(place).map(|cold| cold.local_outer)
    }

    /// Whose the SA in a place is.
    #[cold]
    pub fn session_id(&self, place: u32) -> Option<u64> {
        self.cold(place).map(|cold| cold.session_id)
    }

    /// The peer of the SA in a place has a new outer address, and we towards it perhaps as well; both are of one family.
    #[cold]
    pub fn move_peer(&mut self, place: u32, local: IpAddr, peer: IpAddr, encapsulation: Encapsulation) {
        let Some(cold) = self.cold_mut(place) else { return };
        cold.local_outer = local;
        if let Some(inbound) = self.inbound.get_mut(place as usize) {
            inbound.set_peer(peer, encapsulation);
        }
        if let Some(outbound) = self.outbound.get_mut(place as usize) {
            outbound.set_peer(local, peer, encapsulation);
            let outer = outer6_of(local, peer, encapsulation, outbound.spi());
            self.set_outer6(place, outer);
        }
    }

    /// How outer packets of the SA in a place begin, if they are of IPv6.
    #[inline]
    pub fn outer6(&self, place: u32) -> Option<Outer6> {
        self.outers6.get(place as usize).map(Outer6::unpack)
    }

    /// What the path of the SA in a place lets through, of at most `port_mtu` octets. Over IPv4 routers cut what is larger.
    #[cold]
    pub fn path_mtu(&self, place: u32, port_mtu: u16, now_ms: u64) -> u16 {
        let over_ipv6 = self.outbound(place).is_some_and(Outbound::is_over_ipv6);
        let outer = self.outer6(place).filter(|_| over_ipv6);
        outer.map_or(port_mtu, |outer| outer.mtu(port_mtu, now_ms))
    }

    /// A router says how much passes on the path of the SA over IPv6 that has this peer and outbound SPI. `true` if there is such an
    /// SA and it did not know.
    #[cold]
    pub fn learn_path_mtu(&mut self, peer: Ipv6Addr, spi: u32, mtu: u16, port_mtu: u16, now_ms: u64) -> bool {
        let found = (0u32..).zip(&self.outbound).find(|(place, sa)| {
            sa.spi() == spi
                && sa.is_over_ipv6()
                && self.outer6(*place).is_some_and(|outer| outer.peer == peer)
        });
        let Some(place) = found.map(|(place, _)| place) else { return false };
        let Some(mut outer) = self.outer6(place) else { return false };
        let learnt = outer.learn_mtu(mtu, port_mtu, now_ms);
        if learnt && let Some(sa) = self.outbound.get_mut(place as usize) {
            sa.set_path_mtu(outer.mtu(port_mtu, now_ms), port_mtu);
            self.set_outer6(place, Some(outer));
        }
        learnt
    }

    /// Whether the first inbound packet is still to be announced.
    #[cold]
    pub(crate) fn first_inbound(&self, place: u32) -> Option<Notice> {
        self.cold(place)?.lifetime.first_inbound()
    }

    /// Looks at the limits after an inbound packet: a notice that was not announced yet.
    #[cold]
    pub(crate) fn inbound_notice(&mut self, place: u32) -> Option<Notice> {
        let (packets, bytes) = self.inbound(place).map(|sa| (sa.packets, sa.bytes))?;
        let cold = self.cold_mut(place)?;
        let notice = cold.lifetime.after(packets, bytes, false);
        self.spread_end(place);
        notice
    }

    /// Looks at the limits after an outbound packet: a notice that was not announced yet.
    #[cold]
    pub(crate) fn outbound_notice(&mut self, place: u32) -> Option<Notice> {
        let sa = self.outbound(place)?;
        let (packets, bytes, scarce) = (sa.packets, sa.bytes, sa.sequence_is_scarce());
        let cold = self.cold_mut(place)?;
        let notice = cold.lifetime.after(packets, bytes, scarce);
        self.spread_end(place);
        notice
    }

    /// Says for how many packets nobody needs to look at the limits again.
    #[cold]
    pub(crate) fn rest_inbound(&mut self, place: u32) {
        let Some((packets, bytes)) = self.inbound(place).map(|sa| (sa.packets, sa.bytes)) else { return };
        let Some(cold) = self.cold(place) else { return };
        let announced = cold.lifetime.first_inbound().is_none();
        let quiet = if announced { cold.lifetime.quiet_packets(packets, bytes, u64::MAX) } else { 0 };
        if let Some(sa) = self.inbound_mut(place) {
            sa.quiet = quiet;
        }
    }

    /// Says for how many packets nobody needs to look at the limits again.
    #[cold]
    pub(crate) fn rest_outbound(&mut self, place: u32) {
        let Some(sa) = self.outbound(place) else { return };
        let (packets, bytes, until_scarce) = (sa.packets, sa.bytes, sa.packets_until_scarce());
        let Some(cold) = self.cold(place) else { return };
        let quiet = cold.lifetime.quiet_packets(packets, bytes, until_scarce);
        if let Some(sa) = self.outbound_mut(place) {
            sa.quiet = quiet;
        }
    }

    /// The notice is on its way and need not be repeated.
    pub(crate) fn announced(&mut self, place: u32, notice: Notice) {
        if let Some(cold) = self.cold_mut(place) {
            cold.lifetime.announced(notice);
        }
    }

    /// The SA may carry no more packets: its sequence numbers are used up.
    #[cold]
    pub fn end(&mut self, place: u32) {
        if let Some(cold) = self.cold_mut(place) {
            cold.lifetime.end();
        }
        self.spread_end(place);
    }

    fn spread_end(&mut self, place: u32) {
        if self.cold(place).is_some_and(|cold| cold.lifetime.is_over()) {
            if let Some(sa) = self.inbound.get_mut(place as usize) {
                sa.end();
            }
            if let Some(sa) = self.outbound.get_mut(place as usize) {
                sa.end();
            }
        }
    }

    /// The place of the SA that has exactly this inbound SPI. Not for another worker's SPIs.
    #[inline(always)]
    pub fn lookup(&self, spi: u32) -> Option<u32> {
        let place = self.locate(spi).1;
        self.inbound(place).is_some_and(|sa| sa.spi() == spi).then_some(place)
    }

    /// Fetches what [`SaTable::statistics`] reads.
    #[inline(always)]
    pub fn expect_statistics(&self, place: u32) {
        if let (Some(inbound), Some(outbound)) = (self.inbound(place), self.outbound(place)) {
            prefetch(inbound);
            prefetch(outbound);
        }
    }

    /// The slot and the figures of the SA in a place.
    pub fn statistics(&self, place: u32) -> Option<(u32, SaStatistics)> {
        let (inbound, outbound) = (self.inbound(place)?, self.outbound(place)?);
        let statistics = SaStatistics {
            in_packets: inbound.packets,
            in_bytes: inbound.bytes,
            out_packets: outbound.packets,
            out_bytes: outbound.bytes,
            highest_inbound_sequence: inbound.window.top(),
        };
        (inbound.spi != 0).then(|| (self.slot_of(inbound.spi), statistics))
    }

    /// The slot of the SA in a place.
    pub fn slot_at(&self, place: u32) -> Option<u32> {
        self.inbound(place).filter(|sa| sa.spi != 0).map(|sa| self.slot_of(sa.spi))
    }

    /// Puts an SA into its slot; its place.
    ///
    /// # Errors
    /// Gives it back when the slot is in use.
    pub fn insert(&mut self, sa: Box<WorkerSa>) -> Result<u32, Box<WorkerSa>> {
        let place = self.locate(sa.inbound_spi()).1;
        self.long_keys |= sa.has_long_key();
        match self.boxes.get_mut(place as usize) {
            Some(vacant @ None) => *vacant = Some(sa),
            _ => return Err(sa),
        }
        self.exchange(place);
        let selector6 = self.cold(place).map_or(fast_selector6::NONE, |cold| cold.selector6);
        let outer6 = self.cold(place).and_then(|cold| cold.outer6);
        self.set_selector6(place, selector6);
        self.set_outer6(place, outer6);
        Ok(place)
    }

    /// Takes the SA with this inbound SPI out.
    pub fn remove(&mut self, spi: u32) -> Option<Box<WorkerSa>> {
        let place = self.lookup(spi)?;
        self.exchange(place);
        self.set_selector6(place, fast_selector6::NONE);
        self.set_outer6(place, None);
        self.boxes.get_mut(place as usize)?.take()
    }

    /// Memory that holds nothing already is not touched.
    fn set_selector6(&mut self, place: u32, selector: FastSelector6) {
        if let Some(there) = self.selectors6.get_mut(place as usize)
            && *there != selector
        {
            *there = selector;
        }
    }

    fn set_outer6(&mut self, place: u32, outer: Option<Outer6>) {
        let packed = outer.map_or(outer6::NONE, |outer| outer.pack());
        if let Some(there) = self.outers6.get_mut(place as usize)
            && *there != packed
        {
            *there = packed;
        }
    }

    /// Exchanges the hot parts of the table and of the box.
    fn exchange(&mut self, place: u32) {
        let place = place as usize;
        let Some(Some(sa)) = self.boxes.get_mut(place) else { return };
        if let (Some(inbound), Some(outbound)) = (self.inbound.get_mut(place), self.outbound.get_mut(place)) {
            std::mem::swap(inbound, &mut sa.inbound);
            std::mem::swap(outbound, &mut sa.outbound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn owners_are_remainders_and_places_quotients(workers in 1u16..=1024, slot in 0u32..1 << 20) {
            let expected = ((slot % u32::from(workers)) as u16, slot / u32::from(workers));
            prop_assert_eq!(Owners::new(workers).of(slot), expected);
        }
    }
}
