//! Fragments of IP packets put together again: a table of fixed size, without allocation, clock or address family.
//!
//! Enters: [`Fragment`]s of either family, and the time. Leaves: the payload of a whole packet, or why a fragment was refused. RFC 791
//! §3.2, RFC 8200 §4.5 and RFC 5722: a packet whose fragments overlap is refused whole, with those that follow; a fragment that repeats
//! octets which are there already is no harm. RFC 3168 §5.3: congestion marks are merged.
//!
//! Strangers send fragments, so nothing of theirs is kept but octets in places that are there from the start: a receive buffer is
//! free again at once. Packets that do not become whole leave after [`TIMEOUT_MS`], or earlier when their set of places is full.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use crate::wire::MAX_DATAGRAM;

/// How long a packet may take to become whole, milliseconds: RFC 791's lower bound, because an identification of 16 bits returns
/// early.
pub const TIMEOUT_MS: u64 = 15_000;
/// Longest payload that is put together, octets: the longest IKE message, its marker and UDP header.
pub const MAX_PAYLOAD: usize = (MAX_DATAGRAM + 12).next_multiple_of(UNIT);
/// Packets of one set. A fragment's key names its set, so that a look-up never walks the table.
const WAYS: usize = 8;
/// Sets of the table.
const SETS: usize = 32;
/// Packets that can be in pieces at once.
pub const PACKETS: usize = SETS * WAYS;
/// What fragment offsets count in, octets.
const UNIT: usize = 8;
/// Units of a payload, in words of 64.
const WORDS: usize = MAX_PAYLOAD.div_ceil(UNIT).div_ceil(64);

const ECN_MASK: u8 = 3;
const ECN_NOT_CAPABLE: u8 = 1 << 0;
const ECN_CE: u8 = 1 << 3;

/// What fragments of one packet share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The sender.
    pub source: IpAddr,
    /// Our address.
    pub destination: IpAddr,
    /// Of the payload. (RFC 8200 leaves it out for IPv6: give 0 there.)
    pub protocol: u8,
    /// 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
}

impl Key {
    /// One of `count` that is the same for all fragments of a packet, wherever they come in.
    pub fn spread(&self, count: u16) -> u16 {
        let fold = |address: IpAddr| match address {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64 ^ address.to_bits() as u64,
        };
        // 2^64 divided by the golden ratio (Knuth, Fibonacci hashing).
        let mixed =
            (fold(self.source) ^ u64::from(self.identification) << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 32) % u64::from(count.max(1))) as u16
    }
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Which packet it is of.
    pub key: Key,
    /// Where its payload begins in the packet's, octets.
    pub offset: usize,
    /// Whether more follow.
    pub more: bool,
    /// TOS or traffic class.
    pub tos: u8,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What became of a fragment.
#[derive(PartialEq, Eq, Debug)]
pub enum Outcome<'a> {
    /// It is kept, or was there already.
    Held,
    /// It was the last one missing.
    Whole {
        /// The packet's payload.
        payload: &'a [u8],
        /// The first fragment's, with the others' congestion mark.
        tos: u8,
    },
    /// It is not taken.
    Refused {
        /// Why.
        why: Refusal,
        /// Fragments taken before it that are lost with it.
        lost: u32,
    },
}

/// Why a fragment is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Empty, of a length that fits no fragment, beyond the packet's end, or marked in a way that no router marks.
    Malformed,
    /// The packet is longer than [`MAX_PAYLOAD`].
    TooLong,
    /// It claims octets that another one has said otherwise, or is of a packet that was refused for that.
    Overlap,
}

/// Fragments of packets that never became whole, since [`Reassembly::take_lost`] was called last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lost {
    /// Because the others did not come in time.
    pub late: u32,
    /// Because newer packets needed their place.
    pub displaced: u32,
}

/// The table.
pub struct Reassembly {
    hash: RandomState,
    packets: Box<[Packet]>,
    /// The payloads, [`MAX_PAYLOAD`] octets for each packet. A page is taken from the system when it is used first.
    room: Box<[u8]>,
    /// Places in use.
    held: usize,
    lost: Lost,
}

