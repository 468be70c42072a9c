//! Neighbour discovery (RFC 4861): solicitations and advertisements, the two messages that a router of ours needs.
//!
//! Enters: an ICMPv6 message whose checksum is right, with what its IPv6 header says. Leaves: who asks for whom, or who says where it is;
//! nothing where RFC 4861 §7.1 says that the message must be discarded.

use std::net::Ipv6Addr;

use super::ethernet::Mac;
use super::icmp6;
use super::ipv6;

/// Type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// Type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Hop limit that proves that no router has passed it on.
pub const HOP_LIMIT: u8 = 255;
/// Octets of our messages: header, target, one option.
pub const MESSAGE_LEN: usize = 32;
/// Octets of an IPv6 packet with one of our messages.
pub const PACKET_LEN: usize = ipv6::HEADER_LEN + MESSAGE_LEN;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
const OPTION_NONCE: u8 = 14;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

/// The group of every node on a link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A message that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Somebody looks for `target`.
    Solicitation {
        /// Who is looked for.
        target: Ipv6Addr,
        /// Ethernet address of the sender; `None` while it checks whether an address is free.
        from: Option<Mac>,
    },
    /// `target` is at `mac`.
    Advertisement {
        /// Who.
        target: Ipv6Addr,
        /// Where.
        mac: Mac,
        /// It answers a question of ours.
        solicited: bool,
        /// It says so even if another Ethernet address is known.
        overrides: bool,
    },
}

impl Message {
    /// Reads the message in a packet, checksum included.
    pub fn parse(packet: &ipv6::Packet<'_>) -> Option<Message> {
        let octets = packet.upper_layer();
        let (source, destination) = (packet.source(), packet.destination());
        let plain = packet.hop_limit() == HOP_LIMIT && !packet.is_fragment();
        if !plain || icmp6::checksum(source, destination, &[octets]) != 0 {
            return None;
        }
        let ([kind, code, _, _, flags, _, _, _], rest) = octets.split_first_chunk::<8>()?;
        let (target, options) = rest.split_first_chunk::<16>()?;
        let target = Ipv6Addr::from(*target);
        if *code != 0 || target.is_multicast() {
            return None;
        }
        match *kind {
            SOLICITATION => {
                let from = option(options, OPTION_SOURCE)?;
                // Who has no address yet asks all that may have it, and names no place to answer to.
                let probes = source.is_unspecified();
                let good = !probes || (from.is_none() && destination == solicited_node(target));
                good.then_some(Message::Solicitation { target, from })
            }
            ADVERTISEMENT => {
                let solicited = flags & FLAG_SOLICITED != 0;
                let overrides = flags & FLAG_OVERRIDE != 0;
                let mac = option(options, OPTION_TARGET)??;
                (!solicited || !destination.is_multicast()).then_some(Message::Advertisement {
                    target,
                    mac,
                    solicited,
                    overrides,
                })
            }
            _ => None,
        }
    }
}

/// A question for `target`, to all that may have it or to where it was; IPv6 header included.
pub fn solicitation(source: Ipv6Addr, mac: Mac, target: Ipv6Addr, known: bool) -> [u8; PACKET_LEN] {
    let destination = if known { target } else { solicited_node(target) };
    packet(source, destination, [SOLICITATION, 0], target, [OPTION_SOURCE, 1], mac)
}

/// A question whether anybody has `target`, from one that is about to use it (RFC 4862 §5.4.2). Where others name their Ethernet
/// address it carries a nonce (RFC 7527 §4.1), which is none here: what is looped back is known by its Ethernet address.
pub fn probe(target: Ipv6Addr) -> [u8; PACKET_LEN] {
    packet(
        Ipv6Addr::UNSPECIFIED,
        solicited_node(target),
        [SOLICITATION, 0],
        target,
        [OPTION_NONCE, 1],
        [0; 6],
    )
}

/// The answer of a router that `target` is at `mac`. `to` is who asked; nobody in particular when it has no address yet.
pub fn advertisement(target: Ipv6Addr, mac: Mac, to: Ipv6Addr) -> [u8; PACKET_LEN] {
    let (destination, solicited) = if to.is_unspecified() { (ALL_NODES, 0) } else { (to, FLAG_SOLICITED) };
    let flags = FLAG_ROUTER | FLAG_OVERRIDE | solicited;
    packet(target, destination, [ADVERTISEMENT, flags], target, [OPTION_TARGET, 1], mac)
}

