//! Traffic selectors in the two spellings of IOS: access-list lines in `show crypto session`, ranges in
//! `show crypto ikev2 session`.

use std::net::{IpAddr, Ipv4Addr};

use causeway_shared::api::{EspDetails, SelectorRange};

/// One `permit` line for each pair of selectors.
pub(super) fn permits(esp: &EspDetails) -> impl Iterator<Item = String> + '_ {
    esp.local.iter().flat_map(|local| {
        esp.remote.iter().map(move |remote| {
            let protocol = protocol(if local.protocol == 0 { remote.protocol } else { local.protocol });
            format!("permit {protocol} {} {}", side(local), side(remote))
        })
    })
}

/// `first/first port - last/last port`.
pub(super) fn range(selector: &SelectorRange) -> String {
    let SelectorRange { first, last, first_port, last_port, .. } = selector;
    format!("{first}/{first_port} - {last}/{last_port}")
}

fn protocol(number: u8) -> String {
    match number {
        0 => "ip".to_owned(),
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    }
}

fn side(selector: &SelectorRange) -> String {
    let SelectorRange { first, last, first_port, last_port, .. } = *selector;
    let mut text = match (prefix_len(first, last), first) {
        (Some(32), IpAddr::V4(_)) | (Some(128), IpAddr::V6(_)) => format!("host {first}"),
        (Some(length), IpAddr::V4(_)) => format!("{first}/{}", mask(length)),
        (Some(length), IpAddr::V6(_)) => format!("{first}/{length}"),
        (None, _) => format!("{first}-{last}"),
    };
    match (first_port, last_port) {
        (0, u16::MAX) => {}
        (first, last) if first == last => text += &format!(" port {first}"),
        (first, last) => text += &format!(" ports {first}-{last}"),
    }
    text
}

/// Length of the prefix that a range is.
fn prefix_len(first: IpAddr, last: IpAddr) -> Option<u32> {
    let (bits, first, last) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (32, first.to_bits().into(), last.to_bits().into()),
        (IpAddr::V6(first), IpAddr::V6(last)) => (128, first.to_bits(), last.to_bits()),
        _ => return None,
    };
    let wild: u128 = first ^ last;
    let contiguous = wild & wild.wrapping_add(1) == 0;
    (contiguous && first & wild == 0).then(|| bits - wild.trailing_ones())
}

fn mask(length: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32u32.saturating_sub(length)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_access_list_lines() {
        let any = |first: [u8; 4], last: [u8; 4]| SelectorRange {
            protocol: 0,
            first: first.into(),
            last: last.into(),
            first_port: 0,
            last_port: u16::MAX,
        };
        let everything = any([0; 4], [255; 4]);
        let host = any([10, 1, 1, 1], [10, 1, 1, 1]);
        let any6 = |first: &str, last: &str| SelectorRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            ..everything
        };
        let host6 = any6("fd00:99::1", "fd00:99::1");
        for (local, remote, text) in [
            (everything, host, "permit ip 0.0.0.0/0.0.0.0 host 10.1.1.1"),
            (any([10, 0, 0, 0], [10, 255, 255, 255]), host, "permit ip 10.0.0.0/255.0.0.0 host 10.1.1.1"),
            (any([10, 0, 0, 1], [10, 0, 0, 4]), host, "permit ip 10.0.0.1-10.0.0.4 host 10.1.1.1"),
            (any6("fd00:1::", "fd00:1::ffff:ffff:ffff:ffff"), host6, "permit ip fd00:1::/64 host fd00:99::1"),
            (any6("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), host6, "permit ip ::/0 host fd00:99::1"),
            (any([10, 0, 0, 1], [10, 0, 0, 2]), host, "permit ip 10.0.0.1-10.0.0.2 host 10.1.1.1"),
            (
                SelectorRange { protocol: 6, first_port: 80, last_port: 80, ..everything },
                host,
                "permit tcp 0.0.0.0/0.0.0.0 port 80 host 10.1.1.1",
            ),
            (
                everything,
                SelectorRange { protocol: 47, first_port: 1, last_port: 9, ..host },
                "permit 47 0.0.0.0/0.0.0.0 host 10.1.1.1 ports 1-9",
            ),
        ] {
            let esp = EspDetails { local: vec![local], remote: vec![remote], ..EspDetails::default() };
            assert_eq!(permits(&esp).collect::<Vec<_>>(), [text]);
        }
    }
}
