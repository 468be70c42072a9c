//! Cisco's fragments: pieces of a whole encrypted message, each in a datagram of its own behind a clear payload 132.
//!
//! Enters: datagrams that claim to be pieces of a message of a known IKE SA. Leaves: the datagram that they were cut
//! from. Nothing of it is authenticated before the whole is opened, so every table here has a bound and a lifetime, and
//! pieces of different sources never meet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::api::Datagram;
use crate::time::Instant;
use crate::wire::{HEADER_LEN, Header};

/// Type of the payload that holds a piece.
const FRAGMENT_PAYLOAD: u8 = 132;
/// Where an IKE header has the type of the first payload.
const NEXT_PAYLOAD_OFFSET: usize = 16;
/// Generic payload header, fragment ID, number, flags.
const FRAGMENT_HEADER_LEN: usize = 8;
/// This piece is the last one.
const FLAG_LAST: u8 = 1;

/// Most pieces of one message.
pub const MAX_CISCO_FRAGMENTS: u8 = 32;
/// Most octets of one message.
pub const MAX_CISCO_MESSAGE: usize = 65_507;
/// Most messages of one source that are being put together.
pub const MAX_SETS_PER_SOURCE: usize = 8;
/// Most octets of all pieces that wait.
pub const MAX_WAITING_OCTETS: usize = 4 << 20;
/// Milliseconds for which pieces wait for the others.
pub const SET_LIFETIME_MS: u64 = 5_000;

/// Messages being put together, of all IKE SAs.
#[derive(Default)]
pub struct CiscoFragments {
    sets: BTreeMap<Key, Set>,
    octets: usize,
}

/// Pieces with the same key belong together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    source: (IpAddr, u16),
    local_spi: u64,
    is_response: bool,
    message_id: u32,
    fragment_id: u16,
}

struct Set {
    until: Instant,
    pieces: BTreeMap<u8, Vec<u8>>,
    /// Number of the last piece, once it is there.
    last: Option<u8>,
}

/// What a piece led to.
#[derive(PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was the last one missing: the datagram that was cut.
    Whole(Vec<u8>),
    /// Others are missing.
    Held,
    /// It is malformed, contradicts the others, or passes a bound.
    Dropped,
}

/// Whether a datagram holds a piece.
pub fn is_cisco_fragment(datagram: &[u8]) -> bool {
    datagram.get(NEXT_PAYLOAD_OFFSET) == Some(&FRAGMENT_PAYLOAD)
}

/// Cuts a message into datagrams of at most `room` octets; `None` when that takes more than [`MAX_CISCO_FRAGMENTS`].
pub fn cut(whole: &[u8], fragment_id: u16, room: usize) -> Option<Vec<Vec<u8>>> {
    let header = whole.first_chunk::<HEADER_LEN>()?;
    let piece_len = room.checked_sub(HEADER_LEN + FRAGMENT_HEADER_LEN).filter(|octets| *octets > 0)?;
    let count = u8::try_from(whole.len().div_ceil(piece_len)).ok().filter(|n| *n <= MAX_CISCO_FRAGMENTS)?;
    let datagram = |(number, piece): (u8, &[u8])| {
        let payload_len = FRAGMENT_HEADER_LEN + piece.len();
        let mut out = Vec::with_capacity(HEADER_LEN + payload_len);
        // The outer header is the message's own, but for first payload and length.
        out.extend(header.iter().take(NEXT_PAYLOAD_OFFSET));
        out.push(FRAGMENT_PAYLOAD);
        out.extend(header.iter().take(HEADER_LEN - 4).skip(NEXT_PAYLOAD_OFFSET + 1));
        out.extend_from_slice(&u32::try_from(HEADER_LEN + payload_len).ok()?.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u16::try_from(payload_len).ok()?.to_be_bytes());
        out.extend_from_slice(&fragment_id.to_be_bytes());
        out.extend_from_slice(&[number, if number == count { FLAG_LAST } else { 0 }]);
        out.extend_from_slice(piece);
        Some(out)
    };
    (1..=count).zip(whole.chunks(piece_len)).map(datagram).collect()
}

