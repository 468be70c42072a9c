//! What the fuzz target `ipv6` does with its input, for the target and for the test that replays its seeds.

use causeway_shared::net::{icmp6, ipv6, ndp, udp};

const MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// Reads a packet in every way that the data plane does, and says what must hold.
pub fn packet(octets: &[u8]) {
    let mut octets = octets.to_vec();
    put_checksum_right(&mut octets);
    let Ok(packet) = ipv6::Packet::parse(&octets) else { return };
    let upper = packet.upper_layer();
    assert!(packet.total_len() <= octets.len() && upper.len() <= packet.total_len() - ipv6::HEADER_LEN);
    assert!(packet.is_fragment() || !packet.is_later_fragment());
    if let Some(message) = ndp::Message::parse(&packet) {
        assert_eq!(packet.hop_limit(), ndp::HOP_LIMIT);
        written_again(message, &packet);
    }
    if let Some((_, quoted)) = icmp6::packet_too_big(upper)
        && let Some(header) = quoted.first_chunk()
    {
        let _ = ipv6::quoted(header);
    }
    if let Some(datagram) = udp::Datagram::parse(upper) {
        assert!(datagram.total_len() <= upper.len());
        let _ = datagram.checksum_is_right6(packet.source(), packet.destination());
    }
    let hop_limit = packet.hop_limit();
    let mut forwarded = octets.clone();
    assert_eq!(ipv6::decrement_hop_limit(&mut forwarded), hop_limit > 1);
    ipv6::set_traffic_class(&mut forwarded, 0xb9);
    let again = ipv6::Packet::parse(&forwarded).expect("a router changes nothing that the length hangs on");
    assert_eq!((again.traffic_class(), again.hop_limit()), (0xb9, hop_limit - u8::from(hop_limit > 1)));
}

/// So that the fuzzer need not find the checksum of a message without extension headers.
fn put_checksum_right(octets: &mut [u8]) {
    let Ok(packet) = ipv6::Packet::parse(octets) else { return };
    let (source, destination, end) = (packet.source(), packet.destination(), packet.total_len());
    if packet.protocol() != ipv6::PROTOCOL_ICMPV6 || packet.has_extensions() {
        return;
    }
    if let Some(message) = octets.get_mut(ipv6::HEADER_LEN..end).filter(|message| message.len() >= 4) {
        message[2..4].fill(0);
        let sum = icmp6::checksum(source, destination, &[message]).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
}

/// What was understood is understood again when we say it ourselves.
fn written_again(message: ndp::Message, packet: &ipv6::Packet<'_>) {
    let (said, expected) = match message {
        ndp::Message::Solicitation { target, from: Some(mac) } => {
            (ndp::solicitation(packet.source(), mac, target, false), message)
        }
        ndp::Message::Solicitation { target, from: None } => {
            (ndp::probe(target), ndp::Message::Solicitation { target, from: None })
        }
        ndp::Message::Advertisement { target, .. } => {
            let solicited = !packet.source().is_unspecified() && !packet.source().is_multicast();
            if packet.source().is_multicast() {
                return;
            }
            let expected = ndp::Message::Advertisement { target, mac: MAC, solicited, overrides: true };
            (ndp::advertisement(target, MAC, packet.source()), expected)
        }
    };
    let again = ipv6::Packet::parse(&said).expect("we write whole packets");
    assert_eq!(ndp::Message::parse(&again), Some(expected));
}
