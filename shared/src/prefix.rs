//! Address prefixes of both families.
//!
//! Enters: an address and a length, or a text such as `10.0.0.0/24` or `2001:db8::/32` (RFC 4291 §2.3). Leaves: a prefix whose host
//! bits are zero, so that equal prefixes are equal values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IPv4 prefix; host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ipv4Prefix {
    /// Network address.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub length: u8,
}

impl Ipv4Prefix {
    /// The prefix that holds `address`; `None` if `length` is above 32.
    pub fn new(address: Ipv4Addr, length: u8) -> Option<Ipv4Prefix> {
        (length <= 32)
            .then(|| Ipv4Prefix { address: Ipv4Addr::from(u32::from(address) & mask(length)), length })
    }

    /// Whether `address` lies inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.address)) & mask(self.length) == 0
    }

    /// The netmask as an address.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.length))
    }

    /// The last address of the prefix.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !mask(self.length))
    }
}

impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Why a text is not a prefix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a prefix; write an address and a length, as in 10.0.0.0/24")]
pub struct NotAPrefix(pub String);

impl FromStr for Ipv4Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let bad = || NotAPrefix(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address = address.parse().map_err(|_| bad())?;
        Ipv4Prefix::new(address, length.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
}

/// An IPv6 prefix; host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ipv6Prefix {
    /// Network address.
    pub address: Ipv6Addr,
    /// Prefix length, 0 to 128.
    pub length: u8,
}

impl Ipv6Prefix {
    /// The prefix that holds `address`; `None` if `length` is above 128.
    pub fn new(address: Ipv6Addr, length: u8) -> Option<Ipv6Prefix> {
        (length <= 128)
            .then(|| Ipv6Prefix { address: Ipv6Addr::from_bits(address.to_bits() & mask6(length)), length })
    }

    /// One address.
    pub fn host(address: Ipv6Addr) -> Ipv6Prefix {
        Ipv6Prefix { address, length: 128 }
    }

    /// Whether `address` lies inside.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & mask6(self.length) == 0
    }

    /// The last address of the prefix.
    pub fn last(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | !mask6(self.length))
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Ipv6Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let bad = || NotAPrefix(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address = address.parse().map_err(|_| bad())?;
        Ipv6Prefix::new(address, length.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

/// A prefix of either family. Its text form is also its form in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IpPrefix {
    /// IPv4.
    V4(Ipv4Prefix),
    /// IPv6.
    V6(Ipv6Prefix),
}

impl IpPrefix {
    /// The prefix that holds `address`; `None` if `length` is longer than the address.
    pub fn new(address: IpAddr, length: u8) -> Option<IpPrefix> {
        match address {
            IpAddr::V4(address) => Ipv4Prefix::new(address, length).map(IpPrefix::V4),
            IpAddr::V6(address) => Ipv6Prefix::new(address, length).map(IpPrefix::V6),
        }
    }

    /// Network address.
    pub fn address(self) -> IpAddr {
        match self {
            IpPrefix::V4(prefix) => prefix.address.into(),
            IpPrefix::V6(prefix) => prefix.address.into(),
        }
    }

    /// Prefix length.
    pub fn length(self) -> u8 {
        match self {
            IpPrefix::V4(prefix) => prefix.length,
            IpPrefix::V6(prefix) => prefix.length,
        }
    }

    /// The last address of the prefix.
    pub fn last(self) -> IpAddr {
        match self {
            IpPrefix::V4(prefix) => prefix.last().into(),
            IpPrefix::V6(prefix) => prefix.last().into(),
        }
    }

    /// Whether `address` lies inside; never one of the other family.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (IpPrefix::V4(prefix), IpAddr::V4(address)) => prefix.contains(address),
            (IpPrefix::V6(prefix), IpAddr::V6(address)) => prefix.contains(address),
            _ => false,
        }
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: IpPrefix) -> bool {
        self.contains(other.address()) || other.contains(self.address())
    }
}

impl From<Ipv4Prefix> for IpPrefix {
    fn from(prefix: Ipv4Prefix) -> IpPrefix {
        IpPrefix::V4(prefix)
    }
}

impl From<Ipv6Prefix> for IpPrefix {
    fn from(prefix: Ipv6Prefix) -> IpPrefix {
        IpPrefix::V6(prefix)
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length())
    }
}

impl FromStr for IpPrefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        text.parse().map(IpPrefix::V4).or_else(|_| text.parse().map(IpPrefix::V6))
    }
}

fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_parse_and_contain() {
        let prefix: Ipv4Prefix = "10.1.2.3/24".parse().unwrap();
        assert_eq!(prefix.to_string(), "10.1.2.0/24");
        assert!(
            prefix.contains(Ipv4Addr::new(10, 1, 2, 255)) && !prefix.contains(Ipv4Addr::new(10, 1, 3, 0))
        );
        assert!("0.0.0.0/0".parse::<Ipv4Prefix>().unwrap().contains(Ipv4Addr::BROADCAST));
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/"] {
            assert_eq!(bad.parse::<Ipv4Prefix>(), Err(NotAPrefix(bad.into())));
        }
    }

    #[test]
    fn both_families_are_told_apart_and_have_no_host_bits() {
        let prefix: IpPrefix = "2001:db8:7:ff::9/48".parse().unwrap();
        assert_eq!(prefix.to_string(), "2001:db8:7::/48");
        assert_eq!(prefix.last().to_string(), "2001:db8:7:ffff:ffff:ffff:ffff:ffff");
        for (text, inside) in [("2001:db8:7::", true), ("2001:db8:8::", false), ("10.0.0.1", false)] {
            assert_eq!(prefix.contains(text.parse().unwrap()), inside, "{text}");
        }
        let all: IpPrefix = "::/0".parse().unwrap();
        assert!(all.contains("ffff::".parse().unwrap()) && all.overlaps(prefix) && prefix.overlaps(all));
        assert!(!all.overlaps("0.0.0.0/0".parse().unwrap()));
        assert_eq!("10.1.2.3/8".parse::<IpPrefix>().unwrap().to_string(), "10.0.0.0/8");
        for bad in ["::/129", "::", "10.0.0.0/33", "fe80::%1/64"] {
            assert_eq!(bad.parse::<IpPrefix>(), Err(NotAPrefix(bad.into())));
        }
    }
}