impl CiscoFragments {
    /// Takes a piece for the IKE SA with this SPI of ours.
    pub fn push(&mut self, now: Instant, local_spi: u64, datagram: &Datagram) -> Pushed {
        self.expire(now);
        let Some((outer, fragment_id, number, is_last, piece)) = parse(&datagram.bytes) else {
            return Pushed::Dropped;
        };
        let source = (datagram.peer, datagram.peer_port);
        let (is_response, message_id) = (outer.is_response, outer.message_id);
        let key = Key { source, local_spi, is_response, message_id, fragment_id };
        let begun = self.sets.contains_key(&key);
        let of_source = || self.sets.keys().filter(|other| other.source == source).count();
        let room = self.octets.saturating_add(piece.len()) <= MAX_WAITING_OCTETS;
        if !room || (!begun && of_source() >= MAX_SETS_PER_SOURCE) {
            return Pushed::Dropped;
        }
        let set = self.sets.entry(key.clone()).or_insert_with(|| Set {
            until: now.plus_millis(SET_LIFETIME_MS),
            pieces: BTreeMap::new(),
            last: None,
        });
        let fits = set.last.is_none_or(|last| number <= last && !is_last)
            && (!is_last || set.pieces.keys().all(|held| *held < number))
            && !set.pieces.contains_key(&number)
            && set.octets().saturating_add(piece.len()) <= MAX_CISCO_MESSAGE;
        if !fits {
            return Pushed::Dropped;
        }
        if is_last {
            set.last = Some(number);
        }
        set.pieces.insert(number, piece.to_vec());
        self.octets = self.octets.saturating_add(piece.len());
        if set.last.map(usize::from) != Some(set.pieces.len()) {
            return Pushed::Held;
        }
        let Some(set) = self.sets.remove(&key) else { return Pushed::Dropped };
        self.octets = self.octets.saturating_sub(set.octets());
        let whole = set.pieces.into_values().flatten().collect::<Vec<u8>>();
        // What comes out must be what was announced outside, and no piece again.
        let inner = Header::parse(&whole).ok().filter(|inner| *inner == outer && !is_cisco_fragment(&whole));
        if inner.is_some() { Pushed::Whole(whole) } else { Pushed::Dropped }
    }

    fn expire(&mut self, now: Instant) {
        let mut gone = 0;
        self.sets.retain(|_, set| {
            let stays = set.until > now;
            gone += if stays { 0 } else { set.octets() };
            stays
        });
        self.octets = self.octets.saturating_sub(gone);
    }
}

impl Set {
    fn octets(&self) -> usize {
        self.pieces.values().map(Vec::len).sum()
    }
}