#[derive(Clone)]
struct Packet {
    /// `None`: the place is free.
    key: Option<Key>,
    since_ms: u64,
    /// Fragments taken.
    taken: u32,
    /// Octets of the whole payload, once the last fragment is there.
    whole: Option<usize>,
    /// End of the furthest fragment.
    reach: usize,
    tos: u8,
    /// A bit for each ECN field seen.
    marks: u8,
    /// Fragments overlapped: all that come are refused.
    refused: bool,
    /// A bit for each unit that is there.
    there: [u64; WORDS],
}

impl Default for Reassembly {
    fn default() -> Reassembly {
        Reassembly {
            hash: RandomState::new(),
            packets: vec![Packet::free(); PACKETS].into(),
            room: vec![0; PACKETS * MAX_PAYLOAD].into(),
            held: 0,
            lost: Lost::default(),
        }
    }
}

impl Reassembly {
    /// Takes a fragment that came at `now_ms` of any clock that does not run backwards.
    pub fn take(&mut self, fragment: &Fragment<'_>, now_ms: u64) -> Outcome<'_> {
        if let Err(why) = fragment.check() {
            return Outcome::Refused { why, lost: 0 };
        }
        let place = self.place(&fragment.key, now_ms);
        let room = place * MAX_PAYLOAD;
        let (Some(packet), Some(room)) =
            (self.packets.get_mut(place), self.room.get_mut(room..room + MAX_PAYLOAD))
        else {
            return Outcome::Refused { why: Refusal::TooLong, lost: 0 };
        };
        if packet.key.is_none() {
            *packet = Packet { key: Some(fragment.key), since_ms: now_ms, ..Packet::free() };
            self.held += 1;
        }
        match packet.add(fragment, room) {
            Ok(None) => Outcome::Held,
            Ok(Some(len)) => {
                let tos = packet.merged_tos();
                let taken = packet.leave(&mut self.held);
                match (tos, room.get(..len)) {
                    (Some(tos), Some(payload)) => Outcome::Whole { payload, tos },
                    _ => Outcome::Refused { why: Refusal::Malformed, lost: taken.saturating_sub(1) },
                }
            }
            Err(why) => {
                packet.refused = true;
                Outcome::Refused { why, lost: std::mem::take(&mut packet.taken) }
            }
        }
    }

    /// Frees what has waited too long.
    pub fn expire(&mut self, now_ms: u64) {
        if self.held > 0 {
            let late = self.packets.iter_mut().filter(|packet| packet.is_over(now_ms));
            late.for_each(|packet| self.lost.late += packet.leave(&mut self.held));
        }
    }

    /// What was lost since the last call.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// Packets in pieces.
    pub fn waiting(&self) -> usize {
        self.held
    }

    /// Where a packet is, or can be: a free place of its set, else the oldest one's.
    fn place(&mut self, key: &Key, now_ms: u64) -> usize {
        let set = (self.hash.hash_one(key) % SETS as u64) as usize * WAYS;
        let Some(packets) = self.packets.get_mut(set..set + WAYS) else { return set };
        let late = packets.iter_mut().filter(|packet| packet.is_over(now_ms));
        late.for_each(|packet| self.lost.late += packet.leave(&mut self.held));
        let found = packets.iter().position(|packet| packet.key.as_ref() == Some(key));
        if let Some(way) = found.or_else(|| packets.iter().position(|packet| packet.key.is_none())) {
            return set + way;
        }
        let oldest = packets.iter().enumerate().min_by_key(|(_, packet)| packet.since_ms);
        let oldest = oldest.map_or(0, |(way, _)| way);
        if let Some(packet) = packets.get_mut(oldest) {
            self.lost.displaced += packet.leave(&mut self.held);
        }
        set + oldest
    }
}

impl Fragment<'_> {
    fn end(&self) -> usize {
        self.offset.saturating_add(self.payload.len())
    }

    fn check(&self) -> Result<(), Refusal> {
        let len = self.payload.len();
        if len == 0 || !self.offset.is_multiple_of(UNIT) || (self.more && !len.is_multiple_of(UNIT)) {
            return Err(Refusal::Malformed);
        }
        if self.end() > MAX_PAYLOAD {
            return Err(Refusal::TooLong);
        }
        Ok(())
    }
}

impl Packet {
    fn free() -> Packet {
        Packet {
            key: None,
            since_ms: 0,
            taken: 0,
            whole: None,
            reach: 0,
            tos: 0,
            marks: 0,
            refused: false,
            there: [0; WORDS],
        }
    }