fn packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    [kind, flags]: [u8; 2],
    target: Ipv6Addr,
    option: [u8; 2],
    mac: Mac,
) -> [u8; PACKET_LEN] {
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: MESSAGE_LEN as u16,
        next_header: ipv6::PROTOCOL_ICMPV6,
        hop_limit: HOP_LIMIT,
        source,
        destination,
    };
    let target = target.octets();
    let parts: [&[u8]; 4] = [&[kind, 0, 0, 0, flags, 0, 0, 0], &target, &option, &mac];
    let [c0, c1] = icmp6::checksum(source, destination, &parts).to_be_bytes();
    let start = [kind, 0, c0, c1, flags, 0, 0, 0];
    let octets = header.to_bytes().into_iter().chain(start).chain(target).chain(option).chain(mac);
    let mut packet = [0; PACKET_LEN];
    packet.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
    packet
}

/// The group that hears questions for an address (RFC 4291 §2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0xff_ffff)
}

/// The Ethernet address of a group (RFC 2464 §7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The link-local address that a port has by its Ethernet address (RFC 4291 Appendix A, RFC 2464 §5).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// `None` for options that are none; `Some(None)` when there is no such option.
fn option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let (option, rest) = options.split_at_checked(8 * usize::from(units)).filter(|_| units > 0)?;
        if kind == wanted {
            found = option.get(2..).and_then(|mac| mac.first_chunk()).copied();
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0xab, 0xcd12, 0x3456);
    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn read(octets: &[u8]) -> Option<Message> {
        Message::parse(&ipv6::Packet::parse(octets).unwrap())
    }

    #[test]
    fn our_messages_are_read_as_they_are_meant() {
        let asked = solicitation(US, MAC, HOST, false);
        let packet = ipv6::Packet::parse(&asked).unwrap();
        assert_eq!(packet.destination(), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(group_mac(packet.destination()), [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(read(&asked), Some(Message::Solicitation { target: HOST, from: Some(MAC) }));
        let again = solicitation(US, MAC, HOST, true);
        assert_eq!(ipv6::Packet::parse(&again).unwrap().destination(), HOST);
        for (to, solicited) in [(HOST, true), (Ipv6Addr::UNSPECIFIED, false)] {
            let told = advertisement(US, MAC, to);
            assert_eq!(
                read(&told),
                Some(Message::Advertisement { target: US, mac: MAC, solicited, overrides: true })
            );
        }
        assert_eq!(
            link_local([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]),
            "fe80::11:22ff:fe33:4455".parse::<Ipv6Addr>().unwrap()
        );
    }

    /// RFC 4861 §7.1: each rule broken by itself.
    #[test]
    fn what_must_be_discarded_is() {
        let good = solicitation(US, MAC, HOST, false);
        assert!(read(&good).is_some());
        let spoilt = |at: usize, value: u8| {
            let mut octets = good;
            octets[at] = value;
            let packet = ipv6::Packet::parse(&octets).unwrap();
            let (source, destination) = (packet.source(), packet.destination());
            octets[42] = 0;
            octets[43] = 0;
            let sum = icmp6::checksum(source, destination, &[&octets[40..]]);
            octets[42..44].copy_from_slice(&sum.to_be_bytes());
            read(&octets)
        };
        assert_eq!(spoilt(7, 254), None, "hop limit");
        assert_eq!(spoilt(41, 1), None, "code");
        assert_eq!(spoilt(48, 0xff), None, "target is a group");
        assert_eq!(spoilt(65, 0), None, "option of no length");
        assert_eq!(spoilt(65, 2), None, "option is cut");
        assert_eq!(spoilt(40, 133), None, "another message");
        let mut wrong_sum = good;
        wrong_sum[43] ^= 1;
        assert_eq!(read(&wrong_sum), None);
        let probe = packet(
            Ipv6Addr::UNSPECIFIED,
            solicited_node(HOST),
            [SOLICITATION, 0],
            HOST,
            [OPTION_SOURCE, 1],
            MAC,
        );
        assert_eq!(read(&probe), None, "a probe names no Ethernet address");
        assert_eq!(read(&super::probe(HOST)), Some(Message::Solicitation { target: HOST, from: None }));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 40..120)) {
            let len = (octets.len() - 40) as u8;
            octets[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, len, 58, 255]);
            if let Ok(packet) = ipv6::Packet::parse(&octets) {
                let _ = Message::parse(&packet);
            }
        }
    }
}