/// Header, fragment ID, number, whether it is the last, and the piece.
fn parse(datagram: &[u8]) -> Option<(Header, u16, u8, bool, &[u8])> {
    let header = Header::parse(datagram).ok()?;
    let payload = datagram.get(HEADER_LEN..)?;
    let ([next, _, l0, l1, i0, i1, number, flags], piece) = payload.split_first_chunk()?;
    let length_fits = usize::from(u16::from_be_bytes([*l0, *l1])) == payload.len();
    let number_fits = (1..=MAX_CISCO_FRAGMENTS).contains(number);
    let fits = *next == 0 && length_fits && number_fits && !piece.is_empty();
    fits.then(|| (header, u16::from_be_bytes([*i0, *i1]), *number, flags & FLAG_LAST != 0, piece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{ExchangeType, IkeSpi, Message, Payload};

    fn message(octets: usize) -> Vec<u8> {
        let header = Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IkeAuth, true, false, 1);
        Message::new(header, vec![Payload::Vendor(vec![0x5a; octets])]).emit_clear().unwrap()
    }

    fn from(port: u16, bytes: Vec<u8>) -> Datagram {
        let [local, peer] = ["192.0.2.1", "198.51.100.7"].map(|address| address.parse().unwrap());
        Datagram { local, local_port: 4500, peer, peer_port: port, bytes }
    }

    const NOW: Instant = Instant::from_millis(1);

    /// Two pieces of 1200 and 300 octets with ID 7.
    #[test]
    fn headers_are_those_of_the_format() {
        let whole = message(1500 - HEADER_LEN - 4);
        let pieces = cut(&whole, 7, HEADER_LEN + FRAGMENT_HEADER_LEN + 1200).unwrap();
        let header = |at: usize| &pieces[at][HEADER_LEN..HEADER_LEN + FRAGMENT_HEADER_LEN];
        assert_eq!(header(0), [0, 0, 0x04, 0xb8, 0, 7, 1, 0]);
        assert_eq!(header(1), [0, 0, 0x01, 0x34, 0, 7, 2, 1]);
        assert_eq!(pieces.len(), 2);
        assert!(pieces.iter().all(|piece| is_cisco_fragment(piece)));
        assert!(!is_cisco_fragment(&whole));
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_message_again(octets in 1usize..9000, room in 400usize..1500, seed: u64) {
            let whole = message(octets);
            let mut pieces = cut(&whole, 9, room).unwrap();
            prop_assert!(pieces.iter().all(|piece| piece.len() <= room));
            let turn = (seed % pieces.len() as u64) as usize;
            pieces.rotate_left(turn);
            let mut store = CiscoFragments::default();
            let last = pieces.pop().unwrap();
            for piece in pieces {
                prop_assert_eq!(store.push(NOW, 2, &from(4500, piece.clone())), Pushed::Held);
                prop_assert_eq!(store.push(NOW, 2, &from(4500, piece)), Pushed::Dropped, "a second time");
            }
            prop_assert_eq!(store.push(NOW, 2, &from(4500, last)), Pushed::Whole(whole));
            prop_assert_eq!((store.octets, store.sets.len()), (0, 0));
        }

        #[test]
        fn arbitrary_octets_are_dropped_or_held(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut store = CiscoFragments::default();
            prop_assert_ne!(store.push(NOW, 2, &from(1, bytes.clone())), Pushed::Whole(bytes));
        }
    }

    #[test]
    fn pieces_of_different_sources_sas_and_times_never_meet() {
        let pieces = cut(&message(900), 1, 600).unwrap();
        let [first, second] = [pieces[0].clone(), pieces[1].clone()];
        let mut store = CiscoFragments::default();
        assert_eq!(store.push(NOW, 2, &from(1, first)), Pushed::Held);
        assert_eq!(store.push(NOW, 2, &from(2, second.clone())), Pushed::Held);
        assert_eq!(store.push(NOW, 3, &from(1, second.clone())), Pushed::Held);
        let late = NOW.plus_millis(SET_LIFETIME_MS);
        assert_eq!(store.push(late, 2, &from(1, second)), Pushed::Held);
        assert_eq!(store.sets.len(), 1, "the others have expired");
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(cut(&message(40_000), 1, 600), None);
        let mut store = CiscoFragments::default();
        for id in 0..MAX_SETS_PER_SOURCE as u16 {
            let piece = cut(&message(900), id, 600).unwrap().remove(0);
            assert_eq!(store.push(NOW, 2, &from(1, piece)), Pushed::Held);
        }
        let piece = || cut(&message(900), 99, 600).unwrap().remove(0);
        assert_eq!(store.push(NOW, 2, &from(1, piece())), Pushed::Dropped);
        assert_eq!(store.push(NOW, 2, &from(2, piece())), Pushed::Held);
        store.octets = MAX_WAITING_OCTETS;
        assert_eq!(store.push(NOW, 2, &from(3, piece())), Pushed::Dropped);
    }

    #[test]
    fn contradictions_are_dropped() {
        let pieces = cut(&message(1500), 1, 600).unwrap();
        assert_eq!(pieces.len(), 3);
        let with = |at: usize, offset: usize, octet: u8| {
            let mut piece = pieces[at].clone();
            piece[HEADER_LEN + offset] = octet;
            from(1, piece)
        };
        for (name, bad) in [
            ("number 0", with(0, 6, 0)),
            ("number 33", with(0, 6, 33)),
            ("length", with(0, 3, 1)),
            ("another payload follows", with(0, 0, 43)),
        ] {
            assert_eq!(CiscoFragments::default().push(NOW, 2, &bad), Pushed::Dropped, "{name}");
        }
        let mut store = CiscoFragments::default();
        assert_eq!(store.push(NOW, 2, &from(1, pieces[2].clone())), Pushed::Held);
        assert_eq!(store.push(NOW, 2, &with(0, 6, 4)), Pushed::Dropped, "behind the last");
        assert_eq!(store.push(NOW, 2, &with(1, 7, FLAG_LAST)), Pushed::Dropped, "a second last");
        // The outer headers agree with each other, but not with the message inside.
        let mut store = CiscoFragments::default();
        let mut outcome = Pushed::Held;
        for piece in &pieces {
            let mut piece = piece.clone();
            piece[23] = 9;
            outcome = store.push(NOW, 2, &from(1, piece));
        }
        assert_eq!(outcome, Pushed::Dropped);
    }
}