    /// Frees the place; the fragments that were in it.
    fn leave(&mut self, held: &mut usize) -> u32 {
        *held = held.saturating_sub(1);
        std::mem::replace(self, Packet::free()).taken
    }

    fn is_over(&self, now_ms: u64) -> bool {
        self.key.is_some() && now_ms.saturating_sub(self.since_ms) >= TIMEOUT_MS
    }

    /// Adds a checked fragment; the length of the whole payload, if it was the last one missing.
    fn add(&mut self, fragment: &Fragment<'_>, room: &mut [u8]) -> Result<Option<usize>, Refusal> {
        if self.refused {
            return Err(Refusal::Overlap);
        }
        let end = fragment.end();
        let beyond = self.whole.is_some_and(|whole| end > whole || (!fragment.more && end != whole));
        if beyond || (!fragment.more && end < self.reach) {
            return Err(Refusal::Malformed);
        }
        let place = room.get_mut(fragment.offset..end).ok_or(Refusal::TooLong)?;
        let units = fragment.offset / UNIT..end.div_ceil(UNIT);
        let there = units.clone().filter(|unit| self.has(*unit)).count();
        if there == 0 {
            place.copy_from_slice(fragment.payload);
            units.for_each(|unit| self.set(unit));
        } else if there < units.len() || place != fragment.payload {
            return Err(Refusal::Overlap);
        }
        self.taken = self.taken.saturating_add(1);
        self.marks |= 1 << (fragment.tos & ECN_MASK);
        self.reach = self.reach.max(end);
        if fragment.offset == 0 {
            self.tos = fragment.tos;
        }
        if !fragment.more {
            self.whole = Some(end);
        }
        Ok(self.whole.filter(|whole| self.count() == whole.div_ceil(UNIT)))
    }

    /// RFC 3168 §5.3: a mark on any fragment is a mark on the packet; a mark beside a fragment that can bear none is a forgery.
    fn merged_tos(&self) -> Option<u8> {
        let marked = self.marks & ECN_CE != 0;
        if marked && self.marks & ECN_NOT_CAPABLE != 0 {
            return None;
        }
        Some(if marked { self.tos | ECN_MASK } else { self.tos })
    }

    fn has(&self, unit: usize) -> bool {
        self.there.get(unit / 64).is_some_and(|word| word >> (unit % 64) & 1 != 0)
    }

    fn set(&mut self, unit: usize) {
        if let Some(word) = self.there.get_mut(unit / 64) {
            *word |= 1 << (unit % 64);
        }
    }

