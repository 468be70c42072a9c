//! The Configuration payload of a remote user: what we ask for and what we were given (RFC 7296 §3.15), with the
//! attributes of Cisco's Auto Reconnect, whose numbers are not public and therefore configuration.
//!
//! Enters: numbers, a CFG_REPLY. Leaves: a CFG_REQUEST, [`Granted`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_ike::crypto::Secret;
use causeway_ike::wire::{CfgAttribute, CfgAttributeType, CfgType, Configuration};
use serde::{Deserialize, Serialize};

/// Longest session id or token that is taken, octets.
pub const MAX_SESSION_VALUE: usize = 256;
/// INTERNAL_ADDRESS_EXPIRY, obsolete since RFC 4306; Cisco's clients still ask.
const ADDRESS_EXPIRY: u16 = 5;

/// Numbers of the attributes of Auto Reconnect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttributeNumbers {
    /// The session's name: IDi of a resume.
    pub session_id: u16,
    /// The session's secret: the pre-shared key of a resume.
    pub token: u16,
    /// Sealed state.
    pub session_data: u16,
    /// How long the gateway keeps a suspended session, seconds.
    pub cleanup_interval: u16,
    /// How often the gateway wants to hear from us, seconds.
    pub dpd_interval: u16,
}

impl Default for AttributeNumbers {
    /// The `lab` numbers of this project's gateway.
    fn default() -> AttributeNumbers {
        AttributeNumbers {
            session_id: 0x7080,
            token: 0x7081,
            session_data: 0x7082,
            cleanup_interval: 0x7083,
            dpd_interval: 0x7084,
        }
    }
}

/// What the gateway granted.
#[derive(Default)]
pub struct Granted {
    /// Our inner IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Our inner IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// DNS servers, of either family.
    pub dns: Vec<IpAddr>,
    /// What is reached through the tunnel; empty: everything.
    pub subnets: Vec<(IpAddr, u8)>,
    /// Default domain.
    pub domain: Option<String>,
    /// Text for the user.
    pub banner: Option<String>,
    /// With what the session is resumed; `None` when the gateway does not offer it.
    pub reconnect: Option<Reconnect>,
    /// How long the gateway keeps a suspended session, seconds.
    pub cleanup_interval_secs: Option<u32>,
    /// How often the gateway wants to hear from us, seconds.
    pub dpd_interval_secs: Option<u32>,
}

/// What resumes a session.
#[derive(Clone)]
pub struct Reconnect {
    /// IDi.
    pub session_id: String,
    /// The pre-shared key.
    pub token: Secret,
}

/// The CFG_REQUEST of a remote user; `ipv6` asks for the other family, too.
pub(crate) fn request(numbers: &AttributeNumbers, version: &str, ipv6: bool) -> Configuration {
    let mut attributes: Vec<CfgAttribute> = [
        CfgAttributeType::InternalIp4Address,
        CfgAttributeType::InternalIp4Netmask,
        CfgAttributeType::InternalIp4Dns,
        CfgAttributeType::InternalIp4Nbns,
        CfgAttributeType::from_number(ADDRESS_EXPIRY),
    ]
    .into_iter()
    .map(CfgAttribute::empty)
    .collect();
    attributes.push(CfgAttribute {
        kind: CfgAttributeType::ApplicationVersion,
        value: version.as_bytes().to_vec(),
    });
    let more = [
        CfgAttributeType::InternalIp4Subnet,
        CfgAttributeType::InternalDnsDomain,
        CfgAttributeType::UnityBanner,
        CfgAttributeType::UnityDefDomain,
        CfgAttributeType::UnitySplitDnsName,
    ];
    attributes.extend(more.into_iter().map(CfgAttribute::empty));
    let family6 = [
        CfgAttributeType::InternalIp6Address,
        CfgAttributeType::InternalIp6Dns,
        CfgAttributeType::InternalIp6Subnet,
    ];
    attributes.extend(family6.into_iter().filter(|_| ipv6).map(CfgAttribute::empty));
    let reconnect = [
        numbers.session_id,
        numbers.token,
        numbers.session_data,
        numbers.cleanup_interval,
        numbers.dpd_interval,
    ];
    attributes.extend(reconnect.map(CfgAttributeType::from_number).map(CfgAttribute::empty));
    Configuration { kind: CfgType::Request, attributes }
}

