//! Flags, Message Length and fragments of TLS-based methods (RFC 5216 §2.1.5, §3.1; RFC 5281 §9.1).
//!
//! Enters: Type-Data of one EAP packet. Leaves: whole flights of TLS records, and the Type-Data that carries ours. A flight is
//! bounded by [`MAX_FLIGHT_OCTETS`]; each side acknowledges every fragment but the last with an empty packet.

/// Octets of the longest flight that is put together. RFC 5216 §2.1.5 asks for a bound of this kind.
pub const MAX_FLIGHT_OCTETS: usize = 65_536;
/// Octets of TLS in one packet of ours: with the headers of EAP and IKE it fits the smallest fragments that IKE makes.
pub const FRAGMENT_OCTETS: usize = 1024;

const LENGTH_INCLUDED: u8 = 0x80;
const MORE_FRAGMENTS: u8 = 0x40;
const START: u8 = 0x20;
const VERSION_MASK: u8 = 0x07;
const LENGTH_OCTETS: usize = 4;

/// One packet of a TLS-based method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsPacket<'a> {
    /// The server begins.
    pub start: bool,
    /// Another fragment follows.
    pub more: bool,
    /// Version of TTLS or PEAP; 0 in EAP-TLS, where the bits are reserved.
    pub version: u8,
    /// Octets of the whole flight.
    pub flight_octets: Option<u32>,
    /// Octets of TLS records.
    pub data: &'a [u8],
}

impl<'a> TlsPacket<'a> {
    /// Reads Type-Data. `None`: no flags, or a Message Length cut short. Reserved flags are ignored (RFC 5216 §3.1).
    pub fn decode(data: &'a [u8]) -> Option<TlsPacket<'a>> {
        let (&flags, mut rest) = data.split_first()?;
        let mut flight_octets = None;
        if flags & LENGTH_INCLUDED != 0 {
            let (length, data) = rest.split_first_chunk::<LENGTH_OCTETS>()?;
            (flight_octets, rest) = (Some(u32::from_be_bytes(*length)), data);
        }
        Some(TlsPacket {
            start: flags & START != 0,
            more: flags & MORE_FRAGMENTS != 0,
            version: flags & VERSION_MASK,
            flight_octets,
            data: rest,
        })
    }

    /// Writes Type-Data.
    pub fn encode(&self) -> Vec<u8> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.flight_octets.is_some(), LENGTH_INCLUDED)
            | flag(self.more, MORE_FRAGMENTS)
            | flag(self.start, START)
            | (self.version & VERSION_MASK);
        let mut out = vec![flags];
        out.extend(self.flight_octets.into_iter().flat_map(u32::to_be_bytes));
        out.extend_from_slice(self.data);
        out
    }

    /// Whether it says nothing but that the last packet arrived.
    pub fn is_acknowledgement(&self) -> bool {
        self.data.is_empty() && !self.more && !self.start
    }
}

/// The start of a method, version 0.
pub(crate) fn start() -> Vec<u8> {
    TlsPacket { start: true, more: false, version: 0, flight_octets: None, data: &[] }.encode()
}

/// An acknowledgement, version 0.
pub(crate) fn acknowledgement() -> Vec<u8> {
    TlsPacket { start: false, more: false, version: 0, flight_octets: None, data: &[] }.encode()
}

/// What is on its way, in both directions. One packet is answered before the next is sent.
#[derive(Default)]
pub struct Fragments {
    coming: Vec<u8>,
    /// What the first fragment said of the whole.
    announced: Option<u32>,
    going: Vec<u8>,
    /// Octets of `going` that were sent.
    sent: usize,
}

/// What a packet led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Send this Type-Data: the next fragment of ours, or an acknowledgement.
    Reply(Vec<u8>),
    /// A whole flight; empty for an acknowledgement of ours.
    Flight(Vec<u8>),
    /// The packet breaks the rules; nothing changed.
    Broken,
}

impl Fragments {
    /// Takes the other side's packet.
    pub fn take(&mut self, packet: &TlsPacket<'_>) -> Arrival {
        if packet.version != 0 || packet.start {
            return Arrival::Broken;
        }
        if self.sent < self.going.len() {
            let unasked = !packet.is_acknowledgement();
            return if unasked { Arrival::Broken } else { Arrival::Reply(self.next()) };
        }
        if !self.fits(packet) {
            return Arrival::Broken;
        }
        self.announced = self.announced.or(packet.flight_octets);
        self.coming.extend_from_slice(packet.data);
        if packet.more {
            return Arrival::Reply(acknowledgement());
        }
        self.announced = None;
        Arrival::Flight(std::mem::take(&mut self.coming))
    }

    /// Takes a flight of ours; returns the Type-Data of its first fragment.
    pub fn send(&mut self, flight: Vec<u8>) -> Vec<u8> {
        (self.going, self.sent) = (flight, 0);
        self.next()
    }

    /// The Message Length, where there is one, is that of the whole flight; no fragment is empty but the last.
    fn fits(&self, packet: &TlsPacket<'_>) -> bool {
        let have = self.coming.len().saturating_add(packet.data.len());
        let announced = self.announced.or(packet.flight_octets).map(|octets| octets as usize);
        let same =
            packet.flight_octets.is_none_or(|octets| self.announced.is_none_or(|first| first == octets));
        let whole = announced.is_none_or(|octets| if packet.more { have < octets } else { have == octets });
        let goes_on = !packet.more || !packet.data.is_empty();
        let bounded = have <= MAX_FLIGHT_OCTETS && announced.is_none_or(|octets| octets <= MAX_FLIGHT_OCTETS);
        same && whole && goes_on && bounded
    }

