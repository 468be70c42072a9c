//! Packets in a line of text, and what of their headers watches go by.
//!
//! Enters: octets of which nothing is believed. Leaves: addresses, ports and SPI, or a word on what it is.

use std::fmt::Write as _;
use std::net::IpAddr;

use causeway_shared::net::{arp, ethernet, icmp, ipv4, ipv6, udp};
use causeway_shared::wire::MAX_TRACE_TEXT;

/// Where ESP has its port over UDP (RFC 3948 §2.1).
const NATT_PORT: u16 = 4500;
/// DCCP (RFC 4340 §5.1) and UDP-Lite (RFC 3828 §3.1), whose ports lie where UDP's do.
const PROTOCOL_DCCP: u8 = 33;
const PROTOCOL_UDP_LITE: u8 = 136;

/// What an IP packet's headers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Glance<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub ports: Option<(u16, u16)>,
    /// Behind the IP header and its extensions.
    pub payload: &'a [u8],
    pub total_len: usize,
}

impl<'a> Glance<'a> {
    /// Of octets from the IP header on.
    pub fn at_ip(packet: &'a [u8]) -> Option<Glance<'a>> {
        let (source, destination, protocol, payload, later, total_len): (
            IpAddr,
            IpAddr,
            u8,
            &[u8],
            bool,
            usize,
        ) = match packet.first()? >> 4 {
            4 => {
                let packet = ipv4::Packet::parse(packet).ok()?;
                let later = packet.fragment_offset() > 0;
                let ends = (packet.source().into(), packet.destination().into());
                (ends.0, ends.1, packet.protocol(), packet.payload(), later, packet.total_len())
            }
            6 => {
                let packet = ipv6::Packet::parse(packet).ok()?;
                let ends = (packet.source().into(), packet.destination().into());
                let later = packet.is_later_fragment();
                (ends.0, ends.1, packet.protocol(), packet.upper_layer(), later, packet.total_len())
            }
            _ => return None,
        };
        let has_ports = matches!(
            protocol,
            ipv4::PROTOCOL_TCP | ipv4::PROTOCOL_UDP | ipv4::PROTOCOL_SCTP | PROTOCOL_DCCP | PROTOCOL_UDP_LITE
        );
        let ports = payload
            .first_chunk()
            .filter(|_| has_ports && !later)
            .map(|[s0, s1, d0, d1]| (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])));
        Some(Glance { source, destination, protocol, ports, payload, total_len })
    }

    /// Of an Ethernet frame.
    pub fn at_frame(frame: &'a [u8]) -> Option<Glance<'a>> {
        Glance::at_ip(frame.get(ethernet::HEADER_LEN..)?)
    }

    /// Of ESP, itself or over UDP: SPI and sequence number.
    pub fn esp(&self) -> Option<(u32, u32)> {
        let esp = match (self.protocol, self.ports) {
            (ipv4::PROTOCOL_ESP, _) => self.payload,
            (ipv4::PROTOCOL_UDP, Some((NATT_PORT, _) | (_, NATT_PORT))) => {
                self.payload.get(udp::HEADER_LEN..)?
            }
            _ => return None,
        };
        esp_header(esp).filter(|(spi, _)| *spi != 0)
    }
}

/// SPI and sequence number.
pub(super) fn esp_header(esp: &[u8]) -> Option<(u32, u32)> {
    let [s0, s1, s2, s3, n0, n1, n2, n3] = *esp.first_chunk()?;
    Some((u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([n0, n1, n2, n3])))
}

/// An Ethernet frame in a line of at most [`MAX_TRACE_TEXT`] octets.
pub fn describe(frame: &[u8]) -> String {
    let payload = frame.get(ethernet::HEADER_LEN..).unwrap_or_default();
    match ethernet::Header::parse(frame).map(|header| header.ether_type) {
        None => format!("{} octets, shorter than an Ethernet header", frame.len()),
        Some(ethernet::TYPE_ARP) => match arp::Message::parse(payload) {
            Some(message) => shorten(format!("ARP {:?} for {}", message.operation, message.target)),
            None => "ARP, malformed".to_owned(),
        },
        Some(ethernet::TYPE_IPV4 | ethernet::TYPE_IPV6) => describe_ip(payload),
        Some(other) => format!("Ethernet type {other:#06x}, {} octets", frame.len()),
    }
}

/// The same of octets from the IP header on.
pub(super) fn describe_ip(packet: &[u8]) -> String {
    let Some(glance) = Glance::at_ip(packet) else {
        return format!("no IP packet, {} octets", packet.len());
    };
    let mut text = format!("{} > {}", glance.source, glance.destination);
    // Writing to a String cannot fail.
    let _ = match (glance.esp(), glance.ports, glance.protocol) {
        (Some((spi, sequence)), ports, _) => {
            let over = if ports.is_some() { "ESP in UDP" } else { "ESP" };
            write!(text, " {over} spi {spi:#010x} seq {sequence}")
        }
        (None, Some((from, to)), ipv4::PROTOCOL_TCP) => write!(text, " TCP {from} > {to}"),
        (None, Some((from, to)), ipv4::PROTOCOL_UDP) => write!(text, " UDP {from} > {to}"),
        (None, _, ipv4::PROTOCOL_ICMP) => write!(text, " ICMP {}", icmp_type(glance.payload)),
        (None, _, ipv6::PROTOCOL_ICMPV6) => write!(text, " ICMPv6 type {}", first(glance.payload)),
        (None, _, protocol) => write!(text, " protocol {protocol}"),
    };
    let _ = write!(text, ", {} octets", glance.total_len);
    shorten(text)
}

fn first(payload: &[u8]) -> u8 {
    payload.first().copied().unwrap_or_default()
}

fn icmp_type(payload: &[u8]) -> String {
    match first(payload) {
        icmp::ECHO_REQUEST => "echo request".to_owned(),
        icmp::ECHO_REPLY => "echo reply".to_owned(),
        other => format!("type {other}"),
    }
}

/// At most [`MAX_TRACE_TEXT`] octets of a text.
pub(super) fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TRACE_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_octets_have_a_line_that_fits(octets in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..8, Just(0x45), Just(0x60)], 0..200)) {
            let mut frame = vec![0; 12];
            for ether_type in [ethernet::TYPE_IPV4, ethernet::TYPE_IPV6, ethernet::TYPE_ARP, 0x9999] {
                frame.truncate(12);
                frame.extend(ether_type.to_be_bytes());
                frame.extend(&octets);
                let text = describe(&frame);
                prop_assert!(!text.is_empty() && text.len() <= MAX_TRACE_TEXT && !text.chars().any(char::is_control));
            }
            prop_assert!(!describe(&octets).is_empty());
        }
    }
}