impl Granted {
    /// Reads a CFG_REPLY; what is malformed counts as not there.
    pub(crate) fn read(reply: &Configuration, numbers: &AttributeNumbers) -> Granted {
        let first = |number: u16| {
            let kind = CfgAttributeType::from_number(number);
            reply.all(kind).map(|attribute| attribute.value.as_slice()).find(|value| !value.is_empty())
        };
        let text = |kind: CfgAttributeType| {
            let value = first(kind.number())?;
            let text = std::str::from_utf8(value).ok()?;
            Some(text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>())
        };
        let seconds =
            |number| first(number).and_then(|v| <[u8; 4]>::try_from(v).ok()).map(u32::from_be_bytes);
        let fits = |value: &&[u8]| value.len() <= MAX_SESSION_VALUE;
        let session_id = first(numbers.session_id)
            .filter(fits)
            .and_then(|value| std::str::from_utf8(value).ok())
            .filter(|id| id.chars().all(|c| c.is_ascii_graphic()));
        let token = first(numbers.token).filter(fits);
        Granted {
            address: reply
                .all(CfgAttributeType::InternalIp4Address)
                .find_map(CfgAttribute::as_ipv4)
                .filter(|address| !address.is_unspecified()),
            address6: reply
                .all(CfgAttributeType::InternalIp6Address)
                .find_map(CfgAttribute::as_ipv6_prefix)
                .map(|(address, _)| address)
                .filter(|address| !address.is_unspecified()),
            dns: {
                let v4 = reply.all(CfgAttributeType::InternalIp4Dns).filter_map(CfgAttribute::as_ipv4);
                let v6 = reply.all(CfgAttributeType::InternalIp6Dns).filter_map(CfgAttribute::as_ipv6);
                v4.map(IpAddr::V4).chain(v6.map(IpAddr::V6)).collect()
            },
            subnets: {
                let v4 = reply
                    .all(CfgAttributeType::InternalIp4Subnet)
                    .filter_map(CfgAttribute::as_ip4_subnet)
                    .filter_map(|(address, mask)| Some((IpAddr::V4(address), prefix_len(mask)?)));
                let v6 = reply
                    .all(CfgAttributeType::InternalIp6Subnet)
                    .filter_map(CfgAttribute::as_ipv6_prefix)
                    .map(|(address, prefix_len)| (IpAddr::V6(address), prefix_len));
                v4.chain(v6).collect()
            },
            domain: text(CfgAttributeType::UnityDefDomain)
                .or_else(|| text(CfgAttributeType::InternalDnsDomain)),
            banner: text(CfgAttributeType::UnityBanner),
            reconnect: session_id.zip(token).map(|(session_id, token)| Reconnect {
                session_id: session_id.to_owned(),
                token: Secret::new(token.to_vec()),
            }),
            cleanup_interval_secs: seconds(numbers.cleanup_interval),
            dpd_interval_secs: seconds(numbers.dpd_interval),
        }
    }
}

fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then(|| u8::try_from(ones).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(attributes: &[(u16, &[u8])]) -> Granted {
        let attributes = attributes.iter().map(|(number, value)| CfgAttribute {
            kind: CfgAttributeType::from_number(*number),
            value: value.to_vec(),
        });
        let reply = Configuration { kind: CfgType::Reply, attributes: attributes.collect() };
        Granted::read(&reply, &AttributeNumbers::default())
    }

    #[test]
    fn a_reply_is_read() {
        let granted = reply(&[
            (1, &[10, 0, 0, 5]),
            (3, &[10, 0, 0, 53]),
            (13, &[10, 1, 0, 0, 255, 255, 0, 0]),
            (13, &[10, 2, 0, 0, 255, 0, 255, 0]),
            (8, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 128]),
            (10, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53]),
            (15, &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48]),
            (15, &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 129]),
            (28672, b"Hello\x07"),
            (0x7080, b"rIUHKccDRiUtFTATwq"),
            (0x7081, &[b'A'; 64]),
            (0x7083, &[0, 0, 3, 0x84]),
            (0x7084, &[0, 30]),
        ]);
        assert_eq!(granted.address, Some(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(granted.dns, [IpAddr::from([10, 0, 0, 53]), "2001:db8::53".parse().unwrap()]);
        let net6 = ("2001:db8:1::".parse().unwrap(), 48);
        assert_eq!(granted.subnets, [(IpAddr::from([10, 1, 0, 0]), 16), net6]);
        assert_eq!(granted.address6, Some("2001:db8::5".parse().unwrap()));
        assert_eq!(granted.banner.as_deref(), Some("Hello"));
        let reconnect = granted.reconnect.unwrap();
        assert_eq!(reconnect.session_id, "rIUHKccDRiUtFTATwq");
        assert!(reconnect.token.matches(&[b'A'; 64]));
        assert_eq!(granted.cleanup_interval_secs, Some(900));
        assert_eq!(granted.dpd_interval_secs, None);
    }

    #[test]
    fn half_a_pair_resumes_nothing() {
        for attributes in [
            &[(0x7080, b"rIUHKccDRiUtFTATwq" as &[u8])][..],
            &[(0x7081, b"token")],
            &[(0x7080, b""), (0x7081, b"token")],
            &[(0x7080, b"a b"), (0x7081, b"token")],
            &[(0x7080, &[b'a'; 257]), (0x7081, b"token")],
        ] {
            assert!(reply(attributes).reconnect.is_none());
        }
    }

    #[test]
    fn the_request_asks_for_every_attribute_of_reconnect_without_a_value() {
        let request = request(&AttributeNumbers::default(), "test 1", true);
        for number in 0x7080..=0x7084 {
            let attribute = request.all(CfgAttributeType::from_number(number)).next().unwrap();
            assert!(attribute.value.is_empty());
        }
    }
}