    fn count(&self) -> usize {
        self.there.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn key(identification: u32) -> Key {
        let (source, destination) = (Ipv4Addr::new(192, 0, 2, 7).into(), Ipv4Addr::new(192, 0, 2, 1).into());
        Key { source, destination, protocol: 17, identification }
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    /// `text` in pieces of at most `size` octets.
    fn pieces(text: &[u8], size: usize, identification: u32) -> Vec<Fragment<'_>> {
        let count = text.len().div_ceil(size);
        let piece = |(index, payload)| Fragment {
            key: key(identification),
            offset: index * size,
            more: index + 1 < count,
            tos: 0,
            payload,
        };
        text.chunks(size).enumerate().map(piece).collect()
    }

    fn whole(outcome: Outcome<'_>) -> Option<Vec<u8>> {
        match outcome {
            Outcome::Whole { payload, .. } => Some(payload.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn pieces_in_any_order_become_the_packet_and_leave_nothing() {
        let mut table = Reassembly::default();
        for (len, size) in [(20, 8), (3000, 1480), (4321, 552), (MAX_PAYLOAD, 64), (MAX_PAYLOAD - 3, 1232)] {
            let text = text(len);
            let pieces = pieces(&text, size, 9);
            for turn in 0..pieces.len().min(9) {
                let mut pieces = pieces.clone();
                pieces.rotate_left(turn);
                if turn % 2 == 1 {
                    pieces.reverse();
                }
                let (last, first) = pieces.split_last().unwrap();
                assert!(first.iter().all(|piece| table.take(piece, 0) == Outcome::Held));
                assert_eq!(whole(table.take(last, 0)), Some(text.clone()), "{len} in pieces of {size}");
                assert_eq!((table.waiting(), table.take_lost()), (0, Lost::default()));
            }
        }
    }

    #[test]
    fn what_differs_in_its_key_is_another_packet() {
        let text = text(16);
        let mut table = Reassembly::default();
        let v6 = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        let keys = [
            key(1),
            key(2),
            Key { protocol: 50, ..key(1) },
            Key { source: Ipv4Addr::new(192, 0, 2, 8).into(), ..key(1) },
            Key { source: v6(1), destination: v6(2), ..key(1) },
            Key { source: v6(1), destination: v6(3), ..key(1) },
        ];
        let of = |key, index| Fragment { key, ..pieces(&text, 8, 0)[index] };
        for key in keys {
            assert_eq!(table.take(&of(key, 1), 0), Outcome::Held);
        }
        for key in keys {
            assert_eq!(whole(table.take(&of(key, 0), 0)), Some(text.clone()), "{key:?}");
            assert!(key.spread(3) < 3 && key.spread(0) == 0);
        }
    }

    #[test]
    fn repeated_pieces_do_no_harm_and_overlapping_ones_end_the_packet() {
        let (text, other) = (text(48), vec![0xee; 48]);
        let piece = |text, offset, len, more| {
            let payload: &[u8] = text;
            Fragment { key: key(5), offset, more, tos: 0, payload: &payload[offset..offset + len] }
        };
        let overlaps = [
            piece(&other, 16, 8, true),
            piece(&other, 8, 16, true),
            piece(&text, 8, 16, true),
            piece(&other, 16, 16, true),
            piece(&text, 24, 16, true),
        ];
        for overlap in overlaps {
            let mut table = Reassembly::default();
            assert_eq!(table.take(&piece(&text, 16, 16, true), 0), Outcome::Held);
            assert_eq!(table.take(&piece(&text, 16, 16, true), 1), Outcome::Held);
            let refused = |lost| Outcome::Refused { why: Refusal::Overlap, lost };
            assert_eq!(table.take(&overlap, 2), refused(2));
            for later in [piece(&text, 0, 16, true), piece(&text, 32, 16, false)] {
                assert_eq!(table.take(&later, 3), refused(0));
            }
            table.expire(TIMEOUT_MS);
            assert_eq!((table.waiting(), table.take_lost()), (0, Lost::default()));
        }
    }

    #[test]
    fn ends_that_contradict_each_other_end_the_packet() {
        let text = text(40);
        let piece = |offset, len, more| Fragment {
            key: key(5),
            offset,
            more,
            tos: 0,
            payload: &text[offset..offset + len],
        };
        for (first, second) in [
            (piece(16, 5, false), piece(24, 8, true)),
            (piece(24, 8, true), piece(16, 5, false)),
            (piece(16, 5, false), piece(16, 4, false)),
            (piece(16, 5, false), piece(8, 16, true)),
        ] {
            let mut table = Reassembly::default();
            assert_eq!(table.take(&first, 0), Outcome::Held);
            let refused = Outcome::Refused { why: Refusal::Malformed, lost: 1 };
            assert_eq!(table.take(&second, 0), refused, "{first:?} {second:?}");
        }
    }

    #[test]
    fn what_fits_no_fragment_takes_no_place() {
        let text = text(64);
        let fragment =
            |offset, len: usize, more| Fragment { key: key(5), offset, more, tos: 0, payload: &text[..len] };
        let mut table = Reassembly::default();
        for (fragment, why) in [
            (fragment(0, 0, true), Refusal::Malformed),
            (fragment(8, 0, false), Refusal::Malformed),
            (fragment(0, 12, true), Refusal::Malformed),
            (fragment(4, 8, false), Refusal::Malformed),
            (fragment(MAX_PAYLOAD, 1, false), Refusal::TooLong),
            (fragment(65_528, 64, false), Refusal::TooLong),
            (fragment(usize::MAX - 7, 8, false), Refusal::TooLong),
        ] {
            assert_eq!(table.take(&fragment, 0), Outcome::Refused { why, lost: 0 }, "{fragment:?}");
        }
        assert_eq!(table.waiting(), 0);
    }

    #[test]
    fn a_flood_displaces_the_oldest_and_time_takes_the_rest() {
        let text = text(16);
        let mut table = Reassembly::default();
        let flood = 4 * PACKETS as u32;
        for identification in 0..flood {
            assert_eq!(
                table.take(&pieces(&text, 8, identification)[0], u64::from(identification)),
                Outcome::Held
            );
        }
        let displaced = table.take_lost().displaced;
        assert_eq!(table.waiting(), flood as usize - displaced as usize);
        assert!(table.waiting() <= PACKETS && table.waiting() > PACKETS / 2);
        let now = u64::from(flood);
        assert_eq!(whole(table.take(&pieces(&text, 8, flood - 1)[1], now)), Some(text.clone()));
        let left = table.waiting();
        table.expire(now + TIMEOUT_MS);
        assert_eq!((table.waiting(), table.take_lost().late), (0, left as u32));
        // Without a walk, too: the other half of a packet that is over begins another one.
        assert_eq!(table.take(&pieces(&text, 8, 1)[0], now), Outcome::Held);
        assert_eq!(table.take(&pieces(&text, 8, 1)[1], now + TIMEOUT_MS), Outcome::Held);
        assert_eq!(table.take_lost().late, 1);
    }

    #[test]
    fn congestion_marks_are_merged() {
        let text = text(16);
        for (first, second, merged) in [
            (0b1011_1000, 0b1011_1000, Some(0b1011_1000)),
            (0b1010, 0b1011, Some(0b1011)),
            (0b1011, 0b1010, Some(0b1011)),
            (0b1001, 0b1010, Some(0b1001)),
            (0b0000, 0b0011, None),
        ] {
            let mut table = Reassembly::default();
            let [one, two] = pieces(&text, 8, 1)[..] else { panic!() };
            table.take(&Fragment { tos: second, ..two }, 0);
            let outcome = table.take(&Fragment { tos: first, ..one }, 0);
            match merged {
                Some(merged) => assert!(matches!(outcome, Outcome::Whole { tos, .. } if tos == merged)),
                None => assert_eq!(outcome, Outcome::Refused { why: Refusal::Malformed, lost: 1 }),
            }
        }
    }

    proptest! {
        /// Whatever comes, a packet that becomes whole is one that a slow and plain account of the octets allows.
        #[test]
        fn it_agrees_with_an_account_octet_by_octet(
            fragments in prop::collection::vec((0..4_u32, 0..8_usize, 1..33_usize, any::<bool>(), 0..2_u8), 1..60)
        ) {
            let mut table = Reassembly::default();
            let mut accounts: [Account; 4] = Default::default();
            for (identification, unit, len, more, fill) in fragments {
                let payload = vec![fill; len];
                let fragment =
                    Fragment { key: key(identification), offset: unit * 8, more, tos: 0, payload: &payload };
                let expected = accounts[identification as usize].take(&fragment);
                prop_assert_eq!(whole(table.take(&fragment, 0)), expected);
            }
        }
    }

    /// A packet as a list of octets, each said or not.
    #[derive(Default)]
    struct Account {
        octets: Vec<Option<u8>>,
        end: Option<usize>,
        over: bool,
    }

    impl Account {
        fn take(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
            let (from, len) = (fragment.offset, fragment.payload.len());
            if len == 0 || (fragment.more && len % 8 != 0) {
                return None;
            }
            let end = from + len;
            self.octets.resize(self.octets.len().max(end), None);
            let said = self.octets[from..end].iter().filter(|octet| octet.is_some()).count();
            let same =
                self.octets[from..end].iter().zip(fragment.payload).all(|(old, new)| *old == Some(*new));
            let past = self.octets.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
            self.over |= said > 0 && !same;
            self.over |= self.end.is_some_and(|known| end > known || (!fragment.more && end != known));
            self.over |= !fragment.more && past > end;
            if self.over {
                return None;
            }
            self.octets[from..end]
                .iter_mut()
                .zip(fragment.payload)
                .for_each(|(to, octet)| *to = Some(*octet));
            self.end = if fragment.more { self.end } else { Some(end) };
            let whole: Option<Vec<u8>> = self.octets.get(..self.end?)?.iter().copied().collect();
            if whole.is_some() {
                *self = Account::default();
            }
            whole
        }
    }
}