    fn next(&mut self) -> Vec<u8> {
        let rest = self.going.get(self.sent..).unwrap_or_default();
        let data = rest.get(..FRAGMENT_OCTETS).unwrap_or(rest);
        let more = data.len() < rest.len();
        let first = self.sent == 0;
        let flight_octets = (first && more).then(|| u32::try_from(self.going.len()).unwrap_or(u32::MAX));
        let packet = TlsPacket { start: false, more, version: 0, flight_octets, data }.encode();
        self.sent = self.sent.saturating_add(data.len());
        packet
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(flags: u8, rest: &[u8]) -> Vec<u8> {
        [&[flags], rest].concat()
    }

    #[test]
    fn flags_are_the_rfcs() {
        let plain = TlsPacket { start: false, more: false, version: 0, flight_octets: None, data: &[] };
        for (octets, expected) in [
            (&[][..], None),
            (&[0x00], Some(plain)),
            (&[0x20], Some(TlsPacket { start: true, ..plain })),
            (&[0x21], Some(TlsPacket { start: true, version: 1, ..plain })),
            (&[0x40, 7], Some(TlsPacket { more: true, data: &[7], ..plain })),
            (&[0x80, 0, 0, 1], None),
            (&[0x80, 0, 0, 1, 2, 9], Some(TlsPacket { flight_octets: Some(0x102), data: &[9], ..plain })),
            (
                &[0xc0, 0, 0, 0, 2, 9],
                Some(TlsPacket { more: true, flight_octets: Some(2), data: &[9], ..plain }),
            ),
        ] {
            let decoded = TlsPacket::decode(octets);
            assert_eq!(decoded, expected, "{octets:02x?}");
            if let Some(decoded) = decoded {
                assert_eq!(decoded.encode(), octets);
            }
        }
        assert!(TlsPacket::decode(&[0x18]).unwrap().is_acknowledgement(), "reserved flags do not count");
    }

    /// Packets, and what the last of them leads to; all before it are acknowledged.
    #[test]
    fn a_flight_is_what_its_fragments_say() {
        type Row = (&'static [&'static [u8]], Option<&'static [u8]>);
        let table: &[Row] = &[
            (&[&[0x00, 1, 2]], Some(&[1, 2])),
            (&[&[0x00]], Some(&[])),
            (&[&[0x80, 0, 0, 0, 2, 1, 2]], Some(&[1, 2])),
            (&[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x00, 3]], Some(&[1, 2, 3])),
            (&[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x80, 0, 0, 0, 3, 3]], Some(&[1, 2, 3])),
            (&[&[0x40, 1, 2], &[0x40, 3], &[0x00, 4]], Some(&[1, 2, 3, 4])),
            // Too much, too little, another length, an empty fragment, a start, another version, too long.
            (&[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x00, 3, 4]], None),
            (&[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x00]], None),
            (&[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x80, 0, 0, 0, 4, 3]], None),
            (&[&[0xc0, 0, 0, 0, 3, 1, 2, 3]], None),
            (&[&[0x40]], None),
            (&[&[0x20]], None),
            (&[&[0x01, 1]], None),
            (&[&[0xc0, 0, 1, 0, 1, 1]], None),
            (&[&[0x80, 0, 0, 0, 5, 1, 2]], None),
        ];
        for (packets, expected) in table {
            let mut fragments = Fragments::default();
            let (last, before) = packets.split_last().unwrap();
            for one in before {
                assert_eq!(fragments.take(&TlsPacket::decode(one).unwrap()), Arrival::Reply(vec![0]));
            }
            let arrival = fragments.take(&TlsPacket::decode(last).unwrap());
            assert_eq!(arrival, expected.map_or(Arrival::Broken, |flight| Arrival::Flight(flight.to_vec())));
        }
    }

    #[test]
    fn nothing_longer_than_the_bound_is_put_together() {
        let mut fragments = Fragments::default();
        let data = vec![7; 4000];
        let more = packet(0x40, &data);
        let taken = std::iter::repeat_with(|| fragments.take(&TlsPacket::decode(&more).unwrap()))
            .take_while(|arrival| *arrival != Arrival::Broken)
            .count();
        assert_eq!(taken, MAX_FLIGHT_OCTETS / 4000);
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(flight in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let (mut ours, mut theirs) = (Fragments::default(), Fragments::default());
            let mut packet = ours.send(flight.clone());
            loop {
                prop_assert!(packet.len() <= FRAGMENT_OCTETS + 5);
                match theirs.take(&TlsPacket::decode(&packet).unwrap()) {
                    Arrival::Flight(arrived) => {
                        prop_assert_eq!(arrived, flight);
                        break;
                    }
                    Arrival::Reply(acknowledgement) => {
                        // What is no acknowledgement changes nothing.
                        let garbage = TlsPacket::decode(&[0x00, 1]).unwrap();
                        prop_assert_eq!(ours.take(&garbage), Arrival::Broken);
                        match ours.take(&TlsPacket::decode(&acknowledgement).unwrap()) {
                            Arrival::Reply(next) => packet = next,
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                    Arrival::Broken => prop_assert!(false, "refused"),
                }
            }
        }

        #[test]
        fn any_packets_stay_within_the_bound(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut fragments = Fragments::default();
            for octets in packets {
                let Some(packet) = TlsPacket::decode(&octets) else { continue };
                let before = fragments.coming.clone();
                if fragments.take(&packet) == Arrival::Broken {
                    prop_assert_eq!(&fragments.coming, &before);
                }
                prop_assert!(fragments.coming.len() <= MAX_FLIGHT_OCTETS);
            }
        }
    }
}
