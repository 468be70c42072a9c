//! What is measured: a suite, a packet size, a direction. Their names are those of the command line, the tables and the JSON.

use std::fmt;
use std::str::FromStr;

use causeway_shared::sa::EspSuite;
use serde::{Serialize, Serializer};

/// The simple IMIX: seven, four and one of these frame sizes, spread out.
const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 64, 1420, 570, 64, 570, 64];

/// The suites of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// AES-128-GCM, RFC 4106.
    Aes128Gcm,
    /// AES-256-GCM, RFC 4106.
    Aes256Gcm,
    /// AES-256-CBC with HMAC-SHA-256-128.
    Aes256CbcSha256,
    /// AES-256-CBC with HMAC-SHA-384-192.
    Aes256CbcSha384,
}

impl Suite {
    /// Every suite, in the order of the tables.
    pub const ALL: [Suite; 4] =
        [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Aes256CbcSha256, Suite::Aes256CbcSha384];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Suite::Aes128Gcm => "aes-128-gcm",
            Suite::Aes256Gcm => "aes-256-gcm",
            Suite::Aes256CbcSha256 => "aes-256-cbc-sha256",
            Suite::Aes256CbcSha384 => "aes-256-cbc-sha384",
        }
    }

    /// As the data plane calls it.
    pub fn esp(self) -> EspSuite {
        match self {
            Suite::Aes128Gcm => EspSuite::Aes128Gcm16,
            Suite::Aes256Gcm => EspSuite::Aes256Gcm16,
            Suite::Aes256CbcSha256 => EspSuite::Aes256CbcSha256,
            Suite::Aes256CbcSha384 => EspSuite::Aes256CbcSha384,
        }
    }
}

/// The size of the clear Ethernet frame, without FCS, in either direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// One size, octets.
    Fixed(usize),
    /// 7 of 64, 4 of 570, 1 of 1420 octets.
    Imix,
}

impl Size {
    /// Smallest frame: Ethernet, IPv4 and UDP headers.
    pub const MIN: usize = 42;
    /// Largest frame: with the largest overhead it still fits an MTU of 1500.
    pub const MAX: usize = 1420;
    /// The sizes of the comparison's table.
    pub const TABLE: [Size; 4] = [Size::Fixed(64), Size::Fixed(512), Size::Fixed(1420), Size::Imix];

    /// The size of frame number `index`.
    pub fn of(self, index: usize) -> usize {
        match self {
            Size::Fixed(size) => size,
            Size::Imix => IMIX.get(index % IMIX.len()).copied().unwrap_or(64),
        }
    }

    /// Frames after which the sizes repeat.
    pub fn period(self) -> usize {
        match self {
            Size::Fixed(_) => 1,
            Size::Imix => IMIX.len(),
        }
    }

    /// Octets of an average frame.
    pub fn mean(self) -> f64 {
        let period = self.period();
        (0..period).map(|index| self.of(index)).sum::<usize>() as f64 / period as f64
    }
}

/// Which way the packets go, seen from the LAN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Clear packets in, ESP out.
    Out,
    /// ESP in, clear packets out.
    In,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Out, Direction::In];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Algorithms.
    pub suite: Suite,
    /// Clear frame size.
    pub size: Size,
    /// Direction.
    pub direction: Direction,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.suite, self.size, self.direction)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Fixed(size) => f.pad(&size.to_string()),
            Size::Imix => f.pad("imix"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Suite, String> {
        Suite::ALL.into_iter().find(|suite| suite.name() == text).ok_or_else(|| {
            format!("there is no suite `{text}`; there are {}", Suite::ALL.map(Suite::name).join(", "))
        })
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        if text == "imix" {
            return Ok(Size::Imix);
        }
        match text.parse() {
            Ok(size) if (Size::MIN..=Size::MAX).contains(&size) => Ok(Size::Fixed(size)),
            _ => Err(format!("`{text}` is no frame size; use {} to {} or imix", Size::MIN, Size::MAX)),
        }
    }
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Direction, String> {
        Direction::ALL
            .into_iter()
            .find(|direction| direction.name() == text)
            .ok_or_else(|| format!("there is no direction `{text}`; there are out and in"))
    }
}

macro_rules! serialize_by_name {
    ($($type:ty),+) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })+
    };
}

serialize_by_name!(Suite, Size, Direction);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
        }
        for size in Size::TABLE {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for direction in Direction::ALL {
            assert_eq!(direction.to_string().parse(), Ok(direction));
        }
        for wrong in ["41", "1421", "", "IMIX", "-1"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        assert_eq!(
            serde_json::to_string(&(Suite::Aes128Gcm, Size::Fixed(64))).unwrap(),
            r#"["aes-128-gcm","64"]"#
        );
    }

    #[test]
    fn imix_is_seven_four_one() {
        let count = |size| (0..12).filter(|index| Size::Imix.of(*index) == size).count();
        assert_eq!((count(64), count(570), count(1420)), (7, 4, 1));
        assert!((Size::Imix.mean() - 345.67).abs() < 0.01);
    }
}
